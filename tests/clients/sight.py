#!/usr/bin/python3
"""What a broker of our own tells over HTTP and by godwitctl, for the tests that look at it."""
import base64
import http.client
import json
import pathlib
import subprocess
import urllib.parse

SECONDS_MAX = 30


class Sight:
    """Asks one broker process."""

    def __init__(self, process):
        self.process = process

    def request(self, path, port=None, user="guest", password="guest", method="GET"):
        """One request on a connection of its own: status, headers, body."""
        connection = http.client.HTTPConnection("127.0.0.1", port or self.process.management_port,
                                                timeout=SECONDS_MAX)
        headers = {}
        if user is not None:
            login = base64.b64encode(f"{user}:{password}".encode()).decode()
            headers["Authorization"] = f"Basic {login}"
        try:
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def get(self, path):
        """The JSON that is there; the status has to be 200."""
        status, _, body = self.request(path)
        assert status == 200, f"{path}: {status} {body!r}"
        return json.loads(body)

    def queue(self, name):
        return self.get("/api/queues/%2F/" + urllib.parse.quote(name, safe=""))

    def metrics(self):
        """Every sample of /metrics by its name with labels."""
        status, headers, body = self.request("/metrics", self.process.metrics_port, user=None)
        assert status == 200
        assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
        samples = {}
        for line in body.decode().splitlines():
            if not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                samples[name] = float(value)
        return samples

    def ctl(self, *words):
        """Runs godwitctl: exit status, what it printed, what it complained."""
        binary = pathlib.Path(self.process.binary).parent / "godwitctl"
        done = subprocess.run([binary, "--management", f"127.0.0.1:{self.process.management_port}",
                               *words], capture_output=True, text=True, timeout=SECONDS_MAX,
                              stdin=subprocess.DEVNULL, check=False)
        return done.returncode, done.stdout, done.stderr
