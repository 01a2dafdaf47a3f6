// Cache recovery: whoever comes, or comes back, gets the newest publication, and only that.

import { connected, dataOf, newClient, newConnected, offsetsOf, subscribed } from '../lib/clients.mjs';
import { publishRange } from '../lib/api.mjs';
import { same } from '../lib/report.mjs';
import { openRoad } from '../lib/road.mjs';
import { setup } from '../lib/setup.mjs';

const FROM_THE_START = { since: { offset: 0, epoch: '' } };

export default async function play() {
  const room = 'cache:prices';
  const road = await openRoad(setup.http);
  const empty = await newConnected('early');
  const [early, first] = await subscribed(empty, room, FROM_THE_START);
  same([first.wasRecovering, first.recovered, first.hasRecoveredPublications], [true, false, false], 'nothing is there yet');
  await publishRange(room, 1, 3);
  await early.events.next('publication', (p) => p.offset === 3);
  same(offsetsOf(early), [1, 2, 3], 'whoever is there hears everything');

  const client = newClient('alice', { road });
  await connected(client);
  const [sub, joined] = await subscribed(client, room, FROM_THE_START);
  same([joined.wasRecovering, joined.recovered, joined.hasRecoveredPublications], [true, true, true], 'from the cache');
  await sub.events.next('publication', (p) => p.offset === 3);
  same(dataOf(sub), [{ n: 3 }], 'the newest alone');

  let before = sub.events.all.length;
  road.close();
  await sub.events.next('subscribing', undefined, before);
  // Far more than the room keeps: no loss, for nobody asked for the past.
  await publishRange(room, 4, 30);
  road.open();
  const back = await sub.events.next('subscribed', undefined, before);
  same([back.wasRecovering, back.recovered, back.hasRecoveredPublications], [true, true, true], 'back');
  await sub.events.next('publication', (p) => p.offset === 30);
  same(offsetsOf(sub), [3, 30], 'the newest alone again');

  before = sub.events.all.length;
  road.cut();
  const quiet = await sub.events.next('subscribed', undefined, before);
  same([quiet.wasRecovering, quiet.recovered, quiet.hasRecoveredPublications], [true, true, false], 'nothing new');
  await publishRange(room, 31, 31);
  await sub.events.next('publication', (p) => p.offset === 31);
  same(offsetsOf(sub), [3, 30, 31], 'and on from there');
}
