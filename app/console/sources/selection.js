// Which sources are shown, in what order, and whether as cards or as a table. The tools appear once there are several.

import { isFailing, titleOf } from './actions.js';
import { part } from '../drawing/dom.js';
import * as store from '../live/store.js';

// With fewer, looking is faster than choosing.
const SEVERAL = 5;
const VIEW = 'rita.view';
const FILTERS = {
  all: () => true,
  connected: ({ enabled }) => enabled,
  running: ({ operation }) => operation,
  failing: isFailing,
  unconnected: ({ enabled }) => !enabled,
};
const told = (moment) => (moment ? Date.parse(moment) : 0);
const ORDERS = {
  standard: (a, b) => placeOf(a) - placeOf(b),
  name: (a, b) => a.name.localeCompare(b.name),
  state: (a, b) => isFailing(b) - isFailing(a) || titleOf(a).localeCompare(titleOf(b)),
  synced: (a, b) => told(b.last_sync_at) - told(a.last_sync_at),
  documents: (a, b) => (b.last_sync_documents ?? -1) - (a.last_sync_documents ?? -1),
};
const chosen = { filter: 'all', order: 'standard', search: '' };
let view = localStorage.getItem(VIEW) === 'table' ? 'table' : 'cards';

const placeOf = ({ type }) => store.offered().findIndex(({ name }) => name === type);

export const isSeveral = () => store.all().length >= SEVERAL;
export const viewOf = () => (isSeveral() ? view : 'cards');

// The sources to show, in their order.
export function selected() {
  const all = store.all().toSorted(ORDERS.standard);
  if (!isSeveral()) return all;
  const wanted = chosen.search.trim().toLowerCase();
  const isWanted = ({ name, description, type }) => [name, description, type].some((text) => text?.toLowerCase().includes(wanted));
  return all.filter(FILTERS[chosen.filter]).filter(isWanted).toSorted(ORDERS[chosen.order]);
}

export function listen(root, changed) {
  for (const name of ['filter', 'order', 'search']) {
    part(root, name).addEventListener('input', ({ target }) => { chosen[name] = target.value; changed(); });
  }
  part(root, 'view').addEventListener('click', () => {
    view = view === 'cards' ? 'table' : 'cards';
    localStorage.setItem(VIEW, view);
    changed();
  });
}

export function showTools(root, count) {
  root.hidden = !isSeveral();
  part(root, 'view').textContent = view === 'cards' ? 'As a table' : 'As cards';
  part(root, 'none').hidden = count > 0;
}
