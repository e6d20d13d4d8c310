#!/usr/bin/python3
"""Finds what the tests of scale share with others, and prints their figures."""
import os
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path += [str(ROOT / "tests" / folder) for folder in ("clients", "conformance", "failures")]

from beside import prefer  # noqa: E402  the folders above are needed for them
from node import Node  # noqa: E402


@pytest.fixture
def node(tmp_path):
    path = pathlib.Path(os.environ.get("GODWIT_BINARY", ROOT / "build/release/godwit"))
    made = Node(path, tmp_path / "data", int(os.environ.get("GODWIT_SHARDS", "1")))
    made.start()
    yield made
    if made.is_running:
        made.stop()


@pytest.fixture
def quick(node):
    """A node that the kernel lets go first."""
    prefer(node.process)
    return node


@pytest.fixture
def figure(capsys):
    """Prints a figure with its goal, whatever becomes of the test."""
    def say(what, value, unit, goal):
        with capsys.disabled():
            print(f"figure: {what}: {value:,.3g} {unit} (goal: {goal})", flush=True)
    return say
