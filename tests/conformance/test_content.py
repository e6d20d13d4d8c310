"""test_content: content frames out of order, sizes that do not add up, undecodable properties."""
import struct

import pytest

from wire import BODY, HEARTBEAT, frame, header_frame, method_frame

NO_METHOD = "UNEXPECTED_FRAME - expected method frame, got non method frame instead"
NO_HEADER = ("UNEXPECTED_FRAME - expected content header for class 60, "
             "got non content header frame instead")
NO_BODY = "UNEXPECTED_FRAME - expected content body, got non content body frame instead"


@pytest.fixture
def published(client):
    """A client whose channel 1 has sent a publish and owes its header."""
    client.channel()
    client.send(1, "basic.publish", routing_key="nowhere")
    return client


@pytest.mark.parametrize("content", [header_frame(1, 1), frame(BODY, 1, b"x")])
@pytest.mark.parametrize("is_open", [True, False])
def test_content_without_publish(client, content, is_open):
    if is_open:
        client.channel(1)
    client.send_bytes(content)
    client.expect_close(505, NO_METHOD)


@pytest.mark.parametrize("wrong", [
    frame(BODY, 1, b"x"), method_frame(1, "queue.declare"), method_frame(1, "basic.publish"),
    method_frame(1, "channel.close"), header_frame(1, 3, weight=1)])
def test_publish_without_header(published, wrong):
    published.send_bytes(wrong)
    published.expect_close(505, NO_HEADER, "basic.publish")


@pytest.mark.parametrize("class_id", [10, 50, 99])
def test_header_of_another_class(published, class_id):
    published.send_bytes(header_frame(1, 3, class_id=class_id))
    published.expect_close(505, "UNEXPECTED_FRAME - expected content header for class 60, got one "
                                f"for class {class_id} instead", "basic.publish")


@pytest.mark.parametrize("sent", [b"", frame(BODY, 1, b"ab")])
@pytest.mark.parametrize("wrong", [
    method_frame(1, "queue.declare"), header_frame(1, 3), method_frame(1, "channel.close")])
def test_body_missing(published, sent, wrong):
    published.send_bytes(header_frame(1, 3) + sent + wrong)
    published.expect_close(505, NO_BODY, "basic.publish")


@pytest.mark.parametrize("body", [b"x", b""])
@pytest.mark.parametrize("size", [0, 3])
def test_body_after_the_end(published, size, body):
    whole = frame(BODY, 1, b"abc") if size else b""
    published.send_bytes(header_frame(1, size) + whole + frame(BODY, 1, body))
    published.expect_close(505, NO_METHOD)


@pytest.mark.parametrize("parts", [[b"abcd"], [b"ab", b"cd"]])
def test_body_longer_than_announced(client, parts):
    """Closed with 505; RabbitMQ takes notice only when another frame than a body comes."""
    client.channel()
    client.send_bytes(
        method_frame(1, "basic.publish", routing_key="nowhere", mandatory=True) + header_frame(1, 3)
        + b"".join(frame(BODY, 1, part) for part in parts) + method_frame(1, "queue.declare"))
    client.expect_close(505, NO_BODY, "basic.publish")


def test_empty_bodies_in_between_are_fine(ch):
    queue = ch.declare()
    ch.send("basic.publish", routing_key=queue)
    empty = frame(BODY, 1, b"")
    ch.client.send_bytes(header_frame(1, 3) + empty + frame(BODY, 1, b"a") + empty
                         + frame(BODY, 1, b"bc"))
    assert ch.get(queue).body == b"abc"


def test_other_channels_and_heartbeats_between_the_frames(client):
    first, second = client.channel(), client.channel()
    queue = first.declare()
    parts = []
    for name, number in ((b"one", 1), (b"two", 2)):
        parts.append([method_frame(number, "basic.publish", routing_key=queue),
                      header_frame(number, 3)]
                     + [frame(BODY, number, name[i:i + 1]) for i in range(3)])
    for pair in zip(*parts):
        client.send_bytes(frame(HEARTBEAT, 0, b"").join(pair))
    second.counts(queue)
    assert sorted(first.drain(queue)) == [b"one", b"two"]


def test_connection_close_within_a_content(published):
    published.send_bytes(header_frame(1, 3))
    published.call(0, "connection.close", reply_code=200)


@pytest.mark.parametrize("properties", [
    b"\x00\x01\x00\x00", b"\x80\x00\x10a", b"\x00\x00zzz", b"\x80\x00",
    b"\x20\x00" + struct.pack(">I", 3) + b"\x01aZ", b"\x20\x00" + struct.pack(">I", 30) + b"\x01aV",
    b"\x20\x00" + struct.pack(">I", 7) + b"\x01aF\x00\x00\x00\x09"], ids=repr)
def test_undecodable_properties(client, product, properties):
    """RabbitMQ calls this its own fault, 541; Godwit says what it is, 502. Both name no method."""
    client.channel()
    client.send(1, "basic.publish", routing_key="nowhere", mandatory=True)
    client.send_bytes(header_frame(1, 0, properties))
    got = client.expect(0, "connection.close", class_id=0, method_id=0)
    if product == "RabbitMQ":
        assert (got["reply_code"], got["reply_text"]) == (541, "INTERNAL_ERROR")
    else:
        assert got["reply_code"] in (501, 502, 541)
    client.send(0, "connection.close_ok")
    client.expect_end()


def test_properties_need_not_be_utf8(ch):
    queue = ch.declare()
    ch.publish(b"x", queue, properties=b"\x80\x00\x02\xff\x00")
    assert ch.get(queue).raw_properties == b"\x80\x00\x02\xff\x00"
