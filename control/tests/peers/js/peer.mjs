// What every scenario here shares: clients of the published package, the control API, and the conversation
// with the Rust test that started us.
//
// The test passes one JSON argument {ws, api, api_key, tokens: {user: token}}. We print one JSON value a line:
//   {"ask": "…"}        the test does it and answers with the line "done";
//   {"verdict": "ok", "checks": n, "report": …}  or  {"verdict": "failed", "why": "…", "log": […]}, once, at the end.

import assert from 'node:assert/strict';
import { createInterface } from 'node:readline';
import { isDeepStrictEqual } from 'node:util';
import { Centrifuge } from 'centrifuge';
import WebSocket from 'ws';

// Far above what anything here takes, also on a busy machine.
const WAIT_MS = 15_000;

const setup = JSON.parse(process.argv[2]);
const started = Date.now();
const log = [];
let checks = 0;

export const wsUrl = setup.ws;

/** Keeps a line for the report of a failure. */
export function note(...parts) {
  const text = parts.map((part) => (typeof part === 'string' ? part : JSON.stringify(part))).join(' ');
  log.push(`${String(Date.now() - started).padStart(6)} ms  ${text}`);
}

/** The JSON of the two must be the same. */
export function same(actual, expected, what) {
  checks += 1;
  if (!isDeepStrictEqual(actual, expected)) {
    assert.fail(`${what}: expected ${JSON.stringify(expected)}, got ${JSON.stringify(actual)}`);
  }
}

export function holds(condition, what) {
  checks += 1;
  assert.ok(condition, what);
}

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Things that happened, in order, and a way to wait for one. */
export class Events {
  constructor(name) {
    this.name = name;
    this.all = [];
    this.waiting = [];
  }

  add(kind, context) {
    note(this.name, kind, context);
    this.all.push({ kind, ...context });
    for (const look of [...this.waiting]) look();
  }

  of(kind) {
    return this.all.filter((event) => event.kind === kind);
  }

  /** The first event from index `from` on that fits. */
  next(kind, fits = () => true, from = 0) {
    return this.until(() => this.all.slice(from).find((event) => event.kind === kind && fits(event)), kind);
  }

  /** Waits until `find` returns something. */
  until(find, what) {
    return new Promise((resolve, reject) => {
      const look = () => {
        const found = find();
        if (!found) return;
        clearTimeout(timer);
        this.waiting = this.waiting.filter((other) => other !== look);
        resolve(found);
      };
      const timer = setTimeout(
        () => reject(new Error(`${this.name}: waited ${WAIT_MS / 1000} s in vain for ${what}`)),
        WAIT_MS,
      );
      this.waiting.push(look);
      look();
    });
  }
}

/** A client of the published package; `client.events` has what happened to it. */
export function newClient(user, { url = wsUrl, ...options } = {}) {
  const client = new Centrifuge(url, {
    websocket: WebSocket,
    token: setup.tokens[user],
    minReconnectDelay: 200,
    maxReconnectDelay: 500,
    ...options,
  });
  client.events = new Events(user);
  for (const kind of ['connecting', 'connected', 'disconnected', 'message', 'error']) {
    client.on(kind, (context) => client.events.add(kind, context));
  }
  return client;
}

/** Connects and waits for it. */
export async function connected(client) {
  client.connect();
  return client.events.next('connected');
}

/** A subscription; `subscription.events` has what happened to it. */
export function subscription(client, room, options = {}) {
  const sub = client.newSubscription(room, options);
  sub.events = new Events(`${client.events.name}@${room}`);
  for (const kind of ['subscribing', 'subscribed', 'unsubscribed', 'publication', 'join', 'leave', 'error']) {
    sub.on(kind, (context) => sub.events.add(kind, context));
  }
  return sub;
}

/** Subscribes and waits for it: [subscription, context of the event]. */
export async function subscribed(client, room, options = {}) {
  const sub = subscription(client, room, options);
  sub.subscribe();
  return [sub, await sub.events.next('subscribed')];
}

/** A call of the control API: the result, or an exception with what came instead. */
export async function api(method, body) {
  const response = await fetch(`${setup.api}/${method}`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', 'X-API-Key': setup.api_key },
    body: JSON.stringify(body),
  });
  const text = await response.text();
  note('api', method, `${response.status} ${text.slice(0, 300)}`);
  const answer = JSON.parse(text);
  if (response.status !== 200 || !answer.result) {
    throw new Error(`api ${method}: ${response.status} ${text}`);
  }
  return answer.result;
}

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

/** Has the test do something, such as restarting the server. */
export async function ask(what) {
  note('ask', what);
  console.log(JSON.stringify({ ask: what }));
  const answer = await lines.next();
  same(answer.value, 'done', `the test's answer to "${what}"`);
}

/** Runs the scenario and ends the process with its verdict, and with what the scenario reports, if anything. */
export async function scenario(play) {
  let verdict;
  try {
    const report = await play();
    verdict = { verdict: 'ok', checks, report };
  } catch (error) {
    verdict = { verdict: 'failed', why: String(error.stack ?? error), log };
  }
  process.stdout.write(`${JSON.stringify(verdict)}\n`, () => process.exit(0));
}
