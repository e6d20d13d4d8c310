"""site_map: where the clients work: the broker's address, the fixed queues and bindings, and the
signs by which a life ends."""
import threading
import time

from link import ANSWER_SECONDS_MAX

WORK_QUEUES = [f"work.{i}" for i in range(6)]
KEEP_QUEUES = ["keep.0", "keep.1"]
PURGE_QUEUE = "purge.0"
FIXED_QUEUES = [*WORK_QUEUES, *KEEP_QUEUES, PURGE_QUEUE]
CHURN_QUEUES = [f"churn.{i}" for i in range(3)]
EXCHANGES = {"x.direct": "direct", "x.fanout": "fanout", "x.topic": "topic", "x.chain": "direct"}
BINDINGS = (
    [("x.direct", queue, queue) for queue in FIXED_QUEUES]
    + [("x.direct", "work.0", "shared"), ("x.direct", "work.1", "shared"),
       ("x.direct", "keep.1", "shared")]
    + [("x.fanout", queue, "") for queue in ("work.0", "work.3", "keep.0", PURGE_QUEUE)]
    + [("x.topic", "work.1", "a.*"), ("x.topic", "work.2", "#.b"), ("x.topic", "keep.1", "#.b"),
       ("x.topic", "keep.0", "a.#"), ("x.topic", PURGE_QUEUE, "*.c.*"),
       ("x.topic", "work.5", "a.c.b")]
    + [("x.chain", "work.4", "chained")])
EXCHANGE_BINDINGS = [("x.chain", "x.fanout", "fan"), ("x.chain", "x.topic", "a.c.b")]
TOPIC_KEYS = ("a.b", "a.c", "a", "c.b", "x.c.y", "a.c.b", "z.z", "")
CHAIN_KEYS = ("chained", "fan", "a.c.b")


def churn_key(queue):
    return f"{queue}.key"


class Site:
    """What workers share in one life of the broker."""

    def __init__(self, card, answer_seconds_max=ANSWER_SECONDS_MAX):
        self.card = card
        self.address = None
        self.answer_seconds_max = answer_seconds_max
        self.queues = FIXED_QUEUES
        self.stopping = threading.Event()
        self.dying = threading.Event()

    def opens(self, address):
        """The broker has started."""
        self.address = address
        self.stopping = threading.Event()
        self.dying = threading.Event()

    def deadline(self):
        return time.monotonic() + self.answer_seconds_max

    @staticmethod
    def seconds_left(deadline):
        return deadline - time.monotonic()

    def target(self, rng):
        """An exchange and a routing key, for one publish of many."""
        kind = rng.randrange(10)
        if kind < 4:
            return "", rng.choice(FIXED_QUEUES)
        if kind < 6:
            return "x.direct", rng.choice((*FIXED_QUEUES, "shared", "nobody"))
        if kind == 6:
            return "x.fanout", "any"
        if kind == 7:
            return "x.topic", rng.choice(TOPIC_KEYS)
        if kind == 8:
            return "x.chain", rng.choice(CHAIN_KEYS)
        return self.churn_target(rng, rng.choice(CHURN_QUEUES))

    @staticmethod
    def churn_target(rng, queue):
        """A way to a queue that is deleted and made again, if it is there at the moment."""
        return rng.choice((("", queue), ("x.direct", churn_key(queue)),
                           ("x.topic", f"churn.{queue[-1]}")))

    def probes(self):
        """Exchanges and keys of which each fixed binding takes at least one."""
        yield from (("", queue) for queue in (*FIXED_QUEUES, *CHURN_QUEUES))
        yield from (("x.direct", key) for key in (*FIXED_QUEUES, "shared", "nobody"))
        yield from (("x.direct", churn_key(queue)) for queue in CHURN_QUEUES)
        yield from (("x.topic", key) for key in TOPIC_KEYS)
        yield from (("x.topic", f"churn.{queue[-1]}") for queue in CHURN_QUEUES)
        yield from (("x.chain", key) for key in CHAIN_KEYS)
        yield "x.fanout", "any"
