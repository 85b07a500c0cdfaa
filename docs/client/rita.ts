// A typed client for pages: the calls of the API, and the organization's events. It needs nothing but fetch: a browser,
// or Node 20. Copy it together with schema.ts, which is generated from /api/openapi.json.

import type { components, paths } from './schema.js';

type Schemas = components['schemas'];
export type Connection = Schemas['ConnectionView'];
/** What a refusal says: `code` tells which one, and with it which further keys there are. */
export type Refusal = OneOf<{ [N in keyof Schemas]: Schemas[N] extends Coded ? Schemas[N] : never }>;
export type Told =
  | { type: 'data_source_snapshot'; id: string; data: Schemas['Snapshot'] }
  | { type: 'data_source_update'; id: string; data: Schemas['ConfigurationEvent' | 'SyncEvent' | 'VerificationEvent'] };

type Coded = { code: string; request_id: string };
type OneOf<T> = T[keyof T];
type Method = 'get' | 'post' | 'put' | 'patch' | 'delete';
type PathOf<M extends Method> = OneOf<{ [P in keyof paths]: paths[P] extends Record<M, object> ? P : never }>;
type Call<M extends Method, P extends PathOf<M>> = paths[P] extends Record<M, infer C> ? C : never;
type Json<T> = T extends { content: { 'application/json': infer Body } } ? Body : never;
type Answer<C> = C extends { responses: infer R } ? Json<R[keyof R & (200 | 201)]> : never;
type Parameters<C> = C extends { parameters: infer P } ? P : never;
type BodyOf<C> = C extends { requestBody?: infer B } ? Json<B> : never;
type WithBody<C> = C extends { requestBody: object } ? { body: BodyOf<C> } : { body?: BodyOf<C> };
type Given<C> = { signal?: AbortSignal } &
  (Parameters<C> extends { path: infer P } ? { path: P } : unknown) &
  (Parameters<C> extends { query?: infer Q } ? { query?: Q & object } : unknown) &
  (Parameters<C> extends { header?: infer H } ? { headers?: H & object } : unknown) &
  ([BodyOf<C>] extends [never] ? unknown : WithBody<C>);
type Arguments<C> = {} extends Given<C> ? [given?: Given<C>] : [given: Given<C>];
type Loose = { signal?: AbortSignal; path?: Values; query?: Values; headers?: Values; body?: unknown };
type Values = Record<string, unknown>;
type Body = ReadableStream<Uint8Array<ArrayBuffer>>;

const PATIENCE_MS = 30_000;
const PAUSES_MS = [1_000, 2_000, 5_000, 10_000, 20_000];
// Three of the server's heartbeats.
const SILENCE_MS = 45_000;
// Whatever a server or a page asks for: never a storm of requests, and never a page that seems to have given up. A timer
// with less, more or what is no number at all would fire at once.
const SHORTEST_PAUSE_MS = 200;
const LONGEST_PAUSE_MS = 300_000;

/**
 * The server's no. What never reached it is fetch's own TypeError instead, but where something in between answered with a
 * page of its own, as if all was well: `status` is then below 400. `retryAfterMs` is 0 if it does not say.
 */
export class Refused extends Error {
  constructor(readonly status: number, readonly answer: Refusal | undefined, readonly retryAfterMs: number) {
    const who = status < 400 ? 'Something in the place of Rita' : 'The server';
    super(answer?.message ?? `${who} answered ${status}; try again in a moment`);
  }

  get code(): Refusal['code'] | undefined {
    return this.answer?.code;
  }

  /** Whether the same again may go well: not before the token, the request or the connection is another one. */
  get isPassing(): boolean {
    return this.status < 400 || this.status >= 500 || [408, 425, 429].includes(this.status) || this.code === 'invalid_ticket';
  }
}

export type State = 'live' | 'connecting';
export type Listening = {
  signal?: AbortSignal;
  /** The id of an event, to go on after it. */
  after?: string;
  /** Hears of every change: whether what the page shows is of this moment. */
  onState?: (state: State) => void;
  silenceMs?: number;
  pausesMs?: number[];
};

export class Rita {
  /** `token` is asked before each call, so that it may be renewed. */
  constructor(readonly url: string, readonly token: () => string | Promise<string>) {}

  /** Call the API, as in `call('patch', '/api/data-sources/{connection_id}', { path: { connection_id }, body })`. */
  async call<M extends Method, P extends PathOf<M>>(
    method: M, path: P, ...[given]: Arguments<Call<M, P>>
  ): Promise<Answer<Call<M, P>>> {
    const { path: names = {}, query = {}, headers = {}, body, signal } = (given ?? {}) as Loose;
    const address = this.url + path.replace(/\{(\w+)\}/g, (_, name: string) => inPath(name, names[name]));
    const response = await fetch(`${address}?${new URLSearchParams(said(query))}`, {
      method: method.toUpperCase(),
      headers: { ...Object.fromEntries(said(headers)), Authorization: `Bearer ${await this.token()}`, 'Content-Type': 'application/json' },
      body: body === undefined ? null : JSON.stringify(body),
      cache: 'no-store',
      signal: signal ?? AbortSignal.timeout(PATIENCE_MS),
    });
    if (!response.ok) throw await refusedBy(response);
    const answer: unknown = await response.json().catch(() => undefined);
    if (answer === undefined) throw new Refused(response.status, undefined, 0);
    return answer as Answer<Call<M, P>>;
  }

  /**
   * Yield the organization's events for as long as `signal` and the token allow, over as many streams as it takes.
   *
   * A snapshot comes first, and again whenever what was missed is no longer kept; else each event comes once, in order.
   * Throws Refused once trying again is of no use, as when the token has expired.
   */
  async *events(listening: Listening = {}): AsyncGenerator<Told, void> {
    const { signal, onState, pausesMs = PAUSES_MS } = listening;
    const silenceMs = bounded(listening.silenceMs ?? SILENCE_MS);
    let { after = '' } = listening;
    let failures = 0;
    let state: State | undefined;
    const become = (next: State) => { if (next !== state) onState?.(state = next); };
    become('connecting');
    while (!signal?.aborted) {
      const mine = new AbortController();
      const ended = AbortSignal.any([mine.signal, ...(signal ? [signal] : [])]);
      let pause = 0;
      try {
        for await (const block of blocks(this.open(after, ended), silenceMs, () => mine.abort())) {
          failures = 0;
          become('live');
          const told = parse(block);
          if (!told) continue;
          after = told.id;
          yield told;
        }
      } catch (problem) {
        if (problem instanceof Refused && problem.isPassing) pause = problem.retryAfterMs;
        // A network's failure is a TypeError, and our own abort a DOMException.
        else if (!(problem instanceof TypeError || problem instanceof DOMException)) throw problem;
      } finally {
        mine.abort();
      }
      become('connecting');
      const next = pausesMs[Math.min(failures, pausesMs.length - 1)] ?? 0;
      failures += 1;
      // Pages that were cut off together shall not come back together.
      await sleep(bounded(Math.max(pause, next * (0.75 + Math.random() / 2))), signal);
    }
  }

  /** Open the stream with a fresh ticket: it is good once, so it may stand in an address; the token may not. */
  private async open(after: string, signal: AbortSignal): Promise<Body> {
    const { ticket } = await this.call('post', '/api/sse/tickets', { signal });
    const query = new URLSearchParams({ ticket, ...(after && { last_event_id: after }) });
    const response = await fetch(`${this.url}/api/sse?${query}`, { cache: 'no-store', signal });
    const isStream = response.headers.get('Content-Type')?.startsWith('text/event-stream');
    if (!response.ok || !isStream || !response.body) throw await refusedBy(response);
    return response.body;
  }
}

/** Bring up to date what a page knows, by id; false if the event is about a connection that it has still to fetch. */
export function apply(known: Map<string, Connection>, told: Told): boolean {
  if (told.type === 'data_source_snapshot') {
    known.clear();
    for (const connection of told.data.data) known.set(connection.id, connection);
    return true;
  }
  const { connectionId: id, change, timestamp, ...fields } = told.data;
  if ('deleted' in fields && fields.deleted) return known.delete(id) || true;
  const before = known.get(id);
  if (before) known.set(id, { ...before, ...fields });
  return Boolean(before);
}

/** Yield the stream's blocks, the heartbeats among them; a silence that is longer than theirs ends it. */
async function* blocks(opening: Promise<Body>, silenceMs: number, end: () => void): AsyncGenerator<string> {
  async function inTime<T>(awaited: Promise<T>): Promise<T> {
    const timer = setTimeout(end, silenceMs);
    return awaited.finally(() => clearTimeout(timer));
  }
  const reader = (await inTime(opening)).pipeThrough(new TextDecoderStream()).getReader();
  for (let pending = ''; ;) {
    const { value, done } = await inTime(reader.read());
    if (done) return;
    const found = (pending + value).split('\n\n');
    pending = found.pop() ?? '';
    yield* found;
  }
}

function parse(block: string): Told | undefined {
  const lines = block.split('\n').map((line) => line.match(/^(\w+): ?(.*)$/)?.slice(1) ?? []);
  const { event: type, id, data } = Object.fromEntries(lines) as Record<string, string | undefined>;
  const isKnown = type === 'data_source_snapshot' || type === 'data_source_update';
  return isKnown && id && data ? { type, id, data: JSON.parse(data) } as Told : undefined;
}

/** The names and values that were given: what is undefined or null was not, and a list is said one by one. */
function said(values: Values): [string, string][] {
  const all = Object.entries(values).flatMap(([name, value]) => [value].flat().map((one) => [name, one] as const));
  return all.filter(([, one]) => one !== undefined && one !== null).map(([name, one]) => [name, String(one)]);
}

function inPath(name: string, value: unknown): string {
  // Without it, the address would be another call's.
  if (value === undefined || value === null || value === '') throw new Error(`The path needs ${name}`);
  return encodeURIComponent(String(value));
}

async function refusedBy(response: Response): Promise<Refused> {
  const answer = await response.json().catch(() => undefined) as Refusal | undefined;
  return new Refused(response.status, answer, retryAfterMs(response.headers));
}

/** Read `Retry-After` (RFC 9110, section 10.2.3): seconds, or a date, by the server's own clock if that is shown. */
function retryAfterMs(headers: Headers): number {
  const value = headers.get('Retry-After')?.trim() ?? '';
  if (/^\d+(\.\d+)?$/.test(value)) return bounded(Number(value) * 1_000);
  // Date.parse finds dates in numbers, too.
  const moment = /^[A-Za-z]{3,9}, /.test(value) ? Date.parse(value) : NaN;
  if (Number.isNaN(moment)) return 0;
  const now = Date.parse(headers.get('Date') ?? '');
  return bounded(moment - (Number.isNaN(now) ? Date.now() : now));
}

function bounded(ms: number): number {
  return ms >= SHORTEST_PAUSE_MS ? Math.min(ms, LONGEST_PAUSE_MS) : SHORTEST_PAUSE_MS;
}

function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const wake = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', wake);
      resolve();
    };
    const timer = setTimeout(wake, ms);
    signal?.addEventListener('abort', wake);
    if (signal?.aborted) wake();
  });
}
