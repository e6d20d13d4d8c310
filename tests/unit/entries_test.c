/* entries_test: chunks of messages that are on disk only, folded into their place in the ring. */
#include "unit.h"

#include "core/entries.h"

enum { FIRST = CHUNK_ENTRIES }; /* the first chunk has no seq 0 and is never full */

struct fixture {
    struct slab_depot depot;
    struct slab_class chunks;
    struct entries entries;
};

static struct fixture fixture;

static int set_up(void **state) {
    slab_depot_init(&fixture.depot);
    slab_class_init(&fixture.chunks, &fixture.depot, sizeof(struct chunk));
    entries_init(&fixture.entries, &fixture.chunks);
    *state = &fixture;
    return 0;
}

/* Removes everything that is left. */
static int tear_down(void **state) {
    struct fixture *f = *state;
    struct entry *entry = NULL;
    for (uint64_t seq = 0; entries_next_any(&f->entries, &seq, UINT64_MAX, &entry);) {
        entries_check(&f->entries);
        if (entry)
            entries_remove(&f->entries, seq);
        else
            entries_remove_folded(&f->entries, seq / CHUNK_ENTRIES);
    }
    assert_int_equal(entries_count(&f->entries), 0);
    assert_int_equal(f->chunks.used, 0);
    entries_deinit(&f->entries);
    slab_class_deinit(&f->chunks);
    slab_depot_deinit(&f->depot);
    return 0;
}

/* Puts so many that are on disk only. */
static void put(struct fixture *f, uint64_t count, uint8_t flags) {
    for (; count != 0; count--)
        entries_put(&f->entries, NULL, flags);
}

static struct entry *find(struct fixture *f, uint64_t seq) {
    struct entry *entry = entries_find(&f->entries, seq);
    check(entry != NULL);
    return entry;
}

static bool folded(struct fixture *f, uint64_t seq) {
    entries_check(&f->entries);
    return entries_in_folded(&f->entries, seq);
}

static void a_full_chunk_is_folded_and_gives_its_memory_back(void **state) {
    struct fixture *f = *state;
    put(f, FIRST - 1 + 2 * CHUNK_ENTRIES, ENTRY_KEPT);
    assert_int_equal(f->chunks.used, 3);
    entries_fold(&f->entries, 0); /* seq 0 is not there */
    entries_fold(&f->entries, 1);
    entries_fold(&f->entries, 2);
    assert_int_equal(f->chunks.used, 1);
    assert_false(folded(f, 1));
    assert_true(folded(f, FIRST));
    assert_true(folded(f, FIRST + 2 * CHUNK_ENTRIES - 1));
    assert_null(entries_find(&f->entries, FIRST));
    assert_int_equal(entries_count(&f->entries), FIRST - 1 + 2 * CHUNK_ENTRIES);
}

static void the_tail_is_not_folded(void **state) {
    struct fixture *f = *state;
    put(f, FIRST - 1 + CHUNK_ENTRIES - 1, ENTRY_KEPT);
    entries_fold(&f->entries, 1);
    assert_false(folded(f, FIRST));
    put(f, 1, ENTRY_KEPT);
    entries_fold(&f->entries, 1);
    assert_true(folded(f, FIRST));
}

/* What one entry of 64 has to remember keeps the chunk. */
static void expect_kept_by(struct fixture *f, uint32_t at, const struct entry *other) {
    put(f, FIRST - 1 + CHUNK_ENTRIES, ENTRY_KEPT);
    struct entry *entry = find(f, FIRST + at);
    struct entry before = *entry;
    *entry = *other;
    entries_fold(&f->entries, 1);
    assert_false(folded(f, FIRST));
    *entry = before;
    entries_fold(&f->entries, 1);
    assert_true(folded(f, FIRST));
}

static void an_unacked_one_keeps_its_chunk(void **state) {
    expect_kept_by(*state, 0, &(struct entry){.flags = ENTRY_KEPT | ENTRY_UNACKED});
}

static void one_of_another_flag_keeps_its_chunk(void **state) {
    expect_kept_by(*state, 63, &(struct entry){.flags = ENTRY_KEPT | ENTRY_REDELIVERED});
}

static void counted_attempts_keep_the_chunk(void **state) {
    expect_kept_by(*state, 30, &(struct entry){.flags = ENTRY_KEPT, .attempts = 1});
}

static void a_message_in_memory_keeps_its_chunk(void **state) {
    struct message_pool *pool = message_pool_new(0);
    struct bytes none = bytes_of(NULL, 0);
    struct message *message = message_new(pool, none, none, none, 0);
    expect_kept_by(*state, 1, &(struct entry){.message = message, .flags = ENTRY_KEPT});
    message_unref(pool, message);
    message_pool_free(pool);
}

static void a_hole_keeps_its_chunk(void **state) {
    struct fixture *f = *state;
    put(f, FIRST - 1 + CHUNK_ENTRIES, ENTRY_KEPT);
    entries_remove(&f->entries, FIRST + 5);
    entries_fold(&f->entries, 1);
    assert_false(folded(f, FIRST));
}

static void a_folded_chunk_remembers_redeliveries(void **state) {
    struct fixture *f = *state;
    put(f, FIRST - 1, ENTRY_KEPT);
    put(f, CHUNK_ENTRIES, ENTRY_KEPT | ENTRY_REDELIVERED);
    put(f, CHUNK_ENTRIES, ENTRY_KEPT);
    entries_put_folded(&f->entries, true);
    entries_put_folded(&f->entries, false);
    entries_fold(&f->entries, 1);
    entries_fold(&f->entries, 2);
    static const uint8_t flags[] = {ENTRY_KEPT | ENTRY_REDELIVERED, ENTRY_KEPT};
    for (uint64_t number = 1; number <= 4; number++) {
        assert_true(folded(f, number * CHUNK_ENTRIES));
        entries_unfold(&f->entries, number);
        for (uint64_t i = 0; i < CHUNK_ENTRIES; i++) {
            const struct entry *entry = find(f, number * CHUNK_ENTRIES + i);
            assert_int_equal(entry->flags, flags[(number + 1) % 2]);
            assert_null(entry->message);
        }
        entries_check(&f->entries);
    }
}

static void walks_stop_at_folded_ones_or_pass_over_them(void **state) {
    struct fixture *f = *state;
    put(f, FIRST - 1, ENTRY_KEPT);
    entries_put_folded(&f->entries, false);
    put(f, 3, ENTRY_KEPT);
    uint64_t behind = FIRST + CHUNK_ENTRIES;
    uint64_t seq = FIRST - 1;
    struct entry *entry = entries_next(&f->entries, &seq, UINT64_MAX);
    assert_non_null(entry);
    seq = FIRST;
    entry = entries_next(&f->entries, &seq, UINT64_MAX);
    assert_non_null(entry);
    assert_int_equal(seq, behind);
    seq = FIRST + 7;
    assert_null(entries_next(&f->entries, &seq, behind));
    for (uint64_t at = FIRST; at < behind; at++) {
        seq = at;
        assert_true(entries_next_any(&f->entries, &seq, at + 1, &entry));
        assert_int_equal(seq, at);
        assert_null(entry);
    }
    seq = FIRST;
    assert_false(entries_next_any(&f->entries, &seq, FIRST, &entry));
}

static void folded_chunks_go_at_the_front_and_in_the_middle(void **state) {
    struct fixture *f = *state;
    entries_skip(&f->entries, FIRST);
    for (int i = 0; i < 6; i++)
        entries_put_folded(&f->entries, false);
    entries_remove_folded(&f->entries, 3); /* a gap */
    entries_check(&f->entries);
    assert_int_equal(f->entries.first, 1);
    entries_remove_folded(&f->entries, 1);
    assert_int_equal(f->entries.first, 2);
    entries_remove_folded(&f->entries, 2); /* the front moves past the gap */
    assert_int_equal(f->entries.first, 4);
    entries_remove_folded(&f->entries, 6);
    entries_check(&f->entries);
    assert_int_equal(entries_count(&f->entries), 2 * CHUNK_ENTRIES);
    put(f, 1, ENTRY_KEPT);
    assert_int_equal(f->entries.next_seq, 7 * CHUNK_ENTRIES + 1);
    entries_check(&f->entries);
}

static void a_narrow_gap_is_kept_in_the_ring(void **state) {
    struct fixture *f = *state;
    put(f, 5, ENTRY_KEPT);
    entries_skip(&f->entries, 9);
    put(f, 1, ENTRY_KEPT);
    entries_skip(&f->entries, 40 * CHUNK_ENTRIES);
    entries_put_folded(&f->entries, true);
    entries_check(&f->entries);
    assert_null(f->entries.strays);
    assert_int_equal(f->entries.span, 41);
    assert_null(entries_find(&f->entries, 7));
    assert_non_null(entries_find(&f->entries, 9));
}

static void before_a_wide_gap_folded_ones_become_strays(void **state) {
    struct fixture *f = *state;
    entries_skip(&f->entries, FIRST);
    entries_put_folded(&f->entries, true);
    put(f, 2, ENTRY_KEPT);
    entries_skip(&f->entries, (uint64_t)1 << 40);
    put(f, 1, ENTRY_KEPT);
    entries_check(&f->entries);
    assert_int_equal(f->entries.strays->live, CHUNK_ENTRIES + 2);
    assert_int_equal(f->entries.span, 1);
    assert_false(entries_in_folded(&f->entries, FIRST));
    assert_int_equal(find(f, FIRST)->flags, ENTRY_KEPT | ENTRY_REDELIVERED);
    uint64_t seq = FIRST + CHUNK_ENTRIES + 2;
    assert_non_null(entries_next(&f->entries, &seq, UINT64_MAX));
    assert_int_equal(seq, (uint64_t)1 << 40);
}

/* Strays would cost more than the places of the gap. */
static void behind_many_folded_ones_a_wide_gap_stays_in_the_ring(void **state) {
    struct fixture *f = *state;
    entries_skip(&f->entries, FIRST);
    for (int i = 0; i < 100; i++)
        entries_put_folded(&f->entries, false);
    entries_skip(&f->entries, 10000 * CHUNK_ENTRIES);
    put(f, 1, ENTRY_KEPT);
    entries_check(&f->entries);
    assert_null(f->entries.strays);
    assert_true(folded(f, 100 * CHUNK_ENTRIES));
}

static void sparse_folded_ones_become_strays(void **state) {
    struct fixture *f = *state;
    entries_skip(&f->entries, FIRST);
    entries_put_folded(&f->entries, true);
    entries_skip(&f->entries, 100 * CHUNK_ENTRIES);
    put(f, 70, ENTRY_KEPT);
    entries_tidy(&f->entries, 100 * CHUNK_ENTRIES);
    entries_check(&f->entries);
    assert_int_equal(f->entries.strays->live, CHUNK_ENTRIES);
    assert_int_equal(f->entries.first, 100);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

/* Whole chunks of places are what is found one by one, wherever one begins. */
static void expect_chunks(struct fixture *f) {
    uint64_t next = f->entries.next_seq;
    struct entry *entry = NULL;
    for (uint64_t from = 0; from * CHUNK_ENTRIES < next + CHUNK_ENTRIES; from++) {
        uint64_t number = from, live = 0;
        bool any = entries_next_chunk(&f->entries, &number, &live);
        while (any && live == 0)
            any = entries_next_chunk(&f->entries, &number, &live);
        uint64_t seq = from * CHUNK_ENTRIES;
        bool expected = entries_next_any(&f->entries, &seq, UINT64_MAX, &entry);
        assert_int_equal(any, expected);
        if (!expected) continue;
        assert_int_equal(number, seq / CHUNK_ENTRIES);
        for (uint64_t i = 0; i < CHUNK_ENTRIES; i++) {
            uint64_t place = number * CHUNK_ENTRIES + i;
            seq = place;
            bool there = entries_next_any(&f->entries, &seq, place + 1, &entry);
            assert_int_equal(live >> i & 1, there);
        }
    }
}

static void chunks_are_found_in_the_ring_and_before(void **state) {
    struct fixture *f = *state;
    expect_chunks(f);
    put(f, 5, ENTRY_KEPT);
    expect_chunks(f);
    put(f, 1000 * CHUNK_ENTRIES, ENTRY_KEPT);
    for (uint64_t number = 100; number < 120; number++)
        entries_fold(&f->entries, number);
    entries_remove_folded(&f->entries, 110);
    /* Few stay, and none where a gap is wider than one look. */
    for (uint64_t seq = 1; seq < 900 * CHUNK_ENTRIES; seq++) {
        bool stays = seq % 70 == 0 && seq < 300 * CHUNK_ENTRIES;
        bool folded = seq / CHUNK_ENTRIES >= 100 && seq / CHUNK_ENTRIES < 120;
        if (!stays && !folded) entries_remove(&f->entries, seq);
    }
    expect_chunks(f);
    for (int i = 0; i < 20; i++)
        entries_tidy(&f->entries, 900 * CHUNK_ENTRIES);
    assert_non_null(f->entries.strays);
    expect_chunks(f);
    /* Strays that are removed behind each other, more than one look passes over. */
    for (uint64_t seq = 101 * CHUNK_ENTRIES; seq < 117 * CHUNK_ENTRIES; seq++)
        if (seq / CHUNK_ENTRIES != 110) entries_remove(&f->entries, seq);
    expect_chunks(f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(a_full_chunk_is_folded_and_gives_its_memory_back),
        CASE(the_tail_is_not_folded),
        CASE(an_unacked_one_keeps_its_chunk),
        CASE(one_of_another_flag_keeps_its_chunk),
        CASE(counted_attempts_keep_the_chunk),
        CASE(a_message_in_memory_keeps_its_chunk),
        CASE(a_hole_keeps_its_chunk),
        CASE(a_folded_chunk_remembers_redeliveries),
        CASE(walks_stop_at_folded_ones_or_pass_over_them),
        CASE(folded_chunks_go_at_the_front_and_in_the_middle),
        CASE(a_narrow_gap_is_kept_in_the_ring),
        CASE(before_a_wide_gap_folded_ones_become_strays),
        CASE(behind_many_folded_ones_a_wide_gap_stays_in_the_ring),
        CASE(sparse_folded_ones_become_strays),
        CASE(chunks_are_found_in_the_ring_and_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
