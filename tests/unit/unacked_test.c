/* unacked_test: the delivery ledger against a plain array, and the runs of what was settled. */
#include "unit.h"

#include "base/memory.h"
#include "base/prng.h"
#include "session/unacked.h"

static struct delivery delivery_of(uint64_t tag) {
    return (struct delivery){.tag = tag, .queue = 77, .seq = tag * 10, .consumer = 3};
}

static void put_range(struct unacked *unacked, uint64_t from, uint64_t to) {
    for (uint64_t tag = from; tag <= to; tag++) {
        struct delivery delivery = delivery_of(tag);
        unacked_put(unacked, &delivery);
    }
}

static void acks_in_order(void **state) {
    (void)state;
    struct unacked unacked = {0};
    struct delivery taken;
    put_range(&unacked, 1, 100000);
    unacked_check(&unacked);
    for (uint64_t tag = 1; tag <= 100000; tag++) {
        assert_true(unacked_take(&unacked, tag, &taken));
        assert_int_equal(taken.seq, tag * 10);
    }
    assert_int_equal(unacked.count, 0);
    assert_null(unacked.places);
}

static void a_tag_is_known_once(void **state) {
    (void)state;
    struct unacked unacked = {0};
    struct delivery taken;
    assert_false(unacked_take(&unacked, 1, &taken));
    put_range(&unacked, 1, 3);
    assert_false(unacked_take(&unacked, 0, &taken));
    assert_false(unacked_take(&unacked, 4, &taken));
    assert_true(unacked_has(&unacked, 2));
    assert_true(unacked_take(&unacked, 2, &taken));
    assert_false(unacked_has(&unacked, 2));
    assert_false(unacked_take(&unacked, 2, &taken));
    assert_true(unacked_has(&unacked, 1));
    assert_true(unacked_has(&unacked, 3));
    unacked_deinit(&unacked);
    unacked_deinit(&unacked);
}

static void one_stuck_delivery_costs_nothing(void **state) {
    (void)state;
    struct unacked unacked = {0};
    struct delivery taken;
    put_range(&unacked, 1, 1);
    for (uint64_t tag = 2; tag < 1000000; tag++) {
        struct delivery delivery = delivery_of(tag);
        unacked_put(&unacked, &delivery);
        assert_true(unacked_take(&unacked, tag, &taken));
        assert_int_equal(unacked.block_count, 1);
        assert_true(unacked.places[unacked.first].block->capacity <= 32);
    }
    put_range(&unacked, 1000000, 1100000);
    while (unacked.count > 2)
        assert_true(unacked_take(&unacked, 1100000 - unacked.count + 2, &taken));
    unacked_check(&unacked);
    assert_int_equal(unacked.block_count, 1);
    assert_true(unacked.capacity <= 64);
    assert_true(unacked_take(&unacked, 1, &taken));
    assert_true(unacked_take_first(&unacked, UINT64_MAX, &taken));
    assert_null(unacked.places);
}

static void multiple_takes_from_the_first_on(void **state) {
    (void)state;
    struct unacked unacked = {0};
    struct delivery taken;
    put_range(&unacked, 5, 9);
    assert_true(unacked_take(&unacked, 6, &taken));
    uint64_t expected[] = {5, 7, 8};
    for (size_t i = 0; i < COUNT_OF(expected); i++) {
        assert_true(unacked_take_first(&unacked, 8, &taken));
        assert_int_equal(taken.tag, expected[i]);
    }
    assert_false(unacked_take_first(&unacked, 8, &taken));
    assert_int_equal(unacked.count, 1);
    unacked_deinit(&unacked);
}

static void expect_first(struct unacked *unacked, uint64_t tag_max, uint64_t tag) {
    struct delivery taken;
    assert_true(unacked_take_first(unacked, tag_max, &taken));
    assert_int_equal(taken.tag, tag);
}

/* What is marked is not there, until all marks are forgotten at once. */
static void marks_hide_and_are_forgotten(void **state) {
    (void)state;
    struct unacked unacked = {0};
    struct delivery taken;
    put_range(&unacked, 1, 2000);
    for (int round = 0; round < 3; round++) {
        assert_true(unacked_mark(&unacked, 700, &taken));
        assert_int_equal(taken.seq, 7000);
        assert_false(unacked_mark(&unacked, 700, &taken));
        assert_false(unacked_take(&unacked, 700, &taken));
        assert_false(unacked_has(&unacked, 700));
        for (uint64_t tag = 1; tag <= 1000; tag++) {
            if (tag == 700) continue;
            assert_true(unacked_mark_first(&unacked, 1000, &taken));
            assert_int_equal(taken.tag, tag);
        }
        assert_false(unacked_mark_first(&unacked, 1000, &taken));
        assert_int_equal(unacked.count, 2000 - round);
        unacked_check(&unacked);
        expect_first(&unacked, UINT64_MAX, 1001 + (uint64_t)round);
        unacked_unmark_all(&unacked);
        assert_true(unacked_has(&unacked, 700));
        unacked_check(&unacked);
    }
    for (uint64_t tag = 3; tag <= 1000; tag += 2)
        assert_true(unacked_mark(&unacked, tag, &taken));
    unacked_drop_marked(&unacked);
    unacked_check(&unacked);
    assert_int_equal(unacked.count, 2000 - 3 - 499);
    expect_first(&unacked, 3, 1);
    expect_first(&unacked, 3, 2);
    assert_false(unacked_take_first(&unacked, 3, &taken));
    while (unacked_mark_first(&unacked, UINT64_MAX, &taken)) {
    }
    unacked_drop_marked(&unacked);
    assert_null(unacked.places);
}

/* The counter of epochs comes to its end. */
static void old_marks_do_not_come_back(void **state) {
    (void)state;
    struct unacked unacked = {0};
    struct delivery taken;
    put_range(&unacked, 1, 300);
    assert_true(unacked_mark(&unacked, 5, &taken));
    unacked_unmark_all(&unacked);
    unacked.epoch = 0x7ffffffd;
    assert_true(unacked_mark(&unacked, 6, &taken));
    unacked_unmark_all(&unacked);
    assert_int_equal(unacked.epoch, 0);
    assert_true(unacked_has(&unacked, 5));
    assert_true(unacked_has(&unacked, 6));
    unacked_deinit(&unacked);
}

static void a_part_is_split_off(void **state) {
    (void)state;
    static const uint64_t LIMITS[] = {0, 1, 15, 16, 255, 256, 257, 500, 999, 1000, UINT64_MAX};
    for (size_t i = 0; i < COUNT_OF(LIMITS); i++) {
        struct unacked unacked = {0};
        struct delivery taken;
        put_range(&unacked, 1, 1000);
        assert_true(unacked_mark(&unacked, 3, &taken));
        unacked_unmark_all(&unacked);
        assert_true(unacked_take(&unacked, 256, &taken));
        struct delivery got = {.tag = 1001, .queue = 1, .seq = 1, .of_get = true};
        unacked_put(&unacked, &got);
        struct unacked split = unacked_split(&unacked, LIMITS[i]);
        unacked_check(&unacked);
        unacked_check(&split);
        assert_int_equal(unacked.count + split.count, 1000);
        for (uint64_t tag = 1; tag <= 1001; tag++) {
            if (tag != 256) expect_first(tag <= LIMITS[i] ? &split : &unacked, UINT64_MAX, tag);
        }
        assert_null(unacked.places);
        assert_null(split.places);
    }
}

/* The model: every tag's state in an array. */
enum { TAGS_MAX = 3000 };

struct model {
    bool known[TAGS_MAX];
    bool marked[TAGS_MAX];
    uint64_t next;
    uint32_t count;
};

static bool is_there(const struct model *model, uint64_t tag) {
    return model->known[tag] && !model->marked[tag];
}

/* A transaction goes on, or ends one way or the other. */
static void transact(struct unacked *unacked, struct model *model, struct prng *prng) {
    struct delivery taken;
    uint64_t tag = prng_below(prng, TAGS_MAX);
    if (prng_chance(prng, 80)) {
        if (model->next != 0) tag = model->next - 1 - prng_below(prng, min_u64(model->next, 60));
        bool found = unacked_mark(unacked, tag, &taken);
        assert_int_equal(found, is_there(model, tag));
        model->marked[tag] = model->known[tag];
        return;
    }
    bool commits = prng_chance(prng, 50);
    for (uint64_t t = 0; t < TAGS_MAX; t++) {
        if (commits && model->marked[t]) {
            model->known[t] = false;
            model->count--;
        }
        model->marked[t] = false;
    }
    if (commits) {
        unacked_drop_marked(unacked);
    } else {
        unacked_unmark_all(unacked);
    }
}

static void model_step(struct unacked *unacked, struct model *model, struct prng *prng) {
    struct delivery taken;
    if (prng_chance(prng, 50) && model->next < TAGS_MAX) {
        if (prng_chance(prng, 5)) /* no-ack deliveries take tags too */
            model->next = min_u64(TAGS_MAX - 1, model->next + prng_below(prng, 20));
        struct delivery delivery = delivery_of(model->next);
        delivery.of_get = prng_chance(prng, 10);
        unacked_put(unacked, &delivery);
        model->known[model->next++] = true;
        model->count++;
        return;
    }
    if (prng_chance(prng, 10)) {
        transact(unacked, model, prng);
        return;
    }
    uint64_t tag = prng_below(prng, TAGS_MAX);
    if (prng_chance(prng, 90) && model->next > 0)
        tag = model->next - 1 - prng_below(prng, min_u64(model->next, 60));
    if (prng_chance(prng, 2)) {
        for (uint64_t t = 0; t <= tag; t++) {
            if (!is_there(model, t)) continue;
            assert_true(unacked_take_first(unacked, tag, &taken));
            assert_int_equal(taken.tag, t);
            model->known[t] = false;
            model->count--;
        }
        assert_false(unacked_take_first(unacked, tag, &taken));
        return;
    }
    assert_int_equal(unacked_has(unacked, tag), is_there(model, tag));
    bool found = unacked_take(unacked, tag, &taken);
    assert_int_equal(found, is_there(model, tag));
    if (!found) return;
    assert_int_equal(taken.tag, tag);
    model->known[tag] = false;
    model->count--;
}

static void random_acks_match_the_model(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 30; seed++) {
        struct prng prng;
        struct unacked unacked = {0};
        struct model *model = NEW(struct model);
        prng_init(&prng, seed);
        for (int step = 0; step < 4000; step++) {
            model_step(&unacked, model, &prng);
            assert_int_equal(unacked.count, model->count);
            if (step % 16 == 0) unacked_check(&unacked);
        }
        unacked_deinit(&unacked);
        mem_free(model);
    }
}

static void runs_merge_what_is_adjacent(void **state) {
    (void)state;
    struct settle_runs runs = {0};
    struct delivery a = {.queue = 1, .seq = 5, .consumer = 2};
    struct delivery b = {.queue = 9, .seq = 100, .consumer = 2};
    for (int i = 0; i < 10; i++) {
        assert_true(settle_runs_put(&runs, &a, SETTLE_ACK));
        assert_true(settle_runs_put(&runs, &b, SETTLE_ACK));
        a.seq++;
        b.seq++;
    }
    assert_int_equal(runs.count, 2);
    assert_int_equal(runs.runs[0].queue, 1);
    assert_int_equal(runs.runs[0].seq, 5);
    assert_int_equal(runs.runs[0].count, 10);
    assert_int_equal(runs.runs[1].seq, 100);
    assert_true(settle_runs_put(&runs, &a, SETTLE_REQUEUE)); /* another verdict */
    a.seq += 2;
    assert_true(settle_runs_put(&runs, &a, SETTLE_REQUEUE)); /* a gap */
    a.seq++;
    a.consumer = 0;
    assert_true(settle_runs_put(&runs, &a, SETTLE_REQUEUE)); /* another consumer */
    assert_int_equal(runs.count, 5);
    for (uint32_t i = 5; i < SETTLE_RUNS_MAX; i++) {
        a.seq += 2;
        assert_true(settle_runs_put(&runs, &a, SETTLE_ACK));
    }
    a.seq += 2;
    assert_false(settle_runs_put(&runs, &a, SETTLE_ACK));
    assert_int_equal(runs.count, SETTLE_RUNS_MAX);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(acks_in_order),
        cmocka_unit_test(a_tag_is_known_once),
        cmocka_unit_test(one_stuck_delivery_costs_nothing),
        cmocka_unit_test(multiple_takes_from_the_first_on),
        cmocka_unit_test(marks_hide_and_are_forgotten),
        cmocka_unit_test(old_marks_do_not_come_back),
        cmocka_unit_test(a_part_is_split_off),
        cmocka_unit_test(random_acks_match_the_model),
        cmocka_unit_test(runs_merge_what_is_adjacent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
