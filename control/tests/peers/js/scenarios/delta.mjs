// Delta compression: the data arrive as published, and what is on the wire is differences.

import { connected, dataOf, newClient, newConnected, offsetsOf, packed, subscribed, upTo } from '../lib/clients.mjs';
import { api } from '../lib/api.mjs';
import { holds, same, sleep } from '../lib/report.mjs';
import { openRoad } from '../lib/road.mjs';
import { setup } from '../lib/setup.mjs';

/** Text without repetitions, the same for the same seed. */
function noise(length, seed) {
  let state = seed;
  let text = '';
  while (text.length < length) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    text += state.toString(36);
  }
  return text.slice(0, length);
}

const DOCUMENT = noise(4_000, 42);
const page = (n) => ({ head: `page ${n}`, body: DOCUMENT, foot: { n, flag: n % 2 === 0 } });
const PAGES = 20;

async function publishPages(room, first, last) {
  for (let n = first; n <= last; n += 1) await api('publish', { channel: room, data: page(n) });
}

/** Differences are small on the wire, and only for those who asked for them. */
async function onTheWire() {
  const room = 'delta:wire';
  const roads = [await openRoad(setup.http), await openRoad(setup.http)];
  const [thrifty, lavish] = await Promise.all(
    roads.map((road, i) => newConnected(i ? 'lavish' : 'thrifty', { road, isUncompressed: true })),
  );
  const [small] = await subscribed(thrifty, room, { delta: 'fossil' });
  const [large] = await subscribed(lavish, room);
  await publishPages(room, 1, 1);
  for (const sub of [small, large]) await sub.events.next('publication', (p) => p.offset === 1);
  const before = roads.map((road) => road.bytesToClient);
  await publishPages(room, 2, PAGES + 1);
  for (const sub of [small, large]) {
    await sub.events.next('publication', (p) => p.offset === PAGES + 1);
    same(dataOf(sub), upTo(PAGES + 1).map(page), 'the data are whole');
    same(offsetsOf(sub), upTo(PAGES + 1), 'every publication once, in order');
  }
  const [smallBytes, largeBytes] = roads.map((road, i) => road.bytesToClient - before[i]);
  holds(largeBytes > PAGES * DOCUMENT.length, `whole publications take ${largeBytes} bytes`);
  holds(smallBytes < PAGES * 600, `${PAGES} differences of a few bytes take ${smallBytes} bytes`);
  const stats = small.deltaStats();
  same([stats.numFullPayloads, stats.numDeltaPayloads], [1, PAGES], 'the first is whole, the others are differences');
}

/** What is missed arrives whole, and what follows builds on it. */
async function overACut() {
  const room = 'delta:cut';
  const road = await openRoad(setup.http);
  const client = newClient('alice', { road });
  await connected(client);
  const [sub] = await subscribed(client, room, { delta: 'fossil' });
  await publishPages(room, 1, 3);
  await sub.events.next('publication', (p) => p.offset === 3);

  let before = sub.events.all.length;
  road.close();
  await sub.events.next('subscribing', undefined, before);
  await publishPages(room, 4, 9);
  road.open();
  const back = await sub.events.next('subscribed', undefined, before);
  same([back.wasRecovering, back.recovered], [true, true], 'recovery');
  await publishPages(room, 10, 12);
  await sub.events.next('publication', (p) => p.offset === 12);
  same(dataOf(sub), upTo(12).map(page), 'over the cut every publication, whole');

  // Nothing missed: the first after it may not build on what the connection before had.
  before = sub.events.all.length;
  road.cut();
  await sub.events.next('subscribed', undefined, before);
  await publishPages(room, 13, 14);
  await sub.events.next('publication', (p) => p.offset === 14);
  same(dataOf(sub), upTo(14).map(page), 'after a cut without loss too');
  same(client.events.of('disconnected').length, 0, 'the SDK could build every one of them');
}

/** A second member comes in later, and hears the same from there. */
async function latecomer() {
  const room = 'delta:late';
  const [first, second] = await Promise.all([newConnected('early'), newConnected('late')]);
  const [early] = await subscribed(first, room, { delta: 'fossil' });
  await publishPages(room, 1, 4);
  await early.events.next('publication', (p) => p.offset === 4);
  const [late] = await subscribed(second, room, { delta: 'fossil' });
  await publishPages(room, 5, 8);
  for (const sub of [early, late]) await sub.events.next('publication', (p) => p.offset === 8);
  same(dataOf(early), upTo(8).map(page), 'who was there heard all');
  same(dataOf(late), upTo(8).slice(4).map(page), 'who came later the rest');
  // Unsubscribed and subscribed again: from scratch.
  late.unsubscribe();
  await publishPages(room, 9, 9);
  const before = late.events.all.length;
  late.subscribe();
  await late.events.next('subscribed', undefined, before);
  await publishPages(room, 10, 10);
  await late.events.next('publication', (p) => p.offset === 10);
  same(dataOf(late), upTo(10).slice(4).map(page), 'and after coming again');
}

/** Payloads that differ in the middle of a character, in everything, in nothing, and in size. */
async function awkwardPayloads() {
  const room = 'delta:awkward';
  const client = await newConnected('bob');
  const [sub] = await subscribed(client, room, { delta: 'fossil' });
  const long = noise(400, 7);
  const payloads = [
    `${long} é ${long} ž ${long}`,
    `${long} è ${long} ž ${long}`,
    `${long} è ${long} 🎺 ${long}`,
    `${long} è ${long} 🎻 ${long}`,
    `${long} è ${long} 🎻 ${long}`,
    `"\\\n\u2028 ${long}`,
    { [long]: [long, long, { '"': '\\' }] },
    { [long]: [long, long, { '"': '\\\\' }] },
    'é'.repeat(500),
    `${'é'.repeat(250)}è${'é'.repeat(250)}`,
    '',
    0,
    null,
    noise(40_000, 1),
    noise(40_000, 2),
    `${noise(40_000, 2)}!`,
    1,
  ];
  for (const data of payloads) await api('publish', { channel: room, data });
  await sub.events.until(() => sub.events.of('publication').length >= payloads.length || client.state !== 'connected', 'all of them');
  same(client.events.of('disconnected').map((end) => end.reason), [], 'the SDK could build every one of them');
  same(dataOf(sub), payloads, 'as they were published');
}

/** A room that has no deltas answers as if nobody had asked. */
async function whereThereAreNone() {
  const room = 'talk:no-deltas';
  const client = await newConnected('carol');
  const [sub] = await subscribed(client, room, { delta: 'fossil' });
  await publishPages(room, 1, 3);
  await sub.publish(packed(page(4)));
  await sub.events.next('publication', (p) => p.offset === 4);
  same(dataOf(sub), upTo(4).map(page), 'everything, whole');
  await sleep(100);
  same(sub.deltaStats().numPublications, 0, 'without deltas');
}

export default async function play() {
  await onTheWire();
  await overACut();
  await latecomer();
  await awkwardPayloads();
  await whereThereAreNone();
}
