#!/usr/bin/python3
"""A long queue of which every other message is settled, and files that go: what has to be said again
of such a queue for each of them, for how long the loop is busy with it, and what a start makes of it.

The figures are printed beside their goals. What fails is only what is far off on any machine.
"""
import os
import pathlib
import struct
import subprocess
import time

from beside import Turns, prefer, resident_bytes
from crowd import Crowd
from node import Node
from test_slow import depth, fill

ROOT = pathlib.Path(__file__).resolve().parents[2]
MESSAGES = int(os.environ.get("GODWIT_SCALE_HOLES", "2000000"))
BUDGET = 256 * 2**20  # the smallest
FILE_BYTES = 64 * 2**20
FILES = 12
FILLER_BYTES = 64 * 1024
RUN_SECONDS_MAX = 600
WRITTEN = "godwit_store_journal_bytes_total"
FACTS = "godwit_store_facts_bytes_total"
RETIRE = "godwit_retire_turn_seconds"  # the part of turns that files which go take


def ack(tag):
    """A basic.ack as a frame: method_frame takes its time."""
    return struct.pack(">BHIHHQBB", 1, 1, 13, 60, 80, tag, 0, 0xCE)


def half_settled(node):
    """A consumer that has acked every other message, and keeps the rest."""
    fill(node, "holes", MESSAGES, "-f", "persistent")
    client = Crowd(node)
    client.each("basic.consume", [{"queue": "holes"}], basic_consume_ok=1, basic_deliver=MESSAGES)
    client.ask(ack(tag) for tag in range(1, MESSAGES, 2))
    client.call(1, "queue.declare", queue="holes", passive=True)
    return client


def pass_through(node, count):
    """Messages that fill the journal and are done with soon."""
    perf = os.path.join(os.path.dirname(node.binary), "godwit-perf")
    subprocess.run([perf, "--port", str(node.port), "-p", "-u", "filler", "-f", "persistent", "-s",
                    str(FILLER_BYTES), "-c", "100", "-q", "100", "-C", str(count), "--quiet"],
                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True,
                   timeout=RUN_SECONDS_MAX)


def living(node):
    """How many messages godwitctl finds in the directory, which must be good."""
    ctl = os.path.join(os.path.dirname(node.binary), "godwitctl")
    subprocess.run([ctl, "data", "verify", str(node.folder)], stdout=subprocess.DEVNULL, check=True)
    with subprocess.Popen([ctl, "data", "dump", "--messages", "--queue", "holes", "--json",
                           str(node.folder)], stdout=subprocess.PIPE) as told:
        return sum(line.count(b'"seq"') for line in told.stdout)


def test_files_go_while_a_queue_has_holes(tmp_path, figure):
    node = Node(pathlib.Path(os.environ.get("GODWIT_BINARY", ROOT / "build/release/godwit")),
                tmp_path / "data", 1)
    node.configured(tmp_path / "conf", f"journal_budget = {BUDGET}").start()
    try:
        prefer(node.process)
        other = Crowd(node)
        other.call(1, "queue.declare", queue="filler", durable=True)
        holder = half_settled(node)
        before, turns, retire = node.sight.metrics(), Turns(node), Turns(node, RETIRE)
        pass_through(node, FILES * FILE_BYTES // FILLER_BYTES)
        after = node.sight.metrics()
        said = after.get(FACTS, 0) - before.get(FACTS, 0)
        files = (after[WRITTEN] - before[WRITTEN]) / FILE_BYTES
        figure(f"every other of {MESSAGES:,} settled: said again for a file", said / files / 1e6,
               "MB", f"{MESSAGES / 8 / 1e6:.3g}, a bit for each")
        figure("  longest part of a turn for files that go", retire.worst() * 1000, "ms", "1")
        figure("  turns in which that took above 1 ms", retire.above(0.001), "", "0")
        figure("  longest turn at most", turns.worst() * 1000, "ms", "1")
        assert said < files * MESSAGES
        assert retire.worst() < 0.1
        node.kill()
        holder.close()
        other.close()
        assert living(node) == MESSAGES // 2
        began = time.monotonic()
        node.start()
        figure("  ready again after kill -9", time.monotonic() - began, "s", "below 1")
        figure("  resident then", resident_bytes(node) / 2**20, "MiB", "none")
        assert depth(node, "holes") == MESSAGES // 2
    finally:
        node.stop()
