/* queue_away_model_test: random ops, goings and comings against a queue and against plain arrays.
 *
 * The model knows of each message whether it is there, where, and whether it is in memory. What
 * leaves the queue is compared exactly: which message, its content, its flag. After each step the
 * counts are compared and queue_check recounts; in the end every kept message must have been
 * settled and dropped once, except those that were lost. One seed is one history. */
#include "unit.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"
#include "base/prng.h"
#include "core/queue.h"

enum {
    SEEDS = 150, /* SEEDS=n in the environment for more, SEED=n for one */
    STEPS = 600,
    PLACES = 8000, /* seqs are below */
    PREFETCH_MAX = 400
};

enum state { NONE, READY, UNACKED };

struct place {
    enum state state;
    bool kept;
    bool redelivered;
    bool away;
    uint32_t size;
    struct message *lent;  /* with a reference: somebody is still sending it */
    consumer_handle owner; /* who has it unacked; 0 is GET */
    uint8_t settled;       /* how often it was noted */
    uint8_t dropped;
    bool done; /* it should have been */
};

enum step {
    STEP_ENQUEUE,
    STEP_GET,
    STEP_CONSUME,
    STEP_PUMP,
    STEP_SETTLE,
    STEP_REQUEUE,
    STEP_SENT,
    STEP_PAGE_OUT,
    STEP_PAGE_OUT_ALL,
    STEP_SPILL,
    STEP_SPILL_ALL,
    STEP_LOOK,
    STEP_GIVE,
    STEP_GIVE_NEXT,
    STEP_GIVE_NONSENSE,
    STEP_SKIP,
    STEP_PURGE,
    STEP_KINDS
};

static const uint32_t ODDS[STEP_KINDS] = {
    60, 40, 6, 60, 40, 30, 20, 30, 10, 30, 10, 20, 40, 60, 5, 3, 1};

struct world {
    struct prng prng;
    uint32_t odds[STEP_KINDS];
    struct message_pool *pool;
    struct queue *queue;
    struct settlements settlements;
    struct credit credit;
    struct effects effects;
    uint32_t kept_percent;
    bool exact;               /* sizes of restored messages are known, and none was lost */
    consumer_handle consumer; /* 0: there is none */
    uint32_t consumers;
    uint64_t next_seq;
    uint64_t ready;
    uint64_t unacked;
    uint64_t away; /* ready ones */
    uint64_t bytes;
    uint64_t resident_bytes; /* of ready ones */
    struct place places[PLACES];
};

static uint64_t below(struct world *world, uint64_t bound) {
    return prng_below(&world->prng, bound);
}

static bool chance(struct world *world, unsigned percent) {
    return prng_chance(&world->prng, percent);
}

/* ---- the model */

static struct message *message_of(struct world *world, uint64_t seq) {
    const struct place *place = &world->places[seq];
    struct bytes none = bytes_of(NULL, 0);
    struct message *message = message_new(world->pool, none, none, none, place->size);
    memcpy(message_body_data(message), &seq, sizeof seq);
    message->persistent = place->kept;
    return message;
}

static void count(struct world *world, const struct place *place, int64_t one) {
    uint64_t many = (uint64_t)one;
    uint64_t bytes = many * place->size;
    if (place->state == READY) world->ready += many;
    if (place->state == UNACKED) world->unacked += many;
    if (place->state == READY && place->away) world->away += many;
    if (place->state == READY && !place->away) world->resident_bytes += bytes;
    if (place->state != NONE) world->bytes += bytes;
}

/* Every change of a place goes through this, so that the counts follow. */
static void change(struct world *world, uint64_t seq, enum state state, bool away) {
    struct place *place = &world->places[seq];
    count(world, place, -1);
    place->state = state;
    place->away = state != NONE && away;
    count(world, place, 1);
}

static void release_lent(struct world *world, struct place *place) {
    place->lent = message_unref(world->pool, place->lent);
}

static void leave(struct world *world, uint64_t seq, bool settled) {
    change(world, seq, NONE, false);
    world->places[seq].done = settled && world->places[seq].kept;
    release_lent(world, &world->places[seq]);
}

/* The lowest ready one, or next_seq. */
static uint64_t head(const struct world *world) {
    uint64_t seq = 1;
    while (seq < world->next_seq && world->places[seq].state != READY)
        seq++;
    return seq;
}

static bool head_is_away(const struct world *world) {
    return world->ready != 0 && world->places[head(world)].away;
}

/* ---- what the queue says */

static void take_runs(struct world *world, struct settled_runs *runs, bool dropped) {
    for (uint32_t i = 0; i < runs->count; i++) {
        uint64_t end = runs->list[i].seq + runs->list[i].count;
        for (uint64_t seq = runs->list[i].seq; seq < end; seq++) {
            struct place *place = &world->places[seq];
            check(seq < world->next_seq);
            if (dropped) check(place->kept);
            if (dropped) check(place->settled == 1);
            if (dropped)
                place->dropped++;
            else
                place->settled += place->kept;
        }
    }
    runs->count = 0;
}

static void take_settlements(struct world *world) {
    take_runs(world, &world->settlements.settled, false);
    take_runs(world, &world->settlements.dropped, true);
}

/* A message has left the queue. */
static void on_taken(struct world *world, const struct effect *effect, bool no_ack) {
    uint64_t seq = head(world);
    struct place *place = &world->places[seq];
    check(world->ready != 0);
    check(effect->seq == seq);
    check(!place->away);
    check(!(effect->flags & EFFECT_REDELIVERED) == !place->redelivered);
    check(!(effect->flags & EFFECT_NO_ACK) == !no_ack);
    check(effect->message->body_size == place->size);
    check(memcmp(message_body(effect->message).data, &seq, sizeof seq) == 0);
    if (no_ack) {
        message_unref(world->pool, effect->message);
        leave(world, seq, true);
        return;
    }
    change(world, seq, UNACKED, false);
    place->lent = effect->message;
    if (chance(world, 70)) release_lent(world, place);
}

/* Applies an op with so many effects. */
static const struct effect *apply(struct world *world, const struct op *op, uint32_t effects) {
    world->effects.count = 0;
    queue_apply(world->queue, op, op->kind == OP_CONSUME ? &world->credit : NULL, &world->effects);
    check(world->effects.count == effects);
    take_settlements(world);
    return &world->effects.list[0];
}

/* ---- steps */

static void step_enqueue(struct world *world) {
    for (uint64_t n = below(world, chance(world, 20) ? 300 : 6); n > 0 && world->next_seq < PLACES;
         n--) {
        uint64_t seq = world->next_seq++;
        world->places[seq] = (struct place){.kept = chance(world, world->kept_percent),
            .size = 8 + (uint32_t)below(world, chance(world, 5) ? 999 : 9)};
        change(world, seq, READY, false);
        apply(world, &(struct op){.kind = OP_ENQUEUE, .message = message_of(world, seq)}, 0);
    }
}

/* GET may not be applied while the next one is away: that the host looks at. */
static void step_get(struct world *world) {
    if (queue_is_away(world->queue)) return;
    bool no_ack = chance(world, 20);
    bool any = world->ready != 0;
    struct op op = {.kind = OP_GET, .flags = no_ack ? OP_NO_ACK : 0};
    const struct effect *effect = apply(world, &op, 1);
    check(effect->kind == (any ? EFFECT_GOT : EFFECT_GET_EMPTY));
    if (!any) return;
    check(effect->messages == world->ready - 1);
    world->places[effect->seq].owner = 0;
    on_taken(world, effect, no_ack);
}

static void step_consume(struct world *world) {
    if (world->consumer != 0) {
        struct op op = {.kind = OP_CANCEL};
        op.consumer.consumer = world->consumer;
        apply(world, &op, 0);
        world->consumer = 0;
        return;
    }
    struct op op = {.kind = OP_CONSUME, .request = 1};
    op.consume.prefetch = (uint32_t)below(world, chance(world, 50) ? 10 : PREFETCH_MAX);
    op.consume.tag_id = ++world->consumers;
    if (chance(world, 20)) op.flags = OP_NO_ACK;
    world->consumer = apply(world, &op, 1)->consumer;
}

static void step_pump(struct world *world) {
    world->effects.count = 0;
    queue_pump(world->queue, (uint32_t)below(world, PUMP_EFFECTS_MAX), &world->effects);
    take_settlements(world);
    for (uint32_t i = 0; i < world->effects.count; i++) {
        const struct effect *effect = &world->effects.list[i];
        check(effect->kind == EFFECT_DELIVER);
        check(effect->tag_id == world->consumers);
        uint64_t seq = effect->seq;
        on_taken(world, effect, effect->flags & EFFECT_NO_ACK);
        world->places[seq].owner = effect->consumer;
    }
    credit_init(&world->credit, 1 << 30);
    world->credit.users = world->consumer != 0;
}

/* How many places from `seq` on have no two owners, at most so many; names the owner. */
static uint32_t range_of_one(
    const struct world *world, uint64_t seq, uint32_t most, consumer_handle *ret_owner) {
    bool any = false;
    uint32_t count = 0;
    for (; count < most && seq + count < world->next_seq; count++) {
        const struct place *place = &world->places[seq + count];
        if (place->state != UNACKED) continue;
        if (any && place->owner != *ret_owner) break;
        *ret_owner = place->owner;
        any = true;
    }
    return count != 0 ? count : 1;
}

/* Settles or requeues a random range. */
static void step_give_up(struct world *world, bool settle) {
    struct op op = {.kind = settle ? OP_SETTLE : OP_REQUEUE};
    uint32_t most =
        chance(world, 40) ? 1 : 1 + (uint32_t)below(world, chance(world, 60) ? 90 : 2000);
    op.range.seq = below(world, world->next_seq + 1);
    op.range.count = range_of_one(world, op.range.seq, most, &op.range.consumer);
    if (chance(world, 40)) op.flags = OP_RETURNED;
    uint64_t end = min_u64(op.range.seq + op.range.count, world->next_seq);
    for (uint64_t seq = op.range.seq; seq < end; seq++) {
        struct place *place = &world->places[seq];
        if (place->state != UNACKED) continue;
        release_lent(world, place);
        if (settle) {
            leave(world, seq, true);
            continue;
        }
        place->redelivered = true;
        change(world, seq, READY, place->away);
    }
    apply(world, &op, 0);
}

/* Some messages have been written to their sockets. */
static void step_sent(struct world *world) {
    for (uint64_t seq = 1; seq < world->next_seq; seq++) {
        if (chance(world, 50)) release_lent(world, &world->places[seq]);
    }
}

static bool may_go(const struct place *place) {
    return place->state != NONE && place->kept && !place->away && !place->lent;
}

static bool may_spill(const struct place *place) {
    return place->state == READY && !place->kept && !place->away;
}

static void let_go(struct world *world, bool all, bool spills) {
    uint64_t first = all ? 0 : below(world, world->next_seq);
    uint64_t end = all ? UINT64_MAX : first + below(world, 400);
    uint32_t budget = all || chance(world, 50) ? UINT32_MAX : 1 + (uint32_t)below(world, 100);
    uint64_t seq = first;
    bool dropping = queue_is_dropping(world->queue);
    uint32_t gone = spills ? queue_spill_out(world->queue, &seq, end, budget)
                           : queue_page_out(world->queue, &seq, end, budget);
    check(seq >= first);
    if (dropping) check(gone == 0);
    if (dropping) return;
    if (budget == UINT32_MAX) check(seq >= min_u64(end, world->next_seq));
    for (uint64_t at = first; at < min_u64(seq, min_u64(end, world->next_seq)); at++) {
        const struct place *place = &world->places[at];
        if (spills ? !may_spill(place) : !may_go(place)) continue;
        change(world, at, place->state, true);
        gone--;
    }
    check(gone == 0);
}

/* What could be spilled is found, kept or not is known of each, and what is kept is found. */
static void step_look(struct world *world) {
    if (queue_is_dropping(world->queue)) return;
    uint64_t end = below(world, world->next_seq + 100);
    uint64_t at = below(world, world->next_seq);
    for (uint64_t seq = at; seq < min_u64(end, world->next_seq); seq++) {
        const struct place *place = &world->places[seq];
        if (place->away) check(queue_is_spilled(world->queue, seq) == !place->kept);
        uint64_t kept = seq;
        bool found = queue_next_kept(world->queue, &kept, seq + 1, NULL);
        check(found == (place->state != NONE && place->kept));
    }
    while (at < end) {
        uint64_t seq = at;
        uint32_t budget = chance(world, 50) ? UINT32_MAX : 1 + (uint32_t)below(world, 20);
        struct message *message = NULL;
        bool found = queue_next_spillable(world->queue, &seq, end, &budget, &message);
        check(found || budget == 0 || seq >= min_u64(end, world->next_seq));
        check(seq >= at);
        for (; at < min_u64(seq, world->next_seq); at++) {
            const struct place *place = &world->places[at];
            check(place->state == NONE || place->kept || place->away);
        }
        if (!found && budget != 0) return;
        if (!found) continue;
        check(may_spill(&world->places[seq]) == (message != NULL));
        if (message) check(memcmp(message_body(message).data, &seq, sizeof seq) == 0);
        at = seq + 1;
    }
}

static void give(struct world *world, uint64_t seq) {
    struct message *message = message_of(world, seq);
    check(queue_give(world->queue, seq, message));
    change(world, seq, world->places[seq].state, false);
}

/* A piece that was read: neighbours, of which some are not wanted. */
static void step_give(struct world *world) {
    uint64_t seq = below(world, world->next_seq);
    bool dropping = queue_is_dropping(world->queue);
    for (uint64_t n = below(world, 100); n > 0 && seq < world->next_seq; n--, seq++) {
        const struct place *place = &world->places[seq];
        bool wanted = place->state != NONE && place->away && !dropping;
        check(queue_wants(world->queue, seq) == wanted);
        if (wanted) give(world, seq);
    }
}

static uint64_t next_away(const struct world *world, uint64_t from) {
    uint64_t seq = from;
    while (seq < world->next_seq && !(world->places[seq].state == READY && world->places[seq].away))
        seq++;
    return seq;
}

static void step_give_next(struct world *world) {
    if (queue_is_dropping(world->queue)) return;
    uint64_t from = chance(world, 80) ? 0 : below(world, world->next_seq);
    for (uint64_t n = below(world, 40); n > 0; n--) {
        uint64_t seq = from;
        uint64_t expected = next_away(world, from);
        check(queue_next_away(world->queue, &seq) == (expected < world->next_seq));
        if (expected == world->next_seq) return;
        check(seq == expected);
        give(world, seq);
    }
}

static void step_give_nonsense(struct world *world) {
    uint64_t seq = below(world, world->next_seq + 200);
    if (seq < world->next_seq && world->places[seq].away) return;
    struct bytes none = bytes_of(NULL, 0);
    struct message *message = message_new(world->pool, none, none, none, 3);
    check(!queue_give(world->queue, seq, message));
    message_unref(world->pool, message);
}

static void step_skip(struct world *world) {
    if (!queue_is_away(world->queue)) return;
    queue_skip_away(world->queue);
    leave(world, head(world), false);
    world->exact = false;
}

static void step_purge(struct world *world) {
    const struct effect *effect = apply(world, &(struct op){.kind = OP_PURGE}, 1);
    check(effect->messages == world->ready);
    for (uint64_t seq = 1; seq < world->next_seq; seq++) {
        if (world->places[seq].state == READY) leave(world, seq, true);
    }
}

static void step(struct world *world, enum step kind) {
    switch (kind) {
    case STEP_ENQUEUE: step_enqueue(world); return;
    case STEP_GET: step_get(world); return;
    case STEP_CONSUME: step_consume(world); return;
    case STEP_PUMP: step_pump(world); return;
    case STEP_SETTLE: step_give_up(world, true); return;
    case STEP_REQUEUE: step_give_up(world, false); return;
    case STEP_SENT: step_sent(world); return;
    case STEP_PAGE_OUT: let_go(world, false, false); return;
    case STEP_PAGE_OUT_ALL: let_go(world, true, false); return;
    case STEP_SPILL: let_go(world, false, true); return;
    case STEP_SPILL_ALL: let_go(world, true, true); return;
    case STEP_LOOK: step_look(world); return;
    case STEP_GIVE: step_give(world); return;
    case STEP_GIVE_NEXT: step_give_next(world); return;
    case STEP_GIVE_NONSENSE: step_give_nonsense(world); return;
    case STEP_SKIP: step_skip(world); return;
    case STEP_PURGE: step_purge(world); return;
    case STEP_KINDS: break;
    }
    unreachable_here();
}

/* ---- a history */

static void check_counts(const struct world *world) {
    queue_check(world->queue);
    check(queue_ready_count(world->queue) == world->ready);
    check(queue_unacked_count(world->queue) == world->unacked);
    check(queue_away_count(world->queue) == world->away);
    check(queue_resident_bytes(world->queue) == world->resident_bytes);
    check(queue_is_away(world->queue) == head_is_away(world));
    check(queue_next_ready(world->queue) == head(world));
    /* Of what is away and was not met before, sizes are estimates. */
    if (world->away == 0 || world->exact) check(queue_bytes(world->queue) == world->bytes);
}

/* Runs with gaps of all widths, some of which are known to have been delivered. */
static void restore(struct world *world) {
    struct queue_restored list[64];
    size_t runs = below(world, COUNT_OF(list));
    world->exact = chance(world, 50);
    for (size_t i = 0; i < runs && world->next_seq < PLACES / 2; i++) {
        uint64_t gap = i != 0 && chance(world, 30) ? 0 : below(world, chance(world, 80) ? 90 : 900);
        uint64_t seq = world->next_seq + gap;
        list[i] = (struct queue_restored){.seq = seq,
            .count = 1 + below(world, chance(world, 60) ? 5 : 400),
            .redelivered = chance(world, 50)};
        for (world->next_seq = seq; world->next_seq < seq + list[i].count; world->next_seq++) {
            struct place *place = &world->places[world->next_seq];
            *place = (struct place){.kept = true,
                .size = 8 + (uint32_t)below(world, 20),
                .redelivered = list[i].redelivered};
            list[i].bytes += place->size;
            change(world, world->next_seq, READY, true);
        }
        if (!world->exact) list[i].bytes = below(world, 30 * list[i].count);
        if (world->next_seq >= PLACES / 2) runs = i + 1;
    }
    world->next_seq += below(world, 200);
    queue_restore(world->queue, list, runs, world->next_seq);
}

static void begin(struct world *world, uint64_t seed) {
    *world = (struct world){.exact = true, .next_seq = 1};
    prng_init(&world->prng, seed);
    /* Some kinds are rare or absent in each history, so that the others can go far. */
    for (int i = 0; i < STEP_KINDS; i++)
        world->odds[i] = chance(world, 20) ? ODDS[i] / 8 : ODDS[i];
    world->pool = message_pool_new(0);
    credit_init(&world->credit, 1 << 30);
    world->queue = queue_new(1, &(struct queue_settings){0}, world->pool);
    static const uint32_t percents[] = {95, 95, 100, 50, 5, 0};
    world->kept_percent = percents[below(world, COUNT_OF(percents))];
    bool kept = world->kept_percent != 0 || chance(world, 50);
    if (kept) queue_keep(world->queue, &world->settlements);
    if (kept && chance(world, 50)) restore(world);
    queue_allow(world->queue, UINT64_MAX);
}

/* What was settled has been noted and dropped once; nothing else has. */
static void check_settlements(const struct world *world) {
    for (uint64_t seq = 1; seq < world->next_seq; seq++) {
        const struct place *place = &world->places[seq];
        check(place->settled == place->done);
        check(place->dropped == place->done);
    }
}

static void end(struct world *world) {
    while (queue_is_dropping(world->queue))
        step_pump(world);
    check_counts(world);
    check_settlements(world);
    for (uint64_t seq = 1; seq < world->next_seq; seq++)
        release_lent(world, &world->places[seq]);
    queue_free(world->queue);
    check(message_pool_count(world->pool) == 0);
    settlements_deinit(&world->settlements);
    message_pool_free(world->pool);
}

static enum step choose(struct world *world) {
    uint32_t sum = 0;
    for (int i = 0; i < STEP_KINDS; i++)
        sum += world->odds[i];
    uint32_t at = (uint32_t)below(world, sum), kind = 0;
    while (at >= world->odds[kind])
        at -= world->odds[kind++];
    return (enum step)kind;
}

static uint64_t running_seed;

/* A failed check aborts: say which history it was. */
static void on_abort(int number) {
    (void)number;
    fprintf(stderr, "run again with SEED=%llu\n", (unsigned long long)running_seed);
}

static void messages_go_and_come_as_in_the_model(void **state) {
    (void)state;
    struct world *world = NEW(struct world);
    const char *chosen = getenv("SEED"), *count_of = getenv("SEEDS");
    uint64_t last = chosen     ? strtoull(chosen, NULL, 0)
                    : count_of ? strtoull(count_of, NULL, 0)
                               : SEEDS;
    signal(SIGABRT, on_abort);
    for (running_seed = chosen ? last : 1; running_seed <= last; running_seed++) {
        begin(world, running_seed);
        check_counts(world);
        for (int n = 0; n < STEPS; n++) {
            step(world, choose(world));
            check_counts(world);
        }
        end(world);
    }
    mem_free(world);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_go_and_come_as_in_the_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
