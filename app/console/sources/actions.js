// What can be done with a connection next, for whoever draws it, and how a press is carried out.

import * as api from '../live/api.js';
import { isAdmin } from '../signing-in/session.js';
import * as store from '../live/store.js';

const STATES = {
  unconfigured: 'Not set up yet',
  verifying: 'Checking the credentials',
  verification_failed: 'Verification failed',
  disabled: 'Switched off',
  pending: 'Ready',
  syncing: 'Syncing',
  completed: 'Synced',
  failed: 'Sync failed',
};
// Of what nobody answered, nobody knows whether it is right.
const VERDICTS = [null, 'failed', 'failed_late'];

export const isFailing = ({ display: { state } }) => state === 'failed' || state === 'verification_failed';
export const mayVerify = ({ display }) => display.alternative === 'verify';

export function titleOf({ display: { state, ending } }) {
  return state === 'verification_failed' && !VERDICTS.includes(ending) ? 'Not verified' : STATES[state] ?? state;
}

// The one thing to do: what the button says, what a press does, and why it may not be pressed.
export function primaryOf(connection) {
  const { display, operation, last_verification_at: verified } = connection;
  if (operation) return { words: 'Cancel', does: 'cancel', barred: isAdmin() ? '' : 'Only an admin of your organization can cancel it.' };
  if (display.action === 'verify') {
    if (display.state !== 'verification_failed') return { words: 'Set up', does: 'set-up' };
    return { words: display.actor === 'user' ? 'Correct credentials' : 'Verify again', does: 'set-up' };
  }
  if (display.action === 'enable') {
    return display.state === 'disabled' ? { words: 'Switch on', does: 'enable' } : { words: verified ? 'Finish set-up' : 'Set up', does: 'set-up' };
  }
  return display.action === 'sync' ? { words: display.state === 'failed' ? 'Try again' : 'Sync now', does: 'sync' } : null;
}

const ACTS = {
  enable: ({ id }) => api.configure(id, { enabled: true }),
  sync: ({ id }) => api.sync(id),
  cancel: ({ operation }) => operation && api.end(operation.id),
};

export const perform = (id, does) => ACTS[does](store.get(id));

// What is asked before something is cancelled: it says what a cancel is, for the external service hears nothing of it.
export function questionOf({ operation }) {
  const word = operation?.kind === 'verify' ? 'verification' : 'sync';
  return {
    question: `Stop waiting for this ${word}? It is marked as failed here. The external service is not told and may go on; an answer that still comes is taken.`,
    yes: `Cancel the ${word}`, no: 'Keep waiting',
  };
}
