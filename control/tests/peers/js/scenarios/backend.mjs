// The backend decides: who connects, who subscribes, what is published, and for how long.

import {
  connected, dataOf, newClient, newConnected, packed, publications, sdkTransport, subscribed, subscription,
} from '../lib/clients.mjs';
import { api } from '../lib/api.mjs';
import { startBackend } from '../lib/backend.mjs';
import { holds, refused, same } from '../lib/report.mjs';
import { inSeconds } from '../lib/tokens.mjs';

const refreshes = {};

const answers = {
  connect({ data, name, version }) {
    switch (data?.wish) {
      case 'in':
        return { result: { user: 'guest', data: { welcome: true, name, version }, channels: ['talk:by-backend'] } };
      case 'for a while':
        return { result: { user: 'brief', expire_at: inSeconds(3) } };
      case 'once':
        return { result: { user: 'once', expire_at: inSeconds(2) } };
      case 'refused':
        return { error: { code: 1_403, message: 'not today' } };
      case 'sent away':
        return { disconnect: { code: 4_501, reason: 'banned' } };
      default:
        return 500;
    }
  },
  refresh({ user }) {
    refreshes[user] = (refreshes[user] ?? 0) + 1;
    if (user === 'once') return { result: { expired: true } };
    return { result: { expire_at: inSeconds(3) } };
  },
  subscribe({ channel, data }) {
    switch (channel) {
      case 'asked:refused':
        return { error: { code: 1_403, message: 'members only' } };
      case 'asked:broken':
        return 500;
      default:
        return { result: { info: { role: 'guest' }, data: { topic: 'the weather', said: data } } };
    }
  },
  publish({ data }) {
    if (data.rude) return { error: { code: 1_400, message: 'mind your language' } };
    if (data.plain) return { result: {} };
    return { result: { data: { ...data, checked: true } } };
  },
};

const wishing = (wish, options) => newClient(null, { data: packed({ wish }), version: '7.0', ...options });

async function connecting(backend) {
  const client = wishing('in');
  const hello = await connected(client);
  same(hello.data, { welcome: true, name: 'js', version: '7.0' }, 'what the backend says at connecting');
  const { question } = backend.events.of('connect')[0];
  same([question.client, question.transport], [hello.client, sdkTransport], 'what it was asked');
  const joined = await client.events.next('subscribed');
  same(joined.channel, 'talk:by-backend', 'the room that the backend put it in');
  await api('publish', { channel: 'talk:by-backend', data: 'hello guest' });
  same((await client.events.next('publication')).data, 'hello guest', 'is heard');

  const refusal = wishing('refused');
  refusal.connect();
  same((await refusal.events.next('disconnected')).code, 1_403, 'a refusal is for good');
  const banned = wishing('sent away');
  banned.connect();
  const end = await banned.events.next('disconnected');
  same([end.code, end.reason], [4_501, 'banned'], 'so is being sent away');
  const unlucky = wishing('broken');
  unlucky.connect();
  const error = await unlucky.events.next('error');
  same([error.type, error.error.code], ['connect', 100], 'a broken backend is a passing error');
  unlucky.disconnect();
  return client;
}

/** The backend extends a connection, or does not. */
async function refreshing() {
  const client = wishing('for a while');
  await connected(client);
  await client.events.until(() => refreshes.brief >= 3 || client.events.of('connecting').length > 1, 'three refreshes');
  same(client.events.of('connecting').length, 1, 'it is extended without the client noticing');
  client.disconnect();
  const once = wishing('once');
  await connected(once);
  const end = await once.events.next('connecting', (event) => event.code !== 0);
  same([end.code, end.reason], [3005, 'connection expired'], 'or ends');
  once.disconnect();
}

async function subscribing(backend) {
  const client = await newConnected('alice');
  const [sub, joined] = await subscribed(client, 'asked:room', { data: packed({ hat: 'red' }) });
  same(joined.data, { topic: 'the weather', said: { hat: 'red' } }, 'what the backend says at subscribing');
  const { question } = backend.events.of('subscribe')[0];
  same([question.user, question.channel, question.data], ['alice', 'asked:room', { hat: 'red' }], 'what it was asked');

  const refusedSub = subscription(client, 'asked:refused');
  refusedSub.subscribe();
  const end = await refusedSub.events.next('unsubscribed');
  same([end.code, end.reason], [1_403, 'members only'], 'a refusal of the backend');
  const broken = subscription(client, 'asked:broken');
  broken.subscribe();
  const error = await broken.events.next('error');
  same([error.type, error.error.code], ['subscribe', 100], 'a broken backend is a passing error');
  broken.unsubscribe();
  return [client, sub];
}

async function publishing(backend, sub) {
  await sub.publish(packed({ text: 'fine' }));
  await sub.publish(packed({ plain: true }));
  await refused(sub.publish(packed({ rude: true })), 1_400, 'a refusal of the backend');
  await sub.publish(packed({ text: 'last' }));
  await sub.events.next('publication', (p) => p.data.text === 'last');
  same(dataOf(sub), [{ text: 'fine', checked: true }, { plain: true }, { text: 'last', checked: true }], 'what it made of it');
  same(publications(sub).map((p) => p.info.user), ['alice', 'alice', 'alice'], 'who published');
  same(publications(sub)[0].info.chanInfo, { role: 'guest' }, 'with what the backend said of it');
  const { question } = backend.events.of('publish')[0];
  same([question.user, question.channel, question.data], ['alice', 'asked:room', { text: 'fine' }], 'what it was asked');
}

export default async function play() {
  const backend = await startBackend(answers);
  await connecting(backend);
  const [, sub] = await subscribing(backend);
  await publishing(backend, sub);
  await refreshing();
  holds(backend.events.of('refresh').length >= 4, 'the backend was asked to refresh');
  await backend.stop();
}
