// The HTTP API: one way to call it, and one kind of error, which always says what to do. Addresses begin where the page
// lies, which may be under a path.

import { learnTime, now } from '../drawing/format.js';
import { expire, sitting, token, who } from '../signing-in/session.js';

const PATIENCE_MS = 30_000;
const SIGNED_OUT = {
  token_expired: 'Your sign-in has ended. Sign in again to go on.',
  default: 'This access token is not accepted. Open a fresh link or paste another token.',
};

const NOT_OURS = 'Something between you and the server answered in its place. Nothing may have happened; try again in a moment.';

const SOMEBODY_ELSE = 'You have signed in anew meanwhile; look whether it was done.';

export class Refused extends Error {
  constructor(status, answer = {}) {
    super(answer.message || answer.error || `The server answered ${status}; try again in a moment`);
    this.status = status;
    this.code = answer.code;
    this.answer = answer;
    this.detail = answer.request_id ? `Request ${answer.request_id}` : '';
  }
}

// Whether the token that the server has told of is good no more.
export const hasEnded = () => Date.parse(who().expires_at) < now();
export const authorization = () => ({ Authorization: `Bearer ${token()}` });

export async function call(method, path, { body, headers = {}, signal = AbortSignal.timeout(PATIENCE_MS) } = {}) {
  const asking = sitting();
  const response = await send(path, {
    method,
    signal,
    cache: 'no-store',
    headers: { ...authorization(), ...(body && { 'Content-Type': 'application/json' }), ...headers },
    body: body && JSON.stringify(body),
  });
  const answer = await answerOf(response);
  // What somebody else had asked for in this tab is not this person's to see.
  if (asking !== sitting()) throw new Refused(0, { message: SOMEBODY_ELSE });
  return answer;
}

async function answerOf(response) {
  const answer = await response.json().catch(() => null);
  if (response.ok && answer) return answer;
  throw new Refused(response.status, answer ?? (response.ok ? { message: NOT_OURS } : {}));
}

// Also for the stream, whose answer is not JSON unless it is refused.
export async function send(path, options) {
  const asking = token();
  let response;
  try {
    response = await fetch(path, options);
  } catch (problem) {
    if (problem.name === 'AbortError') throw problem;
    const message = navigator.onLine
      ? 'The server does not answer. Nothing may have happened; try again in a moment.'
      : 'You are offline. Nothing was sent; try again once you are connected.';
    throw new Refused(0, { message });
  }
  learnTime(response.headers.get('Date'));
  // Of a token that was replaced meanwhile, the answer means nothing any more.
  if (response.status === 401 && asking === token()) {
    const answer = await response.clone().json().catch(() => ({}));
    expire(SIGNED_OUT[answer.code] ?? SIGNED_OUT.default);
  }
  return response;
}

// What `Retry-After` says (RFC 9110, section 10.2.3), seconds or, as some proxies have it, a date; 0 if it says nothing.
export function retryAfterMs(headers) {
  const said = headers.get('Retry-After') ?? '';
  return /^\d+$/.test(said) ? Number(said) * 1_000 : Math.max(0, Date.parse(said) - now()) || 0;
}

const pathOf = (id) => `api/data-sources/${encodeURIComponent(id)}`;
const page = (before, limit) => new URLSearchParams({ limit, ...(before && { before }) });

// Whom another token names, without signing anybody in or out.
export async function personOf(given) {
  const options = { headers: { Authorization: `Bearer ${given}` }, cache: 'no-store', signal: AbortSignal.timeout(PATIENCE_MS) };
  const response = await fetch('api/me', options).catch(() => null);
  if (!response) throw new Refused(0, { message: 'The server does not answer. Open the link again in a moment.' });
  return (await answerOf(response)).data;
}

// The platform's page where people sign in, if there is one; asked for without a token.
export async function signInUrl() {
  const response = await fetch('sign-in', { cache: 'no-store', signal: AbortSignal.timeout(PATIENCE_MS) }).catch(() => null);
  return (response?.ok && (await response.json().catch(() => null))?.url) || null;
}

export const me = async () => (await call('GET', 'api/me')).data;
export const types = async () => (await call('GET', 'api/data-source-types')).data;
export const connections = async () => (await call('GET', 'api/data-sources')).data;
export const connection = async (id) => (await call('GET', pathOf(id))).data;
export const seed = () => call('POST', 'api/data-sources/seed');
export const create = async (type) => (await call('POST', 'api/data-sources', { body: { type } })).data;
export const remove = (id) => call('DELETE', pathOf(id));
export const verify = (id, body) => call('POST', `${pathOf(id)}/verify`, { body });
export const operations = (id, { before, limit = 20 } = {}) => call('GET', `${pathOf(id)}/operations?${page(before, limit)}`);
export const audit = (id, { before, limit = 20 } = {}) => call('GET', `${pathOf(id)}/audit?${page(before, limit)}`);
export const overview = async () => (await call('GET', 'api/overview')).data;
export const operation = async (id) => (await call('GET', `api/operations/${encodeURIComponent(id)}`)).data;
export const end = (operationId) => call('POST', `api/operations/${encodeURIComponent(operationId)}/end`);

export async function configure(id, fields, version) {
  const headers = version ? { 'If-Match': `"${version}"` } : {};
  return (await call('PATCH', pathOf(id), { body: fields, headers })).data;
}

// crypto.randomUUID is there with HTTPS and on loopback alone.
const newKey = () => crypto.getRandomValues(new BigUint64Array(2)).join('-');

// The key makes a press that is sent twice, by whatever mishap, one sync.
export function sync(id, { force = false } = {}) {
  return call('POST', `${pathOf(id)}/sync`, { body: { force }, headers: { 'Idempotency-Key': newKey() } });
}
