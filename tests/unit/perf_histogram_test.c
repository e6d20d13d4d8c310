/* perf_histogram_test: buckets are fine enough, quantiles are those of the values put in. */
#include "tools/perf_histogram.h"
#include "unit.h"

#include "base/prng.h"

static void a_value_comes_back_within_a_64th(void **state) {
    (void)state;
    struct prng prng;
    prng_init(&prng, 7);
    for (uint32_t bits = 0; bits < HISTOGRAM_VALUE_BITS; bits++) {
        for (int i = 0; i < 200; i++) {
            uint64_t value = (1ull << bits) + prng_below(&prng, 1ull << bits);
            struct histogram histogram = {0};
            histogram_add(&histogram, value, 1);
            uint64_t found = histogram_quantile(&histogram, 500);
            assert_true(found >= value);
            assert_true(found - value <= value / 64);
        }
    }
}

static void buckets_follow_each_other(void **state) {
    (void)state;
    uint32_t last = histogram_bucket(0);
    assert_int_equal(last, 0);
    for (uint64_t value = 1; value < 100000; value++) {
        uint32_t bucket = histogram_bucket(value);
        assert_in_range(bucket, last, last + 1);
        last = bucket;
    }
    assert_int_equal(histogram_bucket((1ull << HISTOGRAM_VALUE_BITS) - 1), HISTOGRAM_BUCKETS - 1);
    assert_int_equal(histogram_bucket(UINT64_MAX), HISTOGRAM_BUCKETS - 1);
}

static void quantiles_are_ranks(void **state) {
    (void)state;
    struct histogram histogram = {0};
    assert_int_equal(histogram_quantile(&histogram, 500), 0);
    for (uint64_t value = 1; value <= 100; value++) {
        histogram_add(&histogram, value, 10);
    }
    assert_int_equal(histogram_count(&histogram), 1000);
    assert_int_equal(histogram_quantile(&histogram, 0), 1);
    assert_int_equal(histogram_quantile(&histogram, 500), 51);
    assert_int_equal(histogram_quantile(&histogram, 990), 100);
    assert_int_equal(histogram_quantile(&histogram, 1000), 100);
}

static void a_difference_is_what_came_since(void **state) {
    (void)state;
    struct histogram now = {0}, before = {0};
    histogram_add(&now, 50, 3);
    histogram_merge(&before, &now);
    histogram_add(&now, 70, 1);
    histogram_subtract(&now, &before);
    assert_int_equal(histogram_count(&now), 1);
    assert_int_equal(histogram_quantile(&now, 500), 70);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_value_comes_back_within_a_64th),
        cmocka_unit_test(buckets_follow_each_other),
        cmocka_unit_test(quantiles_are_ranks),
        cmocka_unit_test(a_difference_is_what_came_since),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
