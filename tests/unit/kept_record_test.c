/* kept_record_test: messages become records, and come back as they were. */
#include "unit.h"

#include "base/buffer.h"
#include "base/memory.h"
#include "shard/kept_record.h"
#include "store/pub.h"

static struct message *make(
    struct message_pool *pool, size_t exchange, size_t key, size_t properties, uint32_t body) {
    static uint8_t bytes[200000];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 31 + 7);
    struct message *message = message_new(pool, bytes_of(bytes, exchange), bytes_of(bytes + 1, key),
        bytes_of(bytes + 2, properties), body);
    for (uint32_t i = 0; i < body; i++)
        message_body_data(message)[i] = (uint8_t)(i >> 8 ^ i);
    message->persistent = true;
    message->priority = 9;
    message->header_flags = 0x8001;
    return message;
}

static struct record_view encode(const struct record *record, uint8_t **ret_memory) {
    assert_int_equal(record_validate(record), 0);
    *ret_memory = mem_raw(record_size(record));
    record_encode(record, *ret_memory);
    struct record_view view;
    struct bytes bytes = bytes_of(*ret_memory, record_size(record));
    assert_int_equal(record_parse(bytes, &view), RECORD_GOOD);
    return view;
}

static void assert_same(const struct message *a, const struct message *b) {
    assert_int_equal(a->exchange_size, b->exchange_size);
    assert_int_equal(a->routing_key_size, b->routing_key_size);
    assert_int_equal(a->properties_size, b->properties_size);
    assert_int_equal(a->body_size, b->body_size);
    assert_int_equal(a->priority, b->priority);
    assert_int_equal(a->header_flags, b->header_flags);
    assert_int_equal(a->persistent, b->persistent);
    struct bytes body = message_body(b);
    assert_bytes(message_body(a), body.data, body.size);
    assert_memory_equal(a->data, b->data, message_properties_at(a) + a->properties_size);
}

static void round_trip_of(bool persistent, uint32_t part_bytes, size_t exchange, size_t key,
    size_t properties, uint32_t body) {
    struct message_pool *pool = message_pool_new(0);
    struct message *message = make(pool, exchange, key, properties, body);
    message->persistent = persistent;
    struct record_target targets[2] = {{5, 6, 1}, {7, 8, 1}};
    struct pub_parts parts;
    pub_parts_init(&parts);
    uint8_t *memory = NULL;
    struct kept_record kept = {message, targets, 2, part_bytes};
    uint32_t count = kept_record_parts(&kept);
    for (uint32_t i = 0; i < count; i++) {
        struct record part = kept_record_part(&kept, i);
        struct record_view view = encode(&part, &memory);
        assert_int_equal(pub_parts_take(&parts, &view), i == 0);
        mem_free(memory);
    }
    struct record pub = kept_record_pub(&kept);
    struct record_view view = encode(&pub, &memory);
    struct bytes run;
    assert_true(pub_parts_find(&parts, &view, &run));
    struct message *back = kept_record_message(pool, &view, run);
    assert_non_null(back);
    assert_same(back, message);
    message_unref(pool, back);
    parts.count--; /* as if one of them had not been there */
    if (count != 0) assert_false(pub_parts_find(&parts, &view, &run));
    mem_free(memory);
    pub_parts_deinit(&parts);
    message_unref(pool, message);
    message_pool_free(pool);
}

static void round_trip_in(
    uint32_t part_bytes, size_t exchange, size_t key, size_t properties, uint32_t body) {
    round_trip_of(true, part_bytes, exchange, key, properties, body);
    round_trip_of(false, part_bytes, exchange, key, properties, body);
}

static void round_trip(size_t exchange, size_t key, size_t properties, uint32_t body) {
    round_trip_in(KEPT_RECORD_PART_BYTES, exchange, key, properties, body);
}

static void messages_come_back_as_they_were(void **state) {
    (void)state;
    round_trip(0, 0, 0, 0);
    round_trip(0, 5, 14, 1);
    round_trip(255, 255, 100000, 1024);
    round_trip(3, 4, 14, 4 * 1024 * 1024 - 9000);
}

static void large_messages_come_in_parts(void **state) {
    (void)state;
    round_trip(3, 4, 14, 4 * 1024 * 1024 - 8192 - 21); /* just one record */
    round_trip(3, 4, 14, 4 * 1024 * 1024);
    round_trip(3, 4, 150000, 9 * 1024 * 1024 + 17);
    round_trip_in(1000, 255, 255, 3000, 100000);
}

static void nonsense_is_no_message(void **state) {
    (void)state;
    struct message_pool *pool = message_pool_new(0);
    struct record_view view = {.message_id = 5, .body = BYTES("four")};
    assert_null(kept_record_message(pool, &view, bytes_of(NULL, 0)));
    view.message_id = (uint64_t)5 << 40;
    assert_null(kept_record_message(pool, &view, bytes_of(NULL, 0)));
    message_pool_free(pool);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_come_back_as_they_were),
        cmocka_unit_test(large_messages_come_in_parts),
        cmocka_unit_test(nonsense_is_no_message),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
