// A token that somebody else's link brought: nobody is signed in as another person, or by a stranger's link, unasked.

import * as api from '../live/api.js';
import { askFirst, complain, part, setText } from '../drawing/dom.js';
import { renew, signIn, token, who } from './session.js';

const role = (name) => part(document, name);
let answer = null; // what the two buttons do, while there is a question

// Returns whether somebody is signed in, which begins the page anew. Where `form` is half filled in it stays, and what
// there is to ask or to say stands over it.
export async function consider(offered, ask, form) {
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
    if (form) askFirst(form, { question: person.message, no: 'Close' });
    else complain(person);
    return false;
  }
  if (current?.user_id === person.user_id && current.organization_id === person.organization_id) {
    (token() && !form ? signIn : renew)(offered.token);
    return true;
  }
  if (form) {
    askFirst(form, { question: overForm(person), yes: `Sign in as ${nameOf(person)}`, no: 'Stay', act: () => signIn(offered.token) });
    return false;
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

const nameOf = ({ email }) => email || 'somebody without an e-mail address';

function overForm(person) {
  return `A link or another page wants to sign you in as ${nameOf(person)} (${person.role}) of organization `
    + `${person.organization_id}. You are ${nameOf(who())}, and what you have entered here is not saved. `
    + 'If you did not expect this, stay.';
}

async function personOf(given) {
  try {
    return await api.personOf(given);
  } catch (problem) {
    if (!(problem instanceof api.Refused)) throw problem;
    return problem;
  }
}

function show(person, current) {
  const { email, role: called, organization_id: organization } = person;
  setText(role('offered-person'), nameOf(person));
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
