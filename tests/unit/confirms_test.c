/* confirms_test: what is said about publishes, against a plain array of verdicts. */
#include "unit.h"

#include "base/memory.h"
#include "base/prng.h"
#include "session/confirms.h"

static void assert_says(struct confirms *confirms, uint64_t seqno, bool multiple, bool ok) {
    struct confirm_word word;
    assert_true(confirms_next(confirms, &word));
    assert_int_equal(word.seqno, seqno);
    assert_int_equal(word.multiple, multiple);
    assert_int_equal(word.ok, ok);
}

static void assert_silent(struct confirms *confirms) {
    struct confirm_word word;
    assert_false(confirms_next(confirms, &word));
    confirms_check(confirms);
}

static void put(struct confirms *confirms, uint32_t times, uint32_t count) {
    for (uint32_t i = 0; i < times; i++)
        confirms_put(confirms, count);
}

static void in_order_is_one_word(void **state) {
    (void)state;
    struct confirms confirms;
    confirms_init(&confirms);
    assert_int_equal(confirms_next_seqno(&confirms), 1);
    put(&confirms, 100, 1);
    assert_silent(&confirms);
    for (uint64_t i = 1; i <= 60; i++)
        assert_true(confirms_settle(&confirms, i, true));
    assert_says(&confirms, 60, true, true);
    assert_silent(&confirms);
    assert_true(confirms_settle(&confirms, 61, true));
    assert_says(&confirms, 61, false, true);
    assert_int_equal(confirms_count(&confirms), 39);
    for (uint64_t i = 62; i <= 100; i++)
        assert_true(confirms_settle(&confirms, i, true));
    assert_says(&confirms, 100, true, true);
    assert_silent(&confirms);
    assert_null(confirms.ring);
    assert_false(confirms_settle(&confirms, 100, true));
    assert_false(confirms_settle(&confirms, 0, true));
    assert_false(confirms_settle(&confirms, 101, true));
}

static void multiple_stays_below_the_open_one(void **state) {
    (void)state;
    struct confirms confirms;
    confirms_init(&confirms);
    put(&confirms, 8, 1);
    uint64_t safe[] = {7, 1, 2, 3, 6};
    for (size_t i = 0; i < COUNT_OF(safe); i++)
        assert_true(confirms_settle(&confirms, safe[i], true));
    assert_says(&confirms, 3, true, true);
    assert_says(&confirms, 7, false, true);
    assert_says(&confirms, 6, false, true);
    assert_silent(&confirms);
    assert_true(confirms_settle(&confirms, 8, true));
    assert_true(confirms_settle(&confirms, 5, true));
    assert_true(confirms_settle(&confirms, 4, true));
    assert_says(&confirms, 8, true, true); /* 6 and 7 were said before */
    assert_silent(&confirms);
    assert_null(confirms.ring);
    assert_null(confirms.above);
}

static void refused_ones_are_said_apart(void **state) {
    (void)state;
    struct confirms confirms;
    confirms_init(&confirms);
    put(&confirms, 9, 1);
    for (uint64_t i = 1; i <= 9; i++)
        assert_true(confirms_settle(&confirms, i, i < 3 || (i > 4 && i < 8)));
    assert_says(&confirms, 2, true, true);
    assert_says(&confirms, 4, true, false);
    assert_says(&confirms, 7, true, true);
    assert_says(&confirms, 9, true, false);
    assert_silent(&confirms);
    put(&confirms, 1, 2);
    assert_true(confirms_settle(&confirms, 10, false));
    assert_silent(&confirms);
    assert_true(confirms_settle(&confirms, 10, true));
    assert_says(&confirms, 10, false, false);
}

static void several_queues_count_down(void **state) {
    (void)state;
    struct confirms confirms;
    confirms_init(&confirms);
    put(&confirms, 1, 3);
    put(&confirms, 2, 0); /* unroutable: safe at once, but above an open one */
    assert_says(&confirms, 2, false, true);
    assert_says(&confirms, 3, false, true);
    assert_silent(&confirms);
    for (int i = 0; i < 3; i++) {
        assert_silent(&confirms);
        assert_true(confirms_settle(&confirms, 1, true));
    }
    assert_says(&confirms, 1, false, true);
    assert_silent(&confirms);
    put(&confirms, 1, 0);
    assert_says(&confirms, 4, false, true);
    assert_silent(&confirms);
    assert_int_equal(confirms_count(&confirms), 0);
    assert_null(confirms.ring);
}

static void one_open_publish_costs_nothing(void **state) {
    (void)state;
    struct confirms confirms;
    confirms_init(&confirms);
    put(&confirms, 1, 1);
    for (uint64_t i = 2; i < 300000; i++) {
        put(&confirms, 1, 1);
        assert_true(confirms_settle(&confirms, i, true));
        assert_says(&confirms, i, false, true);
        assert_true(confirms.capacity <= 32);
    }
    assert_true(confirms_settle(&confirms, 1, true));
    assert_says(&confirms, 1, false, true);
    assert_silent(&confirms);
    assert_null(confirms.ring);
}

/* The model: what each number still needs, and what the client was told. */
enum { SEQNOS_MAX = 2000 };

struct model {
    uint32_t left[SEQNOS_MAX + 1];
    bool refused[SEQNOS_MAX + 1];
    bool said[SEQNOS_MAX + 1];
    uint64_t last;
};

static void hear(struct model *model, const struct confirm_word *word) {
    uint64_t from = word->multiple ? 1 : word->seqno;
    assert_in_range(word->seqno, 1, model->last);
    assert_false(model->said[word->seqno]);
    for (uint64_t i = from; i <= word->seqno; i++) {
        if (model->said[i]) continue;
        assert_int_equal(model->left[i], 0);
        assert_int_equal(model->refused[i], !word->ok);
        model->said[i] = true;
    }
}

static void flush(struct confirms *confirms, struct model *model) {
    struct confirm_word word;
    while (confirms_next(confirms, &word))
        hear(model, &word);
    uint64_t unsaid = 0;
    for (uint64_t i = 1; i <= model->last; i++) {
        assert_int_equal(model->said[i], model->left[i] == 0);
        unsaid += !model->said[i];
    }
    assert_int_equal(confirms_count(confirms), unsaid);
}

static void settle_one(struct confirms *confirms, struct model *model, struct prng *prng) {
    uint64_t seqno = 1 + prng_below(prng, model->last + 2);
    bool ok = !prng_chance(prng, 10);
    bool waits = seqno <= model->last && model->left[seqno] != 0;
    assert_int_equal(confirms_settle(confirms, seqno, ok), waits);
    if (!waits) return;
    model->left[seqno]--;
    if (!ok) model->refused[seqno] = true;
}

static void random_confirms_match_the_model(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 40; seed++) {
        struct prng prng;
        struct confirms confirms;
        struct model *model = NEW(struct model);
        prng_init(&prng, seed);
        confirms_init(&confirms);
        for (int step = 0; step < 3000; step++) {
            if (prng_chance(&prng, 30) && model->last < SEQNOS_MAX) {
                uint32_t count = (uint32_t)prng_below(&prng, 4);
                assert_int_equal(confirms_next_seqno(&confirms), model->last + 1);
                confirms_put(&confirms, count);
                model->left[++model->last] = count;
            } else {
                settle_one(&confirms, model, &prng);
            }
            if (prng_chance(&prng, 8)) flush(&confirms, model);
            if (step % 16 == 0) confirms_check(&confirms);
        }
        for (uint64_t i = 1; i <= model->last; i++) {
            while (model->left[i] != 0) {
                assert_true(confirms_settle(&confirms, i, true));
                model->left[i]--;
            }
        }
        flush(&confirms, model);
        assert_null(confirms.ring);
        confirms_deinit(&confirms);
        mem_free(model);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_order_is_one_word),
        cmocka_unit_test(multiple_stays_below_the_open_one),
        cmocka_unit_test(refused_ones_are_said_apart),
        cmocka_unit_test(several_queues_count_down),
        cmocka_unit_test(one_open_publish_costs_nothing),
        cmocka_unit_test(random_confirms_match_the_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
