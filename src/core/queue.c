/* queue: messages wait here, in order, until a consumer is done with them.
 *
 *             requeued (heap of runs)                 cursor
 *                    v                                  v
 *   seq:   u  .  .   r  r  u  .  d  d  d  d  .  u  u  u | R  R  R  R  R | next_seq
 *
 *   R ready, never delivered: everything from the cursor on   r ready again: in `requeued`
 *   u unacked: marked in its entry    d doomed: purged or settled, in `doomed` until it is dropped
 *   . gone: no entry
 *
 * So a message's place follows from its seq alone: the four sets are disjoint, and nothing is moved
 * when a queue of ten million is purged. */
#include "core/queue.h"

#include "base/memory.h"
#include "core/queue_state.h"

enum {
    /* What one TOKENS_WANTED asks for at most: a part of a channel's prefetch, so that its
     * consumers of other queues are not left without. */
    TOKENS_ASKED_MAX = 64,
    /* Messages that one SETTLE releases itself; those of a longer range are doomed. */
    SETTLED_NOW_MAX = 256
};

struct queue *queue_new(
    queue_ref self, const struct queue_settings *settings, struct message_pool *pool) {
    struct queue *queue = NEW(struct queue);
    entries_init(&queue->entries, message_pool_chunks(pool));
    queue->cursor = queue->entries.next_seq;
    queue->limit = UINT64_MAX;
    queue->pool = pool;
    queue->self = self;
    queue->settings = *settings;
    return queue;
}

void queue_keep(struct queue *queue, struct settlements *settlements) {
    check(queue->entries.next_seq == 1);
    queue->settlements = settlements;
    queue->limit = 0;
}

struct list_node *queue_in_pump(struct queue *queue) {
    return &queue->in_pump;
}

struct queue *queue_of_pump(struct list_node *node) {
    return LIST_ENTRY(node, struct queue, in_pump);
}

queue_ref queue_self(const struct queue *queue) {
    return queue->self;
}

bool queue_gone(const struct queue *queue) {
    return queue->gone;
}

uint64_t queue_next_seq(const struct queue *queue) {
    return queue->entries.next_seq;
}

uint64_t queue_next_ready(const struct queue *queue) {
    return queue_head(queue);
}

void queue_allow(struct queue *queue, uint64_t limit) {
    queue->limit = max_u64(queue->limit, limit);
}

bool queue_is_held_back(const struct queue *queue) {
    return queue->ready != 0 && queue_head(queue) >= queue->limit && queue->consumers &&
           !list_empty(&queue->consumers->active);
}

bool queue_is_dropping(const struct queue *queue) {
    return queue->gone || !ranges_empty(&queue->doomed);
}

bool queue_next_kept(
    const struct queue *queue, uint64_t *seq, uint64_t end, struct message **ret_message) {
    struct entry *entry = NULL;
    for (uint64_t at = *seq; entries_next_any(&queue->entries, &at, end, &entry); at++) {
        if (entry && !(entry->flags & ENTRY_KEPT)) continue;
        if (!entry && queue_is_spilled(queue, at)) {
            at |= CHUNK_ENTRIES - 1;
            continue;
        }
        *seq = at;
        if (ret_message) *ret_message = entry ? entry->message : NULL;
        return true;
    }
    return false;
}

static_assert(CHUNK_ENTRIES == 64, "a chunk's places are a word");

bool queue_next_places(const struct queue *queue, uint64_t *number, uint64_t *ret_there) {
    return entries_next_chunk(&queue->entries, number, ret_there);
}

uint64_t queue_ready_count(const struct queue *queue) {
    return queue->ready;
}

uint64_t queue_unacked_count(const struct queue *queue) {
    return queue->unacked;
}

uint32_t queue_consumer_count(const struct queue *queue) {
    return queue->consumers && !queue->gone ? queue->consumers->count : 0;
}

uint64_t queue_bytes(const struct queue *queue) {
    return queue->ready_bytes + queue->unacked_bytes;
}

static uint32_t count_u32(uint64_t count) {
    return count < UINT32_MAX ? (uint32_t)count : UINT32_MAX;
}

/* ---- effects */

/* A blank effect at the end of the list; whoever asks for it fills in the rest. The fields that all
 * have are arguments and written in place: a struct on the stack would be copied in wide pieces
 * that wait for its narrow stores. */
static inline struct effect *put_effect(
    struct effects *effects, enum effect_kind kind, uint16_t channel, connection_ref connection) {
    check(effects->count < PUMP_EFFECTS_MAX);
    struct effect *effect = &effects->list[effects->count++];
    *effect = (struct effect){.kind = (uint8_t)kind, .channel = channel, .connection = connection};
    return effect;
}

static struct effect *answer(struct effects *effects, const struct op *op, enum effect_kind kind) {
    struct effect *effect = put_effect(effects, kind, op->channel, op->connection);
    effect->request = op->request;
    return effect;
}

/* An effect for a consumer, not an answer. */
static inline struct effect *tell(
    struct effects *effects, const struct consumer *consumer, enum effect_kind kind) {
    struct effect *effect = put_effect(effects, kind, consumer->channel, consumer->connection);
    effect->tag_id = consumer->tag_id;
    effect->consumer = consumer->handle;
    return effect;
}

static void give_tokens_back(struct consumer *consumer, struct effects *effects) {
    tell(effects, consumer, EFFECT_TOKENS_BACK)->consumers = consumer->tokens;
    consumer_set_tokens(consumer, 0);
}

/* ---- messages */

/* A message that is settled and leaves its place. */
static inline void note_settled(struct queue *queue, const struct entry *entry, uint64_t seq) {
    if (!(entry->flags & ENTRY_KEPT)) return;
    settled_runs_put(&queue->settlements->settled, seq, 1);
    settled_runs_put(&queue->settlements->dropped, seq, 1);
}

/* The next ready message leaves its place; its entry is still there. There must be one. */
static inline struct entry *take_ready(struct queue *queue, uint64_t *ret_seq) {
    uint64_t seq;
    if (ranges_empty(&queue->requeued)) {
        seq = queue->cursor++;
    } else {
        seq = ranges_first(&queue->requeued)->seq;
        ranges_take(&queue->requeued, 1);
    }
    struct entry *entry = entries_find(&queue->entries, seq);
    check(entry != NULL);
    check(entry->message != NULL); /* see queue_is_away */
    check(queue->ready != 0);
    queue->ready--;
    queue->ready_bytes -= entry->body_size;
    *ret_seq = seq;
    return entry;
}

/* Gives the message away, with a reference: the queue's own when nobody will settle it. */
static inline struct message *lend(
    struct queue *queue, struct entry *entry, uint64_t seq, bool no_ack) {
    struct message *message = entry->message;
    if (no_ack) {
        note_settled(queue, entry, seq);
        entries_remove(&queue->entries, seq);
    } else {
        entry->flags |= ENTRY_UNACKED;
        queue->unacked++;
        queue->unacked_bytes += entry->body_size;
        message_ref(message, 1);
    }
    return message;
}

static uint8_t delivery_flags(const struct entry *entry, bool no_ack) {
    return (uint8_t)((entry->flags & ENTRY_REDELIVERED ? EFFECT_REDELIVERED : 0) |
                     (no_ack ? EFFECT_NO_ACK : 0));
}

static void leave_unacked(struct queue *queue, const struct entry *entry) {
    check(queue->unacked != 0);
    check(queue->unacked_bytes >= entry->body_size);
    queue->unacked--;
    queue->unacked_bytes -= entry->body_size;
}

/* ---- ops */

static void apply_enqueue(struct queue *queue, const struct op *op) {
    check(op->message != NULL);
    if (queue->gone) {
        message_unref(queue->pool, op->message);
        return;
    }
    bool kept = queue->settlements && op->message->persistent;
    entries_put(&queue->entries, op->message, kept ? ENTRY_KEPT : 0);
    queue->ready++;
    queue->ready_bytes += op->message->body_size;
}

static uint64_t range_end(const struct op *op) {
    uint64_t end;
    bool over = __builtin_add_overflow(op->range.seq, (uint64_t)op->range.count, &end);
    return over ? UINT64_MAX : end;
}

static inline bool settle(struct queue *queue, const struct entry *entry, uint64_t seq) {
    if (!entry || !(entry->flags & ENTRY_UNACKED)) return false;
    leave_unacked(queue, entry);
    note_settled(queue, entry, seq);
    if (!entry->message) queue->lent_away--;
    message_unref(queue->pool, entry->message);
    entries_remove(&queue->entries, seq);
    return true;
}

/* Seqs that come in ascending order, collected into runs. */
struct run {
    struct ranges *into;
    uint64_t seq;
    uint64_t count;
};

static void run_end(struct run *run) {
    if (run->count != 0) ranges_put(run->into, run->seq, run->count);
    run->count = 0;
}

static void run_put(struct run *run, uint64_t seq, uint64_t count) {
    if (run->seq + run->count != seq) {
        run_end(run);
        run->seq = seq;
    }
    run->count += count;
}

/* What is settled is not unacked from now on, but its memory is released by and by. */
static uint32_t settle_later(struct queue *queue, uint64_t seq, uint64_t end) {
    uint32_t count = 0;
    struct run run = {.into = &queue->doomed};
    struct entry *entry;
    for (; (entry = entries_next(&queue->entries, &seq, end)) != NULL; seq++) {
        if (!(entry->flags & ENTRY_UNACKED)) continue;
        leave_unacked(queue, entry);
        entry->flags &= ENTRY_KEPT;
        if (!entry->message) queue->lent_away--;
        if (entry->flags) settled_runs_put(&queue->settlements->settled, seq, 1);
        run_put(&run, seq, 1);
        count++;
    }
    run_end(&run);
    return count;
}

static uint32_t settle_range(struct queue *queue, uint64_t seq, uint64_t end) {
    uint32_t count = 0;
    const struct entry *entry;
    for (; (entry = entries_next(&queue->entries, &seq, end)) != NULL; seq++) {
        if (count == SETTLED_NOW_MAX) return count + settle_later(queue, seq, end);
        count += settle(queue, entry, seq);
    }
    return count;
}

static uint32_t requeue_range(struct queue *queue, uint64_t seq, uint64_t end, bool returned) {
    uint32_t count = 0;
    struct run run = {.into = &queue->requeued};
    struct entry *entry;
    for (; (entry = entries_next(&queue->entries, &seq, end)) != NULL; seq++) {
        if (!(entry->flags & ENTRY_UNACKED)) continue;
        leave_unacked(queue, entry);
        entry->flags = (uint8_t)((entry->flags & ENTRY_KEPT) | ENTRY_REDELIVERED);
        if (!returned && entry->attempts != UINT8_MAX) entry->attempts++;
        queue->ready++;
        queue->ready_bytes += entry->body_size;
        if (!entry->message) {
            queue->lent_away--;
            queue_note_away(queue, seq, entry);
        }
        run_put(&run, seq, 1);
        count++;
    }
    run_end(&run);
    return count;
}

static void apply_settle(struct queue *queue, const struct op *op) {
    if (queue->gone) return;
    uint64_t seq = op->range.seq;
    uint32_t count = op->range.count == 1 ? settle(queue, entries_find(&queue->entries, seq), seq)
                                          : settle_range(queue, seq, range_end(op));
    struct consumer *consumer = consumers_find(queue->consumers, op->range.consumer);
    if (consumer) consumer_settled(consumer, count);
    entries_tidy(&queue->entries, queue->cursor);
}

static void apply_requeue(struct queue *queue, const struct op *op) {
    if (queue->gone) return;
    bool returned = op->flags & OP_RETURNED;
    uint32_t count = requeue_range(queue, op->range.seq, range_end(op), returned);
    struct consumer *consumer = consumers_find(queue->consumers, op->range.consumer);
    if (consumer) consumer_settled(consumer, count);
}

static void apply_get(struct queue *queue, const struct op *op, struct effects *effects) {
    if (queue->ready == 0) {
        answer(effects, op, EFFECT_GET_EMPTY)->code = queue->gone ? REPLY_NOT_FOUND : REPLY_OK;
        return;
    }
    bool no_ack = op->flags & OP_NO_ACK;
    uint64_t seq;
    struct entry *entry = take_ready(queue, &seq);
    struct effect *effect = answer(effects, op, EFFECT_GOT);
    effect->flags = delivery_flags(entry, no_ack);
    effect->seq = seq;
    effect->messages = count_u32(queue->ready);
    effect->message = lend(queue, entry, seq, no_ack);
}

static void apply_consume(
    struct queue *queue, const struct op *op, struct credit *credit, struct effects *effects) {
    struct effect *effect = answer(effects, op, EFFECT_CONSUMED);
    if (queue->gone) {
        effect->code = REPLY_NOT_FOUND;
        return;
    }
    if (queue->consumers && (op->flags & OP_EXCLUSIVE || queue->consumers->exclusive)) {
        effect->code = REPLY_ACCESS_REFUSED;
        return;
    }
    if (!queue->consumers) queue->consumers = consumers_new(queue->last_handle);
    effect->consumer = consumers_put(queue->consumers, queue, op, credit)->handle;
}

/* From here on nothing comes in, and everything inside is owed work. */
static void enter_gone(struct queue *queue) {
    check(!queue->gone);
    queue->gone = true;
    queue->settlements = NULL; /* the keeper forgets all of it at once */
    queue->ready = queue->unacked = queue->lent_away = 0;
    queue->ready_bytes = queue->unacked_bytes = 0;
    queue->cursor = queue->entries.next_seq;
    queue_forget_away(queue);
    ranges_clear(&queue->requeued);
    ranges_clear(&queue->doomed);
    if (entries_count(&queue->entries) != 0) ranges_put(&queue->doomed, 1, queue->cursor - 1);
}

static void drop_consumers(struct queue *queue) {
    queue->last_handle = queue->consumers->last_handle;
    consumers_free(queue->consumers);
    queue->consumers = NULL;
}

static void apply_cancel(struct queue *queue, const struct op *op, struct effects *effects) {
    struct consumer *consumer = consumers_find_for(queue->consumers, op);
    if (consumer) {
        if (consumer->tokens) give_tokens_back(consumer, effects);
        consumers_remove(queue->consumers, consumer);
        if (queue->consumers->count == 0) drop_consumers(queue);
        if (!queue->consumers && queue->settings.auto_delete && !queue->gone) {
            enter_gone(queue);
            queue->owes_gone = true;
        }
    }
    if (op->request != 0) answer(effects, op, EFFECT_CANCELLED);
}

static void apply_tokens(struct queue *queue, const struct op *op, struct effects *effects) {
    struct consumer *consumer =
        queue->gone ? NULL : consumers_find(queue->consumers, op->consumer.consumer);
    if (op->consumer.count == 0) {
        /* The channel's shared prefetch is younger than the consumer, and holds for it too. */
        if (consumer && !consumer->no_ack) consumer->shared = true;
        return;
    }
    if (!consumer || !consumer->shared) {
        struct effect *effect = answer(effects, op, EFFECT_TOKENS_BACK);
        effect->tag_id = op->consumer.tag_id;
        effect->consumer = op->consumer.consumer;
        effect->consumers = op->consumer.count;
        return;
    }
    consumer_set_tokens(consumer, consumer->tokens + op->consumer.count);
    consumer_activate(consumer);
}

/* All that is ready is settled; which of it is kept shows when it is dropped. */
static void note_purged(struct queue *queue) {
    struct settled_runs *settled = &queue->settlements->settled;
    for (uint32_t i = 0; i < queue->requeued.count; i++) {
        const struct range *range = &queue->requeued.heap[i];
        settled_runs_put(settled, range->seq, range->count);
    }
    uint64_t untouched = queue->entries.next_seq - queue->cursor;
    if (untouched != 0) settled_runs_put(settled, queue->cursor, untouched);
}

static void apply_purge(struct queue *queue, const struct op *op, struct effects *effects) {
    struct effect *effect = answer(effects, op, EFFECT_PURGED);
    effect->code = queue->gone ? REPLY_NOT_FOUND : REPLY_OK;
    effect->messages = count_u32(queue->ready);
    if (queue->ready == 0) return;
    uint64_t next_seq = queue->entries.next_seq;
    if (queue->settlements) note_purged(queue);
    ranges_put_all(&queue->doomed, &queue->requeued);
    if (queue->cursor != next_seq) {
        ranges_put(&queue->doomed, queue->cursor, next_seq - queue->cursor);
    }
    queue->cursor = next_seq;
    queue->ready = queue->ready_bytes = 0;
    queue_forget_away(queue);
}

static void apply_stat(struct queue *queue, const struct op *op, struct effects *effects) {
    struct effect *effect = answer(effects, op, EFFECT_STATED);
    effect->code = queue->gone ? REPLY_NOT_FOUND : REPLY_OK;
    effect->messages = count_u32(queue->ready);
    effect->consumers = queue_consumer_count(queue);
}

static void apply_delete(struct queue *queue, const struct op *op, struct effects *effects) {
    struct effect *effect = answer(effects, op, EFFECT_DELETED);
    if (queue->gone) {
        effect->code = REPLY_NOT_FOUND;
        return;
    }
    uint32_t consumers = queue_consumer_count(queue);
    if (op->flags & OP_IF_UNUSED && consumers != 0) {
        effect->code = REPLY_PRECONDITION_FAILED;
        effect->consumers = consumers;
        return;
    }
    effect->messages = count_u32(queue->ready);
    if (op->flags & OP_IF_EMPTY && queue->ready != 0) {
        effect->code = REPLY_PRECONDITION_FAILED;
        return;
    }
    enter_gone(queue);
}

void queue_apply(
    struct queue *queue, const struct op *op, struct credit *credit, struct effects *effects) {
    switch ((enum op_kind)op->kind) {
    case OP_ENQUEUE: apply_enqueue(queue, op); return;
    case OP_SETTLE: apply_settle(queue, op); return;
    case OP_REQUEUE: apply_requeue(queue, op); return;
    case OP_CONSUME: apply_consume(queue, op, credit, effects); return;
    case OP_CANCEL: apply_cancel(queue, op, effects); return;
    case OP_GET: apply_get(queue, op, effects); return;
    case OP_TOKENS: apply_tokens(queue, op, effects); return;
    case OP_PURGE: apply_purge(queue, op, effects); return;
    case OP_STAT: apply_stat(queue, op, effects); return;
    case OP_DELETE: apply_delete(queue, op, effects); return;
    case OP_KIND_COUNT: break;
    }
    unreachable_here();
}

/* ---- reading back */

/* Places that are on disk only; next_seq is where they begin. */
static void put_away(struct entries *entries, uint64_t count, bool redelivered) {
    uint8_t flags = (uint8_t)(ENTRY_KEPT | (redelivered ? ENTRY_REDELIVERED : 0));
    while (count != 0) {
        bool whole = entries->next_seq % CHUNK_ENTRIES == 0 && count >= CHUNK_ENTRIES;
        if (whole) {
            entries_put_folded(entries, redelivered);
        } else {
            entries_put(entries, NULL, flags);
        }
        count -= whole ? CHUNK_ENTRIES : 1;
    }
}

void queue_restore(
    struct queue *queue, const struct queue_restored *list, size_t count, uint64_t next_seq) {
    check(queue->settlements != NULL);
    check(queue->ready == 0);
    struct run run = {.into = &queue->requeued};
    for (size_t i = 0; i < count; i++) {
        const struct queue_restored *restored = &list[i];
        check(restored->count != 0);
        entries_skip(&queue->entries, restored->seq);
        put_away(&queue->entries, restored->count, restored->redelivered);
        run_put(&run, restored->seq, restored->count);
        queue->ready += restored->count;
        queue->ready_bytes += restored->bytes;
        queue->away_to = restored->seq + restored->count;
    }
    run_end(&run);
    queue->away = queue->ready;
    queue->away_bytes = queue->ready_bytes;
    queue->away_from = count != 0 ? list[0].seq : 0;
    entries_skip(&queue->entries, next_seq);
    queue->cursor = next_seq;
    entries_tidy(&queue->entries, queue->cursor);
}

/* ---- owed work */

static void note_dropped(struct queue *queue, uint64_t seq, uint64_t count) {
    if (queue->settlements) settled_runs_put(&queue->settlements->dropped, seq, count);
}

/* Drops what is at `seq`; gives where to go on. Of a folded chunk everything is doomed. */
static uint64_t drop_at(struct queue *queue, uint64_t seq, const struct entry *entry) {
    if (!entry) {
        uint64_t number = seq / CHUNK_ENTRIES;
        if (!queue_is_spilled(queue, seq))
            note_dropped(queue, number * CHUNK_ENTRIES, CHUNK_ENTRIES);
        entries_remove_folded(&queue->entries, number);
        return (number + 1) * CHUNK_ENTRIES;
    }
    if (entry->flags & ENTRY_KEPT) note_dropped(queue, seq, 1);
    message_unref(queue->pool, entry->message);
    entries_remove(&queue->entries, seq);
    return seq + 1;
}

/* Drops up to `budget` doomed messages, or folded chunks of them; gives how many. */
static uint32_t drop_doomed(struct queue *queue, uint32_t budget) {
    uint32_t count = 0;
    while (count < budget && !ranges_empty(&queue->doomed)) {
        const struct range *range = ranges_first(&queue->doomed);
        uint64_t first = range->seq, seq = first, end = first + range->count;
        struct entry *entry = NULL;
        bool more = true;
        for (; count < budget; count++) {
            more = entries_next_any(&queue->entries, &seq, end, &entry);
            if (!more) break;
            seq = drop_at(queue, seq, entry);
        }
        ranges_take(&queue->doomed, (more ? min_u64(seq, end) : end) - first);
    }
    return count;
}

static void ask_for_tokens(
    const struct queue *queue, struct consumer *consumer, struct effects *effects) {
    uint64_t wanted = min_u64(queue->ready, TOKENS_ASKED_MAX);
    if (consumer->prefetch) wanted = min_u64(wanted, consumer->prefetch - consumer->unacked);
    tell(effects, consumer, EFFECT_TOKENS_WANTED)->consumers = (uint32_t)wanted;
    consumer_deactivate(consumer, CONSUMER_ASKING);
}

/* Whether `consumer` cannot take a message; then it leaves its ring, without tokens. */
static bool leaves_ring(
    const struct queue *queue, struct consumer *consumer, struct effects *effects) {
    enum consumer_place place;
    if (consumer_at_prefetch(consumer)) {
        place = CONSUMER_BLOCKED;
    } else if (consumer->credit->bytes <= 0) {
        place = CONSUMER_WAITING;
    } else if (consumer->shared && consumer->tokens == 0) {
        ask_for_tokens(queue, consumer, effects);
        return true;
    } else {
        return false;
    }
    if (consumer->tokens) give_tokens_back(consumer, effects);
    consumer_deactivate(consumer, place);
    return true;
}

static void deliver(struct queue *queue, struct consumer *consumer, struct effects *effects) {
    bool no_ack = consumer->no_ack;
    uint64_t seq;
    struct entry *entry = take_ready(queue, &seq);
    struct effect *effect = tell(effects, consumer, EFFECT_DELIVER);
    effect->flags = delivery_flags(entry, no_ack);
    effect->seq = seq;
    effect->message = lend(queue, entry, seq, no_ack);
    consumer->credit->bytes -= queue_delivery_cost(effect->message);
    if (consumer->credit->bytes < DELIVERY_CREDIT_BYTES / 2) effect->flags |= EFFECT_CREDIT_LOW;
    if (consumer->shared) consumer_set_tokens(consumer, consumer->tokens - 1);
    if (!no_ack) consumer->unacked++;
    if (consumer_at_prefetch(consumer) && consumer->tokens == 0) {
        consumer_deactivate(consumer, CONSUMER_BLOCKED);
    } else {
        consumer_rotate(consumer);
    }
}

/* Each turn yields at most one effect. Gives the number of turns. */
static uint32_t deliver_some(struct queue *queue, uint32_t budget, struct effects *effects) {
    uint32_t turns = 0;
    while (turns < budget && queue->ready != 0 && queue_head(queue) < queue->limit) {
        if (queue_is_away(queue)) break;
        struct consumer *consumer = consumers_first(queue->consumers);
        if (!consumer) break;
        if (!leaves_ring(queue, consumer, effects)) deliver(queue, consumer, effects);
        turns++;
    }
    return turns;
}

/* With nothing ready, tokens may be wanted elsewhere. */
static uint32_t return_tokens(struct queue *queue, uint32_t budget, struct effects *effects) {
    uint32_t turns = 0;
    while (turns < budget && queue->consumers && queue->ready == 0) {
        struct list_node *node = list_first(&queue->consumers->holders);
        if (!node) break;
        give_tokens_back(LIST_ENTRY(node, struct consumer, in_holders), effects);
        turns++;
    }
    return turns;
}

/* One notice, two for a consumer that has tokens; false when there is none left. */
static bool tell_gone(struct queue *queue, struct effects *effects) {
    if (queue->owes_gone) {
        queue->owes_gone = false;
        put_effect(effects, EFFECT_GONE, 0, 0);
        return true;
    }
    if (!queue->consumers) return false;
    struct consumer *consumer = consumers_next_lost(queue->consumers);
    check(consumer != NULL);
    if (consumer->tokens) {
        give_tokens_back(consumer, effects);
        return true;
    }
    tell(effects, consumer, EFFECT_CONSUMER_LOST);
    consumers_remove(queue->consumers, consumer);
    if (queue->consumers->count == 0) drop_consumers(queue);
    return true;
}

uint32_t queue_pump(struct queue *queue, uint32_t budget, struct effects *effects) {
    check(effects->count + (uint64_t)budget <= PUMP_EFFECTS_MAX);
    uint32_t left = budget;
    if (queue->gone) {
        while (left != 0 && tell_gone(queue, effects)) {
            left--;
        }
        left -= drop_doomed(queue, left);
        return budget - left;
    }
    /* A long purge and deliveries share the budget. */
    if (!ranges_empty(&queue->doomed)) left -= drop_doomed(queue, left - left / 2);
    left -= deliver_some(queue, left, effects);
    left -= return_tokens(queue, left, effects);
    if (!ranges_empty(&queue->doomed)) left -= drop_doomed(queue, left);
    entries_tidy(&queue->entries, queue->cursor);
    return budget - left;
}

bool queue_owes(const struct queue *queue) {
    if (!ranges_empty(&queue->doomed)) return true;
    if (!queue->consumers) return queue->owes_gone;
    if (queue->gone) return true;
    if (queue->ready == 0) return !list_empty(&queue->consumers->holders);
    if (queue_head(queue) >= queue->limit || queue_is_away(queue)) return false;
    return !list_empty(&queue->consumers->active);
}

/* ---- the end */

void queue_free(struct queue *queue) {
    if (!queue) return;
    if (!queue->gone) enter_gone(queue);
    while (!ranges_empty(&queue->doomed)) {
        drop_doomed(queue, UINT32_MAX);
    }
    if (queue->consumers) {
        struct consumer *consumer;
        while ((consumer = consumers_next_lost(queue->consumers)) != NULL) {
            consumers_remove(queue->consumers, consumer);
        }
        drop_consumers(queue);
    }
    list_remove_if_linked(&queue->in_pump);
    entries_deinit(&queue->entries);
    ranges_clear(&queue->requeued);
    ranges_clear(&queue->doomed);
    mem_free(queue);
}

/* What is in a set of places. */
struct tally {
    uint64_t count;
    uint64_t bytes; /* of those in memory */
    uint64_t away;
};

static void tally_put(struct tally *tally, const struct entry *entry) {
    tally->count++;
    if (entry && entry->message) tally->bytes += entry->body_size;
    if (!entry || !entry->message) tally->away++;
}

/* Every seq in the runs is there and not unacked. */
static void check_runs(
    const struct queue *queue, const struct ranges *ranges, struct tally *tally) {
    ranges_check(ranges);
    for (uint32_t i = 0; i < ranges->count; i++) {
        const struct range *range = &ranges->heap[i];
        check(range->seq + range->count <= queue->cursor);
        for (uint64_t seq = range->seq; seq < range->seq + range->count; seq++) {
            const struct entry *entry = entries_find(&queue->entries, seq);
            check(entry || entries_in_folded(&queue->entries, seq));
            if (entry) check(!(entry->flags & ENTRY_UNACKED));
            tally_put(tally, entry);
        }
    }
}

static void check_away(const struct queue *queue) {
    uint64_t seq = 0;
    uint64_t lent = 0;
    struct entry *entry = NULL;
    if (queue->away == 0) check(queue->away_bytes == 0);
    /* Doomed ones may be on disk only as well, and are not counted. */
    if (!ranges_empty(&queue->doomed)) return;
    for (; entries_next_any(&queue->entries, &seq, UINT64_MAX, &entry); seq++) {
        if (entry && entry->message) continue;
        if (entry && entry->flags & ENTRY_UNACKED) {
            lent++;
            continue;
        }
        check(seq >= queue->away_from && seq < queue->away_to);
    }
    check(lent == queue->lent_away);
}

static void check_counts(const struct queue *queue) {
    uint64_t seq = 0, unacked = 0, unacked_bytes = 0;
    struct tally ready = {0};
    struct entry *entry = NULL;
    for (; entries_next_any(&queue->entries, &seq, UINT64_MAX, &entry); seq++) {
        if (entry && entry->flags & ENTRY_UNACKED) {
            check(seq < queue->cursor);
            unacked++;
            unacked_bytes += entry->body_size;
        } else if (seq >= queue->cursor) {
            tally_put(&ready, entry);
        }
    }
    check(ready.count == queue->entries.next_seq - queue->cursor);
    check(unacked == queue->unacked);
    check(unacked_bytes == queue->unacked_bytes);
    check_runs(queue, &queue->requeued, &ready);
    check(ready.count == queue->ready);
    check(ready.away == queue->away);
    check(ready.bytes + queue->away_bytes == queue->ready_bytes);
    struct tally doomed = {0};
    check_runs(queue, &queue->doomed, &doomed);
    check(queue->ready + unacked + doomed.count == entries_count(&queue->entries));
    check_away(queue);
}

void queue_check(const struct queue *queue) {
    entries_check(&queue->entries);
    if (queue->gone) {
        check(queue->ready == 0);
        check(queue->unacked == 0);
        check(queue_bytes(queue) == 0);
        check(ranges_empty(&queue->requeued));
        if (entries_count(&queue->entries) != 0) check(!ranges_empty(&queue->doomed));
        return;
    }
    check(!queue->owes_gone);
    check_counts(queue);
    if (!queue->consumers) return;
    check(queue->consumers->count != 0);
    check(consumers_check(queue->consumers) <= queue->unacked);
}
