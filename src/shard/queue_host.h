/* queue_host: who orders the ops of a shard's queues and carries their effects out.
 *
 * An op is applied when its mail is read, and its effects are released at once. A durable queue of
 * a shard with a keeper is kept on disk as well: what becomes of its persistent messages is
 * recorded, and what must not be heard before that is stable waits (shard/keeper.h). */
#ifndef SHARD_QUEUE_HOST_H
#define SHARD_QUEUE_HOST_H

#include "shard/shard.h"

/* A queue's place. The name is the topology's, kept here for the registrar and for people. */
struct queue_slot {
    struct queue *queue; /* NULL while the slot is free */
    struct name *name;
    uint64_t id;         /* in meta.db and in journals; 0: it is not durable */
    uint64_t ticket;     /* the commit that makes it durable; 0: it was loaded, or is not durable */
    struct shelf *shelf; /* where its messages are on disk; NULL: it is not kept */
    struct spilled *spilled; /* the same for those that are not kept (shard/spill.h); NULL: none */
    struct paging *paging;   /* NULL while nothing of it is on disk only (shard/pager.h) */
    uint32_t generation;
    uint32_t next_free; /* slot + 1 */
    bool forgotten;     /* it has left the topology; freed when it owes nothing */
};

/* Slots come in blocks, so that nothing is copied, and little is touched, when there are more. */
enum { QUEUE_BLOCK_SLOTS = 1024 };

/* One of the queue_capacity slots, free or not. */
static inline struct queue_slot *queue_host_slot_at(const struct shard *shard, uint32_t index) {
    return &shard->queues[index / QUEUE_BLOCK_SLOTS][index % QUEUE_BLOCK_SLOTS];
}

/* Makes the queue of a declare request; gives its ref. */
queue_ref queue_host_make(struct shard *shard, const struct request *request);

/* Its row is in the batch of this ticket. It may be gone by then. */
void queue_host_on_rowed(struct shard *shard, queue_ref ref, uint64_t ticket);

/* The slot of a queue, or NULL when it is gone. */
struct queue_slot *queue_host_slot(struct shard *shard, queue_ref ref);

/* It is stable that messages below `limit` may have been delivered: the queue may go on. */
void queue_host_allow(struct shard *shard, queue_ref ref, uint64_t limit);

/* Messages of a kept queue have come back from disk: it goes on. */
void queue_host_on_given(struct shard *shard, struct queue_slot *slot);

/* Drops the queue of a ref that has left the topology. */
void queue_host_forget(struct shard *shard, queue_ref ref);

/* Applies the op of `mail`, which came from shard `from`. */
void queue_host_on_op(struct shard *shard, uint32_t from, const struct mail *mail);

/* Deletes a queue on behalf of the registrar, if the flags allow: a code and the ready messages. */
enum reply_code queue_host_remove(
    struct shard *shard, queue_ref ref, uint8_t flags, uint32_t *ret_messages);

/* Gives byte credit back to a connection. */
void queue_host_on_credit(struct shard *shard, connection_ref connection, uint64_t bytes);

/* Does owed work, up to `budget` pieces; after `enough` of them only while the turn is not long
 * yet. Gives how many were done. */
uint32_t queue_host_pump(struct shard *shard, uint32_t enough, uint32_t budget);

/* Tells every publisher's shard how many of its ENQUEUEs have been applied. */
void queue_host_announce(struct shard *shard);

/* Calls back for every queue here. */
void queue_host_each(struct shard *shard,
    void (*each)(void *context, struct bytes name, const struct queue *queue), void *context);

void queue_host_deinit(struct shard *shard);

#endif
