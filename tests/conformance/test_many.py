"""test_many: thousands of what most clients have one of. How long it takes is told in tests/scale;
here, that nothing is lost, mixed up or left behind."""
import threading

from wire import Client, content_frames, method_frame

UNACKED = 10_000
BINDINGS = 2_000
CHANNELS = 1_000
CONSUMERS = 1_000
QUEUES = 1_000


def published(channel, queue, first, count):
    """Publishes numbers, confirmed when this returns."""
    channel.call("confirm.select")
    channel.client.send_bytes(b"".join(
        method_frame(channel.number, "basic.publish", routing_key=queue)
        + content_frames(channel.number, b"%d" % number) for number in range(first, first + count)))
    tag = 0
    while tag < count:
        tag = channel.expect("basic.ack")["delivery_tag"]


def called(channel, requests, reply):
    """Sends methods (name, fields) all at once, and reads as many replies."""
    channel.client.send_bytes(b"".join(method_frame(channel.number, name, **fields)
                                       for name, fields in requests))
    return [channel.expect(reply) for _ in requests]


def numbers(first, count):
    return [b"%d" % number for number in range(first, first + count)]


def taken(connect, queue, count):
    """A channel that has got so many messages and has settled none."""
    channel = connect().channel()
    channel.consume(queue, "slow")
    assert channel.bodies(count) == numbers(0, count)
    return channel


# ---- slow and stuck ----

def test_a_channel_closes_with_ten_thousand_unacked(connect, ch, fresh):
    queue = fresh()
    ch.call("queue.declare", queue=queue)
    published(ch, queue, 0, UNACKED)
    taken(connect, queue, UNACKED).close()
    assert ch.counts(queue) == (UNACKED, 0)
    ch.consume(queue, no_ack=True)
    for number in range(UNACKED):
        got = ch.deliver(redelivered=True)
        assert got.body == b"%d" % number


def test_a_connection_is_lost_with_ten_thousand_unacked(connect, ch, fresh):
    queue = fresh()
    ch.call("queue.declare", queue=queue)
    published(ch, queue, 0, UNACKED)
    taken(connect, queue, UNACKED).client.close()
    ch.wait_counts(queue, UNACKED)
    ch.consume(queue, no_ack=True)
    assert ch.bodies(UNACKED) == numbers(0, UNACKED)


def test_ten_thousand_unacked_of_many_queues_are_settled_in_any_order(connect, ch, fresh):
    queues = [fresh() for _ in range(20)]
    for queue in queues:
        ch.call("queue.declare", queue=queue)
    channel = connect().channel()
    for queue in queues:
        channel.consume(queue)
    ch.client.send_bytes(b"".join(
        method_frame(ch.number, "basic.publish", routing_key=queues[number % 20])
        + content_frames(ch.number, b"%d" % number) for number in range(UNACKED)))
    assert sorted(map(int, channel.bodies(UNACKED))) == list(range(UNACKED))
    # Every third, from the last to the first; then the rest goes back.
    acked = range(UNACKED, 0, -3)
    channel.client.send_bytes(b"".join(method_frame(channel.number, "basic.ack", delivery_tag=tag)
                                       for tag in acked))
    channel.close()
    # The counts of 20 passive declares, which do not overtake what one close has given back.
    left = sum(ch.counts(queue)[0] for queue in queues)
    assert left == UNACKED - len(acked)


def test_one_message_is_never_acked_while_thousands_pass(connect, ch, fresh):
    queue = fresh()
    ch.call("queue.declare", queue=queue)
    published(ch, queue, 0, 1)
    stuck = taken(connect, queue, 1)
    stuck.call("basic.cancel", consumer_tag="slow")
    ch.consume(queue)
    ch.client.send_bytes(b"".join(method_frame(ch.number, "basic.publish", routing_key=queue)
                                  + content_frames(ch.number, b"%d" % number)
                                  for number in range(1, UNACKED)))
    ch.client.trace.clear()
    seen = []
    while len(seen) < UNACKED - 1:
        got = ch.client.next()
        if got.name == "basic.ack":
            continue
        seen.append(ch.content(got.fields).body)
        ch.send("basic.ack", delivery_tag=got.fields["delivery_tag"])
    assert seen == numbers(1, UNACKED - 1)
    stuck.close()
    while (got := ch.client.next()).name == "basic.ack":
        pass
    assert got.fields["redelivered"]
    assert ch.content(got.fields).body == b"0"


def test_a_purge_of_thousands_takes_those_and_no_others(connect, ch, fresh):
    queue = fresh()
    ch.call("queue.declare", queue=queue)
    published(ch, queue, 0, 2 * UNACKED)
    channel = connect().channel()
    assert channel.call("queue.purge", queue=queue) == {"message_count": 2 * UNACKED}
    published(channel, queue, 7, 3)
    assert channel.drain(queue) == numbers(7, 3)


# ---- crowds ----

def test_an_exchange_with_thousands_of_bindings_goes(connect, ch, fresh):
    exchange, queue, other = fresh(), fresh(), fresh()
    for kind in ("direct", "topic"):
        ch.call("exchange.declare", exchange=exchange, type=kind)
        for name in (queue, other):
            ch.call("queue.declare", queue=name)
        called(ch, [("queue.bind", {"queue": (queue, other)[number % 2], "exchange": exchange,
                                    "routing_key": f"key.{number}"}) for number in range(BINDINGS)],
               "queue.bind_ok")
        ch.publish(b"1", f"key.{BINDINGS - 1}", exchange)
        assert ch.get(queue) is None and ch.get(other).body == b"1"
        ch.call("exchange.delete", exchange=exchange)
        # The same name has none of the old bindings.
        ch.call("exchange.declare", exchange=exchange, type=kind)
        ch.publish(b"2", "key.1", exchange, mandatory=True)
        ch.expect_content("basic.return", reply_code=312)
        ch.call("exchange.delete", exchange=exchange)
        ch.call("queue.delete", queue=queue)


def test_a_thousand_channels_open_and_close_again_and_again(client):
    """RabbitMQ's channels do not answer in the order in which they were asked."""
    numbered = range(1, CHANNELS + 1)
    for order in (numbered, reversed(numbered), numbered):
        for name, frames in (
                ("channel.open_ok", [method_frame(n, "channel.open") for n in numbered]),
                ("channel.close_ok", [method_frame(n, "channel.close", reply_code=200)
                                      for n in order])):
            client.send_bytes(b"".join(frames))
            answers = [client.next() for _ in frames]
            assert {answer.name for answer in answers} == {name}
            assert sorted(answer.channel for answer in answers) == list(numbered)


def test_a_thousand_consumers_get_the_same_each(connect, ch, fresh, product):
    """Of RabbitMQ's only about the same: a channel that is slow is left out for a while."""
    queue = fresh()
    ch.call("queue.declare", queue=queue)
    one, other = connect().channel(), connect().channel()
    for channel in (one, other):
        called(channel, [("basic.consume", {"queue": queue, "consumer_tag": f"c{number}",
                                            "no_ack": True}) for number in range(CONSUMERS // 2)],
               "basic.consume_ok")
    if product != "RabbitMQ":
        published(ch, queue, 0, 2 * CONSUMERS)
        for channel in (one, other):
            tags = [channel.deliver().method["consumer_tag"] for _ in range(CONSUMERS)]
            assert sorted(tags) == sorted(2 * [f"c{number}" for number in range(CONSUMERS // 2)])
    assert ch.counts(queue) == (0, CONSUMERS)
    called(one, [("basic.cancel", {"consumer_tag": f"c{number}"})
                 for number in range(CONSUMERS // 2)], "basic.cancel_ok")
    ch.wait_counts(queue, 0, CONSUMERS // 2)
    ch.call("queue.delete", queue=queue)
    lost = {other.expect("basic.cancel")["consumer_tag"] for _ in range(CONSUMERS // 2)}
    assert len(lost) == CONSUMERS // 2


def test_a_thousand_exclusive_queues_go_with_their_connection(connect, ch, fresh):
    first, names = connect(), [fresh() for _ in range(QUEUES)]
    channel = first.channel()
    called(channel, [("queue.declare", {"queue": name, "exclusive": True}) for name in names],
           "queue.declare_ok")
    # Some go before it, in the order of coming and against it.
    called(channel, [("queue.delete", {"queue": name}) for name in names[:200] + names[:-201:-1]],
           "queue.delete_ok")
    first.disconnect()
    called(ch, [("queue.declare", {"queue": name, "exclusive": True}) for name in names],
           "queue.declare_ok")
    ch.client.disconnect()


def test_fifty_publishers_at_once_are_all_heard(address, ch, fresh):
    """Each sends as fast as it can, more than is read at once; each one's order stays."""
    queue, publishers, each = fresh(), 50, 400
    ch.call("queue.declare", queue=queue)
    failures = []

    def publish(publisher):
        try:
            client = Client(address)
            channel = client.channel()
            client.send_bytes(b"".join(
                method_frame(1, "basic.publish", routing_key=queue)
                + content_frames(1, b"%d.%d" % (publisher, number) + b"." * 500)
                for number in range(each)))
            channel.close()
            client.disconnect()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=publish, args=(number,)) for number in range(publishers)]
    for thread in threads:
        thread.start()
    ch.consume(queue, no_ack=True)
    last = dict.fromkeys(range(publishers), -1)
    for _ in range(publishers * each):
        publisher, number = map(int, ch.deliver().body.split(b".")[:2])
        assert number == last[publisher] + 1
        last[publisher] = number
    for thread in threads:
        thread.join(60)
    assert not failures, failures
