"""test_bad_input: broken conversations of every kind end in a close, and the broker lives on."""
import random
import socket
import struct

import pytest

from fields import encode_method, encode_properties
from wire import (BODY, METHOD, PROTOCOL_HEADER, Client, Closed, Wire, content_frames, frame,
                  header_frame, method_frame)

SEEDS = range(12)


def conversation(queue):
    """Everything a small client sends, from the protocol header to the close."""
    return [
        PROTOCOL_HEADER,
        method_frame(0, "connection.start_ok", client_properties={"product": "test"},
                     mechanism="PLAIN", response="\0guest\0guest", locale="en_US"),
        method_frame(0, "connection.tune_ok", channel_max=10, frame_max=4096, heartbeat=0),
        method_frame(0, "connection.open", virtual_host="/"),
        method_frame(1, "channel.open"),
        method_frame(1, "queue.declare", queue=queue, auto_delete=True, exclusive=True),
        method_frame(1, "queue.bind", queue=queue, exchange="amq.topic", routing_key=queue + ".#",
                     arguments={"a": [1, {"b": None}]}),
        method_frame(1, "basic.qos", prefetch_count=5),
        method_frame(1, "basic.consume", queue=queue, consumer_tag="t"),
        method_frame(1, "confirm.select"),
        method_frame(1, "basic.publish", exchange="amq.topic", routing_key=queue + ".a.b"),
        content_frames(1, b"x" * 5000, encode_properties({"headers": {"h": 1}}), 4096),
        method_frame(1, "basic.ack", delivery_tag=1),
        method_frame(1, "channel.close", reply_code=200),
        method_frame(0, "connection.close", reply_code=200),
    ]


def finish(link):
    """No more from us; read until the server has nothing more to say and closes."""
    try:
        link.socket.shutdown(socket.SHUT_WR)
        while link.socket.recv(65536):
            pass
    except OSError:
        pass
    link.close()


def still_serves(address):
    client = Client(address)
    channel = client.channel()
    queue = channel.declare()
    channel.publish(b"alive", queue)
    assert channel.get(queue).body == b"alive"
    client.disconnect()


def say(address, data):
    link = Wire(address)
    try:
        link.send_bytes(data)
    except (Closed, OSError):
        pass
    finish(link)


@pytest.mark.slow
def test_cut_anywhere(address, fresh):
    """The conversation ends after every one of its bytes (each fifth in the long body)."""
    data = b"".join(conversation(fresh()))
    for end in list(range(0, 700)) + list(range(700, len(data), 97)):
        say(address, data[:end])
    still_serves(address)


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_changed_bytes(address, fresh, seed):
    """A few random bytes of the conversation after the login are something else."""
    rng = random.Random(seed)
    parts = conversation(fresh())
    login, rest = b"".join(parts[:4]), b"".join(parts[4:])
    for _ in range(60):
        broken = bytearray(rest)
        for _ in range(rng.choice((1, 1, 2, 8))):
            broken[rng.randrange(len(broken))] = rng.choice((0, 1, 0xCE, 0xFF, rng.randrange(256)))
        say(address, login + bytes(broken))
    still_serves(address)


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_frames_left_out_repeated_and_swapped(address, fresh, seed):
    rng = random.Random(seed)
    parts = conversation(fresh())
    for _ in range(60):
        rest = parts[4:]
        for _ in range(rng.randrange(1, 4)):
            i, k = rng.randrange(len(rest)), rng.randrange(len(rest))
            how = rng.randrange(3)
            if how == 0:
                del rest[i]
            elif how == 1:
                rest.insert(k, rest[i])
            else:
                rest[i], rest[k] = rest[k], rest[i]
        say(address, b"".join(parts[:4] + rest))
    still_serves(address)


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_random_bytes(address, seed):
    rng = random.Random(seed)
    say(address, rng.randbytes(10000))
    say(address, PROTOCOL_HEADER + rng.randbytes(10000))
    still_serves(address)


@pytest.mark.parametrize("seed", SEEDS)
def test_random_arguments(connect, address, seed):
    """Well-formed frames of known methods whose arguments are noise."""
    rng = random.Random(seed)
    known = [(40, 10), (40, 20), (40, 30), (50, 10), (50, 20), (50, 40), (60, 10), (60, 20),
             (60, 40),
             (60, 70), (60, 80), (60, 120), (85, 10), (90, 10), (20, 20), (10, 70)]
    for _ in range(20):
        link = connect()
        link.channel()
        payload = struct.pack(">HH", *rng.choice(known)) + rng.randbytes(rng.randrange(60))
        try:
            link.send_bytes(frame(METHOD, 1, payload))
        except Closed:
            pass
        finish(link)
    still_serves(address)


def nested(depth, inner=b""):
    """A field table (with its length) of depth tables, one in the other."""
    data = inner
    for _ in range(depth):
        data = b"\x01kF" + struct.pack(">I", len(data)) + data
    return struct.pack(">I", len(data)) + data


@pytest.mark.parametrize("depth", [100, 1000, 15000])
def test_deeply_nested_tables(client, address, depth):
    """Taken or refused, but not with the broker's stack."""
    number = client.channel().number
    ids = encode_method("queue.declare")[:4]
    payload = ids + b"\x00\x00\x00\x02" + nested(depth)
    client.send_bytes(frame(METHOD, number, payload))
    try:
        got = client.next()
        assert got.name in ("queue.declare_ok", "connection.close"), got
    except Closed:
        pass
    still_serves(address)


@pytest.mark.parametrize("depth", [100, 1000, 15000])
def test_deeply_nested_headers(client, address, depth):
    number = client.channel().number
    client.send_bytes(method_frame(number, "basic.publish", routing_key="x", mandatory=True)
                      + header_frame(number, 0, b"\x20\x00" + nested(depth)))
    try:
        got = client.next()
        assert got.name in ("basic.return", "connection.close", "channel.close"), got
    except Closed:
        pass
    still_serves(address)


@pytest.mark.parametrize("bad", [
    b"\x01aZ", b"\x01a", b"\x05a", b"\xff", b"\x01aS\x00\x00\x00\x05ab", b"\x01aS\xff\xff\xff\xff",
    b"\x01aF\x00\x00\x00\x09\x01b", b"\x01aA\x00\x00\x00\x02I\x00", b"\x01aA\x7f\xff\xff\xff",
    b"\x01at", b"\x01aD\x00\x00", b"\x01ad\x00"], ids=repr)
def test_undecodable_tables(client, address, bad):
    number = client.channel().number
    client.send_bytes(frame(METHOD, number, encode_method("queue.declare", arguments=bad)))
    client.expect_end()
    still_serves(address)


@pytest.mark.parametrize("size", [1 << 32, 1 << 40, 1 << 63, (1 << 64) - 1])
def test_a_declared_body_size_reserves_nothing(client, address, size):
    """The content may go on or be refused at once; other connections do not notice."""
    channel = client.channel()
    client.send_bytes(method_frame(channel.number, "basic.publish", routing_key="x")
                      + header_frame(channel.number, size) + frame(BODY, channel.number,
                                                                   b"x" * 1000))
    still_serves(address)


@pytest.mark.godwit
def test_a_thousand_half_bodies(own_broker):
    """Each of 500 channels has announced 100 MiB and sent 10 bytes: memory follows the bytes."""
    client = Client(own_broker.address)
    before = own_broker.memory_bytes()
    for number in range(1, 501):
        client.call(number, "channel.open")
        client.send_bytes(method_frame(number, "basic.publish", routing_key="x")
                          + header_frame(number, 100 << 20) + frame(BODY, number, b"x" * 10))
    client.call(501, "channel.open")
    assert own_broker.memory_bytes() - before < 32 << 20
    client.close()


@pytest.mark.godwit
def test_shutdown_says_so(own_broker):
    client = Client(own_broker.address)
    client.channel()
    own_broker.process.terminate()
    client.expect(0, "connection.close", reply_code=320, class_id=0, method_id=0, reply_text=(
        "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'"))
    client.send(0, "connection.close_ok")
    client.expect_end()
    assert own_broker.stop() == 0


@pytest.mark.godwit
def test_shutdown_does_not_wait_for_ever_for_close_ok(own_broker):
    client = Client(own_broker.address)
    client.channel()
    own_broker.process.terminate()
    client.expect(0, "connection.close", reply_code=320)
    assert own_broker.stop() == 0
