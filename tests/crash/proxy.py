"""proxy: passes AMQP on between clients and a broker, and lies as it is told.

It shows that the checkers can fail: the broker behind it is honest, so every breach that the card
reports is the lie. A lie is a function that gets each Unit (a method with its content) and returns
the units that are to go on instead; it may answer the sender itself by unit.answer().
"""
import pathlib
import socket
import struct
import sys
import threading

sys.path.insert(1, str(pathlib.Path(__file__).resolve().parents[1] / "conformance"))
from fields import decode_method, encode_method  # noqa: E402  (the path has to be there first)
from link import BODY, HEADER, METHOD, PROTOCOL_HEADER, content, frame  # noqa: E402

WITH_CONTENT = ("basic.publish", "basic.deliver", "basic.get_ok", "basic.return")


class Unit:
    """One method and, if it has one, its content; to_broker tells the direction."""

    def __init__(self, pipe, channel, payload):
        self.pipe, self.channel = pipe, channel
        self.name, self.fields = decode_method(payload)
        self.properties, self.body, self.missing = b"", b"", None

    @property
    def to_broker(self):
        return self.pipe.to_broker

    @property
    def is_complete(self):
        return self.name not in WITH_CONTENT or self.missing == 0

    def take(self, kind, payload):
        if kind == HEADER:
            self.missing, self.properties = struct.unpack_from(">Q", payload, 4)[0], payload[12:]
        else:
            self.body += payload
            self.missing -= len(payload)

    def encoded(self):
        data = frame(METHOD, self.channel, encode_method(self.name, **self.fields))
        if self.name in WITH_CONTENT:
            data += content(self.channel, self.body, self.properties)
        return data

    def answer(self, name, **fields):
        """Sends something back where this came from, as if the other side had said it."""
        self.pipe.other.send(frame(METHOD, self.channel, encode_method(name, **fields)))


class Pipe(threading.Thread):
    """One direction of one connection."""

    def __init__(self, proxy, source, sink, to_broker):
        super().__init__(daemon=True)
        self.proxy, self.source, self.sink, self.to_broker = proxy, source, sink, to_broker
        self.other = None
        self.lock = threading.Lock()
        self.received = b""
        self.partial = {}

    def send(self, data):
        with self.lock:
            self.sink.sendall(data)

    def run(self):
        try:
            if self.to_broker:
                self.send(self.read(len(PROTOCOL_HEADER)))
            while True:
                self.pass_frame()
        except (OSError, EOFError):
            pass
        finally:
            for end in (self.source, self.sink):
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def read(self, count):
        while len(self.received) < count:
            data = self.source.recv(1 << 18)
            if not data:
                raise EOFError
            self.received += data
        taken, self.received = self.received[:count], self.received[count:]
        return taken

    def pass_frame(self):
        head = self.read(7)
        kind, channel, size = struct.unpack(">BHI", head)
        payload = self.read(size)
        self.read(1)
        if kind == METHOD:
            unit = self.partial[channel] = Unit(self, channel, payload)
        elif kind in (HEADER, BODY):
            unit = self.partial[channel]
            unit.take(kind, payload)
        else:
            self.send(frame(kind, channel, payload))
            return
        if unit.is_complete:
            for changed in self.proxy.lie(unit):
                self.send(changed.encoded())


class Proxy:
    """Listens on a port of its own for one broker. lie may be set at any time."""

    def __init__(self, broker_address):
        self.broker_address = broker_address
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = self.listener.getsockname()
        self.lie = honest
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        try:
            while True:
                client, _ = self.listener.accept()
                broker = socket.create_connection(self.broker_address)
                there = Pipe(self, client, broker, True)
                back = Pipe(self, broker, client, False)
                there.other, back.other = back, there
                there.start()
                back.start()
        except OSError:
            pass

    def close(self):
        self.listener.close()


def honest(unit):
    return [unit]


# ---- lies ----

def once(name, change, skip=0):
    """A lie about one method of this name, after so many that pass: change(unit) says what goes on.
    Confirms are no acks here."""
    seen = []

    def lie(unit):
        if unit.name != name or is_confirm(unit):
            return [unit]
        seen.append(unit.name)
        return change(unit) if len(seen) == skip + 1 else [unit]

    return lie


def is_confirm(unit):
    return unit.name == "basic.ack" and not unit.to_broker


def without_confirms(unit):
    return [] if is_confirm(unit) else [unit]


def always(name, change):
    return lambda unit: change(unit) if unit.name == name else [unit]


def swallowed(_unit):
    return []


def forged(answer, **fields):
    """It never gets there, and the sender is told that it did."""
    def change(unit):
        unit.answer(answer, **fields)
        return []
    return change


def with_fields(**fields):
    def change(unit):
        unit.fields.update(fields)
        return [unit]
    return change


def renamed(name):
    def change(unit):
        unit.name = name
        return [unit]
    return change


def with_flipped_bit(unit):
    unit.body = unit.body[:-1] + bytes([unit.body[-1] ^ 1])
    return [unit]


def with_other_properties(unit):
    unit.properties = unit.properties.replace(b"crash", b"clash").replace(b"stream", b"steam!")
    return [unit]


def twice(unit):
    return [unit, unit]


def recounted(unit):
    unit.fields["message_count"] += 1
    return [unit]


def swapped(name):
    """The first two of this name change places."""
    kept = []

    def lie(unit):
        if unit.name != name or len(kept) == 2:
            return [unit]
        kept.append(unit)
        return [unit, kept[0]] if len(kept) == 2 else []

    return lie


def all_of(*lies):
    """Several lies at once."""
    def lie(unit):
        units = [unit]
        for one in lies:
            units = [changed for unit in units for changed in one(unit)]
        return units
    return lie
