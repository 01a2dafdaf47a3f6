// Reading a room's past: limit, since, reverse.

import { historyOf, newConnected, subscribed, upTo } from '../lib/clients.mjs';
import { api, publishRange } from '../lib/api.mjs';
import { refused, same } from '../lib/report.mjs';

const ROOM = 'talk:history';

const offsets = (history) => history.publications.map((publication) => publication.offset);

export default async function play() {
  const alice = await newConnected('alice');
  const [sub, joined] = await subscribed(alice, ROOM);
  const { epoch } = joined.streamPosition;

  const untouched = await historyOf(sub, { limit: 10 });
  same(untouched, { publications: [], offset: 0, epoch }, 'an untouched room');

  await publishRange(ROOM, 1, 8);
  await api('publish', { channel: ROOM, data: { n: 9 }, tags: { kind: 'last' } });

  const all = await historyOf(sub, { limit: 100 });
  same([all.offset, all.epoch], [9, epoch], 'position in the history');
  same(offsets(all), upTo(9), 'the whole history');
  same(all.publications.map((p) => p.data.n), upTo(9), 'its data');
  same({ ...all.publications[8].tags }, { kind: 'last' }, 'its tags');
  same(offsets(await historyOf(sub, { limit: -1 })), upTo(9), 'a negative limit: as many as there may be');

  const top = await historyOf(sub);
  same(top, { publications: [], offset: 9, epoch }, 'history without a limit is the position alone');
  same(await historyOf(sub, { limit: 0 }), top, 'and with a limit of 0');
  same(offsets(await historyOf(sub, { limit: 3 })), [1, 2, 3], 'a limit');
  same(offsets(await historyOf(sub, { limit: 2, since: { offset: 5, epoch } })), [6, 7], 'since a position');
  same(offsets(await historyOf(sub, { limit: 100, since: { offset: 0, epoch } })), upTo(9), 'since the beginning');
  same(offsets(await historyOf(sub, { limit: 100, since: { offset: 9, epoch } })), [], 'since the end');
  same(offsets(await historyOf(sub, { limit: 3, reverse: true })), [9, 8, 7], 'backwards');
  same(
    offsets(await historyOf(sub, { limit: 2, since: { offset: 5, epoch }, reverse: true })),
    [4, 3],
    'backwards from a position',
  );
  same(offsets(await historyOf(alice.getSubscription(ROOM), { limit: 1 })), [1], 'by the registered subscription');

  // -- page by page
  const pages = [];
  for (let since = { offset: 0, epoch }; ; ) {
    const page = await historyOf(sub, { limit: 4, since });
    if (page.publications.length === 0) break;
    pages.push(offsets(page));
    since = { offset: page.publications.at(-1).offset, epoch };
  }
  same(pages, [[1, 2, 3, 4], [5, 6, 7, 8], [9]], 'page by page');

  // -- refusals
  await refused(sub.history({ limit: 1, since: { offset: 1, epoch: 'never' } }), 112, 'since an epoch that never was');
  await refused(alice.history('talk:elsewhere', { limit: 1 }), 103, 'history of a room one is not in');
  await refused(alice.history('no-such-namespace:room', { limit: 1 }), 102, 'history of no room');
  const [plain] = await subscribed(alice, 'plain:no-history');
  await refused(plain.history({ limit: 1 }), 108, 'history where none is kept');

  // -- a short memory
  const [short] = await subscribed(alice, 'short:history');
  await publishRange('short:history', 1, 12);
  same(offsets(await historyOf(short, { limit: 100 })), [8, 9, 10, 11, 12], 'only the last ones are kept');
}
