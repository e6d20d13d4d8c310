#!/usr/bin/python3
"""node: a broker process whose world fails, and the conversations that tests have with it."""
import subprocess

from broker_process import BrokerProcess
from patience import until
from sight import Sight

SECONDS_MAX = 60
NO_DIRECT = "direct probe.new 22 0 999 0 1"  # EINVAL, as file systems without it say
NO_LIMIT = "disk_free_limit.absolute = 0"
NO_RESERVE = "disk_reserve = 0"


class Node(BrokerProcess):
    """A broker that may be killed, and started again on the same directory."""

    def __init__(self, binary, folder, shards=1):
        super().__init__(binary, folder, shards)
        self.sight = Sight(self)
        self.rules = None

    def start(self, config=None):
        """What it said in an earlier run is forgotten."""
        self.lines.clear()
        super().start(config)

    @property
    def address(self):
        return "127.0.0.1", self.port

    @property
    def messages(self):
        """Where its journals and segments are."""
        return self.folder / "messages"

    def configured(self, path, *lines):
        """Starts with these settings, which are not kept on the disk that it lives on."""
        path.write_text("".join(line + "\n" for line in lines))
        self.flags = ["--config", str(path)]
        return self

    def under(self, shim, rules):
        """Lets calls fail from its next start on; shim.c tells how."""
        self.rules = rules
        rules.write_text("")
        self.environment = {"LD_PRELOAD": shim, "SHIM_RULES": str(rules)}
        return self

    def fails(self, *lines):
        """These calls fail from now on; without any, all go well again. The file is replaced at
        once, because it is read at each call."""
        new = self.rules.with_suffix(".new")
        new.write_text("".join(line + "\n" for line in lines))
        new.rename(self.rules)

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.reader.join(SECONDS_MAX)

    def refuses(self, *flags):
        """It does not start, with exit status 1; gives what it says."""
        done = subprocess.run(self.command(None) + list(flags), capture_output=True, text=True,
                              timeout=SECONDS_MAX, stdin=subprocess.DEVNULL, check=False,
                              env=self.full_environment())
        assert done.returncode == 1, f"exit status {done.returncode}:\n{done.stderr}"
        assert "server.ready" not in done.stderr
        return done.stderr

    def says(self, words):
        """Waits for a line of its log with these words."""
        return until(lambda: next((line for line in list(self.lines) if words in line), None),
                     what=f"the log line {words!r} in\n" + self.last_words())

    def health(self):
        """Status and text of /health."""
        status, _, body = self.sight.request("/health", user=None)
        return status, body.decode().strip()

    def disk_alarm(self):
        return self.sight.metrics()["rabbitmq_alarms_free_disk_space_watermark"]

    def files(self, suffix):
        """Its files of that kind, by the time they were written last."""
        return sorted(self.messages.glob(f"*.{suffix}"), key=lambda path: path.stat().st_mtime)
