// A client that loses its connection hears, once back, exactly what it missed, in order.

import {
  connected, dataOf, historyOf, newClient, newConnected, offsetsOf, subscribed, upTo,
} from '../lib/clients.mjs';
import { api, publishRange } from '../lib/api.mjs';
import { same, sleep } from '../lib/report.mjs';
import { openRoad } from '../lib/road.mjs';
import { setup } from '../lib/setup.mjs';

async function flags(traveller) {
  const [kept, first] = await subscribed(traveller, 'kept:flags', { recoverable: true, positioned: true });
  same([first.recoverable, first.positioned, first.wasRecovering, first.recovered], [true, true, false, false], 'flags');
  same(first.streamPosition.offset, 0, 'position of an untouched room');
  kept.unsubscribe();
  const [plain, bare] = await subscribed(traveller, 'plain:flags', { recoverable: true, positioned: true });
  same([bare.recoverable, bare.streamPosition], [false, undefined], 'a room without history has no positions');
  plain.unsubscribe();
}

async function networkGoesAway(road, traveller, witness) {
  const room = 'kept:network';
  const [sub] = await subscribed(traveller, room);
  const [witnessSub] = await subscribed(witness, room);
  await publishRange(room, 1, 3);
  await sub.events.next('publication', (p) => p.offset === 3);

  const before = sub.events.all.length;
  road.close();
  await sub.events.next('subscribing', undefined, before);
  await publishRange(room, 4, 10);
  road.open();

  const back = await sub.events.next('subscribed', undefined, before);
  same([back.wasRecovering, back.recovered, back.hasRecoveredPublications], [true, true, true], 'recovery');
  await publishRange(room, 11, 12);
  for (const heard of [sub, witnessSub]) {
    await heard.events.next('publication', (p) => p.offset === 12);
    same(offsetsOf(heard), upTo(12), 'every publication once, in order');
    same(dataOf(heard).map((data) => data.n), upTo(12), 'with its own data');
  }
  sub.unsubscribe();
}

async function nothingMissed(road, traveller) {
  const room = 'kept:quiet';
  const [sub] = await subscribed(traveller, room);
  await publishRange(room, 1, 2);
  await sub.events.next('publication', (p) => p.offset === 2);
  const before = sub.events.all.length;
  road.cut();
  const back = await sub.events.next('subscribed', undefined, before);
  same([back.wasRecovering, back.recovered, back.hasRecoveredPublications], [true, true, false], 'nothing missed');
  same(offsetsOf(sub), [1, 2], 'and nothing twice');
  sub.unsubscribe();
}

async function sentAway(traveller) {
  const room = 'kept:sent-away';
  const [sub] = await subscribed(traveller, room);
  await publishRange(room, 1, 2);
  await sub.events.next('publication', (p) => p.offset === 2);
  const before = { sub: sub.events.all.length, client: traveller.events.all.length };
  await api('disconnect', { user: 'alice', disconnect: { code: 4100, reason: 'moving house' } });
  const sent = await traveller.events.next('connecting', undefined, before.client);
  same([sent.code, sent.reason], [4100, 'moving house'], 'code and reason arrive');
  await publishRange(room, 3, 6);
  const back = await sub.events.next('subscribed', undefined, before.sub);
  same([back.wasRecovering, back.recovered], [true, true], 'recovery');
  await sub.events.next('publication', (p) => p.offset === 6);
  same(offsetsOf(sub), upTo(6), 'every publication once, in order');
  sub.unsubscribe();
}

/** More was missed than the room keeps (5): declared failed, never partial. */
async function tooLate(road, traveller) {
  const room = 'short:overrun';
  const [sub, first] = await subscribed(traveller, room);
  const { epoch } = first.streamPosition;
  await publishRange(room, 1, 2);
  await sub.events.next('publication', (p) => p.offset === 2);
  const before = sub.events.all.length;
  road.close();
  await sub.events.next('subscribing', undefined, before);
  await publishRange(room, 3, 12);
  road.open();
  const back = await sub.events.next('subscribed', undefined, before);
  same([back.wasRecovering, back.recovered], [true, false], 'recovery is declared failed');
  same(back.streamPosition, { offset: 12, epoch }, 'where the client is now');
  same(offsetsOf(sub), [1, 2], 'nothing partial');
  const kept = await historyOf(sub, { limit: 100 });
  same(kept.publications.map((p) => p.offset), [8, 9, 10, 11, 12], 'what is kept can still be read');
  await publishRange(room, 13, 13);
  await sub.events.next('publication', (p) => p.offset === 13);
  same(offsetsOf(sub), [1, 2, 13], 'and it goes on from there');
  sub.unsubscribe();
}

/** An application that stored a position goes on from it. */
async function fromStoredPosition() {
  const room = 'kept:stored';
  const client = await newConnected('dave');
  const [sub, first] = await subscribed(client, room);
  const { epoch } = first.streamPosition;
  await publishRange(room, 1, 6);
  await sub.events.next('publication', (p) => p.offset === 6);
  const returning = await newConnected('dave');
  const [again, back] = await subscribed(returning, room, { since: { offset: 4, epoch } });
  same([back.wasRecovering, back.recovered], [true, true], 'from a stored position');
  await again.events.next('publication', (p) => p.offset === 6);
  same(offsetsOf(again), [5, 6], 'what came since');
  const lost = await newConnected('dave');
  const [other, unknown] = await subscribed(lost, room, { since: { offset: 4, epoch: 'never' } });
  same([unknown.wasRecovering, unknown.recovered], [true, false], 'a position of another epoch says nothing');
  same(offsetsOf(other), [], 'and nothing is passed off as recovered');
  // Unsubscribed and subscribed again: the SDK recovers what came in between.
  other.unsubscribe();
  await publishRange(room, 7, 8);
  const before = other.events.all.length;
  other.subscribe();
  const rejoined = await other.events.next('subscribed', undefined, before);
  same([rejoined.wasRecovering, rejoined.recovered], [true, true], 'subscribed again');
  await other.events.next('publication', (p) => p.offset === 8);
  same(offsetsOf(other), [7, 8], 'what came in between');
}

/** Cut again and again under a steady stream of publications. */
async function restless(road) {
  const room = 'kept:stream';
  const cuts = 15;
  const client = newClient('carol', { road, minReconnectDelay: 20, maxReconnectDelay: 40 });
  await connected(client);
  const [sub] = await subscribed(client, room);

  let isCutting = true;
  let last = 0;
  const publishing = (async () => {
    while (isCutting) {
      last += 1;
      await api('publish', { channel: room, data: { n: last } });
    }
  })();
  for (let i = 0; i < cuts; i += 1) {
    await sleep(i * 5);
    const before = sub.events.all.length;
    road.cut();
    await sub.events.next('subscribed', undefined, before);
  }
  isCutting = false;
  await publishing;

  await sub.events.next('publication', (p) => p.offset === last);
  same(offsetsOf(sub), upTo(last), `every publication once, in order, over ${cuts} cuts`);
  const recoveries = sub.events.of('subscribed').slice(1);
  same(recoveries.map((s) => s.recovered), Array(cuts).fill(true), 'recovered every time');
}

export default async function play() {
  const road = await openRoad(setup.http);
  const traveller = await newConnected('alice', { road });
  const witness = await newConnected('bob');
  await flags(traveller);
  await networkGoesAway(road, traveller, witness);
  await nothingMissed(road, traveller);
  await sentAway(traveller);
  await tooLate(road, traveller);
  await fromStoredPosition();
  await restless(road);
}
