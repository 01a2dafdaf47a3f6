"""Clients of the published package over the transport under test. What differs between transports is here; the
scenarios do not know it.
"""

import asyncio
import json

from centrifuge import (
    Client,
    ClientEventHandler,
    SubscriptionEventHandler,
)

from .report import Events, Failure
from .setup import setup, transport
from .tokens import token

is_binary = transport == "ws-protobuf"

_clients = []


def packed(value):
    """A value as this transport's SDK wants it: protobuf takes bytes."""
    return json.dumps(value, ensure_ascii=False).encode() if is_binary else value


def unpacked(data):
    """What `packed` was given; None stays what it is."""
    return json.loads(data) if is_binary and data is not None else data


def info_of(info):
    """Who a client is, with what its tokens say of it."""
    known = {"client": info.client, "user": info.user}
    if info.conn_info is not None:
        known["conn_info"] = unpacked(info.conn_info)
    if info.chan_info is not None:
        known["chan_info"] = unpacked(info.chan_info)
    return known


def _publication(pub):
    return {
        "offset": pub.offset,
        "data": unpacked(pub.data),
        "tags": dict(pub.tags),
        "info": info_of(pub.info) if pub.info else None,
    }


def _subscribed(ctx):
    position = ctx.stream_position
    return {
        "recoverable": ctx.recoverable,
        "positioned": ctx.positioned,
        "position": position,
        "was_recovering": ctx.was_recovering,
        "recovered": ctx.recovered,
        "data": unpacked(ctx.data),
    }


class _ClientEvents(ClientEventHandler):
    def __init__(self, events):
        self._events = events

    async def on_connecting(self, ctx):
        self._events.add("connecting", code=ctx.code, reason=ctx.reason)

    async def on_connected(self, ctx):
        self._events.add("connected", client=ctx.client, data=unpacked(ctx.data))

    async def on_disconnected(self, ctx):
        self._events.add("disconnected", code=ctx.code, reason=ctx.reason)

    async def on_error(self, ctx):
        self._events.add("error", code=ctx.code, error=ctx.error)

    async def on_subscribing(self, ctx):
        self._events.add("subscribing", channel=ctx.channel)

    async def on_subscribed(self, ctx):
        self._events.add("subscribed", channel=ctx.channel, **_subscribed(ctx))

    async def on_unsubscribed(self, ctx):
        self._events.add("unsubscribed", channel=ctx.channel)

    async def on_publication(self, ctx):
        self._events.add("publication", channel=ctx.channel, **_publication(ctx.pub))

    async def on_join(self, ctx):
        self._events.add("join", channel=ctx.channel, info=info_of(ctx.info))

    async def on_leave(self, ctx):
        self._events.add("leave", channel=ctx.channel, info=info_of(ctx.info))


class _SubscriptionEvents(SubscriptionEventHandler):
    def __init__(self, events):
        self._events = events

    async def on_subscribing(self, ctx):
        self._events.add("subscribing", code=ctx.code, reason=ctx.reason)

    async def on_subscribed(self, ctx):
        self._events.add("subscribed", **_subscribed(ctx))

    async def on_unsubscribed(self, ctx):
        self._events.add("unsubscribed", code=ctx.code, reason=ctx.reason)

    async def on_publication(self, ctx):
        self._events.add("publication", **_publication(ctx.pub))

    async def on_join(self, ctx):
        self._events.add("join", info=info_of(ctx.info))

    async def on_leave(self, ctx):
        self._events.add("leave", info=info_of(ctx.info))

    async def on_error(self, ctx):
        self._events.add("error", code=ctx.code, error=ctx.error)


class Heard:
    """What something of the SDK has heard: its events, and what it is; other attributes are the SDK's."""

    def __init__(self, sdk, events):
        self.sdk = sdk
        self.events = events

    def __getattr__(self, name):
        return getattr(self.sdk, name)

    @property
    def publications(self):
        return self.events.of("publication")

    @property
    def data(self):
        return [publication.data for publication in self.publications]

    @property
    def offsets(self):
        return [publication.offset for publication in self.publications]


def new_client(user, road=None, **options):
    """A client of the published package. It has a token for the user, unless `user` is None, or the options have
    one, or a get_token. `road` leads it through a proxy."""
    base = road.url if road else setup["http"]
    events = Events(user or "nobody")
    if user is not None and "token" not in options and "get_token" not in options:
        options["token"] = token(sub=user)
    client = Client(
        base.replace("http", "ws", 1) + "/connection/websocket",
        events=_ClientEvents(events),
        use_protobuf=is_binary,
        min_reconnect_delay=0.1,
        max_reconnect_delay=0.3,
        # A proxy of the environment is no part of this.
        proxy=None,
        **options,
    )
    _clients.append(client)
    return Heard(client, events)


async def connected(client):
    """Connects and waits for it."""
    await client.connect()
    return await client.events.next("connected")


async def new_connected(user, **options):
    client = new_client(user, **options)
    await connected(client)
    return client


def subscription(client, room, **options):
    """A subscription, with its events."""
    events = Events(f"{client.events.name}@{room}")
    sub = client.sdk.new_subscription(
        room,
        events=_SubscriptionEvents(events),
        min_resubscribe_delay=0.1,
        max_resubscribe_delay=0.3,
        **options,
    )
    return Heard(sub, events)


async def subscribed(client, room, **options):
    """Subscribes and waits for it: (subscription, event)."""
    sub = subscription(client, room, **options)
    await sub.subscribe()
    outcome = await sub.events.next(["subscribed", "unsubscribed"])
    if outcome.kind != "subscribed":
        raise Failure(f"{sub.events.name}: expected to be subscribed, got {outcome.code} {outcome.reason}")
    return sub, outcome


async def refused_at(client, room, **options):
    """Subscribes where that is not allowed: (code, reason), and fails if it is."""
    sub = subscription(client, room, **options)
    await sub.subscribe()
    outcome = await sub.events.next(["subscribed", "unsubscribed"])
    if outcome.kind != "unsubscribed":
        raise Failure(f"{sub.events.name}: expected to be refused, and is subscribed")
    return outcome.code, outcome.reason


async def history_of(sub, **options):
    """A room's history: (publications, offset, epoch)."""
    history = await sub.history(**options)
    return [_publication(pub) for pub in history.publications], history.offset, history.epoch


def up_to(last):
    return list(range(1, last + 1))


async def disconnect_all():
    """Disconnects whoever the last scenario left."""
    await asyncio.gather(*(client.disconnect() for client in _clients))
    _clients.clear()
