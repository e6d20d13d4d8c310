"""test_topic: which routing keys a topic pattern matches, and which copies a queue gets."""
import pytest

# Words may be empty, but the empty key has no word at all.
TABLE = [
    # pattern, keys that match, keys that do not
    ("a", ["a"], ["", "b", "a.a", "A", "a.", ".a"]),
    ("", [""], ["a", "."]),
    ("a.b", ["a.b"], ["a", "b", "a.b.c", "ab", "a..b", "a.b."]),
    ("*", ["a", "abc", "*", "#", " "], ["", "a.b", ".", "a."]),
    ("#", ["", "a", "a.b", "a.b.c", ".", "..", "a..b"], []),
    ("a.*", ["a.b", "a.", "a.*"], ["a", "a.b.c", "b.b", "a.."]),
    ("*.a", ["b.a", ".a", "*.a"], ["a", "b.b.a", "a.b"]),
    ("*.*", ["a.b", ".", "a.", ".b"], ["a", "", "a.b.c", ".."]),
    ("a.#", ["a", "a.b", "a.b.c", "a.", "a.."], ["b", "", "ab", "b.a", ".a"]),
    ("#.a", ["a", "b.a", "c.b.a", ".a", "a.a"], ["", "a.b", "ba", "a."]),
    ("#.#", ["", "a", "a.b", "."], []),
    ("*.#", ["a", "a.b", "a.b.c", ".", "a."], [""]),
    ("#.*", ["a", "a.b", "a.b.c", "."], [""]),
    ("#.*.#", ["a", "a.b", "a.b.c"], [""]),
    ("*.#.*", ["a.b", "a.b.c", "."], ["a", ""]),
    ("a.#.b", ["a.b", "a.c.b", "a.c.d.b", "a..b", "a.b.b"], ["a", "b", "a.b.c", "ab", "b.a"]),
    ("a.*.b", ["a.c.b", "a..b", "a.*.b"], ["a.b", "a.c.d.b"]),
    ("#.a.#", ["a", "b.a", "a.b", "b.a.c", "a.a"], ["", "b", "b.c", "ab"]),
    ("a.#.b.#.c", ["a.b.c", "a.x.b.c", "a.b.y.z.c", "a.b.b.c.c"], ["a.c.b", "a.b", "a.b.c.d"]),
    ("a*", ["a*"], ["a", "ab", "a.b"]),
    ("a#", ["a#"], ["a", "ab", "a.b"]),
    ("*a.b", ["*a.b"], ["ca.b"]),
    ("stock.*.nyse.#", ["stock.usd.nyse", "stock.eur.nyse.a.b"], ["stock.nyse", "stock.a.b.nyse"]),
    (".", ["."], ["", "a", "..", "a."]),
    ("..", [".."], ["."]),
    ("*.", ["a.", "."], ["a", "a.b"]),
    ("#.", [".", "a.", "a.b."], ["", "a", "a.b"]),
    ("ä.*", ["ä.ö"], ["a.ö"]),
    ("#.a.#.a.#.a.#.a.#.a.#.a", ["a.a.a.a.a.a", "a.b.a.b.a.b.a.b.a.b.a"], ["a.a.a.a.a"]),
]


@pytest.fixture
def topic(ch, fresh):
    name = fresh("topic")
    ch.call("exchange.declare", exchange=name, type="topic")
    return name


def routed(ch, topic, key):
    """Publish with this key; True when it reached a queue."""
    ch.publish(b"x", key, topic, mandatory=True)
    ch.send("queue.declare", exclusive=True)
    got = ch.client.next()
    if got.name == "basic.return":
        ch.content(got.fields)
        ch.expect("queue.declare_ok")
        return False
    assert got.name == "queue.declare_ok"
    return True


@pytest.mark.parametrize("pattern, yes, no", TABLE, ids=[row[0] or "empty" for row in TABLE])
def test_patterns(ch, topic, pattern, yes, no):
    queue = ch.declare()
    ch.call("queue.bind", queue=queue, exchange=topic, routing_key=pattern)
    wrong = [(key, expected) for keys, expected in ((yes, True), (no, False)) for key in keys
             if routed(ch, topic, key) != expected]
    assert not wrong
    assert len(ch.drain(queue)) == len(yes)


def test_all_patterns_together(ch, topic):
    """The same table with all bindings at once: each queue gets its own, each once."""
    queues = {}
    for pattern, _, _ in TABLE:
        queues[pattern] = ch.declare("")
        ch.call("queue.bind", queue=queues[pattern], exchange=topic, routing_key=pattern)
    for pattern, yes, no in TABLE:
        for key in yes + no:
            ch.publish(key.encode(), key, topic)
        got = ch.drain(queues[pattern])
        assert sorted(got) == sorted(key.encode() for key in yes)
        for queue in queues.values():
            ch.call("queue.purge", queue=queue)


def test_one_copy_for_many_matching_bindings(ch, topic):
    queue = ch.declare()
    for pattern in ("#", "*", "a", "a.#", "#.a", "*.#"):
        ch.call("queue.bind", queue=queue, exchange=topic, routing_key=pattern)
    ch.publish(b"x", "a", topic)
    assert ch.drain(queue) == [b"x"]


def test_unbind_takes_only_its_pattern(ch, topic):
    queue = ch.declare()
    for pattern in ("a.*", "a.#", "*.b"):
        ch.call("queue.bind", queue=queue, exchange=topic, routing_key=pattern)
    for pattern, still in (("a.*", True), ("a.#", True), ("*.b", False)):
        ch.call("queue.unbind", queue=queue, exchange=topic, routing_key=pattern)
        assert routed(ch, topic, "a.b") == still


def test_unbinding_what_was_bound_twice_with_arguments(ch, topic):
    queue = ch.declare()
    for arguments in ({}, {"x": 1}):
        ch.call("queue.bind", queue=queue, exchange=topic, routing_key="a.*", arguments=arguments)
    ch.call("queue.unbind", queue=queue, exchange=topic, routing_key="a.*")
    assert routed(ch, topic, "a.b")
    ch.call("queue.unbind", queue=queue, exchange=topic, routing_key="a.*", arguments={"x": 1})
    assert not routed(ch, topic, "a.b")


@pytest.mark.godwit
def test_a_pathological_pattern_costs_little(ch, topic):
    """Many # words against a long key that almost matches; a matcher that tries all ways, as
    RabbitMQ's does, would not return."""
    queue = ch.declare()
    ch.call("queue.bind", queue=queue, exchange=topic, routing_key="#.a." * 15 + "#.b")
    key = ".".join(["a"] * 120)
    assert not routed(ch, topic, key)
    assert routed(ch, topic, key + ".b")


def test_longest_key_and_pattern(ch, topic):
    key = "." * 255
    queue = ch.declare()
    ch.call("queue.bind", queue=queue, exchange=topic, routing_key=key)
    assert routed(ch, topic, key) and not routed(ch, topic, key[1:])


def test_deleted_queues_are_forgotten(ch, topic, fresh):
    for _ in range(3):
        queue = ch.declare(fresh())
        ch.call("queue.bind", queue=queue, exchange=topic, routing_key="a.#")
        assert routed(ch, topic, "a.b")
        ch.call("queue.delete", queue=queue)
        assert not routed(ch, topic, "a.b")
