/* spill: transient messages of long queues on disk, while memory is short.
 *
 *     a long queue:   head, in memory | in spill files ...................... | latest, in memory
 *                         ^ reads, as for kept messages (shard/pager.h)          ^ a file at a time
 *
 * A spill file is written once, without sync, has messages of one queue only, and means nothing to
 * the next start, which removes it. So nothing that happens to a message that has come back has to
 * be noted: it is in memory as it was before. A file lives while some of its messages are away; as
 * a queue is read in its order, at most one file of each queue is half dead, and none has to be
 * copied to win room.
 *
 * Files are told apart by runs: of a run's messages all that were in the queue when it was written
 * and are not kept are in the file. One of them that is back and has to go again, being unacked no
 * more, goes without being written.
 *
 * A write that fails costs nothing but time: the messages stay where they are. */
#ifndef SHARD_SPILL_H
#define SHARD_SPILL_H

#include "base/list.h"
#include "core/ref.h"
#include "shard/piece.h"
#include "store/disk.h"

struct keeper;
struct queue_slot;
struct segment_build;

struct spill_limits {
    uint64_t file_bytes;    /* of a file, at most: a multiple of the block */
    uint64_t file_part;     /* of the memory limit, that is: less of a small one */
    uint64_t queue_bytes;   /* a queue with less that could go is left alone */
    uint64_t message_bytes; /* a larger message stays: copying it would take too long a turn; */
    uint32_t
        messages_shared;     /* so does one with more references: little is won by letting one go */
    uint64_t slice_bytes;    /* copied at once: a turn has several slices, while it is not long */
    uint32_t slice_messages; /* looked at, or let go, at once */
    uint32_t slice_queues;   /* the same */
    uint32_t look_ms;        /* between two looks at all queues that found nothing */
};

/* A file on disk. */
struct spill_file {
    struct list_node in_files;
    struct piece_place place;
    uint64_t live; /* messages that are away */
};

/* Of the messages from first_seq on and before end_seq, those that are not kept are there. */
struct spill_run {
    uint64_t first_seq;
    uint64_t end_seq;
    uint64_t live; /* that are away */
    struct spill_file *file;
    uint64_t at; /* where the first one begins */
};

/* What one queue has in spill files. */
struct spilled {
    struct spill_run *runs; /* ascending */
    uint32_t count;
    uint32_t capacity;
    uint64_t sweep; /* what could go is looked for from this seq on */
};

enum spill_phase {
    SPILL_LOOKING,  /* for the queue that has most */
    SPILL_BUILDING, /* a file of it in memory */
    SPILL_WRITING,  /* that */
    SPILL_LEAVING   /* memory: what is in the file */
};

/* One queue at a time, one file at a time. */
struct spill {
    struct keeper *keeper;
    enum spill_phase phase;
    struct list files; /* struct spill_file */
    bool ending;       /* nothing new is begun */
    bool grown;        /* something came since all queues were looked at in vain */
    bool failing;      /* the last file could not be written */
    uint64_t retry_ms; /* nothing is tried before, */
    uint64_t look_ms;  /* and no queue is looked for before */
    uint32_t removals; /* requests with the disk */
    uint64_t bytes;    /* of all files */

    /* The look at all queues. */
    uint32_t look_at;
    queue_ref longest;
    uint64_t longest_bytes;

    /* The file on its way. */
    queue_ref queue;
    bool sweeps;    /* SPILL_BUILDING: the queue has been looked through, */
    uint64_t sweep; /* from its own sweep up to here */
    struct segment_build *build;
    uint8_t *memory; /* for it; kept from one to the next */
    size_t memory_bytes;
    struct disk_request request;
    struct spilled fresh; /* its runs */
    uint64_t file_id;
    uint64_t run_bytes;      /* of the last run */
    bool run_open;           /* the last run goes on */
    struct spill_file *file; /* SPILL_LEAVING: it, */
    uint64_t leave_seq;      /* and where in the queue it goes on, */
    uint64_t leave_end;      /* up to here */
};

void spill_init(struct spill *spill, struct keeper *keeper);

/* The disks have handed back everything. */
void spill_deinit(struct spill *spill);

/* Goes on. True when there is more to do at once. Nothing new is begun unless it may be: while the
 * pager still lets go of what is on disk anyway it may not. */
bool spill_turn(struct spill *spill, bool may_begin);

/* When it wants a turn without any other reason; UINT64_MAX for never. */
uint64_t spill_due(const struct spill *spill);

/* True when no request of it is with a disk. */
bool spill_idle(const struct spill *spill);

/* A disk has handed back a request of the spill's. */
void spill_on_request(struct spill *spill, struct disk_request *request);

/* The run of a message that is away and not kept: there is one. */
const struct spill_run *spill_find(const struct queue_slot *slot, uint64_t seq);

/* A message of it has come back, or is given up. */
void spill_on_back(struct spill *spill, struct queue_slot *slot, uint64_t seq);

/* Messages from `seq` on are ready again. */
void spill_on_requeue(struct queue_slot *slot, uint64_t seq);

/* All that was ready is gone, or the queue is. */
void spill_forget(struct spill *spill, struct queue_slot *slot);

/* Checks the invariants of a queue's part. O(n). */
void spill_check_queue(const struct queue_slot *slot);

#endif
