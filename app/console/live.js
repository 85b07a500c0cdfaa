// The event stream. Read with fetch rather than EventSource: the token stays out of the address, a refusal shows its
// status, and the heartbeats can be seen, so that a connection which died in silence is noticed.

import { authorization, Refused, retryAfterMs, send } from './api.js';
import { token } from './session.js';

const PAUSES_MS = [1_000, 2_000, 5_000, 10_000, 20_000];
// Whatever a server asks for: never a page that seems to have given up.
const LONGEST_PAUSE_MS = 300_000;
const FAILURES_UNTIL_OFFLINE = 3;
// Three of the server's heartbeats.
const SILENCE_MS = 45_000;
// Browsers allow six connections to a server over HTTP/1.1; tabs that nobody sees must not hold them all.
const HIDDEN_MS = 15_000;

let handlers = {};
let state = 'offline';
let lastEventId = '';
let lastHeardAt = 0;
let failures = 0;
let timer = 0;
let hiddenTimer = 0;
let running = null; // the AbortController of the stream that is open or being opened

export const isLive = () => state === 'live';

export function listen(given) {
  handlers = given;
  document.addEventListener('visibilitychange', () => (document.hidden ? hide() : wake()));
  addEventListener('online', () => { if (!document.hidden) wake(); });
  addEventListener('offline', () => lose());
  // A computer that slept finds the clock far ahead of the last heartbeat.
  setInterval(() => { if (running && Date.now() - lastHeardAt > SILENCE_MS) again(); }, 5_000);
}

export function start() {
  lastEventId = ''; // Ids belong to one organization's stream, and this may be another.
  failures = 0;
  // Nobody sees it yet: one of many tabs that a browser opens again, or that somebody keeps for later.
  if (document.hidden) become('paused');
  else connect();
}

export function stop() {
  clearTimeout(timer);
  clearTimeout(hiddenTimer);
  running?.abort();
  running = null;
  become('offline');
}

export function retryNow() {
  failures = 0;
  connect();
}

function wake() {
  clearTimeout(hiddenTimer);
  if (token() && (!isLive() || Date.now() - lastHeardAt > SILENCE_MS / 2)) retryNow();
}

function hide() {
  clearTimeout(hiddenTimer);
  hiddenTimer = setTimeout(() => { if (document.hidden) { stop(); become('paused'); } }, HIDDEN_MS);
}

function lose() {
  clearTimeout(timer);
  running?.abort();
  running = null;
  become('offline');
}

function become(next) {
  if (state === next) return;
  state = next;
  handlers.state?.(next);
}

async function connect() {
  clearTimeout(timer);
  running?.abort();
  const mine = new AbortController();
  running = mine;
  lastHeardAt = Date.now();
  if (!isLive()) become(failures < FAILURES_UNTIL_OFFLINE ? 'reconnecting' : 'offline');
  let atLeast = 0;
  try {
    const headers = { ...authorization(), Accept: 'text/event-stream', ...(lastEventId && { 'Last-Event-ID': lastEventId }) };
    const response = await send('api/sse', { headers, signal: mine.signal, cache: 'no-store' });
    atLeast = retryAfterMs(response.headers);
    // A proxy's or a network's own page is answered with 200, too.
    const isStream = response.headers.get('Content-Type')?.startsWith('text/event-stream');
    if (!response.ok || !isStream) throw new Refused(response.status);
    await read(response.body, mine);
  } catch (problem) {
    // Whatever breaks a stream off, there is one thing to do about it; a fault of ours is shown as one.
    if (!(problem instanceof Refused || problem instanceof TypeError || problem instanceof DOMException)) throw problem;
  } finally {
    if (running === mine) again(atLeast);
  }
}

async function read(body, mine) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let pending = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done || running !== mine) return;
    lastHeardAt = Date.now();
    failures = 0;
    become('live');
    const blocks = (pending + value).split('\n\n');
    pending = blocks.pop();
    blocks.forEach(dispatch);
  }
}

function dispatch(block) {
  const fields = { event: 'message', data: [] };
  for (const line of block.split('\n')) {
    const colon = line.indexOf(':');
    if (colon <= 0) continue; // A comment: the heartbeat.
    const name = line.slice(0, colon);
    const value = line.slice(colon + 1).replace(/^ /, '');
    if (name === 'data') fields.data.push(value);
    else fields[name] = value;
  }
  if (fields.id) lastEventId = fields.id;
  if (fields.data.length) handlers[fields.event]?.(JSON.parse(fields.data.join('\n')));
}

function again(atLeast = 0) {
  running?.abort();
  running = null;
  if (!token()) return;
  clearTimeout(timer);
  // Pages that were cut off together shall not come back together.
  const pause = PAUSES_MS[Math.min(failures, PAUSES_MS.length - 1)] * (0.75 + Math.random() / 2);
  failures += 1;
  become(navigator.onLine && failures < FAILURES_UNTIL_OFFLINE ? 'reconnecting' : 'offline');
  timer = setTimeout(connect, Math.min(Math.max(pause, atLeast), LONGEST_PAUSE_MS));
  handlers.lost?.();
}
