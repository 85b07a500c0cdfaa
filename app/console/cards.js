// One card per connection: its state in words, what runs, what was, and the one thing to do next.

import * as api from './api.js';
import { ended, sparkline } from './chart.js';
import { fromTemplate, make, part, redraw, say, setText, showFolded, showText, toast } from './dom.js';
import { ago, counted, timeElement } from './format.js';
import { openHistory } from './history.js';
import { isLive } from './live.js';
import { progressBlock, showProgress } from './progress.js';
import { openSettings, showSettings } from './settings.js';
import * as store from './store.js';

export const STATES = {
  unconfigured: 'Not set up yet',
  verifying: 'Checking the credentials',
  verification_failed: 'Verification failed',
  disabled: 'Switched off',
  pending: 'Ready',
  syncing: 'Syncing',
  completed: 'Synced',
  failed: 'Sync failed',
};
const FAULTS = ['verification_failed', 'failed'];
// Of what nobody answered, nobody knows whether it is right.
const VERDICTS = [null, 'failed', 'failed_late'];

function titleOf({ display: { state, ending } }) {
  return state === 'verification_failed' && !VERDICTS.includes(ending) ? 'Not verified' : STATES[state] ?? state;
}
const cards = new Map(); // id → {root, pressed, state}

export const cardOf = (id) => cards.get(id)?.root;

export function drawAll() {
  const connections = store.all();
  for (const id of cards.keys()) if (!store.get(id)) drop(id);
  connections.forEach(({ id }) => drawOne(id));
}

// In the order of the registry, whichever came first; moved only if they stand otherwise, for moving takes the focus.
function arrange() {
  const places = store.offered().map(({ name }) => name);
  const drawn = store.all().filter(({ id }) => cards.has(id));
  const wanted = drawn.toSorted((a, b) => places.indexOf(a.type) - places.indexOf(b.type)).map(({ id }) => cards.get(id).root);
  const list = part(document, 'cards');
  if (wanted.some((root, place) => list.children[place] !== root)) list.append(...wanted);
}

export function drawOne(id) {
  const connection = store.get(id);
  if (!connection) {
    drop(id);
    return;
  }
  const isNew = !cards.has(id);
  const card = isNew ? add(connection) : cards.get(id);
  if (isNew) arrange();
  show(card, connection);
  showSettings(card.root, connection);
}

function drop(id) {
  cards.get(id)?.root.remove();
  cards.delete(id);
}

function add(connection) {
  const root = fromTemplate('card');
  const card = { root, pressed: false, state: connection.display.state };
  const type = store.typeOf(connection.type);
  root.dataset.type = connection.type;
  root.dataset.id = connection.id;
  root.setAttribute('aria-labelledby', `name-${connection.id}`);
  part(root, 'name').id = `name-${connection.id}`;
  part(root, 'icon').src = `console/icons/${type.icon}.svg`;
  part(root, 'progress').replaceWith(card.progress = progressBlock());
  part(root, 'primary').addEventListener('click', () => press(card, connection.id));
  part(root, 'configure').addEventListener('click', () => openSettings(root, connection.id, { toVerify: mayVerify(store.get(connection.id)) }));
  part(root, 'history').addEventListener('click', () => openHistory(connection.id));
  cards.set(connection.id, card);
  part(document, 'cards').append(root);
  return card;
}

function show(card, connection) {
  const { root } = card;
  const { display, operation } = connection;
  root.dataset.status = connection.status;
  root.dataset.state = display.state;
  setText(part(root, 'name'), connection.name);
  showFolded(part(root, 'description'), connection.description);
  setText(part(root, 'state'), titleOf(connection));
  const fault = FAULTS.includes(display.state);
  showFolded(part(root, 'reason'), fault || operation ? '' : display.reason ?? 'Nothing to do.');
  showFolded(part(root, 'error'), fault ? display.reason : '');
  showText(part(root, 'advice'), display.advice);
  showFolded(part(root, 'note'), display.note);
  showProgress(card.progress, connection);
  showFacts(root, connection);
  showPrimary(card, connection);
  if (card.state !== display.state) say(`${connection.name}: ${titleOf(connection)}`);
  card.state = display.state;
}

function showFacts(root, connection) {
  const { last_sync_at: synced, last_sync_status: how, last_verification_at: verified } = connection;
  const syncing = connection.status === 'syncing';
  const word = syncing ? 'Sync asked for' : `Sync ${how ?? 'asked for'}`;
  fact(part(root, 'last-sync'), synced, word, 'Never synced');
  fact(part(root, 'last-verification'), verified, connection.last_verification_error ? 'Verification failed' : 'Verified', 'Never verified');
  const past = store.runsOf(connection.id) ?? [];
  const documents = syncing ? connection.operation?.documents_processed : ended(past)[0]?.documents_processed;
  showText(part(root, 'documents'), documents == null ? '' : counted(documents, 'document') + (syncing ? ' so far' : ''));
  redraw(part(root, 'runs'), ended(past).map(({ id }) => id), () => [sparkline(past)].filter(Boolean));
}

function fact(element, moment, word, never) {
  redraw(element, [moment, word, moment && ago(moment)], () => (moment ? [`${word} `, timeElement(moment)] : [never]));
}

// What the button says for what `display.action` names, and what pressing it does.
const PRIMARY = {
  verify: ({ display }) => [display.state !== 'verification_failed' ? 'Set up' : display.actor === 'user' ? 'Correct credentials' : 'Verify again', 'set-up'],
  enable: ({ display, last_verification_at: verified }) => (display.state === 'disabled'
    ? ['Switch on', 'enable'] : [verified ? 'Finish set-up' : 'Set up', 'set-up']),
  sync: ({ display }) => [display.state === 'failed' ? 'Try again' : 'Sync now', 'sync'],
};

function showPrimary(card, connection) {
  const button = part(card.root, 'primary') ?? part(card.root, 'sync');
  const [words, does] = PRIMARY[connection.display.action]?.(connection) ?? ['', ''];
  button.hidden = !words;
  button.disabled = card.pressed;
  button.dataset.does = does;
  // Two buttons that open the same would only make people wonder.
  part(card.root, 'configure').hidden = does === 'set-up';
  setText(part(card.root, 'configure'), mayVerify(connection) ? 'Verify again' : 'Settings');
  // One button; tests and programs that look for the sync find it by what it does.
  button.dataset.role = does === 'sync' ? 'sync' : 'primary';
  if (words) setText(button, words);
}

const mayVerify = ({ display }) => display.alternative === 'verify';

const ACTS = {
  enable: (id) => api.configure(id, { enabled: true }),
  sync: (id) => api.sync(id),
};

async function press(card, id) {
  const { does } = (part(card.root, 'primary') ?? part(card.root, 'sync')).dataset;
  if (does === 'set-up') {
    openSettings(card.root, id);
    return;
  }
  await pressed(id, () => ACTS[does](id));
}

// One place that shows what came of a press.
async function pressed(id, act) {
  const card = cards.get(id);
  showText(part(card.root, 'refusal'), '');
  card.pressed = true;
  drawOne(id);
  try {
    await act();
    if (!isLive()) await store.refresh(id);
  } catch (problem) {
    if (!(problem instanceof api.Refused)) throw problem;
    showText(part(card.root, 'refusal'), problem.message);
    part(card.root, 'refusal').title = problem.detail;
    card.unsent = problem.status === 0;
  } finally {
    card.pressed = false;
    drawOne(id);
  }
}

// What did not reach a server that is here again need not be said any more.
export function forgetUnsent() {
  for (const card of cards.values()) {
    if (card.unsent) showText(part(card.root, 'refusal'), '');
    card.unsent = false;
  }
}

export function drawOffers(container) {
  const present = new Set(store.all().map(({ type }) => type));
  const missing = store.offered().filter(({ name, seeded }) => !seeded && !present.has(name));
  container.hidden = !missing.length || !present.size;
  redraw(part(container, 'offers'), missing.map(({ name }) => name), () => missing.map((type) => make('button',
    { type: 'button', class: 'quiet', click: () => addSource(type) }, `Add ${type.label}`)));
}

async function addSource({ name, label }) {
  try {
    store.answered(await api.create(name), undefined);
    toast(`${label} was added.`);
  } catch (problem) {
    if (!(problem instanceof api.Refused)) throw problem;
    if (problem.code !== 'already_exists') toast(problem.message, problem.detail);
    await store.reload();
  }
}
