"""Checks, the log of a scenario, and the conversation with the test that started us.

We print one JSON value a line:
  {"ask": "…"}   the test does it and answers with the line "done";
  {"topic": "…", "verdict": "ok", "checks": n}
  {"topic": "…", "verdict": "failed", "why": "…", "log": […]}
"""

import asyncio
import json
import logging
import sys
import time
import traceback

from centrifuge import ReplyError

# Far above what anything here takes, also on a busy machine.
WAIT_S = 15.0

_started = time.monotonic()
_log = []
_checks = 0
_faults = []


class Failure(AssertionError):
    """A check did not hold."""


def note(*parts):
    """Keeps a line for the report of a failure."""
    text = " ".join(str(part) for part in parts)
    _log.append(f"{int((time.monotonic() - _started) * 1000):6} ms  {text[:600]}")


def fault(context):
    """Notes what the SDK, or a handler, threw outside of a scenario's own calls."""
    error = context.get("exception")
    if error is None:
        # Not thrown: what asyncio has to say of a task of the SDK that is no longer wanted.
        note(context.get("message"))
        return
    _faults.append(f"{context.get('message')}: {error!r}")


class _FaultHandler(logging.Handler):
    def emit(self, record):
        fault({"message": record.getMessage(), "exception": record.exc_info and record.exc_info[1]})


# The SDK logs the exceptions of its own background tasks.
logging.getLogger("centrifuge").addHandler(_FaultHandler(logging.ERROR))
logging.getLogger("centrifuge").propagate = False


def same(actual, expected, what):
    global _checks
    _checks += 1
    if actual != expected:
        raise Failure(f"{what}: expected {expected!r:.2000}, got {actual!r:.2000}")


def holds(condition, what):
    same(bool(condition), True, what)


async def refused(call, code, what):
    """The call must be answered with this error, which is returned."""
    try:
        await call
    except ReplyError as error:
        note("refused", what, error)
        same(error.code, code, f"{what}: the code of the refusal")
        holds(error.message, f"{what}: a refusal has a text")
        return error
    raise Failure(f"{what}: expected a refusal with code {code}, and it was done")


class Event(dict):
    """Something that happened: its kind, and what is known of it, also as attributes."""

    __getattr__ = dict.__getitem__
    # Two that look the same are not the same.
    __eq__ = object.__eq__
    __hash__ = object.__hash__


class Events:
    """Things that happened, in order, and a way to wait for one."""

    def __init__(self, name):
        self.name = name
        self.all = []
        self._changed = asyncio.Event()

    def add(self, kind, **known):
        note(self.name, kind, known)
        self.all.append(Event(known, kind=kind))
        self._changed.set()

    def of(self, kind):
        return [event for event in self.all if event.kind == kind]

    async def next(self, kind, fits=lambda _: True, since=0):
        """The first event from index `since` on that fits."""
        kinds = [kind] if isinstance(kind, str) else kind
        return await self.until(
            lambda: next((it for it in self.all[since:] if it.kind in kinds and fits(it)), None),
            " or ".join(kinds),
        )

    async def until(self, find, what, wait_s=WAIT_S):
        """Waits until `find` returns something; it is tried at every event, and now and then."""
        deadline = time.monotonic() + wait_s
        while True:
            self._changed.clear()
            found = find()
            if found:
                return found
            left = deadline - time.monotonic()
            if left <= 0:
                heard = ", ".join(event.kind for event in self.all) or "nothing"
                raise Failure(f"{self.name}: waited {wait_s:g} s in vain for {what}; heard {heard}")
            try:
                await asyncio.wait_for(self._changed.wait(), min(left, 0.1))
            except asyncio.TimeoutError:
                pass


async def ask(what):
    """Has the test do something, such as restarting the server."""
    note("ask", what)
    _print({"ask": what})
    answer = await asyncio.to_thread(sys.stdin.readline)
    same(answer.strip(), "done", f'the test\'s answer to "{what}"')


async def judge(topic, play):
    """Plays one topic and prints its verdict. Returns whether it was good."""
    global _checks
    _checks = 0
    _log.clear()
    _faults.clear()
    try:
        await play()
        if _faults:
            raise Failure("the SDK threw: " + "; ".join(_faults))
    except Exception:
        why = traceback.format_exc().strip().splitlines()
        _print({
            "topic": topic,
            "verdict": "failed",
            "why": "\n".join([why[-1], *_faults, *why]),
            "log": _log,
        })
        return False
    _print({"topic": topic, "verdict": "ok", "checks": _checks})
    return True


def _print(value):
    print(json.dumps(value), flush=True)
