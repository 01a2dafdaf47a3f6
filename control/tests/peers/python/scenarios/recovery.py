"""A client that loses its connection hears, once back, exactly what it missed, in order."""

import asyncio

from lib.api import api, publish_range
from lib.clients import history_of, new_connected, subscribed, up_to
from lib.report import same
from lib.road import Road


def recovery(event):
    return event.was_recovering, event.recovered


async def flags(traveller):
    kept, first = await subscribed(traveller, "kept:flags", recoverable=True, positioned=True)
    same((first.recoverable, first.positioned, *recovery(first)), (True, True, False, False), "flags")
    same(first.position.offset, 0, "position of an untouched room")
    await kept.unsubscribe()
    plain, bare = await subscribed(traveller, "plain:flags", recoverable=True, positioned=True)
    same((bare.recoverable, bare.position), (False, None), "a room without history has no positions")
    await plain.unsubscribe()


async def network_goes_away(road, traveller, witness):
    room = "kept:network"
    sub, _ = await subscribed(traveller, room)
    witness_sub, _ = await subscribed(witness, room)
    await publish_range(room, 1, 3)
    await sub.events.next("publication", lambda p: p.offset == 3)
    before = len(sub.events.all)
    road.close()
    await sub.events.next("subscribing", since=before)
    await publish_range(room, 4, 10)
    road.open()
    same(recovery(await sub.events.next("subscribed", since=before)), (True, True), "recovery")
    await publish_range(room, 11, 12)
    for heard in (sub, witness_sub):
        await heard.events.next("publication", lambda p: p.offset == 12)
        same(heard.offsets, up_to(12), "every publication once, in order")
        same([data["n"] for data in heard.data], up_to(12), "with its own data")


async def nothing_missed(road, traveller):
    room = "kept:quiet"
    sub, _ = await subscribed(traveller, room)
    await publish_range(room, 1, 2)
    await sub.events.next("publication", lambda p: p.offset == 2)
    before = len(sub.events.all)
    road.cut()
    same(recovery(await sub.events.next("subscribed", since=before)), (True, True), "nothing missed")
    same(sub.offsets, [1, 2], "and nothing twice")


async def sent_away(traveller):
    room = "kept:sent-away"
    sub, _ = await subscribed(traveller, room)
    await publish_range(room, 1, 2)
    await sub.events.next("publication", lambda p: p.offset == 2)
    before, client_before = len(sub.events.all), len(traveller.events.all)
    await api("disconnect", user="alice", disconnect={"code": 4100, "reason": "moving house"})
    sent = await traveller.events.next("connecting", since=client_before)
    same((sent.code, sent.reason), (4100, "moving house"), "code and reason arrive")
    await publish_range(room, 3, 6)
    same(recovery(await sub.events.next("subscribed", since=before)), (True, True), "recovery")
    await sub.events.next("publication", lambda p: p.offset == 6)
    same(sub.offsets, up_to(6), "every publication once, in order")


async def too_late(road, traveller):
    """More was missed than the room keeps (5): declared failed, never partial."""
    room = "short:overrun"
    sub, first = await subscribed(traveller, room)
    await publish_range(room, 1, 2)
    await sub.events.next("publication", lambda p: p.offset == 2)
    before = len(sub.events.all)
    road.close()
    await sub.events.next("subscribing", since=before)
    await publish_range(room, 3, 12)
    road.open()
    back = await sub.events.next("subscribed", since=before)
    same(recovery(back), (True, False), "recovery is declared failed")
    same((back.position.offset, back.position.epoch), (12, first.position.epoch), "where the client is now")
    same(sub.offsets, [1, 2], "nothing partial")
    kept, _, _ = await history_of(sub, limit=100)
    same([p["offset"] for p in kept], [8, 9, 10, 11, 12], "what is kept can still be read")
    await publish_range(room, 13, 13)
    await sub.events.next("publication", lambda p: p.offset == 13)
    same(sub.offsets, [1, 2, 13], "and it goes on from there")


async def came_again():
    """Unsubscribed and subscribed again: the SDK recovers what came in between."""
    room = "kept:again"
    sub, _ = await subscribed(await new_connected("dave"), room)
    await publish_range(room, 1, 2)
    await sub.events.next("publication", lambda p: p.offset == 2)
    await sub.unsubscribe()
    await publish_range(room, 3, 5)
    before = len(sub.events.all)
    await sub.subscribe()
    same(recovery(await sub.events.next("subscribed", since=before)), (True, True), "subscribed again")
    await sub.events.next("publication", lambda p: p.offset == 5)
    same(sub.offsets, up_to(5), "with what came in between")


async def restless(road):
    """Cut again and again under a steady stream of publications."""
    room, cuts = "kept:stream", 15
    sub, _ = await subscribed(await new_connected("carol", road=road), room)
    last, is_cutting = 0, True

    async def publish():
        nonlocal last
        while is_cutting:
            last += 1
            await api("publish", channel=room, data={"n": last})

    publishing = asyncio.ensure_future(publish())
    for i in range(cuts):
        await asyncio.sleep(i * 0.005)
        before = len(sub.events.all)
        road.cut()
        await sub.events.next("subscribed", since=before)
    is_cutting = False
    await publishing
    await sub.events.next("publication", lambda p: p.offset == last)
    same(sub.offsets, up_to(last), f"every publication once, in order, over {cuts} cuts")
    same([s.recovered for s in sub.events.of("subscribed")[1:]], [True] * cuts, "recovered every time")


async def play():
    road = await Road.open_new()
    traveller = await new_connected("alice", road=road)
    witness = await new_connected("bob")
    await flags(traveller)
    await network_goes_away(road, traveller, witness)
    await nothing_missed(road, traveller)
    await sent_away(traveller)
    await too_late(road, traveller)
    await came_again()
    await restless(road)
