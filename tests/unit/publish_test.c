/* publish_test: from publish, header and bodies to a message, and what is refused on the way. */
#include "fake_host.h"

#include "amqp/properties.h"
#include "amqp/table.h"
#include "base/memory.h"
#include "base/prng.h"
#include "session/reply_to.h"

/* The property bytes of `properties`, in `memory`. */
static struct bytes encode(const struct properties *properties, uint8_t memory[1024]) {
    struct writer writer = writer_over(memory, 1024);
    properties_encode(&writer, properties);
    assert_false(writer.bad);
    return writer_bytes(&writer);
}

/* A header frame's payload with any size and class. */
static void say_header(
    struct fake_host *host, uint16_t class_id, uint16_t weight, uint64_t body_size) {
    uint8_t memory[14];
    struct writer writer = writer_over(memory, sizeof memory);
    write_u16(&writer, class_id);
    write_u16(&writer, weight);
    write_u64(&writer, body_size);
    write_u16(&writer, 0);
    host_say_frame(host, FRAME_HEADER, 1, writer_bytes(&writer));
}

static void one_frame_is_one_message(void **state) {
    struct fake_host *host = *state;
    assert_false(session_has_published(host->session));
    host_say(host, 1, "basic.publish exchange='e' routing_key='k'");
    host_say_content(host, 1, BYTES("\x80\0\x02it"), BYTES("hello"));
    host_asked(host, "publish 1 'e' 'k' 5 seqno=0");
    assert_text(message_body(host->published[0]), "hello");
    assert_bytes(message_properties(host->published[0]), "\x80\0\x02it", 5);
    assert_false(host->published[0]->persistent);
    assert_true(session_has_published(host->session));
    host_say(host, 1, "basic.publish routing_key='empty'");
    host_say_content(host, 1, NO_PROPERTIES, bytes_of("", 0));
    host_asked(host, "publish 1 '' 'empty' 0 seqno=0");
}

static void marks_come_from_the_properties(void **state) {
    struct fake_host *host = *state;
    uint8_t memory[1024];
    struct properties properties = {
        .flags = PROPERTY_HAS_delivery_mode | PROPERTY_HAS_priority | PROPERTY_HAS_user_id |
                 PROPERTY_HAS_expiration,
        .delivery_mode = 2,
        .priority = 200,
        .user_id = BYTES("guest"),
        .expiration = BYTES("315360000000"),
    };
    for (int i = 0; i < 2; i++) {
        host_say(host, 1, "basic.publish routing_key='k'");
        host_say_content(host, 1, encode(&properties, memory), BYTES("m"));
        host_asked(host, "publish 1 '' 'k' 1 seqno=0");
        assert_int_equal(host->published[i]->persistent, i == 0);
        assert_int_equal(host->published[i]->priority, i == 0 ? 200 : 0);
        properties.flags = 0;
    }
}

static void a_body_in_many_frames(void **state) {
    struct fake_host *host = *state;
    uint8_t *body = mem_new(300000);
    for (size_t i = 0; i < 300000; i++)
        body[i] = (uint8_t)(i * 7 + i / 256);
    struct prng prng;
    prng_init(&prng, 3);
    host_say(host, 1, "basic.publish routing_key='k'");
    say_header(host, 60, 0, 300000);
    assert_int_equal(message_pool_count(host->pool), 0);
    for (uint32_t at = 0; at < 300000;) {
        host_asked_nothing(host);
        uint32_t size = (uint32_t)min_u64(prng_below(&prng, 60000), 300000 - at);
        host_say_frame(host, FRAME_BODY, 1, bytes_of(body + at, size));
        at += size;
        /* What has arrived is never more than doubled. */
        if (at < 300000) assert_true(message_pool_bytes(host->pool) <= 2 * at + 1024);
    }
    host_asked(host, "publish 1 '' 'k' 300000 seqno=0");
    assert_bytes(message_body(host->published[0]), body, 300000);
    mem_free(body);
}

static void a_declared_size_takes_no_memory(void **state) {
    struct fake_host *host = *state;
    host_say(host, 1, "basic.publish routing_key='k'");
    say_header(host, 60, 0, 1000000);
    assert_int_equal(message_pool_bytes(host->pool), 0);
    host_say_frame(host, FRAME_BODY, 1, BYTES("x"));
    assert_true(message_pool_bytes(host->pool) < 256);
    /* The channel goes away with half a message. */
    host_say(host, 0, "connection.close");
    host_asked(host, "leave");
    assert_int_equal(message_pool_count(host->pool), 0);
    session_on_left(host->session, host->now_ms);
    host_hear(host, 0, "connection.close_ok");
    host_asked(host, "finish");
}

static void long_names_and_properties(void **state) {
    struct fake_host *host = *state;
    uint8_t table[60000] = "\x01xS";
    struct writer size = writer_over(table + 3, 4);
    write_u32(&size, sizeof table - 7);
    struct properties properties = {
        .flags = PROPERTY_HAS_headers, .headers = bytes_of(table, sizeof table)};
    uint8_t *memory = mem_raw(sizeof table + 64);
    struct writer writer = writer_over(memory, sizeof table + 64);
    properties_encode(&writer, &properties);
    uint8_t payload[70000];
    for (uint32_t i = 0; i < 2; i++) {
        host_say(host, 1, "basic.publish exchange='some exchange' routing_key='some key'");
        struct writer header = writer_over(payload, sizeof payload);
        write_u32(&header, 60 << 16);
        write_u64(&header, 1);
        write_bytes(&header, writer_bytes(&writer));
        host_say_frame(host, FRAME_HEADER, 1, writer_bytes(&header));
        host_say_frame(host, FRAME_BODY, 1, BYTES("b"));
        assert_text(message_exchange(host->published[i]), "some exchange");
        assert_text(message_routing_key(host->published[i]), "some key");
        assert_bytes(message_properties(host->published[i]), memory, writer_size(&writer));
    }
    buffer_drop(&host->asked, host->asked.size);
    mem_free(memory);
}

static void too_large_is_known_from_the_header(void **state) {
    struct fake_host *host = *state;
    host_say(host, 1, "basic.publish routing_key='k'");
    say_header(host, 60, 0, 1000001);
    host_hear_close(host, 1, REPLY_PRECONDITION_FAILED,
        "PRECONDITION_FAILED - message size 1000001 is larger than configured max size 1000000",
        "basic.publish");
    host_say_frame(host, FRAME_BODY, 1, BYTES("ignored"));
    host_say(host, 1, "channel.close_ok");
    host_open_channel(host, 1);
    host_say(host, 1, "basic.publish routing_key='k'");
    say_header(host, 60, 0, UINT64_MAX);
    host_hear_close(host, 1, REPLY_PRECONDITION_FAILED,
        "PRECONDITION_FAILED - message size 18446744073709551615 is larger than configured max "
        "size "
        "1000000",
        "basic.publish");
}

/* ---- frames that cannot be ---- */

static void refuse_frame(
    struct fake_host *host, enum reply_code code, const char *text, const char *method) {
    host_hear_close(host, 0, code, text, method);
    host_asked(host, "leave");
}

static void header_with_weight(void **state) {
    host_say(*state, 1, "basic.publish");
    say_header(*state, 60, 1, 5);
    refuse_frame(*state, REPLY_UNEXPECTED_FRAME,
        "UNEXPECTED_FRAME - expected content header for class 60, got non content header frame "
        "instead",
        "basic.publish");
}

static void header_of_another_class(void **state) {
    host_say(*state, 1, "basic.publish");
    say_header(*state, 50, 0, 5);
    refuse_frame(*state, REPLY_UNEXPECTED_FRAME,
        "UNEXPECTED_FRAME - expected content header for class 60, got one for class 50 instead",
        "basic.publish");
}

static void body_longer_than_declared(void **state) {
    host_say(*state, 1, "basic.publish");
    say_header(*state, 60, 0, 5);
    host_say_frame(*state, FRAME_BODY, 1, BYTES("abc"));
    host_say_frame(*state, FRAME_BODY, 1, BYTES("def"));
    refuse_frame(*state, REPLY_UNEXPECTED_FRAME,
        "UNEXPECTED_FRAME - expected content body, got non content body frame instead",
        "basic.publish");
}

static void undecodable_properties(void **state) {
    host_say(*state, 1, "basic.publish");
    host_say_content(*state, 1, BYTES("\x80\0\x10z"), BYTES("x"));
    refuse_frame(*state, REPLY_SYNTAX_ERROR,
        "SYNTAX_ERROR - cannot decode the properties of a content", "unknown");
}

static void immediate_is_not_implemented(void **state) {
    host_say(*state, 1, "basic.publish exchange='missing' immediate");
    host_say_content(*state, 1, NO_PROPERTIES, BYTES("x"));
    refuse_frame(
        *state, REPLY_NOT_IMPLEMENTED, "NOT_IMPLEMENTED - immediate=true", "basic.publish");
}

/* ---- properties that cannot be ---- */

static void reopen(struct fake_host *host) {
    host_say(host, 1, "channel.close_ok");
    host_open_channel(host, 1);
}

static void rules_have_their_texts(void **state) {
    struct fake_host *host = *state;
    static const uint8_t cc_text[] = "\x02"
                                     "CCS\0\0\0\x01x";
    static const uint8_t bcc_void[] = "\x03"
                                      "BCCV";
    const struct {
        struct properties properties;
        const char *text;
    } cases[] = {
        {{.flags = PROPERTY_HAS_user_id, .user_id = BYTES("bob")},
            "user_id property set to 'bob' but authenticated user was 'guest'"},
        {{.flags = PROPERTY_HAS_expiration, .expiration = BYTES("")},
            "invalid expiration '': no_integer"},
        {{.flags = PROPERTY_HAS_expiration, .expiration = BYTES(" 5")},
            "invalid expiration ' 5': no_integer"},
        {{.flags = PROPERTY_HAS_expiration, .expiration = BYTES("-")},
            "invalid expiration '-': no_integer"},
        {{.flags = PROPERTY_HAS_expiration, .expiration = BYTES("1.5")},
            "invalid expiration '1.5': {leftover_string,\".5\"}"},
        {{.flags = PROPERTY_HAS_expiration, .expiration = BYTES("1\"b\\")},
            "invalid expiration '1\"b\\': {leftover_string,\"\\\"b\\\\\"}"},
        {{.flags = PROPERTY_HAS_expiration, .expiration = BYTES("-1")},
            "invalid expiration '-1': {value_negative,-1}"},
        {{.flags = PROPERTY_HAS_expiration, .expiration = BYTES("315360000001")},
            "invalid expiration '315360000001': {value_too_large,315360000001}"},
        {{.flags = PROPERTY_HAS_expiration, .expiration = BYTES("99999999999999999999")},
            "invalid expiration '99999999999999999999': {value_too_large,\n"
            "                                            99999999999999999999}"},
        {{.flags = PROPERTY_HAS_delivery_mode, .delivery_mode = 3},
            "invalid message: {delivery_mode_unknown,3}"},
        {{.flags = PROPERTY_HAS_headers, .headers = bytes_of(cc_text, sizeof cc_text - 1)},
            "invalid message: {unacceptable_type_in_header,\"CC\",longstr}"},
        {{.flags = PROPERTY_HAS_headers, .headers = bytes_of(bcc_void, sizeof bcc_void - 1)},
            "invalid message: {unacceptable_type_in_header,\"BCC\",void}"},
        {{.flags = PROPERTY_HAS_reply_to, .reply_to = BYTES(REPLY_TO_QUEUE)},
            "fast reply consumer does not exist"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        uint8_t memory[1024];
        char text[300] = "PRECONDITION_FAILED - ";
        strncat(text, cases[i].text, sizeof text - strlen(text) - 1);
        host_say(host, 1, "basic.publish exchange='e'");
        host_say_content(host, 1, encode(&cases[i].properties, memory), BYTES("x"));
        host_asked(host, "look 'e'");
        host_hear_close(host, 1, REPLY_PRECONDITION_FAILED, text, "basic.publish");
        reopen(host);
    }
}

static void a_bad_exchange_comes_first(void **state) {
    struct fake_host *host = *state;
    uint8_t memory[1024];
    struct properties properties = {
        .flags = PROPERTY_HAS_expiration | PROPERTY_HAS_user_id,
        .expiration = BYTES("zz"),
        .user_id = BYTES("bob"),
    };
    host->look_code = REPLY_NOT_FOUND;
    host_say(host, 1, "basic.publish exchange='e'");
    host_say_content(host, 1, encode(&properties, memory), BYTES("x"));
    host_asked(host, "look 'e'");
    host_hear_close(
        host, 1, REPLY_NOT_FOUND, "NOT_FOUND - no exchange 'e' in vhost '/'", "basic.publish");
    reopen(host);
    host->look_code = REPLY_OK;
    host_say(host, 1, "basic.publish exchange='e'");
    host_say_content(host, 1, encode(&properties, memory), BYTES("x"));
    host_asked(host, "look 'e'");
    host_hear_close(host, 1, REPLY_PRECONDITION_FAILED,
        "PRECONDITION_FAILED - user_id property set to 'bob' but authenticated user was 'guest'",
        "basic.publish");
}

static void the_host_refuses(void **state) {
    struct fake_host *host = *state;
    host->publish_result = (struct publish_result){
        .code = REPLY_ACCESS_REFUSED, .text = "cannot publish to internal exchange 'i'"};
    host_say(host, 1, "basic.publish exchange='i' mandatory");
    host_say_content(host, 1, NO_PROPERTIES, BYTES("x"));
    host_asked(host, "publish 1 'i' '' 1 seqno=0");
    host_hear_close(host, 1, REPLY_ACCESS_REFUSED,
        "ACCESS_REFUSED - cannot publish to internal exchange 'i'", "basic.publish");
}

/* ---- headers ---- */

static void copies_are_handed_over_and_bcc_is_not_shown(void **state) {
    struct fake_host *host = *state;
    uint8_t table[256];
    uint8_t memory[1024];
    struct writer writer = writer_over(table, sizeof table);
    table_put_i32(&writer, "a", 1);
    uint8_t *begun = table_begin_array(&writer, "CC");
    table_put_text(&writer, NULL, BYTES("c1"));
    table_put_text(&writer, NULL, BYTES("c2"));
    table_end(&writer, begun);
    begun = table_begin_array(&writer, "BCC");
    table_put_text(&writer, NULL, BYTES("b1"));
    table_end(&writer, begun);
    table_put_bool(&writer, "z", true);
    struct properties properties = {
        .flags = PROPERTY_HAS_headers | PROPERTY_HAS_app_id,
        .headers = writer_bytes(&writer),
        .app_id = BYTES("app"),
    };
    for (int i = 0; i < 3; i++) {
        host_say(host, 1, "basic.publish routing_key='k'");
        host_say_content(host, 1, encode(&properties, memory), BYTES("x"));
        host_asked(host, "publish 1 '' 'k' 1 seqno=0 {'a'=I:1, 'CC'=A:[S:'c1', S:'c2'], "
                         "'z'=t:true} cc=c1,c2 bcc=b1");
        struct properties got;
        struct field field;
        assert_true(properties_decode(message_properties(host->published[i]), &got));
        assert_text(got.app_id, "app");
        assert_false(table_find(got.headers, BYTES("BCC"), &field));
        assert_true(table_find(got.headers, BYTES("z"), &field));
    }
}

static void reply_to_becomes_a_key(void **state) {
    struct fake_host *host = *state;
    uint8_t memory[1024];
    host_say(host, 1, "basic.consume queue='amq.rabbitmq.reply-to' consumer_tag='r' no_ack");
    host_hear(host, 1, "basic.consume_ok consumer_tag='r'");
    struct properties properties = {
        .flags = PROPERTY_HAS_reply_to | PROPERTY_HAS_correlation_id,
        .reply_to = BYTES(REPLY_TO_QUEUE),
        .correlation_id = BYTES("c"),
    };
    host_say(host, 1, "basic.publish routing_key='k'");
    host_say_content(host, 1, encode(&properties, memory), BYTES("x"));
    host_asked(host, "publish 1 '' 'k' 1 seqno=0");
    struct properties got;
    connection_ref connection;
    uint16_t channel;
    assert_true(properties_decode(message_properties(host->published[0]), &got));
    assert_text(got.correlation_id, "c");
    assert_true(reply_to_parse(got.reply_to, &connection, &channel));
    assert_int_equal(connection, 7);
    assert_int_equal(channel, 1);
    /* Any other name stays. */
    properties.reply_to = BYTES("amq.rabbitmq.reply-to.x");
    host_say(host, 1, "basic.publish routing_key='k'");
    host_say_content(host, 1, encode(&properties, memory), BYTES("x"));
    host_asked(host, "publish 1 '' 'k' 1 seqno=0");
    assert_true(properties_decode(message_properties(host->published[1]), &got));
    assert_text(got.reply_to, "amq.rabbitmq.reply-to.x");
}

/* ---- where a publish goes ---- */

static void mandatory_and_unroutable_comes_back(void **state) {
    struct fake_host *host = *state;
    host->publish_result = (struct publish_result){0};
    host_say(host, 1, "basic.publish exchange='e' routing_key='k' mandatory");
    host_say_content(host, 1, NO_PROPERTIES, BYTES("body"));
    host_asked(host, "publish 1 'e' 'k' 4 seqno=0");
    host_hear(
        host, 1, "basic.return reply_code=312 reply_text='NO_ROUTE' exchange='e' routing_key='k'");
    host_hear_body(host, 1, BYTES("body"));
    host_say(host, 1, "basic.publish exchange='e' routing_key='k'");
    host_say_content(host, 1, NO_PROPERTIES, BYTES("body"));
    host_asked(host, "publish 1 'e' 'k' 4 seqno=0");
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, host_set_up, host_tear_down)
    const struct CMUnitTest tests[] = {
        CASE(one_frame_is_one_message),
        CASE(marks_come_from_the_properties),
        CASE(a_body_in_many_frames),
        CASE(a_declared_size_takes_no_memory),
        CASE(long_names_and_properties),
        CASE(too_large_is_known_from_the_header),
        CASE(header_with_weight),
        CASE(header_of_another_class),
        CASE(body_longer_than_declared),
        CASE(undecodable_properties),
        CASE(immediate_is_not_implemented),
        CASE(rules_have_their_texts),
        CASE(a_bad_exchange_comes_first),
        CASE(the_host_refuses),
        CASE(copies_are_handed_over_and_bcc_is_not_shown),
        CASE(reply_to_becomes_a_key),
        CASE(mandatory_and_unroutable_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
