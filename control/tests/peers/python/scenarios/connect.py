"""Connecting, being pinged, being refused, and leaving."""

import asyncio

from centrifuge import ClientState

from lib.clients import connected, new_client, new_connected
from lib.report import holds, same
from lib.tokens import forged, token


async def play():
    alice = new_client("alice", max_server_ping_delay=1.0)
    hello = await connected(alice)
    second = new_client("alice")
    second_hello = await connected(second)
    holds(
        hello.client and hello.client != second_hello.client,
        "every connection has a name of its own",
    )

    for wrong, what in [
        (forged(token(sub="alice")), "a forged token"),
        (token(sub="alice", channel="talk:room"), "a subscription token"),
        ("not a token", "no token at all"),
    ]:
        intruder = new_client(None, token=wrong)
        await intruder.connect()
        end = await intruder.events.next(["disconnected", "connected"])
        same((end.kind, end.get("code"), end.get("reason")), ("disconnected", 3500, "invalid token"), what)

    await second.disconnect()
    same((await second.events.next("disconnected")).code, 0, "the client left by itself")
    before = len(second.events.all)
    await second.connect()
    again = await second.events.next("connected", since=before)
    holds(again.client != second_hello.client, "a new connection has a new name")

    crowd = await asyncio.gather(*(new_connected(f"crowd-{i}") for i in range(10)))
    # Several of the server's pings: one every two seconds. The SDK gives up after three without one, the server
    # on a client that answers none within one.
    await asyncio.sleep(6.5)
    for client in [alice, *crowd]:
        same(client.state, ClientState.CONNECTED, "the connection lives on pings and pongs")
        same(len(client.events.of("connecting")), 1, "and never had to reconnect")
