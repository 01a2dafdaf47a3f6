// What the test tells us, on the command line: node run.mjs --transport NAME --setup JSON TOPIC...
//
// The setup is {http, api, api_key, token_secret, backend_port}: the clients' address and the control API's as
// URLs without a path, the API key, the secret that tokens are signed with, and the port where the server looks
// for its backend.

import { parseArgs } from 'node:util';

const { values, positionals } = parseArgs({
  options: { transport: { type: 'string' }, setup: { type: 'string' } },
  allowPositionals: true,
});

export const transportName = values.transport;
export const setup = JSON.parse(values.setup ?? 'null');
export const topics = positionals;
