#!/usr/bin/python3
"""Waits for a condition with a deadline, letting the client work meanwhile."""
import time

SECONDS_MAX = 30
SLICE_SECONDS = 0.02


def until(condition, pump=None, seconds=SECONDS_MAX, what="the condition"):
    """Runs pump(slice) until condition() is true; returns its value.

    pump is the client's own way to wait for events, such as process_data_events; without one the
    condition is asked again after a short pause, for what has no event to wait for.
    """
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true within {seconds} s")
        if pump:
            pump(SLICE_SECONDS)
        else:
            time.sleep(SLICE_SECONDS)


def served(connection, condition, seconds=SECONDS_MAX, what="the condition"):
    """until() for pika's blocking connection."""
    return until(condition, lambda slice_s: connection.process_data_events(time_limit=slice_s),
                 seconds, what)


def settled(channel, queue):
    """What the queue sent to this pika channel so far has arrived: its answer follows it.

    Returns the number of ready messages.
    """
    ready = channel.queue_declare(queue, passive=True).method.message_count
    channel.connection.process_data_events(time_limit=0)
    return ready
