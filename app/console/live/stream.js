// The event stream of one tab. Read with fetch rather than EventSource: the token stays out of the address, a refusal
// shows its status, and the heartbeats can be seen, so that a connection which died in silence is noticed.

import { authorization, Refused, retryAfterMs, send } from './api.js';
import { token } from '../signing-in/session.js';

const PAUSES_MS = [1_000, 2_000, 5_000, 10_000, 20_000];
// Whatever a server asks for: never a page that seems to have given up.
const LONGEST_PAUSE_MS = 300_000;
const FAILURES_UNTIL_OFFLINE = 3;
// Three of the server's heartbeats.
const SILENCE_MS = 45_000;

let heard = null; // {state, lost, event, after}: who reads, and the id of the last event it has
let lastHeardAt = 0;
let failures = 0;
let timer = 0;
let running = null; // the AbortController of the stream that is open or being opened

// A computer that slept finds the clock far ahead of the last heartbeat.
setInterval(() => { if (running && Date.now() - lastHeardAt > SILENCE_MS) again(); }, 5_000);

export function open(listener) {
  heard = listener;
  failures = 0;
  connect();
}

export function close() {
  heard = null;
  lose();
}

export function retry() {
  failures = 0;
  connect();
}

export const isQuiet = () => Date.now() - lastHeardAt > SILENCE_MS / 2;

// The network has gone, and says when it is back.
export function lose() {
  clearTimeout(timer);
  running?.abort();
  running = null;
}

async function connect() {
  clearTimeout(timer);
  running?.abort();
  const mine = new AbortController();
  running = mine;
  lastHeardAt = Date.now();
  heard.state(failures < FAILURES_UNTIL_OFFLINE ? 'reconnecting' : 'offline', { opening: true });
  let atLeast = 0;
  try {
    const after = heard.after();
    const headers = { ...authorization(), Accept: 'text/event-stream', ...(after && { 'Last-Event-ID': after }) };
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
    heard.state('live');
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
  if (fields.data.length) heard?.event({ name: fields.event, id: fields.id, data: JSON.parse(fields.data.join('\n')) });
}

function again(atLeast = 0) {
  lose();
  if (!token() || !heard) return;
  // Pages that were cut off together shall not come back together.
  const pause = PAUSES_MS[Math.min(failures, PAUSES_MS.length - 1)] * (0.75 + Math.random() / 2);
  failures += 1;
  heard.state(navigator.onLine && failures < FAILURES_UNTIL_OFFLINE ? 'reconnecting' : 'offline');
  timer = setTimeout(connect, Math.min(Math.max(pause, atLeast), LONGEST_PAUSE_MS));
  heard.lost();
}
