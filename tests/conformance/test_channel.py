"""test_channel: opening, closing and numbering channels, flow, and methods in the wrong place."""
import pytest

from fields import encode_method
from wire import METHOD, content_frames, frame, method_frame

NO_QUEUE = "NOT_FOUND - no queue '{}' in vhost '/'"


def test_open_and_close_many_times(client):
    for _ in range(50):
        channel = client.channel(3)
        channel.close()


def test_open_ok_carries_an_empty_long_string(client):
    assert client.call(1, "channel.open") == {"reserved_1": ""}


def test_second_open(client):
    number = client.channel().number
    client.send(number, "channel.open")
    client.expect_close(504, "CHANNEL_ERROR - second 'channel.open' seen", "channel.open")


@pytest.mark.parametrize("name", [
    "queue.declare", "channel.close", "channel.close_ok", "channel.flow", "connection.open",
    "basic.ack", "tx.select", "queue.declare_ok"])
def test_method_on_a_channel_that_is_not_open(client, name):
    client.send(5, name)
    client.expect_close(504, "CHANNEL_ERROR - expected 'channel.open'", name)


def test_publish_on_a_channel_that_is_not_open_is_judged_with_its_content(client):
    client.send_bytes(method_frame(5, "basic.publish") + content_frames(5, b"abc"))
    client.expect_close(504, "CHANNEL_ERROR - expected 'channel.open'", "basic.publish")


def test_method_on_a_closed_channel(client):
    channel = client.channel()
    channel.close()
    channel.send("queue.declare", exclusive=True)
    client.expect_close(504, "CHANNEL_ERROR - expected 'channel.open'", "queue.declare")


def test_close_is_answered_after_everything_before_it(client, fresh):
    number, name = client.channel().number, fresh()
    client.send_bytes(method_frame(number, "queue.declare", queue=name)
                      + method_frame(number, "queue.purge", queue=name)
                      + method_frame(number, "channel.close", reply_code=200))
    for answer in ("queue.declare_ok", "queue.purge_ok", "channel.close_ok"):
        client.expect(number, answer)


def test_nothing_is_executed_after_a_channel_error(client, fresh):
    """Between the server's close and the client's close-ok all methods and contents are ignored."""
    channel, missing, victim = client.channel(), fresh(), fresh()
    watcher = client.channel()
    watcher.declare(victim)
    channel.send("queue.declare", queue=missing, passive=True)
    fields = channel.expect("channel.close", reply_code=404, reply_text=NO_QUEUE.format(missing))
    assert (fields["class_id"], fields["method_id"]) == (50, 10)
    channel.publish(b"ignored", victim)
    channel.send("queue.delete", queue=victim)
    channel.send("queue.declare", queue=missing)
    channel.send("exchange.declare", exchange="e", type="no such type")
    channel.send("channel.close_ok")
    channel.reopen()
    assert channel.counts(victim) == (0, 0)
    channel.refused(404, NO_QUEUE.format(missing), "queue.declare", queue=missing, passive=True)


def test_what_follows_the_error_in_the_same_packet_is_ignored(client, fresh):
    channel, missing = client.channel(), fresh()
    client.send_bytes(method_frame(channel.number, "queue.declare", queue=missing, passive=True)
                      + method_frame(channel.number, "queue.declare", queue=missing))
    channel.expect_close(404, NO_QUEUE.format(missing), "queue.declare")
    channel.reopen()
    channel.refused(404, NO_QUEUE.format(missing), "queue.declare", queue=missing, passive=True)


def test_crossing_closes(client, fresh):
    """Our close while the server's is on its way: it gets close-ok, and so must the server's."""
    channel, missing = client.channel(), fresh()
    channel.send("queue.declare", queue=missing, passive=True)
    channel.expect("channel.close", reply_code=404)
    channel.call("channel.close", reply_code=200)
    channel.send("channel.close_ok")
    channel.reopen()


def test_open_before_close_ok_is_a_second_open(client, fresh):
    channel = client.channel()
    channel.send("queue.declare", queue=fresh(), passive=True)
    channel.expect("channel.close", reply_code=404)
    channel.send("channel.open")
    client.expect_close(504, "CHANNEL_ERROR - second 'channel.open' seen", "channel.open")


def test_connection_close_while_a_channel_closes(client, fresh):
    channel = client.channel()
    channel.send("queue.declare", queue=fresh(), passive=True)
    channel.expect("channel.close", reply_code=404)
    client.call(0, "connection.close", reply_code=200)


def test_an_error_leaves_other_channels_alone(client, fresh):
    first, second = client.channel(), client.channel()
    queue = second.declare()
    first.refused(404, NO_QUEUE.format("absent"), "queue.declare", queue="absent", passive=True)
    second.publish(b"1", queue)
    assert second.get(queue).body == b"1"


def test_flow_on(ch):
    assert ch.call("channel.flow", active=True) == {"active": True}


def test_flow_off(client):
    client.channel().send("channel.flow", active=False)
    client.expect_close(540, "NOT_IMPLEMENTED - active=false", "channel.flow")


@pytest.mark.parametrize("name", [
    "channel.flow_ok", "channel.open_ok", "queue.declare_ok", "queue.bind_ok",
    "exchange.declare_ok",
    "basic.consume_ok", "basic.get_empty", "basic.recover_ok", "confirm.select_ok", "tx.commit_ok",
    "connection.open", "connection.close", "connection.update_secret"])
def test_methods_a_client_has_no_business_to_send(client, name):
    client.channel().send(name)
    client.expect_close(503, "COMMAND_INVALID - unimplemented method", name)


@pytest.mark.parametrize("payload", [
    b"\x00\x63\x00\x0a", b"\x00\x32\x00\x63", b"\x00\x00\x00\x00", b"\xff\xff\xff\xff"])
@pytest.mark.parametrize("number", [1, 2])
def test_unknown_method_is_dropped(client, number, payload):
    """Channel 1 is open and channel 2 is not; neither gets as far as that question."""
    client.channel()
    client.send_bytes(frame(METHOD, number, payload))
    client.expect_end()


def test_undecodable_table_is_dropped(client):
    number = client.channel().number
    client.send_bytes(frame(METHOD, number, encode_method("queue.declare", arguments=b"\x01aZ")))
    client.expect_end()


@pytest.mark.parametrize("payload, shown", [
    (encode_method("queue.declare", queue="abc")[:-3], "<<0,0,3,97,98,99,0,0>>"),
    (encode_method("queue.declare", exclusive=True) + b"zzz",
     "<<0,0,0,4,0,0,0,0,122,122,122>>")])
def test_method_with_too_few_or_too_many_bytes(client, payload, shown):
    number = client.channel().number
    client.send_bytes(frame(METHOD, number, payload))
    client.expect_close(501, f"FRAME_ERROR - cannot decode {shown}", "queue.declare")


def test_undecodable_method_with_many_bytes_has_its_text_cut(client):
    number = client.channel().number
    client.send_bytes(frame(METHOD, number, encode_method("queue.declare", queue="a" * 200)[:-1]))
    got = client.expect(0, "connection.close", reply_code=501, class_id=50, method_id=10)
    text = got["reply_text"]
    assert text.startswith("FRAME_ERROR - cannot decode <<0,0,200,97,97,97,")
    assert text.endswith("...") and len(text) == 255


@pytest.mark.parametrize("number", [11, 2047, 2048, 65535])
def test_numbers_above_channel_max_are_fine(connect, number):
    """channel_max bounds how many are open, not their numbers."""
    client = connect(tune={"channel_max": 10})
    client.channel(number).declare()


def test_no_more_channels_than_channel_max(connect):
    client = connect(tune={"channel_max": 2})
    client.channel(5)
    second = client.channel(9)
    second.close()
    client.channel(1)
    client.send(2, "channel.open")
    client.expect_close(530,
                        "NOT_ALLOWED - number of channels opened (2) has reached the negotiated "
                             "channel_max (2)")


def test_all_channels_of_the_default_channel_max(client):
    client.send_bytes(b"".join(method_frame(n, "channel.open") for n in range(1, 2048)))
    assert {client.next().channel for _ in range(2047)} == set(range(1, 2048))
    client.send(2048, "channel.open")
    client.expect_close(530, "NOT_ALLOWED - number of channels opened (2047) has reached the "
                             "negotiated channel_max (2047)")


def test_access_request_is_granted(ch):
    assert ch.call("access.request", realm="/data", read=True) == {"ticket": 1}
