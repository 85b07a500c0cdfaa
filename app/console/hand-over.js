// A platform's page opens this one and hands its person's token over. Only an origin in CORS_ORIGINS may, and only the page
// that opened this one; docs/client/README.md has the platform's half.

import { handOver } from './signing-in/session.js';

const opener = window.opener;
const say = (sentence) => { document.querySelector('[data-role="words"]').textContent = sentence; };

if (!opener) say('This page is opened by your platform. Go there to sign in.');
else {
  const origins = await fetch('hand-over/origins').then((response) => response.json(), () => []);
  addEventListener('message', ({ origin, source, data }) => {
    if (source !== opener || !origins.includes(origin) || typeof data?.token !== 'string') return;
    handOver(data.token);
    location.replace('.');
  });
  // There is nothing in it to hide, and whose page it is shows in the answer.
  opener.postMessage('rita: ready', '*');
}
