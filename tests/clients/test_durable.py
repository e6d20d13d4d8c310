#!/usr/bin/python3
"""What is durable is there after the broker was killed, whatever number of shards it has then."""
import sqlite3
import subprocess

import pika
import pytest

from patience import until
from sight import Sight

EXCHANGE_ARGUMENTS = {"alternate-exchange": "amq.fanout"}
QUEUE_ARGUMENTS = {"x-max-length": 1000, "x-queue-mode": "lazy", "note": "\u00fc"}
BINDING_ARGUMENTS = {"x-match": "any", "number": 5, "text": "a"}
ROUNDS = 12
SECONDS_MAX = 60


def kill_and_start(broker, shards):
    process = broker.process
    process.process.kill()
    process.process.wait()
    process.reader.join()
    process.shards = shards
    process.start()


def refuses(broker):
    """It does not start; gives what it says."""
    done = subprocess.run(broker.process.command(None), capture_output=True, text=True,
                          timeout=SECONDS_MAX, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 1, done.stderr
    assert "server.ready" not in done.stderr
    return done.stderr


def rows(broker, query):
    path = broker.process.folder / "meta.db"
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
        return database.execute(query).fetchall()


def await_commits(channel, broker):
    """What was declared before on this connection is stable when what is declared now is."""
    channel.queue_declare("marker", durable=True)
    until(lambda: rows(broker, "SELECT 1 FROM queues WHERE name = 'marker'"), what="the marker")
    channel.queue_delete("marker")
    until(lambda: not rows(broker, "SELECT 1 FROM queues WHERE name = 'marker'"), what="its end")


def seen(broker):
    """Everything that the broker has, by its name, with what was declared."""
    sight = Sight(broker.process)
    exchanges = {row["name"]: (row["type"], row["durable"], row["auto_delete"], row["internal"],
                               row["arguments"]) for row in sight.get("/api/exchanges/%2F")}
    queues = {row["name"]: (row["durable"], row["auto_delete"], row["exclusive"], row["arguments"])
              for row in sight.get("/api/queues/%2F")}
    bindings = sorted(
        (row["source"], row["destination"], row["destination_type"], row["routing_key"],
         sorted(row["arguments"].items())) for row in sight.get("/api/bindings/%2F"))
    return exchanges, queues, bindings


def durable_part(exchanges, queues, bindings):
    exchanges = {name: row for name, row in exchanges.items() if row[1]}
    queues = {name: row for name, row in queues.items() if row[0]}
    ends = {"queue": queues, "exchange": exchanges}
    bindings = [row for row in bindings if row[0] in exchanges and row[1] in ends[row[2]]]
    return exchanges, queues, bindings


def declare_all(channel, number):
    """One of each kind; and some that are gone again."""
    kind = ["direct", "fanout", "topic", "headers"][number % 4]
    for durable in (False, True):
        word = "kept" if durable else "passing"
        channel.exchange_declare(f"x.{word}.{number}", kind, durable=durable,
                                 internal=number % 5 == 1, arguments=EXCHANGE_ARGUMENTS)
        channel.exchange_declare(f"auto.{word}.{number}", kind, durable=durable, auto_delete=True)
        channel.queue_declare(f"q.{word}.{number}", durable=durable, auto_delete=number % 3 == 1,
                              arguments=QUEUE_ARGUMENTS if number % 2 else None)
    channel.queue_declare(f"mine.{number}", durable=True, exclusive=True)
    for source in (f"x.kept.{number}", f"x.passing.{number}", f"auto.kept.{number}", "amq.topic"):
        for queue in (f"q.kept.{number}", f"q.passing.{number}", f"mine.{number}"):
            channel.queue_bind(queue, source, f"key.{number}.\u00e4", arguments=BINDING_ARGUMENTS)
            channel.queue_bind(queue, source, "other")
        channel.queue_unbind(f"q.kept.{number}", source, "other")
    channel.exchange_bind(f"x.kept.{number}", f"auto.passing.{number}", "e")
    channel.exchange_bind(f"x.kept.{number}", "amq.headers", "e", arguments=BINDING_ARGUMENTS)
    channel.queue_declare(f"gone.{number}", durable=True)
    channel.exchange_declare(f"gone.{number}", kind, durable=True, auto_delete=True)
    channel.queue_bind(f"gone.{number}", f"gone.{number}", "k")
    channel.queue_delete(f"gone.{number}")


def test_durable_definitions_survive(start_broker):
    broker = start_broker()
    connection = pika.BlockingConnection(broker.parameters())
    channel = connection.channel()
    for number in range(ROUNDS):
        declare_all(channel, number)
    await_commits(channel, broker)
    kept = durable_part(*seen(broker))
    assert len(kept[0]) == 7 + 2 * ROUNDS
    assert len(kept[1]) == ROUNDS
    for shards in (3, 1):
        kill_and_start(broker, shards)
        assert seen(broker) == kept
        assert rows(broker, "SELECT count(*) FROM exchanges WHERE name LIKE 'gone%'") == [(0,)]


def test_what_survived_is_what_was_declared(start_broker):
    broker = start_broker()
    channel = pika.BlockingConnection(broker.parameters()).channel()
    channel.queue_declare("q", durable=True, arguments=QUEUE_ARGUMENTS)
    channel.exchange_declare("x", "topic", durable=True, arguments=EXCHANGE_ARGUMENTS)
    channel.queue_bind("q", "x", "#")
    await_commits(channel, broker)
    kill_and_start(broker, 2)
    connection = pika.BlockingConnection(broker.parameters())
    channel = connection.channel()
    channel.queue_declare("q", durable=True, arguments=QUEUE_ARGUMENTS)
    channel.exchange_declare("x", "topic", durable=True, arguments=EXCHANGE_ARGUMENTS)
    channel.confirm_delivery()
    channel.basic_publish("x", "a.b", b"hello", mandatory=True)
    assert channel.basic_get("q", auto_ack=True)[2] == b"hello"
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as closed:
        channel.queue_declare("q", durable=False, arguments=QUEUE_ARGUMENTS)
    assert closed.value.reply_code == 406
    # Ids are not given twice: a new queue's is above all that were there before.
    channel = connection.channel()
    channel.queue_declare("younger", durable=True)
    await_commits(channel, broker)
    assert rows(broker, "SELECT name FROM queues ORDER BY id") == [("q",), ("younger",)]
    connection.close()


def test_orderly_stop_commits(start_broker):
    broker = start_broker()
    connection = pika.BlockingConnection(broker.parameters())
    channel = connection.channel()
    for number in range(200):
        channel.queue_declare(f"q{number}", durable=True)
    broker.process.stop()
    broker.process.start()
    assert len(seen(broker)[1]) == 200


def test_a_newer_database_is_refused(start_broker):
    broker = start_broker()
    broker.process.stop()
    path = broker.process.folder / "meta.db"
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    complaint = refuses(broker)
    assert "has version 99" in complaint and "run a newer one" in complaint


def test_a_row_of_a_newer_version_is_refused(start_broker):
    broker = start_broker()
    pika.BlockingConnection(broker.parameters()).channel().queue_declare("orders", durable=True)
    broker.process.stop()
    path = broker.process.folder / "meta.db"
    with sqlite3.connect(path) as database:
        database.execute("UPDATE queues SET content = x'0200'")
    assert "queue 'orders' has a version that this program does not know" in refuses(broker)


def test_the_node_keeps_its_id(start_broker):
    broker = start_broker()
    path = broker.process.folder / "node.id"
    before = path.read_text()
    assert len(before) == 33
    broker.process.stop()
    broker.process.start()
    assert path.read_text() == before
    broker.process.stop()
    path.write_text("rubbish\n")
    assert "node.id' is damaged" in refuses(broker)


def test_transient_messages_of_a_durable_queue_are_delivered(start_broker):
    """Also mixed with persistent ones, and more of them than are recorded ahead at once."""
    broker = start_broker()
    connection = pika.BlockingConnection(broker.parameters())
    channel = connection.channel()
    channel.queue_declare("q", durable=True)
    channel.basic_qos(prefetch_count=10)
    deliveries = channel.consume("q", inactivity_timeout=SECONDS_MAX)
    for number in range(300):
        kind = 1 + number // 100 % 2
        channel.basic_publish("", "q", b"%d" % number, pika.BasicProperties(delivery_mode=kind))
        method, _, body = next(deliveries)
        assert method and body == b"%d" % number
        channel.basic_ack(method.delivery_tag)
    connection.close()
