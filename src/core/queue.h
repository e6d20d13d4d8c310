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

/* A run of kept messages that are there from before, on disk. */
struct queue_restored {
    uint64_t seq;
    uint64_t count;
    uint64_t bytes;   /* of their bodies; where that is only estimated, it is put right by and by */
    bool redelivered; /* they may have been delivered before */
};

/* Puts back what was kept, in ascending order. The next message gets `next_seq`, which is above
 * them all. All of them are ready, and on disk only. Before the first op. */
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

/* Finds the first kept message with *seq <= its seq < end, whose seq is put into *seq; false when
 * there is none. The message is borrowed until the next op, and NULL when it is on disk only.
 * Those that are settled but not dropped yet are among them: see queue_is_dropping. */
bool queue_next_kept(
    const struct queue *queue, uint64_t *seq, uint64_t end, struct message **ret_message);

/* The first word of 64 places, from 64 * *number on, in which there are messages, kept or not: its
 * number is put into *number, and bit i of *ret_there says whether there is one at its place i.
 * False when there is none. Looks at a bounded number of places: where it comes to none within
 * that, *ret_there is 0, and the caller may go on from *number. */
bool queue_next_places(const struct queue *queue, uint64_t *number, uint64_t *ret_there);

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

/* ---- messages that are on disk only: they are away (core/queue_away.c)
 *
 * The host decides which ready messages go, and brings them back before they are needed. Kept ones
 * are on disk anyway; others are spilled: the host has written them for that, and what it has
 * written is not needed any more as soon as they are back. */

/* Forgets kept messages from *seq on and below `end`, but not their places: all of these are on
 * disk. Unacked ones are among them, which have to come back only when they are requeued. Looks at
 * up to `budget` of them, moves *seq behind, and gives how many it forgot. */
uint32_t queue_page_out(struct queue *queue, uint64_t *seq, uint64_t end, uint32_t budget);

/* Finds the first message in memory with *seq <= its seq < end that is not kept, whose seq is put
 * into *seq; looks at up to *budget, from which that is taken. False when there is none, or none so
 * far: then *seq is moved up to where it has looked. The message is borrowed until the next op, and
 * NULL when it cannot be spilled, being unacked. Nothing may be doomed: see queue_is_dropping. */
bool queue_next_spillable(const struct queue *queue, uint64_t *seq, uint64_t end, uint32_t *budget,
    struct message **ret_message);

/* Forgets ready messages that are not kept, from *seq on and below `end`, as queue_page_out does
 * kept ones: all of these are on disk. */
uint32_t queue_spill_out(struct queue *queue, uint64_t *seq, uint64_t end, uint32_t budget);

/* Whether the message of `seq`, which is away, is spilled; or else it is kept. */
bool queue_is_spilled(const struct queue *queue, uint64_t seq);

/* The first ready message that is away and not before *seq, into *seq; false when there is none. */
bool queue_next_away(struct queue *queue, uint64_t *seq);

/* Whether the message of `seq` is away, ready or unacked. */
bool queue_wants(const struct queue *queue, uint64_t seq);

/* Takes the message of `seq` back, with a reference. False when it is not wanted: then the
 * reference stays the caller's. */
bool queue_give(struct queue *queue, uint64_t seq, struct message *message);

/* True while the message that would leave next is away: nothing is delivered before it is back,
 * and GET must not be applied. */
bool queue_is_away(const struct queue *queue);

/* The message that would leave next is away and will not come back: it leaves the queue, but is not
 * settled. */
void queue_skip_away(struct queue *queue);

/* How many ready messages are in memory before those that are away, about. */
uint64_t queue_resident_head(const struct queue *queue);

/* Whether any message is away, ready or unacked. */
bool queue_lacks(const struct queue *queue);

/* How many ready messages are away. */
uint64_t queue_away_count(const struct queue *queue);

/* Bytes of their bodies; of those that were there before the start about. */
uint64_t queue_away_bytes(const struct queue *queue);

/* How many unacked messages are in memory. */
uint64_t queue_unacked_resident(const struct queue *queue);

/* Bytes of the bodies of ready messages that are in memory. */
uint64_t queue_resident_bytes(const struct queue *queue);

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
