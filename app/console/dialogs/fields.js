// Inputs made from the type registry: credentials, settings, and options as checkboxes that can be searched.

import { make, setText } from '../drawing/dom.js';
import { humanized, wordsOf } from '../drawing/format.js';

// With fewer, looking is faster than typing.
const SEARCHED_FROM = 6;
const TYPES = { url: 'url', email: 'email' };
let numbered = 0;

// Without a name, an input never gets into an address, whatever goes wrong with the form.
export function credentialInput(field) {
  const type = field.secret ? 'password' : TYPES[field.kind] ?? 'text';
  return labelled(field, make('input', { type, 'data-credential': field.name, required: field.required }));
}

// `stored` is what saving would leave, where what is drawn was changed before.
export function settingInput(field, value, stored = value) {
  if (field.kind === 'boolean') {
    const box = make('input', { type: 'checkbox', 'data-setting': field.name });
    box.checked = value === true || value === 'true';
    remember(box, stored === true || stored === 'true');
    return make('label', { class: 'check' }, box, field.label);
  }
  // Not a text: which of its commas part names could not be told any more.
  if (Array.isArray(value)) return optionGroup(field.name, value, value, stored);
  // What is no text is shown as JSON, which no browser takes for an address.
  const type = typeof value === 'string' || value == null ? TYPES[field.kind] : 'text';
  const input = make('input', { type: type ?? 'text', 'data-setting': field.name });
  input.value = asText(value);
  remember(input, asText(stored));
  return labelled(field, input);
}

const asText = (value) => (value && typeof value === 'object' ? JSON.stringify(value) : String(value ?? ''));

// What nobody has changed is not sent: it stays as it came, whatever an input makes of it.
const drawn = new WeakMap(); // an input or a group → what was drawn of it

const remember = (element, shown) => drawn.set(element, JSON.stringify(shown));
const isTouched = (element, shown) => drawn.get(element) !== JSON.stringify(shown);

export function labelled({ label, help = '', link = '', required = false }, input) {
  const id = `field-${numbered += 1}`;
  const problem = make('span', { class: 'error', id: `${id}-problem`, hidden: true });
  for (const [name, value] of [['id', id], ['autocomplete', 'off'], ['autocapitalize', 'off'], ['spellcheck', 'false'],
    ['aria-describedby', `${id}-help ${id}-problem`]]) input.setAttribute(name, value);
  input.addEventListener('input', () => tellProblem(input, ''));
  return make('div', { class: 'field' },
    make('label', { for: id }, label, required ? null : make('span', { class: 'muted' }, ' (optional)')),
    input, make('span', { class: 'muted', id: `${id}-help` }, help, help && link && ' ',
      link && make('a', { href: link, target: '_blank', rel: 'noreferrer' }, help ? 'Open that page' : 'Open its page')), problem);
}

function tellProblem(input, words) {
  const problem = document.getElementById(`${input.id}-problem`);
  setText(problem, words);
  problem.hidden = !words;
  if (words) input.setAttribute('aria-invalid', 'true');
  else input.removeAttribute('aria-invalid');
}

const PROBLEMS = [
  ['valueMissing', () => 'This is needed.'],
  ['typeMismatch', ({ type }) => (type === 'url' ? 'Enter the whole address, beginning with https://' : 'Enter a whole e-mail address.')],
  ['tooLong', ({ maxLength }) => `At most ${maxLength} characters.`],
];

// Says what is wrong beside each input, and goes to the first one; true if nothing is.
export function isComplete(form) {
  const wrong = [...form.querySelectorAll('input')].filter((input) => {
    const [, words] = PROBLEMS.find(([name]) => input.validity[name]) ?? [];
    if (input.id) tellProblem(input, words ? words(input) : '');
    return words;
  });
  wrong[0]?.focus();
  return !wrong.length;
}

// The secrets leave the page with this: what is returned is all that is left of them. What is none stays, for a second try.
export function takeCredentials(form) {
  const taken = {};
  for (const input of form.querySelectorAll('[data-credential]')) {
    if (input.value) taken[input.dataset.credential] = input.value;
    if (input.type === 'password') input.value = '';
  }
  return taken;
}

// Where a person goes on after a refusal: at the secret, of which nothing is left, or at what else is empty.
export function nextCredential(form) {
  const inputs = [...form.querySelectorAll('[data-credential]')];
  return inputs.find(({ value, required }) => required && !value) ?? inputs.find(({ type }) => type === 'password') ?? inputs[0];
}

export function optionGroup(key, values, chosen, stored = chosen, { asText = false, none = 'None chosen: the external service decides what it reads.' } = {}) {
  const offered = new Set(wordsOf(values));
  const checked = chosenOf(chosen, offered);
  // What was chosen once and is offered no more is shown, for it would be saved again.
  const gone = new Set([...checked].filter((word) => !offered.has(word)));
  const count = make('span', { class: 'muted', role: 'status' });
  const boxes = [...offered, ...gone].map((value) => {
    const box = make('input', { type: 'checkbox', value });
    box.checked = checked.has(value);
    return make('label', { class: 'check' }, box, value, gone.has(value) ? make('span', { class: 'muted' }, ' (no longer found)') : null);
  });
  const group = make('fieldset', { 'data-option': key }, make('legend', {}, humanized(key)), ...tools(boxes, humanized(key)),
    make('div', { class: 'boxes' }, ...boxes), count);
  const recount = () => {
    const on = group.querySelectorAll('.boxes :checked').length;
    setText(count, on ? `${on} of ${boxes.length} chosen` : none);
  };
  group.addEventListener('change', recount);
  recount();
  if (Array.isArray(values) && !asText) group.dataset.array = '';
  const kept = chosenOf(stored, offered);
  const inPlace = [...offered, ...gone].filter((word) => kept.has(word));
  remember(group, [...inPlace, ...[...kept].filter((word) => !inPlace.includes(word))]);
  return group;
}

// A text may hold names with commas, of a service that offered them in a text: parts that make an offered name are one.
function chosenOf(value, offered) {
  if (Array.isArray(value)) return new Set(wordsOf(value));
  const parts = String(value ?? '').split(',');
  const longest = [...offered].reduce((most, name) => Math.max(most, name.split(',').length), 1);
  const chosen = new Set();
  for (let from = 0, to; from < parts.length; from = to) {
    const joined = () => parts.slice(from, to).join(',').trim();
    to = Math.min(from + longest, parts.length);
    while (to > from + 1 && !offered.has(joined())) to -= 1;
    if (joined()) chosen.add(joined());
  }
  return chosen;
}

const checkedIn = (group) => [...group.querySelectorAll('.boxes :checked')].map(({ value }) => value);

function tools(boxes, label) {
  if (boxes.length < SEARCHED_FROM) return [];
  const search = make('input', { type: 'search', 'aria-label': `Search in ${label}`, placeholder: 'Search', autocomplete: 'off', 'data-role': 'search' });
  search.addEventListener('input', () => {
    const wanted = search.value.trim().toLowerCase();
    for (const each of boxes) each.hidden = !each.firstElementChild.value.toLowerCase().includes(wanted);
  });
  const setAll = (on) => () => {
    const seen = boxes.filter((each) => !each.hidden);
    for (const each of seen) each.firstElementChild.checked = on;
    seen[0]?.firstElementChild.dispatchEvent(new Event('input', { bubbles: true }));
    seen[0]?.firstElementChild.dispatchEvent(new Event('change', { bubbles: true }));
  };
  return [make('div', { class: 'row tools' }, search,
    make('button', { type: 'button', class: 'quiet', click: setAll(true) }, 'All'),
    make('button', { type: 'button', class: 'quiet', click: setAll(false) }, 'None'))];
}

// The settings that somebody has changed; an empty text means that one is to be left out.
export function changedSettings(root) {
  const options = [...root.querySelectorAll('[data-option]')].map((group) => {
    const chosen = checkedIn(group);
    const isArray = chosen.length && ('array' in group.dataset || chosen.some((name) => name.includes(',')));
    return isTouched(group, chosen) && [group.dataset.option, isArray ? chosen : chosen.join(',')];
  });
  const others = [...root.querySelectorAll('[data-setting]')].map((input) => {
    const shown = input.type === 'checkbox' ? input.checked : input.value;
    return isTouched(input, shown) && [input.dataset.setting, typeof shown === 'string' ? shown.trim() : shown];
  });
  return Object.fromEntries([...options, ...others].filter(Boolean));
}
