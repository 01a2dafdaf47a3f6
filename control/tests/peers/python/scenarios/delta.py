"""Delta compression: the data arrive as published, and what is on the wire is differences."""

import random

from centrifuge import DeltaType

from lib.api import api
from lib.clients import new_connected, subscribed, up_to
from lib.report import holds, same
from lib.road import Road

PAGES = 20


def noise(length, seed):
    """Text without repetitions, the same for the same seed."""
    return "".join(random.Random(seed).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=length))


DOCUMENT = noise(4_000, 42)


def page(n):
    return {"head": f"page {n}", "body": DOCUMENT, "foot": {"n": n, "flag": n % 2 == 0}}


async def publish_pages(room, first, last):
    for n in range(first, last + 1):
        await api("publish", channel=room, data=page(n))


def pages(first, last):
    return [page(n) for n in range(first, last + 1)]


async def on_the_wire():
    room = "delta:wire"
    roads = [await Road.open_new(), await Road.open_new()]
    thrifty = await new_connected("thrifty", road=roads[0])
    lavish = await new_connected("lavish", road=roads[1])
    small, _ = await subscribed(thrifty, room, delta=DeltaType.FOSSIL)
    large, _ = await subscribed(lavish, room)
    await publish_pages(room, 1, 1)
    for sub in (small, large):
        await sub.events.next("publication", lambda p: p.offset == 1)
    before = [road.bytes_to_client for road in roads]
    await publish_pages(room, 2, PAGES + 1)
    for sub in (small, large):
        await sub.events.next("publication", lambda p: p.offset == PAGES + 1)
        same(sub.data, pages(1, PAGES + 1), "the data are whole")
        same(sub.offsets, up_to(PAGES + 1), "every publication once, in order")
    small_bytes, large_bytes = (road.bytes_to_client - at for road, at in zip(roads, before))
    # The SDK offers permessage-deflate, which the noise resists: 36 letters take more than 5 bits of 8.
    holds(large_bytes > PAGES * len(DOCUMENT) * 5 // 8, f"whole publications take {large_bytes} bytes")
    holds(small_bytes < PAGES * 600, f"{PAGES} differences of a few bytes take {small_bytes} bytes")


async def over_a_cut():
    room = "delta:cut"
    road = await Road.open_new()
    client = await new_connected("alice", road=road)
    sub, _ = await subscribed(client, room, delta=DeltaType.FOSSIL)
    await publish_pages(room, 1, 3)
    await sub.events.next("publication", lambda p: p.offset == 3)
    before = len(sub.events.all)
    road.close()
    await sub.events.next("subscribing", since=before)
    await publish_pages(room, 4, 9)
    road.open()
    back = await sub.events.next("subscribed", since=before)
    same((back.was_recovering, back.recovered), (True, True), "recovery")
    await publish_pages(room, 10, 12)
    await sub.events.next("publication", lambda p: p.offset == 12)
    same(sub.data, pages(1, 12), "over the cut every publication, whole")
    before = len(sub.events.all)
    road.cut()
    await sub.events.next("subscribed", since=before)
    await publish_pages(room, 13, 14)
    await sub.events.next("publication", lambda p: p.offset == 14)
    same(sub.data, pages(1, 14), "after a cut without loss too")
    same(client.events.of("disconnected"), [], "the SDK could build every one of them")


async def latecomer():
    room = "delta:late"
    early, _ = await subscribed(await new_connected("early"), room, delta=DeltaType.FOSSIL)
    await publish_pages(room, 1, 4)
    await early.events.next("publication", lambda p: p.offset == 4)
    late, _ = await subscribed(await new_connected("late"), room, delta=DeltaType.FOSSIL)
    await publish_pages(room, 5, 8)
    for sub in (early, late):
        await sub.events.next("publication", lambda p: p.offset == 8)
    same(early.data, pages(1, 8), "who was there heard all")
    same(late.data, pages(5, 8), "who came later the rest")


async def awkward_payloads():
    """Payloads that differ in the middle of a character, in everything, in nothing, and in size."""
    client = await new_connected("bob")
    sub, _ = await subscribed(client, "delta:awkward", delta=DeltaType.FOSSIL)
    long = noise(400, 7)
    payloads = [
        f"{long} é {long} ž {long}",
        f"{long} è {long} ž {long}",
        f"{long} è {long} 🎺 {long}",
        f"{long} è {long} 🎻 {long}",
        f"{long} è {long} 🎻 {long}",
        f'"\\\n\u2028 {long}',
        {long: [long, long, {'"': "\\"}]},
        {long: [long, long, {'"': "\\\\"}]},
        "é" * 500,
        f"{'é' * 250}è{'é' * 250}",
        "",
        0,
        None,
        noise(20_000, 1),
        noise(20_000, 2),
        1,
    ]
    for data in payloads:
        await api("publish", channel="delta:awkward", data=data)
    await sub.events.until(
        lambda: len(sub.publications) >= len(payloads) or client.events.of("disconnected"), "all of them"
    )
    same([end.reason for end in client.events.of("disconnected")], [], "the SDK could build every one of them")
    same(sub.data, payloads, "as they were published")


async def where_there_are_none():
    room = "talk:no-deltas"
    sub, _ = await subscribed(await new_connected("carol"), room, delta=DeltaType.FOSSIL)
    await publish_pages(room, 1, 3)
    await sub.events.next("publication", lambda p: p.offset == 3)
    same(sub.data, pages(1, 3), "everything, whole")


async def play():
    await on_the_wire()
    await over_a_cut()
    await latecomer()
    await awkward_payloads()
    await where_there_are_none()
