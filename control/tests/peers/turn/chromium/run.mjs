// A call between two pages of Chromium:  node run.mjs SETUP
//
// The setup is {ice_servers: [the caller's, the callee's], sizes, certificate}, where the last is the file of the
// certificate that the relay has. Prints {gathered, states, audio, pairs, echoed} as JSON,
// and of these the first alone if the relay gave a side no candidates.

import { X509Certificate, createHash } from 'node:crypto';
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

/** Has the browser believe in this key; it takes authorities from its own lists only. */
async function believingIn(certificate) {
  const { publicKey } = new X509Certificate(await readFile(certificate));
  const hash = createHash('sha256').update(publicKey.export({ type: 'spki', format: 'der' }));
  return `--ignore-certificate-errors-spki-list=${hash.digest('base64')}`;
}

async function play({ ice_servers: [callers, callees], sizes, certificate }) {
  await new Promise((resolve) => pages.listen(0, '127.0.0.1', resolve));
  const page = `http://127.0.0.1:${pages.address().port}/call.html`;
  const browser = new Browser([await believingIn(certificate)]);
  try {
    const [caller, callee] = [await browser.open(page), await browser.open(page)];
    await caller('prepare', callers);
    await callee('prepare', callees);
    await caller('accept', await callee('answer', await caller('offer')));
    const both = (name) => Promise.all([caller(name), callee(name)]);
    const gathered = await both('gathered');
    // Without candidates they would wait for some for ever.
    if (gathered.some(({ candidates }) => candidates.length === 0)) return { gathered };
    const states = await both('state');
    await caller('exchange', sizes);
    const audio = await both('audio');
    return { gathered, states, audio, pairs: await both('pair'), echoed: await caller('echoed') };
  } finally {
    await browser.close();
    pages.close();
  }
}

console.log(JSON.stringify(await play(JSON.parse(process.argv[2]))));
