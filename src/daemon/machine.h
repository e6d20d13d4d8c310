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

/* Raises RLIMIT_NOFILE to its hard limit; gives the new value. Lets the kernel make room for so
 * many, up to 131,072 (1 MiB of its memory): while there is one thread only this costs nothing,
 * but later a loop that opens a descriptor for which the table has to grow stops for some 15 ms,
 * until all cores have been waited for. */
uint64_t machine_raise_descriptors(void);

#endif
