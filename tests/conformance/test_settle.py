"""test_settle: get, ack, nack, reject, recover: what is open, what returns, in which order."""
import pytest

from wire import Method

UNKNOWN = "PRECONDITION_FAILED - unknown delivery tag {}"


@pytest.fixture
def queue(ch):
    return ch.declare()


def fill(ch, queue, count):
    for i in range(count):
        ch.publish(b"%d" % i, queue)


def take(ch, queue, count):
    """Get messages unacked; their delivery tags start at 1 on a channel of its own."""
    return [ch.get(queue, no_ack=False) for _ in range(count)]


def remaining(ch, queue, given_back=None):
    """(body, redelivered) of all ready messages, which are gone afterwards. RabbitMQ gives back
    what a closed channel had from basic.get only after close-ok: say how many to wait for."""
    if given_back is not None:
        ch.wait_counts(queue, given_back)
    return [(m.body, m.method["redelivered"]) for m in iter(lambda: ch.get(queue), None)]


def bodies(*numbers):
    return [b"%d" % n for n in numbers]


def test_get_empty(ch, queue):
    assert ch.call("basic.get", "basic.get_empty", queue=queue) == {"reserved_1": ""}


@pytest.mark.parametrize("no_ack", [False, True])
def test_get_ok(ch, queue, no_ack):
    fill(ch, queue, 3)
    for i in range(3):
        got = ch.get(queue, no_ack=no_ack)
        assert got.body == b"%d" % i
        assert got.method == {"delivery_tag": i + 1, "redelivered": False, "exchange": "",
                              "routing_key": queue, "message_count": 2 - i}


@pytest.mark.parametrize("name", ["basic.ack", "basic.nack", "basic.reject"])
@pytest.mark.parametrize("tag", [0, 1, 5, (1 << 64) - 1])
def test_tag_never_given(ch, name, tag):
    ch.refused(406, UNKNOWN.format(tag), name, delivery_tag=tag)


@pytest.mark.parametrize("name", ["basic.ack", "basic.nack", "basic.reject"])
def test_tag_settled_twice(ch, queue, name):
    fill(ch, queue, 2)
    take(ch, queue, 2)
    ch.send(name, delivery_tag=1)
    ch.refused(406, UNKNOWN.format(1), name, delivery_tag=1)
    assert remaining(ch, queue, 1) == [(b"1", True)]


@pytest.mark.parametrize("name", ["basic.ack", "basic.nack", "basic.reject"])
def test_tag_of_a_no_ack_message(ch, queue, name):
    fill(ch, queue, 1)
    ch.get(queue, no_ack=True)
    ch.refused(406, UNKNOWN.format(1), name, delivery_tag=1)


def test_tag_of_another_channel(ch, client, queue):
    other = client.channel()
    fill(ch, queue, 1)
    ch.wait_counts(queue, 1)
    take(other, queue, 1)
    ch.refused(406, UNKNOWN.format(1), "basic.ack", delivery_tag=1)
    other.send("basic.ack", delivery_tag=1)
    other.close()
    assert remaining(ch, queue) == []


@pytest.mark.parametrize("name", ["basic.ack", "basic.nack"])
def test_zero_multiple_is_all_of_the_channel(ch, client, queue, name):
    other = client.channel()
    fill(ch, queue, 5)
    take(ch, queue, 3)
    assert take(other, queue, 1)[0].body == b"3"
    for _ in range(2):
        ch.send(name, delivery_tag=0, multiple=True)
    assert remaining(ch, queue) == [(b"4", False)]
    other.close()
    assert remaining(ch, queue, 1) == [(b"3", True)]


@pytest.mark.parametrize("name", ["basic.ack", "basic.nack"])
def test_multiple_up_to_a_tag(ch, queue, name):
    fill(ch, queue, 5)
    take(ch, queue, 5)
    ch.send(name, delivery_tag=3, multiple=True)
    ch.close()
    ch.reopen()
    assert remaining(ch, queue, 2) == [(b"3", True), (b"4", True)]


@pytest.mark.parametrize("name", ["basic.ack", "basic.nack"])
def test_multiple_of_a_settled_tag_with_others_below(ch, queue, name):
    """The tag itself must be outstanding, or the whole channel is closed and nothing is settled."""
    fill(ch, queue, 3)
    take(ch, queue, 3)
    ch.send("basic.ack", delivery_tag=2)
    ch.refused(406, UNKNOWN.format(2), name, delivery_tag=2, multiple=True)
    assert remaining(ch, queue, 2) == [(b"0", True), (b"2", True)]


@pytest.mark.parametrize("name", ["basic.ack", "basic.nack"])
def test_multiple_above_all_given(ch, queue, name):
    fill(ch, queue, 3)
    take(ch, queue, 3)
    ch.refused(406, UNKNOWN.format(9), name, delivery_tag=9, multiple=True)
    assert remaining(ch, queue, 3) == [(b"0", True), (b"1", True), (b"2", True)]


@pytest.mark.parametrize("name", ["basic.ack", "basic.nack"])
def test_multiple_with_nothing_at_or_below(ch, queue, name):
    fill(ch, queue, 2)
    take(ch, queue, 2)
    ch.send(name, delivery_tag=1)
    ch.refused(406, UNKNOWN.format(1), name, delivery_tag=1, multiple=True)


def test_acks_out_of_order(ch, queue):
    fill(ch, queue, 6)
    take(ch, queue, 6)
    for tag in (6, 2, 4):
        ch.send("basic.ack", delivery_tag=tag)
    ch.close()
    ch.reopen()
    assert [body for body, _ in remaining(ch, queue, 3)] == bodies(0, 2, 4)


@pytest.mark.parametrize("name", ["basic.nack", "basic.reject"])
def test_requeue_marks_redelivered(ch, queue, name):
    fill(ch, queue, 1)
    for i in range(4):
        got = ch.get(queue, no_ack=False)
        assert got.method["redelivered"] == (i > 0)
        ch.send(name, delivery_tag=i + 1, requeue=True)
    assert remaining(ch, queue) == [(b"0", True)]


@pytest.mark.parametrize("name", ["basic.nack", "basic.reject"])
def test_without_requeue_it_is_gone(ch, queue, name):
    fill(ch, queue, 2)
    take(ch, queue, 1)
    ch.send(name, delivery_tag=1, requeue=False)
    assert remaining(ch, queue) == [(b"1", False)]


@pytest.mark.parametrize("tags", [[1], [3, 1, 2], [1, 2, 3], [2]])
def test_requeue_goes_back_to_its_place(ch, queue, tags):
    fill(ch, queue, 5)
    take(ch, queue, 3)
    for tag in tags:
        ch.send("basic.reject", delivery_tag=tag, requeue=True)
    assert remaining(ch, queue) == [(b"%d" % (tag - 1), True) for tag in sorted(tags)] + [
        (b"3", False), (b"4", False)]


def test_requeue_of_many(ch, queue):
    fill(ch, queue, 200)
    take(ch, queue, 150)
    ch.send("basic.nack", delivery_tag=100, multiple=True, requeue=True)
    ch.send("basic.nack", delivery_tag=0, multiple=True, requeue=True)
    assert [body for body, _ in remaining(ch, queue)] == bodies(*range(200))


def test_requeue_to_a_waiting_consumer(ch, client, queue):
    other = client.channel()
    fill(ch, queue, 1)
    take(ch, queue, 1)
    other.consume(queue)
    ch.send("basic.nack", delivery_tag=1, requeue=True)
    assert other.deliver(redelivered=True).body == b"0"


def test_reject_then_get_on_one_channel(ch, queue):
    """Methods of a channel act in their order: what was requeued can be had at once."""
    fill(ch, queue, 1)
    for tag in range(1, 50):
        assert take(ch, queue, 1)[0].method["delivery_tag"] == tag
        ch.send("basic.reject", delivery_tag=tag, requeue=True)


def test_consumer_gets_its_own_requeue(ch, queue):
    ch.consume(queue)
    fill(ch, queue, 1)
    ch.deliver(redelivered=False, delivery_tag=1)
    ch.send("basic.nack", delivery_tag=1, requeue=True)
    ch.deliver(redelivered=True, delivery_tag=2)


def test_recover_requeues_all(ch, queue):
    fill(ch, queue, 4)
    take(ch, queue, 3)
    ch.send("basic.ack", delivery_tag=2)
    assert ch.call("basic.recover", requeue=True) == {}
    assert remaining(ch, queue) == [(b"0", True), (b"2", True), (b"3", False)]
    ch.refused(406, UNKNOWN.format(1), "basic.ack", delivery_tag=1)


def test_recover_with_nothing_outstanding(ch):
    ch.call("basic.recover", requeue=True)


def test_recover_async_says_nothing(ch, queue):
    fill(ch, queue, 2)
    take(ch, queue, 2)
    ch.send("basic.recover_async", requeue=True)
    assert remaining(ch, queue) == [(b"0", True), (b"1", True)]


def test_recover_to_the_same_consumer(ch, queue):
    ch.consume(queue, "t")
    fill(ch, queue, 2)
    ch.bodies(2)
    ch.send("basic.recover", requeue=True)
    got = [ch.client.next() for _ in range(7)]
    methods = [frame for frame in got if isinstance(frame, Method)]
    assert [m.name for m in methods].count("basic.recover_ok") == 1
    delivered = [m.fields for m in methods if m.name == "basic.deliver"]
    assert [(f["delivery_tag"], f["redelivered"]) for f in delivered] == [(3, True), (4, True)]


@pytest.mark.parametrize("name", ["basic.recover", "basic.recover_async"])
def test_recover_without_requeue(client, name):
    client.channel().send(name, requeue=False)
    client.expect_close(540, "NOT_IMPLEMENTED - requeue=false", name)


def test_unknown_tag_requeues_the_rest(ch, queue):
    """A channel that is closed for an error gives back what it held."""
    fill(ch, queue, 3)
    take(ch, queue, 2)
    ch.refused(406, UNKNOWN.format(7), "basic.ack", delivery_tag=7)
    assert remaining(ch, queue, 3) == [(b"0", True), (b"1", True), (b"2", False)]


def test_tags_start_again_after_reopening(ch, queue):
    fill(ch, queue, 1)
    take(ch, queue, 1)
    ch.close()
    ch.reopen()
    ch.wait_counts(queue, 1)
    assert take(ch, queue, 1)[0].method["delivery_tag"] == 1
