/* buffer_test: growing up to the stated maximum, and forgetting from the front. */
#include "unit.h"

#include "base/buffer.h"
#include "base/memory.h"

static void grows_and_keeps_content(void **state) {
    (void)state;
    struct buffer buffer;
    buffer_init(&buffer, 100000);
    assert_null(buffer.data);
    for (uint32_t i = 0; i < 100000 / 4; i++) {
        assert_true(buffer_put(&buffer, &i, sizeof i));
        assert_true(buffer.capacity <= 100000);
    }
    assert_int_equal(buffer.size, 100000);
    for (uint32_t i = 0; i < 100000 / 4; i++) {
        assert_memory_equal(buffer.data + (size_t)i * 4, &i, sizeof i);
    }
    buffer_deinit(&buffer);
    assert_null(buffer.data);
    assert_int_equal(buffer.size, 0);
}

static void the_maximum_holds(void **state) {
    (void)state;
    struct buffer buffer;
    buffer_init(&buffer, 10);
    assert_true(buffer_put(&buffer, "0123456789", 10));
    assert_false(buffer_put(&buffer, "x", 1));
    assert_null(buffer_room(&buffer, 1));
    assert_null(buffer_room(&buffer, SIZE_MAX));
    assert_int_equal(buffer.size, 10);
    assert_memory_equal(buffer.data, "0123456789", 10);
    assert_true(buffer_put(&buffer, NULL, 0));
    buffer_deinit(&buffer);
    /* It can be used again, with the same maximum. */
    assert_false(buffer_put(&buffer, "0123456789a", 11));
    assert_true(buffer_put(&buffer, "abc", 3));
    buffer_deinit(&buffer);
}

static void room_is_kept_by_adding_to_size(void **state) {
    (void)state;
    struct buffer buffer;
    buffer_init(&buffer, 1000);
    uint8_t *room = buffer_room(&buffer, 1000);
    assert_non_null(room);
    memset(room, 'r', 1000);
    assert_int_equal(buffer.size, 0);
    buffer.size += 400;
    assert_non_null(buffer_room(&buffer, 600));
    assert_null(buffer_room(&buffer, 601));
    buffer_deinit(&buffer);
}

static void dropping_moves_the_rest(void **state) {
    (void)state;
    struct buffer buffer;
    buffer_init(&buffer, 100);
    buffer_drop(&buffer, 0);
    assert_true(buffer_put(&buffer, "abcdefgh", 8));
    buffer_drop(&buffer, 3);
    assert_text(bytes_of(buffer.data, buffer.size), "defgh");
    buffer_drop(&buffer, 5);
    assert_int_equal(buffer.size, 0);
    assert_true(buffer_put(&buffer, "xy", 2));
    assert_text(bytes_of(buffer.data, buffer.size), "xy");
    buffer_deinit(&buffer);
}

static void memory_is_zeroed_and_copied(void **state) {
    (void)state;
    uint64_t *numbers = mem_new_array(3, sizeof *numbers);
    assert_true(numbers[0] == 0 && numbers[1] == 0 && numbers[2] == 0);
    numbers = mem_resize(numbers, 6 * sizeof *numbers);
    assert_true(numbers[2] == 0);
    mem_free(numbers);
    mem_free(mem_new(0));
    mem_free(mem_raw(0));
    mem_free(NULL);
    char *text = mem_text(BYTES("name"));
    assert_string_equal(text, "name");
    mem_free(text);
    text = mem_text(bytes_of(NULL, 0));
    assert_string_equal(text, "");
    mem_free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grows_and_keeps_content),
        cmocka_unit_test(the_maximum_holds),
        cmocka_unit_test(room_is_kept_by_adding_to_size),
        cmocka_unit_test(dropping_moves_the_rest),
        cmocka_unit_test(memory_is_zeroed_and_copied),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
