// The user's backend, which the server asks by HTTP in Centrifugo's proxy format: POST /connect, /refresh, /rpc,
// /send, /subscribe, /publish, /sub_refresh with a JSON object; the answer is {"result": {…}}, {"error": {code,
// message}} or {"disconnect": {code, reason}}.

import http from 'node:http';
import { Events } from './report.mjs';
import { setup } from './setup.mjs';

/**
 * Starts the backend. `answers` has a function for each event, from the question to the answer, which may be a
 * promise; what has none is a status 404. `backend.events` has the questions, by event.
 */
export async function startBackend(answers) {
  const events = new Events('backend');
  const server = http.createServer(async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const event = request.url.slice(1);
    const question = JSON.parse(Buffer.concat(chunks).toString());
    const answer = answers[event];
    events.add(event, { question, method: request.method, contentType: request.headers['content-type'] });
    if (!answer) {
      response.writeHead(404).end();
      return;
    }
    const body = await answer(question);
    if (typeof body === 'number') {
      response.writeHead(body).end();
      return;
    }
    response.writeHead(200, { 'Content-Type': 'application/json' }).end(JSON.stringify(body));
  });
  await new Promise((resolve) => server.listen(setup.backend_port, '127.0.0.1', resolve));
  return {
    events,
    async stop() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
