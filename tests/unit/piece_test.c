/* piece_test: messages of a queue that are on disk only come back from a file, whatever is wrong in
 * it. */
#include "kept_queue.h"
#include "tests/store/disk_sim.h"

#include <errno.h>

#include "shard/kept_record.h"
#include "shard/piece.h"
#include "shard/shelf.h"
#include "store/journal_frame.h"
#include "store/segment.h"

enum { QUEUE_ID = 7, FILE_ID = 0x77, MESSAGES = 6000, PART_BYTES = 4096, LARGE_AT = 3000 };

struct file {
    struct fixture *f;
    struct platter platter;
    struct piece piece;
    struct piece_place place;
    uint64_t at[MESSAGES + 2]; /* by seq: where the first record of it is */
    uint64_t requests;
    uint64_t failed_pieces;
};

static struct disk *disk_of(struct file *file) {
    return &file->platter.ports[0].disk;
}

/* One of them is in parts. */
static struct message *message_of(struct fixture *f, uint64_t seq) {
    struct bytes none = bytes_of(NULL, 0);
    uint32_t size = seq == LARGE_AT ? 5 * PART_BYTES : 100;
    struct message *message = message_new(f->pool, none, none, none, size);
    memset(message_body_data(message), (int)seq, size);
    message->persistent = true;
    return message;
}

static void put_message(struct file *file, struct segment_build *build, uint64_t seq) {
    struct message *message = message_of(file->f, seq);
    struct record_target target = {.queue = QUEUE_ID, .seq = seq};
    struct kept_record kept = {message, &target, 1, PART_BYTES};
    uint64_t at = 0;
    for (uint32_t i = 0; i < kept_record_parts(&kept); i++) {
        struct record part = kept_record_part(&kept, i);
        assert_true(segment_put(build, &part, &at));
        if (i == 0) file->at[seq] = at;
    }
    struct record pub = kept_record_pub(&kept);
    assert_true(segment_put(build, &pub, &at));
    if (kept_record_parts(&kept) == 0) file->at[seq] = at;
    struct op op = {.kind = OP_ENQUEUE, .message = message};
    queue_apply(file->f->queue, &op, NULL, &file->f->effects);
}

static struct disk_request *reap(struct file *file) {
    while (platter_complete(&file->platter.ports[0], true)) {
    }
    return disk_reap(disk_of(file));
}

/* A queue, all of whose messages are in a segment and nowhere else. */
static struct file *file_new(struct fixture *f) {
    struct file *file = test_calloc(1, sizeof *file);
    file->f = f;
    platter_init(&file->platter, 1);
    struct segment_settings settings = {
        .shard = 3, .number = 1, .file_id = FILE_ID, .capacity_bytes = SEGMENT_BYTES};
    struct segment_build *build = segment_begin(&settings);
    for (uint64_t seq = 1; seq <= MESSAGES; seq++)
        put_message(file, build, seq);
    struct disk_request request;
    segment_finish(build, &request);
    disk_submit(disk_of(file), &request);
    assert_ptr_equal(reap(file), &request);
    assert_int_equal(request.status, 0);
    file->place =
        (struct piece_place){.file_id = FILE_ID, .offset = SEGMENT_FRAMES_AT, .end = request.size};
    bytes_copy(file->place.name, request.name, sizeof request.name);
    segment_free(build);
    uint64_t first = 1;
    assert_int_equal(queue_page_out(f->queue, &first, UINT64_MAX, UINT32_MAX), MESSAGES);
    assert_int_equal(message_pool_count(f->pool), 0);
    piece_init(&file->piece, disk_of(file), file);
    return file;
}

static void file_free(struct file *file) {
    piece_deinit(&file->piece);
    platter_deinit(&file->platter);
    test_free(file);
}

static struct sim_file *sim_file_of(struct file *file) {
    return (struct sim_file *)platter_find(&file->platter, file->place.name);
}

/* Gives the queue what it wants of the message that was met; the content is as it was. */
static void take(struct file *file) {
    struct fixture *f = file->f;
    const struct record_view *view = &file->piece.page.view;
    struct record_target target = record_view_target(view, 0);
    struct message *message = piece_message(&file->piece, f->pool);
    struct message *like = message_of(f, target.seq);
    assert_int_equal(target.queue, QUEUE_ID);
    assert_bytes(message_body(message), message_body_data(like), like->body_size);
    message_unref(f->pool, like);
    if (!queue_give(f->queue, target.seq, message)) message_unref(f->pool, message);
}

static enum piece_state wait_for_disk(struct file *file) {
    struct disk_request *request = reap(file);
    assert_ptr_equal(request, &file->piece.request);
    assert_ptr_equal(request->submitter, file);
    file->requests++;
    return piece_on_request(&file->piece);
}

/* Walks to the end of the file, by pieces of so many bytes. */
static void walk(struct file *file, uint64_t at, uint64_t bytes) {
    struct piece *piece = &file->piece;
    piece_begin(piece, NULL, &file->place, at);
    enum page_step step = PAGE_MORE;
    while (step == PAGE_MORE) {
        piece_read(piece, max_u64(bytes, piece->page.needed + DISK_BLOCK_BYTES));
        while (wait_for_disk(file) == PIECE_SENT) {
        }
        file->failed_pieces += piece->failed;
        while ((step = piece_next(piece)) == PAGE_RECORD)
            take(file);
    }
    assert_int_equal(step, PAGE_END);
}

static void expect_back(struct file *file, uint64_t seq, bool back) {
    if (queue_wants(file->f->queue, seq) == back) fail_msg("message %u", (unsigned)seq);
}

/* ---- */

static void everything_comes_back_by_pieces_of_any_size(void **state) {
    for (uint64_t bytes = DISK_BLOCK_BYTES; bytes <= 1024 * 1024; bytes *= 4) {
        struct file *file = file_new(*state);
        struct fixture *f = *state;
        uint64_t first = 1;
        walk(file, file->place.offset, bytes);
        assert_int_equal(queue_away_count(f->queue), 0);
        assert_int_equal(file->failed_pieces, 0);
        /* From within a frame too, and without what is before. */
        assert_int_equal(queue_page_out(f->queue, &first, UINT64_MAX, UINT32_MAX), MESSAGES);
        walk(file, file->at[LARGE_AT], bytes);
        assert_int_equal(queue_away_count(f->queue), LARGE_AT - 1);
        expect_back(file, LARGE_AT, true);
        file_free(file);
        tear_down(state);
        set_up(state);
    }
}

static void a_bad_sector_costs_what_is_in_its_frame_behind_it(void **state) {
    struct file *file = file_new(*state);
    uint64_t sector = file->at[1000] / SIM_SECTOR_BYTES * SIM_SECTOR_BYTES;
    sim_file_of(file)->unreadable = sector;
    walk(file, file->place.offset, 256 * 1024);
    assert_true(file->failed_pieces != 0);
    uint64_t block = sector / DISK_BLOCK_BYTES * DISK_BLOCK_BYTES;
    for (uint64_t seq = 1; seq <= MESSAGES; seq++) {
        if (seq < MESSAGES && file->at[seq + 1] <= block) expect_back(file, seq, true);
        /* Frames are as large as they may be. */
        if (file->at[seq] >= sector + JOURNAL_FRAME_BYTES) expect_back(file, seq, true);
    }
    expect_back(file, 1000, false);
    expect_back(file, MESSAGES, true);
    /* From a place behind it nothing is missing. */
    walk(file, file->at[1100], 256 * 1024);
    for (uint64_t seq = 1100; seq <= MESSAGES; seq++)
        expect_back(file, seq, true);
    file_free(file);
}

static void a_message_whose_parts_are_bad_does_not_come(void **state) {
    struct file *file = file_new(*state);
    sim_file_of(file)->unreadable =
        (file->at[LARGE_AT] + 2 * PART_BYTES) / SIM_SECTOR_BYTES * SIM_SECTOR_BYTES;
    walk(file, file->place.offset, 64 * 1024);
    expect_back(file, LARGE_AT, false);
    expect_back(file, LARGE_AT - 1, true);
    file_free(file);
}

static void a_read_that_fails_once_loses_nothing(void **state) {
    struct fixture *f = *state;
    struct file *file = file_new(f);
    file->platter.fault = SIM_EIO;
    walk(file, file->place.offset, 256 * 1024);
    assert_int_equal(file->failed_pieces, 1);
    assert_int_equal(queue_away_count(f->queue), 0);
    file_free(file);
}

static void a_file_that_is_gone_or_cut_ends(void **state) {
    struct fixture *f = *state;
    struct file *file = file_new(f);
    struct sim_file *sim = sim_file_of(file);
    uint64_t size = sim->size;
    sim->size = file->at[500] / DISK_BLOCK_BYTES * DISK_BLOCK_BYTES;
    walk(file, file->place.offset, 256 * 1024);
    expect_back(file, 1, true);
    expect_back(file, 500, false);
    sim->size = size;
    uint64_t away = queue_away_count(f->queue);
    file->place.name[0] = 'x';
    walk(file, file->place.offset, 256 * 1024);
    assert_int_equal(file->failed_pieces, 1);
    assert_int_equal(queue_away_count(f->queue), away);
    file_free(file);
}

/* What the machine lacks for a moment says nothing of the file. */
static void a_shortage_is_no_damage(void **state) {
    struct file *file = file_new(*state);
    static const int shortages[] = {-EMFILE, -ENFILE, -ENOMEM, -EAGAIN};
    piece_begin(&file->piece, NULL, &file->place, file->place.offset);
    for (size_t i = 0; i < COUNT_OF(shortages); i++) {
        piece_read(&file->piece, SHELF_PIECE_BYTES);
        struct disk_request *request = reap(file);
        request->status = shortages[i];
        assert_int_equal(piece_on_request(&file->piece), PIECE_LATER);
        assert_false(file->piece.failed);
    }
    piece_read(&file->piece, SHELF_PIECE_BYTES);
    assert_int_equal(wait_for_disk(file), PIECE_THERE);
    assert_int_equal(piece_next(&file->piece), PAGE_RECORD);
    file_free(file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            everything_comes_back_by_pieces_of_any_size, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            a_bad_sector_costs_what_is_in_its_frame_behind_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            a_message_whose_parts_are_bad_does_not_come, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_read_that_fails_once_loses_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_file_that_is_gone_or_cut_ends, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_shortage_is_no_damage, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
