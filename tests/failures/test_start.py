#!/usr/bin/python3
"""Directories that must not be used, ends in the middle of starting and stopping, and clocks."""
import contextlib
import random
import signal
import struct
import subprocess
import time

import pytest

from flow import Publisher, check_kept, drain
from patience import until

DAY_SECONDS = 86400
FORMAT_AT, INCOMPAT_AT, CRC_AT = 4, 112, 4092
SEED = 20


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


def contents(node):
    return {path.name: path.read_bytes() for path in node.messages.iterdir()}


def filled(node, count=500):
    """Stopped, with messages."""
    node.start()
    publisher = Publisher(node, "q")
    publisher.send(count)
    publisher.close()
    node.stop()
    return publisher


def run_as_nobody(node):
    return subprocess.run(node.command(None), capture_output=True, text=True, timeout=30,
                          stdin=subprocess.DEVNULL, check=False, user=65534, group=65534,
                          extra_groups=[])


def test_read_only(start, small_ext4):
    node = start(small_ext4 / "data")
    publisher = filled(node)
    subprocess.run(["mount", "-o", "remount,ro", small_ext4], check=True)
    complaint = node.refuses()
    assert "Read-only file system" in complaint and str(node.folder) in complaint
    subprocess.run(["mount", "-o", "remount,rw", small_ext4], check=True)
    node.start()
    check_kept(publisher, drain(node, "q"))


@pytest.mark.parametrize("closed", ["data", "data/messages", "data/meta.db"])
def test_without_permission(start, tmp_path, closed):
    """Somebody else's directory, or a part of it."""
    node = start(tmp_path / "data")
    filled(node)
    for path in [*tmp_path.rglob("*")]:
        path.chmod(0o777)
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(path.stat().st_mode | 0o111)
    (tmp_path / closed).chmod(0)
    done = run_as_nobody(node)
    assert done.returncode == 1, done.stderr
    assert "Permission denied" in done.stderr or "unable to open" in done.stderr
    assert str(tmp_path / closed) in done.stderr


@pytest.mark.parametrize("at, layout, value", [(FORMAT_AT, "<H", 2), (INCOMPAT_AT, "<I", 0x80)],
                         ids=["format", "incompat"])
def test_newer_format(start, at, layout, value):
    """Refused, also when salvaging, and left alone."""
    node = start()
    publisher = filled(node)
    journal = next(path for path in node.files("journal") if path.read_bytes()[:CRC_AT].strip(b"\0"))
    good = journal.read_bytes()
    changed = bytearray(good)
    struct.pack_into(layout, changed, at, value)
    struct.pack_into("<I", changed, CRC_AT, crc32c(changed[:CRC_AT]))
    journal.write_bytes(changed)
    before = contents(node)
    for flags in ((), ("--salvage",)):
        complaint = node.refuses(*flags)
        assert "files of a newer version" in complaint and "it was not touched" in complaint
        line = next(line for line in complaint.splitlines() if "store.damaged" in line)
        assert f"file={journal.name}" in line and 'what="written by a newer version"' in line
        assert contents(node) == before
    journal.write_bytes(good)
    node.start()
    check_kept(publisher, drain(node, "q"))


def test_messages_of_another_node(start):
    """Such as a directory that was copied over this one."""
    node, other = start(), start()
    filled(node)
    filled(other)
    for path in other.messages.iterdir():
        path.rename(node.messages / path.name)
    before = contents(node)
    assert "of another node" in node.refuses("--salvage")
    assert contents(node) == before


def test_a_second_broker(start):
    """It does not get in, and the first one does not notice."""
    node = start()
    node.start()
    publisher = Publisher(node, "q")
    publisher.send(100)
    second = start(node.folder)
    assert f"in use by another broker (process {node.process.pid})" in second.refuses()
    publisher.send(100)
    node.kill()
    second.start()
    check_kept(publisher, drain(second, "q"))


@pytest.mark.parametrize("jump", [DAY_SECONDS, -DAY_SECONDS])
def test_clock_jump(start, shim, tmp_path, jump):
    """Messages do not notice, neither while it runs nor over a restart."""
    node = start().under(shim, tmp_path / "rules")
    node.start()
    publisher = Publisher(node, "q")
    publisher.send(200)
    node.fails(f"clock - 0 0 0 {jump} 0")
    publisher.send(200)
    assert node.health() == (200, "ok")
    node.kill()
    node.start()
    again = Publisher(node, "q", first=publisher.next)
    again.send(200)
    node.fails()
    again.send(200)
    again.confirmed |= publisher.confirmed
    node.kill()
    node.start()
    check_kept(again, drain(node, "q"))


def begin(node):
    """Starts it without waiting for anything."""
    return subprocess.Popen(node.command(None), stdin=subprocess.DEVNULL,
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def test_killed_while_starting(start):
    """At any moment of it, again and again: what was there stays."""
    node = start()
    publisher = filled(node, 3000)
    chance = random.Random(SEED)
    began = time.monotonic()
    node.start()
    seconds = time.monotonic() - began
    node.kill()
    for _ in range(25):
        process = begin(node)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(chance.random() * seconds * 1.2)
        process.kill()
        process.wait()
    node.start()
    check_kept(publisher, drain(node, "q"))


def test_killed_while_stopping(start):
    """An orderly stop with much on its way, cut off."""
    node = start()
    chance = random.Random(SEED)
    confirmed, next_number = set(), 1
    for _ in range(10):
        node.start()
        publisher = Publisher(node, "q", first=next_number)
        publisher.flood(lambda publisher=publisher: len(publisher.confirmed) > 200)
        node.process.send_signal(signal.SIGTERM)
        end = time.monotonic() + chance.random() * 0.06
        try:
            while time.monotonic() < end:
                publisher.work(0.002)
        except AssertionError:
            pass  # connection.close, or it hung up
        node.kill()
        confirmed |= publisher.confirmed
        next_number = publisher.next
    node.start()
    numbers = drain(node, "q")
    assert confirmed <= set(numbers) and numbers == sorted(set(numbers))
