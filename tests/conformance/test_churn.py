"""test_churn: queues, consumers and connections that come and go while others use them."""
import threading

import pytest

from wire import Client, Method

ROUNDS = 60


def confirmed(channel, count):
    """Read acks and nacks until this many publishes are answered; all else is read over."""
    done = set()
    while len(done) < count:
        got = channel.client.next()
        if isinstance(got, Method) and got.name in ("basic.ack", "basic.nack"):
            tag = got.fields["delivery_tag"]
            done |= set(range(1, tag + 1)) if got.fields["multiple"] else {tag}


def read_until(client, name):
    """Read over deliveries until this method comes."""
    while not (isinstance(got := client.next(), Method) and got.name == name):
        pass


@pytest.fixture
def sender(connect):
    channel = connect().channel()
    channel.call("confirm.select")
    return channel


@pytest.fixture
def in_background():
    """Runs functions in threads; what they raise fails the test."""
    threads, failures = [], []

    def runner(function, *arguments):
        def guarded():
            try:
                function(*arguments)
            except Exception as error:
                failures.append(error)
        threads.append(threading.Thread(target=guarded))
        threads[-1].start()

    yield runner
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "still running"
    assert not failures, failures


def test_every_publish_is_confirmed_while_its_queue_comes_and_goes(ch, sender, fresh,
                                                                   in_background):
    queue = fresh()

    def churn():
        for _ in range(ROUNDS):
            ch.call("queue.declare", queue=queue)
            ch.call("queue.delete", queue=queue)

    in_background(churn)
    for _ in range(20 * ROUNDS):
        sender.publish(b"x", queue)
    confirmed(sender, 20 * ROUNDS)


def test_a_new_queue_does_not_get_the_old_ones_messages(ch, sender, fresh):
    queue = fresh()
    for i in range(ROUNDS):
        ch.call("queue.declare", queue=queue)
        sender.publish(b"%d" % i, queue)
        sender.expect("basic.ack", delivery_tag=i + 1)
        assert ch.call("queue.delete", queue=queue) == {"message_count": 1}
        ch.call("queue.declare", queue=queue)
        assert ch.get(queue) is None
        ch.call("queue.delete", queue=queue)


def test_consumers_come_and_go_and_nothing_is_lost(connect, address, sender, fresh, in_background):
    """A reliable taker acks all; others take, do not ack, and hang up in all manners."""
    queue, total = fresh(), 400
    sender.call("queue.declare", queue=queue)

    def rude(seed):
        for i in range(12):
            client = Client(address)
            channel = client.channel()
            channel.call("basic.qos", prefetch_count=10)
            channel.consume(queue)
            channel.send("queue.declare", queue=queue, passive=True)
            read_until(client, "queue.declare_ok")
            if (i + seed) % 2:
                client.send(0, "connection.close", reply_code=200)
                read_until(client, "connection.close_ok")
            client.close()

    for seed in range(2):
        in_background(rude, seed)
    for i in range(total):
        sender.publish(b"%d" % i, queue)
    confirmed(sender, total)
    taker, seen = connect().channel(), set()
    taker.consume(queue)
    while len(seen) < total:
        got = taker.deliver()
        seen.add(int(got.body))
        taker.send("basic.ack", delivery_tag=got.method["delivery_tag"])
    assert seen == set(range(total))


def test_exclusive_queues_of_connections_that_die(address, sender, fresh):
    """Publishes to them are confirmed, and nothing stays: the names can be declared by others."""
    for i in range(ROUNDS):
        client, queue = Client(address), fresh()
        client.channel().declare(queue)
        sender.publish(b"x", queue)
        if i % 2:
            client.disconnect()
        else:
            client.close()
    confirmed(sender, ROUNDS)
    other = sender.client.channel()
    name = fresh()
    first = Client(address)
    first.channel().declare(name)
    first.disconnect()
    other.declare(name)


def test_delete_with_many_consumers(connect, ch, fresh):
    queue = fresh()
    ch.call("queue.declare", queue=queue)
    takers = [connect().channel() for _ in range(10)]
    for taker in takers:
        for i in range(5):
            taker.consume(queue, f"t{i}", no_ack=True)
    ch.call("queue.delete", queue=queue)
    for taker in takers:
        tags = {taker.expect("basic.cancel")["consumer_tag"] for _ in range(5)}
        assert tags == {f"t{i}" for i in range(5)}


def test_many_connections_at_once(address):
    clients = [Client(address) for _ in range(100)]
    channels = [client.channel() for client in clients]
    queues = [channel.declare() for channel in channels]
    for i, channel in enumerate(channels):
        channel.call("confirm.select")
        channel.publish(b"%d" % i, queues[(i + 1) % 100])
        channel.expect("basic.ack", delivery_tag=1)
    for i, channel in enumerate(channels):
        assert channel.get(queues[i]).body == b"%d" % ((i - 1) % 100)
    for client in clients:
        client.close()


def test_a_reader_that_stops_does_not_stop_others(connect, fresh):
    """It has asked for everything without ack and reads nothing; the queue's other users go on."""
    stuck, sender, taker = (connect().channel() for _ in range(3))
    flooded, other = fresh(), fresh()
    for name in (flooded, other):
        sender.call("queue.declare", queue=name)
    stuck.consume(flooded, no_ack=True)
    taker.consume(other, no_ack=True)
    body = bytes(100_000)
    for i in range(200):
        sender.publish(body, flooded)
        sender.publish(b"%d" % i, other)
    assert taker.bodies(200) == [b"%d" % i for i in range(200)]
    assert len(stuck.bodies(200)) == 200


def test_channels_opened_and_closed_in_a_row(client):
    for number in range(1, 200):
        channel = client.channel(number)
        queue = channel.declare()
        channel.publish(b"x", queue)
        channel.consume(queue)
        channel.deliver(delivery_tag=1)
        if number % 2:
            channel.close()
