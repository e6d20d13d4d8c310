/* perf_clock: the clock that stamps, paces and measures. */
#ifndef TOOLS_PERF_CLOCK_H
#define TOOLS_PERF_CLOCK_H

#include <stdint.h>
#include <time.h>

static const uint64_t CLOCK_SECOND_NS = 1000000000;

/* The monotonic clock in nanoseconds; the same in all processes of a machine. */
static inline uint64_t clock_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * CLOCK_SECOND_NS + (uint64_t)now.tv_nsec;
}

#endif
