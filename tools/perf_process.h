/* perf_process: what processes have used, according to /proc. */
#ifndef TOOLS_PERF_PROCESS_H
#define TOOLS_PERF_PROCESS_H

#include "base/base.h"

struct process_usage {
    uint64_t cpu_ns; /* user and system time, of all threads that are or were */
    uint64_t rss_bytes;
    uint32_t processes; /* how many were found */
};

/* Adds up these processes and their descendants. */
struct process_usage process_read(const int *pids, uint32_t count);

/* The CPU time of this process in nanoseconds. */
uint64_t process_own_cpu_ns(void);

#endif
