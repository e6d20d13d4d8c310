"""test_reply_to: direct reply-to, the pseudo-queue that carries answers without a queue."""
import pytest

REPLY_TO = "amq.rabbitmq.reply-to"
NO_QUEUE = "NOT_FOUND - no queue '{}' in vhost '/'"


@pytest.fixture
def requests(ch, fresh):
    """A queue where requests are waited for."""
    name = fresh("requests")
    ch.call("queue.declare", queue=name)
    return name


@pytest.fixture
def server(connect):
    return connect().channel()


def asked(ch, server, requests, **properties):
    """Send a request; returns the answering address that the server sees."""
    ch.publish(b"question", requests, mandatory=True,
               properties={"reply_to": REPLY_TO, **properties})
    ch.wait_counts(requests, 1)
    got = server.get(requests)
    assert got.body == b"question"
    return got.properties["reply_to"]


def test_question_and_answer(ch, server, requests):
    ch.consume(REPLY_TO, "t", no_ack=True)
    address = asked(ch, server, requests, correlation_id="7", type="greeting")
    assert address.startswith(REPLY_TO + ".") and len(address) > len(REPLY_TO) + 20
    server.publish(b"answer", address, properties={"correlation_id": "7"})
    got = ch.deliver(consumer_tag="t", redelivered=False, exchange="", routing_key=address)
    assert (got.body, got.properties) == (b"answer", {"correlation_id": "7"})
    for i in range(20):
        server.publish(b"%d" % i, address)
    assert ch.bodies(20) == [b"%d" % i for i in range(20)]


def test_other_properties_of_the_request_stay(ch, server, requests):
    ch.consume(REPLY_TO, no_ack=True)
    sent = {"content_type": "a", "headers": {"x": 1}, "priority": 3, "correlation_id": "c",
            "message_id": "m", "app_id": "p"}
    ch.publish(b"", requests, properties={**sent, "reply_to": REPLY_TO})
    ch.wait_counts(requests, 1)
    got = server.get(requests).properties
    assert got.pop("reply_to").startswith(REPLY_TO + ".")
    assert got == sent


def test_only_the_exact_name_is_rewritten(ch, server, requests):
    for name in (REPLY_TO + ".mine", "amq.rabbitmq", "mine"):
        ch.publish(b"", requests, properties={"reply_to": name})
        ch.wait_counts(requests, 1)
        assert server.get(requests).properties["reply_to"] == name


def test_publish_without_a_consumer(ch, requests):
    ch.publish(b"", requests, properties={"reply_to": REPLY_TO})
    ch.expect_close(406, "PRECONDITION_FAILED - fast reply consumer does not exist",
                    "basic.publish")


def test_publish_after_its_cancel(ch, requests):
    ch.consume(REPLY_TO, "t", no_ack=True)
    ch.call("basic.cancel", consumer_tag="t")
    ch.publish(b"", requests, properties={"reply_to": REPLY_TO})
    ch.expect_close(406, "PRECONDITION_FAILED - fast reply consumer does not exist",
                    "basic.publish")


def test_the_consumer_is_the_channels_own(ch, client, requests):
    ch.consume(REPLY_TO, "t", no_ack=True)
    other = client.channel()
    other.publish(b"", requests, properties={"reply_to": REPLY_TO})
    other.expect_close(406, "PRECONDITION_FAILED - fast reply consumer does not exist",
                       "basic.publish")


def test_consumer_must_not_ack(ch):
    ch.refused(406, "PRECONDITION_FAILED - reply consumer cannot acknowledge", "basic.consume",
               queue=REPLY_TO)


def test_one_consumer_per_channel(ch, client):
    ch.consume(REPLY_TO, "t", no_ack=True)
    client.channel().consume(REPLY_TO, "t", no_ack=True)
    ch.refused(406, "PRECONDITION_FAILED - reply consumer already set", "basic.consume",
               queue=REPLY_TO, consumer_tag="u", no_ack=True)


def test_consume_again_after_cancel_gives_another_address(ch, server, requests):
    addresses = []
    for _ in range(2):
        assert ch.consume(REPLY_TO, "t", no_ack=True) == "t"
        addresses.append(asked(ch, server, requests))
        ch.call("basic.cancel", consumer_tag="t")
    assert addresses[0] != addresses[1]


def test_consume_with_empty_name_after_declaring_it(ch):
    ch.declare(REPLY_TO)
    ch.consume("", "t", no_ack=True)
    ch.refused(406, "PRECONDITION_FAILED - reply consumer already set", "basic.consume",
               queue=REPLY_TO, no_ack=True)


def test_tag_in_use(client):
    ch = client.channel()
    ch.consume(ch.declare(), "t")
    ch.send("basic.consume", queue=REPLY_TO, consumer_tag="t", no_ack=True)
    client.expect_close(530, "NOT_ALLOWED - attempt to reuse consumer tag 't'", "basic.consume")


def test_server_named_tag(ch):
    assert ch.consume(REPLY_TO, no_ack=True).startswith("amq.ctag-")


@pytest.mark.parametrize("fields", [
    {}, {"passive": True}, {"exclusive": True, "durable": True, "arguments": {"x-expires": 5000}}])
def test_it_can_be_declared_any_way(ch, fields):
    assert ch.call("queue.declare", queue=REPLY_TO, **fields) == {
        "queue": REPLY_TO, "message_count": 0, "consumer_count": 1}


def test_it_can_be_deleted_without_effect(ch):
    ch.consume(REPLY_TO, "t", no_ack=True)
    assert ch.call("queue.delete", queue=REPLY_TO) == {"message_count": 0}
    ch.call("queue.declare", queue=REPLY_TO)


@pytest.mark.parametrize("method, fields", [
    ("basic.get", {"no_ack": True}), ("queue.purge", {}),
    ("queue.bind", {"exchange": "amq.direct"})])
def test_what_it_cannot(ch, method, fields):
    ch.refused(404, NO_QUEUE.format(REPLY_TO), method, queue=REPLY_TO, **fields)


@pytest.mark.parametrize("passive", [False, True])
def test_declare_of_an_address_that_nobody_has(ch, passive):
    name = REPLY_TO + ".bogus"
    ch.refused(404, NO_QUEUE.format(name), "queue.declare", queue=name, passive=passive)


def test_the_server_can_ask_whether_the_client_is_there(ch, client, server, requests):
    ch.consume(REPLY_TO, "t", no_ack=True)
    address = asked(ch, server, requests)
    assert server.call("queue.declare", queue=address, passive=True) == {
        "queue": address, "message_count": 0, "consumer_count": 1}
    ch.close()
    server.refused(404, NO_QUEUE.format(address), "queue.declare", queue=address, passive=True)


@pytest.mark.parametrize("how", ["cancel", "close channel", "close connection"])
def test_an_answer_nobody_waits_for(connect, server, requests, how):
    """It is dropped, and returned if mandatory."""
    client = connect()
    ch = client.channel()
    ch.consume(REPLY_TO, "t", no_ack=True)
    address = asked(ch, server, requests)
    if how == "cancel":
        ch.call("basic.cancel", consumer_tag="t")
    elif how == "close channel":
        ch.close()
    else:
        client.disconnect()
    server.publish(b"late", address)
    server.publish(b"later", address, mandatory=True)
    assert server.expect_content("basic.return", reply_code=312,
                                 routing_key=address).body == b"later"


@pytest.mark.parametrize("key", [REPLY_TO, REPLY_TO + ".bogus", REPLY_TO + "."])
def test_answers_to_addresses_that_nobody_has(server, key):
    server.publish(b"x", key)
    server.publish(b"y", key, mandatory=True)
    assert server.expect_content("basic.return", reply_code=312, routing_key=key).body == b"y"


def test_a_changed_address_reaches_nobody(ch, server, requests):
    ch.consume(REPLY_TO, "t", no_ack=True)
    address = asked(ch, server, requests)
    cut = [address[:-4], address[:30], address + "x", address[:-6] + "AAAAAA"]
    for guess in cut:
        server.publish(b"guess", guess, mandatory=True)
        assert server.expect_content("basic.return").body == b"guess"
    server.publish(b"right", address)
    assert ch.deliver().body == b"right"


def test_mandatory_answers_in_confirm_mode(ch, server, requests, product):
    """3.10 delivers a mandatory answer and returns it too; Godwit may leave out the return."""
    ch.consume(REPLY_TO, "t", no_ack=True)
    address = asked(ch, server, requests)
    server.call("confirm.select")
    server.publish(b"answer", address, mandatory=True)
    got = server.client.next()
    if got.name == "basic.return":
        assert server.content(got.fields).body == b"answer"
        got = server.client.next()
    else:
        assert product != "RabbitMQ"
    assert (got.name, got.fields["delivery_tag"]) == ("basic.ack", 1)
    assert ch.deliver().body == b"answer"


def test_an_address_works_only_through_the_default_exchange(ch, server, requests):
    ch.consume(REPLY_TO, "t", no_ack=True)
    address = asked(ch, server, requests)
    for exchange in ("amq.direct", "amq.topic", "amq.fanout"):
        server.publish(b"x", address, exchange, mandatory=True)
        server.expect_content("basic.return", reply_code=312)


def test_large_answers(ch, server, requests):
    ch.consume(REPLY_TO, "t", no_ack=True)
    address = asked(ch, server, requests)
    body = bytes(range(256)) * 2000
    server.publish(body, address)
    assert ch.deliver().body == body


def test_two_clients_ask_one_server(connect, server, requests):
    clients = [connect().channel() for _ in range(3)]
    addresses = []
    for client in clients:
        client.consume(REPLY_TO, "t", no_ack=True)
        addresses.append(asked(client, server, requests))
    for i, address in enumerate(addresses):
        server.publish(b"%d" % i, address)
    assert [client.deliver().body for client in clients] == [b"0", b"1", b"2"]
