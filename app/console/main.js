// The page: who is signed in, what is loaded, whether it is live; and the seconds that go by.

import * as addresses from './drawing/addresses.js';
import * as api from './live/api.js';
import { drawAll, drawOffers, drawOne, forgetUnsent } from './sources/cards.js';
import { complain, part, setText, showText } from './drawing/dom.js';
import { atClock, now } from './drawing/format.js';
import { openHistory } from './dialogs/history.js';
import * as live from './live/live.js';
import { consider } from './signing-in/offer.js';
import { drawOverview } from './sources/overview.js';
import { openRun } from './dialogs/run.js';
import * as selection from './sources/selection.js';
import { session, setWho, signOut, takeOffered, token, who } from './signing-in/session.js';
import { closeSettings, openSettings, stayInSettings } from './dialogs/settings.js';
import { askAgain, offer as offerSignIn } from './signing-in/sign-in.js';
import * as store from './live/store.js';
import { drawTable } from './sources/table.js';

const role = (name) => part(document, name);
const LIVE_WORDS = { live: 'Live', reconnecting: 'Reconnecting', offline: 'Not live', paused: 'Paused' };
// A moment of reconnecting is nobody's business; longer, what is seen may be old.
const UNSEEN_MS = 4_000;
// An event that should have come by now was lost on its way.
const OVERDUE_MS = 5_000;
let loaded = false;
let asked = false; // whether somebody else's link waits for an answer
let wasLiveAt = null;
let seconds = 0;
const looked = new Map(); // id → when it was last looked at because something was overdue

// --- What there is to see --------------------------------------------------------------------------------------------

function showState(state) {
  for (const each of ['sign-in', 'offer', 'loading', 'failure', 'empty']) role(each).hidden = each !== state;
  const isReady = state === 'ready';
  role('cards-heading').hidden = !isReady;
  role('cards').hidden = !isReady || selection.viewOf() !== 'cards';
  role('sources').hidden = !isReady || selection.viewOf() !== 'table';
  if (!isReady) for (const each of ['overview', 'tools', 'more-sources']) role(each).hidden = true;
}

function showWho() {
  const { email, role: called, organization_id: organization } = who();
  setText(role('who'), [email, called].filter(Boolean).join(' · '));
  role('who').title = organization ? `Organization ${organization}` : '';
  role('sign-out').hidden = role('live').hidden = !token();
}

function draw() {
  const shown = selection.selected().map(({ id }) => id);
  drawAll(shown);
  if (!loaded || asked) return;
  const isReady = store.all().length > 0;
  showState(isReady ? 'ready' : 'empty');
  if (!isReady) return;
  selection.showTools(role('tools'), shown.length);
  if (selection.viewOf() === 'table') drawTable(role('sources'), shown);
  drawOverview(role('overview'));
  drawOffers(role('more-sources'));
}

// --- Addresses -------------------------------------------------------------------------------------------------------

let dialog = null; // what the address has opened

function follow([kind, id, name]) {
  if (!loaded || asked) return;
  if (dialog?.open && !(dialog.dataset.id === id && ['history', 'changes'].includes(name))) {
    const leaving = dialog;
    dialog = null;
    // What was typed there is not thrown away by a step back.
    if (!closeSettings(leaving)) { dialog = leaving; return; }
  }
  if (kind === 'runs' && id) dialog = openRun(id);
  if (kind !== 'sources' || !id) return;
  if (!store.get(id)) {
    complain(new Error('There is no such data source here. It may have been removed, or be another organization\'s.'));
    addresses.leave(id);
  } else if (name === 'settings' || name === 'verify') dialog = openSettings(id, { toVerify: name === 'verify' });
  else if (name === 'history' || name === 'changes') dialog = openHistory(id, name);
  else document.querySelector(`.card[data-id="${CSS.escape(id)}"]`)?.scrollIntoView({ block: 'center' });
}

function showLive(state) {
  role('live').dataset.state = state;
  setText(role('live'), LIVE_WORDS[state]);
  if (state === 'live') {
    wasLiveAt = null;
    role('stale').hidden = true;
    forgetUnsent();
  } else wasLiveAt ??= now();
}

function showStale() {
  const since = wasLiveAt && now() - wasLiveAt > UNSEEN_MS && token() && loaded;
  role('stale').hidden = !since;
  if (since) setText(role('stale-words'), `No connection to the server since ${atClock(new Date(wasLiveAt))}. What you see may be older; it is brought up to date as soon as there is one.`);
}

// --- Loading ---------------------------------------------------------------------------------------------------------

async function start(reason = '') {
  asked = false;
  live.stop();
  loaded = false;
  wasLiveAt = null;
  store.clear();
  setWho({});
  showWho();
  document.querySelectorAll('dialog').forEach((dialog) => dialog.close());
  showText(role('sign-in-reason'), reason);
  if (!token()) {
    showState('sign-in');
    await offerSignIn(role('ways-in'));
    return;
  }
  showState('loading');
  const asking = token();
  try {
    const [person, types, connections] = await Promise.all([api.me(), api.types(), api.connections()]);
    if (asking !== token()) return;
    loaded = true;
    setWho(person);
    showWho();
    store.setTypes(types);
    store.replaceAll(connections);
    live.start(person.organization_id);
    addresses.tell();
  } catch (problem) {
    if (!(problem instanceof api.Refused)) throw problem;
    if (!token() || asking !== token()) return;
    setText(role('failure-words'), problem.message);
    setText(role('failure-detail'), problem.detail);
    showState('failure');
  }
}

// The page behind the question is another person's: nothing of it is seen or pressed meanwhile.
function askWho() {
  document.querySelectorAll('dialog').forEach((dialog) => dialog.close());
  asked = true;
  showState('offer');
}

async function takeOffer() {
  const offered = takeOffered();
  // A link to sign in is no address of the page's, for which a half-filled form would be left.
  const form = offered && stayInSettings();
  if (!form) addresses.tell();
  const signedIn = await consider(offered, askWho, form);
  asked = false;
  if (signedIn) return; // which has begun anew
  if (!loaded) { start(); return; }
  draw();
  if (!token()) askAgain('Your sign-in has ended.');
}

async function seed() {
  role('seed').disabled = true;
  try {
    await api.seed();
    await store.reload();
  } catch (problem) {
    if (!(problem instanceof api.Refused)) throw problem;
    complain(problem);
  } finally {
    role('seed').disabled = false;
  }
}

// Without a stream the page asks instead: slower, but right.
const reloadQuietly = () => store.reload().catch((problem) => { if (!(problem instanceof api.Refused)) throw problem; });

// What a token that has ended is answered, the page learns wherever it asks; this one may have no more to ask.
const lookWhetherEnded = () => api.me().then(setWho, (problem) => { if (!(problem instanceof api.Refused)) throw problem; });

// --- The seconds -----------------------------------------------------------------------------------------------------

function tick() {
  seconds += 1;
  showStale();
  if (seconds % 5 === 0 && loaded && token() && api.hasEnded()) lookWhetherEnded();
  const running = store.all().filter(({ operation }) => operation);
  if (seconds % 15 === 0) draw();
  else running.forEach(({ id }) => drawOne(id));
  if (running.length && selection.viewOf() === 'table') draw();
  running.filter(isOverdue).forEach(({ id }) => {
    looked.set(id, now());
    store.refresh(id).catch((problem) => { if (!(problem instanceof api.Refused)) throw problem; });
  });
}

function isOverdue({ id, operation: { next_attempt_at: next, deadline_at: deadline } }) {
  const due = Math.min(...[next, deadline].filter(Boolean).map((moment) => Date.parse(moment)));
  return now() - due > OVERDUE_MS && now() - (looked.get(id) ?? 0) > OVERDUE_MS;
}

// --- Beginning -------------------------------------------------------------------------------------------------------

role('sign-out').addEventListener('click', () => signOut('You are signed out.'));
role('retry').addEventListener('click', () => start());
role('reconnect').addEventListener('click', () => live.retryNow());
role('seed').addEventListener('click', seed);
session.addEventListener('changed', ({ detail }) => start(detail ?? ''));
session.addEventListener('expired', ({ detail }) => {
  if (!loaded) { start(detail); return; }
  live.stop();
  askAgain(detail);
});
session.addEventListener('renewed', () => {
  live.start(who().organization_id);
  lookWhetherEnded();
  reloadQuietly();
});
addEventListener('hashchange', takeOffer);
selection.listen(role('tools'), draw);
addresses.follow(follow);
store.subscribe(() => draw());
live.listen({
  state: showLive,
  lost: reloadQuietly,
  data_source_update: store.take,
  data_source_snapshot: ({ data }) => store.replaceAll(data),
});
setInterval(tick, 1000);
showState('loading');
takeOffer();
