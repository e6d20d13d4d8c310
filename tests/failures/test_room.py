#!/usr/bin/python3
"""Disks that fill up: the limit of free space, what is kept aside below it, and disks that are slow."""
import os

import pytest

from flow import Consumer, Publisher, check_kept, drain
from node import NO_DIRECT
from patience import until
from test_disk import fill
from wire import Client

MIB, GIB = 1 << 20, 1 << 30
PIECE_BYTES = 8 * MIB
ENOSPC = 28
ALWAYS = "0 1000000 0 1"
COMMITS_AT_ONCE = 100
MESSAGES = 7000  # one commit each: more than what is left of the files that are ready
LIMIT = "rabbitmq_disk_space_available_limit_bytes"
FREE = "rabbitmq_disk_space_available_bytes"


class Shimmed:
    """A disk that tells what the test wants of its room, and on which no file can be made."""

    def __init__(self, node):
        self.node = node
        self.empty()

    def tells(self, free, *rules):
        self.node.fails(f"free {self.node.folder.name} 0 0 0 {free} {1000 * GIB}", *rules)
        return free

    def empty(self):
        self.tells(2 * GIB + 300 * MIB)  # little enough that it is looked at often

    def fill(self):
        self.tells(0, f"make .journal.new {ENOSPC} {ALWAYS}", f"make .segment.new {ENOSPC} {ALWAYS}")


class Small:
    """A file system of 96 MiB that others fill."""

    def __init__(self, folder):
        self.filler = folder / "filler"

    def fill(self):
        fill(self.filler)

    def empty(self):
        self.filler.unlink()


@pytest.fixture
def shimmed(start, shim, tmp_path):
    node = start().under(shim, tmp_path / "rules")
    return node, Shimmed(node)


@pytest.fixture(params=["shim", "shim-2-shards", "direct", "fdatasync"])
def filling(request, start, shim, tmp_path):
    """A node and its disk, which can be filled and emptied; with the settings of everybody."""
    shards = 2 if request.param.endswith("shards") else 1
    if request.param.startswith("shim"):
        node = start(shards=shards).under(shim, tmp_path / "rules")
        disk = Shimmed(node)
    else:
        folder = request.getfixturevalue("small_ext4")
        node, disk = start(folder / "data"), Small(folder)
        if request.param == "fdatasync":
            node.under(shim, tmp_path / "rules").fails(NO_DIRECT)
    node.start()
    node.says("reserve.made")
    return node, disk


def pieces(node):
    return len(list((node.folder / "reserve").iterdir()))


def blocked(node, publisher):
    """Publishers are blocked, and everybody can see why."""
    publisher.until(lambda: publisher.blocked, what="connection.blocked")
    assert publisher.blocked == "low on disk"
    assert node.health() == (503, "low on disk") and node.disk_alarm() == 1
    status, _, body = node.sight.request("/api/health/checks/alarms")
    assert status == 503 and b'"resource":"disk"' in body


def resumed(node, publisher):
    """Publishers go on, and what was on its way is confirmed."""
    publisher.until(lambda: not publisher.blocked, what="connection.unblocked")
    until(lambda: node.health() == (200, "ok"), what="a good state of health")
    assert node.disk_alarm() == 0 and node.sight.request("/api/health/checks/alarms")[0] == 200
    publisher.until(lambda: not publisher.open, what="all confirms")
    publisher.send(10)


class Taker:
    """Has messages, and acknowledges them in transactions of one."""

    def __init__(self, node, queue, count):
        self.channel = Client(node.address, timeout=30).channel()
        self.channel.call("tx.select")
        self.channel.consume(queue)
        self.tags = [self.channel.deliver().method["delivery_tag"] for _ in range(count)]
        self.settled = 0

    def settle(self, count):
        for tag in self.tags[self.settled:self.settled + count]:
            self.channel.send("basic.ack", delivery_tag=tag)
            self.channel.send("tx.commit")
        self.settled += count
        while count:
            got = self.channel.client.next()
            if got.name == "basic.deliver":  # what was on its way when publishers were blocked
                self.channel.content(got.fields)
                continue
            assert got.name == "tx.commit_ok", self.channel.client.story()
            count -= 1


def settle_until(node, taker, words):
    """Acknowledges message after message, until the broker says this; every commit is answered."""
    while not any(words in line for line in list(node.lines)):
        assert taker.settled < len(taker.tags), f"the journal has not met the end of the disk:\n{node.last_words()}"
        taker.settle(COMMITS_AT_ONCE)


def test_alarm_at_the_limit(shimmed):
    """Below it publishers wait, and everything else is recorded; it clears somewhat above."""
    node, disk = shimmed
    node.start("disk_free_limit.absolute = 2GiB\n")
    publisher = Publisher(node, "q")
    publisher.send(100)
    for queue in ("purged", "deleted"):
        Publisher(node, queue).send(20)
    assert node.sight.metrics()[LIMIT] == 2 * GIB and node.disk_alarm() == 0
    disk.tells(2 * GIB - 1)
    blocked(node, publisher)
    assert f"free={2 * GIB - 1} limit={2 * GIB}" in node.says("disk.low")
    described = node.sight.get("/api/nodes")[0]
    assert described["disk_free"] == 2 * GIB - 1 and described["disk_free_limit"] == 2 * GIB
    assert described["disk_free_alarm"] is True
    assert "Free disk space alarm" in node.sight.ctl("status")[1]
    taker = Taker(node, "q", 100)
    taker.settle(60)
    assert taker.channel.call("queue.purge", queue="purged")["message_count"] == 20
    taker.channel.call("queue.delete", queue="deleted")
    taker.channel.call("queue.declare", queue="declared", durable=True)
    node.kill()
    node.start("disk_free_limit.absolute = 2GiB\n")
    assert "disk.low" in node.last_words()
    other = Publisher(node, "purged", first=1000)
    other.put(1)
    blocked(node, other)
    channel = Client(node.address).channel()
    assert channel.counts("q") == (40, 0)
    assert channel.counts("purged")[0] <= 1
    channel.call("queue.declare", queue="declared", passive=True)
    channel.refused(404, "NOT_FOUND - no queue 'deleted' in vhost '/'", "queue.declare",
                    queue="deleted", passive=True)
    # Not at once: it would flutter.
    told = disk.tells(2 * GIB + 100 * MIB)
    until(lambda: node.sight.metrics()[FREE] == told, what="a look at the disk")
    assert node.disk_alarm() == 1
    disk.tells(3 * GIB)
    resumed(node, other)
    assert f"free={3 * GIB} limit={2 * GIB}" in node.says("disk.has_room")


def test_limit_relative_to_memory(shimmed):
    node, disk = shimmed
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGESIZE")
    disk.tells(memory // 50 + 100 * MIB)
    node.start("disk_free_limit.relative = 0.02\n")
    limit = node.sight.metrics()[LIMIT]
    assert 0 < limit <= memory // 50
    assert node.disk_alarm() == 0
    disk.tells(int(limit))
    until(lambda: node.sight.metrics()[FREE] == limit, what="a look at the disk")
    assert node.disk_alarm() == 0
    disk.tells(int(limit) - 1)
    until(lambda: node.disk_alarm() == 1, what="the alarm")


def test_others_fill_the_disk(filling):
    """What frees it is recorded in what was kept aside, answered, and there after a crash."""
    node, disk = filling
    publisher = Publisher(node, "q", size=64)
    publisher.send(MESSAGES)
    for queue in ("purged", "deleted"):
        Publisher(node, queue).send(20)
    kept = pieces(node)
    disk.fill()
    publisher.flood(lambda: publisher.blocked, what="connection.blocked")
    blocked(node, publisher)
    taker = Taker(node, "q", MESSAGES)
    settle_until(node, taker, "reserve.used")
    until(lambda: pieces(node) < kept, what="a piece less")
    taker.settle(COMMITS_AT_ONCE)
    assert taker.channel.call("queue.purge", queue="purged")["message_count"] == 20
    taker.channel.call("queue.delete", queue="deleted")
    node.kill()
    node.start()
    numbers = drain(node, "q")
    taken = set(range(1, taker.settled + 1))
    assert not taken & set(numbers)
    check_kept(publisher, numbers, taken)
    channel = Client(node.address).channel()
    assert channel.counts("purged") == (0, 0)
    channel.refused(404, "NOT_FOUND - no queue 'deleted' in vhost '/'", "queue.declare",
                    queue="deleted", passive=True)
    again = Publisher(node, "q", first=publisher.next)
    again.put(1)
    blocked(node, again)
    disk.empty()
    resumed(node, again)
    until(lambda: pieces(node) >= kept, what="the whole reserve")
    node.kill()
    node.start()
    check_kept(again, drain(node, "q"))


def test_reserve_comes_back(filling):
    """In the life in which it was used publishers wait until it is whole."""
    node, disk = filling
    publisher = Publisher(node, "q", size=64)
    publisher.send(MESSAGES)
    kept = pieces(node)
    disk.fill()
    publisher.put(1)
    blocked(node, publisher)
    settle_until(node, Taker(node, "q", MESSAGES), "reserve.used")
    assert f"left={(kept - 1) * PIECE_BYTES}" in node.says("reserve.used")
    disk.empty()
    resumed(node, publisher)
    assert pieces(node) >= kept
    until(lambda: "disk.has_room" in node.last_words(), what="its word for that")
    assert node.last_words().count("reserve.made") >= 2


def test_definitions_on_a_full_disk(start, small_ext4):
    """They get half of what is kept aside; without any more they wait, and journals do not."""
    node, disk = start(small_ext4 / "data"), Small(small_ext4)
    node.start()
    node.says("reserve.made")
    publisher = Publisher(node, "q", size=64)
    publisher.send(100)
    disk.fill()
    channel = Client(node.address, timeout=2).channel()
    note = {"note": "n" * 20000}
    declared = []
    with pytest.raises(AssertionError, match="nothing arrived"):
        for number in range(100000):
            channel.call("queue.declare", queue=f"durable.{number}", durable=True, arguments=note)
            declared.append(f"durable.{number}")
    assert "definitions=1" in node.says("reserve.used")
    node.says("definitions.failed")
    assert pieces(node) == 1
    Taker(node, "q", 100).settle(50)
    disk.empty()
    channel.client.socket.settimeout(30)
    channel.expect("queue.declare_ok")
    node.says("definitions.healed")
    until(lambda: pieces(node) == 2, what="the whole reserve")
    node.kill()
    node.start()
    channel = Client(node.address).channel()
    assert channel.counts("q")[0] == 50
    for name in declared[::10] + declared[-1:]:
        channel.call("queue.declare", queue=name, passive=True)


def test_nothing_is_kept_aside_where_little_is_free(start, small_ext4):
    """Making the reserve does not raise the alarm itself."""
    node, disk = start(small_ext4 / "data"), Small(small_ext4)
    fill(disk.filler, leave=12 * MIB)
    node.start()
    free = node.sight.metrics()[FREE]
    fill(disk.filler.with_suffix(".more"), leave=11 * MIB)
    until(lambda: node.sight.metrics()[FREE] < free, what="a look at the disk")
    assert "reserve.made" not in node.last_words() and node.disk_alarm() == 0
    disk.empty()
    node.says("reserve.made")
    until(lambda: pieces(node) == 2, what="the whole reserve")


def test_reserve_is_no_part_of_the_messages(start, tmp_path):
    """It is not in a backup, stays over a restart, and goes when it is not wanted any more."""
    node = start()
    node.start()
    node.says("reserve.made")
    Publisher(node, "q").send(10)
    copy = tmp_path / "copy"
    status, _, complaint = node.sight.ctl("backup", str(copy))
    assert status == 0, complaint
    assert not (copy / "reserve").exists()
    node.stop()
    assert pieces(node) == 2
    status, said, complaint = node.sight.ctl("data", "verify", str(node.folder))
    assert status == 0, said + complaint
    node.start()
    assert "reserve.made" not in node.last_words() and pieces(node) == 2
    node.stop()
    node.start("disk_reserve = 0\n")
    until(lambda: pieces(node) == 0, what="the end of the reserve")
    assert len(drain(node, "q")) == 10


@pytest.mark.parametrize("durability", ["fsync", "os"])
def test_slow_disk(start, shim, tmp_path, durability):
    """It is said, and that is all."""
    good = "ok" if durability == "fsync" else "ok, durability os"
    node = start(shards=2).under(shim, tmp_path / "rules")
    node.start(f"durability = {durability}\n")
    publisher = Publisher(node, "q")
    publisher.send(100)
    assert node.sight.metrics()["godwit_store_slow"] == 0
    node.fails("hold .journal 1 0 1000000 0 1000000000000")
    publisher.put(10)
    publisher.until(lambda: any("journal.slow" in line for line in list(node.lines)),
                    what="the word that it is slow")
    assert node.health() == (200, good + ", slow disk")
    metrics = node.sight.metrics()
    assert metrics["godwit_store_slow"] == 1 and node.disk_alarm() == 0
    assert metrics["godwit_store_commit_age_milliseconds"] >= 1000
    assert node.sight.get("/api/nodes")[0]["disk_slow"] is True
    assert not publisher.blocked and len(publisher.open) == 10
    node.fails()
    publisher.until(lambda: not publisher.open, what="all confirms")
    node.says("journal.fast")
    until(lambda: node.health() == (200, good), what="a good state of health")
    metrics = node.sight.metrics()
    assert metrics["godwit_store_slow"] == 0 and metrics["godwit_store_commit_age_milliseconds"] < 1000
    assert sum("journal.slow" in line for line in node.lines) == 1
