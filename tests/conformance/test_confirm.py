"""test_confirm: publisher confirms: their numbers, their order with returns, what they exclude."""
import pytest

from wire import Method


@pytest.fixture
def sender(client):
    channel = client.channel()
    channel.call("confirm.select")
    return channel


def acked(channel, last, first=1):
    """Read acks until all tags from first to last are confirmed, none twice."""
    open_tags = set(range(first, last + 1))
    while open_tags:
        fields = channel.expect("basic.ack")
        tag = fields["delivery_tag"]
        assert tag in open_tags, (tag, open_tags)
        open_tags -= {t for t in open_tags if t <= tag} if fields["multiple"] else {tag}


def test_select_twice(ch):
    for _ in range(2):
        assert ch.call("confirm.select") == {}


def test_select_nowait(ch):
    ch.send("confirm.select", nowait=True)
    ch.publish(b"", "nowhere")
    ch.expect("basic.ack", delivery_tag=1)


def test_numbers_start_at_one(sender):
    queue = sender.declare()
    for tag in range(1, 6):
        sender.publish(b"", queue)
        assert sender.expect("basic.ack") == {"delivery_tag": tag, "multiple": False}


def test_numbers_start_at_the_select(ch):
    queue = ch.declare()
    ch.publish(b"before", queue)
    ch.call("confirm.select")
    ch.publish(b"after", queue)
    ch.expect("basic.ack", delivery_tag=1)


def test_a_second_select_does_not_start_again(sender):
    queue = sender.declare()
    sender.publish(b"", queue)
    sender.expect("basic.ack", delivery_tag=1)
    sender.call("confirm.select")
    sender.publish(b"", queue)
    sender.expect("basic.ack", delivery_tag=2)


def test_reopened_channel_starts_without_confirms(sender):
    sender.close()
    sender.reopen()
    queue = sender.declare()
    sender.publish(b"", queue)
    assert sender.get(queue)
    sender.call("confirm.select")
    sender.publish(b"", queue)
    sender.expect("basic.ack", delivery_tag=1)


@pytest.mark.parametrize("persistent", [1, 2])
@pytest.mark.parametrize("durable", [False, True])
def test_many(sender, fresh, persistent, durable):
    queue = fresh()
    sender.call("queue.declare", queue=queue, durable=durable)
    for _ in range(300):
        sender.publish(b"x", queue, properties={"delivery_mode": persistent})
    acked(sender, 300)
    assert len(sender.drain(queue)) == 300


def test_unroutable_is_acked(sender):
    sender.publish(b"", "nowhere")
    sender.publish(b"", "nowhere", "amq.topic")
    acked(sender, 2)


def test_return_comes_before_its_ack(sender):
    queue = sender.declare()
    sender.publish(b"1", queue)
    acked(sender, 1)
    sender.publish(b"2", "nowhere", mandatory=True)
    assert sender.expect_content("basic.return", reply_code=312).body == b"2"
    sender.expect("basic.ack", delivery_tag=2)


def test_many_returns_and_acks(sender):
    """Whatever the grouping, no tag is confirmed before its message has come back."""
    queue, returned, confirmed = sender.declare(), set(), set()
    for tag in range(1, 101):
        sender.publish(b"%d" % tag, "nowhere" if tag % 3 == 0 else queue, mandatory=True)
    while len(confirmed) < 100:
        got = sender.client.next()
        assert isinstance(got, Method)
        if got.name == "basic.return":
            returned.add(int(sender.content(got.fields).body))
            continue
        tag = got.fields["delivery_tag"]
        first = 1 if got.fields["multiple"] else tag
        new = {t for t in range(first, tag + 1) if first == tag or t not in confirmed}
        assert not new & confirmed
        confirmed |= new
        assert {t for t in new if t % 3 == 0} <= returned
    assert returned == set(range(3, 100, 3))


def test_one_ack_for_many_queues(sender, fresh):
    name = fresh("e")
    sender.call("exchange.declare", exchange=name, type="fanout")
    queues = [sender.declare() for _ in range(8)]
    for queue in queues:
        sender.call("queue.bind", queue=queue, exchange=name)
    for tag in range(1, 4):
        sender.publish(b"x", exchange=name)
        sender.expect("basic.ack", delivery_tag=tag)
    for queue in queues:
        assert len(sender.drain(queue)) == 3


def test_ack_means_it_is_in_the_queue(sender, connect, fresh):
    queue, other = fresh(), connect().channel()
    sender.call("queue.declare", queue=queue)
    for tag in range(1, 30):
        sender.publish(b"%d" % tag, queue)
        sender.expect("basic.ack", delivery_tag=tag)
        assert other.get(queue).body == b"%d" % tag


def test_consumed_without_ack_is_confirmed(sender, client):
    taker = client.channel()
    queue = taker.declare()
    taker.consume(queue, no_ack=True)
    sender.publish(b"x", queue)
    names = set()
    for _ in range(2):
        got = client.next()
        names.add(got.name)
        if got.name == "basic.deliver":
            taker.content(got.fields)
    assert names == {"basic.ack", "basic.deliver"}


def test_acked_persistent_before_it_was_confirmed(sender, client, fresh):
    """A persistent message that is consumed and acked at once is confirmed all the same."""
    taker, queue = client.channel(), fresh()
    sender.call("queue.declare", queue=queue, durable=True)
    taker.consume(queue)
    confirmed = 0
    for i in range(20):
        sender.publish(b"x", queue, properties={"delivery_mode": 2})
    delivered = 0
    while confirmed < 20 or delivered < 20:
        got = client.next()
        if got.name == "basic.ack":
            tag = got.fields["delivery_tag"]
            confirmed = confirmed + 1 if not got.fields["multiple"] else max(confirmed, tag)
        else:
            taker.content(got.fields)
            delivered += 1
            taker.send("basic.ack", delivery_tag=got.fields["delivery_tag"])


def test_nack_when_the_queue_is_full(sender, fresh, product):
    if product != "RabbitMQ":
        pytest.skip("Godwit does not limit queues yet")
    queue = sender.declare(fresh(), arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    sender.publish(b"1", queue)
    sender.expect("basic.ack", delivery_tag=1)
    sender.publish(b"2", queue)
    sender.expect("basic.nack", delivery_tag=2, requeue=True)
    assert sender.drain(queue) == [b"1"]
    sender.publish(b"3", queue)
    sender.expect("basic.ack", delivery_tag=3)


def test_confirm_after_the_queue_is_gone(sender, fresh):
    queue = fresh()
    sender.call("queue.declare", queue=queue)
    for _ in range(20):
        sender.publish(b"x", queue)
    sender.send("queue.delete", queue=queue)
    confirmed = set()
    while True:
        got = sender.client.next()
        if got.name == "queue.delete_ok":
            break
        assert got.name == "basic.ack"
        tag = got.fields["delivery_tag"]
        confirmed |= set(range(1, tag + 1)) if got.fields["multiple"] else {tag}
    while len(confirmed) < 20:
        fields = sender.expect("basic.ack")
        tag = fields["delivery_tag"]
        confirmed |= set(range(1, tag + 1)) if fields["multiple"] else {tag}


def test_not_on_a_transactional_channel(ch):
    ch.call("tx.select")
    for nowait in (False, True):
        ch.send("confirm.select", nowait=nowait)
        ch.expect_close(406, "PRECONDITION_FAILED - cannot switch from tx to confirm mode",
                        "confirm.select")
        ch.reopen()
        ch.call("tx.select")


def test_no_transaction_on_a_confirming_channel(sender):
    sender.refused(406, "PRECONDITION_FAILED - cannot switch from confirm to tx mode", "tx.select")


def test_each_channel_counts_for_itself(client):
    channels = [client.channel() for _ in range(3)]
    for channel in channels:
        channel.call("confirm.select")
    for tag in (1, 2):
        for channel in channels:
            channel.publish(b"", "nowhere")
            channel.expect("basic.ack", delivery_tag=tag)


def test_confirms_while_another_channel_closes(client, sender):
    other = client.channel()
    queue = sender.declare()
    sender.publish(b"1", queue)
    acked(sender, 1)
    other.close()
    sender.publish(b"2", queue)
    acked(sender, 2, first=2)
