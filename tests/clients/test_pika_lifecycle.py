#!/usr/bin/python3
"""pika: how long queues live, and what consumers and connections are told."""
import threading

import pika
import pytest
from pika.exceptions import (AMQPConnectionError, ChannelClosedByBroker,
                             ConnectionClosedByBroker)

from patience import served, until


def exists(connection, queue):
    channel = connection.channel()
    try:
        channel.queue_declare(queue, passive=True)
    except ChannelClosedByBroker as closed:
        assert closed.reply_code in (404, 405)
        return closed.reply_code == 405
    channel.close()
    return True


def test_server_named_queues(channel):
    found = {channel.queue_declare("", exclusive=True).method.queue for _ in range(20)}
    assert len(found) == 20
    assert all(name.startswith("amq.gen-") for name in found)


def test_last_declared_queue_is_meant_by_an_empty_name(channel):
    """pika lets an empty name through to the broker in all but declare."""
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.queue_bind("", "amq.direct", queue + ".key")
    channel.basic_publish("amq.direct", queue + ".key", b"mine")
    assert channel.queue_purge("").method.message_count == 1
    channel.basic_publish("", queue, b"again")
    assert channel.basic_get("", auto_ack=True)[2] == b"again"


def test_exclusive_queue_goes_with_its_connection(connect, names):
    queue = names.queue()
    owner, other = connect(), connect()
    owner.channel().queue_declare(queue, exclusive=True)
    assert exists(other, queue)
    owner.close()
    assert not exists(other, queue)
    other.channel().queue_declare(queue, exclusive=True)


def test_exclusive_queue_outlives_its_channel(connect, names):
    queue = names.queue()
    connection = connect()
    first = connection.channel()
    first.queue_declare(queue, exclusive=True)
    first.basic_publish("", queue, b"kept")
    first.close()
    assert connection.channel().basic_get(queue, auto_ack=True)[2] == b"kept"


def test_exclusive_name_is_free_at_once_after_close(connect, names):
    """close-ok comes after the exclusive queues are gone, however often."""
    queue = names.queue()
    for _ in range(20):
        connection = connect()
        connection.channel().queue_declare(queue, exclusive=True)
        connection.close()


def test_auto_delete_queue_goes_with_its_last_consumer(connect, names):
    queue = names.queue()
    connection, other = connect(), connect()
    channel = connection.channel()
    channel.queue_declare(queue, auto_delete=True)
    assert exists(other, queue)
    tags = [channel.basic_consume(queue, print) for _ in range(2)]
    channel.basic_cancel(tags[0])
    assert exists(other, queue)
    channel.basic_cancel(tags[1])
    until(lambda: not exists(other, queue), what="the auto-delete queue's end")


def test_auto_delete_queue_goes_with_the_consumers_connection(connect, names):
    queue = names.queue()
    consumer, other = connect(), connect()
    channel = consumer.channel()
    channel.queue_declare(queue, auto_delete=True)
    channel.basic_consume(queue, print)
    consumer.close()
    until(lambda: not exists(other, queue), what="the auto-delete queue's end")


def test_durable_queue_outlives_everyone(connect, names):
    queue = names.queue()
    connection = connect()
    channel = connection.channel()
    channel.queue_declare(queue, durable=True)
    channel.basic_publish("", queue, b"kept", pika.BasicProperties(delivery_mode=2))
    channel.queue_declare(queue, durable=True, passive=True)
    connection.close()
    declared = connect().channel().queue_declare(queue, durable=True).method
    assert (declared.message_count, declared.consumer_count) == (1, 0)


def test_counts_of_declare_purge_and_delete(channel, names):
    queue = names.queue()
    channel.queue_declare(queue)
    for _ in range(7):
        channel.basic_publish("", queue, b"")
    taken = [channel.basic_get(queue)[0].delivery_tag for _ in range(2)]
    declared = channel.queue_declare(queue, passive=True).method
    assert (declared.queue, declared.message_count, declared.consumer_count) == (queue, 5, 0)
    channel.basic_consume("", print, consumer_tag="c", auto_ack=True)
    assert channel.queue_declare(queue, passive=True).method.consumer_count == 1
    channel.basic_cancel("c")
    assert channel.queue_declare(queue, passive=True).method.message_count == 0
    channel.basic_nack(taken[1], multiple=True, requeue=True)
    assert channel.queue_purge(queue).method.message_count == 2
    channel.basic_publish("", queue, b"")
    channel.basic_publish("", queue, b"")
    channel.basic_get(queue)
    assert channel.queue_delete(queue).method.message_count == 1


def test_consumer_is_told_when_its_queue_is_deleted(connect, names):
    queue = names.queue()
    connection = connect()
    channel = connection.channel()
    channel.queue_declare(queue)
    cancelled = []
    channel.add_on_cancel_callback(lambda frame: cancelled.append(frame.method.consumer_tag))
    channel.basic_consume(queue, print, consumer_tag="told")
    connect().channel().queue_delete(queue)
    served(connection, lambda: cancelled, what="the cancel notification")
    assert cancelled == ["told"]
    assert channel.is_open
    channel.queue_declare(queue)
    assert channel.basic_consume(queue, print, consumer_tag="told") == "told"


def test_consume_generator_ends_when_its_queue_is_deleted(connect, names):
    queue = names.queue()
    channel = connect().channel()
    channel.queue_declare(queue)
    generator = channel.consume(queue, inactivity_timeout=0.001)
    assert next(generator) == (None, None, None)
    connect().channel().queue_delete(queue)
    got = list(channel.consume(queue, inactivity_timeout=20))
    assert got == []


def test_connection_close_is_clean_and_seen(connect):
    connection = connect()
    channels = [connection.channel() for _ in range(3)]
    channels[0].close()
    connection.close()
    assert connection.is_closed
    assert all(channel.is_closed for channel in channels)
    with pytest.raises(pika.exceptions.ChannelWrongStateError):
        channels[1].basic_publish("", "x", b"")


def test_many_channels(connect, names):
    connection = connect()
    channels = [connection.channel() for _ in range(300)]
    assert sorted({channel.channel_number for channel in channels}) == list(range(1, 301))
    queue = names.queue()
    channels[0].queue_declare(queue)
    got = []
    for channel in channels[::10]:
        channel.basic_consume(queue, lambda ch, m, p, b: got.append(b), auto_ack=True)
    for number, channel in enumerate(channels):
        channel.basic_publish("", queue, b"%d" % number)
    served(connection, lambda: len(got) == 300, what="a message per channel")
    assert sorted(map(int, got)) == list(range(300))
    for channel in channels[100:]:
        channel.close()
    reused = connection.channel()
    assert reused.queue_declare(queue, passive=True).method.consumer_count == 10


def test_channel_numbers_run_out_as_negotiated(connect):
    connection = connect(channel_max=5)
    channels = [connection.channel() for _ in range(5)]
    with pytest.raises(pika.exceptions.NoFreeChannels):
        connection.channel()
    channels[2].close()
    assert connection.channel().channel_number == 3


def test_defaults_that_the_server_offers(connect):
    parameters = connect(heartbeat=None)._impl.params     # pylint: disable=protected-access
    assert (parameters.channel_max, parameters.frame_max) == (2047, 131072)
    assert parameters.heartbeat == 60


def test_capabilities(connect):
    connection = connect()
    assert connection.basic_nack_supported
    assert connection.consumer_cancel_notify_supported
    assert connection.exchange_exchange_bindings_supported
    assert connection.publisher_confirms_supported


def test_many_connections(connect, names):
    queue = names.queue()
    connections = [connect() for _ in range(60)]
    connections[0].channel().queue_declare(queue)
    for connection in connections:
        connection.channel().basic_publish("", queue, b"one each")
        connection.close()
    channel = connect().channel()
    until(lambda: channel.queue_declare(queue, passive=True).method.message_count == 60,
          what="a message from each connection")


def test_idle_connection_lives_by_heartbeats(connect):
    """Three intervals without any traffic but heartbeats, counted by pika's own timer."""
    connection = connect(heartbeat=1)
    channel = connection.channel()
    passed = []
    connection.call_later(4, lambda: passed.append(True))
    served(connection, lambda: passed, what="four seconds")
    assert channel.queue_declare("", exclusive=True).method.queue


def test_threads_with_a_connection_each(broker, names, connect):
    queue = names.queue()
    channel = connect().channel()
    channel.queue_declare(queue)
    failures = []

    def publish():
        try:
            own = pika.BlockingConnection(broker.parameters())
            speaking = own.channel()
            speaking.confirm_delivery()
            for _ in range(50):
                speaking.basic_publish("", queue, b"threaded", mandatory=True)
            own.close()
        except Exception as failure:              # pylint: disable=broad-except
            failures.append(failure)

    threads = [threading.Thread(target=publish) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert channel.queue_declare(queue, passive=True).method.message_count == 400


def test_broker_stop_is_announced_and_survived(start_broker):
    """The reconnect loop from pika's examples, over a restart of the broker."""
    broker = start_broker()
    connection = pika.BlockingConnection(broker.parameters())
    channel = connection.channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.basic_consume(queue, print)
    stopping = threading.Thread(target=broker.process.stop)
    stopping.start()
    with pytest.raises(ConnectionClosedByBroker) as closed:
        channel.start_consuming()
    assert closed.value.reply_code == 320
    assert closed.value.reply_text.startswith("CONNECTION_FORCED")
    stopping.join()
    assert not broker.process.is_running
    with pytest.raises(AMQPConnectionError):
        pika.BlockingConnection(broker.parameters())

    broker.process.start()
    again = pika.BlockingConnection(broker.parameters(connection_attempts=5, retry_delay=0.2))
    again.channel().queue_declare(queue="again", exclusive=True)
    again.close()


def test_broker_stops_cleanly_with_messages_everywhere(start_broker):
    """Ready and unacked, in queues of every shard; whatever is left is not in the way of the end."""
    broker = start_broker()
    connections = [pika.BlockingConnection(broker.parameters()) for _ in range(3)]
    for number in range(24):
        channel = connections[number % 3].channel()
        channel.confirm_delivery()
        queue = f"full{number}"
        channel.queue_declare(queue)
        for size in 0, 10, 1000, 300000:
            channel.basic_publish("", queue, b"x" * size)
        if number % 2:
            channel.basic_get(queue)
            channel.basic_consume(queue, print)
    connections[0].close()
    broker.process.stop()


def test_blocked_handlers_can_be_set(connect):
    connection = connect(blocked_connection_timeout=5)
    told = []
    connection.add_on_connection_blocked_callback(lambda *args: told.append(args))
    connection.add_on_connection_unblocked_callback(lambda *args: told.append(args))
    connection.channel().queue_declare("", exclusive=True)
    assert told == []
