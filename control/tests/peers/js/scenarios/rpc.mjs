// Calls of the backend, and messages to it.

import { connected, isBinary, newClient, packed, sdkTransport, unpacked } from '../lib/clients.mjs';
import { startBackend } from '../lib/backend.mjs';
import { refused, same } from '../lib/report.mjs';
import { token } from '../lib/tokens.mjs';

const answers = {
  rpc({ method, data }) {
    switch (method) {
      case 'echo':
      // A name that is empty is left out.
      case undefined:
        return { result: { data } };
      case 'nothing':
        return { result: {} };
      case 'refuse':
        return { error: { code: 1_404, message: 'no such thing' } };
      case 'send away':
        return { disconnect: { code: 4_500, reason: 'go away' } };
      case 'break':
        return 500;
      default:
        return new Promise(() => {});
    }
  },
  send: () => ({ result: {} }),
};

export default async function play() {
  const backend = await startBackend(answers);
  const client = newClient('alice', { token: token({ sub: 'alice' }) });
  const hello = await connected(client);
  const call = async (method, value) => unpacked((await client.rpc(method, packed(value))).data);

  // -- there and back
  for (const value of [{ deep: [1, { er: null }] }, 'ünïcödé "🎺"\n', 7, false, 'x'.repeat(20_000)]) {
    same(await call('echo', value), value, 'what the backend answers');
  }
  const asked = backend.events.of('rpc')[0];
  same([asked.method, asked.contentType.split(';')[0]], ['POST', 'application/json'], 'the request');
  const { client: id, user, transport, protocol, encoding, method, data } = asked.question;
  same([id, user, method], [hello.client, 'alice', 'echo'], 'who calls what');
  same(
    [transport, protocol, encoding, data],
    [sdkTransport, isBinary ? 'protobuf' : 'json', 'json', { deep: [1, { er: null }] }],
    'over what, with what',
  );
  same(await call('', 1), 1, 'a method without a name');
  // Without data in the answer the SDKs report none: undefined for JSON, no bytes for protobuf.
  const { data: none } = await client.rpc('nothing', packed(1));
  same(none === undefined || none === null || none.length === 0, true, 'an answer without data');

  // -- many at once: every answer to its own question
  const many = Array.from({ length: 40 }, (_, n) => n);
  same(await Promise.all(many.map((n) => call('echo', { n }))), many.map((n) => ({ n })), 'many calls at once');

  // -- refusals
  const refusal = await refused(call('refuse', 1), 1_404, 'a refusal of the backend');
  same([refusal.message, refusal.temporary], ['no such thing', false], 'as the backend put it');
  const broken = await refused(call('break', 1), 100, 'a broken backend');
  same([broken.message, broken.temporary], ['internal server error', true], 'an error of the server');
  await refused(call('hang', 1), 100, 'a backend that does not answer in time');
  same(client.events.of('connecting').length, 1, 'the connection goes on');

  // -- messages without an answer
  await client.send(packed({ note: 'by the way' }));
  const sent = await backend.events.next('send');
  same([sent.question.client, sent.question.user, sent.question.data], [hello.client, 'alice', { note: 'by the way' }], 'a message');
  same(await call('echo', 'still here'), 'still here', 'and the connection goes on');

  // -- the backend sends away
  call('send away', 1).catch(() => {});
  const end = await client.events.next('disconnected');
  same([end.code, end.reason], [4_500, 'go away'], 'the backend sends away for good');

  // -- no backend at all
  await backend.stop();
  const late = newClient('bob');
  await connected(late);
  await refused(late.rpc('echo', packed(1)), 100, 'a backend that is not there');
  same(late.state, 'connected', 'is no reason to close the connection');
}
