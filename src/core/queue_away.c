/* queue_away: messages of a queue that are on disk only.
 *
 *     seq   head ............ away_from ................ away_to ......... next_seq
 *           | in memory       | away, most of them       | in memory: the latest |
 *
 * Between the two marks a ready message may be away or not; outside none is. Unacked ones are only
 * counted. What is away keeps its place, and where all of a chunk is away, the chunk is folded:
 * then a place costs a bit. */
#include "core/queue_state.h"

bool queue_is_away(const struct queue *queue) {
    if (__builtin_expect(queue->away == 0, 1) || queue->ready == 0) return false;
    uint64_t seq = queue_head(queue);
    if (seq < queue->away_from || seq >= queue->away_to) return false;
    const struct entry *entry = entries_find(&queue->entries, seq);
    return !entry || !entry->message;
}

bool queue_lacks(const struct queue *queue) {
    return queue->away != 0 || queue->lent_away != 0;
}

uint64_t queue_away_count(const struct queue *queue) {
    return queue->away;
}

uint64_t queue_away_bytes(const struct queue *queue) {
    return queue->away_bytes;
}

uint64_t queue_unacked_resident(const struct queue *queue) {
    return queue->unacked - queue->lent_away;
}

uint64_t queue_resident_bytes(const struct queue *queue) {
    return queue->ready_bytes - queue->away_bytes;
}

/* One that is unacked goes when nobody else has it, who might still be sending it. */
static bool may_go(const struct entry *entry) {
    if (!entry->message || !(entry->flags & ENTRY_KEPT)) return false;
    return !(entry->flags & ENTRY_UNACKED) ||
           atomic_load_explicit(&entry->message->refs, memory_order_relaxed) == 1;
}

/* A ready one that is not kept goes when the host has spilled it. */
static bool may_spill(const struct entry *entry) {
    return entry->message && !(entry->flags & (ENTRY_KEPT | ENTRY_UNACKED));
}

static void let_go(struct queue *queue, uint64_t seq, struct entry *entry) {
    if (entry->flags & ENTRY_UNACKED)
        queue->lent_away++;
    else
        queue_note_away(queue, seq, entry);
    if (!(entry->flags & ENTRY_KEPT)) entry->flags |= ENTRY_SPILLED;
    message_unref(queue->pool, entry->message);
    entry->message = NULL;
}

/* Where a walk that is over has got to: not behind its end, though chunks and gaps are passed over
 * as a whole. */
static uint64_t looked_up_to(uint64_t seq, uint64_t end, uint32_t budget) {
    return budget != 0 ? end : min_u64(seq, end);
}

/* Of those that may go, from *seq on. */
static uint32_t let_range_go(struct queue *queue, uint64_t *seq, uint64_t end, uint32_t budget,
    bool (*may)(const struct entry *entry)) {
    uint32_t forgot = 0;
    uint64_t from = *seq;
    /* What is doomed cannot be told from what is ready. */
    if (queue->gone || !ranges_empty(&queue->doomed)) return 0;
    struct entry *entry = NULL;
    end = min_u64(end, queue->entries.next_seq);
    for (; budget != 0 && entries_next_any(&queue->entries, seq, end, &entry); budget--) {
        if (!entry) {
            *seq = (*seq / CHUNK_ENTRIES + 1) * CHUNK_ENTRIES;
            continue;
        }
        bool goes = may(entry);
        if (goes) let_go(queue, *seq, entry);
        forgot += goes;
        uint64_t number = *seq / CHUNK_ENTRIES;
        bool last = *seq % CHUNK_ENTRIES == CHUNK_ENTRIES - 1;
        if (last && entries_is_plain(entries_chunk(&queue->entries, *seq)))
            entries_fold(&queue->entries, number);
        ++*seq;
    }
    if (from < end) *seq = looked_up_to(*seq, end, budget);
    return forgot;
}

uint32_t queue_page_out(struct queue *queue, uint64_t *seq, uint64_t end, uint32_t budget) {
    return let_range_go(queue, seq, end, budget, may_go);
}

uint32_t queue_spill_out(struct queue *queue, uint64_t *seq, uint64_t end, uint32_t budget) {
    return let_range_go(queue, seq, end, budget, may_spill);
}

bool queue_next_spillable(const struct queue *queue, uint64_t *seq, uint64_t end, uint32_t *budget,
    struct message **ret_message) {
    struct entry *entry = NULL;
    uint64_t from = *seq;
    check(ranges_empty(&queue->doomed));
    end = min_u64(end, queue->entries.next_seq);
    for (; *budget != 0 && entries_next_any(&queue->entries, seq, end, &entry); --*budget) {
        if (!entry) {
            *seq = (*seq / CHUNK_ENTRIES + 1) * CHUNK_ENTRIES;
            continue;
        }
        if (entry->message && !(entry->flags & ENTRY_KEPT)) {
            *ret_message = may_spill(entry) ? entry->message : NULL;
            return true;
        }
        ++*seq;
    }
    if (from < end) *seq = looked_up_to(*seq, end, *budget);
    return false;
}

bool queue_is_spilled(const struct queue *queue, uint64_t seq) {
    const struct chunk *chunk = entries_chunk(&queue->entries, seq);
    if (entries_is_folded(chunk)) return entries_mark_flags(chunk) & ENTRY_SPILLED;
    const struct entry *entry = entries_find(&queue->entries, seq);
    return entry && entry->flags & ENTRY_SPILLED;
}

bool queue_next_away(struct queue *queue, uint64_t *seq) {
    /* What is doomed may be among what is away. */
    if (queue->away == 0 || !ranges_empty(&queue->doomed)) return false;
    bool from_first = *seq <= queue->away_from;
    uint64_t at = max_u64(*seq, queue->away_from);
    struct entry *entry = NULL;
    for (; entries_next_any(&queue->entries, &at, queue->away_to, &entry); at++) {
        if (entry && (entry->message || entry->flags & ENTRY_UNACKED)) continue;
        *seq = at;
        if (from_first) queue->away_from = at;
        return true;
    }
    check(!from_first);
    return false;
}

bool queue_wants(const struct queue *queue, uint64_t seq) {
    if (queue->away == 0 && queue->lent_away == 0) return false;
    /* What is doomed may be on disk only, too, and cannot be told from what is ready. */
    if (!ranges_empty(&queue->doomed)) return false;
    if (entries_in_folded(&queue->entries, seq)) return true;
    const struct entry *entry = entries_find(&queue->entries, seq);
    return entry && !entry->message;
}

static void leave_away(struct queue *queue) {
    if (--queue->away != 0) return;
    queue->ready_bytes -= queue->away_bytes;
    queue_forget_away(queue);
}

void queue_skip_away(struct queue *queue) {
    check(queue_is_away(queue));
    uint64_t seq = queue_head(queue);
    if (entries_in_folded(&queue->entries, seq))
        entries_unfold(&queue->entries, seq / CHUNK_ENTRIES);
    uint64_t size = min_u64(entries_find(&queue->entries, seq)->body_size, queue->away_bytes);
    entries_remove(&queue->entries, seq);
    if (ranges_empty(&queue->requeued)) {
        queue->cursor++;
    } else {
        ranges_take(&queue->requeued, 1);
    }
    queue->ready--;
    queue->ready_bytes -= size;
    queue->away_bytes -= size;
    leave_away(queue);
}

uint64_t queue_resident_head(const struct queue *queue) {
    uint64_t behind = queue->entries.next_seq - max_u64(queue->away_to, queue->cursor);
    uint64_t resident = queue->ready - queue->away;
    return resident - min_u64(resident, behind);
}

bool queue_give(struct queue *queue, uint64_t seq, struct message *message) {
    if (!queue_wants(queue, seq)) return false;
    if (entries_in_folded(&queue->entries, seq))
        entries_unfold(&queue->entries, seq / CHUNK_ENTRIES);
    struct entry *entry = entries_find(&queue->entries, seq);
    entry->message = message;
    entry->flags &= (uint8_t)~ENTRY_SPILLED;
    if (entry->flags & ENTRY_UNACKED) {
        queue->lent_away--;
        return true;
    }
    entry->body_size = message->body_size;
    /* What is known of the sizes of restored messages may be an estimate. */
    uint64_t size = message->body_size;
    if (size > queue->away_bytes) {
        queue->ready_bytes += size - queue->away_bytes;
        queue->away_bytes = size;
    }
    queue->away_bytes -= size;
    leave_away(queue);
    return true;
}
