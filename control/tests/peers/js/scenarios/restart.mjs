// The server is restarted under its clients: they come back by themselves, are told that the room's history
// (in memory) began anew, can fetch what was published meanwhile, and hear on.

import { connected, dataOf, historyOf, isEmulated, newClient, packed, subscribed } from '../lib/clients.mjs';
import { api } from '../lib/api.mjs';
import { ask, holds, same } from '../lib/report.mjs';
import { openRoad } from '../lib/road.mjs';
import { setup } from '../lib/setup.mjs';

const ROOM = 'kept:restart';

/** One restart; `how` is the test's way to stop the server. Returns the new epoch. */
async function restart(how, { client, sub, awaySub, road, oldEpoch, expectedCode }) {
  const before = { client: client.events.all.length, sub: sub.events.all.length, away: awaySub.events.all.length };
  const heardBefore = { sub: dataOf(sub).length, away: dataOf(awaySub).length };

  road.close();
  await awaySub.events.next('subscribing', undefined, before.away);
  await ask(how);
  const lost = await client.events.next('connecting', undefined, before.client);
  if (expectedCode) same(lost.code, expectedCode, 'the code a draining server gives');
  await ask('start');

  // One that was there again before anything was published.
  const back = await sub.events.next('subscribed', undefined, before.sub);
  same([back.wasRecovering, back.recovered], [true, false], 'recovery across a restart is declared failed');
  const { epoch, offset } = back.streamPosition;
  holds(epoch !== oldEpoch, 'the room has a new epoch');
  same(offset, 0, 'and begins anew');

  // One that is still away while the new process takes pushes.
  await api('publish', { channel: ROOM, data: `${how}: missed 1` });
  await api('publish', { channel: ROOM, data: `${how}: missed 2` });
  road.open();
  const later = await awaySub.events.next('subscribed', undefined, before.away);
  same([later.wasRecovering, later.recovered], [true, false], 'the old position says nothing about the new epoch');
  same(later.streamPosition, { offset: 2, epoch }, 'it is told where the room is');
  same(dataOf(awaySub).length, heardBefore.away, 'and nothing is passed off as recovered');
  const missed = await historyOf(awaySub, { limit: 100, since: { offset: 0, epoch } });
  same(missed.publications.map((p) => p.data), [`${how}: missed 1`, `${how}: missed 2`], 'it fetches what it missed');

  await api('publish', { channel: ROOM, data: `${how}: live` });
  for (const [heard, from, expected] of [
    [sub, heardBefore.sub, [`${how}: missed 1`, `${how}: missed 2`, `${how}: live`]],
    [awaySub, heardBefore.away, [`${how}: live`]],
  ]) {
    await heard.events.next('publication', (p) => p.data === `${how}: live`);
    same(dataOf(heard).slice(from), expected, 'from then on everything, once, in order');
  }

  // In the new epoch recovery works as ever.
  const again = awaySub.events.all.length;
  road.close();
  await awaySub.events.next('subscribing', undefined, again);
  await api('publish', { channel: ROOM, data: `${how}: recovered` });
  road.open();
  const recovered = await awaySub.events.next('subscribed', undefined, again);
  same([recovered.wasRecovering, recovered.recovered], [true, true], 'recovery in the new epoch');
  await awaySub.events.next('publication', (p) => p.data === `${how}: recovered`);
  await sub.events.next('publication', (p) => p.data === `${how}: recovered`);
  return epoch;
}

/** A client that missed the end of the server sends a command to a session that is no more. */
async function commandToNobody() {
  const client = newClient('dave');
  await connected(client);
  const [sub] = await subscribed(client, 'talk:nobody');
  const before = client.events.all.length;
  await ask('kill');
  await ask('start');
  // Whatever becomes of this one, the client must come back and go on.
  await sub.publish(packed('into the void')).catch(() => {});
  await client.events.next('connected', undefined, before);
  await sub.ready(5_000);
  await sub.publish(packed('heard'));
  await sub.events.next('publication', (p) => p.data === 'heard');
}

export default async function play() {
  const road = await openRoad(setup.http);
  const client = newClient('alice');
  const away = newClient('bob', { road });
  await connected(client);
  await connected(away);
  const [sub, joined] = await subscribed(client, ROOM);
  const [awaySub] = await subscribed(away, ROOM);
  await api('publish', { channel: ROOM, data: 'before' });
  for (const heard of [sub, awaySub]) await heard.events.next('publication', (p) => p.data === 'before');

  const shared = { client, sub, awaySub, road };
  const drained = await restart('terminate', { ...shared, oldEpoch: joined.streamPosition.epoch, expectedCode: 3001 });
  await restart('kill', { ...shared, oldEpoch: drained });
  if (isEmulated) await commandToNobody();
}
