// One card per connection: its state in words, what runs, what was, and the one thing to do next, always in one place.

import { isFailing, mayVerify, perform, primaryOf, questionOf, titleOf } from './actions.js';
import { go, sourceAddress } from '../drawing/addresses.js';
import * as api from '../live/api.js';
import { sparkline } from '../drawing/chart.js';
import { askFirst, fromTemplate, make, part, redraw, say, setText, showFolded, showText, toast } from '../drawing/dom.js';
import { ago, counted, timeElement } from '../drawing/format.js';
import { isLive } from '../live/live.js';
import { progressBlock, showProgress } from './progress.js';
import { showSettings } from '../dialogs/settings.js';
import * as store from '../live/store.js';

const cards = new Map(); // id → {root, pressed, state}

// Draws all; `shown` are the ids that are wanted, in their order, which are moved only if they stand otherwise, for moving
// takes the focus.
export function drawAll(shown) {
  for (const id of cards.keys()) if (!store.get(id)) drop(id);
  store.all().forEach(({ id }) => drawOne(id));
  const wanted = shown.map((id) => cards.get(id).root);
  for (const { root } of cards.values()) root.hidden = !wanted.includes(root);
  const list = part(document, 'cards');
  if (wanted.some((root, place) => list.children[place] !== root)) list.prepend(...wanted);
}

export function drawOne(id) {
  const connection = store.get(id);
  if (!connection) {
    drop(id);
    return;
  }
  show(cards.get(id) ?? add(connection), connection);
  showSettings(connection);
}

function drop(id) {
  cards.get(id)?.root.remove();
  cards.delete(id);
}

function add(connection) {
  const { id } = connection;
  const root = fromTemplate('card');
  const card = { root, pressed: false, state: connection.display.state };
  root.dataset.type = connection.type;
  root.dataset.id = id;
  root.setAttribute('aria-labelledby', `name-${id}`);
  part(root, 'name').id = `name-${id}`;
  part(root, 'icon').src = `console/icons/${store.typeOf(connection.type).icon}.svg`;
  part(root, 'progress').replaceWith(card.progress = progressBlock());
  card.primary = part(root, 'primary');
  card.primary.addEventListener('click', () => press(card, id));
  part(root, 'configure').addEventListener('click', () => go(sourceAddress(id, mayVerify(store.get(id)) ? 'verify' : 'settings')));
  part(root, 'history').addEventListener('click', () => go(sourceAddress(id, 'history')));
  cards.set(id, card);
  part(document, 'cards').append(root);
  return card;
}

function show(card, connection) {
  const { root } = card;
  const { display, operation } = connection;
  root.dataset.status = connection.status;
  root.dataset.state = display.state;
  root.dataset.actor = display.actor ?? '';
  setText(part(root, 'name'), connection.name);
  showFolded(part(root, 'description'), connection.description);
  setText(part(root, 'state'), titleOf(connection));
  const fault = isFailing(connection);
  showFolded(part(root, 'reason'), fault || operation ? '' : display.reason ?? (display.note ? '' : 'Nothing to do.'));
  showFolded(part(root, 'error'), fault ? display.reason : '');
  showText(part(root, 'advice'), display.advice);
  showFolded(part(root, 'note'), display.note);
  showProgress(card.progress, connection);
  showFacts(root, connection);
  showButtons(card, connection);
  if (card.state !== display.state) say(`${connection.name}: ${titleOf(connection)}`);
  card.state = display.state;
}

function showFacts(root, connection) {
  const { last_sync_at: synced, last_sync_status: how, last_verification_at: verified, last_sync_documents: documents } = connection;
  fact(part(root, 'last-sync'), synced, connection.status === 'syncing' ? 'Sync asked for' : `Sync ${how ?? 'asked for'}`, 'Never synced');
  fact(part(root, 'last-verification'), verified, connection.last_verification_error ? 'Verification failed' : 'Verified', 'Never verified');
  const runs = store.runsOf(connection.id);
  setText(part(root, 'documents'), documentsOf(connection, runs));
  // What runs has their room, and says itself how it went before.
  part(root, 'runs').hidden = part(root, 'past').hidden = Boolean(connection.operation);
  redraw(part(root, 'runs'), runs.map(({ id }) => id), () => [sparkline(runs)].filter(Boolean));
}

function documentsOf({ status, last_sync_status: how, last_sync_documents: documents }, runs) {
  if (documents != null) return counted(documents, 'document') + (status === 'syncing' ? ' last time' : '');
  const good = runs.find(({ state, documents_processed: count }) => state === 'succeeded' && count != null);
  if (good) return `${counted(good.documents_processed, 'document')} the time before`;
  return how ? 'No documents counted' : 'No documents yet';
}

function fact(element, moment, word, never) {
  redraw(element, [moment, word, moment && ago(moment)], () => (moment ? [`${word} `, timeElement(moment)] : [never]));
}

function showButtons(card, connection) {
  const { primary, root } = card;
  const { words = '', does = '', barred = '' } = primaryOf(connection) ?? {};
  primary.hidden = !words;
  primary.disabled = card.pressed || Boolean(barred);
  primary.title = barred;
  primary.classList.toggle('quiet', does === 'cancel');
  // One button; tests and programs that look for the sync find it by what it does.
  primary.dataset.does = does;
  primary.dataset.role = does === 'sync' ? 'sync' : 'primary';
  label(primary, words, `${words}: ${connection.name}`);
  const configure = part(root, 'configure');
  // Two buttons that open the same would only make people wonder.
  configure.hidden = does === 'set-up';
  label(configure, ...(mayVerify(connection) ? ['Verify', `Verify again: ${connection.name}`] : ['Settings', `Settings of ${connection.name}`]));
  label(part(root, 'history'), 'History', `History of ${connection.name}`);
}

// A page has many buttons of the same words: whoever hears them needs to know whose each is.
function label(button, words, whole) {
  setText(button, words);
  if (button.getAttribute('aria-label') !== whole) button.setAttribute('aria-label', whole);
}

function press(card, id) {
  const { does } = card.primary.dataset;
  if (does === 'set-up') go(sourceAddress(id, 'settings'));
  else if (does === 'cancel') askFirst(card.primary, { ...questionOf(store.get(id)), act: () => pressed(card, id, does) });
  else pressed(card, id, does);
}

// One place that shows what came of a press.
async function pressed(card, id, does) {
  showText(part(card.root, 'refusal'), '');
  card.pressed = true;
  drawOne(id);
  try {
    await perform(id, does);
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

async function addSource({ name, label: words }) {
  try {
    store.answered(await api.create(name), undefined);
    toast(`${words} was added.`);
  } catch (problem) {
    if (!(problem instanceof api.Refused)) throw problem;
    if (problem.code !== 'already_exists') toast(problem.message, problem.detail);
    await store.reload();
  }
}
