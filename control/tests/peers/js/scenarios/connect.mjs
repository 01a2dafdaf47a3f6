// Connecting, being pinged, being refused, and leaving.

import { connected, newClient, newConnected, sdkTransport } from '../lib/clients.mjs';
import { api } from '../lib/api.mjs';
import { holds, same, sleep } from '../lib/report.mjs';
import { forged, token } from '../lib/tokens.mjs';

export default async function play() {
  // -- the server names every connection
  const alice = newClient('alice', { maxServerPingDelay: 1_000 });
  const hello = await connected(alice);
  same(hello.transport, sdkTransport, 'transport');
  const second = newClient('alice');
  const secondHello = await connected(second);
  holds(hello.client.length > 0 && hello.client !== secondHello.client, 'every connection has a name of its own');

  // -- a message outside of rooms
  await api('push_user', { user: 'alice', data: { to: ['alice', 'ünïcödé 🎺'] } });
  for (const client of [alice, second]) {
    same((await client.events.next('message')).data, { to: ['alice', 'ünïcödé 🎺'] }, 'a push to a user');
  }

  // -- a token under a forged signature, and none at all
  for (const [wrong, what] of [
    [forged(token({ sub: 'alice' })), 'a forged token'],
    [token({ sub: 'alice', channel: 'talk:room' }), 'a subscription token'],
    ['not a token', 'no token at all'],
  ]) {
    const intruder = newClient(null, { token: wrong });
    intruder.connect();
    const end = await intruder.events.until(
      () => intruder.events.all.find((event) => event.kind === 'disconnected' || event.kind === 'connected'),
      'disconnected',
    );
    same([end.kind, end.code, end.reason], ['disconnected', 3500, 'invalid token'], `${what}: refused for good`);
  }

  // -- the client leaves and comes back
  second.disconnect();
  same((await second.events.next('disconnected')).code, 0, 'the client left by itself');
  const before = second.events.all.length;
  second.connect();
  const again = await second.events.next('connected', undefined, before);
  holds(again.client !== secondHello.client, 'a new connection has a new name');

  // -- many at once
  const crowd = await Promise.all(Array.from({ length: 10 }, (_, i) => newConnected(`crowd-${i}`)));
  same(crowd.filter((client) => client.state !== 'connected').length, 0, 'all of them are connected');

  // -- several of the server's pings: one every two seconds, and the SDK gives up after three without one; the
  //    server gives up on a client that answers none within one.
  await sleep(6_500);
  for (const client of [alice, ...crowd]) {
    same(client.state, 'connected', 'the connection lives on pings and pongs');
    same(client.events.of('connecting').length, 1, 'and never had to reconnect');
  }
}
