/* queue_model_test: random ops against a queue and against a model that is too simple to be wrong.
 *
 * The model keeps every message that ever was in one array by seq and looks for the lowest ready
 * one by walking. Each effect is compared with what the model allows at that moment: the message
 * exactly, the consumer by the rules (who can take a message, highest priority first). After each
 * step the counts are compared and queue_check recounts; when nothing is owed, nobody may be left
 * who could have been served. One seed is one history: a failure prints it. */
#include "unit.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"
#include "base/prng.h"
#include "core/queue.h"

enum {
    SEEDS = 60, /* SEEDS=n in the environment for more, SEED=n for one */
    STEPS = 1500,
    MESSAGES_MAX = 300000,
    CONSUMERS_MAX = 64, /* alive and gone, per queue */
    CONNECTIONS = 3,
    CREDIT_BYTES = 3000
};

enum state { NONE, READY, UNACKED };

struct model_message {
    struct message *message;
    enum state state;
    bool redelivered;
    int owner; /* index of the consumer that has it unacked; -1 is GET */
};

struct model_consumer {
    bool alive;
    bool lost; /* its queue is gone: a notice must come */
    bool no_ack;
    bool shared;
    bool exclusive;
    bool asked;
    uint32_t connection;
    uint16_t channel;
    int32_t priority;
    uint32_t prefetch;
    uint32_t unacked;
    uint32_t tokens;
    consumer_handle handle;
};

/* Odds of each step; a seed leaves some of them out. */
enum step {
    STEP_ENQUEUE,
    STEP_BURST,
    STEP_PUMP,
    STEP_PUMP_ALL,
    STEP_SETTLE,
    STEP_SETTLE_NONSENSE,
    STEP_REQUEUE,
    STEP_CONSUME,
    STEP_CANCEL,
    STEP_GET,
    STEP_TOKENS,
    STEP_PURGE,
    STEP_STAT,
    STEP_DELETE,
    STEP_CREDIT,
    STEP_KINDS
};

static const uint32_t ODDS[STEP_KINDS] = {60, 6, 40, 10, 50, 3, 20, 12, 8, 10, 20, 1, 3, 1, 20};

struct world {
    struct prng prng;
    uint32_t odds[STEP_KINDS];
    struct message_pool *pool;
    struct queue *queue;
    struct effects effects;
    struct list pump;
    struct credit credits[CONNECTIONS];
    int64_t credit_model[CONNECTIONS]; /* what the credit must be */
    int64_t owed_credit[CONNECTIONS];  /* delivered and not given back yet */
    bool auto_delete;
    bool gone;
    bool owes_gone;
    uint64_t next_seq;
    uint64_t ready;
    uint64_t unacked;
    uint64_t bytes;
    uint64_t lowest; /* nothing below it is ready */
    uint32_t request;
    int consumer_count;
    struct model_consumer consumers[CONSUMERS_MAX];
    struct model_message messages[MESSAGES_MAX];
};

static uint32_t below(struct world *world, uint32_t bound) {
    return (uint32_t)prng_below(&world->prng, bound);
}

static bool chance(struct world *world, unsigned percent) {
    return prng_chance(&world->prng, percent);
}

/* ---- the model's answers */

static struct model_message *lowest_ready(struct world *world) {
    check(world->ready != 0);
    while (world->messages[world->lowest].state != READY) {
        world->lowest++;
    }
    return &world->messages[world->lowest];
}

static bool can_take(const struct world *world, const struct model_consumer *consumer) {
    return consumer->alive && !(consumer->prefetch && consumer->unacked >= consumer->prefetch) &&
           world->credit_model[consumer->connection] > 0;
}

static bool can_be_served(const struct world *world, const struct model_consumer *consumer) {
    return can_take(world, consumer) && (!consumer->shared || consumer->tokens != 0);
}

static struct model_consumer *by_handle(struct world *world, consumer_handle handle) {
    for (int i = 0; i < world->consumer_count; i++) {
        if (world->consumers[i].handle == handle) return &world->consumers[i];
    }
    check(handle == 0);
    return NULL;
}

static uint32_t alive_count(const struct world *world) {
    uint32_t count = 0;
    for (int i = 0; i < world->consumer_count; i++) {
        count += world->consumers[i].alive;
    }
    return count;
}

static void leave_queue(struct world *world, struct model_message *message) {
    world->bytes -= message->message->body_size;
    message->state = NONE;
    message->message = NULL;
}

static void model_gone(struct world *world) {
    world->gone = true;
    world->ready = world->unacked = world->bytes = 0;
    for (int i = 0; i < world->consumer_count; i++) {
        world->consumers[i].lost = world->consumers[i].alive;
        world->consumers[i].alive = false;
    }
}

/* ---- effects */

static void on_taken(struct world *world, const struct effect *effect, int owner, bool no_ack) {
    struct model_message *message = lowest_ready(world);
    check(effect->seq == world->lowest);
    check(effect->message == message->message);
    check(!(effect->flags & EFFECT_REDELIVERED) == !message->redelivered);
    check(!(effect->flags & EFFECT_NO_ACK) == !no_ack);
    world->ready--;
    if (no_ack) {
        leave_queue(world, message);
    } else {
        message->state = UNACKED;
        message->owner = owner;
        world->unacked++;
    }
}

static void on_deliver(struct world *world, const struct effect *effect) {
    struct model_consumer *consumer = by_handle(world, effect->consumer);
    check(consumer != NULL);
    check(can_be_served(world, consumer));
    for (int i = 0; i < world->consumer_count; i++) {
        const struct model_consumer *other = &world->consumers[i];
        check(other->priority <= consumer->priority || !can_be_served(world, other));
    }
    check(effect->connection == consumer->connection + 1);
    check(effect->channel == consumer->channel);
    check(effect->tag_id == (uint32_t)(consumer - world->consumers));
    int64_t cost = queue_delivery_cost(effect->message);
    check(cost == (int64_t)effect->message->body_size + 3 + 64);
    world->credit_model[consumer->connection] -= cost;
    world->owed_credit[consumer->connection] += cost;
    if (consumer->shared) consumer->tokens--;
    if (!consumer->no_ack) consumer->unacked++;
    on_taken(world, effect, (int)(consumer - world->consumers), consumer->no_ack);
    message_unref(world->pool, effect->message);
}

static void on_tokens_wanted(struct world *world, const struct effect *effect) {
    struct model_consumer *consumer = by_handle(world, effect->consumer);
    check(consumer != NULL);
    check(can_take(world, consumer));
    check(consumer->shared);
    check(!consumer->asked);
    check(consumer->tokens == 0);
    check(effect->consumers != 0);
    check(effect->consumers <= world->ready);
    if (consumer->prefetch) check(effect->consumers <= consumer->prefetch - consumer->unacked);
    consumer->asked = true;
}

static void on_tokens_back(struct world *world, const struct effect *effect) {
    struct model_consumer *consumer = by_handle(world, effect->consumer);
    check(consumer != NULL);
    check(effect->consumers != 0);
    check(effect->consumers == consumer->tokens);
    check(consumer->lost || world->ready == 0 || !can_take(world, consumer));
    consumer->tokens = 0;
}

static void on_consumer_lost(struct world *world, const struct effect *effect) {
    struct model_consumer *consumer = by_handle(world, effect->consumer);
    check(consumer != NULL);
    check(world->gone);
    check(consumer->lost);
    check(consumer->tokens == 0);
    consumer->lost = false;
}

static void pump(struct world *world, uint32_t budget) {
    world->effects.count = 0;
    queue_pump(world->queue, budget, &world->effects);
    check(world->effects.count <= budget);
    for (uint32_t i = 0; i < world->effects.count; i++) {
        const struct effect *effect = &world->effects.list[i];
        switch ((enum effect_kind)effect->kind) {
        case EFFECT_DELIVER: on_deliver(world, effect); break;
        case EFFECT_TOKENS_WANTED: on_tokens_wanted(world, effect); break;
        case EFFECT_TOKENS_BACK: on_tokens_back(world, effect); break;
        case EFFECT_CONSUMER_LOST: on_consumer_lost(world, effect); break;
        case EFFECT_GONE:
            check(world->owes_gone);
            world->owes_gone = false;
            break;
        case EFFECT_GOT:
        case EFFECT_GET_EMPTY:
        case EFFECT_CONSUMED:
        case EFFECT_CANCELLED:
        case EFFECT_PURGED:
        case EFFECT_STATED:
        case EFFECT_DELETED:
        case EFFECT_REJECT:
        case EFFECT_KIND_COUNT: check(!"an effect that queue_pump gives");
        }
    }
    world->effects.count = 0;
}

/* Nothing is owed: then nobody is left who should have been served, told or released. */
static void check_quiet(struct world *world) {
    check(!queue_owes(world->queue));
    check(!world->owes_gone);
    check(message_pool_count(world->pool) == world->ready + world->unacked);
    for (int i = 0; i < world->consumer_count; i++) {
        const struct model_consumer *consumer = &world->consumers[i];
        check(!consumer->lost);
        if (!consumer->alive) continue;
        if (world->ready == 0) check(consumer->tokens == 0);
        if (world->ready != 0) check(!can_take(world, consumer) || consumer->asked);
    }
}

static void pump_all(struct world *world) {
    uint64_t bound = 10000000;
    while (queue_owes(world->queue)) {
        pump(world, 1 + below(world, PUMP_EFFECTS_MAX));
        check(bound-- != 0);
    }
    check_quiet(world);
}

/* ---- steps */

/* Applies an op that has `expected` effects; gives the first. */
static const struct effect *apply(
    struct world *world, struct op *op, struct credit *credit, uint32_t expected) {
    op->now_ms = 1;
    world->effects.count = 0;
    queue_apply(world->queue, op, credit, &world->effects);
    check(world->effects.count == expected);
    return &world->effects.list[0];
}

static void check_answer(
    const struct effect *effect, enum effect_kind kind, const struct op *op, uint16_t code) {
    check(effect->kind == kind);
    check(effect->code == code);
    check(effect->request == op->request);
    check(effect->channel == op->channel);
    check(effect->connection == op->connection);
}

/* An op of `kind` from a connection that is none of the consumers'. */
static struct op op_of(struct world *world, enum op_kind kind) {
    return (struct op){
        .kind = (uint8_t)kind, .connection = 77, .channel = 9, .request = ++world->request};
}

static void step_enqueue(struct world *world) {
    if (world->next_seq == MESSAGES_MAX) return;
    struct op op = op_of(world, OP_ENQUEUE);
    op.message = message_new(world->pool, BYTES("x"), BYTES("key"), BYTES("abc"),
        below(world, chance(world, 5) ? 2000 : 99));
    uint32_t body_size = op.message->body_size;
    apply(world, &op, NULL, 0);
    if (world->gone) return;
    world->messages[world->next_seq++] =
        (struct model_message){.message = op.message, .state = READY};
    world->ready++;
    world->bytes += body_size;
}

static void step_burst(struct world *world) {
    for (uint32_t n = below(world, 700); n > 0; n--) {
        step_enqueue(world);
    }
}

/* A random unacked message, or 0. */
static uint64_t any_unacked(struct world *world) {
    if (world->unacked == 0) return 0;
    uint64_t seq = 1 + prng_below(&world->prng, world->next_seq - 1);
    for (;; seq = seq + 1 < world->next_seq ? seq + 1 : 1) {
        if (world->messages[seq].state == UNACKED) return seq;
    }
}

/* Settles or requeues a range that begins with an unacked message and has none of other owners. */
static void step_give_up(struct world *world, bool settle) {
    uint64_t seq = any_unacked(world);
    if (seq == 0) return;
    int owner = world->messages[seq].owner;
    uint32_t limit = chance(world, 50) ? 1 : 1 + below(world, chance(world, 70) ? 200 : 2000);
    struct op op = op_of(world, settle ? OP_SETTLE : OP_REQUEUE);
    op.range.seq = seq;
    op.range.consumer = owner < 0 ? 0 : world->consumers[owner].handle;
    for (; op.range.count < limit && seq < world->next_seq; op.range.count++, seq++) {
        struct model_message *message = &world->messages[seq];
        if (message->state != UNACKED) continue;
        if (message->owner != owner) break;
        world->unacked--;
        if (owner >= 0) world->consumers[owner].unacked--;
        if (settle) {
            leave_queue(world, message);
        } else {
            message->state = READY;
            message->redelivered = true;
            world->ready++;
            if (seq < world->lowest) world->lowest = seq;
        }
    }
    apply(world, &op, NULL, 0);
}

/* Mail that speaks of what is not unacked changes nothing. */
static void step_settle_nonsense(struct world *world) {
    struct op op = op_of(world, chance(world, 50) ? OP_SETTLE : OP_REQUEUE);
    op.range.seq = prng_below(&world->prng, world->next_seq + 100);
    if (op.range.seq < world->next_seq && world->messages[op.range.seq].state == UNACKED) return;
    op.range.count = 1;
    if (chance(world, 30)) {
        op.range.seq = world->next_seq + below(world, 3);
        op.range.count = UINT32_MAX;
    }
    if (chance(world, 30)) op.range.seq = UINT64_MAX - below(world, 3);
    op.range.consumer = world->consumer_count ? world->consumers[0].handle : 12345;
    apply(world, &op, NULL, 0);
}

static void step_consume(struct world *world) {
    if (world->consumer_count == CONSUMERS_MAX) return;
    struct model_consumer *consumer = &world->consumers[world->consumer_count];
    *consumer = (struct model_consumer){.no_ack = chance(world, 30),
        .connection = below(world, CONNECTIONS),
        .channel = (uint16_t)below(world, 3),
        .priority = chance(world, 30) ? (int32_t)below(world, 3) - 1 : 0,
        .prefetch = chance(world, 50) ? below(world, chance(world, 70) ? 20 : 400) : 0};
    bool shared = chance(world, 30);
    consumer->exclusive = chance(world, 3);
    struct op op = {.kind = OP_CONSUME,
        .flags = (uint8_t)((consumer->no_ack ? OP_NO_ACK : 0) | (shared ? OP_SHARED : 0) |
                           (consumer->exclusive ? OP_EXCLUSIVE : 0)),
        .connection = consumer->connection + 1,
        .channel = consumer->channel,
        .request = ++world->request,
        .consume = {.tag_id = (uint32_t)world->consumer_count,
            .prefetch = consumer->prefetch,
            .priority = consumer->priority}};
    consumer->shared = shared && !consumer->no_ack;
    if (consumer->no_ack) consumer->prefetch = 0;
    const struct effect *effect = apply(world, &op, &world->credits[consumer->connection], 1);
    static const uint16_t codes[] = {REPLY_OK, REPLY_ACCESS_REFUSED, REPLY_NOT_FOUND};
    bool refused = consumer->exclusive && alive_count(world) != 0;
    for (int i = 0; i < world->consumer_count; i++) {
        refused |= world->consumers[i].alive && world->consumers[i].exclusive;
    }
    check_answer(effect, EFFECT_CONSUMED, &op, codes[world->gone ? 2 : refused ? 1 : 0]);
    check((effect->consumer != 0) == (effect->code == 0));
    if (effect->code != 0) return;
    consumer->alive = true;
    consumer->handle = effect->consumer;
    world->consumer_count++;
}

static void step_cancel(struct world *world) {
    if (world->consumer_count == 0) return;
    uint32_t index = below(world, (uint32_t)world->consumer_count);
    struct model_consumer *consumer = &world->consumers[index];
    bool by_tag = chance(world, 30), silent = chance(world, 30);
    struct op op = {.kind = OP_CANCEL,
        .connection = consumer->connection + 1,
        .channel = consumer->channel,
        .request = silent ? 0 : ++world->request,
        .consumer = {.tag_id = index, .consumer = by_tag ? 0 : consumer->handle}};
    uint32_t tokens = consumer->alive || consumer->lost ? consumer->tokens : 0;
    const struct effect *effect = apply(world, &op, NULL, (tokens ? 1u : 0u) + (silent ? 0u : 1u));
    if (tokens) {
        check(effect->kind == EFFECT_TOKENS_BACK);
        check(effect->consumers == tokens);
        check(effect->tag_id == index);
        effect++;
    }
    if (!silent) check_answer(effect, EFFECT_CANCELLED, &op, 0);
    consumer->tokens = 0;
    consumer->lost = false;
    if (!consumer->alive) return;
    consumer->alive = false;
    if (world->auto_delete && alive_count(world) == 0) {
        model_gone(world);
        world->owes_gone = true;
    }
}

static void get_one(struct world *world) {
    struct op op = op_of(world, OP_GET);
    bool no_ack = chance(world, 30), some = world->ready != 0;
    if (no_ack) op.flags = OP_NO_ACK;
    const struct effect *effect = apply(world, &op, NULL, 1);
    if (!some) {
        check_answer(effect, EFFECT_GET_EMPTY, &op, world->gone ? REPLY_NOT_FOUND : 0);
        return;
    }
    check_answer(effect, EFFECT_GOT, &op, 0);
    on_taken(world, effect, -1, no_ack);
    check(effect->messages == world->ready);
    message_unref(world->pool, effect->message);
}

static void step_get(struct world *world) {
    uint32_t count = chance(world, 5) ? below(world, 700) : 1;
    do
        get_one(world);
    while (count-- > 1);
}

/* Grants what was asked for, or, sometimes, to somebody who has not asked or is gone. */
static void step_tokens(struct world *world) {
    if (world->consumer_count == 0) return;
    uint32_t index = below(world, (uint32_t)world->consumer_count);
    struct model_consumer *consumer = &world->consumers[index];
    if (!consumer->asked && chance(world, 80)) return;
    struct op op = {.kind = OP_TOKENS,
        .connection = consumer->connection + 1,
        .channel = consumer->channel,
        .consumer = {index, 1 + below(world, 6), consumer->handle}};
    bool taken = consumer->alive && consumer->shared;
    const struct effect *effect = apply(world, &op, NULL, taken ? 0 : 1);
    consumer->asked = false;
    if (taken) {
        consumer->tokens += op.consumer.count;
        return;
    }
    check(effect->kind == EFFECT_TOKENS_BACK);
    check(effect->consumers == op.consumer.count);
    check(effect->connection == op.connection);
    check(effect->tag_id == index);
}

static void step_purge(struct world *world) {
    struct op op = op_of(world, OP_PURGE);
    const struct effect *effect = apply(world, &op, NULL, 1);
    check_answer(effect, EFFECT_PURGED, &op, world->gone ? REPLY_NOT_FOUND : 0);
    check(effect->messages == world->ready);
    for (uint64_t seq = world->lowest; world->ready != 0; seq++) {
        if (world->messages[seq].state != READY) continue;
        leave_queue(world, &world->messages[seq]);
        world->ready--;
    }
}

static void step_stat(struct world *world) {
    struct op op = op_of(world, OP_STAT);
    const struct effect *effect = apply(world, &op, NULL, 1);
    check_answer(effect, EFFECT_STATED, &op, world->gone ? REPLY_NOT_FOUND : 0);
    check(effect->messages == world->ready);
    check(effect->consumers == alive_count(world));
}

static void step_delete(struct world *world) {
    struct op op = op_of(world, OP_DELETE);
    op.flags =
        (uint8_t)((chance(world, 60) ? OP_IF_UNUSED : 0) | (chance(world, 60) ? OP_IF_EMPTY : 0));
    const struct effect *effect = apply(world, &op, NULL, 1);
    if (world->gone) {
        check_answer(effect, EFFECT_DELETED, &op, REPLY_NOT_FOUND);
    } else if (op.flags & OP_IF_UNUSED && alive_count(world) != 0) {
        check_answer(effect, EFFECT_DELETED, &op, REPLY_PRECONDITION_FAILED);
        check(effect->consumers == alive_count(world));
    } else if (op.flags & OP_IF_EMPTY && world->ready != 0) {
        check_answer(effect, EFFECT_DELETED, &op, REPLY_PRECONDITION_FAILED);
        check(effect->messages == world->ready);
    } else {
        check_answer(effect, EFFECT_DELETED, &op, 0);
        check(effect->messages == world->ready);
        model_gone(world);
    }
}

static void step_credit(struct world *world) {
    uint32_t connection = below(world, CONNECTIONS);
    int64_t owed = world->owed_credit[connection];
    int64_t back = chance(world, 50) ? owed : (int64_t)prng_below(&world->prng, (uint64_t)owed + 1);
    world->owed_credit[connection] -= back;
    world->credit_model[connection] += back;
    credit_add(&world->credits[connection], back, &world->pump);
    struct list_node *node = list_take_first(&world->pump);
    if (node) check(queue_of_pump(node) == world->queue);
    check(list_empty(&world->pump));
}

static void step(struct world *world, enum step kind) {
    switch (kind) {
    case STEP_ENQUEUE: step_enqueue(world); return;
    case STEP_BURST: step_burst(world); return;
    case STEP_PUMP: pump(world, below(world, 12)); return;
    case STEP_PUMP_ALL: pump_all(world); return;
    case STEP_SETTLE: step_give_up(world, true); return;
    case STEP_SETTLE_NONSENSE: step_settle_nonsense(world); return;
    case STEP_REQUEUE: step_give_up(world, false); return;
    case STEP_CONSUME: step_consume(world); return;
    case STEP_CANCEL: step_cancel(world); return;
    case STEP_GET: step_get(world); return;
    case STEP_TOKENS: step_tokens(world); return;
    case STEP_PURGE: step_purge(world); return;
    case STEP_STAT: step_stat(world); return;
    case STEP_DELETE: step_delete(world); return;
    case STEP_CREDIT: step_credit(world); return;
    case STEP_KINDS: break;
    }
    unreachable_here();
}

static void check_counts(const struct world *world) {
    queue_check(world->queue);
    check(queue_gone(world->queue) == world->gone);
    check(queue_ready_count(world->queue) == world->ready);
    check(queue_unacked_count(world->queue) == world->unacked);
    check(queue_consumer_count(world->queue) == alive_count(world));
    check(queue_bytes(world->queue) == world->bytes);
    for (int i = 0; i < CONNECTIONS; i++) {
        check(world->credits[i].bytes == world->credit_model[i]);
    }
}

static void open_queue(struct world *world) {
    world->auto_delete = chance(world, 20);
    struct queue_settings settings = {.auto_delete = world->auto_delete};
    world->queue = queue_new(ref_make(1, 2, 3), &settings, world->pool);
    check(queue_self(world->queue) == ref_make(1, 2, 3));
    world->gone = world->owes_gone = false;
    world->next_seq = world->lowest = 1;
    world->ready = world->unacked = world->bytes = 0;
    world->consumer_count = 0;
}

static void close_queue(struct world *world) {
    if (chance(world, 50)) pump_all(world);
    queue_free(world->queue);
    world->queue = NULL;
    check(message_pool_count(world->pool) == 0);
    check(message_pool_bytes(world->pool) == 0);
    for (int i = 0; i < CONNECTIONS; i++) {
        check(world->credits[i].users == 0);
        check(list_empty(&world->credits[i].waiting));
    }
}

static enum step choose(struct world *world) {
    uint32_t sum = 0;
    for (int i = 0; i < STEP_KINDS; i++) {
        sum += world->odds[i];
    }
    uint32_t at = below(world, sum), kind = 0;
    while (at >= world->odds[kind]) {
        at -= world->odds[kind++];
    }
    return (enum step)kind;
}

static void run_seed(struct world *world, uint64_t seed) {
    prng_init(&world->prng, seed);
    world->pool = message_pool_new(0);
    list_init(&world->pump);
    for (int i = 0; i < CONNECTIONS; i++) {
        credit_init(&world->credits[i], CREDIT_BYTES);
        world->credit_model[i] = CREDIT_BYTES;
        world->owed_credit[i] = 0;
    }
    /* Some kinds are rare or absent in each history, so that the others can go far. */
    for (int i = 0; i < STEP_KINDS; i++) {
        world->odds[i] = chance(world, 20) ? ODDS[i] / 8 : ODDS[i];
    }
    open_queue(world);
    for (int n = 0; n < STEPS; n++) {
        step(world, choose(world));
        check_counts(world);
        if (world->gone && chance(world, 10)) {
            close_queue(world);
            open_queue(world);
        }
    }
    close_queue(world);
    message_pool_free(world->pool);
}

static uint64_t running_seed;

/* A failed check aborts: say which history it was. */
static void on_abort(int number) {
    (void)number;
    fprintf(stderr, "run again with SEED=%llu\n", (unsigned long long)running_seed);
}

static void the_queue_does_what_the_model_does(void **state) {
    (void)state;
    struct world *world = NEW(struct world);
    const char *chosen = getenv("SEED"), *count = getenv("SEEDS");
    uint64_t last = chosen ? strtoull(chosen, NULL, 0) : count ? strtoull(count, NULL, 0) : SEEDS;
    signal(SIGABRT, on_abort);
    for (running_seed = chosen ? last : 1; running_seed <= last; running_seed++) {
        run_seed(world, running_seed);
    }
    mem_free(world);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_queue_does_what_the_model_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
