#!/usr/bin/python3
"""The programs of rabbitmq-c: amqp-publish, -consume, -get, -declare-queue, -delete-queue."""
import shutil
import subprocess

import pytest

from patience import until

PROGRAMS = ["amqp-publish", "amqp-consume", "amqp-get", "amqp-declare-queue", "amqp-delete-queue"]
EMPTY = 2


@pytest.fixture
def run(broker):
    """Runs a program against the broker; answers with how it ended and what it wrote."""
    for program in PROGRAMS:
        assert shutil.which(program), f"{program} is missing: install amqp-tools"

    def run_program(program, *options, given=b"", expect=0, command=()):
        line = [program, "--server", broker.host, "--port", str(broker.port),
                "--username", "guest", "--password", "guest", *options, *command]
        done = subprocess.run(line, input=given, capture_output=True, timeout=60, check=False)
        if expect is not None:
            assert done.returncode == expect, done.stderr.decode()
        return done

    return run_program


@pytest.fixture
def queue(run, names):
    name = names.queue()
    assert run("amqp-declare-queue", "-q", name).stdout.decode().strip() == name
    return name


def get(run, queue):
    """A message's body, when one has come."""
    def taken():
        done = run("amqp-get", "-q", queue, expect=None)
        assert done.returncode in (0, EMPTY), done.stderr.decode()
        return done if done.returncode == 0 else None
    return until(taken, what="a message").stdout


def test_publish_and_get(run, queue):
    run("amqp-publish", "-r", queue, "-b", "from the command line", "-p")
    assert get(run, queue) == b"from the command line"
    assert run("amqp-get", "-q", queue, expect=EMPTY).stdout == b""


def test_publish_from_standard_input(run, queue):
    run("amqp-publish", "-r", queue, given=b"x" * 300000)
    assert get(run, queue) == b"x" * 300000


def test_server_named_queue(run):
    assert run("amqp-declare-queue", "-q", "").stdout.startswith(b"amq.gen-")


def test_durable_queue(run, channel, names):
    name = names.queue()
    run("amqp-declare-queue", "-d", "-q", name)
    channel.queue_declare(name, durable=True)


def test_lines_become_messages_and_are_consumed(run, queue):
    lines = [b"line %d\n" % number for number in range(20)]
    run("amqp-publish", "-r", queue, "-l", given=b"".join(lines))
    got = run("amqp-consume", "-q", queue, "-c", "20", "-p", "3", command=["cat"]).stdout
    assert got == b"".join(lines)
    assert run("amqp-get", "-q", queue, expect=EMPTY).stdout == b""


def test_consume_without_acks(run, queue):
    for word in "a", "b", "c":
        run("amqp-publish", "-r", queue, "-b", word)
    assert run("amqp-consume", "-q", queue, "-c", "3", "-A", command=["cat"]).stdout == b"abc"


def test_consumer_that_fails_leaves_the_message(run, queue):
    """amqp-consume acks only what its command took with success."""
    run("amqp-publish", "-r", queue, "-b", "unlucky")
    run("amqp-consume", "-q", queue, "-c", "1", "-p", "1", expect=None, command=["false"])
    assert get(run, queue) == b"unlucky"


def test_exclusive_consumer_bound_to_an_exchange(broker, run, channel, names):
    """amqp-consume makes its own queue, binds it, and names it on stderr when it consumes."""
    exchange = names.exchange()
    channel.exchange_declare(exchange, "topic")
    line = ["amqp-consume", "--server", broker.host, "--port", str(broker.port), "-e", exchange,
            "-r", "log.*", "-x", "-c", "2", "cat"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as consumer:
        named = consumer.stderr.readline()
        returned = []
        channel.add_on_return_callback(lambda *details: returned.append(details))
        channel.confirm_delivery()
        until_bound(channel, exchange)
        run("amqp-publish", "-e", exchange, "-r", "other", "-b", "not this")
        run("amqp-publish", "-e", exchange, "-r", "log.x", "-b", "this")
        out, _ = consumer.communicate(timeout=60)
    assert b"amq.gen-" in named
    assert out == b"boundthis"
    assert consumer.returncode == 0


def until_bound(channel, exchange):
    """Publishes until somebody is bound to take it."""
    from pika.exceptions import UnroutableError

    def routed():
        try:
            channel.basic_publish(exchange, "log.bound", b"bound", mandatory=True)
        except UnroutableError:
            return False
        return True
    until(routed, what="the consumer's binding")


def test_headers_and_content_type(run, queue, channel):
    run("amqp-publish", "-r", queue, "-b", "{}", "-C", "application/json", "-E", "utf-8",
        "-H", "kind: test", "-H", "other: 1", "-t", "back")
    _, properties, body = until(
        lambda: (lambda got: got if got[0] else None)(channel.basic_get(queue, auto_ack=True)),
        what="the message")
    assert body == b"{}"
    assert (properties.content_type, properties.content_encoding) == ("application/json", "utf-8")
    assert properties.headers == {"kind": "test", "other": "1"}
    assert properties.reply_to == "back"


def test_delete_counts_and_conditions(run, queue):
    run("amqp-publish", "-r", queue, "-b", "one")
    refused = until(lambda: (lambda done: done if done.returncode else None)(
        run("amqp-delete-queue", "-q", queue, "-e", expect=None)), what="a refusal")
    assert b"not empty" in refused.stderr
    assert run("amqp-delete-queue", "-q", queue).stdout.strip() == b"1"


def test_errors_are_reported(run, names):
    done = run("amqp-get", "-q", names.queue("absent"), expect=None)
    assert done.returncode == 1
    assert b"404" in done.stderr and b"NOT_FOUND" in done.stderr
    refused = run("amqp-get", "-q", "x", "--password", "wrong", expect=None)
    assert refused.returncode == 1
    assert b"403" in refused.stderr or b"ACCESS_REFUSED" in refused.stderr


def test_connection_by_url(broker, names):
    name = names.queue()
    done = subprocess.run(["amqp-declare-queue", "-u", broker.url, "-q", name],
                          capture_output=True, timeout=60, check=False)
    assert done.stdout.decode().strip() == name, done.stderr.decode()
