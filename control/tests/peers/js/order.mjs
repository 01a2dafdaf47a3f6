// Hears a room into which several publish at once, itself among them, and reports what it heard.

import { ask, connected, newClient, same, scenario, subscribed } from './peer.mjs';

const ROOM = 'talk:order';
const OWN = 100;
const OTHERS = 400;

await scenario(async () => {
  const client = newClient('alice');
  await connected(client);
  const [sub] = await subscribed(client, ROOM);

  await ask('push');
  for (let n = 1; n <= OWN; n += 1) await sub.publish({ from: 'client', n });

  const publications = () => sub.events.of('publication');
  await sub.events.until(() => publications().length >= OWN + OTHERS, 'the last publication');
  const own = publications().filter((publication) => publication.data.from === 'client');
  same(own.map((publication) => publication.data.n), Array.from({ length: OWN }, (_, i) => i + 1), 'its own, in order');
  client.disconnect();
  return publications().map(({ offset, data }) => ({ offset, data }));
});
