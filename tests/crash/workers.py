"""workers: clients that load the broker, each a thread with a connection of its own.

A worker enters on the card what it is about to send and what it has read. It ends when it is told
to, or when the broker dies under it: that is the usual end.
"""
import collections
import threading
import traceback

from card import Message
from link import ChannelClosed, Ended, Link, Stuck, Unexpected
from messages import HUGE_BYTES, id_of, random_size

TURN_SECONDS = 0.05
BATCH_MESSAGES = 20
ROUND_BYTES_MAX = 8 << 20


class Worker(threading.Thread):
    """Runs work() on a connection and reports what should not have happened."""

    def __init__(self, site, name, rng):
        super().__init__(name=name, daemon=True)
        self.site, self.card, self.rng = site, site.card, rng
        self.link = None
        self.hands = []

    def run(self):
        try:
            self.link = Link(self.site.address, self.site.answer_seconds_max)
            self.work()
        except Ended as error:
            if not self.site.dying.is_set():
                self.card.fail("protocol", f"{self.name} lost its connection: {error}")
        except (ChannelClosed, Unexpected) as error:
            if not self.site.dying.is_set():
                self.card.fail("protocol", f"{self.name}: {error}")
        except Stuck as error:
            self.card.fail("stuck", f"{self.name}: {error}")
        except Exception:
            self.card.fail("protocol", f"{self.name} broke:\n{traceback.format_exc()}")
        finally:
            if self.link:
                self.link.close()
            self.card.tally[f"{type(self).__name__} done"] += 1

    @property
    def is_over(self):
        return self.site.stopping.is_set()

    def hand(self, queue, by_get=False):
        self.hands.append(self.card.hand(queue, self.name, by_get=by_get))
        return self.hands[-1]

    def leave(self, channel, abruptly):
        """Ends what this worker takes from queues, in good order or not."""
        for hand in self.hands:
            self.card.hand_closing(hand, abruptly)
        if abruptly:
            self.link.close()
            return
        channel.close()
        for hand in self.hands:
            self.card.hand_closed(hand)
        self.link.disconnect()


class Stream:
    """Makes the messages of one publishing channel."""

    def __init__(self, worker, channel):
        self.worker, self.channel = worker, channel
        self.number = worker.card.open_stream(worker.name)
        self.last = 0

    def publish(self, exchange, key, pending=False, **options):
        self.last += 1
        message = Message(self.number, self.last, exchange, key, **options)
        self.worker.card.publishing(message, pending)
        self.channel.publish(exchange, key, message.mandatory, message.properties, message.body())
        return message


class Publisher(Worker):
    """Publishes with confirms and a window, or without confirms."""

    def __init__(self, site, name, rng, confirms=True):
        super().__init__(site, name, rng)
        self.confirms = confirms
        self.window = int(10 ** rng.uniform(0, 3)) if confirms else 1000
        self.messages_max = rng.choice((50, 200, 600))
        self.persistent_share = rng.choice((1, 1, 0.8, 0.3))
        self.mandatory_share = rng.choice((0, 0.3)) if confirms else 0
        self.open = collections.OrderedDict()
        self.tag = 0
        self.bytes_left = ROUND_BYTES_MAX

    def work(self):
        channel = self.link.channel()
        channel.on_confirm, channel.on_return = self.on_confirm, self.on_return
        if self.confirms:
            channel.call("confirm.select")
        stream = Stream(self, channel)
        while not self.is_over and self.tag < self.messages_max:
            room = self.window - len(self.open)
            if room > 0 and not self.link.is_full:
                for _ in range(min(room, BATCH_MESSAGES)):
                    self.publish_one(stream)
                self.link.pump(0)
            else:
                self.wait_for_room()
        self.wait_for_confirms()
        channel.close()
        self.link.disconnect()

    def publish_one(self, stream):
        rng = self.rng
        exchange, key = self.site.target(rng)
        size = random_size(rng)
        if rng.random() < 0.0005:
            size = HUGE_BYTES
        if size > self.bytes_left:
            size = 10
        self.bytes_left -= size
        message = stream.publish(exchange, key, size=size,
                                 persistent=rng.random() < self.persistent_share,
                                 mandatory=rng.random() < self.mandatory_share)
        self.tag += 1
        if self.confirms:
            self.open[self.tag] = message

    def wait_for_room(self):
        """Until a confirm comes, or the socket takes more, or the round is over."""
        deadline, open_before = self.site.deadline(), len(self.open)
        while len(self.open) == open_before and not self.is_over:
            self.check_progress(deadline)
            self.link.pump(TURN_SECONDS)
            if not self.link.is_full and len(self.open) < self.window:
                return

    def wait_for_confirms(self):
        deadline = self.site.deadline()
        while self.open:
            self.check_progress(deadline)
            self.link.pump(self.site.seconds_left(deadline))

    def check_progress(self, deadline):
        if self.site.seconds_left(deadline) <= 0:
            raise Stuck(f"{len(self.open)} publishes are not confirmed, the first is "
                        f"{next(iter(self.open.values()), 'none')}")

    def on_confirm(self, tag, multiple, good):
        if multiple:
            last = tag or self.tag
            tags = [t for t in self.open if t <= last]
        else:
            tags = [tag]
        unknown = [t for t in tags if t not in self.open]
        if unknown or not tags:
            self.card.fail("protocol", f"{self.name} got a confirm for {tag}, which is not open")
            return
        messages = [self.open.pop(t) for t in tags]
        (self.card.confirmed if good else self.card.refused)(messages)

    def on_return(self, returned):
        self.card.returned(id_of(returned.properties))


class HugePublisher(Publisher):
    """One message of 6 MiB, and a few small ones around it."""

    def __init__(self, site, name, rng):
        super().__init__(site, name, rng)
        self.messages_max = 5
        self.bytes_left = 2 * HUGE_BYTES
        self.window = 2

    def publish_one(self, stream):
        size = HUGE_BYTES if self.tag == 2 else 100
        queue = self.rng.choice(self.site.queues)
        self.tag += 1
        self.open[self.tag] = stream.publish("", queue, size=size)


class Consumer(Worker):
    """Takes messages from one queue by basic.consume and settles them in one of many ways."""

    STYLES = ("each", "multiple", "mixed", "hold")

    def __init__(self, site, name, rng, queue):
        super().__init__(site, name, rng)
        self.queue = queue
        self.style = rng.choice(self.STYLES)
        self.prefetch = rng.choice((1, 10, 100, 0))
        self.held = collections.OrderedDict()
        self.cancelled = False
        self.channel = self.taker = None

    def work(self):
        self.channel = channel = self.link.channel()
        channel.on_delivery, channel.on_cancel = self.on_delivery, self.on_cancel
        channel.call("basic.qos", prefetch_count=self.prefetch)
        self.taker = self.hand(self.queue)
        try:
            channel.call("basic.consume", queue=self.queue, consumer_tag="c")
        except ChannelClosed as error:
            if error.code == 404 and self.card.topology.queue(self.queue).state != "there":
                self.card.hand_closed(self.taker)
                return
            raise
        while not self.is_over and not self.cancelled:
            self.link.pump(TURN_SECONDS)
            self.settle_some()
        self.finish()

    def on_delivery(self, delivery):
        entry = self.card.delivered(self.taker, delivery)
        self.held[delivery.tag] = entry

    def on_cancel(self, _tag):
        """The broker ended the consumer, which it does when the queue is deleted."""
        self.cancelled = True
        if self.card.topology.queue(self.queue).covers(self.card.life_start, self.card.now):
            self.card.fail("protocol", f"{self.name}: cancelled, but {self.queue} was not deleted")

    def settle_some(self):
        if self.style == "hold" and len(self.held) < 500:
            return
        if self.style == "multiple" and len(self.held) >= min(self.prefetch or 50, 7):
            self.ack_up_to(max(self.held))
        elif self.style in ("each", "mixed"):
            for tag in list(self.held):
                self.settle_one(tag)

    def ack_up_to(self, tag):
        self.card.settle(self.take_up_to(tag), f"ack multiple {tag} sent by {self.name}")
        self.channel.ack(tag, multiple=True)

    def take_up_to(self, tag):
        entries = [self.held.pop(t) for t in list(self.held) if t <= tag]
        return [entry for entry in entries if entry]

    def settle_one(self, tag):
        entry = self.held.pop(tag)
        entries = [entry] if entry else []
        what = self.rng.random() if self.style == "mixed" else 0
        if what < 0.6:
            self.card.settle(entries, f"ack {tag} sent by {self.name}")
            self.channel.ack(tag)
        elif what < 0.7:
            self.card.settle(entries, f"reject {tag} sent by {self.name}")
            self.channel.reject(tag, requeue=False)
        elif what < 0.8:
            self.card.settle(entries, f"nack {tag} without requeue sent by {self.name}")
            self.channel.nack(tag, requeue=False)
        elif what < 0.9:
            self.card.give_back(entries, f"nack {tag} with requeue sent by {self.name}")
            self.channel.nack(tag, requeue=True)
        else:
            self.card.give_back(entries, f"reject {tag} with requeue sent by {self.name}")
            self.channel.reject(tag, requeue=True)

    def finish(self):
        """One of the ways to leave: all acked and known to be applied, or not, or just gone."""
        how = self.rng.choice(("settle", "cancel", "close", "vanish"))
        if how == "vanish" or self.cancelled:
            self.leave(self.channel, abruptly=True)
            return
        if how == "settle" and self.style != "hold":
            self.channel.call("basic.cancel", consumer_tag="c")
            if self.held:
                self.ack_up_to(max(self.held))
            self.see_them_applied()
        elif how == "cancel":
            self.channel.call("basic.cancel", consumer_tag="c")
        self.leave(self.channel, abruptly=False)

    def see_them_applied(self):
        """A get goes through the queue, behind the acks: its answer shows that they were seen."""
        try:
            got = self.channel.get(self.queue)
        except ChannelClosed as error:
            if error.code != 404:
                raise
            return
        self.card.applied(self.taker)
        if got:
            self.on_delivery(got)


class Getter(Worker):
    """Takes messages from several queues by basic.get."""

    def __init__(self, site, name, rng, queues):
        super().__init__(site, name, rng)
        self.queues = queues

    def work(self):
        channel = self.link.channel()
        hands = {queue: self.hand(queue, by_get=True) for queue in self.queues}
        while not self.is_over:
            hand = hands[self.rng.choice(self.queues)]
            got = channel.get(hand.queue)
            if got is None:
                self.site.stopping.wait(0.01)
                continue
            entry = self.card.delivered(hand, got)
            entries = [entry] if entry else []
            what = self.rng.random()
            if what < 0.5:
                self.card.settle(entries, f"ack {got.tag} sent by {self.name}")
                channel.ack(got.tag)
            elif what < 0.7:
                self.card.give_back(entries, f"nack {got.tag} with requeue sent by {self.name}")
                channel.nack(got.tag)
        for hand in hands.values():
            self.leave_queue(channel, hand)
        self.leave(channel, abruptly=self.rng.random() < 0.3)

    def leave_queue(self, channel, hand):
        """The answer to a last get shows that all acks were applied."""
        got = channel.get(hand.queue)
        self.card.applied(hand)
        if got:
            self.card.delivered(hand, got)


class Transactor(Worker):
    """Publishes and settles in transactions, and commits them, or rolls them back, or vanishes."""

    def __init__(self, site, name, rng, queues):
        super().__init__(site, name, rng)
        self.queues = queues

    def work(self):
        self.channel = channel = self.link.channel()
        channel.on_return = self.on_return
        channel.call("tx.select")
        stream = Stream(self, channel)
        self.takers = {queue: self.hand(queue, by_get=True) for queue in self.queues}
        self.kept = {}
        while not self.is_over:
            published = self.publish_some(stream)
            acked, requeued = self.settle_some()
            if self.rng.random() < 0.7:
                self.card.committing(published, acked, requeued)
                channel.call("tx.commit")
                self.card.committed(published, acked)
            else:
                self.card.rolled_back(published)
                channel.call("tx.rollback")
                # What was acked or requeued is outstanding again, under the same tags.
                self.kept.update(self.open_tags)
            self.open_tags = {}
        self.end(stream)

    def end(self, stream):
        """Leaves a transaction open, which is the same as rolling it back."""
        left = self.publish_some(stream)
        self.card.rolled_back(left, "never committed")
        self.leave(self.channel, abruptly=self.rng.random() < 0.3)

    def on_return(self, returned):
        self.card.returned(id_of(returned.properties))

    def publish_some(self, stream):
        published = []
        for _ in range(self.rng.randrange(8)):
            exchange, key = self.site.target(self.rng)
            published.append(stream.publish(exchange, key, pending=True,
                                            size=min(random_size(self.rng), 5000),
                                            persistent=self.rng.random() < 0.9,
                                            mandatory=self.rng.random() < 0.2))
        return published

    def settle_some(self):
        """Gets some messages and settles them, and some that an earlier rollback gave back."""
        for _ in range(self.rng.randrange(6)):
            hand = self.takers[self.rng.choice(self.queues)]
            got = self.channel.get(hand.queue)
            if got:
                entry = self.card.delivered(hand, got)
                if entry:
                    self.kept[got.tag] = entry
        acked, requeued = [], []
        self.open_tags = {}
        for tag, entry in list(self.kept.items()):
            what = self.rng.random()
            if what < 0.6:
                acked.append(entry)
                self.channel.ack(tag)
            elif what < 0.75:
                requeued.append(entry)
                self.channel.nack(tag)
            else:
                continue
            self.open_tags[tag] = self.kept.pop(tag)
        return acked, requeued


class Purger(Worker):
    """Publishes to a queue that nobody consumes, and purges it now and then."""

    def __init__(self, site, name, rng, queue):
        super().__init__(site, name, rng)
        self.queue = queue

    def work(self):
        channel = self.link.channel()
        while not self.site.stopping.wait(self.rng.uniform(0.02, 0.4)):
            self.card.removing(self.queue, "purge")
            count = channel.call("queue.purge", queue=self.queue)["message_count"]
            self.card.purged(self.queue, count)
        self.link.disconnect()
