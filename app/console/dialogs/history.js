// What has happened on a connection: its runs with a chart, and who changed what.

import { leave, runAddress, sourceAddress } from '../drawing/addresses.js';
import * as api from '../live/api.js';
import { changeOf } from './changes.js';
import { charts } from '../drawing/chart.js';
import { make, part, redraw, say, showFolded } from '../drawing/dom.js';
import { counted, dated } from '../drawing/format.js';
import { factsOf, KINDS, OUTCOMES } from './run.js';
import * as store from '../live/store.js';

const TABS = ['history', 'changes'];
const WORDS = { history: 'Runs', changes: 'Changes' };
let open = null;

// Opens the history of a connection at one of its tabs, or turns the open one to it; returns the dialog.
export function openHistory(id, tab) {
  if (open?.id === id) {
    choose(open, tab);
    return open.dialog;
  }
  const view = { id, pages: { history: [], changes: [] }, next: {}, people: new Map(), failed: {} };
  const { name } = store.get(id);
  view.dialog = make('dialog', { class: 'panel wide', 'aria-labelledby': 'history-title', 'data-role': 'history-panel', 'data-id': id },
    make('header', {}, make('h2', { id: 'history-title' }, `History of ${name}`),
      make('button', { type: 'button', class: 'quiet close', 'aria-label': 'Close', click: () => view.dialog.close() }, '×')),
    make('div', { class: 'body' }, make('div', { class: 'tabs', role: 'tablist', 'aria-label': 'History', keydown: (event) => turn(view, event) },
      ...TABS.map((each) => tabOf(view, each))), ...TABS.map((each) => panelOf(view, each))));
  const stop = store.subscribe((changed) => { if (changed === id || changed === null) load(view, 'history', { first: true }); });
  view.dialog.addEventListener('close', () => { stop(); view.dialog.remove(); open = null; leave(id, ...TABS); });
  document.body.append(view.dialog);
  open = view;
  choose(view, tab);
  view.dialog.showModal();
  return view.dialog;
}

function tabOf(view, name) {
  return make('button', { type: 'button', role: 'tab', id: `tab-${name}`, 'aria-controls': `tab-${name}-panel`, 'data-tab': name,
    click: () => turnTo(view, name) }, WORDS[name]);
}

function panelOf(view, name) {
  return make('div', { role: 'tabpanel', id: `tab-${name}-panel`, 'aria-labelledby': `tab-${name}`, tabindex: 0, 'data-role': name === 'history' ? 'runs' : name },
    name === 'history' && make('div', { class: 'charts', 'data-role': 'charts' }),
    make('p', { class: 'muted', 'data-role': 'empty' }, 'Loading …'),
    make('ol', { class: 'log', 'data-role': 'list' }),
    make('button', { type: 'button', class: 'quiet', 'data-role': 'more', hidden: true, click: () => load(view, name) }, 'Show more'));
}

// Each tab has its address; going from one to the other is no step back.
function turnTo(view, name) {
  history.replaceState(null, '', sourceAddress(view.id, name));
  choose(view, name);
}

function turn(view, event) {
  if (!['ArrowLeft', 'ArrowRight'].includes(event.key)) return;
  const other = TABS.find((name) => name !== view.tab);
  turnTo(view, other);
  view.dialog.querySelector(`[data-tab="${other}"]`).focus();
}

const panelIn = (view, name) => view.dialog.querySelector(`#tab-${name}-panel`);

function choose(view, name) {
  view.tab = name;
  for (const each of TABS) {
    const button = view.dialog.querySelector(`[data-tab="${each}"]`);
    button.setAttribute('aria-selected', each === name);
    button.tabIndex = each === name ? 0 : -1;
    panelIn(view, each).hidden = each !== name;
  }
  load(view, name, { first: true });
}

// The first page is read again whenever something happens; what "Show more" has brought stays below it.
async function load(view, name, { first = false } = {}) {
  const asked = name === 'history' ? api.operations : api.audit;
  const known = view.pages[name];
  try {
    const { data, next } = await asked(view.id, { before: first ? undefined : view.next[name] });
    const fresh = new Set(data.map(({ id }) => id));
    const others = view.pages[name].filter(({ id }) => !fresh.has(id));
    view.pages[name] = first ? [...data, ...others] : [...others, ...data];
    if (!first || !known.length) view.next[name] = next;
    if (!first) say(`${data.length} more ${data.length === 1 ? 'entry' : 'entries'} shown`);
    view.failed[name] = '';
  } catch (problem) {
    if (!(problem instanceof api.Refused)) throw problem;
    view.failed[name] = problem.message;
  }
  show(view, name);
}

function show(view, name) {
  const root = panelIn(view, name);
  const entries = view.pages[name];
  const empty = part(root, 'empty');
  empty.textContent = view.failed[name] || (name === 'history' ? 'Nothing has run yet. Runs appear here as soon as credentials are verified or a sync is asked for.' : 'Nothing has changed yet.');
  empty.hidden = entries.length > 0 && !view.failed[name];
  part(root, 'more').hidden = !view.next[name];
  const type = store.typeOf(store.get(view.id)?.type);
  if (name === 'history') {
    for (const { requested_by: who, requested_email: email } of entries) if (who && email) view.people.set(who, email);
    redraw(part(root, 'charts'), entries.map(({ id, state }) => [id, state]), () => charts(entries));
  }
  const item = name === 'history' ? run : (entry) => changeOf(entry, view.people, type);
  redraw(part(root, 'list'), entries, () => entries.map(item));
}

function run(operation) {
  const { id, kind, state, error, created_at: asked, attempts } = operation;
  const [words, tone] = OUTCOMES[state] ?? [state, 'idle'];
  const whole = `Details of the ${KINDS[kind]?.toLowerCase() ?? kind} of ${dated(asked).textContent}`;
  return make('li', { 'data-outcome': state },
    make('p', {}, make('span', { class: `badge ${tone}` }, words), ` ${KINDS[kind] ?? kind}, `, dated(asked), ' ',
      make('a', { href: runAddress(id), 'aria-label': whole, 'data-role': 'details' }, 'Details')),
    make('p', { class: 'muted' }, [...factsOf(operation), attempts > 1 ? counted(attempts, 'attempt') : ''].filter(Boolean).join(' · ')),
    error && folded(error, state === 'replaced' ? 'muted' : 'error'),
    operation.reported_late && make('p', { class: 'note' }, 'The answer came after we had stopped waiting, and was taken all the same.'));
}

function folded(text, tone) {
  const box = make('div', {}, make('p', { class: tone }));
  showFolded(box.firstChild, text);
  return box;
}
