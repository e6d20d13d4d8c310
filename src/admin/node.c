/* node: what this broker is called, and what its process has and uses. */
#include "admin/node.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/str.h"

static uint64_t monotonic_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void node_init(struct node *node) {
    char host[128] = "localhost";
    if (gethostname(host, sizeof host - 1) == 0) host[sizeof host - 1] = 0;
    host[strcspn(host, ".")] = 0;
    str_format(node->name, sizeof node->name, "godwit@%s", host);
    node->started_ms = monotonic_ms();
    node->started_at = (uint64_t)time(NULL);
}

static uint64_t read_resident(void) {
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (!file) return 0;
    if (fscanf(file, "%*u %lu", &pages) != 1) pages = 0;
    fclose(file);
    return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t count_descriptors(void) {
    uint64_t count = 0;
    DIR *directory = opendir("/proc/self/fd");
    if (!directory) return 0;
    const struct dirent *entry;
    while ((entry = readdir(directory)) != NULL)
        count += entry->d_name[0] != '.';
    closedir(directory);
    return count - 1; /* without the directory's own */
}

static uint64_t read_cpu(void) {
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) != 0) return 0;
    uint64_t seconds = (uint64_t)usage.ru_utime.tv_sec + (uint64_t)usage.ru_stime.tv_sec;
    uint64_t micros = (uint64_t)usage.ru_utime.tv_usec + (uint64_t)usage.ru_stime.tv_usec;
    return seconds * 1000 + micros / 1000;
}

void node_read(const struct node *node, struct node_facts *ret_facts) {
    uint64_t now_ms = monotonic_ms();
    *ret_facts = (struct node_facts){
        .now_ms = now_ms,
        .uptime_ms = now_ms - node->started_ms,
        .resident_bytes = read_resident(),
        .descriptors = count_descriptors(),
        .cpu_ms = read_cpu(),
    };
}
