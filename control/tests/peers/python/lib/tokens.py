"""Tokens as a user's backend makes them (RFC 7519, HS256)."""

import base64
import hashlib
import hmac
import json
import time

from .setup import setup

_HOUR_S = 3600


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def in_seconds(seconds):
    return int(time.time()) + seconds


def token(**claims):
    """A token with these claims; `exp` is in an hour unless given."""
    claims = {"exp": in_seconds(_HOUR_S), **claims}
    parts = [{"alg": "HS256", "typ": "JWT"}, claims]
    signed = ".".join(_encoded(json.dumps(part).encode()) for part in parts)
    signature = hmac.new(setup["token_secret"].encode(), signed.encode(), hashlib.sha256)
    return f"{signed}.{_encoded(signature.digest())}"


def forged(genuine):
    """The same token under a signature that nobody made."""
    signed, signature = genuine.rsplit(".", 1)
    return f"{signed}.{signature[::-1]}"


def tokens(*makers):
    """A get_token that takes from the list, its last entry for ever, and counts."""

    async def get_token(*_):
        make = makers[min(get_token.calls, len(makers) - 1)]
        get_token.calls += 1
        made = make()
        return await made if hasattr(made, "__await__") else made

    get_token.calls = 0
    return get_token
