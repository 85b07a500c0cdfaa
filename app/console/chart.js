// Two small charts of a connection's last syncs, oldest first: documents and durations. SVG, drawn here.

import { draw, make } from './dom.js';
import { counted, exactly, lasting, took } from './format.js';

const HEIGHT = 56;
const BAR = 10;
const GAP = 4;
const LEAST = 3;

export const ended = (operations) => operations.filter(({ kind, finished_at: end }) => kind === 'sync' && end);

export function durationOf({ created_at: began, finished_at: end }) {
  return end ? Date.parse(end) - Date.parse(began) : null;
}

export function charts(operations) {
  const syncs = ended(operations).slice(0, 20).reverse();
  if (syncs.length < 2) return [];
  return [
    chart('Documents', syncs, ({ documents_processed: documents }) => documents ?? 0, (count) => counted(count, 'document')),
    chart('Duration', syncs, durationOf, took),
  ];
}

function chart(title, syncs, valueOf, words) {
  const values = syncs.map(valueOf);
  const summary = `${title} of the last ${syncs.length} syncs: from ${words(Math.min(...values))} to ${words(Math.max(...values))}, last ${words(values.at(-1))}`;
  const svg = bars(syncs, valueOf, HEIGHT, (sync) => `${exactly(sync.created_at)}: ${words(valueOf(sync))}, ${sync.state}`);
  svg.setAttribute('role', 'img');
  svg.setAttribute('aria-label', summary);
  return make('figure', { class: 'chart' },
    make('figcaption', {}, title, make('small', {}, `up to ${words(Math.max(...values))}`)), svg);
}

// The line of bars on a card says at a glance what the history says in words.
export function sparkline(operations) {
  const syncs = ended(operations).slice(0, 12).reverse();
  if (syncs.length < 2) return null;
  const svg = bars(syncs, ({ documents_processed: documents }) => documents ?? 0, 24);
  svg.setAttribute('class', 'bars sparkline');
  svg.setAttribute('aria-hidden', 'true');
  return svg;
}

function bars(syncs, valueOf, height, titleOf = null) {
  const most = Math.max(1, ...syncs.map(valueOf));
  const width = syncs.length * (BAR + GAP) - GAP;
  const svg = draw('svg', { class: 'bars', viewBox: `0 0 ${width} ${height}`, width, height });
  syncs.forEach((sync, place) => {
    const tall = Math.max(LEAST, Math.round((valueOf(sync) / most) * height));
    const bar = draw('rect', { x: place * (BAR + GAP), y: height - tall, width: BAR, height: tall, rx: 2,
      class: sync.state === 'succeeded' ? 'good' : 'bad' });
    if (titleOf) bar.append(draw('title', {}, titleOf(sync)));
    svg.append(bar);
  });
  return svg;
}

export const lastedOf = (operation) => (durationOf(operation) == null ? lasting(0) : took(durationOf(operation)));
