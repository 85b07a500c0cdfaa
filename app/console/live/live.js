// Whether what is seen is of this moment. All tabs of a browser that show one organization share one stream, for browsers
// allow six connections to a server over HTTP/1.1: the tab that holds a lock reads it and tells the others. A tab that
// nobody sees gives it to one that is seen; where browsers have no locks (no HTTPS, no loopback), each tab reads its own.

import { hasEnded } from './api.js';
import { token } from '../signing-in/session.js';
import * as stream from './stream.js';

const HIDDEN_MS = 15_000;
const ALIVE_MS = 5_000;
// A tab that reads says every few seconds that it is there; one that a phone has put to sleep does not. First nobody is
// told any more that all is live, then the turn is taken away.
const DOUBTED_MS = 12_000;
const GONE_MS = 30_000;

let handlers = {};
let state = 'offline';
let lastEventId = '';
let hiddenTimer = 0;
let name = ''; // the lock's and the channel's: this Rita, this organization
let channel = null;
let turn = null; // the AbortController of this tab's turn, or of its waiting for one
let reads = false;
let toldAt = 0; // when the tab that reads was last heard of

export const isLive = () => state === 'live';

export function listen(given) {
  handlers = given;
  document.addEventListener('visibilitychange', () => (document.hidden ? hide() : wake()));
  addEventListener('online', () => { if (!document.hidden) wake(); });
  addEventListener('offline', () => { if (reads) stream.lose(); become('offline'); });
  document.addEventListener('freeze', rest);
  document.addEventListener('resume', wake);
  setInterval(watch, ALIVE_MS);
}

function watch() {
  if (reads) tell({ kind: 'alive' });
  if (reads || !name || document.hidden) return;
  const silent = Date.now() - toldAt;
  if (silent > GONE_MS) queue({ steal: true });
  else if (silent > DOUBTED_MS) become('reconnecting');
}

// Ids belong to one organization's stream, and this may be another.
export function start(organization) {
  stop();
  lastEventId = '';
  name = `rita ${location.pathname} ${organization}`;
  channel = new BroadcastChannel(name);
  channel.addEventListener('message', ({ data }) => hear(data));
  // Nobody sees it yet: one of many tabs that a browser opens again, or that somebody keeps for later.
  if (document.hidden) become('paused');
  else queue();
}

export function stop() {
  clearTimeout(hiddenTimer);
  rest();
  channel?.close();
  channel = null;
  name = '';
  become('offline');
}

export function retryNow() {
  if (reads) stream.retry();
  else tell({ kind: 'retry' });
}

// --- Whose turn it is to read ----------------------------------------------------------------------------------------

function queue({ steal = false } = {}) {
  if (reads || (turn && !steal)) return;
  turn?.abort();
  const mine = new AbortController();
  turn = mine;
  toldAt = Date.now();
  if (!isLive()) become('reconnecting');
  if (!navigator.locks) {
    read();
    return;
  }
  tell({ kind: 'who reads?' });
  const hold = () => new Promise((resolve) => {
    if (mine.signal.aborted) { resolve(); return; }
    mine.signal.addEventListener('abort', resolve);
    read();
  });
  // Another tab that takes the lock away ends the turn; a lock cannot be stolen and waited for at once.
  navigator.locks.request(name, steal ? { steal } : { signal: mine.signal }, hold).catch(() => {
    if (turn !== mine) return;
    rest();
    if (!document.hidden) queue();
  });
}

function read() {
  reads = true;
  stream.open({ after: () => lastEventId, event: take, lost: lose, state: (next, { opening = false } = {}) => {
    if (!opening || !isLive()) become(next);
  } });
}

function rest() {
  turn?.abort();
  turn = null;
  if (!reads) return;
  reads = false;
  stream.close();
}

function wake() {
  clearTimeout(hiddenTimer);
  if (!token() || !name) return;
  if (reads) {
    if (!isLive() || stream.isQuiet()) stream.retry();
  } else if (turn) tell({ kind: 'who reads?' });
  else queue();
}

function hide() {
  clearTimeout(hiddenTimer);
  hiddenTimer = setTimeout(() => { if (document.hidden && name) { rest(); become('paused'); } }, HIDDEN_MS);
}

// --- What the tabs tell each other -----------------------------------------------------------------------------------

const tell = (message) => channel?.postMessage(message);
const tellState = () => tell({ kind: 'state', state, last: lastEventId });

function hear({ kind, ...message }) {
  if (kind === 'who reads?') { if (reads) tellState(); return; }
  if (kind === 'retry') { if (reads) stream.retry(); return; }
  if (reads) return; // Another one has just taken the turn.
  toldAt = Date.now();
  // The other tab may hold a token that lasts longer.
  if (kind === 'event' && !hasEnded()) dispatch(message);
  if (kind === 'lost' && !document.hidden) handlers.lost?.();
  if (kind !== 'state' || document.hidden) return;
  // What the one that reads has seen and this tab has not is asked for at once.
  if (message.state === 'live' && message.last !== lastEventId) {
    lastEventId = message.last;
    handlers.lost?.();
  }
  become(message.state);
}

function take(event) {
  dispatch(event);
  tell({ kind: 'event', ...event });
}

function lose() {
  tell({ kind: 'lost' });
  handlers.lost?.();
}

function dispatch({ name: event, id, data }) {
  if (id) lastEventId = id;
  handlers[event]?.(data);
}

function become(next) {
  if (state === next) return;
  state = next;
  if (reads) tellState();
  handlers.state?.(next);
}
