#!/usr/bin/python3
"""Makes a golden data directory: what a broker of today leaves on disk when it is killed.

    GODWIT_BINARY=build/release/godwit tests/golden/make.py tests/golden/format-1

Writes data.tar.xz and expected.json into the folder, which must not have them: what a version once
wrote is never made anew, but read by all later ones (tests/clients/test_golden.py). Bodies are such
that they compress; the archive has no times and no owners.
"""
import hashlib
import io
import json
import lzma
import os
import pathlib
import subprocess
import sys
import tarfile
import tempfile

import pika

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/clients"))
from broker_process import BrokerProcess  # noqa: E402
from patience import until  # noqa: E402

SHARDS = 2
FILLER_BYTES = 1024 * 1024
FILLERS_MAX = 1000
SIZES = [0, 1, 7, 100, 4096, 70000, 1024 * 1024]
JOURNAL_FILES_REST = 4 * SHARDS  # with the spare ones
HOLES = 300
LARGE_BYTES = 9 * 1024 * 1024  # three records
PROPERTIES = {"content_type": "text/plain", "content_encoding": "utf-8", "delivery_mode": 2,
              "priority": 4, "correlation_id": "c", "reply_to": "r", "expiration": "3600000",
              "message_id": "m", "timestamp": 1700000000, "type": "t", "user_id": "guest",
              "app_id": "a", "headers": {"text": "\u00fc", "number": -5, "list": [1, "two", None],
                                         "table": {"true": True}}}


def body_of(size, number):
    """Bytes that compress, and are no other message's."""
    return (b"%d." % number * (size // 2 + 1))[:size]


def definitions():
    """What is declared, in the order of the calls."""
    exchanges = [("direct one", "direct", {}), ("fanout one", "fanout", {"arguments": {}}),
                 ("topic one", "topic", {"arguments": {"alternate-exchange": "fanout one"}}),
                 ("headers one", "headers", {"internal": True}),
                 ("auto one", "direct", {"auto_delete": True}), ("\u00fcmlaut", "topic", {})]
    queues = [("plain", {}), ("arguments", {"arguments": {"x-max-length": 100000, "note": "n",
                                                          "flag": True}}),
              ("large", {}), ("acked", {}), ("purged", {}), ("auto", {"auto_delete": True}),
              ("fillers", {}), ("some settled", {}), ("\u00fcmlaut queue", {})]
    bindings = [("plain", "topic one", "a.*.#", None), ("plain", "direct one", "key", None),
                ("arguments", "headers one", "", {"x-match": "any", "number": 5, "text": "a"}),
                ("\u00fcmlaut queue", "\u00fcmlaut", "\u00f6.#", {"list": [1, 2]}),
                ("acked", "topic one", "a.b", None), ("auto", "auto one", "k", None)]
    exchange_bindings = [("headers one", "topic one", "#", {"note": 1})]
    return exchanges, queues, bindings, exchange_bindings


class Maker:
    """A broker and a channel to it."""

    def __init__(self, binary, folder):
        self.process = BrokerProcess(binary, folder, SHARDS)
        self.process.start()
        parameters = pika.ConnectionParameters("127.0.0.1", self.process.port)
        self.connection = pika.BlockingConnection(parameters)
        self.channel = self.connection.channel()
        self.channel.confirm_delivery()
        self.number = 0

    def declare(self):
        exchanges, queues, bindings, exchange_bindings = definitions()
        for name, kind, settings in exchanges:
            self.channel.exchange_declare(name, kind, durable=True, **settings)
        for name, settings in queues:
            self.channel.queue_declare(name, durable=True, **settings)
        for queue, source, key, arguments in bindings:
            self.channel.queue_bind(queue, source, key, arguments=arguments)
        for destination, source, key, arguments in exchange_bindings:
            self.channel.exchange_bind(destination, source, key, arguments=arguments)
        # Neither of these is in the directory.
        self.channel.exchange_declare("passing", "fanout")
        self.channel.queue_declare("passing")
        self.channel.queue_declare("gone", durable=True)

    def publish(self, exchange, key, size, **properties):
        self.number += 1
        self.channel.basic_publish(exchange, key, body_of(size, self.number),
                                   pika.BasicProperties(**{"delivery_mode": 2, **properties}))

    def fill(self):
        for size in SIZES:
            self.publish("", "plain", size)
        self.publish("topic one", "a.b", 20, **PROPERTIES)
        self.publish("direct one", "key", 20, headers={"only": "headers"})
        self.publish("\u00fcmlaut", "\u00f6.\u00fc", 20)
        self.publish("", "arguments", 300)
        self.publish("", "arguments", 300, delivery_mode=1)
        self.publish("", "large", LARGE_BYTES)
        self.publish("", "auto", 10)
        self.publish("", "gone", 10)
        for _ in range(30):
            self.publish("", "acked", 50)
            self.publish("", "purged", 50)
        self.channel.queue_purge("purged")
        self.publish("", "purged", 60)
        self.channel.queue_delete("gone")

    def acknowledge(self):
        """All but each third of the first twenty."""
        tags = [self.channel.basic_get("acked")[0].delivery_tag for _ in range(20)]
        for at, tag in enumerate(tags):
            if at % 3 != 0:
                self.channel.basic_ack(tag)

    def make_holes(self):
        """Every other one of many is settled: bits say so when the file goes that said it first. By
        its name the queue is in the shard of the fillers, whose files go."""
        for _ in range(HOLES):
            self.publish("", "some settled", 10)
        for at in range(HOLES):
            tag = self.channel.basic_get("some settled")[0].delivery_tag
            if at % 2 == 0:
                self.channel.basic_ack(tag)

    def segments(self):
        return list((self.process.folder / "messages").glob("*.segment"))

    def journal_files(self):
        return list((self.process.folder / "messages").glob("*.journal"))

    def force_segment(self):
        """Publishes until a journal file is given up, and what lives in it is in a segment: it would
        be kept in place if most of it lived."""
        filler = bytes(FILLER_BYTES)
        for count in range(FILLERS_MAX):
            self.channel.basic_publish("", "fillers", filler, pika.BasicProperties(delivery_mode=2))
            if count % 20 == 0:
                self.channel.queue_purge("fillers")
            if self.segments():
                break
        else:
            raise SystemExit("no segment was made")
        self.channel.queue_purge("fillers")
        self.publish("", "fillers", 8)
        until(lambda: len(self.journal_files()) <= JOURNAL_FILES_REST,
              what="the return of journal files that nothing lives in")

    def kill(self):
        self.publish("", "acked", 50)  # its confirm comes behind the acknowledgements on disk
        self.process.process.kill()
        self.process.process.wait()


def ctl(binary, *words):
    done = subprocess.run([binary.parent / "godwitctl", "data", *words, "--json"], check=True,
                          capture_output=True, text=True)
    return json.loads(done.stdout)


def expected(binary, folder):
    """What godwitctl sees there; bodies by their digests."""
    messages = ctl(binary, "dump", "--messages", "--body", folder)
    for row in messages:
        assert row.pop("payload_encoding") == "string"
        row["sha256"] = hashlib.sha256(row.pop("payload").encode()).hexdigest()
    found = ctl(binary, "dump", folder)
    del found["product_version"]
    return {"definitions": found, "messages": messages}


def drop_new_spares(binary, folder):
    """Files that were made and never used take much room and say little; the smallest stays."""
    files = ctl(binary, "verify", folder)["files"]
    new = sorted((file["bytes"], file["file"]) for file in files
                 if file["kind"] == "spare" and "number" not in file)
    for _, name in new[1:]:
        (folder / "messages" / name).unlink()


def archive(folder, path):
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for entry in sorted(folder.rglob("*")):
            if entry.name in ("LOCK", "meta.db-shm"):
                continue
            info = tarfile.TarInfo(str(entry.relative_to(folder)))
            if entry.is_dir():
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(info)
            else:
                info.size, info.mode = entry.stat().st_size, 0o644
                with entry.open("rb") as file:
                    tar.addfile(info, file)
    path.write_bytes(lzma.compress(plain.getvalue(), preset=9))


def main():
    target = pathlib.Path(sys.argv[1])
    binary = pathlib.Path(os.environ["GODWIT_BINARY"]).resolve()
    if (target / "data.tar.xz").exists():
        raise SystemExit(f"{target} has a data directory, which is never made anew")
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch) / "data"
        maker = Maker(binary, folder)
        maker.declare()
        maker.fill()
        maker.make_holes()
        maker.force_segment()
        maker.acknowledge()
        maker.kill()
        drop_new_spares(binary, folder)
        records = ctl(binary, "dump", "--records", "--queue", "some settled", folder)
        assert any(row["type"] == "SETTLED" for row in records)
        text = json.dumps(expected(binary, folder), indent=1, ensure_ascii=False, sort_keys=True)
        target.mkdir(parents=True, exist_ok=True)
        (target / "expected.json").write_text(text + "\n")
        archive(folder, target / "data.tar.xz")
    print(f"{(target / 'data.tar.xz').stat().st_size} bytes")


main()
