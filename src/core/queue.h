/* queue: messages wait here, in order, until a consumer is done with them.
 *
 *      ENQUEUE            pump: DELIVER           SETTLE
 *   ---------->  ready  ---------------->  unacked  ---------->  gone
 *                  ^                          |
 *                  +--------- REQUEUE --------+
 *
 * A pure machine: ops come in, effects go out; no clock, socket or file. A message is in exactly one
 * of the places above. Ready messages leave in the order of their sequence number; a requeued one
 * goes back to its old place, so order survives a lost consumer. queue_apply yields O(1) effects;
 * deliveries and everything else that can be long is owed work that queue_pump does in slices.
 *
 * Consumers take turns (round robin among those of the highest priority that can take a message). A
 * consumer can take one while it is below its prefetch, its connection has byte credit and, when its
 * channel has a shared prefetch, it holds a token. */
#ifndef CORE_QUEUE_H
#define CORE_QUEUE_H

#include "base/list.h"
#include "core/op.h"

/* Byte credit: what may be under way from one shard's queues to one connection, in bytes. It belongs
 * to the connection; all its consumers at this shard share it. While it is used up, those consumers
 * wait here instead of in their queues. */
struct credit {
    int64_t bytes; /* may pass below zero by one message */
    uint32_t users; /* consumers that refer to it */
    struct list waiting;
};

void credit_init(struct credit *credit, int64_t bytes);

/* Gives `bytes` back. When there is credit again, the waiting consumers return to their queues, and
 * each of those queues is put last in `pump` (queue_in_pump) unless it is in a list already. */
void credit_add(struct credit *credit, int64_t bytes, struct list *pump);

/* Effective settings: computed outside from arguments and policies, never by the queue itself. */
struct queue_settings {
    bool auto_delete; /* GONE after the last consumer leaves */
};

struct queue;

/* A queue without messages. `self` is put into nothing but texts; `pool` is borrowed for the
 * queue's life, messages are released into it. */
struct queue *queue_new(
    queue_ref self, const struct queue_settings *settings, struct message_pool *pool);

/* Releases the queue, its messages and its consumers (their credit users are given back). */
void queue_free(struct queue *queue);

/* Applies one op. Appends at most 2 effects; effects->count must leave room for them. For CONSUME
 * the connection's credit at this shard is passed and kept by reference until the consumer is gone
 * (users counts it); NULL for every other op. After DELETE answered with code 0, and after GONE, the
 * queue is `gone`: later ops are answered as by an empty queue that takes nothing (ENQUEUE drops,
 * CONSUME, GET, PURGE, STAT, DELETE answer NOT_FOUND).
 *
 * SETTLE and REQUEUE of a seq that is not unacked are ignored: mail may outlive what it speaks of. */
void queue_apply(
    struct queue *queue, const struct op *op, struct credit *credit, struct effects *effects);

/* Does up to `budget` pieces of owed work (deliveries, requeues, drops of a purge, lost-consumer
 * notices), appending at most `budget` effects; effects->count must leave room. */
void queue_pump(struct queue *queue, uint32_t budget, struct effects *effects);

/* True while queue_pump would do something. */
bool queue_owes(const struct queue *queue);

/* The queue's node for its host's list of queues to pump; the host links and unlinks it. */
struct list_node *queue_in_pump(struct queue *queue);
struct queue *queue_of_pump(struct list_node *node);

queue_ref queue_self(const struct queue *queue);
bool queue_gone(const struct queue *queue);
uint64_t queue_ready_count(const struct queue *queue);
uint64_t queue_unacked_count(const struct queue *queue);
uint32_t queue_consumer_count(const struct queue *queue);
uint64_t queue_bytes(const struct queue *queue); /* bodies of ready and unacked messages */

/* Checks every invariant: O(n). For tests and the simulator. */
void queue_check(const struct queue *queue);

#endif
