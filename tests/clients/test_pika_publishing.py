#!/usr/bin/python3
"""pika: confirms, returns, transactions, and what becomes of a message's content."""
import datetime
import decimal
import hashlib

import pika
import pytest
from pika.exceptions import ChannelClosedByBroker, UnroutableError

from patience import served

MIB = 1024 * 1024


def test_single_confirms(channel, names):
    queue = names.queue()
    channel.queue_declare(queue, durable=True)
    channel.confirm_delivery()
    for number in range(50):
        channel.basic_publish("", queue, b"%d" % number, pika.BasicProperties(delivery_mode=2))
        ready = channel.queue_declare(queue, durable=True, passive=True).method.message_count
        assert ready == number + 1


def test_confirm_of_the_unroutable(channel, names):
    channel.confirm_delivery()
    channel.basic_publish("", names.queue("absent"), b"dropped")
    with pytest.raises(UnroutableError) as unroutable:
        channel.basic_publish("", names.queue("absent"), b"returned", mandatory=True)
    assert [message.body for message in unroutable.value.messages] == [b"returned"]
    assert unroutable.value.messages[0].method.reply_code == 312


def test_confirm_with_fanout_to_many_queues(channel, names):
    exchange = names.exchange()
    channel.exchange_declare(exchange, "fanout")
    queues = [names.queue() for _ in range(8)]
    for queue in queues:
        channel.queue_declare(queue)
        channel.queue_bind(queue, exchange)
    channel.confirm_delivery()
    for _ in range(10):
        channel.basic_publish(exchange, "", b"copy", mandatory=True)
    counts = [channel.queue_declare(q, passive=True).method.message_count for q in queues]
    assert counts == [10] * 8


def test_mandatory_return_brings_everything_back(channel, names):
    returned = []
    channel.add_on_return_callback(lambda ch, method, p, body: returned.append((method, p, body)))
    key = names.queue("absent")
    properties = pika.BasicProperties(message_id="m1", headers={"a": [1, "two", {"three": 3}]})
    channel.basic_publish("", key, b"back", properties, mandatory=True)
    served(channel.connection, lambda: returned, what="the return")
    method, back, body = returned[0]
    assert (method.reply_code, method.reply_text) == (312, "NO_ROUTE")
    assert (method.exchange, method.routing_key, body) == ("", key, b"back")
    assert (back.message_id, back.headers) == ("m1", {"a": [1, "two", {"three": 3}]})


def test_not_mandatory_is_dropped_silently(channel, names):
    returned = []
    channel.add_on_return_callback(lambda *args: returned.append(args))
    channel.basic_publish("", names.queue("absent"), b"gone")
    channel.queue_declare("", exclusive=True)
    channel.connection.process_data_events(time_limit=0)
    assert returned == []


def test_publishing_to_a_missing_exchange_closes_the_channel(connect, names):
    connection = connect()
    channel = connection.channel()
    channel.basic_publish(names.exchange("absent"), "", b"lost")
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.queue_declare("", exclusive=True)
    assert closed.value.reply_code == 404
    assert "no exchange" in closed.value.reply_text
    assert connection.channel().is_open


def test_transaction_commit_and_rollback(connect, names):
    queue = names.queue()
    inside, outside = connect().channel(), connect().channel()
    inside.queue_declare(queue)

    def ready():
        return outside.queue_declare(queue, passive=True).method.message_count

    inside.tx_select()
    for body in b"one", b"two":
        inside.basic_publish("", queue, body)
    assert ready() == 0
    inside.tx_commit()
    assert ready() == 2
    inside.basic_publish("", queue, b"three")
    inside.tx_rollback()
    inside.tx_commit()
    assert ready() == 2


def test_transaction_covers_acks(connect, names):
    queue = names.queue()
    channel = connect().channel()
    channel.queue_declare(queue)
    for body in b"one", b"two":
        channel.basic_publish("", queue, body)
    channel.tx_select()
    first, second = channel.basic_get(queue), channel.basic_get(queue)
    channel.basic_ack(first[0].delivery_tag)
    channel.tx_rollback()
    channel.basic_ack(second[0].delivery_tag)
    channel.tx_commit()
    channel.close()
    again = connect().channel()
    method, _, body = again.basic_get(queue, auto_ack=True)
    assert (body, method.redelivered) == (b"one", True)
    assert again.basic_get(queue)[0] is None


def test_closing_drops_an_open_transaction(connect, names):
    queue = names.queue()
    channel = connect().channel()
    channel.queue_declare(queue)
    channel.tx_select()
    channel.basic_publish("", queue, b"never")
    channel.close()
    assert connect().channel().queue_declare(queue, passive=True).method.message_count == 0


def test_confirms_and_transactions_exclude_each_other(connect):
    confirming = connect().channel()
    confirming.confirm_delivery()
    with pytest.raises(ChannelClosedByBroker) as closed:
        confirming.tx_select()
    assert closed.value.reply_code == 406
    transacting = connect().channel()
    transacting.tx_select()
    with pytest.raises(ChannelClosedByBroker) as closed:
        transacting.confirm_delivery()
    assert closed.value.reply_code == 406


def test_commit_without_select(channel):
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.tx_commit()
    assert closed.value.reply_code == 406


HEADERS = {
    "text": "grüße", "bytes": b"\x00\xff", "true": True, "false": False, "small": -7,
    "big": 2 ** 31 - 1, "huge": 2 ** 62, "decimal": decimal.Decimal("3.14"), "none": None,
    "when": datetime.datetime(2020, 2, 29, 12, 0, 1), "list": [1, "two", [3, {"four": None}]],
    "table": {"deep": {"deeper": {"deepest": "x" * 300}}}, "": "empty name",
}


def test_properties_and_headers_come_back(channel, names):
    queue = names.queue()
    channel.queue_declare(queue)
    sent = pika.BasicProperties(
        content_type="application/json", content_encoding="utf-8", headers=HEADERS,
        delivery_mode=2, priority=9, correlation_id="c" * 255, reply_to="somewhere",
        expiration="60000", message_id="m", timestamp=1600000000, type="t", user_id="guest",
        app_id="a", cluster_id="cl")
    channel.basic_publish("", queue, b"{}", sent)
    _, back, _ = channel.basic_get(queue, auto_ack=True)
    for header, value in HEADERS.items():
        assert back.headers[header] == value, header
    assert vars(back) == vars(sent)


def test_no_properties_at_all(channel, names):
    queue = names.queue()
    channel.queue_declare(queue)
    channel.basic_publish("", queue, b"")
    _, back, body = channel.basic_get(queue, auto_ack=True)
    assert body == b""
    assert vars(back) == vars(pika.BasicProperties())


def test_someone_elses_user_id_is_refused(channel, names):
    queue = names.queue()
    channel.queue_declare(queue)
    channel.basic_publish("", queue, b"", pika.BasicProperties(user_id="root"))
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.queue_declare(queue, passive=True)
    assert closed.value.reply_code == 406


FRAME = 131072


@pytest.mark.parametrize("size", [0, 1, FRAME - 9, FRAME - 8, FRAME - 7, 2 * (FRAME - 8), MIB,
                                  10 * MIB])
def test_sizes_around_the_frame(channel, names, size):
    queue = names.queue()
    channel.queue_declare(queue)
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    channel.confirm_delivery()
    channel.basic_publish("", queue, body)
    _, _, back = channel.basic_get(queue, auto_ack=True)
    assert len(back) == size
    assert back == body


def test_sixty_four_mebibytes(connect, names):
    queue = names.queue()
    source, sink = connect().channel(), connect().channel()
    source.queue_declare(queue)
    body = bytes(range(256)) * (64 * MIB // 256)
    got = []
    sink.basic_consume(queue, lambda ch, m, p, back: got.append(back), auto_ack=True)
    source.confirm_delivery()
    source.basic_publish("", queue, body, pika.BasicProperties(delivery_mode=2))
    served(sink.connection, lambda: got, seconds=60, what="64 MiB")
    assert hashlib.sha256(got[0]).digest() == hashlib.sha256(body).digest()


def test_small_frames(connect, names):
    """A client that insists on the smallest frame there is."""
    queue = names.queue()
    channel = connect(frame_max=4096).channel()
    channel.queue_declare(queue)
    body = bytes(range(256)) * 400
    channel.basic_publish("", queue, body, pika.BasicProperties(headers={"h": "x" * 3000}))
    _, properties, back = channel.basic_get(queue, auto_ack=True)
    assert back == body
    assert properties.headers == {"h": "x" * 3000}
    wide = connect().channel()
    wide.basic_publish("", queue, body * 10)
    got = []
    channel.basic_consume(queue, lambda ch, m, p, b: got.append(b), auto_ack=True)
    served(channel.connection, lambda: got, what="a message from a wider connection")
    assert got == [body * 10]
