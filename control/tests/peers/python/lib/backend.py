"""The user's backend, which the server asks by HTTP in Centrifugo's proxy format: POST /connect, /refresh, /rpc,
/subscribe, /publish with a JSON object; the answer is {"result": {…}}, {"error": {code, message}} or
{"disconnect": {code, reason}}.
"""

import asyncio
import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from .report import Events
from .setup import setup

# Longer than the server waits for an answer.
_NEVER_S = 5


class Backend:
    """`answers` has a function for each event, from the question to the answer: an object, or a status. An event
    without one is a status 404; an answer of None does not come in time. `events` has the questions, by event."""

    def __init__(self, answers):
        self.events = Events("backend")
        self._connections = connections = set()
        loop = asyncio.get_running_loop()
        events = self.events

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self):
                super().setup()
                connections.add(self.connection)

            def finish(self):
                connections.discard(self.connection)
                super().finish()

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                event, question = self.path[1:], json.loads(body)
                content_type = self.headers["Content-Type"]
                loop.call_soon_threadsafe(
                    lambda: events.add(event, question=question, content_type=content_type)
                )
                answer = answers[event](question) if event in answers else 404
                if answer is None:
                    time.sleep(_NEVER_S)
                    answer = 500
                status, text = 200, json.dumps(answer).encode()
                if isinstance(answer, int):
                    status, text = answer, b""
                try:
                    self.send_response(status)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(text)))
                    self.end_headers()
                    self.wfile.write(text)
                except OSError:
                    # The server no longer waits for it.
                    pass

            def log_message(self, *_):
                """Nothing on stderr."""

        self._server = ThreadingHTTPServer(("127.0.0.1", setup["backend_port"]), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    async def stop(self):
        await asyncio.to_thread(self._server.shutdown)
        # With those that the server keeps for its next question.
        for connection in list(self._connections):
            connection.shutdown(socket.SHUT_RDWR)
        self._server.server_close()
