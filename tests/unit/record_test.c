/* record_test: records on disk: there and back, and nothing believed on the way. */
#include "unit.h"

#include <errno.h>

#include "store/crc.h"
#include "store/le.h"
#include "store/record.h"

static const struct record_target TARGETS[] = {{7, 1, 1}, {8, (uint64_t)5 << 56, 3}, {9, 12, 2}};

static const struct record_target ALIGNED = {7, (uint64_t)5 << 56 | 128, 1};

static struct record record_of(enum record_type type) {
    bool bare = type == RECORD_INDEX || type == RECORD_SEAL || type == RECORD_MANIFEST ||
                type == RECORD_CATALOG || type == RECORD_RUNS;
    return (struct record){
        .type = type,
        .flags = 0x5a,
        .target_count = bare                                            ? 0
                        : type == RECORD_PART || type == RECORD_SETTLED ? 1
                                                                        : 3,
        .targets = type == RECORD_SETTLED ? &ALIGNED : TARGETS,
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
            assert_int_equal(target.queue, record.targets[at].queue);
            assert_int_equal(target.seq, record.targets[at].seq);
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

static int validate_bits(uint64_t seq, size_t size) {
    static const uint8_t BITS[RECORD_SETTLED_BYTES_MAX + 8];
    struct record_target target = {1, seq, 1};
    struct record record = {.type = RECORD_SETTLED,
        .target_count = 1,
        .targets = &target,
        .body = bytes_of(BITS, size)};
    return record_validate(&record);
}

/* What was encoded with other bits, and well kept, is refused as well. */
static enum record_fault parse_bits(uint64_t seq, uint32_t cut) {
    struct record record = record_of(RECORD_SETTLED);
    uint8_t bytes[512];
    struct record_view view;
    size_t size = record_size(&record);
    record_encode(&record, bytes);
    le_put_u64(bytes + 40, seq);
    le_put_u32(bytes + 12, le_get_u32(bytes + 12) + cut); /* the head takes it from the body */
    le_put_u32(bytes, crc32c(bytes + 4, size - 4));
    return record_parse(bytes_of(bytes, sizeof bytes), &view);
}

static void bits_are_whole_words_of_one_priority(void **state) {
    (void)state;
    uint64_t behind = (uint64_t)1 << 56;
    assert_int_equal(validate_bits(0, 8), 0);
    assert_int_equal(validate_bits(64, RECORD_SETTLED_BYTES_MAX), 0);
    assert_int_equal(validate_bits(64, RECORD_SETTLED_BYTES_MAX + 8), -EINVAL);
    assert_int_equal(validate_bits(64, 0), -EINVAL);
    assert_int_equal(validate_bits(64, 12), -EINVAL);
    assert_int_equal(validate_bits(65, 8), -EINVAL);
    assert_int_equal(validate_bits(behind - 64, 8), 0);
    assert_int_equal(validate_bits(behind - 64, 16), -EINVAL);
    assert_int_equal(validate_bits(UINT64_MAX - 63, 8), 0);
    assert_int_equal(validate_bits(UINT64_MAX - 63, 16), -EINVAL);
    assert_int_equal(parse_bits(64, 0), RECORD_GOOD);
    assert_int_equal(parse_bits(63, 0), RECORD_BAD_CONTENT);
    assert_int_equal(parse_bits(behind - 64, 0), RECORD_BAD_CONTENT);
    assert_int_equal(parse_bits(64, 8), RECORD_GOOD);
    assert_int_equal(parse_bits(64, 4), RECORD_BAD_CONTENT);
    assert_int_equal(parse_bits(64, 32), RECORD_BAD_CONTENT);
}

static void bits_are_read_as_runs(void **state) {
    (void)state;
    struct record_target target = {7, 128, 1};
    uint8_t bits[32] = {0};
    le_put_u64(bits, 0x8000000000000005);
    le_put_u64(bits + 8, UINT64_MAX);
    le_put_u64(bits + 16, 1);
    struct record record = {.type = RECORD_SETTLED,
        .target_count = 1,
        .targets = &target,
        .body = bytes_of(bits, sizeof bits)};
    uint8_t bytes[128];
    record_encode(&record, bytes);
    struct record_view view = record_view_of(&record, bytes);
    static const uint64_t RUNS[] = {128, 129, 130, 131, 191, 257};
    uint64_t end = 0;
    size_t at = 0;
    for (uint64_t seq = 0; record_settled_run(&view, &seq, &end); seq = end) {
        assert_true(at < COUNT_OF(RUNS));
        assert_int_equal(seq, RUNS[at++]);
        assert_int_equal(end, RUNS[at++]);
    }
    assert_int_equal(at, COUNT_OF(RUNS));
    uint64_t seq = 200;
    assert_true(record_settled_run(&view, &seq, &end));
    assert_int_equal(seq, 200);
    assert_int_equal(record_settled_words(&view), 4);
    assert_int_equal(record_settled_word(&view, 0), 0x8000000000000005);
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
        cmocka_unit_test(bits_are_whole_words_of_one_priority),
        cmocka_unit_test(bits_are_read_as_runs),
        cmocka_unit_test(unknown_types_are_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
