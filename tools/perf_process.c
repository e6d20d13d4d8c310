/* perf_process: what processes have used, according to /proc. */
#include "tools/perf_process.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/str.h"

enum { PROCESSES_MAX = 4096 };

struct entry {
    int pid;
    int parent;
    uint64_t cpu_ns;
    uint64_t rss_bytes;
    bool counted;
};

/* Reads /proc/PID/stat: its fields are counted from behind the name, which may contain anything. */
static bool read_entry(int pid, struct entry *ret_entry) {
    char path[64], text[1024];
    str_format(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "r");
    if (!file) return false;
    size_t size = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[size] = 0;
    const char *rest = strrchr(text, ')');
    if (!rest) return false;
    char state;
    int parent;
    unsigned long user, system;
    long pages;
    int found = sscanf(rest,
        ") %c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %*d %*d %*d %*d %*d %*d %*u %*u %ld",
        &state, &parent, &user, &system, &pages);
    if (found != 5) return false;
    uint64_t tick_ns = 1000000000u / (uint64_t)sysconf(_SC_CLK_TCK);
    *ret_entry = (struct entry){.pid = pid,
        .parent = parent,
        .cpu_ns = ((uint64_t)user + (uint64_t)system) * tick_ns,
        .rss_bytes = (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE)};
    return true;
}

static uint32_t read_all(struct entry *entries) {
    DIR *folder = opendir("/proc");
    if (!folder) return 0;
    uint32_t count = 0;
    for (const struct dirent *d; count < PROCESSES_MAX && (d = readdir(folder));) {
        uint64_t pid;
        if (!str_to_u64(bytes_text(d->d_name), &pid) || pid > INT32_MAX) continue;
        if (read_entry((int)pid, &entries[count])) count++;
    }
    closedir(folder);
    return count;
}

static bool is_among(const int *pids, uint32_t count, int pid) {
    for (uint32_t i = 0; i < count; i++) {
        if (pids[i] == pid) return true;
    }
    return false;
}

/* Counts the children of one that is counted. */
static bool count_children(struct entry *entries, uint32_t count, int parent) {
    bool more = false;
    for (uint32_t i = 0; i < count; i++) {
        if (entries[i].parent == parent && !entries[i].counted) more = entries[i].counted = true;
    }
    return more;
}

struct process_usage process_read(const int *pids, uint32_t count) {
    struct process_usage usage = {0};
    if (count == 0) return usage;
    struct entry *entries = calloc(PROCESSES_MAX, sizeof *entries);
    if (!entries) return usage;
    uint32_t all = read_all(entries);
    for (uint32_t i = 0; i < all; i++) {
        entries[i].counted = is_among(pids, count, entries[i].pid);
    }
    for (bool more = true; more;) {
        more = false;
        for (uint32_t i = 0; i < all; i++) {
            if (entries[i].counted) more = count_children(entries, all, entries[i].pid) || more;
        }
    }
    for (uint32_t i = 0; i < all; i++) {
        if (!entries[i].counted) continue;
        usage.cpu_ns += entries[i].cpu_ns;
        usage.rss_bytes += entries[i].rss_bytes;
        usage.processes++;
    }
    free(entries);
    return usage;
}

uint64_t process_own_cpu_ns(void) {
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) != 0) return 0;
    uint64_t seconds = (uint64_t)usage.ru_utime.tv_sec + (uint64_t)usage.ru_stime.tv_sec;
    uint64_t micros = (uint64_t)usage.ru_utime.tv_usec + (uint64_t)usage.ru_stime.tv_usec;
    return seconds * 1000000000u + micros * 1000u;
}
