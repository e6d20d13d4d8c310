"""conftest: which broker is killed, and where its files are while it lasts."""
import os
import pathlib

import pytest

from server import Godwit, Rabbit

ROOT = pathlib.Path(__file__).resolve().parents[2]


def pytest_addoption(parser):
    parser.addoption("--nightly", action="store_true",
                     default=os.environ.get("GODWIT_NIGHTLY") == "1",
                     help="limits of time are asserted too (or GODWIT_NIGHTLY=1)")
    parser.addoption("--rabbitmq", action="store_true",
                     help="kill RabbitMQ instead, where a test can do that")


@pytest.fixture(scope="session")
def binary(request):
    if request.config.getoption("--rabbitmq"):
        pytest.skip("is about Godwit")
    return godwit_binary()


def godwit_binary():
    path = pathlib.Path(os.environ.get("GODWIT_BINARY", ROOT / "build/release/godwit"))
    if not path.is_file():
        pytest.exit(f"no broker at {path}: run scripts/build release or set GODWIT_BINARY", 2)
    return path.resolve()


@pytest.fixture
def make_server(request):
    """Makes servers on a folder; what is left of them is ended after the test."""
    made = []

    def maker(home):
        rabbitmq = request.config.getoption("--rabbitmq")
        made.append(Rabbit(home) if rabbitmq else Godwit(godwit_binary(), home))
        return made[-1]

    yield maker
    for server in made:
        server.end()
