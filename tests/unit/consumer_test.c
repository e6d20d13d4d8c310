/* consumer_test: handles, whose turn it is, and the way between the places. */
#include "unit.h"

#include "base/memory.h"
#include "base/prng.h"
#include "core/consumer.h"

struct fixture {
    struct message_pool *pool;
    struct queue *queue;
    struct consumers *consumers;
    struct credit credit;
    struct list pump;
};

static int set_up(void **state) {
    struct fixture *f = NEW(struct fixture);
    f->pool = message_pool_new(0);
    f->queue = queue_new(1, &(struct queue_settings){0}, f->pool);
    f->consumers = consumers_new(0);
    credit_init(&f->credit, 100);
    list_init(&f->pump);
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    struct fixture *f = *state;
    struct consumer *consumer;
    consumers_check(f->consumers);
    while ((consumer = consumers_next_lost(f->consumers)) != NULL) {
        consumers_remove(f->consumers, consumer);
    }
    assert_int_equal(f->credit.users, 0);
    assert_true(list_empty(&f->credit.waiting));
    consumers_free(f->consumers);
    queue_free(f->queue);
    message_pool_free(f->pool);
    mem_free(f);
    return 0;
}

static struct consumer *put(struct fixture *f, uint32_t tag_id, int32_t priority) {
    const struct op op = {.kind = OP_CONSUME,
        .connection = 5,
        .channel = 6,
        .consume = {.tag_id = tag_id, .prefetch = 2, .priority = priority}};
    return consumers_put(f->consumers, f->queue, &op, &f->credit);
}

static void a_handle_is_never_used_twice(void **state) {
    enum { ROUNDS = 20000, ALIVE = 40 };
    struct fixture *f = *state;
    struct consumer *alive[ALIVE] = {0};
    bool *used = mem_new_array((size_t)ROUNDS * 8, sizeof(bool));
    struct prng prng;
    prng_init(&prng, 11);
    for (uint32_t n = 0; n < ROUNDS; n++) {
        struct consumer **place = &alive[prng_below(&prng, 1 + n % ALIVE)];
        if (*place) {
            consumer_handle old = (*place)->handle;
            assert_ptr_equal(consumers_find(f->consumers, old), *place);
            consumers_remove(f->consumers, *place);
            assert_null(consumers_find(f->consumers, old));
        }
        *place = put(f, n, 0);
        consumer_handle handle = (*place)->handle;
        check(handle != 0);
        check(handle < ROUNDS * 8);
        check(!used[handle]);
        used[handle] = true;
        if (n % 64 == 0) consumers_check(f->consumers);
    }
    assert_null(consumers_find(f->consumers, 0));
    assert_null(consumers_find(NULL, 1));
    mem_free(used);
}

static void handles_go_on_after_an_empty_time(void **state) {
    struct fixture *f = *state;
    consumers_free(f->consumers);
    f->consumers = consumers_new(41);
    assert_true(put(f, 1, 0)->handle > 41);
    /* And past the last number there is. */
    f->consumers->last_handle = UINT32_MAX - 1;
    struct consumer *second = put(f, 2, 0), *third = put(f, 3, 0);
    assert_true(second->handle != 0);
    assert_true(third->handle != 0);
    assert_ptr_equal(consumers_find(f->consumers, third->handle), third);
}

static void found_by_who_it_is(void **state) {
    struct fixture *f = *state;
    put(f, 1, 0);
    struct consumer *second = put(f, 2, 0);
    struct op op = {.kind = OP_CANCEL, .connection = 5, .channel = 6, .consumer = {.tag_id = 2}};
    assert_ptr_equal(consumers_find_for(f->consumers, &op), second);
    assert_null(consumers_find_for(NULL, &op));
    op.channel = 7;
    assert_null(consumers_find_for(f->consumers, &op));
    op.consumer.consumer = second->handle;
    assert_ptr_equal(consumers_find_for(f->consumers, &op), second);
    op.consumer.consumer = second->handle + 100;
    assert_null(consumers_find_for(f->consumers, &op));
}

/* The tags in the order of their turns, while each of `count` turns is taken. */
static void assert_turns(struct fixture *f, const uint32_t *tags, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        struct consumer *consumer = consumers_first(f->consumers);
        check(consumer != NULL);
        assert_int_equal(consumer->tag_id, tags[i]);
        consumer_rotate(consumer);
    }
    consumers_check(f->consumers);
}

static void turns_go_round_by_priority(void **state) {
    struct fixture *f = *state;
    assert_null(consumers_first(f->consumers));
    assert_null(consumers_first(NULL));
    struct consumer *low = put(f, 1, -10);
    assert_turns(f, (const uint32_t[]){1, 1}, 2);
    struct consumer *first = put(f, 2, INT32_MAX), *second = put(f, 3, INT32_MAX);
    put(f, 4, 0);
    assert_turns(f, (const uint32_t[]){2, 3, 2}, 3);
    first->unacked = second->unacked = 2;
    consumer_deactivate(first, CONSUMER_BLOCKED);
    assert_turns(f, (const uint32_t[]){3, 3}, 2);
    consumer_deactivate(second, CONSUMER_BLOCKED);
    assert_turns(f, (const uint32_t[]){4, 4}, 2);
    consumers_remove(f->consumers, consumers_first(f->consumers));
    assert_turns(f, (const uint32_t[]){1}, 1);
    consumer_settled(second, 1);
    consumer_settled(first, 2);
    assert_turns(f, (const uint32_t[]){3, 2, 3}, 3);
    consumers_remove(f->consumers, low);
    consumers_check(f->consumers);
}

static void waiting_ends_with_credit(void **state) {
    struct fixture *f = *state;
    struct consumer *first = put(f, 1, 0), *second = put(f, 2, 0);
    f->credit.bytes = -50;
    consumer_deactivate(first, CONSUMER_WAITING);
    consumer_deactivate(second, CONSUMER_WAITING);
    consumers_check(f->consumers);
    credit_add(&f->credit, 50, &f->pump);
    assert_int_equal(second->place, CONSUMER_WAITING);
    assert_null(consumers_first(f->consumers));
    credit_add(&f->credit, 1, &f->pump);
    assert_turns(f, (const uint32_t[]){1, 2, 1}, 3);
    assert_ptr_equal(list_take_first(&f->pump), queue_in_pump(f->queue));
    assert_true(list_empty(&f->pump));
    /* A settlement does not end a wait for credit. */
    f->credit.bytes = 0;
    first->unacked = 1;
    consumer_deactivate(first, CONSUMER_WAITING);
    consumer_settled(first, 1);
    assert_int_equal(first->place, CONSUMER_WAITING);
    consumers_remove(f->consumers, first);
    assert_true(list_empty(&f->credit.waiting));
}

static void tokens_make_a_holder(void **state) {
    struct fixture *f = *state;
    struct consumer *consumer = put(f, 1, 0);
    consumer_set_tokens(consumer, 3);
    consumer_set_tokens(consumer, 2);
    assert_ptr_equal(list_first(&f->consumers->holders), &consumer->in_holders);
    consumers_check(f->consumers);
    consumer_set_tokens(consumer, 0);
    consumer_set_tokens(consumer, 0);
    assert_true(list_empty(&f->consumers->holders));
    consumer_set_tokens(consumer, 1);
    consumers_remove(f->consumers, consumer);
    assert_true(list_empty(&f->consumers->holders));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(a_handle_is_never_used_twice),
        CASE(handles_go_on_after_an_empty_time),
        CASE(found_by_who_it_is),
        CASE(turns_go_round_by_priority),
        CASE(waiting_ends_with_credit),
        CASE(tokens_make_a_holder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
