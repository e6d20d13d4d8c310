"""test_queue: declaring, naming, owning, binding, purging and deleting queues."""
import re

import pytest

NO_QUEUE = "NOT_FOUND - no queue '{}' in vhost '/'"
NOTHING_DECLARED = "NOT_FOUND - no previously declared queue"
LOCKED = ("RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '{}' in vhost '/'. "
          "It could be originally declared on another connection or the exclusive property value "
          "does not match that of the original declaration.")


def exists(ch, name):
    """Ask by passive declare on a channel of its own."""
    asking = ch.client.channel()
    asking.send("queue.declare", queue=name, passive=True)
    got = asking.client.next()
    return got.name == "queue.declare_ok" or got.fields["reply_code"] != 404


def test_declare_ok(ch, fresh):
    name = fresh()
    assert ch.call("queue.declare", queue=name) == {
        "queue": name, "message_count": 0, "consumer_count": 0}


def test_server_named(ch):
    names = [ch.declare() for _ in range(20)]
    assert len(set(names)) == 20
    for name in names:
        assert re.fullmatch(r"amq\.gen-[A-Za-z0-9_-]{22}", name), name


def test_server_named_need_not_be_exclusive(ch, connect):
    name = ch.declare(exclusive=False, auto_delete=True)
    other = connect().channel()
    assert other.counts(name) == (0, 0)
    other.call("queue.delete", queue=name)


@pytest.mark.parametrize("method, fields", [
    ("queue.bind", {"exchange": "amq.direct", "routing_key": "k"}),
    ("queue.unbind", {"exchange": "amq.direct", "routing_key": "k"}), ("queue.purge", {}),
    ("queue.delete", {}), ("basic.consume", {}), ("basic.get", {})])
def test_empty_name_is_the_queue_last_declared(ch, method, fields):
    ch.refused(404, NOTHING_DECLARED, method, **fields)
    first, second = ch.declare(), ch.declare()
    if method == "basic.get":
        ch.publish(b"1", first)
        ch.publish(b"2", second)
        assert ch.get("").body == b"2"
    else:
        ch.call(method, **fields)
    ch.close()
    ch.reopen()
    ch.refused(404, NOTHING_DECLARED, method, **fields)


def test_passive_declare_counts_as_declared(ch, client):
    name = ch.declare()
    other = client.channel()
    other.counts(name)
    assert other.call("queue.purge") == {"message_count": 0}


def test_last_declared_is_kept_when_that_queue_is_deleted(ch):
    name = ch.declare()
    ch.call("queue.delete", queue=name)
    assert ch.call("queue.delete") == {"message_count": 0}
    ch.refused(404, NO_QUEUE.format(name), "queue.purge")


def test_empty_name_and_empty_key_mean_the_name_as_key(ch):
    name = ch.declare()
    ch.call("queue.bind", exchange="amq.direct")
    ch.publish(b"by name", name, "amq.direct")
    ch.publish(b"by nothing", "", "amq.direct", mandatory=True)
    assert ch.expect_content("basic.return").body == b"by nothing"
    ch.call("queue.unbind", exchange="amq.direct")
    ch.publish(b"unbound", name, "amq.direct")
    ch.call("queue.bind", queue=name, exchange="amq.direct")
    ch.publish(b"empty key", "", "amq.direct")
    assert ch.drain(name) == [b"by name", b"empty key"]


@pytest.mark.parametrize("nowait", [False, True])
@pytest.mark.parametrize("name", ["", "amq.absent", "absent", "q" * 200])
def test_passive_missing(ch, name, nowait):
    ch.refused(404, NO_QUEUE.format(name), "queue.declare", queue=name, passive=True, nowait=nowait)


@pytest.mark.parametrize("method, fields", [
    ("queue.bind", {"exchange": "amq.direct"}), ("queue.purge", {}), ("basic.get", {}),
    ("basic.consume", {}), ("basic.consume", {"nowait": True}), ("queue.purge", {"nowait": True})])
def test_missing(ch, method, fields):
    ch.refused(404, NO_QUEUE.format("absent"), method, queue="absent", **fields)


@pytest.mark.parametrize("fields", [{}, {"if_unused": True, "if_empty": True}])
@pytest.mark.parametrize("name", ["absent", "amq.absent"])
def test_delete_missing(ch, name, fields):
    assert ch.call("queue.delete", queue=name, **fields) == {"message_count": 0}


@pytest.mark.parametrize("name", ["amq.x", "amq.", "amq.gen-abc", "amq.direct.reply-to"])
def test_reserved_names(ch, name):
    ch.refused(403, f"ACCESS_REFUSED - queue name '{name}' contains reserved prefix 'amq.*'",
               "queue.declare", queue=name, exclusive=True)


def test_line_ends_are_taken_out_of_names(ch, fresh):
    name = fresh()
    assert ch.declare(name[:2] + "\r\n" + name[2:] + "\n") == name
    ch.counts(name)


@pytest.mark.parametrize("method, fields", [
    ("queue.declare", {}), ("queue.declare", {"exclusive": True}),
    ("queue.declare", {"passive": True}),
    ("queue.bind", {"exchange": "amq.direct"}), ("queue.purge", {}), ("queue.delete", {}),
    ("queue.delete", {"if_unused": True, "if_empty": True}), ("basic.get", {}),
    ("basic.consume", {}),
    ("basic.consume", {"exclusive": True}), ("queue.declare", {"nowait": True})], ids=repr)
def test_exclusive_is_for_its_connection(ch, connect, fresh, method, fields):
    name = ch.declare(fresh())
    other = connect().channel()
    other.refused(405, LOCKED.format(name), method, queue=name, **fields)
    assert ch.counts(name) == (0, 0)


def test_exclusive_and_unbind_from_another_connection(ch, connect, fresh):
    name = ch.declare(fresh())
    ch.call("queue.bind", queue=name, exchange="amq.direct", routing_key=name)
    other = connect().channel()
    other.call("queue.unbind", queue=name, exchange="amq.direct", routing_key="other")
    other.refused(405, LOCKED.format(name), "queue.unbind", queue=name, exchange="amq.direct",
                  routing_key=name)


def test_exclusive_can_be_published_to_by_all(ch, connect, fresh):
    name = ch.declare(fresh())
    other = connect().channel()
    other.call("confirm.select")
    other.publish(b"hello", name, mandatory=True)
    other.expect("basic.ack", delivery_tag=1)
    assert ch.get(name).body == b"hello"


def test_exclusive_is_for_all_channels_of_its_connection(ch, client, fresh):
    name = ch.declare(fresh())
    ch.close()
    assert client.channel().call("queue.delete", queue=name) == {"message_count": 0}


@pytest.mark.parametrize("polite", [True, False])
def test_exclusive_goes_with_its_connection(ch, connect, fresh, polite):
    client, name = connect(), fresh()
    client.channel().declare(name, durable=True)
    if polite:
        client.disconnect()
        assert not exists(ch, name)
    else:
        client.close()
        for _ in range(500):
            if not exists(ch, name):
                return
        raise AssertionError("still there")


@pytest.mark.parametrize("first", [False, True])
def test_redeclare_with_the_other_exclusive_is_locked(ch, fresh, first):
    name = fresh()
    ch.declare(name, exclusive=first)
    ch.refused(405, LOCKED.format(name), "queue.declare", queue=name, exclusive=not first,
               durable=True, arguments={"x-max-length": 5})


def test_exclusive_is_never_durable(ch, fresh):
    name = ch.declare(fresh(), durable=True)
    ch.declare(name, durable=False)
    ch.declare(name, durable=True)


@pytest.mark.parametrize("queue, exchange, text", [
    ("absent", "absent2", "no exchange 'absent2'"), ("absent", "amq.direct", "no queue 'absent'"),
    ("", "absent2", "no exchange 'absent2'")])
@pytest.mark.parametrize("nowait", [False, True])
def test_bind_missing(ch, queue, exchange, text, nowait):
    ch.declare()
    ch.refused(404, f"NOT_FOUND - {text} in vhost '/'", "queue.bind", queue=queue,
               exchange=exchange,
               nowait=nowait)


def test_unbind_missing(ch):
    queue = ch.declare()
    for name, exchange in ((queue, "absent"), ("absent", "amq.direct"), ("absent", "absent"),
                           (queue, "amq.direct")):
        assert ch.call("queue.unbind", queue=name, exchange=exchange, routing_key="k") == {}


def test_bind_is_idempotent_and_arguments_make_a_difference(ch):
    queue = ch.declare()
    for _ in range(2):
        ch.call("queue.bind", queue=queue, exchange="amq.direct", routing_key=queue)
    ch.call("queue.bind", queue=queue, exchange="amq.direct", routing_key=queue,
            arguments={"x": 1})
    ch.publish(b"1", queue, "amq.direct")
    ch.call("queue.unbind", queue=queue, exchange="amq.direct", routing_key=queue)
    ch.publish(b"2", queue, "amq.direct")
    ch.call("queue.unbind", queue=queue, exchange="amq.direct", routing_key=queue,
            arguments={"x": 2})
    ch.publish(b"3", queue, "amq.direct")
    ch.call("queue.unbind", queue=queue, exchange="amq.direct", routing_key=queue,
            arguments={"x": 1})
    ch.publish(b"4", queue, "amq.direct")
    assert ch.drain(queue) == [b"1", b"2", b"3"]


def test_nowait(ch, fresh):
    one, two = fresh(), fresh()
    ch.send("queue.declare", queue=one, nowait=True)
    ch.send("queue.bind", queue=one, exchange="amq.fanout", nowait=True)
    ch.publish(b"1", one)
    ch.send("queue.purge", queue=one, nowait=True)
    ch.publish(b"2", one)
    assert ch.drain(one) == [b"2"]
    ch.send("queue.declare", queue=two, nowait=True, exclusive=True)
    ch.send("queue.delete", queue=one, nowait=True)
    assert ch.call("queue.purge", queue=two) == {"message_count": 0}
    ch.refused(404, NO_QUEUE.format(one), "queue.declare", queue=one, passive=True)


def test_purge_counts_ready_only(ch):
    queue = ch.declare()
    assert ch.call("queue.purge", queue=queue) == {"message_count": 0}
    for i in range(5):
        ch.publish(b"%d" % i, queue)
    for _ in range(2):
        ch.get(queue, no_ack=False)
    assert ch.call("queue.purge", queue=queue) == {"message_count": 3}
    ch.send("basic.nack", delivery_tag=0, multiple=True, requeue=True)
    assert ch.drain(queue) == [b"0", b"1"]


def test_counts_in_declare_ok(ch, client):
    queue = ch.declare()
    for i in range(4):
        ch.publish(b"", queue)
    assert ch.get(queue, no_ack=False).method["message_count"] == 3
    ch.wait_counts(queue, 3)
    other = client.channel()
    other.call("basic.qos", prefetch_count=1)
    for _ in range(2):
        other.consume(queue)
        other.deliver()
    ch.wait_counts(queue, 1, 2)
    other.close()
    ch.wait_counts(queue, 3, 0)


def test_delete_counts_ready_only(ch, fresh):
    queue = ch.declare(fresh())
    for i in range(3):
        ch.publish(b"", queue)
    ch.get(queue, no_ack=False)
    assert ch.call("queue.delete", queue=queue) == {"message_count": 2}


def test_delete_if_empty_and_if_unused(ch, fresh):
    queue = ch.declare(fresh())
    ch.publish(b"", queue)
    ch.refused(406, f"PRECONDITION_FAILED - queue '{queue}' in vhost '/' not empty", "queue.delete",
               queue=queue, if_empty=True)
    tag = ch.consume(queue)
    ch.deliver()
    in_use = f"PRECONDITION_FAILED - queue '{queue}' in vhost '/' in use"
    other = ch.client.channel()
    other.refused(406, in_use, "queue.delete", queue=queue, if_unused=True)
    other.refused(406, in_use, "queue.delete", queue=queue, if_unused=True, if_empty=True)
    ch.call("basic.cancel", consumer_tag=tag)
    assert other.call("queue.delete", queue=queue, if_unused=True, if_empty=True) == {
        "message_count": 0}


def test_publish_and_delete_with_one_write(ch, fresh):
    """What was published before the delete is counted by it."""
    queue = ch.declare(fresh())
    for _ in range(10):
        ch.publish(b"x", queue)
    ch.send("queue.delete", queue=queue)
    assert ch.expect("queue.delete_ok") == {"message_count": 10}


@pytest.mark.parametrize("how", ["cancel", "close channel", "close connection"])
def test_auto_delete_with_the_last_consumer(ch, connect, fresh, how):
    client, name = connect(), fresh()
    one = client.channel()
    two = client.channel()
    one.call("queue.declare", queue=name, auto_delete=True)
    one.consume(name, "one")
    two.consume(name, "two")
    one.call("basic.cancel", consumer_tag="one")
    assert exists(ch, name)
    if how == "cancel":
        two.call("basic.cancel", consumer_tag="two")
    elif how == "close channel":
        two.close()
    else:
        client.disconnect()
    assert not exists(ch, name)


def test_auto_delete_waits_for_its_first_consumer(ch, connect, fresh):
    client, name = connect(), fresh()
    client.channel().call("queue.declare", queue=name, auto_delete=True)
    client.disconnect()
    assert ch.get(name) is None and exists(ch, name)


def test_auto_delete_drops_its_messages(ch, fresh):
    name = fresh()
    ch.call("queue.declare", queue=name, auto_delete=True)
    for i in range(3):
        ch.publish(b"x", name)
    tag = ch.consume(name)
    ch.bodies(3)
    ch.call("basic.cancel", consumer_tag=tag)
    assert not exists(ch, name)
    ch.send("basic.ack", delivery_tag=3, multiple=True)
    ch.call("queue.declare", queue=name, auto_delete=True)
    assert ch.get(name) is None
