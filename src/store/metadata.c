/* metadata: the durable definitions, as rows of an SQLite database `meta.db`. */
#include "store/metadata.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/str.h"
#include "store/metadata_batch.h"
#include "store/metadata_problem.h"
#include "store/metadata_schema.h"

enum {
    ID_PLACE = 8,      /* ?8 in the statements, behind the key */
    CONTENT_PLACE = 9, /* ?9 */
    BUSY_MS_MAX = 2000 /* somebody with a shell may hold a lock for a moment */
};

/* No broker gets here, and what it may still give stays positive in SQLite's signed integers; the
 * upper half of the ids belongs to transient queues. */
#define NEXT_ID_MAX ((int64_t)1 << 62)

/* What is known of a kind of rows: the statements, and what the columns of its key are. */
struct kind {
    const char *put;
    const char *remove;
    const char *load;
    int key_parts;
    unsigned opaque; /* bit i: part i of the key is no name */
    bool numbered;
};

#define PLACES_1 "?1"
#define PLACES_2 "?1, ?2"
#define PLACES_3 "?1, ?2, ?3"
#define PLACES_5 "?1, ?2, ?3, ?4, ?5"
#define REMOVE(table, columns, count)                                                              \
    "DELETE FROM " #table " WHERE (" columns ") = (" PLACES_##count ")"

/* Putting a row that is there must not remove it first, or what hangs on it would go with it. A
 * queue keeps its id; the same id under another name changes nothing, and that is noticed. */
#define ROWS(kind, table, columns, count, opaque)                                                  \
    [METADATA_##kind] = {"INSERT INTO " #table " (" columns ", content) VALUES (" PLACES_##count   \
        ", ?9) ON CONFLICT (" columns ") DO UPDATE SET content = excluded.content",                \
        REMOVE(table, columns, count), "SELECT 0, content, " columns " FROM " #table, count,       \
        opaque, false},
#define NUMBERED(kind, table, columns, count, opaque)                                              \
    [METADATA_##kind] = {"INSERT INTO " #table " (" columns                                        \
                         ", content, id) VALUES (" PLACES_##count                                  \
        ", ?9, ?8) ON CONFLICT (id) DO UPDATE SET content = excluded.content"                      \
        " WHERE (" columns ") = (" PLACES_##count ")",                                             \
        REMOVE(table, columns, count),                                                             \
        "SELECT id, content, " columns " FROM " #table " ORDER BY id", count, opaque, true},

static const struct kind kinds[METADATA_KINDS] = {
#include "store/metadata.def"
};

struct metadata {
    sqlite3 *db;
    char *path;
    sqlite3_stmt *begin;
    sqlite3_stmt *commit;
    sqlite3_stmt *rollback;
    sqlite3_stmt *reserve;
    sqlite3_stmt *put[METADATA_KINDS];
    sqlite3_stmt *remove[METADATA_KINDS];
    struct metadata_batch batch;
    uint64_t id_next; /* the next to give */
    uint64_t id_end;  /* those below are reserved: durably never given by anybody else */
    struct metadata_problem problem;
};

static int fail(struct metadata *metadata, const char *doing) {
    return metadata_problem_of(&metadata->problem, metadata->db, metadata->path, doing);
}

/* Runs a statement that gives no rows, so that it can be run again. */
static int run(struct metadata *metadata, sqlite3_stmt *statement, const char *doing) {
    int status = sqlite3_step(statement);
    int error = status == SQLITE_DONE ? 0 : fail(metadata, doing);
    (void)sqlite3_reset(statement); /* tells the status of the step once more */
    return error;
}

/* A rollback that failed would make what follows part of what was given up, so it is done first. */
static int settle(struct metadata *metadata) {
    if (sqlite3_get_autocommit(metadata->db)) return 0;
    return run(metadata, metadata->rollback, "cannot go back to the last commit");
}

/* --- opening */

/* Makes the file before SQLite does, since it holds password hashes and concerns only its owner;
 * SQLite gives the files beside it the same mode. */
static int make_file(struct metadata *metadata, const char *directory) {
    int file = open(metadata->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (file < 0 && errno == EEXIST) return 0;
    int error = file < 0 ? -errno : 0;
    if (file >= 0) close(file);
    int folder = error ? -1 : open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (!error && (folder < 0 || fsync(folder) != 0)) error = -errno;
    if (folder >= 0) close(folder);
    if (!error) return 0;
    return metadata_problem_say(
        &metadata->problem, error, metadata->path, "cannot be made: %s", strerror(-error));
}

static int prepare(struct metadata *metadata, const char *sql, sqlite3_stmt **ret_statement) {
    int status =
        sqlite3_prepare_v3(metadata->db, sql, -1, SQLITE_PREPARE_PERSISTENT, ret_statement, NULL);
    if (status == SQLITE_OK) return 0;
    int error = fail(metadata, "is not laid out as its version says");
    return (status & 0xff) == SQLITE_ERROR ? -EBADMSG : error; /* a table or column is missing */
}

static int prepare_all(struct metadata *metadata) {
    int error = prepare(metadata, "BEGIN IMMEDIATE", &metadata->begin);
    if (!error) error = prepare(metadata, "COMMIT", &metadata->commit);
    if (!error) error = prepare(metadata, "ROLLBACK", &metadata->rollback);
    if (!error) {
        error = prepare(metadata, "UPDATE counters SET value = ?1 WHERE name = 'queue_id_next'",
            &metadata->reserve);
    }
    for (int kind = 0; kind < METADATA_KINDS && !error; kind++) {
        error = prepare(metadata, kinds[kind].put, &metadata->put[kind]);
        if (!error) error = prepare(metadata, kinds[kind].remove, &metadata->remove[kind]);
    }
    return error;
}

/* What was reserved by earlier processes is never given again, used or not. */
static int read_counter(struct metadata *metadata) {
    sqlite3_stmt *statement = NULL;
    int error = prepare(metadata,
        "SELECT value, (SELECT max(id) FROM queues) FROM counters WHERE name = 'queue_id_next'",
        &statement);
    if (error) return error;
    int status = sqlite3_step(statement);
    int64_t next = 0, highest = 0;
    if (status == SQLITE_ROW) {
        next = sqlite3_column_int64(statement, 0);
        highest = sqlite3_column_int64(statement, 1);
    } else if (status != SQLITE_DONE) {
        error = fail(metadata, "cannot be read");
    }
    sqlite3_finalize(statement);
    bool good = next >= 1 && next < NEXT_ID_MAX && highest >= 0 && highest < next;
    if (!error && !good) {
        error = metadata_problem_say(&metadata->problem, -EBADMSG, metadata->path,
            "would give the queue id %lld, but a queue has %lld; the file is damaged: restore it "
            "from a backup",
            (long long)next, (long long)highest);
    }
    if (error) return error;
    metadata->id_next = (uint64_t)next;
    metadata->id_end = (uint64_t)next;
    return 0;
}

static int open_all(struct metadata *metadata, const struct metadata_settings *settings) {
    int error = settings->create ? make_file(metadata, settings->directory) : 0;
    if (error) return error;
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    if (sqlite3_open_v2(metadata->path, &metadata->db, flags, settings->vfs) != SQLITE_OK) {
        return fail(metadata, "cannot be opened");
    }
    sqlite3_busy_timeout(metadata->db, BUSY_MS_MAX);
    error = metadata_schema_adopt(
        metadata->db, metadata->path, metadata_schema_steps(), &metadata->problem);
    if (!error) error = prepare_all(metadata);
    if (!error) error = read_counter(metadata);
    return error;
}

/* The path as a URI with a query. Freed by mem_free. */
static char *uri_of(const char *path, const char *query) {
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-";
    size_t size = 3 * strlen(path) + strlen(query) + sizeof "file:?";
    char *uri = mem_new(size);
    size_t used = str_format(uri, size, "file:");
    for (const char *at = path; *at; at++)
        used += str_format(
            uri + used, size - used, strchr(plain, *at) ? "%c" : "%%%02X", (unsigned)(uint8_t)*at);
    str_format(uri + used, size - used, "?%s", query);
    return uri;
}

static bool has_log(const struct metadata *metadata) {
    char *log = mem_new(strlen(metadata->path) + sizeof "-wal");
    str_format(log, strlen(metadata->path) + sizeof "-wal", "%s-wal", metadata->path);
    bool there = access(log, F_OK) == 0;
    mem_free(log);
    return there;
}

/* A log that a crash has left is part of the database. Its index is usually a file beside it, which
 * would be made anew; in exclusive mode it is in memory, and without locks that mode needs no right
 * to write. Without a log SQLite would make one; it leaves that when told that nothing ever
 * changes.
 */
static int open_reading(struct metadata *metadata) {
    bool log = has_log(metadata);
    char *uri = uri_of(metadata->path, log ? "mode=ro" : "mode=ro&immutable=1");
    int flags =
        SQLITE_OPEN_READONLY | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    int status = sqlite3_open_v2(uri, &metadata->db, flags, log ? "unix-none" : NULL);
    mem_free(uri);
    if (status == SQLITE_OK) {
        /* Closing must not move the log into the database. */
        status = sqlite3_db_config(metadata->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    }
    if (status == SQLITE_OK) {
        const char *exclusive = "PRAGMA locking_mode = EXCLUSIVE";
        status = sqlite3_exec(metadata->db, exclusive, NULL, NULL, NULL);
    }
    if (status != SQLITE_OK) return fail(metadata, "cannot be opened");
    int error = metadata_schema_admit(
        metadata->db, metadata->path, metadata_schema_steps(), &metadata->problem);
    if (!error) error = prepare_all(metadata);
    if (!error) error = read_counter(metadata);
    return error;
}

int metadata_open(const struct metadata_settings *settings, struct metadata **ret_metadata,
    struct metadata_problem *ret_problem) {
    static const char name[] = "/meta.db";
    struct metadata *metadata = NEW(struct metadata);
    size_t size = strlen(settings->directory) + sizeof name;
    metadata->path = mem_new(size);
    str_format(metadata->path, size, "%s%s", settings->directory, name);
    metadata_batch_init(&metadata->batch);
    int error = settings->read_only ? open_reading(metadata) : open_all(metadata, settings);
    if (error) {
        *ret_problem = metadata->problem;
        metadata_close(metadata);
        return error;
    }
    *ret_metadata = metadata;
    return 0;
}

void metadata_close(struct metadata *metadata) {
    if (!metadata) return;
    sqlite3_finalize(metadata->begin);
    sqlite3_finalize(metadata->commit);
    sqlite3_finalize(metadata->rollback);
    sqlite3_finalize(metadata->reserve);
    for (int kind = 0; kind < METADATA_KINDS; kind++) {
        sqlite3_finalize(metadata->put[kind]);
        sqlite3_finalize(metadata->remove[kind]);
    }
    /* Whatever was committed is stable in the log already, so what closing may find is no loss. */
    int status = sqlite3_close(metadata->db);
    check(status != SQLITE_BUSY); /* a statement was left open */
    metadata_batch_deinit(&metadata->batch);
    mem_free(metadata->path);
    mem_free(metadata);
}

const char *metadata_why(const struct metadata *metadata) {
    return metadata->problem.text;
}

/* --- loading */

static bool is_bytes(sqlite3_stmt *statement, int column) {
    int type = sqlite3_column_type(statement, column);
    return type == SQLITE_TEXT || type == SQLITE_BLOB;
}

/* TEXT is UTF-8 in the file, so that its bytes are what was put. */
static struct bytes column_bytes(sqlite3_stmt *statement, int column) {
    const void *data = sqlite3_column_blob(statement, column);
    return bytes_of(data, (size_t)sqlite3_column_bytes(statement, column));
}

/* The row that the statement stands on. */
static int read_row(struct metadata *metadata, enum metadata_kind kind, sqlite3_stmt *statement,
    struct metadata_row *ret_row) {
    struct metadata_row row = {.kind = kind, .id = (uint64_t)sqlite3_column_int64(statement, 0)};
    bool good = is_bytes(statement, 1);
    row.content = column_bytes(statement, 1);
    for (int i = 0; i < kinds[kind].key_parts; i++) {
        good = good && is_bytes(statement, 2 + i);
        row.key[i] = column_bytes(statement, 2 + i);
    }
    if (kinds[kind].numbered) good = good && row.id != 0 && row.id < metadata->id_end;
    if (!good) {
        return metadata_problem_say(&metadata->problem, -EBADMSG, metadata->path,
            "has a row that was never written; the file is damaged: restore it from a backup");
    }
    *ret_row = row;
    return 0;
}

static int load_kind(
    struct metadata *metadata, enum metadata_kind kind, metadata_row_fn each, void *context) {
    sqlite3_stmt *statement = NULL;
    int error = prepare(metadata, kinds[kind].load, &statement);
    int status = SQLITE_ROW;
    while (!error && (status = sqlite3_step(statement)) == SQLITE_ROW) {
        struct metadata_row row;
        error = read_row(metadata, kind, statement, &row);
        if (!error) error = each(context, &row);
    }
    if (!error && status != SQLITE_DONE) error = fail(metadata, "cannot be read");
    sqlite3_finalize(statement);
    return error;
}

int metadata_load(struct metadata *metadata, metadata_row_fn each, void *context) {
    int error = settle(metadata);
    for (int kind = 0; kind < METADATA_KINDS && !error; kind++)
        error = load_kind(metadata, (enum metadata_kind)kind, each, context);
    return error;
}

/* --- changing */

static bool add(struct metadata *metadata, const struct metadata_row *row, bool removes) {
    check(row->kind < METADATA_KINDS);
    for (int i = kinds[row->kind].key_parts; i < METADATA_KEY_PARTS_MAX; i++)
        check(row->key[i].size == 0);
    if (!removes && kinds[row->kind].numbered) {
        check(row->id != 0);
        check(row->id < metadata->id_next);
    }
    struct metadata_change change = {.removes = removes, .row = *row};
    return metadata_batch_add(&metadata->batch, &change);
}

int metadata_put(struct metadata *metadata, const struct metadata_row *row) {
    if (add(metadata, row, false)) return 0;
    return metadata_problem_say(&metadata->problem, -E2BIG, metadata->path,
        "more than %d bytes of changes wait for their commit", METADATA_BATCH_BYTES_MAX);
}

void metadata_remove(struct metadata *metadata, const struct metadata_row *row) {
    bool added = add(metadata, row, true);
    check(added);
}

uint64_t metadata_batch_count(const struct metadata *metadata) {
    return metadata->batch.count;
}

size_t metadata_batch_bytes(const struct metadata *metadata) {
    return metadata->batch.bytes.size;
}

void metadata_discard(struct metadata *metadata) {
    metadata_batch_clear(&metadata->batch);
}

/* Whether a name is text depends on nothing but its bytes, so that it is the same key every time.
 */
static int bind_name(sqlite3_stmt *statement, int place, struct bytes name) {
    const char *data = name.size > 0 ? (const char *)name.data : "";
    bool text = str_is_utf8(name) && !memchr(data, 0, name.size);
    if (!text) return sqlite3_bind_blob64(statement, place, data, name.size, SQLITE_STATIC);
    return sqlite3_bind_text64(statement, place, data, name.size, SQLITE_STATIC, SQLITE_UTF8);
}

static int bind_opaque(sqlite3_stmt *statement, int place, struct bytes bytes) {
    const void *data = bytes.size > 0 ? bytes.data : (const uint8_t *)"";
    return sqlite3_bind_blob64(statement, place, data, bytes.size, SQLITE_STATIC);
}

static int bind(const struct metadata_change *change, sqlite3_stmt *statement) {
    const struct metadata_row *row = &change->row;
    const struct kind *kind = &kinds[row->kind];
    int status = SQLITE_OK;
    for (int i = 0; i < kind->key_parts && status == SQLITE_OK; i++) {
        status = kind->opaque & (1u << i) ? bind_opaque(statement, i + 1, row->key[i])
                                          : bind_name(statement, i + 1, row->key[i]);
    }
    if (change->removes || status != SQLITE_OK) return status;
    if (kind->numbered) status = sqlite3_bind_int64(statement, ID_PLACE, (int64_t)row->id);
    if (status != SQLITE_OK) return status;
    return bind_opaque(statement, CONTENT_PLACE, row->content);
}

static int apply_change(struct metadata *metadata, const struct metadata_change *change) {
    const char *doing = change->removes ? "cannot remove a row" : "cannot write a row";
    sqlite3_stmt *statement =
        change->removes ? metadata->remove[change->row.kind] : metadata->put[change->row.kind];
    if (bind(change, statement) != SQLITE_OK) return fail(metadata, doing);
    int error = run(metadata, statement, doing);
    if (!error && !change->removes && sqlite3_changes(metadata->db) != 1) {
        error = metadata_problem_say(&metadata->problem, -EEXIST, metadata->path,
            "the queue id %llu is taken by another queue", (unsigned long long)change->row.id);
    }
    return error;
}

static int apply_batch(struct metadata *metadata) {
    struct metadata_change change;
    size_t at = 0;
    int error = 0;
    while (!error && metadata_batch_next(&metadata->batch, &at, &change))
        error = apply_change(metadata, &change);
    return error;
}

int metadata_commit(struct metadata *metadata) {
    if (metadata->batch.count == 0) return 0;
    int error = settle(metadata);
    if (!error) error = run(metadata, metadata->begin, "cannot begin a change");
    if (error) return error;
    error = apply_batch(metadata);
    if (!error) error = run(metadata, metadata->commit, "cannot commit");
    if (error) {
        /* Some errors have rolled back already. The problem to tell is the first one. */
        if (!sqlite3_get_autocommit(metadata->db)) {
            (void)sqlite3_step(metadata->rollback);
            (void)sqlite3_reset(metadata->rollback);
        }
        return error;
    }
    metadata_batch_clear(&metadata->batch);
    return 0;
}

/* Raises the counter by so many ids. */
static int reserve_ids(struct metadata *metadata, uint64_t count) {
    uint64_t end = metadata->id_end + count;
    int error = settle(metadata);
    if (error) return error;
    if (sqlite3_bind_int64(metadata->reserve, 1, (int64_t)end) != SQLITE_OK) {
        return fail(metadata, "cannot reserve queue ids");
    }
    error = run(metadata, metadata->reserve, "cannot reserve queue ids");
    if (!error) metadata->id_end = end;
    return error;
}

int metadata_queue_id(struct metadata *metadata, uint64_t *ret_id) {
    if (metadata->id_next == metadata->id_end) {
        int error = reserve_ids(metadata, METADATA_ID_BLOCK);
        if (error) return error;
    }
    *ret_id = metadata->id_next++;
    return 0;
}

int metadata_queue_ids(struct metadata *metadata, uint32_t count, uint64_t *ret_first) {
    uint64_t left = metadata->id_end - metadata->id_next;
    int error = left < count ? reserve_ids(metadata, count - left) : 0;
    if (error) return error;
    *ret_first = metadata->id_next;
    metadata->id_next += count;
    return 0;
}

/* --- verifying */

/* The first row tells what is wrong; `good` is what it says when nothing is, NULL for no row. */
static int expect(struct metadata *metadata, const char *sql, const char *good) {
    sqlite3_stmt *statement = NULL;
    int error = prepare(metadata, sql, &statement);
    if (error) return error;
    int status = sqlite3_step(statement);
    if (status == SQLITE_ROW) {
        const char *text = (const char *)sqlite3_column_text(statement, 0);
        if (!text || !good || strcmp(text, good) != 0) {
            error = metadata_problem_say(&metadata->problem, -EBADMSG, metadata->path,
                "%s; the file is damaged: restore it from a backup",
                text ? text : "a dangling row");
        }
    } else if (status != SQLITE_DONE) {
        error = fail(metadata, "cannot be read");
    }
    sqlite3_finalize(statement);
    return error;
}

int metadata_verify(struct metadata *metadata) {
    int error = expect(metadata, "PRAGMA integrity_check(1)", "ok");
    if (!error) {
        error = expect(metadata,
            "SELECT 'a row of ' || \"table\" || ' hangs on one that is not there'"
            " FROM pragma_foreign_key_check",
            NULL);
    }
    return error;
}
