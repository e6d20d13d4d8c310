#!/usr/bin/python3
"""crash: kills a broker again and again under load, and checks by a score card what is left of it.

    crash.py --binary build/release/godwit --rounds 100 --seed 7 --shards 1,4
    crash.py --rabbitmq --rounds 10 --tolerate redelivered

Each round starts the broker on the same data directory, looks at all that must and may be there,
lets clients work for a moment, and ends the broker in one of several ways, mostly by SIGKILL.
The seed decides what is tried; the order of events is the machine's. README.md says how to read
a failure. Exits 1 when a rule was broken.
"""
import argparse
import collections
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

from card import RULES, Card
from churner import Churner
from link import ChannelClosed, Ended, Stuck, Unexpected
from server import Godwit, Rabbit, StartFailed
from site_map import CHURN_QUEUES, KEEP_QUEUES, PURGE_QUEUE, WORK_QUEUES, Site
from verify import Verifier
from workers import Consumer, Getter, HugePublisher, Publisher, Purger, Transactor

FAILURES_SHOWN = 3
FAILURE_CHARACTERS = 4000
WORKERS_SECONDS_MAX = 90
# How a round ends. Of ten rounds in a row, each of these has its share.
ENDS = ["kill"] * 5 + ["quiet kill", "stop", "quiet stop", "kill at start", "kill in the look"]
# What a kill may wait for instead of a moment.
MOMENTS = ["publish", "confirmed", "commit", "committed", "delivery", "ack", "purge", "delete",
           "making", "made", "ending", "purge-ok", "delete-ok", "rollback"]


class Fuse:
    """Kills at the n-th event of a kind."""

    def __init__(self, what, count, action):
        self.what, self.count, self.action = what, count, action

    def burn(self, what):
        if self.what in ("any", what) and self.count > 0:
            self.count -= 1
            if not self.count:
                self.action()


class Deck:
    """Deals the ends of rounds so that ten rounds have seen each of them."""

    def __init__(self, rng):
        self.rng, self.cards = rng, []

    def deal(self):
        if not self.cards:
            self.cards = list(ENDS)
            self.rng.shuffle(self.cards)
        return self.cards.pop()


class Crash:
    """A run of rounds on one data directory."""

    def __init__(self, server, options):
        self.server, self.options = server, options
        self.card = Card(options.tolerate, settlements_stable=not options.rabbitmq)
        self.site = Site(self.card)
        self.deck = Deck(random.Random(f"{options.seed}/deck"))
        self.rng = None
        self.round = 0
        self.start_seconds = []
        self.ends = []

    def run(self):
        """All rounds, or those until a rule was broken. Then two last looks at everything."""
        try:
            for self.round in range(1, self.options.rounds + 1):
                self.rng = random.Random(f"{self.options.seed}/{self.round}")
                self.one_round(self.deck.deal())
                if self.card.failures:
                    return False
            self.last_looks()
        except StartFailed as error:
            self.card.fail("start", str(error))
        finally:
            self.server.end()
        return not self.card.failures

    def one_round(self, end):
        self.say(f"round {self.round}: {end}")
        self.ends.append(end)
        if end == "kill at start":
            for _ in range(2):
                self.kill_at_start()
        if end == "kill in the look":
            for _ in range(2):
                self.begin_life()
                self.look(fuse=self.rng.randrange(1, 400))
                self.end_life("kill")
                if self.card.failures:
                    return
        self.begin_life()
        self.look()
        if not self.card.failures:
            self.work(end)
        else:
            self.end_life("kill")

    def last_looks(self):
        """Everything is taken out; then nothing may be there any more."""
        for end in ("quiet kill", "quiet stop"):
            self.round += 1
            self.rng = random.Random(f"{self.options.seed}/{self.round}")
            self.begin_life()
            self.look(everything=True)
            self.end_life(end)

    # ---- lives ----

    def shards(self):
        return self.rng.choice(self.options.shards)

    def kill_at_start(self):
        """The broker dies while it reads what is there."""
        usual = self.start_seconds[-1] if self.start_seconds else 0.1
        self.card.life_begins()
        self.server.launch(self.shards())
        try:
            self.server.process.wait(self.rng.uniform(0, 1.2 * usual))
            self.card.fail("start", f"it ended by itself\n{self.server.last_words()}")
        except subprocess.TimeoutExpired:
            pass
        self.server.kill()
        self.card.life_ended(cleanly=False)

    def begin_life(self):
        shards = self.shards()
        self.card.life_begins()
        seconds = self.server.start(shards)
        self.start_seconds.append(seconds)
        self.site.opens(self.server.address)
        self.say(f"  life {self.card.life}: {shards} shards, accepts after {seconds * 1000:.0f} ms")

    def end_life(self, end):
        """Ends the broker, if it was not killed already, and says so on the card."""
        if not self.server.is_running and not self.site.dying.is_set():
            self.card.fail("protocol", "the broker ended by itself, exit status "
                           f"{self.server.process.poll()}\n{self.server.last_words()}")
        self.site.dying.set()
        self.card.fuse = None
        cleanly = end.endswith("stop") and self.server.is_running
        if cleanly:
            self.card.stopping()
            wrong = self.server.stop()
            if wrong:
                self.card.fail("start", wrong)
        else:
            self.server.kill()
        self.join_workers()
        report = self.server.reports()
        if report:
            self.card.fail("protocol", f"a sanitizer complained:\n{report}")
        self.card.life_ended(cleanly)

    def die(self):
        """A kill in the middle of something."""
        self.site.dying.set()
        self.server.send_kill()

    # ---- the two halves of a round ----

    def look(self, fuse=None, everything=False):
        began = time.monotonic()
        if fuse:
            self.card.fuse = Fuse("any", fuse, self.die)
        try:
            Verifier(self.site, self.rng, everything).run()
        except Ended as error:
            if not self.site.dying.is_set():
                self.card.fail("protocol", f"the verifier lost its connection: {error}")
        except (ChannelClosed, Unexpected) as error:
            self.card.fail("protocol", f"the verifier: {error}")
        except Stuck as error:
            self.card.fail("stuck", f"the verifier: {error}")
        self.say(f"  looked for {time.monotonic() - began:.2f} s, {self.card.summary()}")

    def make_workers(self):
        """Some of each kind; at least those that make the rest worth looking at."""
        site, rng = self.site, self.rng

        def seeded():
            return random.Random(rng.random())

        def some(count, first=WORK_QUEUES):
            return rng.sample(first, count)

        made = [Publisher(site, f"publisher {i}", seeded()) for i in range(rng.randint(1, 3))]
        if rng.random() < 0.5:
            made.append(Publisher(site, "publisher without confirms", seeded(), confirms=False))
        if rng.random() < 0.15:
            made.append(HugePublisher(site, "publisher of 6 MiB", seeded()))
        for i in range(rng.randint(0, 3)):
            queue = rng.choice([*WORK_QUEUES, rng.choice(CHURN_QUEUES)])
            made.append(Consumer(site, f"consumer {i} of {queue}", seeded(), queue))
        if rng.random() < 0.5:
            made.append(Getter(site, "getter", seeded(), some(3)))
        for i in range(rng.randint(0, 2)):
            made.append(Transactor(site, f"transactor {i}", seeded(), some(2)))
        if rng.random() < 0.5:
            made.append(Purger(site, "purger", seeded(), PURGE_QUEUE))
        if rng.random() < 0.1:
            made.append(Purger(site, "purger of kept", seeded(), rng.choice(KEEP_QUEUES)))
        if rng.random() < 0.6:
            made.append(Churner(site, "churner", seeded()))
        return made

    def work(self, end):
        """Lets clients work, until the end."""
        seconds = self.rng.uniform(0.2, max(self.options.seconds_per_round, 0.2))
        if end == "kill" and self.rng.random() < 0.6:
            count = int(10 ** self.rng.uniform(0, 2.5))
            self.card.fuse = Fuse(self.rng.choice(MOMENTS), count, self.die)
        self.workers = self.make_workers()
        for worker in self.workers:
            worker.start()
        self.site.dying.wait(seconds)
        if end.startswith("quiet"):
            self.site.stopping.set()
            self.join_workers()
        self.end_life(end)
        self.say(f"  {len(self.workers)} clients worked, {self.card.summary()}")

    workers = ()

    def join_workers(self):
        self.site.stopping.set()
        deadline = time.monotonic() + WORKERS_SECONDS_MAX
        for worker in self.workers:
            worker.join(max(deadline - time.monotonic(), 0))
            if worker.is_alive():
                self.card.fail("stuck", f"{worker.name} has not ended")

    # ---- words ----

    def say(self, text):
        if self.options.verbose:
            print(text, flush=True)

    def worth_showing(self):
        """The first few failures of each rule."""
        seen, shown = collections.Counter(), []
        for failure in self.card.failures:
            seen[failure.rule] += 1
            if seen[failure.rule] <= FAILURES_SHOWN:
                shown.append(failure)
        return shown

    def report(self):
        """What was found, for people."""
        card, lines = self.card, []
        for rule, texts in sorted(card.tolerated.items()):
            lines.append(f"tolerated: {rule}, {len(texts)} times, the first: "
                         f"{texts[0][:FAILURE_CHARACTERS]}")
        shown = self.worth_showing()
        for failure in shown:
            lines.append(f"FAILED {failure.rule} ({RULES[failure.rule]})\n    seed "
                         f"{self.options.seed}, round {self.round}, {failure.text}"
                         [:FAILURE_CHARACTERS])
        if len(card.failures) > len(shown):
            lines.append(f"... and {len(card.failures) - len(shown)} more")
        lines.append(self.figures())
        if card.failures:
            lines.append(f"again: {self.command()}")
        return "\n".join(lines)


    def command(self):
        """How to try the same again."""
        options = self.options
        broker = "--rabbitmq" if options.rabbitmq else f"--binary {self.server.binary}"
        return (f"tests/crash/crash.py {broker} --seed {options.seed} --rounds {self.round} "
                f"--shards {','.join(map(str, options.shards))} "
                f"--seconds-per-round {options.seconds_per_round}")

    def figures(self):
        """How much was done, and how much was looked at."""
        times = sorted(self.start_seconds) or [0]
        looked = ", ".join(f"{rule} {self.card.looked[rule]}" for rule in RULES
                           if self.card.looked[rule])
        return (f"seed {self.options.seed}: {self.round} rounds, {self.card.life} lives; accepts "
                f"after {times[len(times) // 2] * 1000:.0f} ms (median), {times[-1] * 1000:.0f} ms "
                f"(longest); {self.card.summary()}\nlooked: {looked}")


def default_options(**changes):
    """Options as the command line would give them."""
    options = parser().parse_args([])
    for name, value in changes.items():
        setattr(options, name, value)
    return options


def parser():
    made = argparse.ArgumentParser(description=__doc__,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
    root = pathlib.Path(__file__).resolve().parents[2]
    made.add_argument("--binary", type=pathlib.Path, default=root / "build/release/godwit")
    made.add_argument("--rabbitmq", action="store_true", help="kill RabbitMQ instead")
    made.add_argument("--rounds", type=int, default=20)
    made.add_argument("--seed", type=int, default=1)
    made.add_argument("--shards", type=lambda text: [int(n) for n in text.split(",")],
                      default=[1, 4], help="each start takes one of these (1,4)")
    made.add_argument("--seconds-per-round", type=float, default=1.5,
                      help="clients work at most so long in each round (1.5)")
    made.add_argument("--data-dir", type=pathlib.Path,
                      help="for the broker's data and log; kept; must be new (a temporary one)")
    made.add_argument("--tolerate", type=lambda text: text.split(","), default=[], metavar="RULES",
                      help="count breaches of these, do not fail: " + ", ".join(RULES))
    made.add_argument("--verbose", action="store_true")
    return made


def main():
    options = parser().parse_args()
    unknown = set(options.tolerate) - set(RULES)
    if unknown:
        sys.exit(f"crash: no such rule: {', '.join(unknown)}")
    home = options.data_dir or pathlib.Path(tempfile.mkdtemp(prefix="crash-"))
    if home.exists() and any(home.iterdir()):
        sys.exit(f"crash: {home} is not empty")
    server = Rabbit(home) if options.rabbitmq else Godwit(options.binary, home)
    crash = Crash(server, options)
    good = crash.run()
    print(crash.report())
    if good and not options.data_dir:
        shutil.rmtree(home)
    elif not good:
        print(f"the broker's files and log are in {home}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
