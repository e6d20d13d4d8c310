/* journal: what a confirmed record costs, beside the bare writes it is made of.
 *
 *     godwit-bench-journal [DIRECTORY [SECONDS]]
 *
 * Closed loop: W records of 1 KiB are outstanding; when some are stable as many follow. Beside it,
 * in turns, a bare loop writes the same bytes with the same flags into a file written full before:
 * as much as W records in one write, again and again. Prints medians of several rounds, and ratios.
 */
#include "store/journal.h"

#include "bell.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/str.h"
#include "store/disk_posix.h"
#include "store/journal_frame.h"

enum { ROUNDS = 5, RECORD_BODY = 1024, WINDOWS = 3, LATENCIES_MAX = 1 << 20 };
enum { BARE_BYTES = 1024 * 1024, BARE_RECORDS = 960 }; /* of the largest bare write */

static const uint32_t OUTSTANDING[WINDOWS] = {1, 64, 1024};

struct bench {
    const char *directory;
    double seconds;
    struct disk_posix *posix;
    struct journal *journal;
    struct bell bell;
    uint64_t base;    /* stable before this round */
    uint64_t stable;  /* the last position */
    uint64_t *put_ns; /* by position, a ring */
    uint32_t *latencies;
    uint32_t latency_count;
};

struct figure {
    double per_second;
    double p50_us;
    double p99_us;
    double commits;
};

static uint64_t now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void note(struct bench *bench, uint64_t ns) {
    if (bench->latency_count < LATENCIES_MAX)
        bench->latencies[bench->latency_count++] = (uint32_t)(ns / 100);
}

static void on_stable(void *context, uint64_t position) {
    struct bench *bench = context;
    uint64_t now = now_ns();
    for (uint64_t at = bench->stable + 1; at <= position; at++)
        note(bench, now - bench->put_ns[at % 4096]);
    bench->stable = position;
}

static const struct journal_calls CALLS = {on_stable, on_file_left, on_trouble, NULL};

static int by_value(const void *a, const void *b) {
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    return (left > right) - (left < right);
}

static struct figure figure_of(struct bench *bench, uint64_t count, uint64_t commits, double s) {
    qsort(bench->latencies, bench->latency_count, sizeof *bench->latencies, by_value);
    check(bench->latency_count != 0);
    return (struct figure){
        .per_second = (double)count / s,
        .p50_us = bench->latencies[bench->latency_count / 2] / 10.0,
        .p99_us = bench->latencies[(uint64_t)bench->latency_count * 99 / 100] / 10.0,
        .commits = (double)commits / s,
    };
}

static void put(struct bench *bench) {
    static const uint8_t BODY[RECORD_BODY];
    struct record_target target = {5, 1, 1};
    struct record record = {.type = RECORD_PUB,
        .target_count = 1,
        .targets = &target,
        .body = bytes_of(BODY, sizeof BODY)};
    uint64_t position = 0;
    int status = journal_put(bench->journal, &record, &position);
    if (status != 0) fails("put", -status);
    bench->put_ns[position % 4096] = now_ns();
}

static void turn(struct bench *bench) {
    uint64_t oldest = 0;
    while ((oldest = journal_oldest(bench->journal)) != 0)
        journal_release(bench->journal, oldest);
    journal_turn(bench->journal, now_ns() / 1000000, 1);
}

static struct figure run_journal(struct bench *bench, uint32_t window) {
    uint64_t first = bench->stable, put_count = first;
    uint64_t frames = journal_counts(bench->journal)->frames;
    bench->latency_count = 0;
    uint64_t begin = now_ns(), end = begin + (uint64_t)(bench->seconds * 1e9);
    while (now_ns() < end) {
        while (put_count - bench->stable < window) {
            put(bench);
            put_count++;
        }
        turn(bench);
        uint64_t before = bench->stable;
        if (before == bench->stable && put_count - bench->stable == window) bell_wait(&bench->bell);
        turn(bench);
    }
    double seconds = (double)(now_ns() - begin) / 1e9;
    frames = journal_counts(bench->journal)->frames - frames;
    struct figure figure = figure_of(bench, bench->stable - first, frames, seconds);
    while (bench->stable < put_count) {
        bell_wait(&bench->bell);
        turn(bench);
    }
    return figure;
}

/* The same bytes for the disk, without a journal around them. */
static struct figure run_bare(struct bench *bench, uint32_t window, int fd) {
    bool direct = disk_posix_how(bench->posix) == DISK_POSIX_DIRECT;
    size_t size = journal_frame_size((size_t)window * (RECORD_BODY + 48));
    size = (size_t)min_u64(size, BARE_BYTES);
    uint8_t *bytes = disk_memory_new(size);
    uint64_t offset = 0, writes = 0;
    bench->latency_count = 0;
    uint64_t begin = now_ns(), end = begin + (uint64_t)(bench->seconds * 1e9);
    for (uint64_t now = begin; now < end;) {
        if (offset + size > JOURNAL_FILE_BYTES) offset = 0;
        if (pwrite(fd, bytes, size, (off_t)offset) != (ssize_t)size) fails("pwrite", errno);
        if (!direct && fdatasync(fd) != 0) fails("fdatasync", errno);
        uint64_t done = now_ns();
        note(bench, done - now);
        now = done;
        offset += size;
        writes++;
    }
    double seconds = (double)(now_ns() - begin) / 1e9;
    disk_memory_free(bytes);
    uint64_t records = (uint64_t)((double)writes * (double)min_u64(window, BARE_RECORDS));
    return figure_of(bench, records, writes, seconds);
}

static int bare_open(const struct bench *bench, char *path, size_t path_size) {
    str_format(path, path_size, "%s/bare.bench", bench->directory);
    int flags = disk_posix_how(bench->posix) == DISK_POSIX_DIRECT ? O_DIRECT | O_DSYNC : 0;
    int fd = open(path, O_CREAT | O_TRUNC | O_RDWR | flags, 0600);
    if (fd < 0) fails(path, errno);
    uint8_t *bytes = disk_memory_new(BARE_BYTES);
    for (uint64_t at = 0; at < JOURNAL_FILE_BYTES; at += BARE_BYTES)
        if (pwrite(fd, bytes, BARE_BYTES, (off_t)at) != BARE_BYTES) fails("fill", errno);
    if (fsync(fd) != 0) fails("fsync", errno);
    disk_memory_free(bytes);
    return fd;
}

static int by_rate(const void *a, const void *b) {
    double left = ((const struct figure *)a)->per_second;
    double right = ((const struct figure *)b)->per_second;
    return (left > right) - (left < right);
}

static struct figure median(struct figure *figures) {
    qsort(figures, ROUNDS, sizeof *figures, by_rate);
    return figures[ROUNDS / 2];
}

static void print(const char *name, uint32_t window, struct figure figure) {
    printf("%-8s W=%-5u %10.0f records/s %7.0f writes/s  p50 %8.1f us  p99 %8.1f us\n", name,
        window, figure.per_second, figure.commits, figure.p50_us, figure.p99_us);
}

static void remove_name(void *context, const char *name) {
    struct bench *bench = context;
    char path[512];
    str_format(path, sizeof path, "%s/%s", bench->directory, name);
    unlink(path);
}

static void bench_open(struct bench *bench) {
    struct disk_posix_settings settings = {
        .directory = bench->directory, .bell = bell_ring, .bell_context = &bench->bell};
    int status = disk_posix_open(&settings, &bench->posix);
    if (status != 0) fails(bench->directory, -status);
    printf("%s\n", disk_posix_how_text(disk_posix_how(bench->posix)));
    struct journal_settings how = {.disk = disk_posix_disk(bench->posix),
        .node_id = "bench",
        .file_bytes = JOURNAL_FILE_BYTES,
        .files_spare = 2,
        .seed = now_ns(),
        .calls = &CALLS,
        .context = bench};
    struct journal_past past = {.file_count = 0};
    bench->journal = journal_open(&how, &past);
    (void)journal_want_file(bench->journal);
    for (uint32_t made = 0; made < 3;) {
        turn(bench);
        made = (uint32_t)journal_counts(bench->journal)->files_made;
        if (made < 3) bell_wait(&bench->bell);
    }
}

static void bench_close(struct bench *bench) {
    journal_finish(bench->journal);
    turn(bench);
    while (!journal_idle(bench->journal)) {
        bell_wait(&bench->bell);
        turn(bench);
    }
    journal_close(bench->journal);
    disk_list(disk_posix_disk(bench->posix), remove_name, bench);
    disk_posix_close(bench->posix);
    rmdir(bench->directory);
}

int main(int count, char **words) {
    char directory[256];
    make_scratch(directory, sizeof directory, count > 1 ? words[1] : ".");
    struct bench bench = {
        .directory = directory, .seconds = count > 2 ? strtod(words[2], NULL) : 1};
    bell_init(&bench.bell);
    bench.put_ns = mem_new_array(4096, sizeof *bench.put_ns);
    bench.latencies = mem_new_array(LATENCIES_MAX, sizeof *bench.latencies);
    bench_open(&bench);
    char path[512];
    int fd = bare_open(&bench, path, sizeof path);
    for (int i = 0; i < WINDOWS; i++) {
        struct figure bare[ROUNDS], journal[ROUNDS];
        for (int round = 0; round < ROUNDS; round++) {
            bare[round] = run_bare(&bench, OUTSTANDING[i], fd);
            journal[round] = run_journal(&bench, OUTSTANDING[i]);
        }
        struct figure of_bare = median(bare), of_journal = median(journal);
        print("bare", OUTSTANDING[i], of_bare);
        print("journal", OUTSTANDING[i], of_journal);
        printf("         ratio   %10.2f of the rate, %.2f of the p50\n",
            of_journal.per_second / of_bare.per_second, of_journal.p50_us / of_bare.p50_us);
    }
    close(fd);
    unlink(path);
    bench_close(&bench);
    mem_free(bench.put_ns);
    mem_free(bench.latencies);
    return 0;
}
