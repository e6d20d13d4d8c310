/* table_test: every type of the dialect there and back, and everything malformed refused. */
#include "unit.h"

#include "amqp/table.h"
#include "base/limits.h"

/* One field of every type, as bytes; the name of each is its letter. */
static const char EVERY_TYPE[] = "\x01tt\x01"
                                 "\x01"
                                 "bb\x80"
                                 "\x01"
                                 "BB\xff"
                                 "\x01ss\x80\0"
                                 "\x01uu\xff\xff"
                                 "\x01II\x80\0\0\0"
                                 "\x01ii\xff\xff\xff\xff"
                                 "\x01ll\x80\0\0\0\0\0\0\0"
                                 "\x01LL\xff\xff\xff\xff\xff\xff\xff\xfe"
                                 "\x01"
                                 "ff\x3f\xc0\0\0"
                                 "\x01"
                                 "dd\xc0\x04\0\0\0\0\0\0"
                                 "\x01"
                                 "DD\x02\xff\xff\xff\xfe"
                                 "\x01SS\0\0\0\x03one"
                                 "\x01xx\0\0\0\x02\0\xff"
                                 "\x01TT\0\0\0\0\x5f\x5e\x10\0"
                                 "\x01VV"
                                 "\x01"
                                 "FF\0\0\0\x04\x01vt\0"
                                 "\x01"
                                 "AA\0\0\0\x03"
                                 "b\x07V"
                                 "\0V";

static struct field find(const char *name) {
    struct field field;
    assert_true(table_find(BYTES(EVERY_TYPE), bytes_text(name), &field));
    assert_text(field.name, name);
    assert_int_equal(field.type, name[0]);
    return field;
}

static void every_type_is_read(void **state) {
    (void)state;
    assert_true(table_valid(BYTES(EVERY_TYPE)));
    assert_true(find("t").boolean);
    assert_true(find("b").integer == INT8_MIN);
    assert_true(find("B").integer == UINT8_MAX);
    assert_true(find("s").integer == INT16_MIN);
    assert_true(find("u").integer == UINT16_MAX);
    assert_true(find("I").integer == INT32_MIN);
    assert_true(find("i").integer == UINT32_MAX);
    assert_true(find("l").integer == INT64_MIN);
    assert_true(find("L").integer == -2);
    assert_true(find("f").real == 1.5);
    assert_true(find("d").real == -2.5);
    assert_int_equal(find("D").decimal.scale, 2);
    assert_int_equal(find("D").decimal.value, -2);
    assert_text(find("S").bytes, "one");
    assert_bytes(find("x").bytes, "\0\xff", 2);
    assert_true(find("T").timestamp == 1600000000);
    assert_int_equal(find("V").type, 'V');
    assert_bytes(find("F").bytes, "\x01vt\0", 4);
    assert_bytes(find("A").bytes, "b\x07V", 3);
}

static void every_type_is_written_back(void **state) {
    (void)state;
    uint8_t memory[sizeof EVERY_TYPE];
    struct writer writer = writer_over(memory, sizeof memory);
    struct reader reader = reader_over(BYTES(EVERY_TYPE));
    struct field field;
    int count = 0;
    while (table_next(&reader, &field)) {
        table_put_field(&writer, &field);
        count++;
    }
    assert_int_equal(count, 19);
    assert_false(reader.bad);
    assert_false(writer.bad);
    assert_bytes(writer_bytes(&writer), EVERY_TYPE, sizeof EVERY_TYPE - 1);
}

static void arrays_are_walked(void **state) {
    (void)state;
    struct field field = find("A");
    assert_true(table_array_valid(field.bytes));
    struct reader reader = reader_over(field.bytes);
    struct field element;
    assert_true(table_array_next(&reader, &element));
    assert_int_equal(element.type, 'b');
    assert_int_equal(element.name.size, 0);
    assert_int_equal(element.integer, 7);
    assert_true(table_array_next(&reader, &element));
    assert_int_equal(element.type, 'V');
    assert_false(table_array_next(&reader, &element));
    assert_false(reader.bad);
}

static void nothing_is_valid(void **state) {
    (void)state;
    struct field field;
    assert_true(table_valid(bytes_of(NULL, 0)));
    assert_true(table_array_valid(BYTES("")));
    assert_false(table_find(BYTES(""), BYTES("a"), &field));
}

/* A cut is valid only where a field ends: those places are found by walking. */
static void every_cut_inside_a_field_is_refused(void **state) {
    (void)state;
    struct bytes whole = BYTES(EVERY_TYPE);
    bool ends[sizeof EVERY_TYPE] = {[0] = true};
    struct reader reader = reader_over(whole);
    struct field field;
    while (table_next(&reader, &field)) {
        ends[reader.at - whole.data] = true;
    }
    for (uint32_t size = 0; size <= whole.size; size++) {
        uint8_t *copy = test_malloc(size ? size : 1);
        bytes_copy(copy, whole.data, size);
        assert_int_equal(table_valid(bytes_of(copy, size)), ends[size]);
        /* Walking what was not validated ends as well. */
        reader = reader_over(bytes_of(copy, size));
        while (table_next(&reader, &field)) {
            assert_in_range(reader_left(&reader), 0, size);
        }
        test_free(copy);
    }
}

static void only_known_types_are_valid(void **state) {
    (void)state;
    for (int type = 0; type < 256; type++) {
        uint8_t input[11] = {1, 'n', (uint8_t)type};
        bool known = type != 0 && strchr("tbBsuIilLfdDSATFVx", type) != NULL;
        bool valid = false;
        for (size_t size = 3; size <= sizeof input; size++) {
            valid |= table_valid(bytes_of(input, size)) &&
                     table_array_valid(bytes_of(input + 2, size - 2));
        }
        assert_int_equal(valid, known);
        struct reader reader = reader_over(bytes_of(input, sizeof input));
        struct field field;
        assert_int_equal(table_next(&reader, &field), known);
    }
}

static void lengths_are_checked(void **state) {
    (void)state;
    const struct bytes cases[] = {
        BYTES("\x01"
              "aS\0\0\0\x01"),
        BYTES("\x01"
              "aS\xff\xff\xff\xff"),
        BYTES("\x01"
              "ax\x80\0\0\0z"),
        BYTES("\x01"
              "aF\0\0\0\x05\x01nt\0"),
        BYTES("\x01"
              "aA\xff\xff\xff\xff"),
        BYTES("\x01"
              "aF\0\0\0\x01\x05"), /* a name longer than its table, but not than the input */
        BYTES("\x01"
              "aF\0\0\0\x03\x01nt" /* a value outside of its table */
              "\x01"),
        BYTES("\x01"
              "aA\0\0\0\x01"
              "b\x01"),
        BYTES("\xff"
              "a"),
        BYTES("\x01"
              "a"),
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        assert_false(table_valid(cases[i]));
    }
}

static void reals_are_finite(void **state) {
    (void)state;
    assert_true(table_array_valid(BYTES("f\x7f\x7f\xff\xff")));
    assert_false(table_array_valid(BYTES("f\x7f\x80\0\0")));
    assert_false(table_array_valid(BYTES("f\xff\xc0\0\0")));
    assert_true(table_array_valid(BYTES("d\x7f\xef\xff\xff\xff\xff\xff\xff")));
    assert_false(table_array_valid(BYTES("d\xff\xf0\0\0\0\0\0\0")));
    assert_false(table_array_valid(BYTES("d\x7f\xf8\0\0\0\0\0\0")));
}

/* `depth` tables or arrays inside each other, the outermost not counted; gives its bytes. */
static struct bytes nested(uint8_t *memory, size_t size, uint32_t depth, bool arrays) {
    static uint8_t *begun[100];
    assert_in_range(depth, 0, COUNT_OF(begun));
    struct writer writer = writer_over(memory, size);
    for (uint32_t i = 0; i < depth; i++) {
        begun[i] =
            arrays ? table_begin_array(&writer, i == 0 ? "n" : NULL) : table_begin(&writer, "n");
    }
    for (uint32_t i = depth; i > 0; i--) {
        table_end(&writer, begun[i - 1]);
        if (!arrays) table_put_bool(&writer, "after", true);
    }
    assert_false(writer.bad);
    return writer_bytes(&writer);
}

static void depth_has_a_limit(void **state) {
    (void)state;
    uint8_t memory[4096];
    for (int arrays = 0; arrays <= 1; arrays++) {
        for (uint32_t depth = 0; depth < 100; depth++) {
            struct bytes table = nested(memory, sizeof memory, depth, arrays);
            assert_int_equal(table_valid(table), depth < TABLE_DEPTH_MAX);
        }
    }
}

/* Far deeper than any stack: the loop gives up at the limit. */
static void endless_depth_is_refused_quickly(void **state) {
    (void)state;
    enum { LEVELS = 200000 };
    uint8_t *memory = test_malloc(LEVELS * 5);
    struct writer writer = writer_over(memory, LEVELS * 5);
    for (uint32_t left = LEVELS; left > 0; left--) {
        write_u8(&writer, 'A');
        write_u32(&writer, (left - 1) * 5);
    }
    assert_false(writer.bad);
    assert_false(table_array_valid(writer_bytes(&writer)));
    test_free(memory);
}

static void the_first_of_equal_names_is_found(void **state) {
    (void)state;
    uint8_t memory[64];
    struct writer writer = writer_over(memory, sizeof memory);
    table_put_i32(&writer, "n", 1);
    table_put_i32(&writer, "n", 2);
    struct field field = {.type = 0};
    assert_true(table_valid(writer_bytes(&writer)));
    assert_true(table_find(writer_bytes(&writer), BYTES("n"), &field));
    assert_int_equal(field.integer, 1);
    field.integer = 77;
    assert_false(table_find(writer_bytes(&writer), BYTES("m"), &field));
    assert_false(table_find(writer_bytes(&writer), BYTES(""), &field));
    assert_int_equal(field.integer, 77);
}

static void integers_of_any_width(void **state) {
    (void)state;
    struct reader reader = reader_over(BYTES(EVERY_TYPE));
    struct field field;
    while (table_next(&reader, &field)) {
        int64_t value = 77;
        bool integer = strchr("bBsuIilL", field.type) != NULL;
        assert_int_equal(field_integer(&field, &value), integer);
        assert_true(value == (integer ? field.integer : 77));
    }
}

static void building(void **state) {
    (void)state;
    const char expected[] = "\x04textS\0\0\0\x02hi"
                            "\x02okt\x01"
                            "\x03i64l\xff\xff\xff\xff\xff\xff\xff\xff"
                            "\x03i32I\0\0\xea\x60"
                            "\x05tableF\0\0\0\x05\x02not\0"
                            "\x05"
                            "arrayA\0\0\0\x0d"
                            "F\0\0\0\x04\x01nt\x01"
                            "b\xff"
                            "t\0";
    uint8_t memory[256];
    struct writer writer = writer_over(memory, sizeof memory);
    table_put_text(&writer, "text", BYTES("hi"));
    table_put_bool(&writer, "ok", true);
    table_put_i64(&writer, "i64", -1);
    table_put_i32(&writer, "i32", 60000);
    uint8_t *table = table_begin(&writer, "table");
    table_put_bool(&writer, "no", false);
    table_end(&writer, table);
    uint8_t *array = table_begin_array(&writer, "array");
    uint8_t *element = table_begin(&writer, NULL);
    table_put_bool(&writer, "n", true);
    table_end(&writer, element);
    table_array_put_field(&writer, &(struct field){.type = 'b', .integer = -1});
    table_put_bool(&writer, NULL, false);
    table_end(&writer, array);
    assert_false(writer.bad);
    assert_bytes(writer_bytes(&writer), expected, sizeof expected - 1);
    assert_true(table_valid(writer_bytes(&writer)));
    /* Any smaller room is noticed, and nothing is written beyond it. */
    for (size_t room = 0; room < sizeof expected - 1; room++) {
        memory[room] = 0xee;
        writer = writer_over(memory, room);
        table = table_begin(&writer, "text");
        table_put_text(&writer, "a", bytes_of(expected, sizeof expected - 1));
        table_end(&writer, table);
        assert_true(writer.bad);
        assert_int_equal(memory[room], 0xee);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_is_read),
        cmocka_unit_test(every_type_is_written_back),
        cmocka_unit_test(arrays_are_walked),
        cmocka_unit_test(nothing_is_valid),
        cmocka_unit_test(every_cut_inside_a_field_is_refused),
        cmocka_unit_test(only_known_types_are_valid),
        cmocka_unit_test(lengths_are_checked),
        cmocka_unit_test(reals_are_finite),
        cmocka_unit_test(depth_has_a_limit),
        cmocka_unit_test(endless_depth_is_refused_quickly),
        cmocka_unit_test(the_first_of_equal_names_is_found),
        cmocka_unit_test(integers_of_any_width),
        cmocka_unit_test(building),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
