// An application with a state of its own (`getState`): the SDK subscribes from the position of that state, and
// loads it anew when the server cannot go on from there (error 112).

import { connected, dataOf, newClient, newConnected, offsetsOf, subscribed, subscription } from '../lib/clients.mjs';
import { publishRange } from '../lib/api.mjs';
import { same } from '../lib/report.mjs';
import { openRoad } from '../lib/road.mjs';
import { setup } from '../lib/setup.mjs';

export default async function play() {
  const room = 'short:state';
  const road = await openRoad(setup.http);
  const source = await newConnected('source');
  const [truth] = await subscribed(source, room);
  await publishRange(room, 1, 8);

  let loads = 0;
  const positions = [];
  /** What the application has stored: `behind` publications less than there are. */
  const stateOf = (behind) => async () => {
    loads += 1;
    const { offset, epoch } = await truth.history();
    positions.push(offset - behind);
    return { offset: offset - behind, epoch };
  };

  const client = newClient('alice', { road });
  await connected(client);
  const sub = subscription(client, room, { getState: stateOf(3) });
  sub.subscribe();
  const joined = await sub.events.next('subscribed');
  same([loads, joined.wasRecovering, joined.recovered], [1, true, true], 'from the position of the state');
  await sub.events.next('publication', (p) => p.offset === 8);
  same(offsetsOf(sub), [6, 7, 8], 'what came after it');

  // A short cut: recovered, without loading anything.
  let before = sub.events.all.length;
  road.close();
  await sub.events.next('subscribing', undefined, before);
  await publishRange(room, 9, 11);
  road.open();
  const back = await sub.events.next('subscribed', undefined, before);
  same([loads, back.recovered], [1, true], 'a short cut is recovered');
  await sub.events.next('publication', (p) => p.offset === 11);

  // A long one: refused, loaded, and on from the new position.
  before = sub.events.all.length;
  road.close();
  await sub.events.next('subscribing', undefined, before);
  await publishRange(room, 12, 30);
  road.open();
  const reloaded = await sub.events.next('subscribed', undefined, before);
  same([loads, reloaded.wasRecovering, reloaded.recovered], [2, true, true], 'a long one has the state loaded anew');
  await sub.events.next('publication', (p) => p.offset === 30);
  same(positions, [5, 27], 'where the state was');
  same(offsetsOf(sub), [6, 7, 8, 9, 10, 11, 28, 29, 30], 'what came after each');
  same(dataOf(sub).map((data) => data.n), offsetsOf(sub), 'with its own data');
  same(sub.events.of('unsubscribed').length, 0, 'without being taken out');
}
