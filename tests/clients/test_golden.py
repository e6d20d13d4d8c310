#!/usr/bin/python3
"""What earlier versions left on disk is read by this one: every directory of tests/golden."""
import hashlib
import json
import os
import pathlib
import tarfile

import pika
import pytest

from sight import Sight
from test_data import data

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden"
CHUNK_BYTES = 1024 * 1024
ZEROES = bytes(CHUNK_BYTES)


def lay_out(archive, folder):
    """Journal files are mostly zeroes, for which no room is taken."""
    with tarfile.open(archive) as tar:
        for member in tar:
            path = folder / member.name
            if member.isdir():
                path.mkdir(parents=True)
                continue
            content = tar.extractfile(member)
            with path.open("wb") as file:
                while chunk := content.read(CHUNK_BYTES):
                    if chunk == ZEROES:
                        file.seek(len(chunk), os.SEEK_CUR)
                    else:
                        file.write(chunk)
                file.truncate(member.size)


@pytest.fixture(params=sorted(path.name for path in GOLDEN.glob("format-*")))
def golden(request, tmp_path):
    folder = tmp_path / "golden"
    folder.mkdir()
    lay_out(GOLDEN / request.param / "data.tar.xz", folder)
    return folder, json.loads((GOLDEN / request.param / "expected.json").read_text())


def known(rows, *keys):
    return sorted(json.dumps([row[key] for key in keys], sort_keys=True) for row in rows)


def test_there_is_something_to_read():
    assert (GOLDEN / "format-1" / "data.tar.xz").is_file()
    assert (GOLDEN / "format-1-bits" / "data.tar.xz").is_file()  # with a SETTLED


def test_godwitctl_reads_it(golden, broker):
    if not broker.is_ours:
        pytest.skip("uses the binary beside a broker of our own")
    folder, expected = golden
    status, found, _ = data(broker, "verify", folder)
    assert (status, found["verdict"]) == (0, "clean")
    assert any(file["kind"] == "segment" for file in found["files"])
    _, found, _ = data(broker, "dump", folder)
    del found["product_version"]
    assert found == expected["definitions"]
    _, messages, _ = data(broker, "dump", "--messages", "--body", folder)
    for row in messages:
        row["sha256"] = hashlib.sha256(row.pop("payload").encode()).hexdigest()
        del row["payload_encoding"]
    assert messages == expected["messages"]


@pytest.mark.parametrize("shards", [1, 3])
def test_the_broker_reads_it(golden, start_broker, shards):
    folder, expected = golden
    broker = start_broker(folder=folder, shards=shards)
    sight = Sight(broker.process)
    definitions = expected["definitions"]
    queues = ("name", "durable", "auto_delete", "arguments")
    assert known(sight.get("/api/queues/%2F"), *queues) == known(definitions["queues"], *queues)
    exchanges = ("name", "type", "durable", "auto_delete", "internal", "arguments")
    ours = [row for row in sight.get("/api/exchanges/%2F")
            if row["name"] and not row["name"].startswith("amq.")]
    assert known(ours, *exchanges) == known(definitions["exchanges"], *exchanges)
    bindings = ("source", "destination", "destination_type", "routing_key", "arguments")
    made = [row for row in sight.get("/api/bindings/%2F") if row["source"]]
    assert known(made, *bindings) == known(definitions["bindings"], *bindings)
    connection = pika.BlockingConnection(broker.parameters())
    channel = connection.channel()
    for queue in definitions["queues"]:
        for row in (row for row in expected["messages"] if row["queue"] == queue["name"]):
            compare(row, *channel.basic_get(queue["name"]))
        assert channel.basic_get(queue["name"])[0] is None
    connection.close()


def compare(row, method, properties, body):
    assert len(body) == row["payload_bytes"]
    assert hashlib.sha256(body).hexdigest() == row["sha256"]
    assert (method.exchange, method.routing_key) == (row["exchange"], row["routing_key"])
    assert method.redelivered == row["redelivered"]
    found = {name: getattr(properties, name) for name in row["properties"]}
    assert found == row["properties"]
    others = {name for name, value in vars(properties).items() if value is not None}
    assert others == set(row["properties"])
