// What has happened on a connection: its runs with a chart, and who changed what.

import * as api from './api.js';
import { charts, lastedOf } from './chart.js';
import { make, part, redraw, say, showFolded } from './dom.js';
import { counted, dated, humanized, took } from './format.js';
import { who } from './session.js';
import * as store from './store.js';

const KINDS = { sync: 'Sync', verify: 'Verification' };
const OUTCOMES = {
  pending: ['Being sent', 'busy'], delivered: ['Delivered', 'busy'], running: ['Running', 'busy'],
  succeeded: ['Succeeded', 'good'], failed: ['Failed', 'bad'], undelivered: ['Not delivered', 'bad'],
  expired: ['No answer', 'bad'], replaced: ['Replaced', 'idle'],
};
const ACTORS = { external_service: 'The external service', system: 'Rita' };
// What these were set to is the moment of the entry itself.
const CLOCKS = ['last_sync_at', 'last_verification_at'];
const TABS = ['runs', 'changes'];

export function openHistory(id) {
  const view = { id, pages: { runs: [], changes: [] }, next: {}, tab: 'runs', people: new Map(), failed: {} };
  const { name } = store.get(id);
  view.dialog = make('dialog', { class: 'panel wide', 'aria-labelledby': 'history-title', 'data-role': 'history-panel' },
    make('header', {}, make('h2', { id: 'history-title' }, `History of ${name}`),
      make('button', { type: 'button', class: 'quiet close', 'aria-label': 'Close', click: () => view.dialog.close() }, '×')),
    make('div', { class: 'body' }, make('div', { class: 'tabs', role: 'tablist', 'aria-label': 'History', keydown: (event) => turn(view, event) },
      tab(view, 'runs', 'Runs'), tab(view, 'changes', 'Changes')), panelOf(view, 'runs'), panelOf(view, 'changes')));
  const stop = store.subscribe((changed) => { if (changed === id || changed === null) load(view, 'runs', { first: true }); });
  view.dialog.addEventListener('close', () => { stop(); view.dialog.remove(); });
  document.body.append(view.dialog);
  choose(view, 'runs');
  view.dialog.showModal();
}

function tab(view, name, words) {
  return make('button', { type: 'button', role: 'tab', id: `tab-${name}`, 'aria-controls': `tab-${name}-panel`, 'data-tab': name, click: () => choose(view, name) }, words);
}

function panelOf(view, name) {
  return make('div', { role: 'tabpanel', id: `tab-${name}-panel`, 'aria-labelledby': `tab-${name}`, tabindex: 0, 'data-role': name },
    name === 'runs' && make('div', { class: 'charts', 'data-role': 'charts' }),
    make('p', { class: 'muted', 'data-role': 'empty' }, 'Loading …'),
    make('ol', { class: 'log', 'data-role': 'list' }),
    make('button', { type: 'button', class: 'quiet', 'data-role': 'more', hidden: true, click: () => load(view, name) }, 'Show more'));
}

function turn(view, event) {
  if (!['ArrowLeft', 'ArrowRight'].includes(event.key)) return;
  const other = TABS.find((name) => name !== view.tab);
  choose(view, other);
  view.dialog.querySelector(`[data-tab="${other}"]`).focus();
}

function choose(view, name) {
  view.tab = name;
  for (const each of TABS) {
    const button = view.dialog.querySelector(`[data-tab="${each}"]`);
    button.setAttribute('aria-selected', each === name);
    button.tabIndex = each === name ? 0 : -1;
    part(view.dialog, each).hidden = each !== name;
  }
  load(view, name, { first: true });
}

// The first page is read again whenever something happens; what "Show more" has brought stays below it.
async function load(view, name, { first = false } = {}) {
  const asked = name === 'runs' ? api.operations : api.audit;
  const known = view.pages[name];
  try {
    const { data, next } = await asked(view.id, { before: first ? undefined : view.next[name] });
    const fresh = new Set(data.map(({ id }) => id));
    const others = view.pages[name].filter(({ id }) => !fresh.has(id));
    view.pages[name] = first ? [...data, ...others] : [...view.pages[name].filter(({ id }) => !fresh.has(id)), ...data];
    if (!first || !known.length) view.next[name] = next;
    if (!first) say(`${counted(data.length, 'more entry').replace('entrys', 'entries')} shown`);
    view.failed[name] = '';
  } catch (problem) {
    if (!(problem instanceof api.Refused)) throw problem;
    view.failed[name] = problem.message;
  }
  show(view, name);
}

function show(view, name) {
  const root = part(view.dialog, name);
  const entries = view.pages[name];
  const empty = part(root, 'empty');
  empty.textContent = view.failed[name] || (name === 'runs' ? 'Nothing has run yet. Runs appear here as soon as credentials are verified or a sync is asked for.' : 'Nothing has changed yet.');
  empty.hidden = entries.length > 0 && !view.failed[name];
  part(root, 'more').hidden = !view.next[name];
  if (name === 'runs') {
    for (const { requested_by: who, requested_email: email } of entries) if (who && email) view.people.set(who, email);
    redraw(part(root, 'charts'), entries.map(({ id, state }) => [id, state]), () => charts(entries));
  }
  const item = name === 'runs' ? run : (entry) => change(entry, view.people);
  redraw(part(root, 'list'), entries, () => entries.map(item));
}

function run(operation) {
  const { kind, state, attempts, documents_processed: documents, requested_email: email, origin, error, finished_at: end } = operation;
  const [words, tone] = OUTCOMES[state] ?? [state, 'idle'];
  const facts = [
    end ? `took ${lastedOf(operation)}` : 'under way',
    documents == null ? '' : counted(documents, 'document'),
    attempts > 1 ? counted(attempts, 'attempt') : '',
    origin === 'service' ? 'begun by the external service' : email ? `asked for by ${email}` : '',
  ].filter(Boolean);
  return make('li', { 'data-outcome': state },
    make('p', {}, make('span', { class: `badge ${tone}` }, words), ` ${KINDS[kind] ?? kind}, `, dated(operation.created_at)),
    make('p', { class: 'muted' }, facts.join(' · ')),
    error && folded(error, state === 'replaced' ? 'muted' : 'error'),
    operation.reported_late && make('p', { class: 'note' }, 'The answer came after we had stopped waiting, and was taken all the same.'),
    attemptsOf(operation));
}

function folded(text, tone) {
  const box = make('div', {}, make('p', { class: tone }));
  showFolded(box.firstChild, text);
  return box;
}

function attemptsOf({ attempt_log: log }) {
  if (!log.some(({ error }) => error)) return null;
  return make('details', {}, make('summary', {}, 'Attempts to deliver it'), make('ol', {}, ...log.map((each) => make('li', {},
    dated(each.at), `: ${each.error ?? 'delivered'} (${took(each.duration_ms)})`))));
}

function change({ actor_type: type, actor_id: id, actor_email: email, action, changes, created_at: at }, people) {
  const mine = id && id === who().user_id;
  const actor = type === 'user' ? (mine ? 'You' : email ?? people.get(id) ?? `User ${String(id).slice(0, 8)}`) : ACTORS[type] ?? type;
  return make('li', {}, make('p', {}, make('strong', {}, actor), ` ${happening(action)}, `, dated(at)),
    make('ul', { class: 'changes' }, ...Object.entries(changes).filter(([name]) => !CLOCKS.includes(name)).map(([name, [before, after]]) => make('li', {},
      make('span', { class: 'muted' }, `${humanized(name)}: `), shown(before), ' → ', shown(after)))));
}

const HAPPENINGS = {
  'connection.created': 'created it', 'connection.configured': 'changed its settings', 'connection.restored': 'added it again',
  'connection.deleted': 'removed it', 'verify.requested': 'asked for a verification', 'sync.requested': 'asked for a sync',
  'verify.succeeded': 'found the credentials good', 'verify.failed': 'did not verify the credentials',
  'sync.started': 'started a sync', 'sync.succeeded': 'finished a sync', 'sync.failed': 'could not finish a sync',
  'verify.expired': 'stopped waiting for a verification', 'sync.expired': 'stopped waiting for a sync',
  'verify.undelivered': 'could not deliver a verification', 'sync.undelivered': 'could not deliver a sync',
  'verify.ended': 'ended a verification', 'sync.ended': 'ended a sync',
  'verify.unreadable': 'sent an answer to a verification that could not be read',
  'sync.unreadable': 'sent an answer to a sync that could not be read',
};
const happening = (action) => HAPPENINGS[action] ?? humanized(action.replace('.', ' '));

function shown(value) {
  if (value === null || value === '') return 'nothing';
  if (typeof value === 'boolean') return value ? 'yes' : 'no';
  if (typeof value === 'string' && /^\d{4}-\d\d-\d\dT/.test(value)) return dated(value);
  if (typeof value !== 'object') return String(value);
  if (value.abridged === true && value.sha256) return `${value.begins}… (${value.bytes} bytes)`;
  const pairs = Object.entries(value);
  return pairs.length ? pairs.map(([key, inner]) => `${key} ${typeof inner === 'string' ? inner : JSON.stringify(inner)}`).join('; ') : 'nothing';
}
