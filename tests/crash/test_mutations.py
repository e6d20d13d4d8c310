"""Each checker can fail: a proxy tells one lie, and the card names exactly the rule that it breaks.

Every lie has its honest twin: the same steps without it, after which the card must be clean.
"""
import collections
import random
import stat

import pytest

import proxy
from card import Card
from crash import Crash, default_options
from link import Link, Stuck
from messages import id_of
from proxy import Proxy, all_of, always, forged, once, renamed, swallowed, with_fields
from server import Godwit, StartFailed
from site_map import Site
from verify import Verifier
from workers import Consumer, Publisher, Stream

QUEUE, OTHER = "work.4", "work.5"
NOWHERE = with_fields(exchange="", routing_key="nowhere")


class Scene:
    """An honest broker, a proxy that may lie, a card, and one client."""

    name = "the scene"

    def __init__(self, binary, home, seconds=20):
        self.server = Godwit(binary, home)
        self.server.start()
        self.proxy = Proxy(self.server.address)
        self.card = Card()
        self.card.life_begins()
        self.site = Site(self.card, answer_seconds_max=seconds)
        self.site.opens(self.proxy.address)
        self.link = Link(self.proxy.address, seconds)
        self.verifier().make_topology()

    def verifier(self):
        made = Verifier(self.site, random.Random(1))
        made.link = self.link
        return made

    def close(self):
        self.link.close()
        self.proxy.close()
        self.server.end()

    def publish(self, queue=QUEUE, count=10, **options):
        channel = self.link.channel()
        channel.call("confirm.select")
        stream, messages = Stream(self, channel), collections.OrderedDict()
        channel.on_return = lambda returned: self.card.returned(id_of(returned.properties))

        def on_confirm(tag, multiple, _good):
            tags = [t for t in messages if t == tag or multiple and t < tag]
            self.card.confirmed([messages.pop(t) for t in tags])

        channel.on_confirm = on_confirm
        for _ in range(count):
            message = stream.publish("", queue, size=50, **options)
            messages[stream.last] = message
        deadline = self.site.deadline()
        while messages:
            if self.site.seconds_left(deadline) <= 0:
                raise Stuck("no confirm")
            self.link.pump(self.site.seconds_left(deadline))
        channel.close()

    def transact(self, end, count=5):
        channel = self.link.channel()
        channel.call("tx.select")
        stream = Stream(self, channel)
        messages = [stream.publish("", QUEUE, pending=True, size=50) for _ in range(count)]
        if end == "commit":
            self.card.committing(messages, [], [])
            channel.call("tx.commit")
            self.card.committed(messages, [])
        else:
            self.card.rolled_back(messages)
            channel.call("tx.rollback")
        channel.close()

    def take(self, settle="tx", by="consume", queue=QUEUE, limit=None):
        made = self.verifier()
        by_get = (lambda channel, hand: made.take_by_get(channel, hand, limit))
        made.take(queue, made.take_by_consume if by == "consume" else by_get, settle)

    def look(self):
        """As after a start, but without taking anything."""
        made = self.verifier()
        made.look_at_topology()
        made.probe()

    def request(self, method, verb, *things, **fields):
        channel = self.link.channel()
        self.card.changing(*(("making",) if verb == "make" else ("ending",)), *things)
        channel.call(method, **fields)
        self.card.changing(*(("made",) if verb == "make" else ("ended",)), *things)
        channel.close()

    def remove(self, what, queue=QUEUE):
        channel = self.link.channel()
        self.card.removing(queue, what)
        count = channel.call(f"queue.{what}", queue=queue)["message_count"]
        if what == "purge":
            self.card.purged(queue, count)
        else:
            self.card.deleted(queue)
        channel.close()

    @property
    def broken(self):
        return {failure.rule for failure in self.card.failures}


@pytest.fixture
def scene(binary, tmp_path):
    made = Scene(binary, tmp_path)
    yield made
    made.close()


# ---- what the client does; each returns nothing and must be clean with an honest broker ----

def publish_and_drain(scene):
    scene.publish()
    scene.take()


def publish_and_get(scene):
    scene.publish()
    scene.take(by="get")


def commit_and_drain(scene):
    scene.transact("commit")
    scene.take()


def roll_back_and_drain(scene):
    scene.publish()
    scene.transact("rollback")
    scene.take()


def peek_and_drain(scene):
    scene.publish()
    scene.take(settle="none")
    scene.take()


def drain_by_acks_and_look(scene):
    scene.publish()
    scene.take(settle="each")
    scene.take()


def drain_by_commit_and_look(scene):
    scene.publish()
    scene.take(settle="tx")
    scene.take()


def get_some(scene):
    scene.publish()
    scene.take(by="get", limit=5)


def purge_and_drain(scene):
    scene.publish()
    scene.remove("purge")
    scene.take()


def delete_and_look(scene):
    scene.publish()
    scene.remove("delete")
    scene.look()


def delete_make_and_drain(scene):
    scene.publish()
    scene.remove("delete")
    queue = scene.card.topology.queue(QUEUE)
    scene.request("queue.declare", "make", queue, queue=QUEUE, durable=True)
    scene.take()


def declare_and_look(scene):
    queue = scene.card.topology.queue("churn.0")
    scene.request("queue.declare", "make", queue, queue="churn.0", durable=True)
    scene.look()


def declare_exchange_and_look(scene):
    exchange = scene.card.topology.exchange("churn.x.direct")
    scene.request("exchange.declare", "make", exchange, exchange="churn.x.direct", type="direct",
                  durable=True)
    scene.look()


def bind_and_look(scene):
    binding = scene.card.topology.binding("x.direct", QUEUE, "nobody")
    scene.request("queue.bind", "make", binding, queue=QUEUE, exchange="x.direct",
                  routing_key="nobody")
    scene.look()


def unbind_and_look(scene):
    binding = scene.card.topology.binding("x.chain", QUEUE, "chained")
    scene.request("queue.unbind", "end", binding, queue=QUEUE, exchange="x.chain",
                  routing_key="chained")
    scene.look()


def count(scene):
    scene.publish()
    scene.verifier().recount(QUEUE)


def misrouted(scene):
    scene.publish()
    scene.take(queue=OTHER)


SWAPPED_COMMIT = all_of(once("tx.rollback", renamed("tx.commit")),
                        once("tx.commit_ok", renamed("tx.rollback_ok")))
# The rules that a lie must break, and behind a plus those that it may break as well.
LIES = [
    ("lost", "a confirmed publish is dropped", publish_and_drain,
     lambda: once("basic.publish", NOWHERE, 4)),
    ("lost", "a committed publish is dropped", commit_and_drain,
     lambda: once("basic.publish", NOWHERE, 2)),
    ("lost", "a confirmed publish is dropped, by get", publish_and_get,
     lambda: once("basic.publish", NOWHERE, 4)),
    ("order", "a hole in what some gets give", get_some,
     lambda: once("basic.publish", NOWHERE, 2)),
    ("content", "a bit of a body", publish_and_drain,
     lambda: once("basic.deliver", proxy.with_flipped_bit, 3)),
    ("content", "a property", publish_and_drain,
     lambda: always("basic.deliver", proxy.with_other_properties)),
    ("content", "the routing key", publish_and_get,
     lambda: once("basic.get_ok", with_fields(routing_key="else"))),
    ("content", "the exchange", publish_and_get,
     lambda: once("basic.get_ok", with_fields(exchange="x.direct"))),
    ("duplicate +count +redelivered", "a delivery comes twice", publish_and_drain,
     lambda: once("basic.deliver", proxy.twice, 9)),
    ("duplicate", "an ack is dropped", drain_by_acks_and_look,
     lambda: once("basic.ack", swallowed, 2)),
    ("order", "two deliveries change places", publish_and_drain,
     lambda: proxy.swapped("basic.deliver")),
    ("redelivered", "the flag is cleared", peek_and_drain,
     lambda: always("basic.deliver", with_fields(redelivered=False))),
    ("resurrected", "an ack of a transaction is dropped", drain_by_commit_and_look,
     lambda: once("basic.ack", swallowed)),
    ("resurrected", "a purge is dropped", purge_and_drain,
     lambda: once("queue.purge", forged("queue.purge_ok", message_count=10))),
    ("count", "a purge tells too many", purge_and_drain,
     lambda: once("queue.purge_ok", proxy.recounted)),
    ("topology", "a delete is dropped", delete_and_look,
     lambda: once("queue.delete", forged("queue.delete_ok", message_count=10))),
    ("resurrected", "a delete is dropped, and the queue made again", delete_make_and_drain,
     lambda: once("queue.delete", forged("queue.delete_ok", message_count=10))),
    ("topology", "a declare of a queue is dropped", declare_and_look,
     lambda: once("queue.declare", forged("queue.declare_ok", queue="churn.0"))),
    ("topology", "a declare of an exchange is dropped", declare_exchange_and_look,
     lambda: once("exchange.declare", forged("exchange.declare_ok"))),
    ("topology", "a binding is dropped", bind_and_look,
     lambda: once("queue.bind", forged("queue.bind_ok"))),
    ("topology", "an unbinding is dropped", unbind_and_look,
     lambda: once("queue.unbind", forged("queue.unbind_ok"))),
    ("count", "a count is one too high", count,
     lambda: always("queue.declare_ok", proxy.recounted)),
    ("phantom +content", "a publish goes to another queue", misrouted,
     lambda: once("basic.publish", with_fields(routing_key=OTHER))),
    ("phantom", "a rollback commits", roll_back_and_drain, lambda: SWAPPED_COMMIT),
]


@pytest.mark.parametrize("rules, steps, lie", [(r, steps, lie) for r, _, steps, lie in LIES],
                         ids=[what for _, what, _, _ in LIES])
def test_lie(scene, rules, steps, lie):
    scene.proxy.lie = lie()
    steps(scene)
    expected = {rule for rule in rules.split() if not rule.startswith("+")}
    allowed = {rule.lstrip("+") for rule in rules.split()}
    assert expected <= scene.broken <= allowed, scene.card.failures


@pytest.mark.parametrize("steps", sorted({steps for _, _, steps, _ in LIES}, key=str),
                         ids=lambda steps: steps.__name__)
def test_no_lie(scene, steps):
    steps(scene)
    assert not scene.card.failures


# ---- what is not said at all ----

def test_confirms_that_never_come(binary, tmp_path):
    scene = Scene(binary, tmp_path, seconds=1)
    try:
        scene.proxy.lie = proxy.without_confirms
        publisher = Publisher(scene.site, "publisher", random.Random(1))
        publisher.messages_max = 5
        publisher.start()
        publisher.join()
        assert scene.broken == {"stuck"}
    finally:
        scene.close()


def test_a_connection_that_breaks(scene):
    consumer = Consumer(scene.site, "consumer", random.Random(1), QUEUE)

    def hang_up(unit):
        unit.pipe.source.close()
        return []

    scene.proxy.lie = once("basic.consume", hang_up)
    consumer.start()
    consumer.join()
    assert scene.broken == {"protocol"}


def test_a_refusal(scene):
    scene.proxy.lie = once("basic.publish", with_fields(exchange="missing"))
    publisher = Publisher(scene.site, "publisher", random.Random(1))
    publisher.start()
    publisher.join()
    assert scene.broken == {"protocol"}


# ---- whole brokers that are wrong ----

def script(tmp_path, text):
    path = tmp_path / "broker.sh"
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def run_with(path, home, rounds=12):
    """Rounds until a rule is broken; which it must be."""
    crash = Crash(Godwit(path, home), default_options(rounds=rounds, seed=3))
    assert not crash.run(), "it went on as if nothing were wrong"
    text = crash.report()
    assert "seed 3, round " in text and "again: " in text
    return {failure.rule for failure in crash.card.failures}


def test_a_broker_that_forgets(binary, tmp_path):
    path = script(tmp_path, f'rm -rf "{tmp_path}/home/data"\nexec "{binary}" "$@"\n')
    assert {"topology", "lost"} & run_with(path, tmp_path / "home")


def test_a_broker_that_goes_back_in_time(binary, tmp_path):
    """It starts with what it had one start before."""
    data = f"{tmp_path}/home/data"
    path = script(tmp_path, f'''
if [ -d "{data}.old" ]; then mv "{data}" "{data}.now"; mv "{data}.old" "{data}"
mv "{data}.now" "{data}.old"
elif [ -d "{data}" ]; then cp -r "{data}" "{data}.old"; fi
exec "{binary}" "$@"
''')
    assert {"topology", "lost", "resurrected"} & run_with(path, tmp_path / "home")


def test_a_broker_that_does_not_start(tmp_path):
    assert run_with(script(tmp_path, "exit 1\n"), tmp_path / "home") == {"start"}


def test_a_broker_that_ends_badly(binary, tmp_path):
    path = script(tmp_path, f'"{binary}" "$@" &\ntrap "kill $!; wait $!; exit 3" TERM\nwait $!\n')
    server = Godwit(path, tmp_path / "home")
    try:
        server.start()
        assert "exit status 3" in server.stop()
    finally:
        server.end()


def test_a_start_that_fails_is_told(tmp_path):
    server = Godwit(script(tmp_path, "echo no luck >&2\nexit 7\n"), tmp_path / "home")
    with pytest.raises(StartFailed, match="no luck"):
        server.start()
