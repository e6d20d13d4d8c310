"""server: a broker as a process on a data directory: started, killed, stopped, started again.

Godwit is what is tested; Rabbit is RabbitMQ in a private instance, to test the tests.
"""
import importlib.machinery
import importlib.util
import os
import pathlib
import signal
import socket
import subprocess
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
READY_SECONDS_MAX = 60
STOP_SECONDS_MAX = 60
WORDS_SHOWN = 3000
REPORTS = ("ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "WARNING: ThreadSanitizer",
           "runtime error:", "SUMMARY: ")


class StartFailed(Exception):
    """The broker did not get ready."""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def greets(address, seconds):
    """Whether connection.start comes: then AMQP is accepted."""
    try:
        with socket.create_connection(address, timeout=seconds) as link:
            link.settimeout(seconds)
            link.sendall(b"AMQP\x00\x00\x09\x01")
            return link.recv(1) == b"\x01"
    except OSError:
        return False


class Server:
    """What both have in common. address is that of the start that was last."""

    def __init__(self, home):
        self.home = pathlib.Path(home)
        self.home.mkdir(parents=True, exist_ok=True)
        self.process = None
        self.address = None
        self.started_at = 0
        self.starts = 0

    def launch(self, shards=1):
        """Starts the process; does not wait for it."""
        self.starts += 1
        self.address = "127.0.0.1", free_port()
        self.started_at = time.monotonic()
        self.spawn(shards)

    def start(self, shards=1):
        """Starts it and waits until it accepts AMQP; returns how many seconds that took."""
        self.launch(shards)
        self.wait_ready(self.started_at + READY_SECONDS_MAX)
        return time.monotonic() - self.started_at

    @property
    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def send_kill(self):
        """SIGKILL, without waiting: it may be called in the middle of anything."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def kill(self):
        self.send_kill()
        self.process.wait()
        self.gone()

    def gone(self):
        """The process has ended and was waited for."""

    def end(self):
        """Whatever happened, nothing of it is left."""
        if self.process is not None:
            self.kill()


class Godwit(Server):
    """A godwit. Its files are in HOME/data, what it says is in HOME/broker.log."""

    def __init__(self, binary, home):
        super().__init__(home)
        self.binary = binary
        self.log_path = self.home / "broker.log"
        self.log_start = 0
        self.ready = threading.Event()
        self.reader = None

    def spawn(self, shards):
        self.ready = threading.Event()
        self.log_start = self.log_path.stat().st_size if self.log_path.exists() else 0
        self.process = subprocess.Popen(
            [str(self.binary), "--listen", "%s:%d" % self.address, "--management", "none",
             "--metrics", "none", "--data-dir", str(self.home / "data"), "--shards", str(shards)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            start_new_session=True)
        self.reader = threading.Thread(target=self.read, args=(self.process.stderr, self.ready),
                                       daemon=True)
        self.reader.start()

    def read(self, stream, ready):
        """Keeps what it says, so that its pipe never fills; `ready` is the event waited for."""
        with stream, open(self.log_path, "ab", buffering=0) as log:
            for line in stream:
                log.write(line)
                if b"ready" in line:
                    ready.set()
        ready.set()

    def wait_ready(self, deadline):
        self.ready.wait(deadline - time.monotonic())
        if not greets(self.address, max(deadline - time.monotonic(), 0.1)):
            status = self.process.poll()
            self.kill()
            raise StartFailed(f"exit status {status}; it said:\n{self.last_words()}")

    def stop(self):
        """SIGTERM; returns what was wrong with how it ended, or None."""
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.kill()
            return f"no end within {STOP_SECONDS_MAX} s of SIGTERM\n{self.last_words()}"
        self.gone()
        if status:
            return f"exit status {status} after SIGTERM\n{self.last_words()}"
        return None

    def gone(self):
        self.reader.join(STOP_SECONDS_MAX)

    def reports(self):
        """What a sanitizer has said since the last start, or None."""
        with open(self.log_path, errors="replace") as log:
            log.seek(self.log_start)
            text = log.read()
        return text[-WORDS_SHOWN:] if any(report in text for report in REPORTS) else None

    def last_words(self):
        return self.log_path.read_text(errors="replace")[-WORDS_SHOWN:]


def load_oracle():
    """tests/conformance/oracle, which knows how to keep RabbitMQ to itself."""
    path = str(HERE.parent / "conformance" / "oracle")
    loader = importlib.machinery.SourceFileLoader("oracle", path)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("oracle", loader))
    loader.exec_module(module)
    return module


class Rabbit(Server):
    """Debian's rabbitmq-server on loopback, with an epmd of its own; the same node every time."""

    def __init__(self, home):
        super().__init__(home)
        self.oracle = load_oracle()
        self.node_port = free_port()
        self.epmd_port = free_port()
        self.epmd = None

    def spawn(self, _shards):
        home, port = str(self.home), self.address[1]
        for name, text in (("rabbitmq.conf", self.oracle.CONFIG.format(port=port)),
                           ("enabled_plugins", "[].\n"), ("rabbitmq-env.conf", "")):
            (self.home / name).write_text(text)
        env = self.oracle.environment(home, port, self.epmd_port)
        env["RABBITMQ_NODENAME"] = f"oracle-{self.node_port}@localhost"
        if self.epmd is None:
            self.epmd = subprocess.Popen(
                ["epmd", "-address", "127.0.0.1", "-port", str(self.epmd_port)], env=env, cwd=home,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                start_new_session=True)
        with open(self.home / "console", "ab") as console:
            self.process = subprocess.Popen([self.oracle.SERVER], env=env, cwd=home,
                                            stdin=subprocess.DEVNULL, stdout=console,
                                            stderr=console, start_new_session=True)

    def wait_ready(self, deadline):
        """RabbitMQ says nothing that could be waited for: it is asked again and again."""
        while not greets(self.address, 1):
            try:
                self.process.wait(0.05)
                broken = True
            except subprocess.TimeoutExpired:
                broken = time.monotonic() > deadline
            if broken:
                self.kill()
                raise StartFailed(self.last_words())

    def stop(self):
        """SIGTERM to the virtual machine; its exit status says nothing."""
        os.kill(self.oracle.beam_pid(self.process.pid), signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.kill()
            return f"no end within {STOP_SECONDS_MAX} s of SIGTERM"
        return None

    def gone(self):
        """The group was killed, but only its leader is our child: wait for the others as well."""
        deadline = time.monotonic() + STOP_SECONDS_MAX
        while group_is_alive(self.process.pid) and time.monotonic() < deadline:
            os.sched_yield()

    def reports(self):
        return None

    def last_words(self):
        return (self.home / "console").read_text(errors="replace")[-WORDS_SHOWN:]

    def end(self):
        super().end()
        if self.epmd is not None:
            self.epmd.kill()
            self.epmd.wait()


def group_is_alive(group):
    try:
        os.killpg(group, 0)
        return True
    except ProcessLookupError:
        return False
