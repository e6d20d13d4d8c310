"""bulk: publishes and takes a million small messages in seconds, by frames that are all alike.

Every message has the same routing key and the same size, so that every publish and every delivery
is a record of fixed length on the wire; only the number in the body and the delivery tag differ.
"""
import select
import struct

from link import (BASIC, DELIVER, HEADER, METHOD, Link, Stuck, content, frame,
                  publish_frame, short)
from messages import PERSISTENT
from fields import encode_properties

BODY_BYTES = 100
DIGITS = 12
BATCH_MESSAGES = 2000
OPEN_CONFIRMS_MAX = 50_000
WAIT_SECONDS_MAX = 60
TAG = "bulk"


def body_of(number):
    return b"%0*d" % (DIGITS, number) + b"." * (BODY_BYTES - DIGITS)


def properties():
    return encode_properties({"delivery_mode": PERSISTENT})


class Publisher:
    """Publishes bodies first to last - 1 to one queue, all persistent, all confirmed."""

    def __init__(self, address, queue):
        self.link = Link(address)
        self.channel = self.link.channel()
        self.channel.call("confirm.select")
        self.channel.on_confirm = self.on_confirm
        self.confirmed = 0
        whole = (publish_frame(self.channel.number, "", queue)
                 + content(self.channel.number, body_of(0), properties()))
        self.before, self.after = whole.split(b"0" * DIGITS)

    def on_confirm(self, tag, multiple, good):
        assert good, f"the broker refused {tag}"
        if multiple:
            assert tag > self.confirmed
            self.confirmed = tag
        else:
            self.singles.add(tag)
        while self.confirmed + 1 in self.singles:
            self.confirmed += 1
            self.singles.discard(self.confirmed)

    singles = frozenset()

    def publish(self, count):
        self.singles = set()
        sent = 0
        while self.confirmed < count:
            if sent < count and sent - self.confirmed < OPEN_CONFIRMS_MAX and not self.link.is_full:
                upto = min(sent + BATCH_MESSAGES, count)
                self.link.send(b"".join([b"%b%0*d%b" % (self.before, DIGITS, n, self.after)
                                         for n in range(sent, upto)]))
                sent = upto
                self.link.pump(0)
            else:
                before = self.confirmed, len(self.link.out)
                self.link.pump(WAIT_SECONDS_MAX)
                if before == (self.confirmed, len(self.link.out)) and not self.singles:
                    raise Stuck(f"no progress after {self.confirmed} confirms")
        self.link.disconnect()


def delivery(channel, queue):
    """What one delivery looks like, with the tag and the number left out: its parts around them."""
    method = (struct.pack(">HH", BASIC, DELIVER) + short(TAG) + struct.pack(">Q", 0) + b"\x00"
              + short("") + short(queue))
    return (frame(METHOD, channel, method), content(channel, body_of(0), properties()))


def take_all(address, queue, count):
    """Takes exactly so many without acks; each must be the next one. Raises AssertionError else."""
    link = Link(address)
    channel = link.channel()
    method, rest = delivery(channel.number, queue)
    size = len(method) + len(rest)
    at = len(method) + rest.index(b"0" * DIGITS)
    frame_bytes = struct.pack(">BHI", HEADER, channel.number, 0)[:3]
    channel.on_delivery = channel.on_cancel = None
    channel.send("basic.consume", queue=queue, consumer_tag=TAG, no_ack=True)
    raw = Raw(link)
    raw.skip_method()
    for number in range(count):
        record = raw.take(size)
        assert record[at:at + DIGITS] == b"%0*d" % (DIGITS, number), (
            f"instead of message {number} came {record!r}")
        assert record[len(method):len(method) + 3] == frame_bytes, f"no delivery: {record!r}"
    link.close()


class Raw:
    """What a Link receives, as bytes."""

    def __init__(self, link):
        self.socket, self.data, self.at = link.socket, bytes(link.received), 0

    def take(self, count):
        while len(self.data) - self.at < count:
            if not select.select([self.socket], [], [], WAIT_SECONDS_MAX)[0]:
                raise Stuck("deliveries end early")
            try:
                more = self.socket.recv(1 << 20)
            except BlockingIOError:
                continue
            except OSError as error:
                raise Stuck(f"the connection ended: {error}") from error
            assert more, "the connection ended"
            self.data, self.at = self.data[self.at:] + more, 0
        self.at += count
        return self.data[self.at - count:self.at]

    def skip_method(self):
        """The answer to basic.consume."""
        kind, _, size = struct.unpack(">BHI", self.take(7))
        payload = self.take(size + 1)
        assert kind == METHOD and payload.startswith(b"\x00\x3c\x00\x15"), payload
