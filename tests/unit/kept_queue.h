/* kept_queue: a queue that is kept on disk, with nobody who keeps it. */
#ifndef TESTS_KEPT_QUEUE_H
#define TESTS_KEPT_QUEUE_H

#include "unit.h"

#include "base/memory.h"
#include "core/queue.h"

struct fixture {
    struct message_pool *pool;
    struct queue *queue;
    struct settlements settlements;
    struct credit credit;
    struct effects effects;
};

static inline int set_up(void **state) {
    struct fixture *f = NEW(struct fixture);
    f->pool = message_pool_new(0);
    f->queue = queue_new(1, &(struct queue_settings){0}, f->pool);
    queue_keep(f->queue, &f->settlements);
    queue_allow(f->queue, UINT64_MAX);
    credit_init(&f->credit, 1 << 30);
    *state = f;
    return 0;
}

static inline int tear_down(void **state) {
    struct fixture *f = *state;
    queue_check(f->queue);
    queue_free(f->queue);
    assert_int_equal(message_pool_count(f->pool), 0);
    settlements_deinit(&f->settlements);
    message_pool_free(f->pool);
    mem_free(f);
    return 0;
}

static inline void drop_effects(struct fixture *f) {
    for (uint32_t i = 0; i < f->effects.count; i++)
        message_unref(f->pool, f->effects.list[i].message);
    f->effects.count = 0;
}

static inline void apply_range(
    struct fixture *f, enum op_kind kind, uint8_t flags, uint64_t seq, uint32_t count) {
    struct op op = {.kind = (uint8_t)kind, .flags = flags};
    op.range.seq = seq;
    op.range.count = count;
    queue_apply(f->queue, &op, NULL, &f->effects);
    queue_check(f->queue);
}

#endif
