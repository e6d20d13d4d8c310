#!/usr/bin/python3
"""rabbitmq-c: builds a program of ours on the installed library and plays its scenarios."""
import pathlib
import re
import shlex
import subprocess

import pytest

SOURCE = pathlib.Path(__file__).with_name("rabbitmq_c_client.c")
SCENARIOS = re.findall(r'^    \{"([\w-]+)", play_', SOURCE.read_text(), re.M)


@pytest.fixture(scope="session")
def program(tmp_path_factory):
    """The built program."""
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "librabbitmq"],
                           capture_output=True, text=True, check=True).stdout
    built = tmp_path_factory.mktemp("rabbitmq_c") / "client"
    done = subprocess.run(["cc", "-std=gnu17", "-O1", "-g", "-Wall", "-Wextra", "-Werror",
                           "-o", str(built), str(SOURCE), *shlex.split(flags)],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return built


def test_every_scenario_is_played(program):
    listed = subprocess.run([program, "list"], capture_output=True, text=True, check=True).stdout
    assert listed.split() == SCENARIOS


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario(broker, program, scenario):
    done = subprocess.run([program, broker.host, str(broker.port), scenario],
                          capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
