/* disk_posix_test: a journal on real files, by direct writes and by fdatasync: written by the
 * disk's own threads, read back, recovered, released and used again. */
#include "unit.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "store/disk_posix.h"
#include "store/recover.h"

enum { RECORDS = 3000, FILE_BYTES = 1024 * 1024, WAIT_S_MAX = 60 };

struct owner {
    char directory[64];
    struct disk_posix *posix;
    struct journal *journal;
    pthread_mutex_t mutex;
    pthread_cond_t rung;
    bool bell;
    uint64_t stable;
    uint64_t found;
    uint64_t seen;
    uint32_t left;
};

static void on_bell(void *context) {
    struct owner *owner = context;
    pthread_mutex_lock(&owner->mutex);
    owner->bell = true;
    pthread_cond_signal(&owner->rung);
    pthread_mutex_unlock(&owner->mutex);
}

static void wait_for_bell(struct owner *owner) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_S_MAX;
    pthread_mutex_lock(&owner->mutex);
    int status = 0;
    while (!owner->bell && status == 0)
        status = pthread_cond_timedwait(&owner->rung, &owner->mutex, &until);
    assert_int_equal(status, 0);
    owner->bell = false;
    pthread_mutex_unlock(&owner->mutex);
}

static void on_stable(void *context, uint64_t position) {
    struct owner *owner = context;
    owner->stable = position;
}

static void on_file_left(void *context, uint64_t file_no, uint64_t position) {
    struct owner *owner = context;
    (void)file_no;
    (void)position;
    owner->left++;
}

static void on_trouble(void *context, enum journal_trouble trouble, int error) {
    (void)context;
    fail_msg("trouble %d, errno %d", trouble, error);
}

static const struct journal_calls CALLS = {on_stable, on_file_left, on_trouble, NULL};

static struct recovery *recover(struct owner *owner) {
    struct recover_settings settings = {
        .disk = disk_posix_disk(owner->posix), .node_id = "a real node"};
    struct recovery *recovery = NULL;
    assert_int_equal(recover_open(&settings, &recovery), 0);
    assert_int_equal(recover_verdict(recovery), RECOVER_CLEAN);
    return recovery;
}

static void start(struct owner *owner, enum disk_posix_how how_written) {
    struct disk_posix_settings settings = {.directory = owner->directory,
        .refuse_direct = how_written == DISK_POSIX_FDATASYNC,
        .os = how_written == DISK_POSIX_OS,
        .bell = on_bell,
        .bell_context = owner};
    assert_int_equal(disk_posix_open(&settings, &owner->posix), 0);
    if (how_written != DISK_POSIX_DIRECT)
        assert_int_equal(disk_posix_how(owner->posix), how_written);
    struct recovery *recovery = recover(owner);
    struct journal_settings how = {.disk = disk_posix_disk(owner->posix),
        .node_id = "a real node",
        .file_bytes = FILE_BYTES,
        .files_spare = 2,
        .seed = 42,
        .calls = &CALLS,
        .context = owner};
    struct journal_past past;
    recover_past(recovery, 0, &past);
    owner->journal = journal_open(&how, &past);
    (void)journal_want_file(owner->journal);
    const char *spare = NULL;
    while ((spare = recover_take_spare(recovery, 0)) != NULL)
        assert_int_equal(journal_add_spare(owner->journal, spare), 0);
    assert_int_equal(recover_sweep(recovery), 0);
    recover_close(recovery);
    owner->stable = 0;
}

static void stop(struct owner *owner) {
    journal_finish(owner->journal);
    journal_turn(owner->journal, 1000000, 1);
    while (!journal_idle(owner->journal)) {
        wait_for_bell(owner);
        journal_turn(owner->journal, 1000000, 1);
    }
    journal_close(owner->journal);
    disk_posix_close(owner->posix);
}

static void write_some(struct owner *owner, uint64_t from) {
    static const uint8_t BODY[1024] = {1, 2, 3};
    struct record_target target = {5, 0, 1};
    struct record record = {.type = RECORD_PUB,
        .target_count = 1,
        .targets = &target,
        .body = bytes_of(BODY, sizeof BODY)};
    for (uint64_t i = 1; i <= RECORDS; i++) {
        uint64_t position = 0;
        target.seq = record.message_id = from + i;
        assert_int_equal(journal_put(owner->journal, &record, &position), 0);
        assert_int_equal(position, i);
        journal_turn(owner->journal, 1, 1);
    }
    while (owner->stable < RECORDS) {
        wait_for_bell(owner);
        journal_turn(owner->journal, 1, 1);
    }
}

static void on_record(void *context, const struct recover_record *record) {
    struct owner *owner = context;
    assert_int_equal(record->view->message_id, owner->seen + 1);
    assert_int_equal(record->view->body.size, 1024);
    assert_int_equal(record->view->body.data[2], 3);
    owner->seen++;
    owner->found++;
}

static uint64_t count_found(struct owner *owner, uint64_t before) {
    struct disk_posix_settings settings = {
        .directory = owner->directory, .bell = on_bell, .bell_context = owner};
    assert_int_equal(disk_posix_open(&settings, &owner->posix), 0);
    struct recovery *recovery = recover(owner);
    owner->found = 0;
    owner->seen = before;
    assert_int_equal(recover_replay(recovery, RECORD_BIT(RECORD_PUB), on_record, owner), 0);
    recover_close(recovery);
    disk_posix_close(owner->posix);
    return owner->found;
}

static void remove_name(void *context, const char *name) {
    const struct owner *owner = context;
    char path[256];
    snprintf(path, sizeof path, "%s/%s", owner->directory, name);
    unlink(path);
}

/* Nothing is left of it. */
static void close_owner(struct owner *owner) {
    assert_int_equal(disk_list(disk_posix_disk(owner->posix), remove_name, owner), 0);
    disk_posix_close(owner->posix);
    assert_int_equal(rmdir(owner->directory), 0);
    pthread_cond_destroy(&owner->rung);
    pthread_mutex_destroy(&owner->mutex);
}

static void write_and_recover(enum disk_posix_how how) {
    struct owner owner = {.directory = "journal-test-XXXXXX"};
    pthread_mutex_init(&owner.mutex, NULL);
    pthread_cond_init(&owner.rung, NULL);
    assert_non_null(mkdtemp(owner.directory));
    start(&owner, how);
    write_some(&owner, 0);
    assert_true(owner.left > 1);
    stop(&owner);
    assert_int_equal(count_found(&owner, 0), RECORDS);
    start(&owner, how);
    write_some(&owner, RECORDS);
    stop(&owner);
    assert_int_equal(count_found(&owner, 0), 2 * RECORDS);
    /* Releasing all but the last leaves a chain without its beginning, and some spares to use. */
    start(&owner, how);
    while (journal_oldest(owner.journal) == 0) {
        journal_turn(owner.journal, 1, 1);
        if (journal_oldest(owner.journal) == 0) wait_for_bell(&owner);
    }
    while (journal_oldest(owner.journal) != 0)
        journal_release(owner.journal, journal_oldest(owner.journal));
    stop(&owner);
    assert_int_equal(count_found(&owner, 0), 0);
    start(&owner, how);
    write_some(&owner, 0);
    const struct journal_counts *counts = journal_counts(owner.journal);
    assert_true(counts->files_made < counts->files_begun);
    stop(&owner);
    assert_int_equal(count_found(&owner, 0), RECORDS);
    struct disk_posix_settings settings = {
        .directory = owner.directory, .bell = on_bell, .bell_context = &owner};
    assert_int_equal(disk_posix_open(&settings, &owner.posix), 0);
    close_owner(&owner);
}

static void direct_writes_are_read_back(void **state) {
    (void)state;
    write_and_recover(DISK_POSIX_DIRECT);
}

static void synced_writes_are_read_back(void **state) {
    (void)state;
    write_and_recover(DISK_POSIX_FDATASYNC);
}

static void unsynced_writes_are_read_back(void **state) {
    (void)state;
    write_and_recover(DISK_POSIX_OS);
}

/* A disk in a new directory; close_owner takes both away. */
static void open_owner(struct owner *ret_owner) {
    *ret_owner = (struct owner){.directory = "journal-test-XXXXXX"};
    pthread_mutex_init(&ret_owner->mutex, NULL);
    pthread_cond_init(&ret_owner->rung, NULL);
    assert_non_null(mkdtemp(ret_owner->directory));
    struct disk_posix_settings settings = {
        .directory = ret_owner->directory, .bell = on_bell, .bell_context = ret_owner};
    assert_int_equal(disk_posix_open(&settings, &ret_owner->posix), 0);
}

static void a_file_is_made_once_and_removed_once(void **state) {
    (void)state;
    struct owner owner;
    open_owner(&owner);
    struct disk *disk = disk_posix_disk(owner.posix);
    uint8_t *head = disk_memory_new(DISK_BLOCK_BYTES);
    for (int i = 0; i < 2; i++) {
        struct disk_request request = {.kind = DISK_MAKE,
            .data = head,
            .size = 4 * DISK_BLOCK_BYTES,
            .head_size = DISK_BLOCK_BYTES,
            .name = "one.journal"};
        disk_submit(disk, &request);
        wait_for_bell(&owner);
        assert_ptr_equal(disk_reap(disk), &request);
        assert_int_equal(request.status, i == 0 ? 0 : -EEXIST);
    }
    for (int i = 0; i < 2; i++) {
        struct disk_request request = {
            .kind = DISK_REMOVE, .name = "one.journal", .fleeting = i == 0};
        disk_submit(disk, &request);
        wait_for_bell(&owner);
        assert_ptr_equal(disk_reap(disk), &request);
        assert_int_equal(request.status, 0);
        struct disk_file *file = NULL;
        assert_int_equal(disk_open(disk, "one.journal", &file), -ENOENT);
    }
    disk_memory_free(head);
    close_owner(&owner);
}

/* Memory that grows and is spent: what is in it gets into the file, and is gone then. */
static void mapped_memory_is_spent(void **state) {
    (void)state;
    struct owner owner;
    open_owner(&owner);
    struct disk *disk = disk_posix_disk(owner.posix);
    enum { BLOCKS = 300, SIZE = BLOCKS * DISK_BLOCK_BYTES };
    uint8_t *memory = disk_memory_map(DISK_BLOCK_BYTES);
    for (size_t i = 0; i < DISK_BLOCK_BYTES; i++)
        memory[i] = (uint8_t)(i / 7);
    memory = disk_memory_map_more(memory, DISK_BLOCK_BYTES, SIZE);
    memory[SIZE - 1] = 99;
    struct disk_request make = {.kind = DISK_MAKE,
        .data = memory,
        .size = SIZE,
        .head_size = SIZE,
        .spent = true,
        .name = "one.segment"};
    disk_submit(disk, &make);
    wait_for_bell(&owner);
    assert_ptr_equal(disk_reap(disk), &make);
    assert_int_equal(make.status, 0);
    assert_int_equal(memory[7], 0);
    assert_int_equal(memory[SIZE - 1], 0);
    disk_memory_unmap(memory, SIZE);
    struct disk_file *file = NULL;
    assert_int_equal(disk_open(disk, "one.segment", &file), 0);
    uint8_t *into = disk_memory_new(SIZE);
    assert_int_equal(disk_read(disk, file, 0, into, SIZE), 0);
    for (size_t i = 0; i < SIZE - 1; i++)
        assert_int_equal(into[i], i < DISK_BLOCK_BYTES ? (uint8_t)(i / 7) : 0);
    assert_int_equal(into[SIZE - 1], 99);
    disk_memory_free(into);
    disk_close(disk, file);
    close_owner(&owner);
}

static bool fleeting; /* files are made and read as such */

/* Reads one piece and gives the request as it came back. */
static struct disk_request read_piece(
    struct owner *owner, const char *name, uint64_t offset, void *into, uint64_t size) {
    struct disk *disk = disk_posix_disk(owner->posix);
    struct disk_request request = {
        .kind = DISK_READ, .offset = offset, .into = into, .size = size, .fleeting = fleeting};
    snprintf(request.name, sizeof request.name, "%s", name);
    disk_submit(disk, &request);
    wait_for_bell(owner);
    assert_ptr_equal(disk_reap(disk), &request);
    return request;
}

static void pieces_are_read(enum disk_posix_how how) {
    struct owner owner = {.directory = "journal-test-XXXXXX"};
    pthread_mutex_init(&owner.mutex, NULL);
    pthread_cond_init(&owner.rung, NULL);
    assert_non_null(mkdtemp(owner.directory));
    struct disk_posix_settings settings = {.directory = owner.directory,
        .refuse_direct = how == DISK_POSIX_FDATASYNC,
        .bell = on_bell,
        .bell_context = &owner};
    assert_int_equal(disk_posix_open(&settings, &owner.posix), 0);
    struct disk *disk = disk_posix_disk(owner.posix);
    enum { BLOCKS = 5 };
    uint8_t *head = disk_memory_new(BLOCKS * DISK_BLOCK_BYTES);
    uint8_t *into = disk_memory_new(BLOCKS * DISK_BLOCK_BYTES);
    for (size_t i = 0; i < BLOCKS * DISK_BLOCK_BYTES; i++)
        head[i] = (uint8_t)(i / 7);
    struct disk_request make = {.kind = DISK_MAKE,
        .data = head,
        .size = BLOCKS * DISK_BLOCK_BYTES,
        .head_size = BLOCKS * DISK_BLOCK_BYTES,
        .fleeting = fleeting,
        .name = "one.segment"};
    disk_submit(disk, &make);
    wait_for_bell(&owner);
    assert_ptr_equal(disk_reap(disk), &make);
    struct disk_request request =
        read_piece(&owner, "one.segment", DISK_BLOCK_BYTES, into, 2 * DISK_BLOCK_BYTES);
    assert_int_equal(request.status, 0);
    assert_int_equal(request.done, 2 * DISK_BLOCK_BYTES);
    assert_memory_equal(into, head + DISK_BLOCK_BYTES, 2 * DISK_BLOCK_BYTES);
    request =
        read_piece(&owner, "one.segment", 3 * DISK_BLOCK_BYTES, into, BLOCKS * DISK_BLOCK_BYTES);
    assert_int_equal(request.status, 0);
    assert_int_equal(request.done, 2 * DISK_BLOCK_BYTES);
    assert_memory_equal(into, head + 3 * DISK_BLOCK_BYTES, 2 * DISK_BLOCK_BYTES);
    request = read_piece(&owner, "one.segment", 9 * DISK_BLOCK_BYTES, into, DISK_BLOCK_BYTES);
    assert_int_equal(request.status, 0);
    assert_int_equal(request.done, 0);
    char path[256];
    snprintf(path, sizeof path, "%s/one.segment", owner.directory);
    assert_int_equal(truncate(path, DISK_BLOCK_BYTES + 1000), 0);
    request = read_piece(&owner, "one.segment", 0, into, BLOCKS * DISK_BLOCK_BYTES);
    assert_int_equal(request.status, 0);
    assert_int_equal(request.done, DISK_BLOCK_BYTES + 1000);
    request = read_piece(&owner, "two.segment", 0, into, DISK_BLOCK_BYTES);
    assert_int_equal(request.status, -ENOENT);
    disk_memory_free(into);
    disk_memory_free(head);
    close_owner(&owner);
}

static void pieces_are_read_directly_or_not(void **state) {
    (void)state;
    pieces_are_read(DISK_POSIX_DIRECT);
    pieces_are_read(DISK_POSIX_FDATASYNC);
    fleeting = true;
    pieces_are_read(DISK_POSIX_DIRECT);
    fleeting = false;
}

static void what_is_not_there_is_told(void **state) {
    (void)state;
    struct owner owner = {.directory = "no-such-directory"};
    struct disk_posix_settings settings = {.directory = owner.directory, .bell = on_bell};
    assert_int_equal(disk_posix_open(&settings, &owner.posix), -ENOENT);
    settings.directory = ".";
    assert_int_equal(disk_posix_open(&settings, &owner.posix), 0);
    struct disk_file *file = NULL;
    struct disk *disk = disk_posix_disk(owner.posix);
    assert_int_equal(disk_open(disk, "no-such-file", &file), -ENOENT);
    assert_int_equal(disk_remove(disk, "no-such-file"), -ENOENT);
    assert_true(strlen(disk_posix_how_text(disk_posix_how(owner.posix))) > 0);
    disk_posix_close(owner.posix);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(direct_writes_are_read_back),
        cmocka_unit_test(synced_writes_are_read_back),
        cmocka_unit_test(unsynced_writes_are_read_back),
        cmocka_unit_test(a_file_is_made_once_and_removed_once),
        cmocka_unit_test(mapped_memory_is_spent),
        cmocka_unit_test(pieces_are_read_directly_or_not),
        cmocka_unit_test(what_is_not_there_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
