#!/usr/bin/python3
"""Publishers flood a broker that is at its memory limit: what can leave memory does, they are
blocked when that is not enough, the consumer drains at full speed meanwhile, and they go on. How
much the limit is passed is printed beside its goal.
"""
import contextlib
import json
import os
import subprocess
import threading

import pytest

from beside import resident_bytes
from crowd import Crowd
from patience import until

MIB = 1 << 20
LIMIT = 256 * MIB
SMALL_LIMIT = 64 * MIB
PUBLISH_SECONDS = 8
DRAIN_SECONDS = 4
SPREAD = 100
RUN_SECONDS_MAX = 120


class Highest:
    """The most that a process has resident while this lasts."""

    def __init__(self, node):
        self.node = node
        self.bytes = 0
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.look)

    def look(self):
        while not self.ended.wait(0.01):
            with contextlib.suppress(OSError):
                self.bytes = max(self.bytes, resident_bytes(self.node))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()


def perf(node, *flags):
    command = [os.path.join(os.path.dirname(node.binary), "godwit-perf"), "--port", str(node.port),
               "-s", "1024", "--quiet", "--json", *flags]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL, text=True)


def report(process):
    out, _ = process.communicate(timeout=RUN_SECONDS_MAX)
    found = json.loads(out)
    assert not any(found[name] for name in ("reordered", "duplicates", "foreign")), found
    return found["whole"]


def limited(node, tmp_path, limit):
    node.stop()
    node.configured(tmp_path / "limit.conf", f"vm_memory_high_watermark.absolute = {limit}")
    node.start()


def alarm(node):
    return node.sight.metrics()["rabbitmq_alarms_memory_used_watermark"]


def spilled(node):
    return node.sight.metrics()["godwit_spill_messages_total"]


def is_full(node):
    until(lambda: alarm(node) == 1 or spilled(node) > 0, seconds=RUN_SECONDS_MAX, what="short memory")


@pytest.mark.parametrize("queues", [1, 100])
@pytest.mark.parametrize("kind", ["transient", "persistent"])
def test_publishers_flood_a_broker_at_its_limit(node, tmp_path, figure, kind, queues):
    limited(node, tmp_path, LIMIT)
    what = f"{kind} messages of 1 KiB flood {queues} queues"
    durable = kind == "persistent"
    client = Crowd(node)
    names = [f"flood-{number}" for number in range(queues)]
    client.each("queue.declare", [{"queue": name, "durable": durable} for name in names],
                queue_declare_ok=queues)
    spread = ["-p", "--queues", str(queues), "--queue-pattern", "flood-%d",
              "--queue-pattern-from", "0", "--queue-pattern-to", str(queues - 1)]
    kept = ["-f", "persistent"] if durable else []
    with Highest(node) as highest:
        publishers = perf(node, *spread, *kept, "-x", "2", "-y", "0", "-c", "5000", "--drain", "0",
                          "-z", str(PUBLISH_SECONDS))
        if not durable:
            is_full(node)
        drained = report(perf(node, *spread, "-x", "0", "-y", "1", "-q", "2000", "-A", "100", "--stored", "2",
                              "-z", str(DRAIN_SECONDS)))
        published = report(publishers)
        assert published["confirmed"] > 0
        for name in names:
            client.call(1, "queue.purge", queue=name)
        until(lambda: alarm(node) == 0, seconds=RUN_SECONDS_MAX, what="the alarm's end")
        until(lambda: resident_bytes(node) < LIMIT / 4, seconds=RUN_SECONDS_MAX,
              what="memory that is given back")
    figure(f"{what}: highest resident memory", highest.bytes / MIB, "MiB",
           f"at most {LIMIT * 1.1 / MIB:.0f}, the limit and a tenth")
    figure("  published", published["published"] / PUBLISH_SECONDS, "messages/s", "none")
    figure("  drained meanwhile", drained["consumed_per_s"], "messages/s", "none")
    figure("  resident memory at the end", resident_bytes(node) / MIB, "MiB", "none")
    assert highest.bytes < LIMIT * 1.5
    client.disconnect()


def test_a_few_stay_among_many_that_go(node, tmp_path, figure):
    """Whatever of memory cannot be given back because of them may be used again: publishers are
    not blocked for good."""
    limited(node, tmp_path, SMALL_LIMIT)
    client = Crowd(node)
    names = [f"flood-{number}" for number in range(SPREAD)]
    client.each("queue.declare", [{"queue": name} for name in names], queue_declare_ok=SPREAD)
    spread = ["-p", "--queues", str(SPREAD), "--queue-pattern", "flood-%d",
              "--queue-pattern-from", "0", "--queue-pattern-to", str(SPREAD - 1)]
    publisher = perf(node, *spread, "-x", "1", "-y", "0", "--drain", "0", "-z", "4")
    is_full(node)
    report(publisher)
    for name in names[1:]:
        client.call(1, "queue.purge", queue=name)
    until(lambda: alarm(node) == 0, seconds=RUN_SECONDS_MAX, what="the alarm's end")
    stayed = client.call(1, "queue.declare", queue=names[0], passive=True)["message_count"]
    figure(f"{stayed:,} messages of 1 KiB stay among {SPREAD} times as many: resident memory",
           resident_bytes(node) / MIB, "MiB", "none")
    again = report(perf(node, *spread, "-x", "1", "-y", "0", "--drain", "0", "-c", "100",
                        "-C", "10000"))
    assert again["confirmed"] == 10000
    client.disconnect()
