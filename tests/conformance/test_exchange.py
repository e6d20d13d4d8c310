"""test_exchange: declaring, comparing, deleting and binding exchanges, and what closes for it."""
import pytest

DEFAULT = "ACCESS_REFUSED - operation not permitted on the default exchange"
NO_EXCHANGE = "NOT_FOUND - no exchange '{}' in vhost '/'"
INEQUIVALENT = "PRECONDITION_FAILED - inequivalent arg '{}' for exchange '{}' in vhost '/': {}"
PREDECLARED = [("amq.direct", "direct"), ("amq.fanout", "fanout"), ("amq.topic", "topic"),
               ("amq.headers", "headers"), ("amq.match", "headers")]


def exists(ch, name):
    """Ask by passive declare on a channel of its own."""
    asking = ch.client.channel()
    asking.send("exchange.declare", exchange=name, passive=True)
    return asking.client.next().name == "exchange.declare_ok"


@pytest.mark.parametrize("kind", ["direct", "fanout", "topic", "headers"])
@pytest.mark.parametrize("durable", [False, True])
def test_declare_each_type(ch, fresh, kind, durable):
    name = fresh("e")
    for _ in range(2):
        assert ch.call("exchange.declare", exchange=name, type=kind, durable=durable) == {}
    ch.call("exchange.declare", exchange=name, passive=True)
    ch.call("exchange.delete", exchange=name)
    assert not exists(ch, name)


@pytest.mark.parametrize("name, kind", PREDECLARED)
def test_predeclared(ch, name, kind):
    ch.call("exchange.declare", exchange=name, passive=True)
    ch.call("exchange.declare", exchange=name, type=kind, durable=True)


def test_the_trace_exchange_is_internal(ch):
    ch.call("exchange.declare", exchange="amq.rabbitmq.trace", type="topic", durable=True,
            internal=True)


@pytest.mark.parametrize("kind", ["Direct", "x-no-such-type", "direct ", "ΔΔ"])
@pytest.mark.parametrize("name", ["amq.direct", "", "new"])
def test_unknown_type(client, kind, name):
    """Looked at before anything else, and it costs the connection."""
    client.channel().send("exchange.declare", exchange=name, type=kind)
    client.expect_close(503, f"COMMAND_INVALID - unknown exchange type '{kind}'",
                        "exchange.declare")


def test_no_type(client):
    client.channel().send("exchange.declare", exchange="e")
    got = client.expect(0, "connection.close", reply_code=503, class_id=40, method_id=10)
    assert got["reply_text"] in ("COMMAND_INVALID - invalid exchange type ''",
                                 "COMMAND_INVALID - unknown exchange type ''")


def test_redeclare_with_another_type(ch, fresh):
    name = fresh("e")
    ch.call("exchange.declare", exchange=name, type="direct")
    ch.refused(406, INEQUIVALENT.format("type", name, "received 'fanout' but current is 'direct'"),
               "exchange.declare", exchange=name, type="fanout")


@pytest.mark.parametrize("flag", ["durable", "auto_delete", "internal"])
@pytest.mark.parametrize("first", [False, True])
def test_redeclare_with_another_flag(ch, fresh, flag, first):
    name, words = fresh("e"), ("false", "true")
    ch.call("exchange.declare", exchange=name, type="topic", **{flag: first})
    ch.refused(406, INEQUIVALENT.format(
        flag, name, f"received '{words[not first]}' but current is '{words[first]}'"),
        "exchange.declare", exchange=name, type="topic", **{flag: not first})
    ch.call("exchange.declare", exchange=name, type="topic", **{flag: first})


def test_order_of_comparison(ch, fresh):
    name = fresh("e")
    ch.call("exchange.declare", exchange=name, type="direct")
    wrong = {"type": "fanout", "durable": True, "auto_delete": True, "internal": True,
             "arguments": {"alternate-exchange": "other"}}
    for arg in ("type", "durable", "auto_delete", "internal", "alternate-exchange"):
        ch.send("exchange.declare", exchange=name, **wrong)
        text = ch.expect("channel.close", reply_code=406)["reply_text"]
        assert text.startswith(f"PRECONDITION_FAILED - inequivalent arg '{arg}' for exchange"), text
        ch.send("channel.close_ok")
        ch.reopen()
        if arg == "type":
            wrong["type"] = "direct"
        else:
            wrong.pop(arg, None)


@pytest.mark.parametrize("first, second, difference", [
    ({}, {"alternate-exchange": "ae"},
     "received the value 'ae' of type 'longstr' but current is none"),
    ({"alternate-exchange": "ae"}, {},
     "received none but current is the value 'ae' of type 'longstr'"),
    ({"alternate-exchange": "ae"}, {"alternate-exchange": "be"},
     "received 'be' but current is 'ae'"),
    ({"alternate-exchange": "ae"}, {"alternate-exchange": 5}, "received '5' but current is 'ae'"),
    ({"alternate-exchange": "ae"}, {"alternate-exchange": ""}, "received '' but current is 'ae'")])
def test_redeclare_with_another_alternate(ch, fresh, first, second, difference):
    name = fresh("e")
    ch.call("exchange.declare", exchange=name, type="direct", arguments=first)
    ch.refused(406, INEQUIVALENT.format("alternate-exchange", name, difference),
               "exchange.declare", exchange=name, type="direct", arguments=second)


def test_other_arguments_are_not_compared(ch, fresh):
    name = fresh("e")
    for arguments in ({"x-one": 1}, {}, {"x-two": "2"}):
        ch.call("exchange.declare", exchange=name, type="direct", arguments=arguments)


@pytest.mark.parametrize("value, kind", [
    (5, "signedint"), (True, "bool"), (b"x", "binary"), (None, "void"), ({}, "table"),
    ([], "array"),
    (1.5, "double"), (1 << 40, "long")])
def test_alternate_exchange_must_be_a_string(ch, fresh, value, kind):
    name = fresh("e")
    ch.refused(406, f"PRECONDITION_FAILED - invalid type '{kind}' for arg 'alternate-exchange' in "
                    f"exchange '{name}' in vhost '/'", "exchange.declare", exchange=name,
               type="direct", arguments={"alternate-exchange": value})


@pytest.mark.parametrize("name", ["amq.foo", "amq.", "amq.direct.x"])
def test_reserved_names(ch, name):
    ch.refused(403, f"ACCESS_REFUSED - exchange name '{name}' contains reserved prefix 'amq.*'",
               "exchange.declare", exchange=name, type="direct")
    ch.refused(404, NO_EXCHANGE.format(name), "exchange.declare", exchange=name, passive=True)


def test_predeclared_are_compared_like_others(ch):
    ch.refused(406, INEQUIVALENT.format("durable", "amq.direct",
                                        "received 'false' but current is 'true'"),
               "exchange.declare", exchange="amq.direct", type="direct")


def test_amq_without_dot_is_free(ch, fresh):
    ch.call("exchange.declare", exchange=fresh("amq-"), type="direct", auto_delete=True)
    ch.refused(404, NO_EXCHANGE.format("amqfoo"), "exchange.declare", exchange="amqfoo",
               passive=True)


@pytest.mark.parametrize("method, fields", [
    ("exchange.declare", {"type": "direct", "durable": True}),
    ("exchange.declare", {"passive": True}),
    ("exchange.delete", {}), ("exchange.delete", {"if_unused": True}),
    ("exchange.bind", {"destination": "amq.direct"}), ("exchange.bind", {"source": "amq.direct"}),
    ("exchange.unbind", {"destination": "amq.direct"}),
    ("exchange.unbind", {"source": "amq.direct"})],
    ids=repr)
def test_the_default_exchange_cannot_be_touched(ch, method, fields):
    ch.refused(403, DEFAULT, method, **fields)


@pytest.mark.parametrize("method", ["queue.bind", "queue.unbind"])
def test_no_queue_can_be_bound_to_the_default_exchange(ch, method):
    ch.refused(403, DEFAULT, method, queue=ch.declare(), exchange="", routing_key="k")


@pytest.mark.parametrize("nowait", [False, True])
def test_passive_missing(ch, fresh, nowait):
    name = fresh("e")
    ch.refused(404, NO_EXCHANGE.format(name), "exchange.declare", exchange=name, passive=True,
               nowait=nowait)


def test_passive_compares_nothing(ch, fresh):
    name = fresh("e")
    ch.call("exchange.declare", exchange=name, type="direct")
    ch.call("exchange.declare", exchange=name, passive=True, type="no such type", durable=True,
            internal=True, auto_delete=True, arguments={"alternate-exchange": 5})


def test_nowait(ch, fresh):
    one, two = fresh("e"), fresh("e")
    for name in (one, two):
        ch.send("exchange.declare", exchange=name, type="fanout", nowait=True)
    ch.send("exchange.declare", exchange=one, passive=True, nowait=True)
    ch.send("exchange.bind", source=one, destination=two, nowait=True)
    queue = ch.declare()
    ch.send("queue.bind", queue=queue, exchange=two, nowait=True)
    ch.publish(b"x", exchange=one)
    assert ch.get(queue).body == b"x"
    ch.send("exchange.unbind", source=one, destination=two, nowait=True)
    ch.publish(b"x", exchange=one)
    ch.send("exchange.delete", exchange=one, nowait=True)
    assert ch.get(queue) is None
    assert not exists(ch, one) and exists(ch, two)


def test_nowait_does_not_hide_errors(ch, fresh):
    name = fresh("e")
    ch.call("exchange.declare", exchange=name, type="direct")
    ch.refused(406, INEQUIVALENT.format("durable", name, "received 'true' but current is 'false'"),
               "exchange.declare", exchange=name, type="direct", durable=True, nowait=True)
    ch.refused(404, NO_EXCHANGE.format(name + "x"), "exchange.bind", source=name + "x",
               destination=name, nowait=True)


@pytest.mark.parametrize("fields", [{}, {"if_unused": True}])
def test_delete_missing(ch, fresh, fields):
    assert ch.call("exchange.delete", exchange=fresh("e"), **fields) == {}


@pytest.mark.parametrize("name", ["amq.direct", "amq.topic", "amq.absent"])
@pytest.mark.parametrize("if_unused", [False, True])
def test_delete_reserved(ch, name, if_unused):
    ch.refused(403,
               f"ACCESS_REFUSED - deletion of system exchange '{name}' in vhost '/' not allowed",
               "exchange.delete", exchange=name, if_unused=if_unused)


def test_delete_if_unused_looks_at_bindings_from_it(ch, fresh):
    used, target = fresh("e"), fresh("e")
    for name in (used, target):
        ch.call("exchange.declare", exchange=name, type="fanout")
    ch.call("exchange.bind", source=used, destination=target)
    in_use = f"PRECONDITION_FAILED - exchange '{used}' in vhost '/' in use"
    ch.refused(406, in_use, "exchange.delete", exchange=used, if_unused=True)
    queue = ch.declare()
    ch.call("queue.bind", queue=queue, exchange=used)
    ch.call("exchange.delete", exchange=target, if_unused=True)
    ch.refused(406, in_use, "exchange.delete", exchange=used, if_unused=True)
    ch.call("queue.unbind", queue=queue, exchange=used)
    ch.call("exchange.delete", exchange=used, if_unused=True)
    assert not exists(ch, used)


def test_deleting_an_exchange_takes_its_bindings(ch, fresh):
    name, queue = fresh("e"), ch.declare()
    ch.call("exchange.declare", exchange=name, type="fanout")
    ch.call("queue.bind", queue=queue, exchange=name)
    ch.call("exchange.delete", exchange=name)
    ch.call("exchange.declare", exchange=name, type="fanout")
    ch.publish(b"x", exchange=name, mandatory=True)
    assert ch.expect_content("basic.return", reply_code=312).body == b"x"


def test_bind_missing(ch, fresh):
    there, one, two = fresh("e"), fresh("e"), fresh("e")
    ch.call("exchange.declare", exchange=there, type="fanout")
    ch.refused(404, NO_EXCHANGE.format(one), "exchange.bind", source=one, destination=there)
    ch.refused(404, NO_EXCHANGE.format(one), "exchange.bind", source=there, destination=one)
    ch.refused(404, NO_EXCHANGE.format(one), "exchange.bind", source=one, destination=two)


def test_unbind_missing(ch, fresh):
    there = fresh("e")
    ch.call("exchange.declare", exchange=there, type="fanout")
    for source, destination in ((there, "absent"), ("absent", there), ("absent", "absent2"),
                                (there, "amq.fanout")):
        assert ch.call("exchange.unbind", source=source, destination=destination) == {}


def test_bind_twice_unbind_once(ch, fresh):
    one, two = fresh("e"), fresh("e")
    for name in (one, two):
        ch.call("exchange.declare", exchange=name, type="direct")
    queue = ch.declare()
    ch.call("queue.bind", queue=queue, exchange=two, routing_key="k")
    for _ in range(2):
        ch.call("exchange.bind", source=one, destination=two, routing_key="k")
    ch.publish(b"1", "k", one)
    ch.call("exchange.unbind", source=one, destination=two, routing_key="k")
    ch.publish(b"2", "k", one)
    assert ch.drain(queue) == [b"1"]


def test_publish_to_a_missing_exchange(ch, fresh):
    name = fresh("e")
    for mandatory in (False, True):
        ch.publish(b"x", "k", name, mandatory=mandatory)
        ch.expect_close(404, NO_EXCHANGE.format(name), "basic.publish")
        ch.reopen()


def test_publish_to_an_internal_exchange(ch, fresh):
    name, outer, queue = fresh("e"), fresh("e"), ch.declare()
    ch.call("exchange.declare", exchange=name, type="fanout", internal=True)
    ch.call("queue.bind", queue=queue, exchange=name)
    ch.publish(b"x", "k", name)
    ch.expect_close(403,
                    f"ACCESS_REFUSED - cannot publish to internal exchange '{name}' in vhost '/'",
                    "basic.publish")
    ch.reopen()
    ch.call("exchange.declare", exchange=outer, type="fanout")
    ch.call("exchange.bind", source=outer, destination=name)
    ch.publish(b"y", "k", outer)
    assert ch.drain(queue) == [b"y"]


@pytest.mark.parametrize("how", ["unbind", "delete queue", "delete exchange", "close connection"])
def test_auto_delete_when_the_last_binding_from_it_goes(ch, connect, fresh, how):
    name, target = fresh("e"), fresh("e")
    ch.call("exchange.declare", exchange=name, type="fanout", auto_delete=True)
    ch.call("exchange.declare", exchange=target, type="fanout")
    other = connect()
    owner = other.channel()
    queue = owner.declare()
    if how == "delete exchange":
        ch.call("exchange.bind", source=name, destination=target)
        ch.call("exchange.delete", exchange=target)
    else:
        owner.call("queue.bind", queue=queue, exchange=name)
        owner.call("queue.bind", queue=queue, exchange=name, routing_key="second")
        owner.call("queue.unbind", queue=queue, exchange=name, routing_key="second")
        assert exists(ch, name)
    if how == "unbind":
        owner.call("queue.unbind", queue=queue, exchange=name)
    elif how == "delete queue":
        owner.call("queue.delete", queue=queue)
    elif how == "close connection":
        other.disconnect()
    assert not exists(ch, name)


def test_auto_delete_ignores_bindings_to_it_and_waits_for_the_first(ch, fresh):
    name, source = fresh("e"), fresh("e")
    ch.call("exchange.declare", exchange=name, type="fanout", auto_delete=True)
    ch.call("exchange.declare", exchange=source, type="fanout")
    ch.call("exchange.bind", source=source, destination=name)
    ch.call("exchange.unbind", source=source, destination=name)
    assert exists(ch, name)


def test_auto_delete_goes_on_along_a_chain(ch, fresh):
    """The last binding of the first goes, so it goes, and with it the second's last binding."""
    first, second, queue = fresh("e"), fresh("e"), ch.declare()
    for name in (first, second):
        ch.call("exchange.declare", exchange=name, type="fanout", auto_delete=True)
    ch.call("exchange.bind", source=second, destination=first)
    ch.call("queue.bind", queue=queue, exchange=first)
    ch.call("queue.delete", queue=queue)
    assert not exists(ch, first) and not exists(ch, second)


@pytest.mark.parametrize("value, text", [
    ("foo", 'field value <<"foo">>; expected all, any, all-with-x, or any-with-x'),
    (5, "field type signedint (value 5); expected longstr"),
    (True, "field type bool (value true); expected longstr")])
def test_bad_x_match(ch, value, text):
    ch.refused(406, f"PRECONDITION_FAILED - Invalid x-match {text}", "queue.bind",
               queue=ch.declare(), exchange="amq.headers", arguments={"x-match": value})


def test_line_ends_are_taken_out_of_names(ch, fresh):
    name = fresh("e")
    ch.call("exchange.declare", exchange=name[:3] + "\r\n" + name[3:], type="direct")
    ch.call("exchange.declare", exchange=name, passive=True)
    ch.call("exchange.declare", exchange="\n" + name, passive=True)


@pytest.mark.parametrize("method, fields", [
    ("exchange.declare", {"exchange": b"\xff", "type": "direct"}),
    ("queue.declare", {"queue": b"\xe9"}),
    ("basic.consume", {"consumer_tag": b"\xff", "queue": "q"}),
    ("queue.bind", {"queue": "q", "exchange": "amq.direct", "routing_key": b"\xc0\x80"})], ids=repr)
def test_names_in_methods_are_utf8(client, method, fields):
    client.channel().send(method, **fields)
    client.expect_close(501, "FRAME_ERROR - Malformed UTF-8 in shortstr")


@pytest.mark.parametrize("extra", ["", " with spaces", "ünïcödé", "/.,:;'\"<>"])
def test_any_characters_will_do(ch, fresh, extra):
    name = fresh("e") + extra
    ch.call("exchange.declare", exchange=name, type="direct", auto_delete=True)
    ch.call("exchange.declare", exchange=name, passive=True)
    ch.call("exchange.delete", exchange=name)


def test_name_of_255_bytes(ch):
    name = "e" * 255
    ch.call("exchange.declare", exchange=name, type="direct")
    ch.call("exchange.delete", exchange=name)
    text = f"NOT_FOUND - no exchange '{name}' in vhost '/'"
    ch.refused(404, text[:252] + "...", "exchange.declare", exchange=name, passive=True)
