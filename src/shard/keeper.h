/* keeper: what keeps a shard's durable queues on disk: its journal, and what waits for it.
 *
 *      ENQUEUE -> PUB record staged, position p      settled -> ACK record, in no hurry
 *                      |
 *      journal_turn -> a frame is stable up to position s
 *                      |
 *      publishers' marks up to s -> watermark        mail held for a position up to s -> posted
 *
 * A shard without a keeper keeps everything in memory only.
 *
 * The queue itself decides nothing here: an op is applied when its mail is read, as for a queue in
 * memory, and its effects are released at once. Only what must not be heard before it is stable is
 * held: confirms (by marks), purge-ok, the fences of transactions, and deliveries of messages of
 * which the disk does not know yet that they may have been delivered. While the disk takes nothing
 * at all, deliveries are not held either: consumers go on when publishers cannot. */
#ifndef SHARD_KEEPER_H
#define SHARD_KEEPER_H

#include "base/fifo.h"
#include "base/prng.h"
#include "core/settlements.h"
#include "shard/pager.h"
#include "shard/retire.h"
#include "shard/shard.h"
#include "shard/shelf.h"
#include "shard/spill.h"
#include "store/journal.h"
#include "store/segment.h"

/* One journal of this shard and its files: its own, or that of a shard which runs no more, whose
 * files are only waited for until nothing in them is needed. */
struct archive {
    struct keeper *keeper;
    struct journal *journal;
    struct disk *disk; /* the journal's; segments are made by it, too */
    uint16_t number;
    struct list files;         /* struct kept_file, oldest first: those that were left */
    struct kept_file *current; /* what is staged now belongs to it */
    struct list segments;      /* struct kept_file, oldest first */
    uint64_t last_segment;
    uint64_t last_kept; /* the journal file of this run that was kept in place last, or 0 */
    const struct kept_file *manifest_in; /* where the last manifest of this run is, or NULL */
    uint64_t stable;                     /* position */
    struct fifo borrowed;                /* struct borrowed */
};

/* Sizes that the simulator makes small, so that it meets all of their edges. */
struct keeper_limits {
    uint32_t part_bytes;        /* of a PART (shard/kept_record.h) */
    uint64_t segment_bytes;     /* of a segment, unless one message is larger */
    uint64_t garbage_bytes_min; /* below that segments are left alone */
    uint64_t emptied_bytes;     /* of segments that are emptied at once, unless one is larger */
    uint32_t look_ms;           /* between two looks at all files */
    uint64_t slice_bytes;       /* copied in one turn */
    uint32_t slice_queues;      /* looked at in one turn */
    uint32_t slice_steps;       /* of facts_put in one turn, of 512 places */
    uint64_t facts_bytes;       /* that are put before the disk has taken them */
    struct pager_limits pager;
    struct spill_limits spill;
};

extern const struct keeper_limits KEEPER_LIMITS; /* the usual ones */

struct keeper_settings {
    uint8_t node_id[FILE_NODE_ID_BYTES];
    uint64_t file_bytes; /* of journal files; the first ones are smaller */
    uint64_t file_bytes_first;
    bool unwitnessed;      /* see struct journal_settings */
    uint32_t files_spare;  /* ready ones that each journal keeps at hand */
    uint32_t files_budget; /* files that each journal may have before they are emptied */
    uint64_t seed;         /* random, another one at every start */
    struct keeper_limits limits;
};

/* One queue's place for a message that is on its way to disk. */
struct berth {
    queue_ref queue;
    uint64_t seq;
};

/* A message that a record on its way to disk borrows, and memory of the record's own. */
struct borrowed {
    uint64_t position;
    struct message *message; /* with one reference, or NULL */
    void *memory;            /* or NULL; the targets of several */
    struct berth *berths;    /* of several targets, or NULL */
    struct berth berth;      /* of one */
    uint32_t berth_count;
    uint32_t parts; /* records before this one that belong to it */
};

/* Mail that must not be read before a position is stable. */
struct held_mail {
    uint64_t position;
    uint32_t to;
    struct mail mail;
};

/* A queue that may deliver up to `limit` when the position is stable. */
struct held_limit {
    uint64_t position;
    queue_ref queue;
    uint64_t limit;
};

struct keeper {
    struct shard *shard;
    struct keeper_settings settings;
    struct archive *archives; /* the first is its own */
    uint32_t archive_count;
    uint64_t stable;             /* position in its own journal */
    uint64_t last_position;      /* of what was staged last */
    uint64_t staged_bytes;       /* of all messages */
    uint64_t delivered_position; /* of the DELIVERED record that was staged last */
    struct prng prng;            /* ids of segments */
    bool slow;                   /* commits take too long, */
    uint64_t slow_since_ms;      /* the first of them sent at that time */
    bool stopped;                /* nothing becomes stable any more */
    bool make_failed;            /* no room for new journal files */

    struct message *gathered; /* a publish whose targets are being gathered, with one reference */
    struct record_target *targets;
    struct berth *berths; /* the same places */
    uint32_t target_count;
    uint32_t target_capacity;
    uint32_t gathered_from; /* the publisher's shard */

    struct settlements settlements;
    struct fifo mail;   /* struct held_mail */
    struct fifo limits; /* struct held_limit */
    struct retirement retirement;
    struct pager pager;
    struct spill spill;
};

/* The keeper of a shard, which is set as shard->keeper; with room for so many archives. These are
 * added by keeper_add_archive before the shard's first turn, its own first. */
struct keeper *keeper_new(
    struct shard *shard, const struct keeper_settings *settings, uint32_t archives);

/* Opens a journal behind its past. The disk is borrowed for the keeper's life; no other archive has
 * it. */
struct archive *keeper_add_archive(
    struct keeper *keeper, uint16_t number, struct disk *disk, const struct journal_past *past);

/* Closes the journals and releases all. No request may be with a disk: keeper_idle(), or the disks
 * have handed back everything. NULL is fine. */
void keeper_free(struct keeper *keeper);

/* Takes over what the disks have done, sends what is staged. Twice in each turn of the shard. True
 * when there is more to do at once. */
bool keeper_turn(struct keeper *keeper);

/* When the keeper wants a turn without any other reason; UINT64_MAX for never. */
uint64_t keeper_due(const struct keeper *keeper);

/* Asks for an end: everything staged is written, and a witness behind it. */
void keeper_finish(struct keeper *keeper);

/* True when nothing is staged or on its way. */
bool keeper_idle(const struct keeper *keeper);

/* The shelf of a kept queue. */
struct queue_slot;
void keeper_adopt_queue(struct keeper *keeper, struct queue_slot *slot, queue_ref queue);

/* The message of an ENQUEUE gets `seq` in the queue of this slot. Called before the op is applied,
 * for persistent messages only. */
void keeper_put(struct keeper *keeper, struct queue_slot *slot, uint64_t seq,
    struct message *message, uint32_t from);

/* The message of an ENQUEUE gets `seq` in the queue of this slot and may be delivered at once.
 * Called before the op is applied, for transient messages; keeper_put does it for persistent ones.
 */
void keeper_announce(struct keeper *keeper, struct queue_slot *slot, uint64_t seq);

/* Records what the queue of this slot has noted in keeper->settlements. To be called after every
 * queue_apply and queue_pump of a kept queue. */
void keeper_take_settlements(struct keeper *keeper, struct queue_slot *slot);

/* After queue_apply and queue_pump: lets the queue deliver more, as soon as it is recorded that it
 * may have. */
void keeper_extend_limit(struct keeper *keeper, struct queue_slot *slot);

/* A message of this seq leaves by basic.get: the position that has to be stable before. */
uint64_t keeper_on_got(struct keeper *keeper, struct queue_slot *slot, uint64_t seq);

/* Settlements staged so far are awaited by somebody. */
void keeper_hurry(struct keeper *keeper);

/* Posts mail when everything staged so far is stable; settlements hurry. */
void keeper_post_stable(struct keeper *keeper, uint32_t to, const struct mail *mail);

/* Posts mail when the position is stable, in the order of the calls. */
void keeper_post_at(struct keeper *keeper, uint64_t position, uint32_t to, const struct mail *mail);

/* Notes in `peer` up to what position its ENQUEUEs are staged, and moves peer->stable up to those
 * that are stable. True when somebody at the peer waits for that. */
bool keeper_mark(struct keeper *keeper, struct peer *peer);

/* Stages a record for the keeper's own purposes; `memory` is released when it is stable. Gives its
 * position. */
uint64_t keeper_stage(struct keeper *keeper, const struct record *record, void *memory);

/* The same for the journal of any of its archives. */
uint64_t keeper_stage_in(struct archive *archive, const struct record *record, void *memory);

/* Checks the invariants. */
void keeper_check(const struct keeper *keeper);

/* The same for a kept queue: its shelf counts exactly what it holds. O(n). */
void keeper_check_queue(const struct queue_slot *slot);

/* How many kept messages the queue has from `seq` on and below `end`. */
uint64_t keeper_count_kept(const struct queue *queue, uint64_t seq, uint64_t end);

/* What the log says of something that is tried again and again. */
struct outcome_words {
    const char *failed;
    const char *healed;
    enum log_level level; /* of the former */
};

/* Notes how it went, 0 or -errno, and says so when that has changed since the last time. */
void keeper_say_outcome(
    const struct keeper *keeper, bool *failing, int status, const struct outcome_words *words);

#endif
