// Who is signed in: a token from the link's fragment, handed over by a platform or pasted, kept for this tab only.

const TOKEN = 'rita.token';
const HANDED_OVER = 'rita.handed-over';

export const session = new EventTarget();
export const token = () => sessionStorage.getItem(TOKEN);
let begun = 0;
// Who signs in or out in this tab begins another sitting.
export const sitting = () => begun;
let person = {};
// As the server reads the token, whose claims may have any names; empty until it has said so.
export const who = () => person;
export const setWho = (found) => { person = found; };
export const isAdmin = () => person.role !== 'member';

// A token that came by a link or was handed over, taken out of where it lay; null if there is none. Any other site may lead
// here with a token of its own: whether it signs anybody in without a question is for `offer.js` to say.
export function takeOffered() {
  const linked = new URLSearchParams(location.hash.slice(1)).get('token');
  // What stays in an address stays in histories, bookmarks and screenshots.
  if (linked) history.replaceState(null, '', location.pathname + location.search);
  const handed = sessionStorage.getItem(HANDED_OVER);
  sessionStorage.removeItem(HANDED_OVER);
  if (linked) return { token: linked, trusted: isOfMakeRun(linked) };
  return handed && { token: handed, trusted: true };
}

// For the page of the hand-over, which knows that it comes from an origin that the operator named.
export function handOver(given) {
  sessionStorage.setItem(HANDED_OVER, given);
}

// Whoever can write this claim has the secret of `make run`; the server looks at the signature.
function isOfMakeRun(given) {
  try {
    const payload = given.split('.')[1].replaceAll('-', '+').replaceAll('_', '/');
    return JSON.parse(atob(payload)).opened_by === 'make run';
  } catch {
    return false;
  }
}

export function signIn(given) {
  begun += 1;
  sessionStorage.setItem(TOKEN, given);
  session.dispatchEvent(new Event('changed'));
}

// A fresh token of the person who is signed in: what is open stays. When it ends, the server has yet to say.
export function renew(given) {
  person = { ...person, expires_at: null };
  sessionStorage.setItem(TOKEN, given);
  session.dispatchEvent(new Event('renewed'));
}

// The token is good no more.
export function expire(reason) {
  if (!token()) return;
  sessionStorage.removeItem(TOKEN);
  session.dispatchEvent(new CustomEvent('expired', { detail: reason }));
}

export function signOut(reason = '') {
  begun += 1;
  sessionStorage.removeItem(TOKEN);
  session.dispatchEvent(new CustomEvent('changed', { detail: reason }));
}
