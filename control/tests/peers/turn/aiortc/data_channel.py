"""Two peer connections of aiortc that may use relayed candidates only:  python data_channel.py SETUP

The setup is {ice_server: {urls, username, credential}, sizes}. The caller sends messages of these sizes on a data channel,
the callee answers each with the same bytes. Prints {candidates, states, pairs, heard, echoed} as JSON, and of these the
first alone if the relay gave them no candidates.
"""

import asyncio
import json
import sys

from aiortc import (
    RTCConfiguration,
    RTCIceServer,
    RTCIceTransportPolicy,
    RTCPeerConnection,
)

import messages

# The last message: the channel is ordered, so whoever hears it has heard everything before it.
END = b"end"


class Party:
    """A peer connection, and what happens to it."""

    def __init__(self, setup):
        server = RTCIceServer(**setup["ice_server"])
        self.connection = RTCPeerConnection(
            RTCConfiguration(iceServers=[server], iceTransportPolicy=RTCIceTransportPolicy.RELAY)
        )
        # Failed, or connected: what comes first.
        self.outcome = asyncio.get_running_loop().create_future()
        self.connection.on("connectionstatechange", self._changed)

    def _changed(self):
        state = self.connection.connectionState
        if state in ("connected", "failed", "closed") and not self.outcome.done():
            self.outcome.set_result(state)

    @property
    def candidates(self):
        """The types of the candidates of its description."""
        lines = self.connection.localDescription.sdp.splitlines()
        return [line.split()[7] for line in lines if line.startswith("a=candidate:")]

    @property
    def pair(self):
        """The types of the selected pair; aiortc has no statistics of it, so it is aioice's own record."""
        ice = self.connection.sctp.transport.transport._connection
        nominated = ice._nominated[1]
        return [nominated.local_candidate.type, nominated.remote_candidate.type]


async def shake_hands(caller, callee):
    """Descriptions have all candidates: aiortc does not trickle."""
    await caller.setLocalDescription(await caller.createOffer())
    await callee.setRemoteDescription(caller.localDescription)
    await callee.setLocalDescription(await callee.createAnswer())
    await caller.setRemoteDescription(callee.localDescription)


async def main(setup):
    caller, callee = Party(setup), Party(setup)
    sizes = setup["sizes"]
    heard, echoed = [], []
    all_echoed = asyncio.get_running_loop().create_future()

    @callee.connection.on("datachannel")
    def on_datachannel(channel):
        @channel.on("message")
        def on_message(data):
            heard.append(data)
            channel.send(data)

    channel = caller.connection.createDataChannel("messages")

    @channel.on("open")
    def on_open():
        for n, size in enumerate(sizes):
            channel.send(messages.make(n, size))
        channel.send(END)

    @channel.on("message")
    def on_echo(data):
        echoed.append(data)
        if data == END:
            all_echoed.set_result(None)

    await shake_hands(caller.connection, callee.connection)
    report = {"candidates": [caller.candidates, callee.candidates]}
    # Without candidates they would wait for some for ever.
    if all(report["candidates"]):
        report["states"] = [await caller.outcome, await callee.outcome]
        await all_echoed
        report["pairs"] = [caller.pair, callee.pair]
        # A message that comes twice or too late would stand behind the end, or keep it from being the only one.
        if heard[-1] != END or echoed[-1] != END:
            raise ValueError("something was heard after the end")
        report["heard"] = [messages.read(data) for data in heard[:-1]]
        report["echoed"] = [messages.read(data) for data in echoed[:-1]]
    await caller.connection.close()
    await callee.connection.close()
    return report


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(json.loads(sys.argv[1])))), flush=True)
