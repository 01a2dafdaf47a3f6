"""Reading a room's past: limit, since, reverse."""

from centrifuge import StreamPosition

from lib.api import api, publish_range
from lib.clients import history_of, new_connected, subscribed, up_to
from lib.report import refused, same

ROOM = "talk:history"


async def play():
    alice = await new_connected("alice")
    sub, joined = await subscribed(alice, ROOM)
    epoch = joined.position.epoch
    same(await history_of(sub, limit=10), ([], 0, epoch), "an untouched room")

    await publish_range(ROOM, 1, 8)
    await api("publish", channel=ROOM, data={"n": 9}, tags={"kind": "last"})

    async def offsets(of=sub, **options):
        publications, _, _ = await history_of(of, **options)
        return [publication["offset"] for publication in publications]

    def at(offset):
        return StreamPosition(offset, epoch)

    publications, offset, told_epoch = await history_of(sub, limit=100)
    same((offset, told_epoch), (9, epoch), "position in the history")
    same([p["offset"] for p in publications], up_to(9), "the whole history")
    same([p["data"]["n"] for p in publications], up_to(9), "its data")
    same(publications[8]["tags"], {"kind": "last"}, "its tags")
    same(await offsets(limit=-1), up_to(9), "a negative limit: as many as there may be")
    same(await history_of(sub), ([], 9, epoch), "history without a limit is the position alone")
    same(await offsets(limit=3), [1, 2, 3], "a limit")
    same(await offsets(limit=2, since=at(5)), [6, 7], "since a position")
    same(await offsets(limit=100, since=at(0)), up_to(9), "since the beginning")
    same(await offsets(limit=100, since=at(9)), [], "since the end")
    same(await offsets(limit=3, reverse=True), [9, 8, 7], "backwards")
    same(await offsets(limit=2, since=at(5), reverse=True), [4, 3], "backwards from a position")

    never = StreamPosition(1, "never")
    await refused(sub.history(limit=1, since=never), 112, "since an epoch that never was")
    await refused(alice.history("talk:elsewhere", limit=1), 103, "history of a room one is not in")
    await refused(alice.history("no-such-namespace:room", limit=1), 102, "history of no room")
    plain, _ = await subscribed(alice, "plain:no-history")
    await refused(plain.history(limit=1), 108, "history where none is kept")

    short, _ = await subscribed(alice, "short:history")
    await publish_range("short:history", 1, 12)
    same(await offsets(short, limit=100), [8, 9, 10, 11, 12], "only the last ones are kept")
