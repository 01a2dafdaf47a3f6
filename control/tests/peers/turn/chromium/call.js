// One side of a call that may use relayed candidates only. Descriptions have all their candidates, so that whoever carries
// them has to do it once.

'use strict';

/** Packets of audio that make a flow: a second of it has fifty. */
const AUDIO_PACKETS = 100;

/** The last message: the channel is ordered, so whoever hears it has heard everything before it. */
const END = 'end';

let connection;
const refusals = [];
let outcome;
let channel;
const heard = [];

/** The message with this number, of so many bytes (eight at least). */
function message(n, size) {
  const bytes = new Uint8Array(size);
  new DataView(bytes.buffer).setUint32(0, n);
  for (let at = 4; at < size; at += 1) bytes[at] = (n + at) % 251;
  return bytes;
}

/** Number and size of a message; throws if it is not as it was made. */
function read(buffer) {
  const bytes = new Uint8Array(buffer);
  const n = new DataView(buffer).getUint32(0);
  if (message(n, bytes.length).some((byte, at) => byte !== bytes[at])) {
    throw new Error(`garbled message ${n} of ${bytes.length} bytes`);
  }
  return [n, bytes.length];
}

async function prepare(iceServers) {
  connection = new RTCPeerConnection({ iceServers, iceTransportPolicy: 'relay' });
  outcome = new Promise((resolve) => {
    connection.addEventListener('connectionstatechange', () => {
      const state = connection.connectionState;
      if (state === 'connected' || state === 'failed') resolve(state);
    });
  });
  connection.addEventListener('icecandidateerror', ({ errorCode }) => refusals.push(errorCode));
  connection.addEventListener('track', ({ streams }) => {
    // Audio that nobody plays is not decoded.
    document.querySelector('audio').srcObject = streams[0];
  });
  connection.addEventListener('datachannel', (event) => {
    event.channel.binaryType = 'arraybuffer';
    event.channel.addEventListener('message', ({ data }) => event.channel.send(data));
  });
  const media = await navigator.mediaDevices.getUserMedia({ audio: true });
  for (const track of media.getTracks()) connection.addTrack(track, media);
}

async function described() {
  if (connection.iceGatheringState !== 'complete') {
    await new Promise((resolve) => {
      connection.addEventListener('icegatheringstatechange', () => {
        if (connection.iceGatheringState === 'complete') resolve();
      });
    });
  }
  return connection.localDescription.toJSON();
}

async function offer() {
  channel = connection.createDataChannel('messages');
  channel.binaryType = 'arraybuffer';
  await connection.setLocalDescription();
  return described();
}

async function answer(description) {
  await connection.setRemoteDescription(description);
  await connection.setLocalDescription();
  return described();
}

function accept(description) {
  return connection.setRemoteDescription(description);
}

/** The types of its candidates, and why the relay would not give it some. */
function gathered() {
  const lines = connection.localDescription.sdp.split('\r\n').filter((line) => line.startsWith('a=candidate:'));
  return { candidates: lines.map((line) => line.split(' ')[7]), refusals };
}

/** Connected, or failed: what comes first. */
function state() {
  return outcome;
}

/** Sends messages of these sizes, and waits until the other side has sent them all back. */
async function exchange(sizes) {
  if (channel.readyState !== 'open') {
    await new Promise((resolve) => channel.addEventListener('open', resolve, { once: true }));
  }
  const ended = new Promise((resolve) => {
    channel.addEventListener('message', ({ data }) => {
      heard.push(data);
      if (data === END) resolve();
    });
  });
  sizes.forEach((size, n) => channel.send(message(n, size)));
  channel.send(END);
  await ended;
}

/** Number and size of every message that has come back. */
function echoed() {
  // A message that comes twice or too late would stand behind the end, or keep it from being the only one.
  if (heard.indexOf(END) !== heard.length - 1) throw new Error('something was heard after the end');
  return heard.slice(0, -1).map(read);
}

/** What the selected pair is made of. */
async function pair() {
  const stats = await connection.getStats();
  const transport = [...stats.values()].find(({ type }) => type === 'transport');
  const selected = stats.get(transport.selectedCandidatePairId);
  const local = stats.get(selected.localCandidateId);
  const remote = stats.get(selected.remoteCandidateId);
  return { local: local.candidateType, remote: remote.candidateType, relayProtocol: local.relayProtocol, url: local.url };
}

/** Waits until audio flows and is not silent; what the statistics say of it then. */
async function audio() {
  for (;;) {
    const stats = await connection.getStats();
    const inbound = [...stats.values()].find(({ type, kind }) => type === 'inbound-rtp' && kind === 'audio');
    const { packetsReceived = 0, totalAudioEnergy = 0 } = inbound ?? {};
    if (packetsReceived >= AUDIO_PACKETS && totalAudioEnergy > 0) return { packetsReceived, totalAudioEnergy };
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
