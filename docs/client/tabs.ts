// One event stream for all tabs of a browser, which has six connections to a server over HTTP/1.1: the tab whose turn it is
// reads the stream and tells the others. Needs rita.ts and nothing else. Without Web Locks (no HTTPS, not on loopback)
// each tab reads a stream of its own.

import type { Rita, State, Told } from './rita.js';

/** `paused`: nobody sees the tab, so it may be behind; it catches up once it is seen. */
export type Liveness = State | 'paused';
export type Following = {
  /** Whose events they are, as in `GET /api/me`: tabs share a stream only with their own organization's. */
  organization: string;
  signal: AbortSignal;
  onEvent: (told: Told) => void;
  /** Something may have been missed: load again what is shown. */
  onMissed: () => void;
  onState?: (state: Liveness) => void;
  silenceMs?: number;
  pausesMs?: number[];
};

type Message =
  | { kind: 'event'; told: Told }
  | { kind: 'state'; state: Liveness; last: string }
  | { kind: 'alive' }
  | { kind: 'who reads?' };

const HIDDEN_MS = 15_000;
const ALIVE_MS = 5_000;
// The tab that reads says every few seconds that it is there; one that a phone has put to sleep does not. First nobody is
// told any more that all is live, then the turn is taken away.
const DOUBTED_MS = 12_000;
const GONE_MS = 30_000;

/** Follow the organization's events until `signal` aborts; throws Refused once nothing but a new sign-in helps. */
export async function follow(rita: Rita, following: Following): Promise<void> {
  const { organization, signal, onEvent, onMissed, onState, ...listening } = following;
  const name = `rita ${rita.url} ${organization}`;
  const channel = new BroadcastChannel(name);
  let state: Liveness | undefined;
  let last = '';
  let reads = false;
  let steal = false;
  let heardAt = Date.now();
  let turn = new AbortController();
  let hidden: ReturnType<typeof setTimeout> | undefined;

  const tell = (message: Message) => channel.postMessage(message);
  const tellState = () => state && tell({ kind: 'state', state, last });
  const become = (next: Liveness) => {
    if (next === state) return;
    onState?.(state = next);
    if (reads) tellState();
  };
  const take = (told: Told) => {
    last = told.id;
    onEvent(told);
  };

  channel.onmessage = ({ data }: MessageEvent<Message>) => {
    if (data.kind === 'who reads?') return void (reads && tellState());
    if (reads) return; // Another tab has just taken the turn.
    heardAt = Date.now();
    if (data.kind === 'event') take(data.told);
    if (data.kind !== 'state' || document.hidden) return;
    // What the tab that reads has seen, and this one has not.
    if (data.state === 'live' && data.last !== last) {
      last = data.last;
      onMissed();
    }
    become(data.state);
  };
  const watch = setInterval(() => {
    if (reads) tell({ kind: 'alive' });
    if (reads || document.hidden) return;
    const silent = Date.now() - heardAt;
    if (silent > DOUBTED_MS) become('connecting');
    if (silent < GONE_MS) return;
    steal = true;
    turn.abort();
  }, ALIVE_MS);
  const sleep = () => turn.abort();
  const look = () => {
    clearTimeout(hidden);
    if (document.hidden) hidden = setTimeout(() => turn.abort(), HIDDEN_MS);
    else tell({ kind: 'who reads?' });
  };
  document.addEventListener('visibilitychange', look);
  document.addEventListener('freeze', sleep);

  async function read(ended: AbortSignal): Promise<void> {
    reads = true;
    try {
      for await (const told of rita.events({ ...listening, signal: ended, after: last, onState: become })) {
        take(told);
        tell({ kind: 'event', told });
      }
    } finally {
      reads = false;
    }
  }

  try {
    while (!signal.aborted) {
      if (document.hidden) become('paused');
      await isSeen(signal);
      if (state !== 'live') become('connecting');
      turn = new AbortController();
      heardAt = Date.now();
      const ended = AbortSignal.any([signal, turn.signal]);
      const how = steal ? { steal } : { signal: ended };
      steal = false;
      tell({ kind: 'who reads?' });
      try {
        await ('locks' in navigator ? navigator.locks.request(name, how, () => read(ended)) : read(ended));
      } catch (problem) {
        // The turn was given up or taken away; the next one is waited for.
        const isOurs = ended.aborted || (problem instanceof DOMException && problem.name === 'AbortError');
        if (!isOurs) throw problem;
      } finally {
        turn.abort();
      }
    }
  } finally {
    clearInterval(watch);
    clearTimeout(hidden);
    document.removeEventListener('visibilitychange', look);
    document.removeEventListener('freeze', sleep);
    channel.close();
  }
}

function isSeen(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const look = () => {
      if (document.hidden && !signal.aborted) return;
      document.removeEventListener('visibilitychange', look);
      signal.removeEventListener('abort', look);
      resolve();
    };
    document.addEventListener('visibilitychange', look);
    signal.addEventListener('abort', look);
    look();
  });
}
