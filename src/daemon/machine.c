/* machine: what this process has been given: cores, memory, descriptors. */
#include "daemon/machine.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/str.h"

enum { DESCRIPTORS_ROOM_MAX = 131072 };

/* Reads the first line of a small file; false when it cannot be read. */
static bool read_line(const char *path, char *line, size_t size) {
    FILE *file = fopen(path, "re");
    if (!file) return false;
    bool ok = fgets(line, (int)size, file) != NULL;
    fclose(file);
    if (ok) line[strcspn(line, "\n")] = 0;
    return ok;
}

/* The path of this process's cgroup (version 2) below /sys/fs/cgroup; "" when there is none. */
static void cgroup_path(char *path, size_t size) {
    char line[512];
    path[0] = 0;
    if (!read_line("/proc/self/cgroup", line, sizeof line)) return;
    if (strncmp(line, "0::", 3) == 0) str_format(path, size, "%s", line + 3);
}

/* Calls `look` with the named file of our cgroup and of every one above it: each may limit. */
static void each_cgroup_file(
    const char *name, void (*look)(const char *line, void *context), void *context) {
    char group[512];
    cgroup_path(group, sizeof group);
    for (;;) {
        char path[1024];
        char line[128];
        str_format(path, sizeof path, "/sys/fs/cgroup%s/%s", strcmp(group, "/") ? group : "", name);
        if (read_line(path, line, sizeof line)) look(line, context);
        char *slash = strrchr(group, '/');
        if (!slash || group[0] == 0 || strcmp(group, "/") == 0) return;
        *slash = 0;
    }
}

/* "QUOTA PERIOD" in microseconds, or "max PERIOD". */
static void look_at_quota(const char *line, void *context) {
    uint32_t *cores = context;
    unsigned long quota = 0;
    unsigned long period = 0;
    if (sscanf(line, "%lu %lu", &quota, &period) != 2 || period == 0) return;
    uint32_t granted = (uint32_t)((quota + period - 1) / period);
    if (granted < 1) granted = 1;
    if (granted < *cores) *cores = granted;
}

uint32_t machine_cores(void) {
    cpu_set_t set;
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    uint32_t cores = online > 0 ? (uint32_t)online : 1;
    if (sched_getaffinity(0, sizeof set, &set) == 0) cores = (uint32_t)CPU_COUNT(&set);
    each_cgroup_file("cpu.max", look_at_quota, &cores);
    return cores ? cores : 1;
}

uint32_t machine_shards(uint32_t cores) {
    uint32_t shards = cores <= 2 ? 1 : cores;
    return shards < SHARDS_MAX ? shards : SHARDS_MAX;
}

static void look_at_memory(const char *line, void *context) {
    uint64_t *memory = context;
    uint64_t limit = 0;
    if (str_to_u64(bytes_text(line), &limit) && limit < *memory) *memory = limit;
}

uint64_t machine_memory_bytes(void) {
    uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    each_cgroup_file("memory.max", look_at_memory, &memory);
    return memory;
}

uint64_t machine_resident_bytes(void) {
    char line[128];
    unsigned long pages = 0;
    if (!read_line("/proc/self/statm", line, sizeof line)) return 0;
    if (sscanf(line, "%*u %lu", &pages) != 1) return 0;
    return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* The kernel's table has room for all up to the highest that was open once. */
static void make_room_for_descriptors(uint64_t limit) {
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    int highest = (int)min_u64(limit, DESCRIPTORS_ROOM_MAX) - 1;
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, highest);
    if (copy >= 0) close(copy);
    close(fd);
}

uint64_t machine_raise_descriptors(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur != 0) make_room_for_descriptors(limit.rlim_cur);
    return limit.rlim_cur;
}
