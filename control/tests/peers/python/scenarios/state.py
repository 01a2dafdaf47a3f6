"""An application with a state of its own (`get_state`): the SDK subscribes from the position of that state, and
loads it anew when the server cannot go on from there (error 112).
"""

from centrifuge import StreamPosition

from lib.api import publish_range
from lib.clients import new_connected, subscribed, subscription
from lib.report import same
from lib.road import Road


async def play():
    room = "short:state"
    road = await Road.open_new()
    truth, _ = await subscribed(await new_connected("source"), room)
    await publish_range(room, 1, 8)
    positions = []

    async def load_state(_room):
        """What the application has stored: three publications less than there are."""
        history = await truth.history()
        positions.append(history.offset - 3)
        return StreamPosition(history.offset - 3, history.epoch)

    client = await new_connected("alice", road=road)
    sub = subscription(client, room, get_state=load_state)
    await sub.subscribe()
    joined = await sub.events.next("subscribed")
    same((positions, joined.was_recovering, joined.recovered), ([5], True, True), "from the position of the state")
    await sub.events.next("publication", lambda p: p.offset == 8)
    same(sub.offsets, [6, 7, 8], "what came after it")

    # A short cut: recovered, without loading anything.
    before = len(sub.events.all)
    road.close()
    await sub.events.next("subscribing", since=before)
    await publish_range(room, 9, 11)
    road.open()
    back = await sub.events.next("subscribed", since=before)
    same((positions, back.recovered), ([5], True), "a short cut is recovered")
    await sub.events.next("publication", lambda p: p.offset == 11)

    # A long one: refused, loaded, and on from the new position.
    before = len(sub.events.all)
    road.close()
    await sub.events.next("subscribing", since=before)
    await publish_range(room, 12, 30)
    road.open()
    reloaded = await sub.events.next("subscribed", since=before)
    same((reloaded.was_recovering, reloaded.recovered), (True, True), "a long one has the state loaded anew")
    await sub.events.next("publication", lambda p: p.offset == 30)
    same(positions, [5, 27], "where the state was")
    same(sub.offsets, [6, 7, 8, 9, 10, 11, 28, 29, 30], "what came after each")
    same(sub.events.of("unsubscribed"), [], "without being taken out")
