/* recover: how long a start takes: reading back 200 MB of a journal, or of segments.
 *
 *     godwit-bench-recover [DIRECTORY [MEGABYTES [BODY]]]
 *
 * Writes as many messages of 1 KiB (or BODY bytes) as that makes, with a settlement for every
 * tenth, then opens a recovery, of everything and by index, and replays as the broker does:
 * everything but messages, then messages or where they are. What was written is still in the page
 * cache. Prints the best of several rounds. */
#include "store/recover.h"

#include "bell.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/str.h"
#include "store/disk_posix.h"
#include "store/segment.h"

enum {
    ROUNDS = 5,
    BODY_BYTES = 1024,
    BODY_BYTES_MAX = 1024 * 1024,
    WINDOW = 1000,
    SEGMENTS_MAX = 256
};

struct bench {
    const char *directory;
    struct disk_posix *posix;
    struct journal *journal;
    struct bell bell;
    uint64_t put;
    uint64_t stable;
    uint64_t bytes;
    uint64_t body_bytes;
    uint32_t requests; /* of our own, that came back */
};

static double clock_now(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static double now(void) {
    return clock_now(CLOCK_MONOTONIC);
}

static void turn(struct bench *bench) {
    bell_wait(&bench->bell);
    journal_turn(bench->journal, (uint64_t)(now() * 1000), 1);
}

static void on_stable(void *context, uint64_t position) {
    ((struct bench *)context)->stable = position;
}

static void on_request(void *context, struct disk_request *request) {
    if (request->status != 0) fails(request->name, -request->status);
    ((struct bench *)context)->requests++;
}

static const struct journal_calls CALLS = {on_stable, on_file_left, on_trouble, on_request};

static const uint8_t BODY[BODY_BYTES_MAX];

static void put(struct bench *bench, const struct record *record) {
    int status = journal_put(bench->journal, record, &bench->put);
    if (status != 0) fails("put", -status);
    if (bench->put % 64 == 0) journal_turn(bench->journal, (uint64_t)(now() * 1000), 1);
    while (bench->put - bench->stable >= WINDOW)
        turn(bench);
}

/* The message that is put at a place. */
static struct record message(
    const struct bench *bench, struct record_target *target, uint64_t seq) {
    *target = (struct record_target){1 + seq % 50, 1 + seq / 50, 1};
    return (struct record){.type = RECORD_PUB,
        .target_count = 1,
        .targets = target,
        .message_id = seq,
        .body = bytes_of(BODY, bench->body_bytes)};
}

static void write_journal(struct bench *bench, uint64_t bytes) {
    struct record_target target;
    for (uint64_t seq = 1; bench->bytes < bytes; seq++) {
        struct record record = message(bench, &target, seq);
        put(bench, &record);
        bench->bytes += record_size(&record);
        if (seq % 10 != 0) continue;
        int status = journal_settle(bench->journal, &target, &bench->put);
        if (status != 0) fails("settle", -status);
    }
}

static void write_segments(struct bench *bench, uint64_t bytes) {
    static uint8_t manifest[SEGMENTS_MAX * RECORD_MANIFEST_ENTRY_BYTES];
    uint32_t count = 0;
    for (uint64_t seq = 1; bench->bytes < bytes && count < SEGMENTS_MAX; count++) {
        struct segment_settings settings = {.node_id = "bench",
            .number = count + 1,
            .file_id = count + 1,
            .capacity_bytes = SEGMENT_BYTES};
        struct segment_build *build = segment_begin(&settings);
        struct record_target target;
        struct record record = message(bench, &target, seq);
        uint64_t offset = 0;
        while (segment_put(build, &record, &offset) && bench->bytes < bytes) {
            bench->bytes += record_size(&record);
            record = message(bench, &target, ++seq);
        }
        struct disk_request request;
        segment_finish(build, &request);
        disk_submit(disk_posix_disk(bench->posix), &request);
        while (bench->requests == count)
            turn(bench);
        segment_free(build);
        struct segment_ref ref = {.number = settings.number, .file_id = settings.file_id};
        segment_ref_put(&ref, manifest + count * (size_t)RECORD_MANIFEST_ENTRY_BYTES);
    }
    struct record record = {.type = RECORD_MANIFEST,
        .body = bytes_of(manifest, count * (size_t)RECORD_MANIFEST_ENTRY_BYTES)};
    put(bench, &record);
}

static void on_record(void *context, const struct recover_record *record) {
    uint64_t *count = context;
    *count += record->view->target_count;
}

static void on_run(void *context, const struct recover_run *run) {
    uint64_t *count = context;
    *count += run->count;
}

static void remove_name(void *context, const char *name) {
    struct bench *bench = context;
    char path[512];
    str_format(path, sizeof path, "%s/%s", bench->directory, name);
    unlink(path);
}

static void bench_open(struct bench *bench) {
    struct disk_posix_settings settings = {
        .directory = bench->directory, .os = true, .bell = bell_ring, .bell_context = &bench->bell};
    int status = disk_posix_open(&settings, &bench->posix);
    if (status != 0) fails(bench->directory, -status);
    struct journal_settings how = {.disk = disk_posix_disk(bench->posix),
        .node_id = "bench",
        .file_bytes = JOURNAL_FILE_BYTES,
        .files_spare = 1,
        .seed = 1,
        .calls = &CALLS,
        .context = bench};
    struct journal_past past = {.file_count = 0};
    bench->journal = journal_open(&how, &past);
    journal_turn(bench->journal, (uint64_t)(now() * 1000), 1);
}

static void measure(struct bench *bench, const char *what, bool by_index) {
    double best[3] = {1e9, 1e9, 1e9}, best_cpu = 1e9;
    uint64_t messages = 0, others = 0;
    uint32_t of_messages = RECORD_BIT(RECORD_PUB) | RECORD_BIT(RECORD_PART);
    for (int round = 0; round < ROUNDS; round++) {
        struct recover_settings settings = {.disk = disk_posix_disk(bench->posix),
            .node_id = "bench",
            .read_only = true,
            .by_index = by_index};
        struct recovery *recovery = NULL;
        double times[4] = {now()}, cpu = clock_now(CLOCK_PROCESS_CPUTIME_ID);
        int status = recover_open(&settings, &recovery);
        if (status != 0 || recover_verdict(recovery) != RECOVER_CLEAN) fails("recovery", -status);
        times[1] = now();
        status = recover_replay(recovery, ~of_messages, on_record, &others);
        times[2] = now();
        if (status == 0) status = recover_replay(recovery, of_messages, on_record, &messages);
        if (status == 0) status = recover_runs(recovery, on_run, &messages);
        times[3] = now();
        cpu = clock_now(CLOCK_PROCESS_CPUTIME_ID) - cpu;
        if (cpu < best_cpu) best_cpu = cpu;
        if (status != 0) fails("replay", -status);
        recover_close(recovery);
        for (int i = 0; i < 3; i++)
            if (times[i + 1] - times[i] < best[i]) best[i] = times[i + 1] - times[i];
    }
    printf("%-8s %-8s %4.0f MB, %7.0f messages: opening %3.0f ms, replay of others %3.0f ms, of "
           "messages "
           "%3.0f ms, together %3.0f ms, processor %3.0f ms\n",
        what, by_index ? "by index" : "in full", (double)bench->bytes / 1e6,
        (double)messages / ROUNDS, best[0] * 1e3, best[1] * 1e3, best[2] * 1e3,
        (best[0] + best[1] + best[2]) * 1e3, best_cpu * 1e3);
}

static void run(struct bench *bench, const char *what, uint64_t bytes) {
    bool segments = strcmp(what, "segments") == 0;
    bench->bytes = bench->put = bench->stable = bench->requests = 0;
    bench_open(bench);
    (segments ? write_segments : write_journal)(bench, bytes);
    journal_finish(bench->journal);
    journal_turn(bench->journal, (uint64_t)(now() * 1000), 1);
    while (!journal_idle(bench->journal))
        turn(bench);
    journal_close(bench->journal);
    measure(bench, what, false);
    measure(bench, what, true);
    disk_list(disk_posix_disk(bench->posix), remove_name, bench);
    disk_posix_close(bench->posix);
}

int main(int count, char **words) {
    char directory[256];
    make_scratch(directory, sizeof directory, count > 1 ? words[1] : ".");
    struct bench bench = {.directory = directory, .body_bytes = BODY_BYTES};
    if (count > 3) bench.body_bytes = min_u64(strtoull(words[3], NULL, 10), BODY_BYTES_MAX);
    uint64_t bytes = (count > 2 ? strtoull(words[2], NULL, 10) : 200) * 1000000;
    bell_init(&bench.bell);
    run(&bench, "journal", bytes);
    run(&bench, "segments", bytes);
    rmdir(bench.directory);
    return 0;
}
