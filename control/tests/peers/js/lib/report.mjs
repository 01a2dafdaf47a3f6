// Checks, the log of a scenario, and the conversation with the test that started us.
//
// We print one JSON value a line:
//   {"ask": "…"}   the test does it and answers with the line "done";
//   {"topic": "…", "verdict": "ok", "checks": n, "report": …}
//   {"topic": "…", "verdict": "failed", "why": "…", "log": […]}

import assert from 'node:assert/strict';
import { createInterface } from 'node:readline';
import { isDeepStrictEqual } from 'node:util';

// Far above what anything here takes, also on a busy machine.
const WAIT_MS = 15_000;

const started = Date.now();
let log = [];
let checks = 0;

/** Keeps a line for the report of a failure. */
export function note(...parts) {
  const text = parts.map((part) => (typeof part === 'string' ? part : JSON.stringify(part))).join(' ');
  log.push(`${String(Date.now() - started).padStart(6)} ms  ${text.slice(0, 600)}`);
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

/** The promise must be rejected with what fits: an SDK rejects with {code, message}. */
export async function refused(promise, code, what) {
  try {
    await promise;
  } catch (error) {
    note('refused', what, { code: error.code, message: error.message });
    same(error.code, code, `${what}: the code of the refusal`);
    holds(typeof error.message === 'string' && error.message.length > 0, `${what}: a refusal has a text`);
    return error;
  }
  assert.fail(`${what}: expected a refusal with code ${code}, and it was done`);
  return undefined;
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

  /** Waits until `find` returns something; it is tried at every event, and now and then. */
  until(find, what, waitMs = WAIT_MS) {
    return new Promise((resolve, reject) => {
      const look = () => {
        const found = find();
        if (!found) return;
        clearTimeout(timer);
        clearInterval(retry);
        this.waiting = this.waiting.filter((other) => other !== look);
        resolve(found);
      };
      const retry = setInterval(() => look(), 100);
      const timer = setTimeout(() => {
        clearInterval(retry);
        this.waiting = this.waiting.filter((other) => other !== look);
        const kinds = this.all.map((event) => event.kind).join(', ') || 'nothing';
        reject(new Error(`${this.name}: waited ${waitMs / 1000} s in vain for ${what}; heard ${kinds}`));
      }, waitMs);
      this.waiting.push(look);
      look();
    });
  }
}

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

/** Has the test do something, such as restarting the server. */
export async function ask(what) {
  note('ask', what);
  console.log(JSON.stringify({ ask: what }));
  const answer = await lines.next();
  same(answer.value, 'done', `the test's answer to "${what}"`);
}

/** Plays one topic and prints its verdict. Returns whether it was good. */
export async function judge(topic, play) {
  log = [];
  checks = 0;
  let verdict;
  try {
    const report = await play();
    verdict = { topic, verdict: 'ok', checks, report };
  } catch (error) {
    verdict = { topic, verdict: 'failed', why: String(error.stack ?? error), log };
  }
  await new Promise((resolve) => process.stdout.write(`${JSON.stringify(verdict)}\n`, resolve));
  return verdict.verdict === 'ok';
}
