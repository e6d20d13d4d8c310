"""test_publish: what a publish may carry, how it arrives bit by bit, and what comes back."""
import struct

import pytest

from fields import PROPERTIES, Typed, encode_properties
from wire import BODY, frame, header_frame

ALL_PROPERTIES = {
    "content_type": "text/plain", "content_encoding": "gzip", "headers": {"k": "v"},
    "delivery_mode": 2, "priority": 7, "correlation_id": "corr", "reply_to": "answers",
    "expiration": "600000", "message_id": "id-1", "timestamp": 0xFFFFFFFFFFFFFFFF, "type": "kind",
    "user_id": "guest", "app_id": "app", "cluster_id": "cluster",
}
EVERY_TYPE = {
    "t": Typed("t", True), "t0": Typed("t", False), "b": Typed("b", -128), "B": Typed("B", 255),
    "s": Typed("s", -32768), "u": Typed("u", 65535), "I": Typed("I", -2**31),
    "i": Typed("i", 2**32 - 1), "l": Typed("l", -2**63), "L": Typed("L", 2**63 - 1),
    "f": Typed("f", 1.5), "d": Typed("d", -1e300), "D": Typed("D", (2, 12345)),
    "S": Typed("S", "text"), "S0": Typed("S", ""), "A": Typed("A", [1, "a", None, [True]]),
    "T": Typed("T", 1234567890), "F": Typed("F", {"in": {"deeper": {}}}), "V": Typed("V", None),
    "x": Typed("x", b"\x00\xff"), "empty array": Typed("A", []), "": Typed("S", "no name"),
}


@pytest.fixture
def queue(ch):
    return ch.declare()


def both_ways(ch, queue, raw):
    """Publish these property bytes; they must come unchanged with a get, a deliver and a return."""
    for _ in range(2):
        ch.publish(b"body", queue, properties=raw)
    assert ch.get(queue).raw_properties == raw
    tag = ch.consume(queue, no_ack=True)
    assert ch.deliver().raw_properties == raw
    ch.call("basic.cancel", consumer_tag=tag)
    ch.publish(b"body", "no such queue", properties=raw, mandatory=True)
    back = ch.expect_content("basic.return")
    assert (back.raw_properties, back.body) == (raw, b"body")


@pytest.mark.parametrize("name", [name for name, _ in PROPERTIES])
def test_each_property(ch, queue, name):
    both_ways(ch, queue, encode_properties({name: ALL_PROPERTIES[name]}))


def test_all_properties(ch, queue):
    both_ways(ch, queue, encode_properties(ALL_PROPERTIES))


@pytest.mark.parametrize("name", EVERY_TYPE)
def test_each_field_type(ch, queue, name):
    both_ways(ch, queue, encode_properties({"headers": {name: EVERY_TYPE[name]}}))


def test_all_field_types(ch, queue):
    both_ways(ch, queue, encode_properties({"headers": EVERY_TYPE}))


def test_repeated_and_unordered_keys(ch, queue):
    both_ways(ch, queue, encode_properties({"headers": [("b", 1), ("a", 2), ("b", "again")]}))


def test_empty_headers_are_not_absent_headers(ch, queue):
    both_ways(ch, queue, b"\x20\x00\x00\x00\x00\x00")
    both_ways(ch, queue, b"\x00\x00")


def test_deeply_nested_table(ch, queue):
    value = "bottom"
    for _ in range(12):
        value = {"down": [value]}
    both_ways(ch, queue, encode_properties({"headers": {"top": value}}))


@pytest.mark.parametrize("frame_max", [4096, 131072])
@pytest.mark.parametrize("frames, extra", [
    (0, 0), (0, 1), (1, -1), (1, 0), (1, 1), (2, -1), (2, 0), (2, 1), (5, 17)])
def test_body_sizes(connect, frame_max, frames, extra):
    """The body comes back in the fewest frames, all full but the last; none for an empty body."""
    client = connect(tune={"frame_max": frame_max})
    ch = client.channel()
    queue, room = ch.declare(), frame_max - 8
    body = (bytes(range(256)) * (room // 32))[:frames * room + extra]
    ch.publish(body, queue)
    ch.send("basic.get", queue=queue, no_ack=True)
    ch.expect("basic.get_ok")
    assert struct.unpack(">Q", client.next().payload[4:12]) == (len(body),)
    sizes, got = [], b""
    while len(got) < len(body):
        part = client.next()
        assert part.type == BODY
        sizes.append(len(part.payload))
        got += part.payload
    assert got == body
    full, rest = divmod(len(body), room)
    assert sizes == [room] * full + ([rest] if rest else [])
    ch.counts(queue)


@pytest.mark.parametrize("frame_max", [4096, 65536])
def test_a_large_message_to_a_client_with_small_frames(connect, fresh, frame_max):
    sender = connect().channel()
    taker = connect(tune={"frame_max": frame_max}).channel()
    queue = fresh()
    taker.call("queue.declare", queue=queue)
    taker.consume(queue, no_ack=True)
    body = b"0123456789abcdef" * 65536
    sender.publish(body, queue)
    assert taker.deliver().body == body


def test_body_in_many_small_frames(ch, queue):
    ch.send("basic.publish", routing_key=queue)
    body = bytes(range(256)) * 4
    ch.client.send_bytes(header_frame(1, len(body))
                         + b"".join(frame(BODY, 1, body[i:i + 1]) for i in range(len(body))))
    assert ch.get(queue).body == body


@pytest.mark.slow
def test_largest_message(connect):
    """128 MiB pass; one byte more is refused, at the latest when it is complete."""
    client = connect(timeout=60)
    ch = client.channel()
    queue = ch.declare()
    most = 134217728
    ch.publish(bytes(most), queue)
    assert len(ch.get(queue).body) == most
    ch.publish(bytes(most + 1), queue)
    ch.expect_close(406,
                    "PRECONDITION_FAILED - message size 134217729 is larger than configured max "
                         "size 134217728", "basic.publish")


@pytest.mark.parametrize("exchange", ["", "amq.direct", "amq.fanout", "amq.topic", "amq.headers"])
def test_mandatory_without_a_queue(ch, exchange):
    ch.publish(b"back", "no such key", exchange, mandatory=True,
               properties={"content_type": "a", "message_id": "b"})
    back = ch.expect_content("basic.return", reply_code=312, reply_text="NO_ROUTE",
                             exchange=exchange,
                             routing_key="no such key")
    assert (back.body, back.properties) == (b"back", {"content_type": "a", "message_id": "b"})


def test_mandatory_with_a_queue(ch, queue):
    ch.publish(b"1", queue, mandatory=True)
    assert ch.get(queue).body == b"1"


def test_unroutable_and_not_mandatory_is_dropped(ch, queue):
    ch.publish(b"1", "no such key")
    ch.quiet(queue)


@pytest.mark.parametrize("key", ["", "no such queue"])
@pytest.mark.parametrize("mandatory", [False, True])
def test_immediate_is_not_implemented(client, key, mandatory):
    ch = client.channel()
    ch.publish(b"", key or ch.declare(), immediate=True, mandatory=mandatory)
    client.expect_close(540, "NOT_IMPLEMENTED - immediate=true", "basic.publish")


@pytest.mark.parametrize("properties, text", [
    ({"delivery_mode": 0}, "invalid message: {delivery_mode_unknown,0}"),
    ({"delivery_mode": 3}, "invalid message: {delivery_mode_unknown,3}"),
    ({"delivery_mode": 255}, "invalid message: {delivery_mode_unknown,255}"),
    ({"expiration": "abc"}, "invalid expiration 'abc': no_integer"),
    ({"expiration": ""}, "invalid expiration '': no_integer"),
    ({"expiration": " 5"}, "invalid expiration ' 5': no_integer"),
    ({"expiration": "5x"}, "invalid expiration '5x': {leftover_string,\"x\"}"),
    ({"expiration": "5.0"}, "invalid expiration '5.0': {leftover_string,\".0\"}"),
    ({"expiration": "-1"}, "invalid expiration '-1': {value_negative,-1}"),
    ({"expiration": "315360000001"},
     "invalid expiration '315360000001': {value_too_large,315360000001}"),
    ({"user_id": "bob"}, "user_id property set to 'bob' but authenticated user was 'guest'"),
    ({"user_id": ""}, "user_id property set to '' but authenticated user was 'guest'"),
    ({"headers": {"CC": "a"}}, "invalid message: {unacceptable_type_in_header,\"CC\",longstr}"),
    ({"headers": {"BCC": 5}}, "invalid message: {unacceptable_type_in_header,\"BCC\",signedint}")],
    ids=repr)
@pytest.mark.parametrize("routable", [True, False])
def test_properties_that_are_refused(ch, queue, properties, text, routable):
    ch.publish(b"1", queue if routable else "no such queue", properties=properties, mandatory=True)
    ch.expect_close(406, f"PRECONDITION_FAILED - {text}", "basic.publish")
    ch.reopen()
    assert ch.get(queue) is None


def test_a_missing_exchange_is_seen_before_bad_properties(ch):
    ch.publish(b"", "", "absent", properties={"expiration": "abc", "delivery_mode": 7})
    ch.expect_close(404, "NOT_FOUND - no exchange 'absent' in vhost '/'", "basic.publish")


@pytest.mark.parametrize("value", ["+5000", "600000", "0600000", "315360000000"])
def test_expirations_that_are_taken(ch, queue, value):
    ch.publish(b"", queue, properties={"expiration": value})
    assert ch.get(queue).properties["expiration"] == value


@pytest.mark.parametrize("key", ["CC", "BCC"])
def test_copies(ch, fresh, key):
    to, copy, other = (ch.declare(fresh()) for _ in range(3))
    ch.publish(b"m", to, properties={"headers": {key: [copy, to, 5, None], "x": 1}})
    for name in (to, copy):
        got = ch.get(name)
        assert got.method["routing_key"] == to
        expected = {"CC": [copy, to, 5, None], "x": 1} if key == "CC" else {"x": 1}
        assert got.properties["headers"] == expected
    assert [ch.get(name) for name in (to, copy, other)] == [None] * 3


def test_blind_copies_leave_no_trace(ch, fresh):
    """BCC's entry goes, the table stays, nothing else changes; also in what is returned."""
    copy = ch.declare(fresh())
    ch.publish(b"m", "absent", properties={"headers": {"BCC": [copy]}}, mandatory=True)
    assert ch.get(copy).raw_properties == b"\x20\x00\x00\x00\x00\x00"
    ch.publish(b"m", "absent", mandatory=True,
               properties={"headers": {"a": 1, "BCC": ["absent2"], "CC": ["absent3"], "b": 2}})
    assert ch.expect_content("basic.return").properties["headers"] == {
        "a": 1, "CC": ["absent3"], "b": 2}


@pytest.mark.parametrize("exchange", ["amq.direct", "amq.topic"])
def test_copies_go_through_any_exchange(ch, fresh, exchange):
    queue, key = ch.declare(fresh()), fresh("key")
    ch.call("queue.bind", queue=queue, exchange=exchange, routing_key=key)
    ch.publish(b"1", "absent", exchange, properties={"headers": {"CC": [key]}}, mandatory=True)
    ch.publish(b"2", key, exchange, properties={"headers": {"BCC": [key]}}, mandatory=True)
    assert ch.drain(queue) == [b"1", b"2"]


def test_a_publish_to_many_queues_is_one_message_each(ch, fresh):
    queues, name = [ch.declare() for _ in range(20)], fresh("e")
    ch.call("exchange.declare", exchange=name, type="fanout")
    for queue in queues:
        ch.call("queue.bind", queue=queue, exchange=name)
    body = b"x" * 10000
    ch.publish(body, exchange=name, properties=ALL_PROPERTIES)
    for queue in queues:
        got = ch.get(queue)
        assert got.body == body and got.raw_properties == encode_properties(ALL_PROPERTIES)
