/* pages_test: walking pieces of a segment from every place, and what is wrong in one. */
#include "unit.h"

#include "store/crc.h"
#include "store/journal_frame.h"
#include "store/le.h"
#include "store/pages.h"
#include "store/segment.h"

enum { RECORDS = 900, FILE_ID = 0x77, PIECE = 64 * 1024 };

/* A segment's bytes, and where its records are. */
struct file {
    struct segment_build *build;
    uint8_t *bytes;
    uint64_t size;
    uint64_t at[RECORDS];
    uint64_t end[RECORDS];
};

static size_t size_of_body(uint64_t i) {
    static uint8_t sizes[] = {0, 1, 7, 100, 8, 200};
    return i % 97 == 5 ? 100000 : i % 31 == 3 ? 4000 + i : sizes[i % COUNT_OF(sizes)];
}

static void file_init(struct file *file) {
    static uint8_t body[200 * 1024];
    struct segment_settings settings = {
        .shard = 3, .number = 1, .file_id = FILE_ID, .capacity_bytes = SEGMENT_BYTES};
    file->build = segment_begin(&settings);
    for (uint64_t i = 0; i < RECORDS; i++) {
        struct record_target target = {5, i + 1, 1};
        struct record record = {.type = RECORD_PUB,
            .target_count = 1,
            .targets = &target,
            .body = bytes_of(body, size_of_body(i))};
        assert_true(segment_put(file->build, &record, &file->at[i]));
        file->end[i] = file->at[i] + record_size(&record);
    }
    struct disk_request request;
    segment_finish(file->build, &request);
    file->size = request.size;
    file->bytes = test_malloc(file->size);
    memcpy(file->bytes, request.data, file->size);
}

static void file_deinit(struct file *file) {
    test_free(file->bytes);
    segment_free(file->build);
}

static uint64_t block_of(uint64_t offset) {
    return offset - offset % JOURNAL_FRAME_BLOCK_BYTES;
}

/* The piece of the file that a reader would read from there. */
static struct bytes piece_at(const struct file *file, uint64_t offset, uint64_t size) {
    return bytes_of(file->bytes + offset, min_u64(size, file->size - offset));
}

/* Walks from a place to the end, piece by piece, and expects the records from `first` on. */
static void walk(const struct file *file, uint64_t at, uint64_t first) {
    struct page page = {.end = file->size, .file_id = FILE_ID};
    page_begin(&page, piece_at(file, block_of(at), PIECE), block_of(at), at);
    uint64_t next = first;
    enum page_step step = PAGE_RECORD;
    while ((step = page_next(&page)) != PAGE_END) {
        if (step == PAGE_MORE) {
            uint64_t from = block_of(page.at);
            uint64_t size = max_u64(PIECE, page.at - from + page.needed);
            assert_true(page.needed <= JOURNAL_FRAME_BYTES_MAX);
            page_continue(&page, piece_at(file, from, size), from);
            continue;
        }
        assert_int_equal(step, PAGE_RECORD);
        assert_int_equal(record_view_target(&page.view, 0).seq, next + 1);
        assert_int_equal(page.view.body.size, size_of_body(next));
        assert_int_equal(page.record_at, file->at[next]);
        assert_int_equal(page.at, file->end[next]);
        next++;
    }
    assert_int_equal(next, RECORDS);
    assert_int_equal(page_next(&page), PAGE_END);
}

static void records_are_met_from_every_place(void **state) {
    (void)state;
    struct file file;
    file_init(&file);
    walk(&file, SEGMENT_FRAMES_AT, 0);
    for (uint64_t i = 0; i < RECORDS; i += i < 50 ? 1 : 13)
        walk(&file, file.at[i], i);
    /* Behind a record there may be padding, or a frame. */
    for (uint64_t i = 0; i + 1 < RECORDS; i += 7)
        walk(&file, file.end[i], i + 1);
    walk(&file, file.end[RECORDS - 1], RECORDS);
    file_deinit(&file);
}

static void the_end_is_where_the_caller_says(void **state) {
    (void)state;
    struct file file;
    file_init(&file);
    uint64_t end = SEGMENT_FRAMES_AT;
    struct journal_frame frame;
    assert_true(journal_frame_parse(file.bytes + end, &frame));
    end += frame.size;
    struct page page = {.end = end, .file_id = FILE_ID};
    page_begin(&page, piece_at(&file, 0, file.size), 0, SEGMENT_FRAMES_AT);
    for (uint32_t i = 0; i < frame.record_count; i++)
        assert_int_equal(page_next(&page), PAGE_RECORD);
    assert_int_equal(page_next(&page), PAGE_END);
    /* A frame that reaches behind the end does not count. */
    page.end = end - JOURNAL_FRAME_BLOCK_BYTES;
    page_begin(&page, piece_at(&file, 0, file.size), 0, SEGMENT_FRAMES_AT);
    assert_int_equal(page_next(&page), PAGE_BAD);
    file_deinit(&file);
}

static enum page_step last_step(const struct file *file, uint64_t file_id) {
    struct page page = {.end = file->size, .file_id = file_id};
    page_begin(&page, piece_at(file, 0, file->size), 0, SEGMENT_FRAMES_AT);
    enum page_step step = PAGE_RECORD;
    while ((step = page_next(&page)) == PAGE_RECORD) {
    }
    return step;
}

static void what_is_wrong_is_told(void **state) {
    (void)state;
    struct file file;
    file_init(&file);
    assert_int_equal(last_step(&file, FILE_ID), PAGE_END);
    assert_int_equal(last_step(&file, FILE_ID + 1), PAGE_BAD);
    for (uint64_t i = 0; i < RECORDS; i += 11) {
        for (uint64_t at = file.at[i]; at < file.end[i]; at += 1 + (file.end[i] - at) / 3) {
            file.bytes[at] ^= 4;
            assert_int_equal(last_step(&file, FILE_ID), PAGE_BAD);
            file.bytes[at] ^= 4;
        }
    }
    file.bytes[SEGMENT_FRAMES_AT + 40] ^= 1;
    assert_int_equal(last_step(&file, FILE_ID), PAGE_BAD);
    file_deinit(&file);
}

/* How many records are met in a file of which one is bad. */
static uint64_t count_around_bad(const struct file *file) {
    struct page page = {.end = file->size, .file_id = FILE_ID};
    page_begin(&page, piece_at(file, 0, file->size), 0, SEGMENT_FRAMES_AT);
    uint64_t count = 0;
    enum page_step step;
    while ((step = page_next(&page)) == PAGE_RECORD || step == PAGE_BAD) {
        count += step == PAGE_RECORD;
        if (step == PAGE_BAD && page_pass(&page) != PAGE_RECORD) break;
    }
    return step == PAGE_END ? count : 0;
}

static void a_bad_record_is_passed_over(void **state) {
    (void)state;
    struct file file;
    file_init(&file);
    for (uint64_t i = 0; i < RECORDS; i += 11) {
        uint8_t *record = file.bytes + file.at[i];
        record[20] ^= 4;
        assert_int_equal(count_around_bad(&file), RECORDS - 1);
        record[20] ^= 4;
        /* Not when its length is wrong, or another one's. */
        record[4] ^= 8;
        assert_int_equal(count_around_bad(&file), 0);
        record[4] ^= 8;
        memset(record, 0xff, 8);
        assert_int_equal(count_around_bad(&file), 0);
        struct page page = {.end = file.size, .file_id = FILE_ID};
        page_begin(&page, piece_at(&file, 0, file.size), 0, SEGMENT_FRAMES_AT);
        while (page_next(&page) == PAGE_RECORD) {
        }
        assert_int_equal(page_pass(&page), PAGE_BAD);
        file_deinit(&file);
        file_init(&file);
    }
    file_deinit(&file);
}

/* The frame's end has to be in the piece. */
static void a_piece_may_be_too_small_to_pass(void **state) {
    (void)state;
    struct file file;
    file_init(&file);
    file.bytes[file.at[3] + 20] ^= 1;
    struct page page = {.end = file.size, .file_id = FILE_ID};
    page_begin(&page, piece_at(&file, 0, PIECE), 0, SEGMENT_FRAMES_AT);
    while (page_next(&page) == PAGE_RECORD) {
    }
    assert_int_equal(page_pass(&page), PAGE_MORE);
    page_continue(&page, piece_at(&file, 0, file.at[3] + page.needed), 0);
    assert_int_equal(page_next(&page), PAGE_BAD);
    assert_int_equal(page_pass(&page), PAGE_RECORD);
    assert_int_equal(page_next(&page), PAGE_RECORD);
    assert_int_equal(page.record_at, file.at[4]);
    /* One of which no frame is known cannot be passed. */
    page_begin(&page, piece_at(&file, 0, file.size), 0, file.at[3]);
    assert_int_equal(page_next(&page), PAGE_BAD);
    assert_int_equal(page_pass(&page), PAGE_BAD);
    file_deinit(&file);
}

/* A message may be such that it lies at a block's beginning and looks like a header there, but for
 * the file's id. */
static void a_record_is_no_frame(void **state) {
    (void)state;
    static uint8_t bytes[2 * JOURNAL_FRAME_BLOCK_BYTES];
    struct record_target target = {5, 1, 1};
    struct record record = {.type = RECORD_PUB, .target_count = 1, .targets = &target};
    uint8_t *at = bytes + JOURNAL_FRAME_BLOCK_BYTES;
    record_encode(&record, at);
    struct page page = {.end = sizeof bytes, .file_id = FILE_ID};
    page_begin(&page, bytes_of(bytes, sizeof bytes), 0, JOURNAL_FRAME_BLOCK_BYTES);
    assert_int_equal(page_next(&page), PAGE_RECORD);
    assert_int_equal(page_next(&page), PAGE_END);
    struct journal_frame frame = {.file_id = FILE_ID + 1, .size = JOURNAL_FRAME_BLOCK_BYTES};
    frame.lsn = JOURNAL_FRAME_BLOCK_BYTES;
    journal_frame_put_header(&frame, at);
    page_begin(&page, bytes_of(bytes, sizeof bytes), 0, JOURNAL_FRAME_BLOCK_BYTES);
    assert_int_equal(page_next(&page), PAGE_BAD);
    frame.file_id = FILE_ID;
    journal_frame_put_header(&frame, at);
    page_begin(&page, bytes_of(bytes, sizeof bytes), 0, JOURNAL_FRAME_BLOCK_BYTES);
    assert_int_equal(page_next(&page), PAGE_END);
}

/* Behind damage a record that begins with a block may be what a client has put into a body. */
static void behind_damage_only_a_frame_is_believed(void **state) {
    (void)state;
    enum { BLOCK = JOURNAL_FRAME_BLOCK_BYTES, BLOCKS = 5 };
    static uint8_t bytes[BLOCKS * BLOCK];
    struct record_target target = {5, 1, 1};
    struct record record = {.type = RECORD_PUB, .target_count = 1, .targets = &target};
    struct journal_frame frame = {
        .file_id = FILE_ID, .size = BLOCK, .lsn = 3 * BLOCK, .record_count = 1};
    memset(bytes, 0xff, BLOCK);
    record_encode(&record, bytes + BLOCK);
    journal_frame_put_header(&frame, bytes + 3 * BLOCK);
    record_encode(&record, bytes + 3 * BLOCK + JOURNAL_FRAME_HEADER_BYTES);
    struct page page = {.end = sizeof bytes, .file_id = FILE_ID};
    page_begin(&page, bytes_of(bytes, 2 * BLOCK), 0, 0);
    assert_int_equal(page_next(&page), PAGE_BAD);
    assert_int_equal(page_pass(&page), PAGE_BAD);
    assert_int_equal(page_resync(&page), PAGE_RECORD);
    assert_int_equal(page_next(&page), PAGE_BAD);
    assert_int_equal(page_resync(&page), PAGE_MORE);
    page_continue(&page, bytes_of(bytes + 2 * BLOCK, 3 * BLOCK), 2 * BLOCK);
    assert_int_equal(page_next(&page), PAGE_BAD);
    assert_int_equal(page_resync(&page), PAGE_RECORD);
    assert_int_equal(page_next(&page), PAGE_RECORD);
    assert_int_equal(page.record_at, 3 * BLOCK + JOURNAL_FRAME_HEADER_BYTES);
    assert_int_equal(page_next(&page), PAGE_BAD);
    assert_int_equal(page_resync(&page), PAGE_END);
}

/* A type that may be left out is, and one that must not be is not. */
static void newer_records_are_passed_or_told(void **state) {
    (void)state;
    static uint8_t bytes[JOURNAL_FRAME_BLOCK_BYTES];
    struct record_target target = {5, 1, 1};
    struct record record = {.type = RECORD_PUB, .target_count = 1, .targets = &target};
    uint64_t at = 0;
    for (int i = 0; i < 3; i++, at += record_size(&record))
        record_encode(&record, bytes + at);
    for (int i = 0; i < 2; i++) {
        uint8_t *second = bytes + record_size(&record);
        second[8] = i == 0 ? 0x80 | 99 : 99;
        le_put_u32(second, crc32c(second + 4, record_size(&record) - 4));
        struct page page = {.end = sizeof bytes, .file_id = FILE_ID};
        page_begin(&page, bytes_of(bytes, sizeof bytes), 0, 0);
        assert_int_equal(page_next(&page), PAGE_RECORD);
        assert_int_equal(page_next(&page), i == 0 ? PAGE_RECORD : PAGE_BAD);
        assert_int_equal(page_next(&page), i == 0 ? PAGE_END : PAGE_BAD);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_are_met_from_every_place),
        cmocka_unit_test(the_end_is_where_the_caller_says),
        cmocka_unit_test(what_is_wrong_is_told),
        cmocka_unit_test(a_bad_record_is_passed_over),
        cmocka_unit_test(a_piece_may_be_too_small_to_pass),
        cmocka_unit_test(a_record_is_no_frame),
        cmocka_unit_test(behind_damage_only_a_frame_is_believed),
        cmocka_unit_test(newer_records_are_passed_or_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
