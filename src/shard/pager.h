/* pager: messages that are on disk only: which kept ones go, and how all of them come back.
 *
 *     a long queue:   head, in memory | on disk only ..................... | latest, in memory
 *                         ^ reads, a piece of a file at a time                  ^ goes once stable
 *
 * Where a consumer keeps up nothing goes. A queue that has more in memory than it may forgets what
 * is stable and not near its head; as soon as somebody wants messages and few of those near the
 * head are left, pieces are read ahead. Nothing is written for any of this: what is kept is on disk
 * anyway. When memory is short, all queues keep only their next few messages. A basic.get of a
 * message that is away waits here until it is back.
 *
 * What is not kept goes in its own way (shard/spill.h), and comes back here.
 *
 * What cannot be read back, though it was stable, is lost to the queue: that is said, counted, and
 * the queue goes on behind it. Its file stays as it is, for a repair. */
#ifndef SHARD_PAGER_H
#define SHARD_PAGER_H

#include "base/fifo.h"
#include "base/list.h"
#include "core/ref.h"
#include "shard/mail.h"
#include "store/disk.h"

struct keeper;
struct kept_file;
struct queue;
struct queue_slot;

/* Sizes of what one queue has in memory, counted with what messages cost beside their bodies. */
struct pager_limits {
    uint64_t window_bytes;   /* from the head on nothing goes, and so much is read ahead */
    uint64_t high_bytes;     /* above it something goes, */
    uint64_t low_bytes;      /* until this is reached */
    uint32_t slice_messages; /* looked at in one turn */
    uint32_t reads;          /* on their way at once */
};

/* What a message in memory costs beside its body, about. */
enum { PAGER_MESSAGE_BYTES = 160 };

/* What one queue has to do with it. */
struct paging {
    struct list_node in_out;     /* pager->out: some of it may go */
    struct list_node in_wanting; /* pager->wanting: it waits for a read */
    queue_ref queue;
    bool reading;
    bool from_first;         /* what is unacked goes, too */
    uint64_t sweep;          /* what may go is looked for from this seq on */
    uint64_t stable_seq;     /* all before are stable */
    uint64_t bound_seq;      /* and before this one, when */
    uint64_t bound_position; /* this position is */
    /* Where the last read ended: with this seq, there, if the file is the same. */
    uint64_t next_seq;
    uint64_t next_at;
    const void *next_file;
    /* What is away from here on and before the other could not be read: it is skipped when its turn
     * comes. */
    uint64_t lost_seq;
    uint64_t lost_end;
    bool lost_spilled; /* it was in a spill file, and so are those between that are lost with it */
    uint32_t failures; /* of walks for the same message */
    uint64_t retry_ms; /* nothing is read before */
    struct fifo gets;  /* struct parked_get */
};

/* A basic.get whose message is away. */
struct parked_get {
    uint32_t from;
    struct mail mail;
};

struct pager {
    struct keeper *keeper;
    struct list out;
    struct list wanting;
    uint32_t reads;
    uint64_t retry_ms; /* nothing is read before; 0: now */
    bool serving;
    bool pressed;           /* memory is short: */
    uint64_t pressed_bytes; /* so much, at most, is one queue's window */
    bool grown; /* something came, or came back, since all queues were looked at for that */
    uint32_t press_at;
    uint64_t press_ms;
};

void pager_init(struct pager *pager, struct keeper *keeper);

/* The disks have handed back everything. */
void pager_deinit(struct pager *pager);

/* What a queue's ready messages in memory cost. */
uint64_t pager_resident_cost(const struct queue *queue);

/* How many messages stay in memory from the head on: fewer while memory is short, but never none.
 */
uint64_t pager_window(const struct pager *pager, const struct queue *queue);

/* The kept queue has grown: some of it may have to go. */
void pager_on_growth(struct pager *pager, struct queue_slot *slot);

/* The queue's head has moved, or somebody wants its messages: a read may be due. */
void pager_on_need(struct pager *pager, struct queue_slot *slot);

/* What was in memory for a while only, from `seq` on, may go again. */
void pager_on_copied(struct pager *pager, struct queue_slot *slot, uint64_t seq);

/* The message of `seq` has been copied to another file, for which it may have been read: it is not
 * needed in memory any more, unless it is near the head. */
void pager_let_go(struct pager *pager, struct queue_slot *slot, uint64_t seq);

/* A basic.get from shard `from` waits until the message is back. */
void pager_park(
    struct pager *pager, struct queue_slot *slot, uint32_t from, const struct mail *mail);

/* Applies what was parked, if it need not wait any more. */
void pager_serve(struct pager *pager, struct queue_slot *slot);

/* The queue is freed: what is still parked is dropped. */
void pager_forget(struct queue_slot *slot);

/* A disk has handed back a read. */
void pager_on_request(struct pager *pager, struct disk_request *request);

/* Goes on. True when there is more to do at once. */
bool pager_turn(struct pager *pager);

/* When it wants a turn without any other reason; UINT64_MAX for never. */
uint64_t pager_due(const struct pager *pager);

/* True when no request of it is with a disk. */
bool pager_idle(const struct pager *pager);

#endif
