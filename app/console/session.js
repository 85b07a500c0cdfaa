// Who is signed in: a token from the link's fragment or pasted, kept for this tab only.

const TOKEN = 'rita.token';

export const session = new EventTarget();
export const token = () => sessionStorage.getItem(TOKEN);
let person = {};
// As the server reads the token, whose claims may have any names; empty until it has said so.
export const who = () => person;
export const setWho = (found) => { person = found; };
export const isAdmin = () => person.role !== 'member';

// What stays in an address stays in histories, bookmarks and screenshots.
export function takeTokenFromLink() {
  const found = new URLSearchParams(location.hash.slice(1)).get('token');
  if (!found) return false;
  history.replaceState(null, '', location.pathname + location.search);
  sessionStorage.setItem(TOKEN, found);
  return true;
}

export function signIn(given) {
  sessionStorage.setItem(TOKEN, given);
  session.dispatchEvent(new Event('changed'));
}

export function signOut(reason = '') {
  if (!token()) return;
  sessionStorage.removeItem(TOKEN);
  session.dispatchEvent(new CustomEvent('changed', { detail: reason }));
}
