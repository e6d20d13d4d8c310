"""conftest: which broker the suite talks to, and a clean place on it for each test.

By default it starts the broker of build/release (or GODWIT_BINARY) on a free port with a fresh data
directory. With --broker HOST:PORT it uses one that runs, which is how it is run against RabbitMQ:
    tests/conformance/oracle exec pytest-3 tests/conformance
"""
import os
import uuid

import pytest

import broker
import wire


def pytest_addoption(parser):
    parser.addoption("--broker", metavar="HOST:PORT", default=os.environ.get("ORACLE_BROKER"),
                     help="use this running broker instead of starting one")
    parser.addoption("--shards", type=int, default=int(os.environ.get("GODWIT_SHARDS", "1")),
                     help="shards of the broker that is started (default: GODWIT_SHARDS or 1)")


def pytest_configure(config):
    config.addinivalue_line("markers", "godwit: what only Godwit promises; skipped elsewhere")
    config.addinivalue_line("markers",
                            "slow: takes seconds against RabbitMQ, which waits on purpose")


@pytest.fixture(scope="session")
def address(request, tmp_path_factory):
    """(host, port) of the broker under test."""
    given = request.config.getoption("--broker")
    if given:
        host, port = given.rsplit(":", 1)
        yield host, int(port)
        return
    started = broker.Broker(tmp_path_factory.mktemp("broker"), request.config.getoption("--shards"))
    yield started.address
    alive = started.process.poll() is None
    status = started.stop()
    assert alive, f"the broker died during the tests; see {started.log}"
    assert status == 0, f"the broker ended with {status}; see {started.log}"


@pytest.fixture
def own_broker(request, tmp_path):
    """A broker for this test alone, to be stopped, killed or starved. Only Godwit can be had so."""
    if request.config.getoption("--broker"):
        pytest.skip("needs a broker of its own")
    started = broker.Broker(tmp_path, request.config.getoption("--shards"))
    yield started
    started.stop()


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
