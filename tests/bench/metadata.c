/* metadata: what commits of definitions cost, and opening a database of a million queues.
 *
 *   godwit-bench-metadata [DIRECTORY]
 *
 * The directory must be on the disk that is to be measured; the default is the current one. What is
 * made in it is removed. Runs for some ten seconds. */
#include "store/metadata.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/str.h"

enum { QUEUES = 1000 * 1000, CONTENT_BYTES = 100, PATH_BYTES = 512 };

static const double run_s = 2;

static double now_s(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static long resident_kib(void) {
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file) return 0;
    if (fscanf(file, "%*s %ld", &pages) != 1) pages = 0;
    fclose(file);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static void must(int status, const char *what) {
    if (status == 0) return;
    fprintf(stderr, "metadata: %s: %s\n", what, strerror(-status));
    exit(1);
}

static struct metadata *open_in(const char *directory) {
    struct metadata_settings settings = {.directory = directory, .create = true};
    struct metadata_problem problem;
    struct metadata *metadata = NULL;
    must(metadata_open(&settings, &metadata, &problem), "open");
    return metadata;
}

static void put_vhost(struct metadata *metadata) {
    struct metadata_row row = {.kind = METADATA_VHOST};
    row.key[0] = BYTES("/");
    must(metadata_put(metadata, &row), "put");
}

static void put_queue(struct metadata *metadata) {
    static const uint8_t content[CONTENT_BYTES];
    char name[32];
    struct metadata_row row = {.kind = METADATA_QUEUE, .content = bytes_of(content, CONTENT_BYTES)};
    must(metadata_queue_id(metadata, &row.id), "id");
    size_t size = str_format(name, sizeof name, "queue-%llu", (unsigned long long)row.id);
    row.key[0] = BYTES("/");
    row.key[1] = bytes_of(name, size);
    must(metadata_put(metadata, &row), "put");
}

static void measure_commits(struct metadata *metadata, int rows) {
    double start = now_s();
    double worst = 0;
    int commits = 0;
    while (now_s() - start < run_s) {
        double from = now_s();
        for (int i = 0; i < rows; i++)
            put_queue(metadata);
        must(metadata_commit(metadata), "commit");
        double took = now_s() - from;
        if (took > worst) worst = took;
        commits++;
    }
    double took = now_s() - start;
    printf("rows %4d  %8.0f commits/s  %8.0f rows/s  mean %7.0f us  worst %7.0f us\n", rows,
        commits / took, commits * (double)rows / took, took / commits * 1e6, worst * 1e6);
}

static int count_row(void *context, const struct metadata_row *row) {
    if (row->kind == METADATA_QUEUE) ++*(long *)context;
    return 0;
}

static void measure_open(const char *directory) {
    long before = resident_kib();
    double start = now_s();
    struct metadata *metadata = open_in(directory);
    double opened = now_s();
    long queues = 0;
    must(metadata_load(metadata, count_row, &queues), "load");
    double loaded = now_s();
    printf("open %.1f ms, load %ld queues %.0f ms, resident +%ld KiB\n", (opened - start) * 1e3,
        queues, (loaded - opened) * 1e3, resident_kib() - before);
    metadata_close(metadata);
}

static void clean(const char *directory) {
    static const char *const files[] = {"meta.db", "meta.db-wal", "meta.db-shm"};
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        char path[PATH_BYTES * 2];
        str_format(path, sizeof path, "%s/%s", directory, files[i]);
        (void)unlink(path);
    }
    (void)rmdir(directory);
}

int main(int argc, char **argv) {
    char directory[PATH_BYTES];
    str_format(directory, sizeof directory, "%s/bench-metadata-XXXXXX", argc > 1 ? argv[1] : ".");
    if (!mkdtemp(directory)) {
        perror("metadata: mkdtemp");
        return 1;
    }
    struct metadata *metadata = open_in(directory);
    put_vhost(metadata);
    measure_commits(metadata, 1);
    measure_commits(metadata, 100);
    measure_commits(metadata, 1000);
    metadata_close(metadata);
    clean(directory);
    must(mkdir(directory, 0700), "directory");
    metadata = open_in(directory);
    put_vhost(metadata);
    double start = now_s();
    for (int i = 1; i <= QUEUES; i++) {
        put_queue(metadata);
        if (i % 10000 == 0) must(metadata_commit(metadata), "commit");
    }
    metadata_close(metadata);
    printf("wrote %d queues in %.1f s\n", QUEUES, now_s() - start);
    measure_open(directory);
    clean(directory);
    return 0;
}
