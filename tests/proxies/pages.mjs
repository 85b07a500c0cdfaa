// Pages of one browser over HTTP/2, as many as are asked for, on one connection: prints a line of JSON for whatever happens.
// A number on the standard input is a page that is left; its end, all of them.

import { readFileSync } from 'node:fs';
import { connect, constants } from 'node:http2';
import { createInterface } from 'node:readline';

const [url, authorization, authority, count] = process.argv.slice(2);
const tell = (what, more = {}) => console.log(JSON.stringify({ what, at: Date.now() / 1000, ...more }));
const session = connect(url, { ca: readFileSync(authority) });
session.on('connect', () => tell('connected', { protocol: session.alpnProtocol }));
session.on('error', (problem) => tell('failed', { problem: String(problem) }));

function ask(path, received) {
  const request = session.request({ ':path': path, authorization, 'accept-encoding': 'gzip' });
  request.setEncoding('utf8');
  request.on('response', (headers) => tell('answered', { path, status: headers[':status'] }));
  request.on('error', () => {});
  request.on('data', received);
  return request;
}

function open(page) {
  let pending = '';
  return ask('/api/sse', (text) => {
    const blocks = (pending + text).split('\n\n');
    pending = blocks.pop();
    for (const block of blocks) {
      const data = block.match(/^data: ?(.*)$/m)?.[1];
      if (data) tell('event', { page, data: JSON.parse(data) });
    }
  }).on('close', () => tell('ended', { page }));
}

const answer = (path) => new Promise((resolve) => { ask(path, () => {}).on('close', resolve); });

const pages = [];
for (let page = 0; page < Number(count); page += 1) {
  // As a page does. Apache, too, has six answers at once under way, until it sees that they end.
  await Promise.all(['/', '/console/styles/console.css', '/console/main.js'].map(answer));
  pages.push(open(page));
}
// None of them may stand in the way of a call.
await answer('/api/data-sources');
for await (const line of createInterface({ input: process.stdin })) pages[Number(line)].close(constants.NGHTTP2_CANCEL);
session.destroy();
