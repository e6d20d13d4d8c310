"""test_tx: transactions over publishes and settlements of one channel."""
import pytest

NOT_TX = "PRECONDITION_FAILED - channel is not transactional"


@pytest.fixture
def tx(client):
    channel = client.channel()
    channel.call("tx.select")
    return channel


@pytest.fixture
def queue(ch):
    return ch.declare()


@pytest.mark.parametrize("name", ["tx.commit", "tx.rollback"])
def test_needs_select(ch, name):
    ch.refused(406, NOT_TX, name)


@pytest.mark.parametrize("name", ["tx.select", "tx.commit", "tx.rollback"])
def test_empty(tx, name):
    for _ in range(3):
        assert tx.call(name) == {}


def test_reopened_channel_is_not_transactional(tx):
    tx.close()
    tx.reopen()
    tx.refused(406, NOT_TX, "tx.commit")


def test_publish_is_seen_after_commit(tx, ch, queue):
    for i in range(3):
        tx.publish(b"%d" % i, queue)
    assert tx.get(queue) is None and ch.get(queue) is None
    tx.call("tx.commit")
    assert ch.drain(queue) == [b"0", b"1", b"2"]


def test_publish_is_forgotten_by_rollback(tx, ch, queue):
    tx.publish(b"no", queue)
    tx.call("tx.rollback")
    tx.publish(b"yes", queue)
    tx.call("tx.commit")
    assert ch.drain(queue) == [b"yes"]


def test_closing_the_channel_is_a_rollback(tx, ch, queue):
    tx.publish(b"no", queue)
    tx.close()
    assert ch.get(queue) is None


def test_acks_count_after_commit(tx, ch, queue):
    for i in range(4):
        ch.publish(b"%d" % i, queue)
    ch.wait_counts(queue, 4)
    for _ in range(3):
        tx.get(queue, no_ack=False)
    tx.send("basic.ack", delivery_tag=1)
    tx.call("tx.commit")
    tx.send("basic.ack", delivery_tag=2)
    tx.close()
    ch.wait_counts(queue, 3)
    assert ch.drain(queue) == [b"1", b"2", b"3"]


@pytest.mark.parametrize("name, fields", [
    ("basic.ack", {"delivery_tag": 3, "multiple": True}),
    ("basic.nack", {"delivery_tag": 3, "multiple": True, "requeue": True}),
    ("basic.nack", {"delivery_tag": 3, "multiple": True, "requeue": False}),
    ("basic.nack", {"delivery_tag": 0, "multiple": True, "requeue": False}),
    ("basic.reject", {"delivery_tag": 2, "requeue": True})])
def test_rollback_makes_acks_undone_and_redelivers_nothing(tx, ch, queue, name, fields):
    """The messages stay outstanding with the same tags, and can be settled again."""
    for i in range(3):
        ch.publish(b"%d" % i, queue)
    ch.wait_counts(queue, 3)
    for _ in range(3):
        tx.get(queue, no_ack=False)
    tx.send(name, **fields)
    tx.call("tx.rollback")
    assert ch.get(queue) is None
    for tag in (1, 2, 3):
        tx.send("basic.ack", delivery_tag=tag)
    tx.call("tx.commit")
    tx.close()
    assert ch.get(queue) is None


def test_requeue_takes_effect_at_commit(tx, ch, queue):
    for i in range(3):
        ch.publish(b"%d" % i, queue)
    ch.wait_counts(queue, 3)
    for _ in range(3):
        tx.get(queue, no_ack=False)
    tx.send("basic.nack", delivery_tag=2, multiple=True, requeue=True)
    tx.send("basic.reject", delivery_tag=3, requeue=False)
    assert tx.get(queue) is None
    tx.call("tx.commit")
    assert ch.drain(queue) == [b"0", b"1"]


def test_a_tag_acked_in_the_transaction_is_known_no_more(tx, queue):
    tx.publish(b"", queue)
    tx.call("tx.commit")
    tx.get(queue, no_ack=False)
    tx.send("basic.ack", delivery_tag=1)
    tx.refused(406, "PRECONDITION_FAILED - unknown delivery tag 1", "basic.ack", delivery_tag=1)


def test_unknown_tag_at_once(tx):
    tx.refused(406, "PRECONDITION_FAILED - unknown delivery tag 9", "basic.ack", delivery_tag=9)


def test_prefetch_makes_room_at_commit(tx, ch, queue):
    tx.call("basic.qos", prefetch_count=1)
    tx.consume(queue)
    for i in range(2):
        ch.publish(b"%d" % i, queue)
    tx.deliver(delivery_tag=1)
    tx.send("basic.ack", delivery_tag=1)
    tx.quiet(queue)
    tx.send("tx.commit")
    names = [tx.client.next() for _ in range(4)]
    methods = {frame.name for frame in names if hasattr(frame, "name")}
    assert methods == {"tx.commit_ok", "basic.deliver"}


def test_publish_to_a_missing_exchange_fails_at_once(tx, ch, queue):
    """Not at commit; and the transaction is lost with the channel."""
    tx.publish(b"1", queue)
    tx.publish(b"2", "", "absent")
    tx.expect_close(404, "NOT_FOUND - no exchange 'absent' in vhost '/'", "basic.publish")
    assert ch.get(queue) is None


def test_bad_properties_fail_at_once(tx):
    tx.publish(b"", "", properties={"expiration": "abc"})
    tx.expect_close(406, "PRECONDITION_FAILED - invalid expiration 'abc': no_integer",
                    "basic.publish")


def test_routed_when_published_not_when_committed(tx, ch, fresh):
    """A queue that is bound between publish and commit does not get the message."""
    name, early, late = fresh("e"), ch.declare(), ch.declare()
    ch.call("exchange.declare", exchange=name, type="fanout")
    ch.call("queue.bind", queue=early, exchange=name)
    tx.publish(b"x", exchange=name)
    tx.call("queue.purge", queue=early)
    ch.call("queue.bind", queue=late, exchange=name)
    tx.call("tx.commit")
    assert (len(ch.drain(early)), len(ch.drain(late))) == (1, 0)


def test_mandatory_is_returned_at_commit(tx):
    tx.publish(b"1", "nowhere", mandatory=True)
    tx.call("queue.purge", queue=tx.declare())
    tx.send("tx.commit")
    assert tx.expect_content("basic.return", reply_code=312).body == b"1"
    tx.expect("tx.commit_ok")
    tx.publish(b"2", "nowhere", mandatory=True)
    tx.call("tx.rollback")
    tx.call("tx.commit")


def test_declare_and_purge_are_not_part_of_it(tx, ch, queue):
    ch.publish(b"x", queue)
    ch.wait_counts(queue, 1)
    assert tx.call("queue.purge", queue=queue) == {"message_count": 1}
    tx.call("tx.rollback")
    assert tx.get(queue) is None


def test_no_ack_deliveries_are_not_undone(tx, ch, queue):
    ch.publish(b"x", queue)
    ch.wait_counts(queue, 1)
    assert tx.get(queue).body == b"x"
    tx.call("tx.rollback")
    assert ch.get(queue) is None


def test_commit_of_many_to_many(tx, ch):
    queues = [ch.declare() for _ in range(5)]
    for i in range(200):
        tx.publish(b"%d" % i, queues[i % 5])
    tx.call("tx.commit")
    for k, queue in enumerate(queues):
        assert ch.drain(queue) == [b"%d" % i for i in range(k, 200, 5)]


def test_transactions_of_channels_are_apart(client, ch, queue):
    one, two = client.channel(), client.channel()
    for channel in (one, two):
        channel.call("tx.select")
    one.publish(b"1", queue)
    two.publish(b"2", queue)
    two.call("tx.commit")
    one.call("tx.commit")
    assert ch.drain(queue) == [b"2", b"1"]
