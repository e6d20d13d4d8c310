/* ledger: which messages live, as the records of journals and segments say. */
#include "store/ledger.h"

#include <stdlib.h>

#include "base/memory.h"
#include "store/le.h"

enum { BLOCK_PLACES = LEDGER_BLOCK_WORDS * RECORD_SETTLED_PLACES };

static void queue_free(struct ledger_queue *queue) {
    if (!queue) return;
    for (size_t i = 0; i < queue->block_count; i++)
        mem_free(queue->blocks[i]);
    mem_free(queue->blocks);
    mem_free(queue->spans);
    mem_free(queue);
}

void ledger_deinit(struct ledger *ledger) {
    for (size_t i = 0; i < ledger->count; i++)
        queue_free(ledger->queues[i]);
    mem_free(ledger->queues);
    mem_free(ledger->ids);
    *ledger = (struct ledger){.count = 0};
}

void ledger_add(struct ledger *ledger, uint64_t id) {
    check(ledger->count == 0 || ledger->ids[ledger->count - 1] < id);
    if (ledger->count == ledger->capacity) {
        ledger->capacity = ledger->capacity ? 2 * ledger->capacity : 16;
        ledger->ids = mem_resize(ledger->ids, ledger->capacity * sizeof *ledger->ids);
        ledger->queues =
            mem_resize(ledger->queues, ledger->capacity * sizeof(struct ledger_queue *));
    }
    ledger->ids[ledger->count] = id;
    ledger->queues[ledger->count++] = NULL;
}

/* Records of one queue come in runs, so that it is mostly the one of last time. */
struct ledger_queue *ledger_find(struct ledger *ledger, uint64_t id) {
    size_t low = ledger->last;
    if (low >= ledger->count || ledger->ids[low] != id) {
        size_t high = ledger->count;
        low = 0;
        while (low < high) {
            size_t middle = low + (high - low) / 2;
            if (ledger->ids[middle] < id) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        if (low == ledger->count || ledger->ids[low] != id) return NULL;
        ledger->last = low;
    }
    if (!ledger->queues[low]) {
        ledger->queues[low] = NEW(struct ledger_queue);
        ledger->queues[low]->at = low;
    }
    return ledger->queues[low];
}

/* ---- facts ---- */

static void raise(uint64_t *value, uint64_t to) {
    *value = max_u64(*value, to);
}

static void put_span(struct ledger_queue *queue, uint64_t seq, uint64_t count) {
    uint64_t end = seq + count;
    raise(&queue->next_seq, end);
    struct ledger_span *last = queue->span_count ? &queue->spans[queue->span_count - 1] : NULL;
    if (last && last->end == seq) {
        last->end = end;
        return;
    }
    if (queue->span_count == queue->span_capacity) {
        queue->span_capacity = queue->span_capacity ? 2 * queue->span_capacity : 4;
        queue->spans = mem_resize(queue->spans, queue->span_capacity * sizeof *queue->spans);
    }
    queue->spans[queue->span_count++] = (struct ledger_span){seq, end};
}

/* The place of block `number`, or where it would be. They come and are asked for in order, mostly.
 */
static size_t search_block(struct ledger_queue *queue, uint64_t number) {
    size_t low = 0, high = queue->block_count;
    for (size_t at = queue->block_at; at < high && at < queue->block_at + 2; at++) {
        if (queue->blocks[at]->number == number) return queue->block_at = at;
    }
    if (high != 0 && queue->blocks[high - 1]->number < number) return high;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (queue->blocks[middle]->number < number) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return queue->block_at = low;
}

static const struct ledger_block *find_block(struct ledger_queue *queue, uint64_t number) {
    size_t at = search_block(queue, number);
    bool found = at < queue->block_count && queue->blocks[at]->number == number;
    return found ? queue->blocks[at] : NULL;
}

static struct ledger_block *block_of(struct ledger_queue *queue, uint64_t number) {
    size_t at = search_block(queue, number);
    if (at < queue->block_count && queue->blocks[at]->number == number) return queue->blocks[at];
    if (queue->block_count == queue->block_capacity) {
        queue->block_capacity = queue->block_capacity ? 2 * queue->block_capacity : 4;
        queue->blocks =
            mem_resize(queue->blocks, queue->block_capacity * sizeof(struct ledger_block *));
    }
    struct ledger_block **block = &queue->blocks[at];
    memmove(block + 1, block, (queue->block_count - at) * sizeof(struct ledger_block *));
    queue->block_count++;
    queue->block_at = at;
    *block = NEW(struct ledger_block);
    (*block)->number = number;
    return *block;
}

static void put_bits(struct ledger_queue *queue, const struct record_view *view, uint64_t seq) {
    for (uint32_t i = 0; i < record_settled_words(view); i++, seq += RECORD_SETTLED_PLACES) {
        uint64_t word = record_settled_word(view, i);
        if (word == 0) continue;
        struct ledger_block *block = block_of(queue, seq / BLOCK_PLACES);
        block->words[seq % BLOCK_PLACES / RECORD_SETTLED_PLACES] |= word;
        raise(&queue->next_seq, seq + RECORD_SETTLED_PLACES - (uint64_t)__builtin_clzll(word));
    }
}

/* The first place from `seq` on whose bit is `set`, or `end`. */
static uint64_t next_bit(struct ledger_queue *queue, uint64_t seq, uint64_t end, bool set) {
    if (queue->block_count == 0) return set ? end : seq;
    while (seq < end) {
        const struct ledger_block *block = find_block(queue, seq / BLOCK_PLACES);
        uint64_t next = (seq / BLOCK_PLACES + 1) * BLOCK_PLACES;
        if (block) {
            uint64_t word = block->words[seq % BLOCK_PLACES / RECORD_SETTLED_PLACES];
            uint64_t bits = (set ? word : ~word) >> (seq % RECORD_SETTLED_PLACES);
            if (bits != 0) return min_u64(end, seq + (uint64_t)__builtin_ctzll(bits));
            next = (seq / RECORD_SETTLED_PLACES + 1) * RECORD_SETTLED_PLACES;
        } else if (!set) {
            return seq;
        }
        seq = next;
    }
    return end;
}

static void put_qstate(struct ledger_queue *queue, const struct record_view *view) {
    if (view->head.size < LEDGER_QSTATE_HEAD_BYTES) return;
    raise(&queue->next_seq, le_get_u64(view->head.data));
    raise(&queue->delivered, le_get_u64(view->head.data + 8));
}

void ledger_take(struct ledger_queue *queue, const struct record_view *view,
    const struct record_target *target) {
    if (view->type == RECORD_ACK) {
        put_span(queue, target->seq, target->count);
        return;
    }
    if (view->type == RECORD_SETTLED) {
        put_bits(queue, view, target->seq);
        return;
    }
    if (view->type == RECORD_DELIVERED) {
        raise(&queue->delivered, target->seq);
        return;
    }
    raise(&queue->below, target->seq);
    raise(&queue->next_seq, target->seq);
    if (view->type == RECORD_QSTATE) put_qstate(queue, view);
}

static int by_seq(const void *a, const void *b) {
    const struct ledger_span *left = a;
    const struct ledger_span *right = b;
    return left->seq < right->seq ? -1 : left->seq > right->seq;
}

/* In order, those that touch or overlap as one. */
static void merge_spans(struct ledger_queue *queue) {
    if (queue->span_count == 0) return;
    qsort(queue->spans, queue->span_count, sizeof *queue->spans, by_seq);
    size_t kept = 0;
    for (size_t i = 1; i < queue->span_count; i++) {
        struct ledger_span span = queue->spans[i];
        if (span.seq <= queue->spans[kept].end) {
            raise(&queue->spans[kept].end, span.end);
        } else {
            queue->spans[++kept] = span;
        }
    }
    queue->span_count = kept + 1;
}

void ledger_close(struct ledger *ledger) {
    for (size_t i = 0; i < ledger->count; i++) {
        if (ledger->queues[i]) merge_spans(ledger->queues[i]);
    }
}

/* ---- messages ---- */

/* Messages come nearly in order, so that the span is mostly where it was last time. */
static bool is_in_span(struct ledger_queue *queue, uint64_t seq) {
    const struct ledger_span *spans = queue->spans;
    size_t at = queue->span_at;
    bool behind = at != 0 && seq < spans[at - 1].end;
    if (behind) {
        size_t high = at;
        at = 0;
        while (at < high) {
            size_t middle = at + (high - at) / 2;
            if (spans[middle].end <= seq) {
                at = middle + 1;
            } else {
                high = middle;
            }
        }
    }
    while (at < queue->span_count && spans[at].end <= seq)
        at++;
    queue->span_at = at;
    return at < queue->span_count && spans[at].seq <= seq;
}

bool ledger_lives(struct ledger_queue *queue, uint64_t seq) {
    raise(&queue->next_seq, seq + 1);
    if (seq < queue->below || is_in_span(queue, seq)) return false;
    return next_bit(queue, seq, seq + 1, true) != seq;
}

bool ledger_next_live(struct ledger_queue *queue, uint64_t *seq, uint64_t end, uint64_t *ret_end) {
    raise(&queue->next_seq, end);
    raise(seq, queue->below);
    for (uint64_t from = UINT64_MAX; from != *seq;) {
        from = *seq;
        /* is_in_span leaves span_at at the span that has the seq, or at the first behind it. */
        while (*seq < end && is_in_span(queue, *seq))
            *seq = queue->spans[queue->span_at].end;
        if (*seq < end) *seq = next_bit(queue, *seq, end, false);
        if (*seq >= end) return false;
    }
    bool any = queue->span_at < queue->span_count;
    uint64_t next = any ? min_u64(end, queue->spans[queue->span_at].seq) : end;
    *ret_end = next_bit(queue, *seq, next, true);
    return true;
}
