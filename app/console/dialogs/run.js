// One run: each step with its time, every attempt, documents over time, the exact error, and ids to copy.

import { perform, questionOf } from '../sources/actions.js';
import { leave, sourceAddress } from '../drawing/addresses.js';
import * as api from '../live/api.js';
import { curve, durationOf } from '../drawing/chart.js';
import { askFirst, complain, make, part, redraw, setText } from '../drawing/dom.js';
import { counted, dated, lasting, numbers, took } from '../drawing/format.js';
import { isAdmin } from '../signing-in/session.js';
import * as store from '../live/store.js';

export const KINDS = { sync: 'Sync', verify: 'Verification' };
export const OUTCOMES = {
  pending: ['Being sent', 'busy'], delivered: ['Delivered', 'busy'], running: ['Running', 'busy'],
  succeeded: ['Succeeded', 'good'], failed: ['Failed', 'bad'], undelivered: ['Not delivered', 'bad'],
  expired: ['No answer', 'bad'], replaced: ['Replaced', 'idle'],
};

export function factsOf(operation) {
  const { documents_processed: documents, requested_email: email, origin, finished_at: end } = operation;
  return [
    end ? `took ${took(durationOf(operation))}` : 'under way',
    documents == null ? '' : counted(documents, 'document'),
    origin === 'service' ? 'begun by the external service' : email ? `asked for by ${email}` : '',
  ].filter(Boolean);
}

export function openRun(id) {
  const view = { id };
  view.dialog = make('dialog', { class: 'panel wide', 'aria-labelledby': 'run-title', 'data-role': 'run-panel', 'data-id': id },
    make('header', {}, make('h2', { id: 'run-title', 'data-role': 'run-title' }, 'Run'),
      make('button', { type: 'button', class: 'quiet close', 'aria-label': 'Close', click: () => view.dialog.close() }, '×')),
    make('div', { class: 'body', 'data-role': 'run' }, make('p', { class: 'muted', role: 'status' }, 'Loading …')));
  const stop = store.subscribe(() => load(view));
  view.dialog.addEventListener('close', () => { stop(); view.dialog.remove(); leave(id); });
  document.body.append(view.dialog);
  view.dialog.showModal();
  load(view);
  return view.dialog;
}

async function load(view) {
  try {
    const operation = await api.operation(view.id);
    const source = store.get(operation.connection_id);
    setText(part(view.dialog, 'run-title'), `${KINDS[operation.kind]} of ${source?.name ?? 'a source that is gone'}`);
    redraw(part(view.dialog, 'run'), operation, () => partsOf(operation, source));
  } catch (problem) {
    if (!(problem instanceof api.Refused)) throw problem;
    redraw(part(view.dialog, 'run'), problem.message, () => [make('p', { class: 'error', role: 'alert' }, problem.message)]);
  }
}

function partsOf(operation, source) {
  const [words, tone] = OUTCOMES[operation.state] ?? [operation.state, 'idle'];
  return [
    make('div', { class: 'stack' }, make('p', {}, make('span', { class: `badge ${tone}`, 'data-role': 'outcome' }, words)),
      make('p', { class: 'muted' }, factsOf(operation).join(' · ')),
      operation.reported_late && make('p', { class: 'note' }, 'The answer came after Rita had stopped waiting, and was taken all the same.'),
      source && make('p', {}, make('a', { href: sourceAddress(source.id, 'history') }, `History of ${source.name}`)),
      source?.operation?.id === operation.id && cancelOf(source)),
    operation.error && make('section', { class: 'stack' }, make('h3', {}, 'The exact error'),
      make('pre', { 'data-role': 'exact', tabindex: 0 }, operation.error), copyOf('the error', operation.error)),
    make('section', {}, make('h3', {}, 'Steps'), make('ol', { class: 'log', 'data-role': 'run-steps' }, ...stepsOf(operation))),
    curve(operation.reports),
    make('section', {}, make('h3', {}, 'Attempts to deliver it'), attemptsOf(operation.attempt_log)),
    isAdmin() && operation.reports.length && make('section', {}, make('h3', {}, 'What the external service reported'), reportsOf(operation)),
    make('section', {}, make('h3', {}, 'Ids'), make('dl', { class: 'theirs ids' }, ...idsOf(operation))),
  ].filter(Boolean);
}

function stepsOf({ created_at: asked, delivered_at: delivered, started_at: started, finished_at: finished, kind, state, requested_email: email, origin }) {
  const by = origin === 'service' ? 'Told by the external service' : `Asked for${email ? ` by ${email}` : ''}`;
  const end = OUTCOMES[state]?.[0] ?? state;
  const steps = [[by, asked], ['Delivered to the external service', delivered], kind === 'sync' && ['Started there', started], [`Ended: ${end}`, finished]];
  const told = steps.filter((step) => step && step[1]).toSorted(([, a], [, b]) => Date.parse(a) - Date.parse(b));
  return told.map(([words, at], place) => make('li', {}, make('p', {}, words),
    make('p', { class: 'muted' }, dated(at), place ? `, ${took(Date.parse(at) - Date.parse(told[place - 1][1]))} later` : '')));
}

function cancelOf(source) {
  const button = make('button', { type: 'button', class: 'quiet', disabled: !isAdmin(), 'aria-label': `Cancel: ${source.name}`,
    title: !isAdmin() && 'Only an admin of your organization can cancel it.' }, 'Cancel');
  const act = () => perform(source.id, 'cancel').catch((problem) => {
    if (!(problem instanceof api.Refused)) throw problem;
    complain(problem);
  });
  button.addEventListener('click', () => askFirst(button, { ...questionOf(store.get(source.id)), act }));
  return button;
}

function attemptsOf(log) {
  if (!log.length) return make('p', { class: 'muted' }, 'None is on record.');
  return tableOf('Attempts', ['Attempt', 'When', 'Answer', 'Took', 'Outcome'], log.map(({ attempt, at, status_code: code, error, duration_ms: ms }) => [
    String(attempt), dated(at), code ? `HTTP ${code}` : 'none', ms < 1000 ? `${ms} ms` : lasting(ms), error ?? 'delivered']));
}

function reportsOf({ reports, reported_late: isLate }) {
  const end = isLate ? 'the end, after Rita had stopped waiting' : 'the end';
  return tableOf('Reports', ['When, by its clock', 'Documents', 'Remark'], reports.map(({ at, documents_processed: count, is_end: isEnd }) => [
    dated(at), count == null ? '' : numbers.format(count), isEnd ? end : '']));
}

function tableOf(name, heads, rows) {
  return make('div', { class: 'scrolls', tabindex: 0, role: 'group', 'aria-label': name }, make('table', {},
    make('thead', {}, make('tr', {}, ...heads.map((head) => make('th', { scope: 'col' }, head)))),
    make('tbody', {}, ...rows.map((cells) => make('tr', {}, ...cells.map((cell) => make('td', {}, cell)))))));
}

function idsOf({ id, connection_id: connection, request_id: request }) {
  const ids = [['Operation', id], ['Connection', connection], ['Request', request]].filter(([, value]) => value);
  return ids.flatMap(([words, value]) => [make('dt', {}, words), make('dd', {}, make('code', {}, value), copyOf(`the ${words.toLowerCase()}'s id`, value))]);
}

function copyOf(what, text) {
  const button = make('button', { type: 'button', class: 'quiet copy', 'aria-label': `Copy ${what}`, click: async () => {
    const done = await navigator.clipboard?.writeText(text).then(() => true, () => false);
    setText(button, done ? 'Copied' : 'Select it and copy');
  } }, 'Copy');
  return button;
}
