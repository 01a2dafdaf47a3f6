"""Subscriptions that the server makes: from the connection's token, and by the API."""

from centrifuge import ClientState

from lib.api import api, publish_range
from lib.clients import connected, new_client, new_connected, subscribed, up_to
from lib.report import holds, same
from lib.road import Road
from lib.tokens import in_seconds, token, tokens


def in_room(room):
    return lambda event: event.channel == room


async def from_the_token():
    claims = {"channels": ["talk:served"], "subs": {"kept:served": {"data": {"hint": "ünï"}}}}
    client = await new_connected("alice", token=token(sub="alice", **claims))
    talk = await client.events.next("subscribed", in_room("talk:served"))
    kept = await client.events.next("subscribed", in_room("kept:served"))
    same((talk.recoverable, talk.was_recovering, kept.recoverable), (True, False, True), "recoverable")
    same(kept.data, {"hint": "ünï"}, "what the token says at subscribing")
    holds(kept.position.epoch, "it has a position")

    await api("publish", channel="talk:served", data="one")
    await api("publish", channel="kept:served", data="two", tags={"k": "v"})
    one = await client.events.next("publication", in_room("talk:served"))
    two = await client.events.next("publication", in_room("kept:served"))
    same((one.data, two.data, two.tags), ("one", "two", {"k": "v"}), "heard")

    sub, _ = await subscribed(await new_connected("bob"), "talk:served")
    join = await client.events.next("join", lambda event: event.info["user"] == "bob")
    same(join.channel, "talk:served", "join")
    same((await sub.presence_stats()).num_clients, 2, "it is present")
    await sub.unsubscribe()
    leave = await client.events.next("leave", lambda event: event.info["user"] == "bob")
    same(leave.channel, "talk:served", "leave")
    history = await client.history("kept:served", limit=10)
    same(len(history.publications), 1, "history of a room it was put in")


async def by_the_api():
    client = await new_connected("carol")
    await api("subscribe", user="carol", channel="talk:put-in")
    same((await client.events.next("subscribed")).channel, "talk:put-in", "put in")
    await api("publish", channel="talk:put-in", data="welcome")
    same((await client.events.next("publication")).data, "welcome", "heard")
    await api("unsubscribe", user="carol", channel="talk:put-in")
    same((await client.events.next("unsubscribed")).channel, "talk:put-in", "taken out")
    same(client.state, ClientState.CONNECTED, "the connection goes on")


async def over_a_cut():
    road = await Road.open_new()
    room = "kept:served-over-a-cut"
    client = await new_connected("dave", road=road, token=token(sub="dave", channels=[room]))
    await client.events.next("subscribed")
    await publish_range(room, 1, 3)
    await client.events.next("publication", lambda p: p.offset == 3)
    before = len(client.events.all)
    road.close()
    same((await client.events.next("subscribing", since=before)).channel, room, "lost")
    await publish_range(room, 4, 8)
    road.open()
    back = await client.events.next("subscribed", since=before)
    same((back.was_recovering, back.recovered), (True, True), "recovered")
    await publish_range(room, 9, 10)
    await client.events.next("publication", lambda p: p.offset == 10)
    same(client.offsets, up_to(10), "every publication once, in order")

    overrun = "short:served-over-a-cut"
    late = await new_connected("erin", road=road, token=token(sub="erin", channels=[overrun]))
    await late.events.next("subscribed")
    await publish_range(overrun, 1, 2)
    await late.events.next("publication", lambda p: p.offset == 2)
    before = len(late.events.all)
    road.close()
    await late.events.next("subscribing", since=before)
    await publish_range(overrun, 3, 12)
    road.open()
    lost = await late.events.next("subscribed", since=before)
    same((lost.was_recovering, lost.recovered, lost.position.offset), (True, False, 12), "too much was missed")
    await publish_range(overrun, 13, 13)
    await late.events.next("publication", lambda p: p.offset == 13)
    same(late.offsets, [1, 2, 13], "nothing partial, and on from there")


async def changed_token():
    """The next token names other rooms: the SDK hears which are gone."""
    get_token = tokens(
        lambda: token(sub="frank", channels=["talk:first", "talk:always"], exp=in_seconds(3)),
        lambda: token(sub="frank", channels=["talk:second", "talk:always"]),
    )
    client = new_client("frank", get_token=get_token)
    await connected(client)
    await client.events.next("subscribed", in_room("talk:first"))
    await client.events.next("subscribed", in_room("talk:second"))
    gone = await client.events.next("unsubscribed")
    same(gone.channel, "talk:first", "the room that the new token does not name")
    await api("publish", channel="talk:always", data="all along")
    await client.events.next("publication", lambda p: p.data == "all along")
    await api("publish", channel="talk:first", data="not for you")
    await api("publish", channel="talk:second", data="for you")
    await client.events.next("publication", lambda p: p.data == "for you")
    same(client.data, ["all along", "for you"], "what it hears from then on")


async def play():
    await from_the_token()
    await by_the_api()
    await over_a_cut()
    await changed_token()
