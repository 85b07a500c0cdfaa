// A page without a screen, made with the typed client: prints a line of JSON for whatever happens to it.

import { apply, Refused, Rita, type Connection } from './rita.js';

declare const process: { argv: string[] };

const [url = '', token = '', last = ''] = process.argv.slice(2);
const tell = (what: string, more: object) => console.log(JSON.stringify({ what, ...more }));

async function refused(act: () => Promise<unknown>): Promise<void> {
  try {
    await act();
  } catch (problem) {
    if (!(problem instanceof Refused)) throw problem;
    // Which one it is tells what else there is.
    const running = problem.answer?.code === 'sync_in_progress' ? problem.answer.operation.state : undefined;
    tell('refused', { status: problem.status, code: problem.code, running });
  }
}

const stranger = new Rita(url, () => 'not-a-token');
await refused(() => stranger.call('get', '/api/data-sources'));
await refused(() => stranger.events().next());

const rita = new Rita(url, () => token);
await rita.call('post', '/api/data-sources/seed');
const listed = await rita.call('get', '/api/data-sources', { query: { type: 'confluence', enabled: false } });
const { data: configured } = await rita.call('put', '/api/data-sources/{connection_id}', {
  path: { connection_id: 'confluence' },
  body: { config: { spaces: 'ENG' } },
});
tell('configured', { listed: listed.data.length, config: configured.config });

const { id } = configured;
const path = { connection_id: id };
const change = { path, headers: { 'If-Match': '"of-another-version"' }, body: { enabled: false } };
await refused(() => rita.call('patch', '/api/data-sources/{connection_id}', change));

const credentials = { api_token: 'a-token', email: 'ada@example.org', url: 'https://acme.example.org' };

const known = new Map<string, Connection>();
const leaving = new AbortController();
const onState = (state: string) => tell('state', { state });
for await (const told of rita.events({ signal: leaving.signal, onState, silenceMs: 2_000, pausesMs: [100, 300] })) {
  const isKnown = apply(known, told);
  const change = told.type === 'data_source_snapshot' ? undefined : told.data.change;
  tell('event', { type: told.type, id: told.id, change, isKnown, shown: known.get(id) });
  if (told.type === 'data_source_snapshot') {
    await rita.call('post', '/api/data-sources/{connection_id}/verify', { path, body: { credentials, settings: {} } });
  }
  if (change === 'verify.succeeded') {
    const headers = { 'Idempotency-Key': told.id };
    await rita.call('post', '/api/data-sources/{connection_id}/sync', { path, headers });
    await refused(() => rita.call('post', '/api/data-sources/{connection_id}/sync', { path }));
  }
  if ('last_sync_error' in told.data && told.data.last_sync_error === last) leaving.abort();
}
tell('left', {});
