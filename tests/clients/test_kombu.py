#!/usr/bin/python3
"""kombu over py-amqp: producers, consumers, simple queues, broadcast, mailboxes, event loop."""
import queue as queues
import socket
import threading
import uuid

import kombu
import pytest
from kombu import Exchange, Producer, Queue, common, pidbox
from kombu.asynchronous import Hub, set_event_loop
from kombu.exceptions import OperationalError
from kombu.mixins import ConsumerMixin, ConsumerProducerMixin
from kombu.pools import producers

from patience import until


@pytest.fixture
def connection(kombu_connect):
    return kombu_connect()


def drain(connection, condition, what="the message"):
    """Lets kombu handle events until the condition holds."""
    def pump(_slice):
        try:
            connection.drain_events(timeout=1)
        except socket.timeout:
            pass
    until(condition, pump, what=what)


def topic_queue(names, key="task.#", **options):
    exchange = Exchange(names.exchange(), "topic", durable=False)
    return Queue(names.queue(), exchange, key, durable=False, **options)


@pytest.mark.parametrize("serializer", ["json", "pickle", "raw"])
def test_producer_and_consumer(connection, names, serializer):
    queue = topic_queue(names)
    sent = b"raw bytes" if serializer == "raw" else {"number": 1, "text": "grüße", "list": [1, 2]}
    got = []

    def on_message(body, message):
        got.append((body, message.headers, message.delivery_info["routing_key"]))
        message.ack()

    with connection.Consumer(queue, callbacks=[on_message], accept=["json", "pickle",
                                                                    "application/data"]):
        producer = connection.Producer()
        producer.publish(sent, exchange=queue.exchange, routing_key="task.one",
                         serializer=serializer, declare=[queue], headers={"h": "v"})
        drain(connection, lambda: got)
    body, headers, key = got[0]
    assert (bytes(body) if serializer == "raw" else body) == sent
    assert (headers["h"], key) == ("v", "task.one")


@pytest.mark.parametrize("compression", ["zlib", "bzip2"])
def test_compressed_bodies(connection, names, compression):
    queue = topic_queue(names)
    queue(connection.default_channel).declare()
    body = {"text": "x" * 100000}
    connection.Producer().publish(body, exchange=queue.exchange, routing_key="task.z",
                                  compression=compression)
    message = until(lambda: queue(connection.default_channel).get(no_ack=True), what="the message")
    assert message.payload == body


def test_qos_and_requeue(connection, names):
    queue = topic_queue(names)
    queue(connection.default_channel).declare()
    producer = connection.Producer()
    for number in range(10):
        producer.publish(number, exchange=queue.exchange, routing_key="task.n")
    got = []
    with connection.Consumer(queue, callbacks=[lambda body, m: got.append(m)]) as consumer:
        consumer.qos(prefetch_count=3)
        drain(connection, lambda: len(got) >= 3)
    # What was not acked goes back when its channel goes.
    assert [message.payload for message in got[:3]] == [0, 1, 2]
    got[1].requeue()
    got[0].ack()
    got[2].reject()
    again = connection.channel()
    message = until(lambda: queue(again).get(no_ack=True), what="the requeued message")
    assert (message.payload, message.delivery_info["redelivered"]) == (1, True)


def test_simple_queue(connection, names):
    simple = connection.SimpleQueue(names.queue())
    names.exchanges.append(simple.queue.exchange.name)
    simple.put({"a": 1})
    simple.put("two")
    first = simple.get(timeout=20)
    assert first.payload == {"a": 1}
    first.ack()
    second = simple.get(timeout=20)
    assert second.payload == "two"
    second.ack()
    with pytest.raises(queues.Empty):
        simple.get_nowait()
    with pytest.raises(queues.Empty):
        simple.get(timeout=0.1)
    assert simple.qsize() == 0
    simple.close()


def test_simple_queue_clear(connection, names):
    simple = connection.SimpleQueue(names.queue())
    names.exchanges.append(simple.queue.exchange.name)
    for number in range(5):
        simple.put(number)
    until(lambda: simple.qsize() == 5, what="five messages")
    assert simple.clear() == 5
    assert len(simple) == 0
    simple.close()


def test_simple_buffer(connection, names):
    buffer = connection.SimpleBuffer(names.queue())
    names.exchanges.append(buffer.queue.exchange.name)
    buffer.put({"transient": True})
    assert buffer.get(timeout=20).payload == {"transient": True}
    buffer.close()


def test_broadcast_reaches_every_worker(kombu_connect, names):
    """What Celery's broadcast queues do: a fanout exchange and auto-delete queues."""
    exchange = names.exchange()
    workers, logs = [], []
    for number in range(3):
        worker = kombu_connect()
        queue = common.Broadcast(exchange, unique=True)
        consumer = worker.Consumer(
            queue, no_ack=True, callbacks=[lambda body, m, n=number: logs.append((n, body))])
        consumer.consume()
        workers.append(worker)
    kombu_connect().Producer().publish("all", exchange=Exchange(exchange, "fanout"))
    for number, worker in enumerate(workers):
        drain(worker, lambda number=number: (number, "all") in logs)
    assert sorted(logs) == [(0, "all"), (1, "all"), (2, "all")]


def test_fanout_exchange_with_auto_delete(connection, kombu_connect, names):
    exchange = Exchange(names.exchange(), "fanout", durable=False, auto_delete=True)
    queue = Queue(names.queue(), exchange, durable=False, auto_delete=True)
    got = []
    with connection.Consumer(queue, no_ack=True, callbacks=[lambda body, m: got.append(body)]):
        connection.Producer(exchange=exchange).publish("gone soon")
        drain(connection, lambda: got)

    def is_gone():
        try:
            with kombu_connect().channel() as probe:
                exchange(probe).declare(passive=True)
        except connection.channel_errors as gone:
            assert gone.reply_code == 404
            return True
        return False
    until(is_gone, what="the end of the queue and then of the exchange")


def test_mailbox_call_cast_and_multi_call(kombu_connect):
    """pidbox is how Celery's remote control talks to its workers."""
    mailbox = pidbox.Mailbox(f"clients{uuid.uuid4().hex[:8]}", type="fanout")
    told, nodes = [], []
    for host in "one", "two":
        worker = kombu_connect()
        node = mailbox(worker).Node(host, state=host)
        node.handlers["ping"] = lambda state, **_: {"pong": state}
        node.handlers["add"] = lambda state, a, b: a + b
        node.handlers["tell"] = lambda state, what: told.append((state, what))
        node.channel = worker.channel()
        node.listen(channel=node.channel)
        nodes.append(worker)
    stop = threading.Event()

    def serve():
        while not stop.is_set():
            for worker in nodes:
                try:
                    worker.drain_events(timeout=0.05)
                except socket.timeout:
                    pass

    server = threading.Thread(target=serve)
    server.start()
    try:
        bound = mailbox(kombu_connect())
        answers = bound.multi_call("ping", timeout=20, limit=2)
        assert sorted(str(answer) for answer in answers) == [
            "{'one': {'pong': 'one'}}", "{'two': {'pong': 'two'}}"]
        assert bound.call(["two"], "add", {"a": 2, "b": 3}, timeout=20) == [{"two": 5}]
        bound.abcast("tell", {"what": "everybody"})
        until(lambda: len(told) == 2, what="both nodes told")
        bound.cast(["one"], "tell", {"what": "you"})
        until(lambda: ("one", "you") in told, what="one node told")
    finally:
        stop.set()
        server.join()
    assert sorted(told) == [("one", "everybody"), ("one", "you"), ("two", "everybody")]


def test_eventloop_function(connection, names):
    queue = topic_queue(names)
    got = []
    with connection.Consumer(queue, no_ack=True, callbacks=[lambda body, m: got.append(body)]):
        for number in range(5):
            connection.Producer().publish(number, exchange=queue.exchange, routing_key="task.e")
        for _ in common.eventloop(connection, limit=None, timeout=1, ignore_timeouts=True):
            if len(got) == 5:
                break
    assert got == [0, 1, 2, 3, 4]


def test_hub_event_loop(connection, names):
    """The asynchronous hub, which is what a Celery worker runs on."""
    hub = Hub()
    set_event_loop(hub)
    queue = topic_queue(names)
    got = []
    try:
        connection.connect()
        connection.register_with_event_loop(hub)
        with connection.Consumer(queue, no_ack=True,
                                 callbacks=[lambda body, m: got.append(body)]):
            for number in range(5):
                connection.Producer().publish(number, exchange=queue.exchange,
                                              routing_key="task.h")
            loop = hub.create_loop()
            until(lambda: len(got) == 5, lambda _: next(loop), what="messages through the hub")
    finally:
        hub.close()
        set_event_loop(None)
    assert got == [0, 1, 2, 3, 4]


class Worker(ConsumerMixin):
    """The worker from kombu's guide: runs until it has seen enough."""

    def __init__(self, connection, queue, count):
        self.connection, self.queue, self.count = connection, queue, count
        self.got = []

    def get_consumers(self, Consumer, channel):       # pylint: disable=invalid-name
        return [Consumer([self.queue], callbacks=[self.on_task], prefetch_count=2)]

    def on_task(self, body, message):
        self.got.append(body)
        message.ack()
        self.should_stop = len(self.got) == self.count


def test_consumer_mixin_with_pooled_producers(connection, kombu_connect, names):
    queue = topic_queue(names)
    with producers[connection].acquire(block=True) as producer:
        for number in range(20):
            producer.publish({"n": number}, exchange=queue.exchange, declare=[queue],
                             routing_key="task.mixin")
    worker = Worker(kombu_connect(), queue, 20)
    worker.run()
    assert worker.got == [{"n": number} for number in range(20)]
    producers[connection].force_close_all()


class RpcServer(ConsumerProducerMixin):
    """Answers with the square, to where the question says."""

    def __init__(self, connection, queue):
        self.connection, self.queue = connection, queue

    def get_consumers(self, Consumer, channel):       # pylint: disable=invalid-name
        return [Consumer([self.queue], callbacks=[self.on_request])]

    def on_request(self, body, message):
        self.producer.publish({"square": body["n"] ** 2}, exchange="",
                              routing_key=message.properties["reply_to"],
                              correlation_id=message.properties["correlation_id"])
        message.ack()


def test_rpc_with_callback_queue(connection, kombu_connect, names):
    question = Queue(names.queue(), durable=False)
    question(connection.default_channel).declare()
    server = RpcServer(kombu_connect(), question)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        answers = {}
        callback = Queue(common.uuid(), exclusive=True, auto_delete=True)
        with connection.Consumer(callback, no_ack=True, callbacks=[
                lambda body, m: answers.update({m.properties["correlation_id"]: body})]):
            for number in range(10):
                Producer(connection).publish({"n": number}, exchange="", correlation_id=str(number),
                                             routing_key=question.name, reply_to=callback.name)
            drain(connection, lambda: len(answers) == 10, "ten answers")
    finally:
        server.should_stop = True
        thread.join()
    assert answers == {str(n): {"square": n * n} for n in range(10)}


def test_confirms_by_transport_option(kombu_connect, names):
    connection = kombu_connect(transport_options={"confirm_publish": True})
    queue = topic_queue(names)
    producer = connection.Producer()
    for number in range(20):
        producer.publish(number, exchange=queue.exchange, routing_key="task.c", declare=[queue],
                         retry=True, retry_policy={"max_retries": 2})
    bound = queue(connection.default_channel)
    assert [bound.get(no_ack=True).payload for _ in range(20)] == list(range(20))


def test_mandatory_return(connection):
    returned = []
    producer = connection.Producer(on_return=lambda *details: returned.append(details))
    producer.publish("nobody", exchange="", routing_key="clients.nobody", mandatory=True)
    drain(connection, lambda: returned, "the return")
    assert returned[0][0].reply_code == 312


def test_entities_bind_unbind_purge_delete(connection, names):
    channel = connection.channel()
    first, second = [Exchange(names.exchange(), "topic", durable=False)(channel) for _ in range(2)]
    queue = Queue(names.queue(), durable=False, max_length=1000, bindings=[
        kombu.binding(first, "a.*"), kombu.binding(second, "b.*")])(channel)
    queue.declare()
    first.publish(first.Message("one"), routing_key="a.x")
    second.publish(second.Message("two"), routing_key="b.x")
    second.bind_to(first, "c.*")
    queue.bind_to(second, "c.*")
    first.publish(first.Message("three"), routing_key="c.x")
    assert [str(queue.get(no_ack=True).body) for _ in range(3)] == ["one", "two", "three"]
    queue.unbind_from(second, "b.*")
    second.publish(second.Message("four"), routing_key="b.x")
    assert queue.get() is None
    first.publish(first.Message("five"), routing_key="a.x")
    assert queue.purge() == 1
    queue.delete(if_unused=True, if_empty=True)
    first.delete()
    second.delete()


def test_refused_connections_are_retried_and_reported(broker):
    port = socket.create_server(("127.0.0.1", 0))
    number = port.getsockname()[1]
    port.close()
    connection = kombu.Connection(f"pyamqp://guest:guest@127.0.0.1:{number}//")
    attempts = []
    with pytest.raises(OperationalError):
        connection.ensure_connection(lambda error, interval: attempts.append(error),
                                     max_retries=2, interval_start=0, interval_step=0)
    assert len(attempts) == 2
    failover = kombu.Connection(
        f"pyamqp://127.0.0.1:{number};" + broker.url.replace("amqp:", "pyamqp:"))
    failover.ensure_connection(max_retries=3, interval_start=0, interval_step=0)
    assert failover.connected
    failover.release()


def test_autoretry_over_a_broker_restart(start_broker):
    """kombu's own recovery: the connection is made again and what it needs is declared again."""
    broker = start_broker()
    connection = kombu.Connection(broker.url.replace("amqp:", "pyamqp:"))
    queue = Queue("clients.autoretry", Exchange("clients.autoretry", "topic", durable=False), "#",
                  durable=False)
    producer = connection.Producer(auto_declare=False)
    policy = {"max_retries": 20, "interval_start": 0.1, "interval_step": 0}
    producer.publish("before", exchange=queue.exchange, routing_key="k", declare=[queue],
                     retry=True, retry_policy=policy)
    broker.process.stop()
    broker.process.start()

    def publish_and_get():
        producer.publish("after", exchange=queue.exchange, routing_key="k", declare=[queue],
                         retry=True, retry_policy=policy)
        return queue(connection.default_channel).get(no_ack=True)
    message = until(publish_and_get, what="a message through the new connection")
    assert message.payload == "after"
    connection.release()


def test_heartbeat_check(kombu_connect):
    connection = kombu_connect(heartbeat=2)
    connection.connect()
    assert connection.get_heartbeat_interval() == 2
    beats = []

    def pump(_slice):
        connection.heartbeat_check(rate=2)
        beats.append(True)
        try:
            connection.drain_events(timeout=0.2)
        except socket.timeout:
            pass
    until(lambda: len(beats) >= 15, pump, what="fifteen checks")
    assert connection.default_channel.queue_declare("", exclusive=True).queue
