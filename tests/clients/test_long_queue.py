#!/usr/bin/python3
"""Queues that are much longer than what stays of them in memory."""
import pika
import pytest

from frames import Filler, Taker
from patience import until
from sight import Sight

LONG = 200_000
SMALL = 20_000
HELD = 30_000
BATCH = 1000
LARGE = (70_001, 150_000)
LARGE_BYTES = 10 * 1024 * 1024
MESSAGE_BYTES_MAX = 40 * 1024 * 1024  # in memory; there are more than 100 MiB
RESIDENT_BYTES_MAX = 200 * 1024 * 1024


def size_of(number):
    """Most are small; some are empty, of a page, of up to 300 KiB, and two of 10 MiB."""
    if number in LARGE:
        return LARGE_BYTES
    if number % 2000 == 7:
        return number * 7919 % 300_000
    if number % 50 == 3:
        return 4096
    return 0 if number % 10 == 0 else number * 31 % 200


def body_of(number, size):
    text = b"%d." % number
    return (text * (size // len(text) + 1))[:size]


def bodies(first, end):
    return (body_of(number, size_of(number)) for number in range(first, end))


def check(taker, first, end, redelivered=None):
    """The next deliveries are these messages, in order and as they were sent. Behind a kill more are
    marked as delivered than were."""
    for number in range(first, end):
        body, again = taker.next()
        assert body == body_of(number, size_of(number)), (
            f"instead of message {number}: {len(body)} bytes, {body[:40]!r}")
        assert redelivered in (None, again), f"message {number}: redelivered is {again}"


def count(channel, queue):
    return channel.queue_declare(queue, passive=True).method.message_count


class Place:
    """A broker with a channel to it, which may be killed."""

    def __init__(self, broker):
        self.broker = broker
        self.connect()

    def connect(self):
        self.connection = pika.BlockingConnection(self.broker.parameters())
        self.channel = self.connection.channel()

    def kill(self):
        process = self.broker.process
        process.process.kill()
        process.process.wait()
        process.reader.join()
        process.start()
        self.connect()

    def metric(self, name):
        return Sight(self.broker.process).metrics()[name]

    def fill(self, exchange, key, some, delivery_mode=lambda number: 2):
        filler = Filler(self.broker)
        filler.publish(exchange, key, some, delivery_mode)
        filler.close()

    def get(self, queue, number, redelivered=False):
        """basic.get gives this message; its tag."""
        method, _, body = self.channel.basic_get(queue)
        assert body == body_of(number, size_of(number))
        assert method.redelivered == redelivered
        return method.delivery_tag


@pytest.fixture
def place(start_broker):
    place = Place(start_broker())
    yield place
    place.connection.close()


def check_memory(place):
    """What both queues have in memory is bounded, whatever they have."""
    until(lambda: place.metric("godwit_message_memory_bytes") < MESSAGE_BYTES_MAX,
          what="messages out of memory")
    assert place.metric("godwit_store_messages_paged_out_total") > LONG / 2
    # A sanitizer has memory of its own.
    if place.broker.process.binary.parent.name not in ("asan", "tsan"):
        assert place.metric("rabbitmq_process_resident_memory_bytes") < RESIDENT_BYTES_MAX


def check_given_back(place, queue):
    """A consumer that takes without end, is cancelled and dies: all that it had comes back."""
    taker = Taker(place.broker, queue)
    check(taker, 0, 3, redelivered=True)
    check(taker, 3, HELD, redelivered=False)
    taker.cancel()
    assert count(place.channel, queue) <= LONG - HELD
    taker.close()
    until(lambda: count(place.channel, queue) == LONG, what="all messages back")


def check_taken(taker, first, end):
    """In batches, after which nothing is on its way."""
    for at in range(first, end, BATCH):
        check(taker, at, min(at + BATCH, end))
        taker.ack()


def check_all(place, queue):
    """Everything in order; what is given back in the middle comes again at once."""
    half = LONG // 2
    taker = Taker(place.broker, queue, prefetch=BATCH)
    check(taker, 0, BATCH, redelivered=True)
    taker.ack()
    check_taken(taker, BATCH, half)
    check(taker, half, half + BATCH, redelivered=False)
    taker.nack_last(BATCH // 2)
    again = half + BATCH // 2
    check(taker, again, half + BATCH, redelivered=True)
    check(taker, half + BATCH, again + BATCH, redelivered=False)
    taker.ack()
    check_taken(taker, again + BATCH, LONG)
    taker.send(pika.spec.Channel.Close(200, "", 0, 0))
    taker.expect(pika.spec.Channel.CloseOk)
    taker.close()
    assert count(place.channel, queue) == 0


def test_a_long_queue(place):
    """200,000 messages in two queues: counts, order, content and flags, and a kill in between."""
    channel = place.channel
    channel.exchange_declare("x", "fanout", durable=True)
    for queue in ("q", "twin"):
        channel.queue_declare(queue, durable=True)
        channel.queue_bind(queue, "x")
    place.fill("x", "", bodies(0, LONG))
    check_memory(place)
    assert count(channel, "q") == count(channel, "twin") == LONG
    tags = [place.get("q", number) for number in range(3)]
    channel.basic_nack(tags[-1], multiple=True, requeue=True)
    check_given_back(place, "q")
    place.kill()
    assert count(place.channel, "q") == count(place.channel, "twin") == LONG
    place.channel.basic_nack(place.get("q", 0, redelivered=True))
    check_all(place, "q")
    assert count(place.channel, "twin") == LONG
    assert place.channel.queue_purge("twin").method.message_count == LONG
    assert place.channel.basic_get("twin") == (None, None, None)
    place.fill("", "twin", bodies(0, SMALL))
    place.get("twin", 0)
    assert place.channel.queue_delete("twin").method.message_count == SMALL - 1
    assert place.metric("godwit_store_messages_lost_total") == 0


def test_pika_takes_from_a_long_queue(place):
    """By its own means: a prefetch, acks, and nacks of all that it has, again and again."""
    place.channel.queue_declare("q", durable=True)
    place.fill("", "q", (body_of(number, 4000) for number in range(SMALL)))
    until(lambda: place.metric("godwit_store_messages_paged_out_total") > SMALL / 4,
          what="messages out of memory")
    expected = 0
    while expected < SMALL:
        channel = place.connection.channel()
        channel.basic_qos(prefetch_count=100)
        for method, _, body in channel.consume("q", inactivity_timeout=30):
            assert body == body_of(expected, 4000)
            if expected % 4000 == 3999 and not method.redelivered:
                break
            channel.basic_ack(method.delivery_tag)
            expected += 1
            if expected == SMALL:
                break
        channel.close()  # which gives everything back
    assert count(place.channel, "q") == 0


def test_transient_messages_among_persistent_ones(place):
    """They keep the order, and are gone after a kill."""
    def is_kept(number):
        return number * 2654435761 % 100 < 70

    place.channel.queue_declare("q", durable=True)
    place.fill("", "q", (body_of(number, 1500) for number in range(SMALL)),
               lambda number: 2 if is_kept(number) else 1)
    assert count(place.channel, "q") == SMALL
    until(lambda: place.metric("godwit_store_messages_paged_out_total") > SMALL / 4,
          what="messages out of memory")
    taker = Taker(place.broker, "q")
    for number in range(SMALL):
        assert taker.next() == (body_of(number, 1500), False)
    taker.close()
    until(lambda: count(place.channel, "q") == SMALL, what="all messages back")
    place.kill()
    kept = [number for number in range(SMALL) if is_kept(number)]
    assert count(place.channel, "q") == len(kept)
    taker = Taker(place.broker, "q")
    for number in kept:
        assert taker.next() == (body_of(number, 1500), True)
    taker.close()


# ---- spill files ----

SPILLED = 150_000
SPILLED_BYTES = 1500


@pytest.fixture
def small_place(start_broker):
    """A broker that may not use as much memory as its messages take."""
    place = Place(start_broker("vm_memory_high_watermark.absolute = 128MiB\n"))
    if place.broker.process.binary.parent.name in ("asan", "tsan"):
        pytest.skip("a sanitizer has memory of its own, which is more than the limit")
    yield place
    place.connection.close()


def fill_transient(place, queue, end, first=0, delivery_mode=1):
    place.fill("", queue, (body_of(number, SPILLED_BYTES) for number in range(first, end)),
               lambda number: delivery_mode)


def spill_files(place):
    return list(place.broker.process.folder.glob("**/*.spill"))


def expect_no_spill_files(place):
    until(lambda: place.metric("godwit_spill_file_bytes") == 0, what="spill files not needed")
    until(lambda: not spill_files(place), what="spill files removed")


def test_transient_messages_are_spilled(small_place):
    """More of them than memory: nobody is blocked, all come back in order, and no file is left."""
    place = small_place
    place.channel.queue_declare("q")
    fill_transient(place, "q", SPILLED)
    assert count(place.channel, "q") == SPILLED
    assert place.metric("godwit_spill_messages_total") > SPILLED / 2
    assert spill_files(place)
    until(lambda: place.metric("rabbitmq_alarms_memory_used_watermark") == 0, what="no alarm")
    for number in range(3):
        method, _, body = place.channel.basic_get("q")
        assert body == body_of(number, SPILLED_BYTES)
    place.channel.basic_nack(method.delivery_tag, multiple=True)
    taker = Taker(place.broker, "q", prefetch=BATCH)
    for number in range(SPILLED):
        assert taker.next() == (body_of(number, SPILLED_BYTES), number < 3)
        if number % (BATCH // 2) == 0:
            taker.ack()
    taker.ack()
    until(lambda: count(place.channel, "q") == 0, what="an empty queue")
    taker.close()
    expect_no_spill_files(place)
    assert place.metric("godwit_store_messages_lost_total") == 0


def test_what_several_queues_have_is_spilled(small_place):
    """Each queue spills its own; memory is there again when the last one has, at whatever shard."""
    place = small_place
    queues = ["one", "two", "three"]
    for queue in queues:
        place.channel.queue_declare(queue)
        place.channel.queue_bind(queue, "amq.fanout")
    place.fill("amq.fanout", "", (body_of(number, SPILLED_BYTES) for number in range(SPILLED)),
               lambda number: 1)
    assert place.metric("godwit_spill_messages_total") > SPILLED
    for queue in queues:
        assert count(place.channel, queue) == SPILLED
        taker = Taker(place.broker, queue)
        for number in range(SPILLED):
            assert taker.next() == (body_of(number, SPILLED_BYTES), False)
        taker.ack()
        until(lambda: count(place.channel, queue) == 0, what="an empty queue")
        taker.close()
    expect_no_spill_files(place)


def test_spill_files_go_with_their_messages(small_place):
    """By a purge, by a delete, and with the connection of an exclusive queue."""
    place = small_place
    mine = pika.BlockingConnection(place.broker.parameters())
    mine.channel().queue_declare("mine", exclusive=True)
    place.channel.queue_declare("q")
    for queue in ("q", "mine"):
        fill_transient(place, queue, SPILLED // 2)
    assert spill_files(place)
    assert place.channel.queue_purge("q").method.message_count == SPILLED // 2
    mine.close()
    expect_no_spill_files(place)
    fill_transient(place, "q", SPILLED)
    assert spill_files(place)
    assert place.channel.queue_delete("q").method.message_count == SPILLED
    expect_no_spill_files(place)


def test_a_kill_takes_spilled_messages(small_place):
    """In a durable queue only what is persistent comes back, and the files are gone."""
    place = small_place
    place.channel.queue_declare("q", durable=True)
    step = SPILLED // 10
    kept = []
    for first in range(0, SPILLED, step):
        delivery_mode = 2 if first // step % 4 == 1 else 1
        fill_transient(place, "q", first + step, first, delivery_mode)
        if delivery_mode == 2:
            kept += range(first, first + step)
    assert place.metric("godwit_spill_messages_total") > SPILLED / 4
    assert spill_files(place)
    place.kill()
    assert not spill_files(place)
    assert count(place.channel, "q") == len(kept)
    taker = Taker(place.broker, "q", prefetch=BATCH)
    for number in kept:
        assert taker.next() == (body_of(number, SPILLED_BYTES), False)
        if number % (BATCH // 2) == 0:
            taker.ack()
    taker.close()
