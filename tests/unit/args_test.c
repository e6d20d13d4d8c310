/* args_test: the arguments of queues and exchanges against what RabbitMQ 3.10 answers, as observed
 * on the wire, and the values that stand in its texts. */
#include "fields.h"
#include "unit.h"

#include "base/str.h"
#include "core/args.h"
#include "core/term.h"

#define QUEUE "queue 'q' in vhost '/'"

static const struct change_subject queue_q = {"queue", {(const uint8_t *)"q", 1}, "/"};
static const struct change_subject exchange_x = {"exchange", {(const uint8_t *)"x", 1}, "/"};

enum { DURABLE = 1, AUTO_DELETE = 2, EXCLUSIVE = 4, SERVER_NAMED = 8 };

struct new_case {
    struct fields fields;
    int flags;
    const char *text; /* NULL: accepted */
};

#define QUORUM             TEXT("x-queue-type", "quorum")
#define STREAM             TEXT("x-queue-type", "stream")
#define INVALID(name, why) "invalid arg '" name "' for " QUEUE ": " why
#define NOT_TAKEN(name, type)                                                                      \
    "invalid arg '" name "' for " QUEUE " of queue type rabbit_" type "_queue"

static const struct new_case new_cases[] = {
    {FIELDS({.type = 0}), 0, NULL},
    {FIELDS(TEXT("x-message-ttl", "5")), 0,
        INVALID("x-message-ttl", "\"expected integer, got longstr\"")},
    {FIELDS(INT("x-message-ttl", -5)), 0, INVALID("x-message-ttl", "{value_negative,-5}")},
    {FIELDS(LONG("x-message-ttl", 315360000001)), 0,
        INVALID("x-message-ttl", "{value_too_large,315360000001}")},
    {FIELDS(LONG("x-message-ttl", 315360000000)), 0, NULL},
    {FIELDS(INT("x-message-ttl", 0)), 0, NULL},
    {FIELDS(BOOL("x-message-ttl", true)), 0,
        INVALID("x-message-ttl", "\"expected integer, got bool\"")},
    {FIELDS(REAL("x-message-ttl", 5.5)), 0,
        INVALID("x-message-ttl", "\"expected integer, got double\"")},
    {FIELDS(STAMP("x-message-ttl", 5)), 0,
        INVALID("x-message-ttl", "\"expected integer, got timestamp\"")},
    {FIELDS(TYPED_INT("x-message-ttl", 'b', 5), TYPED_INT("x-expires", 'u', 9)), 0, NULL},
    {FIELDS(INT("x-expires", 0)), 0, INVALID("x-expires", "{value_zero,0}")},
    {FIELDS(INT("x-expires", -1)), 0, INVALID("x-expires", "{value_negative,-1}")},
    {FIELDS(LONG("x-expires", 315360000001)), 0,
        INVALID("x-expires", "{value_too_large,315360000001}")},
    {FIELDS(INT("x-dead-letter-exchange", 5)), 0,
        "invalid type 'signedint' for arg 'x-dead-letter-exchange' in " QUEUE},
    {FIELDS(TEXT("x-dead-letter-exchange", "")), 0, NULL},
    {FIELDS(TEXT("x-dead-letter-routing-key", "k")), 0,
        INVALID("x-dead-letter-routing-key", "routing_key_but_no_dlx_defined")},
    {FIELDS(INT("x-dead-letter-routing-key", 1), TEXT("x-dead-letter-exchange", "")), 0,
        INVALID("x-dead-letter-routing-key", "{unacceptable_type,signedint}")},
    {FIELDS(TEXT("x-dead-letter-routing-key", "k"), TEXT("x-dead-letter-exchange", "")), 0, NULL},
    {FIELDS(INT("x-max-length", -1)), 0, INVALID("x-max-length", "{value_negative,-1}")},
    {FIELDS(TABLE("x-max-length", "")), 0,
        INVALID("x-max-length", "\"expected integer, got table\"")},
    {FIELDS(INT("x-max-length", 0), INT("x-max-length-bytes", 0)), 0, NULL},
    {FIELDS(INT("x-max-priority", 256)), 0, INVALID("x-max-priority", "{max_value_exceeded,256}")},
    {FIELDS(INT("x-max-priority", -1)), 0, INVALID("x-max-priority", "{value_negative,-1}")},
    {FIELDS(INT("x-max-priority", 255)), 0, NULL},
    {FIELDS(TEXT("x-overflow", "bad")), 0, INVALID("x-overflow", "invalid_overflow")},
    {FIELDS(INT("x-overflow", 1)), 0, INVALID("x-overflow", "{unacceptable_type,signedint}")},
    {FIELDS(TEXT("x-overflow", "reject-publish-dlx")), 0, NULL},
    {FIELDS(TEXT("x-queue-mode", "ba\"d\\x")), 0,
        INVALID("x-queue-mode", "\"unsupported queue mode 'ba\\\"d\\\\x'\"")},
    {FIELDS(INT("x-queue-mode", 1)), 0, INVALID("x-queue-mode", "{unacceptable_type,signedint}")},
    {FIELDS(TEXT("x-queue-mode", "lazy")), 0, NULL},
    {FIELDS(INT("x-queue-version", 3)), 0,
        INVALID("x-queue-version", "\"unsupported queue version '3'\"")},
    {FIELDS(TEXT("x-queue-version", "3")), 0,
        INVALID("x-queue-version", "\"expected integer, got longstr\"")},
    {FIELDS(INT("x-queue-version", 2)), 0, NULL},
    {FIELDS(TEXT("x-single-active-consumer", "yes")), 0,
        INVALID("x-single-active-consumer", "{unacceptable_type,longstr}")},
    {FIELDS(BOOL("x-single-active-consumer", true)), 0, NULL},
    {FIELDS(TEXT("x-queue-type", "bad")), 0,
        INVALID("x-queue-type", "\"unsupported queue type 'bad'\"")},
    {FIELDS(INT("x-queue-type", 7)), 0, INVALID("x-queue-type", "{unacceptable_type,signedint}")},
    {FIELDS(TEXT("x-queue-type", "classic")), EXCLUSIVE | AUTO_DELETE, NULL},
    {FIELDS(TEXT("x-max-age", "1D")), 0, NOT_TAKEN("x-max-age", "classic")},
    {FIELDS(INT("x-delivery-limit", 3)), 0, NOT_TAKEN("x-delivery-limit", "classic")},
    {FIELDS(INT("x-max-in-memory-length", 3)), 0, NOT_TAKEN("x-max-in-memory-length", "classic")},
    {FIELDS(INT("x-delivery-limit", 3), TEXT("x-max-age", "1D")), 0,
        NOT_TAKEN("x-delivery-limit", "classic")},
    {FIELDS(TEXT("x-queue-leader-locator", "anything")), 0, NULL},
    {FIELDS(TEXT("x-queue-master-locator", "min-masters")), 0, NULL},
    {FIELDS(TEXT("x-unheard-of", "v"), TEXT("ha-mode", "all")), 0, NULL},
    /* What is wrong with values comes before names that are not taken. */
    {FIELDS(TEXT("x-max-age", "1D"), INT("x-overflow", 1)), 0,
        INVALID("x-overflow", "{unacceptable_type,signedint}")},
    /* The order of the checks is the table's, not the order of what was sent. */
    {FIELDS(INT("x-max-length", -1), INT("x-expires", 0)), 0,
        INVALID("x-expires", "{value_zero,0}")},
    {FIELDS(QUORUM), 0, "invalid property 'non-durable' for " QUEUE},
    {FIELDS(QUORUM), DURABLE | AUTO_DELETE, "invalid property 'auto-delete' for " QUEUE},
    {FIELDS(QUORUM), DURABLE | EXCLUSIVE, "invalid property 'exclusive-owner' for " QUEUE},
    {FIELDS(QUORUM), DURABLE, NULL},
    {FIELDS(QUORUM), DURABLE | SERVER_NAMED,
        "Cannot declare a server-named queue for type rabbit_quorum_queue"},
    {FIELDS(QUORUM, INT("x-max-priority", 5)), DURABLE, NOT_TAKEN("x-max-priority", "quorum")},
    {FIELDS(QUORUM, INT("x-quorum-initial-group-size", 0)), DURABLE,
        INVALID("x-quorum-initial-group-size", "{value_zero,0}")},
    {FIELDS(QUORUM, TEXT("x-queue-leader-locator", "x")), DURABLE,
        INVALID("x-queue-leader-locator", "invalid_queue_locator_arg")},
    {FIELDS(QUORUM, TEXT("x-dead-letter-strategy", "foo")), DURABLE,
        INVALID("x-dead-letter-strategy", "invalid_dlx_strategy")},
    {FIELDS(QUORUM, TEXT("x-dead-letter-strategy", "at-least-once"), INT("x-delivery-limit", 5)),
        DURABLE, NULL},
    {FIELDS(STREAM, TEXT("x-max-age", "1x")), DURABLE, INVALID("x-max-age", "invalid_max_age")},
    {FIELDS(STREAM, TEXT("x-max-age", "0D")), DURABLE, INVALID("x-max-age", "invalid_max_age")},
    {FIELDS(STREAM, TEXT("x-max-age", "7DD")), DURABLE, INVALID("x-max-age", "invalid_max_age")},
    {FIELDS(STREAM, TEXT("x-max-age", "7D")), DURABLE, NULL},
    {FIELDS(STREAM, LONG("x-stream-max-segment-size-bytes", 3000000001)), DURABLE,
        "Exceeded max value for x-stream-max-segment-size-bytes"},
    {FIELDS(STREAM, INT("x-message-ttl", 5)), DURABLE, NOT_TAKEN("x-message-ttl", "stream")},
};

static void new_queues(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT_OF(new_cases); i++) {
        uint8_t room[512];
        int flags = new_cases[i].flags;
        struct change change = {
            .kind = CHANGE_QUEUE_DECLARE,
            .durable = flags & DURABLE,
            .auto_delete = flags & AUTO_DELETE,
            .exclusive = flags & EXCLUSIVE,
            .server_named = flags & SERVER_NAMED,
            .arguments = fields_table(&new_cases[i].fields, room, sizeof room),
        };
        struct change_result result = {.code = REPLY_OK};
        bool accepted = args_check_new_queue(&queue_q, &change, &result);
        const char *text = new_cases[i].text;
        if (accepted != !text) fail_msg("case %zu: %s", i, result.text);
        if (!text) continue;
        assert_string_equal(result.text, text);
        assert_int_equal(result.code, REPLY_PRECONDITION_FAILED);
    }
}

struct same_case {
    struct fields current;
    struct fields received;
    const char *argument; /* NULL: equivalent */
    const char *text;     /* from "received" on */
};

static const struct same_case same_cases[] = {
    {FIELDS({.type = 0}), FIELDS({.type = 0}), NULL, NULL},
    {FIELDS(INT("x-message-ttl", 60000)), FIELDS(LONG("x-message-ttl", 60000)), NULL, NULL},
    {FIELDS(INT("x-message-ttl", 5)), FIELDS(TYPED_INT("x-message-ttl", 'B', 5)), NULL, NULL},
    {FIELDS(INT("x-message-ttl", 5)), FIELDS(STAMP("x-message-ttl", 5)), NULL, NULL},
    {FIELDS(TEXT("x-overflow", "drop-head")), FIELDS(BINARY("x-overflow", "drop-head")), NULL,
        NULL},
    {FIELDS(INT("x-message-ttl", 60000)), FIELDS({.type = 0}), "x-message-ttl",
        "received none but current is the value '60000' of type 'signedint'"},
    {FIELDS(INT("x-message-ttl", 60000)), FIELDS(INT("x-message-ttl", 5)), "x-message-ttl",
        "received '5' but current is '60000'"},
    {FIELDS(INT("x-message-ttl", 60000)), FIELDS(TEXT("x-message-ttl", "60000")), "x-message-ttl",
        "received '60000' but current is '60000'"},
    {FIELDS(INT("x-message-ttl", 60000)), FIELDS(REAL("x-message-ttl", 60000.0)), "x-message-ttl",
        "received '6.0e4' but current is '60000'"},
    {FIELDS(INT("x-message-ttl", 60000)), FIELDS(ARRAY("x-message-ttl", "I\0\0\0\1S\0\0\0\1a")),
        "x-message-ttl", "received '[{signedint,1},{longstr,<<\"a\">>}]' but current is '60000'"},
    {FIELDS(INT("x-message-ttl", 60000)),
        FIELDS(TABLE("x-message-ttl", "\1aS\0\0\0\1b\1cI\0\0\0\1")), "x-message-ttl",
        "received '[{<<\"a\">>,longstr,<<\"b\">>},{<<\"c\">>,signedint,1}]' but current is "
        "'60000'"},
    {FIELDS(INT("x-message-ttl", 60000)), FIELDS(VOID("x-message-ttl")), "x-message-ttl",
        "received none but current is '60000'"},
    {FIELDS(TEXT("x-dead-letter-exchange", "dlx")), FIELDS(TEXT("x-dead-letter-exchange", "other")),
        "x-dead-letter-exchange", "received 'other' but current is 'dlx'"},
    {FIELDS({.type = 0}), FIELDS(INT("x-expires", 1000)), "x-expires",
        "received the value '1000' of type 'signedint' but current is none"},
    {FIELDS({.type = 0}), FIELDS(TEXT("x-queue-type", "classic")), NULL, NULL},
    {FIELDS(TEXT("x-queue-type", "classic")), FIELDS({.type = 0}), NULL, NULL},
    {FIELDS({.type = 0}), FIELDS(TEXT("x-queue-type", "quorum")), "x-queue-type",
        "received the value 'quorum' of type 'longstr' but current is none"},
    {FIELDS(QUORUM), FIELDS({.type = 0}), "x-queue-type",
        "received none but current is the value 'quorum' of type 'longstr'"},
    {FIELDS({.type = 0}), FIELDS(INT("x-foo", 1)), NULL, NULL},
    {FIELDS({.type = 0}), FIELDS(INT("x-delivery-limit", 1)), NULL, NULL},
    {FIELDS(QUORUM), FIELDS(QUORUM, INT("x-delivery-limit", 1)), "x-delivery-limit",
        "received the value '1' of type 'signedint' but current is none"},
    {FIELDS({.type = 0}), FIELDS(BOOL("x-single-active-consumer", true)),
        "x-single-active-consumer", "received the value 'true' of type 'bool' but current is none"},
    /* The turns differ by type: a classic queue looks at the expiry first, a quorum queue later. */
    {FIELDS({.type = 0}), FIELDS(TEXT("x-dead-letter-exchange", "d"), INT("x-expires", 1)),
        "x-expires", "received the value '1' of type 'signedint' but current is none"},
    {FIELDS(QUORUM), FIELDS(QUORUM, INT("x-expires", 1), TEXT("x-dead-letter-exchange", "d")),
        "x-dead-letter-exchange", "received the value 'd' of type 'longstr' but current is none"},
};

static void redeclared_queues(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT_OF(same_cases); i++) {
        uint8_t current_room[256], received_room[256];
        struct bytes current =
            fields_table(&same_cases[i].current, current_room, sizeof current_room);
        struct bytes received =
            fields_table(&same_cases[i].received, received_room, sizeof received_room);
        struct change_result result = {.code = REPLY_OK};
        bool same = args_equivalent_queue(&queue_q, current, received, &result);
        if (same != !same_cases[i].argument) fail_msg("case %zu: %s", i, result.text);
        if (same) continue;
        char text[512];
        str_format(text, sizeof text, "inequivalent arg '%s' for " QUEUE ": %s",
            same_cases[i].argument, same_cases[i].text);
        assert_string_equal(result.text, text);
        assert_int_equal(result.code, REPLY_PRECONDITION_FAILED);
    }
}

static void exchanges(void **state) {
    (void)state;
    static const struct fields none = FIELDS({.type = 0});
    static const struct fields ae = FIELDS(TEXT("alternate-exchange", "ae"), INT("other", 1));
    static const struct fields five = FIELDS(INT("alternate-exchange", 5));
    uint8_t ae_room[64], five_room[64];
    struct bytes ae_table = fields_table(&ae, ae_room, sizeof ae_room);
    struct bytes five_table = fields_table(&five, five_room, sizeof five_room);
    struct bytes no_table = fields_table(&none, (uint8_t[1]){0}, 1);
    struct change_result result;
    assert_true(args_equivalent_exchange(&exchange_x, ae_table, ae_table, &result));
    assert_false(args_equivalent_exchange(&exchange_x, ae_table, no_table, &result));
    assert_string_equal(result.text,
        "inequivalent arg 'alternate-exchange' for exchange 'x' in vhost '/': received none but "
        "current is the value 'ae' of type 'longstr'");
    assert_false(args_equivalent_exchange(&exchange_x, ae_table, five_table, &result));
    assert_string_equal(result.text, "inequivalent arg 'alternate-exchange' for exchange 'x' in "
                                     "vhost '/': received '5' but current is 'ae'");
    assert_true(args_check_exchange_name(&exchange_x, ae_table, "alternate-exchange", &result));
    assert_false(args_check_exchange_name(&exchange_x, five_table, "alternate-exchange", &result));
    assert_string_equal(result.text,
        "invalid type 'signedint' for arg 'alternate-exchange' in exchange 'x' in vhost '/'");
}

static void long_texts_are_cut(void **state) {
    (void)state;
    char name[255];
    memset(name, 'n', sizeof name);
    struct change_subject subject = {"queue", bytes_of(name, sizeof name), "/"};
    struct change_result result;
    assert_false(change_refuse_missing(&result, &subject));
    assert_int_equal(strlen(result.text), 255);
    assert_int_equal(strncmp(result.text, "no queue 'nnn", 13), 0);
}

/* ---- values as terms ---- */

static const struct {
    struct field field;
    const char *term;
} term_cases[] = {
    {INT("", -7), "-7"},
    {STAMP("", UINT64_MAX), "18446744073709551615"},
    {BOOL("", false), "false"},
    {VOID(""), "undefined"},
    {TEXT("", "text"), "<<\"text\">>"},
    {TEXT("", ""), "<<>>"},
    {TEXT("", "\1\2\377"), "<<1,2,255>>"},
    {BINARY("", "q\"\\"), "<<\"q\\\"\\\\\">>"},
    {DECIMAL("", 2, -1), "{2,4294967295}"},
    {REAL("", 99.5), "99.5"},
    {REAL("", 60000.0), "6.0e4"},
    {REAL("", 100.0), "100.0"},
    {REAL("", 0.0), "0.0"},
    {REAL("", 123456789.0), "123456789.0"},
    {REAL("", 0.0001), "0.0001"},
    {REAL("", 0.00012), "1.2e-4"},
    {REAL("", -1.5e10), "-1.5e10"},
    {REAL("", 1e22), "1.0e22"},
    {REAL("", 12345.678), "12345.678"},
    {ARRAY("", ""), "[]"},
    {ARRAY("", "A\0\0\0\5I\0\0\0\1t\1"), "[{array,[{signedint,1}]},{bool,true}]"},
    {TABLE("", "\1aF\0\0\0\0\1bV"), "[{<<\"a\">>,table,[]},{<<\"b\">>,void,undefined}]"},
};

static void terms_print_as_in_erlang(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT_OF(term_cases); i++) {
        struct phrase phrase = {0};
        phrase_put_term(&phrase, &term_cases[i].field);
        assert_string_equal(phrase.text, term_cases[i].term);
    }
}

static const struct {
    struct field a;
    struct field b;
    bool equal;
} equal_cases[] = {
    {INT("", 5), LONG("", 5), true},
    {INT("", 5), REAL("", 5.0), true},
    {INT("", 5), REAL("", 5.5), false},
    {INT("", -5), REAL("", -5.0), true},
    {INT("", -5), REAL("", -5.5), false},
    {LONG("", 9007199254740993), REAL("", 9007199254740992.0), false},
    {LONG("", INT64_MIN), REAL("", -9223372036854775808.0), true},
    {LONG("", INT64_MAX), REAL("", 9223372036854775808.0), false},
    {STAMP("", UINT64_MAX), LONG("", -1), false},
    {STAMP("", 7), INT("", 7), true},
    {STAMP("", UINT64_MAX), REAL("", 18446744073709551616.0), false},
    {REAL("", 0.0), REAL("", -0.0), true},
    {TEXT("", "a"), BINARY("", "a"), true},
    {TEXT("", "5"), INT("", 5), false},
    {BOOL("", true), INT("", 1), false},
    {BOOL("", true), BOOL("", true), true},
    {VOID(""), VOID(""), true},
    {VOID(""), TEXT("", ""), false},
    {DECIMAL("", 1, 5), DECIMAL("", 1, 5), true},
    {DECIMAL("", 1, 50), DECIMAL("", 2, 5), false},
    {ARRAY("", ""), TABLE("", ""), true},
    {ARRAY("", "t\1"), TABLE("", "\0t\1"), false},
    {ARRAY("", "t\1"), ARRAY("", "t\2"), true},
    {ARRAY("", "t\1"), ARRAY("", "t\1t\1"), false},
    {ARRAY("", "l\0\0\0\0\0\0\0\1"), ARRAY("", "L\0\0\0\0\0\0\0\1"), true},
    {ARRAY("", "I\0\0\0\1"), ARRAY("", "b\1"), false},
    {TABLE("", "\1at\1\1bF\0\0\0\3\1cV"), TABLE("", "\1at\1\1bF\0\0\0\3\1cV"), true},
    {TABLE("", "\1at\1\1bF\0\0\0\3\1cV"), TABLE("", "\1at\1\1bF\0\0\0\3\1dV"), false},
    {TABLE("", "\1at\1\1bV"), TABLE("", "\1bV\1at\1"), false},
};

static void terms_compare_as_in_erlang(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT_OF(equal_cases); i++) {
        bool equal = term_equal(&equal_cases[i].a, &equal_cases[i].b);
        bool reverse = term_equal(&equal_cases[i].b, &equal_cases[i].a);
        if (equal != equal_cases[i].equal || reverse != equal) fail_msg("case %zu", i);
    }
}

/* Sorted by name, stable, one spelling of long; more fields than are kept inline. */
static void canonical_tables(void **state) {
    (void)state;
    static const uint8_t table[] = "\2bbt\7\1bL\0\0\0\0\0\0\0\1\1aI\0\0\0\2\1aI\0\0\0\1";
    static const uint8_t sorted[] = "\1aI\0\0\0\2\1aI\0\0\0\1\1bl\0\0\0\0\0\0\0\1\2bbt\1";
    uint8_t room[sizeof table];
    struct writer writer = writer_over(room, sizeof table - 1);
    term_write_canonical(&writer, bytes_of(table, sizeof table - 1));
    assert_false(writer.bad);
    assert_bytes(writer_bytes(&writer), sorted, sizeof sorted - 1);
    uint8_t many[400 * 5], many_room[sizeof many];
    struct writer field = writer_over(many, sizeof many);
    for (uint32_t i = 0; i < 400; i++) {
        write_u8(&field, 2);
        write_u16(&field, (uint16_t)((i * 37) % 400));
        write_u8(&field, 'b');
        write_u8(&field, 1);
    }
    writer = writer_over(many_room, sizeof many_room);
    term_write_canonical(&writer, writer_bytes(&field));
    assert_int_equal(writer_size(&writer), sizeof many);
    for (uint32_t i = 0; i < 400; i++) {
        assert_int_equal(many_room[i * 5 + 1] << 8 | many_room[i * 5 + 2], i);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(new_queues),
        cmocka_unit_test(redeclared_queues),
        cmocka_unit_test(exchanges),
        cmocka_unit_test(long_texts_are_cut),
        cmocka_unit_test(terms_print_as_in_erlang),
        cmocka_unit_test(terms_compare_as_in_erlang),
        cmocka_unit_test(canonical_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
