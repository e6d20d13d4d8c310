#!/usr/bin/python3
"""pika: what is refused, with which code, and whether the channel or the connection pays for it."""
import pika
import pytest
from pika.exceptions import (ChannelClosedByBroker, ConnectionClosedByBroker,
                             ProbableAccessDeniedError, ProbableAuthenticationError)

from patience import until


class Refusal:
    """Expects an exception with a code and a piece of the text."""

    def __init__(self, kind, code, text=""):
        self.kind, self.code, self.text = kind, code, text

    def __enter__(self):
        self.raises = pytest.raises(self.kind)
        self.info = self.raises.__enter__()
        return self.info

    def __exit__(self, *exception):
        handled = self.raises.__exit__(*exception)
        assert self.info.value.reply_code == self.code
        assert self.text in self.info.value.reply_text
        return handled


def channel_refusal(code, text=""):
    return Refusal(ChannelClosedByBroker, code, text)


def connection_refusal(code, text=""):
    return Refusal(ConnectionClosedByBroker, code, text)


@pytest.fixture
def connection(connect):
    return connect()


@pytest.fixture
def survives(connection):
    """After the test the connection still works: only the channel was closed."""
    yield
    assert connection.is_open
    fresh = connection.channel()
    assert fresh.queue_declare("", exclusive=True).method.queue
    fresh.close()


@pytest.fixture
def channel(connection, survives):
    return connection.channel()


def test_wrong_password(broker):
    with pytest.raises(ProbableAuthenticationError) as refused:
        pika.BlockingConnection(broker.parameters(
            credentials=pika.PlainCredentials("guest", "wrong")))
    assert "ACCESS_REFUSED" in str(refused.value)
    assert "403" in str(refused.value)


def test_unknown_vhost(broker):
    with pytest.raises(ProbableAccessDeniedError) as refused:
        pika.BlockingConnection(broker.parameters(virtual_host="nowhere"))
    assert "530" in str(refused.value)
    assert "nowhere" in str(refused.value)


def test_passive_declare_of_the_absent(channel, names):
    queue = names.queue("absent")
    with channel_refusal(404, f"NOT_FOUND - no queue '{queue}' in vhost '/'"):
        channel.queue_declare(queue, passive=True)


def test_passive_exchange_declare_of_the_absent(channel, names):
    exchange = names.exchange("absent")
    with channel_refusal(404, f"NOT_FOUND - no exchange '{exchange}' in vhost '/'"):
        channel.exchange_declare(exchange, passive=True)


@pytest.mark.parametrize("change,word", [({"durable": True}, "durable"),
                                         ({"auto_delete": True}, "auto_delete")])
def test_redeclare_differently(channel, names, change, word):
    queue = names.queue()
    channel.queue_declare(queue)
    with channel_refusal(406, f"PRECONDITION_FAILED - inequivalent arg '{word}' for queue "
                              f"'{queue}' in vhost '/': received 'true' but current is 'false'"):
        channel.queue_declare(queue, **change)


def test_redeclare_with_another_exclusive_flag(channel, names):
    queue = names.queue()
    channel.queue_declare(queue)
    with channel_refusal(405, "RESOURCE_LOCKED"):
        channel.queue_declare(queue, exclusive=True)


def test_redeclare_with_other_arguments(channel, names):
    queue = names.queue()
    channel.queue_declare(queue, arguments={"x-message-ttl": 60000, "unknown": 1})
    channel.queue_declare(queue, arguments={"x-message-ttl": 60000, "unknown": 2})
    with channel_refusal(406, "inequivalent arg 'x-message-ttl'"):
        channel.queue_declare(queue, arguments={"x-message-ttl": 1})


def test_exchange_redeclare_differently(channel, names):
    exchange = names.exchange()
    channel.exchange_declare(exchange, "direct")
    channel.exchange_declare(exchange, "direct")
    with channel_refusal(406, "inequivalent arg 'type'"):
        channel.exchange_declare(exchange, "fanout")


def test_other_connections_exclusive_queue(connect, channel, names):
    queue = names.queue()
    owner = connect().channel()
    owner.queue_declare(queue, exclusive=True)
    channel.basic_publish("", queue, b"publishing is allowed")
    with channel_refusal(405, "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue"):
        channel.queue_declare(queue, passive=True)
    until(lambda: owner.queue_declare(queue, passive=True).method.message_count == 1,
          what="the message at the exclusive queue")


@pytest.mark.parametrize("operation", [
    lambda channel, queue: channel.basic_get(queue),
    lambda channel, queue: channel.basic_consume(queue, print),
    lambda channel, queue: channel.queue_purge(queue),
    lambda channel, queue: channel.queue_delete(queue),
    lambda channel, queue: channel.queue_bind(queue, "amq.fanout"),
], ids=["get", "consume", "purge", "delete", "bind"])
def test_other_connections_exclusive_queue_operations(connect, channel, names, operation):
    queue = names.queue()
    owner = connect()
    owner.channel().queue_declare(queue, exclusive=True)
    with channel_refusal(405, "RESOURCE_LOCKED"):
        operation(channel, queue)
    owner.close()


def test_second_consumer_of_an_exclusive_one(channel, connect, names):
    queue = names.queue()
    first = connect().channel()
    first.queue_declare(queue)
    first.basic_consume(queue, print, exclusive=True)
    with channel_refusal(403, f"ACCESS_REFUSED - queue '{queue}' in vhost '/' in exclusive use"):
        channel.basic_consume(queue, print)


@pytest.mark.parametrize("settle", [
    lambda channel: channel.basic_ack(1),
    lambda channel: channel.basic_nack(7),
    lambda channel: channel.basic_reject(7),
    lambda channel: channel.basic_ack(7, multiple=True),
], ids=["ack", "nack", "reject", "ack-multiple"])
def test_unknown_delivery_tag(channel, settle):
    settle(channel)
    with channel_refusal(406, "PRECONDITION_FAILED - unknown delivery tag"):
        channel.queue_declare("", exclusive=True)


def test_acking_twice(channel, names):
    queue = names.queue()
    channel.queue_declare(queue)
    channel.basic_publish("", queue, b"")
    method, _, _ = channel.basic_get(queue)
    channel.basic_ack(method.delivery_tag)
    channel.basic_ack(method.delivery_tag)
    with channel_refusal(406, "unknown delivery tag 1"):
        channel.queue_declare(queue, passive=True)


def test_delete_if_unused(connect, channel, names):
    queue = names.queue()
    other = connect().channel()
    other.queue_declare(queue)
    tag = other.basic_consume(queue, print)
    with channel_refusal(406, f"PRECONDITION_FAILED - queue '{queue}' in vhost '/' in use"):
        channel.queue_delete(queue, if_unused=True)
    other.basic_cancel(tag)
    other.queue_delete(queue, if_unused=True)


def test_delete_if_empty(connect, channel, names):
    queue = names.queue()
    other = connect().channel()
    other.queue_declare(queue)
    other.basic_publish("", queue, b"")
    until(lambda: other.queue_declare(queue, passive=True).method.message_count == 1,
          what="the message in the queue")
    with channel_refusal(406, f"PRECONDITION_FAILED - queue '{queue}' in vhost '/' not empty"):
        channel.queue_delete(queue, if_empty=True)
    assert other.queue_delete(queue).method.message_count == 1


def test_exchange_delete_if_unused(connect, channel, names):
    exchange = names.exchange()
    other = connect().channel()
    other.exchange_declare(exchange, "fanout")
    queue = other.queue_declare("", exclusive=True).method.queue
    other.queue_bind(queue, exchange)
    with channel_refusal(406, f"PRECONDITION_FAILED - exchange '{exchange}' in vhost '/' in use"):
        channel.exchange_delete(exchange, if_unused=True)
    other.queue_unbind(queue, exchange)
    other.exchange_delete(exchange, if_unused=True)


def test_deleting_the_absent_succeeds(channel, names):
    assert channel.queue_delete(names.queue("absent")).method.message_count == 0
    channel.exchange_delete(names.exchange("absent"))


def test_reserved_names(connection, survives):
    with channel_refusal(403, "ACCESS_REFUSED"):
        connection.channel().queue_declare("amq.mine")
    with channel_refusal(403, "ACCESS_REFUSED"):
        connection.channel().exchange_declare("amq.mine", "direct")
    with channel_refusal(403, "ACCESS_REFUSED"):
        connection.channel().exchange_delete("amq.direct")
    with channel_refusal(403, "ACCESS_REFUSED"):
        connection.channel().exchange_declare("", "direct", durable=True)


def test_binding_the_absent(connection, survives, names):
    channel = connection.channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    with channel_refusal(404, "no exchange"):
        channel.queue_bind(queue, names.exchange("absent"), "k")
    with channel_refusal(404, "no queue"):
        connection.channel().queue_bind(names.queue("absent"), "amq.direct", "k")


def test_default_exchange_may_not_be_bound(connection, survives):
    channel = connection.channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    with channel_refusal(403, "ACCESS_REFUSED"):
        channel.queue_bind(queue, "", "k")


@pytest.mark.parametrize("operation", [
    lambda channel, queue: channel.basic_get(queue),
    lambda channel, queue: channel.basic_consume(queue, print),
    lambda channel, queue: channel.queue_purge(queue),
], ids=["get", "consume", "purge"])
def test_using_an_absent_queue(channel, names, operation):
    with channel_refusal(404, "NOT_FOUND - no queue"):
        operation(channel, names.queue("absent"))


@pytest.mark.parametrize("properties", [
    {"delivery_mode": 3}, {"expiration": "soon"}, {"expiration": "-1"}])
def test_invalid_properties(channel, names, properties):
    queue = names.queue()
    channel.queue_declare(queue)
    channel.basic_publish("", queue, b"", pika.BasicProperties(**properties))
    with channel_refusal(406):
        channel.queue_declare(queue, passive=True)


@pytest.mark.parametrize("arguments", [
    {"x-message-ttl": -1}, {"x-message-ttl": "soon"}, {"x-max-length": -1}, {"x-expires": 0},
    {"x-max-priority": -1}, {"x-overflow": "sink"}, {"x-queue-type": "heap"},
    {"x-dead-letter-routing-key": "alone"}])
def test_invalid_queue_arguments(channel, names, arguments):
    with channel_refusal(406, "PRECONDITION_FAILED"):
        channel.queue_declare(names.queue(), arguments=arguments)


def test_unknown_exchange_type(connection, names):
    with connection_refusal(503, "exchange type 'circle'"):
        connection.channel().exchange_declare(names.exchange(), "circle")


def test_consumer_tag_in_use(connection):
    """pika itself refuses the second use on one channel object, so it is told to forget the tag."""
    channel = connection.channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.basic_consume(queue, print, consumer_tag="mine")
    del channel._consumer_infos["mine"]           # pylint: disable=protected-access
    channel._impl._consumers.clear()              # pylint: disable=protected-access
    with connection_refusal(530, "NOT_ALLOWED - attempt to reuse consumer tag 'mine'"):
        channel.basic_consume(queue, print, consumer_tag="mine")


def test_recover_without_requeue(connection):
    channel = connection.channel()
    with connection_refusal(540, "NOT_IMPLEMENTED"):
        channel.basic_recover(requeue=False)


def test_flow_off_is_not_implemented(connection):
    channel = connection.channel()
    with connection_refusal(540, "NOT_IMPLEMENTED"):
        channel.flow(False)


def test_flow_on_is_fine(channel):
    assert channel.flow(True) is True
