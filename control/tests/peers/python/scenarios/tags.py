"""Filters by tags: the server sends a member only what it asked for."""

import asyncio

from centrifuge import ClientState, Filter, FilterNode

from lib.api import api
from lib.clients import new_connected, refused_at, subscribed
from lib.report import same
from lib.road import Road

QUOTES = [
    {"ticker": "AAPL", "price": "99", "venue": "NASDAQ"},
    {"ticker": "AAPL", "price": "100.5", "venue": "NYSE"},
    {"ticker": "MSFT", "price": "250", "venue": "NASDAQ"},
    {"ticker": "GOOG", "price": "9"},
    {"ticker": "AAAA", "venue": ""},
    {},
]

# What each filter lets through, by index.
FILTERS = [
    (Filter.eq("ticker", "AAPL"), [0, 1]),
    (Filter.neq("ticker", "AAPL"), [2, 3, 4, 5]),
    (Filter.is_in("ticker", ["MSFT", "GOOG"]), [2, 3]),
    (Filter.not_in("ticker", ["MSFT", "GOOG"]), [0, 1, 4, 5]),
    (Filter.exists("venue"), [0, 1, 2, 4]),
    (Filter.not_exists("venue"), [3, 5]),
    (Filter.starts_with("ticker", "AA"), [0, 1, 4]),
    (Filter.ends_with("ticker", "L"), [0, 1]),
    (Filter.contains("ticker", "A"), [0, 1, 4]),
    (Filter.gt("price", "99"), [1, 2]),
    (Filter.gte("price", "99"), [0, 1, 2]),
    (Filter.lt("price", "99"), [3]),
    (Filter.lte("price", "99"), [0, 3]),
    (Filter.all(Filter.eq("ticker", "AAPL"), Filter.gte("price", "100")), [1]),
    (Filter.any(Filter.eq("ticker", "MSFT"), Filter.not_exists("venue")), [2, 3, 5]),
    (Filter.negate(Filter.starts_with("ticker", "AA")), [2, 3, 5]),
]


async def publish_quotes(room):
    for i, tags in enumerate(QUOTES):
        await api("publish", channel=room, data={"i": i}, tags=tags)
    await api("publish", channel=room, data={"i": "end"}, tags={"ticker": "AAPL", "price": "100", "venue": "NYSE"})


async def every_kind():
    room = "tags:kinds"

    async def member(i, tags_filter):
        return (await subscribed(await new_connected(f"reader-{i}"), room, tags_filter=tags_filter))[0]

    subs = await asyncio.gather(*(member(i, node) for i, (node, _) in enumerate(FILTERS)))
    everyone, _ = await subscribed(await new_connected("everyone"), room)
    await publish_quotes(room)
    await everyone.events.next("publication", lambda p: p.data == {"i": "end"})
    await asyncio.gather(
        *(
            sub.events.until(lambda sub=sub, expected=expected: len(sub.data) >= len(expected), "its quotes")
            for sub, (_, expected) in zip(subs, FILTERS)
        )
    )
    # Time for what should not come.
    await asyncio.sleep(0.3)
    for sub, (node, expected) in zip(subs, FILTERS):
        heard = [data["i"] for data in sub.data if data != {"i": "end"}]
        same(heard, expected, f"what {node.node} lets through")
    same(len(everyone.data), len(QUOTES) + 1, "who has no filter hears all")


async def over_a_cut():
    """A recovery is filtered too, and what was filtered is no loss."""
    room = "tags:cut"
    road = await Road.open_new()
    client = await new_connected("alice", road=road)
    sub, _ = await subscribed(client, room, tags_filter=Filter.eq("ticker", "AAPL"))
    await publish_quotes(room)
    await sub.events.next("publication", lambda p: p.data == {"i": "end"})
    before = len(sub.events.all)
    road.close()
    await sub.events.next("subscribing", since=before)
    await publish_quotes(room)
    road.open()
    back = await sub.events.next("subscribed", since=before)
    same((back.was_recovering, back.recovered), (True, True), "recovery")
    await sub.events.next("publication", lambda p: p.data == {"i": "end"}, since=before)
    same([data["i"] for data in sub.data], [0, 1, "end", 0, 1, "end"], "every one that fits, once, in order")


async def refusals():
    client = await new_connected("bob")
    for room, node, what in [
        ("tags:malformed-1", {"key": "ticker", "cmp": "resembles", "val": "AAPL"}, "a comparison that does not exist"),
        ("tags:malformed-2", {"op": "xor", "nodes": [{"key": "a", "cmp": "ex"}]}, "an operation that does not exist"),
        ("talk:no-filters", {"key": "ticker", "cmp": "eq", "val": "AAPL"}, "a room without filters"),
    ]:
        code, _ = await refused_at(client, room, tags_filter=FilterNode(node))
        same(code, 107, f"{what}: bad request")
    same(client.state, ClientState.CONNECTED, "the connection goes on")


async def play():
    await every_kind()
    await over_a_cut()
    await refusals()
