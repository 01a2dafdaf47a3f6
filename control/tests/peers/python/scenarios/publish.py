"""Publications of services and of clients: exactly what was published, once, in order; and who may not."""

import asyncio

from lib.api import api
from lib.clients import connected, new_client, new_connected, packed, subscribed, up_to
from lib.report import holds, refused, same

PAYLOADS = [
    {"n": 1, "text": "hello"},
    'a bare string, with "quotes", a \\, a \n newline, a \r, a \u2028 and ünïcödé 🎺',
    [1, [2, [3, {"deep": None}]], True, -0.5e-3],
    {"big": "x" * 50_000},
    0,
    "",
]


async def from_services(sub, epoch):
    for i, data in enumerate(PAYLOADS):
        position = await api("publish", channel="talk:lobby", data=data)
        same((position["offset"], position["epoch"]), (i + 1, epoch), "position of a push")
    await sub.events.until(lambda: len(sub.publications) >= len(PAYLOADS), "the pushes")
    same(sub.data, PAYLOADS, "pushed and received")
    same(sub.offsets, up_to(len(PAYLOADS)), "offsets")
    same([p.info for p in sub.publications], [None] * len(PAYLOADS), "pushes name no client")
    await api("publish", channel="talk:lobby", data="tagged", tags={"lang": "en", "empty": ""})
    tagged = await sub.events.next("publication", lambda p: p.data == "tagged")
    same(tagged.tags, {"lang": "en", "empty": ""}, "tags")


async def from_clients(hello, alice_sub, bob, bob_sub):
    first = len(PAYLOADS) + 2
    await alice_sub.publish(packed({"from": "alice"}))
    await bob_sub.publish(packed({"from": "bob"}))
    await bob.publish("talk:lobby", packed({"from": "bob, by room"}))
    for sub in (alice_sub, bob_sub):
        await sub.events.next("publication", lambda p: p.data == {"from": "bob, by room"})
        heard = sub.publications[-3:]
        same([p.data["from"] for p in heard], ["alice", "bob", "bob, by room"], "both hear all, in order")
        same([p.offset for p in heard], [first, first + 1, first + 2], "offsets of client publications")
        same([p.info["user"] for p in heard], ["alice", "bob", "bob"], "who published")
        same(heard[0].info["client"], hello.client, "and over which connection")
    for data in PAYLOADS:
        await alice_sub.publish(packed(data))
    await bob_sub.events.until(lambda: len(bob_sub.publications) >= 3 + len(PAYLOADS), "the payloads")
    same(bob_sub.data[3:], PAYLOADS, "published by a client and received")


async def at_once():
    """Several publish as fast as they can: everybody hears the same, once, in the same order."""
    room, each = "talk:crowded", 50
    subs = [(await subscribed(await new_connected(user), room))[0] for user in ("carol", "dave", "erin")]
    await asyncio.gather(
        *(sub.publish(packed({"from": i, "n": n})) for n in range(each) for i, sub in enumerate(subs))
    )
    everything = each * len(subs)
    for sub in subs:
        await sub.events.next("publication", lambda p: p.offset == everything)
        same(sub.offsets, up_to(everything), "every publication once, in order")
        same(sub.data, subs[0].data, "the same at everybody")
        own = [data["n"] for data in sub.data if data["from"] == 1]
        same(own, list(range(each)), "one client's, as it published them")


async def refusals(alice):
    await refused(alice.publish("talk:elsewhere", packed(1)), 103, "publishing where one is not a member")
    await refused(alice.publish("closed:room", packed(1)), 103, "publishing where nobody may")
    await refused(alice.publish("no-such-namespace:room", packed(1)), 102, "publishing where nothing is")
    kept, _ = await subscribed(alice, "kept:only-services-publish")
    await refused(kept.publish(packed(1)), 103, "publishing where only services may")
    same(len(alice.events.of("connecting")), 1, "refusals leave the connection as it is")


async def play():
    alice = new_client("alice")
    hello = await connected(alice)
    alice_sub, joined = await subscribed(alice, "talk:lobby")
    same(joined.position.offset, 0, "position of an untouched room")
    epoch = joined.position.epoch
    holds(epoch, "the room has an epoch")
    await from_services(alice_sub, epoch)
    bob = await new_connected("bob")
    bob_sub, _ = await subscribed(bob, "talk:lobby")
    await from_clients(hello, alice_sub, bob, bob_sub)
    await at_once()
    await refusals(alice)
