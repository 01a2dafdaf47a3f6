// The connection's token expires: the SDK asks the application for another one and goes on.

import { Centrifuge } from 'centrifuge';
import { Centrifuge as ProtobufCentrifuge } from 'centrifuge/build/protobuf';
import { connected, isBinary, newClient, subscribed } from '../lib/clients.mjs';
import { api } from '../lib/api.mjs';
import { same } from '../lib/report.mjs';
import { forged, inSeconds, token } from '../lib/tokens.mjs';

const { UnauthorizedError } = isBinary ? ProtobufCentrifuge : Centrifuge;

const shortLived = (user, seconds = 3) => token({ sub: user, exp: inSeconds(seconds) });
const expired = (user) => token({ sub: user, exp: inSeconds(-60) });

/** A getToken that answers from the list, its last entry for ever, and counts. */
function tokens(...list) {
  const getToken = async () => {
    const next = list[Math.min(getToken.calls, list.length - 1)];
    getToken.calls += 1;
    return next();
  };
  getToken.calls = 0;
  return getToken;
}

const outcomeOf = (client, from = 0) =>
  client.events.until(
    () => client.events.all.slice(from).find((event) => event.kind === 'disconnected' || event.kind === 'connecting'),
    'the end of the connection',
  );

async function refreshed() {
  const getToken = tokens(
    () => shortLived('renewing'),
    () => shortLived('renewing'),
    () => shortLived('renewing'),
    () => token({ sub: 'renewing' }),
  );
  const client = newClient('renewing', { getToken });
  await connected(client);
  same(getToken.calls, 1, 'the first token comes from getToken');
  const [sub] = await subscribed(client, 'talk:renewing');
  await client.events.until(() => getToken.calls >= 4 || client.events.of('connecting').length > 1, 'three refreshes');
  await api('publish', { channel: 'talk:renewing', data: 'after three refreshes' });
  await sub.events.next('publication', (p) => p.data === 'after three refreshes');
  same(client.events.of('connecting').length, 1, 'it never had to reconnect');
  same(sub.events.of('subscribing').length, 1, 'nor to subscribe again');
}

async function expiredAtFirst() {
  const getToken = tokens(() => token({ sub: 'late' }));
  const client = newClient('late', { token: expired('late'), getToken });
  client.connect();
  const refusal = await client.events.next('error');
  same([refusal.type, refusal.error.code], ['connect', 109], 'an expired token is refused as such');
  await client.events.next('connected');
  same(getToken.calls, 1, 'and another one asked for');
}

async function expiredWithoutAnother() {
  const client = newClient('stranded', { token: expired('stranded') });
  client.connect();
  same((await client.events.next('disconnected')).code, 1, 'without getToken an expired token is the end');
}

/** What becomes of a connection whose refresh brings this. */
async function refreshWith(user, answer) {
  const getToken = tokens(() => shortLived(user), answer, () => token({ sub: user }));
  const client = newClient(user, { getToken });
  await connected(client);
  const from = client.events.all.length;
  return [client, await outcomeOf(client, from), getToken, from];
}

async function refusedRefreshes() {
  const cases = [
    ['forged', () => forged(token({ sub: 'forged' })), 3500, 'a forged token'],
    ['other', () => token({ sub: 'somebody else' }), 3500, "another user's token"],
    ['unauthorized', () => { throw new UnauthorizedError(''); }, 1, 'an application that says no'],
    ['nothing', () => '', 1, 'an application that has no token'],
  ];
  await Promise.all(
    cases.map(async ([user, answer, code, what]) => {
      const [, end] = await refreshWith(user, answer);
      same([end.kind, end.code], ['disconnected', code], `${what} ends the connection for good`);
    }),
  );
}

/** The application's clock, or cache, is behind: the SDK must not be lost for that. */
async function expiredRefresh() {
  const [client, end, getToken, from] = await refreshWith('behind', () => expired('behind'));
  same([end.kind, end.code], ['connecting', 3005], 'an expired token ends the connection, which may come back');
  await client.events.next('connected', undefined, from);
  same(getToken.calls, 3, 'with another token');
}

/** The application cannot answer at the moment. */
async function failingApplication() {
  const getToken = tokens(
    () => shortLived('patient', 4),
    () => { throw new Error('the application is away'); },
    () => token({ sub: 'patient' }),
  );
  const client = newClient('patient', { getToken });
  await connected(client);
  const error = await client.events.next('error');
  same(error.type, 'refreshToken', 'the SDK reports it');
  // It tries again after five to ten seconds, by when the server may have ended the connection, which is no loss.
  await client.events.until(() => getToken.calls >= 3, 'another try');
  await client.events.until(() => client.state === 'connected', 'connected');
  same(client.events.of('disconnected').length, 0, 'and is not lost');
}

export default async function play() {
  await Promise.all([
    refreshed(),
    expiredAtFirst(),
    expiredWithoutAnother(),
    refusedRefreshes(),
    expiredRefresh(),
    failingApplication(),
  ]);
}
