/* perf_sample: all counts at one moment, and what lies between two moments. */
#include "tools/perf_sample.h"

#include "tools/perf_clock.h"

void sample_take(
    struct sample *sample, const struct worker *workers, const struct options *options) {
    *sample = (struct sample){
        .at_ns = clock_now_ns(),
        .server = process_read(options->pids, options->pid_count),
        .own_cpu_ns = process_own_cpu_ns(),
    };
    for (uint32_t i = 0; i < options->threads; i++) {
        counters_merge(&sample->counters, &workers[i].counters);
        histogram_merge(&sample->latency, &workers[i].latency);
        histogram_merge(&sample->confirm_latency, &workers[i].confirm_latency);
    }
}

void sample_between(
    struct sample *ret_difference, const struct sample *earlier, const struct sample *later) {
    *ret_difference = *later;
    ret_difference->at_ns -= earlier->at_ns;
    ret_difference->own_cpu_ns -= earlier->own_cpu_ns;
    /* A process that ended takes its time with it. */
    uint64_t before = min_u64(earlier->server.cpu_ns, later->server.cpu_ns);
    ret_difference->server.cpu_ns -= before;
    counters_subtract(&ret_difference->counters, &earlier->counters);
    histogram_subtract(&ret_difference->latency, &earlier->latency);
    histogram_subtract(&ret_difference->confirm_latency, &earlier->confirm_latency);
}
