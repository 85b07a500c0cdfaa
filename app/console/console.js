// The built-in page: connections as cards, verified, configured and synced live. Data goes in by textContent only.
'use strict';

const CREDENTIALS = {
  confluence: [['url', 'Site URL'], ['email', 'Account email'], ['api_token', 'API token']],
  servicenow: [['url', 'Instance URL'], ['username', 'User name'], ['password', 'Password']],
  sharepoint: [
    ['tenant_id', 'Directory (tenant) ID'], ['client_id', 'Application (client) ID'], ['client_secret', 'Client secret'],
  ],
  websearch: [['api_key', 'API key (optional)']],
};
const OTHER_CREDENTIALS = [['api_key', 'API key'], ['api_secret', 'API secret']];
const STATUS_WORDS = { idle: 'Idle', verifying: 'Verifying…', syncing: 'Syncing…' };
const TOKEN = 'rita.token';
const RECONNECT_SECONDS = [1, 2, 5, 10];
const FAILURES_UNTIL_OFFLINE = 4;
const TOAST_MS = 12_000;

const part = (root, role) => root.querySelector(`[data-role="${role}"]`);
const cards = new Map(); // connection id → {root, connection, edited, pressed, drawn}
let claims = {};

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// --- Who is asking ---------------------------------------------------------------------------------------------------

function takeTokenFromLink() {
  const token = new URLSearchParams(location.hash.slice(1)).get('token');
  if (!token) return false;
  sessionStorage.setItem(TOKEN, token);
  history.replaceState(null, '', location.pathname + location.search);
  return true;
}

// The server alone decides what the token is worth; this only reads who it names.
function readClaims(token) {
  try {
    const payload = token.split('.')[1].replaceAll('-', '+').replaceAll('_', '/');
    const bytes = Uint8Array.from(atob(payload), (character) => character.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes)) ?? {};
  } catch {
    return {};
  }
}

function signOut() {
  sessionStorage.removeItem(TOKEN);
  live.stop();
  for (const id of cards.keys()) removeCard(id);
  showWho();
}

function showWho() {
  const token = sessionStorage.getItem(TOKEN);
  claims = token ? readClaims(token) : {};
  const { email, role, organization_id: organization } = claims;
  part(document, 'who').textContent = token ? [email, role, organization].filter(Boolean).join(' · ') : '';
  part(document, 'sign-in').hidden = Boolean(token);
  part(document, 'sign-out').hidden = !token;
}

// --- The API ---------------------------------------------------------------------------------------------------------

class Refused extends Error {
  constructor(status, answer) {
    super([answer.error ?? `The server answered ${status}`, answer.message].filter(Boolean).join(': '));
    this.status = status;
    this.detail = [answer.code, answer.request_id].filter(Boolean).join(' · ');
  }
}

async function api(method, path, body) {
  const headers = { Authorization: `Bearer ${sessionStorage.getItem(TOKEN)}` };
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  let response;
  try {
    response = await fetch(path, { method, headers, body: body && JSON.stringify(body), cache: 'no-store' });
  } catch {
    throw new Refused(0, { error: 'No answer', message: 'The server cannot be reached; try again in a moment' });
  }
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer;
  const refused = new Refused(response.status, answer);
  if (response.status === 401) {
    signOut();
    toast(refused);
  }
  throw refused;
}

function toast(error) {
  const message = make('p', { class: 'error' }, error.message);
  if (error.detail) message.append(make('small', {}, error.detail));
  part(document, 'toasts').append(message);
  setTimeout(() => message.remove(), TOAST_MS);
}

// --- Cards: what they show -------------------------------------------------------------------------------------------

function ago(moment) {
  const seconds = (Date.parse(moment) - Date.now()) / 1000;
  const [unit, size] = [['day', 86_400], ['hour', 3_600], ['minute', 60]].find(([, size]) => -seconds >= size) ?? [];
  return unit ? new Intl.RelativeTimeFormat('en').format(Math.round(seconds / size), unit) : 'just now';
}

function show(card) {
  const { root, connection: c, pressed } = card;
  const busy = pressed || c.status !== 'idle';
  root.dataset.status = c.status;
  root.dataset.lastSyncStatus = c.last_sync_status ?? '';
  part(root, 'name').textContent = c.name;
  part(root, 'description').textContent = c.description ?? '';
  part(root, 'enabled').textContent = c.enabled ? 'Enabled' : 'Disabled';
  part(root, 'enabled').dataset.on = c.enabled;
  setText(part(root, 'status'), STATUS_WORDS[c.status] ?? c.status);
  const counted = c.status === 'syncing' && c.documents_processed != null;
  setText(part(root, 'documents'), counted ? `${c.documents_processed} documents` : '');
  const verdict = c.last_verification_error ? 'Verification failed' : 'Verified';
  part(root, 'last-verification').textContent =
    c.last_verification_at ? `${verdict} ${ago(c.last_verification_at)}` : 'Never verified';
  // `last_sync_at` is when a sync was asked for, until it ends.
  const outcome = c.last_sync_status && c.status !== 'syncing' ? `Last sync ${c.last_sync_status}` : 'Sync asked for';
  part(root, 'last-sync').textContent = c.last_sync_at ? `${outcome} ${ago(c.last_sync_at)}` : 'Never synced';
  const errors = [
    c.last_verification_error && `Verification: ${c.last_verification_error}`,
    c.last_sync_error && `Sync: ${c.last_sync_error}`,
  ].filter(Boolean);
  part(root, 'error').textContent = errors.join(' · ');
  part(root, 'error').hidden = !errors.length;
  part(root, 'verify').disabled = busy;
  part(root, 'save').disabled = pressed;
  part(root, 'sync').disabled = pressed || (busy && !part(root, 'force').checked);
}

// A live region speaks whenever it is written to, so it is written to only when it changes.
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function fill(card) {
  const { root, connection: c, edited } = card;
  fillOptions(card);
  if (edited) return; // What is being typed is not overwritten by an event.
  part(root, 'name-input').value = c.name;
  part(root, 'description-input').value = c.description ?? '';
  part(root, 'simulate').value = c.config?.simulate ?? '';
  const mayDisable = ['admin', 'owner'].includes(claims.role);
  const enabled = part(root, 'enabled-input');
  // Saving a connection that was never synced is meant to turn it on.
  enabled.checked = c.enabled || !mayDisable || !c.last_sync_at;
  enabled.disabled = !mayDisable;
  enabled.title = mayDisable ? '' : 'Only an admin or an owner can disable a connection';
}

function fillOptions(card) {
  const { root, connection: c, edited } = card;
  const chosen = { ...c.config, ...(edited && chosenOptions(root)) };
  const drawn = JSON.stringify([c.latest_options, chosen]);
  if (drawn === card.drawn) return; // Drawing again would take the focus from a box.
  card.drawn = drawn;
  const groups = Object.entries(c.latest_options ?? {}).map(([key, values]) => optionGroup(key, values, chosen[key]));
  const hint = make('p', { class: 'muted' }, 'What can be chosen appears here after a good verification.');
  part(root, 'options').replaceChildren(...(groups.length ? groups : [hint]));
}

function optionGroup(key, values, chosen) {
  const words = (list) => (Array.isArray(list) ? list : String(list ?? '').split(',')).map((each) => String(each).trim());
  const checked = new Set(words(chosen));
  const group = make('fieldset', { 'data-option': key }, make('legend', {}, key));
  for (const value of words(values).filter(Boolean)) {
    const box = make('input', { type: 'checkbox', value });
    box.checked = checked.has(value);
    group.append(make('label', { class: 'check' }, box, ` ${value}`));
  }
  return group;
}

function chosenOptions(root) {
  const chosen = {};
  for (const group of root.querySelectorAll('[data-option]')) {
    chosen[group.dataset.option] = [...group.querySelectorAll(':checked')].map((box) => box.value);
  }
  return chosen;
}

// --- Cards: what pressing them does ----------------------------------------------------------------------------------

function addCard(connection) {
  const root = document.getElementById('card').content.cloneNode(true).firstElementChild;
  const card = { root, connection, edited: false, pressed: false };
  root.dataset.type = connection.type;
  root.dataset.id = connection.id;
  part(root, 'icon').textContent = connection.type.slice(0, 1).toUpperCase();
  for (const [key, label] of CREDENTIALS[connection.type] ?? OTHER_CREDENTIALS) {
    // Without a name, an input never gets into an address, whatever goes wrong with the form.
    const input = make('input', { type: 'password', autocomplete: 'off', spellcheck: 'false', 'data-credential': key });
    part(root, 'fields').append(make('label', {}, `${label} `, input));
  }
  const on = (role, event, act) => part(root, role).addEventListener(event, act);
  on('credentials', 'submit', (event) => press(card, event, verify));
  on('settings', 'submit', (event) => press(card, event, save));
  on('sync', 'click', (event) => press(card, event, sync));
  on('settings', 'input', () => { card.edited = true; });
  on('simulate', 'input', () => { card.edited = true; });
  on('force', 'change', () => show(card));
  cards.set(connection.id, card);
  part(document, 'cards').append(root);
  return card;
}

function removeCard(id) {
  cards.get(id)?.root.remove();
  cards.delete(id);
}

async function press(card, event, act) {
  event.preventDefault();
  const refusal = part(card.root, 'refusal');
  refusal.hidden = true;
  refusal.textContent = '';
  card.pressed = true;
  const asked = act(card); // Reads the inputs and clears the credentials before anything is awaited.
  show(card);
  try {
    await asked;
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    refusal.hidden = false;
    refusal.textContent = error.message;
    refusal.title = error.detail;
  } finally {
    card.pressed = false;
    show(card);
  }
}

async function verify(card) {
  const credentials = {};
  for (const input of card.root.querySelectorAll('[data-credential]')) {
    if (input.value) credentials[input.dataset.credential] = input.value;
    input.value = '';
  }
  const simulate = part(card.root, 'simulate').value.trim();
  const asked = api('POST', `${pathOf(card)}/verify`, { credentials, settings: simulate ? { simulate } : {} });
  expect(card, (await asked).status);
}

async function save(card) {
  const { root, connection } = card;
  const config = { ...connection.config, ...chosenOptions(root) };
  const simulate = part(root, 'simulate').value.trim();
  if (simulate) config.simulate = simulate;
  else delete config.simulate;
  const { data } = await api('PUT', pathOf(card), {
    name: part(root, 'name-input').value.trim(),
    description: part(root, 'description-input').value.trim(),
    config,
    enabled: part(root, 'enabled-input').checked,
  });
  card.edited = false;
  // Only what was saved: a status in this answer may be older than an event that came meanwhile.
  merge(connection.id, { name: data.name, description: data.description, config: data.config, enabled: data.enabled });
}

async function sync(card) {
  const force = part(card.root, 'force').checked;
  const { data } = await api('POST', `${pathOf(card)}/sync`, force ? { force } : {});
  expect(card, data?.status);
}

const pathOf = (card) => `/api/data-sources/${encodeURIComponent(card.connection.id)}`;

// While the stream is live its events tell the status, in order; an answer may come after the event that ended it.
function expect(card, status) {
  if (status && !live.on) merge(card.connection.id, { status });
}

// --- Changes ---------------------------------------------------------------------------------------------------------

function merge(id, { documentsProcessed, ...changes }) {
  const card = cards.get(id) ?? (changes.type ? addCard({ id, config: {}, enabled: false, ...changes }) : null);
  if (changes.deleted) removeCard(id);
  if (!card || changes.deleted) return;
  const before = card.connection;
  const starts = changes.status === 'syncing' && before.status !== 'syncing';
  card.connection = { ...before, ...(starts && { documents_processed: null }), ...changes };
  if (documentsProcessed !== undefined) card.connection.documents_processed = documentsProcessed;
  show(card);
  fill(card);
}

function replaceAll(connections) {
  const present = new Set(connections.map((connection) => connection.id));
  for (const id of cards.keys()) if (!present.has(id)) removeCard(id);
  for (const connection of connections) {
    merge(connection.id, { ...connection, documentsProcessed: connection.operation?.documents_processed ?? null });
  }
}

// --- Live ------------------------------------------------------------------------------------------------------------

const live = {
  on: false, source: null, timer: 0, failures: 0, lastEventId: '', round: 0,

  tell(state) {
    this.on = state === 'live';
    part(document, 'live').dataset.state = state;
    setText(part(document, 'live'), state);
  },

  stop() {
    this.round += 1; // An attempt that is still under way finds itself outdated.
    clearTimeout(this.timer);
    this.source?.close();
    this.tell('offline');
  },

  // Tickets are good for one stream, so every connection begins with a fresh one instead of EventSource's own retry.
  async connect() {
    this.stop();
    const round = this.round;
    this.tell(this.failures < FAILURES_UNTIL_OFFLINE ? 'reconnecting' : 'offline');
    try {
      const { ticket } = await api('POST', '/api/sse/tickets');
      if (round !== this.round) return;
      const query = new URLSearchParams({ ticket, ...(this.lastEventId && { last_event_id: this.lastEventId }) });
      this.source = new EventSource(`/api/sse?${query}`);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      if (round === this.round) this.again();
      return;
    }
    this.source.onopen = () => { this.failures = 0; this.tell('live'); };
    this.source.onerror = () => this.again();
    this.listen('data_source_update', ({ connectionId, ...changes }) => merge(connectionId, changes));
    this.listen('data_source_snapshot', ({ data }) => replaceAll(data));
  },

  listen(name, act) {
    this.source.addEventListener(name, (event) => {
      if (event.lastEventId) this.lastEventId = event.lastEventId;
      act(JSON.parse(event.data));
    });
  },

  again() {
    this.stop();
    const seconds = RECONNECT_SECONDS[Math.min(this.failures, RECONNECT_SECONDS.length - 1)];
    this.failures += 1;
    this.tell(navigator.onLine && this.failures < FAILURES_UNTIL_OFFLINE ? 'reconnecting' : 'offline');
    this.timer = setTimeout(() => this.connect(), seconds * 1000);
  },
};

// --- Start -----------------------------------------------------------------------------------------------------------

async function start() {
  live.stop();
  live.lastEventId = ''; // Ids belong to one organization's stream, and this may be another.
  part(document, 'toasts').replaceChildren();
  showWho();
  if (!sessionStorage.getItem(TOKEN)) return;
  try {
    await api('POST', '/api/data-sources/seed');
    replaceAll((await api('GET', '/api/data-sources')).data);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    if (error.status !== 401) toast(error);
  }
  if (sessionStorage.getItem(TOKEN)) await live.connect();
}

part(document, 'sign-in').addEventListener('submit', (event) => {
  event.preventDefault();
  const input = event.target.querySelector('input');
  sessionStorage.setItem(TOKEN, input.value.trim());
  input.value = '';
  start();
});
part(document, 'sign-out').addEventListener('click', signOut);
addEventListener('hashchange', () => { if (takeTokenFromLink()) start(); });
addEventListener('online', () => { if (sessionStorage.getItem(TOKEN)) live.connect(); });
addEventListener('offline', () => live.tell('offline'));
setInterval(() => cards.forEach(show), 15_000); // The relative times go on.

takeTokenFromLink();
start();
