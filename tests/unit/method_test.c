/* method_test: every method there and back, known bytes, and everything malformed refused. */
#include "method_any.h"
#include "unit.h"

#include "amqp/method.h"

enum { ROUNDS = 20, PAYLOAD_MAX = 4096 };

/* Calls `body` for every kind with random arguments, encoded. */
static void for_every_method(void (*body)(const struct method *method, struct bytes payload)) {
    static uint8_t memory[PAYLOAD_MAX];
    struct prng prng;
    prng_init(&prng, 9);
    for (int kind = METHOD_unknown + 1; kind < METHOD_KIND_COUNT; kind++) {
        for (int round = 0; round < ROUNDS; round++) {
            struct method method = any_method(&prng, (enum method_kind)kind);
            struct writer writer = writer_over(memory, sizeof memory);
            method_encode(&writer, &method);
            assert_false(writer.bad);
            body(&method, writer_bytes(&writer));
        }
    }
}

static void decode_gives_what_was_encoded(const struct method *method, struct bytes payload) {
    struct method decoded;
    assert_true(method_decode(payload, &decoded));
    assert_true(methods_equal(method, &decoded));
}

static void every_method_comes_back(void **state) {
    (void)state;
    assert_int_equal(METHOD_KIND_COUNT - 1, 66);
    for_every_method(decode_gives_what_was_encoded);
}

static struct bytes encoded(const struct method *method, uint8_t *memory) {
    struct writer writer = writer_over(memory, PAYLOAD_MAX);
    method_encode(&writer, method);
    assert_false(writer.bad);
    return writer_bytes(&writer);
}

/* Two methods are equal when their bytes are, and only then; so the comparison above can fail. One
 * octet of the bytes is changed at a time, so that few arguments differ. */
static void different_bytes_are_different_methods(
    const struct method *method, struct bytes payload) {
    static uint8_t changed[PAYLOAD_MAX], again[PAYLOAD_MAX];
    for (uint32_t at = 4; at < payload.size; at++) {
        memcpy(changed, payload.data, payload.size);
        changed[at] ^= 1;
        struct method other;
        if (!method_decode(bytes_of(changed, payload.size), &other)) continue;
        bool same = bytes_equal(encoded(&other, again), payload);
        assert_int_equal(methods_equal(method, &other), same);
    }
}

static void one_octet_makes_a_difference(void **state) {
    (void)state;
    for_every_method(different_bytes_are_different_methods);
}

/* The input is copied to memory of its exact size, so that a sanitizer sees a read past its end. */
static void every_prefix_is_refused(const struct method *method, struct bytes payload) {
    for (uint32_t size = 0; size < payload.size; size++) {
        uint8_t *copy = test_malloc(size ? size : 1);
        bytes_copy(copy, payload.data, size);
        struct method decoded;
        assert_false(method_decode(bytes_of(copy, size), &decoded));
        assert_int_equal(decoded.kind, size < 4 ? METHOD_unknown : method->kind);
        test_free(copy);
    }
}

static void truncated_input_is_refused(void **state) {
    (void)state;
    for_every_method(every_prefix_is_refused);
}

static void one_octet_more_is_refused(const struct method *method, struct bytes payload) {
    uint8_t copy[PAYLOAD_MAX];
    bytes_copy(copy, payload.data, payload.size);
    copy[payload.size] = 0;
    struct method decoded;
    assert_false(method_decode(bytes_of(copy, payload.size + 1), &decoded));
    assert_int_equal(decoded.kind, method->kind);
}

static void trailing_octets_are_refused(void **state) {
    (void)state;
    for_every_method(one_octet_more_is_refused);
}

static void every_smaller_room_is_bad(const struct method *method, struct bytes payload) {
    uint8_t memory[PAYLOAD_MAX];
    for (uint32_t size = 0; size < payload.size; size++) {
        memory[size] = 0xee;
        struct writer writer = writer_over(memory, size);
        method_encode(&writer, method);
        assert_true(writer.bad);
        assert_int_equal(memory[size], 0xee);
    }
}

static void too_little_room_is_noticed(void **state) {
    (void)state;
    for_every_method(every_smaller_room_is_bad);
}

static void assert_encodes(const struct method *method, const void *data, size_t size) {
    uint8_t memory[256];
    struct writer writer = writer_over(memory, sizeof memory);
    method_encode(&writer, method);
    assert_false(writer.bad);
    assert_bytes(writer_bytes(&writer), data, size);
}

static void known_bytes_of_queue_declare(void **state) {
    (void)state;
    const char bytes[] = "\0\x32\0\x0a"
                         "\0\0"
                         "\x06orders"
                         "\x12" /* durable and no_wait */
                         "\0\0\0\x0a"
                         "\x04kindS\0\0\0\0";
    struct method method = {.kind = METHOD_queue_declare};
    method.queue_declare.queue = BYTES("orders");
    method.queue_declare.durable = true;
    method.queue_declare.no_wait = true;
    method.queue_declare.arguments = BYTES("\x04kindS\0\0\0\0");
    assert_encodes(&method, bytes, sizeof bytes - 1);
}

static void known_bytes_of_basic_deliver(void **state) {
    (void)state;
    const char bytes[] = "\0\x3c\0\x3c"
                         "\x03tag"
                         "\x01\x02\x03\x04\x05\x06\x07\x08"
                         "\x01"
                         "\x02"
                         "ex"
                         "\x03key";
    struct method method = {.kind = METHOD_basic_deliver};
    method.basic_deliver.consumer_tag = BYTES("tag");
    method.basic_deliver.delivery_tag = 0x0102030405060708;
    method.basic_deliver.redelivered = true;
    method.basic_deliver.exchange = BYTES("ex");
    method.basic_deliver.routing_key = BYTES("key");
    assert_encodes(&method, bytes, sizeof bytes - 1);
}

static void known_bytes_of_tune(void **state) {
    (void)state;
    const char bytes[] = "\0\x0a\0\x1e\x07\xff\0\x02\0\0\0\x3c";
    struct method method = {.kind = METHOD_connection_tune};
    method.connection_tune.channel_max = 2047;
    method.connection_tune.frame_max = 131072;
    method.connection_tune.heartbeat = 60;
    assert_encodes(&method, bytes, sizeof bytes - 1);
}

static void unused_bits_are_ignored(void **state) {
    (void)state;
    struct method method;
    assert_true(method_decode(BYTES("\0\x3c\0\x78\0\0\0\0\0\0\0\x05\xfe"), &method));
    assert_int_equal(method.kind, METHOD_basic_nack);
    assert_int_equal(method.basic_nack.delivery_tag, 5);
    assert_false(method.basic_nack.multiple);
    assert_true(method.basic_nack.requeue);
}

static void unknown_ids(void **state) {
    (void)state;
    static const uint16_t ids[][2] = {
        {0, 0}, {10, 0}, {10, 12}, {20, 30}, {30, 12}, {60, 200}, {61, 40}, {0xffff, 0xffff}};
    for (size_t i = 0; i < COUNT_OF(ids); i++) {
        uint8_t memory[4];
        struct writer writer = writer_over(memory, sizeof memory);
        write_u16(&writer, ids[i][0]);
        write_u16(&writer, ids[i][1]);
        struct method method = {.kind = METHOD_basic_ack};
        assert_false(method_decode(writer_bytes(&writer), &method));
        assert_int_equal(method.kind, METHOD_unknown);
        assert_int_equal(method_find(ids[i][0], ids[i][1]), METHOD_unknown);
    }
}

static void names_must_be_utf8_without_content(void **state) {
    (void)state;
    struct method method;
    assert_true(method_decode(BYTES("\0\x32\0\x1e\0\0\x02\xc3\xbc\0"), &method));
    assert_text(method.queue_purge.queue, "\xc3\xbc");
    assert_false(method_decode(BYTES("\0\x32\0\x1e\0\0\x02\xc3q\0"), &method));
    assert_int_equal(method.kind, METHOD_queue_purge);
    /* A published routing key may be any octets. */
    assert_true(method_decode(BYTES("\0\x3c\0\x28\0\0\0\x02\xc3q\0"), &method));
    assert_text(method.basic_publish.routing_key, "\xc3q");
}

/* Every short string of every method in turn is something that is not UTF-8: STR becomes that, and
 * the other field words nothing. */
static void assert_only_taken_with_content(struct method *method, struct bytes *name) {
    uint8_t memory[PAYLOAD_MAX];
    struct bytes good = *name;
    *name = BYTES("ok\xff");
    struct writer writer = writer_over(memory, sizeof memory);
    method_encode(&writer, method);
    assert_false(writer.bad);
    struct method decoded;
    assert_int_equal(
        method_decode(writer_bytes(&writer), &decoded), method_has_content(method->kind));
    assert_int_equal(decoded.kind, method->kind);
    *name = good;
}

#define U8(name)
#define U16(name)
#define U32(name)
#define U64(name)
#define BIT(name)
#define STR(name) assert_only_taken_with_content(&method, &arguments->name);
#define LONGSTR(name)
#define TABLE(name)
#define NONE
#define METHOD(class, method_word, class_id, method_id, sender, fields)                            \
    static void names_of_##class##_##method_word(void) {                                           \
        struct method method = {.kind = METHOD_##class##_##method_word};                           \
        struct amqp_##class##_##method_word *arguments = &method.class##_##method_word;            \
        (void)arguments;                                                                           \
        fields                                                                                     \
    }
#include "amqp/methods.def"
#undef METHOD
#undef U8
#undef U16
#undef U32
#undef U64
#undef BIT
#undef STR
#undef LONGSTR
#undef TABLE
#undef NONE

static void every_name_must_be_utf8(void **state) {
    (void)state;
#define METHOD(class, method, class_id, method_id, sender, fields) names_of_##class##_##method();
#include "amqp/methods.def"
#undef METHOD
}

static void too_long_names_are_not_written(void **state) {
    (void)state;
    static const uint8_t letters[256];
    uint8_t memory[1024];
    struct method method = {.kind = METHOD_basic_cancel};
    method.basic_cancel.consumer_tag = bytes_of(letters, sizeof letters);
    struct writer writer = writer_over(memory, sizeof memory);
    method_encode(&writer, &method);
    assert_true(writer.bad);
}

static void facts(void **state) {
    (void)state;
    for (int i = METHOD_unknown + 1; i < METHOD_KIND_COUNT; i++) {
        enum method_kind kind = (enum method_kind)i;
        assert_int_equal(method_find(method_class_id(kind), method_method_id(kind)), kind);
        assert_in_range(method_sender(kind), METHOD_CLIENT, METHOD_BOTH);
    }
    assert_string_equal(method_name(METHOD_exchange_unbind_ok), "exchange.unbind_ok");
    assert_string_equal(method_name(METHOD_unknown), "unknown");
    assert_int_equal(method_method_id(METHOD_exchange_unbind_ok), 51);
    assert_int_equal(method_sender(METHOD_basic_publish), METHOD_CLIENT);
    assert_int_equal(method_sender(METHOD_basic_deliver), METHOD_SERVER);
    assert_int_equal(method_sender(METHOD_basic_cancel), METHOD_BOTH);
}

static void four_methods_have_content(void **state) {
    (void)state;
    int count = 0;
    for (int i = METHOD_unknown; i < METHOD_KIND_COUNT; i++) {
        count += method_has_content((enum method_kind)i);
    }
    assert_int_equal(count, 4);
    assert_true(method_has_content(METHOD_basic_publish));
    assert_true(method_has_content(METHOD_basic_return));
    assert_true(method_has_content(METHOD_basic_deliver));
    assert_true(method_has_content(METHOD_basic_get_ok));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_method_comes_back),
        cmocka_unit_test(one_octet_makes_a_difference),
        cmocka_unit_test(truncated_input_is_refused),
        cmocka_unit_test(trailing_octets_are_refused),
        cmocka_unit_test(too_little_room_is_noticed),
        cmocka_unit_test(known_bytes_of_queue_declare),
        cmocka_unit_test(known_bytes_of_basic_deliver),
        cmocka_unit_test(known_bytes_of_tune),
        cmocka_unit_test(unused_bits_are_ignored),
        cmocka_unit_test(unknown_ids),
        cmocka_unit_test(names_must_be_utf8_without_content),
        cmocka_unit_test(every_name_must_be_utf8),
        cmocka_unit_test(too_long_names_are_not_written),
        cmocka_unit_test(facts),
        cmocka_unit_test(four_methods_have_content),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
