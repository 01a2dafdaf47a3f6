"""The connection's token expires: the SDK asks the application for another one and goes on."""

import asyncio

from centrifuge import ClientState, UnauthorizedError

from lib.api import api
from lib.clients import connected, new_client, subscribed
from lib.report import same
from lib.tokens import forged, in_seconds, token, tokens


def short_lived(user, seconds=3):
    return token(sub=user, exp=in_seconds(seconds))


def expired(user):
    return token(sub=user, exp=in_seconds(-60))


def says_no():
    raise UnauthorizedError()


def is_away():
    raise RuntimeError("the application is away")


async def refreshed():
    def brief():
        return short_lived("renewing")

    get_token = tokens(brief, brief, brief, lambda: token(sub="renewing"))
    client = new_client("renewing", get_token=get_token)
    await connected(client)
    same(get_token.calls, 1, "the first token comes from get_token")
    sub, _ = await subscribed(client, "talk:renewing")
    await client.events.until(
        lambda: get_token.calls >= 4 or len(client.events.of("connecting")) > 1, "three refreshes"
    )
    await api("publish", channel="talk:renewing", data="after three refreshes")
    await sub.events.next("publication", lambda p: p.data == "after three refreshes")
    same(len(client.events.of("connecting")), 1, "it never had to reconnect")
    same(len(sub.events.of("subscribing")), 1, "nor to subscribe again")


async def expired_at_first():
    get_token = tokens(lambda: token(sub="late"))
    client = new_client("late", token=expired("late"), get_token=get_token)
    await client.connect()
    refusal = await client.events.next("error")
    same(refusal.error.code, 109, "an expired token is refused as such")
    await client.events.next("connected")
    same(get_token.calls, 1, "and another one asked for")


async def expired_without_another():
    client = new_client("stranded", token=expired("stranded"))
    await client.connect()
    end = await client.events.next("disconnected")
    same(end.code, 1, "without get_token an expired token is the end")


async def refresh_with(user, answer):
    """What becomes of a connection whose refresh brings this."""
    get_token = tokens(lambda: short_lived(user), answer, lambda: token(sub=user))
    client = new_client(user, get_token=get_token)
    await connected(client)
    since = len(client.events.all)
    end = await client.events.next(["disconnected", "connecting"], since=since)
    return client, end, get_token, since


async def refused_refresh(user, answer, code, what):
    _, end, _, _ = await refresh_with(user, answer)
    same((end.kind, end.code), ("disconnected", code), f"{what} ends the connection for good")


async def expired_refresh():
    """The application's clock, or cache, is behind: the SDK must not be lost for that."""
    client, end, get_token, since = await refresh_with("behind", lambda: expired("behind"))
    same((end.kind, end.code), ("connecting", 3005), "an expired token ends the connection, which may come back")
    await client.events.next("connected", since=since)
    same(get_token.calls, 3, "with another token")


async def failing_application():
    get_token = tokens(lambda: short_lived("patient", 4), is_away, lambda: token(sub="patient"))
    client = new_client("patient", get_token=get_token)
    await connected(client)
    same((await client.events.next("error")).code, 6, "the SDK reports it")
    # It tries again after five to ten seconds.
    await client.events.until(lambda: get_token.calls >= 3, "another try")
    await client.events.until(lambda: client.state == ClientState.CONNECTED, "connected")
    same(client.events.of("disconnected"), [], "and is not lost")


async def play():
    await asyncio.gather(
        refreshed(),
        expired_at_first(),
        expired_without_another(),
        refused_refresh("forged", lambda: forged(token(sub="forged")), 3500, "a forged token"),
        refused_refresh("other", lambda: token(sub="somebody else"), 3500, "another user's token"),
        refused_refresh("unauthorized", says_no, 1, "an application that says no"),
        refused_refresh("nothing", lambda: "", 1, "an application that has no token"),
        expired_refresh(),
        failing_application(),
    )
