#!/usr/bin/python3
"""py-amqp, used directly, without kombu above it."""
import datetime
import decimal
import socket
import struct

import amqp
import pytest
from amqp import exceptions

from patience import until

MIB = 1024 * 1024


@pytest.fixture
def connection(py_amqp):
    return py_amqp()


@pytest.fixture
def channel(connection):
    return connection.channel()


def drain(connection, condition, what="the event"):
    """Lets py-amqp handle events until the condition holds."""
    def pump(_slice):
        try:
            connection.drain_events(timeout=1)
        except socket.timeout:
            pass
    until(condition, pump, what=what)


def test_publish_and_get(channel, names):
    queue = names.queue()
    assert channel.queue_declare(queue) == (queue, 0, 0)
    channel.basic_publish(amqp.Message("text", content_type="text/plain"), routing_key=queue)
    message = channel.basic_get(queue)
    assert (message.body, message.content_type) == ("text", "text/plain")
    assert message.delivery_info["redelivered"] is False
    message.channel.basic_ack(message.delivery_tag)
    assert channel.basic_get(queue) is None


def test_consume_with_acks_and_prefetch(connection, channel, names):
    queue = names.queue()
    channel.queue_declare(queue)
    for number in range(20):
        channel.basic_publish(amqp.Message(str(number)), routing_key=queue)
    got = []
    channel.basic_qos(0, 5, False)
    channel.basic_consume(queue, callback=got.append)
    drain(connection, lambda: len(got) == 5, "five messages")
    assert channel.queue_declare(queue, passive=True).message_count == 15
    while len(got) < 20:
        before = len(got)
        channel.basic_ack(got[-1].delivery_tag, multiple=True)
        drain(connection, lambda before=before: len(got) == min(before + 5, 20), "five more")
    assert [int(message.body) for message in got] == list(range(20))


def test_confirm_publish_waits(connection, names, py_amqp):
    confirming = py_amqp(confirm_publish=True).channel()
    queue = names.queue()
    confirming.queue_declare(queue)
    for _ in range(30):
        confirming.basic_publish(amqp.Message("sure"), routing_key=queue)
    assert confirming.queue_declare(queue, passive=True).message_count == 30


def test_batch_confirms_by_events(connection, channel, names):
    queue = names.queue()
    channel.queue_declare(queue)
    acked = []
    channel.events["basic_ack"].add(lambda tag, multiple: acked.append((tag, multiple)))
    channel.confirm_select()
    for _ in range(100):
        channel.basic_publish(amqp.Message("batch"), routing_key=queue)
    drain(connection, lambda: acked and max(tag for tag, _ in acked) == 100, "the last confirm")
    covered = set()
    for tag, multiple in acked:
        covered |= set(range(1, tag + 1)) if multiple else {tag}
    drain(connection, lambda: covered >= set(range(1, 101)), "every confirm")


def test_mandatory_return(connection, channel):
    returned = []
    channel.events["basic_return"].add(lambda *details: returned.append(details))
    channel.basic_publish(amqp.Message("back"), routing_key="clients.nobody", mandatory=True)
    drain(connection, lambda: returned, "the return")
    error, exchange, routing_key, message = returned[0]
    assert (error.reply_code, error.reply_text) == (312, "NO_ROUTE")
    assert (exchange, routing_key, message.body) == ("", "clients.nobody", "back")


def test_immediate_is_refused(connection, channel, names):
    queue = names.queue()
    channel.queue_declare(queue)
    channel.basic_publish(amqp.Message(""), routing_key=queue, immediate=True)
    with pytest.raises(exceptions.AMQPNotImplementedError) as refused:
        channel.queue_declare(queue, passive=True)
    assert (refused.value.reply_code, refused.value.method_sig) == (540, (60, 40))


def test_prefetch_size_is_refused(channel):
    with pytest.raises(exceptions.AMQPNotImplementedError) as refused:
        channel.basic_qos(1000, 0, False)
    assert refused.value.method_sig == (60, 10)


@pytest.mark.parametrize("kind,signature,operation", [
    (exceptions.NotFound, (50, 10), lambda c: c.queue_declare("clients.absent", passive=True)),
    (exceptions.NotFound, (40, 10), lambda c: c.exchange_declare("clients.absent", "direct",
                                                                 passive=True)),
    (exceptions.AccessRefused, (50, 10), lambda c: c.queue_declare("amq.mine")),
    (exceptions.NotFound, (60, 70), lambda c: c.basic_get("clients.absent")),
    (exceptions.NotFound, (60, 20), lambda c: c.basic_consume("clients.absent")),
    (exceptions.PreconditionFailed, (90, 20), lambda c: c.tx_commit()),
])
def test_channel_errors_have_their_class_and_method(connection, kind, signature, operation):
    channel = connection.channel()
    with pytest.raises(kind) as refused:
        operation(channel)
    assert refused.value.method_sig == signature
    assert connection.connected
    assert connection.channel().queue_declare("", exclusive=True).queue


def test_connection_errors_have_their_class_and_method(connection, channel, names):
    with pytest.raises(exceptions.InvalidCommand) as refused:
        channel.exchange_declare(names.exchange(), "circle")
    assert (refused.value.reply_code, refused.value.method_sig) == (503, (40, 10))


def test_wrong_password(py_amqp):
    with pytest.raises(exceptions.AccessRefused) as refused:
        py_amqp(password="wrong")
    assert refused.value.reply_code == 403


def test_unknown_vhost(py_amqp):
    with pytest.raises(exceptions.NotAllowed) as refused:
        py_amqp(virtual_host="nowhere")
    assert refused.value.method_sig == (10, 40)


def test_amqplain(py_amqp):
    login = amqp.sasl.AMQPLAIN("guest", "guest")
    connection = py_amqp(authentication=login)
    assert connection.channel().queue_declare("", exclusive=True).queue


def test_server_properties(connection):
    properties = connection.server_properties
    capabilities = properties["capabilities"]
    assert {"publisher_confirms", "exchange_exchange_bindings", "basic.nack",
            "consumer_cancel_notify", "connection.blocked", "consumer_priorities",
            "authentication_failure_close", "per_consumer_qos", "direct_reply_to",
            } <= {name for name, value in capabilities.items() if value is True}
    assert properties["product"] and properties["version"]
    assert set(connection.mechanisms) >= {b"PLAIN", b"AMQPLAIN"}


HEADERS = {
    "int": 7, "negative": -7, "big": 2 ** 40, "float": 2.5, "text": "grüße", "yes": True,
    "no": False, "none": None, "decimal": decimal.Decimal("3.14"),
    "when": datetime.datetime(2020, 2, 29, 12, 0, 1), "list": [1, "two", [3.5], {"a": None}],
    "table": {"deep": {"deeper": [1, {"deepest": True}]}},
}


def test_field_types_come_back(channel, names):
    queue = names.queue()
    channel.queue_declare(queue)
    channel.basic_publish(amqp.Message("x", application_headers=HEADERS, priority=3,
                                       delivery_mode=2), routing_key=queue)
    message = channel.basic_get(queue, no_ack=True)
    assert message.headers == HEADERS
    assert message.properties["priority"] == 3


def test_transactions(py_amqp, channel, names):
    queue = names.queue()
    channel.queue_declare(queue)
    transacting = py_amqp().channel()
    transacting.tx_select()
    transacting.basic_publish(amqp.Message("one"), routing_key=queue)
    transacting.tx_rollback()
    transacting.basic_publish(amqp.Message("two"), routing_key=queue)
    assert channel.basic_get(queue) is None
    transacting.tx_commit()
    assert channel.basic_get(queue, no_ack=True).body == "two"


def test_cancel_notification(py_amqp, connection, channel, names):
    queue = names.queue()
    channel.queue_declare(queue)
    cancelled = []
    channel.basic_consume(queue, callback=print, consumer_tag="told", on_cancel=cancelled.append)
    py_amqp().channel().queue_delete(queue)
    drain(connection, lambda: cancelled, "the cancel notification")
    assert cancelled == ["told"]


def test_recover_and_reject(connection, channel, names):
    queue = names.queue()
    channel.queue_declare(queue)
    channel.basic_publish(amqp.Message("again"), routing_key=queue)
    got = []
    channel.basic_consume(queue, callback=got.append)
    drain(connection, lambda: len(got) == 1, "the first delivery")
    channel.basic_recover(requeue=True)
    drain(connection, lambda: len(got) == 2, "the second delivery")
    assert got[1].delivery_info["redelivered"] is True
    channel.basic_reject(got[1].delivery_tag, requeue=True)
    drain(connection, lambda: len(got) == 3, "the third delivery")
    channel.basic_reject(got[2].delivery_tag, requeue=False)
    assert channel.queue_declare(queue, passive=True).message_count == 0


def test_exchange_bindings(channel, names):
    outer, inner = names.exchange(), names.exchange()
    channel.exchange_declare(outer, "topic", auto_delete=False)
    channel.exchange_declare(inner, "fanout", auto_delete=False)
    channel.exchange_bind(inner, outer, "a.*")
    queue = channel.queue_declare("", exclusive=True).queue
    channel.queue_bind(queue, inner)
    channel.basic_publish(amqp.Message("in"), outer, "a.b")
    channel.basic_publish(amqp.Message("out"), outer, "b.a")
    assert channel.basic_get(queue, no_ack=True).body == "in"
    assert channel.basic_get(queue) is None
    channel.exchange_unbind(inner, outer, "a.*")


def test_flow(channel):
    assert channel.flow(True) is True


def test_many_channels_and_reuse(connection):
    channels = [connection.channel() for _ in range(200)]
    names = {channel.queue_declare("", exclusive=True).queue for channel in channels}
    assert len(names) == 200
    for channel in channels:
        channel.close()
    assert connection.channel().channel_id <= 201


def test_one_channel_number_reopened_many_times(connection):
    for _ in range(200):
        channel = connection.channel(9)
        channel.queue_declare("", exclusive=True)
        channel.close()


@pytest.mark.parametrize("size", [0, MIB, 10 * MIB])
def test_large_messages(channel, names, size):
    queue = names.queue()
    channel.queue_declare(queue)
    body = bytes(range(256)) * (size // 256)
    channel.basic_publish(amqp.Message(body), routing_key=queue)
    message = channel.basic_get(queue, no_ack=True)
    assert (message.body or b"") == body


def test_heartbeats_keep_an_idle_connection(py_amqp):
    connection = py_amqp(heartbeat=1)
    received = connection.bytes_recv

    def pump(_slice):
        connection.heartbeat_tick()
        try:
            connection.drain_events(timeout=0.3)
        except socket.timeout:
            pass
    until(lambda: connection.bytes_recv >= received + 3, pump, what="three heartbeats")
    assert connection.channel().queue_declare("", exclusive=True).queue


def test_silent_client_is_dropped(py_amqp):
    """A client that promised heartbeats and sends none gets some, and is dropped then."""
    connection = py_amqp(heartbeat=1)
    sock = connection.sock
    sock.settimeout(20)
    received = b""
    try:
        while chunk := sock.recv(4096):
            received += chunk
    except ConnectionResetError:
        pass
    heartbeat = struct.pack(">BHIB", 8, 0, 0, 0xCE)
    assert received.startswith(heartbeat), "no heartbeat before the end"
    connection.collect()


def test_without_heartbeats_silence_is_fine(py_amqp):
    """heartbeat=0 turns them off: nothing comes in the time in which others are dropped."""
    silent, timed = py_amqp(heartbeat=0), py_amqp(heartbeat=1)
    timed.sock.settimeout(20)
    try:
        while timed.sock.recv(4096):
            pass
    except ConnectionResetError:
        pass
    timed.collect()
    assert silent.channel().queue_declare("", exclusive=True).queue


def test_reconnecting_after_a_restart(start_broker):
    broker = start_broker()
    connection = amqp.Connection(host=f"{broker.host}:{broker.port}")
    connection.connect()
    assert connection.is_alive
    broker.process.stop()
    with pytest.raises(exceptions.ConnectionForced) as closed:
        while True:
            connection.drain_events(timeout=20)
    assert closed.value.reply_code == 320
    connection.collect()
    broker.process.start()
    again = amqp.Connection(host=f"{broker.host}:{broker.port}")
    again.connect()
    assert again.channel().queue_declare("", exclusive=True).queue
    again.close()
