"""test_frames: frames that are wrong as frames, the negotiated frame size, and heartbeats."""
import struct
import time

import pytest

from fields import encode_method
from wire import BODY, HEADER, HEARTBEAT, METHOD, frame, header_frame, method_frame


@pytest.mark.parametrize("end", [0x00, 0xCF, 0xFF])
def test_bad_frame_end(client, end):
    client.send_bytes(frame(METHOD, 1, encode_method("channel.open"), end=bytes([end])))
    client.expect_close(501, "FRAME_ERROR - type 1, all octets = <<0,20,0,10,0>>: "
                             f"{{invalid_frame_end_marker,{end}}}")


def test_bad_frame_end_of_a_longer_frame_shows_its_beginning(client):
    payload = encode_method("queue.declare", queue="a" * 100)
    client.send_bytes(frame(METHOD, 1, payload, end=b"\x01"))
    got = client.expect(0, "connection.close", reply_code=501, class_id=0, method_id=0)
    assert got["reply_text"].startswith(
        "FRAME_ERROR - type 1, first 16 octets = "
        "<<0,50,0,10,0,0,100,97,97,97,97,97,97,97,97,97>>: ")


@pytest.mark.parametrize("frame_type", [0, 4, 5, 6, 7, 9, 65, 255])
@pytest.mark.parametrize("channel", [0, 1, 9])
def test_unknown_frame_type(client, frame_type, channel):
    client.channel()
    client.send_bytes(frame(frame_type, channel, b""))
    client.expect_close(501, f"FRAME_ERROR - type {frame_type}, all octets = <<>>: unknown_frame")


@pytest.mark.parametrize("payload, shown", [
    (b"\x00\x01", "all octets = <<0,1>>"), (b"abc", 'all octets = <<"abc">>'),
    (b"0123456789abcdef", 'all octets = <<"0123456789abcdef">>'),
    (b"0123456789abcdefg", 'first 16 octets = <<"0123456789abcdef">>'),
    (bytes(range(20)), "first 16 octets = <<0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15>>")])
def test_octets_of_an_unknown_frame_are_shown(client, payload, shown):
    client.send_bytes(frame(7, 0, payload))
    client.expect_close(501, f"FRAME_ERROR - type 7, {shown}: unknown_frame")


@pytest.mark.parametrize("payload, shown", [(b"", "<<>>"), (b"\x00\x0a", "<<0,10>>")])
@pytest.mark.parametrize("channel", [0, 1])
def test_method_frame_too_short_for_its_ids(client, channel, payload, shown):
    client.channel()
    client.send_bytes(frame(METHOD, channel, payload))
    client.expect_close(501, f"FRAME_ERROR - type 1, all octets = {shown}: unknown_frame")


def test_content_header_too_short(client):
    number = client.channel().number
    client.send_bytes(method_frame(number, "basic.publish")
                      + frame(HEADER, number, b"\0\x3c\0\0\0\0\0"))
    client.expect_close(501, "FRAME_ERROR - type 2, all octets = <<0,60,0,0,0,0,0>>: unknown_frame")


def test_heartbeat_belongs_on_channel_zero(client):
    client.channel()
    client.send_bytes(frame(HEARTBEAT, 1, b""))
    client.expect_close(505, "UNEXPECTED_FRAME - type 8, all octets = <<>>")


def test_heartbeat_has_no_payload(client):
    client.send_bytes(frame(HEARTBEAT, 0, b"abc"))
    client.expect_close(501, 'FRAME_ERROR - type 8, all octets = <<"abc">>: unknown_frame')


@pytest.mark.parametrize("content, shown", [
    (frame(BODY, 0, b"abc"), 'type 3, all octets = <<"abc">>'),
    (header_frame(0, 5), "type 2, all octets = <<0,60,0,0,0,0,0,0,0,0,0,5,0,0>>")])
def test_no_content_on_channel_zero(client, content, shown):
    client.send_bytes(content)
    client.expect_close(505, f"UNEXPECTED_FRAME - {shown}")


@pytest.mark.slow
@pytest.mark.parametrize("frame_max", [4096, 8192, 131072])
@pytest.mark.parametrize("frame_type", [METHOD, BODY])
def test_frame_above_frame_max_is_refused_at_its_head(connect, frame_max, frame_type):
    client = connect(tune={"frame_max": frame_max})
    client.channel()
    client.send_bytes(struct.pack(">BHI", frame_type, 1, frame_max + 1))
    client.expect_close(501, f"FRAME_ERROR - type {frame_type}, all octets = <<>>: "
                             f"{{frame_too_large,{frame_max + 1},{frame_max - 8}}}")


@pytest.mark.slow
def test_a_declared_size_of_4_gigabytes(client):
    client.send_bytes(struct.pack(">BHI", BODY, 1, 0xFFFFFFFF))
    client.expect_close(501, "FRAME_ERROR - type 3, all octets = <<>>: "
                             "{frame_too_large,4294967295,131064}")


@pytest.mark.parametrize("slack", [-8, -7, 0])
def test_frame_up_to_frame_max_of_payload_is_tolerated(connect, slack):
    """The limit is meant for the whole frame, but eight octets of slack are allowed to clients."""
    client = connect(tune={"frame_max": 4096})
    number = client.channel().number
    empty = len(encode_method("queue.declare", exclusive=True, arguments={"x": ""}))
    payload = encode_method("queue.declare", exclusive=True,
                            arguments={"x": "y" * (4096 + slack - empty)})
    assert len(payload) == 4096 + slack
    client.send_bytes(frame(METHOD, number, payload))
    client.expect(number, "queue.declare_ok")


def test_methods_split_at_any_byte(client):
    data = method_frame(1, "channel.open") + method_frame(1, "queue.declare", exclusive=True)
    for i in range(len(data)):
        client.send_bytes(data[i:i + 1])
    client.expect(1, "channel.open_ok")
    client.expect(1, "queue.declare_ok")


def test_heartbeat_zero_means_none(connect):
    """No heartbeat comes, and our silence is not held against us."""
    client = connect(tune={"heartbeat": 0}, timeout=3)
    with pytest.raises(AssertionError, match="nothing arrived"):
        client.frame()
    client.channel()


@pytest.mark.slow
def test_heartbeat_of_one_second_is_sent(connect):
    client = connect(tune={"heartbeat": 1})
    began = time.monotonic()
    for _ in range(3):
        assert client.frame() == (HEARTBEAT, 0, b"")
        client.send_bytes(frame(HEARTBEAT, 0, b""))
    assert 0.5 < time.monotonic() - began < 5


@pytest.mark.slow
def test_a_silent_client_is_dropped(connect):
    """With a heartbeat of 1 s the server gives up after two or three silent ones."""
    client = connect(tune={"heartbeat": 1})
    began = time.monotonic()
    client.expect_end()
    assert 1 < time.monotonic() - began < 6


@pytest.mark.slow
def test_any_traffic_counts_as_heartbeat(connect):
    client = connect(tune={"heartbeat": 1})
    channel = client.channel()
    for _ in range(5):
        assert client.frame().type == HEARTBEAT
        channel.declare()
