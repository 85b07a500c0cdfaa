// Inputs made from the type registry: credentials, settings, and options as checkboxes that can be searched.

import { make, setText } from './dom.js';
import { humanized, wordsOf } from './format.js';

// With fewer, looking is faster than typing.
const SEARCHED_FROM = 6;
const TYPES = { url: 'url', email: 'email' };
let numbered = 0;

// Without a name, an input never gets into an address, whatever goes wrong with the form.
export function credentialInput(field) {
  const type = field.secret ? 'password' : TYPES[field.kind] ?? 'text';
  return labelled(field, make('input', { type, 'data-credential': field.name, required: field.required }));
}

export function settingInput(field, value) {
  if (field.kind === 'boolean') {
    const box = make('input', { type: 'checkbox', 'data-setting': field.name });
    box.checked = value === true || value === 'true';
    return make('label', { class: 'check' }, box, field.label);
  }
  const input = make('input', { type: TYPES[field.kind] ?? 'text', 'data-setting': field.name });
  input.value = Array.isArray(value) ? value.join(',') : value ?? '';
  return labelled(field, input);
}

export function labelled({ label, help = '', required = false }, input) {
  const id = `field-${numbered += 1}`;
  const problem = make('span', { class: 'error', id: `${id}-problem`, hidden: true });
  for (const [name, value] of [['id', id], ['autocomplete', 'off'], ['autocapitalize', 'off'], ['spellcheck', 'false'],
    ['aria-describedby', `${id}-help ${id}-problem`]]) input.setAttribute(name, value);
  input.addEventListener('input', () => tellProblem(input, ''));
  return make('div', { class: 'field' },
    make('label', { for: id }, label, required ? null : make('span', { class: 'muted' }, ' (optional)')),
    input, make('span', { class: 'muted', id: `${id}-help` }, help), problem);
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

// The values leave the page with this: what is returned is all that is left of them.
export function takeCredentials(form) {
  const taken = {};
  for (const input of form.querySelectorAll('[data-credential]')) {
    if (input.value) taken[input.dataset.credential] = input.value;
    input.value = '';
  }
  return taken;
}

export function optionGroup(key, values, chosen) {
  const checked = new Set(wordsOf(chosen));
  const offered = wordsOf(values);
  // What was chosen once and is offered no more is shown, for it would be saved again.
  const gone = [...checked].filter((word) => !offered.includes(word));
  const count = make('span', { class: 'muted', role: 'status' });
  const boxes = [...offered, ...gone].map((value) => {
    const box = make('input', { type: 'checkbox', value });
    box.checked = checked.has(value);
    return make('label', { class: 'check' }, box, value, gone.includes(value) ? make('span', { class: 'muted' }, ' (no longer found)') : null);
  });
  const group = make('fieldset', { 'data-option': key }, make('legend', {}, humanized(key)), ...tools(boxes, humanized(key)),
    make('div', { class: 'boxes' }, ...boxes), count);
  const recount = () => {
    const on = group.querySelectorAll('.boxes :checked').length;
    setText(count, on ? `${on} of ${boxes.length} chosen` : 'None chosen: the external service decides what it reads.');
  };
  group.addEventListener('change', recount);
  recount();
  return group;
}

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

export function chosenOptions(root) {
  return Object.fromEntries([...root.querySelectorAll('[data-option]')].map((group) => [
    group.dataset.option, [...group.querySelectorAll('.boxes :checked')].map(({ value }) => value).join(','),
  ]));
}

export function settingsOf(root) {
  return Object.fromEntries([...root.querySelectorAll('[data-setting]')].map((input) => [
    input.dataset.setting, input.type === 'checkbox' ? input.checked : input.value.trim(),
  ]));
}
