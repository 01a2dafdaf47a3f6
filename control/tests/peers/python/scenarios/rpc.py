"""Calls of the backend."""

import asyncio

from centrifuge import CentrifugeError, ClientState

from lib.backend import Backend
from lib.clients import connected, is_binary, new_client, packed, unpacked
from lib.report import refused, same


def answer_rpc(question):
    # A name that is empty is left out.
    match question.get("method"):
        case "echo" | None:
            return {"result": {"data": question["data"]}}
        case "nothing":
            return {"result": {}}
        case "refuse":
            return {"error": {"code": 1404, "message": "no such thing"}}
        case "send away":
            return {"disconnect": {"code": 4500, "reason": "go away"}}
        case "break":
            return 500
    return None


async def play():
    backend = Backend({"rpc": answer_rpc})
    client = new_client("alice")
    hello = await connected(client)

    async def call(method, value):
        return unpacked((await client.rpc(method, packed(value))).data)

    for value in ({"deep": [1, {"er": None}]}, 'ünïcödé "🎺"\n', 7, False, "x" * 20_000):
        same(await call("echo", value), value, "what the backend answers")
    question = backend.events.of("rpc")[0].question
    same(
        [question[key] for key in ("client", "user", "transport", "protocol", "encoding", "method", "data")],
        [
            *(hello.client, "alice", "websocket", "protobuf" if is_binary else "json", "json", "echo"),
            {"deep": [1, {"er": None}]},
        ],
        "what it was asked",
    )
    same(await call("", 1), 1, "a method without a name")
    same(await call("nothing", 1), None, "an answer without data")
    many = await asyncio.gather(*(call("echo", {"n": n}) for n in range(40)))
    same(many, [{"n": n} for n in range(40)], "every answer to its own question")

    refusal = await refused(call("refuse", 1), 1404, "a refusal of the backend")
    same((refusal.message, refusal.temporary), ("no such thing", False), "as the backend put it")
    broken = await refused(call("break", 1), 100, "a broken backend")
    same(broken.temporary, True, "an error that may pass")
    await refused(call("hang", 1), 100, "a backend that does not answer in time")
    same(len(client.events.of("connecting")), 1, "the connection goes on")

    try:
        await call("send away", 1)
    except CentrifugeError:
        pass
    end = await client.events.next("disconnected")
    same((end.code, end.reason), (4500, "go away"), "the backend sends away for good")

    await backend.stop()
    late = new_client("bob")
    await connected(late)
    await refused(late.rpc("echo", packed(1)), 100, "a backend that is not there")
    same(late.state, ClientState.CONNECTED, "is no reason to close the connection")
