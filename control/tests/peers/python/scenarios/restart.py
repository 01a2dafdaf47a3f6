"""The server is restarted under its clients: they come back by themselves, are told that the room's history (in
memory) began anew, can fetch what was published meanwhile, and hear on.
"""

from centrifuge import StreamPosition

from lib.api import api
from lib.clients import history_of, new_connected, subscribed
from lib.report import ask, holds, same
from lib.road import Road

ROOM = "kept:restart"


async def restart(how, client, sub, away, road, old_epoch, expected_code=None):
    """One restart; `how` is the test's way to stop the server. Returns the new epoch."""
    client_before, before, away_before = (len(it.events.all) for it in (client, sub, away))
    heard, away_heard = len(sub.data), len(away.data)
    road.close()
    await away.events.next("subscribing", since=away_before)
    await ask(how)
    lost = await client.events.next("connecting", since=client_before)
    if expected_code:
        same(lost.code, expected_code, "the code a draining server gives")
    await ask("start")

    # One that was there again before anything was published.
    back = await sub.events.next("subscribed", since=before)
    same((back.was_recovering, back.recovered), (True, False), "recovery across a restart is declared failed")
    epoch = back.position.epoch
    holds(epoch != old_epoch, "the room has a new epoch")
    same(back.position.offset, 0, "and begins anew")

    # One that is still away while the new process takes pushes.
    missed = [f"{how}: missed 1", f"{how}: missed 2"]
    for data in missed:
        await api("publish", channel=ROOM, data=data)
    road.open()
    later = await away.events.next("subscribed", since=away_before)
    same((later.was_recovering, later.recovered), (True, False), "the old position says nothing about the new epoch")
    same((later.position.offset, later.position.epoch), (2, epoch), "it is told where the room is")
    same(len(away.data), away_heard, "and nothing is passed off as recovered")
    fetched, _, _ = await history_of(away, limit=100, since=StreamPosition(0, epoch))
    same([p["data"] for p in fetched], missed, "it fetches what it missed")

    live = f"{how}: live"
    await api("publish", channel=ROOM, data=live)
    for it, since, expected in ((sub, heard, [*missed, live]), (away, away_heard, [live])):
        await it.events.next("publication", lambda p: p.data == live)
        same(it.data[since:], expected, "from then on everything, once, in order")

    # In the new epoch recovery works as ever.
    again = len(away.events.all)
    road.close()
    await away.events.next("subscribing", since=again)
    await api("publish", channel=ROOM, data=f"{how}: recovered")
    road.open()
    recovered = await away.events.next("subscribed", since=again)
    same((recovered.was_recovering, recovered.recovered), (True, True), "recovery in the new epoch")
    for it in (sub, away):
        await it.events.next("publication", lambda p: p.data == f"{how}: recovered")
    return epoch


async def play():
    road = await Road.open_new()
    client = await new_connected("alice")
    away_client = await new_connected("bob", road=road)
    sub, joined = await subscribed(client, ROOM)
    away, _ = await subscribed(away_client, ROOM)
    await api("publish", channel=ROOM, data="before")
    for heard in (sub, away):
        await heard.events.next("publication", lambda p: p.data == "before")
    drained = await restart("terminate", client, sub, away, road, joined.position.epoch, 3001)
    await restart("kill", client, sub, away, road, drained)
