// The codes that SDKs act on: which ends are for good, and after which they come back.

import { connected, dataOf, newClient, newConnected, subscribed, subscription } from '../lib/clients.mjs';
import { api } from '../lib/api.mjs';
import { same, sleep } from '../lib/report.mjs';
import { token } from '../lib/tokens.mjs';

/** Sends the user away with this code; `expected` is what the SDK makes of it. */
async function sentAway(user, disconnect, expected) {
  const client = await newConnected(user);
  const [sub] = await subscribed(client, 'talk:codes');
  const before = client.events.all.length;
  await api('disconnect', { user, ...(disconnect ? { disconnect } : {}) });
  const end = await client.events.until(
    () => client.events.all.slice(before).find((event) => ['connecting', 'disconnected'].includes(event.kind)),
    'the end',
  );
  same([end.kind, end.code, end.reason], expected, `sent away with ${JSON.stringify(disconnect)}`);
  if (end.kind === 'disconnected') {
    await sleep(600);
    same(client.state, 'disconnected', 'it stays away');
    same(sub.state, 'subscribing', 'its subscription waits for the application');
    return;
  }
  await client.events.next('connected', undefined, before);
  await sub.ready(5_000);
  await api('publish', { channel: 'talk:codes', data: `back after ${end.code}` });
  await sub.events.next('publication', (p) => p.data === `back after ${end.code}`);
}

async function unsubscribedByService() {
  const client = await newConnected('member');
  const [sub] = await subscribed(client, 'talk:codes');
  await api('unsubscribe', { user: 'member', channel: 'talk:codes' });
  const end = await sub.events.next('unsubscribed');
  same([end.code, end.reason], [2000, 'server unsubscribe'], 'unsubscribed by a service, for good');
  await api('publish', { channel: 'talk:codes', data: 'not for those taken out' });
  await sleep(300);
  same(dataOf(sub).includes('not for those taken out'), false, 'and nothing is heard any more');
  // The application may try again.
  sub.subscribe();
  await sub.events.next('subscribed', undefined, sub.events.all.indexOf(end));
  same(client.state, 'connected', 'the connection goes on');
}

async function refusedSubscriptions() {
  const client = await newConnected('refused');
  for (const [room, code, reason] of [
    ['closed:codes', 103, 'permission denied'],
    ['no-such-namespace:room', 102, 'unknown channel'],
  ]) {
    const sub = subscription(client, room);
    sub.subscribe();
    const end = await sub.events.next('unsubscribed');
    same([end.code, end.reason], [code, reason], `subscribing to ${room}`);
  }
  same(client.state, 'connected', 'the connection goes on');
}

/** 3014: what the client knows is void, its token and its positions. */
async function stateInvalidated() {
  let calls = 0;
  const getToken = async () => {
    calls += 1;
    return token({ sub: 'void' });
  };
  const client = newClient('void', { getToken });
  await connected(client);
  const [sub] = await subscribed(client, 'kept:codes');
  await api('publish', { channel: 'kept:codes', data: 'before' });
  await sub.events.next('publication');
  const before = sub.events.all.length;
  await api('disconnect', { user: 'void', disconnect: { code: 3014, reason: 'state invalidated' } });
  const back = await sub.events.next('subscribed', undefined, before);
  same(calls, 2, 'it fetches another token');
  same([back.wasRecovering, back.recovered], [true, false], 'and takes its position for lost');
  await api('publish', { channel: 'kept:codes', data: 'after' });
  await sub.events.next('publication', (p) => p.data === 'after');
  same(dataOf(sub), ['before', 'after'], 'and goes on');
}

export default async function play() {
  await Promise.all([
    sentAway('default', undefined, ['disconnected', 3503, 'force disconnect']),
    sentAway('server-temporary', { code: 3100, reason: 'later, please' }, ['connecting', 3100, 'later, please']),
    sentAway('app-temporary', { code: 4100, reason: 'ünïcödé' }, ['connecting', 4100, 'ünïcödé']),
    sentAway('server-terminal', { code: 3600, reason: 'never' }, ['disconnected', 3600, 'never']),
    sentAway('app-terminal', { code: 4999, reason: 'not again' }, ['disconnected', 4999, 'not again']),
    unsubscribedByService(),
    refusedSubscriptions(),
    stateInvalidated(),
  ]);
}
