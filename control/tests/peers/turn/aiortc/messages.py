"""Messages that tell what was lost, repeated, garbled or out of order."""

import struct


def make(n, size):
    """The message with this number, of so many bytes; one too short for its number is made of its size alone."""
    if size < 4:
        return bytes([size]) * size
    return struct.pack("!I", n) + bytes((n + at) % 251 for at in range(4, size))


def read(data):
    """The number, where there is one, and the size; raises if the message is not as it was made."""
    n = struct.unpack("!I", data[:4])[0] if len(data) >= 4 else None
    if data != make(n, len(data)):
        raise ValueError(f"garbled message {n} of {len(data)} bytes: {data[:64]!r}")
    return [n, len(data)]
