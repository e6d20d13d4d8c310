#!/usr/bin/python3
"""Many durable queues in which nothing happens: what they cost to declare, to have, to start with.

The figures are printed beside their goals. What fails is only what is far off on any machine.
"""
import os
import select
import struct
import time

from beside import resident_bytes
from wire import METHOD, Client, method_frame

QUEUES = int(os.environ.get("GODWIT_SCALE_QUEUES", "50000"))
DECLARE_OK = struct.pack(">HH", 50, 11)
SEND_BYTES = 1 << 16
WAIT_SECONDS_MAX = 120
START_SECONDS_MAX = 5


def files_open(node):
    return len(os.listdir(f"/proc/{node.process.pid}/fd"))


def declare_all(node, first, count):
    """On one connection and channel, without waiting for answers; returns the seconds it took."""
    client = Client(node.address)
    client.channel()
    out = b"".join(method_frame(1, "queue.declare", queue=f"idle.{number:06}", durable=True)
                   for number in range(first, first + count))
    client.socket.setblocking(False)
    began, done, data = time.monotonic(), 0, b""
    while done < count:
        readable, writable, _ = select.select([client.socket], [client.socket] if out else [], [],
                                              WAIT_SECONDS_MAX)
        assert readable or writable, f"{done} of {count} queues, and then nothing"
        if writable:
            out = out[client.socket.send(out[:SEND_BYTES]):]
        if readable:
            data += client.socket.recv(1 << 20)
        at = 0
        while len(data) - at >= 8:
            size = int.from_bytes(data[at + 3:at + 7], "big") + 8
            if len(data) - at < size:
                break
            assert data[at] == METHOD and data[at + 7:at + 11] == DECLARE_OK, data[at:at + size]
            done += 1
            at += size
        data = data[at:]
    seconds = time.monotonic() - began
    client.close()
    return seconds


def check_there(node):
    client = Client(node.address)
    channel = client.channel()
    for number in (0, QUEUES // 2, QUEUES - 1):
        channel.call("queue.declare", queue=f"idle.{number:06}", passive=True)
    client.disconnect()


def test_idle_durable_queues(node, figure):
    declare_all(node, QUEUES, 100)  # what is only taken once
    before, files, opened = resident_bytes(node), len(list(node.folder.rglob("*"))), files_open(node)
    seconds = declare_all(node, 0, QUEUES)
    each = (resident_bytes(node) - before) / QUEUES
    more_files = len(list(node.folder.rglob("*"))) - files
    figure("durable queues declared", QUEUES / seconds, "per second", "10,000")
    whole = resident_bytes(node) / 2**20
    figure("resident memory of an idle durable queue", each, "bytes", "at most 1,024")
    figure(f"resident memory with {QUEUES:,} of them", whole, "MiB", "at most 1,024 with a million")
    figure(f"files for {QUEUES:,} queues", more_files, "", "none")
    assert more_files <= 3 and files_open(node) - opened <= 3
    node.kill()
    began = time.monotonic()
    node.start()
    seconds_to_ready = time.monotonic() - began
    check_there(node)
    figure(f"start with {QUEUES:,} durable queues after kill -9", seconds_to_ready, "s",
           "below 5 with a million")
    figure("resident memory after that", resident_bytes(node) / 2**20, "MiB",
           "at most 1,024 with a million")
    assert each <= 1074 and resident_bytes(node) <= 2**26 + 1074 * QUEUES
    assert seconds_to_ready <= START_SECONDS_MAX + QUEUES / 100_000
    restarted = (resident_bytes(node) - before) / QUEUES
    figure("resident memory of an idle durable queue after that", restarted, "bytes",
           "at most 1,024")
    assert QUEUES / seconds > 1000 and each < 4096 and seconds_to_ready < 10
