#!/usr/bin/python3
"""Gives the tests of a failing world brokers, small file systems, and the shim."""
import ctypes
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path += [str(ROOT / "tests/clients"), str(ROOT / "tests/conformance")]

from bounded import bounded  # noqa: E402, F401  each test has it
from node import NO_DIRECT, NO_LIMIT, NO_RESERVE, Node  # noqa: E402  the folders above are needed for it

CLONE_NEWNS = 0x00020000
SMALL_BYTES = 96 * 1024 * 1024


def godwit_binary():
    path = pathlib.Path(os.environ.get("GODWIT_BINARY", ROOT / "build/release/godwit"))
    if not path.is_file():
        pytest.exit(f"no broker at {path}: build it (scripts/build release) or set GODWIT_BINARY", 2)
    return path


@pytest.fixture(scope="session")
def shim(tmp_path_factory):
    """What LD_PRELOAD has to be; a sanitizer's runtime wants to come first."""
    library = tmp_path_factory.mktemp("shim") / "shim.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", library,
                    pathlib.Path(__file__).with_name("shim.c")], check=True)
    linked = subprocess.run(["ldd", godwit_binary()], capture_output=True, text=True, check=True)
    runtimes = [line.split()[2] for line in linked.stdout.splitlines()
                if line.split()[0].startswith(("libasan", "libtsan"))]
    return " ".join(runtimes + [str(library)])


@pytest.fixture
def start(tmp_path):
    """Makes nodes, which end with the test; all but killed ones have to end well."""
    nodes = []

    def make(folder=None, shards=1):
        nodes.append(Node(godwit_binary(), folder or tmp_path / f"data{len(nodes)}", shards))
        return nodes[-1]

    yield make
    for node in nodes:
        if node.is_running:
            node.stop()
        assert not node.reports, node.last_words()


@pytest.fixture(scope="session")
def mounts():
    """Lets this process mount for itself: nobody else sees it, and it ends with the process."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) != 0:
        pytest.skip(f"no mount namespace of our own: {os.strerror(ctypes.get_errno())}")
    done = subprocess.run(["mount", "--make-rprivate", "/"], capture_output=True, text=True,
                          check=False)
    if done.returncode != 0:
        pytest.skip(f"cannot mount: {done.stderr.strip()}")


@pytest.fixture
def small_ext4(mounts, tmp_path):
    """A file of 96 MiB as a file system, which takes direct I/O."""
    image, point = tmp_path / "image", tmp_path / "ext4"
    with open(image, "wb") as file:
        file.truncate(SMALL_BYTES)
    made = subprocess.run(["mkfs.ext4", "-q", "-F", image], capture_output=True, text=True,
                          check=False)
    if made.returncode != 0:
        pytest.skip(f"cannot make a file system: {made.stderr.strip()}")
    point.mkdir()
    done = subprocess.run(["mount", "-o", "loop", image, point], capture_output=True, text=True,
                          check=False)
    if done.returncode != 0:
        pytest.skip(f"cannot mount: {done.stderr.strip()}")
    yield point
    subprocess.run(["umount", "-l", point], check=False)


@pytest.fixture(params=["direct", "fdatasync"])
def small(request, start, shim, tmp_path, small_ext4):
    """A node on a small file system, with direct I/O or without; and that file system. It has no
    limit of free space and keeps none aside, so that its journal meets the end of the disk."""
    node = start(small_ext4 / "data").configured(tmp_path / "conf", NO_LIMIT, NO_RESERVE)
    if request.param == "fdatasync":
        node.under(shim, tmp_path / "rules").fails(NO_DIRECT)
    node.start()
    assert request.param in node.says("store.recovered")
    return node, small_ext4
