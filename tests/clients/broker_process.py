#!/usr/bin/python3
"""One broker of our own: started on free loopback ports, watched, and stopped.

It has to say `ready` on stderr, to leave with 0 on SIGTERM, and to have no sanitizer report.
"""
import collections
import os
import signal
import socket
import subprocess
import threading

START_SECONDS_MAX = 60
STOP_SECONDS_MAX = 60
LINES_KEPT = 400
REPORTS = ("ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "WARNING: ThreadSanitizer",
           "runtime error:", "SUMMARY: ")


def free_ports(count):
    """Loopback ports that nobody has at the moment."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class BrokerProcess:
    """A godwit process and what it says."""

    def __init__(self, binary, folder, shards):
        self.binary = binary
        self.folder = folder
        self.shards = shards
        self.port, self.management_port, self.metrics_port = free_ports(3)
        self.flags = []
        self.environment = {}  # beside ours
        self.process = None
        self.lines = collections.deque(maxlen=LINES_KEPT)
        self.reports = []
        self.ready = threading.Event()
        self.reader = None

    def command(self, config):
        command = [str(self.binary), "--listen", f"127.0.0.1:{self.port}",
                   "--management", f"127.0.0.1:{self.management_port}",
                   "--metrics", f"127.0.0.1:{self.metrics_port}",
                   "--data-dir", str(self.folder), "--shards", str(self.shards),
                   *self.flags]
        if config:
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self.folder.with_suffix(".conf")
            path.write_text(config)
            command += ["--config", str(path)]
        return command

    def full_environment(self):
        return {**os.environ, **self.environment}

    def start(self, config=None):
        """Starts it and waits until it accepts. May be called again after stop()."""
        self.ready.clear()
        self.process = subprocess.Popen(self.command(config), stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                        text=True, errors="replace",
                                        env=self.full_environment())
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        if not self.ready.wait(START_SECONDS_MAX) or not self.is_running:
            self.process.kill()
            self.process.wait()
            raise AssertionError("the broker did not get ready:\n" + self.last_words())

    def read(self):
        """Keeps what it says until it is gone, so that its pipe never fills."""
        for line in self.process.stderr:
            self.lines.append(line)
            if any(report in line for report in REPORTS):
                self.reports.append(line)
            if "ready" in line:
                self.ready.set()
        self.ready.set()

    @property
    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def last_words(self):
        return "".join(self.lines)

    def stop(self):
        """Stops it by SIGTERM and checks how it went."""
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            status = "none: it had to be killed"
        self.reader.join(STOP_SECONDS_MAX)
        assert status == 0, f"the broker's exit status is {status}:\n{self.last_words()}"
        assert not self.reports, "the sanitizer complained:\n" + self.last_words()
