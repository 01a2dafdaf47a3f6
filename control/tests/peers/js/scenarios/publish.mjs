// Publications of services and of clients: exactly what was published, once, in order; and who may not.

import {
  connected, dataOf, isBinary, isEmulated, newClient, newConnected, offsetsOf, packed, publications, subscribed, upTo,
} from '../lib/clients.mjs';
import { api } from '../lib/api.mjs';
import { holds, refused, same } from '../lib/report.mjs';

const PAYLOADS = [
  { n: 1, text: 'hello' },
  'a bare string, with "quotes", a \\, a \n newline, a \r, a \u2028 and ünïcödé 🎺',
  [1, [2, [3, { deep: null }]], true, -0.5e-3],
  { big: 'x'.repeat(50_000) },
  0,
  '',
];

async function fromServices(alice, aliceSub, epoch) {
  for (const [i, data] of PAYLOADS.entries()) {
    const position = await api('publish', { channel: 'talk:lobby', data });
    same([position.offset, position.epoch], [i + 1, epoch], 'position of a push');
  }
  await aliceSub.events.until(() => publications(aliceSub).length >= PAYLOADS.length, 'the pushes');
  same(dataOf(aliceSub), PAYLOADS, 'pushed and received');
  same(offsetsOf(aliceSub), upTo(PAYLOADS.length), 'offsets');
  same(publications(aliceSub).filter((publication) => publication.info).length, 0, 'pushes name no client');

  await api('publish', { channel: 'talk:lobby', data: 'tagged', tags: { lang: 'en', empty: '' } });
  const tagged = await aliceSub.events.next('publication', (publication) => publication.data === 'tagged');
  same({ ...tagged.tags }, { lang: 'en', empty: '' }, 'tags');
}

async function fromClients(hello, aliceSub, bob, bobSub) {
  const first = PAYLOADS.length + 2;
  await aliceSub.publish(packed({ from: 'alice' }));
  await bobSub.publish(packed({ from: 'bob' }));
  await bob.publish('talk:lobby', packed({ from: 'bob, by room' }));
  for (const sub of [aliceSub, bobSub]) {
    await sub.events.next('publication', (publication) => publication.data.from === 'bob, by room');
    const heard = publications(sub).slice(-3);
    same(heard.map((p) => p.data.from), ['alice', 'bob', 'bob, by room'], 'both hear all, in order');
    same(heard.map((p) => p.offset), [first, first + 1, first + 2], 'offsets of client publications');
    same(heard.map((p) => p.info.user), ['alice', 'bob', 'bob'], 'who published');
    same(heard[0].info.client, hello.client, 'and over which connection');
  }
  for (const data of PAYLOADS) await aliceSub.publish(packed(data));
  await bobSub.events.until(() => publications(bobSub).length >= 3 + PAYLOADS.length, 'the payloads');
  same(dataOf(bobSub).slice(3), PAYLOADS, 'published by a client and received');
}

/** Two clients publish as fast as they can: everybody hears the same, once, in the same order. */
async function atOnce() {
  const room = 'talk:crowded';
  const clients = await Promise.all([newConnected('carol'), newConnected('dave'), newConnected('erin')]);
  const subs = [];
  for (const client of clients) subs.push((await subscribed(client, room))[0]);
  const each = 50;
  await Promise.all(
    subs.flatMap((sub, from) => Array.from({ length: each }, (_, n) => sub.publish(packed({ from, n })))),
  );
  const all = each * subs.length;
  for (const sub of subs) {
    await sub.events.next('publication', (p) => p.offset === all);
    same(offsetsOf(sub), upTo(all), 'every publication once, in order');
    same(dataOf(sub), dataOf(subs[0]), 'the same at everybody');
    if (!isEmulated) {
      const own = dataOf(sub).filter((data) => data.from === 1);
      same(own.map((data) => data.n), upTo(each).map((n) => n - 1), "one client's, as it published them");
    }
  }
}

/** Bytes that are no text go through as they are, where the encoding can carry them. */
async function bytes(bob) {
  const room = 'talk:bytes';
  const sub = bob.newSubscription(room);
  const heard = new Promise((resolve) => { sub.on('publication', (publication) => resolve(publication.data)); });
  sub.subscribe();
  await sub.ready(5_000);
  const sent = Uint8Array.from([0, 10, 13, 34, 92, 127, 128, 255, 254, 0xc3, 0x28]);
  await sub.publish(sent);
  same([...(await heard)], [...sent], 'bytes');
}

async function refusals(alice) {
  await refused(alice.publish('talk:elsewhere', packed(1)), 103, 'publishing where one is not a member');
  await refused(alice.publish('closed:room', packed(1)), 103, 'publishing where nobody may');
  await refused(alice.publish('no-such-namespace:room', packed(1)), 102, 'publishing where nothing is');
  const [kept] = await subscribed(alice, 'kept:only-services-publish');
  await refused(kept.publish(packed(1)), 103, 'publishing where only services may');
  same(alice.events.of('connecting').length, 1, 'refusals leave the connection as it is');
}

export default async function play() {
  const alice = newClient('alice');
  const hello = await connected(alice);
  const [aliceSub, joined] = await subscribed(alice, 'talk:lobby');
  same(joined.streamPosition.offset, 0, 'position of an untouched room');
  const { epoch } = joined.streamPosition;
  holds(epoch.length > 0, 'the room has an epoch');
  await fromServices(alice, aliceSub, epoch);
  const bob = await newConnected('bob');
  const [bobSub, bobJoined] = await subscribed(bob, 'talk:lobby');
  same(bobJoined.streamPosition, { offset: PAYLOADS.length + 1, epoch }, 'where the second client comes in');
  await fromClients(hello, aliceSub, bob, bobSub);
  await atOnce();
  if (isBinary) await bytes(bob);
  await refusals(alice);
}
