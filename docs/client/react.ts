// React hooks on TanStack Query, kept true by the organization's events. Copy it together with rita.ts, tabs.ts and
// schema.ts; it needs react and @tanstack/react-query, which you have.

import { useInfiniteQuery, useMutation, useQuery, useQueryClient, type InfiniteData, type QueryClient } from '@tanstack/react-query';
import { createContext, createElement, useContext, useEffect, useMemo, useRef, useState, type ReactNode } from 'react';
import { apply, Refused, Rita, type Connection, type Told } from './rita.js';
import type { components } from './schema.js';
import { follow, type Liveness } from './tabs.js';

type Schemas = components['schemas'];
export type Operation = Schemas['OperationDetail'];
export type SourceType = Schemas['TypeView'];
export type Verification = Schemas['VerifyBody'];
/** What to change; with the `version` that a form was filled from, a change in between is refused (412). */
export type Change = Schemas['ConfigureBody'] & { version?: string };
export type Live = {
  state: Liveness;
  /** The server's no that ended the events: sign in again, then `again()`. */
  refused: Refused | undefined;
  again: () => void;
};

// Without events the page asks instead: slower, but right.
const ASKED_EVERY_MS = 15_000;
const PATIENCE_MS = 30_000;
const PATH = '/api/data-sources/{connection_id}';

type Shared = { rita: Rita; live: Live; keys: ReturnType<typeof keysOf>; heard: Heard };
const Context = createContext<Shared | undefined>(undefined);

/** How many events each connection has had, so that an answer which one of them has overtaken is left alone. */
class Heard {
  private readonly counts = new Map<string, number>();
  of = (id: string) => this.counts.get(id) ?? 0;
  take(id: string): void { this.counts.set(id, this.of(id) + 1); }
}

const numbers = new WeakMap<Rita, number>();
let numbered = 0;

/** A new Rita is another person's: nothing that the one before has seen is shown to them. */
function keysOf(rita: Rita) {
  const number = numbers.get(rita) ?? numbers.set(rita, numbered += 1).get(rita);
  return {
    all: ['rita', number, 'data-sources'],
    types: ['rita', number, 'types'],
    me: ['rita', number, 'me'],
    operations: (id: string) => ['rita', number, 'operations', id],
  };
}

/** Gives the hooks below their Rita, and keeps one event stream for all of them and for all tabs of the browser. */
export function RitaProvider({ rita, children }: { rita: Rita; children?: ReactNode }) {
  const client = useQueryClient();
  const keys = useMemo(() => keysOf(rita), [rita]);
  const heard = useMemo(() => new Heard(), [rita]);
  const [state, setState] = useState<Liveness>('connecting');
  const [refused, setRefused] = useState<Refused>();
  const [tries, setTries] = useState(0);
  useEffect(() => {
    const leaving = new AbortController();
    const { signal } = leaving;
    const onMissed = () => void client.invalidateQueries({ queryKey: keys.all });
    const run = async () => {
      const { data: me } = await client.fetchQuery({ queryKey: keys.me, queryFn: () => rita.call('get', '/api/me'), staleTime: Infinity });
      const onEvent = (told: Told) => take(client, keys, heard, told);
      await follow(rita, { organization: me.organization_id, signal, onEvent, onMissed, onState: setState });
    };
    setRefused(undefined);
    run().catch((problem: unknown) => {
      if (signal.aborted) return;
      setState('connecting');
      if (problem instanceof Refused && !problem.isPassing) setRefused(problem);
      // What never reached the server may do so in a moment.
      else setTimeout(() => { if (!signal.aborted) setTries((before) => before + 1); }, ASKED_EVERY_MS / 5);
    });
    return () => leaving.abort();
  }, [client, rita, keys, heard, tries]);
  const shared = useMemo(() => {
    const again = () => {
      setTries((before) => before + 1);
      void client.invalidateQueries({ queryKey: keys.all.slice(0, 2) });
    };
    return { rita, keys, heard, live: { state, refused, again } };
  }, [client, rita, keys, heard, state, refused]);
  return createElement(Context.Provider, { value: shared }, children);
}

function take(client: QueryClient, keys: Shared['keys'], heard: Heard, told: Told): void {
  const before = client.getQueryData<Connection[]>(keys.all);
  if (told.type === 'data_source_snapshot') told.data.data.forEach(({ id }) => heard.take(id));
  else heard.take(told.data.connectionId);
  const known = new Map(before?.map((each) => [each.id, each]));
  if (before || told.type === 'data_source_snapshot') {
    const isKnown = apply(known, told);
    client.setQueryData<Connection[]>(keys.all, [...known.values()]);
    // About one that is new here.
    if (!isKnown) void client.invalidateQueries({ queryKey: keys.all });
  }
  if (told.type === 'data_source_snapshot') void client.invalidateQueries({ queryKey: keys.operations('').slice(0, 3) });
  else if ('operation_id' in told.data) void client.invalidateQueries({ queryKey: keys.operations(told.data.connectionId) });
}

function useShared(): Shared {
  const shared = useContext(Context);
  if (!shared) throw new Error('The hooks need a RitaProvider around them');
  return shared;
}

/** Whether what is shown is of this moment, and what to do where it is not. */
export const useLive = (): Live => useShared().live;
export const useRita = (): Rita => useShared().rita;

const timed = (signal: AbortSignal) => AbortSignal.any([signal, AbortSignal.timeout(PATIENCE_MS)]);
// A no is a no: only what may go well the next time is tried again.
const retry = (failures: number, problem: Error) => failures < 3 && !(problem instanceof Refused && !problem.isPassing);

function useList<T>(select: (all: Connection[]) => T) {
  const { rita, keys, heard, live } = useShared();
  const client = useQueryClient();
  return useQuery({
    queryKey: keys.all,
    queryFn: async ({ signal }) => {
      const marks = new Map(client.getQueryData<Connection[]>(keys.all)?.map(({ id }) => [id, heard.of(id)]));
      const { data } = await rita.call('get', '/api/data-sources', { signal: timed(signal) });
      // What came meanwhile is the newer word on its connection.
      const now = new Map(client.getQueryData<Connection[]>(keys.all)?.map((each) => [each.id, each]));
      return data.map((each) => (heard.of(each.id) === (marks.get(each.id) ?? 0) ? each : now.get(each.id) ?? each));
    },
    staleTime: Infinity,
    refetchInterval: live.state === 'live' ? false : ASKED_EVERY_MS,
    retry,
    select,
  });
}

const whole = (all: Connection[]) => all;

/** All connections of the organization, live. */
export const useDataSources = () => useList(whole);

/** One of them, live; `data` is undefined where there is none of that id. */
export const useDataSource = (id: string) => useList((all) => all.find((each) => each.id === id));

/** The kinds of sources, with the fields of their forms. */
export function useSourceTypes() {
  const { rita, keys } = useShared();
  return useQuery({
    queryKey: keys.types,
    queryFn: async ({ signal }) => (await rita.call('get', '/api/data-source-types', { signal: timed(signal) })).data,
    staleTime: Infinity,
    retry,
  });
}

type OperationsPage = Schemas['ManyOperations'];

/** What has run on a connection, newest first, live; `fetchNextPage` brings older ones. */
export function useOperations(id: string) {
  const { rita, keys, live } = useShared();
  return useInfiniteQuery({
    queryKey: keys.operations(id),
    queryFn: async ({ pageParam: before, signal }): Promise<OperationsPage> =>
      rita.call('get', `${PATH}/operations`, { path: { connection_id: id }, query: { ...(before && { before }) }, signal: timed(signal) }),
    initialPageParam: '',
    getNextPageParam: ({ next }: OperationsPage) => next,
    select: ({ pages }: InfiniteData<OperationsPage>) => pages.flatMap(({ data }) => data),
    refetchInterval: live.state === 'live' ? false : ASKED_EVERY_MS,
    retry,
  });
}

/** After a press: where no event tells of it, the list does. */
function useSettled(id: string) {
  const { keys, live } = useShared();
  const client = useQueryClient();
  return () => {
    void client.invalidateQueries({ queryKey: keys.operations(id) });
    if (live.state !== 'live') void client.invalidateQueries({ queryKey: keys.all });
  };
}

/** Ask whether credentials are good. They are in no cache: what is sent is forgotten when it is sent. */
export function useVerify(id: string) {
  const { rita } = useShared();
  const held = useRef<Verification>(undefined);
  const { mutate, mutateAsync, variables: _, ...rest } = useMutation({
    mutationFn: () => {
      const body = held.current ?? { credentials: {}, settings: {} };
      held.current = undefined;
      return rita.call('post', `${PATH}/verify`, { path: { connection_id: id }, body });
    },
    onSettled: useSettled(id),
  });
  const hold = (body: Verification) => { held.current = body; };
  return {
    ...rest,
    mutate: (body: Verification) => { hold(body); mutate(); },
    mutateAsync: (body: Verification) => { hold(body); return mutateAsync(); },
  };
}

/** Ask for a sync; `force` takes the place of one that runs. Each press has a key, so that a repetition is the same sync. */
export function useSync(id: string) {
  const { rita } = useShared();
  const { mutate, mutateAsync, ...rest } = useMutation({
    mutationFn: ({ force, key }: { force: boolean; key: string }) =>
      rita.call('post', `${PATH}/sync`, { path: { connection_id: id }, body: { force }, headers: { 'Idempotency-Key': key } }),
    onSettled: useSettled(id),
  });
  const keyed = ({ force = false }: { force?: boolean } = {}) => ({ force, key: newKey() });
  return {
    ...rest,
    mutate: (wanted?: { force?: boolean }) => mutate(keyed(wanted)),
    mutateAsync: (wanted?: { force?: boolean }) => mutateAsync(keyed(wanted)),
  };
}

/** Change name, description, `config` or `enabled`. */
export function useConfigure(id: string) {
  const { rita, keys, heard } = useShared();
  const client = useQueryClient();
  return useMutation({
    mutationFn: async ({ version, ...body }: Change) => {
      const mark = heard.of(id);
      const headers = version === undefined ? {} : { 'If-Match': `"${version}"` };
      const { data: saved } = await rita.call('patch', PATH, { path: { connection_id: id }, headers, body });
      if (heard.of(id) === mark) {
        client.setQueryData<Connection[]>(keys.all, (all) => all?.map((each) => (each.id === id ? saved : each)));
      }
      return saved;
    },
    onError: () => void client.invalidateQueries({ queryKey: keys.all }),
  });
}

// crypto.randomUUID needs HTTPS or loopback; this does not.
const newKey = () => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
