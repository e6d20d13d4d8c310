#!/usr/bin/python3
"""Slow and stuck clients, and what others notice: purges and deletes of long queues, consumers that
never ack, channels that close with very many unacked.

Others are a flow of 5,000 messages per second (beside.py). The figures are printed beside their
goals. What fails is only what is far off on any machine.
"""
import os
import random
import subprocess

import pytest

from beside import measure, resident_bytes
from crowd import Crowd, leave, messages
from patience import until
from wire import method_frame

MESSAGES = int(os.environ.get("GODWIT_SCALE_MESSAGES", "1000000"))
UNACKED = int(os.environ.get("GODWIT_SCALE_UNACKED", "100000"))
RUN_SECONDS_MAX = 300
PASSING = min(MESSAGES, 2_000_000)
PASSING_RATE = 100_000  # no more than the consumer takes: what waits takes memory


def fill(node, queue, count, *flags):
    client = Crowd(node)
    client.call(1, "queue.declare", queue=queue, durable=bool(flags))
    client.disconnect()
    perf = os.path.join(os.path.dirname(node.binary), "godwit-perf")
    # Its status says that messages are left: they are meant to be.
    subprocess.run([perf, "--port", str(node.port), "-p", "-x", "1", "-y", "0", "-u", queue, "-C",
                    str(count), "-s", "16", "-c", "10000", "--drain", "0", "--quiet", *flags],
                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                   check=False)
    assert depth(node, queue) == count


def depth(node, queue):
    client = Crowd(node)
    ready = client.call(1, "queue.declare", queue=queue, passive=True)["message_count"]
    client.disconnect()
    return ready


def ended(node):
    """The memory of what was dropped has been given back."""
    until(lambda: node.sight.metrics()["godwit_message_memory_bytes"] <= MESSAGES,
          seconds=RUN_SECONDS_MAX, what="the memory of what was dropped")


@pytest.mark.parametrize("durable", [False, True], ids=["transient", "durable"])
@pytest.mark.parametrize("how", ["purge", "delete"])
def test_a_long_queue_goes(quick, figure, how, durable):
    flags = ("-f", "persistent") if durable else ()

    def go(_):
        client = Crowd(quick)
        ok = client.call(1, f"queue.{how}", queue="long")
        assert ok["message_count"] == MESSAGES
        ended(quick)
        client.disconnect()

    found = measure(quick, lambda: fill(quick, "long", MESSAGES, *flags), go)
    found.tell(figure, f"{how} of {MESSAGES:,} {'persistent' if durable else 'transient'} messages")
    found.check()


# ---- a channel with very many unacked ----

def holding(node, queues):
    """A channel that has got UNACKED messages of these queues, and has settled none."""
    client = Crowd(node)
    client.each("queue.declare", ({"queue": queue} for queue in queues),
                queue_declare_ok=len(queues))
    for queue in queues:
        client.call(1, "queue.purge", queue=queue)
    client.each("basic.consume", ({"queue": queue, "consumer_tag": queue} for queue in queues),
                basic_consume_ok=len(queues))
    sender = Crowd(node)
    sender.ask(messages(queues[number % len(queues)] for number in range(UNACKED)))
    client.ask([], basic_deliver=UNACKED)
    sender.disconnect()
    client.queues = queues
    return client


def settled(client):
    """The queues have settled what was acked: they answer behind it."""
    for queue in client.queues:
        client.call(1, "queue.declare", queue=queue, passive=True)


def acks(tags):
    return (method_frame(1, "basic.ack", delivery_tag=tag) for tag in tags)


def shuffled():
    tags = list(range(1, UNACKED + 1))
    random.Random(1).shuffle(tags)
    return tags


def close_channel(node, client):
    client.call(1, "channel.close", reply_code=200)
    leave(client)


def lose_connection(node, client):
    def requeued():
        return node.sight.metrics()["godwit_messages_requeued_total"]

    before = requeued()
    client.close()
    until(lambda: requeued() - before >= UNACKED, seconds=RUN_SECONDS_MAX, what="the requeue")


def ack_at_once(node, client):
    client.send(1, "basic.ack", delivery_tag=0, multiple=True)
    settled(client)
    leave(client)


def ack_at_random(node, client):
    client.ask(acks(shuffled()))
    settled(client)
    leave(client)


def get_all_again(node, client):
    client.send(1, "basic.recover", requeue=True)
    client.ask([], basic_deliver=UNACKED, basic_recover_ok=1)
    leave(client)


def roll_back(node, client):
    client.call(1, "tx.select")
    client.ask(acks(shuffled()))
    client.call(1, "tx.rollback")
    close_channel(node, client)


ENDS = [close_channel, lose_connection, ack_at_once, ack_at_random, get_all_again, roll_back]


@pytest.mark.parametrize("queues", [1, 20])
@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
def test_a_consumer_that_never_acks(quick, figure, end, queues):
    names = [f"held.{number}" for number in range(queues)]
    found = measure(quick, lambda: holding(quick, names), lambda client: end(quick, client),
                    seconds=3)
    found.tell(figure, f"{UNACKED:,} unacked of {queues} queues: {end.__name__}")
    found.check()


def test_one_message_is_never_acked(quick, figure):
    """Memory does not follow what has passed it."""
    stuck = Crowd(quick)
    stuck.call(1, "queue.declare", queue="passing")
    stuck.call(1, "basic.qos", prefetch_count=1)
    stuck.ask(messages(["passing"]))
    stuck.each("basic.consume", [{"queue": "passing"}], basic_consume_ok=1, basic_deliver=1)
    before = resident_bytes(quick)
    perf = os.path.join(os.path.dirname(quick.binary), "godwit-perf")
    subprocess.run([perf, "--port", str(quick.port), "-p", "-u", "passing", "-s", "16", "-r",
                    str(PASSING_RATE), "-q", "1000", "-A", "50", "-C", str(PASSING), "--quiet"],
                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True,
                   timeout=RUN_SECONDS_MAX)
    grown = resident_bytes(quick) - before
    leave(stuck)
    assert depth(quick, "passing") == 1
    figure(f"memory after {PASSING:,} messages have passed one that is never acked", grown / 2**20,
           "MiB", "at most 32")
    assert grown <= 64 * 2**20
