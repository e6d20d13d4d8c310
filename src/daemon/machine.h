/* machine: what this process has been given: cores, memory, descriptors. */
#ifndef DAEMON_MACHINE_H
#define DAEMON_MACHINE_H

#include "base/base.h"

/* Cores that this process may use: the scheduler's mask, cut by the cgroup's quota; at least 1. */
uint32_t machine_cores(void);

/* Shards for so many cores: one each, but a single one on two (docs/decisions/0006-shards.md). */
uint32_t machine_shards(uint32_t cores);

/* Bytes of memory that this process may use: the smaller of the machine's and the cgroup's. */
uint64_t machine_memory_bytes(void);

/* Bytes that the process has resident now; 0 when that is not known. */
uint64_t machine_resident_bytes(void);

/* Raises RLIMIT_NOFILE to its hard limit; gives the new value. */
uint64_t machine_raise_descriptors(void);

#endif
