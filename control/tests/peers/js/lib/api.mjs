// The control API, as services call it.

import { note } from './report.mjs';
import { setup } from './setup.mjs';

/** A call of the control API: the result, or an exception with what came instead. */
export async function api(method, body) {
  const response = await fetch(`${setup.api}/api/${method}`, {
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

/** Publishes {n} for every n of the range, one after the other. */
export async function publishRange(room, first, last) {
  for (let n = first; n <= last; n += 1) await api('publish', { channel: room, data: { n } });
}
