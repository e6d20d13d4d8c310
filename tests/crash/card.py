"""card: the score card: what clients sent and saw, and hence what the broker must and may hold.

Per message and queue there is an Entry. What a client is about to send is entered before it is
sent, what it has read is entered when it was read: so the card never knows less than the broker
can have done. Where the broker's state cannot be known (a publish without confirm, an ack without
a committed transaction, a request whose -ok never came) an entry is MAYBE until somebody looks
with nobody else at work.

    PENDING   published in a transaction that is not committed: must not be seen
    MAYBE     may be in the queue
    THERE     must be in the queue, or under way to a consumer
    HELD      delivered and not settled
    SETTLED   settled, but not provably on disk: must not return unless the broker dies
    GONE      must not return, ever
"""
import collections
import contextlib
import threading

from messages import body_of, id_of, properties_of
from topology import FOREVER, Topology

PENDING, MAYBE, THERE, HELD, SETTLED, GONE = "pending maybe there held settled gone".split()
LIVES_REMEMBERED = 4
EVENTS_MAX = 40
OPEN_TX = "in an open transaction"
RULES = {
    "lost": "a message that must be in its queue is not there",
    "duplicate": "a message came again although it was held or settled",
    "resurrected": "a message came back that was gone for good",
    "phantom": "a message came that this queue was never given",
    "content": "body, properties, routing key or exchange are not what was published",
    "order": "messages of one publisher came in another order than they were published",
    "redelivered": "a message that had been delivered came again without the flag",
    "topology": "an exchange, a queue or a binding is there and must not be, or the reverse",
    "count": "a queue's count is not what it can be",
    "start": "the broker did not start, took too long, or did not stop as it should",
    "protocol": "the broker broke off, refused, or answered nonsense",
    "stuck": "the broker lives and does not answer",
}
Failure = collections.namedtuple("Failure", "rule text")


class Message:
    """One publish."""
    __slots__ = ("stream", "number", "exchange", "key", "persistent", "mandatory", "size",
                 "properties", "sent", "done", "life", "outcome", "entries")

    def __init__(self, stream, number, exchange, key, persistent=True, mandatory=False, size=0):
        self.stream, self.number = stream, number
        self.exchange, self.key = exchange, key
        self.persistent, self.mandatory, self.size = persistent, mandatory, size
        self.properties = properties_of(stream, number, persistent)
        self.sent = self.done = self.life = None
        self.outcome = "unconfirmed"
        self.entries = {}

    @property
    def id(self):
        return self.stream, self.number

    def body(self):
        return body_of(self.stream, self.number, self.size)

    def __str__(self):
        return (f"message {self.stream}.{self.number} ({self.size} bytes, "
                f"{'persistent' if self.persistent else 'transient'}"
                f"{', mandatory' if self.mandatory else ''}) published to '{self.exchange}' with "
                f"key '{self.key}' @{self.sent} in life {self.life}, {self.outcome} @{self.done}")


class Entry:
    """One message in one queue."""
    __slots__ = ("message", "queue", "state", "stable", "delivered", "awaiting", "doomed",
                 "applied", "hand", "events")

    def __init__(self, message, queue, state):
        self.message, self.queue, self.state = message, queue, state
        self.stable = False     # it is on disk, as far as was promised
        self.delivered = False  # somebody has got it before
        self.awaiting = True    # a confirm proves that it is there: nothing can have taken it
        self.doomed = False     # its queue was deleted with deliveries under way
        self.applied = False    # the queue has seen that it is settled
        self.hand = None
        self.events = []

    def becomes(self, state, now, why):
        self.state = state
        self.events.append((now, state, why))
        if len(self.events) > EVENTS_MAX:  # one that lives through many rounds
            del self.events[EVENTS_MAX // 4:EVENTS_MAX // 2]

    def __str__(self):
        story = "".join(f"\n      @{at} {state}: {why}" for at, state, why in self.events)
        return f"{self.message} in queue {self.queue}, now {self.state}{story}"


class Hand:
    """Where deliveries of one queue go: a consumer, or the gets of one channel."""

    def __init__(self, queue, who, strict=False, by_get=False):
        self.queue, self.who, self.strict, self.by_get = queue, who, strict, by_get
        self.last = {}
        self.held = {}
        self.settled = []
        self.seen = set()

    def __str__(self):
        return self.who


class Card:
    """All that is known. Its methods may be called by any thread."""

    def __init__(self, tolerate=(), settlements_stable=True):
        """settlements_stable: acks in a transaction are on disk at commit-ok, purges at purge-ok.
        RabbitMQ does not promise that; Godwit does."""
        self.settlements_stable = settlements_stable
        self.lock = threading.RLock()
        self.now = self.life = self.life_start = 0
        self.topology = Topology()
        self.live = collections.defaultdict(dict)
        self.buried = collections.defaultdict(dict)
        self.burials = collections.deque()
        self.messages = {}
        self.streams = [None]
        self.under_way = collections.defaultdict(set)
        self.life_ends = {}
        self.taking = collections.Counter()
        self.taken_until = {}
        self.removals = {}
        self.fuse = None
        self.is_stopping = False
        self.failures = []
        self.tolerate = frozenset(tolerate)
        self.tolerated = collections.defaultdict(list)
        self.looked = collections.Counter()
        self.tally = collections.Counter()

    # ---- time and failures ----

    def summary(self):
        """In one line, what has happened so far."""
        with self.lock:
            live = sum(map(len, self.live.values()))
            return (f"{self.tally['publish']} published, {self.tally['messages confirmed']} "
                    f"confirmed, {self.tally['delivery']} delivered, {live} on the card")

    def tick(self, what):
        """Time goes on with every event. The fuse is a kill that waits for one."""
        self.now += 1
        self.tally[what] += 1
        if self.fuse:
            self.fuse.burn(what)
        return self.now

    def fail(self, rule, text):
        with self.lock:
            assert rule in RULES
            if rule in self.tolerate:
                self.tolerated[rule].append(text)
            else:
                self.failures.append(Failure(rule, f"@{self.now} in life {self.life}: {text}"))

    def bury(self, entry, why):
        entry.becomes(GONE, self.now, why)
        entry.hand = None
        self.live[entry.queue].pop(entry.message.id, None)
        self.buried[entry.queue][entry.message.id] = entry
        self.burials.append((self.life, entry))

    def forget_old(self):
        """Drops the histories of messages that are gone for some lives; their ids stay known."""
        while self.burials and self.burials[0][0] < self.life - LIVES_REMEMBERED:
            _, entry = self.burials.popleft()
            message = entry.message
            if self.buried[entry.queue].get(message.id) is entry:
                del self.buried[entry.queue][message.id]
            if all(e.state == GONE for e in message.entries.values()):
                self.messages.pop(message.id, None)
        self.topology.forget(self.life_ends.get(self.life - LIVES_REMEMBERED, 0))

    # ---- publishing ----

    def open_stream(self, who):
        """A number for a publishing channel."""
        with self.lock:
            self.streams.append(f"{who} in life {self.life}")
            return len(self.streams) - 1

    def publishing(self, message, pending=False):
        """A message is about to be sent; pending: within a transaction."""
        with self.lock:
            message.sent, message.life = self.tick("publish"), self.life
            message.outcome = OPEN_TX if pending else message.outcome
            self.messages[message.id] = message
            self.under_way[message.exchange, message.key].add(message)
            for queue in self.topology.possible(message.exchange, message.key, self.now, FOREVER):
                self.enter(message, queue, PENDING if pending else MAYBE, "published")

    def enter(self, message, queue, state, why):
        entry = Entry(message, queue, state)
        entry.becomes(state, self.now, why)
        message.entries[queue] = self.live[queue][message.id] = entry
        return entry

    def finish(self, message, outcome):
        """The broker has told what became of it: it cannot be routed any more."""
        message.done, message.outcome = self.now, outcome
        self.under_way[message.exchange, message.key].discard(message)

    def confirmed(self, messages, what="confirmed"):
        """The broker has confirmed these, or said commit-ok for them."""
        with self.lock:
            now = self.tick(what)
            for message in messages:
                if message.outcome == "returned":
                    continue
                self.finish(message, what)
                self.tally["messages confirmed"] += 1
                certain = self.topology.certain(message.exchange, message.key, message.sent, now)
                self.check_not_returned(message)
                for queue in certain:
                    entry = message.entries[queue]
                    entry.stable = message.persistent
                    if entry.state == MAYBE and entry.awaiting:
                        entry.becomes(THERE, now, what)

    def check_not_returned(self, message):
        if message.mandatory:
            self.looked["topology"] += 1
            if not self.topology.possible(message.exchange, message.key, message.sent, self.now):
                self.fail("topology", f"not returned although no queue can take it: {message}\n"
                          + self.route_history(message))

    def returned(self, message_id):
        """A mandatory message came back as unroutable."""
        with self.lock:
            now = self.tick("return")
            message = self.messages.get(message_id)
            if not message or not message.mandatory:
                self.fail("protocol", f"returned, but not published mandatory: {message_id}")
                return
            self.looked["topology"] += 1
            certain = self.topology.certain(message.exchange, message.key, message.sent, now)
            if certain:
                self.fail("topology", f"returned although {sorted(certain)} must have taken it: "
                          f"{message}\n{self.route_history(message)}")
            self.finish(message, "returned")
            for entry in list(message.entries.values()):
                self.bury(entry, "returned as unroutable")

    def route_history(self, message):
        return "".join(f"      {part.name}: {part.history()}\n" for _, path in
                       self.topology.routes(message.exchange, message.key) for part in path)

    def refused(self, messages):
        """The broker has nacked these: it does not vouch for them."""
        with self.lock:
            self.tick("broker nack")
            for message in messages:
                self.finish(message, "nacked by the broker")

    # ---- transactions ----

    def committing(self, messages, acked, requeued):
        """tx.commit is about to be sent."""
        with self.lock:
            self.tick("commit")
            for message in messages:
                message.outcome = "commit sent"
                for entry in message.entries.values():
                    if entry.state == PENDING:
                        entry.becomes(MAYBE, self.now, "commit sent")
            self.settle(acked, "ack in a transaction, commit sent")
            self.give_back(requeued, "requeue in a transaction, commit sent")

    def committed(self, messages, acked):
        """commit-ok has come."""
        with self.lock:
            self.confirmed(messages, "committed")
            for entry in acked:
                if entry.state == SETTLED:
                    self.settled_for_good(entry, "acked in a transaction, commit-ok seen")

    def rolled_back(self, messages, why="rolled back"):
        """tx.rollback is about to be sent, or nothing will be: none of these may ever be seen."""
        with self.lock:
            self.tick("rollback")
            for message in messages:
                self.finish(message, why)
                for entry in list(message.entries.values()):
                    self.bury(entry, why)

    # ---- deliveries ----

    def hand(self, queue, who, strict=False, by_get=False):
        """Begins to take from a queue; strict: nobody else does, and nothing is requeued."""
        with self.lock:
            self.taking[queue] += 1
            return Hand(queue, f"{who} in life {self.life}", strict, by_get)

    def delivered(self, hand, delivery):
        """Something has come out of a queue. Returns its Entry, or None if it is none of ours."""
        with self.lock:
            now = self.tick("delivery")
            entry = self.recognize(hand, delivery)
            if entry is None:
                return None
            message = entry.message
            self.check_content(entry, delivery)
            self.check_state(hand, entry)
            self.check_flag(hand, entry, delivery)
            self.check_order(hand, entry, delivery)
            if entry.state == GONE:
                self.live[entry.queue][message.id] = entry
            entry.stable |= message.persistent and message.life < self.life
            entry.delivered, entry.hand = True, hand
            entry.applied = entry.awaiting = False
            hand.held[message.id] = entry
            hand.seen.add(message.id)
            flag = ", redelivered" if delivery.redelivered else ""
            entry.becomes(HELD, now, f"delivered to {hand}, tag {delivery.tag}{flag}")
            return entry

    def recognize(self, hand, delivery):
        self.looked["phantom"] += 1
        name = id_of(delivery.properties)
        message = self.messages.get(name)
        if message is None:
            known = name and 0 < name[0] < len(self.streams)
            rule = "resurrected" if known else "phantom"
            origin = f"of {self.streams[name[0]]}, gone long ago" if known else "never published"
            self.fail(rule, f"queue {hand.queue} has given {hand} a message {name} {origin}: "
                      f"{delivery.body[:40]!r}, {delivery.properties[:80]!r}")
            return None
        entry = message.entries.get(hand.queue)
        if entry is None:
            entry = self.enter(message, hand.queue, MAYBE, "it should not be here")
            self.fail("phantom", f"it was not published to this queue: {entry}\n"
                      + self.route_history(message))
        return entry

    def check_content(self, entry, delivery):
        self.looked["content"] += 1
        message = entry.message
        wrong = [what for what, ours, theirs in (
            ("body", message.body(), delivery.body),
            ("properties", message.properties, delivery.properties),
            ("exchange", message.exchange, delivery.exchange),
            ("routing key", message.key, delivery.key)) if ours != theirs]
        if wrong:
            self.fail("content", f"{' and '.join(wrong)} differ; came from exchange "
                      f"'{delivery.exchange}' with key '{delivery.key}', {len(delivery.body)} "
                      f"bytes {delivery.body[:40]!r}, {delivery.properties!r}: {entry}")

    def check_state(self, hand, entry):
        if entry.state == PENDING:
            self.fail("phantom", f"its transaction is not committed; came to {hand}: {entry}")
        elif entry.state == GONE:
            outcome = entry.message.outcome
            never = outcome in ("rolled back", "never committed", "returned")
            self.fail("phantom" if never else "resurrected", f"came to {hand}: {entry}")
        elif entry.state in (HELD, SETTLED) and not self.is_stopping:
            self.fail("duplicate", f"came to {hand}: {entry}")
        self.looked["resurrected"] += 1
        self.looked["duplicate"] += 1

    def check_flag(self, hand, entry, delivery):
        if entry.delivered:
            self.looked["redelivered"] += 1
            if not delivery.redelivered:
                self.fail("redelivered", f"came to {hand}: {entry}")

    def check_order(self, hand, entry, delivery):
        """What was requeued may come between others, unless it cannot have been requeued."""
        if (delivery.redelivered or entry.delivered) and not hand.strict:
            return
        stream, number = entry.message.id
        last = hand.last.get(stream, 0)
        self.looked["order"] += bool(last)
        if number <= last and entry.state not in (HELD, SETTLED):
            self.fail("order", f"came to {hand} after {stream}.{last}: {entry}")
        hand.last[stream] = max(last, number)

    # ---- settlements ----

    def settle(self, entries, why):
        """These are about to be acked, or rejected for good."""
        with self.lock:
            now = self.tick("ack")
            for entry in entries:
                if entry.state != HELD:
                    continue
                entry.hand.held.pop(entry.message.id, None)
                entry.hand.settled.append(entry)
                entry.becomes(SETTLED, now, why)

    def settled_for_good(self, entry, why):
        if self.settlements_stable:
            self.bury(entry, why)
        else:
            entry.becomes(SETTLED, self.now, why)
            entry.applied = True

    def give_back(self, entries, why):
        """These are about to be requeued."""
        with self.lock:
            now = self.tick("requeue")
            for entry in entries:
                if entry.state == HELD:
                    entry.hand.held.pop(entry.message.id, None)
                    entry.becomes(MAYBE if entry.doomed else THERE, now, why)

    def applied(self, hand):
        """An answer of the queue has come that was asked for after all settlements."""
        with self.lock:
            for entry in hand.settled:
                entry.applied = True
            hand.settled.clear()

    def hand_closing(self, hand, abruptly=False):
        """The channel is about to be closed, or its socket: what is held goes back."""
        with self.lock:
            if hand.by_get and hand.held:
                abruptly_taken = True
            else:
                abruptly_taken = abruptly
            self.give_back(list(hand.held.values()), "its channel closes")
            if abruptly:
                for entry in hand.settled:
                    if entry.state == SETTLED:
                        entry.becomes(MAYBE, self.now, "the ack can be lost with the connection")
            if abruptly_taken:
                self.taking[hand.queue] += 1

    def hand_closed(self, hand):
        """The channel's close-ok has come: nothing of the queue is under way to it any more."""
        with self.lock:
            self.taking[hand.queue] -= 1
            self.taken_until[hand.queue] = self.tick("hand closed")

    # ---- purge and delete ----

    def removing(self, queue, what):
        """A purge or a delete is about to be sent."""
        with self.lock:
            now = self.tick(what)
            certain = {i for i, e in self.live[queue].items()
                       if e.state in (THERE, HELD, SETTLED) or e.message.life < self.life
                       or e.message.done}
            self.removals[queue] = what, now, certain
            if what == "delete":
                for part in (self.topology.queue(queue),
                             *self.topology.bindings_of(queue, is_queue=True)):
                    part.ending(now)

    def purged(self, queue, count):
        """purge-ok has come."""
        with self.lock:
            _, began, certain = self.removals.pop(queue)
            now = self.tick("purge-ok")
            alone = not self.taking[queue] and self.taken_until.get(queue, 0) < began
            at_most = sum(e.state in (THERE, MAYBE) for e in self.live[queue].values())
            at_least = 0
            for name, entry in list(self.live[queue].items()):
                if entry.state not in (THERE, MAYBE):
                    continue
                if alone and name in certain:
                    at_least += entry.state == THERE
                    self.settled_for_good(entry, "purged, purge-ok seen")
                else:
                    entry.awaiting = False
                    entry.becomes(MAYBE, now, "perhaps purged")
            if alone:
                self.looked["count"] += 1
                if not at_least <= count <= at_most:
                    self.fail("count", f"purge of {queue} tells {count}; {at_least} to {at_most} "
                              "are possible")

    def deleted(self, queue):
        """delete-ok has come."""
        with self.lock:
            _, began, certain = self.removals.pop(queue)
            now = self.tick("delete-ok")
            alone = not self.taking[queue] and self.taken_until.get(queue, 0) < began
            for name, entry in list(self.live[queue].items()):
                if name not in certain:
                    entry.awaiting = False
                    if entry.state != PENDING:
                        entry.becomes(MAYBE, now, "perhaps in the deleted queue")
                elif alone:
                    self.bury(entry, "its queue was deleted, delete-ok seen")
                else:
                    entry.doomed = True
                    if entry.state == THERE:
                        entry.becomes(MAYBE, now, "its queue was deleted, may be under way")
            for part in (self.topology.queue(queue),
                         *self.topology.bindings_of(queue, is_queue=True)):
                part.ended(now)

    def queue_vanished(self, queue, why):
        """The queue is seen to be gone, with nobody at work: so is all that was in it."""
        with self.lock:
            now = self.tick("vanished")
            for entry in list(self.live[queue].values()):
                self.bury(entry, why)
            self.topology.queue(queue).observed(False, now)
            for binding in self.topology.bindings_of(queue, is_queue=True):
                binding.observed(False, now)

    def changing(self, verb, *things):
        """A request is about to be sent (making, ending), or was answered (made, ended)."""
        with self.lock:
            now = self.tick(verb)
            for thing in things:
                getattr(thing, verb)(now)
            if verb == "making":
                self.widen()

    def widen(self):
        """Something is about to be made: what is under way can get to more queues than before."""
        for (exchange, key), messages in self.under_way.items():
            if not messages:
                continue
            for queue in self.topology.possible(exchange, key, self.now, FOREVER):
                for message in messages:
                    if queue not in message.entries:
                        state = PENDING if message.outcome == OPEN_TX else MAYBE
                        self.enter(message, queue, state, "a way to this queue is being made")

    # ---- lives ----

    def life_begins(self):
        with self.lock:
            self.life += 1
            self.is_stopping = False
            self.life_start = self.tick("start")
            self.forget_old()

    def stopping(self):
        """SIGTERM is about to be sent: the broker closes connections, one after the other. What one
        held, or acked too late, may come to another that is still open."""
        with self.lock:
            self.tick("stopping")
            self.is_stopping = True

    def life_ended(self, cleanly):
        """The broker is gone: by a kill, or cleanly, when it had time to put all on disk."""
        with self.lock:
            now = self.tick("clean end" if cleanly else "crash")
            self.life_ends[self.life] = now
            for queue in list(self.live):
                existence = self.topology.queues.get(queue)
                durable = existence is not None and existence.durable
                removal = self.removals.get(queue)
                for entry in list(self.live[queue].values()):
                    self.entry_survives(entry, durable, cleanly, removal)
            self.topology.crashed(now)
            self.under_way.clear()
            self.removals.clear()
            self.taking.clear()
            self.taken_until.clear()

    def entry_survives(self, entry, durable, cleanly, removal):
        """What becomes of one entry when the broker goes."""
        entry.hand = None
        if not durable:
            self.bury(entry, "its queue was not durable")
        elif entry.state == PENDING:
            entry.message.outcome = "never committed"
            self.bury(entry, "never committed")
        elif entry.doomed:
            self.bury(entry, "its queue was deleted, delete-ok seen")
        elif entry.state == SETTLED:
            if cleanly and entry.applied:
                self.bury(entry, "settled before a clean stop")
            else:
                entry.becomes(MAYBE, self.now, "the ack can be lost with the broker")
        elif entry.state in (THERE, HELD):
            self.must_survive(entry, cleanly, removal)

    def must_survive(self, entry, cleanly, removal):
        """Whether a message that was certainly there has to be there after the restart."""
        if removal and (removal[0] == "delete" or entry.state == THERE):
            entry.becomes(MAYBE, self.now, f"the broker went during a {removal[0]}")
        elif entry.message.persistent and (entry.stable or cleanly):
            entry.becomes(THERE, self.now, "the broker went, and this must stay")
        else:
            why = "not confirmed" if entry.message.persistent else "transient"
            entry.becomes(MAYBE, self.now, f"the broker went, and this was {why}")

    # ---- looking while nobody is at work ----

    @contextlib.contextmanager
    def looking(self, rule):
        with self.lock:
            self.looked[rule] += 1
            yield

    def bounds(self, queue):
        """How many messages a queue must and may have ready."""
        with self.lock:
            states = collections.Counter(e.state for e in self.live[queue].values())
            return states[THERE], states[THERE] + states[MAYBE]

    def check_count(self, queue, count):
        """Whether a count can be right, by what is known."""
        low, high = self.bounds(queue)
        with self.looking("count"):
            if not low <= count <= high:
                self.fail("count", f"queue {queue} tells {count} messages; {low} to {high} are "
                          "possible")
        return low <= count <= high

    def emptied(self, hand):
        """All that the queue has was given to this hand: what is missing is lost or gone."""
        with self.lock:
            for name, entry in list(self.live[hand.queue].items()):
                if name in hand.seen or entry.state not in (THERE, MAYBE):
                    self.looked["lost"] += name in hand.seen
                    continue
                self.looked["lost"] += 1
                if entry.state == THERE:
                    self.fail("lost", f"{hand} has emptied the queue without it: {entry}")
                self.bury(entry, f"absent when {hand} emptied the queue")

    def passed(self, hand):
        """Some of the queue was given to this hand: nothing may be missing in between."""
        with self.lock:
            for name, entry in self.live[hand.queue].items():
                if entry.state == THERE and name[1] < hand.last.get(name[0], 0):
                    self.fail("order", f"{hand} got {name[0]}.{hand.last[name[0]]} before it: "
                              f"{entry}")
