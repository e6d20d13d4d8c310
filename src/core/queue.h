/* queue: messages wait here, in order, until a consumer is done with them.
 *
 *      ENQUEUE            pump: DELIVER           SETTLE
 *   ---------->  ready  ---------------->  unacked  ---------->  gone
 *                  ^                          |
 *                  +--------- REQUEUE --------+
 *
 * A pure machine: ops come in, effects go out; no clock, socket or file. A message is in exactly
 * one of the places above. Ready messages leave in the order of their sequence number; a requeued
 * one goes back to its old place, so order survives a lost consumer. queue_apply yields O(1)
 * effects; deliveries and everything else that can be long is owed work that queue_pump does in
 * slices.
 *
 * Consumers take turns (round robin among those of the highest priority that can take a message). A
 * consumer can take one while it is below its prefetch, its connection has byte credit and, when
 * its channel has a shared prefetch, it holds a token. */
#ifndef CORE_QUEUE_H
#define CORE_QUEUE_H

#include "core/credit.h"
#include "core/op.h"
#include "core/settlements.h"

/* Effective settings: computed outside from arguments and policies, never by the queue itself. */
struct queue_settings {
    bool auto_delete; /* GONE after the last consumer leaves */
};

struct queue;

/* A queue without messages. `self` is put into nothing but texts; `pool` is borrowed for the
 * queue's life, messages are released into it. */
struct queue *queue_new(
    queue_ref self, const struct queue_settings *settings, struct message_pool *pool);

/* From now on persistent messages are kept: what becomes of them is noted in `settlements`, which
 * is borrowed and has to be emptied by the caller after each call. Before the first op. */
void queue_keep(struct queue *queue, struct settlements *settlements);

/* A kept message that is read back; with one reference. */
struct queue_restored {
    uint64_t seq;
    struct message *message;
    bool redelivered; /* it may have been delivered before */
};

/* Puts back what was kept, in ascending order; the references go to the queue. The next message
 * gets `next_seq`, which is above them all. All of them are ready. Before the first op. */
void queue_restore(
    struct queue *queue, const struct queue_restored *list, size_t count, uint64_t next_seq);

/* Releases the queue, its messages and its consumers (their credit users are given back). */
void queue_free(struct queue *queue);

/* Applies one op. Appends at most 2 effects; effects->count must leave room for them. For CONSUME
 * the connection's credit at this shard is passed and kept by reference until the consumer is gone
 * (users counts it); NULL for every other op. After DELETE answered with code 0, and after GONE,
 * the queue is `gone`: later ops are answered as by an empty queue that takes nothing (ENQUEUE
 * drops, CONSUME, GET, PURGE, STAT, DELETE answer NOT_FOUND).
 *
 * SETTLE and REQUEUE of a seq that is not unacked are ignored, and so is a consumer that is gone:
 * mail may outlive what it speaks of.
 *
 * CANCEL without a handle is found by connection, channel and tag; one with request 0 is not
 * answered, one of an unknown consumer is. Its unacked messages stay unacked. Tokens that the
 * consumer held come back first (TOKENS_BACK). When an auto-delete queue loses its last consumer
 * so, it is gone at once; the GONE effect is owed work.
 *
 * TOKENS for a consumer that is gone come back at once; those for one that cannot take a message,
 * and all unused ones when nothing is ready any more, come back by queue_pump. */
void queue_apply(
    struct queue *queue, const struct op *op, struct credit *credit, struct effects *effects);

/* Does up to `budget` pieces of owed work (deliveries, notices, tokens that come back, releases
 * after a purge, a long settlement or a delete), appending at most `budget` effects; effects->count
 * must leave room. Gives the number of pieces. */
uint32_t queue_pump(struct queue *queue, uint32_t budget, struct effects *effects);

/* True while queue_pump would do something. */
bool queue_owes(const struct queue *queue);

/* The queue's node for its host's list of queues to pump; the host links and unlinks it. */
struct list_node *queue_in_pump(struct queue *queue);
struct queue *queue_of_pump(struct list_node *node);

/* The ref it was made with. */
queue_ref queue_self(const struct queue *queue);

/* Whether it has been deleted; what it still owes is only notices and releases. */
bool queue_gone(const struct queue *queue);

/* The seq that the next ENQUEUE gives. */
uint64_t queue_next_seq(const struct queue *queue);

/* The first kept message with *seq <= its seq < end, whose seq is put into *seq; NULL when there is
 * none. Borrowed until the next op. Those that are settled but not dropped yet are among them: see
 * queue_is_dropping. */
struct message *queue_next_kept(const struct queue *queue, uint64_t *seq, uint64_t end);

/* True while there are messages that are settled and not dropped yet, or the queue is gone. */
bool queue_is_dropping(const struct queue *queue);

/* Names the first message of a kept queue that may not be delivered; at first none may. The limit
 * only grows: a lower one, which had to wait while a higher one had not, changes nothing. GET does
 * not look at it: its host does. */
void queue_allow(struct queue *queue, uint64_t limit);

/* Whether a consumer could have a message if it were not for the limit. */
bool queue_is_held_back(const struct queue *queue);

/* The seq of the message that would leave next, or queue_next_seq() when none is ready. */
uint64_t queue_next_ready(const struct queue *queue);

/* Counts as clients see them; all are 0 once the queue is gone. */
uint64_t queue_ready_count(const struct queue *queue);
/* Delivered or got, and neither settled nor requeued. */
uint64_t queue_unacked_count(const struct queue *queue);
/* Consumers, whether they can take a message or not. */
uint32_t queue_consumer_count(const struct queue *queue);
/* Bytes of the bodies of ready and unacked messages. */
uint64_t queue_bytes(const struct queue *queue);

/* Checks every invariant: O(n). For tests and the simulator. */
void queue_check(const struct queue *queue);

/* A delivery's method, header and frames, roughly: empty messages use up credit too. */
enum { DELIVERY_OVERHEAD_BYTES = 64 };

/* What delivering `message` takes from byte credit. Whoever has written it out gives it back. */
static inline int64_t queue_delivery_cost(const struct message *message) {
    return (int64_t)message->body_size + message->properties_size + DELIVERY_OVERHEAD_BYTES;
}

#endif
