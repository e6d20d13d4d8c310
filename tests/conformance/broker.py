"""broker: a Godwit process for tests, started on a free loopback port and waited for."""
import os
import pathlib
import select
import signal
import socket
import subprocess
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
READY_SECONDS_MAX = 30
STOP_SECONDS_MAX = 15


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Broker:
    """Its files and its stderr (in the file log) are below home."""

    def __init__(self, home, shards=1):
        self.log = home / "log"
        self.address = "127.0.0.1", free_port()
        binary = os.environ.get("GODWIT_BINARY", str(ROOT / "build/release/godwit"))
        self.process = subprocess.Popen(
            [binary, "--listen", "%s:%d" % self.address, "--management", "none",
             "--metrics", "127.0.0.1:%d" % free_port(), "--data-dir", str(home / "data"),
             "--shards", str(shards)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self._wait_ready()
        self._reader = threading.Thread(target=self._copy_log, daemon=True)
        self._reader.start()

    def _wait_ready(self):
        seen, deadline = b"", time.monotonic() + READY_SECONDS_MAX
        while b"ready" not in seen:
            left = deadline - time.monotonic()
            readable, _, _ = select.select([self.process.stderr], [], [], max(left, 0))
            data = os.read(self.process.stderr.fileno(), 4096) if readable else b""
            if not data:
                self.process.kill()
                self.process.wait()
                raise RuntimeError(f"the broker did not get ready: {seen.decode(errors='replace')}")
            seen += data
        self.log.write_bytes(seen)

    def _copy_log(self):
        with open(self.log, "ab") as out:
            while data := os.read(self.process.stderr.fileno(), 65536):
                out.write(data)

    def memory_bytes(self):
        """Resident memory of the process."""
        with open(f"/proc/{self.process.pid}/statm") as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def stop(self):
        """SIGTERM and the exit status; killed when that takes too long."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        self._reader.join(5)
        return status
