"""The control API, as services call it."""

import asyncio
import json
import urllib.request

from .report import note
from .setup import setup


async def api(method, **body):
    """A call of the control API: the result, or an exception with what came instead."""
    return await asyncio.to_thread(_call, method, body)


def _call(method, body):
    request = urllib.request.Request(
        f"{setup['api']}/api/{method}",
        json.dumps(body, ensure_ascii=False).encode(),
        {"Content-Type": "application/json", "X-API-Key": setup["api_key"]},
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        text = response.read().decode()
    note("api", method, text[:300])
    answer = json.loads(text)
    if "result" not in answer:
        raise RuntimeError(f"api {method}: {text}")
    return answer["result"]


async def publish_range(room, first, last):
    """Publishes {n} for every n of the range, one after the other."""
    for n in range(first, last + 1):
        await api("publish", channel=room, data={"n": n})
