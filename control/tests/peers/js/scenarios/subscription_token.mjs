// Subscriptions by token: given, fetched, expired, refreshed, refused.

import { Centrifuge } from 'centrifuge';
import { Centrifuge as ProtobufCentrifuge } from 'centrifuge/build/protobuf';
import { dataOf, isBinary, newConnected, readableInfo, subscribed, subscription } from '../lib/clients.mjs';
import { api } from '../lib/api.mjs';
import { same, sleep } from '../lib/report.mjs';
import { forged, inSeconds, token } from '../lib/tokens.mjs';

const { UnauthorizedError } = isBinary ? ProtobufCentrifuge : Centrifuge;

const ticket = (user, room, more = {}) => token({ sub: user, channel: room, ...more });
const shortLived = (user, room) => ticket(user, room, { exp: inSeconds(3) });
const expired = (user, room) => ticket(user, room, { exp: inSeconds(-60) });

function tokens(...list) {
  const getToken = async ({ channel }) => {
    getToken.rooms.push(channel);
    return list[Math.min(getToken.rooms.length, list.length) - 1]();
  };
  getToken.rooms = [];
  return getToken;
}

// The server gives the application 25 seconds after the expiry, as Centrifugo does.
const GRACE_MS = 25_000;

const outcomeOf = (sub, from) =>
  sub.events.until(
    () => sub.events.all.slice(from).find((event) => event.kind === 'unsubscribed' || event.kind === 'subscribing'),
    'the end of the subscription',
    GRACE_MS + 15_000,
  );

async function given() {
  const client = await newConnected('guest');
  const room = 'closed:given';
  const [sub] = await subscribed(client, room, { token: ticket('guest', room) });
  await api('publish', { channel: room, data: 'for those with a token' });
  await sub.events.next('publication', (p) => p.data === 'for those with a token');

  const uninvited = subscription(client, 'closed:uninvited');
  uninvited.subscribe();
  same((await uninvited.events.next('unsubscribed')).code, 103, 'without a token: permission denied');

  const cheat = subscription(client, 'closed:cheat', { token: forged(ticket('guest', 'closed:cheat')) });
  cheat.subscribe();
  same((await cheat.events.next('unsubscribed')).code, 103, 'with a forged token: permission denied');
  same(client.state, 'connected', 'and the connection goes on');

  // What the token says of its bearer is seen by the others.
  const [witness] = await subscribed(client, 'talk:named', { token: ticket('guest', 'talk:named', { info: { seat: 7 } }) });
  const { clients } = await witness.presence();
  same(Object.values(clients).map((info) => readableInfo(info).chanInfo), [{ seat: 7 }], 'information of the token');
}

async function fetched() {
  const client = await newConnected('caller');
  const room = 'closed:fetched';
  const getToken = tokens(() => expired('caller', room), () => ticket('caller', room));
  const sub = subscription(client, room, { getToken });
  sub.subscribe();
  const refusal = await sub.events.next('error');
  same([refusal.type, refusal.error.code], ['subscribe', 109], 'an expired token is refused as such');
  await sub.events.next('subscribed');
  same(getToken.rooms, [room, room], 'and the application asked for another one');
  same(sub.events.of('unsubscribed').length, 0, 'without giving up');

  const stranded = subscription(client, 'closed:stranded', { token: expired('caller', 'closed:stranded') });
  stranded.subscribe();
  same((await stranded.events.next('unsubscribed')).code, 1, 'without getToken an expired token is the end');
}

async function refreshed() {
  const client = await newConnected('keen');
  const room = 'closed:refreshed';
  const brief = () => shortLived('keen', room);
  const getToken = tokens(brief, brief, brief, () => ticket('keen', room));
  const [sub] = await subscribed(client, room, { getToken });
  await sub.events.until(() => getToken.rooms.length >= 4, 'three refreshes');
  await sleep(3_000);
  await api('publish', { channel: room, data: 'after three refreshes' });
  await sub.events.next('publication', (p) => p.data === 'after three refreshes');
  same(sub.events.of('subscribing').length, 1, 'it never had to subscribe again');
  same(client.events.of('connecting').length, 1, 'nor to reconnect');
}

/** The application says no: the SDK leaves the room, and the server no longer sends. */
async function withdrawn() {
  const client = await newConnected('withdrawn');
  const room = 'closed:withdrawn';
  const getToken = tokens(() => shortLived('withdrawn', room), () => { throw new UnauthorizedError(''); });
  const [sub] = await subscribed(client, room, { getToken });
  same((await sub.events.next('unsubscribed')).code, 1, 'the application says no');
  await api('publish', { channel: room, data: 'too late' });
  await sleep(300);
  same(dataOf(sub), [], 'nothing is heard after that');
  same(client.state, 'connected', 'the connection goes on');
}

async function refusedRefresh() {
  const client = await newConnected('forger');
  const room = 'closed:forger';
  const getToken = tokens(() => shortLived('forger', room), () => forged(ticket('forger', room)));
  await subscribed(client, room, { getToken });
  const end = await client.events.next('disconnected');
  same([end.code, end.reason], [3500, 'invalid token'], 'a forged token in a refresh ends the connection for good');
}

/** The application takes its time: the server ends the subscription, the SDK subscribes again. */
async function overdue() {
  const client = await newConnected('slow');
  const room = 'closed:overdue';
  const getToken = tokens(
    () => shortLived('slow', room),
    () => new Promise(() => {}),
    () => ticket('slow', room),
  );
  const [sub] = await subscribed(client, room, { getToken });
  const end = await outcomeOf(sub, sub.events.all.length);
  same([end.kind, end.code, end.reason], ['subscribing', 2501, 'subscription expired'], 'the server ends it');
  await sub.events.next('subscribed', undefined, sub.events.all.indexOf(end));
  await api('publish', { channel: room, data: 'back again' });
  await sub.events.next('publication', (p) => p.data === 'back again');
}

export default async function play() {
  await Promise.all([given(), fetched(), refreshed(), withdrawn(), refusedRefresh(), overdue()]);
}
