#!/usr/bin/python3
"""Node's amqplib: installs what the lockfile pins, and runs node/*.test.js by Node's own runner."""
import os
import pathlib
import shutil
import subprocess

import pytest

FOLDER = pathlib.Path(__file__).with_name("node")
FILES = sorted(path.name for path in FOLDER.glob("*.test.js"))
PINNED = FOLDER / "package-lock.json"
FILE_SECONDS_MAX = int(os.environ.get("GODWIT_TEST_SECONDS", "120")) * 0.9
INSTALLED = FOLDER / "node_modules" / ".package-lock.json"


@pytest.fixture(scope="session")
def amqplib():
    """Installs amqplib unless what the lockfile says is there already."""
    for program in "node", "npm":
        assert shutil.which(program), f"{program} is missing"
    if INSTALLED.is_file() and INSTALLED.stat().st_mtime >= PINNED.stat().st_mtime:
        return
    done = subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
                          cwd=FOLDER, capture_output=True, text=True, timeout=FILE_SECONDS_MAX,
                          check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", FILES)
def test_file(broker, amqplib, name):
    try:
        done = subprocess.run(["node", "--test-reporter=spec", name], cwd=FOLDER,
                              env=dict(os.environ, BROKER_URL=broker.url), text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=FILE_SECONDS_MAX, check=False)
    except subprocess.TimeoutExpired as late:
        pytest.fail(f"{name} hangs after:\n" + (late.stdout or b"").decode())
    assert done.returncode == 0, done.stdout
