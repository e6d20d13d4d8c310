/* reserve: room on disk that is kept aside, so that what frees a full disk can be recorded on it.
 *
 *     DIR/reserve/0, 1, ...     pieces: room that is allocated, and nothing in it
 *
 *                       take                            fill
 *     reserve/N  --------------> a new journal file  ----------> as any other
 *                \-------------> nothing: room for whoever asked
 *                       give
 *
 * A piece has the size of the smallest journal file, and becomes one by getting another name, so
 * that nobody can have its room meanwhile. For definitions, whose database takes its room itself,
 * one is removed; as others may be faster, that is done with the first half of them only.
 *
 * Any thread may take and give; one adds and drops, and is told by a bell when somebody has found
 * no room. */
#ifndef STORE_RESERVE_H
#define STORE_RESERVE_H

#include "store/journal.h"

enum { RESERVE_PIECE_BYTES = JOURNAL_FILE_BYTES_FIRST };

struct reserve;

struct reserve_settings {
    const char *directory;       /* the node's; "reserve" is in it */
    void (*bell)(void *context); /* any thread: somebody has found no room */
    void *context;
};

/* Opens it with the pieces that are there, and makes nothing. 0 or -errno. Closed by reserve_close.
 */
int reserve_open(const struct reserve_settings *settings, struct reserve **ret_reserve) MUST_USE;

/* Releases it; the pieces stay. NULL is fine. */
void reserve_close(struct reserve *reserve);

/* Pieces that there are. */
uint32_t reserve_count(struct reserve *reserve);

/* Makes one more piece, written full and synced; its name need not survive a crash. 0 or -errno. */
int reserve_add(struct reserve *reserve) MUST_USE;

/* Removes a piece of which there is one too many. 0 or -errno. */
int reserve_drop(struct reserve *reserve) MUST_USE;

/* Makes a piece the file `name` of another directory of the same file system, which must not have
 * such a file. Rings. 0; -ENOSPC when there is none; or -errno. */
int reserve_take(struct reserve *reserve, int directory, const char *name) MUST_USE;

/* Removes a piece, if more than half of the most there have been are left: true when there is more
 * room now. Rings. */
bool reserve_give(struct reserve *reserve) MUST_USE;

/* Somebody has found no room, and asks for nothing. Rings. */
void reserve_ring(struct reserve *reserve);

/* What became of pieces since it was opened. */
struct reserve_taken {
    uint64_t files; /* have become files */
    uint64_t given; /* have been removed for definitions */
    uint64_t asked; /* times that there was none to be had */
};

/* The counts. */
struct reserve_taken reserve_taken(struct reserve *reserve);

#endif
