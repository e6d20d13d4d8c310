"""test_order: what one channel sends acts in its order, and replies leave in that order.

Queue names are many and random, so that with several shards some queues live on the channel's own
shard and most on others.
"""
import pytest

from wire import BODY, Method, content_frames, method_frame

MANY = 16


@pytest.fixture
def queues(ch, fresh):
    names = [fresh() for _ in range(MANY)]
    for name in names:
        ch.call("queue.declare", queue=name)
    return names


def published(number, queue, body, **fields):
    return method_frame(number, "basic.publish", routing_key=queue, **fields) + content_frames(
        number, body)


def expect_got(ch, body, **fields):
    assert ch.expect_content("basic.get_ok", **fields).body == body


def test_one_write_per_queue(ch, fresh):
    """declare, publish, get, purge, delete: all sent at once for many queues."""
    n, names = ch.number, [fresh() for _ in range(MANY)]
    for name in names:
        ch.client.send_bytes(
            method_frame(n, "queue.declare", queue=name, durable=True)
            + published(n, name, b"1") + published(n, name, b"2") + published(n, name, b"3")
            + method_frame(n, "basic.get", queue=name, no_ack=True)
            + method_frame(n, "queue.purge", queue=name) + published(n, name, b"4")
            + method_frame(n, "basic.get", queue=name, no_ack=True)
            + method_frame(n, "basic.get", queue=name, no_ack=True) + published(n, name, b"5")
            + method_frame(n, "queue.delete", queue=name)
            + method_frame(n, "queue.declare", queue=name, durable=False)
            + method_frame(n, "basic.get", queue=name))
    for name in names:
        ch.expect("queue.declare_ok", queue=name, message_count=0)
        expect_got(ch, b"1", message_count=2)
        ch.expect("queue.purge_ok", message_count=2)
        expect_got(ch, b"4", message_count=0)
        ch.expect("basic.get_empty")
        ch.expect("queue.delete_ok", message_count=1)
        ch.expect("queue.declare_ok", queue=name, message_count=0)
        ch.expect("basic.get_empty")


def test_replies_of_many_queues_in_order(ch, queues):
    """Answers that come from many places leave in the order of the questions."""
    data = b"".join(published(ch.number, name, name.encode()) for name in queues)
    for _ in range(5):
        for name in queues:
            data += method_frame(ch.number, "basic.get", queue=name)
            data += method_frame(ch.number, "queue.declare", queue=name, passive=True)
    ch.client.send_bytes(data)
    for turn in range(5):
        for name in queues:
            if turn == 0:
                expect_got(ch, name.encode())
            else:
                ch.expect("basic.get_empty")
            ch.expect("queue.declare_ok", queue=name)


def test_channels_do_not_wait_for_each_other(client, queues):
    """Two channels with questions of their own; each gets its answers in its order."""
    channels = [client.channel() for _ in range(4)]
    for _ in range(10):
        for i, channel in enumerate(channels):
            channel.send("queue.declare", queue=queues[i], passive=True)
            channel.send("queue.purge", queue=queues[i])
    left = {channel.number: ["queue.declare_ok", "queue.purge_ok"] * 10 for channel in channels}
    for _ in range(80):
        got = client.next()
        assert left[got.channel].pop(0) == got.name


def test_reject_then_get(ch, queues):
    for name in queues:
        ch.publish(b"x", name)
    tag = 0
    for _ in range(10):
        for name in queues:
            tag += 1
            ch.client.send_bytes(method_frame(ch.number, "basic.get", queue=name)
                                 + method_frame(ch.number, "basic.reject", delivery_tag=tag,
                                                requeue=True))
    for i in range(10 * MANY):
        expect_got(ch, b"x", delivery_tag=i + 1, redelivered=i >= MANY)


def test_ack_then_delete_if_empty(ch, queues):
    for name in queues:
        ch.publish(b"x", name)
        ch.get(name, no_ack=False)
        ch.send("basic.nack", delivery_tag=0, multiple=True, requeue=True)
        ch.send("queue.delete", queue=name, if_empty=True)
        ch.expect_close(406, f"PRECONDITION_FAILED - queue '{name}' in vhost '/' not empty",
                        "queue.delete")
        ch.reopen()
        ch.get(name, no_ack=False)
        ch.send("basic.ack", delivery_tag=0, multiple=True)
        assert ch.call("queue.delete", queue=name, if_empty=True) == {"message_count": 0}


def test_multiple_ack_over_many_queues(ch, queues):
    for turn in range(3):
        for name in queues:
            ch.publish(b"%d" % turn, name)
    for _ in range(2):
        for name in queues:
            ch.get(name, no_ack=False)
    ch.send("basic.ack", delivery_tag=MANY + 3, multiple=True)
    ch.close()
    ch.reopen()
    expected = [[b"2"]] * 3 + [[b"1", b"2"]] * (MANY - 3)
    for name, bodies in zip(queues, expected):
        ch.wait_counts(name, len(bodies))
        assert ch.drain(name) == bodies


@pytest.mark.godwit
def test_close_gives_back_before_close_ok(ch, client, queues):
    """RabbitMQ does so for what consumers held, but not for what came with basic.get."""
    other = client.channel()
    for name in queues:
        for i in range(3):
            ch.publish(b"%d" % i, name)
        for i in range(3):
            ch.get(name, no_ack=False)
    ch.close()
    for name in queues:
        got = [other.get(name) for _ in range(3)]
        assert [(m.body, m.method["redelivered"]) for m in got] == [
            (b"0", True), (b"1", True), (b"2", True)]


def test_recover_before_recover_ok(ch, client, queues):
    other = client.channel()
    for name in queues:
        ch.publish(b"x", name)
        ch.get(name, no_ack=False)
    ch.call("basic.recover", requeue=True)
    for name in queues:
        assert other.get(name).body == b"x"


def test_commit_before_commit_ok(ch, client, queues):
    other = client.channel()
    ch.call("tx.select")
    for turn in range(5):
        for name in queues:
            ch.publish(b"%d" % turn, name)
    ch.call("tx.commit")
    for name in queues:
        assert other.drain(name) == [b"%d" % turn for turn in range(5)]


def test_confirm_means_all_queues_have_it(ch, client, queues, fresh):
    other, name = client.channel(), fresh("e")
    ch.call("exchange.declare", exchange=name, type="fanout")
    for queue in queues:
        ch.call("queue.bind", queue=queue, exchange=name)
    ch.call("confirm.select")
    for tag in range(1, 11):
        ch.publish(b"%d" % tag, exchange=name)
        ch.expect("basic.ack", delivery_tag=tag)
        for queue in queues:
            assert other.get(queue).body == b"%d" % tag


def test_order_through_a_fanout(ch, connect, queues, fresh):
    """Each of many consumers on another connection sees one publisher's messages in their order."""
    name, taker = fresh("e"), connect().channel()
    ch.call("exchange.declare", exchange=name, type="fanout")
    for queue in queues:
        ch.call("queue.bind", queue=queue, exchange=name)
        taker.consume(queue, queue, no_ack=True)
    for i in range(100):
        ch.publish(b"%d" % i, exchange=name)
    seen = {queue: [] for queue in queues}
    for _ in range(100 * MANY):
        got = taker.deliver()
        seen[got.method["consumer_tag"]].append(int(got.body))
    assert all(numbers == list(range(100)) for numbers in seen.values())


def test_order_of_two_channels_is_their_own(client, connect, queues):
    senders = [client.channel() for _ in range(2)]
    taker = connect().channel()
    for queue in queues[:4]:
        for i in range(100):
            for k, sender in enumerate(senders):
                sender.publish(b"%d:%d" % (k, i), queue)
        taker.consume(queue, queue, no_ack=True)
        seen = {0: [], 1: []}
        for _ in range(200):
            k, i = taker.deliver().body.split(b":")
            seen[int(k)].append(int(i))
        assert seen == {0: list(range(100)), 1: list(range(100))}


def test_topology_is_seen_by_the_next_publish(ch, fresh, queues):
    """exchange, binding and publish in one write, nothing waited for."""
    names = [fresh("e") for _ in queues]
    ch.client.send_bytes(b"".join(
        method_frame(ch.number, "exchange.declare", exchange=name, type="direct", nowait=True)
        + method_frame(ch.number, "queue.bind", queue=queue, exchange=name, routing_key="k",
                       nowait=True)
        + method_frame(ch.number, "basic.publish", exchange=name, routing_key="k")
        + content_frames(ch.number, b"x")
        + method_frame(ch.number, "exchange.delete", exchange=name, nowait=True)
        for name, queue in zip(names, queues)))
    for queue in queues:
        assert ch.drain(queue) == [b"x"]


def test_publish_after_a_confirmed_bind_elsewhere(ch, connect, fresh):
    """Once bind_ok is here, any other connection's publish finds the queue."""
    other, name = connect().channel(), fresh("e")
    ch.call("exchange.declare", exchange=name, type="direct")
    for i in range(30):
        queue = ch.declare(fresh())
        ch.call("queue.bind", queue=queue, exchange=name, routing_key="k%d" % i)
        other.publish(b"x", "k%d" % i, name, mandatory=True)
        ch.wait_counts(queue, 1)
        assert ch.get(queue).body == b"x"
        ch.call("queue.unbind", queue=queue, exchange=name, routing_key="k%d" % i)
        other.publish(b"y", "k%d" % i, name, mandatory=True)
        assert other.expect_content("basic.return").body == b"y"


def test_shared_prefetch_over_many_queues(ch, client, queues):
    for queue in queues:
        for _ in range(5):
            ch.publish(b"x", queue)
    taker = client.channel()
    taker.call("basic.qos", prefetch_count=7, global_=True)
    for queue in queues:
        taker.send("basic.consume", queue=queue, nowait=True)
    outstanding, most, total = [], 0, 0
    while total < 5 * MANY:
        got = client.next()
        if isinstance(got, Method):
            taker.content(got.fields)
            outstanding.append(got.fields["delivery_tag"])
            total += 1
            most = max(most, len(outstanding))
        if len(outstanding) == 7 or total == 5 * MANY:
            taker.send("basic.ack", delivery_tag=outstanding[-1], multiple=True)
            outstanding.clear()
    assert most == 7


def test_nothing_after_cancel_ok_under_load(client, connect, queues):
    sender, taker = client.channel(), connect().channel()
    for queue in queues:
        taker.consume(queue, "t", no_ack=True)
        for _ in range(50):
            sender.publish(b"x", queue)
        taker.deliver()
        taker.send("basic.cancel", consumer_tag="t")
        while True:
            got = taker.client.next()
            if isinstance(got, Method) and got.name == "basic.cancel_ok":
                break
        taker.quiet(queue)


def test_consume_answers_before_it_delivers(ch, queues):
    for queue in queues:
        for _ in range(10):
            ch.publish(b"x", queue)
    for queue in queues:
        ch.send("basic.consume", queue=queue, consumer_tag=queue, no_ack=True)
        ch.expect("basic.consume_ok", consumer_tag=queue)
        for _ in range(10):
            ch.deliver(consumer_tag=queue)


def test_gets_between_publishes_and_a_consumer(client, fresh):
    """Persistent messages that are got as soon as they come, beside a consumer that is new: sent at
    once, so that what has to wait for the disk is overtaken by what has not."""
    channels = [client.channel() for _ in range(60)]
    queue = fresh()
    channels[0].call("queue.declare", queue=queue, durable=True)

    def persistent(body):
        return method_frame(channels[0].number, "basic.publish", routing_key=queue) + content_frames(
            channels[0].number, body, {"delivery_mode": 2})

    channels[0].call("confirm.select")
    client.send_bytes(b"".join(persistent(b"before") for _ in range(16)))
    confirmed = 0
    while confirmed < 16:
        confirmed = channels[0].expect("basic.ack")["delivery_tag"]
    parts = [method_frame(channels[1].number, "basic.consume", queue=queue, nowait=True)]
    for number in range(48):
        parts += [persistent(b"between")] if number >= 16 else []
        parts.append(method_frame(channels[2 + number].number, "basic.get", queue=queue, no_ack=True))
    client.send_bytes(b"".join(parts) + persistent(b"last"))
    answers, bodies = 0, set()
    while answers < 48 or b"last" not in bodies:
        got = client.next()
        if isinstance(got, Method):
            answers += got.name in ("basic.get_ok", "basic.get_empty")
        elif got.type == BODY:
            bodies.add(got.payload)
