/* perf_sample: all counts at one moment, and what lies between two moments. */
#ifndef TOOLS_PERF_SAMPLE_H
#define TOOLS_PERF_SAMPLE_H

#include "tools/perf_counters.h"
#include "tools/perf_histogram.h"
#include "tools/perf_process.h"
#include "tools/perf_worker.h"

struct sample {
    uint64_t at_ns; /* of a difference: how long */
    struct counters counters;
    struct histogram latency;
    struct histogram confirm_latency;
    struct process_usage server; /* of a difference: the CPU time is one, memory is the later */
    uint64_t own_cpu_ns;
};

/* Adds up what the workers count now, and reads what the server has used. */
void sample_take(
    struct sample *sample, const struct worker *workers, const struct options *options);

/* What happened from `earlier` to `later`. */
void sample_between(
    struct sample *ret_difference, const struct sample *earlier, const struct sample *later);

#endif
