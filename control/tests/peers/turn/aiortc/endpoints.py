"""aioice's TURN client, without ICE:  python endpoints.py SETUP

The setup is {ice_server: {urls, username, credential}, sizes, channel_refresh_time}. Two clients of the relay exchange
datagrams of these sizes with a plain socket, and then with each other. Prints {relayed, peer, heard} as JSON, where
`heard` tells of everything that arrived: [where, from whom, number, size]. If the relay refuses, prints {refused: code}.
"""

import asyncio
import json
import socket
import sys

from aioice import stun, turn
from aiortc.rtcicetransport import parse_stun_turn_uri

import messages


class Party(asyncio.DatagramProtocol):
    """Somebody with an address, at the relay or of their own."""

    def __init__(self, name):
        self.name = name
        self.inbox = asyncio.Queue()

    def connection_made(self, transport):
        self.transport = transport
        self.address = transport.get_extra_info("sockname")

    def datagram_received(self, data, source):
        self.inbox.put_nowait((data, source))

    def error_received(self, error):
        self.inbox.put_nowait(error)

    def connection_lost(self, error):
        self.inbox.put_nowait(error or ConnectionError(f"{self.name} has no transport any more"))

    def send(self, data, to):
        self.transport.sendto(data, to)

    async def hear(self):
        heard = await self.inbox.get()
        if isinstance(heard, Exception):
            raise heard
        return heard


class Peer(Party):
    """With a plain socket, through which it sends by itself: asyncio before Python 3.13 sends no empty datagrams."""

    async def begin(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, sock=self.socket)

    def send(self, data, to):
        self.socket.sendto(data, to)


async def allocate(name, setup):
    server = setup["ice_server"]
    (url,) = server["urls"]
    where = parse_stun_turn_uri(url)
    _, party = await turn.create_turn_endpoint(
        lambda: Party(name),
        server_addr=(where["host"], where["port"]),
        username=server["username"],
        password=server["credential"],
        channel_refresh_time=setup["channel_refresh_time"],
        # The context that Python makes by itself: it checks the certificate and the name in it.
        ssl=True if where["scheme"] == "turns" else None,
        transport=where["transport"],
    )
    return party


async def converse(one, other, sizes, report):
    """Each datagram goes there and back before the next one: the relay may drop what finds a buffer full."""
    for n, size in enumerate(sizes):
        for sender, hearer in ((one, other), (other, one)):
            sender.send(messages.make(n, size), hearer.address)
            data, source = await hearer.hear()
            report.append([hearer.name, list(source), *messages.read(data)])


async def main(setup):
    sizes = setup["sizes"]
    try:
        first = await allocate("first", setup)
    except stun.TransactionFailed as refusal:
        return {"refused": refusal.response.error_code}
    second = await allocate("second", setup)
    peer = Peer("peer")
    await peer.begin()
    heard = []
    await converse(first, peer, sizes, heard)
    await converse(second, peer, sizes, heard)
    # Both may hear from the peer's IP address by now, which is the relay's as well (permissions have no ports).
    await converse(first, second, sizes, heard)
    report = {"relayed": [first.address, second.address], "peer": peer.address, "heard": heard}
    for party in (first, second, peer):
        if not party.inbox.empty():
            raise ValueError(f"{party.name} heard more than was sent to it")
    # The allocation is given back before its transport is closed.
    for party in (first, second):
        party.transport.close()
        if not isinstance(await party.inbox.get(), ConnectionError):
            raise ValueError(f"{party.name} heard something after the end")
    peer.transport.close()
    return report


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(json.loads(sys.argv[1])))), flush=True)
