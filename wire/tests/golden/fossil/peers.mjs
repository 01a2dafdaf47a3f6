// Makes cases.tsv and checks it with decoders that others wrote. Not part of any test run: the tests read the file.
//
//   npm install fossil-delta@2.0.0 centrifuge@5.8.0
//   pip install --no-deps --target python centrifuge-python==0.7.0
//   node peers.mjs make 5 > cases.tsv                     # pairs of documents and what the reference encoder makes of them
//   FANFARE_BLESS=1 cargo test -p fanfare-wire --test fossil_golden      # adds our delta, or `-` where there is none
//   node peers.mjs check cases.tsv && python3 peers.py cases.tsv
//
// A line: name, source, target, the reference's delta, our delta; all but the name in base64, with tabs between them.

import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { join } from 'node:path';

const base64 = bytes => Buffer.from(bytes).toString('base64');
const bytesOf = text => new Uint8Array(Buffer.from(text, 'base64'));
const require = createRequire(join(process.cwd(), 'package.json'));

async function make(pairsOfEachKind) {
  const { createDelta, applyDelta } = await import(pathToFileURL(require.resolve('fossil-delta')));
  const random = randomFrom(20240607);
  for (const [kind, pair] of Object.entries(kinds)) {
    for (let i = 0; i < pairsOfEachKind; i++) {
      const [source, target] = pair(random, i).map(
        document => typeof document === 'string' ? new TextEncoder().encode(document) : document,
      );
      const delta = createDelta(source, target);
      if (base64(applyDelta(source, delta)) !== base64(target)) throw new Error(`${kind}: the reference is at odds with itself`);
      console.log([`${kind}-${i}`, base64(source), base64(target), base64(delta), '-'].join('\t'));
    }
  }
}

async function check(file) {
  const codecs = {
    json: codecOf(require('centrifuge')),
    protobuf: codecOf(require('centrifuge/build/protobuf')),
  };
  const seen = { json: 0, protobuf: 0, whole: 0, oursBytes: 0, referenceBytes: 0 };
  for (const line of readFileSync(file, 'utf8').trim().split('\n')) {
    const [name, source, target, reference, ours] = line.split('\t');
    if (ours === '-') {
      seen.whole++;
      continue;
    }
    const delta = bytesOf(ours);
    const binary = codecs.protobuf.applyDeltaIfNeeded({ delta: true, data: delta }, bytesOf(source));
    if (base64(binary.newPrevValue) !== target) throw new Error(`${name}: another target over protobuf`);
    seen.protobuf++;
    seen.oursBytes += delta.length;
    seen.referenceBytes += bytesOf(reference).length;
    const document = textOf(bytesOf(target));
    if (document === null || !isJson(document)) continue;
    // Once through JSON, as on the wire; `fatal` refuses a delta that is no text.
    const text = new TextDecoder('utf-8', { fatal: true }).decode(delta);
    const data = JSON.parse(JSON.stringify(text));
    const json = codecs.json.applyDeltaIfNeeded({ delta: true, data }, bytesOf(source));
    if (base64(json.newPrevValue) !== target) throw new Error(`${name}: another target over JSON`);
    seen.json++;
  }
  console.log(seen);
}

function codecOf({ Centrifuge }) {
  return new Centrifuge('ws://127.0.0.1:1', { websocket: class {} })._codec;
}

function textOf(bytes) {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    return null;
  }
}

function isJson(text) {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

// mulberry32: the same cases on every machine.
function randomFrom(seed) {
  let state = seed;
  const next = () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = n => Math.floor(next() * n);
  return { below, of: list => list[below(list.length)] };
}

const words = {
  latin: 'goal corner penalty striker keeper halftime referee substitution stadium league offside'.split(' '),
  cyrillic: 'гол угловой пенальти нападающий вратарь перерыв судья замена стадион лига'.split(' '),
  cjk: '进球 角球 点球 前锋 门将 中场 裁判 换人 球场 联赛'.split(' '),
  emoji: '😀 😁 😂 😃 ⚽ 🥅 🏟 🏆'.split(' '),
};

const quote = random => ({
  symbol: random.of(['EURUSD', 'GBPUSD', 'USDJPY']), bid: random.below(99999) / 1000, ask: random.below(99999) / 1000,
  volume: random.below(1e6), time: 1700000000000 + random.below(1e9), venue: 'primary', currency: 'USD',
  status: random.of(['open', 'halted', 'closed']), flags: { indicative: random.below(2) === 1, delayed: false },
});

const player = random => ({
  id: random.below(1e6), name: `${random.of(words.latin)} ${random.of(words.latin)}`, score: random.below(1000),
  team: random.of(['home', 'away']), position: { x: random.below(105), y: random.below(68) }, isOnline: random.below(2) === 1,
});

const sentence = (random, script, length) => Array.from({ length }, () => random.of(words[script])).join(script === 'cjk' ? '' : ' ');

const many = (length, item) => Array.from({ length }, item);

// Each gives a source and a target.
const kinds = {
  quote(random) {
    const source = quote(random);
    const target = { ...source, bid: random.below(99999) / 1000, time: source.time + random.below(1e4), volume: random.below(1e6) };
    return [JSON.stringify(source), JSON.stringify(target)];
  },
  table(random) {
    const rows = many(8 + random.below(24), () => player(random));
    const source = JSON.stringify({ rows });
    for (let i = 0; i < 3; i++) random.of(rows).score = random.below(1000);
    return [source, JSON.stringify({ rows })];
  },
  rowMoved(random) {
    const rows = many(4 + random.below(6), () => player(random));
    const source = JSON.stringify({ rows });
    rows.unshift(...rows.splice(random.below(rows.length), 1));
    rows.splice(random.below(rows.length), random.below(2), player(random));
    return [source, JSON.stringify({ rows })];
  },
  grown(random) {
    const messages = many(1 + random.below(4), () => ({ from: random.below(100), text: sentence(random, 'latin', 6) }));
    const source = JSON.stringify({ messages });
    messages.push({ from: random.below(100), text: sentence(random, 'latin', 6) });
    return [source, JSON.stringify({ messages })];
  },
  characters(random) {
    const script = random.of(['cyrillic', 'cjk', 'emoji']);
    const parts = many(6, () => sentence(random, script, 8));
    const source = JSON.stringify({ text: parts.join(' ') });
    // One character for another of the same first bytes, which is where a copy would begin or end inside it.
    const at = random.below(6);
    parts[at] = [...parts[at]].map(c => random.below(5) ? c : String.fromCodePoint(c.codePointAt(0) ^ 1)).join('');
    return [source, JSON.stringify({ text: parts.join(' ') })];
  },
  escapes(random) {
    const text = many(20, () => random.of(['\\', '"', '\n', '\u0000', '\u2028', 'é', '€', 'word'])).join('');
    return [JSON.stringify({ text, n: random.below(10) }), JSON.stringify({ n: random.below(10), text: `${text}!`, was: text })];
  },
  repeated(random) {
    const unit = random.of(['a', 'ab', '0,', '{"v":0},', 'é']);
    return [unit.repeat(20 + random.below(200)), unit.repeat(10 + random.below(150)) + 'x' + unit.repeat(random.below(150))];
  },
  unlike(random) {
    return [JSON.stringify(quote(random)), JSON.stringify({ text: sentence(random, 'latin', 20) })];
  },
  small(random, i) {
    const value = random.below(1000);
    return [['', '{}'], ['{}', ''], [`{"n":${value}}`, `{"n":${value + 1}}`], [`"${'s'.repeat(60)}"`, `"${'s'.repeat(60)}"`]][i % 4];
  },
  binary(random) {
    const source = Uint8Array.from({ length: 200 + random.below(800) }, () => random.below(256));
    const target = source.slice();
    for (let i = 0; i < 4; i++) target[random.below(target.length)] = random.below(256);
    return [source, new Uint8Array([...target.slice(100), 1, 2, 3, ...target.slice(0, 120)])];
  },
};

const [, , verb, argument] = process.argv;
if (verb === 'make') await make(Number(argument));
else if (verb === 'check') await check(argument);
else throw new Error('say `make <pairs of each kind>` or `check <file>`');
