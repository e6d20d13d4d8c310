/* perf_histogram: counts of durations on a scale that is finer than 1.6 % everywhere. */
#include "tools/perf_histogram.h"

void histogram_merge(struct histogram *histogram, const struct histogram *more) {
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        histogram->counts[i] += __atomic_load_n(&more->counts[i], __ATOMIC_RELAXED);
    }
}

void histogram_subtract(struct histogram *histogram, const struct histogram *earlier) {
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        histogram->counts[i] -= earlier->counts[i];
    }
}

uint64_t histogram_count(const struct histogram *histogram) {
    uint64_t count = 0;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        count += histogram->counts[i];
    }
    return count;
}

/* The largest value that histogram_bucket puts into this bucket. */
static uint64_t bucket_end(uint32_t bucket) {
    if (bucket < HISTOGRAM_STEPS) return bucket;
    uint32_t above = bucket - HISTOGRAM_STEPS;
    uint32_t shift = above / (HISTOGRAM_STEPS / 2) + 1;
    uint64_t step = above % (HISTOGRAM_STEPS / 2) + HISTOGRAM_STEPS / 2;
    return ((step + 1) << shift) - 1;
}

uint64_t histogram_quantile(const struct histogram *histogram, double permille) {
    uint64_t count = histogram_count(histogram);
    if (count == 0) return 0;
    uint64_t rank = (uint64_t)((double)count * permille / 1000.0);
    if (rank >= count) rank = count - 1;
    uint64_t seen = 0;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += histogram->counts[i];
        if (seen > rank) return bucket_end(i);
    }
    unreachable_here();
}
