/* perf_report: what a run has measured, for people and for programs. */
#ifndef TOOLS_PERF_REPORT_H
#define TOOLS_PERF_REPORT_H

#include "tools/perf_sample.h"

struct report {
    struct sample measured; /* the measured time */
    struct sample whole;    /* all of it, warm-up and emptying the queues included */
    bool checked;           /* whether losses could be counted */
    uint64_t lost;
    uint64_t remaining;      /* still in the queues at the end */
    uint64_t rss_bytes_peak; /* of the server, looked at every second */
    const char *error;       /* why the run failed, NULL when it did not */
};

/* Whether every message arrived once and in order. */
bool report_is_good(const struct report *report);

/* One line about the last second; `elapsed_ns` since the start. */
void report_second(const struct options *options, const struct sample *second, uint64_t elapsed_ns);

/* The summary, as text or as one JSON object. */
void report_print(const struct options *options, const struct report *report);

#endif
