// Hears a room into which several publish at once, itself among them, and reports what it heard.

import { newConnected, packed, publications, subscribed, upTo } from '../lib/clients.mjs';
import { ask, same } from '../lib/report.mjs';

const ROOM = 'talk:order';
const OWN = 100;
const OTHERS = 400;

export default async function play() {
  const client = await newConnected('alice');
  const [sub] = await subscribed(client, ROOM);

  await ask('push');
  for (let n = 1; n <= OWN; n += 1) await sub.publish(packed({ from: 'client', n }));

  await sub.events.until(() => publications(sub).length >= OWN + OTHERS, 'the last publication');
  const own = publications(sub).filter((publication) => publication.data.from === 'client');
  same(own.map((publication) => publication.data.n), upTo(OWN), 'its own, in order');
  return publications(sub).map(({ offset, data }) => ({ offset, data }));
}
