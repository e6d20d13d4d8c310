/* shelf: where on disk a queue's kept messages lie: runs of its sequence over files.
 *
 *     seq   1 ......... 700 ........ 9000 ............. next
 *           | segment 3    | journal 17   | journal 18 (current)
 *
 * A message that is staged belongs to the journal file that is current then; when a file is left,
 * what has not got into it is the next one's (shelf_leave). A run stays while its file does, also
 * when none of its messages lives any more: the file still holds them, and what says that they are
 * settled must not get lost before it.
 *
 * A run also says where in the file it begins, so that it can be read back. A long one is several,
 * each of a piece of the file that is worth one read.
 *
 * Queues and files know each other both ways: a file lists the queues that have anything in it. */
#ifndef SHARD_SHELF_H
#define SHARD_SHELF_H

#include <stdatomic.h>

#include "base/base.h"
#include "base/list.h"
#include "core/ref.h"

struct archive;

/* What one shard's queues have in a file. */
struct file_part {
    queue_ref *touched; /* queues with messages or facts in it; some may be gone */
    uint32_t touched_count;
    uint32_t touched_capacity;
    _Atomic uint64_t live; /* messages; written by that shard alone */
};

/* A journal file or a segment. Belongs to the shard of its archive. */
struct kept_file {
    struct list_node in_archive; /* archive->files or archive->segments, oldest first */
    struct archive *archive;
    bool segment;        /* or a journal file that is kept in place and counts as one */
    bool kept;           /* that, or about to be */
    bool past;           /* written before the start: any shard's queues may be in it */
    bool retiring;       /* somebody empties it */
    bool whole;          /* it has all of each message that is counted as its own */
    _Atomic bool broken; /* something in it could not be read: it stays, if it is whole. Set by
                            any shard */
    uint64_t number;     /* the journal's file number, 0 until it is known; the segment's number */
    uint64_t file_id;    /* not of a journal file of this run, until it is kept */
    uint64_t bytes;      /* of what counts in it; 0: it is a journal file of this run */
    uint64_t index;      /* of a kept one: where its INDEX is, or 0 */
    uint64_t messages;   /* so many were put into it */
    uint64_t put_bytes;  /* the records of messages in a journal file */
    uint64_t end_position;      /* of a journal file of this run: the last in it */
    struct journal_mark *marks; /* of a kept one of this run: where positions are */
    uint32_t mark_count;
    struct kept_file *next; /* of the past: the one behind it in the chain, or NULL */
    char *name;             /* NULL: it follows from the file id, or the journal knows it */
    uint32_t part_count;
    struct file_part parts[]; /* by shard */
};

/* A file without anything in it, not in any list. */
struct kept_file *kept_file_new(struct archive *archive, bool segment, uint32_t shards);

/* Releases it; it must not be in a list. */
void kept_file_free(struct kept_file *file);

/* Living messages of all shards: never less than there are, and exact once nobody adds. */
uint64_t kept_file_live(const struct kept_file *file);

/* A run: from first_seq to the next run's. */
struct stay {
    uint64_t first_seq;
    uint64_t live;
    struct kept_file *file;
    uint64_t
        at; /* nothing of it is before: an offset; in a file of this run's journal a position */
};

/* A place for messages: behind those before in the same piece of the file, or in a new one. */
struct shelf_place {
    struct kept_file *file;
    uint64_t at;
    bool new_piece;
};

/* So much of a file is read at once, and described by one run. */
enum { SHELF_PIECE_BYTES = 256 * 1024 };

struct shelf {
    uint64_t id; /* the queue's, of meta.db */
    queue_ref queue;
    struct stay *stays; /* ascending */
    uint32_t count;
    uint32_t capacity;
    struct kept_file **ghosts; /* files with nothing of it but settled messages, beside the runs' */
    uint32_t ghost_count;
    uint64_t *lost; /* messages that could not be read and are not settled, ascending */
    uint32_t lost_count;
    uint32_t lost_capacity;
    struct kept_file *touched; /* the latest file that lists it */
    uint64_t visited;          /* by which walk of the retirement last, */
    uint64_t said;             /* and by which what is known of it was put again */
    bool emptied;              /* of a file of before the start nothing lives in this shard now */
    uint64_t piece_at;         /* of all that was staged, where the last run began, in bytes */
    uint64_t delivered;        /* messages below may have been delivered: recorded */
    uint32_t delivered_step;   /* how far ahead that is recorded */
};

/* An empty shelf; released by shelf_free. */
struct shelf *shelf_new(uint64_t id, queue_ref queue);

/* Takes what it holds out of its files' counts and releases it. NULL is fine. */
void shelf_free(struct shelf *shelf, uint32_t shard);

/* Whether anything of it lives in files of before the start. */
bool shelf_lives_in_past(const struct shelf *shelf);

/* Lists the queue in the file, once in a row. */
void shelf_touch(struct shelf *shelf, struct kept_file *file, uint32_t shard);

/* `count` messages from `seq` on, above all before, lie there. */
void shelf_put(struct shelf *shelf, uint64_t seq, uint64_t count, const struct shelf_place *place,
    uint32_t shard);

/* The messages from `seq` on that were thought to be in the file `from` have got into `place`; of
 * those in the run that `seq` is in, `live` live. */
void shelf_leave(struct shelf *shelf, uint64_t seq, uint64_t live, struct kept_file *from,
    const struct shelf_place *place, uint32_t shard);

/* The file has messages of it, all of them settled. For what is read back. */
void shelf_put_ghost(struct shelf *shelf, struct kept_file *file);

/* `count` messages from `seq` on do not live any more. May set shelf->emptied, for the caller to
 * act on: such files may be another shard's. */
void shelf_drop(struct shelf *shelf, uint64_t seq, uint64_t count, uint32_t shard);

/* The message of `seq`, which lived until now, cannot be read. It does not live any more, but its
 * file stays, and nothing says that it is settled. */
void shelf_lose(struct shelf *shelf, uint64_t seq, uint32_t shard);

/* The first lost one from `seq` on, or UINT64_MAX. */
uint64_t shelf_next_lost(const struct shelf *shelf, uint64_t seq);

/* The file goes, and with it what could not be read in it: it counts as settled. */
void shelf_forget_lost(struct shelf *shelf, const struct kept_file *file);

/* The run that `seq` belongs to; it must not be before the first. */
uint32_t shelf_find(const struct shelf *shelf, uint64_t seq);

/* How many of its messages live in the file. */
uint64_t shelf_live_in(const struct shelf *shelf, const struct kept_file *file);

/* Where the run `at` ends. */
uint64_t shelf_end(const struct shelf *shelf, uint32_t at);

/* A run, or its first part, that lies in another file now. */
struct shelf_move {
    struct kept_file *from;
    struct kept_file *to;
    uint64_t at; /* in that, as an offset */
    uint64_t first_seq;
    uint64_t end_seq;
    uint64_t live; /* messages of it that live */
};

/* Carries it out; what is left of the run becomes one of its own. Moves of one run come in
 * ascending order. */
void shelf_apply_move(struct shelf *shelf, const struct shelf_move *move, uint32_t shard);

/* The file goes: its runs, which have nothing living, are forgotten. */
void shelf_forget_file(struct shelf *shelf, const struct kept_file *file);

/* Checks the invariants. */
void shelf_check(const struct shelf *shelf);

#endif
