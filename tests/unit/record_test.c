/* record_test: records on disk: there and back, and nothing believed on the way. */
#include "unit.h"

#include <errno.h>

#include "store/crc.h"
#include "store/le.h"
#include "store/record.h"

static const struct record_target TARGETS[] = {{7, 1, 1}, {8, (uint64_t)5 << 56, 3}, {9, 12, 2}};

static struct record record_of(enum record_type type) {
    bool bare = type == RECORD_INDEX || type == RECORD_SEAL || type == RECORD_MANIFEST ||
                type == RECORD_CATALOG || type == RECORD_RUNS;
    return (struct record){
        .type = type,
        .flags = 0x5a,
        .target_count = bare                  ? 0
                        : type == RECORD_PART ? 1
                                              : 3,
        .targets = TARGETS,
        .message_id = 0x1122334455667788,
        .expiry_ms = 99,
        .head = BYTES("routing"),
        .body = BYTES("a body of some bytes, that is 32"),
    };
}

static const enum record_type TYPES[] = {
#define RECORD(name, number, layout, targets_min, targets_max) RECORD_##name,
#include "store/records.def"
#undef RECORD
};

static void every_type_comes_back(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT_OF(TYPES); i++) {
        struct record record = record_of(TYPES[i]);
        uint8_t bytes[512];
        struct record_view view;
        assert_int_equal(record_validate(&record), 0);
        size_t size = record_size(&record);
        uint32_t crc = record_encode(&record, bytes);
        assert_int_equal(size % 8, 0);
        assert_int_equal(record_parse(bytes_of(bytes, sizeof bytes), &view), RECORD_GOOD);
        assert_int_equal(view.size, size);
        assert_int_equal(view.checksum, crc);
        assert_int_equal(view.type, record.type);
        assert_int_equal(view.flags, 0x5a);
        assert_int_equal(view.message_id, record.message_id);
        assert_int_equal(view.expiry_ms, 99);
        assert_text(view.head, "routing");
        assert_text(view.body, "a body of some bytes, that is 32");
        assert_int_equal(view.target_count, record.target_count);
        bool spans = record.type == RECORD_ACK || record.type == RECORD_RQ;
        for (uint32_t at = 0; at < view.target_count; at++) {
            struct record_target target = record_view_target(&view, at);
            assert_int_equal(target.queue, TARGETS[at].queue);
            assert_int_equal(target.seq, TARGETS[at].seq);
            assert_int_equal(target.count, spans ? TARGETS[at].count : 1);
        }
    }
}

static void a_flipped_bit_is_seen(void **state) {
    (void)state;
    struct record record = record_of(RECORD_PUB);
    uint8_t bytes[512] = {0};
    struct record_view view;
    size_t size = record_size(&record);
    record_encode(&record, bytes);
    for (size_t bit = 0; bit < size * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_not_equal(record_parse(bytes_of(bytes, sizeof bytes), &view), RECORD_GOOD);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

static void a_shortened_record_is_refused(void **state) {
    (void)state;
    struct record record = record_of(RECORD_ACK);
    uint8_t bytes[512];
    struct record_view view;
    size_t size = record_size(&record);
    record_encode(&record, bytes);
    for (size_t left = 0; left < size; left++)
        assert_int_equal(record_parse(bytes_of(bytes, left), &view), RECORD_BAD_LENGTH);
    static const uint32_t LENGTHS[] = {
        0, 31, RECORD_BYTES_MAX + 1, 0x7fffffff, 0xfffffff9, 0xffffffff};
    for (size_t i = 0; i < COUNT_OF(LENGTHS); i++) {
        le_put_u32(bytes + 4, LENGTHS[i]);
        assert_int_equal(record_parse(bytes_of(bytes, size), &view), RECORD_BAD_LENGTH);
    }
}

static int validate_target(enum record_type type, uint64_t queue, uint64_t seq, uint64_t count) {
    struct record_target target = {queue, seq, count};
    struct record record = {.type = type, .target_count = 1, .targets = &target};
    return record_validate(&record);
}

static void what_may_not_be_written_is_refused(void **state) {
    (void)state;
    uint64_t last = ((uint64_t)1 << 56) - 1;
    assert_int_equal(validate_target(RECORD_PUB, 1, 1, 1), 0);
    assert_int_equal(validate_target(RECORD_PUB, QUEUE_ID_TRANSIENT | 1, 1, 1), -EINVAL);
    assert_int_equal(validate_target(RECORD_PUB, 0, 1, 1), -EINVAL);
    assert_int_equal(validate_target(RECORD_ACK, 1, 1, 0), -EINVAL);
    assert_int_equal(validate_target(RECORD_ACK, 1, last, 1), 0);
    assert_int_equal(validate_target(RECORD_ACK, 1, last, 2), -EINVAL);
    assert_int_equal(validate_target(RECORD_ACK, 1, UINT64_MAX, 1), 0);
    assert_int_equal(validate_target(RECORD_ACK, 1, UINT64_MAX, UINT64_MAX), -EINVAL);
    struct record record = {.type = RECORD_PUB};
    assert_int_equal(record_validate(&record), -EINVAL);
    record = record_of(RECORD_SEAL);
    record.target_count = 1;
    assert_int_equal(record_validate(&record), -EINVAL);
    record = record_of((enum record_type)11);
    assert_int_equal(record_validate(&record), -EINVAL);
    record = record_of(RECORD_PART);
    record.target_count = 2;
    assert_int_equal(record_validate(&record), -EINVAL);
    record = record_of(RECORD_MANIFEST);
    record.body.size--;
    assert_int_equal(record_validate(&record), -EINVAL);
    record = record_of(RECORD_PUB);
    record.body = bytes_of(record.body.data, RECORD_BYTES_MAX);
    assert_int_equal(record_validate(&record), -EMSGSIZE);
}

/* A good record of another type, well kept. */
static enum record_fault parse_type(uint8_t type, struct record_view *ret_view) {
    struct record record = record_of(RECORD_PUB);
    uint8_t bytes[512];
    size_t size = record_size(&record);
    record_encode(&record, bytes);
    bytes[8] = type;
    le_put_u32(bytes, crc32c(bytes + 4, size - 4));
    return record_parse(bytes_of(bytes, sizeof bytes), ret_view);
}

static void unknown_types_are_told_apart(void **state) {
    (void)state;
    struct record_view view;
    assert_int_equal(parse_type(77, &view), RECORD_UNKNOWN);
    assert_int_equal(parse_type(0, &view), RECORD_UNKNOWN);
    assert_int_equal(parse_type(11, &view), RECORD_UNKNOWN);
    assert_int_equal(parse_type(77 | RECORD_IGNORABLE, &view), RECORD_GOOD);
    assert_int_equal(view.target_count, 0);
    assert_int_equal(parse_type(RECORD_SEAL, &view), RECORD_BAD_CONTENT);
    assert_int_equal(parse_type(RECORD_PART, &view), RECORD_BAD_CONTENT);
    assert_string_equal(record_type_text(RECORD_DELIVERED), "DELIVERED");
    assert_string_equal(record_type_text(77), "unknown");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_comes_back),
        cmocka_unit_test(a_flipped_bit_is_seen),
        cmocka_unit_test(a_shortened_record_is_refused),
        cmocka_unit_test(what_may_not_be_written_is_refused),
        cmocka_unit_test(unknown_types_are_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
