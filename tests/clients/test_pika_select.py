#!/usr/bin/python3
"""pika: the callback style, on its own loop (SelectConnection) and on asyncio's."""
import asyncio

import pika
import pytest
from pika.adapters.asyncio_connection import AsyncioConnection

SECONDS_MAX = 30


class Script:
    """One select connection; its loop runs until done() or until something breaks."""

    def __init__(self, broker, **changes):
        self.channels = []
        self.closed = None
        self.late = False
        self.finished = False
        self.connection = pika.SelectConnection(
            broker.parameters(**changes), on_open_callback=self.on_open,
            on_open_error_callback=self.on_closed, on_close_callback=self.on_closed)

    def on_open(self, connection):
        connection.channel(on_open_callback=self.on_channel)

    def on_channel(self, channel):
        self.channels.append(channel)
        channel.add_on_close_callback(self.on_channel_closed)
        self.begin(channel)

    def begin(self, channel):
        raise NotImplementedError

    def on_channel_closed(self, _channel, _reason):
        pass

    def on_closed(self, _connection, reason):
        self.closed = reason
        self.connection.ioloop.stop()

    def done(self):
        self.finished = True
        self.connection.close()

    def give_up(self):
        self.late = True
        self.connection.ioloop.stop()

    def run(self):
        self.connection.ioloop.call_later(SECONDS_MAX, self.give_up)
        self.connection.ioloop.start()
        assert not self.late, "the script did not finish in time"
        assert self.finished, f"the connection ended early: {self.closed!r}"
        assert isinstance(self.closed, pika.exceptions.ConnectionClosedByClient)


class AsyncConfirms(Script):
    """Publishes everything at once and counts the confirms as they come."""

    def __init__(self, broker, queue, count):
        super().__init__(broker)
        self.queue, self.count = queue, count
        self.open_tags = set()
        self.frames = []

    def begin(self, channel):
        channel.confirm_delivery(self.on_confirm, callback=lambda _: self.publish(channel))

    def publish(self, channel):
        for tag in range(1, self.count + 1):
            self.open_tags.add(tag)
            channel.basic_publish("", self.queue, b"%d" % tag)

    def on_confirm(self, frame):
        method = frame.method
        assert isinstance(method, pika.spec.Basic.Ack)
        self.frames.append(method.delivery_tag)
        settled = {tag for tag in self.open_tags
                   if tag == method.delivery_tag or method.multiple and tag < method.delivery_tag}
        assert settled, f"confirm of {method.delivery_tag}, which is not open"
        self.open_tags -= settled
        if not self.open_tags and max(self.frames) == self.count:
            self.done()


def test_async_confirms(broker, channel, names):
    queue = names.queue()
    channel.queue_declare(queue)
    script = AsyncConfirms(broker, queue, 2000)
    script.run()
    assert script.open_tags == set()
    assert channel.queue_declare(queue, passive=True).method.message_count == 2000


class ConsumeMany(Script):
    """Declares, binds, consumes with a prefetch and acks in multiples."""

    def __init__(self, broker, exchange, count):
        super().__init__(broker)
        self.exchange, self.count = exchange, count
        self.got = []

    def begin(self, channel):
        channel.exchange_declare(self.exchange, "topic",
                                 callback=lambda _: channel.queue_declare(
                                     "", exclusive=True, callback=self.on_queue))

    def on_queue(self, frame):
        channel, queue = self.channels[0], frame.method.queue
        channel.queue_bind(queue, self.exchange, "n.#",
                           callback=lambda _: channel.basic_qos(
                               prefetch_count=20, callback=lambda _: self.consume(queue)))

    def consume(self, queue):
        self.channels[0].basic_consume(queue, self.on_message, callback=lambda _: self.publish())

    def publish(self):
        for number in range(self.count):
            self.channels[0].basic_publish(self.exchange, f"n.{number}", b"%d" % number)

    def on_message(self, channel, method, _properties, body):
        self.got.append(int(body))
        if len(self.got) % 10 == 0:
            channel.basic_ack(method.delivery_tag, multiple=True)
        if len(self.got) == self.count:
            self.done()


def test_callbacks_consume_in_order(broker, names):
    script = ConsumeMany(broker, names.exchange(), 500)
    script.run()
    assert script.got == list(range(500))


class ReturnedAndConfirmed(Script):
    """A mandatory message that nobody wants is returned first and confirmed then."""

    def begin(self, channel):
        self.events = []
        channel.add_on_return_callback(
            lambda ch, method, p, body: self.events.append(("return", method.reply_code, body)))
        channel.confirm_delivery(self.on_confirm, callback=lambda _: channel.basic_publish(
            "", "clients.nobody.has.this", b"lost", mandatory=True))

    def on_confirm(self, frame):
        self.events.append(("confirm", type(frame.method).__name__, frame.method.delivery_tag))
        self.done()


def test_return_comes_before_its_confirm(broker):
    script = ReturnedAndConfirmed(broker)
    script.run()
    assert script.events == [("return", 312, b"lost"), ("confirm", "Ack", 1)]


class NoWait(Script):
    """Methods with nowait: nothing answers, and the next one sees their effect."""

    def __init__(self, broker, queue, exchange):
        super().__init__(broker)
        self.queue, self.exchange = queue, exchange
        self.got = []

    def begin(self, channel):
        channel.exchange_declare(self.exchange, "fanout")
        channel.queue_declare(self.queue)
        channel.queue_bind(self.queue, self.exchange)
        channel.basic_consume(self.queue, self.on_message, auto_ack=True)
        channel.basic_publish(self.exchange, "", b"seen")

    def on_message(self, channel, _method, _properties, body):
        self.got.append(body)
        channel.queue_unbind(self.queue, self.exchange, callback=lambda _: self.done())


def test_no_wait_takes_effect_in_order(broker, names):
    script = NoWait(broker, names.queue(), names.exchange())
    script.run()
    assert script.got == [b"seen"]


class ChannelCloses(Script):
    """A channel that the broker closes, while its sibling goes on."""

    def begin(self, channel):
        if len(self.channels) == 1:
            self.reasons = []
            self.connection.channel(on_open_callback=self.on_channel)
        else:
            self.channels[0].queue_declare("clients.nobody.has.this", passive=True)

    def on_channel_closed(self, channel, reason):
        if isinstance(reason, pika.exceptions.ChannelClosedByBroker):
            self.reasons.append((channel.channel_number, reason.reply_code))
            self.channels[1].queue_declare("", exclusive=True, callback=lambda _: self.done())


def test_one_channel_closes_its_sibling_goes_on(broker):
    script = ChannelCloses(broker)
    script.run()
    assert script.reasons == [(1, 404)]


class CancelTold(Script):
    """A consumer whose queue another channel deletes."""

    def begin(self, channel):
        if len(self.channels) == 1:
            self.told = []
            channel.add_on_cancel_callback(self.on_cancel)
            channel.queue_declare("", exclusive=True, callback=self.on_queue)

    def on_queue(self, frame):
        self.queue = frame.method.queue
        self.channels[0].basic_consume(
            self.queue, print, consumer_tag="told",
            callback=lambda _: self.connection.channel(
                on_open_callback=lambda second: second.queue_delete(self.queue)))

    def on_cancel(self, frame):
        self.told.append(frame.method.consumer_tag)
        self.done()


def test_cancel_notification(broker):
    script = CancelTold(broker)
    script.run()
    assert script.told == ["told"]


class Secret(Script):
    """connection.update-secret is answered."""

    def begin(self, channel):
        self.connection.update_secret("guest", "renewed", lambda _: self.done())


@pytest.mark.skipif(not hasattr(pika.connection.Connection, "update_secret"),
                    reason="this pika has no update_secret")
def test_update_secret(broker):
    Secret(broker).run()


def test_asyncio_adapter(broker, names):
    queue = names.queue()
    loop = asyncio.new_event_loop()
    got = []

    async def work():
        finished = loop.create_future()

        def on_message(_channel, _method, _properties, body):
            got.append(body)
            if len(got) == 10:
                finished.set_result(None)

        def on_channel(channel):
            channel.queue_declare(queue)
            channel.basic_consume(queue, on_message, auto_ack=True)
            for number in range(10):
                channel.basic_publish("", queue, b"%d" % number)

        closed = loop.create_future()
        connection = AsyncioConnection(
            broker.parameters(), custom_ioloop=loop,
            on_open_callback=lambda opened: opened.channel(on_open_callback=on_channel),
            on_close_callback=lambda _, reason: closed.set_result(reason))
        await asyncio.wait_for(finished, SECONDS_MAX)
        connection.close()
        await asyncio.wait_for(closed, SECONDS_MAX)

    try:
        loop.run_until_complete(work())
    finally:
        loop.close()
    assert got == [b"%d" % number for number in range(10)]
