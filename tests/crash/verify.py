"""verify: looks at all that a broker has after a start, while nobody else is at work."""
from card import THERE
from link import ChannelClosed, Link, Stuck
from messages import id_of
from site_map import BINDINGS, EXCHANGE_BINDINGS, EXCHANGES, FIXED_QUEUES
from workers import Stream

GETS_AT_ONCE = 50
BACKLOG_MAX = 3000
PARTIAL_MAX = 200


class Verifier:
    """One look. It may end at any moment with Ended, when the broker is killed in the middle."""

    def __init__(self, site, rng, everything=False):
        self.site, self.card, self.rng = site, site.card, rng
        self.everything = everything
        self.link = None
        self.open = {}

    @property
    def name(self):
        return "the verifier"

    def run(self):
        self.link = Link(self.site.address, self.site.answer_seconds_max)
        try:
            self.look_at_topology()
            self.make_topology()
            for queue in self.queues_there():
                self.look_at_queue(queue)
            self.probe()
            self.link.disconnect()
        finally:
            self.link.close()

    # ---- topology ----

    def look_at_topology(self):
        """Asks for every queue and exchange that was ever made."""
        channel = self.link.channel()
        for field, method, things in (
                ("exchange", "exchange.declare", self.card.topology.exchanges),
                ("queue", "queue.declare", self.card.topology.queues)):
            for name, thing in list(things.items()):
                there = True
                try:
                    channel.call(method, passive=True, **{field: name})
                except ChannelClosed as error:
                    if error.code != 404:
                        raise
                    there = False
                    channel = self.link.channel()
                self.judge(field, name, thing, there)
        channel.close()

    def judge(self, field, name, thing, there):
        expected = thing.state
        with self.card.looking("topology"):
            if expected == "there" and not there:
                self.card.fail("topology", f"{thing.name} is lost: {thing.history()}")
            elif expected == "absent" and there:
                self.card.fail("topology", f"{thing.name} must not be there: {thing.history()}")
            if field == "queue" and not there:
                self.judge_lost_queue(name, expected)
            elif expected != "absent" or there:
                self.card.changing("seen" if there else "unseen", thing)
            if field == "exchange" and not there:
                self.card.changing("unseen", *self.card.topology.bindings_of(name, is_queue=False))

    def judge_lost_queue(self, name, expected):
        lost = [e for e in self.card.live[name].values() if e.state == THERE]
        if expected == "there" and lost and "topology" not in self.card.tolerate:
            self.card.fail("lost", f"{len(lost)} messages with the queue {name}, the first is "
                           f"{lost[0]}")
        self.card.queue_vanished(name, "its queue is seen to be gone")

    def make_topology(self):
        """Makes what is fixed, where it is not there already."""
        topology, channel = self.card.topology, self.link.channel()
        for name, kind in EXCHANGES.items():
            self.make(topology.exchange(name, kind), channel, "exchange.declare", exchange=name,
                      type=kind, durable=True)
        for name in FIXED_QUEUES:
            self.make(topology.queue(name), channel, "queue.declare", queue=name, durable=True)
        for source, queue, key in BINDINGS:
            self.make(topology.binding(source, queue, key), channel, "queue.bind", queue=queue,
                      exchange=source, routing_key=key)
        for source, destination, key in EXCHANGE_BINDINGS:
            self.make(topology.binding(source, destination, key, to_queue=False), channel,
                      "exchange.bind", destination=destination, source=source, routing_key=key)
        channel.close()

    def make(self, thing, channel, method, **fields):
        if thing.state != "there":
            self.card.changing("making", thing)
            channel.call(method, **fields)
            self.card.changing("made", thing)

    def queues_there(self):
        return [name for name, queue in self.card.topology.queues.items()
                if queue.state == "there"]

    # ---- messages ----

    def look_at_queue(self, queue):
        """Counts it, and takes all, some or none of it, in one of many ways."""
        channel = self.link.channel()
        count = channel.count(queue)
        channel.close()
        credible = self.card.check_count(queue, count)
        how = self.rng.choices(("drain", "peek", "partial", "none"), (45, 15, 20, 20))[0]
        if self.everything or count > BACKLOG_MAX or not credible:
            how = "drain"
        if how == "none":
            return
        take = self.rng.choice((self.take_by_get, self.take_by_consume))
        if queue.startswith("auto."):
            take = self.take_by_get  # a cancelled consumer would take the queue with it
        if how == "partial" and count:
            limit = min(self.rng.randrange(1, count + 1), PARTIAL_MAX)
            self.take(queue, lambda *given: self.take_by_get(*given, limit), "tx")
        elif how == "peek":
            self.take(queue, take, "none")
        else:
            self.take(queue, take, "tx" if self.everything else
                      self.rng.choice(("tx", "tx", "multiple", "each")))
            self.recount(queue)

    def recount(self, queue):
        channel = self.link.channel()
        self.card.check_count(queue, channel.count(queue))
        channel.close()

    def take(self, queue, taker, settle):
        """Takes by taker(channel, hand); settles in a transaction, by plain acks or not at all."""
        channel = self.link.channel()
        if settle == "tx":
            channel.call("tx.select")
        hand = self.card.hand(queue, f"{self.name}", strict=True, by_get=True)
        tags = taker(channel, hand)
        held = list(hand.held.values())
        if settle == "tx":
            self.commit(channel, tags, held)
        elif settle != "none" and tags:
            self.acknowledge(channel, hand, tags, held, settle)
        self.card.hand_closing(hand)
        channel.close()
        self.card.hand_closed(hand)

    def commit(self, channel, tags, held):
        if tags:
            channel.ack(max(tags), multiple=True)
        self.card.committing([], held, [])
        channel.call("tx.commit")
        self.card.committed([], held)

    def acknowledge(self, channel, hand, tags, held, how):
        self.card.settle(held, f"ack ({how}) sent by {self.name}")
        if how == "multiple":
            channel.ack(max(tags), multiple=True)
        else:
            for tag in tags:
                channel.ack(tag)
        got = channel.get(hand.queue)
        self.card.applied(hand)
        if got:
            self.card.delivered(hand, got)

    def take_by_get(self, channel, hand, limit=None):
        """Many gets at once, until one comes back empty; or so many."""
        tags, empty = [], False
        while not empty and (limit is None or len(tags) < limit):
            asked = min(GETS_AT_ONCE, (limit or GETS_AT_ONCE + len(tags)) - len(tags))
            for _ in range(asked):
                channel.send("basic.get", queue=hand.queue)
            for _ in range(asked):
                got = channel.expect_get()
                if got is None:
                    empty = True
                else:
                    self.card.delivered(hand, got)
                    tags.append(got.tag)
        (self.card.emptied if empty else self.card.passed)(hand)
        return tags

    def take_by_consume(self, channel, hand):
        """All that a count tells, and a get to see that there was no more."""
        tags = []

        def on_delivery(delivery):
            self.card.delivered(hand, delivery)
            tags.append(delivery.tag)

        channel.on_delivery, channel.on_cancel = on_delivery, lambda _: None
        count = channel.count(hand.queue)
        channel.call("basic.consume", queue=hand.queue, consumer_tag="v")
        deadline = self.site.deadline()
        while len(tags) < count and self.site.seconds_left(deadline) > 0:
            self.link.pump(self.site.seconds_left(deadline))
        channel.call("basic.cancel", consumer_tag="v")
        while got := channel.get(hand.queue):
            on_delivery(got)
        if len(tags) != count:
            self.card.fail("count", f"queue {hand.queue} told {count} messages and gave "
                           f"{len(tags)}")
        self.card.emptied(hand)
        return tags

    # ---- bindings ----

    def probe(self):
        """A mandatory message by each way: it comes back exactly if no queue can take it."""
        channel = self.link.channel()
        channel.on_confirm = self.on_confirm
        channel.on_return = lambda returned: self.card.returned(id_of(returned.properties))
        channel.call("confirm.select")
        stream = Stream(self, channel)
        topology = self.card.topology
        ways = [*self.site.probes(), *((name, "word") for name, x in topology.exchanges.items()
                                       if name not in EXCHANGES and x.state == "there")]
        for exchange, key in ways:
            message = stream.publish(exchange, key, mandatory=True, size=20)
            self.open[stream.last] = message
        deadline = self.site.deadline()
        while self.open:
            if self.site.seconds_left(deadline) <= 0:
                raise Stuck(f"not confirmed: {next(iter(self.open.values()))}")
            self.link.pump(self.site.seconds_left(deadline))
        channel.close()

    def on_confirm(self, tag, multiple, good):
        tags = [t for t in self.open if t == tag or multiple and (t < tag or not tag)]
        messages = [self.open.pop(t) for t in tags]
        (self.card.confirmed if good else self.card.refused)(messages)
