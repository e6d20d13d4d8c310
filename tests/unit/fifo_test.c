/* fifo_test: values leave in the order they came, and memory goes when they have. */
#include "unit.h"

#include "base/fifo.h"
#include "base/prng.h"

static void values_leave_in_their_order(void **state) {
    (void)state;
    struct fifo fifo;
    struct prng prng;
    uint32_t in = 0;
    uint32_t out = 0;
    fifo_init(&fifo, sizeof in);
    prng_init(&prng, 3);
    for (uint32_t round = 0; round < 2000; round++) {
        uint32_t puts = (uint32_t)prng_below(&prng, round < 1000 ? 12 : 8);
        for (uint32_t i = 0; i < puts; i++)
            *(uint32_t *)fifo_put(&fifo) = in++;
        for (uint32_t drops = (uint32_t)prng_below(&prng, 12); drops != 0 && out < in; drops--) {
            assert_int_equal(*(uint32_t *)fifo_first(&fifo), out);
            assert_int_equal(*(uint32_t *)fifo_last(&fifo), in - 1);
            assert_int_equal(*(uint32_t *)fifo_at(&fifo, fifo.count / 2), out + fifo.count / 2);
            fifo_drop(&fifo);
            out++;
        }
        assert_int_equal(fifo.count, in - out);
    }
    fifo_deinit(&fifo);
}

static void an_empty_one_has_nothing(void **state) {
    (void)state;
    struct fifo fifo;
    fifo_init(&fifo, sizeof(uint64_t));
    assert_null(fifo_first(&fifo));
    assert_null(fifo_last(&fifo));
    fifo_deinit(&fifo);
}

static void one_that_was_long_gives_its_memory_back(void **state) {
    (void)state;
    struct fifo fifo;
    fifo_init(&fifo, sizeof(uint64_t));
    for (uint64_t round = 0; round < 3; round++) {
        for (uint64_t i = 0; i < FIFO_KEPT_MAX + 1; i++)
            *(uint64_t *)fifo_put(&fifo) = i;
        assert_true(fifo.capacity > FIFO_KEPT_MAX);
        for (uint64_t i = 0; i < FIFO_KEPT_MAX + 1; i++) {
            assert_int_equal(*(uint64_t *)fifo_first(&fifo), i);
            fifo_drop(&fifo);
        }
        assert_int_equal(fifo.capacity, 0);
        assert_null(fifo.items);
    }
    *(uint64_t *)fifo_put(&fifo) = 7;
    fifo_drop(&fifo);
    assert_true(fifo.capacity != 0);
    fifo_deinit(&fifo);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_leave_in_their_order),
        cmocka_unit_test(an_empty_one_has_nothing),
        cmocka_unit_test(one_that_was_long_gives_its_memory_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
