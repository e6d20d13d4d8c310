/* map_test: the open-addressing map against a plain list, with hashes that collide on purpose. */
#include "unit.h"

#include "base/map.h"
#include "base/memory.h"
#include "base/prng.h"

struct thing {
    uint64_t hash;
    bool in;
};

/* How often a probe for the thing's hash gives the thing. */
static int times_found(const struct map *map, const struct thing *thing) {
    struct map_probe probe = map_probe(map, thing->hash);
    const struct thing *item;
    int times = 0;
    while ((item = map_probe_next(&probe)) != NULL) {
        assert_int_equal(item->hash, thing->hash);
        if (item == thing) times++;
    }
    return times;
}

static void empty_map_finds_nothing(void **state) {
    (void)state;
    struct map map = {0};
    struct map_probe probe = map_probe(&map, 7);
    assert_null(map_probe_next(&probe));
    assert_int_equal(map_slot_count(&map), 0);
    assert_int_equal(map_bytes(&map), 0);
    map_deinit(&map);
}

/* Few distinct hashes, most of which share their low bits: long clusters that wrap around. */
static void random_puts_and_removes(void **state) {
    (void)state;
    enum { THINGS = 600, STEPS = 40000 };
    static const uint64_t masks[] = {UINT64_MAX, 0xff, 0xf00000000000000f, 0x7ffffffffffffff8};
    struct thing *things = mem_new_array(THINGS, sizeof *things);
    for (size_t round = 0; round < COUNT_OF(masks); round++) {
        struct map map = {0};
        struct prng prng;
        prng_init(&prng, round);
        uint32_t count = 0;
        for (int i = 0; i < THINGS; i++) {
            things[i] = (struct thing){.hash = prng_next(&prng) & masks[round]};
        }
        for (int step = 0; step < STEPS; step++) {
            struct thing *thing = &things[prng_below(&prng, THINGS)];
            bool grow = prng_chance(&prng, step % 10000 < 5000 ? 70 : 20);
            if (thing->in && !grow) {
                map_remove(&map, thing->hash, thing);
                thing->in = false;
                count--;
            } else if (!thing->in && grow) {
                map_put(&map, thing->hash, thing);
                thing->in = true;
                count++;
            }
            assert_int_equal(map.count, count);
            const struct thing *other = &things[prng_below(&prng, THINGS)];
            assert_int_equal(times_found(&map, other), other->in ? 1 : 0);
        }
        uint32_t walked = 0;
        for (uint32_t at = 0; at < map_slot_count(&map); at++) {
            const struct thing *item = map_item_at(&map, at);
            if (!item) continue;
            assert_true(item->in);
            walked++;
        }
        assert_int_equal(walked, count);
        map_deinit(&map);
    }
    mem_free(things);
}

static void memory_follows_the_count(void **state) {
    (void)state;
    enum { THINGS = 10000 };
    static struct thing things[THINGS];
    struct map map = {0};
    for (uint32_t i = 0; i < THINGS; i++) {
        things[i].hash = i * 0x9e3779b97f4a7c15u;
        map_put(&map, things[i].hash, &things[i]);
    }
    assert_true(map_bytes(&map) <= THINGS * 16 * 4);
    for (uint32_t i = 10; i < THINGS; i++) {
        map_remove(&map, things[i].hash, &things[i]);
    }
    assert_true(map_bytes(&map) <= 10 * 16 * 8);
    for (uint32_t i = 0; i < 10; i++) {
        assert_int_equal(times_found(&map, &things[i]), 1);
        map_remove(&map, things[i].hash, &things[i]);
    }
    assert_int_equal(map_bytes(&map), 0);
}

/* The bigger table has all items, at the time when the map would grow, and the map goes on in it.
 */
static void a_bigger_table_is_made_before(void **state) {
    (void)state;
    enum { THINGS = 20000 };
    static struct thing things[THINGS];
    struct map map = {0};
    uint32_t grown = 0;
    for (uint32_t i = 0; i < THINGS; i++) {
        uint32_t slot_count = map_slot_count(&map);
        uint32_t bigger = 0;
        struct map_slot *slots = map_bigger(&map, 1, &bigger);
        if (slots) {
            assert_true(bigger == 2 * slot_count);
            assert_int_equal(map_slot_count(&map), slot_count);
            mem_free(map_exchange(&map, slots, bigger));
            slot_count = bigger;
            grown++;
        }
        things[i] = (struct thing){.hash = i * 0x9e3779b97f4a7c15u, .in = true};
        map_put(&map, things[i].hash, &things[i]);
        if (slot_count >= 4096) assert_int_equal(map_slot_count(&map), slot_count);
    }
    assert_true(grown >= 2);
    for (uint32_t i = 0; i < THINGS; i++)
        assert_int_equal(times_found(&map, &things[i]), 1);
    uint32_t more = 0;
    struct map_slot *slots = map_bigger(&map, 10 * THINGS, &more);
    assert_non_null(slots);
    assert_true(more - more / 4 >= 11 * THINGS);
    mem_free(slots);
    map_deinit(&map);
}

/* A large table stays until a smaller one has been made, which has all items. */
static void a_smaller_table_is_made_after(void **state) {
    (void)state;
    enum { THINGS = 20000, LEFT = 100 };
    static struct thing things[THINGS];
    struct map map = {0};
    for (uint32_t i = 0; i < THINGS; i++) {
        things[i] = (struct thing){.hash = i * 0x9e3779b97f4a7c15u, .in = true};
        map_put(&map, things[i].hash, &things[i]);
    }
    uint32_t slot_count = map_slot_count(&map);
    uint32_t smaller = 0;
    assert_null(map_smaller(&map, &smaller));
    for (uint32_t i = LEFT; i < THINGS; i++) {
        map_remove_only(&map, things[i].hash, &things[i]);
        assert_int_equal(map_is_sparse(&map), map.count < slot_count / 8);
    }
    assert_int_equal(map_slot_count(&map), slot_count);
    struct map_slot *slots = map_smaller(&map, &smaller);
    assert_non_null(slots);
    assert_int_equal(map_slot_count(&map), slot_count);
    mem_free(map_exchange(&map, slots, smaller));
    assert_true(map_slot_count(&map) <= 4 * LEFT);
    assert_null(map_smaller(&map, &smaller));
    for (uint32_t i = 0; i < LEFT; i++)
        assert_int_equal(times_found(&map, &things[i]), 1);
    for (uint32_t i = 0; i < LEFT; i++)
        map_remove_only(&map, things[i].hash, &things[i]);
    assert_int_equal(map_bytes(&map), 0); /* a small one goes as it always did */
}

/* Also when nothing is left in it. */
static void an_empty_large_table_is_sparse(void **state) {
    (void)state;
    enum { THINGS = 5000 };
    static struct thing things[THINGS];
    struct map map = {0};
    for (uint32_t i = 0; i < THINGS; i++) {
        things[i].hash = i;
        map_put(&map, i, &things[i]);
    }
    for (uint32_t i = 0; i < THINGS; i++)
        map_remove_only(&map, i, &things[i]);
    assert_int_equal(map.count, 0);
    assert_int_equal(times_found(&map, &things[1]), 0);
    uint32_t smaller = 0;
    struct map_slot *slots = map_smaller(&map, &smaller);
    assert_non_null(slots);
    mem_free(map_exchange(&map, slots, smaller));
    map_put(&map, 7, &things[7]);
    assert_int_equal(times_found(&map, &things[7]), 1);
    map_deinit(&map);
}

static void seeds_change_hashes(void **state) {
    (void)state;
    assert_true(map_hash(BYTES("a"), 1) == map_hash(BYTES("a"), 1));
    assert_true(map_hash(BYTES("a"), 1) != map_hash(BYTES("a"), 2));
    assert_true(map_hash(BYTES("a"), 1) != map_hash(BYTES("b"), 1));
    assert_true(map_hash(bytes_of(NULL, 0), 3) == map_hash(BYTES(""), 3));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_map_finds_nothing),
        cmocka_unit_test(random_puts_and_removes),
        cmocka_unit_test(memory_follows_the_count),
        cmocka_unit_test(a_bigger_table_is_made_before),
        cmocka_unit_test(a_smaller_table_is_made_after),
        cmocka_unit_test(an_empty_large_table_is_sparse),
        cmocka_unit_test(seeds_change_hashes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
