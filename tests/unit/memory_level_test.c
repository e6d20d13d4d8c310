/* memory_level: when publishers are blocked because of memory, and when they go on. */
#include "unit.h"

#include "base/memory.h"
#include "shard/memory_level.h"

enum {
    LIMIT = 64 * 1024 * 1024,
    BODY = 900,
    COUNT_MAX = 100000,
    SPREAD = 400, /* each so many-th message stays, and with it its slab */
};

/* One shard's pool, and the level that it tells. */
struct fixture {
    struct memory_level level;
    struct pool_figures told;
    struct message_pool *pool;
    struct message *messages[COUNT_MAX];
    uint32_t count;
};

static struct fixture *begin(void) {
    struct fixture *f = NEW(struct fixture);
    memory_level_init(&f->level, LIMIT);
    f->pool = message_pool_new(0);
    return f;
}

static void end(struct fixture *f) {
    for (uint32_t i = 0; i < f->count; i++)
        message_unref(f->pool, f->messages[i]);
    message_pool_free(f->pool);
    mem_free(f);
}

static bool tell(struct fixture *f) {
    return memory_level_tell(&f->level, &f->told, f->pool, false);
}

static void put(struct fixture *f) {
    struct bytes nothing = bytes_of(NULL, 0);
    assert_true(f->count < COUNT_MAX);
    f->messages[f->count++] = message_new(f->pool, nothing, nothing, nothing, BODY);
    tell(f);
}

/* Publishes until the alarm is on; gives the bytes that its messages have then. */
static uint64_t flood(struct fixture *f) {
    while (!atomic_load(&f->level.alarm))
        put(f);
    return message_pool_bytes(f->pool);
}

/* Consumes all, but each `spread`-th when that is not 0. */
static void drain(struct fixture *f, uint32_t spread) {
    uint32_t left = 0;
    for (uint32_t i = 0; i < f->count; i++) {
        if (spread != 0 && i % spread == 0)
            f->messages[left++] = f->messages[i];
        else
            message_unref(f->pool, f->messages[i]);
    }
    f->count = left;
    tell(f);
}

static uint64_t resident(const struct fixture *f) {
    return message_pool_held_bytes(f->pool) + LIMIT / 16; /* and what is beside */
}

static void unwatched_it_is_messages_that_count(void **state) {
    (void)state;
    struct fixture *f = begin();
    assert_in_range(flood(f), LIMIT, LIMIT + LIMIT / 100);
    drain(f, 0);
    assert_false(atomic_load(&f->level.alarm));
    end(f);
}

static void what_is_beside_counts_too(void **state) {
    (void)state;
    struct fixture *f = begin();
    assert_false(memory_level_set_resident(&f->level, LIMIT / 4));
    assert_in_range(flood(f), LIMIT / 4 * 3 - LIMIT / 16, LIMIT / 4 * 3 + LIMIT / 100);
    end(f);
}

static void it_ends_when_somebody_has_looked(void **state) {
    (void)state;
    struct fixture *f = begin();
    memory_level_set_resident(&f->level, resident(f));
    flood(f);
    drain(f, 0);
    message_pool_trim(f->pool);
    assert_true(atomic_load(&f->level.alarm));
    assert_true(memory_level_set_resident(&f->level, resident(f)));
    assert_false(atomic_load(&f->level.alarm));
    end(f);
}

static void a_look_raises_it_too(void **state) {
    (void)state;
    struct fixture *f = begin();
    assert_true(memory_level_set_resident(&f->level, LIMIT + 1));
    assert_true(atomic_load(&f->level.alarm));
    assert_false(memory_level_set_resident(&f->level, LIMIT));
    assert_true(memory_level_set_resident(&f->level, LIMIT / 10 * 9));
    end(f);
}

/* Slabs with one message each stay as they are: new messages go between, and no more than that. */
static void idle_memory_is_used_again_and_not_grown_beyond(void **state) {
    (void)state;
    struct fixture *f = begin();
    memory_level_set_resident(&f->level, resident(f));
    uint64_t full = flood(f);
    memory_level_set_resident(&f->level, resident(f));
    drain(f, SPREAD);
    assert_true(resident(f) > LIMIT);
    assert_true(atomic_load(&f->level.alarm));
    assert_true(memory_level_set_resident(&f->level, resident(f)));
    assert_false(atomic_load(&f->level.alarm));
    assert_false(memory_level_is_pressed(&f->level) && memory_level_used(&f->level) < LIMIT);
    uint64_t again = flood(f);
    assert_in_range(again, full - LIMIT / 100, full + LIMIT / 20);
    drain(f, 0);
    message_pool_trim(f->pool);
    memory_level_set_resident(&f->level, resident(f));
    assert_int_equal(atomic_load(&f->level.allowed), LIMIT);
    end(f);
}

static void half_of_the_limit_is_pressure(void **state) {
    (void)state;
    struct fixture *f = begin();
    memory_level_set_resident(&f->level, LIMIT / 2 - LIMIT / 100);
    assert_false(memory_level_is_pressed(&f->level));
    memory_level_set_resident(&f->level, LIMIT / 2 + LIMIT / 100);
    assert_true(memory_level_is_pressed(&f->level));
    end(f);
}

static void count_up(void *context) {
    ++*(uint32_t *)context;
}

/* Between looks nobody knows what is resident: under pressure there is one at once, and then they
 * are frequent. */
static void pressure_hurries_who_looks(void **state) {
    (void)state;
    struct fixture *f = begin();
    uint32_t hurried = 0;
    struct memory_watcher watcher = {.hurry = count_up, .context = &hurried};
    memory_level_set_resident(&f->level, resident(f));
    atomic_store(&f->level.watcher, &watcher);
    while (!memory_level_is_pressed(&f->level)) {
        assert_int_equal(hurried, 0);
        put(f);
    }
    flood(f);
    assert_int_equal(hurried, 1);
    memory_level_set_resident(&f->level, resident(f));
    assert_true(atomic_load(&f->level.looks_soon));
    atomic_store(&f->level.looks_soon, false); /* it was over for a moment */
    flood(f);
    for (int i = 0; i < 100; i++)
        put(f);
    assert_int_equal(hurried, 2);
    end(f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unwatched_it_is_messages_that_count),
        cmocka_unit_test(what_is_beside_counts_too),
        cmocka_unit_test(it_ends_when_somebody_has_looked),
        cmocka_unit_test(a_look_raises_it_too),
        cmocka_unit_test(idle_memory_is_used_again_and_not_grown_beyond),
        cmocka_unit_test(half_of_the_limit_is_pressure),
        cmocka_unit_test(pressure_hurries_who_looks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
