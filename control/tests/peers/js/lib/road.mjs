// A TCP road between a client and the server that can be cut and closed, as networks do, and that counts.

import net from 'node:net';

/** Opens a road to the server at `url`; `road.url` is the same address seen through it. */
export async function openRoad(url) {
  const target = new URL(url);
  const pairs = new Set();
  let isOpen = true;
  let bytesToClient = 0;

  const server = net.createServer((near) => {
    if (!isOpen) {
      near.resetAndDestroy();
      return;
    }
    const far = net.connect(Number(target.port), target.hostname);
    const pair = [near, far];
    pairs.add(pair);
    far.on('data', (chunk) => {
      bytesToClient += chunk.length;
    });
    for (const [from, to] of [pair, [far, near]]) {
      from.pipe(to);
      from.on('error', () => {});
      from.on('close', () => {
        pairs.delete(pair);
        to.destroy();
      });
    }
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));

  const via = new URL(url);
  via.port = String(server.address().port);
  return {
    url: via.href.replace(/\/$/, ''),

    /** Bytes from the server since the road was opened, over all connections. */
    get bytesToClient() {
      return bytesToClient;
    },

    /** Resets what is under way; new connections still get through. */
    cut() {
      for (const pair of pairs) for (const socket of pair) socket.resetAndDestroy();
      pairs.clear();
    },

    /** Cuts, and refuses new connections until opened. */
    close() {
      isOpen = false;
      this.cut();
    },

    open() {
      isOpen = true;
    },
  };
}
