"""wire: a raw AMQP 0-9-1 client for tests. It sends what it is told and hides nothing.

Wire is a socket with frames on it; Client is a Wire that has logged in; Channel is a number on a
Client with the few conversations that every test needs. Whatever arrives is compared with what the
test says must arrive next, so an unexpected frame fails the test at that place.
"""
import collections
import socket
import struct
import time

from fields import (METHODS, decode_method, decode_properties, encode_method, encode_properties,
                    long_string)

METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
SECONDS = 10
CAPABILITIES = {
    "publisher_confirms": True, "exchange_exchange_bindings": True, "basic.nack": True,
    "consumer_cancel_notify": True, "connection.blocked": True,
    "authentication_failure_close": True,
}

Frame = collections.namedtuple("Frame", "type channel payload")
Method = collections.namedtuple("Method", "channel name fields")
Message = collections.namedtuple("Message", "method properties body raw_properties")


class Closed(Exception):
    """The peer closed the connection."""


def frame(frame_type, channel, payload, end=b"\xce"):
    return struct.pack(">BHI", frame_type, channel, len(payload)) + payload + end


def method_frame(channel, name, **fields):
    return frame(METHOD, channel, encode_method(name, **fields))


def header_frame(channel, body_size, properties=b"\x00\x00", class_id=60, weight=0):
    """Properties: a dict, or the bytes from the flags on."""
    if isinstance(properties, dict):
        properties = encode_properties(properties)
    return frame(HEADER, channel, struct.pack(">HHQ", class_id, weight, body_size) + properties)


def content_frames(channel, body, properties=b"\x00\x00", frame_max=131072):
    step = frame_max - 8
    return header_frame(channel, len(body), properties) + b"".join(
        frame(BODY, channel, body[i:i + step]) for i in range(0, len(body), step))


def ids(method):
    """(class id, method id) of a name; (0, 0) for None, when a close blames no method."""
    return METHODS[method][0] if method else (0, 0)


class Wire:
    def __init__(self, address, timeout=SECONDS):
        self.socket = socket.create_connection(address, timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()
        self.trace = collections.deque(maxlen=20)

    def close(self):
        self.socket.close()

    def send_bytes(self, data):
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Closed(str(error)) from error

    def send(self, channel, name, **fields):
        self.trace.append(f"> {channel} {name} {fields}")
        self.send_bytes(method_frame(channel, name, **fields))

    def read(self, count):
        while len(self.buffer) < count:
            try:
                data = self.socket.recv(1 << 18)
            except socket.timeout:
                raise AssertionError("nothing arrived\n" + self.story()) from None
            except ConnectionResetError:
                data = b""
            if not data:
                raise Closed("end of stream\n" + self.story())
            self.buffer += data
        data = bytes(self.buffer[:count])
        del self.buffer[:count]
        return data

    def frame(self):
        frame_type, channel, size = struct.unpack(">BHI", self.read(7))
        payload = self.read(size)
        assert self.read(1) == b"\xce", "bad frame end from the server"
        self.trace.append(f"< type {frame_type} channel {channel} {payload[:60]!r}")
        return Frame(frame_type, channel, payload)

    def next(self):
        """The next frame as a Method, or a bare Frame of another type. Skips heartbeats."""
        got = self.frame()
        while got.type == HEARTBEAT:
            got = self.frame()
        if got.type != METHOD:
            return got
        name, fields = decode_method(got.payload)
        self.trace[-1] = f"< {got.channel} {name} {fields}"
        return Method(got.channel, name, fields)

    def story(self):
        return "the conversation's end:\n  " + "\n  ".join(self.trace)

    def expect(self, channel, name, **fields):
        """The next frame must be this method, with at least these values. Returns its fields."""
        got = self.next()
        assert isinstance(got, Method), f"expected {name}, got {got}\n{self.story()}"
        assert (got.channel, got.name) == (channel, name), self.story()
        different = {k: got.fields[k] for k, v in fields.items() if got.fields[k] != v}
        assert not different, f"{name} has {different}, expected {fields}\n{self.story()}"
        return got.fields

    def call(self, channel, name, reply=None, **fields):
        self.send(channel, name, **fields)
        return self.expect(channel, reply or name + "_ok")

    def expect_end(self):
        """The server must close the socket without another frame (heartbeats apart)."""
        try:
            got = self.next()
        except Closed:
            return
        raise AssertionError(f"expected the end of the stream, got {got}\n{self.story()}")

    def expect_close(self, code, text, method=None):
        """connection.close with exactly these values, close-ok from us, and the end."""
        class_id, method_id = method if isinstance(method, tuple) else ids(method)
        self.expect(0, "connection.close", reply_code=code, reply_text=text, class_id=class_id,
                    method_id=method_id)
        self.send(0, "connection.close_ok")
        self.expect_end()

    def start(self, **overrides):
        """Protocol header, connection.start, start_ok: PLAIN guest/guest unless told otherwise."""
        self.send_bytes(PROTOCOL_HEADER)
        started = self.expect(0, "connection.start")
        values = {"client_properties": {"capabilities": CAPABILITIES}, "mechanism": "PLAIN",
                  "response": "\0guest\0guest", "locale": "en_US", **overrides}
        self.send(0, "connection.start_ok", **values)
        return started

    def tune(self, **overrides):
        offered = self.expect(0, "connection.tune")
        self.send(0, "connection.tune_ok", **{**offered, "heartbeat": 0, **overrides})
        return offered


class Client(Wire):
    """A Wire on which a connection is open."""

    def __init__(self, address, capabilities=None, tune=None, virtual_host="/", timeout=SECONDS):
        super().__init__(address, timeout)
        wanted = CAPABILITIES if capabilities is None else capabilities
        self.start(client_properties={"capabilities": wanted})
        tune = tune or {}
        self.frame_max = tune.get("frame_max") or self.tune(**tune)["frame_max"]
        if tune.get("frame_max"):
            self.tune(**tune)
        self.call(0, "connection.open", virtual_host=virtual_host)
        self.last_channel = 0

    def channel(self, number=None):
        self.last_channel = number or self.last_channel + 1
        self.call(self.last_channel, "channel.open")
        return Channel(self, self.last_channel)

    def disconnect(self):
        """Close in good order: when this returns the server is done with the connection."""
        self.call(0, "connection.close", reply_code=200, reply_text="done")
        self.close()


class Channel:
    def __init__(self, client, number):
        self.client, self.number = client, number

    def send(self, name, **fields):
        self.client.send(self.number, name, **fields)

    def call(self, name, reply=None, **fields):
        return self.client.call(self.number, name, reply, **fields)

    def expect(self, name, **fields):
        return self.client.expect(self.number, name, **fields)

    def expect_close(self, code, text, method=None):
        """channel.close with exactly these values, answered by close-ok."""
        class_id, method_id = ids(method)
        self.expect("channel.close", reply_code=code, reply_text=text, class_id=class_id,
                    method_id=method_id)
        self.send("channel.close_ok")

    def refused(self, code, text, method, **fields):
        """Send a method that must close the channel; open the channel again for the next one."""
        self.send(method, **fields)
        self.expect_close(code, text, method)
        self.reopen()

    def reopen(self):
        self.call("channel.open")

    def close(self):
        self.call("channel.close", reply_code=200, reply_text="done")

    def declare(self, queue="", **fields):
        """Declare a queue, exclusive unless told otherwise; returns its name."""
        return self.call("queue.declare", queue=queue, **{"exclusive": True, **fields})["queue"]

    def publish(self, body=b"", routing_key="", exchange="", properties=b"\x00\x00", **fields):
        self.client.trace.append(f"> {self.number} basic.publish {exchange!r} {routing_key!r}")
        self.client.send_bytes(
            method_frame(self.number, "basic.publish", exchange=exchange, routing_key=routing_key,
                         **fields)
            + content_frames(self.number, body, properties, self.client.frame_max))

    def content(self, method):
        """Header and body frames that belong to a method already received."""
        header = self.client.next()
        assert (header.type, header.channel) == (HEADER, self.number), self.client.story()
        class_id, weight, size = struct.unpack(">HHQ", header.payload[:12])
        assert (class_id, weight) == (60, 0)
        body = bytearray()
        while len(body) < size:
            part = self.client.next()
            assert (part.type, part.channel) == (BODY, self.number), self.client.story()
            assert 0 < len(part.payload) <= self.client.frame_max - 8
            body += part.payload
        assert len(body) == size
        raw = header.payload[12:]
        return Message(method, decode_properties(raw), bytes(body), raw)

    def expect_content(self, name, **fields):
        """A deliver, get_ok or return with its content."""
        return self.content(self.expect(name, **fields))

    def deliver(self, **fields):
        return self.expect_content("basic.deliver", **fields)

    def bodies(self, count):
        return [self.deliver().body for _ in range(count)]

    def get(self, queue, no_ack=True):
        """One message of a queue, or None."""
        self.send("basic.get", queue=queue, no_ack=no_ack)
        got = self.client.next()
        if got.name == "basic.get_empty":
            return None
        assert (got.channel, got.name) == (self.number, "basic.get_ok"), self.client.story()
        return self.content(got.fields)

    def drain(self, queue):
        """The bodies of all ready messages of a queue, which are gone afterwards."""
        return [message.body for message in iter(lambda: self.get(queue), None)]

    def consume(self, queue, tag="", **fields):
        return self.call("basic.consume", queue=queue, consumer_tag=tag, **fields)["consumer_tag"]

    def counts(self, queue):
        """(ready messages, consumers) as a passive declare tells them."""
        ok = self.call("queue.declare", queue=queue, passive=True)
        return ok["message_count"], ok["consumer_count"]

    def wait_counts(self, queue, messages, consumers=0):
        """Until a declare tells these counts: RabbitMQ's answer may overtake publishes and acks."""
        deadline = time.monotonic() + SECONDS
        while self.counts(queue) != (messages, consumers):
            assert time.monotonic() < deadline, f"{self.counts(queue)}, not {messages, consumers}"

    def quiet(self, queue):
        """Nothing is on its way from this queue to this channel: a second answer has been through
        the queue after everything that it had sent before the first."""
        for _ in range(2):
            self.call("queue.unbind", queue=queue, exchange="amq.direct", routing_key="no such key")
            self.counts(queue)


def amqplain(login, password):
    """The response of AMQPLAIN: a table without its length."""
    pair = {"LOGIN": login, "PASSWORD": password}
    return b"".join(bytes([len(k)]) + k.encode() + b"S" + long_string(v) for k, v in pair.items())
