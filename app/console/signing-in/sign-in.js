// Signing in: on the sheet that the page begins with; and again, over whatever is open, once a token is good no more. A
// token is pasted, or handed over by the window of the platform's own page, which SIGN_IN_URL names.

import * as api from '../live/api.js';
import { make, part, showText } from '../drawing/dom.js';
import { renew, session, signIn, signOut, token, who } from './session.js';

const BLOCKED = 'Your browser has blocked the window. Allow it for this page, and press again.';
const tabs = new BroadcastChannel(`rita sign-in ${location.pathname}`);
let waiting = null; // the dialog that waits for a fresh token of the person who is signed in
let url = null;
let popup = null;

// Over the page, whose forms keep what was typed, until the same person has signed in again.
export function askAgain(reason) {
  if (waiting?.open) return;
  waiting?.remove();
  waiting = make('dialog', { class: 'again', 'aria-labelledby': 'again-title', 'data-role': 'again' },
    make('div', { class: 'sheet' }, make('h2', { id: 'again-title' }, 'Sign in again'),
      make('p', {}, `${reason} What you have open stays as it is.`),
      make('p', { class: 'error', role: 'alert', 'data-role': 'again-problem', hidden: true }), make('div', { 'data-role': 'ways-again' }),
      make('button', { type: 'button', class: 'quiet', click: () => signOut('You are signed out.') }, 'Sign out')));
  waiting.addEventListener('cancel', (event) => event.preventDefault());
  document.body.append(waiting);
  offer(part(waiting, 'ways-again'));
  waiting.showModal();
}

// Offers the ways to sign in, at once, and the platform's page as soon as it is known.
export async function offer(root) {
  root.replaceChildren(formOf());
  if (url) return;
  url = await api.signInUrl();
  if (!url) return;
  const isThere = root.contains(document.activeElement);
  root.replaceChildren(formOf());
  if (isThere) root.querySelector('button').focus();
}

function formOf() {
  const input = make('input', { id: `token-${waiting ? 'again' : 'first'}`, type: 'password', autocomplete: 'off', spellcheck: 'false', 'data-role': 'token' });
  const paste = make('form', { autocomplete: 'off', submit: (event) => {
    event.preventDefault();
    const given = input.value.trim();
    input.value = '';
    if (given) take(given);
    else input.focus();
  } }, make('div', { class: 'field' }, make('label', { for: input.id }, 'Access token'), input),
  make('button', { type: 'submit', class: url && 'quiet' }, url ? 'Use this token' : 'Sign in'));
  if (!url) {
    return make('div', { class: 'stack' }, make('p', {}, 'Open the link that you were given (', make('code', {}, 'make run'),
      ' prints some), or paste an access token. It stays in this tab and goes when you close it.'), paste);
  }
  return make('div', { class: 'stack' }, make('p', {}, 'You sign in at your platform, in a window of its own.'), make('button', { type: 'button', 'data-role': 'platform', click: openPlatform }, 'Sign in'),
    make('details', {}, make('summary', {}, 'Paste an access token instead'), paste));
}

function openPlatform() {
  popup = open(url, 'rita-sign-in', 'popup,width=520,height=720');
  if (!popup) tell(BLOCKED);
}

function tell(problem) {
  showText(waiting ? part(waiting, 'again-problem') : part(document, 'sign-in-reason'), problem);
}

async function take(given) {
  if (!waiting) {
    signIn(given);
    return;
  }
  try {
    if (isWho(await api.personOf(given))) renew(given);
    else signIn(given); // Somebody else, who has said so: theirs is another page.
  } catch (problem) {
    if (!(problem instanceof api.Refused)) throw problem;
    tell(problem.message);
  }
}

const isWho = (person) => person.user_id === who().user_id && person.organization_id === who().organization_id;

function close() {
  if (token()) tabs.postMessage(token());
  waiting?.close();
  waiting?.remove();
  waiting = null;
}

session.addEventListener('changed', close);
session.addEventListener('renewed', close);
// Whoever signs in again in one tab has done so for all of theirs.
tabs.addEventListener('message', async ({ data }) => {
  if (!waiting) return;
  const person = await api.personOf(data).catch(() => ({}));
  if (waiting && isWho(person)) renew(data);
});
// Only the window that this page has opened, and only while it shows a page of the platform's origin.
addEventListener('message', ({ origin, source, data }) => {
  if (!popup || source !== popup || origin !== new URL(url).origin || typeof data?.token !== 'string') return;
  popup.close();
  popup = null;
  take(data.token);
});
