import { useState, type FormEvent } from 'react';
import { useConfigure, useDataSources, useLive, useOperations, useRita, useSourceTypes, useSync, useVerify, type SourceType } from './rita/react.js';
import type { Connection } from './rita/rita.js';

export function App() {
  const { data: sources, error } = useDataSources();
  const { data: types } = useSourceTypes();
  const { state, refused } = useLive();
  const rita = useRita();
  return (
    <main>
      <h1>Our data sources <small role="status">{state}</small></h1>
      {refused ? <SignIn why={refused.message} /> : !sources && error && <p role="alert">{error.message}</p>}
      {sources?.length === 0 && <button onClick={() => void rita.call('post', '/api/data-sources/seed')}>Add the standard sources</button>}
      {sources?.map((source) => <Source key={source.id} source={source} type={types?.find(({ name }) => name === source.type)} />)}
    </main>
  );
}

// What is half-filled below stays while somebody signs in again.
function SignIn({ why }: { why: string }) {
  const { again } = useLive();
  const signIn = (data: FormData) => {
    sessionStorage.setItem('token', String(data.get('token')));
    again();
  };
  return (
    <form action={signIn}>
      <p role="alert">{why}</p>
      <label>Access token <input name="token" type="password" required /></label> <button>Sign in</button>
    </form>
  );
}

function Source({ source, type }: { source: Connection; type: SourceType | undefined }) {
  const { display, operation } = source;
  const sync = useSync(source.id);
  const [open, setOpen] = useState<'' | 'credentials' | 'choice' | 'runs'>('');
  const counted = operation?.documents_processed ?? source.last_sync_documents;
  return (
    <section aria-label={source.name}>
      <h2>{source.name}</h2>
      <p><strong>{display.state}</strong> {display.reason} {display.advice} {counted != null && `${counted} documents`}</p>
      {display.note && <p>{display.note}</p>}
      {sync.error && <p role="alert">{sync.error.message}</p>}
      <button onClick={() => sync.mutate()} disabled={display.action !== 'sync' || sync.isPending}>Sync</button>
      <button onClick={() => setOpen('credentials')}>Credentials</button>
      <button onClick={() => setOpen('choice')} disabled={!source.last_verification_at}>Choose</button>
      <button onClick={() => setOpen('runs')}>Runs</button>
      {open === 'credentials' && type && <Credentials source={source} type={type} />}
      {open === 'choice' && <Choice source={source} done={() => setOpen('')} />}
      {open === 'runs' && <Runs source={source} />}
    </section>
  );
}

function Credentials({ source, type }: { source: Connection; type: SourceType }) {
  const verify = useVerify(source.id);
  const send = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    verify.mutate({ credentials: Object.fromEntries(new FormData(event.currentTarget)) as Record<string, string> });
  };
  return (
    <form onSubmit={send}>
      {type.credential_fields.map(({ name, label, help, link, secret, required }) => (
        <p key={name}>
          <label>{label} <input name={name} type={secret ? 'password' : 'text'} required={required} autoComplete="off" /></label>
          {' '}{help} {link && <a href={link} target="_blank" rel="noreferrer">Where to find it</a>}
        </p>
      ))}
      {verify.error && <p role="alert">{verify.error.message}</p>}
      <button disabled={source.status !== 'idle' || verify.isPending}>Verify</button>
    </form>
  );
}

function Choice({ source, done }: { source: Connection; done: () => void }) {
  const configure = useConfigure(source.id);
  const [version] = useState(source.version); // of what the form is filled from
  const offered = Object.entries(source.latest_options ?? {}).map(([key, names]) => [key, Array.isArray(names) ? names : names.split(',')] as const);
  const save = (data: FormData) => {
    const chosen = Object.fromEntries(offered.map(([key]) => [key, data.getAll(key).map(String)]));
    configure.mutate({ config: { ...source.config, ...chosen }, enabled: true, version }, { onSuccess: done });
  };
  return (
    <form action={save}>
      {offered.map(([key, names]) => (
        <fieldset key={key}>
          <legend>{key}</legend>
          {names.map((name) => <label key={name}><input type="checkbox" name={key} value={name} /> {name}</label>)}
        </fieldset>
      ))}
      {configure.error && <p role="alert">{configure.error.message}</p>}
      <button disabled={configure.isPending}>Save</button>
    </form>
  );
}

function Runs({ source }: { source: Connection }) {
  const { data: runs, hasNextPage, fetchNextPage } = useOperations(source.id);
  return (
    <>
      <ol>{runs?.map(({ id, kind, state, created_at: at, error }) => <li key={id}>{kind}, {state}, {new Date(at).toLocaleString()} {error}</li>)}</ol>
      {hasNextPage && <button onClick={() => void fetchNextPage()}>Older ones</button>}
    </>
  );
}
