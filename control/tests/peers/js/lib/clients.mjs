// Clients of the published package over the transport under test. What differs between transports is here; the
// scenarios do not know it.

import { Centrifuge as JsonCentrifuge } from 'centrifuge';
import { Centrifuge as ProtobufCentrifuge } from 'centrifuge/build/protobuf';
import { EventSource } from 'eventsource';
import WebSocket from 'ws';
import { Events } from './report.mjs';
import { setup, transportName } from './setup.mjs';
import { token } from './tokens.mjs';

const TRANSPORTS = {
  'ws-json': { transport: 'websocket', path: '/connection/websocket' },
  'ws-protobuf': { transport: 'websocket', path: '/connection/websocket', isBinary: true },
  // The SDK has no protobuf over SSE, which is text.
  sse: { transport: 'sse', path: '/connection/sse' },
  'http-stream-json': { transport: 'http_stream', path: '/connection/http_stream' },
  'http-stream-protobuf': { transport: 'http_stream', path: '/connection/http_stream', isBinary: true },
};

const chosen = TRANSPORTS[transportName];
if (!chosen) throw new Error(`--transport must be one of ${Object.keys(TRANSPORTS).join(', ')}`);

/** What the SDK calls the transport in its `connected` event. */
export const sdkTransport = chosen.transport;

/** Whether payloads are bytes; the package leaves them as they are. */
export const isBinary = chosen.isBinary === true;

/** Whether commands travel as requests of their own, which may overtake each other. */
export const isEmulated = chosen.transport !== 'websocket';

/** A value as this transport's SDK wants it. */
export function packed(value) {
  return isBinary ? new TextEncoder().encode(JSON.stringify(value)) : value;
}

/** What `packed` was given. Protobuf has no bytes where JSON has nothing. */
export function unpacked(data) {
  if (!isBinary) return data;
  if (data === undefined || data.length === 0) return undefined;
  return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(data));
}

/** An SDK context with its payloads unpacked. */
function readable(context) {
  const read = { ...context };
  if ('data' in read) read.data = unpacked(read.data);
  if (read.info) read.info = readableInfo(read.info);
  return read;
}

/** Who a client is, with what its tokens say of it. */
export function readableInfo(info) {
  const [connInfo, chanInfo] = [unpacked(info.connInfo), unpacked(info.chanInfo)];
  return {
    client: info.client,
    user: info.user,
    ...(connInfo === undefined ? {} : { connInfo }),
    ...(chanInfo === undefined ? {} : { chanInfo }),
  };
}

// Byte counts are of what was meant, not of what a compressor made of it.
class UncompressedWebSocket extends WebSocket {
  constructor(url, protocols) {
    super(url, protocols, { perMessageDeflate: false });
  }
}

const CLIENT_EVENTS = [
  ...['connecting', 'connected', 'disconnected', 'message', 'error'],
  // Of server-side subscriptions.
  ...['subscribing', 'subscribed', 'unsubscribed', 'publication', 'join', 'leave'],
];
const SUBSCRIPTION_EVENTS = ['subscribing', 'subscribed', 'unsubscribed', 'publication', 'join', 'leave', 'error'];

const clients = new Set();

/**
 * A client of the published package; `client.events` has what happened to it. It has a token for the user, unless
 * `user` is null, or the options have one, or a getToken. `road` leads it through a proxy.
 */
export function newClient(user, { road, isUncompressed, ...options } = {}) {
  const base = road?.url ?? setup.http;
  const Class = isBinary ? ProtobufCentrifuge : JsonCentrifuge;
  const endpoint = isEmulated
    ? [{ transport: chosen.transport, endpoint: base + chosen.path }]
    : base.replace(/^http/, 'ws') + chosen.path;
  const hasToken = user !== null && options.token === undefined && !options.getToken;
  const client = new Class(endpoint, {
    websocket: isUncompressed ? UncompressedWebSocket : WebSocket,
    eventsource: EventSource,
    emulationEndpoint: `${base}/emulation`,
    minReconnectDelay: 100,
    maxReconnectDelay: 300,
    ...(hasToken ? { token: token({ sub: user }) } : {}),
    ...options,
  });
  client.events = new Events(user ?? 'nobody');
  for (const kind of CLIENT_EVENTS) client.on(kind, (context) => client.events.add(kind, readable(context)));
  clients.add(client);
  return client;
}

/** Connects and waits for it. */
export async function connected(client) {
  client.connect();
  return client.events.next('connected');
}

/** A client of the user, connected. */
export async function newConnected(user, options) {
  const client = newClient(user, options);
  await connected(client);
  return client;
}

/** A subscription; `subscription.events` has what happened to it. */
export function subscription(client, room, options = {}) {
  const sub = client.newSubscription(room, { minResubscribeDelay: 100, maxResubscribeDelay: 300, ...options });
  sub.events = new Events(`${client.events.name}@${room}`);
  for (const kind of SUBSCRIPTION_EVENTS) sub.on(kind, (context) => sub.events.add(kind, readable(context)));
  return sub;
}

/** Subscribes and waits for it: [subscription, context of the event]. */
export async function subscribed(client, room, options = {}) {
  const sub = subscription(client, room, options);
  sub.subscribe();
  const outcome = await sub.events.until(
    () => sub.events.all.find((event) => event.kind === 'subscribed' || event.kind === 'unsubscribed'),
    'subscribed',
  );
  if (outcome.kind !== 'subscribed') {
    throw new Error(`${sub.events.name}: expected to be subscribed, got ${outcome.code} ${outcome.reason}`);
  }
  return [sub, outcome];
}

/** What a subscription, or client, has heard so far. */
export const publications = (heard) => heard.events.of('publication');
export const dataOf = (heard) => publications(heard).map((publication) => publication.data);
export const offsetsOf = (heard) => publications(heard).map((publication) => publication.offset);
export const upTo = (last) => Array.from({ length: last }, (_, i) => i + 1);

/** A room's history with its payloads unpacked. */
export async function historyOf(sub, options) {
  const history = await sub.history(options);
  return { ...history, publications: history.publications.map(readable) };
}

/** Disconnects whoever the last scenario left. */
export function disconnectAll() {
  for (const client of clients) client.disconnect();
  clients.clear();
}
