// What the page knows: connections, types and the overview, with each connection's last syncs. Events and answers come in, listeners hear.

import * as api from './api.js';
import { now } from '../drawing/format.js';

// Several syncs that end together are looked at once.
const OVERVIEW_AFTER_MS = 800;
const ORDER = ['pending', 'delivered', 'running'];
const OTHER = { icon: 'other', description: '', config_fields: [], credential_fields: [], options_key: null, needs_credentials: false };
const known = new Map(); // id → connection, as the API shows it
const heard = new Map(); // id → how many events, so that an answer which one of them has overtaken is left alone
const runs = new Map(); // id → syncs that have ended, newest first
const ended = new Set(); // ids of operations that something was said of, and that do not run: what tells otherwise is looked into
const listeners = new Set();
let registry = new Map();
let glance = null;
let looking = 0;

export const all = () => [...known.values()];
export const get = (id) => known.get(id);
export const runsOf = (id) => runs.get(id) ?? [];
export const overview = () => glance;
export const offered = () => [...registry.values()];
export const typeOf = (name) => registry.get(name) ?? { ...OTHER, name, label: name };
export const subscribe = (listener) => { listeners.add(listener); return () => listeners.delete(listener); };

const tell = (id, change) => listeners.forEach((listener) => listener(id, change));

export function setTypes(entries) {
  registry = new Map(entries.map((entry) => [entry.name, entry]));
}

export function clear() {
  known.clear();
  heard.clear();
  runs.clear();
  glance = null;
  tell(null);
}

// A `data_source_update`: the changed fields, and always what to display and what runs.
export function take({ connectionId: id, change, deleted, documentsProcessed, operation_id: operationId, timestamp, ...fields }) {
  heard.set(id, (heard.get(id) ?? 0) + 1);
  if (fields.operation && operationId) fields.operation.heardAt = now();
  const before = known.get(id);
  if (operationId && operationId !== fields.operation?.id) ended.add(operationId);
  if (deleted) known.delete(id);
  else if (before && !isOutrun(before.operation, fields.operation, operationId)) known.set(id, { ...known.get(id), ...fields });
  else refresh(id).catch(() => {}); // The reconnect or the next look at it brings what this one does not.
  tell(id, change);
  if (!fields.operation && operationId) lookOver();
}

// Processes publish after they have committed, each at its own pace: an event can come after one that followed it.
// Steps of an operation, and operations (their ids are ordered by time), only ever go forward.
function isOutrun(shown, told, operationId) {
  if (told && ended.has(told.id)) return true;
  if (!shown) return false;
  if (told?.id === shown.id) return ORDER.indexOf(told.state) < ORDER.indexOf(shown.state) || told.attempts < shown.attempts;
  return Boolean(operationId) && operationId < shown.id;
}

// Everything at once: a snapshot, or the list.
export function replaceAll(connections) {
  const present = new Set(connections.map(({ id }) => id));
  for (const id of known.keys()) if (!present.has(id)) known.delete(id);
  for (const connection of connections) {
    known.set(connection.id, connection);
    heard.set(connection.id, (heard.get(connection.id) ?? 0) + 1);
  }
  tell(null);
  lookOver(0);
}

export async function reload() {
  const before = new Map(heard);
  const connections = await api.connections();
  // An event that came meanwhile is the newer word on its connection.
  replaceAll(connections.map((each) => (heard.get(each.id) === before.get(each.id) ? each : known.get(each.id) ?? each)));
}

export async function refresh(id) {
  const before = heard.get(id);
  const connection = await api.connection(id);
  answered(connection, before);
}

export const mark = (id) => heard.get(id);

// The answer to a change that was sent when `mark` said `before`.
export function answered(connection, before) {
  if (heard.get(connection.id) !== before) return;
  known.set(connection.id, connection);
  tell(connection.id);
}

export function forget(id) {
  known.delete(id);
  tell(id);
}

function lookOver(afterMs = OVERVIEW_AFTER_MS) {
  clearTimeout(looking);
  looking = setTimeout(loadOverview, afterMs);
}

async function loadOverview() {
  if (document.hidden) {
    // Of many tabs, those that nobody sees ask once they are.
    document.addEventListener('visibilitychange', () => lookOver(0), { once: true });
    return;
  }
  try {
    glance = await api.overview();
    runs.clear();
    for (const sync of glance.recent) runs.set(sync.connection_id, [...runsOf(sync.connection_id), sync]);
    tell(null, 'overview');
  } catch (problem) {
    if (!(problem instanceof api.Refused)) throw problem; // Cards without their little charts are still cards.
  }
}
