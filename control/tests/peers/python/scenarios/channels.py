"""Private rooms ($) take a token; rooms for named users (#) let those in, and nobody else."""

from lib.api import api
from lib.clients import new_connected, refused_at, subscribed
from lib.report import same
from lib.tokens import token

DENIED = (103, "permission denied")


async def play():
    alice, bob, eve = [await new_connected(user) for user in ("alice", "bob", "eve")]

    secret = "$talk:secret"
    inside, _ = await subscribed(alice, secret, token=token(sub="alice", channel=secret))
    same(await refused_at(bob, secret), DENIED, "a private room without a token")
    await api("publish", channel=secret, data="psst")
    same((await inside.events.next("publication")).data, "psst", "heard inside")

    diary = "mine:diary#alice"
    own, _ = await subscribed(alice, diary)
    same(await refused_at(eve, diary), DENIED, "another user's room")
    await api("publish", channel=diary, data="dear diary")
    same((await own.events.next("publication")).data, "dear diary", "heard by its user")

    pair = "mine:pair#alice,bob"
    pairs = [(await subscribed(client, pair))[0] for client in (alice, bob)]
    same(await refused_at(eve, pair), DENIED, "a room of others")
    await api("publish", channel=pair, data="you two")
    for sub in pairs:
        same((await sub.events.next("publication")).data, "you two", "heard by both")

    same(await refused_at(bob, "mine:diary#alic"), DENIED, "half a name")
    same(await refused_at(alice, "mine:diary#alice2"), DENIED, "a longer name")
    same(await refused_at(alice, "mine:diary#"), DENIED, "no name")
    same(await refused_at(alice, "mine:diary"), DENIED, "no list of names")
