/* queue_state: the inside of a queue, shared by the files that are parts of it. */
#ifndef CORE_QUEUE_STATE_H
#define CORE_QUEUE_STATE_H

#include "core/consumer.h"
#include "core/entries.h"
#include "core/queue.h"
#include "core/ranges.h"

struct queue {
    struct entries entries;
    uint64_t cursor;
    uint64_t limit; /* messages from here on may not be delivered yet */
    uint64_t ready;
    uint64_t unacked;
    uint64_t ready_bytes;
    uint64_t unacked_bytes;
    struct ranges requeued;
    struct ranges doomed;
    struct consumers *consumers; /* NULL while there are none */
    struct message_pool *pool;
    struct settlements *settlements; /* of a kept queue, else NULL */
    struct list_node in_pump;
    queue_ref self;
    consumer_handle last_handle; /* of the consumers before */
    struct queue_settings settings;
    uint64_t away; /* ready messages that are on disk only, */
    uint64_t away_bytes;
    uint64_t away_from; /* all of them from here on */
    uint64_t away_to;   /* and before here */
    uint64_t lent_away; /* unacked ones that are on disk only */
    bool gone;
    bool owes_gone; /* the GONE effect */
};

static_assert(sizeof(struct queue) <= 312, "an idle queue is this and nothing else");

/* The seq of the message that would leave next. */
static inline uint64_t queue_head(const struct queue *queue) {
    return ranges_empty(&queue->requeued) ? queue->cursor : ranges_first(&queue->requeued)->seq;
}

/* A ready message that is on disk only. */
static inline void queue_note_away(struct queue *queue, uint64_t seq, const struct entry *entry) {
    bool first = queue->away == 0;
    queue->away_from = first ? seq : min_u64(queue->away_from, seq);
    queue->away_to = first ? seq + 1 : max_u64(queue->away_to, seq + 1);
    queue->away++;
    queue->away_bytes += entry->body_size;
}

/* Nothing that is ready is on disk only any more. */
static inline void queue_forget_away(struct queue *queue) {
    queue->away = queue->away_bytes = 0;
    queue->away_from = queue->away_to = 0;
}

#endif
