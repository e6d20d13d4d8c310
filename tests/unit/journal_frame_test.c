/* journal_frame_test: frames and file headers: there and back, and every flipped bit seen. */
#include "unit.h"

#include "store/crc.h"
#include "store/file_header.h"
#include "store/journal_frame.h"
#include "store/le.h"

enum { RECORDS = 3 };

/* A frame of three records; gives its header. */
static struct journal_frame build(uint8_t *bytes, size_t capacity) {
    memset(bytes, 0, capacity);
    struct record_target target = {3, 1, 1};
    struct record record = {
        .type = RECORD_PUB, .target_count = 1, .targets = &target, .body = BYTES("hello")};
    struct journal_frame frame = {.flags = JOURNAL_FRAME_INDEX,
        .shard = 2,
        .file_id = 77,
        .lsn = 40960,
        .durable_lsn = 36864,
        .record_count = RECORDS,
        .prev_crc = 5,
        .wall_ms = 1234};
    size_t at = JOURNAL_FRAME_HEADER_BYTES;
    for (target.seq = 1; target.seq <= RECORDS; target.seq++) {
        uint32_t crc = record_encode(&record, bytes + at);
        frame.body_crc = journal_frame_fold(frame.body_crc, crc);
        at += record_size(&record);
    }
    frame.size = (uint32_t)journal_frame_size(at - JOURNAL_FRAME_HEADER_BYTES);
    journal_frame_put_header(&frame, bytes);
    return frame;
}

static bool is_good(const uint8_t *bytes) {
    struct journal_frame frame;
    if (!journal_frame_parse(bytes, &frame) || frame.size != JOURNAL_FRAME_BLOCK_BYTES)
        return false;
    return journal_frame_check(&frame, bytes_of(bytes, frame.size)).fault == RECORD_GOOD;
}

static void a_frame_comes_back(void **state) {
    (void)state;
    uint8_t bytes[JOURNAL_FRAME_BLOCK_BYTES];
    struct journal_frame written = build(bytes, sizeof bytes), read;
    assert_int_equal(written.size, JOURNAL_FRAME_BLOCK_BYTES);
    assert_true(journal_frame_parse(bytes, &read));
    assert_memory_equal(&written, &read, sizeof read);
    assert_true(is_good(bytes));
    assert_int_equal(journal_frame_size(0), 4096);
    assert_int_equal(journal_frame_size(4032), 4096);
    assert_int_equal(journal_frame_size(4033), 8192);
    assert_int_equal(journal_frame_size(RECORD_BYTES_MAX), JOURNAL_FRAME_BYTES_MAX);
}

static void a_flipped_bit_is_seen(void **state) {
    (void)state;
    uint8_t bytes[JOURNAL_FRAME_BLOCK_BYTES];
    build(bytes, sizeof bytes);
    for (size_t bit = 0; bit < sizeof bytes * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_false(is_good(bytes));
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

static void nonsense_with_a_good_checksum_is_refused(void **state) {
    (void)state;
    static const uint32_t SIZES[] = {
        0, 64, 4095, 4097, JOURNAL_FRAME_BYTES_MAX + 4096, 0xfffff000u};
    uint8_t bytes[JOURNAL_FRAME_BLOCK_BYTES];
    struct journal_frame frame;
    for (size_t i = 0; i < COUNT_OF(SIZES); i++) {
        build(bytes, sizeof bytes);
        le_put_u32(bytes + 32, SIZES[i]);
        le_put_u32(bytes + 60, crc32c(bytes, 60));
        assert_false(journal_frame_parse(bytes, &frame));
    }
    static const uint32_t COUNTS[] = {0, RECORDS - 1, RECORDS + 1, 0xffffffffu};
    for (size_t i = 0; i < COUNT_OF(COUNTS); i++) {
        build(bytes, sizeof bytes);
        le_put_u32(bytes + 36, COUNTS[i]);
        le_put_u32(bytes + 60, crc32c(bytes, 60));
        assert_false(is_good(bytes));
    }
}

static void count_view(void *context, const struct record_view *view) {
    uint32_t *count = context;
    assert_text(view->body, "hello");
    ++*count;
}

static void salvaging_leaves_out_what_is_bad(void **state) {
    (void)state;
    uint8_t bytes[JOURNAL_FRAME_BLOCK_BYTES];
    struct journal_frame frame = build(bytes, sizeof bytes);
    uint32_t count = 0;
    journal_frame_walk(&frame, bytes_of(bytes, frame.size), count_view, &count);
    assert_int_equal(count, RECORDS);
    count = 0;
    bytes[JOURNAL_FRAME_HEADER_BYTES + 34] ^= 1;
    journal_frame_salvage(&frame, bytes_of(bytes, frame.size), count_view, &count);
    assert_int_equal(count, RECORDS - 1);
    le_put_u32(bytes + JOURNAL_FRAME_HEADER_BYTES + 4, 0xffffffff);
    count = 0;
    journal_frame_salvage(&frame, bytes_of(bytes, frame.size), count_view, &count);
    assert_int_equal(count, 0);
}

static struct file_header some_header(void) {
    return (struct file_header){.format = FILE_FORMAT,
        .kind = FILE_JOURNAL,
        .node_id = "fifteen letters",
        .shard = 4,
        .file_no = 5,
        .file_id = 6,
        .base_lsn = 8192,
        .prev_file_no = 3,
        .prev_end_lsn = 4096,
        .prev_index_lsn = 2048,
        .created_ms = 7,
        .durable_lsn = 4096,
        .released_file_no = 2,
        .prev_crc = 9,
        .compat = 0x80};
}

static void a_header_comes_back(void **state) {
    (void)state;
    uint8_t block[FILE_HEADER_BYTES];
    struct file_header written = some_header(), read;
    uint32_t crc = file_header_encode(&written, block);
    assert_int_equal(crc, file_header_crc(block));
    memset(&read, 0, sizeof read);
    assert_int_equal(file_header_parse(block, &read), FILE_HEADER_GOOD);
    assert_int_equal(read.compat, 0x80);
    uint8_t again[FILE_HEADER_BYTES];
    file_header_encode(&read, again);
    assert_memory_equal(block, again, sizeof block);
    for (size_t bit = 0; bit < sizeof block * 8; bit++) {
        block[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(file_header_parse(block, &read), FILE_HEADER_BAD);
        block[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

static void a_newer_header_is_told(void **state) {
    (void)state;
    uint8_t block[FILE_HEADER_BYTES];
    struct file_header header = some_header(), read;
    header.format = FILE_FORMAT + 1;
    file_header_encode(&header, block);
    assert_int_equal(file_header_parse(block, &read), FILE_HEADER_NEWER);
    header = some_header();
    header.incompat = 1;
    file_header_encode(&header, block);
    assert_int_equal(file_header_parse(block, &read), FILE_HEADER_NEWER);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_frame_comes_back),
        cmocka_unit_test(a_flipped_bit_is_seen),
        cmocka_unit_test(nonsense_with_a_good_checksum_is_refused),
        cmocka_unit_test(salvaging_leaves_out_what_is_bad),
        cmocka_unit_test(a_header_comes_back),
        cmocka_unit_test(a_newer_header_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
