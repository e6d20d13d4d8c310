/* message_test: blocks, references, the way home, and memory that is given back. */
#include "unit.h"

#include <pthread.h>

#include "base/memory.h"
#include "base/prng.h"
#include "core/message.h"
#include "core/slab.h"

static void a_message_is_one_block(void **state) {
    (void)state;
    struct message_pool *pool = message_pool_new(3);
    struct message *message =
        message_new(pool, BYTES("logs"), BYTES("a.b"), BYTES("\x80\0\x04text"), 5);
    memcpy(message_body_data(message), "hello", 5);
    assert_text(message_exchange(message), "logs");
    assert_text(message_routing_key(message), "a.b");
    assert_bytes(message_properties(message), "\x80\0\x04text", 7);
    assert_text(message_body(message), "hello");
    assert_int_equal(message->home, 3);
    assert_false(message->persistent);
    assert_int_equal(message->priority, 0);
    assert_int_equal(message_pool_count(pool), 1);
    assert_int_equal(message_pool_bytes(pool), message_cost(message));
    assert_in_range(message_cost(message), sizeof *message + 4 + 3 + 7 + 5, 64);
    assert_null(message_unref(pool, message));
    assert_null(message_unref(pool, NULL));
    assert_int_equal(message_pool_count(pool), 0);
    assert_int_equal(message_pool_bytes(pool), 0);
    message_pool_free(pool);
    message_pool_free(NULL);
}

static void empty_parts_are_fine(void **state) {
    (void)state;
    struct message_pool *pool = message_pool_new(0);
    struct message *message = message_new(pool, BYTES(""), (struct bytes){0}, (struct bytes){0}, 0);
    assert_int_equal(message_exchange(message).size, 0);
    assert_int_equal(message_body(message).size, 0);
    assert_int_equal(message_cost(message), 64);
    message_unref(pool, message);
    message_pool_free(pool);
}

/* Every size has room, and a block is at most a quarter larger than what was asked for. */
static void every_size_fits(void **state) {
    (void)state;
    struct message_pool *pool = message_pool_new(0);
    struct message *messages[64] = {0};
    uint32_t count = 0;
    for (uint32_t size = 0; size < 40000; size += 1 + size / 61) {
        struct message **place = &messages[count++ % COUNT_OF(messages)];
        message_unref(pool, *place);
        struct message *message = message_new(pool, BYTES("e"), BYTES("key"), BYTES("pp"), size);
        uint64_t asked = sizeof *message + 6 + size;
        assert_in_range(message_cost(message), asked, 64 + asked + asked / 4);
        memset(message_body_data(message), (int)size, size);
        *place = message;
    }
    for (uint32_t i = 0; i < COUNT_OF(messages); i++) {
        struct bytes body = message_body(messages[i]);
        for (uint32_t k = 0; k < body.size; k++) {
            check(body.data[k] == (uint8_t)body.size);
        }
        assert_text(message_routing_key(messages[i]), "key");
        message_unref(pool, messages[i]);
    }
    assert_int_equal(message_pool_bytes(pool), 0);
    message_pool_free(pool);
}

static void references_are_counted(void **state) {
    (void)state;
    struct message_pool *pool = message_pool_new(0);
    struct message *message = message_new(pool, BYTES(""), BYTES("k"), BYTES(""), 10);
    message_ref(message, 2); /* from one */
    message_ref(message, 3); /* from several */
    message_ref(message, 0);
    for (int i = 0; i < 5; i++) {
        message_unref(pool, message);
        assert_int_equal(message_pool_count(pool), 1);
    }
    message_unref(pool, message);
    assert_int_equal(message_pool_count(pool), 0);
    message_pool_free(pool);
}

static void memory_is_used_again(void **state) {
    (void)state;
    struct message_pool *pool = message_pool_new(0);
    struct message *first = message_new(pool, BYTES(""), BYTES("k"), BYTES(""), 100);
    message_unref(pool, first);
    struct message *second = message_new(pool, BYTES(""), BYTES("k"), BYTES(""), 101);
    assert_ptr_equal(first, second);
    message_unref(pool, second);
    message_pool_free(pool);
}

static void blocks_travel_home(void **state) {
    (void)state;
    struct message_pool *home = message_pool_new(2), *other = message_pool_new(5);
    for (uint32_t i = 0; i < 3; i++) {
        struct message *message =
            message_new(home, BYTES(""), BYTES("k"), BYTES(""), i == 1 ? 100000 : 10);
        message_unref(other, message);
    }
    assert_int_equal(message_pool_count(home), 3);
    assert_int_equal(message_pool_count(other), 0);
    assert_null(message_pool_take_away(other, 5));
    assert_null(message_pool_take_away(other, 3));
    struct message *chain = message_pool_take_away(other, 2);
    assert_null(message_pool_take_away(other, 2));
    message_pool_put_home(home, chain);
    message_pool_put_home(home, NULL);
    assert_int_equal(message_pool_count(home), 0);
    message_pool_free(home);
    message_pool_free(other);
}

/* A burst of 100 MB passes; afterwards the pool holds a few MiB. */
static void a_burst_is_given_back(void **state) {
    enum { COUNT = 100000 };
    (void)state;
    struct message_pool *pool = message_pool_new(0);
    struct message **messages = mem_new_array(COUNT, sizeof(struct message *));
    struct prng prng;
    prng_init(&prng, 7);
    for (uint32_t i = 0; i < COUNT; i++) {
        uint32_t size = i % 1000 ? (uint32_t)prng_below(&prng, 2000) : 20000;
        messages[i] = message_new(pool, BYTES(""), BYTES("key"), BYTES(""), size);
    }
    uint64_t full = message_pool_held_bytes(pool);
    assert_true(full >= message_pool_bytes(pool));
    assert_true(full < message_pool_bytes(pool) + message_pool_bytes(pool) / 10);
    for (uint32_t i = COUNT - 1; i > 0; i--) {
        uint32_t other = (uint32_t)prng_below(&prng, i + 1);
        struct message *message = messages[i];
        messages[i] = messages[other];
        messages[other] = message;
    }
    for (uint32_t i = 0; i < COUNT; i++) {
        message_unref(pool, messages[i]);
    }
    uint64_t empty = message_pool_held_bytes(pool);
    assert_in_range(empty, 1, (SLABS_KEPT_MAX + 37) * SLAB_BYTES);
    assert_true(empty < full / 4);
    struct message *last = message_new(pool, BYTES(""), BYTES("key"), BYTES(""), 1);
    message_pool_trim(pool);
    assert_in_range(message_pool_held_bytes(pool), message_cost(last), SLAB_BYTES);
    assert_int_equal(
        message_pool_held_bytes(pool) - message_pool_idle_bytes(pool), message_cost(last));
    message_unref(pool, last);
    message_pool_trim(pool);
    assert_int_equal(message_pool_held_bytes(pool), 0);
    mem_free(messages);
    message_pool_free(pool);
}

/* What a slab has lost is found again, wherever in a class's life it comes back. */
static void slabs_come_and_go(void **state) {
    enum { COUNT = 5000, BLOCK = 1040 };
    (void)state;
    struct slab_depot depot;
    struct slab_class class, second;
    struct prng prng;
    uint8_t *blocks[COUNT] = {0};
    prng_init(&prng, 3);
    slab_depot_init(&depot);
    slab_class_init(&class, &depot, BLOCK);
    slab_class_init(&second, &depot, 64);
    uint32_t out = 0;
    for (uint32_t n = 0; n < 100000; n++) {
        uint32_t fill = n / 20000 % 2 ? 30 : 70;
        uint32_t i = (uint32_t)prng_below(&prng, COUNT);
        if (!blocks[i] && prng_chance(&prng, fill)) {
            blocks[i] = slab_take(&class);
            assert_int_equal((uintptr_t)blocks[i] % 16, 0);
            memset(blocks[i], (int)i, BLOCK);
            out++;
        } else if (blocks[i] && prng_chance(&prng, 100 - fill)) {
            check(blocks[i][0] == (uint8_t)i);
            check(blocks[i][BLOCK - 1] == (uint8_t)i);
            slab_put(&class, blocks[i]);
            blocks[i] = NULL;
            out--;
        }
        check(class.used == out);
    }
    for (uint32_t i = 0; i < COUNT; i++) {
        if (blocks[i]) slab_put(&class, blocks[i]);
    }
    assert_in_range(depot.slab_count, 1, SLABS_KEPT_MAX + 1);
    /* An empty slab serves any class. */
    uint32_t before = depot.slab_count;
    void *block = slab_take(&second);
    assert_int_equal(depot.slab_count, before);
    slab_put(&second, block);
    slab_class_deinit(&class);
    slab_class_deinit(&second);
    slab_depot_deinit(&depot);
}

/* Two shards drop their references at the same time; every block comes home once. */
enum { SHARED = 20000 };

struct dropper {
    struct message_pool *pool;
    struct message **messages;
    pthread_barrier_t *start;
};

static void *drop_all(void *argument) {
    struct dropper *dropper = argument;
    pthread_barrier_wait(dropper->start);
    for (uint32_t i = 0; i < SHARED; i++) {
        if (i % 3 == 0) {
            message_ref(dropper->messages[i], 1);
            message_unref(dropper->pool, dropper->messages[i]);
        }
        message_unref(dropper->pool, dropper->messages[i]);
    }
    return NULL;
}

static void two_shards_may_drop_at_once(void **state) {
    (void)state;
    struct message_pool *pools[2] = {message_pool_new(0), message_pool_new(1)};
    struct message **messages = mem_new_array(SHARED, sizeof(struct message *));
    for (uint32_t i = 0; i < SHARED; i++) {
        messages[i] = message_new(pools[0], BYTES(""), BYTES("k"), BYTES(""), i % 50);
        message_ref(messages[i], 1);
    }
    pthread_barrier_t start;
    pthread_barrier_init(&start, NULL, 2);
    pthread_t thread;
    struct dropper droppers[2] = {{pools[0], messages, &start}, {pools[1], messages, &start}};
    check(pthread_create(&thread, NULL, drop_all, &droppers[1]) == 0);
    drop_all(&droppers[0]);
    pthread_join(thread, NULL);
    pthread_barrier_destroy(&start);
    message_pool_put_home(pools[0], message_pool_take_away(pools[1], 0));
    assert_int_equal(message_pool_count(pools[0]), 0);
    message_pool_free(pools[0]);
    message_pool_free(pools[1]);
    mem_free(messages);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_is_one_block),
        cmocka_unit_test(empty_parts_are_fine),
        cmocka_unit_test(every_size_fits),
        cmocka_unit_test(references_are_counted),
        cmocka_unit_test(memory_is_used_again),
        cmocka_unit_test(blocks_travel_home),
        cmocka_unit_test(a_burst_is_given_back),
        cmocka_unit_test(slabs_come_and_go),
        cmocka_unit_test(two_shards_may_drop_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
