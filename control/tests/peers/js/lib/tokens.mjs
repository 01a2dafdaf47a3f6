// Tokens as a user's backend makes them (RFC 7519, HS256).

import { createHmac } from 'node:crypto';
import { setup } from './setup.mjs';

const encoded = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');

export const inSeconds = (seconds) => Math.floor(Date.now() / 1000) + seconds;

const HOUR_S = 3600;

/** A token with these claims; `exp` is in an hour unless given. */
export function token(claims) {
  const signed = `${encoded({ alg: 'HS256', typ: 'JWT' })}.${encoded({ exp: inSeconds(HOUR_S), ...claims })}`;
  return `${signed}.${createHmac('sha256', setup.token_secret).update(signed).digest('base64url')}`;
}

/** The same token under a signature that nobody made. */
export function forged(genuine) {
  const [head, claims, signature] = genuine.split('.');
  return [head, claims, [...signature].reverse().join('')].join('.');
}
