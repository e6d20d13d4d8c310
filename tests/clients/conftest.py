#!/usr/bin/python3
"""Gives each client test a broker to talk to, names of its own, and an end.

The broker is started once per run, on free loopback ports, and has to stop cleanly at the end;
with --broker HOST:PORT the tests use one that is running already, such as RabbitMQ.
"""
import os
import pathlib
import uuid

import amqp
import kombu
import pika
import pytest

from bounded import bounded  # noqa: F401  each test has it
from broker_process import BrokerProcess

ROOT = pathlib.Path(__file__).resolve().parents[2]


def pytest_addoption(parser):
    parser.addoption("--broker", metavar="HOST:PORT", help="use this running broker; start none")
    parser.addoption("--shards", type=int, default=int(os.environ.get("GODWIT_SHARDS", "1")),
                     help="shards of the broker under test (GODWIT_SHARDS, 1)")


class Broker:
    """Where the broker listens, and who the tests are there."""

    def __init__(self, host, port, process=None):
        self.host = host
        self.port = port
        self.process = process

    @property
    def url(self):
        return f"amqp://guest:guest@{self.host}:{self.port}/%2F"

    @property
    def is_ours(self):
        return self.process is not None

    def parameters(self, **changes):
        """pika's parameters, with the given ones changed."""
        settings = {"heartbeat": 30, "blocked_connection_timeout": 30, "connection_attempts": 1}
        settings.update(changes)
        return pika.ConnectionParameters(self.host, self.port, **settings)


def godwit_binary():
    path = pathlib.Path(os.environ.get("GODWIT_BINARY", ROOT / "build/release/godwit"))
    if not path.is_file():
        pytest.exit(f"no broker at {path}: build it (scripts/build release) or set GODWIT_BINARY", 2)
    return path


@pytest.fixture(scope="session")
def broker(request, tmp_path_factory):
    """The broker under test, for the whole run."""
    running = request.config.getoption("--broker")
    if running:
        host, port = running.rsplit(":", 1)
        yield Broker(host, int(port))
        return
    process = BrokerProcess(godwit_binary(), tmp_path_factory.mktemp("data"),
                            request.config.getoption("--shards"))
    process.start()
    yield Broker("127.0.0.1", process.port, process)
    process.stop()


@pytest.fixture
def start_broker(request, tmp_path):
    """Starts further brokers that a test may stop and start itself; skipped with --broker."""
    if request.config.getoption("--broker"):
        pytest.skip("stops and starts the broker, which only works with one of our own")
    started = []

    def start(config=None, folder=None, shards=None):
        folder = folder or tmp_path / f"data{len(started)}"
        process = BrokerProcess(godwit_binary(), folder,
                                shards or request.config.getoption("--shards"))
        process.start(config)
        started.append(process)
        return Broker("127.0.0.1", process.port, process)

    yield start
    for process in started:
        if process.is_running:
            process.stop()


@pytest.fixture(autouse=True)
def alive(broker):
    """A broker that died fails the test during which it did, with what it said last."""
    yield
    if broker.is_ours and not broker.process.is_running:
        pytest.fail("the broker died:\n" + broker.process.last_words())


class Names:
    """Names that nobody else uses; what carries them is deleted after the test."""

    def __init__(self):
        self.queues = []
        self.exchanges = []

    def queue(self, name="q"):
        self.queues.append(f"clients.{name}.{uuid.uuid4().hex[:12]}")
        return self.queues[-1]

    def exchange(self, name="x"):
        self.exchanges.append(f"clients.{name}.{uuid.uuid4().hex[:12]}")
        return self.exchanges[-1]

    def delete_all(self, broker):
        connection = pika.BlockingConnection(broker.parameters())
        channel = connection.channel()
        for queue in self.queues:
            channel.queue_delete(queue)
        for exchange in self.exchanges:
            channel.exchange_delete(exchange)
        connection.close()


@pytest.fixture
def names(broker):
    made = Names()
    yield made
    if made.queues or made.exchanges:
        if not broker.is_ours or broker.process.is_running:
            made.delete_all(broker)


@pytest.fixture
def connect(broker, names):
    """Opens pika's blocking connections; those still open are closed after the test."""
    opened = []

    def open_connection(**changes):
        opened.append(pika.BlockingConnection(broker.parameters(**changes)))
        return opened[-1]

    yield open_connection
    for connection in opened:
        if connection.is_open:
            connection.close()


@pytest.fixture
def channel(connect):
    """A channel of pika's blocking connection."""
    return connect().channel()


@pytest.fixture
def py_amqp(broker, names):
    """Opens py-amqp connections; those still open are closed after the test."""
    opened = []

    def open_connection(**changes):
        settings = {"host": f"{broker.host}:{broker.port}", "connect_timeout": 20}
        settings.update(changes)
        opened.append(amqp.Connection(**settings))
        opened[-1].connect()
        return opened[-1]

    yield open_connection
    for connection in opened:
        if connection.connected:
            connection.close()


@pytest.fixture
def kombu_connect(broker, names):
    """Opens kombu connections over py-amqp; they are released after the test."""
    opened = []

    def open_connection(**changes):
        opened.append(kombu.Connection(broker.url.replace("amqp:", "pyamqp:"), **changes))
        return opened[-1]

    yield open_connection
    for connection in opened:
        connection.release()
