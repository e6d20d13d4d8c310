/* metadata_crash_test: a batch is there as a whole or not at all, whatever fails or dies meanwhile.
 *
 * Batch i puts the rows "i.0" to "i.6" and removes those of batch i - 3, so that the rows of
 * exactly three batches say which was the last. A layer below SQLite fails the first, second, ...
 * write or sync; a child process that commits is killed. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/prng.h"
#include "base/str.h"
#include "store/metadata.h"

enum { ROWS = 7, KEPT = 3, PATH_BYTES = 256, BATCHES_MAX = 100000, ROUNDS = 30 };

enum fault { FAULT_EIO, FAULT_FULL, FAULT_SHORT, FAULT_EIO_FOR_GOOD, FAULTS };

/* What the layer does; there is one at a time. */
static struct {
    bool armed;
    enum fault fault;
    int operations_left; /* before the one that fails */
    bool fired;
    bool log_unsynced; /* the log was written, and not synced since */
} shim;

struct shim_file {
    sqlite3_file base;
    bool is_log;
    sqlite3_file *real;
};

static sqlite3_file *real(sqlite3_file *file) {
    return ((struct shim_file *)file)->real;
}

static bool fails(void) {
    if (!shim.armed || (shim.fired && shim.fault != FAULT_EIO_FOR_GOOD)) return false;
    if (!shim.fired && shim.operations_left-- > 0) return false;
    shim.fired = true;
    return true;
}

static int shim_close(sqlite3_file *file) {
    int status = real(file)->pMethods ? real(file)->pMethods->xClose(real(file)) : SQLITE_OK;
    sqlite3_free(real(file));
    return status;
}

static int shim_read(sqlite3_file *file, void *into, int size, sqlite3_int64 at) {
    return real(file)->pMethods->xRead(real(file), into, size, at);
}

static int shim_write(sqlite3_file *file, const void *data, int size, sqlite3_int64 at) {
    if (((struct shim_file *)file)->is_log) shim.log_unsynced = true;
    if (fails()) {
        if (shim.fault == FAULT_SHORT) {
            (void)real(file)->pMethods->xWrite(real(file), data, size / 2, at);
        }
        return shim.fault == FAULT_FULL ? SQLITE_FULL : SQLITE_IOERR_WRITE;
    }
    return real(file)->pMethods->xWrite(real(file), data, size, at);
}

static int shim_truncate(sqlite3_file *file, sqlite3_int64 size) {
    if (fails()) return SQLITE_IOERR_TRUNCATE;
    return real(file)->pMethods->xTruncate(real(file), size);
}

static int shim_sync(sqlite3_file *file, int flags) {
    if (fails()) return SQLITE_IOERR_FSYNC;
    if (((struct shim_file *)file)->is_log) shim.log_unsynced = false;
    return real(file)->pMethods->xSync(real(file), flags);
}

static int shim_size(sqlite3_file *file, sqlite3_int64 *size) {
    return real(file)->pMethods->xFileSize(real(file), size);
}

static int shim_lock(sqlite3_file *file, int lock) {
    return real(file)->pMethods->xLock(real(file), lock);
}

static int shim_unlock(sqlite3_file *file, int lock) {
    return real(file)->pMethods->xUnlock(real(file), lock);
}

static int shim_reserved(sqlite3_file *file, int *result) {
    return real(file)->pMethods->xCheckReservedLock(real(file), result);
}

static int shim_control(sqlite3_file *file, int op, void *argument) {
    return real(file)->pMethods->xFileControl(real(file), op, argument);
}

static int shim_sector(sqlite3_file *file) {
    return real(file)->pMethods->xSectorSize(real(file));
}

static int shim_characteristics(sqlite3_file *file) {
    return real(file)->pMethods->xDeviceCharacteristics(real(file));
}

static int shim_shm_map(sqlite3_file *file, int page, int size, int extend, void volatile **map) {
    return real(file)->pMethods->xShmMap(real(file), page, size, extend, map);
}

static int shim_shm_lock(sqlite3_file *file, int offset, int count, int flags) {
    return real(file)->pMethods->xShmLock(real(file), offset, count, flags);
}

static void shim_shm_barrier(sqlite3_file *file) {
    real(file)->pMethods->xShmBarrier(real(file));
}

static int shim_shm_unmap(sqlite3_file *file, int remove) {
    return real(file)->pMethods->xShmUnmap(real(file), remove);
}

static const sqlite3_io_methods shim_methods = {2, shim_close, shim_read, shim_write, shim_truncate,
    shim_sync, shim_size, shim_lock, shim_unlock, shim_reserved, shim_control, shim_sector,
    shim_characteristics, shim_shm_map, shim_shm_lock, shim_shm_barrier, shim_shm_unmap, NULL,
    NULL};

static int shim_open(
    sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *ret_flags) {
    sqlite3_vfs *below = vfs->pAppData;
    struct shim_file *mine = (struct shim_file *)file;
    mine->base.pMethods = NULL;
    mine->is_log = (flags & SQLITE_OPEN_WAL) != 0;
    mine->real = sqlite3_malloc(below->szOsFile);
    assert_non_null(mine->real);
    memset(mine->real, 0, (size_t)below->szOsFile);
    int status = below->xOpen(below, name, mine->real, flags, ret_flags);
    if (status == SQLITE_OK) {
        mine->base.pMethods = &shim_methods;
    } else {
        sqlite3_free(mine->real);
    }
    return status;
}

static void shim_register(void) {
    static sqlite3_vfs vfs;
    sqlite3_vfs *below = sqlite3_vfs_find(NULL);
    vfs = *below;
    vfs.zName = "shim";
    vfs.szOsFile = (int)sizeof(struct shim_file);
    vfs.pAppData = below;
    vfs.pNext = NULL;
    vfs.xOpen = shim_open;
    assert_int_equal(sqlite3_vfs_register(&vfs, 0), SQLITE_OK);
}

/* --- batches */

/* In memory where there is such a place: a thousand syncs of a disk would only take time, since
 * neither a killed process nor the layer below SQLite loses what was written. */
static void make_directory(char *path) {
    const char *where = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    str_format(path, PATH_BYTES, "%s/metadata-crash-XXXXXX", where);
    assert_non_null(mkdtemp(path));
}

static const char *const files[] = {"meta.db", "meta.db-wal", "meta.db-shm", "meta.db-journal"};

static void remove_files(const char *directory) {
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        char path[PATH_BYTES * 2];
        str_format(path, sizeof path, "%s/%s", directory, files[i]);
        (void)unlink(path);
    }
}

static int open_in(const char *directory, const char *vfs, struct metadata **ret_metadata) {
    struct metadata_settings settings = {.directory = directory, .create = true, .vfs = vfs};
    struct metadata_problem problem;
    return metadata_open(&settings, ret_metadata, &problem);
}

static void change_rows(struct metadata *metadata, int batch, bool removes) {
    for (int i = 0; i < ROWS; i++) {
        char name[32];
        str_format(name, sizeof name, "%d.%d", batch, i);
        struct metadata_row row = {.kind = METADATA_USER, .content = bytes_text(name)};
        row.key[0] = bytes_text(name);
        if (removes)
            metadata_remove(metadata, &row);
        else
            assert_int_equal(metadata_put(metadata, &row), 0);
    }
}

static void add_batch(struct metadata *metadata, int batch) {
    change_rows(metadata, batch, false);
    if (batch > KEPT) change_rows(metadata, batch - KEPT, true);
}

struct tally {
    int first, last, rows;
};

static int tally_row(void *context, const struct metadata_row *row) {
    struct tally *tally = context;
    int batch = 0;
    for (uint32_t i = 0; i < row->key[0].size && row->key[0].data[i] != '.'; i++)
        batch = batch * 10 + row->key[0].data[i] - '0';
    if (tally->rows == 0 || batch < tally->first) tally->first = batch;
    if (batch > tally->last) tally->last = batch;
    tally->rows++;
    return 0;
}

/* Which batch is the last; none may be there by half. */
static int last_batch(struct metadata *metadata) {
    struct tally tally = {0};
    assert_int_equal(metadata_load(metadata, tally_row, &tally), 0);
    int whole = tally.last < KEPT ? tally.last : KEPT;
    assert_int_equal(tally.rows, whole * ROWS);
    if (tally.rows > 0) assert_int_equal(tally.first, tally.last - whole + 1);
    assert_int_equal(metadata_verify(metadata), 0);
    return tally.last;
}

static int last_batch_in(const char *directory) {
    struct metadata *metadata = NULL;
    assert_int_equal(open_in(directory, NULL, &metadata), 0);
    int last = last_batch(metadata);
    metadata_close(metadata);
    return last;
}

/* --- the ladder */

/* What a process that dies now leaves: the database and its log. */
static void copy_files(const char *from, const char *to) {
    remove_files(to);
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        char path[PATH_BYTES * 2];
        static char block[65536];
        str_format(path, sizeof path, "%s/%s", from, files[i]);
        int in = open(path, O_RDONLY);
        if (in < 0 || i == 2) { /* the index of the log is made anew */
            if (in >= 0) close(in);
            continue;
        }
        str_format(path, sizeof path, "%s/%s", to, files[i]);
        int out = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        assert_true(out >= 0);
        ssize_t size;
        while ((size = read(in, block, sizeof block)) > 0)
            assert_int_equal(write(out, block, (size_t)size), size);
        close(in);
        close(out);
    }
}

static void arm(enum fault fault, int operations_before) {
    shim.armed = true;
    shim.fault = fault;
    shim.operations_left = operations_before;
    shim.fired = false;
}

/* Batches 1 and 2 are there; 3 and then 4 are committed with a fault in them. Gives whether the
 * fault was met. */
static bool climb_commits(const char *directory, const char *copy, enum fault fault, int rung) {
    struct metadata *metadata = NULL;
    remove_files(directory);
    assert_int_equal(open_in(directory, "shim", &metadata), 0);
    for (int batch = 1; batch <= 2; batch++) {
        add_batch(metadata, batch);
        assert_int_equal(metadata_commit(metadata), 0);
        assert_false(shim.log_unsynced);
    }
    arm(fault, rung);
    int last = 2;
    for (int batch = 3; batch <= 4 && last == batch - 1; batch++) {
        add_batch(metadata, batch);
        int status = metadata_commit(metadata);
        if (status == 0) assert_false(shim.log_unsynced);
        if (status == 0) last = batch;
        if (status != 0) assert_true(status == -EIO || status == -ENOSPC);
        copy_files(directory, copy);
        int copied = last_batch_in(copy);
        assert_true(copied == last || (status != 0 && copied == last + 1));
        assert_int_equal(last_batch(metadata), last);
    }
    uint64_t id = 0;
    bool got_id = metadata_queue_id(metadata, &id) == 0;
    bool again = fault != FAULT_EIO_FOR_GOOD && metadata_batch_count(metadata) > 0;
    if (again) { /* what failed once can be tried again */
        assert_int_equal(metadata_commit(metadata), 0);
        last++;
    }
    metadata_close(metadata);
    shim.armed = false;
    /* A disk that stays broken may hold a batch whose commit was not confirmed. */
    int found = last_batch_in(directory);
    bool open_question = fault == FAULT_EIO_FOR_GOOD && last < 4;
    assert_true(found == last || (open_question && found == last + 1));
    assert_int_equal(open_in(directory, NULL, &metadata), 0);
    uint64_t next = 0;
    assert_int_equal(metadata_queue_id(metadata, &next), 0);
    if (got_id) assert_true(next > id);
    metadata_close(metadata);
    return shim.fired;
}

static void failing_operations_leave_all_or_nothing(void **state) {
    (void)state;
    char directory[PATH_BYTES], copy[PATH_BYTES];
    make_directory(directory);
    make_directory(copy);
    for (enum fault fault = 0; fault < FAULTS; fault++) {
        int rung = 0;
        while (climb_commits(directory, copy, fault, rung))
            rung++;
        assert_true(rung > 10);
    }
    remove_files(directory);
    remove_files(copy);
    assert_int_equal(rmdir(directory), 0);
    assert_int_equal(rmdir(copy), 0);
}

static void failing_creation_can_be_repeated(void **state) {
    (void)state;
    char directory[PATH_BYTES];
    make_directory(directory);
    for (enum fault fault = 0; fault < FAULTS; fault++) {
        int rung = 0;
        shim.fired = true;
        while (shim.fired) {
            remove_files(directory);
            arm(fault, rung++);
            struct metadata *metadata = NULL;
            int status = open_in(directory, "shim", &metadata);
            if (status != 0) assert_true(shim.fired);
            metadata_close(status == 0 ? metadata : NULL);
            shim.armed = false;
            assert_int_equal(last_batch_in(directory), 0);
        }
        assert_true(rung > 10);
    }
    remove_files(directory);
    assert_int_equal(rmdir(directory), 0);
}

/* --- killed */

struct report {
    int batch;
    uint64_t id;
};

static void child_commits(const char *directory, int batch, int pipe) {
    struct metadata *metadata = NULL;
    if (open_in(directory, NULL, &metadata) != 0) _exit(1);
    for (; batch < BATCHES_MAX; batch++) {
        struct report report = {.batch = batch};
        if (metadata_queue_id(metadata, &report.id) != 0) _exit(2);
        add_batch(metadata, batch);
        if (metadata_commit(metadata) != 0) _exit(3);
        if (write(pipe, &report, sizeof report) != sizeof report) _exit(4);
    }
    _exit(5);
}

/* Kills after some reports, at any moment of what follows; gives the last report. */
static struct report watch_and_kill(pid_t child, int pipe, struct prng *prng) {
    struct report report = {0}, last = {0};
    uint64_t reports = prng_below(prng, 40);
    for (uint64_t i = 0; i < reports; i++) {
        assert_int_equal(read(pipe, &report, sizeof report), sizeof report);
        last = report;
    }
    volatile uint64_t spin = prng_below(prng, 1000000);
    while (spin > 0)
        spin--;
    assert_int_equal(kill(child, SIGKILL), 0);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    while (read(pipe, &report, sizeof report) == sizeof report)
        last = report;
    return last;
}

static void killed_process_leaves_what_it_reported(void **state) {
    (void)state;
    char directory[PATH_BYTES];
    make_directory(directory);
    struct prng prng;
    prng_init(&prng, 20);
    int last = 0;
    uint64_t last_id = 0;
    for (int round = 0; round < ROUNDS; round++) {
        int ends[2];
        assert_int_equal(pipe(ends), 0);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            close(ends[0]);
            child_commits(directory, last + 1, ends[1]);
        }
        close(ends[1]);
        struct report report = watch_and_kill(child, ends[0], &prng);
        close(ends[0]);
        int reported = report.batch > 0 ? report.batch : last;
        int found = last_batch_in(directory);
        assert_true(found == reported || found == reported + 1);
        last = found;
        struct metadata *metadata = NULL;
        uint64_t id = 0;
        assert_int_equal(open_in(directory, NULL, &metadata), 0);
        assert_int_equal(metadata_queue_id(metadata, &id), 0);
        metadata_close(metadata);
        assert_true(id > report.id);
        assert_true(id > last_id);
        last_id = id;
    }
    assert_true(last > ROUNDS);
    remove_files(directory);
    assert_int_equal(rmdir(directory), 0);
}

int main(void) {
    shim_register();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(failing_operations_leave_all_or_nothing),
        cmocka_unit_test(failing_creation_can_be_repeated),
        cmocka_unit_test(killed_process_leaves_what_it_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
