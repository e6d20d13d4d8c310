#!/usr/bin/python3
"""Disks that cannot do what is wished: no direct I/O, no room, a directory that cannot be used."""
import os
import sqlite3
import subprocess

import pytest

from flow import Consumer, Publisher, body_of, check_kept, drain
from node import NO_DIRECT
from patience import until
from wire import Client

FILL_BYTES = 1 << 20


def fill(path, leave=0):
    """Takes the room of a file system, but for so many bytes."""
    with open(path, "wb", buffering=0) as file:
        block = b"\xa5" * 4096
        left = os.statvfs(path.parent)
        count = left.f_bavail * left.f_frsize - leave
        while count > 0:
            try:
                count -= file.write(block * 64 if count > FILL_BYTES else block)
            except OSError:
                return


def await_spares(node):
    """Its journal has a file in use and two that are ready: it makes no more by itself."""
    until(lambda: len(node.files("journal")) == 3 and not node.files("new"), what="spare files")


def fill_up(node, room):
    """A file system without room, and a publisher that is blocked when the ready files are full too."""
    publisher = Publisher(node, "q", size=8192)
    publisher.send(10)
    await_spares(node)
    fill(room / "filler")
    publisher.flood(lambda: publisher.blocked, what="connection.blocked")
    return publisher


def test_without_direct_io_it_syncs(start, shim, tmp_path):
    node = start().under(shim, tmp_path / "rules")
    node.fails(NO_DIRECT)
    node.start()
    assert "then fdatasync" in node.says("store.recovered")
    publisher = Publisher(node, "q")
    publisher.send(300)
    publisher.flood(lambda: len(publisher.confirmed) > 1000)
    node.kill()
    node.start()
    check_kept(publisher, drain(node, "q"))


def test_full_disk_blocks_publishers(small):
    node, room = small
    publisher = fill_up(node, room)
    assert publisher.blocked == "low on disk"
    assert node.health() == (503, "low on disk")
    assert node.disk_alarm() == 1
    node.says("journal.no_room")
    # Those who take go on.
    consumer = Consumer(node, "q")
    consumer.channel.call("queue.declare", queue="passing")
    consumer.channel.call("queue.delete", queue="passing")
    taken = consumer.take(100)
    assert taken == sorted(taken) and len(taken) == 100
    (room / "filler").unlink()
    publisher.until(lambda: not publisher.blocked, what="connection.unblocked")
    until(lambda: node.health() == (200, "ok"), what="a good state of health")
    assert node.disk_alarm() == 0
    publisher.until(lambda: not publisher.open, what="all confirms")
    publisher.send(10)
    node.kill()
    node.start()
    check_kept(publisher, drain(node, "q"), taken)


def test_room_comes_back_by_consuming(small):
    """No file has to go from outside: the journal's own files are used again."""
    node, room = small
    publisher = fill_up(node, room)
    consumer = Consumer(node, "q")
    taken = []

    def take_all(slice_s):
        """Also what was on its way when publishers were blocked."""
        count = consumer.count()
        taken.extend(consumer.take(count) if count else [])
        publisher.work(slice_s)

    until(lambda: not publisher.blocked, take_all, what="connection.unblocked")
    assert "no_room" in node.says("No space left on device")
    publisher.until(lambda: not publisher.open, what="all confirms")
    node.kill()
    node.start()
    check_kept(publisher, drain(node, "q"), taken)


def test_no_room_at_all(small):
    """Not even the first file can be made: nothing is confirmed, but all of it can be had."""
    node, room = small
    publisher = Publisher(node, "q")
    fill(room / "filler")
    publisher.put(100)
    publisher.until(lambda: publisher.blocked, what="connection.blocked")
    consumer = Consumer(node, "q")
    until(lambda: consumer.count() == 100, what="100 messages")
    assert consumer.channel.get("q").body == body_of(1, 1024)
    taken = consumer.take(79)
    assert taken == list(range(2, 81)) and not publisher.confirmed
    (room / "filler").unlink()
    publisher.until(lambda: not publisher.open, what="all confirms")
    assert not publisher.blocked
    node.kill()
    node.start()
    kept = drain(node, "q")
    assert kept[-20:] == list(range(81, 101))
    # Acks may be lost, for nobody was promised anything.
    assert set(kept[:-20]) <= set(range(1, 81))


def test_no_room_for_definitions(small):
    """What cannot be committed is not answered, and is when there is room again."""
    node, room = small
    Publisher(node, "q", size=8192).send(10)
    await_spares(node)
    fill(room / "filler")
    client = Client(node.address, timeout=1)
    channel = client.channel()
    note = {"note": "n" * 200}
    declared = []
    with pytest.raises(AssertionError, match="nothing arrived"):
        for number in range(5000):
            name = f"durable.{number}"
            channel.call("queue.declare", queue=name, durable=True, arguments=note)
            declared.append(name)
    node.says("definitions.failed")
    other = Client(node.address).channel()
    other.call("queue.declare", queue="passing")
    other.call("queue.delete", queue="passing")
    (room / "filler").unlink()
    client.socket.settimeout(30)
    declared.append(channel.expect("queue.declare_ok")["queue"])
    node.says("definitions.healed")
    node.kill()
    node.start()
    channel = Client(node.address).channel()
    for name in declared:
        channel.call("queue.declare", queue=name, passive=True)


def test_killed_while_full(small):
    node, room = small
    publisher = fill_up(node, room)
    consumer = Consumer(node, "q")
    taken = consumer.take(50)
    node.kill()
    node.start()
    numbers = drain(node, "q")
    check_kept(publisher, numbers, taken)
    node.kill()
    (room / "filler").unlink()
    node.start()
    again = Publisher(node, "q", first=publisher.next)
    again.send(100)
    assert set(drain(node, "q")) >= again.confirmed
