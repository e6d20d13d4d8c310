"""messages: what is published. Body and properties follow from the id alone, bit by bit.

An id is a stream (one publishing channel) and a number within it. It travels as message_id, so
that an empty body has one too, and at the front of the body.
"""
import functools
import pathlib
import random
import struct
import sys

sys.path.insert(1, str(pathlib.Path(__file__).resolve().parents[1] / "conformance"))
from fields import decode_properties, encode_properties  # noqa: E402  (the path comes first)

BLOCK_BYTES = 8 << 20
HUGE_BYTES = 6 << 20
LARGE_BYTES_MAX = 200 << 10
TRANSIENT, PERSISTENT = 1, 2


@functools.lru_cache(1)
def noise():
    """Bytes that bodies are cut out of."""
    return random.Random("noise").randbytes(BLOCK_BYTES)


def body_of(stream, number, size):
    front = struct.pack(">IIQ", stream, number, size)[:size]
    rest = size - len(front)
    at = (stream * 7919 + number * 104729) % (BLOCK_BYTES - rest)
    return front + noise()[at:at + rest]


def properties_of(stream, number, persistent):
    """Every message has some of the properties, and which ones follows from its id."""
    bits = (stream * 2654435761 + number * 40503) >> 3
    properties = {"message_id": f"{stream}.{number}",
                  "delivery_mode": PERSISTENT if persistent else TRANSIENT}
    optional = (("content_type", "application/x-crash"), ("content_encoding", "identity"),
                ("headers", {"number": number, "who": "stream", "nested": {"yes": True}}),
                ("priority", number % 10), ("correlation_id", f"c{number}"),
                ("reply_to", "nobody"), ("timestamp", 1_600_000_000 + number),
                ("type", "t" * (number % 50)), ("app_id", "crash"))
    properties.update(pair for bit, pair in enumerate(optional) if bits >> bit & 1)
    return encode_properties(properties)


def id_of(properties):
    """The id that raw properties carry, or None if they are not ours."""
    try:
        stream, number = decode_properties(properties)["message_id"].split(".")
        return int(stream), int(number)
    except (AssertionError, KeyError, ValueError, struct.error):
        return None


def random_size(rng):
    """Mostly small, some up to 200 KiB, now and then none at all."""
    kind = rng.random()
    if kind < 0.05:
        return 0
    if kind < 0.85:
        return int(2 ** rng.uniform(0, 11))
    return int(2 ** rng.uniform(11, 17.64))
