// What runs: how far it is, for how long, until when it is waited for, and the ways out of waiting.

import * as api from './api.js';
import { askFirst, complain, make, part, redraw, setText, showText, toast } from './dom.js';
import { atClock, counted, lasting, lastingYet, left, now, since } from './format.js';
import { isAdmin } from './session.js';

// Each step as it is called once it is done (or to come), and while it is waited for.
const STEPS = {
  verify: [['Asked'], ['Delivered', 'Delivering'], ['Answered', 'Awaiting the answer']],
  sync: [['Asked'], ['Delivered', 'Delivering'], ['Started', 'Waiting for the start'], ['Finished', 'Running']],
};
// How many of its steps an operation has behind it.
const DONE = { pending: 1, delivered: 2, running: 3 };
// Below this, silence is how services work.
const SILENCE_MS = 60_000;
const WORDS = { done: 'done', now: 'in progress', next: 'to come' };

export function progressBlock() {
  return make('div', { class: 'progress', hidden: true },
    make('ol', { class: 'steps', 'data-role': 'steps', 'aria-label': 'Progress' }),
    make('p', { class: 'clock', 'data-role': 'clock' }),
    make('p', { class: 'note', 'data-role': 'attempts', hidden: true }),
    make('p', { class: 'muted', 'data-role': 'news', hidden: true }),
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
  showText(part(block, 'attempts'), attemptsOf(operation));
  showText(part(block, 'news'), newsOf(operation));
  redraw(part(block, 'ways-out'), [operation.id, operation.kind, isAdmin()], () => waysOut(connection, operation));
}

function step([label, waiting], place, done) {
  const state = place < done ? 'done' : place === done ? 'now' : 'next';
  return make('li', { 'data-state': state, 'aria-current': state === 'now' && 'step' },
    state === 'now' ? waiting : label, make('span', { class: 'unseen' }, ` (${WORDS[state]})`));
}

function clockOf(operation) {
  const asked = `Asked ${lasting(since(operation.created_at))} ago`;
  if (operation.kind === 'sync') return operation.state === 'running' ? `${asked}, running since ${atClock(operation.started_at)}` : asked;
  return operation.deadline_at ? `${asked}; an answer is due within ${lastingYet(operation.deadline_at)}` : asked;
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

function waysOut(connection, operation) {
  const word = operation.kind === 'sync' ? 'sync' : 'verification';
  const ways = [];
  if (operation.kind === 'sync') {
    const over = make('button', { type: 'button', class: 'quiet', 'data-role': 'start-over' }, 'Start over');
    over.addEventListener('click', () => askFirst(over, {
      question: 'Ask for a new sync in place of this one?', yes: 'Start over', no: 'Keep waiting',
      act: () => attempt(() => api.sync(connection.id, { force: true }), 'The sync was started over.'),
    }));
    ways.push(make('p', { class: 'muted' }, 'If it seems stuck, ask for a new one in its place.'), over);
  }
  if (!isAdmin()) return [...ways, make('p', { class: 'muted' }, `An admin of your organization can mark this ${word} as failed.`)];
  const give = make('button', { type: 'button', class: 'quiet', 'data-role': 'end' }, 'Mark as failed');
  give.addEventListener('click', () => askFirst(give, {
    question: `Stop waiting and mark this ${word} as failed? An answer that still comes is taken all the same.`,
    yes: 'Mark as failed', no: 'Keep waiting',
    act: () => attempt(() => api.end(operation.id), `The ${word} is marked as failed.`),
  }));
  return [...ways, give];
}

async function attempt(act, done) {
  try {
    await act();
    toast(done);
  } catch (problem) {
    if (!(problem instanceof api.Refused)) throw problem;
    complain(problem);
  }
}
