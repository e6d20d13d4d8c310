"""test_consume: consumers: their tags, exclusiveness, order, cancelling, and being cancelled."""
import re

import pytest

from wire import CAPABILITIES

IN_USE = "ACCESS_REFUSED - queue '{}' in vhost '/' in exclusive use"


@pytest.fixture
def queue(ch, fresh):
    """A queue that any connection may use."""
    name = fresh()
    ch.call("queue.declare", queue=name)
    return name


def test_tags(ch, queue):
    assert ch.consume(queue, "mine") == "mine"
    assert ch.consume(queue, "amq.mine") == "amq.mine"
    assert ch.consume(queue, "x" * 255) == "x" * 255
    made = {ch.consume(queue) for _ in range(5)}
    assert len(made) == 5
    for tag in made:
        assert re.fullmatch(r"amq\.ctag-[A-Za-z0-9_-]{22}", tag), tag


@pytest.mark.parametrize("missing", [False, True])
def test_tag_in_use(client, queue, missing):
    ch = client.channel()
    ch.consume(queue, "t")
    ch.send("basic.consume", queue="absent" if missing else queue, consumer_tag="t")
    client.expect_close(530, "NOT_ALLOWED - attempt to reuse consumer tag 't'", "basic.consume")


def test_tags_are_the_channels_own(client, queue):
    for _ in range(2):
        client.channel().consume(queue, "t")


def test_tag_can_be_used_again_after_cancel(ch, queue):
    for _ in range(3):
        ch.consume(queue, "t")
        assert ch.call("basic.cancel", consumer_tag="t") == {"consumer_tag": "t"}


@pytest.mark.parametrize("tag", ["absent", ""])
def test_cancel_unknown(ch, tag):
    assert ch.call("basic.cancel", consumer_tag=tag) == {"consumer_tag": tag}


def test_cancel_of_another_channels_consumer_does_nothing(ch, client, queue):
    other = client.channel()
    other.consume(queue, "t", no_ack=True)
    ch.call("basic.cancel", consumer_tag="t")
    ch.publish(b"x", queue)
    assert other.deliver(consumer_tag="t").body == b"x"


def test_nowait(ch, queue):
    ch.send("basic.consume", queue=queue, consumer_tag="t", nowait=True, no_ack=True)
    ch.publish(b"x", queue)
    ch.deliver(consumer_tag="t", delivery_tag=1)
    ch.send("basic.cancel", consumer_tag="t", nowait=True)
    ch.publish(b"y", queue)
    assert ch.get(queue).body == b"y"


@pytest.mark.parametrize("first, second", [(True, False), (True, True), (False, True)])
@pytest.mark.parametrize("where", ["same channel", "other connection"])
def test_exclusive(ch, connect, queue, first, second, where):
    ch.consume(queue, "one", exclusive=first)
    other = ch if where == "same channel" else connect().channel()
    other.refused(403, IN_USE.format(queue), "basic.consume", queue=queue, consumer_tag="two",
                  exclusive=second)


def test_exclusive_ends_with_its_consumer(ch, connect, queue):
    ch.consume(queue, "one", exclusive=True)
    ch.call("basic.cancel", consumer_tag="one")
    other = connect()
    second = other.channel()
    second.consume(queue, "two", exclusive=True)
    second.close()
    ch.consume(queue, "one", exclusive=True)


def test_exclusive_consumer_does_not_stop_get(ch, connect, queue):
    ch.call("basic.qos", prefetch_count=1)
    ch.consume(queue, exclusive=True)
    for body in (b"1", b"2"):
        ch.publish(body, queue)
    ch.deliver()
    ch.wait_counts(queue, 1, 1)
    assert connect().channel().get(queue).body == b"2"


@pytest.mark.parametrize("arguments, text", [
    ({"x-priority": "a"}, "'x-priority' for queue '{}' in vhost '/': "
                          "\"expected integer, got longstr\""),
    ({"x-priority": 1.5}, "'x-priority' for queue '{}' in vhost '/': "
                          "\"expected integer, got double\""),
    ({"x-cancel-on-ha-failover": "a"},
     "'x-cancel-on-ha-failover' for queue '{}' in vhost '/': {{unacceptable_type,longstr}}"),
    ({"x-stream-offset": "first"},
     "'x-stream-offset' for queue '{}' in vhost '/' of queue type rabbit_classic_queue")], ids=repr)
def test_arguments_that_are_refused(ch, queue, arguments, text):
    ch.refused(406, "PRECONDITION_FAILED - invalid arg " + text.format(queue), "basic.consume",
               queue=queue, arguments=arguments)


@pytest.mark.parametrize("arguments", [
    {"x-priority": -5}, {"x-priority": 1 << 40}, {"x-cancel-on-ha-failover": True}, {"mine": [1]}],
    ids=repr)
def test_arguments_that_are_taken(ch, queue, arguments):
    ch.consume(queue, arguments=arguments)


def test_no_local_is_ignored(ch, queue):
    ch.consume(queue, no_local=True, no_ack=True)
    ch.publish(b"x", queue)
    assert ch.deliver().body == b"x"


def test_deliver_says_where_it_came_from(ch, queue):
    ch.call("queue.bind", queue=queue, exchange="amq.topic", routing_key=queue + ".*")
    ch.consume(queue, "t")
    ch.publish(b"x", queue + ".a", "amq.topic")
    ch.deliver(consumer_tag="t", delivery_tag=1, redelivered=False, exchange="amq.topic",
               routing_key=queue + ".a")
    ch.publish(b"y", queue)
    ch.deliver(consumer_tag="t", delivery_tag=2, redelivered=False, exchange="", routing_key=queue)


def test_delivery_tags_count_per_channel(ch, client):
    """One sequence for all consumers and gets of a channel, also for no-ack ones."""
    one, two, other = ch.declare(), ch.declare(), client.channel()
    ch.consume(one, "one", no_ack=True)
    for tag in (1, 2):
        ch.publish(b"", one)
        ch.deliver(delivery_tag=tag)
    ch.publish(b"", two)
    assert ch.get(two).method["delivery_tag"] == 3
    ch.publish(b"", one)
    ch.deliver(delivery_tag=4)
    ch.publish(b"", two)
    assert other.get(two).method["delivery_tag"] == 1


def test_order_of_many(ch, client, queue):
    for i in range(1000):
        ch.publish(b"%d" % i, queue)
    taker = client.channel()
    taker.consume(queue, no_ack=True)
    assert taker.bodies(1000) == [b"%d" % i for i in range(1000)]


def test_round_robin(ch, client):
    """Three consumers with room take turns."""
    queue, takers = ch.declare(), [client.channel() for _ in range(3)]
    for i, taker in enumerate(takers):
        taker.consume(queue, f"t{i}", no_ack=True)
    turns = []
    for i in range(9):
        ch.publish(b"", queue)
        got = client.next()
        takers[got.channel - 2].content(got.fields)
        turns.append(got.fields["consumer_tag"])
    assert turns[:3] == turns[3:6] == turns[6:] and sorted(turns[:3]) == ["t0", "t1", "t2"]


def test_round_robin_starts_with_the_first_consumer(ch, client):
    queue = ch.declare()
    for i in range(3):
        ch.consume(queue, f"t{i}", no_ack=True)
    for i in range(6):
        ch.publish(b"", queue)
        assert ch.deliver().method["consumer_tag"] == f"t{i % 3}"


def test_fairness_with_a_backlog(ch, client):
    """Consumers that all have room share 300 waiting messages evenly."""
    queue = ch.declare()
    takers = [client.channel() for _ in range(3)]
    for taker in takers:
        taker.call("basic.qos", prefetch_count=100)
        taker.consume(queue)
    for i in range(300):
        ch.publish(b"", queue)
    seen = [0, 0, 0]
    for _ in range(300):
        got = client.next()
        takers[got.channel - 2].content(got.fields)
        seen[got.channel - 2] += 1
    assert seen == [100, 100, 100]


def test_consumer_that_is_full_is_passed_over(ch, client):
    queue, slow, fast = ch.declare(), client.channel(), client.channel()
    slow.call("basic.qos", prefetch_count=1)
    slow.consume(queue)
    ch.publish(b"slow", queue)
    assert slow.deliver().body == b"slow"
    fast.consume(queue, no_ack=True)
    for i in range(20):
        ch.publish(b"%d" % i, queue)
    assert fast.bodies(20) == [b"%d" % i for i in range(20)]


def test_consumer_priorities(ch, client):
    """The highest with room gets all; then the next."""
    queue, low, high = ch.declare(), client.channel(), client.channel()
    low.consume(queue, "low", no_ack=True)
    high.call("basic.qos", prefetch_count=2)
    high.consume(queue, "high", arguments={"x-priority": 10})
    for i in range(4):
        ch.publish(b"%d" % i, queue)
    got = sorted((client.next() for _ in range(12)), key=lambda frame: frame.channel)
    tags = [frame.fields["consumer_tag"] for frame in got if hasattr(frame, "fields")]
    assert tags == ["low", "low", "high", "high"]


def test_cancel_keeps_what_was_delivered(ch, queue):
    """Unacked messages stay the channel's, and can be acked; the rest stays in the queue."""
    ch.call("basic.qos", prefetch_count=2)
    ch.consume(queue, "t")
    for i in range(5):
        ch.publish(b"%d" % i, queue)
    assert ch.bodies(2) == [b"0", b"1"]
    ch.call("basic.cancel", consumer_tag="t")
    ch.send("basic.ack", delivery_tag=1)
    assert ch.drain(queue) == [b"2", b"3", b"4"]
    ch.send("basic.nack", delivery_tag=2, requeue=True)
    assert ch.get(queue).body == b"1"


def test_nothing_is_delivered_after_cancel_ok(ch, client, queue):
    ch.consume(queue, "t", no_ack=True)
    ch.call("basic.cancel", consumer_tag="t")
    ch.publish(b"x", queue)
    ch.quiet(queue)
    assert ch.get(queue).body == b"x"


def test_channel_close_requeues(ch, client, queue):
    other = client.channel()
    for i in range(5):
        ch.publish(b"%d" % i, queue)
    other.consume(queue)
    assert len(other.bodies(5)) == 5
    other.send("basic.ack", delivery_tag=2)
    other.close()
    got = [ch.get(queue) for _ in range(4)]
    assert [(m.body, m.method["redelivered"]) for m in got] == [
        (b"0", True), (b"2", True), (b"3", True), (b"4", True)]


def test_connection_close_requeues(ch, connect, queue):
    client = connect()
    other = client.channel()
    ch.publish(b"x", queue)
    other.consume(queue)
    other.deliver(redelivered=False)
    client.disconnect()
    ch.consume(queue)
    assert ch.deliver(redelivered=True).body == b"x"


def test_cancelled_when_the_queue_is_deleted(ch, connect, queue):
    other = connect().channel()
    other.consume(queue, "one")
    other.consume(queue, "two", no_ack=True)
    ch.call("queue.delete", queue=queue)
    tags = {other.expect("basic.cancel", nowait=True)["consumer_tag"] for _ in range(2)}
    assert tags == {"one", "two"}
    other.call("basic.cancel", consumer_tag="one")
    other.declare()
    other.consume("", "one")


def test_cancelled_on_the_deleting_channel_after_delete_ok(ch, queue):
    ch.consume(queue, "t")
    ch.call("queue.delete", queue=queue)
    ch.expect("basic.cancel", consumer_tag="t", nowait=True)


def test_not_told_without_the_capability(connect, ch, fresh):
    quiet = {k: v for k, v in CAPABILITIES.items() if k != "consumer_cancel_notify"}
    for capabilities in ({}, quiet, {**quiet, "consumer_cancel_notify": False}):
        other = connect(capabilities=capabilities).channel()
        name = fresh()
        other.call("queue.declare", queue=name)
        other.consume(name, "t")
        ch.call("queue.delete", queue=name)
        other.declare()
        other.quiet(other.declare())


def test_unacked_of_a_deleted_queue_can_still_be_settled(ch, queue):
    for i in range(3):
        ch.publish(b"", queue)
        ch.get(queue, no_ack=False)
    ch.call("queue.delete", queue=queue)
    ch.send("basic.ack", delivery_tag=1)
    ch.send("basic.reject", delivery_tag=2, requeue=True)
    ch.send("basic.nack", delivery_tag=0, multiple=True, requeue=True)
    ch.declare()


def test_no_queue_is_said_before_a_tag_in_use(connect, ch, queue):
    ch.consume(queue, "t")
    other = connect().channel()
    other.consume(queue, "t")
    other.refused(404, "NOT_FOUND - no previously declared queue", "basic.consume", consumer_tag="t")
