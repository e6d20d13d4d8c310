#!/usr/bin/python3
"""pika: questions and answers, by reply queues and by direct reply-to."""
import uuid

import pika
import pytest
from pika.exceptions import ChannelClosedByBroker

from patience import served, until

REPLY_TO = "amq.rabbitmq.reply-to"


def fibonacci(number):
    return number if number < 2 else fibonacci(number - 1) + fibonacci(number - 2)


def taken(channel, queue):
    """A message and what belongs to it, or None."""
    got = channel.basic_get(queue, auto_ack=True)
    return got if got[0] else None


def serve(channel, queue):
    """Answers each request with a Fibonacci number, as the tutorial's server does."""
    def on_request(ch, method, properties, body):
        answer = pika.BasicProperties(correlation_id=properties.correlation_id)
        ch.basic_publish("", properties.reply_to, b"%d" % fibonacci(int(body)), answer)
        ch.basic_ack(method.delivery_tag)

    channel.basic_qos(prefetch_count=1)
    channel.basic_consume(queue, on_request)


class Asker:
    """A client that asks and remembers the answers by correlation id."""

    def __init__(self, channel, server, reply_to, auto_ack):
        self.channel = channel
        self.server = server
        self.reply_to = reply_to
        self.answers = {}
        channel.basic_consume(reply_to, self.on_answer, auto_ack=auto_ack)

    def on_answer(self, _channel, _method, properties, body):
        self.answers[properties.correlation_id] = int(body)

    def ask(self, queue, number):
        question = str(uuid.uuid4())
        self.channel.basic_publish("", queue, b"%d" % number, pika.BasicProperties(
            reply_to=self.reply_to, correlation_id=question))
        return question

    def answer_to(self, question):
        def both_work(slice_s):
            self.server.process_data_events(time_limit=slice_s)
            self.channel.connection.process_data_events(time_limit=slice_s)
        until(lambda: question in self.answers, both_work, what="the answer")
        return self.answers[question]


@pytest.fixture
def server(connect, names):
    """A serving channel and the name of its queue."""
    channel = connect().channel()
    queue = names.queue("rpc")
    channel.queue_declare(queue)
    serve(channel, queue)
    return channel, queue


def test_rpc_with_an_exclusive_reply_queue(connect, server):
    channel = connect().channel()
    reply_queue = channel.queue_declare("", exclusive=True).method.queue
    asker = Asker(channel, server[0].connection, reply_queue, auto_ack=True)
    for number in range(12):
        assert asker.answer_to(asker.ask(server[1], number)) == fibonacci(number)


def test_rpc_with_direct_reply_to(connect, server):
    asker = Asker(connect().channel(), server[0].connection, REPLY_TO, auto_ack=True)
    for number in range(12):
        assert asker.answer_to(asker.ask(server[1], number)) == fibonacci(number)


def test_many_askers_get_their_own_answers(connect, server):
    askers = [Asker(connect().channel(), server[0].connection, REPLY_TO, auto_ack=True)
              for _ in range(5)]
    asked = [(asker, asker.ask(server[1], number), number)
             for number in range(8) for asker in askers]
    for asker, question, number in asked:
        assert asker.answer_to(question) == fibonacci(number)
    assert all(len(asker.answers) == 8 for asker in askers)


def test_reply_to_is_rewritten_and_usable_from_elsewhere(connect, names):
    queue = names.queue()
    asker, server = connect().channel(), connect().channel()
    asker.queue_declare(queue)
    got = []
    asker.basic_consume(REPLY_TO, lambda ch, method, p, body: got.append((method, body)),
                        auto_ack=True)
    asker.basic_publish("", queue, b"?", pika.BasicProperties(reply_to=REPLY_TO))
    _, properties, _ = until(lambda: taken(server, queue), what="the question")
    assert properties.reply_to.startswith(REPLY_TO + ".")
    server.queue_declare(properties.reply_to, passive=True)
    server.basic_publish("", properties.reply_to, b"!")
    served(asker.connection, lambda: got, what="the answer")
    method, body = got[0]
    assert (method.exchange, method.routing_key, body) == ("", properties.reply_to, b"!")


def test_an_answer_to_nobody_is_unroutable(connect, names):
    queue = names.queue()
    server = connect().channel()
    server.queue_declare(queue)
    asker = connect()
    asking = asker.channel()
    asking.basic_consume(REPLY_TO, lambda *_: None, auto_ack=True)
    asking.basic_publish("", queue, b"?", pika.BasicProperties(reply_to=REPLY_TO))
    asker.close()
    _, properties, _ = until(lambda: taken(server, queue), what="the question")
    returned = []
    server.add_on_return_callback(lambda ch, method, p, body: returned.append(method.reply_code))
    server.basic_publish("", properties.reply_to, b"!", mandatory=True)
    served(server.connection, lambda: returned, what="the return")
    assert returned == [312]
    with pytest.raises(ChannelClosedByBroker) as closed:
        server.queue_declare(properties.reply_to, passive=True)
    assert closed.value.reply_code == 404


def test_direct_reply_to_needs_no_ack_mode(channel):
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.basic_consume(REPLY_TO, lambda *_: None)
    assert closed.value.reply_code == 406


def test_asking_needs_a_reply_consumer_first(channel, names):
    queue = names.queue()
    channel.queue_declare(queue)
    channel.basic_publish("", queue, b"?", pika.BasicProperties(reply_to=REPLY_TO))
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.queue_declare(queue, passive=True)
    assert closed.value.reply_code == 406


def test_second_reply_consumer_is_refused(channel):
    channel.basic_consume(REPLY_TO, lambda *_: None, auto_ack=True)
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.basic_consume(REPLY_TO, lambda *_: None, auto_ack=True)
    assert closed.value.reply_code == 406
