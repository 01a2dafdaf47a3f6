"""A TCP road between a client and the server that can be cut and closed, as networks do, and that counts."""

import asyncio
import socket
import struct
from urllib.parse import urlsplit

from .setup import setup


class Road:
    """`url` is the server's address seen through it."""

    def __init__(self):
        self._target = urlsplit(setup["http"])
        self._writers = set()
        self._is_open = True
        self.bytes_to_client = 0

    @classmethod
    async def open_new(cls):
        road = cls()
        road._server = await asyncio.start_server(road._carry, "127.0.0.1", 0)
        port = road._server.sockets[0].getsockname()[1]
        road.url = f"http://127.0.0.1:{port}"
        return road

    async def _carry(self, near_in, near_out):
        if not self._is_open:
            _reset(near_out)
            return
        try:
            far_in, far_out = await asyncio.open_connection(
                self._target.hostname, self._target.port
            )
        except OSError:
            _reset(near_out)
            return
        pair = {near_out, far_out}
        self._writers |= pair
        await asyncio.gather(
            self._pump(near_in, far_out, False), self._pump(far_in, near_out, True)
        )
        self._writers -= pair

    async def _pump(self, source, sink, to_client):
        try:
            while data := await source.read(65536):
                if to_client:
                    self.bytes_to_client += len(data)
                sink.write(data)
                await sink.drain()
        except OSError:
            pass
        sink.close()

    def cut(self):
        """Resets what is under way; new connections still get through."""
        for writer in self._writers:
            _reset(writer)
        self._writers = set()

    def close(self):
        """Cuts, and refuses new connections until opened."""
        self._is_open = False
        self.cut()

    def open(self):
        self._is_open = True


def _reset(writer):
    # Closed with nothing left to linger for, a TCP connection is reset.
    raw = writer.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
