#!/usr/bin/python3
"""What others notice while files of messages are emptied and given back, and right after a start
with very many messages on disk.

Others are a flow of 5,000 messages per second (beside.py). The figures are printed beside their
goals. What fails is only what is far off on any machine.
"""
import contextlib
import os
import subprocess
import time

from beside import ROUNDS, Beside, Flow, Turns, measure, prefer
from crowd import Crowd
from patience import until

MESSAGES = int(os.environ.get("GODWIT_SCALE_MESSAGES", "1000000"))
COPIED = 1_000_000
COPIED_BYTES = 1000
QUEUES = 4
RUN_SECONDS_MAX = 300


def fill(node, queues, count, size):
    """Persistent messages, so many in all, the queues by turns."""
    client = Crowd(node)
    client.each("queue.declare", ({"queue": f"mixed.{number}", "durable": True}
                                  for number in range(queues)), queue_declare_ok=queues)
    client.disconnect()
    perf = os.path.join(os.path.dirname(node.binary), "godwit-perf")
    # Its status says that messages are left: they are meant to be.
    subprocess.run([perf, "--port", str(node.port), "-p", "-x", str(queues), "-y", "0",
                    "--queue-pattern", "mixed.%d", "--queue-pattern-from", "0",
                    "--queue-pattern-to", str(queues - 1), "-C", str(count // queues),
                    "-s", str(size), "-c", "10000", "--drain", "0", "--quiet", "-f", "persistent"],
                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                   check=False)
    client = Crowd(node)
    for number in range(queues):
        there = client.call(1, "queue.declare", queue=f"mixed.{number}", passive=True)
        assert there["message_count"] == count // queues
    client.disconnect()


def disk_bytes(node):
    total = 0
    for path in node.messages.iterdir():
        with contextlib.suppress(FileNotFoundError):  # removed meanwhile
            total += path.stat().st_size
    return total


def test_files_are_emptied(node, tmp_path, figure):
    """Those that were kept in place for four queues, of which three are purged then."""
    node.stop()
    node.configured(tmp_path / "small.conf", "journal_budget = 256MiB").start()
    prefer(node.process)

    def prepare():
        client = Crowd(node)
        client.each("queue.delete", ({"queue": f"mixed.{number}"} for number in range(QUEUES)),
                    queue_delete_ok=QUEUES)
        client.disconnect()
        fill(node, QUEUES, COPIED, COPIED_BYTES)
        return disk_bytes(node), node.sight.metrics()["godwit_store_segment_bytes_total"]

    copied = []

    def empty(before):
        client = Crowd(node)
        for number in range(1, QUEUES):
            client.call(1, "queue.purge", queue=f"mixed.{number}")
        client.disconnect()
        # Of what is beyond the journal's budget a quarter lives.
        until(lambda: disk_bytes(node) <= before[0] * 2 / 3, seconds=RUN_SECONDS_MAX,
              what="the end of the files that were mostly dead")
        copied.append(node.sight.metrics()["godwit_store_segment_bytes_total"] - before[1])

    found = measure(node, prepare, empty)
    figure("emptying files of 4 queues, 3 of them purged: copied", min(copied) / 2**20, "MiB",
           "above 50")
    found.tell(figure, "emptying files of 4 queues, 3 of them purged")
    assert min(copied) >= 50 * 2**20
    found.check()


def test_a_start(node, figure):
    """The flow begins as soon as the broker is ready; alone is the one after that."""
    fill(node, 1, MESSAGES, 16)
    found = Beside()
    for _ in range(ROUNDS):
        node.kill()
        began = time.monotonic()
        node.start()
        found.took_seconds.append(time.monotonic() - began)
        prefer(node.process)
        turns = Turns(node)
        found.beside_ms.append(Flow(node, 4).p99_ms())
        found.worst_seconds.append(turns.worst())
        found.stalls += turns.above(0.001)
        found.alone_ms.append(Flow(node, 4).p99_ms())
    found.tell(figure, f"a start with {MESSAGES:,} persistent messages after kill -9")
    found.check()
