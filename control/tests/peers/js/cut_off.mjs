// A client that loses its connection hears, once back, exactly what it missed, in order.

import { api, connected, newClient, same, scenario, sleep, subscribed, wsUrl } from './peer.mjs';
import { openRoad } from './road.mjs';

const offsetsOf = (sub) => sub.events.of('publication').map((publication) => publication.offset);
const upTo = (last) => Array.from({ length: last }, (_, i) => i + 1);

async function publish(room, first, last) {
  for (let n = first; n <= last; n += 1) await api('publish', { channel: room, data: { n } });
}

await scenario(async () => {
  const road = await openRoad(wsUrl);
  const traveller = newClient('alice', { url: road.url });
  const witness = newClient('bob');
  await connected(traveller);
  await connected(witness);

  // -- the network goes away while others publish
  {
    const room = 'kept:network';
    const [sub] = await subscribed(traveller, room);
    const [witnessSub] = await subscribed(witness, room);
    await publish(room, 1, 3);
    await sub.events.next('publication', (p) => p.offset === 3);

    const before = sub.events.all.length;
    road.close();
    await sub.events.next('subscribing', undefined, before);
    await publish(room, 4, 10);
    road.open();

    const back = await sub.events.next('subscribed', undefined, before);
    same([back.wasRecovering, back.recovered, back.hasRecoveredPublications], [true, true, true], 'recovery');
    await publish(room, 11, 12);
    for (const heard of [sub, witnessSub]) {
      await heard.events.next('publication', (p) => p.offset === 12);
      same(offsetsOf(heard), upTo(12), 'every publication once, in order');
      same(heard.events.of('publication').map((p) => p.data.n), upTo(12), 'with its own data');
    }
    sub.unsubscribe();
  }

  // -- nothing was missed
  {
    const room = 'kept:quiet';
    const [sub] = await subscribed(traveller, room);
    await publish(room, 1, 2);
    await sub.events.next('publication', (p) => p.offset === 2);
    const before = sub.events.all.length;
    road.cut();
    const back = await sub.events.next('subscribed', undefined, before);
    same([back.wasRecovering, back.recovered, back.hasRecoveredPublications], [true, true, false], 'nothing missed');
    same(offsetsOf(sub), [1, 2], 'and nothing twice');
    sub.unsubscribe();
  }

  // -- the server sends the client away with a code that says: come back
  {
    const room = 'kept:sent-away';
    const [sub] = await subscribed(traveller, room);
    await publish(room, 1, 2);
    const before = { sub: sub.events.all.length, client: traveller.events.all.length };
    await api('disconnect', { user: 'alice', disconnect: { code: 3100, reason: 'moving house' } });
    const sent = await traveller.events.next('connecting', undefined, before.client);
    same([sent.code, sent.reason], [3100, 'moving house'], 'code and reason arrive');
    await publish(room, 3, 6);
    const back = await sub.events.next('subscribed', undefined, before.sub);
    same([back.wasRecovering, back.recovered], [true, true], 'recovery');
    await sub.events.next('publication', (p) => p.offset === 6);
    same(offsetsOf(sub), upTo(6), 'every publication once, in order');
    sub.unsubscribe();
  }

  // -- more was missed than the room keeps (5): declared failed, never partial
  {
    const room = 'short:overrun';
    const [sub, first] = await subscribed(traveller, room);
    const { epoch } = first.streamPosition;
    await publish(room, 1, 2);
    await sub.events.next('publication', (p) => p.offset === 2);
    const before = sub.events.all.length;
    road.close();
    await sub.events.next('subscribing', undefined, before);
    await publish(room, 3, 12);
    road.open();
    const back = await sub.events.next('subscribed', undefined, before);
    same([back.wasRecovering, back.recovered], [true, false], 'recovery is declared failed');
    same(back.streamPosition, { offset: 12, epoch }, 'where the client is now');
    same(offsetsOf(sub), [1, 2], 'nothing partial');
    const kept = await sub.history({ limit: 100 });
    same(kept.publications.map((p) => p.offset), [8, 9, 10, 11, 12], 'what is kept can still be read');
    await publish(room, 13, 13);
    await sub.events.next('publication', (p) => p.offset === 13);
    same(offsetsOf(sub), [1, 2, 13], 'and it goes on from there');
    sub.unsubscribe();
  }

  // -- cut again and again under a steady stream of publications
  {
    const room = 'kept:stream';
    const cuts = 15;
    const restless = newClient('carol', { url: road.url, minReconnectDelay: 20, maxReconnectDelay: 40 });
    await connected(restless);
    const [sub] = await subscribed(restless, room);

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
    restless.disconnect();
  }

  traveller.disconnect();
  witness.disconnect();
});
