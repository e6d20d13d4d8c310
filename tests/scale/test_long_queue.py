#!/usr/bin/python3
"""A long durable queue: what it takes of memory and disk, how soon it is there again after a kill,
and how fast it drains, with the order and the body of each message looked at.

The figures are printed beside their goals. What fails is only what is far off on any machine.
"""
import json
import os
import subprocess
import time

from beside import resident_bytes
from wire import Client

MESSAGES = int(os.environ.get("GODWIT_SCALE_LONG", "10000000"))
BYTES = int(os.environ.get("GODWIT_SCALE_LONG_BYTES", "100"))
MIB = 1 << 20
JOURNAL_BUDGET = 512 * MIB  # the default
QUEUE = "long"


def disk_bytes(node):
    return sum(path.stat().st_size for path in node.messages.iterdir())


def cpu_seconds(node):
    with open(f"/proc/{node.process.pid}/stat", encoding="ascii") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def perf(node, *flags):
    """Runs godwit-perf against the queue; what it counted in the whole run."""
    command = [os.path.join(os.path.dirname(node.binary), "godwit-perf"), "--port", str(node.port),
               "-u", QUEUE, "-p", "-s", str(BYTES), "--quiet", "--json", *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    bad = {name: report[name] for name in ("reordered", "duplicates", "foreign")}
    assert not any(bad.values()), bad
    return report["whole"]


def test_a_long_queue(node, figure):
    client = Client(node.address)
    client.channel()
    client.call(1, "queue.declare", queue=QUEUE, durable=True)
    before, cpu = resident_bytes(node), cpu_seconds(node)
    filled = perf(node, "-x", "1", "-y", "0", "-f", "persistent", "-c", "2000", "-C", str(MESSAGES),
                  "--drain", "0")
    assert filled["confirmed"] == MESSAGES
    payload = MESSAGES * BYTES
    grown, disk = resident_bytes(node) - before, disk_bytes(node)
    what = f"{MESSAGES:,} persistent messages of {BYTES} bytes"
    figure(f"{what}: published with confirms", MESSAGES / filled["seconds"], "messages/s", "none")
    figure("  of which one takes", (cpu_seconds(node) - cpu) / MESSAGES * 1e6, "us of CPU", "none")
    figure("  resident growth", grown / MIB, "MiB", "below 64; 96 for 100 million")
    figure("  on disk, journal budget apart", (disk - JOURNAL_BUDGET) / payload,
           "bytes per byte of payload", "at most 2.0 for messages of 100 bytes")
    node.kill()
    began = time.monotonic()
    node.start()
    ready = time.monotonic() - began
    figure("  ready again after kill -9", ready, "s", "below 1")
    figure("  resident then", resident_bytes(node) / MIB, "MiB", "none")
    cpu = cpu_seconds(node)
    drained = perf(node, "-x", "0", "-y", "1", "-q", "2000", "-A", "100", "-D", str(MESSAGES),
                   "--stored", "1")
    assert drained["consumed"] == MESSAGES
    seconds = cpu_seconds(node) - cpu
    figure("  drained, order and bodies as they were", MESSAGES / drained["seconds"], "messages/s",
           "at least 800,000 per core")
    figure("  that is", MESSAGES / seconds, "messages per CPU second", "at least 800,000")
    assert grown < 256 * MIB and ready < 30
    assert disk < payload * 10 + JOURNAL_BUDGET
