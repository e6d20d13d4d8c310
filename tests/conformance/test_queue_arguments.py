"""test_queue_arguments: which values queue.declare takes, and what is the same queue again."""
import pytest

from fields import Typed

INVALID = "PRECONDITION_FAILED - invalid arg '{}' for queue '{}' in vhost '/'{}"
INEQUIVALENT = "PRECONDITION_FAILED - inequivalent arg '{}' for queue '{}' in vhost '/': {}"
INTEGERS = ["x-message-ttl", "x-expires", "x-max-length", "x-max-length-bytes", "x-max-priority"]
TEN_YEARS_MS = 315360000000
NOT_INTEGERS = [("5", "longstr"), (True, "bool"), (1.5, "double"), (None, "void"), ([], "array"),
                ({}, "table"), (b"5", "binary"), (Typed("T", 5), "timestamp"),
                (Typed("f", 5), "float"),
                (Typed("D", (0, 5)), "decimal")]

COMPARED = {
    "x-message-ttl": 60000, "x-expires": 60000, "x-max-length": 5, "x-max-length-bytes": 500,
    "x-dead-letter-exchange": "dlx", "x-dead-letter-routing-key": "key", "x-overflow": "drop-head",
    "x-max-priority": 5, "x-queue-mode": "lazy", "x-single-active-consumer": True,
}
OTHER = {
    "x-dead-letter-exchange": "other", "x-dead-letter-routing-key": "other",
    "x-overflow": "reject-publish", "x-queue-mode": "default", "x-single-active-consumer": False,
}


def shown(value):
    return str(value).lower() if isinstance(value, bool) else str(value)


def type_name(value):
    return {bool: "bool", int: "signedint", str: "longstr"}[type(value)]


@pytest.mark.parametrize("flag", ["durable", "auto_delete"])
@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("nowait", [False, True])
def test_redeclare_with_another_flag(ch, fresh, flag, first, nowait):
    name, words = fresh(), ("false", "true")
    ch.call("queue.declare", queue=name, **{flag: first})
    ch.refused(406, INEQUIVALENT.format(
        flag, name, f"received '{words[not first]}' but current is '{words[first]}'"),
        "queue.declare", queue=name, nowait=nowait, **{flag: not first})


def test_order_of_comparison(ch, fresh):
    name = fresh()
    ch.call("queue.declare", queue=name)
    wrong = {"durable": True, "auto_delete": True, "arguments": {"x-max-length": 5}}
    for arg in ("durable", "auto_delete", "x-max-length"):
        ch.send("queue.declare", queue=name, **wrong)
        text = ch.expect("channel.close", reply_code=406)["reply_text"]
        assert text.startswith(f"PRECONDITION_FAILED - inequivalent arg '{arg}' for queue"), text
        ch.send("channel.close_ok")
        ch.reopen()
        wrong.pop(arg, None)


def test_passive_compares_nothing(ch, fresh):
    name = fresh()
    ch.call("queue.declare", queue=name)
    ch.call("queue.declare", queue=name, passive=True, durable=True, exclusive=True,
            auto_delete=True, arguments={"x-max-length": "bad"})


@pytest.mark.parametrize("key", COMPARED)
def test_redeclare_with_another_value(ch, fresh, key):
    name, value = fresh(), COMPARED[key]
    other = OTHER.get(key) if key in OTHER else value + 1
    ch.call("queue.declare", queue=name, arguments=COMPARED)
    ch.call("queue.declare", queue=name, arguments=COMPARED)
    ch.refused(406, INEQUIVALENT.format(
        key, name, f"received '{shown(other)}' but current is '{shown(value)}'"),
        "queue.declare", queue=name, arguments={**COMPARED, key: other})


@pytest.mark.parametrize("key", [key for key in COMPARED if key != "x-dead-letter-exchange"])
def test_redeclare_without_a_value(ch, fresh, key):
    name, value = fresh(), COMPARED[key]
    ch.call("queue.declare", queue=name, arguments=COMPARED)
    ch.refused(406, INEQUIVALENT.format(
        key, name, f"received none but current is the value '{shown(value)}' of type "
        f"'{type_name(value)}'"), "queue.declare", queue=name,
        arguments={k: v for k, v in COMPARED.items() if k != key})


@pytest.mark.parametrize("key", [key for key in COMPARED if key != "x-dead-letter-routing-key"])
def test_redeclare_with_a_value_too_many(ch, fresh, key):
    name, value = fresh(), COMPARED[key]
    ch.call("queue.declare", queue=name)
    ch.refused(406, INEQUIVALENT.format(
        key, name, f"received the value '{shown(value)}' of type '{type_name(value)}' but current "
        "is none"), "queue.declare", queue=name, arguments={key: value})


@pytest.mark.parametrize("arguments", [
    {"x-ha-policy": "all"}, {"x-delivery-limit": 5}, {"my-own": {"table": [1, 2]}},
    {"x-max-age": "1D"},
    {"x-queue-type": "classic"}])
def test_what_is_not_compared(ch, fresh, arguments):
    name = fresh()
    ch.call("queue.declare", queue=name)
    ch.call("queue.declare", queue=name, arguments=arguments)


@pytest.mark.parametrize("letter", "bBsuIilL")
def test_integers_of_any_width_are_equal(ch, fresh, letter):
    name = fresh()
    ch.call("queue.declare", queue=name, arguments={"x-message-ttl": Typed(letter, 100)})
    ch.call("queue.declare", queue=name, arguments={"x-message-ttl": Typed("I", 100)})
    ch.call("queue.declare", queue=name, arguments={"x-message-ttl": Typed("l", 100)})


@pytest.mark.parametrize("value, text", [(60000.0, "6.0e4"), ("60000", "60000")])
def test_other_types_never_equal_an_integer(ch, fresh, value, text):
    name = fresh()
    ch.call("queue.declare", queue=name, arguments={"x-message-ttl": 60000})
    ch.refused(406, INEQUIVALENT.format("x-message-ttl", name,
                                        f"received '{text}' but current is '60000'"),
               "queue.declare", queue=name, arguments={"x-message-ttl": value})


@pytest.mark.parametrize("key", INTEGERS)
@pytest.mark.parametrize("value, kind", NOT_INTEGERS)
def test_integer_arguments_take_integers(ch, fresh, key, value, kind):
    name = fresh()
    ch.refused(406, INVALID.format(key, name, f': "expected integer, got {kind}"'),
               "queue.declare", queue=name, exclusive=True, arguments={key: value})


@pytest.mark.parametrize("key", INTEGERS)
@pytest.mark.parametrize("value", [-1, Typed("b", -1), Typed("l", -(1 << 40))])
def test_integer_arguments_are_not_negative(ch, fresh, key, value):
    name = fresh()
    number = value.value if isinstance(value, Typed) else value
    ch.refused(406, INVALID.format(key, name, f": {{value_negative,{number}}}"),
               "queue.declare", queue=name, exclusive=True, arguments={key: value})


@pytest.mark.parametrize("key, value, reason", [
    ("x-expires", 0, "{value_zero,0}"),
    ("x-expires", TEN_YEARS_MS + 1, f"{{value_too_large,{TEN_YEARS_MS + 1}}}"),
    ("x-message-ttl", TEN_YEARS_MS + 1, f"{{value_too_large,{TEN_YEARS_MS + 1}}}"),
    ("x-max-priority", 256, "{max_value_exceeded,256}"),
    ("x-overflow", "bad", "invalid_overflow"), ("x-overflow", "", "invalid_overflow"),
    ("x-overflow", 5, "{unacceptable_type,signedint}"),
    ("x-queue-mode", "bad", "\"unsupported queue mode 'bad'\""),
    ("x-queue-mode", True, "{unacceptable_type,bool}"),
    ("x-queue-type", "bad", "\"unsupported queue type 'bad'\""),
    ("x-queue-type", 5, "{unacceptable_type,signedint}"),
    ("x-queue-version", 3, "\"unsupported queue version '3'\""),
    ("x-single-active-consumer", "true", "{unacceptable_type,longstr}"),
    ("x-single-active-consumer", 1, "{unacceptable_type,signedint}"),
    ("x-dead-letter-routing-key", 5, "{unacceptable_type,signedint}"),
    ("x-dead-letter-routing-key", "k", "routing_key_but_no_dlx_defined")])
def test_values_that_are_refused(ch, fresh, key, value, reason):
    name = fresh()
    ch.refused(406, INVALID.format(key, name, f": {reason}"), "queue.declare", queue=name,
               exclusive=True, arguments={key: value})


@pytest.mark.parametrize("value, kind", [(5, "signedint"), (True, "bool"), (b"x", "binary")])
def test_dead_letter_exchange_must_be_a_string(ch, fresh, value, kind):
    name = fresh()
    ch.refused(406,
               f"PRECONDITION_FAILED - invalid type '{kind}' for arg 'x-dead-letter-exchange' in "
                    f"queue '{name}' in vhost '/'", "queue.declare", queue=name, exclusive=True,
               arguments={"x-dead-letter-exchange": value})


@pytest.mark.parametrize("key", [
    "x-delivery-limit", "x-max-in-memory-length", "x-quorum-initial-group-size", "x-max-age",
    "x-stream-max-segment-size-bytes", "x-initial-cluster-size"])
def test_arguments_of_other_queue_types(ch, fresh, key):
    name = fresh()
    ch.refused(406, INVALID.format(key, name, " of queue type rabbit_classic_queue"),
               "queue.declare", queue=name, exclusive=True, arguments={key: 5})


@pytest.mark.parametrize("arguments", [
    {"x-message-ttl": 0}, {"x-message-ttl": TEN_YEARS_MS}, {"x-expires": TEN_YEARS_MS},
    {"x-expires": 1 << 32}, {"x-max-length": 0}, {"x-max-length": 1 << 40},
    {"x-max-length-bytes": 0},
    {"x-max-priority": 0}, {"x-max-priority": 255}, {"x-overflow": "drop-head"},
    {"x-overflow": "reject-publish"}, {"x-overflow": "reject-publish-dlx"},
    {"x-queue-mode": "lazy"},
    {"x-queue-mode": "default"}, {"x-queue-type": "classic"}, {"x-queue-version": 1},
    {"x-single-active-consumer": False}, {"x-dead-letter-exchange": ""},
    {"x-dead-letter-exchange": "absent", "x-dead-letter-routing-key": ""},
    {"anything": [{"a": None}]}],
    ids=repr)
def test_values_that_are_taken(ch, fresh, arguments):
    ch.declare(fresh(), arguments=arguments)


def test_the_first_of_a_repeated_argument_counts(ch, fresh):
    name = fresh()
    ch.declare(name, arguments=[("x-message-ttl", 100), ("x-message-ttl", 200)])
    ch.declare(name, arguments={"x-message-ttl": 100})
