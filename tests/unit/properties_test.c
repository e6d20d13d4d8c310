/* properties_test: flags and values there and back, the header's payload, malformed ones refused.
 */
#include "unit.h"

#include "amqp/properties.h"

/* All fourteen, each value telling its place. */
static const char ALL[] = "\xff\xfc"
                          "\x01"
                          "a"
                          "\x01"
                          "b"
                          "\0\0\0\x04\x01kt\x01"
                          "\x02"
                          "\x09"
                          "\x01"
                          "f"
                          "\x01"
                          "g"
                          "\x05"
                          "60000"
                          "\x01i"
                          "\0\0\0\0\x5f\x5e\x10\0"
                          "\x01k"
                          "\x01l"
                          "\x01m"
                          "\x01n";

static void all_are_read(void **state) {
    (void)state;
    struct properties p;
    assert_true(properties_decode(BYTES(ALL), &p));
    assert_int_equal(p.flags, 0xfffc);
    assert_text(p.content_type, "a");
    assert_text(p.content_encoding, "b");
    assert_bytes(p.headers, "\x01kt\x01", 4);
    assert_int_equal(p.delivery_mode, 2);
    assert_int_equal(p.priority, 9);
    assert_text(p.correlation_id, "f");
    assert_text(p.reply_to, "g");
    assert_text(p.expiration, "60000");
    assert_text(p.message_id, "i");
    assert_true(p.timestamp == 1600000000);
    assert_text(p.type, "k");
    assert_text(p.user_id, "l");
    assert_text(p.app_id, "m");
    assert_text(p.cluster_id, "n");
}

static void flag_bits_are_the_specified_ones(void **state) {
    (void)state;
    assert_int_equal(PROPERTY_HAS_content_type, 0x8000);
    assert_int_equal(PROPERTY_HAS_headers, 0x2000);
    assert_int_equal(PROPERTY_HAS_delivery_mode, 0x1000);
    assert_int_equal(PROPERTY_HAS_expiration, 0x0100);
    assert_int_equal(PROPERTY_HAS_cluster_id, 0x0004);
}

/* Any subset of flags with its values comes back as the same bytes. */
static void every_subset_comes_back(void **state) {
    (void)state;
    struct properties all;
    assert_true(properties_decode(BYTES(ALL), &all));
    for (uint32_t flags = 0; flags <= 0xfffc; flags += 4) {
        uint8_t first[sizeof ALL], second[sizeof ALL];
        struct properties some = all, decoded;
        some.flags = (uint16_t)flags;
        struct writer writer = writer_over(first, sizeof first);
        properties_encode(&writer, &some);
        assert_false(writer.bad);
        struct bytes encoded = writer_bytes(&writer);
        assert_true(properties_decode(encoded, &decoded));
        assert_int_equal(decoded.flags, flags);
        writer = writer_over(second, sizeof second);
        properties_encode(&writer, &decoded);
        assert_bytes(writer_bytes(&writer), encoded.data, encoded.size);
    }
}

static void every_cut_is_refused(void **state) {
    (void)state;
    for (size_t size = 0; size < sizeof ALL - 1; size++) {
        uint8_t *copy = test_malloc(size ? size : 1);
        bytes_copy(copy, ALL, size);
        struct properties p;
        assert_false(properties_decode(bytes_of(copy, size), &p));
        test_free(copy);
    }
}

static void all_bytes_must_be_used(void **state) {
    (void)state;
    struct properties p;
    assert_true(properties_decode(BYTES("\0\0"), &p));
    assert_int_equal(p.flags, 0);
    assert_false(properties_decode(BYTES("\0\0\0"), &p));
    assert_false(properties_decode(BYTES("\x10\0\x02\x01"), &p));
    /* The last byte of ALL is its terminating zero. */
    assert_false(properties_decode(bytes_of(ALL, sizeof ALL), &p));
}

static void headers_are_validated(void **state) {
    (void)state;
    struct properties p;
    assert_true(properties_decode(BYTES("\x20\0\0\0\0\0"), &p));
    assert_int_equal(p.headers.size, 0);
    assert_true(properties_decode(BYTES("\x20\0\0\0\0\x03\x01nV"), &p));
    assert_false(properties_decode(BYTES("\x20\0\0\0\0\x03\x01nW"), &p));
    assert_false(properties_decode(BYTES("\x20\0\0\0\0\x02\x01n"), &p));
    assert_false(properties_decode(BYTES("\x20\0\xff\xff\xff\xff\x01nV"), &p));
}

static void spare_flags(void **state) {
    (void)state;
    struct properties p;
    assert_true(properties_decode(BYTES("\x10\x02\x01"), &p));
    assert_int_equal(p.flags, PROPERTY_HAS_delivery_mode);
    assert_false(properties_decode(BYTES("\x10\x01\x01"), &p));
    assert_false(properties_decode(BYTES("\x10\x01\0\0\x01"), &p));
    uint8_t memory[8];
    struct writer writer = writer_over(memory, sizeof memory);
    properties_encode(&writer, &(struct properties){.flags = 0x0803, .priority = 4});
    assert_bytes(writer_bytes(&writer), "\x08\0\x04", 3);
}

static void header_payload(void **state) {
    (void)state;
    struct content_header header;
    assert_true(properties_read_header(
        BYTES("\0\x3c\0\0\x01\x02\x03\x04\x05\x06\x07\x08\x10\0\x02"), &header));
    assert_int_equal(header.class_id, 60);
    assert_true(header.body_size == 0x0102030405060708);
    assert_bytes(header.properties, "\x10\0\x02", 3);
    assert_true(properties_read_header(BYTES("\0\x5a\0\0\0\0\0\0\0\0\0\0"), &header));
    assert_int_equal(header.class_id, 90);
    assert_int_equal(header.properties.size, 0);
    /* Weight. */
    assert_false(properties_read_header(BYTES("\0\x3c\0\x01\0\0\0\0\0\0\0\0\0\0"), &header));
    for (size_t size = 0; size < 12; size++) {
        assert_false(properties_read_header(bytes_of("\0\x3c\0\0\0\0\0\0\0\0\0", size), &header));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_are_read),
        cmocka_unit_test(flag_bits_are_the_specified_ones),
        cmocka_unit_test(every_subset_comes_back),
        cmocka_unit_test(every_cut_is_refused),
        cmocka_unit_test(all_bytes_must_be_used),
        cmocka_unit_test(headers_are_validated),
        cmocka_unit_test(spare_flags),
        cmocka_unit_test(header_payload),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
