"""test_handshake: from the protocol header to open-ok, and how a connection ends."""
import socket
import struct
import time

import pytest

from fields import encode_method
from wire import (CAPABILITIES, HEARTBEAT, METHOD, PROTOCOL_HEADER, Closed, amqplain, frame,
                  method_frame)

NO_CAPABILITIES = {"client_properties": {}}
REFUSED = ("ACCESS_REFUSED - Login was refused using authentication mechanism {}. "
           "For details see the broker logfile.")


def started(link):
    link.send_bytes(PROTOCOL_HEADER)
    link.expect(0, "connection.start")
    return link


def tuned(link):
    """A link that has been offered connection.tune."""
    link.start()
    return link, link.expect(0, "connection.tune")


def opening(link, **overrides):
    """A link that has sent tune_ok and not yet open."""
    link.start()
    link.tune(**overrides)
    return link


@pytest.mark.parametrize("header", [
    b"AMQP\x00\x00\x09\x00", b"AMQP\x00\x00\x08\x00", b"HTTP/1.1", b"GET / HT", b"\x00" * 8,
    b"amqp\x00\x00\x09\x01", b"AMQP\x02\x00\x00\x09"])
def test_wrong_protocol_header_is_answered_with_ours(raw, header):
    link = raw()
    link.send_bytes(header)
    assert link.read(8) == PROTOCOL_HEADER
    with pytest.raises(Closed):
        link.read(1)


def test_protocol_header_may_come_byte_by_byte(raw):
    link = raw()
    for i in range(8):
        link.send_bytes(PROTOCOL_HEADER[i:i + 1])
    link.expect(0, "connection.start", version_major=0, version_minor=9)


def test_start_names_mechanisms_locales_and_capabilities(raw):
    link = raw()
    link.send_bytes(PROTOCOL_HEADER)
    start = link.expect(0, "connection.start", version_major=0, version_minor=9, locales="en_US")
    assert {"PLAIN", "AMQPLAIN"} <= set(start["mechanisms"].split(" "))
    properties = start["server_properties"]
    assert list(properties["capabilities"].items()) == [(name, True) for name in (
        "publisher_confirms", "exchange_exchange_bindings", "basic.nack", "consumer_cancel_notify",
        "connection.blocked", "consumer_priorities", "authentication_failure_close",
        "per_consumer_qos", "direct_reply_to")]
    for name in ("product", "version", "platform", "copyright", "information", "cluster_name"):
        assert properties[name], name


@pytest.mark.parametrize("mechanism, response", [
    ("PLAIN", "\0guest\0guest"), ("AMQPLAIN", amqplain("guest", "guest"))])
def test_login(raw, mechanism, response):
    link = raw()
    link.start(mechanism=mechanism, response=response)
    assert link.tune() == {"channel_max": 2047, "frame_max": 131072, "heartbeat": 60}
    assert link.call(0, "connection.open", virtual_host="/") == {"reserved_1": ""}


@pytest.mark.slow
@pytest.mark.parametrize("mechanism, response", [
    ("PLAIN", "\0guest\0wrong"), ("PLAIN", "\0nobody\0guest"), ("PLAIN", "\0\0"),
    ("AMQPLAIN", amqplain("guest", "wrong"))])
def test_wrong_password_with_authentication_failure_close(raw, mechanism, response):
    link = raw()
    link.start(mechanism=mechanism, response=response)
    link.expect(0, "connection.close", reply_code=403, reply_text=REFUSED.format(mechanism),
                class_id=0, method_id=0)
    link.expect_end()


@pytest.mark.slow
@pytest.mark.parametrize("mechanism, response", [
    ("PLAIN", "\0guest\0wrong"), ("AMQPLAIN", amqplain("guest", "wrong"))])
def test_wrong_password_without_the_capability_is_dropped(raw, mechanism, response):
    link = raw()
    link.start(mechanism=mechanism, response=response, **NO_CAPABILITIES)
    link.expect_end()


@pytest.mark.slow
@pytest.mark.parametrize("values", [
    {"mechanism": "SECRET"}, {"mechanism": ""}, {"mechanism": "plain"},
    {"response": ""}, {"response": "guest"}, {"response": "guest\0guest"},
    {"response": "\0guest"}, {"response": "other\0guest\0guest"},
    {"mechanism": "AMQPLAIN", "response": ""}, {"mechanism": "AMQPLAIN", "response": "xx"},
    {"mechanism": "AMQPLAIN", "response": amqplain("guest", "guest").replace(b"LOGIN", b"LOGIX")},
    {"client_properties": b"\x01aZ"}], ids=repr)
def test_bad_start_ok_is_dropped(raw, values):
    link = raw()
    link.start(**values)
    link.expect_end()


@pytest.mark.parametrize("locale", ["", "de_DE"])
def test_any_locale_will_do(raw, locale):
    link = raw()
    link.start(locale=locale)
    link.expect(0, "connection.tune")


@pytest.mark.slow
@pytest.mark.parametrize("values", [
    {"channel_max": 0}, {"channel_max": 2048}, {"channel_max": 65535}, {"frame_max": 0},
    {"frame_max": 131073}, {"frame_max": 4095}, {"frame_max": 8}], ids=repr)
def test_tune_ok_out_of_range_is_dropped(raw, values):
    link = opening(raw(), **values)
    try:
        link.send(0, "connection.open", virtual_host="/")
    except Closed:
        return
    link.expect_end()


@pytest.mark.parametrize("values", [
    {"channel_max": 1}, {"channel_max": 2047}, {"frame_max": 4096}, {"frame_max": 131072},
    {"heartbeat": 0}, {"heartbeat": 65535}], ids=repr)
def test_tune_ok_at_the_limits(raw, values):
    link = opening(raw(), **values)
    link.call(0, "connection.open", virtual_host="/")
    link.call(1, "channel.open")


@pytest.mark.slow
@pytest.mark.parametrize("name, fields", [
    ("connection.tune_ok", {}), ("connection.open", {"virtual_host": "/"}),
    ("connection.close", {}),
    ("connection.secure_ok", {"response": "x"})])
def test_start_ok_must_come_first(raw, name, fields):
    link = started(raw())
    link.send(0, name, **fields)
    link.expect_end()


@pytest.mark.slow
def test_channel_before_start_ok_is_dropped(raw):
    link = started(raw())
    link.send(1, "channel.open")
    link.expect_end()


@pytest.mark.slow
@pytest.mark.parametrize("channel, name", [
    (0, "connection.open"), (0, "connection.close"), (1, "channel.open")])
def test_tune_ok_must_come_second(raw, channel, name):
    link, _ = tuned(raw())
    link.send(channel, name)
    link.expect_end()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["connection.close", "connection.tune_ok", "connection.start_ok"])
def test_open_must_come_third(raw, name):
    link = opening(raw())
    link.send(0, name)
    link.expect_close(504, "CHANNEL_ERROR - unexpected method in connection state opening", name)


def test_tune_ok_and_open_may_be_pipelined(raw):
    link, offered = tuned(raw())
    link.send_bytes(method_frame(0, "connection.tune_ok", **offered)
                    + method_frame(0, "connection.open", virtual_host="/")
                    + method_frame(1, "channel.open"))
    link.expect(0, "connection.open_ok")
    link.expect(1, "channel.open_ok")


def test_the_whole_handshake_may_be_pipelined(raw):
    link = raw()
    link.send_bytes(
        PROTOCOL_HEADER
        + method_frame(0, "connection.start_ok", mechanism="PLAIN", response="\0guest\0guest",
                       locale="en_US")
        + method_frame(0, "connection.tune_ok", channel_max=7, frame_max=4096)
        + method_frame(0, "connection.open", virtual_host="/") + method_frame(7, "channel.open"))
    for channel, name in ((0, "connection.start"), (0, "connection.tune"),
                          (0, "connection.open_ok"), (7, "channel.open_ok")):
        link.expect(channel, name)


def test_heartbeats_are_welcome_during_the_handshake(raw):
    link = started(raw())
    link.send_bytes(frame(HEARTBEAT, 0, b""))
    link.send(0, "connection.start_ok", mechanism="PLAIN", response="\0guest\0guest")
    link.send_bytes(frame(HEARTBEAT, 0, b""))
    link.tune()
    link.send_bytes(frame(HEARTBEAT, 0, b""))
    link.call(0, "connection.open", virtual_host="/")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["absent", "", "/absent", "guest"])
def test_unknown_virtual_host(raw, name):
    link = opening(raw())
    link.send(0, "connection.open", virtual_host=name)
    link.expect_close(530, f"NOT_ALLOWED - vhost {name} not found", "connection.open")


@pytest.mark.slow
def test_a_huge_frame_before_login_is_dropped(raw):
    link = started(raw())
    link.send_bytes(struct.pack(">BHI", METHOD, 0, 1 << 20))
    link.expect_end()


def test_a_large_start_ok_is_taken(raw):
    link = raw()
    link.start(client_properties={"capabilities": CAPABILITIES, "information": "x" * 3700})
    link.expect(0, "connection.tune")


@pytest.mark.slow
def test_a_frame_above_4096_before_tune_ok(raw, product):
    """RabbitMQ drops it; Godwit takes up to 64 KiB, since tokens can be that large."""
    link = raw()
    link.start(client_properties={"information": "x" * 60000})
    if product == "RabbitMQ":
        link.expect_end()
    else:
        link.expect(0, "connection.tune")


@pytest.mark.slow
def test_silence_is_dropped_after_ten_seconds(raw):
    link = raw(timeout=15)
    link.send_bytes(PROTOCOL_HEADER[:4])
    began = time.monotonic()
    with pytest.raises(Closed):
        link.read(1)
    assert 5 < time.monotonic() - began < 14


def test_client_closes(client):
    client.channel()
    client.call(0, "connection.close", reply_code=200, reply_text="bye")
    client.socket.shutdown(socket.SHUT_WR)
    client.expect_end()


def test_nothing_is_done_after_connection_close(client, connect, fresh):
    name = fresh()
    number = client.channel().number
    client.send_bytes(method_frame(0, "connection.close", reply_code=200)
                      + method_frame(number, "queue.declare", queue=name))
    client.expect(0, "connection.close_ok")
    client.socket.shutdown(socket.SHUT_WR)
    client.expect_end()
    other = connect().channel()
    other.refused(404, f"NOT_FOUND - no queue '{name}' in vhost '/'", "queue.declare", queue=name,
                  passive=True)


def test_after_the_servers_close_only_close_ok_counts(client, connect, fresh):
    """What follows the failed method in the same packet is not executed and not answered."""
    name, number = fresh(), client.channel().number
    client.send_bytes(
        method_frame(number, "exchange.declare", exchange="e", type="no such type")
        + method_frame(number, "queue.declare", queue=name))
    got = client.expect(0, "connection.close", reply_code=503)
    assert got["reply_text"] == "COMMAND_INVALID - unknown exchange type 'no such type'"
    client.send(0, "connection.close_ok")
    client.expect_end()
    connect().channel().refused(404, f"NOT_FOUND - no queue '{name}' in vhost '/'", "queue.declare",
                                queue=name, passive=True)


def test_update_secret(client):
    client.call(0, "connection.update_secret", new_secret="guest", reason="because")
    client.channel()


@pytest.mark.parametrize("channel, name", [
    (0, "connection.open"), (0, "connection.start_ok"), (0, "connection.tune_ok"),
    (0, "connection.close_ok"), (0, "connection.start"), (0, "connection.blocked"),
    (0, "connection.secure_ok"), (0, "channel.open"), (0, "queue.declare"), (0, "tx.select")])
def test_methods_that_have_no_place_on_channel_zero(client, channel, name):
    client.send(channel, name)
    client.expect_close(504, "CHANNEL_ERROR - unexpected method in connection state running", name)


@pytest.mark.parametrize("payload", [b"\x00\x63\x00\x0a", b"\x00\x0a\x00\x63", b"\x00\x0a\x00\x00"])
def test_unknown_method_on_channel_zero_is_dropped(client, payload):
    client.send_bytes(frame(METHOD, 0, payload))
    client.expect_end()


def test_open_ok_is_only_for_servers(client):
    client.send(0, "connection.open_ok")
    client.expect_close(504, "CHANNEL_ERROR - unexpected method in connection state running",
                        "connection.open_ok")


def test_one_octet_short(client):
    client.send_bytes(frame(METHOD, 1, encode_method("channel.open")[:-1]))
    client.expect_close(501, "FRAME_ERROR - cannot decode <<>>", "channel.open")
