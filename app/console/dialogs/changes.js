// The audit trail in words that people use: what was set to what, never how a column is called.

import { make } from '../drawing/dom.js';
import { dated, humanized, wordsOf } from '../drawing/format.js';
import { who } from '../signing-in/session.js';

const ACTORS = { external_service: 'The external service', system: 'Rita' };
const HAPPENINGS = {
  'connection.created': 'created it', 'connection.configured': 'changed its settings', 'connection.restored': 'added it again',
  'connection.deleted': 'removed it', 'verify.requested': 'asked for a verification', 'sync.requested': 'asked for a sync',
  'verify.succeeded': 'found the credentials good', 'verify.failed': 'did not verify the credentials',
  'sync.started': 'started a sync', 'sync.succeeded': 'finished a sync', 'sync.failed': 'could not finish a sync',
  'verify.expired': 'stopped waiting for a verification', 'sync.expired': 'stopped waiting for a sync',
  'verify.undelivered': 'could not deliver a verification', 'sync.undelivered': 'could not deliver a sync',
  'verify.ended': 'cancelled a verification', 'sync.ended': 'cancelled a sync',
  'verify.unreadable': 'sent an answer to a verification that could not be read',
  'sync.unreadable': 'sent an answer to a sync that could not be read',
};
const OWN = { simulate: 'Rehearsed fault' };
const NOT_SET = 'not set';

// One entry; `people` are those known from runs, `type` the registry's entry, whose labels settings have on the form.
export function changeOf({ actor_type: kind, actor_id: id, actor_email: email, action, changes, created_at: at }, people, type) {
  const mine = id && id === who().user_id;
  const actor = kind === 'user' ? (mine ? 'You' : email ?? people.get(id) ?? `User ${String(id).slice(0, 8)}`) : ACTORS[kind] ?? kind;
  const lines = linesOf(action, changes, type);
  return make('li', {}, make('p', {}, make('strong', {}, actor), ` ${HAPPENINGS[action] ?? humanized(action.replace('.', ' ')).toLowerCase()}, `, dated(at)),
    lines.length > 0 && make('ul', { class: 'changes' }, ...lines.map((line) => make('li', {}, line))));
}

function linesOf(action, changes, type) {
  const lines = [];
  const tell = (label, [before, after]) => {
    const [old, fresh] = [shown(before), shown(after)];
    if (old !== fresh) lines.push(old === NOT_SET && action === 'connection.created' ? `${label}: ${fresh}` : `${label}: ${old} → ${fresh}`);
  };
  // What a new source is called is its own name.
  if (changes.name && action !== 'connection.created') tell('Name', changes.name);
  if (changes.description && action !== 'connection.created') tell('Description', changes.description);
  if (changes.config) for (const [key, pair] of settingsOf(changes.config)) tell(labelOf(key, type), pair);
  if (changes.enabled && changes.enabled[0] !== null) lines.push(changes.enabled[1] ? 'Switched on' : 'Switched off');
  for (const name of ['last_verification_error', 'last_sync_error']) if (changes[name]?.[1]) lines.push(`Reason: ${changes[name][1]}`);
  if (changes.latest_options?.[1]) {
    for (const [key, pair] of settingsOf(changes.latest_options)) {
      const [old, fresh] = pair.map((value) => wordsOf(value).length);
      if (fresh || old) lines.push(`${labelOf(key, type)} to choose from: ${old && old !== fresh ? `${old} → ${fresh}` : fresh}`);
    }
  }
  return lines;
}

// Each key with its value before and after, of two objects; one that was too long to keep is one value.
function settingsOf([before, after]) {
  if (isAbridged(before) || isAbridged(after)) return [['settings', [before, after]]];
  const keys = new Set([...Object.keys(before ?? {}), ...Object.keys(after ?? {})]);
  return [...keys].map((key) => [key, [before?.[key], after?.[key]]]);
}

const isAbridged = (value) => value?.abridged === true && Boolean(value.sha256);

function labelOf(key, type) {
  return OWN[key] ?? type.config_fields.find(({ name }) => name === key)?.label ?? humanized(key);
}

function shown(value) {
  if (value === null || value === undefined || value === '') return NOT_SET;
  if (typeof value === 'boolean') return value ? 'yes' : 'no';
  if (isAbridged(value)) return `${value.begins}… (${value.bytes} bytes)`;
  if (Array.isArray(value) || typeof value === 'string') return wordsOf(value).join(', ');
  if (typeof value === 'object' && !Object.keys(value).length) return NOT_SET;
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}
