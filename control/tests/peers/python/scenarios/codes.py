"""The codes that SDKs act on: which ends are for good, and after which they come back."""

import asyncio

from centrifuge import ClientState, SubscriptionState

from lib.api import api
from lib.clients import connected, new_client, new_connected, refused_at, subscribed
from lib.report import same
from lib.tokens import token, tokens


async def sent_away(user, disconnect, expected):
    """Sends the user away with this code; `expected` is what the SDK makes of it."""
    client = await new_connected(user)
    sub, _ = await subscribed(client, "talk:codes")
    before = len(client.events.all)
    await api("disconnect", user=user, **({"disconnect": disconnect} if disconnect else {}))
    end = await client.events.next(["connecting", "disconnected"], since=before)
    same((end.kind, end.code, end.reason), expected, f"sent away with {disconnect}")
    if end.kind == "disconnected":
        await asyncio.sleep(0.6)
        same(client.state, ClientState.DISCONNECTED, "it stays away")
        same(sub.state, SubscriptionState.SUBSCRIBING, "its subscription waits for the application")
        return
    await client.events.next("connected", since=before)
    await sub.ready()
    await api("publish", channel="talk:codes", data=f"back after {end.code}")
    await sub.events.next("publication", lambda p: p.data == f"back after {end.code}")


async def unsubscribed_by_service():
    client = await new_connected("member")
    sub, _ = await subscribed(client, "talk:codes")
    await api("unsubscribe", user="member", channel="talk:codes")
    end = await sub.events.next("unsubscribed")
    same((end.code, end.reason), (2000, "server unsubscribe"), "unsubscribed by a service, for good")
    await api("publish", channel="talk:codes", data="not for those taken out")
    await asyncio.sleep(0.3)
    same("not for those taken out" in sub.data, False, "and nothing is heard any more")
    before = len(sub.events.all)
    await sub.subscribe()
    await sub.events.next("subscribed", since=before)
    same(client.state, ClientState.CONNECTED, "the connection goes on")


async def refused_subscriptions():
    client = await new_connected("refused")
    same(await refused_at(client, "closed:codes"), (103, "permission denied"), "a closed room")
    same(await refused_at(client, "no-such-namespace:room"), (102, "unknown channel"), "no room")
    same(client.state, ClientState.CONNECTED, "the connection goes on")


async def state_invalidated():
    """3014: what the client knows is void, its token and its positions."""
    get_token = tokens(lambda: token(sub="void"))
    client = new_client("void", get_token=get_token)
    await connected(client)
    sub, _ = await subscribed(client, "kept:codes")
    await api("publish", channel="kept:codes", data="before")
    await sub.events.next("publication")
    before = len(sub.events.all)
    await api("disconnect", user="void", disconnect={"code": 3014, "reason": "state invalidated"})
    back = await sub.events.next("subscribed", since=before)
    same(get_token.calls, 2, "it fetches another token")
    same((back.was_recovering, back.recovered), (True, False), "and takes its position for lost")
    await api("publish", channel="kept:codes", data="after")
    await sub.events.next("publication", lambda p: p.data == "after")
    same(sub.data, ["before", "after"], "and goes on")


async def play():
    await asyncio.gather(
        sent_away("default", None, ("disconnected", 3503, "force disconnect")),
        sent_away("server-temporary", {"code": 3100, "reason": "later"}, ("connecting", 3100, "later")),
        sent_away("app-temporary", {"code": 4100, "reason": "ünïcödé"}, ("connecting", 4100, "ünïcödé")),
        sent_away("server-terminal", {"code": 3600, "reason": "never"}, ("disconnected", 3600, "never")),
        sent_away("app-terminal", {"code": 4999, "reason": "not again"}, ("disconnected", 4999, "not again")),
        unsubscribed_by_service(),
        refused_subscriptions(),
        state_invalidated(),
    )
