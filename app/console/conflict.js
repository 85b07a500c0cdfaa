// Somebody else saved meanwhile: says what they changed, keeps what was typed, and lets the person decide.

import { make, part, redraw } from './dom.js';
import { humanized } from './format.js';

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
  const { connection, typed } = conflict;
  const pairs = [...entriesOf(connection)].map(([name, theirs]) => [name, theirs, new Map(entriesOf(typed)).get(name) ?? '']);
  const differing = pairs.filter(([, theirs, mine]) => theirs !== mine);
  redraw(part(banner, 'theirs'), differing, () => differing.flatMap(([name, theirs, mine]) => [
    make('dt', {}, humanized(name)), make('dd', {}, `theirs: ${theirs || 'nothing'}; yours: ${mine || 'nothing'}`),
  ]));
}

export function entriesOf({ name, description, config = {} }) {
  const settings = Object.entries(config).map(([key, value]) => [key, typeof value === 'string' ? value : JSON.stringify(value)]);
  return [['name', name ?? ''], ['description', description ?? ''], ...settings];
}
