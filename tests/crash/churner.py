"""churner: a client that declares, binds, unbinds and deletes, and publishes in between."""
from link import ChannelClosed, Stuck
from messages import id_of
from site_map import CHURN_QUEUES, churn_key
from workers import Stream, Worker

CHURN_EXCHANGES = {"churn.x.direct": "direct", "churn.x.fanout": "fanout",
                   "churn.x.topic": "topic"}
PAUSE_SECONDS = 0.02


class Churner(Worker):
    """Changes topology that nobody else changes, one request at a time."""

    def work(self):
        self.channel = self.link.channel()
        self.publishing = self.link.channel()
        self.publishing.on_confirm, self.publishing.on_return = self.on_confirm, self.on_return
        self.publishing.call("confirm.select")
        self.stream = Stream(self, self.publishing)
        self.open = {}
        self.exclusive = []
        steps = (self.make_queue, self.make_queue, self.delete_queue, self.bind, self.bind,
                 self.unbind, self.make_exclusive, self.make_transient, self.auto_delete_queue,
                 self.make_exchange, self.delete_exchange, self.auto_delete_exchange,
                 self.chain_exchange)
        while not self.site.stopping.wait(PAUSE_SECONDS):
            self.rng.choice(steps)()
        self.leave_in_order()

    def leave_in_order(self):
        """Exclusive queues go with the connection, before it is closed."""
        for queue in self.exclusive:
            self.card.removing(queue, "delete")
        self.link.disconnect()
        for queue in self.exclusive:
            self.card.deleted(queue)

    # ---- publishing, one at a time ----

    def on_confirm(self, tag, multiple, good):
        tags = [t for t in self.open if t == tag or multiple and (t < tag or not tag)]
        messages = [self.open.pop(t) for t in tags]
        (self.card.confirmed if good else self.card.refused)(messages)

    def on_return(self, returned):
        self.card.returned(id_of(returned.properties))

    def publish(self, exchange, key, count=3):
        """Some messages, mandatory, and their confirms."""
        for _ in range(count):
            message = self.stream.publish(exchange, key, mandatory=True, size=100)
            self.open[self.stream.last] = message
        deadline = self.site.deadline()
        while self.open:
            if self.site.seconds_left(deadline) <= 0:
                raise Stuck(f"not confirmed: {next(iter(self.open.values()))}")
            self.link.pump(self.site.seconds_left(deadline))

    # ---- queues ----

    def declare_queue(self, name, durable=True, **flags):
        queue = self.card.topology.queue(name, durable and not flags.get("exclusive"))
        self.card.changing("making", queue)
        self.channel.call("queue.declare", queue=name, durable=durable, **flags)
        self.card.changing("made", queue)

    def make_queue(self):
        name = self.rng.choice(CHURN_QUEUES)
        self.declare_queue(name)
        self.publish("", name)

    def delete_queue(self):
        name = self.rng.choice(CHURN_QUEUES)
        if self.card.topology.queue(name).state != "there":
            return
        self.card.removing(name, "delete")
        self.channel.call("queue.delete", queue=name)
        self.card.deleted(name)

    def make_exclusive(self):
        name = f"exclusive.{len(self.exclusive) % 2}"
        if name in self.exclusive:
            return
        self.declare_queue(name, exclusive=True)
        self.exclusive.append(name)
        self.publish("", name)

    def make_transient(self):
        name = f"transient.{self.rng.randrange(2)}"
        self.declare_queue(name, durable=False)
        self.bind_to("x.direct", name, churn_key(name))
        self.publish("x.direct", churn_key(name))

    def auto_delete_queue(self):
        """A durable queue that is deleted when its last consumer goes; before that it stays."""
        name = f"auto.{self.rng.randrange(2)}"
        self.declare_queue(name, auto_delete=True)
        if self.rng.random() < 0.5:
            return
        channel = self.link.channel()
        channel.on_delivery = channel.on_cancel = lambda _: None
        # From here on a clean stop may take the consumer away, and the queue with it.
        self.card.removing(name, "delete")
        channel.call("basic.consume", queue=name, consumer_tag="c", no_ack=True)
        channel.call("basic.cancel", consumer_tag="c")
        deadline = self.site.deadline()
        try:
            while self.site.seconds_left(deadline) > 0:
                channel.count(name)
            self.card.fail("topology", f"queue {name} is still there although its last consumer "
                           "was cancelled")
        except ChannelClosed as error:
            if error.code != 404:
                raise
        self.card.deleted(name)

    # ---- bindings ----

    def binding_of_churn(self):
        name = self.rng.choice(CHURN_QUEUES)
        exchange, key = self.rng.choice((("x.direct", churn_key(name)),
                                         ("x.topic", f"churn.{name[-1]}")))
        return exchange, name, key

    def bind(self):
        exchange, name, key = self.binding_of_churn()
        if self.card.topology.queue(name).state == "there":
            self.bind_to(exchange, name, key)
            self.publish(exchange, key)

    def bind_to(self, exchange, queue, key):
        binding = self.card.topology.binding(exchange, queue, key)
        self.card.changing("making", binding)
        self.channel.call("queue.bind", queue=queue, exchange=exchange, routing_key=key)
        self.card.changing("made", binding)

    def unbind(self):
        exchange, name, key = self.binding_of_churn()
        if self.card.topology.queue(name).state == "there":
            self.unbind_from(exchange, name, key)
            self.publish(exchange, key)

    def unbind_from(self, exchange, queue, key, *with_it):
        binding = self.card.topology.binding(exchange, queue, key)
        self.card.changing("ending", binding, *with_it)
        self.channel.call("queue.unbind", queue=queue, exchange=exchange, routing_key=key)
        self.card.changing("ended", binding, *with_it)

    # ---- exchanges ----

    def declare_exchange(self, name, kind, auto_delete=False):
        exchange = self.card.topology.exchange(name, kind)
        self.card.changing("making", exchange)
        self.channel.call("exchange.declare", exchange=name, type=kind, durable=True,
                          auto_delete=auto_delete)
        self.card.changing("made", exchange)

    def make_exchange(self):
        name = self.rng.choice(list(CHURN_EXCHANGES))
        self.declare_exchange(name, CHURN_EXCHANGES[name])
        self.bind_to(name, "keep.0", "word")
        self.publish(name, "word")

    def delete_exchange(self):
        name = self.rng.choice(list(CHURN_EXCHANGES))
        exchange = self.card.topology.exchange(name, CHURN_EXCHANGES[name])
        if exchange.state == "absent":
            return
        things = exchange, *self.card.topology.bindings_of(name, is_queue=False)
        self.card.changing("ending", *things)
        self.channel.call("exchange.delete", exchange=name)
        self.card.changing("ended", *things)

    def auto_delete_exchange(self):
        """It goes with its last binding."""
        self.declare_exchange("auto.x", "direct", auto_delete=True)
        self.bind_to("auto.x", "work.0", "word")
        self.publish("auto.x", "word", count=1)
        if self.rng.random() < 0.5:
            self.unbind_from("auto.x", "work.0", "word",
                             self.card.topology.exchange("auto.x"))

    def chain_exchange(self):
        """From one exchange to another, as one more way to a queue."""
        name = self.rng.choice(list(CHURN_EXCHANGES))
        if self.card.topology.exchange(name, CHURN_EXCHANGES[name]).state != "there":
            return
        binding = self.card.topology.binding("x.direct", name, "word", to_queue=False)
        verb, changing, changed = self.rng.choice((("exchange.bind", "making", "made"),
                                                   ("exchange.unbind", "ending", "ended")))
        self.card.changing(changing, binding)
        self.channel.call(verb, destination=name, source="x.direct", routing_key="word")
        self.card.changing(changed, binding)
        self.publish("x.direct", "word", count=1)
