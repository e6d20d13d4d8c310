/* queue_test: what a queue does, case by case: each effect is one word of a trace.
 *
 *   1<5   consumer with tag 1 is given message 5     1<5r  redelivered     1<5n  without ack
 *   got 5/2  message 5 for a get, 2 left    wants 1*3, back 1*3  tokens of consumer 1
 */
#include "unit.h"

#include <stdio.h>

#include "base/memory.h"
#include "core/entries.h"
#include "core/queue.h"

enum { TRACE_BYTES = 16384 };

struct fixture {
    struct message_pool *pool;
    struct queue *queue;
    struct credit credit;
    struct list pump;
    struct effects effects;
    consumer_handle handles[16]; /* by tag */
    char trace[TRACE_BYTES];
    size_t trace_size;
};

static int set_up(void **state) {
    struct fixture *f = NEW(struct fixture);
    f->pool = message_pool_new(0);
    f->queue = queue_new(ref_make(0, 1, 1), &(struct queue_settings){0}, f->pool);
    credit_init(&f->credit, 1 << 30);
    list_init(&f->pump);
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    struct fixture *f = *state;
    queue_check(f->queue);
    queue_free(f->queue);
    check(f->credit.users == 0);
    message_pool_free(f->pool);
    mem_free(f);
    return 0;
}

/* Another queue, auto-delete, in place of the first. */
static void replace_queue(struct fixture *f, bool auto_delete) {
    queue_free(f->queue);
    f->queue = queue_new(ref_make(0, 1, 2), &(struct queue_settings){auto_delete}, f->pool);
}

static void note(struct fixture *f, const char *format, ...) PRINTF_LIKE(2, 3);

static void note(struct fixture *f, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(f->trace + f->trace_size, TRACE_BYTES - f->trace_size, format, arguments);
    va_end(arguments);
    f->trace_size += (size_t)size;
    check(f->trace_size < TRACE_BYTES);
}

static void note_message(struct fixture *f, const struct effect *effect) {
    note(f, "%s%s", effect->flags & EFFECT_REDELIVERED ? "r" : "",
        effect->flags & EFFECT_NO_ACK ? "n" : "");
    message_unref(f->pool, effect->message);
}

static void note_effect(struct fixture *f, const struct effect *effect) {
    if (f->trace_size) note(f, " ");
    switch ((enum effect_kind)effect->kind) {
    case EFFECT_DELIVER:
        note(f, "%u<%llu", effect->tag_id, (unsigned long long)effect->seq);
        note_message(f, effect);
        return;
    case EFFECT_GOT:
        note(f, "got %llu/%u", (unsigned long long)effect->seq, effect->messages);
        note_message(f, effect);
        return;
    case EFFECT_GET_EMPTY: note(f, "empty"); break;
    case EFFECT_CONSUMED: note(f, "consumed"); break;
    case EFFECT_CANCELLED: note(f, "cancelled"); break;
    case EFFECT_CONSUMER_LOST: note(f, "lost %u", effect->tag_id); break;
    case EFFECT_TOKENS_WANTED: note(f, "wants %u*%u", effect->tag_id, effect->consumers); break;
    case EFFECT_TOKENS_BACK: note(f, "back %u*%u", effect->tag_id, effect->consumers); break;
    case EFFECT_PURGED: note(f, "purged %u", effect->messages); break;
    case EFFECT_STATED: note(f, "stated %u/%u", effect->messages, effect->consumers); break;
    case EFFECT_DELETED: note(f, "deleted %u/%u", effect->messages, effect->consumers); break;
    case EFFECT_REJECT: note(f, "reject"); break;
    case EFFECT_GONE: note(f, "gone"); break;
    case EFFECT_KIND_COUNT: unreachable_here();
    }
    if (effect->code) note(f, " %u", effect->code);
}

static void note_effects(struct fixture *f) {
    for (uint32_t i = 0; i < f->effects.count; i++) {
        note_effect(f, &f->effects.list[i]);
    }
    f->effects.count = 0;
    queue_check(f->queue);
}

static void apply(struct fixture *f, struct op op) {
    op.connection = 7;
    op.now_ms = 1;
    queue_apply(f->queue, &op, op.kind == OP_CONSUME ? &f->credit : NULL, &f->effects);
    if (op.kind == OP_CONSUME) f->handles[op.consume.tag_id] = f->effects.list[0].consumer;
    note_effects(f);
}

static void enqueue(struct fixture *f, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        struct op op = {.kind = OP_ENQUEUE,
            .connection = 7,
            .message = message_new(f->pool, BYTES(""), BYTES("q"), BYTES(""), 36)};
        queue_apply(f->queue, &op, NULL, &f->effects);
    }
    check(f->effects.count == 0);
}

/* Flags, prefetch and priority of a new consumer; its answer is not noted. */
static void consume(struct fixture *f, uint32_t tag_id, uint8_t flags, uint32_t prefetch) {
    size_t before = f->trace_size;
    apply(f, (struct op){.kind = OP_CONSUME,
                 .flags = flags,
                 .request = 1,
                 .consume = {.tag_id = tag_id, .prefetch = prefetch}});
    check(f->handles[tag_id] != 0);
    f->trace_size = before;
    f->trace[before] = 0;
}

static void range(
    struct fixture *f, enum op_kind kind, uint64_t seq, uint32_t count, uint32_t tag) {
    apply(f, (struct op){.kind = (uint8_t)kind, .range = {seq, count, f->handles[tag]}});
}

static void cancel(struct fixture *f, uint32_t tag_id, uint32_t request) {
    apply(f, (struct op){.kind = OP_CANCEL,
                 .request = request,
                 .consumer = {.tag_id = tag_id, .consumer = f->handles[tag_id]}});
}

static void tokens(struct fixture *f, uint32_t tag_id, uint32_t count) {
    apply(f, (struct op){.kind = OP_TOKENS, .consumer = {tag_id, count, f->handles[tag_id]}});
}

static void pump(struct fixture *f) {
    while (queue_owes(f->queue)) {
        queue_pump(f->queue, PUMP_EFFECTS_MAX, &f->effects);
        note_effects(f);
    }
}

/* The same for many: only their number is kept. */
static uint32_t drain(struct fixture *f) {
    uint32_t count = 0;
    while (queue_owes(f->queue)) {
        queue_pump(f->queue, PUMP_EFFECTS_MAX, &f->effects);
        for (uint32_t i = 0; i < f->effects.count; i++) {
            check(f->effects.list[i].kind == EFFECT_DELIVER);
            message_unref(f->pool, f->effects.list[i].message);
        }
        count += f->effects.count;
        f->effects.count = 0;
    }
    return count;
}

/* Everything since the last call. */
static void assert_trace(struct fixture *f, const char *expected) {
    f->trace[f->trace_size] = 0;
    assert_string_equal(f->trace, expected);
    f->trace_size = 0;
    f->trace[0] = 0;
}

/* ---- deliveries */

static void equals_take_turns(void **state) {
    struct fixture *f = *state;
    consume(f, 1, 0, 0);
    consume(f, 2, OP_NO_ACK, 0);
    consume(f, 3, 0, 0);
    enqueue(f, 5);
    pump(f);
    assert_trace(f, "1<1 2<2n 3<3 1<4 2<5n");
    /* The turn is remembered while the queue is empty. */
    enqueue(f, 2);
    pump(f);
    assert_trace(f, "3<6 1<7");
    assert_int_equal(queue_unacked_count(f->queue), 5);
    assert_int_equal(queue_bytes(f->queue), 5 * 36);
}

static void fairness_is_exact(void **state) {
    struct fixture *f = *state;
    uint32_t given[8] = {0};
    for (uint32_t tag = 0; tag < 8; tag++) {
        consume(f, tag, OP_NO_ACK, 0);
    }
    enqueue(f, 8000);
    while (queue_owes(f->queue)) {
        queue_pump(f->queue, 100, &f->effects);
        for (uint32_t i = 0; i < f->effects.count; i++) {
            given[f->effects.list[i].tag_id]++;
            message_unref(f->pool, f->effects.list[i].message);
        }
        f->effects.count = 0;
    }
    for (uint32_t tag = 0; tag < 8; tag++) {
        assert_int_equal(given[tag], 1000);
    }
}

static void higher_priority_first(void **state) {
    struct fixture *f = *state;
    static const int32_t priorities[] = {0, 5, -3, 5};
    for (uint32_t tag = 0; tag < 4; tag++) {
        struct op op = {.kind = OP_CONSUME,
            .request = 1,
            .consume = {.tag_id = tag, .prefetch = 2, .priority = priorities[tag]}};
        apply(f, op);
    }
    assert_trace(f, "consumed consumed consumed consumed");
    enqueue(f, 9);
    pump(f);
    /* Each level fills up before the next one gets anything; the ninth waits. */
    assert_trace(f, "1<1 3<2 1<3 3<4 0<5 0<6 2<7 2<8");
    assert_int_equal(queue_ready_count(f->queue), 1);
    range(f, OP_SETTLE, 7, 1, 2);
    pump(f);
    assert_trace(f, "2<9");
    enqueue(f, 2);
    range(f, OP_SETTLE, 5, 1, 0);
    range(f, OP_SETTLE, 2, 1, 3);
    pump(f);
    assert_trace(f, "3<10 0<11");
}

static void prefetch_is_a_window(void **state) {
    struct fixture *f = *state;
    consume(f, 1, 0, 3);
    consume(f, 2, OP_NO_ACK, 1); /* prefetch means nothing without acks */
    enqueue(f, 9);
    pump(f);
    assert_trace(f, "1<1 2<2n 1<3 2<4n 1<5 2<6n 2<7n 2<8n 2<9n");
    cancel(f, 2, 0);
    enqueue(f, 3);
    pump(f);
    assert_trace(f, "");
    range(f, OP_SETTLE, 1, 3, 1); /* 1 and 3; 2 was another's and is gone */
    pump(f);
    assert_trace(f, "1<10 1<11");
    range(f, OP_REQUEUE, 5, 1, 1);
    pump(f);
    assert_trace(f, "1<5r");
}

static void requeued_go_back_to_their_place(void **state) {
    struct fixture *f = *state;
    consume(f, 1, 0, 0);
    enqueue(f, 6);
    pump(f);
    assert_trace(f, "1<1 1<2 1<3 1<4 1<5 1<6");
    enqueue(f, 2);
    range(f, OP_REQUEUE, 5, 1, 1);
    range(f, OP_REQUEUE, 2, 1, 1);
    range(f, OP_SETTLE, 3, 1, 1);
    apply(f, (struct op){.kind = OP_REQUEUE, .flags = OP_RETURNED, .range = {3, 2, f->handles[1]}});
    assert_int_equal(queue_ready_count(f->queue), 5);
    apply(f, (struct op){.kind = OP_GET, .request = 1});
    pump(f);
    assert_trace(f, "got 2/4r 1<4r 1<5r 1<7 1<8");
    /* Twice is once. */
    range(f, OP_REQUEUE, 1, 1, 1);
    range(f, OP_REQUEUE, 1, 1, 1);
    range(f, OP_SETTLE, 1, 1, 1);
    pump(f);
    assert_trace(f, "1<1r");
    range(f, OP_SETTLE, 2, 1, 0); /* the one that was got */
    range(f, OP_SETTLE, 0, UINT32_MAX, 1);
    range(f, OP_SETTLE, UINT64_MAX, UINT32_MAX, 1);
    assert_int_equal(queue_unacked_count(f->queue), 0);
    assert_int_equal(message_pool_count(f->pool), 0);
}

/* ---- byte credit */

static void credit_stops_and_restarts(void **state) {
    struct fixture *f = *state;
    f->credit.bytes = 250; /* a delivery here costs 100 */
    consume(f, 1, OP_NO_ACK, 0);
    consume(f, 2, 0, 0);
    enqueue(f, 6);
    pump(f);
    assert_trace(f, "1<1n 2<2 1<3n"); /* below zero by one message at most */
    assert_int_equal(f->credit.bytes, -50);
    assert_false(queue_owes(f->queue));
    credit_add(&f->credit, 50, &f->pump);
    assert_true(list_empty(&f->pump));
    credit_add(&f->credit, 101, &f->pump);
    assert_ptr_equal(queue_of_pump(list_first(&f->pump)), f->queue);
    credit_add(&f->credit, 0, &f->pump); /* it is in a list already */
    list_remove(queue_in_pump(f->queue));
    pump(f);
    assert_trace(f, "2<4 1<5n");
    assert_int_equal(f->credit.bytes, -99);
    cancel(f, 1, 0);
    cancel(f, 2, 0);
    assert_true(list_empty(&f->credit.waiting));
}

static void credit_is_shared_by_queues(void **state) {
    struct fixture *f = *state;
    struct queue *second = queue_new(1, &(struct queue_settings){0}, f->pool);
    struct queue *first = f->queue;
    f->credit.bytes = 1;
    consume(f, 1, OP_NO_ACK, 0);
    f->queue = second;
    consume(f, 2, OP_NO_ACK, 0);
    enqueue(f, 1);
    f->queue = first;
    enqueue(f, 2);
    pump(f);
    f->queue = second;
    pump(f);
    assert_trace(f, "1<1n");
    assert_int_equal(f->credit.users, 2);
    credit_add(&f->credit, 1000, &f->pump);
    assert_ptr_equal(queue_of_pump(list_take_first(&f->pump)), first);
    assert_ptr_equal(queue_of_pump(list_take_first(&f->pump)), second);
    pump(f);
    f->queue = first;
    pump(f);
    assert_trace(f, "2<1n 1<2n");
    queue_free(second);
    assert_int_equal(f->credit.users, 1);
}

/* ---- shared prefetch */

static void tokens_are_asked_for_once(void **state) {
    struct fixture *f = *state;
    consume(f, 1, OP_SHARED, 0);
    enqueue(f, 3);
    pump(f);
    enqueue(f, 1);
    pump(f);
    assert_trace(f, "wants 1*3");
    tokens(f, 1, 2);
    pump(f);
    assert_trace(f, "1<1 1<2 wants 1*2");
    tokens(f, 1, 5);
    pump(f);
    assert_trace(f, "1<3 1<4 back 1*3");
    assert_false(queue_owes(f->queue));
    enqueue(f, 1);
    pump(f);
    assert_trace(f, "wants 1*1");
}

static void tokens_come_back(void **state) {
    struct fixture *f = *state;
    consume(f, 1, OP_SHARED, 2);
    enqueue(f, 5);
    pump(f);
    tokens(f, 1, 3);
    pump(f);
    /* Its own prefetch holds as well; a blocked consumer keeps no tokens. */
    assert_trace(f, "wants 1*2 1<1 1<2 back 1*1");
    range(f, OP_SETTLE, 1, 1, 1);
    pump(f);
    assert_trace(f, "wants 1*1");
    f->credit.bytes = 0;
    tokens(f, 1, 1);
    pump(f);
    assert_trace(f, "back 1*1");
    f->credit.bytes = 0;
    credit_add(&f->credit, 1, &f->pump);
    list_take_first(&f->pump);
    pump(f);
    tokens(f, 1, 1);
    apply(f, (struct op){.kind = OP_PURGE, .request = 1});
    pump(f);
    assert_trace(f, "wants 1*1 purged 3 back 1*1");
    enqueue(f, 1);
    pump(f);
    tokens(f, 1, 4);
    cancel(f, 1, 5);
    tokens(f, 1, 9);
    assert_trace(f, "wants 1*1 back 1*4 cancelled back 1*9");
}

static void a_grant_of_nothing_begins_sharing(void **state) {
    struct fixture *f = *state;
    consume(f, 1, 0, 0);
    consume(f, 2, OP_NO_ACK, 0);
    enqueue(f, 1);
    pump(f);
    tokens(f, 1, 0);
    tokens(f, 2, 0);
    tokens(f, 3, 0);
    enqueue(f, 3);
    pump(f);
    assert_trace(f, "1<1 2<2n wants 1*2 2<3n 2<4n");
    tokens(f, 1, 1);
}

static void tokens_mean_nothing_without_acks(void **state) {
    struct fixture *f = *state;
    consume(f, 1, OP_SHARED | OP_NO_ACK, 0);
    enqueue(f, 1);
    pump(f);
    tokens(f, 1, 2);
    assert_trace(f, "1<1n back 1*2");
}

/* ---- consumers come and go */

static void exclusive_wants_no_other(void **state) {
    struct fixture *f = *state;
    struct op op = {.kind = OP_CONSUME, .request = 3, .consume = {.tag_id = 1}};
    struct op exclusive = op;
    exclusive.flags = OP_EXCLUSIVE;
    apply(f, op);
    exclusive.consume.tag_id = 2;
    apply(f, exclusive);
    assert_trace(f, "consumed consumed 403");
    assert_int_equal(f->handles[2], 0);
    cancel(f, 1, 4);
    apply(f, exclusive);
    apply(f, op);
    apply(f, exclusive);
    assert_trace(f, "cancelled consumed consumed 403 consumed 403");
    assert_int_equal(queue_consumer_count(f->queue), 1);
    assert_int_equal(f->credit.users, 1);
}

static void a_stale_handle_is_harmless(void **state) {
    struct fixture *f = *state;
    consume(f, 1, 0, 2);
    enqueue(f, 4);
    pump(f);
    cancel(f, 1, 0);
    consumer_handle stale = f->handles[1];
    consume(f, 2, 0, 1);
    assert_int_not_equal(f->handles[2], stale);
    pump(f);
    assert_trace(f, "1<1 1<2 2<3");
    range(f, OP_SETTLE, 1, 1, 1);
    range(f, OP_REQUEUE, 2, 1, 1);
    pump(f);
    assert_trace(f, ""); /* the new one is still at its prefetch */
    range(f, OP_SETTLE, 3, 1, 2);
    pump(f);
    assert_trace(f, "2<2r");
}

static void cancel_is_answered(void **state) {
    struct fixture *f = *state;
    consume(f, 1, 0, 0);
    consume(f, 2, 0, 0);
    cancel(f, 9, 4); /* nobody */
    cancel(f, 1, 5); /* by handle */
    f->handles[2] = 0;
    cancel(f, 2, 0); /* by connection, channel and tag, silently */
    cancel(f, 2, 6);
    assert_trace(f, "cancelled cancelled cancelled");
    assert_int_equal(queue_consumer_count(f->queue), 0);
    assert_false(queue_gone(f->queue));
}

static void auto_delete_goes_with_the_last(void **state) {
    struct fixture *f = *state;
    replace_queue(f, true);
    enqueue(f, 1000);
    assert_false(queue_gone(f->queue)); /* it never had a consumer */
    consume(f, 1, 0, 2);
    consume(f, 2, 0, 2);
    pump(f);
    assert_trace(f, "1<1 2<2 1<3 2<4");
    cancel(f, 1, 1);
    assert_false(queue_gone(f->queue));
    cancel(f, 2, 2);
    assert_true(queue_gone(f->queue));
    range(f, OP_SETTLE, 1, 4, 1);
    pump(f);
    assert_trace(f, "cancelled cancelled gone");
    assert_int_equal(message_pool_count(f->pool), 0);
}

/* ---- get, purge, stat, delete */

static void get_takes_one(void **state) {
    struct fixture *f = *state;
    struct op get = {.kind = OP_GET, .request = 8}, get_no_ack = get;
    get_no_ack.flags = OP_NO_ACK;
    apply(f, get);
    enqueue(f, 3);
    apply(f, get);
    apply(f, get_no_ack);
    assert_trace(f, "empty got 1/2 got 2/1n");
    assert_int_equal(queue_unacked_count(f->queue), 1);
    range(f, OP_REQUEUE, 1, 1, 0);
    apply(f, get_no_ack);
    apply(f, get_no_ack);
    apply(f, get_no_ack);
    assert_trace(f, "got 1/1rn got 3/0n empty");
}

static void a_purge_is_answered_at_once(void **state) {
    struct fixture *f = *state;
    enqueue(f, 100000);
    apply(f, (struct op){.kind = OP_GET, .request = 1});
    apply(f, (struct op){.kind = OP_GET, .request = 1});
    range(f, OP_REQUEUE, 1, 1, 0);
    apply(f, (struct op){.kind = OP_PURGE, .request = 1});
    assert_trace(f, "got 1/99999 got 2/99998 purged 99999");
    assert_int_equal(queue_ready_count(f->queue), 0);
    assert_int_equal(queue_bytes(f->queue), 36); /* the unacked one */
    /* What comes later is not held up by what has to be dropped. */
    consume(f, 1, OP_NO_ACK, 0);
    enqueue(f, 2);
    queue_pump(f->queue, 10, &f->effects);
    note_effects(f);
    assert_trace(f, "1<100001n 1<100002n");
    assert_in_range(message_pool_count(f->pool), 99990, 99999);
    assert_true(queue_owes(f->queue));
    enqueue(f, 1);
    cancel(f, 1, 0);
    apply(f, (struct op){.kind = OP_PURGE, .request = 1});
    pump(f);
    assert_trace(f, "purged 1");
    assert_int_equal(message_pool_count(f->pool), 1);
    range(f, OP_REQUEUE, 1, 5, 0);
    apply(f, (struct op){.kind = OP_GET, .flags = OP_NO_ACK, .request = 1});
    assert_trace(f, "got 2/0rn");
}

/* The acknowledgement of very many counts at once, too, and their memory follows. */
static void a_long_settlement_is_owed_work(void **state) {
    struct fixture *f = *state;
    consume(f, 1, 0, 50000);
    enqueue(f, 100001);
    assert_int_equal(drain(f), 50000);
    range(f, OP_SETTLE, 3, 1, 1);
    range(f, OP_SETTLE, 1, 49990, 1);
    assert_int_equal(queue_unacked_count(f->queue), 10);
    assert_int_equal(queue_bytes(f->queue), (10 + 50001) * 36);
    assert_true(message_pool_count(f->pool) > 99000);
    range(f, OP_REQUEUE, 1, 49991, 1); /* all but one of these are gone already */
    apply(f, (struct op){.kind = OP_STAT, .request = 1});
    queue_pump(f->queue, 4, &f->effects);
    note_effects(f);
    assert_trace(f, "stated 50002/1 1<49991r 1<50001");
    /* Its whole prefetch is open again. */
    assert_int_equal(drain(f), 49991 - 2);
    assert_int_equal(message_pool_count(f->pool), 50000 + 11);
}

static void delete_minds_its_conditions(void **state) {
    struct fixture *f = *state;
    struct op if_both = {.kind = OP_DELETE, .flags = OP_IF_UNUSED | OP_IF_EMPTY, .request = 1};
    struct op if_empty = {.kind = OP_DELETE, .flags = OP_IF_EMPTY, .request = 1};
    consume(f, 1, 0, 1);
    consume(f, 2, 0, 1);
    enqueue(f, 5);
    pump(f);
    apply(f, (struct op){.kind = OP_STAT, .request = 1});
    apply(f, if_both);
    apply(f, if_empty);
    assert_trace(f, "1<1 2<2 stated 3/2 deleted 0/2 406 deleted 3/0 406");
    apply(f, (struct op){.kind = OP_DELETE, .request = 1});
    assert_trace(f, "deleted 3/0");
    assert_int_equal(queue_consumer_count(f->queue), 0);
    range(f, OP_SETTLE, 1, 1, 1);
    range(f, OP_REQUEUE, 2, 1, 2);
    cancel(f, 2, 6); /* crosses the notice, which is not sent then */
    pump(f);
    assert_trace(f, "cancelled lost 1");
    assert_int_equal(message_pool_count(f->pool), 0);
}

static void a_gone_queue_takes_nothing(void **state) {
    struct fixture *f = *state;
    consume(f, 1, OP_SHARED, 0);
    enqueue(f, 2);
    pump(f);
    tokens(f, 1, 1);
    apply(f, (struct op){.kind = OP_DELETE, .request = 1});
    tokens(f, 1, 2);
    assert_trace(f, "wants 1*2 deleted 2/0 back 1*2");
    enqueue(f, 1);
    static const enum op_kind kinds[] = {
        OP_CONSUME, OP_GET, OP_PURGE, OP_STAT, OP_DELETE, OP_CANCEL};
    for (uint32_t i = 0; i < COUNT_OF(kinds); i++) {
        struct op op = {.kind = (uint8_t)kinds[i], .request = 1};
        if (kinds[i] == OP_CANCEL) op.consumer.tag_id = 15;
        apply(f, op);
    }
    assert_trace(f, "consumed 404 empty 404 purged 0 404 stated 0/0 404 deleted 0/0 404 cancelled");
    pump(f);
    assert_trace(f, "back 1*1 lost 1");
    assert_int_equal(message_pool_count(f->pool), 0);
    assert_false(queue_owes(f->queue));
}

/* A message that is on its way to a client outlives its queue. */
static void a_delivery_outlives_its_queue(void **state) {
    struct fixture *f = *state;
    consume(f, 1, 0, 0);
    enqueue(f, 1);
    queue_pump(f->queue, 1, &f->effects);
    struct message *message = f->effects.list[0].message;
    f->effects.count = 0;
    replace_queue(f, false);
    assert_int_equal(message_pool_count(f->pool), 1);
    assert_text(message_routing_key(message), "q");
    message_unref(f->pool, message);
    assert_int_equal(message_pool_count(f->pool), 0);
}

static void a_slice_is_a_slice(void **state) {
    struct fixture *f = *state;
    for (uint32_t tag = 0; tag < 10; tag++) {
        consume(f, tag, 0, 0);
    }
    enqueue(f, 1000);
    queue_pump(f->queue, 0, &f->effects);
    assert_int_equal(f->effects.count, 0);
    queue_pump(f->queue, 7, &f->effects);
    assert_int_equal(f->effects.count, 7);
    queue_pump(f->queue, PUMP_EFFECTS_MAX - 7, &f->effects);
    assert_int_equal(f->effects.count, PUMP_EFFECTS_MAX);
    note_effects(f);
    f->trace_size = 0;
    apply(f, (struct op){.kind = OP_DELETE, .request = 1});
    f->trace_size = 0;
    queue_pump(f->queue, 4, &f->effects);
    note_effects(f);
    assert_trace(f, "lost 0 lost 1 lost 2 lost 3");
    queue_pump(f->queue, 16, &f->effects);
    note_effects(f);
    assert_int_equal(message_pool_count(f->pool), 1000 - 10);
    f->trace_size = 0;
}

/* ---- memory */

static uint32_t chunks_of(struct fixture *f) {
    return message_pool_chunks(f->pool)->used;
}

static void an_empty_queue_holds_no_chunk(void **state) {
    struct fixture *f = *state;
    consume(f, 1, OP_NO_ACK, 0);
    assert_int_equal(chunks_of(f), 0);
    enqueue(f, 1000);
    assert_int_equal(chunks_of(f), 1001 / 64 + 1);
    assert_int_equal(drain(f), 1000);
    assert_int_equal(chunks_of(f), 0);
}

/* One message stays unacked for ever while two million pass. */
static void a_stuck_message_pins_nothing(void **state) {
    struct fixture *f = *state;
    enqueue(f, 1);
    apply(f, (struct op){.kind = OP_GET, .request = 1});
    consume(f, 1, OP_NO_ACK, 0);
    uint64_t seq = 1;
    for (uint32_t round = 0; round < 20000; round++) {
        enqueue(f, 100);
        queue_pump(f->queue, PUMP_EFFECTS_MAX, &f->effects);
        for (uint32_t i = 0; i < f->effects.count; i++) {
            check(f->effects.list[i].seq == ++seq);
            message_unref(f->pool, f->effects.list[i].message);
        }
        f->effects.count = 0;
        check(chunks_of(f) <= 4);
    }
    queue_check(f->queue);
    assert_int_equal(seq, 2000001);
    f->trace_size = 0;
    range(f, OP_REQUEUE, 1, 1, 0);
    pump(f);
    assert_trace(f, "1<1rn");
    assert_int_equal(chunks_of(f), 0);
}

/* One in a hundred of a long backlog stays unacked; then they come back in order. */
static void sparse_leftovers_cost_little(void **state) {
    enum { COUNT = 200000, EACH = 100 };
    struct fixture *f = *state;
    enqueue(f, COUNT);
    assert_in_range(chunks_of(f), COUNT / 64, COUNT / 64 + 1);
    for (uint32_t n = 1; n <= COUNT; n++) {
        struct op op = {.kind = OP_GET, .flags = n % EACH ? OP_NO_ACK : 0, .request = 1};
        queue_apply(f->queue, &op, NULL, &f->effects);
        message_unref(f->pool, f->effects.list[0].message);
        f->effects.count = 0;
        if (n % 200 == 0) queue_pump(f->queue, 1, &f->effects);
    }
    queue_check(f->queue);
    assert_int_equal(queue_unacked_count(f->queue), COUNT / EACH);
    assert_in_range(chunks_of(f), 0, 64);
    assert_int_equal(message_pool_count(f->pool), COUNT / EACH);
    range(f, OP_REQUEUE, 1, COUNT, 0);
    consume(f, 1, OP_NO_ACK, 0);
    uint64_t seq = 0;
    while (queue_owes(f->queue)) {
        queue_pump(f->queue, 3, &f->effects);
        for (uint32_t i = 0; i < f->effects.count; i++) {
            seq += EACH;
            check(f->effects.list[i].seq == seq);
            message_unref(f->pool, f->effects.list[i].message);
        }
        f->effects.count = 0;
    }
    assert_int_equal(seq, COUNT);
    assert_int_equal(chunks_of(f), 0);
}

static void every_kind_has_a_name(void **state) {
    (void)state;
    assert_string_equal(op_name(OP_ENQUEUE), "ENQUEUE");
    assert_string_equal(op_name(OP_DELETE), "DELETE");
    assert_string_equal(effect_name(EFFECT_GONE), "GONE");
    assert_string_equal(effect_name((enum effect_kind)200), "unknown");
    for (uint32_t i = 0; i < OP_KIND_COUNT; i++) {
        assert_non_null(op_name((enum op_kind)i));
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(equals_take_turns),
        CASE(fairness_is_exact),
        CASE(higher_priority_first),
        CASE(prefetch_is_a_window),
        CASE(requeued_go_back_to_their_place),
        CASE(credit_stops_and_restarts),
        CASE(credit_is_shared_by_queues),
        CASE(tokens_are_asked_for_once),
        CASE(tokens_come_back),
        CASE(a_grant_of_nothing_begins_sharing),
        CASE(tokens_mean_nothing_without_acks),
        CASE(exclusive_wants_no_other),
        CASE(a_stale_handle_is_harmless),
        CASE(cancel_is_answered),
        CASE(auto_delete_goes_with_the_last),
        CASE(get_takes_one),
        CASE(a_purge_is_answered_at_once),
        CASE(a_long_settlement_is_owed_work),
        CASE(delete_minds_its_conditions),
        CASE(a_gone_queue_takes_nothing),
        CASE(a_delivery_outlives_its_queue),
        CASE(a_slice_is_a_slice),
        CASE(an_empty_queue_holds_no_chunk),
        CASE(a_stuck_message_pins_nothing),
        CASE(sparse_leftovers_cost_little),
        cmocka_unit_test(every_kind_has_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
