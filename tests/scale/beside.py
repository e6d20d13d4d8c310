#!/usr/bin/python3
"""beside: what others notice while one client asks much of the broker.

Turns tells from the loops' histograms for how long they were busy at a stretch. A flow is 5,000
messages per second of a connection and a queue of their own, by godwit-perf; what it notices is the
99th percentile of its latency, beside the same flow alone a moment before.
"""
import contextlib
import json
import os
import re
import statistics
import subprocess
import time

RATE = 5000
FLOW_SECONDS_MAX = 300
TURN_SECONDS_MAX = 0.05
P99_MS_MAX = 50
ROUNDS = int(os.environ.get("GODWIT_SCALE_ROUNDS", "3"))
BUCKET = re.compile(r'(\w+)_bucket\{shard="\d+",le="([^"]+)"\}')


def prefer(process):
    """Lets a process's threads run before all others, where that is allowed: else what is measured on
    a machine with few cores is how long the kernel let somebody else run. Not those that fill files,
    who would then be waited for as nobody is who is equal."""
    for thread in os.listdir(f"/proc/{process.pid}/task"):
        with contextlib.suppress(PermissionError, ProcessLookupError, FileNotFoundError):
            with open(f"/proc/{process.pid}/task/{thread}/comm", encoding="ascii") as file:
                patient = file.read().strip() == "disk-slow"
            if not patient:
                os.sched_setscheduler(int(thread), os.SCHED_RR, os.sched_param(1))


def resident_bytes(node):
    with open(f"/proc/{node.process.pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Turns:
    """The turns of all loops since this was made, or another histogram of theirs."""

    def __init__(self, node, name="godwit_loop_turn_seconds"):
        self.node = node
        self.name = name
        self.before = self.read()

    def read(self):
        counts = {}
        for name, value in self.node.sight.metrics().items():
            match = BUCKET.match(name)
            if match and match[1] == self.name:
                bound = float("inf") if match[2] == "+Inf" else float(match[2])
                counts[bound] = counts.get(bound, 0) + value
        return counts

    def above(self, seconds):
        """How many took longer than a bound of the histogram."""
        grown = {bound: count - self.before[bound] for bound, count in self.read().items()}
        return int(grown[float("inf")] - grown[seconds])

    def worst(self):
        """The bound that no turn was above, in seconds."""
        grown = {bound: count - self.before[bound] for bound, count in self.read().items()}
        return min(bound for bound, count in grown.items() if count == grown[float("inf")])


class Flow:
    """Messages that want to be quick: begins when it is made, ends after that many seconds."""

    def __init__(self, node, seconds, flags=()):
        perf = os.path.join(os.path.dirname(node.binary), "godwit-perf")
        self.process = subprocess.Popen(
            [perf, "--port", str(node.port), "-u", "flow", "-s", "16", "-r", str(RATE),
             "-z", str(seconds), "--json", *(flags or ["-a"])],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        prefer(self.process)

    def wait_until_under_way(self):
        """It says every second how it goes."""
        assert self.process.stderr.readline(), self.figures()

    def figures(self):
        out, _ = self.process.communicate(timeout=FLOW_SECONDS_MAX)
        figures = json.loads(out)
        assert figures["good"], figures
        return figures

    def p99_ms(self):
        return self.figures()["latency_us"]["p99"] / 1000


class Beside:
    """What a flow noticed of something, and what the loops did meanwhile."""

    def __init__(self):
        self.alone_ms, self.beside_ms = [], []
        self.worst_seconds = []
        self.stalls = 0  # turns above 1 ms
        self.took_seconds = []

    @property
    def times(self):
        """How many times the p99 alone it was, medians of the rounds."""
        return statistics.median(self.beside_ms) / statistics.median(self.alone_ms)

    def tell(self, figure, what):
        figure(f"{what}: time", statistics.median(self.took_seconds), "s", "none")
        figure(f"{what}: longest turn at most", statistics.median(self.worst_seconds) * 1000, "ms",
               "1")
        figure(f"{what}: turns above 1 ms", self.stalls, "", "0")
        figure(f"{what}: p99 alone", statistics.median(self.alone_ms), "ms", "none")
        figure(f"{what}: p99 beside it", statistics.median(self.beside_ms), "ms",
               "at most twice that alone")

    def check(self):
        """Fails on what is far off in every round: what disturbs the machine disturbs some."""
        assert min(self.worst_seconds) <= TURN_SECONDS_MAX, f"turns of {self.worst_seconds} s"
        far_off = [beside > max(P99_MS_MAX, 5 * alone)
                   for alone, beside in zip(self.alone_ms, self.beside_ms)]
        assert not all(far_off), f"p99 of {self.beside_ms} ms, and alone {self.alone_ms} ms"


def measure(node, prepare, act, seconds=4, rounds=ROUNDS, flags=()):
    """Alone and beside by turns: prepare(), a flow alone; a flow, and act(what prepare gave) within
    it, which has to come to its end."""
    found = Beside()
    for _ in range(rounds):
        prepared = prepare()
        found.alone_ms.append(Flow(node, seconds, flags).p99_ms())
        flow = Flow(node, seconds, flags)
        flow.wait_until_under_way()
        turns = Turns(node)
        began = time.monotonic()
        act(prepared)
        found.took_seconds.append(time.monotonic() - began)
        found.beside_ms.append(flow.p99_ms())
        found.worst_seconds.append(turns.worst())
        found.stalls += turns.above(0.001)
    return found
