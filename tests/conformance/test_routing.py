"""test_routing: direct and fanout, exchanges bound to exchanges, cycles, alternate exchanges."""
import pytest


@pytest.fixture
def declare(ch, fresh):
    """Declares exchanges with fresh names."""
    def declarer(kind="fanout", **fields):
        name = fresh("e")
        ch.call("exchange.declare", exchange=name, type=kind, **fields)
        return name
    return declarer


@pytest.fixture
def bind(ch):
    def binder(source, destination, key="", arguments=None):
        ch.call("exchange.bind", source=source, destination=destination, routing_key=key,
                arguments=arguments or {})
    return binder


def sink(ch, exchange, key=""):
    """A queue bound to an exchange."""
    queue = ch.declare("")
    ch.call("queue.bind", queue=queue, exchange=exchange, routing_key=key)
    return queue


def test_default_exchange_routes_by_queue_name(ch):
    one, two = ch.declare(), ch.declare()
    ch.publish(b"1", one)
    ch.publish(b"2", two)
    assert (ch.drain(one), ch.drain(two)) == ([b"1"], [b"2"])


def test_direct(ch, declare):
    name = declare("direct")
    a, b = sink(ch, name, "a"), sink(ch, name, "b")
    both = sink(ch, name, "a")
    ch.call("queue.bind", queue=both, exchange=name, routing_key="b")
    for key in ("a", "b", "c", "", "a.b", "*", "#"):
        ch.publish(key.encode(), key, name)
    assert (ch.drain(a), ch.drain(b), ch.drain(both)) == ([b"a"], [b"b"], [b"a", b"b"])


def test_direct_knows_no_patterns(ch, declare):
    name = declare("direct")
    queue = sink(ch, name, "#")
    ch.publish(b"1", "a", name)
    ch.publish(b"2", "#", name)
    assert ch.drain(queue) == [b"2"]


def test_fanout_ignores_keys(ch, declare):
    name = declare("fanout")
    queues = [sink(ch, name, key) for key in ("", "a", "b")]
    ch.call("queue.bind", queue=queues[0], exchange=name, routing_key="again")
    ch.publish(b"x", "whatever", name)
    assert [ch.drain(queue) for queue in queues] == [[b"x"]] * 3


def test_chain_keeps_exchange_and_key(ch, declare, bind):
    first, middle, last = declare("topic"), declare("direct"), declare("fanout")
    bind(first, middle, "a.*")
    bind(middle, last, "a.b")
    queue = sink(ch, last)
    ch.publish(b"yes", "a.b", first)
    ch.publish(b"no", "a.c", first)
    got = ch.get(queue)
    assert (got.body, got.method["exchange"], got.method["routing_key"]) == (b"yes", first, "a.b")
    assert ch.get(queue) is None


def test_diamond_gives_one_copy(ch, declare, bind):
    top, left, right, bottom = (declare() for _ in range(4))
    for source, destination in ((top, left), (top, right), (left, bottom), (right, bottom)):
        bind(source, destination)
    queue = sink(ch, bottom)
    for exchange in (left, right, top):
        ch.call("queue.bind", queue=queue, exchange=exchange)
    ch.publish(b"x", exchange=top)
    assert ch.drain(queue) == [b"x"]


@pytest.mark.parametrize("length", [1, 2, 3, 10])
def test_cycles_end(ch, declare, bind, length):
    ring = [declare() for _ in range(length)]
    for i, name in enumerate(ring):
        bind(name, ring[(i + 1) % length])
    queues = [sink(ch, name) for name in ring]
    ch.publish(b"x", exchange=ring[0])
    assert [ch.drain(queue) for queue in queues] == [[b"x"]] * length


def test_cycle_of_keys(ch, declare, bind):
    """A message goes round only as far as its key is bound."""
    one, two = declare("direct"), declare("direct")
    bind(one, two, "k")
    bind(two, one, "k")
    first, second = sink(ch, one, "k"), sink(ch, two, "other")
    ch.publish(b"x", "k", two)
    assert (ch.drain(first), ch.drain(second)) == ([b"x"], [])


def test_cycle_without_queues_is_unroutable(ch, declare, bind):
    one, two = declare(), declare()
    bind(one, two)
    bind(two, one)
    ch.publish(b"x", exchange=one, mandatory=True)
    assert ch.expect_content("basic.return", reply_code=312).body == b"x"


def test_headers_bound_to_topic(ch, declare, bind):
    outer, inner = declare("headers"), declare("topic")
    bind(outer, inner, arguments={"h": 1})
    queue = sink(ch, inner, "a.#")
    for key, headers in (("a.b", {"h": 1}), ("b", {"h": 1}), ("a.b", {"h": 2})):
        ch.publish(key.encode(), key, outer, properties={"headers": headers})
    assert ch.drain(queue) == [b"a.b"]


def test_deleting_an_exchange_in_the_middle(ch, declare, bind):
    first, middle = declare(), declare()
    bind(first, middle)
    queue = sink(ch, middle)
    ch.publish(b"1", exchange=first)
    ch.call("exchange.delete", exchange=middle)
    ch.publish(b"2", exchange=first, mandatory=True)
    assert ch.expect_content("basic.return").body == b"2"
    assert ch.drain(queue) == [b"1"]


def test_alternate_takes_what_finds_no_queue(ch, declare):
    spare = declare("fanout")
    name = declare("direct", arguments={"alternate-exchange": spare})
    queue, lost = sink(ch, name, "k"), sink(ch, spare)
    ch.publish(b"1", "k", name)
    ch.publish(b"2", "other", name, mandatory=True)
    assert (ch.drain(queue), ch.drain(lost)) == ([b"1"], [b"2"])


def test_alternate_keeps_exchange_and_key(ch, declare):
    spare = declare("fanout")
    name = declare("direct", arguments={"alternate-exchange": spare})
    lost = sink(ch, spare)
    ch.publish(b"x", "other", name)
    method = ch.get(lost).method
    assert (method["exchange"], method["routing_key"]) == (name, "other")


def test_alternate_chain_and_return(ch, declare):
    last = declare("direct")
    middle = declare("direct", arguments={"alternate-exchange": last})
    first = declare("direct", arguments={"alternate-exchange": middle})
    queue = sink(ch, last, "k")
    ch.publish(b"1", "k", first, mandatory=True)
    ch.publish(b"2", "other", first, mandatory=True)
    back = ch.expect_content("basic.return", reply_code=312, exchange=first, routing_key="other")
    assert back.body == b"2"
    assert ch.drain(queue) == [b"1"]


@pytest.mark.parametrize("alternate", ["absent", ""])
def test_alternate_that_is_not_there(ch, declare, alternate):
    name = declare("direct", arguments={"alternate-exchange": alternate})
    ch.publish(b"x", "k", name, mandatory=True)
    assert ch.expect_content("basic.return").body == b"x"
    ch.publish(b"y", "k", name)
    ch.counts(ch.declare())


def test_alternate_may_be_declared_later(ch, declare, fresh):
    spare = fresh("e")
    name = declare("direct", arguments={"alternate-exchange": spare})
    ch.publish(b"1", "k", name)
    ch.call("exchange.declare", exchange=spare, type="fanout")
    lost = sink(ch, spare)
    ch.publish(b"2", "k", name)
    assert ch.drain(lost) == [b"2"]


def test_alternates_in_a_circle(ch, fresh):
    one, two = fresh("e"), fresh("e")
    ch.call("exchange.declare", exchange=one, type="direct", arguments={"alternate-exchange": two})
    ch.call("exchange.declare", exchange=two, type="direct", arguments={"alternate-exchange": one})
    ch.publish(b"x", "k", one, mandatory=True)
    assert ch.expect_content("basic.return").body == b"x"


def test_alternate_of_a_bound_exchange(ch, declare, bind):
    """Each exchange on the way decides for itself: bound but leading nowhere is nowhere."""
    spare = declare("fanout")
    inner = declare("direct", arguments={"alternate-exchange": spare})
    outer = declare("fanout")
    bind(outer, inner)
    lost = sink(ch, spare)
    ch.publish(b"x", "k", outer, mandatory=True)
    assert ch.drain(lost) == [b"x"]


def test_alternate_is_not_asked_when_bound_to_an_empty_exchange(ch, declare, bind):
    """The exchange has a matching binding, so its alternate stays out, though no queue is met."""
    spare, inner = declare("fanout"), declare("direct")
    outer = declare("fanout", arguments={"alternate-exchange": spare})
    bind(outer, inner)
    lost = sink(ch, spare)
    ch.publish(b"x", "k", outer, mandatory=True)
    assert ch.expect_content("basic.return").body == b"x"
    assert ch.drain(lost) == []


def test_binding_is_seen_by_the_next_publish(ch, declare):
    name = declare("direct")
    queue = ch.declare()
    for i in range(50):
        ch.send("queue.bind", queue=queue, exchange=name, routing_key="k", nowait=True)
        ch.publish(b"%d" % i, "k", name)
        ch.send("queue.unbind", queue=queue, exchange=name, routing_key="k")
        ch.publish(b"no", "k", name)
        ch.expect("queue.unbind_ok")
    assert ch.drain(queue) == [b"%d" % i for i in range(50)]
