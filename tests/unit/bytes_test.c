/* bytes_test: slices, and the readers and writers with their sticky error and packed bits. */
#include "unit.h"

static void equal_and_prefix(void **state) {
    (void)state;
    assert_true(bytes_equal(BYTES("abc"), bytes_text("abc")));
    assert_false(bytes_equal(BYTES("abc"), BYTES("abd")));
    assert_false(bytes_equal(BYTES("abc"), BYTES("ab")));
    assert_true(bytes_equal(BYTES(""), bytes_of(NULL, 0)));
    assert_true(bytes_start_with(BYTES("amq.gen-1"), BYTES("amq.")));
    assert_false(bytes_start_with(BYTES("am"), BYTES("amq.")));
    assert_false(bytes_start_with(BYTES("bmq."), BYTES("amq.")));
    assert_true(bytes_start_with(BYTES("a"), bytes_of(NULL, 0)));
}

static void copy_any_size(void **state) {
    (void)state;
    uint8_t from[64], to[66];
    for (size_t i = 0; i < sizeof from; i++) {
        from[i] = (uint8_t)(i + 1);
    }
    for (size_t size = 0; size <= sizeof from; size++) {
        memset(to, 0xee, sizeof to);
        bytes_copy(to + 1, from, size);
        assert_int_equal(to[0], 0xee);
        assert_int_equal(to[size + 1], 0xee);
        if (size) assert_memory_equal(to + 1, from, size);
    }
    bytes_copy(NULL, NULL, 0);
}

static void numbers_are_big_endian(void **state) {
    (void)state;
    uint8_t memory[15];
    struct writer writer = writer_over(memory, sizeof memory);
    write_u8(&writer, 0x01);
    write_u16(&writer, 0x0203);
    write_u32(&writer, 0x04050607);
    write_u64(&writer, 0x08090a0b0c0d0e0f);
    assert_false(writer.bad);
    const uint8_t expected[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    assert_bytes(writer_bytes(&writer), expected, sizeof expected);

    struct reader reader = reader_over(writer_bytes(&writer));
    assert_int_equal(read_u8(&reader), 0x01);
    assert_int_equal(read_u16(&reader), 0x0203);
    assert_int_equal(read_u32(&reader), 0x04050607);
    assert_true(read_u64(&reader) == 0x08090a0b0c0d0e0f);
    assert_false(reader.bad);
    assert_int_equal(reader_left(&reader), 0);
}

static void strings_come_back(void **state) {
    (void)state;
    uint8_t memory[600];
    uint8_t letters[256];
    memset(letters, 'x', sizeof letters);
    struct writer writer = writer_over(memory, sizeof memory);
    write_shortstr(&writer, BYTES(""));
    write_shortstr(&writer, bytes_of(letters, 255));
    write_longstr(&writer, bytes_of(letters, 256));
    assert_false(writer.bad);
    assert_int_equal(writer_size(&writer), 1 + 256 + 260);

    struct reader reader = reader_over(writer_bytes(&writer));
    assert_bytes(read_shortstr(&reader), "", 0);
    assert_bytes(read_shortstr(&reader), letters, 255);
    assert_bytes(read_longstr(&reader), letters, 256);
    assert_false(reader.bad);
    assert_int_equal(reader_left(&reader), 0);
}

static void short_string_has_a_limit(void **state) {
    (void)state;
    uint8_t memory[600];
    static const uint8_t letters[256];
    struct writer writer = writer_over(memory, sizeof memory);
    write_shortstr(&writer, bytes_of(letters, 256));
    assert_true(writer.bad);
    assert_int_equal(writer_size(&writer), 0);
}

static void reading_past_the_end_sticks(void **state) {
    (void)state;
    const uint8_t input[] = {1, 2, 3};
    struct reader reader = reader_over(bytes_of(input, sizeof input));
    assert_int_equal(read_u16(&reader), 0x0102);
    assert_int_equal(read_u32(&reader), 0);
    assert_true(reader.bad);
    /* What would have fitted is not given any more: the input is out of step. */
    assert_int_equal(read_u8(&reader), 0);
    assert_int_equal(reader_left(&reader), 0);
    assert_int_equal(read_longstr(&reader).size, 0);
    assert_false(read_bit(&reader));
    assert_true(reader.bad);
}

static void lengths_are_checked_against_the_rest(void **state) {
    (void)state;
    const uint8_t shortstr[] = {4, 'a', 'b', 'c'};
    struct reader reader = reader_over(bytes_of(shortstr, sizeof shortstr));
    assert_null(read_shortstr(&reader).data);
    assert_true(reader.bad);

    const uint8_t longstr[] = {0xff, 0xff, 0xff, 0xff, 'a'};
    reader = reader_over(bytes_of(longstr, sizeof longstr));
    assert_null(read_longstr(&reader).data);
    assert_true(reader.bad);
}

static void nothing_is_read_from_nothing(void **state) {
    (void)state;
    struct reader reader = reader_over(bytes_of(NULL, 0));
    assert_int_equal(reader_left(&reader), 0);
    assert_int_equal(read_bytes(&reader, 0).size, 0);
    assert_false(reader.bad);
    assert_int_equal(read_u8(&reader), 0);
    assert_true(reader.bad);
}

static void writing_past_the_end_sticks(void **state) {
    (void)state;
    uint8_t memory[4] = {0xee, 0xee, 0xee, 0xee};
    struct writer writer = writer_over(memory, 3);
    write_u16(&writer, 0x0102);
    write_u16(&writer, 0x0304);
    assert_true(writer.bad);
    write_u8(&writer, 5);
    assert_int_equal(writer_size(&writer), 2);
    const uint8_t expected[] = {1, 2, 0xee, 0xee};
    assert_memory_equal(memory, expected, sizeof expected);
}

static void eight_bits_share_an_octet(void **state) {
    (void)state;
    uint8_t memory[3];
    struct writer writer = writer_over(memory, sizeof memory);
    for (int i = 0; i < 9; i++) {
        write_bit(&writer, i % 3 == 0);
    }
    write_u8(&writer, 0x77);
    assert_false(writer.bad);
    const uint8_t expected[] = {0x49, 0x00, 0x77};
    assert_bytes(writer_bytes(&writer), expected, sizeof expected);

    struct reader reader = reader_over(writer_bytes(&writer));
    for (int i = 0; i < 8; i++) {
        assert_int_equal(read_bit(&reader), i % 3 == 0);
    }
    assert_false(read_bit(&reader));
    assert_int_equal(read_u8(&reader), 0x77);
    assert_false(reader.bad);
}

static void another_field_closes_the_octet(void **state) {
    (void)state;
    uint8_t memory[8];
    struct writer writer = writer_over(memory, sizeof memory);
    write_bit(&writer, true);
    write_shortstr(&writer, BYTES(""));
    write_bit(&writer, false);
    write_bit(&writer, true);
    const uint8_t expected[] = {0x01, 0x00, 0x02};
    assert_bytes(writer_bytes(&writer), expected, sizeof expected);

    struct reader reader = reader_over(writer_bytes(&writer));
    assert_true(read_bit(&reader));
    assert_int_equal(read_shortstr(&reader).size, 0);
    assert_false(read_bit(&reader));
    assert_true(read_bit(&reader));
    assert_false(reader.bad);
}

static void a_bit_without_room_is_bad(void **state) {
    (void)state;
    uint8_t memory[1] = {0};
    struct writer writer = writer_over(memory, 0);
    write_bit(&writer, true);
    write_bit(&writer, true);
    assert_true(writer.bad);
    assert_int_equal(memory[0], 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_and_prefix),
        cmocka_unit_test(copy_any_size),
        cmocka_unit_test(numbers_are_big_endian),
        cmocka_unit_test(strings_come_back),
        cmocka_unit_test(short_string_has_a_limit),
        cmocka_unit_test(reading_past_the_end_sticks),
        cmocka_unit_test(lengths_are_checked_against_the_rest),
        cmocka_unit_test(nothing_is_read_from_nothing),
        cmocka_unit_test(writing_past_the_end_sticks),
        cmocka_unit_test(eight_bits_share_an_octet),
        cmocka_unit_test(another_field_closes_the_octet),
        cmocka_unit_test(a_bit_without_room_is_bad),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
