// Moments, durations and numbers in words. Times are the server's: a computer whose clock is wrong shows them right.

import { make } from './dom.js';

const UNITS = [['day', 86_400], ['hour', 3_600], ['minute', 60]];
// The header tells whole seconds, and the answer was on its way for a while.
const TRUSTED_MS = 3_000;
const relative = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });
const moments = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: 'short' });
export const numbers = new Intl.NumberFormat('en');
const days = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short', timeZone: 'UTC' });
let ahead = 0;

export const now = () => Date.now() + ahead;

export function learnTime(header) {
  const difference = Date.parse(header) - Date.now();
  if (Number.isFinite(difference)) ahead = Math.abs(difference) > TRUSTED_MS ? difference : 0;
}

export function ago(moment) {
  const seconds = (now() - Date.parse(moment)) / 1000;
  const [unit, size] = UNITS.find(([, size]) => seconds >= size) ?? [];
  return unit ? relative.format(-Math.floor(seconds / size), unit) : 'just now';
}

export const exactly = (moment) => moments.format(Date.parse(moment));
export const atClock = (moment) => clock.format(Date.parse(moment));
export const dayOf = (day) => days.format(Date.parse(day));
export const since = (moment) => Math.max(0, now() - Date.parse(moment));
export const left = (moment) => Math.max(0, Date.parse(moment) - now());

// What is left is said in whole seconds that have begun: at the start of two minutes, two minutes.
export const lastingYet = (moment) => lasting(Math.ceil(left(moment) / 1000) * 1000);

export function lasting(milliseconds) {
  const seconds = Math.floor(milliseconds / 1000);
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 10) return seconds % 60 ? `${minutes} min ${seconds % 60} s` : `${minutes} min`;
  if (minutes < 60) return `${minutes} min`;
  return minutes % 60 ? `${Math.floor(minutes / 60)} h ${minutes % 60} min` : `${Math.floor(minutes / 60)} h`;
}

// Runs of a few seconds are compared with each other, so these have a decimal.
export function took(milliseconds) {
  if (milliseconds < 100) return 'under 0.1 s';
  return milliseconds < 10_000 ? `${(milliseconds / 1000).toFixed(1)} s` : lasting(milliseconds);
}

export function counted(count, noun) {
  return `${numbers.format(count)} ${noun}${count === 1 ? '' : 's'}`;
}

// Relative to read, exact to hover and for programs.
export function timeElement(moment, words = ago(moment)) {
  return make('time', { datetime: moment, title: exactly(moment) }, words);
}

// In a list of what was, the exact moment is what people compare.
export const dated = (moment) => make('time', { datetime: moment, title: ago(moment) }, exactly(moment));

// An array's names are taken as they are, a text's end at commas.
export function wordsOf(value) {
  const list = Array.isArray(value) ? value.map(String) : String(value ?? '').split(',').map((word) => word.trim());
  return [...new Set(list)].filter((word) => word.trim());
}

// `projectKeys` and `last_sync_at` as people write them.
export function humanized(name) {
  const words = name.replaceAll('_', ' ').replaceAll(/([a-z])([A-Z])/g, '$1 $2').toLowerCase();
  return words.charAt(0).toUpperCase() + words.slice(1);
}
