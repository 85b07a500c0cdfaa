// Who is signed in: a token from the link's fragment or pasted, kept for this tab only.

const TOKEN = 'rita.token';

export const session = new EventTarget();
export const token = () => sessionStorage.getItem(TOKEN);
// Where the issuer calls roles otherwise, this page cannot tell; the server refuses what is an admin's alone.
export const isAdmin = () => claims().role !== 'member';

// The server alone decides what a token is worth; this only reads whom it names.
export function claims() {
  try {
    const payload = token().split('.')[1].replaceAll('-', '+').replaceAll('_', '/');
    const bytes = Uint8Array.from(atob(payload), (character) => character.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes)) ?? {};
  } catch {
    return {};
  }
}

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
