// A call between two pages of Chromium:  node run.mjs SETUP
//
// The setup is {ice_servers: [the caller's, the callee's], sizes, flags}. Prints {states, pairs, echoed, audio} as JSON.

import { createServer } from 'node:http';
import { readFile } from 'node:fs/promises';

import { Browser } from './devtools.mjs';

const TYPES = { '/call.html': 'text/html', '/call.js': 'text/javascript' };

// Pages from files are nobody's: they may not listen to a microphone.
const pages = createServer(async ({ url }, response) => {
  const type = TYPES[url];
  response.writeHead(type ? 200 : 404, { 'Content-Type': type ?? 'text/plain' });
  response.end(type && (await readFile(new URL(`.${url}`, import.meta.url))));
});

async function play({ ice_servers: [callers, callees], sizes, flags }) {
  await new Promise((resolve) => pages.listen(0, '127.0.0.1', resolve));
  const page = `http://127.0.0.1:${pages.address().port}/call.html`;
  const browser = new Browser(flags);
  try {
    const [caller, callee] = [await browser.open(page), await browser.open(page)];
    await caller('prepare', callers);
    await callee('prepare', callees);
    await caller('accept', await callee('answer', await caller('offer')));
    const both = (name) => Promise.all([caller(name), callee(name)]);
    const states = await both('state');
    if (states.includes('failed')) return { states };
    const echoed = await caller('exchange', sizes);
    return { states, echoed, audio: await both('audio'), pairs: await both('pair') };
  } finally {
    await browser.close();
    pages.close();
  }
}

console.log(JSON.stringify(await play(JSON.parse(process.argv[2]))));
