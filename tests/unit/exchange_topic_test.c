/* exchange_topic_test: the trie of patterns against a naive matcher, and patterns made to hurt. */
#include "topic_oracle.h"
#include "unit.h"

#include "base/memory.h"
#include "base/prng.h"
#include "core/exchange_topic.h"

/* ---- a topic exchange of bindings whose queues are numbered from 1 ---- */

static struct binding *bind(struct topic *topic, struct bytes pattern, queue_ref queue) {
    struct binding *binding = binding_new(pattern, bytes_of(NULL, 0));
    binding->queue = queue;
    topic_add(topic, binding);
    topic_check(topic, binding);
    return binding;
}

static void unbind(struct topic *topic, struct binding *binding) {
    topic_remove(topic, binding);
    binding_free(binding);
}

static void match(const struct topic *topic, struct bytes key, struct routes *routes) {
    struct walk walk = {.queues = routes};
    routes_init(&walk.exchanges);
    topic_match(topic, key, &walk);
    assert_int_equal(walk.exchanges.count, 0);
    routes_deinit(&walk.exchanges);
}

static bool has(const struct routes *routes, queue_ref queue) {
    int times = 0;
    for (uint32_t i = 0; i < routes->count; i++) {
        if (routes->queues[i] == queue) times++;
    }
    assert_in_range(times, 0, 1);
    return times == 1;
}

static const struct {
    const char *pattern;
    const char *key;
    bool matches;
} cases[] = {
    {"", "", true},
    {"", "a", false},
    {"", ".", false},
    {"#", "", true},
    {"#", "a", true},
    {"#", "a.b.c", true},
    {"#", ".", true},
    {"*", "", false},
    {"*", "a", true},
    {"*", "a.b", false},
    {"*", ".", false},
    {"*.*", ".", true},
    {"a.*", "a.", true},
    {"a.*", "a", false},
    {"a.", "a.", true},
    {"a.", "a", false},
    {".", ".", true},
    {".a", ".a", true},
    {".a", "a", false},
    {"a.#", "a", true},
    {"a.#", "a.b.c", true},
    {"a.#", "ab", false},
    {"#.a", "a", true},
    {"#.a", "b.a", true},
    {"#.a", "a.b", false},
    {"#.#", "", true},
    {"#.#.a.#.#", "a", true},
    {"#.*", "", false},
    {"#.*", "a", true},
    {"*.#", "a.b", true},
    {"*.#.*", "a", false},
    {"*.#.*", "a.b", true},
    {"#.a.#", "b.a.c", true},
    {"#.a.#", "b.c", false},
    {"a.#.b", "a.b", true},
    {"a.#.b", "a.x.y.b", true},
    {"a.#.b", "a.b.c", false},
    {"#.a.#.a.#", "a", false},
    {"#.a.#.a.#", "x.a.y.a.z", true},
    {"#.a.b", "a.a.b", true},
    {"*.a.#.b.*", "x.a.b.b.y", true},
    {"#a", "#a", true},
    {"a*", "ab", false},
    {"**", "**", true},
    {"#", "#", true},
    {"*", "#", true},
    {"a", "*", false},
};

static void known_cases(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct bytes pattern = bytes_text(cases[i].pattern), key = bytes_text(cases[i].key);
        struct topic topic;
        struct routes routes;
        routes_init(&routes);
        topic_init(&topic, i);
        struct binding *binding = bind(&topic, pattern, 1);
        match(&topic, key, &routes);
        if (has(&routes, 1) != cases[i].matches || topic_oracle(pattern, key) != cases[i].matches) {
            fail_msg("pattern '%s' and key '%s'", cases[i].pattern, cases[i].key);
        }
        unbind(&topic, binding);
        routes_reset(&routes);
        match(&topic, key, &routes);
        assert_int_equal(routes.count, 0);
        routes_deinit(&routes);
        topic_deinit(&topic);
    }
}

/* ---- random patterns and keys of few words, so that they often meet ---- */

static struct bytes random_text(struct prng *prng, bool pattern, uint8_t *room) {
    static const char *const words[] = {"a", "b", "ab", "", "c"};
    struct writer writer = writer_over(room, 255);
    uint32_t count = (uint32_t)prng_below(prng, 8);
    for (uint32_t i = 0; i < count; i++) {
        const char *word = words[prng_below(prng, COUNT_OF(words))];
        if (pattern && prng_chance(prng, 25)) word = "*";
        if (pattern && prng_chance(prng, 30)) word = "#";
        if (i != 0) write_u8(&writer, '.');
        write_bytes(&writer, bytes_text(word));
    }
    return writer_bytes(&writer);
}

enum { PATTERNS = 60 };

static void check_key(
    const struct topic *topic, struct binding *const *bindings, struct bytes key) {
    struct routes routes;
    routes_init(&routes);
    match(topic, key, &routes);
    for (uint32_t i = 0; i < PATTERNS; i++) {
        bool expected = bindings[i] && topic_oracle(binding_key(bindings[i]), key);
        if (has(&routes, i + 1) != expected) {
            fail_msg("pattern '%.*s' and key '%.*s'", bindings[i] ? bindings[i]->key_size : 0,
                bindings[i] ? (const char *)bindings[i]->data : "", (int)key.size,
                (const char *)key.data);
        }
    }
    routes_deinit(&routes);
}

static void random_patterns(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 60; seed++) {
        struct binding *bindings[PATTERNS] = {NULL};
        uint8_t room[255];
        struct topic topic;
        struct prng prng;
        prng_init(&prng, seed);
        topic_init(&topic, seed);
        for (int step = 0; step < 400; step++) {
            uint32_t at = (uint32_t)prng_below(&prng, PATTERNS);
            if (bindings[at]) {
                unbind(&topic, bindings[at]);
                bindings[at] = NULL;
            } else {
                bindings[at] = bind(&topic, random_text(&prng, true, room), at + 1);
            }
            check_key(&topic, bindings, random_text(&prng, false, room));
        }
        for (uint32_t i = 0; i < PATTERNS; i++) {
            if (bindings[i]) topic_check(&topic, bindings[i]);
            if (bindings[i]) unbind(&topic, bindings[i]);
        }
        topic_deinit(&topic);
    }
}

/* ---- patterns made to hurt ---- */

/* With backtracking, each of these takes longer than the machine will last: 60 times '#' over a key
 * of 128 words. Here every place of the pattern is looked at once a word. */
static void hashes_do_not_multiply(void **state) {
    (void)state;
    uint8_t room[255], key_room[255];
    struct writer pattern = writer_over(room, sizeof room);
    for (int i = 0; i < 60; i++)
        write_bytes(&pattern, BYTES("#.a."));
    write_bytes(&pattern, BYTES("b"));
    struct writer key = writer_over(key_room, sizeof key_room);
    write_bytes(&key, BYTES("a"));
    for (int i = 0; i < 127; i++)
        write_bytes(&key, BYTES(".a"));
    struct topic topic;
    struct routes routes;
    routes_init(&routes);
    topic_init(&topic, 0);
    struct binding *binding = bind(&topic, writer_bytes(&pattern), 1);
    match(&topic, writer_bytes(&key), &routes);
    assert_false(has(&routes, 1));
    key_room[key.at - key_room - 1] = 'b';
    match(&topic, writer_bytes(&key), &routes);
    assert_true(has(&routes, 1));
    unbind(&topic, binding);
    routes_deinit(&routes);
    topic_deinit(&topic);
}

/* A run of '#' is one '#': the same node, however many. */
static void runs_of_hashes_are_one(void **state) {
    (void)state;
    struct topic topic;
    topic_init(&topic, 0);
    struct binding *one = bind(&topic, BYTES("a.#.b"), 1);
    size_t bytes = topic_bytes(&topic);
    struct binding *many = bind(&topic, BYTES("a.#.#.#.#.b"), 2);
    assert_ptr_equal(one->targets, many->targets);
    assert_int_equal(topic_bytes(&topic), bytes);
    unbind(&topic, one);
    topic_check(&topic, many);
    unbind(&topic, many);
    assert_int_equal(topic_bytes(&topic), 0);
    topic_deinit(&topic);
}

/* The longest key there is, all dots: 256 empty words. */
static void the_longest_key(void **state) {
    (void)state;
    uint8_t room[255];
    memset(room, '.', sizeof room);
    struct topic topic;
    struct routes routes;
    routes_init(&routes);
    topic_init(&topic, 0);
    struct binding *same = bind(&topic, bytes_of(room, sizeof room), 1);
    struct binding *shorter = bind(&topic, bytes_of(room, sizeof room - 1), 2);
    struct binding *every = bind(&topic, BYTES("#"), 3);
    match(&topic, bytes_of(room, sizeof room), &routes);
    assert_true(has(&routes, 1));
    assert_false(has(&routes, 2));
    assert_true(has(&routes, 3));
    unbind(&topic, same);
    unbind(&topic, shorter);
    unbind(&topic, every);
    routes_deinit(&routes);
    topic_deinit(&topic);
}

/* Hundreds of '#' nodes live at once, which is more than the lists compare one by one. */
static void many_live_states(void **state) {
    (void)state;
    enum { COUNT = 300 };
    struct binding *bindings[COUNT];
    struct topic topic;
    struct routes routes;
    routes_init(&routes);
    topic_init(&topic, 0);
    for (uint32_t i = 0; i < COUNT; i++) {
        uint8_t room[] = "#.aaa.#.z";
        room[2] = (uint8_t)('a' + i % 7);
        room[3] = (uint8_t)('a' + i / 7 % 7);
        room[4] = (uint8_t)('a' + i / 49);
        bindings[i] = bind(&topic, bytes_of(room, sizeof room - 1), i + 1);
    }
    match(&topic, BYTES("aaa.baa.caa.daa.eaa.faa.gaa.aba.bba.aaa.baa.gfg.z"), &routes);
    assert_int_equal(routes.count, 9);
    routes_reset(&routes);
    for (uint32_t i = 0; i < COUNT; i++) {
        unbind(&topic, bindings[i]);
        bindings[i] = bind(&topic, BYTES("#.x.#"), i + 1);
    }
    match(&topic, BYTES("x.x.x"), &routes);
    assert_int_equal(routes.count, COUNT);
    for (uint32_t i = 0; i < COUNT; i++) {
        assert_true(has(&routes, i + 1));
        unbind(&topic, bindings[i]);
    }
    routes_deinit(&routes);
    topic_deinit(&topic);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_cases),
        cmocka_unit_test(random_patterns),
        cmocka_unit_test(hashes_do_not_multiply),
        cmocka_unit_test(runs_of_hashes_are_one),
        cmocka_unit_test(the_longest_key),
        cmocka_unit_test(many_live_states),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
