/* queue_host: who orders the ops of a shard's queues and carries their effects out. */
#include "shard/queue_host.h"

#define HASH_NONFATAL_OOM 0
#include <uthash.h>

#include "base/memory.h"
#include "shard/keeper.h"
#include "shard/shard.h"

/* After so many messages it is looked at how much of a queue is in memory. */
enum { GROWTH_LOOKED_AT = 64 };

/* Between two looks at the clock: what takes some ten microseconds. */
enum { PIECES_PER_LOOK = 512 };

/* A connection that consumes from queues of this shard. */
struct link {
    connection_ref connection;
    struct credit credit;
    UT_hash_handle hh;
};

/* ---- slots ---- */

static struct queue_slot *slot_find(struct shard *shard, queue_ref ref) {
    uint32_t index = ref_slot(ref);
    if (index >= shard->queue_capacity) return NULL;
    struct queue_slot *slot = queue_host_slot_at(shard, index);
    if (!slot->queue || (slot->generation & 0xffffff) != ref_generation(ref)) return NULL;
    return slot;
}

struct queue_slot *queue_host_slot(struct shard *shard, queue_ref ref) {
    return slot_find(shard, ref);
}

static struct queue_slot *slot_get(struct shard *shard, queue_ref ref) {
    struct queue_slot *slot = slot_find(shard, ref);
    check(slot != NULL);
    return slot;
}

static void slots_grow(struct shard *shard) {
    uint32_t old = shard->queue_capacity;
    uint32_t blocks = old / QUEUE_BLOCK_SLOTS;
    check(old + QUEUE_BLOCK_SLOTS <= REF_SLOTS_MAX);
    if ((blocks & (blocks - 1)) == 0) {
        uint32_t room = blocks ? 2 * blocks : 1;
        shard->queues = mem_resize(shard->queues, room * sizeof *shard->queues);
    }
    shard->queues[blocks] = mem_new_array(QUEUE_BLOCK_SLOTS, sizeof **shard->queues);
    shard->queue_capacity = old + QUEUE_BLOCK_SLOTS;
    for (uint32_t i = shard->queue_capacity; i-- > old;) {
        queue_host_slot_at(shard, i)->next_free = shard->queue_free;
        shard->queue_free = i + 1;
    }
}

queue_ref queue_host_make(struct shard *shard, const struct request *request) {
    if (shard->queue_free == 0) slots_grow(shard);
    uint32_t index = shard->queue_free - 1;
    struct queue_slot *slot = queue_host_slot_at(shard, index);
    shard->queue_free = slot->next_free;
    do
        slot->generation++;
    while ((slot->generation & 0xffffff) == 0);
    queue_ref ref = ref_make(shard->number, index, slot->generation);
    struct queue_settings settings = {.auto_delete = request->change.auto_delete};
    slot->queue = queue_new(ref, &settings, shard->pool);
    slot->name = name_new(request->change.name);
    slot->id = request->queue_id;
    slot->ticket = slot->id != 0 ? TICKET_UNKNOWN : 0;
    slot->shelf = NULL;
    slot->spilled = NULL;
    slot->paging = NULL;
    if (slot->id != 0 && shard->keeper) keeper_adopt_queue(shard->keeper, slot, ref);
    shard->queue_count++;
    counter_add(&shard->counters.queues_made, 1);
    return ref;
}

void queue_host_on_rowed(struct shard *shard, queue_ref ref, uint64_t ticket) {
    struct queue_slot *slot = slot_find(shard, ref);
    if (slot) slot->ticket = ticket;
}

/* Puts the queue among those to pump when it owes work. */
static void owe(struct shard *shard, struct queue *queue) {
    struct list_node *node = queue_in_pump(queue);
    if (!list_linked(node) && queue_owes(queue)) list_put_last(&shard->pump, node);
}

/* Nothing of the queue will come back from disk. */
static void forget_away(struct shard *shard, struct queue_slot *slot) {
    if (!shard->keeper) return;
    pager_forget(slot);
    spill_forget(&shard->keeper->spill, slot);
    mem_free(slot->spilled);
    slot->spilled = NULL;
}

/* Frees a queue that has left the topology and owes nothing any more. */
static void slot_free(struct shard *shard, queue_ref ref) {
    struct queue_slot *slot = slot_get(shard, ref);
    list_remove_if_linked(queue_in_pump(slot->queue));
    forget_away(shard, slot);
    queue_free(slot->queue);
    if (slot->shelf) shard->keeper->retirement.changed = true;
    bool empties = slot->shelf && shelf_lives_in_past(slot->shelf);
    shelf_free(slot->shelf, shard->number);
    mem_free(slot->name);
    if (empties) retirement_on_emptied(&shard->keeper->retirement);
    slot->queue = NULL;
    slot->shelf = NULL;
    slot->name = NULL;
    slot->forgotten = false;
    slot->next_free = shard->queue_free;
    shard->queue_free = ref_slot(ref) + 1;
    shard->queue_count--;
    counter_add(&shard->counters.queues_deleted, 1);
}

void queue_host_forget(struct shard *shard, queue_ref ref) {
    struct queue_slot *slot = slot_get(shard, ref);
    if (slot->paging) pager_serve(&shard->keeper->pager, slot);
    /* Ten million dropped messages take many slices: the last one frees the slot. */
    if (queue_owes(slot->queue)) {
        slot->forgotten = true;
        owe(shard, slot->queue);
    } else {
        slot_free(shard, ref);
    }
}

/* ---- links: the byte credit of connections ---- */

static struct link *link_find(struct shard *shard, connection_ref connection) {
    struct link *link = NULL;
    HASH_FIND(hh, shard->links, &connection, sizeof connection, link);
    return link;
}

static struct credit *link_credit(struct shard *shard, connection_ref connection) {
    struct link *link = link_find(shard, connection);
    if (!link) {
        link = NEW(struct link);
        link->connection = connection;
        credit_init(&link->credit, DELIVERY_CREDIT_BYTES);
        HASH_ADD(hh, shard->links, connection, sizeof link->connection, link);
    }
    return &link->credit;
}

static void link_drop_if_unused(struct shard *shard, connection_ref connection) {
    struct link *link = link_find(shard, connection);
    if (!link || link->credit.users != 0) return;
    HASH_DEL(shard->links, link);
    mem_free(link);
}

void queue_host_on_credit(struct shard *shard, connection_ref connection, uint64_t bytes) {
    struct link *link = link_find(shard, connection);
    if (!link) return;
    /* A link that was made anew does not know what its predecessor had under way: never above the
     * full credit. */
    int64_t room = (int64_t)DELIVERY_CREDIT_BYTES - link->credit.bytes;
    if (room <= 0) return;
    credit_add(&link->credit, (int64_t)min_u64(bytes, (uint64_t)room), &shard->pump);
}

/* ---- effects ---- */

static void release_effect(struct shard *shard, queue_ref queue, const struct effect *effect) {
    if (effect->kind == EFFECT_GONE) {
        struct mail *mail = mesh_post(shard->broker->mesh, shard->number, shard->broker->registrar);
        *mail = (struct mail){.kind = MAIL_GONE,
            .ref = queue,
            .name = name_new(name_bytes(slot_get(shard, queue)->name))};
        return;
    }
    struct mail *mail =
        mesh_post(shard->broker->mesh, shard->number, ref_shard(effect->connection));
    mail->kind = MAIL_EFFECT;
    mail->ref = queue;
    mail->effect = *effect;
    if (effect->kind == EFFECT_CONSUMER_LOST) link_drop_if_unused(shard, effect->connection);
}
static void release_effects(struct shard *shard, queue_ref queue) {
    struct effects *effects = &shard->effects;
    for (uint32_t i = 0; i < effects->count; i++)
        release_effect(shard, queue, &effects->list[i]);
    effects->count = 0;
}

/* ---- ops ---- */

static enum effect_kind answer_kind(enum op_kind kind) {
    switch (kind) {
    case OP_CONSUME: return EFFECT_CONSUMED;
    case OP_CANCEL: return EFFECT_CANCELLED;
    case OP_GET: return EFFECT_GET_EMPTY;
    case OP_PURGE: return EFFECT_PURGED;
    case OP_STAT: return EFFECT_STATED;
    case OP_DELETE: return EFFECT_DELETED;
    case OP_TOKENS: return EFFECT_TOKENS_BACK;
    case OP_ENQUEUE:
    case OP_SETTLE:
    case OP_REQUEUE:
    case OP_KIND_COUNT: break;
    }
    unreachable_here();
}

/* The queue of this op is gone: publishes are dropped, as if it had been deleted a moment later;
 * questions get NOT_FOUND. */
static void op_for_missing(struct shard *shard, queue_ref ref, const struct op *op) {
    if (op->kind == OP_ENQUEUE) {
        message_unref(shard->pool, op->message);
        return;
    }
    if (op->kind == OP_SETTLE || op->kind == OP_REQUEUE) return;
    if (op->kind == OP_CANCEL && op->request == 0) return;
    struct effect effect = {
        .kind = (uint8_t)answer_kind((enum op_kind)op->kind),
        .channel = op->channel,
        .request = op->request,
        .connection = op->connection,
        .code = REPLY_NOT_FOUND,
    };
    if (op->kind == OP_TOKENS) {
        effect.tag_id = op->consumer.tag_id;
        effect.consumer = op->consumer.consumer;
        effect.consumers = op->consumer.count;
    }
    release_effect(shard, ref, &effect);
}

static void count_op(struct shard *shard, const struct op *op) {
    if (op->kind == OP_SETTLE) counter_add(&shard->counters.settled, op->range.count);
    if (op->kind == OP_REQUEUE) counter_add(&shard->counters.requeued, op->range.count);
}

/* ---- kept queues: the same, and what has to be recorded */

/* A persistent message gets its place on disk. False when it does not need one. */
static bool keep_message(
    struct shard *shard, struct queue_slot *slot, const struct op *op, uint32_t from) {
    if (queue_gone(slot->queue)) return false;
    uint64_t seq = queue_next_seq(slot->queue);
    if (!op->message->persistent) {
        keeper_announce(shard->keeper, slot, seq);
        return false;
    }
    struct peer *peer = &shard->peers[from];
    keeper_put(shard->keeper, slot, seq, op->message, from);
    /* The queue itself has to be stable first. Before we are told with which commit it is, any that
     * is open may be it. */
    uint64_t ticket =
        slot->ticket == TICKET_UNKNOWN ? atomic_load(&shard->broker->ticket_open) : slot->ticket;
    if (ticket > shard->ticket_stable) peer->ticket = max_u64(peer->ticket, ticket);
    return true;
}

/* What the op has settled is recorded, and its answer waits for that if it promises so. */
static void after_kept_op(
    struct shard *shard, struct queue_slot *slot, const struct op *op, bool kept) {
    struct keeper *keeper = shard->keeper;
    keeper_take_settlements(keeper, slot);
    bool looks = op->kind == OP_ENQUEUE && queue_next_seq(slot->queue) % GROWTH_LOOKED_AT == 0;
    if (looks || op->kind == OP_REQUEUE) pager_on_growth(&keeper->pager, slot);
    for (uint32_t i = 0; i < shard->effects.count; i++) {
        const struct effect *effect = &shard->effects.list[i];
        uint64_t position = 0;
        if (effect->kind == EFFECT_PURGED) position = keeper->last_position;
        if (effect->kind == EFFECT_GOT) position = keeper_on_got(keeper, slot, effect->seq);
        if (position <= keeper->stable) continue;
        if (effect->kind == EFFECT_PURGED) keeper_hurry(keeper);
        struct mail mail = {.kind = MAIL_EFFECT, .ref = queue_self(slot->queue), .effect = *effect};
        keeper_post_at(keeper, position, ref_shard(effect->connection), &mail);
        shard->effects.count = 0; /* it was the only one */
        check(i == 0);
    }
    /* keeper_put has looked after persistent messages. */
    bool announced = op->kind == OP_ENQUEUE && kept;
    if (!announced && op->kind != OP_SETTLE) keeper_extend_limit(keeper, slot);
}

void queue_host_allow(struct shard *shard, queue_ref ref, uint64_t limit) {
    struct queue_slot *slot = slot_find(shard, ref);
    if (!slot || queue_gone(slot->queue)) return;
    queue_allow(slot->queue, limit);
    owe(shard, slot->queue);
    if (queue_away_count(slot->queue) != 0) pager_on_need(&shard->keeper->pager, slot);
}

/* ---- ops */

/* Whether the ENQUEUE's publisher has to be told as soon as it is applied, or as soon as it is
 * stable. A persistent one counts as stable after those before it, also where nothing keeps it. */
static void count_enqueue(struct shard *shard, uint32_t from, const struct op *op) {
    struct peer *peer = &shard->peers[from];
    peer->applied++;
    if (!(op->flags & OP_AWAITED)) return;
    if (op->message->persistent && shard->keeper)
        peer->awaited_stable = true;
    else
        peer->awaited = true;
}

/* Of what is on disk only something may be wanted now, or not any more. */
static void look_after_away(struct shard *shard, struct queue_slot *slot) {
    struct pager *pager = &shard->keeper->pager;
    if (slot->paging) pager_serve(pager, slot);
    if (slot->queue && queue_away_count(slot->queue) != 0) pager_on_need(pager, slot);
}

/* What has been written of what is not kept may be wanted again, or not at all. */
static void look_after_spilled(struct shard *shard, struct queue_slot *slot, const struct op *op) {
    if (op->kind == OP_ENQUEUE) shard->keeper->spill.grown = true;
    if (op->kind == OP_REQUEUE) spill_on_requeue(slot, op->range.seq);
    if (op->kind == OP_PURGE) spill_forget(&shard->keeper->spill, slot);
}

void queue_host_on_op(struct shard *shard, uint32_t from, const struct mail *mail) {
    const struct op *op = &mail->op;
    struct queue_slot *slot = slot_find(shard, mail->ref);
    bool of_kept = slot && slot->shelf;
    bool kept = false;
    if (op->kind == OP_ENQUEUE) {
        kept = of_kept && keep_message(shard, slot, op, from);
        count_enqueue(shard, from, op);
    }
    if (__builtin_expect(slot == NULL, 0)) {
        op_for_missing(shard, mail->ref, op);
        return;
    }
    if (op->kind == OP_GET && queue_is_away(slot->queue)) {
        pager_park(&shard->keeper->pager, slot, from, mail);
        return;
    }
    struct credit *credit = op->kind == OP_CONSUME ? link_credit(shard, op->connection) : NULL;
    queue_apply(slot->queue, op, credit, &shard->effects);
    if (op->kind != OP_ENQUEUE) count_op(shard, op);
    if (of_kept) after_kept_op(shard, slot, op, kept);
    if (shard->keeper) look_after_spilled(shard, slot, op);
    release_effects(shard, mail->ref);
    if (op->kind == OP_CANCEL || op->kind == OP_CONSUME) link_drop_if_unused(shard, op->connection);
    owe(shard, slot->queue);
    if (shard->keeper && op->kind != OP_ENQUEUE) look_after_away(shard, slot);
}

void queue_host_on_given(struct shard *shard, struct queue_slot *slot) {
    owe(shard, slot->queue);
    look_after_away(shard, slot);
}

enum reply_code queue_host_remove(
    struct shard *shard, queue_ref ref, uint8_t flags, uint32_t *ret_messages) {
    *ret_messages = 0;
    struct queue_slot *slot = slot_find(shard, ref);
    if (!slot) return REPLY_NOT_FOUND;
    struct op op = {.kind = OP_DELETE, .flags = flags, .now_ms = shard->now_ms};
    queue_apply(slot->queue, &op, NULL, &shard->effects);
    enum reply_code code = REPLY_NOT_FOUND;
    for (uint32_t i = 0; i < shard->effects.count; i++) {
        const struct effect *effect = &shard->effects.list[i];
        if (effect->kind != EFFECT_DELETED) continue;
        code = (enum reply_code)effect->code;
        /* A refusal gives the messages only when they are the reason. */
        bool in_use = code != REPLY_OK && effect->consumers != 0;
        *ret_messages = in_use ? 0 : effect->messages;
    }
    /* What the queue owes now (its consumers' notices) waits for MAIL_FORGET, so that whoever
     * deletes it hears delete-ok first. */
    shard->effects.count = 0;
    return code;
}

static void count_deliveries(struct shard *shard) {
    uint64_t no_ack = 0;
    uint64_t delivered = 0;
    for (uint32_t i = 0; i < shard->effects.count; i++) {
        if (shard->effects.list[i].kind != EFFECT_DELIVER) continue;
        delivered++;
        no_ack += (shard->effects.list[i].flags & EFFECT_NO_ACK) != 0;
    }
    counter_add(&shard->counters.delivered, delivered);
    counter_add(&shard->counters.delivered_no_ack, no_ack);
}

static void pump_one(struct shard *shard, struct queue *queue, uint32_t *done) {
    queue_ref ref = queue_self(queue);
    *done += queue_pump(queue, PUMP_EFFECTS_MAX, &shard->effects) + 1;
    count_deliveries(shard);
    struct queue_slot *slot = slot_get(shard, ref);
    if (slot->shelf) {
        keeper_take_settlements(shard->keeper, slot);
        keeper_extend_limit(shard->keeper, slot);
    }
    release_effects(shard, ref);
    if (queue_away_count(queue) != 0) pager_on_need(&shard->keeper->pager, slot);
    owe(shard, queue);
    if (slot->forgotten && !queue_owes(queue)) slot_free(shard, ref);
}

uint32_t queue_host_pump(struct shard *shard, uint32_t enough, uint32_t budget) {
    uint32_t done = 0;
    uint32_t look_at = enough;
    while (done < budget) {
        if (done >= look_at) {
            if (shard_turn_is_long(shard)) break;
            look_at = done + PIECES_PER_LOOK;
        }
        struct list_node *node = list_take_first(&shard->pump);
        if (!node) break;
        pump_one(shard, queue_of_pump(node), &done);
    }
    return done;
}

/* Tells the peer; it is woken when somebody there waits. */
static void announce(struct shard *shard, uint32_t to, bool awaited) {
    struct peer *peer = &shard->peers[to];
    struct mesh *mesh = shard->broker->mesh;
    struct mail *mail =
        awaited ? mesh_post(mesh, shard->number, to) : mesh_post_quietly(mesh, shard->number, to);
    mail->kind = MAIL_WATERMARK;
    mail->watermark.applied = peer->announced = peer->applied;
    mail->watermark.stable = peer->announced_stable = peer->stable;
}

void queue_host_announce(struct shard *shard) {
    for (uint32_t i = 0; i < shard->broker->shard_count; i++) {
        struct peer *peer = &shard->peers[i];
        bool awaited = peer->awaited;
        if (shard->keeper) {
            awaited = keeper_mark(shard->keeper, peer) || awaited;
        } else {
            peer->stable = peer->applied;
        }
        if (peer->applied == peer->announced && peer->stable == peer->announced_stable) continue;
        peer->awaited = false;
        announce(shard, i, awaited);
    }
}

void queue_host_each(struct shard *shard,
    void (*each)(void *context, struct bytes name, const struct queue *queue), void *context) {
    for (uint32_t i = 0; i < shard->queue_capacity; i++) {
        struct queue_slot *slot = queue_host_slot_at(shard, i);
        if (slot->queue) each(context, name_bytes(slot->name), slot->queue);
    }
}

void queue_host_deinit(struct shard *shard) {
    for (uint32_t i = 0; i < shard->queue_capacity; i++) {
        struct queue_slot *slot = queue_host_slot_at(shard, i);
        if (!slot->queue) continue;
        list_remove_if_linked(queue_in_pump(slot->queue));
        forget_away(shard, slot);
        queue_free(slot->queue);
        shelf_free(slot->shelf, shard->number);
        mem_free(slot->name);
    }
    for (uint32_t i = 0; i < shard->queue_capacity; i += QUEUE_BLOCK_SLOTS)
        mem_free(queue_host_slot_at(shard, i));
    mem_free(shard->queues);
    shard->queues = NULL;
    shard->queue_capacity = shard->queue_free = shard->queue_count = 0;
    struct link *link = NULL;
    struct link *next = NULL;
    HASH_ITER(hh, shard->links, link, next) {
        HASH_DEL(shard->links, link);
        mem_free(link);
    }
}
