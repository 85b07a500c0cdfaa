// A token that somebody else's link brought: nobody is signed in as another person, or by a stranger's link, unasked.

import * as api from '../live/api.js';
import { complain, part, setText } from '../drawing/dom.js';
import { renew, signIn, takeOffered, token, who } from './session.js';

const role = (name) => part(document, name);
let answer = null; // what the two buttons do, while there is a question

// Returns whether there is a question now, which the page waits for.
export async function consider(ask) {
  const offered = takeOffered();
  answer = null;
  if (!offered || offered.token === token()) return false;
  // Whose page this is, though their token may be good no more.
  const seen = who().user_id ? who() : null;
  if (offered.trusted && !token() && !seen) {
    signIn(offered.token);
    return true;
  }
  const [person, current] = await Promise.all([personOf(offered.token), token() ? personOf(token()) : seen]);
  if (!person.user_id && !token() && !seen) {
    // It is not accepted: signing in says why.
    signIn(offered.token);
    return true;
  }
  if (!person.user_id) {
    complain(person);
    return false;
  }
  if (current?.user_id === person.user_id && current.organization_id === person.organization_id) {
    (token() ? signIn : renew)(offered.token);
    return true;
  }
  ask();
  show(person, current?.user_id ? current : null);
  return new Promise((resolve) => {
    answer = (yes) => {
      answer = null;
      if (yes) signIn(offered.token);
      resolve(yes);
    };
  });
}

async function personOf(given) {
  try {
    return await api.personOf(given);
  } catch (problem) {
    if (!(problem instanceof api.Refused)) throw problem;
    return problem;
  }
}

function show({ email, role: called, organization_id: organization }, current) {
  setText(role('offered-person'), email || 'somebody without an e-mail address');
  setText(role('offered-role'), called);
  setText(role('offered-organization'), organization);
  setText(role('offer-current'), current
    ? `You are signed in as ${current.email || 'somebody else'} of organization ${current.organization_id}.`
    : 'You are not signed in.');
  setText(role('offer-yes'), `Sign in as ${email || 'this person'}`);
  setText(role('offer-no'), current ? `Stay ${current.email || 'signed in'}` : 'Do not sign in');
  role('offer-no').focus();
}

role('offer-yes').addEventListener('click', () => answer?.(true));
role('offer-no').addEventListener('click', () => answer?.(false));
