// Who is in a room, how many, and who comes and goes.

import { connected, newClient, newConnected, readableInfo, subscribed } from '../lib/clients.mjs';
import { api } from '../lib/api.mjs';
import { refused, same, sleep } from '../lib/report.mjs';
import { token } from '../lib/tokens.mjs';

const ROOM = 'talk:presence';

export default async function play() {
  const alice = newClient('alice', { token: token({ sub: 'alice', info: { name: 'Älice' } }) });
  const aliceHello = await connected(alice);
  const [aliceSub] = await subscribed(alice, ROOM, { joinLeave: true });

  // -- one comes
  const bob = newClient('bob');
  const bobHello = await connected(bob);
  const [bobSub] = await subscribed(bob, ROOM, { joinLeave: true });
  const join = await aliceSub.events.next('join', (event) => event.info.user === 'bob');
  same(join.info, { client: bobHello.client, user: 'bob' }, 'who joined');

  // -- who is there
  const { clients } = await aliceSub.presence();
  const seen = Object.entries(clients).map(([id, info]) => [id, readableInfo(info)]);
  same(
    Object.fromEntries(seen),
    {
      [aliceHello.client]: { client: aliceHello.client, user: 'alice', connInfo: { name: 'Älice' } },
      [bobHello.client]: { client: bobHello.client, user: 'bob' },
    },
    'presence',
  );
  const again = newClient('bob');
  await connected(again);
  const [againSub] = await subscribed(again, ROOM);
  const stats = await bobSub.presenceStats();
  same([stats.numClients, stats.numUsers], [3, 2], 'presence stats count connections and users');
  same(await api('presence_stats', { channel: ROOM }), { num_clients: 3, num_users: 2 }, 'stats by the API');
  same(await alice.presenceStats(ROOM), { numClients: 3, numUsers: 2 }, 'stats of a room by its name');

  // -- they go, each in its way
  againSub.unsubscribe();
  const left = await aliceSub.events.next('leave', (event) => event.info.user === 'bob');
  same(left.info.client !== bobHello.client, true, 'who left');
  let before = aliceSub.events.all.length;
  bob.disconnect();
  const gone = await aliceSub.events.next('leave', (event) => event.info.user === 'bob', before);
  same(gone.info, { client: bobHello.client, user: 'bob' }, 'a disconnect is a leave');
  same(Object.keys((await aliceSub.presence()).clients), [aliceHello.client], 'presence after that');

  // -- and come back
  before = aliceSub.events.all.length;
  bob.connect();
  await aliceSub.events.next('join', (event) => event.info.user === 'bob', before);
  same((await aliceSub.presenceStats()).numClients, 2, 'both again');

  // -- refusals
  await refused(alice.presence('talk:elsewhere'), 103, 'presence of a room one is not in');
  await refused(alice.presence('no-such-namespace:room'), 102, 'presence of no room');
  const [keptSub] = await subscribed(alice, 'kept:no-presence');
  await refused(keptSub.presence(), 108, 'presence where none is kept');
  await refused(keptSub.presenceStats(), 108, 'presence stats where none are kept');

  // -- a room without join and leave stays quiet
  const [quiet] = await subscribed(alice, 'plain:quiet', { joinLeave: true });
  const visitor = await newConnected('visitor');
  await subscribed(visitor, 'plain:quiet');
  await sleep(300);
  same(quiet.events.of('join').length, 0, 'no joins where the room has none');
  same((await quiet.presenceStats()).numClients, 2, 'although presence is kept');
}
