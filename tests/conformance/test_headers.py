"""test_headers: which header tables a headers binding matches."""
import pytest

from fields import Typed

ALL, ANY = {"x-match": "all"}, {"x-match": "any"}
ALL_X, ANY_X = {"x-match": "all-with-x"}, {"x-match": "any-with-x"}
ONE = {"a": 1}

TABLE = [
    # binding, headers, matches?
    ({}, {}, True), ({}, ONE, True), ({}, None, True),
    (ALL, {}, True), (ALL, ONE, True), (ALL, None, True),
    (ANY, {}, False), (ANY, ONE, False), (ANY, None, False),
    (ONE, ONE, True), (ONE, {"a": 2}, False), (ONE, {}, False), (ONE, None, False),
    (ONE, {"a": 1, "b": 2}, True), ({**ALL, "a": 1, "b": 2}, ONE, False),
    ({**ALL, "a": 1, "b": 2}, {"b": 2, "a": 1, "c": 3}, True),
    ({**ANY, "a": 1, "b": 2}, ONE, True), ({**ANY, "a": 1, "b": 2}, {"b": 2}, True),
    ({**ANY, "a": 1, "b": 2}, {"a": 2, "b": 1}, False),
    ({**ANY, "a": 1, "b": 2}, {"a": 2, "b": 2}, True),
    # Types.
    (ONE, {"a": "1"}, False), (ONE, {"a": True}, False), ({"a": "1"}, {"a": "1"}, True),
    ({"a": "x"}, {"a": "X"}, False), ({"a": ""}, {"a": ""}, True), ({"a": ""}, {"a": None}, False),
    (ONE, {"a": Typed("b", 1)}, True), (ONE, {"a": Typed("l", 1)}, True),
    (ONE, {"a": Typed("T", 1)}, True), (ONE, {"a": 1.0}, True), ({"a": 1.0}, ONE, True),
    ({"a": 1.5}, {"a": 1.5}, True), ({"a": 1.5}, {"a": 1}, False),
    ({"a": True}, {"a": True}, True), ({"a": True}, {"a": False}, False),
    ({"a": b"x"}, {"a": "x"}, True), ({"a": "x"}, {"a": b"x"}, True),
    ({"a": [1, 2]}, {"a": [1, 2]}, True), ({"a": [1, 2]}, {"a": [2, 1]}, False),
    ({"a": {"b": 1}}, {"a": {"b": 1}}, True), ({"a": {"b": 1}}, {"a": {"b": 2}}, False),
    # A void in the binding asks only whether the header is there.
    ({"a": None}, ONE, True), ({"a": None}, {"a": "x"}, True), ({"a": None}, {"a": None}, True),
    ({"a": None}, {"b": 1}, False), ({**ANY, "a": None, "b": 5}, {"a": 9}, True),
    # x- headers.
    ({"x-a": 1}, {}, True), ({"x-a": 1}, {"x-a": 2}, True),
    ({**ALL, "x-a": 1, "b": 2}, {"b": 2}, True),
    ({**ANY, "x-a": 1}, {"x-a": 1}, False), ({**ANY, "x-a": 1, "b": 2}, {"x-a": 1}, False),
    ({**ALL_X, "x-a": 1}, {"x-a": 1}, True), ({**ALL_X, "x-a": 1}, {"x-a": 2}, False),
    ({**ALL_X, "x-a": 1}, {}, False), ({**ALL_X, "x-a": 1, "b": 2}, {"x-a": 1}, False),
    ({**ANY_X, "x-a": 1}, {"x-a": 1}, True), ({**ANY_X, "x-a": 1, "b": 2}, {"b": 2}, True),
    ({**ANY_X, "x-a": 1}, {"x-a": 2}, False), (ALL_X, {}, True), (ANY_X, {}, False),
    ({"x": 1}, {}, False), ({"X-a": 1}, {}, False),
    # Names are exact.
    ({"A": 1}, ONE, False), ({"": 1}, {"": 1}, True),
]


@pytest.fixture
def headers(ch, fresh):
    name = fresh("headers")
    ch.call("exchange.declare", exchange=name, type="headers")
    return name


def routed(ch, exchange, headers, key=""):
    """Publish with these headers (None for no table at all); True when it reached a queue."""
    ch.publish(b"x", key, exchange, mandatory=True,
               properties={} if headers is None else {"headers": headers})
    ch.send("queue.declare", exclusive=True)
    got = ch.client.next()
    if got.name == "basic.return":
        ch.content(got.fields)
        ch.expect("queue.declare_ok")
        return False
    assert got.name == "queue.declare_ok"
    return True


@pytest.mark.parametrize("binding, sent, expected", TABLE, ids=repr)
def test_matching(ch, headers, binding, sent, expected):
    ch.call("queue.bind", queue=ch.declare(), exchange=headers, arguments=binding)
    assert routed(ch, headers, sent) == expected


def test_the_routing_key_does_not_matter(ch, headers):
    ch.call("queue.bind", queue=ch.declare(), exchange=headers, routing_key="k", arguments=ONE)
    for key in ("", "k", "other"):
        assert routed(ch, headers, ONE, key)
        assert not routed(ch, headers, {}, key)


def test_all_bindings_at_once(ch, headers):
    queues = []
    for binding, _, _ in TABLE:
        queues.append(ch.declare(""))
        ch.call("queue.bind", queue=queues[-1], exchange=headers, arguments=binding)
    for queue, (_, sent, expected) in zip(queues, TABLE):
        ch.publish(b"x", "", headers, properties={} if sent is None else {"headers": sent})
        assert len(ch.drain(queue)) == expected
        for other in queues:
            ch.call("queue.purge", queue=other)


def test_one_copy_for_many_matching_bindings(ch, headers):
    queue = ch.declare()
    for binding in (ONE, {"b": 2}, {**ANY, "a": 1, "b": 2}, {}):
        ch.call("queue.bind", queue=queue, exchange=headers, arguments=binding)
    ch.publish(b"x", "", headers, properties={"headers": {"a": 1, "b": 2}})
    assert ch.drain(queue) == [b"x"]


def test_unbind_needs_the_same_arguments(ch, headers):
    queue = ch.declare()
    ch.call("queue.bind", queue=queue, exchange=headers, arguments=ONE)
    for arguments in ({}, {"a": 2}, {"a": 1, "b": 1}):
        ch.call("queue.unbind", queue=queue, exchange=headers, arguments=arguments)
        assert routed(ch, headers, ONE)
    ch.call("queue.unbind", queue=queue, exchange=headers, arguments=ONE)
    assert not routed(ch, headers, ONE)


def test_order_of_arguments_does_not_make_another_binding(ch, headers):
    queue = ch.declare()
    ch.call("queue.bind", queue=queue, exchange=headers, arguments={"a": 1, "b": 2})
    ch.call("queue.unbind", queue=queue, exchange=headers, arguments={"b": 2, "a": 1})
    assert not routed(ch, headers, {"a": 1, "b": 2})
