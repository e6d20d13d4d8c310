#!/usr/bin/python3
"""Messages that are on disk only, and reads of them that fail while the broker runs."""
import re

import pytest

from flow import Consumer, Publisher, check_kept, drain, number_of
from patience import until

EIO = 5
FOR_EVER = "0 1000000"
WHOLE = "0 1000000000000"
BLOCK_BYTES = 4096
BUDGET = "journal_budget = 256MiB\n"


@pytest.fixture
def node(start, shim, tmp_path):
    node = start().under(shim, tmp_path / "rules")
    node.start(BUDGET)
    return node


def metric(node, name):
    return node.sight.metrics()[f"godwit_store_{name}_total"]


def fill(publisher, count):
    """So many confirmed messages, in small frames."""
    publisher.flood(lambda: len(publisher.confirmed) >= count, window=20)
    publisher.until(lambda: not publisher.open, what="all confirms")


def place_of(node, number):
    """The file that has the message, and the block in which its body begins."""
    pattern = number.to_bytes(8, "big") * 64
    for suffix in ("segment", "journal"):
        for path in node.files(suffix):
            offset = path.read_bytes().find(pattern)
            if offset >= 0:
                return path, offset // BLOCK_BYTES * BLOCK_BYTES
    raise AssertionError(f"no file has message {number}")


def take_to_the_end(node, publisher):
    """The numbers of what comes, up to the last one that was sent."""
    consumer = Consumer(node, publisher.queue)
    consumer.channel.consume(publisher.queue, no_ack=True)
    numbers = []
    while publisher.next - 1 not in numbers[-1:]:
        numbers.append(number_of(consumer.channel.deliver().body))
    assert consumer.count() == 0
    consumer.close()
    return numbers


def test_a_read_fails_once(node):
    """Nobody notices."""
    publisher = Publisher(node, "q", size=8192)
    fill(publisher, 6000)
    until(lambda: metric(node, "messages_paged_out") > 2000, what="messages out of memory")
    node.fails(f"read .journal {EIO} 3 1 {WHOLE}")
    numbers = take_to_the_end(node, publisher)
    assert metric(node, "messages_paged_in") > 2000
    check_kept(publisher, numbers)
    assert metric(node, "messages_lost") == 0 and "unreadable" not in node.last_words()


def check_lost(node, publisher, number, path):
    """What is in the bad block is said to be lost, and little else; the rest comes in order."""
    numbers = take_to_the_end(node, publisher)
    lost = sorted(publisher.confirmed - set(numbers))
    assert number in lost and len(lost) <= 40
    assert lost == list(range(lost[0], lost[-1] + 1))
    assert numbers == sorted(publisher.confirmed - set(lost))
    assert metric(node, "messages_lost") == len(lost)
    said = [line for line in list(node.lines) if "message.unreadable" in line]
    assert all(f"queue={publisher.queue} " in line for line in said)
    assert sum(int(re.search(r"count=(\d+)", line)[1]) for line in said) == len(lost)
    # The queue is as good as before.
    publisher.send(100)
    assert len(drain(node, publisher.queue)) == 100
    return path, lost


def check_back(node, publisher, path, lost):
    """The file has stayed; once it can be read, a restart finds what was lost, and no more."""
    assert path.exists()
    node.stop()
    node.fails()
    node.start(BUDGET)
    assert drain(node, publisher.queue) == lost


def make_bad(node, number):
    path, block = place_of(node, number)
    node.fails(f"read {path.name} {EIO} {FOR_EVER} {block} {block + BLOCK_BYTES}")
    return path


def test_a_block_of_a_journal_file_is_bad(node):
    publisher = Publisher(node, "q", size=8192)
    fill(publisher, 6000)
    until(lambda: metric(node, "messages_paged_out") > 2000, what="messages out of memory")
    path = make_bad(node, 2000)
    check_back(node, publisher, *check_lost(node, publisher, 2000, path))


def test_a_block_of_a_kept_file_is_bad(node):
    publisher = Publisher(node, "q", size=65536)
    fill(publisher, 2700)
    until(lambda: metric(node, "files_kept") > 1, what="files that are kept")
    path = make_bad(node, 200)
    assert path.suffix == ".journal"
    check_back(node, publisher, *check_lost(node, publisher, 200, path))


def test_a_block_of_a_segment_is_bad(node):
    """Files of which a half lives are copied."""
    publisher = Publisher(node, "q", size=65536)
    other = Publisher(node, "other", size=65536, first=1000000)
    for count in range(200, 4000, 200):
        for part in range(count - 150, count + 50, 50):
            fill(publisher, part)
            fill(other, part)
        drain(node, "other")
        if metric(node, "segment_bytes") > 0 and place_of(node, 200)[0].suffix == ".segment":
            break
    path = make_bad(node, 200)
    assert path.suffix == ".segment"
    check_back(node, publisher, *check_lost(node, publisher, 200, path))


def test_a_block_is_bad_when_its_file_is_to_go(node):
    """What can be read of the file is safe elsewhere or stays; nobody waits for it."""
    publisher = Publisher(node, "q", size=65536)
    other = Publisher(node, "other", size=65536, first=1000000)
    for count in range(50, 400, 50):
        fill(publisher, count)
        fill(other, count)
    until(lambda: metric(node, "messages_paged_out") > 300, what="messages out of memory")
    path = make_bad(node, 200)
    assert path.suffix == ".journal"
    drain(node, "other")
    fill(other, 2200)
    drain(node, "other")
    assert path.exists() and place_of(node, 200)[0] == path
    assert node.health() == (200, "ok")
    check_back(node, publisher, *check_lost(node, publisher, 200, path))
