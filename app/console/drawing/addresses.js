// Addresses within the page, in its fragment, so that each can be sent to a colleague: `#/sources/<id>` and, behind it,
// `/settings`, `/verify`, `/history` or `/changes`; `#/runs/<id>`. A dialog is open while the address is its own.

const listeners = new Set();

export const addressOf = (...parts) => `#/${parts.map(encodeURIComponent).join('/')}`;
export const sourceAddress = (id, dialog) => addressOf(...['sources', id, dialog].filter(Boolean));
export const runAddress = (id) => addressOf('runs', id);

// What is asked for: [kind, id, dialog], or nothing, whatever somebody has made of a link.
export function asked() {
  const [root, ...parts] = location.hash.split('/');
  try {
    return root === '#' ? parts.map(decodeURIComponent) : [];
  } catch (problem) {
    if (!(problem instanceof URIError)) throw problem;
    return [];
  }
}

export function go(address) {
  if (location.hash === address) tell();
  else location.hash = address;
}

// Leaves a dialog's address, if it is still the one asked for, without another entry in the tab's history.
export function leave(id, ...dialogs) {
  const [, of, dialog] = asked();
  if (of !== id || (dialogs.length && !dialogs.includes(dialog))) return;
  history.replaceState(null, '', location.pathname + location.search);
  tell();
}

export const follow = (listener) => listeners.add(listener);
export const tell = () => listeners.forEach((listener) => listener(asked()));
