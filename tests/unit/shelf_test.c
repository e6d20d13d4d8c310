/* shelf_test: where a queue's messages lie, and what that says of files. */
#include "unit.h"

#include "base/memory.h"
#include "shard/shelf.h"

enum { SHARDS = 3, SHARD = 1 };

struct fixture {
    struct shelf *shelf;
    struct kept_file *files[4];
};

static int set_up(void **state) {
    struct fixture *f = NEW(struct fixture);
    f->shelf = shelf_new(7, 42);
    for (int i = 0; i < 4; i++)
        f->files[i] = kept_file_new(NULL, i >= 2, SHARDS);
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    struct fixture *f = *state;
    shelf_check(f->shelf);
    shelf_free(f->shelf, SHARD);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(kept_file_live(f->files[i]), 0);
        kept_file_free(f->files[i]);
    }
    mem_free(f);
    return 0;
}

static void put(struct fixture *f, uint64_t from, uint64_t to, int file) {
    struct shelf_place place = {.file = f->files[file], .at = from};
    for (uint64_t seq = from; seq < to; seq++)
        shelf_put(f->shelf, seq, 1, &place, SHARD);
}

static void files_count_what_lives(void **state) {
    struct fixture *f = *state;
    put(f, 1, 100, 0);
    put(f, 100, 150, 1);
    assert_int_equal(kept_file_live(f->files[0]), 99);
    assert_int_equal(kept_file_live(f->files[1]), 50);
    assert_int_equal(f->shelf->count, 2);
    shelf_drop(f->shelf, 90, 20, SHARD); /* over the border */
    assert_int_equal(kept_file_live(f->files[0]), 89);
    assert_int_equal(kept_file_live(f->files[1]), 40);
    shelf_drop(f->shelf, 1, 89, SHARD);
    assert_int_equal(kept_file_live(f->files[0]), 0);
    assert_int_equal(f->shelf->count, 2); /* the file still has them */
}

static void a_file_stays_in_which_something_is_lost(void **state) {
    struct fixture *f = *state;
    put(f, 1, 50, 0);
    put(f, 50, 100, 1);
    assert_int_equal(shelf_next_lost(f->shelf, 0), UINT64_MAX);
    static const uint64_t lost[] = {20, 60, 10, 15};
    for (size_t i = 0; i < COUNT_OF(lost); i++)
        shelf_lose(f->shelf, lost[i], SHARD);
    shelf_check(f->shelf);
    assert_true(f->files[0]->broken);
    assert_int_equal(kept_file_live(f->files[0]), 46);
    assert_int_equal(kept_file_live(f->files[1]), 49);
    static const uint64_t ascending[] = {10, 15, 20, 60, UINT64_MAX};
    uint64_t seq = 0;
    for (size_t i = 0; i < COUNT_OF(ascending); i++, seq++) {
        seq = shelf_next_lost(f->shelf, seq);
        assert_int_equal(seq, ascending[i]);
    }
    for (seq = 1; seq < 50; seq++) {
        if (shelf_next_lost(f->shelf, seq) != seq) shelf_drop(f->shelf, seq, 1, SHARD);
    }
    shelf_forget_file(f->shelf, f->files[0]);
    assert_int_equal(shelf_next_lost(f->shelf, 0), 60);
    shelf_forget_lost(f->shelf, f->files[1]);
    assert_int_equal(shelf_next_lost(f->shelf, 0), UINT64_MAX);
}

static void a_file_lists_a_queue_once_in_a_row(void **state) {
    struct fixture *f = *state;
    put(f, 1, 100, 0);
    shelf_touch(f->shelf, f->files[0], SHARD);
    assert_int_equal(f->files[0]->parts[SHARD].touched_count, 1);
    assert_int_equal(f->files[0]->parts[SHARD].touched[0], 42);
    assert_int_equal(f->files[0]->parts[0].touched_count, 0);
    shelf_touch(f->shelf, f->files[1], SHARD);
    assert_int_equal(f->files[1]->parts[SHARD].touched_count, 1);
}

static void a_run_moves_in_parts(void **state) {
    struct fixture *f = *state;
    put(f, 10, 20, 0);
    put(f, 20, 30, 1);
    shelf_drop(f->shelf, 12, 1, SHARD);
    struct shelf_move first = {f->files[0], f->files[2], 4096, 10, 15, 4};
    shelf_apply_move(f->shelf, &first, SHARD);
    struct shelf_move second = {f->files[0], f->files[3], 8192, 15, 20, 5};
    shelf_apply_move(f->shelf, &second, SHARD);
    assert_int_equal(f->shelf->count, 3);
    assert_int_equal(kept_file_live(f->files[0]), 0);
    assert_int_equal(kept_file_live(f->files[2]), 4);
    assert_int_equal(kept_file_live(f->files[3]), 5);
    assert_int_equal(f->shelf->stays[0].at, 4096);
    assert_int_equal(f->shelf->stays[1].at, 8192);
    shelf_drop(f->shelf, 14, 2, SHARD);
    assert_int_equal(kept_file_live(f->files[2]), 3);
    assert_int_equal(kept_file_live(f->files[3]), 4);
    assert_int_equal(shelf_end(f->shelf, shelf_find(f->shelf, 16)), 20);
}

static void a_long_run_is_one_for_each_piece(void **state) {
    struct fixture *f = *state;
    put(f, 1, 5, 0);
    struct shelf_place next = {.file = f->files[0], .at = 300000, .new_piece = true};
    shelf_put(f->shelf, 5, 4, &next, SHARD);
    assert_int_equal(f->shelf->count, 2);
    assert_int_equal(f->shelf->stays[shelf_find(f->shelf, 4)].at, 1);
    assert_int_equal(f->shelf->stays[shelf_find(f->shelf, 8)].at, 300000);
    assert_int_equal(f->files[0]->parts[SHARD].touched_count, 1);
}

static void what_has_not_got_into_a_file_is_in_the_next(void **state) {
    struct fixture *f = *state;
    put(f, 1, 10, 0);
    struct shelf_place piece = {.file = f->files[0], .at = 20, .new_piece = true};
    shelf_put(f->shelf, 10, 5, &piece, SHARD);
    shelf_drop(f->shelf, 7, 1, SHARD);
    struct shelf_place place = {.file = f->files[1], .at = 77};
    shelf_leave(f->shelf, 6, 3, f->files[0], &place, SHARD); /* 6, 8, 9 */
    assert_int_equal(kept_file_live(f->files[0]), 5);
    assert_int_equal(kept_file_live(f->files[1]), 8);
    assert_ptr_equal(f->shelf->stays[shelf_find(f->shelf, 5)].file, f->files[0]);
    assert_ptr_equal(f->shelf->stays[shelf_find(f->shelf, 6)].file, f->files[1]);
    assert_int_equal(f->shelf->stays[shelf_find(f->shelf, 6)].at, 77);
    assert_ptr_equal(f->shelf->stays[shelf_find(f->shelf, 12)].file, f->files[1]);
    assert_int_equal(f->files[1]->parts[SHARD].touched_count, 1);
}

static void of_what_is_dead_only_the_file_is_remembered(void **state) {
    struct fixture *f = *state;
    put(f, 1, 5, 2);
    put(f, 5, 9, 0);
    put(f, 9, 12, 2);
    shelf_drop(f->shelf, 1, 11, SHARD);
    shelf_forget_file(f->shelf, f->files[0]);
    assert_int_equal(f->shelf->count, 1);
    shelf_forget_file(f->shelf, f->files[2]);
    assert_int_equal(f->shelf->count, 0);
    put(f, 20, 21, 0);
}

static void ghosts_are_files_with_nothing_living(void **state) {
    struct fixture *f = *state;
    put(f, 1, 5, 0);
    shelf_put_ghost(f->shelf, f->files[0]); /* it has a run */
    assert_int_equal(f->shelf->ghost_count, 0);
    shelf_put_ghost(f->shelf, f->files[2]);
    assert_int_equal(f->shelf->ghost_count, 1);
    shelf_forget_file(f->shelf, f->files[2]);
    assert_int_equal(f->shelf->ghost_count, 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(files_count_what_lives),
        CASE(a_file_stays_in_which_something_is_lost),
        CASE(a_file_lists_a_queue_once_in_a_row),
        CASE(a_run_moves_in_parts),
        CASE(a_long_run_is_one_for_each_piece),
        CASE(what_has_not_got_into_a_file_is_in_the_next),
        CASE(of_what_is_dead_only_the_file_is_remembered),
        CASE(ghosts_are_files_with_nothing_living),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
