#!/usr/bin/python3
"""Hundreds of thousands of messages in seconds: pika's frames over a socket of our own.

One call of basic_publish per message, and one callback, would take half a minute. What is sent is
made by pika's encoder; of what comes only what tests look at is decoded.
"""
import socket
import struct

from pika import frame, spec

SECONDS_MAX = 60
FRAME_BYTES = 131072
RECEIVE_BYTES = 1 << 20
SEND_BYTES = 1 << 20
METHOD, HEADER, BODY = 1, 2, 3


class Frames:
    """A connection with one open channel."""

    def __init__(self, broker):
        self.socket = socket.create_connection((broker.host, broker.port), timeout=SECONDS_MAX)
        self.data, self.at = b"", 0
        self.socket.sendall(frame.ProtocolHeader().marshal())
        self.expect(spec.Connection.Start)
        self.send(spec.Connection.StartOk({}, "PLAIN", "\0guest\0guest", "en_US"), 0)
        self.expect(spec.Connection.Tune)
        self.send(spec.Connection.TuneOk(2047, FRAME_BYTES, 0), 0)
        self.call(spec.Connection.Open("/"), spec.Connection.OpenOk, 0)
        self.call(spec.Channel.Open(), spec.Channel.OpenOk)

    def send(self, method, channel=1):
        self.socket.sendall(frame.Method(channel, method).marshal())

    def call(self, method, reply, channel=1):
        self.send(method, channel)
        return self.expect(reply)

    def read(self):
        """The next frame: its kind and what is in it."""
        kind, _, size = struct.unpack(">BHI", self.take(7))
        payload = self.take(size + 1)
        assert payload[-1] == spec.FRAME_END
        return kind, payload[:-1]

    def take(self, count):
        while len(self.data) - self.at < count:
            more = self.socket.recv(RECEIVE_BYTES)
            assert more, "the broker hung up"
            self.data, self.at = self.data[self.at:] + more, 0
        self.at += count
        return self.data[self.at - count:self.at]

    def expect(self, method):
        """The next frame is this method; gives it."""
        kind, payload = self.read()
        index, = struct.unpack(">I", payload[:4])
        assert kind == METHOD and spec.methods[index] is method, (
            f"{spec.methods.get(index)} instead of {method}")
        found = method()
        found.decode(payload[4:])
        return found

    def close(self):
        """At once, as of a client that dies."""
        self.socket.close()


class Filler(Frames):
    """Publishes with confirms."""

    def __init__(self, broker):
        super().__init__(broker)
        self.call(spec.Confirm.Select(), spec.Confirm.SelectOk)
        self.sent = self.confirmed = 0

    def publish(self, exchange, routing_key, bodies, delivery_mode=lambda number: 2):
        """All of them are confirmed when it returns."""
        method = frame.Method(1, spec.Basic.Publish(exchange=exchange,
                                                    routing_key=routing_key)).marshal()
        kinds = {mode: b"".join(spec.BasicProperties(delivery_mode=mode).encode())
                 for mode in (1, 2)}
        parts, size = [], 0
        for number, body in enumerate(bodies):
            header = struct.pack(">HHQ", 60, 0, len(body)) + kinds[delivery_mode(number)]
            parts += (method, self.framed(HEADER, header))
            for at in range(0, len(body), FRAME_BYTES - 8):
                parts.append(self.framed(BODY, body[at:at + FRAME_BYTES - 8]))
            size += len(body) + 100
            self.sent += 1
            if size > SEND_BYTES:
                self.socket.sendall(b"".join(parts))
                parts, size = [], 0
        self.socket.sendall(b"".join(parts))
        while self.confirmed < self.sent:
            self.on_ack(self.expect(spec.Basic.Ack))

    @staticmethod
    def framed(kind, payload):
        return struct.pack(">BHI", kind, 1, len(payload)) + payload + b"\xce"

    def on_ack(self, ack):
        """Acks that are not multiple come in any order: each counts one."""
        if ack.multiple:
            self.confirmed = max(self.confirmed, ack.delivery_tag)
        else:
            self.confirmed += 1


class Taker(Frames):
    """Consumes one queue, and may look at each delivery."""

    def __init__(self, broker, queue, prefetch=0):
        super().__init__(broker)
        self.tag = 0
        if prefetch:
            self.call(spec.Basic.Qos(0, prefetch, False), spec.Basic.QosOk)
        self.call(spec.Basic.Consume(queue=queue, consumer_tag="t"), spec.Basic.ConsumeOk)

    def next(self):
        """The next delivery's body, and whether it has been delivered before."""
        kind, payload = self.read()
        assert kind == METHOD and payload[:4] == b"\x00\x3c\x00\x3c", payload[:40]
        at = 5 + payload[4]
        self.tag, redelivered = struct.unpack(">Q?", payload[at:at + 9])
        kind, payload = self.read()
        assert kind == HEADER
        size, = struct.unpack(">Q", payload[4:12])
        parts = []
        while size:
            kind, payload = self.read()
            assert kind == BODY
            parts.append(payload)
            size -= len(payload)
        return b"".join(parts), redelivered

    def ack(self):
        """All so far."""
        self.send(spec.Basic.Ack(self.tag, True))

    def nack_last(self, count):
        """So many go back, one by one; those before them are acknowledged after that."""
        methods = [spec.Basic.Nack(tag, False, True)
                   for tag in range(self.tag - count + 1, self.tag + 1)]
        methods.append(spec.Basic.Ack(self.tag - count, True))
        self.socket.sendall(b"".join(frame.Method(1, method).marshal() for method in methods))

    def cancel(self):
        """What is on its way is taken."""
        self.send(spec.Basic.Cancel("t"))
        while True:
            kind, payload = self.read()
            if kind == METHOD and payload[:4] == b"\x00\x3c\x00\x1f":
                return
