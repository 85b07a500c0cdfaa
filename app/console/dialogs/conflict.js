// Somebody else saved meanwhile: says what they changed, keeps what was typed, and lets the person decide.

import { make, part, redraw } from '../drawing/dom.js';
import { humanized } from '../drawing/format.js';

export function conflictBanner({ keep, take }) {
  return make('div', { class: 'banner', 'data-role': 'conflict', role: 'alert', hidden: true },
    make('p', {}, make('strong', {}, 'Somebody else has changed this data source meanwhile.'), ' What you typed is still here.'),
    make('dl', { 'data-role': 'theirs', class: 'theirs' }),
    make('div', { class: 'row' },
      make('button', { type: 'button', class: 'quiet', 'data-role': 'keep-mine', click: keep }, 'Keep mine'),
      make('button', { type: 'button', class: 'quiet', 'data-role': 'take-theirs', click: take }, 'Take theirs')));
}

export function showConflict(root, conflict) {
  const banner = part(root, 'conflict');
  banner.hidden = !conflict;
  if (!conflict) return;
  const { connection, filled, typed } = conflict;
  // Of what was not touched, theirs stays; so there is none of yours.
  const before = new Map(entriesOf(filled));
  const yours = new Map(entriesOf({ ...filled, ...typed }));
  const pairs = entriesOf(connection).map(([name, theirs]) => [name, theirs, yours.get(name) === before.get(name) ? null : yours.get(name) ?? '']);
  const differing = pairs.filter(([name, theirs, mine]) => (theirs !== before.get(name) ? theirs !== mine : mine !== null && mine !== theirs));
  redraw(part(banner, 'theirs'), differing, () => differing.flatMap(([name, theirs, mine]) => [
    make('dt', {}, humanized(name)), make('dd', {}, `theirs: ${theirs || 'nothing'}${mine === null ? '' : `; yours: ${mine || 'nothing'}`}`),
  ]));
}

export function entriesOf({ name, description, config = {} }) {
  const settings = Object.entries(config).map(([key, value]) => [key, typeof value === 'string' ? value : JSON.stringify(value)]);
  return [['name', name ?? ''], ['description', description ?? ''], ...settings];
}
