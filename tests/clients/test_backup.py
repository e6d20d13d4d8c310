#!/usr/bin/python3
"""A running broker copies its directory, and another one starts on the copy."""
import contextlib
import json
import threading
import urllib.parse

import pika
import pytest

from patience import until
from sight import Sight
from test_data import data, kill

PERSISTENT = pika.BasicProperties(delivery_mode=2)
FILLER = bytes(1024 * 1024)
FILLERS_MAX = 400
PUBLISHERS = 3
LEAST = 200  # messages of each publisher before the backup begins
FILLED = 12  # large ones beside them


class Publisher(threading.Thread):
    """Publishes numbered messages until it is told to stop; knows which are confirmed."""

    def __init__(self, broker, queue):
        super().__init__(daemon=True)
        self.parameters = broker.parameters()
        self.queue = queue
        self.confirmed = 0  # the first so many
        self.ended = threading.Event()

    def run(self):
        connection = pika.BlockingConnection(self.parameters)
        channel = connection.channel()
        channel.confirm_delivery()
        while not self.ended.is_set():
            channel.basic_publish("", self.queue, b"%d" % self.confirmed, PERSISTENT)
            self.confirmed += 1
        connection.close()


class Doomed(Publisher):
    """Its broker is killed."""

    def run(self):
        with contextlib.suppress(pika.exceptions.AMQPError):
            super().run()


class Consumer(threading.Thread):
    """Acknowledges what it gets until it is told to stop."""

    def __init__(self, broker, queue):
        super().__init__(daemon=True)
        self.parameters = broker.parameters()
        self.queue = queue
        self.acked = 0  # sent for the first so many
        self.ended = threading.Event()

    def run(self):
        connection = pika.BlockingConnection(self.parameters)
        channel = connection.channel()
        channel.basic_qos(prefetch_count=10)
        for method, _, body in channel.consume(self.queue, inactivity_timeout=0.1):
            if self.ended.is_set():
                break
            if method:
                assert int(body) == self.acked
                channel.basic_ack(method.delivery_tag)
                self.acked += 1
        connection.close()


def backup(broker, folder):
    """Has godwitctl make one; gives what it tells."""
    status, out, err = Sight(broker.process).ctl("--json", "backup", str(folder))
    assert (status, err) == (0, "")
    return json.loads(out)


def post(broker, folder, **login):
    path = "/api/backup?directory=" + urllib.parse.quote(str(folder), safe="")
    status, _, body = Sight(broker.process).request(path, method="POST", **login)
    return status, json.loads(body)


def bodies(broker, folder, queue):
    """The bodies of the queue's messages in a directory, in order."""
    status, rows, _ = data(broker, "dump", "--messages", "--body", "--queue", queue, folder)
    assert status == 0
    return [row["payload"] for row in sorted(rows, key=lambda row: row["seq"])]


def numbers(broker, folder, queue):
    return [int(body) for body in bodies(broker, folder, queue)]


def assert_clean(broker, folder):
    status, found, _ = data(broker, "verify", folder)
    assert (status, found["verdict"], found["damages"]) == (0, "clean", [])
    return found


def declare(broker, *queues):
    connection = pika.BlockingConnection(broker.parameters())
    for queue in queues:
        connection.channel().queue_declare(queue, durable=True)
    connection.close()


def test_a_backup_under_load_has_all_that_was_confirmed(start_broker, tmp_path):
    broker = start_broker()
    kept = [f"kept.{n}" for n in range(PUBLISHERS)]
    declare(broker, *kept, "flowing")
    publishers = [Publisher(broker, queue) for queue in [*kept, "flowing"]]
    consumer = Consumer(broker, "flowing")
    for thread in [*publishers, consumer]:
        thread.start()
    until(lambda: min(p.confirmed for p in publishers) > LEAST and consumer.acked > LEAST,
          what="the load")
    confirmed = [publisher.confirmed for publisher in publishers]
    report = backup(broker, tmp_path / "copy")
    acked = consumer.acked + 1  # one may be on its way
    assert report["state"] == "done" and report["files"] > 0 and report["bytes"] > 0
    for thread in [*publishers, consumer]:
        thread.ended.set()
    for thread in [*publishers, consumer]:
        thread.join()
    assert sorted(path.name for path in (tmp_path / "copy").iterdir()) == [
        "LOCK", "messages", "meta.db", "node.id"]
    assert_clean(broker, tmp_path / "copy")
    for queue, least in zip(kept, confirmed):
        found = numbers(broker, tmp_path / "copy", queue)
        assert found == list(range(len(found))) and len(found) >= least
    # What is not there was acknowledged; what was not when the backup had ended is there.
    flowing = numbers(broker, tmp_path / "copy", "flowing")
    if acked < confirmed[-1]:
        assert set(flowing) >= set(range(acked, confirmed[-1]))
    assert flowing == list(range(flowing[0], flowing[-1] + 1)) if flowing else True
    # The broker that was copied is as it was.
    kill(broker)
    assert_clean(broker, broker.process.folder)
    for queue, publisher in zip(kept, publishers):
        assert len(numbers(broker, broker.process.folder, queue)) == publisher.confirmed
    # Another one starts on the copy and goes on.
    second = start_broker(folder=tmp_path / "copy")
    connection = pika.BlockingConnection(second.parameters())
    channel = connection.channel()
    channel.confirm_delivery()
    for queue, least in zip(kept, confirmed):
        ready = channel.queue_declare(queue, passive=True).method.message_count
        assert ready >= least
        channel.basic_publish("", queue, b"%d" % ready, PERSISTENT)
    connection.close()
    kill(second)
    assert_clean(second, tmp_path / "copy")
    for queue in kept:
        found = numbers(second, tmp_path / "copy", queue)
        assert found == list(range(len(found)))


def fill(channel, condition=lambda: False, count=FILLERS_MAX):
    for _ in range(count):
        channel.basic_publish("", "fillers", FILLER, PERSISTENT)
        if condition():
            return
    assert count != FILLERS_MAX, "that took too many messages"


def fill_many(channel, queues, condition):
    """The same, with so many queues' messages in each file that none is kept in place."""
    piece = FILLER[: len(FILLER) // len(queues)]
    for _ in range(FILLERS_MAX):
        for queue in queues:
            channel.basic_publish("", queue, piece, PERSISTENT)
        if condition():
            return
    assert False, "that took too many messages"


def use_files(channel, rounds):
    """Fills journal files that are given back then, some to be used again."""
    for _ in range(rounds):
        fill(channel, count=40)
        channel.queue_purge("fillers")


def test_a_backup_of_files_that_were_given_back(start_broker, tmp_path):
    """Journal files are released and used again before, between and after two backups."""
    broker = start_broker(shards=1)  # whose segments have messages of all queues
    folder = broker.process.folder / "messages"
    many = [f"filler.{number}" for number in range(20)]
    declare(broker, "fillers", "old", *many)
    connection = pika.BlockingConnection(broker.parameters())
    channel = connection.channel()
    channel.confirm_delivery()
    for number in range(50):
        channel.basic_publish("", "old", b"%d" % number, PERSISTENT)
    for number in range(10):
        channel.basic_ack(channel.basic_get("old")[0].delivery_tag)
    fill_many(channel, many, lambda: list(folder.glob("*.segment")))
    for queue in many:
        channel.queue_purge(queue)
    first = backup(broker, tmp_path / "first")
    assert first["linked"] >= 1
    use_files(channel, 4)
    for number in range(50, 60):
        channel.basic_publish("", "old", b"%d" % number, PERSISTENT)
    second = backup(broker, tmp_path / "second")
    assert second["linked"] >= 1
    use_files(channel, 4)
    connection.close()
    kill(broker)
    living = numbers(broker, broker.process.folder, "old")
    assert living == list(range(10, 60))
    for copy, last in (("first", 50), ("second", 60)):
        assert_clean(broker, tmp_path / copy)
        assert numbers(broker, tmp_path / copy, "old") == list(range(10, last))
        assert len(bodies(broker, tmp_path / copy, "fillers")) <= 1
    restored = start_broker(folder=tmp_path / "first")
    connection = pika.BlockingConnection(restored.parameters())
    channel = connection.channel()
    assert [int(channel.basic_get("old", auto_ack=True)[2]) for _ in range(40)] == list(range(10, 50))
    assert channel.basic_get("old")[0] is None
    connection.close()
    restored.process.stop()
    # What is done with one copy leaves the others alone.
    assert numbers(broker, tmp_path / "second", "old") == list(range(10, 60))
    broker.process.start()
    assert Sight(broker.process).queue("old")["messages"] == 50


def test_a_backup_of_files_that_are_kept_in_place(start_broker, tmp_path):
    """They get a second name; who drains the one broker or the other leaves the other's alone."""
    broker = start_broker(shards=1)
    sight = Sight(broker.process)
    declare(broker, "fillers")
    connection = pika.BlockingConnection(broker.parameters())
    channel = connection.channel()
    channel.confirm_delivery()
    fill(channel, lambda: sight.metrics()["godwit_store_files_kept_total"] > 1)
    count = channel.queue_declare("fillers", passive=True).method.message_count
    report = backup(broker, tmp_path / "copy")
    assert report["linked"] > 1
    channel.queue_purge("fillers")
    connection.close()
    kill(broker)
    assert_clean(broker, tmp_path / "copy")
    assert len(bodies(broker, tmp_path / "copy", "fillers")) == count
    restored = start_broker(folder=tmp_path / "copy")
    connection = pika.BlockingConnection(restored.parameters())
    channel = connection.channel()
    for _ in range(count):
        assert channel.basic_get("fillers", auto_ack=True)[2] == FILLER
    assert channel.basic_get("fillers")[0] is None
    connection.close()


def test_what_the_broker_has_no_use_for_is_refused(start_broker, tmp_path):
    broker = start_broker()
    sight = Sight(broker.process)
    assert sight.get("/api/backup")["state"] == "none"
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    (tmp_path / "left.part").mkdir()
    (tmp_path / "file").write_text("mine")
    for folder, reason in ((tmp_path / "full", "is not empty"), ("relative/path", "absolute"),
                           (tmp_path / "left", "left from a backup that did not end"),
                           (tmp_path / "file", "Not a directory"),
                           (tmp_path / "no" / "where", "No such file"),
                           (broker.process.folder, "is not empty")):
        status, answer = post(broker, folder)
        assert (status, answer["error"]) == (400, "bad_request")
        assert reason in answer["reason"], folder
    assert (tmp_path / "full" / "file").read_text() == "mine"
    assert sight.request("/api/backup", method="POST")[0] == 400
    assert sight.request("/api/backup", method="PUT")[0] == 405
    assert post(broker, tmp_path / "good", password="wrong")[0] == 401
    assert sight.request("/api/backup", user=None)[0] == 401
    assert not (tmp_path / "good").exists()
    status, _, err = sight.ctl("backup", str(tmp_path / "full"))
    assert status == 1 and "is not empty" in err
    assert sight.ctl("backup", "relative")[0] == 2
    assert sight.ctl("backup")[0] == 2
    assert sight.get("/api/backup")["state"] == "none"


def test_an_empty_broker_and_an_empty_directory(start_broker, tmp_path):
    broker = start_broker()
    (tmp_path / "there").mkdir()
    report = backup(broker, f"{tmp_path}/there/")
    assert (report["state"], report["linked"]) == ("done", 0)
    assert_clean(broker, tmp_path / "there")
    status, out, _ = Sight(broker.process).ctl("backup", str(tmp_path / "plain"))
    assert status == 0 and out.startswith(f"Backing up to {tmp_path / 'plain'} ...\n")
    second = start_broker(folder=tmp_path / "there")
    declare(second, "new")
    assert Sight(second.process).queue("new")["durable"] is True


def test_a_stop_ends_a_backup(start_broker, tmp_path):
    broker = start_broker()
    declare(broker, "fillers")
    connection = pika.BlockingConnection(broker.parameters())
    channel = connection.channel()
    channel.confirm_delivery()
    for _ in range(30):
        channel.basic_publish("", "fillers", FILLER, PERSISTENT)
    connection.close()
    status, answer = post(broker, tmp_path / "copy")
    assert (status, answer["state"]) == (202, "running")
    broker.process.stop()
    assert not (tmp_path / "copy.part").exists()
    if (tmp_path / "copy").exists():
        assert_clean(broker, tmp_path / "copy")
    assert_clean(broker, broker.process.folder)


# What there is of a copy when the broker is killed.
MOMENTS = {
    "asked for": lambda part: True,
    "begun": lambda part: part.exists(),
    "with messages": lambda part: any((part / "messages").glob("*")),
    "with definitions": lambda part: (part / "meta.db").exists() or not part.exists(),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_kill_during_a_backup(start_broker, tmp_path, moment):
    """Nothing that was confirmed is missing, whatever became of the copy, and the next one is good."""
    broker = start_broker()
    queues = [f"kept.{n}" for n in range(PUBLISHERS)]
    declare(broker, "fillers", *queues)
    connection = pika.BlockingConnection(broker.parameters())
    channel = connection.channel()
    channel.confirm_delivery()
    fill(channel, count=FILLED)
    connection.close()
    publishers = [Doomed(broker, queue) for queue in queues]
    for publisher in publishers:
        publisher.start()
    until(lambda: min(p.confirmed for p in publishers) > LEAST, what="the load")
    assert post(broker, tmp_path / "copy")[0] == 202
    part = tmp_path / "copy.part"
    until(lambda: MOMENTS[moment](part) or (tmp_path / "copy").exists(), what=f"a copy {moment}")
    kill(broker)
    for publisher in publishers:
        publisher.join()
    assert_clean(broker, broker.process.folder)
    if (tmp_path / "copy").exists():
        assert_clean(broker, tmp_path / "copy")
    broker.process.start()
    if part.exists():
        assert "did not end" in post(broker, tmp_path / "copy")[1]["reason"]
    backup(broker, tmp_path / "again")
    assert_clean(broker, tmp_path / "again")
    kill(broker)
    for folder in (broker.process.folder, tmp_path / "again"):
        for publisher in publishers:
            found = numbers(broker, folder, publisher.queue)
            assert found == list(range(len(found))) and len(found) >= publisher.confirmed
        assert len(bodies(broker, folder, "fillers")) == FILLED


def test_one_backup_at_a_time(start_broker, tmp_path):
    broker = start_broker()
    answers = [post(broker, tmp_path / f"copy{n}")[0] for n in range(5)]
    assert answers[0] == 202 and set(answers) <= {202, 409}
    sight = Sight(broker.process)
    until(lambda: sight.get("/api/backup")["state"] == "done", what="the last backup's end")
    made = [n for n, status in enumerate(answers) if status == 202]
    for number in made:
        assert_clean(broker, tmp_path / f"copy{number}")


@pytest.mark.parametrize("path", ["/api/queues", "/api/overview", "/health"])
def test_other_paths_are_only_read(start_broker, path):
    assert Sight(start_broker().process).request(path, method="POST")[0] == 405
