/* deadline_test: the heap of times against a plain list that is searched. */
#include "unit.h"

#include "base/deadline.h"
#include "base/prng.h"

enum { ENTRIES = 40, STEPS = 20000, TIMES = 50 };

static uint64_t earliest(const uint64_t *times) {
    uint64_t least = UINT64_MAX;
    for (int i = 0; i < ENTRIES; i++)
        least = min_u64(least, times[i]);
    return least;
}

static void nothing_is_due_of_nothing(void **state) {
    (void)state;
    struct deadlines deadlines;
    deadlines_init(&deadlines);
    assert_int_equal(deadlines_next(&deadlines), UINT64_MAX);
    assert_null(deadlines_take_due(&deadlines, UINT64_MAX - 1));
    deadlines_deinit(&deadlines);
}

static void what_is_due_comes_at_its_time(void **state) {
    (void)state;
    struct deadlines deadlines;
    struct deadline late = {0};
    struct deadline soon = {0};
    deadlines_init(&deadlines);
    deadline_set(&deadlines, &late, 20);
    deadline_set(&deadlines, &soon, 10);
    assert_null(deadlines_take_due(&deadlines, 9));
    assert_ptr_equal(deadlines_take_due(&deadlines, 10), &soon);
    assert_null(deadlines_take_due(&deadlines, 19));
    /* Taken out, it can be set again; never takes it out. */
    deadline_set(&deadlines, &soon, 30);
    deadline_set(&deadlines, &late, UINT64_MAX);
    assert_int_equal(deadlines_next(&deadlines), 30);
    deadline_set(&deadlines, &soon, UINT64_MAX);
    assert_int_equal(deadlines_next(&deadlines), UINT64_MAX);
    deadlines_deinit(&deadlines);
}

static void it_does_what_a_list_does(void **state) {
    (void)state;
    struct prng prng;
    struct deadlines deadlines;
    struct deadline entries[ENTRIES] = {0};
    uint64_t times[ENTRIES];
    prng_init(&prng, 7);
    deadlines_init(&deadlines);
    for (int i = 0; i < ENTRIES; i++)
        times[i] = UINT64_MAX;
    for (int step = 0; step < STEPS; step++) {
        uint64_t at = prng_below(&prng, ENTRIES);
        if (prng_chance(&prng, 70)) {
            times[at] = prng_chance(&prng, 20) ? UINT64_MAX : prng_below(&prng, TIMES);
            deadline_set(&deadlines, &entries[at], times[at]);
        } else {
            uint64_t now = prng_below(&prng, TIMES);
            struct deadline *due = deadlines_take_due(&deadlines, now);
            assert_true((due != NULL) == (earliest(times) <= now));
            if (!due) continue;
            assert_int_equal(times[due - entries], earliest(times));
            times[due - entries] = UINT64_MAX;
        }
        assert_int_equal(deadlines_next(&deadlines), earliest(times));
    }
    for (int i = 0; i < ENTRIES; i++)
        deadline_set(&deadlines, &entries[i], UINT64_MAX);
    deadlines_deinit(&deadlines);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_due_of_nothing),
        cmocka_unit_test(what_is_due_comes_at_its_time),
        cmocka_unit_test(it_does_what_a_list_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
