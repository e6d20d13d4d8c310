"""topology: which queues, exchanges and bindings are there, as far as a client can know, over time.

A request that was sent may have acted at any moment until its -ok, and if the broker died before
the -ok, nobody knows until somebody looks. So each thing has spans: within `sure` it was there for
certain, within `maybe` it can have been there. A message that a queue must have is one whose route
was sure from before it was sent until after it was confirmed; a message that a queue may have is
one whose route was possible at any moment of that time.
"""
import functools

FOREVER = 1 << 62


class Span:
    """One existence: it cannot have been there outside maybe, it was there for certain in sure."""
    __slots__ = ("maybe_from", "sure_from", "sure_to", "maybe_to")

    def __init__(self, now):
        self.maybe_from, self.sure_from = now, FOREVER
        self.sure_to = self.maybe_to = FOREVER


class Existence:
    """A queue, an exchange or a binding over time. Only one client changes a given one."""

    def __init__(self, name, durable):
        self.name, self.durable = name, durable
        self.spans = []
        self.events = []

    @property
    def state(self):
        """"there", "absent" or "unknown", now."""
        if not self.spans or self.spans[-1].maybe_to < FOREVER:
            return "absent"
        last = self.spans[-1]
        return "there" if last.sure_from < FOREVER and last.sure_to == FOREVER else "unknown"

    def making(self, now):
        """The request that creates it is about to be sent."""
        self.events.append((now, "creation requested"))
        if self.state == "absent":
            self.spans.append(Span(now))

    def made(self, now):
        self.events.append((now, "created: -ok"))
        last = self.spans[-1]
        if last.sure_to < FOREVER:
            last.maybe_to = now
            self.spans.append(Span(now))
        self.spans[-1].sure_from = min(now, self.spans[-1].sure_from)

    def ending(self, now):
        """The request that removes it is about to be sent."""
        if self.state != "absent":
            self.events.append((now, "removal requested"))
            self.spans[-1].sure_to = min(now, self.spans[-1].sure_to)

    def ended(self, now, why="removed: -ok"):
        if self.state != "absent":
            self.events.append((now, why))
            self.spans[-1].sure_to = min(now, self.spans[-1].sure_to)
            self.spans[-1].maybe_to = now

    def observed(self, there, now):
        """Somebody looked while nobody changed anything."""
        self.events.append((now, "seen" if there else "seen to be absent"))
        if self.state != "absent":
            self.spans[-1].sure_to = min(now, self.spans[-1].sure_to)
            self.spans[-1].maybe_to = now
        if there:
            self.spans.append(Span(now))
            self.spans[-1].sure_from = now

    def seen(self, now):
        self.observed(True, now)

    def unseen(self, now):
        self.observed(False, now)

    def covers(self, first, last):
        """It was there all that time, for certain."""
        return any(s.sure_from <= first and last <= s.sure_to for s in self.spans)

    def touches(self, first, last):
        """It can have been there at some moment of that time."""
        return any(s.maybe_from <= last and first <= s.maybe_to for s in self.spans)

    def forget(self, before):
        """Drops what no message can be affected by any more."""
        self.spans = [s for s in self.spans if s.maybe_to >= before]
        del self.events[:-40]

    def history(self):
        return "; ".join(f"@{at} {what}" for at, what in self.events[-12:])


@functools.lru_cache(100_000)
def topic_matches(pattern, key):
    words = tuple(key.split(".")) if key else ()
    return words_match(tuple(pattern.split(".")) if pattern else (), words)


def words_match(pattern, words):
    if not pattern:
        return not words
    if pattern[0] == "#":
        return any(words_match(pattern[1:], words[at:]) for at in range(len(words) + 1))
    return bool(words) and pattern[0] in ("*", words[0]) and words_match(pattern[1:], words[1:])


def key_matches(kind, pattern, key):
    if kind == "fanout":
        return True
    return topic_matches(pattern, key) if kind == "topic" else pattern == key


class Topology:
    """All queues, exchanges and bindings of the run, those that are gone as well."""

    def __init__(self):
        self.queues = {}
        self.exchanges = {}
        self.kinds = {}
        self.bindings = {}
        self.by_source = {}

    def queue(self, name, durable=True):
        return self.queues.setdefault(name, Existence(f"queue {name}", durable))

    def exchange(self, name, kind="direct", durable=True):
        self.kinds.setdefault(name, kind)
        return self.exchanges.setdefault(name, Existence(f"exchange {name}", durable))

    def binding(self, source, destination, key, to_queue=True):
        """The binding of that name; it is as durable as both its ends."""
        name = source, destination, key, to_queue
        if name not in self.bindings:
            ends = self.exchanges[source], self.ends(to_queue)[destination]
            made = Existence(f"binding of {source} to {destination} with key '{key}'",
                             all(end.durable for end in ends))
            self.bindings[name] = made
            self.by_source.setdefault(source, []).append((key, destination, to_queue, made))
        return self.bindings[name]

    def ends(self, to_queue):
        return self.queues if to_queue else self.exchanges

    def bindings_of(self, name, is_queue):
        """Bindings that go when this queue or exchange goes."""
        return [binding for (source, destination, _, to_queue), binding in self.bindings.items()
                if (destination == name and to_queue == is_queue)
                or (source == name and not is_queue)]

    def routes(self, exchange, key, seen=()):
        """Pairs of a queue's name and all that must exist for a message to get there."""
        if not exchange:
            if key in self.queues:
                yield key, (self.queues[key],)
            return
        if exchange not in self.exchanges or exchange in seen:
            return
        for pattern, destination, to_queue, binding in self.by_source.get(exchange, ()):
            if not key_matches(self.kinds[exchange], pattern, key):
                continue
            path = self.exchanges[exchange], binding
            if to_queue:
                yield destination, (*path, self.queues[destination])
            else:
                for queue, rest in self.routes(destination, key, (*seen, exchange)):
                    yield queue, (*path, *rest)

    def possible(self, exchange, key, first, last):
        """The queues that can have got a message that was routed at some moment of that time."""
        return {queue for queue, path in self.routes(exchange, key)
                if all(part.touches(first, last) for part in path)}

    def certain(self, exchange, key, first, last):
        """The queues that must have got a message that was routed at some moment of that time."""
        return {queue for queue, path in self.routes(exchange, key)
                if all(part.covers(first, last) for part in path)}

    def everything(self):
        yield from self.queues.values()
        yield from self.exchanges.values()
        yield from self.bindings.values()

    def crashed(self, now):
        """The broker is gone, and with it what is not durable."""
        for thing in self.everything():
            if not thing.durable:
                thing.ended(now, "gone: it was not durable")

    def forget(self, before):
        for thing in self.everything():
            thing.forget(before)
