/* exchange_test: direct and fanout exchanges, the lists of targets and of routes behind them. */
#include "fields.h"
#include "unit.h"

#include "base/memory.h"
#include "base/prng.h"
#include "core/exchange.h"

static struct exchange *exchange_of(enum exchange_kind kind) {
    struct change change = {.kind = CHANGE_EXCHANGE_DECLARE, .name = BYTES("x")};
    return exchange_new(&change, kind, 5);
}

static struct binding *bind(struct exchange *exchange, struct bytes key, queue_ref queue) {
    struct binding *binding = binding_new(key, bytes_of(NULL, 0));
    binding->source = exchange;
    binding->destination = &binding->queue;
    binding->queue = queue;
    exchange_attach(exchange, binding);
    return binding;
}

static void unbind(struct binding *binding) {
    exchange_detach(binding->source, binding);
    binding_free(binding);
}

static uint32_t route(
    const struct exchange *exchange, struct bytes key, struct routes *routes, uint32_t *ret_found) {
    struct walk walk = {.queues = routes};
    struct headers headers;
    struct exchange_visit visit = {&key, 1, &headers};
    headers_init(&headers, bytes_of(NULL, 0));
    routes_init(&walk.exchanges);
    exchange_route(exchange, &visit, &walk);
    routes_deinit(&walk.exchanges);
    headers_deinit(&headers);
    *ret_found = walk.found;
    return routes->count;
}

static void kinds_have_names(void **state) {
    (void)state;
    static const char *const names[] = {"direct", "fanout", "topic", "headers"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        enum exchange_kind kind;
        assert_true(exchange_find_kind(bytes_text(names[i]), &kind));
        assert_string_equal(exchange_kind_name(kind), names[i]);
    }
    enum exchange_kind kind;
    assert_false(exchange_find_kind(BYTES(""), &kind));
    assert_false(exchange_find_kind(BYTES("Direct"), &kind));
    assert_false(exchange_find_kind(BYTES("direct "), &kind));
}

static void arguments_name_the_alternate(void **state) {
    (void)state;
    static const struct fields named = FIELDS(INT("a", 1), TEXT("alternate-exchange", "other"));
    static const struct fields wrong = FIELDS(INT("alternate-exchange", 1));
    uint8_t room[64];
    struct change change = {.name = BYTES("x"), .durable = true, .internal = true};
    change.arguments = fields_table(&named, room, sizeof room);
    struct exchange *exchange = exchange_new(&change, EXCHANGE_FANOUT, 0);
    memset(room, 0, sizeof room);
    assert_true(exchange->has_alternate);
    assert_text(exchange->alternate, "other");
    assert_text(exchange->name, "x");
    assert_true(exchange->durable);
    assert_true(exchange->internal);
    assert_false(exchange->auto_delete);
    exchange_free(exchange);
    change.arguments = fields_table(&wrong, room, sizeof room);
    exchange = exchange_new(&change, EXCHANGE_TOPIC, 0);
    assert_false(exchange->has_alternate);
    exchange_free(exchange);
}

/* Random bindings of few keys to few queues, against the bindings one by one. */
static void direct_and_fanout(void **state) {
    (void)state;
    enum { BINDINGS = 200, KEYS = 12, QUEUES = 60 };
    static const char *const keys[KEYS] = {
        "", "a", "b", "c", "d", "aa", ".", "#", "*", "e", "f", "g"};
    for (int kind = EXCHANGE_DIRECT; kind <= EXCHANGE_FANOUT; kind++) {
        struct exchange *exchange = exchange_of((enum exchange_kind)kind);
        struct binding *bindings[BINDINGS] = {NULL};
        struct prng prng;
        prng_init(&prng, (uint64_t)kind);
        for (int step = 0; step < 20000; step++) {
            struct binding **one = &bindings[prng_below(&prng, BINDINGS)];
            bool grow = prng_chance(&prng, step / 2000 % 2 ? 20 : 80);
            if (*one && !grow) {
                unbind(*one);
                *one = NULL;
            } else if (!*one && grow) {
                /* Most bindings have the first key, to make one list long. */
                size_t at = prng_chance(&prng, 60) ? 1 : prng_below(&prng, KEYS);
                *one = bind(exchange, bytes_text(keys[at]), 1 + prng_below(&prng, QUEUES));
            }
            if (step % 10 != 0) continue;
            exchange_check(exchange);
            struct bytes key = bytes_text(keys[prng_below(&prng, KEYS)]);
            bool expected[QUEUES + 1] = {false};
            uint32_t ways = 0, queues = 0, found;
            for (int i = 0; i < BINDINGS; i++) {
                if (!bindings[i]) continue;
                if (kind == EXCHANGE_DIRECT && !bytes_equal(binding_key(bindings[i]), key))
                    continue;
                ways++;
                queues += !expected[bindings[i]->queue];
                expected[bindings[i]->queue] = true;
            }
            struct routes routes;
            routes_init(&routes);
            assert_int_equal(route(exchange, key, &routes, &found), queues);
            assert_int_equal(found, ways);
            for (uint32_t i = 0; i < routes.count; i++) {
                assert_true(expected[routes.queues[i]]);
                expected[routes.queues[i]] = false;
            }
            routes_deinit(&routes);
        }
        for (int i = 0; i < BINDINGS; i++) {
            if (bindings[i]) unbind(bindings[i]);
        }
        exchange_free(exchange);
    }
}

/* Lists of every length around the places where they change their ways. */
static void routes_are_distinct(void **state) {
    (void)state;
    enum { IDS = 3000 };
    struct routes routes;
    routes_init(&routes);
    for (uint32_t length = 0; length < IDS; length = length < 70 ? length + 1 : length * 2) {
        /* Emptied by hand or by the function: both must do. */
        if (length % 2) routes_reset(&routes);
        routes.count = 0;
        for (uint32_t i = 0; i < length; i++) {
            assert_true(routes_add(&routes, (i + 1) * 65537u));
            assert_false(routes_add(&routes, (i / 2 + 1) * 65537u));
        }
        assert_int_equal(routes.count, length);
        for (uint32_t i = 0; i < length; i++) {
            assert_int_equal(routes.queues[i], (i + 1) * 65537u);
            assert_false(routes_add(&routes, (i + 1) * 65537u));
        }
    }
    /* What was appended is found by the next add. */
    routes_reset(&routes);
    for (uint64_t id = 1; id <= 100; id++)
        routes_append(&routes, id);
    assert_false(routes_add(&routes, 50));
    assert_true(routes_add(&routes, 101));
    for (uint64_t id = 102; id <= 200; id++)
        routes_append(&routes, id);
    for (uint64_t id = 1; id <= 200; id++)
        assert_false(routes_add(&routes, id));
    routes_deinit(&routes);
    assert_int_equal(routes.count, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kinds_have_names),
        cmocka_unit_test(arguments_name_the_alternate),
        cmocka_unit_test(direct_and_fanout),
        cmocka_unit_test(routes_are_distinct),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
