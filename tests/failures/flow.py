#!/usr/bin/python3
"""flow: numbered messages that go in and come out, and what was promised of them.

A Publisher sends persistent messages with confirms on one connection and remembers which were
confirmed. A Consumer takes what is there. What was confirmed and not taken has to be in the queue.
"""
import select
import struct

from fields import decode_method
from patience import until
from wire import METHOD, Client, content_frames, method_frame

SECONDS_MAX = 30
RECEIVE_BYTES = 1 << 18


def body_of(number, size):
    """Its number again and again, so that a foreign byte is noticed."""
    return struct.pack(">Q", number) * (size // 8)


def number_of(body):
    number, = struct.unpack(">Q", body[:8])
    assert body == body_of(number, len(body)), f"message {number} is not what was sent"
    return number


class Publisher:
    """Keeps a window of unconfirmed messages full, or sends so many."""

    def __init__(self, node, queue, size=1024, first=1):
        self.client = Client(node.address)
        self.channel = self.client.channel()
        self.channel.call("queue.declare", queue=queue, durable=True)
        self.channel.call("confirm.select")
        self.client.socket.setblocking(False)
        self.queue, self.size = queue, size
        self.first = self.next = first
        self.open, self.confirmed, self.nacked = set(), set(), set()
        self.blocked = None
        self.out = b""

    def put(self, count):
        """Puts so many messages into the socket's queue."""
        parts = [self.out]
        for number in range(self.next, self.next + count):
            parts.append(method_frame(1, "basic.publish", routing_key=self.queue))
            parts.append(content_frames(1, body_of(number, self.size), {"delivery_mode": 2}))
            self.open.add(number)
        self.next += count
        self.out = b"".join(parts)

    def work(self, seconds):
        """Sends and receives what goes within that time."""
        readable, writable, _ = select.select([self.client.socket],
                                              [self.client.socket] if self.out else [], [], seconds)
        if writable:
            self.out = self.out[self.client.socket.send(self.out[:RECEIVE_BYTES]):]
        if readable:
            data = self.client.socket.recv(RECEIVE_BYTES)
            assert data, "the broker hung up"
            self.client.buffer += data
        while len(self.client.buffer) >= 7:
            size = struct.unpack(">I", self.client.buffer[3:7])[0] + 8
            if len(self.client.buffer) < size:
                break
            kind, payload = self.client.buffer[0], bytes(self.client.buffer[7:size - 1])
            del self.client.buffer[:size]
            if kind == METHOD:
                self._on_method(*decode_method(payload))

    def _on_method(self, name, fields):
        if name == "connection.blocked":
            self.blocked = fields["reason"]
        elif name == "connection.unblocked":
            self.blocked = None
        elif name in ("basic.ack", "basic.nack"):
            last = fields["delivery_tag"] + self.first - 1
            told = {n for n in self.open if n <= last} if fields["multiple"] else {last}
            assert told <= self.open, f"{name} for what is not open"
            self.open -= told
            (self.confirmed if name == "basic.ack" else self.nacked).update(told)
        else:
            raise AssertionError(f"{name} {fields}")

    def until(self, condition, seconds=SECONDS_MAX, what="the publisher's condition"):
        until(condition, self.work, seconds, what)

    def send(self, count):
        """Publishes so many and waits for their confirms."""
        self.put(count)
        self.until(lambda: not self.open, what=f"{count} confirms")
        assert not self.nacked

    def flood(self, condition, window=200, seconds=SECONDS_MAX, what="the end of the flood"):
        """Keeps so many open until the condition is true."""
        def turn(slice_s):
            self.put(max(0, window - len(self.open)))
            self.work(slice_s)
        until(condition, turn, seconds, what)

    def close(self):
        self.client.close()


class Consumer:
    """Takes messages of a queue with acks."""

    def __init__(self, node, queue):
        self.client = Client(node.address, timeout=SECONDS_MAX)
        self.channel = self.client.channel()
        self.queue = queue

    def count(self):
        return self.channel.counts(self.queue)[0]

    def take(self, count):
        """Acknowledges the first so many; their numbers."""
        self.channel.call("basic.qos", prefetch_count=min(count, 500))
        tag = self.channel.consume(self.queue)
        numbers = []
        while len(numbers) < count:
            delivered = self.channel.deliver()
            numbers.append(number_of(delivered.body))
            if len(numbers) % 100 == 0 or len(numbers) == count:
                self.channel.send("basic.ack", delivery_tag=delivered.method["delivery_tag"],
                                  multiple=True)
        self._cancel(tag)
        return numbers

    def _cancel(self, tag):
        """What was on its way goes back."""
        self.channel.send("basic.cancel", consumer_tag=tag)
        while True:
            got = self.client.next()
            if getattr(got, "name", None) == "basic.cancel_ok":
                break
        self.channel.send("basic.recover", requeue=True)
        while getattr(self.client.next(), "name", None) != "basic.recover_ok":
            pass

    def close(self):
        self.client.disconnect()


def drain(node, queue):
    """The numbers of all messages of a queue, which is empty then."""
    consumer = Consumer(node, queue)
    count = consumer.count()
    consumer.channel.consume(queue, no_ack=True)
    numbers = [number_of(consumer.channel.deliver().body) for _ in range(count)]
    consumer.close()
    return numbers


def check_kept(publisher, numbers, taken=()):
    """All that was confirmed and not taken is there; each once, in order, and nothing else."""
    missing = publisher.confirmed - set(numbers) - set(taken)
    assert not missing, f"{len(missing)} confirmed messages are lost, such as {min(missing)}"
    assert numbers == sorted(set(numbers)), "repeated or out of order"
    foreign = set(numbers) - publisher.confirmed - publisher.open
    assert not foreign, f"{sorted(foreign)[:5]} were never sent"
