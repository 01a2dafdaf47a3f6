// Subscriptions that the server makes: from the connection's token, and by the API.

import { connected, dataOf, newClient, newConnected, offsetsOf, subscribed, upTo } from '../lib/clients.mjs';
import { api, publishRange } from '../lib/api.mjs';
import { holds, same } from '../lib/report.mjs';
import { openRoad } from '../lib/road.mjs';
import { setup } from '../lib/setup.mjs';
import { inSeconds, token } from '../lib/tokens.mjs';

const inRoom = (room) => (event) => event.channel === room;

async function fromTheToken() {
  const client = newClient('alice', {
    token: token({ sub: 'alice', channels: ['talk:served'], subs: { 'kept:served': { data: { hint: 'ünï' } } } }),
  });
  await connected(client);
  const talk = await client.events.next('subscribed', inRoom('talk:served'));
  const kept = await client.events.next('subscribed', inRoom('kept:served'));
  same([talk.recoverable, talk.wasRecovering, kept.recoverable], [true, false, true], 'recoverable');
  same(kept.data, { hint: 'ünï' }, 'what the token says at subscribing');
  holds(kept.streamPosition.epoch.length > 0, 'it has a position');
  same(client.subscriptions(), {}, 'none of them is one of the client');

  await api('publish', { channel: 'talk:served', data: 'one' });
  await api('publish', { channel: 'kept:served', data: 'two', tags: { k: 'v' } });
  const one = await client.events.next('publication', inRoom('talk:served'));
  const two = await client.events.next('publication', inRoom('kept:served'));
  same([one.data, two.data, { ...two.tags }], ['one', 'two', { k: 'v' }], 'heard');

  // Somebody else comes and goes in the room.
  const bob = await newConnected('bob');
  const [sub] = await subscribed(bob, 'talk:served');
  same((await client.events.next('join', (event) => event.info.user === 'bob')).channel, 'talk:served', 'join');
  same((await sub.presenceStats()).numClients, 2, 'it is present');
  sub.unsubscribe();
  same((await client.events.next('leave', (event) => event.info.user === 'bob')).channel, 'talk:served', 'leave');

  // The SDK can ask for its rooms as for any other.
  const history = await client.history('kept:served', { limit: 10 });
  same(history.publications.length, 1, 'history of a room it was put in');
}

async function byTheApi() {
  const client = await newConnected('carol');
  await api('subscribe', { user: 'carol', channel: 'talk:put-in' });
  same((await client.events.next('subscribed')).channel, 'talk:put-in', 'put in');
  await api('publish', { channel: 'talk:put-in', data: 'welcome' });
  same((await client.events.next('publication')).data, 'welcome', 'heard');
  await api('unsubscribe', { user: 'carol', channel: 'talk:put-in' });
  same((await client.events.next('unsubscribed')).channel, 'talk:put-in', 'taken out');
  same(client.state, 'connected', 'the connection goes on');
}

async function overACut() {
  const road = await openRoad(setup.http);
  const room = 'kept:served-over-a-cut';
  const client = newClient('dave', { road, token: token({ sub: 'dave', channels: [room] }) });
  await connected(client);
  await client.events.next('subscribed');
  await publishRange(room, 1, 3);
  await client.events.next('publication', (p) => p.offset === 3);
  const before = client.events.all.length;
  road.close();
  same((await client.events.next('subscribing', undefined, before)).channel, room, 'lost');
  await publishRange(room, 4, 8);
  road.open();
  const back = await client.events.next('subscribed', undefined, before);
  same([back.wasRecovering, back.recovered, back.hasRecoveredPublications], [true, true, true], 'recovered');
  await publishRange(room, 9, 10);
  await client.events.next('publication', (p) => p.offset === 10);
  same(offsetsOf(client), upTo(10), 'every publication once, in order');
  same(dataOf(client).map((data) => data.n), upTo(10), 'with its own data');

  const overrun = 'short:served-over-a-cut';
  const late = newClient('erin', { road, token: token({ sub: 'erin', channels: [overrun] }) });
  await connected(late);
  await late.events.next('subscribed');
  await publishRange(overrun, 1, 2);
  await late.events.next('publication', (p) => p.offset === 2);
  const from = late.events.all.length;
  road.close();
  await late.events.next('subscribing', undefined, from);
  await publishRange(overrun, 3, 12);
  road.open();
  const lost = await late.events.next('subscribed', undefined, from);
  same([lost.wasRecovering, lost.recovered, lost.streamPosition.offset], [true, false, 12], 'too much was missed');
  await publishRange(overrun, 13, 13);
  await late.events.next('publication', (p) => p.offset === 13);
  same(offsetsOf(late), [1, 2, 13], 'nothing partial, and on from there');
}

/** The next token names other rooms: the SDK hears which are gone. */
async function changedToken() {
  const rooms = [['talk:first', 'talk:always'], ['talk:second', 'talk:always']];
  let calls = 0;
  const getToken = async () => {
    const channels = rooms[Math.min(calls, 1)];
    calls += 1;
    return token({ sub: 'frank', channels, exp: inSeconds(calls === 1 ? 3 : 3600) });
  };
  const client = newClient('frank', { getToken });
  await connected(client);
  await client.events.next('subscribed', inRoom('talk:first'));
  await client.events.next('subscribed', inRoom('talk:second'));
  same((await client.events.next('unsubscribed')).channel, 'talk:first', 'the room that the new token does not name');
  await client.events.until(() => client.state === 'connected', 'connected');
  await api('publish', { channel: 'talk:always', data: 'all along' });
  await client.events.next('publication', (p) => p.data === 'all along');
  await api('publish', { channel: 'talk:first', data: 'not for you' });
  await api('publish', { channel: 'talk:second', data: 'for you' });
  await client.events.next('publication', (p) => p.data === 'for you');
  same(dataOf(client), ['all along', 'for you'], 'what it hears from then on');
}

export default async function play() {
  await fromTheToken();
  await byTheApi();
  await overACut();
  await changedToken();
}
