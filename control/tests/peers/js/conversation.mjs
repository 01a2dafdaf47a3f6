// Everyday use: connect, subscribe, receive, publish, presence, history, join and leave, refusals.

import { api, connected, holds, newClient, same, scenario, sleep, subscribed, subscription } from './peer.mjs';

const ROOM = 'talk:lobby';

const publications = (sub) => sub.events.of('publication');
const dataOf = (sub) => publications(sub).map((publication) => publication.data);

await scenario(async () => {
  // -- connect and subscribe
  const alice = newClient('alice');
  const hello = await connected(alice);
  holds(hello.client.length > 0, 'the server names the connection');
  same(hello.transport, 'websocket', 'transport');

  const [aliceSub, joined] = await subscribed(alice, ROOM, { joinLeave: true });
  same(joined.recoverable, true, 'a room that keeps history is recoverable');
  same(joined.wasRecovering, false, 'a first subscription recovers nothing');
  same(joined.streamPosition.offset, 0, 'position of an untouched room');
  const { epoch } = joined.streamPosition;
  holds(epoch.length > 0, 'the room has an epoch');

  // -- the API pushes, the client hears: exactly what was sent
  const payloads = [
    { n: 1, text: 'hello' },
    'a bare string, with "quotes", a \\, a \n newline and ünïcödé 🎺',
    [1, [2, [3, { deep: null }]], true, -0.5e-3],
    { big: 'x'.repeat(60_000) },
  ];
  for (const [i, data] of payloads.entries()) {
    const position = await api('publish', { channel: ROOM, data });
    same([position.offset, position.epoch], [i + 1, epoch], 'position of a push');
  }
  await aliceSub.events.until(() => publications(aliceSub).length >= payloads.length, 'the pushes');
  same(dataOf(aliceSub), payloads, 'pushed and received');
  same(publications(aliceSub).map((publication) => publication.offset), [1, 2, 3, 4], 'offsets');
  same(publications(aliceSub).filter((publication) => publication.info).length, 0, 'pushes name no client');

  await api('publish', { channel: ROOM, data: 'tagged', tags: { lang: 'en' } });
  const tagged = await aliceSub.events.next('publication', (publication) => publication.data === 'tagged');
  same(tagged.tags, { lang: 'en' }, 'tags');

  // -- a second client comes: join
  const bob = newClient('bob');
  const bobHello = await connected(bob);
  const [bobSub, bobJoined] = await subscribed(bob, ROOM);
  same(bobJoined.streamPosition, { offset: 5, epoch }, 'where the second client comes in');
  const join = await aliceSub.events.next('join', (event) => event.info.user === 'bob');
  same(join.info.client, bobHello.client, 'who joined');

  // -- clients publish
  await aliceSub.publish({ from: 'alice' });
  await bobSub.publish({ from: 'bob' });
  await bob.publish(ROOM, { from: 'bob, by room' });
  for (const sub of [aliceSub, bobSub]) {
    await sub.events.next('publication', (publication) => publication.data.from === 'bob, by room');
    const heard = publications(sub).slice(-3);
    same(heard.map((p) => p.data.from), ['alice', 'bob', 'bob, by room'], 'both hear all, in order');
    same(heard.map((p) => p.offset), [6, 7, 8], 'offsets of client publications');
    same(heard.map((p) => p.info.user), ['alice', 'bob', 'bob'], 'who published');
    same(heard[0].info.client, hello.client, 'and over which connection');
  }

  // -- presence
  const { clients } = await aliceSub.presence();
  same(
    Object.entries(clients).map(([id, info]) => [id, info.client, info.user]).sort(),
    [[hello.client, hello.client, 'alice'], [bobHello.client, bobHello.client, 'bob']].sort(),
    'presence',
  );
  const stats = await bobSub.presenceStats();
  same([stats.numClients, stats.numUsers], [2, 2], 'presence stats');
  same(Object.keys((await api('presence', { channel: ROOM })).presence).length, 2, 'presence by the API');
  same(await api('presence_stats', { channel: ROOM }), { num_clients: 2, num_users: 2 }, 'stats by the API');

  // -- history
  const all = await aliceSub.history({ limit: 100 });
  same([all.offset, all.epoch], [8, epoch], 'position in the history');
  same(all.publications.map((p) => p.offset), [1, 2, 3, 4, 5, 6, 7, 8], 'the whole history');
  same(all.publications.slice(0, 4).map((p) => p.data), payloads, 'its data');
  const top = await aliceSub.history();
  same([top.publications, top.offset], [[], 8], 'history without a limit is the position alone');
  const since = await aliceSub.history({ limit: 2, since: { offset: 5, epoch } });
  same(since.publications.map((p) => p.offset), [6, 7], 'history since a position');
  const last = await aliceSub.history({ limit: 2, reverse: true });
  same(last.publications.map((p) => p.offset), [8, 7], 'history backwards');
  const byApi = await api('history', { channel: ROOM, limit: 100 });
  same(byApi.publications.map((p) => p.offset), [1, 2, 3, 4, 5, 6, 7, 8], 'history by the API');

  // -- the second client leaves: leave
  bobSub.unsubscribe();
  const leave = await aliceSub.events.next('leave', (event) => event.info.user === 'bob');
  same(leave.info.client, bobHello.client, 'who left');
  same(Object.keys((await aliceSub.presence()).clients), [hello.client], 'presence after that');

  // -- pushes that name no room
  await api('push_user', { user: 'bob', data: { to: 'bob' } });
  same((await bob.events.next('message')).data, { to: 'bob' }, 'push_user');
  await api('push_connection', { client: hello.client, data: { to: 'this connection' } });
  same((await alice.events.next('message')).data, { to: 'this connection' }, 'push_connection');
  same(bob.events.of('message').length, 1, 'nobody else hears either');

  // -- refusals
  const stranger = subscription(alice, 'closed:room');
  stranger.subscribe();
  same((await stranger.events.next('unsubscribed')).code, 103, 'a room nobody granted: permission denied');
  const unknown = subscription(alice, 'no-such-namespace:room');
  unknown.subscribe();
  same((await unknown.events.next('unsubscribed')).code, 102, 'a namespace that is not there: unknown channel');

  const intruder = newClient('intruder');
  intruder.connect();
  same((await intruder.events.next('disconnected')).code, 3500, 'a forged token: invalid token, for good');

  // -- long enough for several of the server's pings (every two seconds here), which the client must answer
  await sleep(5_500);
  same(alice.state, 'connected', 'the connection lives on pings and pongs');
  same(alice.events.of('connecting').length, 1, 'and never had to reconnect');

  // -- the API sends away
  await api('unsubscribe', { user: 'alice', channel: ROOM });
  same((await aliceSub.events.next('unsubscribed')).code, 2000, 'unsubscribed by the server');
  await api('disconnect', { user: 'alice' });
  same((await alice.events.next('disconnected')).code, 3503, 'force disconnect is for good');
  bob.disconnect();
});
