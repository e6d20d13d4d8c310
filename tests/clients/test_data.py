#!/usr/bin/python3
"""godwitctl looks at the data directory of a stopped broker, and changes nothing there."""
import base64
import hashlib
import json
import pathlib
import shutil
import subprocess

import pika
import pytest

from sight import Sight

SECONDS_MAX = 60
PERSISTENT = pika.BasicProperties(delivery_mode=2)
LARGE = bytes(range(256)) * 4 * 5000  # 5 MB: one part and the rest


def data(broker, *words, json_wanted=True):
    """Runs godwitctl data: exit status, what it printed (as JSON), what it complained."""
    binary = pathlib.Path(broker.process.binary).parent / "godwitctl"
    done = subprocess.run([binary, "data", *map(str, words), *(["--json"] if json_wanted else [])],
                          capture_output=True, text=True, timeout=SECONDS_MAX,
                          stdin=subprocess.DEVNULL, check=False)
    out = json.loads(done.stdout) if json_wanted and done.stdout else done.stdout
    return done.returncode, out, done.stderr


def kill(broker):
    broker.process.process.kill()
    broker.process.process.wait()
    broker.process.reader.join()


def picture(folder):
    """Every file with its content and when it was changed."""
    return {path.relative_to(folder): (hashlib.sha256(path.read_bytes()).hexdigest(),
                                       path.stat().st_mtime_ns)
            for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def filled(start_broker):
    """A broker that was killed with something of everything."""
    broker = start_broker()
    channel = pika.BlockingConnection(broker.parameters()).channel()
    channel.confirm_delivery()
    channel.exchange_declare("x", "topic", durable=True, arguments={"alternate-exchange": "y"})
    channel.exchange_declare("inner", "fanout", durable=True, internal=True)
    channel.queue_declare("orders", durable=True, arguments={"x-max-length": 500})
    channel.queue_declare("copies", durable=True)
    channel.queue_declare("gone", durable=True)
    channel.queue_declare("passing")
    channel.queue_bind("orders", "x", "a.#", arguments={"note": "\u00fc"})
    channel.queue_bind("copies", "x", "a.#")
    channel.exchange_bind("inner", "x", "b")
    properties = pika.BasicProperties(delivery_mode=2, content_type="text/plain", priority=3,
                                      headers={"n": 7, "deep": [1, {"a": True}]}, timestamp=1234)
    for number in range(20):
        channel.basic_publish("x", "a.b", b"order %d" % number, properties)
    channel.basic_publish("", "orders", b"passing", pika.BasicProperties(delivery_mode=1))
    channel.basic_publish("", "orders", b"in one queue", PERSISTENT)
    channel.basic_publish("", "copies", LARGE, PERSISTENT)
    channel.basic_publish("", "copies", b"\xff\x00binary", PERSISTENT)
    channel.basic_publish("", "copies", b"", PERSISTENT)
    channel.basic_publish("", "gone", b"of a queue that goes", PERSISTENT)
    channel.queue_delete("gone")
    for _ in range(4):
        method, _, _ = channel.basic_get("orders")
        channel.basic_ack(method.delivery_tag)
    channel.basic_get("orders")
    channel.queue_purge("passing")  # whose answer follows the acknowledgements
    Sight(broker.process).get("/api/overview")
    channel.queue_declare("last", durable=True)
    channel.basic_publish("", "last", b"settlements before it are on disk", PERSISTENT)
    channel.basic_publish("", "orders", b"the same for its shard", PERSISTENT)
    kill(broker)
    return broker


def test_a_running_broker_has_its_directory_to_itself(start_broker):
    broker = start_broker()
    for words in (["verify"], ["dump"], ["dump", "--messages"]):
        status, out, err = data(broker, *words, broker.process.folder)
        assert (status, out) == (1, "")
        assert f"in use by a broker (process {broker.process.process.pid})" in err


def test_looking_changes_nothing(filled):
    folder = filled.process.folder
    before = picture(folder)
    for words in (["verify", "--verbose"], ["dump"], ["dump", "--messages"], ["dump", "--records"]):
        status, _, err = data(filled, *words, folder)
        assert (status, err) == (0, "")
    assert picture(folder) == before


def test_verify_counts_what_lives(filled):
    status, found, _ = data(filled, "verify", filled.process.folder)
    assert (status, found["verdict"], found["damages"]) == (0, "clean", [])
    queues = {queue["name"]: queue["messages"] for queue in found["queues"]}
    assert queues == {"orders": 18, "copies": 23, "last": 1}
    sizes = {queue["name"]: queue["message_bytes"] for queue in found["queues"]}
    assert sizes["copies"] == sum(len(b"order %d" % n) for n in range(20)) + len(LARGE) + 8
    assert {"journal", "spare"} <= {file["kind"] for file in found["files"]}
    text = data(filled, "verify", "--verbose", filled.process.folder, json_wanted=False)[1]
    lines = text.splitlines()
    assert lines[-1] == "clean"
    assert "queue orders vhost=/ messages=18" in text
    assert sum(line.startswith("journal ") and "records=" in line for line in lines) >= 1


def test_dump_tells_definitions(filled):
    status, found, _ = data(filled, "dump", filled.process.folder)
    assert status == 0
    assert found["vhosts"] == [{"name": "/"}]
    exchanges = {row.pop("name"): row for row in found["exchanges"]}
    assert exchanges == {
        "x": {"vhost": "/", "type": "topic", "durable": True, "auto_delete": False,
              "internal": False, "arguments": {"alternate-exchange": "y"}},
        "inner": {"vhost": "/", "type": "fanout", "durable": True, "auto_delete": False,
                  "internal": True, "arguments": {}}}
    queues = {row["name"]: row["arguments"] for row in found["queues"]}
    assert queues == {"orders": {"x-max-length": 500}, "copies": {}, "last": {}}
    bindings = {(row["source"], row["destination_type"], row["destination"], row["routing_key"],
                 json.dumps(row["arguments"])) for row in found["bindings"]}
    assert bindings == {("x", "queue", "orders", "a.#", json.dumps({"note": "\u00fc"})),
                        ("x", "queue", "copies", "a.#", "{}"), ("x", "exchange", "inner", "b", "{}")}
    lines = data(filled, "dump", filled.process.folder, json_wanted=False)[1].splitlines()
    assert "exchange x vhost=/ type=topic durable=true auto_delete=false internal=false " \
           "arguments=[{\"alternate-exchange\",\"y\"}]" in lines


def test_dump_tells_messages(filled):
    folder = filled.process.folder
    status, rows, _ = data(filled, "dump", "--messages", folder)
    assert status == 0 and len(rows) == 42
    orders = [row for row in rows if row["queue"] == "orders"]
    assert [row["seq"] for row in orders] == sorted(row["seq"] for row in orders)
    assert [row["payload"] for row in orders[:16]] == [f"order {n}" for n in range(4, 20)]
    assert orders[0]["redelivered"] is True
    assert orders[0]["properties"] == {
        "content_type": "text/plain", "delivery_mode": 2, "priority": 3, "timestamp": 1234,
        "headers": {"n": 7, "deep": [1, {"a": True}]}}
    assert (orders[0]["exchange"], orders[0]["routing_key"]) == ("x", "a.b")
    copies = data(filled, "dump", "--messages", "--queue", "copies", folder)[1]
    assert [row["queue"] for row in copies] == ["copies"] * 23
    assert copies[20]["payload_bytes"] == len(LARGE) and "payload" not in copies[20]
    whole = data(filled, "dump", "--messages", "--queue", "copies", "--body", folder)[1]
    assert base64.b64decode(whole[20]["payload"]) == LARGE
    assert (whole[21]["payload_encoding"], base64.b64decode(whole[21]["payload"])) == (
        "base64", b"\xff\x00binary")
    assert whole[22]["payload"] == ""
    assert len(data(filled, "dump", "--messages", "--limit", 3, folder)[1]) == 3
    table = data(filled, "dump", "--messages", "--queue", "last", folder, json_wanted=False)[1]
    assert table.splitlines()[0].split("\t")[:3] == ["queue", "vhost", "seq"]
    assert len(table.splitlines()) == 2


def test_dump_is_what_the_broker_then_has(filled):
    folder = filled.process.folder
    told = data(filled, "dump", "--messages", "--body", folder)[1]
    filled.process.start()
    connection = pika.BlockingConnection(filled.parameters())
    channel = connection.channel()
    for queue in ("orders", "copies", "last"):
        for row in (row for row in told if row["queue"] == queue):
            method, properties, body = channel.basic_get(queue, auto_ack=True)
            payload = row["payload"].encode()
            if row["payload_encoding"] == "base64":
                payload = base64.b64decode(payload)
            assert (body, method.redelivered) == (payload, row["redelivered"])
            assert properties.delivery_mode == row["properties"]["delivery_mode"]
        assert channel.basic_get(queue)[0] is None
    connection.close()


def test_dump_tells_records(filled):
    folder = filled.process.folder
    rows = data(filled, "dump", "--records", folder)[1]
    assert {"PUB", "PART", "ACK", "DELIVERED"} <= {row["type"] for row in rows}
    assert all(row["kind"] == "journal" and row["lsn"] % 4096 == 0 for row in rows)
    large = [row for row in rows if row["type"] == "PUB" and row["flags"] == 1]
    assert len(large) == 1
    assert len(data(filled, "dump", "--records", "--queue", "last", folder)[1]) == 1
    status, _, err = data(filled, "dump", "--records", "--queue", "nobody", folder)
    assert status == 1 and "no queue of that name" in err


# ---- damage ----

def flip(folder, content):
    """Changes one bit where a message's body lies in a journal file; gives the file's name."""
    for path in (folder / "messages").glob("*.journal"):
        at = path.read_bytes().find(content)
        if at >= 0:
            with path.open("r+b") as file:
                file.seek(at)
                file.write(bytes([content[0] ^ 1]))
            return path.name
    raise AssertionError(f"no journal file has {content!r}")


def test_damage_is_named_and_can_be_left_out(filled):
    folder = filled.process.folder
    row = [row for row in data(filled, "dump", "--messages", folder)[1]
           if row["queue"] == "orders" and row["payload"] == "in one queue"][0]
    name = flip(folder, b"in one queue")
    status, found, _ = data(filled, "verify", folder)
    assert (status, found["verdict"]) == (1, "damaged")
    [damage] = [damage for damage in found["damages"] if damage["file"] == name]
    assert (damage["queue"], damage["vhost"]) == ("orders", "/")
    assert damage["seq"] == row["seq"]
    assert damage["offset"] % 4096 == 0 and damage["size"] == 4096
    text = data(filled, "verify", folder, json_wanted=False)[1]
    assert f"damaged: messages/{name} not what was written" in text
    assert f"queue=orders vhost=/ seq={row['seq']}" in text
    status, rows, err = data(filled, "dump", "--messages", folder)
    assert status == 1 and "was left out" in err
    assert "in one queue" not in [row.get("payload") for row in rows]
    before = picture(folder)
    refused = subprocess.run(filled.process.command(None), capture_output=True, text=True,
                             timeout=SECONDS_MAX, stdin=subprocess.DEVNULL, check=False)
    assert refused.returncode == 1 and "add --salvage" in refused.stderr
    assert f"queue_id={damage['queue_id']}" in refused.stderr and name in refused.stderr
    messages = [path for path in before if path.parts[0] == "messages"]
    assert all(picture(folder)[path] == before[path] for path in messages)
    filled.process.flags = ["--salvage"]
    filled.process.start()
    connection = pika.BlockingConnection(filled.parameters())
    channel = connection.channel()
    bodies = []
    while (got := channel.basic_get("orders", auto_ack=True))[0]:
        bodies.append(got[2])
    assert bodies == [b"order %d" % n for n in range(4, 20)] + [b"the same for its shard"]
    connection.close()


def test_damaged_definitions_are_named(filled):
    folder = filled.process.folder
    filled.process.start()
    filled.process.stop()
    with (folder / "meta.db").open("r+b") as file:
        file.seek(4096 * 3)
        file.write(b"\xa5" * 4096)
    status, found, _ = data(filled, "verify", folder)
    assert (status, found["verdict"]) == (1, "damaged")
    assert any("meta.db" in damage["what"] for damage in found["damages"])


def test_what_is_missing_is_named(filled, tmp_path):
    folder = filled.process.folder
    node = (folder / "node.id").read_text().strip()
    (folder / "node.id").unlink()
    status, found, _ = data(filled, "verify", folder)
    assert status == 1
    assert [damage["what"] for damage in found["damages"]] == [
        f"node.id is missing; the files of messages/ are of node {node}"]
    assert sum(queue["messages"] for queue in found["queues"]) == 42
    (folder / "node.id").write_text("0" * 32 + "\n")
    status, found, _ = data(filled, "verify", folder)
    assert (status, found["verdict"]) == (1, "refused")
    assert "of another node" in {damage["what"] for damage in found["damages"]}
    assert data(filled, "dump", "--messages", folder)[0] == 1
    (folder / "node.id").write_text(node + "\n")
    for name in ("meta.db", "meta.db-wal", "meta.db-shm"):
        (folder / name).rename(tmp_path / name)
    status, found, _ = data(filled, "verify", folder)
    assert status == 1 and found["damages"][0]["what"].startswith("meta.db is missing")
    assert found["ownerless"] > 42
    for name in ("meta.db", "meta.db-wal", "meta.db-shm"):
        (tmp_path / name).rename(folder / name)
    status, _, err = data(filled, "verify", tmp_path / "nowhere")
    assert status == 1 and "cannot open" in err
    (tmp_path / "empty").mkdir()
    status, _, err = data(filled, "verify", tmp_path / "empty")
    assert status == 1 and "no data directory" in err
    shutil.rmtree(folder / "messages")
    assert data(filled, "verify", folder)[0] == 0


@pytest.mark.parametrize("words", [[], ["verify"], ["look", "DIR"], ["verify", "A", "B"],
                                   ["dump", "--limit", "many", "DIR"],
                                   ["dump", "--messages", "--records", "DIR"]])
def test_wrong_usage(broker, words):
    if not broker.is_ours:
        pytest.skip("uses the binary beside a broker of our own")
    assert data(broker, *words)[0] == 2
