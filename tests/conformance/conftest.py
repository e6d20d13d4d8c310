"""conftest: which broker the suite talks to, and a clean place on it for each test.

By default it starts the broker of build/release (or GODWIT_BINARY) on a free port with a fresh data
directory. With --broker HOST:PORT it uses one that runs, which is how it is run against RabbitMQ:
    tests/conformance/oracle exec pytest-3 tests/conformance
"""
import os
import pathlib
import select
import signal
import socket
import subprocess
import time
import uuid

import pytest

import wire

ROOT = pathlib.Path(__file__).resolve().parents[2]
READY_SECONDS_MAX = 20
STOP_SECONDS_MAX = 10


def pytest_addoption(parser):
    parser.addoption("--broker", metavar="HOST:PORT", default=os.environ.get("ORACLE_BROKER"),
                     help="use this running broker instead of starting one")
    parser.addoption("--shards", type=int, default=int(os.environ.get("GODWIT_SHARDS", "1")),
                     help="shards of the broker that is started (default: GODWIT_SHARDS or 1)")


def pytest_configure(config):
    config.addinivalue_line("markers", "godwit: what only Godwit promises; skipped elsewhere")
    config.addinivalue_line("markers", "slow: takes seconds against RabbitMQ, which waits on purpose")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_ready(process):
    """Read stderr until a line says ready; everything read is returned for the failure's message."""
    seen, deadline = b"", time.monotonic() + READY_SECONDS_MAX
    while b"ready" not in seen:
        left = deadline - time.monotonic()
        readable, _, _ = select.select([process.stderr], [], [], max(left, 0))
        data = os.read(process.stderr.fileno(), 4096) if readable else b""
        if not data:
            process.kill()
            process.wait()
            pytest.exit(f"the broker did not get ready:\n{seen.decode(errors='replace')}", 3)
        seen += data


@pytest.fixture(scope="session")
def address(request, tmp_path_factory):
    """(host, port) of the broker under test."""
    given = request.config.getoption("--broker")
    if given:
        host, port = given.rsplit(":", 1)
        yield host, int(port)
        return
    binary = os.environ.get("GODWIT_BINARY", str(ROOT / "build/release/godwit"))
    port, home = free_port(), tmp_path_factory.mktemp("broker")
    log = open(home / "log", "wb")
    process = subprocess.Popen(
        [binary, "--listen", f"127.0.0.1:{port}", "--management", "none", "--data-dir",
         str(home / "data"), "--shards", str(request.config.getoption("--shards"))],
        stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.PIPE)
    wait_ready(process)
    drain = subprocess.Popen(["cat"], stdin=process.stderr, stdout=log)
    yield "127.0.0.1", port
    alive = process.poll() is None
    process.send_signal(signal.SIGTERM)
    try:
        status = process.wait(STOP_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        status = process.wait()
    drain.wait()
    log.close()
    assert alive, f"the broker died during the tests; see {home}/log"
    assert status == 0, f"the broker ended with {status}; see {home}/log"


@pytest.fixture(scope="session")
def product(address):
    """The product name in connection.start: some expectations differ on purpose."""
    link = wire.Wire(address)
    link.send_bytes(wire.PROTOCOL_HEADER)
    started = link.expect(0, "connection.start")
    link.close()
    return started["server_properties"]["product"]


@pytest.fixture(autouse=True)
def only_where_promised(request, product):
    if request.node.get_closest_marker("godwit") and product == "RabbitMQ":
        pytest.skip("RabbitMQ does not promise this")


@pytest.fixture
def connect(address):
    """Opens clients that are closed when the test ends, whatever became of them."""
    made = []

    def opener(**options):
        made.append(wire.Client(address, **options))
        return made[-1]

    yield opener
    for client in made:
        client.close()


@pytest.fixture
def raw(address):
    """Opens sockets on which nothing has been sent yet."""
    made = []

    def opener(**options):
        made.append(wire.Wire(address, **options))
        return made[-1]

    yield opener
    for link in made:
        link.close()


@pytest.fixture
def client(connect):
    return connect()


@pytest.fixture
def ch(client):
    """A channel on a connection of its own."""
    return client.channel()


@pytest.fixture
def fresh(address):
    """Makes names that nobody uses; queues and exchanges so called are deleted after the test."""
    made = []

    def maker(prefix="q"):
        made.append(f"{prefix}.{uuid.uuid4().hex[:8]}")
        return made[-1]

    yield maker
    if made:
        janitor = wire.Client(address)
        channel = janitor.channel()
        for name in made:
            for verb, field in (("exchange.delete", "exchange"), ("queue.delete", "queue")):
                channel.send(verb, **{field: name})
                if channel.client.next().name == "channel.close":
                    channel.send("channel.close_ok")
                    channel.reopen()
        janitor.disconnect()
