#!/usr/bin/python3
"""pika: work queues. Acks, prefetch, fair dispatch, redelivery, get, recover."""
import threading

import pika
import pytest

from patience import served, settled, until

BODIES = [b"job %d" % n for n in range(10)]


def publish_all(channel, queue, bodies):
    for body in bodies:
        channel.basic_publish("", queue, body)


def collect(channel, queue, into, **settings):
    """Consumes into a list of (method, properties, body); returns the consumer's tag."""
    return channel.basic_consume(
        queue, lambda ch, method, properties, body: into.append((method, properties, body)),
        **settings)


def test_work_arrives_in_order_and_is_acked(channel, names):
    queue = names.queue()
    channel.queue_declare(queue, durable=True)
    persistent = pika.BasicProperties(delivery_mode=2)
    for body in BODIES:
        channel.basic_publish("", queue, body, persistent)
    got = []

    def work(ch, method, properties, body):
        got.append(body)
        assert properties.delivery_mode == 2
        assert method.redelivered is False
        ch.basic_ack(method.delivery_tag)
        if len(got) == len(BODIES):
            ch.stop_consuming()

    channel.basic_qos(prefetch_count=1)
    channel.basic_consume(queue, work)
    channel.start_consuming()
    assert got == BODIES
    assert channel.queue_declare(queue, durable=True, passive=True).method.message_count == 0


def test_fair_dispatch_passes_a_busy_worker(connect, names):
    queue = names.queue()
    busy, idle = connect().channel(), connect().channel()
    busy.queue_declare(queue)
    held, done = [], []
    busy.basic_qos(prefetch_count=1)
    collect(busy, queue, held)

    def work(ch, method, _properties, body):
        done.append((body, method.redelivered))
        ch.basic_ack(method.delivery_tag)

    publish_all(idle, queue, BODIES[:1])
    served(busy.connection, lambda: held, what="the busy worker's first job")
    idle.basic_qos(prefetch_count=1)
    idle.basic_consume(queue, work)
    publish_all(idle, queue, BODIES[1:])
    served(idle.connection, lambda: len(done) == 9, what="nine jobs at the idle worker")
    settled(busy, queue)
    assert len(held) == 1
    assert [body for body, _ in done] == BODIES[1:]
    assert not any(redelivered for _, redelivered in done)

    busy.connection.close()
    served(idle.connection, lambda: len(done) == 10, what="the dead worker's job")
    assert done[-1] == (BODIES[0], True)


def test_consumers_without_prefetch_take_turns(connect, names):
    queue = names.queue()
    first, second = connect().channel(), connect().channel()
    first.queue_declare(queue)
    got = [], []
    collect(first, queue, got[0], auto_ack=True)
    collect(second, queue, got[1], auto_ack=True)
    publish_all(first, queue, BODIES)
    served(first.connection, lambda: len(got[0]) == 5, what="half of the messages at the first")
    served(second.connection, lambda: len(got[1]) == 5, what="half of the messages at the second")
    mixed = sorted([body for _, _, body in got[0]] + [body for _, _, body in got[1]])
    assert mixed == sorted(BODIES)
    assert [body for _, _, body in got[0]] in (BODIES[0::2], BODIES[1::2])


@pytest.mark.parametrize("prefetch", [1, 3])
def test_prefetch_holds_until_acks_make_room(channel, names, prefetch):
    queue = names.queue()
    channel.queue_declare(queue)
    publish_all(channel, queue, BODIES)
    got = []
    channel.basic_qos(prefetch_count=prefetch)
    collect(channel, queue, got)
    served(channel.connection, lambda: len(got) == prefetch, what="a full prefetch")
    assert settled(channel, queue) == len(BODIES) - prefetch
    assert len(got) == prefetch
    channel.basic_ack(got[-1][0].delivery_tag, multiple=True)
    served(channel.connection, lambda: len(got) == 2 * prefetch, what="the next prefetch")
    settled(channel, queue)
    assert [body for _, _, body in got] == BODIES[:2 * prefetch]


def test_global_prefetch_is_shared_by_the_channel(channel, names):
    first, second = names.queue(), names.queue()
    got = []
    channel.basic_qos(prefetch_count=4, global_qos=True)
    for queue in first, second:
        channel.queue_declare(queue)
        collect(channel, queue, got)
        publish_all(channel, queue, BODIES)
    served(channel.connection, lambda: len(got) == 4, what="four messages in all")
    assert settled(channel, first) + settled(channel, second) == 16
    assert len(got) == 4
    channel.basic_ack(0, multiple=True)
    served(channel.connection, lambda: len(got) == 8, what="four more after an ack of all")


def test_nack_requeues_to_the_same_place(channel, names):
    queue = names.queue()
    channel.queue_declare(queue)
    publish_all(channel, queue, BODIES)
    taken = [channel.basic_get(queue) for _ in range(3)]
    channel.basic_nack(taken[1][0].delivery_tag, requeue=True)
    method, _, body = channel.basic_get(queue)
    assert (body, method.redelivered) == (BODIES[1], True)
    channel.basic_nack(method.delivery_tag, multiple=True, requeue=True)
    again = [channel.basic_get(queue, auto_ack=True) for _ in range(len(BODIES))]
    assert [body for _, _, body in again] == BODIES
    assert [method.redelivered for method, _, _ in again] == [True] * 3 + [False] * 7


def test_reject_without_requeue_drops(channel, names):
    queue = names.queue()
    channel.queue_declare(queue)
    publish_all(channel, queue, BODIES[:2])
    method, _, _ = channel.basic_get(queue)
    channel.basic_reject(method.delivery_tag, requeue=False)
    method, _, body = channel.basic_get(queue)
    assert body == BODIES[1]
    channel.basic_reject(method.delivery_tag, requeue=True)
    method, _, body = channel.basic_get(queue, auto_ack=True)
    assert (body, method.redelivered, method.message_count) == (BODIES[1], True, 0)


def test_get_counts_down_to_empty(channel, names):
    queue = names.queue()
    channel.queue_declare(queue)
    publish_all(channel, queue, BODIES)
    counts = []
    while True:
        method, properties, body = channel.basic_get(queue, auto_ack=True)
        if method is None:
            assert properties is None and body is None
            break
        assert (method.exchange, method.routing_key) == ("", queue)
        counts.append(method.message_count)
    assert counts == list(range(9, -1, -1))


def test_recover_delivers_again(channel, names):
    queue = names.queue()
    channel.queue_declare(queue)
    publish_all(channel, queue, BODIES[:3])
    got = []
    collect(channel, queue, got)
    served(channel.connection, lambda: len(got) == 3, what="the first delivery")
    channel.basic_recover(requeue=True)
    served(channel.connection, lambda: len(got) == 6, what="the second delivery")
    assert [body for _, _, body in got[3:]] == BODIES[:3]
    assert all(method.redelivered for method, _, _ in got[3:])
    assert [method.delivery_tag for method, _, _ in got] == [1, 2, 3, 4, 5, 6]


def test_closing_a_channel_requeues_what_it_held(connect, names):
    queue = names.queue()
    connection = connect()
    first, second = connection.channel(), connection.channel()
    first.queue_declare(queue)
    publish_all(first, queue, BODIES)
    for _ in range(4):
        first.basic_get(queue)
    first.close()
    assert second.queue_declare(queue, passive=True).method.message_count == 10
    again = [second.basic_get(queue, auto_ack=True) for _ in BODIES]
    assert [body for _, _, body in again] == BODIES
    assert [method.redelivered for method, _, _ in again] == [True] * 4 + [False] * 6


def test_consume_generator_and_its_cancel(channel, names):
    queue = names.queue()
    channel.queue_declare(queue)
    publish_all(channel, queue, BODIES)
    got = []
    for method, _properties, body in channel.consume(queue, inactivity_timeout=20):
        assert method is not None, "the generator timed out"
        got.append(body)
        channel.basic_ack(method.delivery_tag)
        if len(got) == 4:
            break
    channel.cancel()
    assert got == BODIES[:4]
    until(lambda: channel.queue_declare(queue, passive=True).method.message_count == 6,
          what="the return of what the generator held")


def test_cancel_keeps_what_is_unacked(channel, names):
    queue = names.queue()
    channel.queue_declare(queue)
    publish_all(channel, queue, BODIES[:2])
    got = []
    channel.basic_qos(prefetch_count=1)
    tag = collect(channel, queue, got)
    served(channel.connection, lambda: got, what="one message")
    channel.basic_cancel(tag)
    declared = channel.queue_declare(queue, passive=True).method
    assert (declared.consumer_count, declared.message_count) == (0, 1)
    channel.basic_ack(got[0][0].delivery_tag)
    assert channel.basic_get(queue, auto_ack=True)[2] == BODIES[1]


def test_worker_thread_acks_through_the_connection(connect, names):
    """The recipe from pika's documentation for jobs that take longer than a heartbeat."""
    queue = names.queue()
    connection = connect(heartbeat=10)
    channel = connection.channel()
    channel.queue_declare(queue)
    channel.basic_qos(prefetch_count=2)
    publish_all(channel, queue, BODIES)
    threads, done = [], []

    def work(tag, body):
        def ack():
            channel.basic_ack(tag)
            done.append(body)
        connection.add_callback_threadsafe(ack)

    def start(_ch, method, _properties, body):
        threads.append(threading.Thread(target=work, args=(method.delivery_tag, body)))
        threads[-1].start()

    channel.basic_consume(queue, start)
    served(connection, lambda: len(done) == len(BODIES), what="all jobs acked by threads")
    for thread in threads:
        thread.join()
    assert sorted(done) == sorted(BODIES)
    assert settled(channel, queue) == 0


def test_two_consumers_on_one_channel(channel, names):
    queue = names.queue()
    channel.queue_declare(queue)
    one, two = [], []
    tags = {collect(channel, queue, one, consumer_tag="one"),
            collect(channel, queue, two, consumer_tag="two")}
    assert tags == {"one", "two"}
    publish_all(channel, queue, BODIES)
    served(channel.connection, lambda: len(one) + len(two) == 10, what="all messages")
    assert (len(one), len(two)) == (5, 5)
    assert {method.consumer_tag for method, _, _ in one} == {"one"}
    assert {method.consumer_tag for method, _, _ in two} == {"two"}


def test_a_thousand_messages_each_once(connect, names):
    queue = names.queue()
    source, sink = connect().channel(), connect().channel()
    source.queue_declare(queue)
    got = []

    def work(ch, method, _properties, body):
        got.append(int(body))
        if len(got) % 50 == 0:
            ch.basic_ack(method.delivery_tag, multiple=True)

    sink.basic_qos(prefetch_count=100)
    sink.basic_consume(queue, work)
    for number in range(1000):
        source.basic_publish("", queue, b"%d" % number)
    served(sink.connection, lambda: len(got) >= 1000, what="a thousand messages")
    assert got == list(range(1000))
    assert settled(sink, queue) == 0


def test_messages_of_a_lost_connection_come_back(channel, py_amqp, names):
    queue = names.queue()
    channel.queue_declare(queue)
    publish_all(channel, queue, BODIES)
    lost = py_amqp()
    got = []
    lost.channel().basic_consume(queue, callback=got.append)
    while len(got) < len(BODIES):
        lost.drain_events(timeout=20)
    lost.collect()                       # closes the socket without a word
    until(lambda: channel.queue_declare(queue, passive=True).method.message_count == 10,
          what="the return of the lost worker's messages")
    method, _, body = channel.basic_get(queue, auto_ack=True)
    assert (body, method.redelivered) == (BODIES[0], True)
