// The document: elements are made here, text goes in by textContent only, and what must be said aloud is said here.

const SVG = 'http://www.w3.org/2000/svg';
const TOAST_MS = 10_000;

export const part = (root, role) => root.querySelector(`[data-role="${role}"]`);

export function make(tag, attributes = {}, ...children) {
  return furnish(document.createElement(tag), attributes, children);
}

export function draw(tag, attributes = {}, ...children) {
  return furnish(document.createElementNS(SVG, tag), attributes, children);
}

function furnish(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, '');
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null && child !== false));
  return element;
}

export function fromTemplate(id) {
  return document.getElementById(id).content.cloneNode(true).firstElementChild;
}

// A live region speaks whenever it is written to, and a selection ends; so only what differs is written.
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function showText(element, text) {
  setText(element, text ?? '');
  element.hidden = !text;
}

// What is longer is folded to a few lines, with all of it one click away.
const LONGEST_UNFOLDED = 280;

export function showFolded(element, text) {
  const changed = element.textContent !== (text ?? '');
  showText(element, text);
  const folds = (text ?? '').length > LONGEST_UNFOLDED;
  const button = element.unfold ??= unfolding(element);
  if (changed) fold(element, folds);
  button.hidden = !folds;
}

function unfolding(element) {
  const button = make('button', { type: 'button', class: 'quiet unfold', hidden: true, click: () => fold(element, !element.classList.contains('folded')) });
  element.after(button);
  return button;
}

function fold(element, folded) {
  element.classList.toggle('folded', folded);
  element.unfold.setAttribute('aria-expanded', !folded);
  setText(element.unfold, folded ? 'Show all' : 'Show less');
}

// Drawing again would take the focus and the selection away; so it is done only when `seen` differs from last time.
export function redraw(element, seen, children) {
  const key = JSON.stringify(seen);
  if (element.drawnFrom === key) return;
  element.drawnFrom = key;
  element.replaceChildren(...children());
}

export function say(sentence) {
  setText(part(document, 'announcements'), sentence);
}

export function toast(sentence, detail = '') {
  return raise('toasts', sentence, detail);
}

export function complain(error) {
  return raise('alerts', error.message, error.detail);
}

function raise(where, sentence, detail) {
  const close = make('button', { type: 'button', class: 'quiet', 'aria-label': 'Dismiss', click: () => note.remove() }, '×');
  const note = make('div', { class: 'toast' }, make('p', {}, sentence, detail ? make('small', {}, detail) : null), close);
  part(document, where).append(note);
  setTimeout(() => note.remove(), TOAST_MS);
}

// Asks, over the page, before something is done that cannot be taken back; what lies under it does not move. Without a
// `yes` it only says so.
export function askFirst(button, { question, yes, no = 'Cancel', act }) {
  const sure = yes && make('button', { type: 'button', class: 'danger', click: () => { box.close(); act(); } }, yes);
  const stay = make('button', { type: 'button', class: 'quiet', click: () => box.close() }, no);
  const box = make('dialog', { class: 'question', 'aria-label': 'A question' },
    make('div', { role: 'group', 'aria-label': question }, make('p', {}, question), make('div', { class: 'row' }, sure, stay)));
  box.addEventListener('close', () => {
    box.remove();
    if (button.isConnected) button.focus();
  });
  document.body.append(box);
  box.showModal();
  stay.focus();
}
