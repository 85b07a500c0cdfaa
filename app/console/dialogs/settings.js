// A connection's settings, as a panel: verify credentials, choose what to sync, save, switch off.

import { perform, questionOf } from '../sources/actions.js';
import * as addresses from '../drawing/addresses.js';
import * as api from '../live/api.js';
import { conflictBanner, showConflict } from './conflict.js';
import { askFirst, make, part, redraw, say, setText, showFolded, showText, toast } from '../drawing/dom.js';
import { configOf, drawOptions, fieldsOf } from './draft.js';
import { credentialInput, isComplete, labelled, nextCredential, takeCredentials } from './fields.js';
import { faultsOf, rehearsed } from './faults.js';
import { timeElement } from '../drawing/format.js';
import { isLive } from '../live/live.js';
import { progressBlock, showProgress } from '../sources/progress.js';
import { isAdmin } from '../signing-in/session.js';
import * as store from '../live/store.js';

let open = null; // the panel, of which there is one at most

// `toVerify`: whoever comes to give new credentials finds where to, though those in use are good.
export function openSettings(id, { toVerify = false } = {}) {
  const connection = store.get(id);
  const panel = { id, type: store.typeOf(connection.type), edited: false, pressed: false, replacing: toVerify, base: connection.version };
  panel.dialog = make('dialog', { class: 'panel', 'aria-labelledby': 'settings-title', 'data-role': 'settings-panel', 'data-id': id, 'data-of': panel.type.name }, ...partsOf(panel));
  panel.dialog.addEventListener('cancel', (event) => { if (panel.edited) { event.preventDefault(); leave(panel); } });
  // Closed is gone: nothing that was typed outlives the panel.
  panel.dialog.addEventListener('close', () => { open = null; panel.dialog.remove(); addresses.leave(id, 'settings', 'verify'); });
  open = panel;
  document.body.append(panel.dialog);
  fill(panel, connection);
  show(panel, connection);
  panel.dialog.showModal();
  const first = toVerify || connection.display.action === 'verify' ? '[data-credential]' : '[data-option] input, [data-role="name-input"]';
  panel.dialog.querySelector(first)?.focus();
  return panel.dialog;
}

// Keeps the panel, if it is half filled in, at its address, which has been left; returns it, or null.
export function stayInSettings() {
  if (!open?.edited) return null;
  history.replaceState(null, '', addresses.sourceAddress(open.id, 'settings'));
  return open.dialog;
}

// Closes a dialog that its address has left; of one with changes it asks first, and tells that it is still there.
export function closeSettings(dialog) {
  if (open?.dialog === dialog && stayInSettings()) {
    leave(open);
    return false;
  }
  dialog.close();
  return true;
}

// Called with whatever is new about the connection.
export function showSettings(connection) {
  const panel = open;
  if (panel?.id !== connection.id) return;
  if (!panel.edited && !panel.pressed && connection.version !== panel.base) fill(panel, connection);
  show(panel, connection);
}

function partsOf(panel) {
  const close = make('button', { type: 'button', class: 'quiet close', 'aria-label': 'Close', click: () => leave(panel) }, '×');
  return [
    make('header', {}, make('img', { class: 'icon', src: `console/icons/${panel.type.icon}.svg`, alt: '' }),
      make('h2', { id: 'settings-title', 'data-role': 'title' }), close),
    make('div', { class: 'body' }, credentialsForm(panel), settingsForm(panel), make('section', { 'data-role': 'switch' })),
  ];
}

function credentialsForm(panel) {
  const { type } = panel;
  panel.progress = progressBlock();
  const form = make('form', { 'data-role': 'credentials', novalidate: true, autocomplete: 'off' },
    make('h3', {}, '1. Verify the credentials'),
    make('p', { 'data-role': 'verified', role: 'status', tabindex: -1 }),
    make('p', { class: 'error', 'data-role': 'verify-problem', role: 'alert', hidden: true }),
    make('button', { type: 'button', class: 'quiet', 'data-role': 'replace', hidden: true, click: () => replace(panel) }, 'Replace the credentials'),
    make('div', { class: 'stack', 'data-role': 'fields' }, ...type.credential_fields.map(credentialInput),
      make('p', { class: 'muted' }, 'They go to the external service once and are stored neither here nor in this page.'),
      make('button', { type: 'submit', 'data-role': 'verify' }, 'Verify')),
    panel.progress, cancelOf(panel));
  form.addEventListener('submit', (event) => { event.preventDefault(); if (isComplete(form)) verify(panel, form); });
  return form;
}

function cancelOf(panel) {
  const button = make('button', { type: 'button', class: 'quiet', 'data-role': 'cancel', hidden: true }, 'Cancel');
  button.addEventListener('click', () => askFirst(button, { ...questionOf(store.get(panel.id)), act: () => press(panel, () => perform(panel.id, 'cancel')) }));
  return button;
}

function settingsForm(panel) {
  const saveAndSync = make('button', { type: 'button', class: 'quiet', 'data-role': 'save-sync' }, 'Save and sync');
  const form = make('form', { 'data-role': 'settings', novalidate: true, autocomplete: 'off' },
    make('h3', { tabindex: -1, 'data-role': 'choose' }),
    conflictBanner({ keep: () => keepMine(panel), take: () => fillAndShow(panel) }),
    make('div', { 'data-role': 'options' }),
    make('div', { 'data-role': 'config' }),
    labelled({ label: 'Name', required: true }, make('input', { 'data-role': 'name-input', required: true, maxlength: 200 })),
    labelled({ label: 'Description' }, make('input', { 'data-role': 'description-input', maxlength: 2000 })),
    make('label', { class: 'check', 'data-role': 'enable' }, make('input', { type: 'checkbox', 'data-role': 'enabled-input' }), 'Switch on, so that it can be synced'),
    make('details', { class: 'advanced' }, make('summary', {}, 'Advanced: rehearse a fault'),
      make('p', { class: 'muted' }, 'For the stand-in external service only. Goes with the next Verify, and with syncs once saved.'),
      make('div', { 'data-role': 'faults' })),
    make('p', { class: 'error', 'data-role': 'save-problem', role: 'alert', hidden: true }),
    make('div', { class: 'row' }, make('button', { type: 'submit', 'data-role': 'save' }, 'Save'), saveAndSync));
  form.addEventListener('input', (event) => { if (event.target.dataset.role !== 'search') panel.edited = true; });
  form.addEventListener('submit', (event) => { event.preventDefault(); if (isComplete(form)) save(panel); });
  saveAndSync.addEventListener('click', () => { if (isComplete(form)) save(panel, { thenSync: true }); });
  return form;
}

function replace(panel) {
  panel.replacing = true;
  show(panel, store.get(panel.id));
  panel.dialog.querySelector('[data-credential]')?.focus();
}

// --- What is shown ---------------------------------------------------------------------------------------------------

function fillAndShow(panel) {
  fill(panel, store.get(panel.id));
  show(panel, store.get(panel.id));
  part(panel.dialog, 'name-input').focus();
}

function fill(panel, connection) {
  const { dialog } = panel;
  panel.base = connection.version;
  panel.filled = connection;
  panel.edited = false;
  part(dialog, 'name-input').value = connection.name;
  part(dialog, 'description-input').value = connection.description ?? '';
  redraw(part(dialog, 'faults'), connection.config.simulate ?? '', () => [faultsOf(connection.config.simulate)]);
  // What was never switched on is meant to be by saving it; what somebody has switched off is not.
  part(dialog, 'enabled-input').checked = connection.display.state !== 'disabled';
  drawOptions(panel, connection, connection.config);
}

function show(panel, connection) {
  const { dialog, pressed } = panel;
  const busy = connection.status !== 'idle';
  setText(part(dialog, 'title'), `Set up ${connection.name}`);
  const options = JSON.stringify([connection.latest_options, connection.last_verification_at]);
  if (panel.options !== options) {
    // What was ticked before new options came stays ticked, and counts as changed.
    drawOptions(panel, connection, panel.options === undefined ? connection.config : configOf(panel));
    panel.options = options;
  }
  showVerification(panel, connection);
  part(dialog, 'verify').disabled = pressed || busy;
  part(dialog, 'save').disabled = pressed;
  part(dialog, 'save-sync').disabled = pressed || busy;
  part(dialog, 'enable').hidden = connection.enabled;
  showConflict(dialog, panel.edited && connection.version !== panel.base ? { connection, filled: panel.filled, typed: fieldsOf(panel) } : null);
  showSwitch(panel, connection);
}

function showVerification(panel, connection) {
  const { dialog, type } = panel;
  const { last_verification_at: at, last_verification_error: error, status } = connection;
  const verifying = status === 'verifying';
  showProgress(panel.progress, verifying ? connection : {});
  part(dialog, 'cancel').hidden = !verifying;
  part(dialog, 'cancel').disabled = panel.pressed || !isAdmin();
  // What is in use and good is not asked for again unless it is wanted.
  const good = at && !error && !panel.replacing;
  part(dialog, 'fields').hidden = verifying || good;
  part(dialog, 'replace').hidden = verifying || !good;
  // Where nothing that was entered is wrong, it does not look so.
  part(dialog, 'verify-problem').classList.toggle('note', ['service', 'operator'].includes(connection.display.actor) && !panel.refusal);
  showFolded(part(dialog, 'verify-problem'), panel.refusal ?? (verifying ? '' : error && problemOf(connection)));
  redraw(part(dialog, 'verified'), [status, at, error], () => {
    if (verifying) return ['The external service is asked whether they are good.'];
    if (status === 'syncing') return ['A sync is running; verify when it has ended.'];
    if (error) return ['Not verified.'];
    if (at) return ['Verified ', timeElement(at), '.'];
    return [type.needs_credentials ? 'Needed once, before the first sync.' : 'Optional: this source works without.'];
  });
  if (panel.awaits === 'its start' && verifying) panel.awaits = 'its end';
  else if (panel.awaits === 'its end' && !verifying) {
    panel.awaits = '';
    panel.replacing = false;
    const chooses = dialog.querySelector('[data-option]');
    say(error ? `Not verified: ${error}` : `Verified. ${chooses ? 'Choose what to sync.' : 'Save to go on.'}`);
    // Whoever waited at the verification goes on where it leads.
    if (part(dialog, 'credentials').contains(document.activeElement)) {
      const next = error ? nextCredential(part(dialog, 'credentials')) : dialog.querySelector('[data-option] input');
      (next ?? part(dialog, 'choose')).focus();
    }
  }
}

// With what to do about it: who has to do it differs, and the server knows.
function problemOf({ last_verification_error: error, display }) {
  if (display.state === 'verification_failed') return [error, display.advice].filter(Boolean).join('. ').replaceAll('..', '.');
  return display.note ?? error;
}

function showSwitch(panel, connection) {
  const section = part(panel.dialog, 'switch');
  redraw(section, [connection.enabled, panel.type.seeded, isAdmin()], () => [
    ...(connection.enabled ? switchOff(panel) : []), ...(panel.type.seeded === false ? [removal(panel)] : []),
  ]);
  section.hidden = !section.childElementCount;
}

function switchOff(panel) {
  if (!isAdmin()) return [make('p', { class: 'muted' }, 'Only an admin of your organization can switch this data source off.')];
  const act = () => press(panel, () => configure(panel, { enabled: false }), 'It is switched off; what was configured is kept.');
  return [make('p', { class: 'muted' }, 'Switched off, it is not synced; settings and history stay.'),
    make('button', { type: 'button', class: 'quiet', 'data-role': 'disable', click: act }, 'Switch off')];
}

function removal(panel) {
  if (!isAdmin()) return make('p', { class: 'muted' }, 'Only an admin of your organization can remove this data source.');
  const button = make('button', { type: 'button', class: 'quiet', 'data-role': 'remove' }, 'Remove');
  button.addEventListener('click', () => askFirst(button, {
    question: 'Remove this data source? It can be added again later, with its settings.', yes: 'Remove',
    act: () => press(panel, async () => { await api.remove(panel.id); store.forget(panel.id); }, 'It is removed.'),
  }));
  return button;
}

// --- What pressing does ----------------------------------------------------------------------------------------------

async function verify(panel, form) {
  // Out of the page before anything is awaited.
  const credentials = takeCredentials(form);
  const simulate = rehearsed(panel.dialog);
  panel.awaits = 'its start';
  part(panel.dialog, 'verified').focus();
  await press(panel, async () => {
    await api.verify(panel.id, { credentials, settings: simulate ? { simulate } : {} });
    if (!isLive()) await store.refresh(panel.id);
  });
}

async function save(panel, { thenSync = false } = {}) {
  const name = part(panel.dialog, 'name-input').value.trim();
  const fields = fieldsOf(panel);
  await press(panel, async () => {
    if (Object.keys(fields).length) await configure(panel, fields);
    panel.edited = false;
    if (thenSync) await api.sync(panel.id);
    panel.dialog.close();
    toast(`${name} is saved.`);
  }, '', 'save-problem');
}

async function configure(panel, fields) {
  const before = store.mark(panel.id);
  const saved = await api.configure(panel.id, fields, panel.base);
  panel.base = saved.version;
  store.answered(saved, before);
}

function keepMine(panel) {
  panel.base = store.get(panel.id).version;
  show(panel, store.get(panel.id));
  part(panel.dialog, 'save').focus();
}

async function press(panel, act, done = '', where = 'verify-problem') {
  panel.pressed = true;
  panel.refusal = undefined;
  showText(part(panel.dialog, where), '');
  redrawPanel(panel);
  try {
    await act();
    if (done) toast(done);
  } catch (problem) {
    if (!(problem instanceof api.Refused)) throw problem;
    panel.awaits = '';
    if (problem.code === 'changed_meanwhile') {
      panel.edited = true;
      await store.refresh(panel.id).catch(() => {});
    } else if (where === 'verify-problem') panel.refusal = problem.message;
    else showText(part(panel.dialog, where), problem.message);
  } finally {
    panel.pressed = false;
    redrawPanel(panel);
  }
}

function redrawPanel(panel) {
  const connection = store.get(panel.id);
  if (connection && panel.dialog.open) show(panel, connection);
}

function leave(panel) {
  if (!panel.edited) {
    panel.dialog.close();
    return;
  }
  if (document.querySelector('dialog.question')) return; // Asked already.
  askFirst(panel.dialog.querySelector('.close'), { question: 'Leave without saving?', yes: 'Leave', no: 'Stay', act: () => panel.dialog.close() });
}
