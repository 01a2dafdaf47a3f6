"""Subscriptions by token: given, fetched, expired, refreshed, refused."""

import asyncio

from centrifuge import ClientState, UnauthorizedError

from lib.api import api
from lib.clients import info_of, new_connected, refused_at, subscribed, subscription
from lib.report import same
from lib.tokens import forged, in_seconds, token, tokens

# The server gives the application 25 seconds after the expiry, as Centrifugo does.
GRACE_S = 25.0


def ticket(user, room, **more):
    return token(sub=user, channel=room, **more)


def short_lived(user, room):
    return ticket(user, room, exp=in_seconds(3))


def expired(user, room):
    return ticket(user, room, exp=in_seconds(-60))


def says_no():
    raise UnauthorizedError()


async def given():
    client = await new_connected("guest")
    room = "closed:given"
    sub, _ = await subscribed(client, room, token=ticket("guest", room))
    await api("publish", channel=room, data="for those with a token")
    await sub.events.next("publication", lambda p: p.data == "for those with a token")

    denied = (103, "permission denied")
    same(await refused_at(client, "closed:uninvited"), denied, "without a token")
    cheat = forged(ticket("guest", "closed:cheat"))
    same(await refused_at(client, "closed:cheat", token=cheat), denied, "with a forged token")
    same(client.state, ClientState.CONNECTED, "and the connection goes on")

    # What the token says of its bearer is seen by the others.
    named = "talk:named"
    witness, _ = await subscribed(client, named, token=ticket("guest", named, info={"seat": 7}))
    clients = (await witness.presence()).clients
    same([info_of(info)["chan_info"] for info in clients.values()], [{"seat": 7}], "information of the token")


async def fetched():
    client = await new_connected("caller")
    room = "closed:fetched"
    get_token = tokens(lambda: expired("caller", room), lambda: ticket("caller", room))
    sub = subscription(client, room, get_token=get_token)
    await sub.subscribe()
    refusal = await sub.events.next("error")
    same(refusal.error.code, 109, "an expired token is refused as such")
    await sub.events.next("subscribed")
    same(get_token.calls, 2, "and the application asked for another one")
    same(sub.events.of("unsubscribed"), [], "without giving up")

    room = "closed:stranded"
    code, _ = await refused_at(client, room, token=expired("caller", room))
    same(code, 1, "without get_token an expired token is the end")


async def refreshed():
    client = await new_connected("keen")
    room = "closed:refreshed"

    def brief():
        return short_lived("keen", room)

    get_token = tokens(brief, brief, brief, lambda: ticket("keen", room))
    sub, _ = await subscribed(client, room, get_token=get_token)
    await sub.events.until(lambda: get_token.calls >= 4, "three refreshes")
    await asyncio.sleep(3)
    await api("publish", channel=room, data="after three refreshes")
    await sub.events.next("publication", lambda p: p.data == "after three refreshes")
    same(len(sub.events.of("subscribing")), 1, "it never had to subscribe again")
    same(len(client.events.of("connecting")), 1, "nor to reconnect")


async def withdrawn():
    """The application says no: the SDK leaves the room, and the server no longer sends."""
    client = await new_connected("withdrawn")
    room = "closed:withdrawn"
    sub, _ = await subscribed(client, room, get_token=tokens(lambda: short_lived("withdrawn", room), says_no))
    same((await sub.events.next("unsubscribed")).code, 1, "the application says no")
    await api("publish", channel=room, data="too late")
    await asyncio.sleep(0.3)
    same(sub.data, [], "nothing is heard after that")
    same(client.state, ClientState.CONNECTED, "the connection goes on")


async def refused_refresh():
    client = await new_connected("forger")
    room = "closed:forger"
    get_token = tokens(lambda: short_lived("forger", room), lambda: forged(ticket("forger", room)))
    await subscribed(client, room, get_token=get_token)
    end = await client.events.next("disconnected")
    same((end.code, end.reason), (3500, "invalid token"), "a forged token in a refresh ends the connection for good")


async def overdue():
    """The application takes its time: the server ends the subscription, the SDK subscribes again."""
    client = await new_connected("slow")
    room = "closed:overdue"
    get_token = tokens(
        lambda: short_lived("slow", room), asyncio.get_running_loop().create_future, lambda: ticket("slow", room)
    )
    sub, _ = await subscribed(client, room, get_token=get_token)
    since = len(sub.events.all)
    end = await sub.events.until(
        lambda: next((it for it in sub.events.all[since:] if it.kind in ("subscribing", "unsubscribed")), None),
        "the end of the subscription",
        GRACE_S + 15,
    )
    same((end.kind, end.code, end.reason), ("subscribing", 2501, "subscription expired"), "the server ends it")
    await sub.events.next("subscribed", since=since)
    await api("publish", channel=room, data="back again")
    await sub.events.next("publication", lambda p: p.data == "back again")


async def play():
    await asyncio.gather(given(), fetched(), refreshed(), withdrawn(), refused_refresh(), overdue())
