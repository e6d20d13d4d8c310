"""link: an AMQP connection that never waits for an answer unless it is told to.

tests/conformance/wire.py says one thing and compares the next; here a thousand publishes and
their confirms are under way at once, and a broker that is killed in the middle is the usual end.
What the broker managed to say before it died is read to the last byte: a confirm counts, whenever
it was read.
"""
import collections
import pathlib
import select
import socket
import struct
import sys
import time

sys.path.insert(1, str(pathlib.Path(__file__).resolve().parents[1] / "conformance"))
from fields import decode_method, encode_method  # noqa: E402  (the path has to be there first)

METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
FRAME_MAX = 131072
ANSWER_SECONDS_MAX = 60
RECEIVE_BYTES = 1 << 18
OUT_BYTES_MAX = 1 << 20
BASIC = 60
PUBLISH, RETURN, DELIVER, GET_OK, ACK, REJECT, NACK = 40, 50, 60, 71, 80, 90, 120
CAPABILITIES = {"publisher_confirms": True, "basic.nack": True, "consumer_cancel_notify": True,
                "exchange_exchange_bindings": True, "authentication_failure_close": True}

Delivery = collections.namedtuple("Delivery", "tag redelivered exchange key properties body")
Returned = collections.namedtuple("Returned", "exchange key properties body")


class Ended(Exception):
    """The connection is gone: the broker was stopped or killed, or it threw us out."""


class ChannelClosed(Exception):
    """The broker closed the channel, with a code and a text."""

    def __init__(self, code, text):
        super().__init__(f"{code} {text}")
        self.code = code


class Stuck(Exception):
    """The broker lives and does not answer."""


class Unexpected(Exception):
    """An answer that does not belong there."""


def frame(kind, channel, payload):
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"


def short(text):
    data = text.encode()
    return bytes([len(data)]) + data


def content(channel, body, properties):
    """The header frame and the body frames of one message."""
    parts = [frame(HEADER, channel, struct.pack(">HHQ", BASIC, 0, len(body)) + properties)]
    step = FRAME_MAX - 8
    parts += [frame(BODY, channel, body[at:at + step]) for at in range(0, len(body), step)]
    return b"".join(parts)


def publish_frame(channel, exchange, key, mandatory=False):
    return frame(METHOD, channel, struct.pack(">HHH", BASIC, PUBLISH, 0) + short(exchange)
                 + short(key) + (b"\x01" if mandatory else b"\x00"))


class Channel:
    """One channel: its answers in order, and calls for what comes unasked."""

    def __init__(self, link, number):
        self.link, self.number = link, number
        self.replies = collections.deque()
        self.partial = None
        self.on_delivery = self.on_confirm = self.on_return = self.on_cancel = None

    def send(self, name, **fields):
        self.link.send(frame(METHOD, self.number, encode_method(name, **fields)))

    def expect(self, *names):
        """The next answer, which must be one of these; what comes unasked is handled meanwhile."""
        deadline = time.monotonic() + self.link.answer_seconds_max
        while not self.replies:
            left = deadline - time.monotonic()
            if left <= 0:
                raise Stuck(f"no {' or '.join(names)} within {self.link.answer_seconds_max} s")
            self.link.pump(left)
        name, fields = self.replies.popleft()
        if name not in names:
            raise Unexpected(f"{name} {fields} instead of {' or '.join(names)}")
        return fields if len(names) == 1 else (name, fields)

    def call(self, name, **fields):
        self.send(name, **fields)
        return self.expect(name + "_ok")

    def publish(self, exchange, key, mandatory, properties, body):
        self.link.send(publish_frame(self.number, exchange, key, mandatory)
                       + content(self.number, body, properties))

    def ack(self, tag, multiple=False):
        self.link.send(frame(METHOD, self.number, struct.pack(">HHQ?", BASIC, ACK, tag, multiple)))

    def nack(self, tag, multiple=False, requeue=True):
        bits = multiple | requeue << 1
        self.link.send(frame(METHOD, self.number, struct.pack(">HHQB", BASIC, NACK, tag, bits)))

    def reject(self, tag, requeue):
        payload = struct.pack(">HHQ?", BASIC, REJECT, tag, requeue)
        self.link.send(frame(METHOD, self.number, payload))

    def get(self, queue):
        """One message as a Delivery, or None. It has to be settled."""
        self.send("basic.get", queue=queue)
        return self.expect_get()

    def expect_get(self):
        name, got = self.expect("basic.get_ok", "basic.get_empty")
        return got if name == "basic.get_ok" else None

    def count(self, queue):
        """How many messages are ready, as a passive declare tells it."""
        return self.call("queue.declare", queue=queue, passive=True)["message_count"]

    def close(self):
        self.call("channel.close", reply_code=200, reply_text="done")
        del self.link.channels[self.number]

    def take(self, kind, payload):
        """One frame from the broker."""
        if kind == METHOD:
            self.take_method(payload)
        elif kind == HEADER:
            size, = struct.unpack_from(">Q", payload, 4)
            self.partial[1:] = [payload[12:], size, []]
            self.complete()
        elif kind == BODY:
            self.partial[2] -= len(payload)
            self.partial[3].append(payload)
            self.complete()

    def complete(self):
        """Hands a message on when all of it is here."""
        start, properties, missing, parts = self.partial
        if missing:
            return
        self.partial = None
        method, fields = start
        body = b"".join(parts)
        if method == RETURN:
            self.on_return(Returned(*fields, properties, body))
            return
        delivery = Delivery(*fields, properties, body)
        if method == GET_OK:
            self.replies.append(("basic.get_ok", delivery))
        else:
            self.on_delivery(delivery)

    def take_method(self, payload):
        class_id, method = struct.unpack_from(">HH", payload)
        if class_id == BASIC and method in (DELIVER, GET_OK):
            self.partial = [(method, delivered_fields(payload, method)), b"", 0, []]
        elif class_id == BASIC and method in (ACK, NACK):
            tag, bits = struct.unpack_from(">QB", payload, 4)
            self.on_confirm(tag, bool(bits & 1), method == ACK)
        else:
            self.take_decoded(*decode_method(bytes(payload)))

    def take_decoded(self, name, fields):
        if name == "basic.return":
            self.partial = [(RETURN, (fields["exchange"], fields["routing_key"])), b"", 0, []]
        elif name == "basic.cancel":
            self.on_cancel(fields["consumer_tag"])
        elif name == "channel.close":
            self.link.refusals.append((self.number, fields["reply_code"], fields["reply_text"]))
            self.send("channel.close_ok")
        elif name == "connection.close":
            self.link.last_words = f"{fields['reply_code']} {fields['reply_text']}"
            self.send("connection.close_ok")
        elif not name.startswith("connection.") or name.endswith(("_ok", "start", "tune")):
            self.replies.append((name, fields))


def delivered_fields(payload, method):
    """What a Delivery begins with, out of basic.deliver or basic.get-ok."""
    at = 4
    if method == DELIVER:
        at += 1 + payload[at]
    tag, redelivered, length = struct.unpack_from(">Q?B", payload, at)
    at += 10
    exchange = payload[at:at + length].decode()
    at += length
    return tag, redelivered, exchange, payload[at + 1:at + 1 + payload[at]].decode()


class Link:
    """A connection to the broker: logged in when made, or Ended is raised."""

    def __init__(self, address, answer_seconds_max=ANSWER_SECONDS_MAX):
        self.answer_seconds_max = answer_seconds_max
        self.out, self.received = bytearray(), bytearray()
        self.last_words = ""
        self.broken = False
        self.refusals = collections.deque()
        self.last_channel = 0
        try:
            self.socket = socket.create_connection(address, timeout=answer_seconds_max)
        except OSError as error:
            raise Ended(f"cannot connect: {error}") from error
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.channels = {0: Channel(self, 0)}
        self.log_in()

    def log_in(self):
        zero = self.channels[0]
        self.send(PROTOCOL_HEADER)
        self.server = zero.expect("connection.start")["server_properties"]
        zero.send("connection.start_ok", client_properties={"capabilities": CAPABILITIES},
                  mechanism="PLAIN", response="\0guest\0guest", locale="en_US")
        offered = zero.expect("connection.tune")
        zero.send("connection.tune_ok", channel_max=offered["channel_max"], frame_max=FRAME_MAX,
                  heartbeat=0)
        zero.call("connection.open", virtual_host="/")

    def channel(self):
        self.last_channel += 1
        self.channels[self.last_channel] = made = Channel(self, self.last_channel)
        made.call("channel.open")
        return made

    def disconnect(self):
        """Closes in good order: the broker has done all that was asked when this returns."""
        self.channels[0].call("connection.close", reply_code=200, reply_text="done")
        self.close()

    def close(self):
        self.socket.close()

    def send(self, data):
        """Takes data; writes what the socket takes at once."""
        if not self.broken:
            self.out += data
            self.flush()

    @property
    def is_full(self):
        return len(self.out) > OUT_BYTES_MAX

    def flush(self):
        try:
            while self.out:
                sent = self.socket.send(memoryview(self.out)[:RECEIVE_BYTES])
                del self.out[:sent]
        except BlockingIOError:
            pass
        except OSError:
            self.broken = True
            self.out.clear()

    def pump(self, seconds):
        """Waits once for the socket, at most so long, and handles what came.

        Raises ChannelClosed if the broker has closed a channel, whoever waits for what.
        """
        writers = [self.socket] if self.out else []
        readable, writable, _ = select.select([self.socket], writers, [], max(seconds, 0))
        if writable:
            self.flush()
        if readable:
            self.receive()
        if self.refusals:
            number, code, text = self.refusals.popleft()
            del self.channels[number]
            raise ChannelClosed(code, text)

    def receive(self):
        try:
            data = self.socket.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            raise Ended(f"{error} {self.last_words}") from error
        if not data:
            raise Ended(self.last_words or "end of stream")
        self.received += data
        at = 0
        while len(self.received) - at >= 8:
            kind, number, size = struct.unpack_from(">BHI", self.received, at)
            if len(self.received) - at < size + 8:
                break
            payload = bytes(self.received[at + 7:at + 7 + size])
            at += size + 8
            if number in self.channels:
                self.channels[number].take(kind, payload)
        del self.received[:at]
