#!/usr/bin/python3
"""perf_test: godwit-perf notices what a server does to messages, and lets the good ones pass.

    perf_test.py godwit-perf godwit-relay

A server of our own stands between producer and consumer (godwit-perf --raw: frames without the
rest of the protocol), waits for all messages, and loses, repeats or reorders some of them.
"""
import json
import os
import select
import socket
import subprocess
import sys
import threading

MESSAGES = 1000
SECONDS_MAX = 60


def frames(data):
    """The whole frames of data, and how many bytes they take."""
    found, at = [], 0
    while len(data) - at >= 7:
        size = int.from_bytes(data[at + 3:at + 7], "big") + 8
        if len(data) - at < size:
            break
        found.append(data[at:at + size])
        at += size
    return found, at


class Server:
    """Takes the producer's messages, changes the list, gives it to the consumer."""

    def __init__(self, change):
        self.change = change
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(SECONDS_MAX)
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self):
        roles = {}
        while len(roles) < 2:
            connection, _ = self.listener.accept()
            connection.settimeout(SECONDS_MAX)
            roles[connection.recv(1)] = connection
        data, messages = b"", []
        while len(messages) < MESSAGES:
            data += roles[b"P"].recv(65536)
            whole, _ = frames(data)
            messages = [b"".join(whole[i:i + 3]) for i in range(0, len(whole) - 2, 3)]
        roles[b"C"].sendall(b"".join(self.change(messages)))
        roles[b"C"].recv(1)

    def stop(self):
        self.thread.join(SECONDS_MAX)
        self.listener.close()


def run_perf(perf, port, *options):
    command = [perf, "--raw", "--port", str(port), "-a", "-C", str(MESSAGES), "--drain", "0.3",
               "--json", "--quiet", *options]
    done = subprocess.run(command, stdout=subprocess.PIPE, timeout=SECONDS_MAX, check=False)
    return done.returncode, json.loads(done.stdout)


def through_server(perf, change, expected, *options):
    """What is wrong with the verdict about messages that a server has changed."""
    server = Server(change)
    try:
        status, found = run_perf(perf, server.port, *options)
    finally:
        server.stop()
    counts = {name: found[name] for name in expected}
    good = not any(expected[name] for name in ("lost", "reordered", "duplicates"))
    wrong = [f"expected {expected}, found {counts}"] if counts != expected else []
    return wrong + ([f"exit status {status}"] if status != (0 if good else 1) else [])


def through_relay(perf, relay, consumers=3, options=()):
    """The relay itself: every consumer gets everything."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    process = subprocess.Popen([relay, "--listen", f"127.0.0.1:{port}"], stderr=subprocess.PIPE)
    try:
        select.select([process.stderr], [], [], SECONDS_MAX)
        if b"ready" not in os.read(process.stderr.fileno(), 4096):
            return ["the relay did not get ready"]
        status, found = run_perf(perf, port, "-y", str(consumers), "-s", "5000",
                                 "--drain", "30", *options)
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
    good = status == 0 and found["lost"] == 0 and found["whole"]["consumed"] == consumers * MESSAGES
    good = good and found["whole"]["confirmed"] == (MESSAGES if "-c" in options else 0)
    return [] if good else [f"exit status {status}, {found}"]


def with_a_window(perf, relay):
    """Through the relay a message that has come back is confirmed, and lets the next one go."""
    return through_relay(perf, relay, consumers=1, options=("-c", "1"))


def counts(lost=0, reordered=0, duplicates=0, foreign=0):
    return {"lost": lost, "reordered": reordered, "duplicates": duplicates, "foreign": foreign}


def swap(messages):
    return messages[:10] + [messages[11], messages[10]] + messages[12:]


def old(message):
    """The same with a stamp from before the run: the time is the last 8 bytes of 16."""
    return message[:-9] + bytes(8) + message[-1:]


def cases(perf, relay):
    return {
        "all_arrive": lambda: through_server(perf, lambda m: m, counts()),
        "three_are_lost": lambda: through_server(perf, lambda m: m[:500] + m[503:], counts(lost=3)),
        "the_last_is_lost": lambda: through_server(perf, lambda m: m[:-1], counts(lost=1)),
        "one_comes_twice": lambda: through_server(
            perf, lambda m: m[:7] + m[6:], counts(duplicates=1)),
        "all_come_twice": lambda: through_server(
            perf, lambda m: m + m, counts(duplicates=MESSAGES)),
        "two_change_places": lambda: through_server(perf, swap, counts(reordered=1)),
        "one_is_from_another_run": lambda: through_server(
            perf, lambda m: m + [old(m[5])], counts(foreign=1)),
        "small_ones_are_counted": lambda: through_server(
            perf, lambda m: m[2:], counts(lost=2), "-s", "8"),
        "the_relay_changes_nothing": lambda: through_relay(perf, relay),
        "what_comes_back_is_confirmed": lambda: with_a_window(perf, relay),
    }


def main(perf, relay):
    failed = False
    for name, case in cases(perf, relay).items():
        wrong = case()
        print("\n".join(wrong + [f"[  FAILED  ] {name}" if wrong else f"[       OK ] {name}"]))
        failed = failed or bool(wrong)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
