#!/usr/bin/python3
"""Writes, syncs and reads that fail, some or all, and what was confirmed before."""
import re

import pytest

from flow import Consumer, Publisher, check_kept, drain
from node import NO_DIRECT
from patience import until
from wire import Client

EIO = 5
ALL = "0 1000000"
WHOLE = "0 1000000000000"


@pytest.fixture(params=[1, 2])
def shaky(request, start, shim, tmp_path):
    """A node under the shim, with one shard and with two."""
    node = start(shards=request.param).under(shim, tmp_path / "rules")
    node.start()
    return node


def restart_and_check(node, publisher, taken=()):
    node.kill()
    node.fails()
    node.start()
    check_kept(publisher, drain(node, publisher.queue), taken)


@pytest.mark.parametrize("failure", [f"write .journal {EIO}", f"short .journal {EIO}",
                                     "write .journal 28"], ids=["eio", "short", "enospc"])
def test_first_failed_write(shaky, failure):
    """It goes on in another file, and nobody notices."""
    publisher = Publisher(shaky, "q")
    publisher.send(300)
    shaky.fails(f"{failure} 3 1 {WHOLE}")
    publisher.flood(lambda: any("journal.write_failed" in line for line in list(shaky.lines)))
    publisher.until(lambda: not publisher.open, what="all confirms")
    assert shaky.health() == (200, "ok") and not publisher.blocked
    publisher.send(300)
    # And again, since that one is long forgotten.
    shaky.fails(f"{failure} 0 1 {WHOLE}")
    publisher.send(300)
    restart_and_check(shaky, publisher)


def test_first_failed_sync(start, shim, tmp_path):
    """Where writes go through the page cache: a failed sync is never tried again on the file."""
    node = start().under(shim, tmp_path / "rules")
    node.fails(NO_DIRECT)
    node.start()
    publisher = Publisher(node, "q")
    publisher.send(300)
    node.fails(f"sync .journal {EIO} 3 1 {WHOLE}")
    publisher.flood(lambda: any("journal.write_failed" in line for line in list(node.lines)))
    publisher.until(lambda: not publisher.open, what="all confirms")
    publisher.send(300)
    restart_and_check(node, publisher)


def fail_for_good(node, publisher, *rules):
    """Until publishers are blocked; nothing is confirmed from then on, and consumers have it all."""
    node.fails(*rules)
    publisher.flood(lambda: publisher.blocked, what="connection.blocked")
    assert publisher.blocked == "low on disk"
    confirmed = set(publisher.confirmed)
    assert node.health() == (503, "low on disk") and node.disk_alarm() == 1
    consumer = Consumer(node, "q")
    until(lambda: consumer.count() >= publisher.next - 1 - 200, what="what was read from the socket")
    count = consumer.count()
    taken = consumer.take(count)
    assert set(taken) >= publisher.confirmed
    publisher.work(0.2)
    assert publisher.confirmed == confirmed


def test_all_writes_fail(shaky):
    """It stops confirming, says so, and gives what it has; a restart has all that was confirmed."""
    publisher = Publisher(shaky, "q")
    publisher.send(300)
    until(lambda: len(shaky.files("journal")) >= 3 * shaky.shards or shaky.shards == 2,
          what="files that are ready")
    fail_for_good(shaky, publisher, f"write .journal {EIO} {ALL} {WHOLE}")
    assert "Input/output error" in shaky.says("journal.stopped")
    # Its acks were never promised: every confirmed message is there, taken or not, once.
    restart_and_check(shaky, publisher)


def test_nothing_can_be_written(shaky):
    """Not into new files either: it goes on when it can again."""
    publisher = Publisher(shaky, "q")
    publisher.send(300)
    fail_for_good(shaky, publisher, f"write .journal {EIO} {ALL} {WHOLE}",
                  f"write .new {EIO} {ALL} {WHOLE}")
    shaky.fails()
    if "journal.stopped" not in shaky.last_words():
        publisher.until(lambda: not publisher.open, what="all confirms")
        publisher.until(lambda: not publisher.blocked, what="connection.unblocked")
        assert not publisher.nacked
    shaky.kill()
    shaky.start()
    drain(shaky, "q")


def test_files_cannot_be_made(shaky):
    """Before there is any: nothing is confirmed until they can."""
    shaky.fails(f"write .new {EIO} {ALL} {WHOLE}")
    publisher = Publisher(shaky, "q")
    publisher.put(50)
    publisher.until(lambda: publisher.blocked, what="connection.blocked")
    assert not publisher.confirmed and shaky.health()[0] == 503
    shaky.fails()
    publisher.until(lambda: not publisher.open, what="all confirms")
    publisher.until(lambda: not publisher.blocked, what="connection.unblocked")
    until(lambda: shaky.health() == (200, "ok"), what="a good state of health")
    restart_and_check(shaky, publisher)


def test_segments_cannot_be_made(start, shim, tmp_path):
    """The journal's files stay as long as what lives in them, and is nowhere else, is a half."""
    node = start().under(shim, tmp_path / "rules")
    node.start("journal_budget = 256MiB\n")
    node.fails(f"sync .segment.new {EIO} {ALL} {WHOLE}")
    publisher = Publisher(node, "q", size=65536)
    other = Publisher(node, "other", size=65536, first=1000000)
    while "segment.failed" not in node.last_words():
        for each in (publisher, other):
            each.send(50)
        drain(node, "other")
    assert node.sight.metrics()["godwit_store_segment_bytes_total"] == 0
    assert "Input/output error" in node.says("segment.failed")
    assert node.health() == (200, "ok") and not publisher.blocked
    node.fails()
    until(lambda: node.sight.metrics()["godwit_store_segment_bytes_total"] > 0, what="a segment")
    restart_and_check(node, publisher)


@pytest.mark.parametrize("failure", [f"sync meta.db-wal {EIO}", f"write meta.db-wal {EIO}"])
def test_definitions_cannot_be_written(start, shim, tmp_path, failure):
    """What is not committed is not answered; messages go on."""
    node = start().under(shim, tmp_path / "rules")
    node.start()
    publisher = Publisher(node, "q")
    publisher.send(10)
    node.fails(f"{failure} {ALL} {WHOLE}")
    client = Client(node.address, timeout=1)
    channel = client.channel()
    with pytest.raises(AssertionError, match="nothing arrived"):
        channel.call("queue.declare", queue="late", durable=True)
    node.says("definitions.failed")
    assert node.health() == (503, "definitions cannot be written")
    assert node.sight.metrics()["godwit_definitions_failing"] == 1
    publisher.send(100)
    node.fails()
    client.socket.settimeout(30)
    channel.expect("queue.declare_ok")
    until(lambda: node.health() == (200, "ok"), what="a good state of health")
    restart_and_check(node, publisher)
    assert drain(node, "late") == []


def full_journals(node):
    """Its files in which there are frames."""
    return [path for path in node.files("journal") if path.read_bytes()[:4096].strip(b"\0")]


def test_unreadable_at_start(start, shim, tmp_path):
    """It names the file, and with --salvage starts without what is in it."""
    node = start().under(shim, tmp_path / "rules")
    node.start()
    publisher = Publisher(node, "q")
    publisher.send(2000)
    node.kill()
    journal, = full_journals(node)
    before = {path.name: path.read_bytes() for path in node.messages.iterdir()}
    node.fails(f"read {journal.name} {EIO} {ALL} 300000 400000")
    complaint = node.refuses()
    line = next(line for line in complaint.splitlines() if "store.damaged" in line)
    assert f"file={journal.name}" in line and 'error="Input/output error"' in line
    assert "add --salvage" in complaint
    assert {path.name: path.read_bytes() for path in node.messages.iterdir()} == before
    plain = node.command
    node.command = lambda config: plain(config) + ["--salvage"]
    node.start()
    lost = publisher.confirmed - set(drain(node, "q"))
    assert 0 < len(lost) < 2000
    node.says("store.damaged")
    node.kill()
    node.fails()
    node.command = plain
    node.start()


def test_rotten_at_start(start):
    """Bytes of one message in a full file that are not what was written. A start need not read them;
    one that salvages does, and says of which queue and place they are."""
    node = start()
    node.start()
    publisher = Publisher(node, "q")
    for _ in range(20):
        publisher.send(10)
    node.kill()
    journal, = full_journals(node)
    content = bytearray(journal.read_bytes())
    at = content.index((57).to_bytes(8, "big") * 20)
    content[at + 100] ^= 0x40
    journal.write_bytes(content)
    node.command = lambda config, plain=node.command: plain(config) + ["--salvage"]
    node.start()
    line = node.says("store.damaged")
    assert f"file={journal.name}" in line and "queue_id=1 " in line + " "
    assert re.search(r"seq=\d+", line)
    lost = publisher.confirmed - set(drain(node, "q"))
    assert 57 in lost and len(lost) <= 10
