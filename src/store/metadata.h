/* metadata: the durable definitions, as rows of an SQLite database `meta.db`.
 *
 * A row has a kind, a key and a content; what the content means is its writer's business. Changes
 * are gathered in memory and applied by metadata_commit in one transaction, all or none.
 *
 *      metadata_open --> metadata_load --> metadata_put, metadata_remove, ... --> metadata_commit
 *                                          ^                                          |
 *                                          +------------------------------------------+
 *
 * Rows hang together: who removes a virtual host, a user, an exchange or a queue removes in the
 * same transaction what cannot be without it (bindings, permissions, policies). Putting a row under
 * a key that is there changes its content and leaves alone what hangs on it.
 *
 * Names may be any bytes. Those that are UTF-8 without a zero are kept as TEXT, so that the sqlite3
 * shell shows and compares them; others as BLOB. The shell may read while the broker runs; writing
 * with it is not supported.
 *
 * One thread at a time uses an object. Every int is 0 or a negative errno:
 *
 *   -ENOSPC, -EIO, -EROFS, -EACCES, -ENOMEM  as everywhere
 *   -EBUSY     another process keeps the database locked
 *   -EBADMSG   the database is damaged
 *   -ENOTSUP   a newer version wrote it, or the file system cannot hold it
 *   -EINVAL    it is a database, but not one of definitions
 *   -ENOENT    a row hangs on one that is not there
 *   -EEXIST    a queue's id or name is taken by another
 *   -E2BIG     a row or the batch is too large */
#ifndef STORE_METADATA_H
#define STORE_METADATA_H

#include "base/base.h"

enum metadata_kind {
#define ROWS(kind, table, columns, count, opaque)     METADATA_##kind,
#define NUMBERED(kind, table, columns, count, opaque) METADATA_##kind,
#include "store/metadata.def"
#undef ROWS
#undef NUMBERED
    METADATA_KINDS
};

enum {
    METADATA_KEY_PARTS_MAX = 5,
    METADATA_BATCH_BYTES_MAX =
        256 * 1024 * 1024, /* of uncommitted changes, which are in memory; removals may be more */
    METADATA_ID_BLOCK = 4096, /* ids reserved by one commit; a restart may skip so many */
    METADATA_PROBLEM_BYTES = 512
};

struct metadata_row {
    enum metadata_kind kind;
    uint64_t id;                              /* of a queue, from metadata_queue_id; else 0 */
    struct bytes key[METADATA_KEY_PARTS_MAX]; /* the columns of the kind in metadata.def */
    struct bytes content;
};

/* One line for people: which file, what was tried, what is wrong and what to do. */
struct metadata_problem {
    char text[METADATA_PROBLEM_BYTES];
};

struct metadata_settings {
    const char *directory; /* that holds meta.db; it must exist */
    bool create;           /* make an empty database when there is none; else that is -ENOENT */
    bool read_only;        /* changes no file and makes none, whatever a crash has left; nobody else
                              may have it open, and nothing may be committed */
    const char *vfs;       /* SQLite's name of an I/O layer, for tests; NULL is the usual one */
};

struct metadata;

/* Opens the database, makes or migrates it in one transaction. A database that is newer, foreign or
 * damaged is left as it is. Says in `ret_problem` what is wrong when it fails. Closed by
 * metadata_close. */
int metadata_open(const struct metadata_settings *settings, struct metadata **ret_metadata,
    struct metadata_problem *ret_problem) MUST_USE;

/* Closes, forgetting changes that were not committed. NULL is fine. */
void metadata_close(struct metadata *metadata);

/* Why the last call that gave an error failed; borrowed until the next call. */
const char *metadata_why(const struct metadata *metadata);

/* Takes a committed row; all it points to is borrowed for the call. What is not 0 ends the loading
 * and is given to its caller. */
typedef int (*metadata_row_fn)(void *context, const struct metadata_row *row);

/* Gives every committed row, parents before what hangs on them, queues by their ids. The callback
 * may put and remove, but not commit. */
int metadata_load(struct metadata *metadata, metadata_row_fn each, void *context) MUST_USE;

/* Adds a change to the batch, which copies the row: makes the row, or changes its content. Only a
 * full batch refuses, with -E2BIG; then commit and put again. */
int metadata_put(struct metadata *metadata, const struct metadata_row *row) MUST_USE;

/* Adds a change to the batch, full or not: the row under this key shall not be, nor what hangs on
 * it. The content and id do not matter, nor does it whether the row is there. */
void metadata_remove(struct metadata *metadata, const struct metadata_row *row);

/* How many changes the batch has, and how much memory it takes in bytes. */
uint64_t metadata_batch_count(const struct metadata *metadata);
size_t metadata_batch_bytes(const struct metadata *metadata);

/* Applies the batch in the order of its changes and empties it; when this gives 0, it is stable. On
 * an error none of it is applied and the batch is as it was: commit it again or discard it. An
 * error of the disk while it is written (-EIO, -ENOSPC) leaves one thing open until the next commit
 * that succeeds: whoever opens the database before that may find the whole batch in it. */
int metadata_commit(struct metadata *metadata) MUST_USE;

/* Empties the batch. */
void metadata_discard(struct metadata *metadata);

/* A queue id that was never given before and never will be again, whatever becomes of the queue,
 * the batch or the process: 1 and up, with the top bit clear. One call in METADATA_ID_BLOCK
 * commits, apart from the batch. */
int metadata_queue_id(struct metadata *metadata, uint64_t *ret_id) MUST_USE;

/* `count` queue ids in a row, as of metadata_queue_id, in one commit apart from the batch: for
 * those who cannot wait for a commit when they need an id. */
int metadata_queue_ids(struct metadata *metadata, uint32_t count, uint64_t *ret_first) MUST_USE;

/* Reads all of the database and checks that it is whole. Takes as long as that takes. */
int metadata_verify(struct metadata *metadata) MUST_USE;

#endif
