"""The backend decides: who connects, who subscribes, what is published, and for how long."""

from lib.api import api
from lib.backend import Backend
from lib.clients import connected, new_client, new_connected, packed, refused_at, subscribed, subscription
from lib.report import holds, refused, same
from lib.tokens import in_seconds

refreshes = {"brief": 0, "once": 0}


def answer_connect(question):
    match (question.get("data") or {}).get("wish"):
        case "in":
            said = {"welcome": True, "name": question["name"], "version": question["version"]}
            return {"result": {"user": "guest", "data": said, "channels": ["talk:by-backend"]}}
        case "for a while":
            return {"result": {"user": "brief", "expire_at": in_seconds(3)}}
        case "once":
            return {"result": {"user": "once", "expire_at": in_seconds(2)}}
        case "refused":
            return {"error": {"code": 1403, "message": "not today"}}
        case "sent away":
            return {"disconnect": {"code": 4501, "reason": "banned"}}
    return 500


def answer_refresh(question):
    refreshes[question["user"]] += 1
    if question["user"] == "once":
        return {"result": {"expired": True}}
    return {"result": {"expire_at": in_seconds(3)}}


def answer_subscribe(question):
    match question["channel"]:
        case "asked:refused":
            return {"error": {"code": 1403, "message": "members only"}}
        case "asked:broken":
            return 500
    return {"result": {"info": {"role": "guest"}, "data": {"topic": "the weather", "said": question["data"]}}}


def answer_publish(question):
    data = question["data"]
    if data.get("rude"):
        return {"error": {"code": 1400, "message": "mind your language"}}
    if data.get("plain"):
        return {"result": {}}
    return {"result": {"data": {**data, "checked": True}}}


def wishing(wish):
    return new_client(None, data=packed({"wish": wish}), version="7.0")


async def connecting(backend):
    client = wishing("in")
    hello = await connected(client)
    same(hello.data, {"welcome": True, "name": "python", "version": "7.0"}, "what the backend says at connecting")
    same(backend.events.of("connect")[0].question["client"], hello.client, "what it was asked")
    joined = await client.events.next("subscribed")
    same(joined.channel, "talk:by-backend", "the room that the backend put it in")
    await api("publish", channel="talk:by-backend", data="hello guest")
    same((await client.events.next("publication")).data, "hello guest", "is heard")

    for wish, code in (("refused", 1403), ("sent away", 4501)):
        unwanted = wishing(wish)
        await unwanted.connect()
        same((await unwanted.events.next("disconnected")).code, code, f"{wish} is for good")
    unlucky = wishing("broken")
    await unlucky.connect()
    same((await unlucky.events.next("error")).error.code, 100, "a broken backend is a passing error")
    await unlucky.disconnect()


async def subscribing(backend):
    client = await new_connected("alice")
    sub, joined = await subscribed(client, "asked:room", data=packed({"hat": "red"}))
    same(joined.data, {"topic": "the weather", "said": {"hat": "red"}}, "what the backend says at subscribing")
    question = backend.events.of("subscribe")[0].question
    same(
        [question[key] for key in ("user", "channel", "data")],
        ["alice", "asked:room", {"hat": "red"}],
        "what it was asked",
    )
    refusal = await refused_at(client, "asked:refused", data=packed(1))
    same(refusal, (1403, "members only"), "a refusal of the backend")
    broken = subscription(client, "asked:broken")
    await broken.subscribe()
    same((await broken.events.next("error")).error.code, 100, "a broken backend is a passing error")
    await broken.unsubscribe()
    return sub


async def publishing(sub):
    await sub.publish(packed({"text": "fine"}))
    await sub.publish(packed({"plain": True}))
    await refused(sub.publish(packed({"rude": True})), 1400, "a refusal of the backend")
    await sub.publish(packed({"text": "last"}))
    await sub.events.next("publication", lambda p: p.data.get("text") == "last")
    expected = [{"text": "fine", "checked": True}, {"plain": True}, {"text": "last", "checked": True}]
    same(sub.data, expected, "what it made of it")
    same([p.info["user"] for p in sub.publications], ["alice"] * 3, "who published")
    same(sub.publications[0].info["chan_info"], {"role": "guest"}, "with what the backend said of it")


async def refreshing():
    client = wishing("for a while")
    await connected(client)
    await client.events.until(
        lambda: refreshes["brief"] >= 3 or len(client.events.of("connecting")) > 1, "three refreshes"
    )
    same(len(client.events.of("connecting")), 1, "it is extended without the client noticing")
    await client.disconnect()
    once = wishing("once")
    await connected(once)
    end = await once.events.next("connecting", lambda event: event.code != 0)
    same((end.code, end.reason), (3005, "connection expired"), "or ends")
    await once.disconnect()


async def play():
    backend = Backend({
        "connect": answer_connect,
        "refresh": answer_refresh,
        "subscribe": answer_subscribe,
        "publish": answer_publish,
    })
    await connecting(backend)
    await publishing(await subscribing(backend))
    await refreshing()
    holds(len(backend.events.of("refresh")) >= 4, "the backend was asked to refresh")
    await backend.stop()
