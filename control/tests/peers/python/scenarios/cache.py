"""Cache recovery: whoever comes back gets the newest publication, and only that."""

from lib.api import publish_range
from lib.clients import new_connected, subscribed
from lib.report import same
from lib.road import Road


async def play():
    room = "cache:prices"
    road = await Road.open_new()
    sub, first = await subscribed(await new_connected("alice", road=road), room)
    same((first.recoverable, first.was_recovering), (True, False), "a first subscription")
    await publish_range(room, 1, 3)
    await sub.events.next("publication", lambda p: p.offset == 3)
    same(sub.offsets, [1, 2, 3], "whoever is there hears everything")

    before = len(sub.events.all)
    road.close()
    await sub.events.next("subscribing", since=before)
    # Far more than the room keeps: no loss, for nobody asked for the past.
    await publish_range(room, 4, 30)
    road.open()
    back = await sub.events.next("subscribed", since=before)
    same((back.was_recovering, back.recovered), (True, True), "back")
    await sub.events.next("publication", lambda p: p.offset == 30)
    same(sub.offsets, [1, 2, 3, 30], "the newest alone")

    before = len(sub.events.all)
    road.cut()
    quiet = await sub.events.next("subscribed", since=before)
    same((quiet.was_recovering, quiet.recovered), (True, True), "nothing new")
    await publish_range(room, 31, 31)
    await sub.events.next("publication", lambda p: p.offset == 31)
    same(sub.offsets, [1, 2, 3, 30, 31], "and on from there")
