// The sources as a table: one row each, with the same next step as on their cards.

import { perform, primaryOf, questionOf, titleOf } from './actions.js';
import { go, sourceAddress } from '../drawing/addresses.js';
import * as api from '../live/api.js';
import { askFirst, complain, make, redraw, setText, showFolded } from '../drawing/dom.js';
import { ago, numbers, timeElement } from '../drawing/format.js';
import { isLive } from '../live/live.js';
import * as store from '../live/store.js';

// id → the cell that tells its state, kept so that what somebody has unfolded there stays so.
const states = new Map();
const HEADS = ['Source', 'State', 'Last sync', 'Documents', 'Next'];

export function drawTable(root, shown) {
  const rows = shown.map((id) => store.get(id));
  for (const id of states.keys()) if (!shown.includes(id)) states.delete(id);
  const seen = rows.map(({ id, name, type, display, status, last_sync_at: synced, last_sync_documents: documents, operation }) => [
    id, name, type, display, status, synced && ago(synced), documents, operation?.documents_processed]);
  redraw(root, seen, () => [make('table', { class: 'sources' },
    make('caption', { class: 'unseen' }, 'Your data sources'),
    make('thead', {}, make('tr', {}, ...HEADS.map((head) => make('th', { scope: 'col' }, head)))),
    make('tbody', {}, ...rows.map(rowOf)))]);
}

function rowOf(connection) {
  const { id, name, type, display, last_sync_at: synced, last_sync_documents: documents, operation } = connection;
  const now = operation?.documents_processed;
  return make('tr', { 'data-row': type, 'data-state': display.state, 'data-actor': display.actor ?? '' },
    make('th', { scope: 'row' }, make('img', { class: 'icon', src: `console/icons/${store.typeOf(type).icon}.svg`, alt: '' }), name),
    stateOf(connection),
    make('td', {}, synced ? timeElement(synced) : 'Never'),
    make('td', { class: 'number' }, now != null ? `${numbers.format(now)} so far` : documents == null ? '' : numbers.format(documents)),
    make('td', {}, make('div', { class: 'row' }, next(connection), link(`Settings of ${name}`, 'Settings', id, 'settings'), link(`History of ${name}`, 'History', id, 'history'))));
}

function stateOf(connection) {
  const { id, display } = connection;
  const cell = states.get(id) ?? make('td', {}, make('span', { class: 'state' }), make('small', {}));
  states.set(id, cell);
  const [title, reason] = cell.children;
  setText(title, titleOf(connection));
  showFolded(reason, display.reason ?? display.note);
  return cell;
}

function link(whole, words, id, dialog) {
  return make('a', { href: sourceAddress(id, dialog), 'aria-label': whole }, words);
}

function next(connection) {
  const { words, does, barred } = primaryOf(connection) ?? {};
  if (!words) return null;
  const button = make('button', { type: 'button', class: does === 'cancel' && 'quiet', disabled: Boolean(barred), title: barred,
    'aria-label': `${words}: ${connection.name}`, click: () => press(button, connection.id, does) }, words);
  return button;
}

function press(button, id, does) {
  if (does === 'set-up') go(sourceAddress(id, 'settings'));
  else if (does === 'cancel') askFirst(button, { ...questionOf(store.get(id)), act: () => pressed(id, does) });
  else pressed(id, does);
}

async function pressed(id, does) {
  try {
    await perform(id, does);
    if (!isLive()) await store.refresh(id);
  } catch (problem) {
    if (!(problem instanceof api.Refused)) throw problem;
    complain(problem);
  }
}
