#!/usr/bin/python3
"""Very many of everything, coming and going, and what others notice: bindings, queues, connections,
channels of one connection, consumers of one queue.

Others are a flow of 5,000 messages per second (beside.py). The figures are printed beside their
goals. What fails is only what is far off on any machine.
"""
import os
import resource
import select
import socket
import time

import pytest

from beside import Turns, measure, resident_bytes
from crowd import Crowd, leave, messages
from patience import until
from wire import CAPABILITIES, PROTOCOL_HEADER, method_frame

BINDINGS = int(os.environ.get("GODWIT_SCALE_BINDINGS", "100000"))
QUEUES = int(os.environ.get("GODWIT_SCALE_EXCLUSIVE", "100000"))
CONNECTIONS = int(os.environ.get("GODWIT_SCALE_CONNECTIONS", "20000"))
CONSUMERS = int(os.environ.get("GODWIT_SCALE_CONSUMERS", "10000"))
CHANNELS = 1000
DESCRIPTORS_SPARE = 200
OPENING_MAX = 2000  # at once: fewer than the broker's backlog
WAIT_SECONDS_MAX = 60
CONNECTION_BYTES_MAX = 4096


# ---- bindings ----

def names(count):
    return [f"crowd.{number}" for number in range(count)]


def bound(node, kind, queues):
    client = Crowd(node)
    client.call(1, "exchange.declare", exchange="crowd", type=kind)
    client.each("queue.declare", ({"queue": queue} for queue in queues),
                queue_declare_ok=len(queues))
    client.each("queue.bind", ({"queue": queues[number % len(queues)], "exchange": "crowd",
                                "routing_key": f"some.{number}.key"} for number in range(BINDINGS)),
                queue_bind_ok=BINDINGS)
    return client


def delete_queues(client, queues):
    client.each("queue.delete", ({"queue": queue} for queue in queues),
                queue_delete_ok=len(queues))


@pytest.mark.parametrize("kind", ["direct", "topic"])
@pytest.mark.parametrize("queues", [1, 1000])
def test_bindings(quick, figure, kind, queues):
    queues = names(queues)
    what = f"{BINDINGS:,} {kind} bindings of {len(queues)} queues"
    began, before = time.monotonic(), resident_bytes(quick)
    client = bound(quick, kind, queues)
    figure(f"{what}, declared", BINDINGS / (time.monotonic() - began), "per second", "none")
    figure(f"{what}, memory of each", (resident_bytes(quick) - before) / BINDINGS, "bytes", "none")
    client.call(1, "exchange.delete", exchange="crowd")
    client.disconnect()

    def delete_exchange(client):
        client.call(1, "exchange.delete", exchange="crowd")
        client.disconnect()

    found = measure(quick, lambda: bound(quick, kind, queues), delete_exchange, seconds=2)
    found.tell(figure, f"{what}, their exchange deleted")
    found.check()

    def delete_destinations(client):
        delete_queues(client, queues)
        client.disconnect()

    found = measure(quick, lambda: bound(quick, kind, queues), delete_destinations, seconds=2)
    found.tell(figure, f"{what}, their queues deleted")
    found.check()


# ---- queues ----

def test_exclusive_queues(quick, figure):
    """Of one connection, which deletes some in the order of declaring and leaves the rest."""
    queues = names(QUEUES)

    def declared():
        client = Crowd(quick)
        client.each("queue.declare", ({"queue": queue, "exclusive": True} for queue in queues),
                    queue_declare_ok=QUEUES)
        return client

    found = measure(quick, declared, lambda client: client.disconnect(), seconds=3)
    found.tell(figure, f"{QUEUES:,} exclusive queues, their connection closed")
    found.check()
    client, some = declared(), queues[:QUEUES // 4]
    began = time.monotonic()
    delete_queues(client, some)
    seconds = time.monotonic() - began
    figure(f"of {QUEUES:,} exclusive queues deleted", len(some) / seconds, "per second", "10,000")
    client.disconnect()
    assert len(some) / seconds > 1000


# ---- consumers ----

def consuming(node, channels):
    client = Crowd(node)
    client.call(1, "queue.declare", queue="crowd")
    for number in range(2, channels + 1):
        client.call(number, "channel.open")
    client.ask((method_frame(1 + number % channels, "basic.consume", queue="crowd", no_ack=True,
                             consumer_tag=f"c{number}") for number in range(CONSUMERS)),
               basic_consume_ok=CONSUMERS)
    return client


def cancel_all(client):
    client.each("basic.cancel", ({"consumer_tag": f"c{n}"} for n in range(CONSUMERS)),
                basic_cancel_ok=CONSUMERS)
    leave(client)


def delete_their_queue(client):
    client.send(1, "queue.delete", queue="crowd")
    client.ask([], queue_delete_ok=1, basic_cancel=CONSUMERS)
    leave(client)


def give_each_ten(client):
    client.ask(messages(["crowd"] * 10 * CONSUMERS), basic_deliver=10 * CONSUMERS)
    leave(client)


@pytest.mark.parametrize("channels, end", [
    (1, cancel_all), (1, leave), (CHANNELS, leave), (1, delete_their_queue), (1, give_each_ten),
], ids=lambda value: getattr(value, "__name__", value))
def test_consumers_of_one_queue(quick, figure, channels, end):
    found = measure(quick, lambda: consuming(quick, channels), end, seconds=3)
    found.tell(figure, f"{CONSUMERS:,} consumers of a queue, {channels} channels: {end.__name__}")
    found.check()


# ---- channels ----

def test_channels_of_one_connection(quick, figure):
    numbers = range(2, CHANNELS + 2)

    def churn(client):
        for _ in range(20):
            client.ask((method_frame(number, "channel.open") for number in numbers),
                       channel_open_ok=CHANNELS)
            client.ask((method_frame(number, "channel.close", reply_code=200)
                        for number in reversed(numbers)), channel_close_ok=CHANNELS)
        client.disconnect()

    found = measure(quick, lambda: Crowd(quick), churn, seconds=3)
    found.tell(figure, f"{CHANNELS:,} channels opened and closed 20 times")
    found.check()


# ---- connections ----

HELLO = PROTOCOL_HEADER + b"".join([
    method_frame(0, "connection.start_ok", client_properties={"capabilities": CAPABILITIES},
                 mechanism="PLAIN", response="\0guest\0guest", locale="en_US"),
    method_frame(0, "connection.tune_ok", channel_max=2047, frame_max=131072, heartbeat=0),
    method_frame(0, "connection.open", virtual_host="/"),
    method_frame(1, "channel.open")])
OPENED = b"\x00\x14\x00\x0b"


def begin(node, number, poll):
    """Spread over addresses: one has fewer ports than there may be connections."""
    one = socket.socket()
    one.setblocking(False)
    one.bind((f"127.0.0.{2 + number % 8}", 0))
    one.connect_ex(node.address)
    poll.register(one, select.EPOLLOUT)
    return one


def open_all(node, count):
    """So many connections with a channel each, all of them idle."""
    poll, by_fd, said, opened = select.epoll(), {}, {}, 0
    while opened < count:
        while len(by_fd) < count and len(by_fd) - opened < OPENING_MAX:
            one = begin(node, len(by_fd), poll)
            by_fd[one.fileno()] = one
        events = poll.poll(WAIT_SECONDS_MAX)
        assert events, f"{opened} of {count} connections, and then nothing"
        for fd, event in events:
            if event & select.EPOLLOUT:
                by_fd[fd].sendall(HELLO)
                poll.modify(fd, select.EPOLLIN)
                continue
            said[fd] = said.get(fd, b"") + by_fd[fd].recv(4096)
            if OPENED in said[fd]:
                poll.unregister(fd)
                opened += 1
    return list(by_fd.values())


def close_all(node, connections):
    for one in connections:
        one.close()
    until(lambda: node.sight.metrics()["rabbitmq_connections"] <= DESCRIPTORS_SPARE,
          seconds=WAIT_SECONDS_MAX, what="the end of all connections")


def test_connections(quick, figure):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    count = min(CONNECTIONS, hard - DESCRIPTORS_SPARE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    close_all(quick, open_all(quick, 100))  # what is only taken once
    before, turns, began = resident_bytes(quick), Turns(quick), time.monotonic()
    connections = open_all(quick, count)
    seconds = time.monotonic() - began
    each = (resident_bytes(quick) - before) / count
    figure(f"{count:,} connections opened", count / seconds, "per second", "none")
    figure(f"{count:,} connections opened: longest turn at most", turns.worst() * 1000, "ms", "1")
    figure("memory of an idle connection with a channel", each, "bytes", "at most 4,096")
    assert each <= CONNECTION_BYTES_MAX
    publish = b"".join(messages(["nobody's"]))

    def all_publish(_):
        for one in connections:
            one.sendall(publish)

    found = measure(quick, lambda: None, all_publish, seconds=3)
    found.tell(figure, f"{count:,} connections publish one message each")
    found.check()
    close_all(quick, connections)

    found = measure(quick, lambda: open_all(quick, count), lambda them: close_all(quick, them),
                    seconds=3)
    found.tell(figure, f"{count:,} connections are lost")
    found.check()
