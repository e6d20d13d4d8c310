"""test_qos: prefetch per consumer and per channel, in all orders."""
import collections

import pytest

from wire import Method


class Taker:
    """A channel that counts what its consumers get, whatever else is being asked meanwhile."""

    def __init__(self, client, queue):
        self.channel, self.queue, self.seen = client.channel(), queue, collections.Counter()

    def answer(self):
        """The next method that is no delivery; deliveries before it are counted."""
        while True:
            got = self.channel.client.next()
            if isinstance(got, Method):
                if got.name != "basic.deliver":
                    return got
                self.seen[got.fields["consumer_tag"]] += 1

    def call(self, name, **fields):
        self.channel.send(name, **fields)
        got = self.answer()
        assert (got.channel, got.name) == (self.channel.number, name + "_ok"), got

    def qos(self, count, shared=False):
        self.call("basic.qos", prefetch_count=count, global_=shared)

    def consume(self, tag, queue=None):
        self.call("basic.consume", queue=queue or self.queue, consumer_tag=tag)

    def ack(self, tag=0, multiple=True):
        self.channel.send("basic.ack", delivery_tag=tag, multiple=multiple)

    def gets(self, count):
        """Exactly this many deliveries come now; returns how many each consumer got."""
        while self.seen.total() < count:
            got = self.channel.client.next()
            if isinstance(got, Method):
                assert got.name == "basic.deliver", got
                self.seen[got.fields["consumer_tag"]] += 1
        for _ in range(2):
            self.call("queue.unbind", queue=self.queue, exchange="amq.direct", routing_key="absent")
            self.call("queue.declare", queue=self.queue, passive=True)
        seen, self.seen = dict(self.seen), collections.Counter()
        assert sum(seen.values()) == count, seen
        return seen


@pytest.fixture
def queue(ch, fresh):
    name = fresh()
    ch.call("queue.declare", queue=name)
    for i in range(100):
        ch.publish(b"%d" % i, name)
    ch.wait_counts(name, 100)
    return name


@pytest.fixture
def taker(client, queue):
    return Taker(client, queue)


def test_prefetch_size_is_not_implemented(client):
    client.channel().send("basic.qos", prefetch_size=1, prefetch_count=10)
    client.expect_close(540, "NOT_IMPLEMENTED - prefetch_size!=0 (1)", "basic.qos")


@pytest.mark.parametrize("count", [0, 1, 65535])
@pytest.mark.parametrize("shared", [False, True])
def test_qos_ok(ch, count, shared):
    assert ch.call("basic.qos", prefetch_count=count, global_=shared) == {}


@pytest.mark.parametrize("count", [1, 7, 50])
def test_per_consumer(taker, count):
    taker.qos(count)
    taker.consume("a")
    taker.consume("b")
    assert taker.gets(2 * count) == {"a": count, "b": count}


def test_per_consumer_is_for_consumers_to_come(taker):
    for tag, count in (("a", 3), ("b", 5), ("c", 1)):
        taker.qos(count)
        taker.consume(tag)
    assert taker.gets(9) == {"a": 3, "b": 5, "c": 1}
    taker.qos(50)
    taker.gets(0)


@pytest.mark.parametrize("shared", [False, True])
def test_zero_is_no_limit(taker, shared):
    taker.qos(0, shared)
    taker.consume("a")
    taker.gets(100)


def test_shared_by_the_channel(taker):
    taker.qos(10, shared=True)
    for tag in "abc":
        taker.consume(tag)
    taker.gets(10)
    taker.ack(4)
    taker.gets(4)


@pytest.mark.parametrize("first, then, more", [(5, 8, 3), (5, 3, 0)])
def test_shared_limit_changes_at_once(taker, first, then, more):
    taker.qos(first, shared=True)
    taker.consume("a")
    taker.gets(first)
    taker.qos(then, shared=True)
    taker.gets(more)


def test_shared_limit_is_lifted(taker):
    taker.qos(5, shared=True)
    taker.consume("a")
    taker.gets(5)
    taker.qos(0, shared=True)
    taker.gets(95)


def test_a_smaller_shared_limit_waits_for_acks(taker):
    taker.qos(5, shared=True)
    taker.consume("a")
    taker.gets(5)
    taker.qos(3, shared=True)
    taker.ack(2)
    taker.gets(0)
    taker.ack(3)
    taker.gets(1)


def test_per_consumer_after_shared_lifts_the_shared_limit(taker):
    taker.qos(10, shared=True)
    taker.qos(4)
    for tag in "abcd":
        taker.consume(tag)
    assert taker.gets(16) == dict.fromkeys("abcd", 4)


def test_per_consumer_then_shared_both_hold(taker):
    taker.qos(4)
    taker.qos(10, shared=True)
    for tag in "abcd":
        taker.consume(tag)
    assert max(taker.gets(10).values()) <= 4


@pytest.mark.parametrize("shared", [False, True])
def test_acks_make_room(taker, shared):
    taker.qos(2, shared)
    taker.consume("a")
    for tag in range(1, 40):
        taker.channel.deliver(delivery_tag=tag)
        taker.ack(tag)


@pytest.mark.parametrize("name, fields", [
    ("basic.nack", {"requeue": False}), ("basic.reject", {"requeue": False}), ("basic.ack", {})])
@pytest.mark.parametrize("shared", [False, True])
def test_any_settling_makes_room(taker, shared, name, fields):
    taker.qos(1, shared)
    taker.consume("a")
    taker.channel.deliver(delivery_tag=1)
    taker.channel.send(name, delivery_tag=1, **fields)
    assert taker.channel.deliver(delivery_tag=2).body == b"1"


@pytest.mark.parametrize("shared", [False, True])
def test_no_ack_knows_no_limit(taker, shared):
    taker.qos(1, shared)
    taker.call("basic.consume", queue=taker.queue, no_ack=True)
    taker.gets(100)


@pytest.mark.parametrize("shared", [False, True])
def test_get_knows_no_limit_and_does_not_count(taker, shared):
    taker.qos(3, shared)
    for _ in range(2):
        taker.channel.get(taker.queue, no_ack=False)
    taker.consume("a")
    taker.gets(3)
    for _ in range(5):
        assert taker.channel.get(taker.queue, no_ack=False)


def test_limits_are_the_channels_own(connect, queue):
    takers = [Taker(connect(), queue) for _ in range(2)]
    for i, taker in enumerate(takers):
        taker.qos(i + 1, shared=True)
        taker.consume("a")
    for i, taker in enumerate(takers):
        taker.gets(i + 1)


def test_shared_limit_over_two_queues(ch, taker, fresh):
    second = fresh()
    ch.call("queue.declare", queue=second)
    for i in range(20):
        ch.publish(b"", second)
    taker.qos(6, shared=True)
    taker.consume("a")
    taker.consume("b", second)
    taker.gets(6)
    taker.ack()
    taker.gets(6)


def test_unacked_of_a_cancelled_consumer_still_count_for_the_shared_limit(taker):
    taker.qos(4, shared=True)
    taker.consume("a")
    taker.gets(4)
    taker.call("basic.cancel", consumer_tag="a")
    taker.consume("b")
    taker.gets(0)
    taker.ack()
    assert taker.gets(4) == {"b": 4}


def test_unacked_of_a_cancelled_consumer_do_not_count_for_the_next(taker):
    taker.qos(4)
    taker.consume("a")
    taker.gets(4)
    taker.call("basic.cancel", consumer_tag="a")
    taker.consume("a")
    taker.gets(4)


def test_recover_makes_room(taker):
    taker.qos(2)
    taker.consume("a")
    taker.gets(2)
    taker.call("basic.recover", requeue=True)
    taker.gets(2)
