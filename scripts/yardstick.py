#!/usr/bin/python3
"""yardstick: what the disk alone can do, to compare a durable broker with.

One file is written full once, then overwritten by synchronous writes, one after the other, as a
journal does; with O_DIRECT|O_DSYNC, or where the file system does not take that, through the page
cache and with fdatasync.
"""
import mmap
import os
import pathlib
import statistics
import time

BLOCK_BYTES = 4096
FILE_BYTES = 64 * 1024 * 1024
LARGE_BYTES = 1024 * 1024


class Disk:
    """A file of FILE_BYTES in a folder, and how it is written."""

    def __init__(self, folder):
        self.path = pathlib.Path(folder) / "yardstick"
        self.memory = mmap.mmap(-1, LARGE_BYTES)  # aligned to a page, as O_DIRECT wants it
        self.memory.write(os.urandom(LARGE_BYTES))
        self.direct = self._takes_direct()
        self.fd = os.open(self.path, os.O_RDWR | os.O_CREAT | self._flags(), 0o600)
        for at in range(0, FILE_BYTES, LARGE_BYTES):
            self._write(LARGE_BYTES, at)
        os.fsync(self.fd)

    def _flags(self):
        return os.O_DIRECT | os.O_DSYNC if self.direct else 0

    def _takes_direct(self):
        try:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_DIRECT | os.O_DSYNC, 0o600)
        except OSError:
            return False
        try:
            return os.pwritev(fd, [memoryview(self.memory)[:BLOCK_BYTES]], 0) == BLOCK_BYTES
        except OSError:
            return False
        finally:
            os.close(fd)

    @property
    def how(self):
        return "O_DIRECT|O_DSYNC" if self.direct else "fdatasync, for want of O_DIRECT"

    def _write(self, size, offset):
        if os.pwritev(self.fd, [memoryview(self.memory)[:size]], offset) != size:
            raise OSError("a short write")
        if not self.direct:
            os.fdatasync(self.fd)

    def measure(self, size, seconds):
        """Writes of so many bytes, one after the other: the median in us, and bytes per second."""
        size = min(max(size + -size % BLOCK_BYTES, BLOCK_BYTES), LARGE_BYTES)
        began = now = time.perf_counter()
        times, at = [], 0
        while now - began < seconds:
            self._write(size, at)
            before, now = now, time.perf_counter()
            times.append(now - before)
            at = at + size if at + 2 * size <= FILE_BYTES else 0
        return {"size": size, "p50_us": statistics.median(times) * 1e6,
                "bytes_per_s": len(times) * size / (now - began)}

    def close(self):
        os.close(self.fd)
        self.path.unlink()
