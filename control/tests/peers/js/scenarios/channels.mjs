// Private rooms ($) take a token; rooms for named users (#) let those in, and nobody else.

import { dataOf, newConnected, subscribed, subscription } from '../lib/clients.mjs';
import { api } from '../lib/api.mjs';
import { same } from '../lib/report.mjs';
import { token } from '../lib/tokens.mjs';

async function refusedAt(client, room, what, options) {
  const sub = subscription(client, room, options);
  sub.subscribe();
  const outcome = await sub.events.until(
    () => sub.events.all.find((event) => event.kind === 'unsubscribed' || event.kind === 'subscribed'),
    'an answer',
  );
  same([outcome.kind, outcome.code], ['unsubscribed', 103], what);
}

export default async function play() {
  const [alice, bob, eve] = await Promise.all(['alice', 'bob', 'eve'].map((user) => newConnected(user)));

  // -- private
  const secret = '$talk:secret';
  const [inside] = await subscribed(alice, secret, { token: token({ sub: 'alice', channel: secret }) });
  await refusedAt(bob, secret, 'a private room without a token');
  await api('publish', { channel: secret, data: 'psst' });
  same((await inside.events.next('publication')).data, 'psst', 'heard inside');
  const [open] = await subscribed(bob, 'talk:secret');
  await api('publish', { channel: 'talk:secret', data: 'loud' });
  await open.events.next('publication');
  same([dataOf(inside), dataOf(open)], [['psst'], ['loud']], 'the room of the same name without $ is another one');

  // -- for one user
  const diary = 'mine:diary#alice';
  const [own] = await subscribed(alice, diary);
  await refusedAt(eve, diary, "another user's room");
  await api('publish', { channel: diary, data: 'dear diary' });
  same((await own.events.next('publication')).data, 'dear diary', 'heard by its user');

  // -- for two
  const pair = 'mine:pair#alice,bob';
  const [one] = await subscribed(alice, pair);
  const [other] = await subscribed(bob, pair);
  await refusedAt(eve, pair, 'a room of others');
  await api('publish', { channel: pair, data: 'you two' });
  for (const sub of [one, other]) same((await sub.events.next('publication')).data, 'you two', 'heard by both');

  // -- names that only look like it
  await refusedAt(bob, 'mine:diary#alic', 'half a name');
  await refusedAt(alice, 'mine:diary#alice2', 'a longer name');
  await refusedAt(alice, 'mine:diary#', 'no name');
  await refusedAt(alice, 'mine:diary', 'no list of names');
  await refusedAt(alice, 'mine:alice#bob', 'a name before the list');
}
