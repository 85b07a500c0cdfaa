// The organization at a glance: how its sources are, and its syncs of the last 30 days by how they ended.

import { isFailing } from './actions.js';
import { draw, make, part, redraw, setText, showText } from '../drawing/dom.js';
import { counted, dayOf, numbers } from '../drawing/format.js';
import { isAdmin } from '../signing-in/session.js';
import * as store from '../live/store.js';

const OUTCOMES = [['succeeded', 'Succeeded', 'good'], ['failed', 'Failed', 'bad'], ['unanswered', 'Without an answer', 'warn']];
const HEIGHT = 132;
const LEFT = 34;
const BOTTOM = 20;
const TOP = 8;

export function drawOverview(root) {
  const connections = store.all();
  const glance = store.overview();
  root.hidden = !connections.length;
  if (root.hidden) return;
  setText(part(root, 'organization'), glance?.organization_name ?? 'Your organization');
  const documents = connections.reduce((sum, each) => sum + (each.last_sync_documents ?? 0), 0);
  const figures = [
    ['connected', 'connected', connections.filter(({ enabled }) => enabled).length, `of ${connections.length}`],
    ['running', 'running now', connections.filter(({ operation }) => operation).length, ''],
    ['failing', 'failing', connections.filter(isFailing).length, ''],
    ['counted', 'documents', documents, 'in the last syncs'],
  ];
  redraw(part(root, 'figures'), figures, () => figures.map(([name, words, count, besides]) => make('li', { 'data-figure': name, 'data-none': String(count === 0) },
    make('strong', {}, numbers.format(count)), ` ${words}`, besides && make('small', {}, ` ${besides}`))));
  showText(part(root, 'may'), isAdmin() ? '' : 'You are a member: you connect, verify and sync. To cancel, switch off or remove is for admins.');
  // Without any sync there is nothing to plot.
  const days = glance?.days.some(total) ? glance.days : [];
  part(root, 'days').hidden = !days.length;
  if (days.length) drawDays(root, days);
}

const total = (day) => OUTCOMES.reduce((sum, [name]) => sum + day[name], 0);

function wordsOf(day) {
  const parts = OUTCOMES.filter(([name]) => day[name]).map(([name, words]) => `${numbers.format(day[name])} ${words.toLowerCase()}`);
  return `${dayOf(day.day)}: ${parts.length ? `${parts.join(', ')}; ${counted(day.documents, 'document')}` : 'no syncs'}`;
}

// Drawn as wide as there is room, so that its words keep their size.
function drawDays(root, days) {
  const figure = part(root, 'days');
  const width = Math.max(260, Math.floor(figure.clientWidth));
  const value = part(figure, 'value');
  const overall = `${counted(days.reduce((sum, day) => sum + total(day), 0), 'sync')} in ${days.length} days`;
  redraw(part(figure, 'plot'), [days, width], () => {
    setText(value, overall);
    return [plot(days, width, (day) => setText(value, day ? wordsOf(day) : overall))];
  });
  redraw(part(figure, 'table'), days, () => [tableOf(days)]);
}

function plot(days, width, tellOf) {
  const most = scaled(Math.max(1, ...days.map(total)));
  const floor = HEIGHT - BOTTOM;
  const step = (width - LEFT) / days.length;
  const y = (count) => floor - (count / most) * (floor - TOP);
  const svg = draw('svg', { class: 'plot', viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: 'img',
    'aria-label': `Syncs of the last ${days.length} days by how they ended; the same as a table follows`, pointerleave: () => tellOf(null) });
  for (const count of [0, most / 2, most].filter(Number.isInteger)) {
    svg.append(draw('line', { class: 'grid', x1: LEFT, x2: width, y1: y(count), y2: y(count) }),
      draw('text', { x: LEFT - 6, y: y(count) + 4, 'text-anchor': 'end' }, numbers.format(count)));
  }
  days.forEach((day, place) => {
    const x = LEFT + place * step;
    let under = 0;
    for (const [name, , tone] of OUTCOMES) {
      if (!day[name]) continue;
      const top = y(under + day[name]);
      svg.append(draw('rect', { class: tone, x: x + step * 0.14, width: step * 0.72, y: top, height: Math.max(1, y(under) - top) }));
      under += day[name];
    }
    const isTold = (days.length - 1 - place) % (width < 420 ? 10 : 5) === 0;
    if (isTold) svg.append(draw('text', { x: Math.min(x + step / 2, width - 18), y: HEIGHT - 4, 'text-anchor': 'middle' }, dayOf(day.day)));
    svg.append(draw('rect', { class: 'hover', x, width: step, y: TOP, height: floor - TOP, pointerenter: () => tellOf(day) }, draw('title', {}, wordsOf(day))));
  });
  return svg;
}

// The axis ends at a number that people read at once.
function scaled(most) {
  const size = 10 ** Math.floor(Math.log10(most));
  return [1, 2, 4, 6, 10].map((each) => each * size).find((each) => each >= most);
}

function tableOf(days) {
  const heads = ['Day', ...OUTCOMES.map(([, words]) => words), 'Documents'];
  const told = days.filter(total).toReversed();
  return make('table', {}, make('caption', { class: 'unseen' }, `Syncs of the last ${days.length} days; days without any are left out`),
    make('thead', {}, make('tr', {}, ...heads.map((head) => make('th', { scope: 'col' }, head)))),
    make('tbody', {}, ...told.map((day) => make('tr', {}, make('th', { scope: 'row' }, dayOf(day.day)),
      ...[...OUTCOMES.map(([name]) => day[name]), day.documents].map((count) => make('td', {}, numbers.format(count)))))));
}

addEventListener('resize', () => { const root = part(document, 'overview'); if (!root.hidden) drawOverview(root); });
