#!/usr/bin/python3
"""Writes the seeds of the session fuzzer: short conversations in its record format (session.c)."""
import os
import struct
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "conformance"))
import wire  # noqa: E402

RAW, METHOD, OTHER, HEADER, BODY, BROKEN, TIME = range(7)


def record(kind, payload=b"", connection=0):
    return bytes([kind << 1 | connection]) + struct.pack(">H", len(payload)) + payload


def method(name, connection=0, kind=METHOD, **fields):
    return record(kind, wire.method_frame(1, name, **fields)[7:-1], connection)


def publish(body=b"x", connection=0, properties=b"\x00\x00", **fields):
    header = struct.pack(">HHQ", 60, 0, len(body)) + properties
    frames = method("basic.publish", connection, **fields) + record(HEADER, header, connection)
    return frames + (record(BODY, body, connection) if body else b"")


def queue(name="q", **fields):
    return method("queue.declare", queue=name, **fields)


SEEDS = {
    "publish-get": queue() + publish(routing_key="q") + method("basic.get", queue="q", no_ack=True),
    "consume-ack": queue() + method("basic.consume", queue="q", consumer_tag="t")
    + publish(routing_key="q") * 3 + method("basic.ack", delivery_tag=2, multiple=True)
    + method("basic.nack", delivery_tag=3, requeue=True) + method("basic.cancel", consumer_tag="t"),
    "confirm": method("confirm.select") + queue() + publish(routing_key="q") * 2
    + publish(routing_key="none", mandatory=True),
    "tx": method("tx.select") + queue() + publish(routing_key="q") + method("tx.commit")
    + publish(routing_key="q") + method("tx.rollback"),
    "topic": method("exchange.declare", exchange="e", type="topic") + queue()
    + method("queue.bind", queue="q", exchange="e", routing_key="a.*.#")
    + publish(exchange="e", routing_key="a.b.c")
    + method("queue.unbind", queue="q", exchange="e", routing_key="a.*.#"),
    "exchanges": method("exchange.declare", exchange="e", type="fanout", auto_delete=True)
    + method("exchange.declare", exchange="f", type="headers")
    + method("exchange.bind", destination="f", source="e")
    + method("exchange.bind", destination="e", source="f") + publish(exchange="e")
    + method("exchange.unbind", destination="f", source="e")
    + method("exchange.delete", exchange="f", if_unused=True),
    "qos": queue() + method("basic.qos", prefetch_count=1, global_=True)
    + method("basic.consume", queue="q") + publish(routing_key="q") * 3
    + method("basic.recover", requeue=True) + method("basic.ack", delivery_tag=1),
    "two-connections": queue(auto_delete=True)
    + method("basic.consume", 1, queue="q", consumer_tag="t", no_ack=True)
    + publish(routing_key="q") + record(BROKEN, connection=1) + queue(passive=True),
    "exclusive": queue(exclusive=True) + method("queue.delete", 1, queue="q")
    + record(BROKEN) + method("queue.declare", 1, kind=OTHER, queue="q"),
    "purge-delete": queue() + publish(routing_key="q") * 4 + method("queue.purge", queue="q")
    + publish(routing_key="q") + method("queue.delete", queue="q", if_empty=True),
    "reply-to": method("basic.consume", queue="amq.rabbitmq.reply-to", no_ack=True) + queue()
    + publish(routing_key="q", properties=b"\x02\x00\x15amq.rabbitmq.reply-to")
    + method("basic.get", queue="q", no_ack=True),
    "close": queue() + method("channel.close") + method("channel.open") + method("channel.flow", active=True)
    + record(RAW, wire.method_frame(0, "connection.close")),
    "time": queue() + record(TIME, b"." * 90) + record(TIME, b"." * 90),
    "odd-frames": record(BODY, b"x") + record(HEADER, b"\x00" * 14) + record(RAW, b"\x08\0\0\0\0\0\0\xce"),
    "large": queue() + method("basic.publish", routing_key="q")
    + record(HEADER, struct.pack(">HHQ", 60, 0, 9000) + b"\x00\x00") + record(BODY, b"x" * 6000)
    + record(BODY, b"x" * 3000),
    "copies": queue() + publish(routing_key="none", properties=b"\x20\x00\x00\x00\x00\x0e"
                                b"\x02CCA\x00\x00\x00\x06S\x00\x00\x00\x01q"),
}
HELLO = b"AMQP\x00\x00\x09\x01"

if __name__ == "__main__":
    target = os.path.join(HERE, "corpus", "session")
    os.makedirs(target, exist_ok=True)
    for name, records in SEEDS.items():
        with open(os.path.join(target, name), "wb") as file:
            file.write(b"\x01" + records)
    start_ok = wire.method_frame(0, "connection.start_ok", client_properties={}, mechanism="PLAIN",
                                 response=b"\0guest\0guest", locale="en_US")
    with open(os.path.join(target, "handshake"), "wb") as file:
        file.write(b"\x00" + record(RAW, HELLO) + record(RAW, start_ok))
