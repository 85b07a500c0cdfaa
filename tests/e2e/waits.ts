// What the typed client asks, and how long it waits, when a network that answers everything in one way is all there is.

import { Refused, Rita } from './rita.js';

declare const process: { argv: string[] };

const NOON = 'Mon, 30 Nov 2026 12:00:00 GMT';
const retryAfter = JSON.parse(process.argv[2] ?? '[]') as string[];
const asked: Request[] = [];
const rita = new Rita('https://rita.example', () => 'a-token');
const path = '/api/data-sources';

function answer(status: number, headers: HeadersInit = {}): void {
  asked.length = 0;
  globalThis.fetch = async (input, init) => {
    asked.push(new Request(input, init));
    return new Response('{}', { status, headers });
  };
}

async function refusal(): Promise<number> {
  try {
    await rita.call('get', path);
  } catch (problem) {
    if (problem instanceof Refused) return problem.retryAfterMs;
  }
  return NaN;
}

// What a proxy or a network says in Rita's place; in its text there are blank lines, as between events.
const PAGE = '<!doctype html>\n\n<p>Back soon\n\n</p>\n\n';

async function inItsPlace(streamAlone: boolean): Promise<object> {
  const states: string[] = [];
  let seen = 0;
  globalThis.fetch = async (input) => {
    seen += 1;
    const isTicket = String(input).includes('/api/sse/tickets');
    if (streamAlone && isTicket) return new Response('{"ticket": "a-ticket"}', { headers: { 'Content-Type': 'application/json' } });
    return new Response(PAGE, { headers: { 'Content-Type': 'text/html' } });
  };
  const signal = AbortSignal.timeout(1_500);
  for await (const _ of rita.events({ signal, pausesMs: [200, 60_000], onState: (state) => states.push(state) }));
  const called = await rita.call('get', path).catch((problem: Refused) => [problem.status, problem.isPassing, problem.message]);
  return { states, asked: seen - 1, called };
}

async function requests(headers: HeadersInit, pausesMs: number[]): Promise<number> {
  answer(503, headers);
  const signal = AbortSignal.timeout(1_500);
  for await (const _ of rita.events({ signal, pausesMs }));
  return asked.length;
}

const told: Record<string, unknown> = { retryAfterMs: {}, requests: {} };
for (const value of retryAfter) {
  answer(503, { 'Retry-After': value, Date: NOON });
  (told.retryAfterMs as Record<string, number>)[value] = await refusal();
}

const storms: [string, HeadersInit, number[]][] = [
  ['a date', { 'Retry-After': NOON }, [0]],
  ['nonsense', { 'Retry-After': 'soon' }, [0]],
  ['no pauses', {}, []],
  ['no number', {}, [NaN]],
  ['less than nothing', {}, [-1_000]],
  ['more than a timer takes', {}, [Infinity]],
];
for (const [name, headers, pauses] of storms) {
  (told.requests as Record<string, number>)[name] = await requests(headers, pauses);
}

told.inItsPlace = [await inItsPlace(false), await inItsPlace(true)];

answer(200);
const query = { status: 'failed', type: ['jira', 'slack'], enabled: false, limit: undefined, before: null };
await rita.call('get', path, { query, headers: { 'If-Match': undefined, 'X-Request-ID': null } } as object);
told.asked = { url: asked[0]?.url, headers: [...(asked[0]?.headers.keys() ?? [])].sort() };
told.withoutPath = await rita.call('get', '/api/data-sources/{connection_id}', { path: {} } as never).catch(String);
told.withoutPath = String(told.withoutPath).replace(/^Error: /, '');

console.log(JSON.stringify(told));
