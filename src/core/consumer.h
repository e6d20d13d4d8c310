/* consumer: who takes messages from a queue, and whose turn it is.
 *
 *                   below prefetch again
 *        +--------------------------------- BLOCKED
 *        v        prefetch reached             ^
 *   ACTIVE (ring of its priority) -------------+
 *        ^  |         credit used up
 *        |  +------------------------------> WAITING (in credit->waiting)
 *        |  |  no token                         |
 *        |  +-------------> ASKING              | credit_add
 *        |     TOKENS          |                |
 *        +---------------------+----------------+
 *
 * Only ACTIVE consumers are looked at when a message is ready; why one cannot take a message is
 * found out when its turn comes, or right after a delivery. Each priority has a ring: who has been
 * served goes last. A handle is a serial number of the queue that also says where in the table its
 * consumer is, so it is never used twice: whoever holds one of a consumer that is gone finds
 * nothing. */
#ifndef CORE_CONSUMER_H
#define CORE_CONSUMER_H

#include "core/queue.h"

enum consumer_place { CONSUMER_ACTIVE, CONSUMER_BLOCKED, CONSUMER_WAITING, CONSUMER_ASKING };

struct consumer_level;

struct consumer {
    struct list_node in_turn;    /* level->ring when ACTIVE, credit->waiting when WAITING */
    struct list_node in_holders; /* consumers->holders while it has tokens */
    struct queue *queue;
    struct consumers *consumers;
    struct consumer_level *level;
    struct credit *credit;
    connection_ref connection;
    uint32_t tag_id;
    uint16_t channel;
    bool no_ack;
    bool shared;   /* each delivery uses a token of the channel */
    uint8_t place; /* enum consumer_place */
    consumer_handle handle;
    uint32_t prefetch; /* 0 is no limit */
    uint32_t unacked;
    uint32_t tokens;
};

/* The consumers of one priority. */
struct consumer_level {
    struct list_node in_levels; /* consumers->levels, highest priority first */
    struct list_node in_active; /* consumers->active in the same order, while ring has a member */
    struct list ring;
    int32_t priority;
    uint32_t count;
};

/* The consumers of one queue. Most queues have one or two of one priority: what these need lies
 * here, so that a delivery looks at few places in memory. */
struct consumers {
    struct consumer **table; /* at handle modulo capacity */
    uint32_t capacity;       /* a power of two */
    uint32_t count;
    struct list active;
    struct consumer_level own_level; /* of one priority, free while its count is 0 */
    struct list levels;
    struct list holders; /* of tokens */
    consumer_handle last_handle;
    consumer_handle exclusive; /* the one that wants no other; 0 is none */
    uint32_t lost_from;        /* consumers_next_lost: nobody is before this place in the table */
    struct consumer *own_table[2];
};

/* No consumers yet. Handles go on after `last_handle`, which the queue keeps while it has none. */
struct consumers *consumers_new(consumer_handle last_handle);

/* There must be none left; NULL is fine. */
void consumers_free(struct consumers *consumers);

/* A consumer as CONSUME asks for it, ACTIVE, last in its ring; it counts as a user of `credit`. */
struct consumer *consumers_put(
    struct consumers *consumers, struct queue *queue, const struct op *op, struct credit *credit);

/* Takes the consumer out of everything and releases it. */
void consumers_remove(struct consumers *consumers, struct consumer *consumer);

/* By the handle, or, when the op has none, by connection, channel and tag. NULL when it is gone;
 * `consumers` may be NULL. */
struct consumer *consumers_find(const struct consumers *consumers, consumer_handle handle);
struct consumer *consumers_find_for(const struct consumers *consumers, const struct op *op);

/* The next one to tell that its queue is gone, or NULL when all have been removed. Nobody may be
 * added after the first call. */
struct consumer *consumers_next_lost(struct consumers *consumers);

/* Changes of place; consumer_activate puts it last in its ring. */
void consumer_activate(struct consumer *consumer);
void consumer_deactivate(struct consumer *consumer, enum consumer_place place);

/* Sets how many tokens it holds. */
void consumer_set_tokens(struct consumer *consumer, uint32_t tokens);

/* `count` of its messages are settled or back; it becomes ACTIVE when that was what it lacked. */
void consumer_settled(struct consumer *consumer, uint32_t count);

/* Checks the invariants; gives the sum of unacked. */
uint64_t consumers_check(const struct consumers *consumers);

/* Whose turn it is: the first of the highest priority that has an ACTIVE one; or NULL. */
static inline struct consumer *consumers_first(const struct consumers *consumers) {
    if (!consumers || list_empty(&consumers->active)) return NULL;
    const struct consumer_level *level =
        LIST_ENTRY(consumers->active.head.next, struct consumer_level, in_active);
    return LIST_ENTRY(level->ring.head.next, struct consumer, in_turn);
}

/* It has been served and goes last. */
static inline void consumer_rotate(struct consumer *consumer) {
    struct list *ring = &consumer->level->ring;
    if (ring->head.prev == &consumer->in_turn) return;
    list_remove(&consumer->in_turn);
    list_put_last(ring, &consumer->in_turn);
}

static inline bool consumer_at_prefetch(const struct consumer *consumer) {
    return consumer->prefetch != 0 && consumer->unacked >= consumer->prefetch;
}

#endif
