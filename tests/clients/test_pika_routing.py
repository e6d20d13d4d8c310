#!/usr/bin/python3
"""pika: publish and subscribe, and the ways messages find queues."""
import pika
import pytest
from pika.exceptions import ChannelClosedByBroker

from patience import served


def subscribe(channel, exchange, key="", arguments=None):
    """A subscriber's exclusive queue, bound."""
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.queue_bind(queue, exchange, key, arguments)
    return queue


def take_all(channel, queue):
    bodies = []
    while True:
        method, _, body = channel.basic_get(queue, auto_ack=True)
        if method is None:
            return bodies
        bodies.append(body)


def test_fanout_reaches_every_subscriber(connect, names):
    exchange = names.exchange()
    publisher = connect().channel()
    publisher.exchange_declare(exchange, "fanout")
    logs = []
    subscribers = []
    for number in range(5):
        subscriber = connect().channel()
        queue = subscribe(subscriber, exchange)
        subscriber.basic_consume(
            queue, lambda ch, m, p, body, number=number: logs.append((number, body)),
            auto_ack=True)
        subscribers.append(subscriber)
    publisher.basic_publish(exchange, "ignored", b"hello")
    publisher.basic_publish(exchange, "", b"again")
    for number, subscriber in enumerate(subscribers):
        served(subscriber.connection,
               lambda number=number: (number, b"again") in logs, what="both messages")
    assert sorted(logs) == sorted((n, b) for n in range(5) for b in (b"again", b"hello"))


def test_a_late_subscriber_misses_the_past(channel, names):
    exchange = names.exchange()
    channel.exchange_declare(exchange, "fanout")
    channel.basic_publish(exchange, "", b"before")
    queue = subscribe(channel, exchange)
    channel.basic_publish(exchange, "", b"after")
    assert take_all(channel, queue) == [b"after"]


def test_direct_by_severity(channel, names):
    exchange = names.exchange()
    channel.exchange_declare(exchange, "direct")
    errors = subscribe(channel, exchange, "error")
    everything = subscribe(channel, exchange, "error")
    for severity in "info", "warning":
        channel.queue_bind(everything, exchange, severity)
    for severity in "info", "error", "warning", "debug":
        channel.basic_publish(exchange, severity, severity.encode())
    assert take_all(channel, errors) == [b"error"]
    assert take_all(channel, everything) == [b"info", b"error", b"warning"]


TOPICS = [
    ("#", "quick.orange.rabbit", True), ("#", "", True), ("*", "", False), ("*", "one", True),
    ("*.orange.*", "quick.orange.rabbit", True), ("*.orange.*", "orange", False),
    ("lazy.#", "lazy", True), ("lazy.#", "lazy.pink.rabbit", True), ("lazy.#", "lazyer", False),
    ("*.*.rabbit", "lazy.pink.rabbit", True), ("*.*.rabbit", "a.lazy.pink.rabbit", False),
    ("#.rabbit", "rabbit", True), ("#.rabbit", "a.b.c.rabbit", True), ("#.x.#", "a.x.b", True),
    ("#.x.#", "x", True), ("#.x.#", "a.b", False), ("a.*", "a.", True), ("a.*", "a", False),
    ("#.#", "", True), ("#.*", "", False), ("#.*", "a", True), ("a.#.#.b", "a.b", True),
    ("a..b", "a..b", True), ("a.*.b", "a..b", True), ("stock.*.nyse", "stock.usd.NYSE", False),
]


def test_topic_patterns(channel, names):
    exchange = names.exchange()
    channel.exchange_declare(exchange, "topic")
    bound = {}
    for pattern in {pattern for pattern, _, _ in TOPICS}:
        bound[pattern] = subscribe(channel, exchange, pattern)
    for key in sorted({key for _, key, _ in TOPICS}):
        channel.basic_publish(exchange, key, key.encode())
    matched = {pattern: take_all(channel, queue) for pattern, queue in bound.items()}
    wrong = [(pattern, key) for pattern, key, expected in TOPICS
             if (key.encode() in matched[pattern]) != expected]
    assert wrong == []


def test_one_copy_however_many_bindings_match(channel, names):
    exchange = names.exchange()
    channel.exchange_declare(exchange, "topic")
    queue = subscribe(channel, exchange, "#")
    for pattern in "a.*", "*.b", "a.b", "a.#":
        channel.queue_bind(queue, exchange, pattern)
    channel.basic_publish(exchange, "a.b", b"once")
    assert take_all(channel, queue) == [b"once"]


HEADERS = [
    ({"x-match": "all", "format": "pdf", "type": "report"}, {"format": "pdf"}, False),
    ({"x-match": "all", "format": "pdf", "type": "report"},
     {"format": "pdf", "type": "report", "more": 1}, True),
    ({"x-match": "any", "format": "pdf", "type": "report"}, {"format": "pdf"}, True),
    ({"x-match": "any", "format": "pdf", "type": "report"}, {"format": "zip"}, False),
    ({"format": "pdf", "type": "report"}, {"format": "pdf"}, False),
    ({"x-match": "all", "size": 7}, {"size": 7}, True),
    ({"x-match": "all", "size": 7}, {"size": "7"}, False),
    ({"x-match": "all", "seen": True}, {"seen": True}, True),
    ({"x-match": "all", "seen": True}, {"seen": False}, False),
    ({"x-match": "all", "there": None}, {"there": "whatever"}, True),
    ({"x-match": "all", "there": None}, {}, False),
    ({"x-match": "any"}, {"a": 1}, False),
    ({"x-match": "all"}, {"a": 1}, True),
    ({"x-match": "all", "x-kind": "a"}, {}, True),
    ({"x-match": "all-with-x", "x-kind": "a"}, {"x-kind": "b"}, False),
    ({"x-match": "all-with-x", "x-kind": "a"}, {"x-kind": "a"}, True),
    ({"x-match": "any-with-x", "x-kind": "a"}, {"x-kind": "a"}, True),
]


@pytest.mark.parametrize("wanted,headers,expected", HEADERS)
def test_headers(channel, names, wanted, headers, expected):
    exchange = names.exchange()
    channel.exchange_declare(exchange, "headers")
    queue = subscribe(channel, exchange, "", wanted)
    channel.basic_publish(exchange, "", b"found", pika.BasicProperties(headers=headers))
    assert take_all(channel, queue) == ([b"found"] if expected else [])


def test_headers_without_headers(channel, names):
    exchange = names.exchange()
    channel.exchange_declare(exchange, "headers")
    every = subscribe(channel, exchange, "", {"x-match": "all"})
    some = subscribe(channel, exchange, "", {"x-match": "any", "a": 1})
    channel.basic_publish(exchange, "", b"bare")
    assert take_all(channel, every) == [b"bare"]
    assert take_all(channel, some) == []


def test_bad_x_match_is_refused(channel, names):
    exchange = names.exchange()
    channel.exchange_declare(exchange, "headers")
    with pytest.raises(ChannelClosedByBroker) as closed:
        subscribe(channel, exchange, "", {"x-match": "most"})
    assert closed.value.reply_code == 406


def test_default_exchange_routes_by_queue_name(channel, names):
    queue = names.queue()
    channel.queue_declare(queue)
    channel.basic_publish("", queue, b"straight")
    method, _, body = channel.basic_get(queue, auto_ack=True)
    assert (method.exchange, method.routing_key, body) == ("", queue, b"straight")


@pytest.mark.parametrize("exchange,kind", [("amq.direct", "direct"), ("amq.fanout", "fanout"),
                                           ("amq.topic", "topic"), ("amq.headers", "headers"),
                                           ("amq.match", "headers")])
def test_predeclared_exchanges(channel, exchange, kind):
    channel.exchange_declare(exchange, kind, durable=True)
    channel.exchange_declare(exchange, passive=True)
    queue = subscribe(channel, exchange, "predeclared", {"predeclared": "yes"})
    properties = pika.BasicProperties(headers={"predeclared": "yes"})
    channel.basic_publish(exchange, "predeclared", b"in", properties)
    assert take_all(channel, queue) == [b"in"]


def test_unbind_stops_and_twice_is_fine(channel, names):
    exchange = names.exchange()
    channel.exchange_declare(exchange, "direct")
    queue = subscribe(channel, exchange, "k")
    channel.queue_bind(queue, exchange, "k")
    channel.basic_publish(exchange, "k", b"bound")
    channel.queue_unbind(queue, exchange, "k")
    channel.queue_unbind(queue, exchange, "k")
    channel.basic_publish(exchange, "k", b"unbound")
    assert take_all(channel, queue) == [b"bound"]


def test_bindings_differ_by_arguments(channel, names):
    exchange = names.exchange()
    channel.exchange_declare(exchange, "headers")
    queue = subscribe(channel, exchange, "", {"x-match": "all", "a": 1})
    channel.queue_bind(queue, exchange, "", {"x-match": "all", "b": 1})
    channel.queue_unbind(queue, exchange, "", {"x-match": "all", "a": 1})
    channel.basic_publish(exchange, "", b"a", pika.BasicProperties(headers={"a": 1}))
    channel.basic_publish(exchange, "", b"b", pika.BasicProperties(headers={"b": 1}))
    assert take_all(channel, queue) == [b"b"]


def test_exchange_to_exchange_with_a_cycle(channel, names):
    first, second = names.exchange(), names.exchange()
    channel.exchange_declare(first, "fanout")
    channel.exchange_declare(second, "topic")
    channel.exchange_bind(second, first, "#")
    channel.exchange_bind(first, second, "a.#")
    queue = subscribe(channel, second, "a.*")
    channel.basic_publish(first, "a.b", b"round")
    channel.basic_publish(first, "c.b", b"nowhere")
    assert take_all(channel, queue) == [b"round"]
    channel.exchange_unbind(second, first, "#")
    channel.basic_publish(first, "a.b", b"cut")
    assert take_all(channel, queue) == []


def test_alternate_exchange_takes_the_unroutable(channel, names):
    exchange, alternate = names.exchange(), names.exchange()
    channel.exchange_declare(alternate, "fanout")
    channel.exchange_declare(exchange, "direct", arguments={"alternate-exchange": alternate})
    wanted = subscribe(channel, exchange, "known")
    rest = subscribe(channel, alternate)
    returned = []
    channel.add_on_return_callback(lambda *args: returned.append(args))
    for key in "known", "unknown":
        channel.basic_publish(exchange, key, key.encode(), mandatory=True)
    assert take_all(channel, wanted) == [b"known"]
    assert take_all(channel, rest) == [b"unknown"]
    assert returned == []


def test_cc_and_bcc_add_routes(channel, names):
    one, two, three = (channel.queue_declare("", exclusive=True).method.queue for _ in range(3))
    headers = {"CC": [two], "BCC": [three], "kept": "yes"}
    channel.basic_publish("", one, b"copies", pika.BasicProperties(headers=headers))
    for queue in one, two, three:
        _, properties, body = channel.basic_get(queue, auto_ack=True)
        assert body == b"copies"
        assert properties.headers == {"CC": [two], "kept": "yes"}


def test_internal_exchange_takes_no_publish(connect, names):
    outer, inner = names.exchange(), names.exchange()
    channel = connect().channel()
    channel.exchange_declare(outer, "fanout")
    channel.exchange_declare(inner, "fanout", internal=True)
    channel.exchange_bind(inner, outer)
    queue = subscribe(channel, inner)
    channel.basic_publish(outer, "", b"through")
    assert take_all(channel, queue) == [b"through"]
    channel.basic_publish(inner, "", b"directly")
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.queue_declare(queue, passive=True)
    assert closed.value.reply_code == 403


def test_auto_delete_exchange_goes_with_its_last_binding(channel, names):
    exchange = names.exchange()
    channel.exchange_declare(exchange, "fanout", auto_delete=True)
    queue = subscribe(channel, exchange)
    channel.exchange_declare(exchange, passive=True)
    channel.queue_delete(queue)
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.exchange_declare(exchange, passive=True)
    assert closed.value.reply_code == 404
