// Filters by tags: the server sends a member only what it asked for.

import { connected, dataOf, newClient, newConnected, subscribed, subscription } from '../lib/clients.mjs';
import { api } from '../lib/api.mjs';
import { same } from '../lib/report.mjs';
import { openRoad } from '../lib/road.mjs';
import { setup } from '../lib/setup.mjs';

const QUOTES = [
  { ticker: 'AAPL', price: '99', venue: 'NASDAQ' },
  { ticker: 'AAPL', price: '100.5', venue: 'NYSE' },
  { ticker: 'MSFT', price: '250', venue: 'NASDAQ' },
  { ticker: 'GOOG', price: '9' },
  { ticker: 'AAAA', venue: '' },
  {},
];

const leaf = (key, cmp, val) => ({ key, cmp, ...(Array.isArray(val) ? { vals: val } : val === undefined ? {} : { val }) });

/** What each filter lets through, by index. */
const FILTERS = [
  [leaf('ticker', 'eq', 'AAPL'), [0, 1]],
  [leaf('ticker', 'neq', 'AAPL'), [2, 3, 4, 5]],
  [leaf('ticker', 'in', ['MSFT', 'GOOG']), [2, 3]],
  [leaf('ticker', 'nin', ['MSFT', 'GOOG']), [0, 1, 4, 5]],
  [leaf('venue', 'ex'), [0, 1, 2, 4]],
  [leaf('venue', 'nex'), [3, 5]],
  [leaf('ticker', 'sw', 'AA'), [0, 1, 4]],
  [leaf('ticker', 'ew', 'L'), [0, 1]],
  [leaf('ticker', 'ct', 'A'), [0, 1, 4]],
  [leaf('price', 'gt', '99'), [1, 2]],
  [leaf('price', 'gte', '99'), [0, 1, 2]],
  [leaf('price', 'lt', '99'), [3]],
  [leaf('price', 'lte', '99'), [0, 3]],
  [{ op: 'and', nodes: [leaf('ticker', 'eq', 'AAPL'), leaf('price', 'gte', '100')] }, [1]],
  [{ op: 'or', nodes: [leaf('ticker', 'eq', 'MSFT'), leaf('venue', 'nex')] }, [2, 3, 5]],
  [{ op: 'not', nodes: [leaf('ticker', 'sw', 'AA')] }, [2, 3, 5]],
  [
    { op: 'and', nodes: [leaf('ticker', 'ex'), { op: 'not', nodes: [{ op: 'or', nodes: [leaf('venue', 'eq', 'NYSE'), leaf('price', 'lt', '50')] }] }] },
    [0, 2, 4],
  ],
];

async function publishQuotes(room) {
  for (const [i, tags] of QUOTES.entries()) await api('publish', { channel: room, data: { i }, tags });
  await api('publish', { channel: room, data: 'end', tags: { ticker: 'AAPL', price: '100', venue: 'NYSE' } });
}

async function everyKind() {
  const room = 'tags:kinds';
  const members = await Promise.all(
    FILTERS.map(async ([filter, expected], i) => {
      const client = await newConnected(`reader-${i}`);
      const [sub] = await subscribed(client, room, { tagsFilter: filter });
      return { sub, filter, expected };
    }),
  );
  const everyone = await newConnected('everyone');
  const [all] = await subscribed(everyone, room);
  await publishQuotes(room);
  await all.events.next('publication', (p) => p.data === 'end');
  // A witness whose filter lets the last one through has heard all that it will; the others are given the time.
  await Promise.all(members.map(({ sub, expected }) => sub.events.until(() => dataOf(sub).length >= expected.length, 'its quotes')));
  await new Promise((resolve) => { setTimeout(resolve, 300); });
  for (const { sub, filter, expected } of members) {
    const heard = dataOf(sub).filter((data) => data !== 'end').map((data) => data.i);
    same(heard, expected, `what ${JSON.stringify(filter)} lets through`);
  }
  same(dataOf(all).length, QUOTES.length + 1, 'who has no filter hears all');
}

/** A recovery is filtered too, and what was filtered is no loss. */
async function overACut() {
  const room = 'tags:cut';
  const road = await openRoad(setup.http);
  const client = newClient('alice', { road });
  await connected(client);
  const [sub] = await subscribed(client, room, { tagsFilter: leaf('ticker', 'eq', 'AAPL') });
  await publishQuotes(room);
  await sub.events.next('publication', (p) => p.data === 'end');
  const before = sub.events.all.length;
  road.close();
  await sub.events.next('subscribing', undefined, before);
  await publishQuotes(room);
  road.open();
  const back = await sub.events.next('subscribed', undefined, before);
  same([back.wasRecovering, back.recovered], [true, true], 'recovery');
  await sub.events.next('publication', (p) => p.data === 'end', before);
  same(dataOf(sub).map((data) => data.i ?? data), [0, 1, 'end', 0, 1, 'end'], 'every one that fits, once, in order');
}

async function refusals() {
  const client = await newConnected('bob');
  for (const [room, filter, what] of [
    ['tags:malformed-1', { key: 'ticker', cmp: 'resembles', val: 'AAPL' }, 'a comparison that does not exist'],
    ['tags:malformed-2', { op: 'xor', nodes: [leaf('a', 'ex')] }, 'an operation that does not exist'],
    ['tags:malformed-3', { op: 'not', nodes: [leaf('a', 'ex'), leaf('b', 'ex')] }, 'not of two'],
    ['talk:no-filters', leaf('ticker', 'eq', 'AAPL'), 'a room without filters'],
  ]) {
    const sub = subscription(client, room, { tagsFilter: filter });
    sub.subscribe();
    const outcome = await sub.events.until(() => sub.events.all.find((event) => ['subscribed', 'unsubscribed'].includes(event.kind)), 'an answer');
    same([outcome.kind, outcome.code], ['unsubscribed', 107], `${what}: bad request`);
  }
  same(client.state, 'connected', 'the connection goes on');
}

export default async function play() {
  await everyKind();
  await overACut();
  await refusals();
}
