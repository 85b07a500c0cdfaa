// Small charts of a connection's syncs, oldest first: documents, durations, and how one sync went. SVG, drawn here.

import { draw, make } from './dom.js';
import { counted, exactly, numbers, took } from './format.js';

const HEIGHT = 56;
const BAR = 10;
const GAP = 4;
const LEAST = 3;
const SPARK = 34;
const CURVE = { width: 320, height: 90, left: 44, bottom: 18 };

export const ended = (operations) => operations.filter(({ kind, finished_at: end }) => kind === 'sync' && end);
export const durationOf = ({ created_at: began, finished_at: end }) => (end ? Date.parse(end) - Date.parse(began) : null);

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
export function sparkline(syncs) {
  const told = syncs.slice(0, 18).reverse();
  if (told.length < 2) return null;
  const svg = bars(told, ({ documents_processed: documents }) => documents ?? 0, SPARK);
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

// How many documents one sync had counted at each moment, by the external service's clock.
export function curve(reports) {
  const told = reports.filter(({ documents_processed: documents }) => documents != null);
  if (told.length < 2) return null;
  const { width, height, left, bottom } = CURVE;
  const floor = height - bottom;
  const [first, last] = [Date.parse(told[0].at), Date.parse(told.at(-1).at)];
  const most = Math.max(1, ...told.map(({ documents_processed: documents }) => documents));
  const x = (at) => left + ((Date.parse(at) - first) / Math.max(1, last - first)) * (width - left - 8);
  const y = (count) => floor - (count / most) * (floor - 8);
  const svg = draw('svg', { class: 'plot curve', viewBox: `0 0 ${width} ${height}`, width, height, role: 'img',
    'aria-label': `Documents over time: ${numbers.format(most)} in ${took(last - first)}` });
  svg.append(draw('line', { class: 'grid', x1: left, x2: width, y1: floor, y2: floor }),
    draw('text', { x: left - 6, y: y(most) + 6, 'text-anchor': 'end' }, numbers.format(most)),
    draw('text', { x: left - 6, y: floor + 3, 'text-anchor': 'end' }, '0'),
    draw('text', { x: width - 2, y: height - 3, 'text-anchor': 'end' }, took(last - first)),
    draw('polyline', { points: told.map(({ at, documents_processed: count }) => `${x(at)},${y(count)}`).join(' ') }));
  for (const { at, documents_processed: count } of told) {
    svg.append(draw('circle', { cx: x(at), cy: y(count), r: 3 }, draw('title', {}, `${exactly(at)}: ${counted(count, 'document')}`)));
  }
  return make('figure', { class: 'chart' }, make('figcaption', {}, 'Documents over time'), svg);
}
