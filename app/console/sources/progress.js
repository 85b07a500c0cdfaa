// What runs: how far it is, how fast, for how long, until when it is waited for, and how it went last time.

import * as api from '../live/api.js';
import { askFirst, complain, make, part, redraw, setText, showText, toast } from '../drawing/dom.js';
import { counted, lasting, lastingYet, left, now, numbers, since, took } from '../drawing/format.js';
import { isAdmin } from '../signing-in/session.js';
import * as store from '../live/store.js';

// Each step as it is called once it is done (or to come), and while it is waited for.
const STEPS = {
  verify: [['Asked'], ['Delivered', 'Delivering'], ['Answered', 'Awaiting the answer']],
  sync: [['Asked'], ['Delivered', 'Delivering'], ['Started', 'Waiting for the start'], ['Finished', 'Running']],
};
// How many of its steps an operation has behind it.
const DONE = { pending: 1, delivered: 2, running: 3 };
// Below this, silence is how services work.
const SILENCE_MS = 60_000;
// Sooner, nobody wonders whether it moves.
const DOUBTED_MS = 12_000;
// Of less, a rate says nothing.
const RATED_MS = 3_000;
const WORDS = { done: 'done', now: 'in progress', next: 'to come' };

export function progressBlock() {
  return make('div', { class: 'progress', hidden: true },
    make('ol', { class: 'steps', 'data-role': 'steps', 'aria-label': 'Progress' }),
    make('p', { class: 'pace', 'data-role': 'pace', hidden: true }),
    make('p', { class: 'clock', 'data-role': 'clock' }),
    make('p', { class: 'muted', 'data-role': 'before', hidden: true }),
    make('p', { class: 'note', 'data-role': 'attempts', hidden: true }),
    make('p', { class: 'muted', 'data-role': 'news', hidden: true }),
    make('p', { class: 'muted', 'data-role': 'who-can', hidden: true }),
    make('details', { class: 'stuck', 'data-role': 'stuck' }, make('summary', {}, 'Not moving?'), make('div', { 'data-role': 'ways-out' })));
}

export function showProgress(block, connection) {
  const operation = connection.operation;
  block.hidden = !operation;
  if (!operation) {
    part(block, 'stuck').open = false;
    redraw(part(block, 'steps'), [], () => []);
    return;
  }
  const done = DONE[operation.state] ?? 1;
  redraw(part(block, 'steps'), [operation.kind, done], () => STEPS[operation.kind].map((labels, place) => step(labels, place, done)));
  setText(part(block, 'clock'), clockOf(operation));
  showText(part(block, 'pace'), paceOf(operation));
  showText(part(block, 'before'), operation.kind === 'sync' ? beforeOf(operation, store.runsOf(connection.id)) : '');
  showText(part(block, 'attempts'), attemptsOf(operation));
  showText(part(block, 'news'), newsOf(operation));
  showText(part(block, 'who-can'), isAdmin() ? '' : 'An admin of your organization can cancel it.');
  part(block, 'stuck').hidden = operation.kind !== 'sync' || since(operation.created_at) < DOUBTED_MS;
  redraw(part(block, 'ways-out'), operation.id, () => waysOut(connection));
}

function step([label, waiting], place, done) {
  const state = place < done ? 'done' : place === done ? 'now' : 'next';
  return make('li', { 'data-state': state, 'aria-current': state === 'now' && 'step' },
    make('span', { class: 'label' }, state === 'now' ? waiting : label), make('span', { class: 'unseen' }, ` (${WORDS[state]})`));
}

function clockOf(operation) {
  const asked = `Asked ${lasting(since(operation.created_at))} ago`;
  if (operation.kind === 'sync') return operation.state === 'running' ? `${asked}, running for ${lasting(since(operation.started_at))}` : asked;
  return operation.deadline_at ? `${asked}; an answer is due within ${lastingYet(operation.deadline_at)}` : asked;
}

function paceOf({ kind, state, documents_processed: documents, started_at: started }) {
  if (kind !== 'sync' || state !== 'running' || documents == null) return '';
  const counting = `${counted(documents, 'document')} so far`;
  const ran = started ? since(started) : 0;
  if (!documents || ran < RATED_MS) return counting;
  const perSecond = (documents * 1000) / ran;
  return `${counting}, ${perSecond >= 1 ? `${numbers.format(Math.round(perSecond))} a second` : `${numbers.format(Math.max(1, Math.round(perSecond * 60)))} a minute`}`;
}

const durationOf = ({ started_at: started, created_at: created, finished_at: finished }) => Date.parse(finished) - Date.parse(started ?? created);

// How it went last time, and from the middle of what it took before, when it may be done.
function beforeOf(operation, runs) {
  const good = runs.filter(({ state }) => state === 'succeeded');
  if (!good.length) return '';
  const [{ documents_processed: documents }] = good;
  const last = `Last time ${documents == null ? '' : `${counted(documents, 'document')} in `}${took(durationOf(good[0]))}`;
  if (operation.state !== 'running' || !operation.started_at) return `${last}.`;
  const durations = good.map(durationOf).toSorted((a, b) => a - b);
  const yet = durations[Math.floor(durations.length / 2)] - since(operation.started_at);
  return `${last}; ${yet > 0 ? `about ${lasting(Math.ceil(yet / 1000) * 1000)} left` : 'longer than usual'}.`;
}

function attemptsOf({ state, attempts, next_attempt_at: next, last_attempt_error: error }) {
  if (state !== 'pending' || !error) return '';
  const wait = next ? left(next) : 0;
  const when = wait >= 1000 ? `next try in ${lastingYet(next)}` : 'trying again now';
  return attempts ? `${counted(attempts, 'attempt')} failed: ${error}; ${when}.` : `${error}; ${when}.`;
}

function newsOf(operation) {
  if (operation.kind !== 'sync' || !operation.deadline_at) return '';
  const lost = `it counts as lost in ${lastingYet(operation.deadline_at)}`;
  if (operation.state === 'delivered') return `Not started yet; without a start ${lost}.`;
  if (operation.state !== 'running') return '';
  const silent = now() - lastNews(operation);
  return silent > SILENCE_MS ? `No news for ${lasting(silent)}; without any ${lost}.` : '';
}

// The service's clock may be ahead of ours, but nothing was heard later than now.
function lastNews({ delivered_at: delivered, started_at: started, last_reported_at: reported, heardAt = 0 }) {
  const moments = [delivered, started, reported].map((moment) => Date.parse(moment ?? '')).filter(Number.isFinite);
  return Math.min(now(), Math.max(heardAt, ...moments));
}

function waysOut(connection) {
  const over = make('button', { type: 'button', class: 'quiet', 'data-role': 'start-over', 'aria-label': `Start over: ${connection.name}` }, 'Start over');
  over.addEventListener('click', () => askFirst(over, {
    question: 'Ask for a new sync in place of this one?', yes: 'Start over', no: 'Keep waiting', act: () => startOver(connection.id),
  }));
  return [make('p', { class: 'muted' }, 'If it seems stuck, ask for a new one in its place.'), over];
}

async function startOver(id) {
  try {
    await api.sync(id, { force: true });
    toast('The sync was started over.');
  } catch (problem) {
    if (!(problem instanceof api.Refused)) throw problem;
    complain(problem);
  }
}
