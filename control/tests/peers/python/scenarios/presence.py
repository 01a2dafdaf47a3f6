"""Who is in a room, how many, and who comes and goes."""

import asyncio

from lib.api import api
from lib.clients import connected, info_of, new_client, new_connected, subscribed
from lib.report import refused, same
from lib.tokens import token

ROOM = "talk:presence"


async def play():
    alice = new_client("alice", token=token(sub="alice", info={"name": "Älice"}))
    alice_hello = await connected(alice)
    alice_sub, _ = await subscribed(alice, ROOM, join_leave=True)

    bob = new_client("bob")
    bob_hello = await connected(bob)
    bob_sub, _ = await subscribed(bob, ROOM, join_leave=True)
    bob_known = {"client": bob_hello.client, "user": "bob"}
    join = await alice_sub.events.next("join", lambda event: event.info["user"] == "bob")
    same(join.info, bob_known, "who joined")

    clients = (await alice_sub.presence()).clients
    same(
        {name: info_of(info) for name, info in clients.items()},
        {
            alice_hello.client: {"client": alice_hello.client, "user": "alice", "conn_info": {"name": "Älice"}},
            bob_hello.client: bob_known,
        },
        "presence",
    )
    again_sub, _ = await subscribed(await new_connected("bob"), ROOM)
    stats = await bob_sub.presence_stats()
    same((stats.num_clients, stats.num_users), (3, 2), "presence stats count connections and users")
    same(await api("presence_stats", channel=ROOM), {"num_clients": 3, "num_users": 2}, "stats by the API")

    await again_sub.unsubscribe()
    left = await alice_sub.events.next("leave", lambda event: event.info["user"] == "bob")
    same(left.info["client"] != bob_hello.client, True, "who left")
    before = len(alice_sub.events.all)
    await bob.disconnect()
    gone = await alice_sub.events.next("leave", since=before)
    same(gone.info, bob_known, "a disconnect is a leave")
    same(list((await alice_sub.presence()).clients), [alice_hello.client], "presence after that")

    before = len(alice_sub.events.all)
    await bob.connect()
    await alice_sub.events.next("join", since=before)
    same((await alice_sub.presence_stats()).num_clients, 2, "both again")

    await refused(alice.presence("talk:elsewhere"), 103, "presence of a room one is not in")
    await refused(alice.presence("no-such-namespace:room"), 102, "presence of no room")
    kept, _ = await subscribed(alice, "kept:no-presence")
    await refused(kept.presence(), 108, "presence where none is kept")
    await refused(kept.presence_stats(), 108, "presence stats where none are kept")

    quiet, _ = await subscribed(alice, "plain:quiet", join_leave=True)
    await subscribed(await new_connected("visitor"), "plain:quiet")
    await asyncio.sleep(0.3)
    same(quiet.events.of("join"), [], "no joins where the room has none")
