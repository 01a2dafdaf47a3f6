// The DevTools protocol over the browser's pipe: it reads from descriptor 3 and writes to 4, one JSON value and a zero byte
// each. There is no port to be found, and the browser ends when the pipe does.

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const FLAGS = [
  '--headless=new',
  '--remote-debugging-pipe',
  '--no-first-run',
  '--disable-gpu',
  // What a container or a build machine does not have: namespaces for everybody, and a large /dev/shm.
  '--no-sandbox',
  '--disable-dev-shm-usage',
  // The relay is on the loopback interface, which browsers leave alone, and pages have no business with.
  '--allow-loopback-in-peer-connection',
  '--disable-features=WebRtcHideLocalIpsWithMdns,LocalNetworkAccessChecks',
  // A microphone that beeps, that may be listened to without a question, and heard without a click.
  '--use-fake-device-for-media-stream',
  '--use-fake-ui-for-media-stream',
  '--autoplay-policy=no-user-gesture-required',
  // Only one of two pages can be in front.
  '--disable-background-timer-throttling',
  '--disable-backgrounding-occluded-windows',
  '--disable-renderer-backgrounding',
];

export class Browser {
  #child;
  #profile;
  #unread = [];
  #calls = new Map();
  #last = 0;
  #listeners = new Set();
  #ended;

  constructor(flags) {
    this.#profile = mkdtempSync(join(tmpdir(), 'chromium-'));
    const all = [...FLAGS, ...flags, `--user-data-dir=${this.#profile}`, 'about:blank'];
    this.#child = spawn('chromium', all, { stdio: ['ignore', 'inherit', 'inherit', 'pipe', 'pipe'] });
    this.#child.stdio[4].on('data', (bytes) => this.#read(bytes));
    this.#ended = new Promise((resolve) => {
      this.#child.on('exit', resolve);
      this.#child.on('error', resolve);
    });
    this.#ended.then((why) => {
      for (const { reject } of this.#calls.values()) reject(new Error(`the browser ended: ${why}`));
    });
  }

  #read(bytes) {
    let from = 0;
    for (let zero = bytes.indexOf(0); zero >= 0; zero = bytes.indexOf(0, from)) {
      this.#unread.push(bytes.subarray(from, zero));
      this.#hear(JSON.parse(Buffer.concat(this.#unread).toString()));
      this.#unread = [];
      from = zero + 1;
    }
    this.#unread.push(bytes.subarray(from));
  }

  #hear(message) {
    if (message.id === undefined) {
      for (const listener of [...this.#listeners]) listener(message);
      return;
    }
    const { resolve, reject } = this.#calls.get(message.id);
    this.#calls.delete(message.id);
    if (message.error) reject(new Error(JSON.stringify(message.error)));
    else resolve(message.result);
  }

  call(method, params = {}, sessionId = undefined) {
    this.#last += 1;
    const id = this.#last;
    return new Promise((resolve, reject) => {
      this.#calls.set(id, { resolve, reject });
      this.#child.stdio[3].write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    });
  }

  #next(sessionId, method) {
    return new Promise((resolve) => {
      const listener = (message) => {
        if (message.sessionId !== sessionId || message.method !== method) return;
        this.#listeners.delete(listener);
        resolve(message.params);
      };
      this.#listeners.add(listener);
    });
  }

  /** Opens a page of its own; the answer is a function that calls a global function of the page with what JSON can hold. */
  async open(url) {
    const { targetId } = await this.call('Target.createTarget', { url: 'about:blank' });
    const { sessionId } = await this.call('Target.attachToTarget', { targetId, flatten: true });
    await this.call('Page.enable', {}, sessionId);
    const loaded = this.#next(sessionId, 'Page.loadEventFired');
    await this.call('Page.navigate', { url }, sessionId);
    await loaded;
    return async (name, ...parameters) => {
      const expression = `${name}(...${JSON.stringify(parameters)})`;
      const options = { expression, awaitPromise: true, returnByValue: true };
      const { result, exceptionDetails } = await this.call('Runtime.evaluate', options, sessionId);
      if (exceptionDetails) {
        throw new Error(`${name}: ${exceptionDetails.exception?.description ?? exceptionDetails.text}`);
      }
      return result.value;
    };
  }

  async close() {
    // It may end before it has answered.
    this.call('Browser.close').catch(() => {});
    await this.#ended;
    rmSync(this.#profile, { recursive: true, force: true, maxRetries: 10 });
  }
}
