/* exchange_headers_test: which headers match which binding, as RabbitMQ 3.10 decides it. */
#include "fields.h"
#include "unit.h"

#include "base/memory.h"
#include "base/prng.h"
#include "core/exchange_headers.h"

#define ALL        TEXT("x-match", "all")
#define ANY        TEXT("x-match", "any")
#define ALL_WITH_X TEXT("x-match", "all-with-x")
#define ANY_WITH_X TEXT("x-match", "any-with-x")
#define NOTHING                                                                                    \
    { .type = 0 }

static const struct {
    struct fields arguments;
    struct fields headers;
    bool matches;
} cases[] = {
    {FIELDS(ALL, TEXT("a", "1"), TEXT("b", "2")), FIELDS(TEXT("b", "2"), TEXT("a", "1")), true},
    {FIELDS(ALL, TEXT("a", "1"), TEXT("b", "2")), FIELDS(TEXT("a", "1")), false},
    {FIELDS(ALL, TEXT("a", "1")), FIELDS(TEXT("a", "1"), TEXT("z", "9")), true},
    {FIELDS(ALL, TEXT("a", "1")), FIELDS(TEXT("a", "2")), false},
    {FIELDS(ALL, TEXT("a", "1")), FIELDS(NOTHING), false},
    /* Without x-match it is all. */
    {FIELDS(TEXT("a", "1"), TEXT("b", "2")), FIELDS(TEXT("a", "1")), false},
    {FIELDS(NOTHING), FIELDS(NOTHING), true},
    {FIELDS(NOTHING), FIELDS(TEXT("a", "1")), true},
    {FIELDS(ALL), FIELDS(NOTHING), true},
    {FIELDS(ANY), FIELDS(NOTHING), false},
    {FIELDS(ANY), FIELDS(TEXT("a", "1")), false},
    {FIELDS(ANY, TEXT("a", "1"), TEXT("b", "2")), FIELDS(TEXT("b", "2")), true},
    {FIELDS(ANY, TEXT("a", "1"), TEXT("b", "2")), FIELDS(TEXT("b", "1")), false},
    {FIELDS(ANY, TEXT("a", "1"), TEXT("b", "2")), FIELDS(NOTHING), false},
    /* A void asks for presence. */
    {FIELDS(ALL, VOID("a")), FIELDS(TEXT("a", "whatever")), true},
    {FIELDS(ALL, VOID("a")), FIELDS(TEXT("b", "whatever")), false},
    {FIELDS(ANY, VOID("a"), TEXT("b", "2")), FIELDS(INT("a", 5)), true},
    {FIELDS(ALL, TEXT("a", "1")), FIELDS(VOID("a")), false},
    /* Integers of all widths and doubles are compared by value; text is not a number. */
    {FIELDS(ALL, INT("a", 5)), FIELDS(LONG("a", 5)), true},
    {FIELDS(ALL, INT("a", 5)), FIELDS(REAL("a", 5.0)), true},
    {FIELDS(ALL, REAL("a", 5.0)), FIELDS(TYPED_INT("a", 'b', 5)), true},
    {FIELDS(ALL, INT("a", 5)), FIELDS(TEXT("a", "5")), false},
    {FIELDS(ALL, BOOL("a", true)), FIELDS(INT("a", 1)), false},
    {FIELDS(ALL, TEXT("a", "1")), FIELDS(BINARY("a", "1")), true},
    {FIELDS(ALL, TABLE("a", "\1kt\1")), FIELDS(TABLE("a", "\1kt\1")), true},
    /* Plain all and any skip x- arguments; with-x does not, except for x-match itself. */
    {FIELDS(ALL, TEXT("x-a", "1")), FIELDS(NOTHING), true},
    {FIELDS(ANY, TEXT("x-a", "1")), FIELDS(TEXT("x-a", "1")), false},
    {FIELDS(ALL_WITH_X, TEXT("x-a", "1")), FIELDS(NOTHING), false},
    {FIELDS(ALL_WITH_X, TEXT("x-a", "1")), FIELDS(TEXT("x-a", "1")), true},
    {FIELDS(ALL_WITH_X, TEXT("x-a", "1"), TEXT("b", "2")), FIELDS(TEXT("b", "2")), false},
    {FIELDS(ANY_WITH_X, TEXT("x-a", "1"), TEXT("b", "2")), FIELDS(TEXT("x-a", "1")), true},
    {FIELDS(ANY_WITH_X), FIELDS(TEXT("x-match", "any-with-x")), false},
    {FIELDS(ALL_WITH_X), FIELDS(NOTHING), true},
    /* Names that repeat are compared in pairs, in their order. */
    {FIELDS(ALL, INT("a", 1), INT("a", 2)), FIELDS(INT("a", 1), INT("a", 2)), true},
    {FIELDS(ALL, INT("a", 1), INT("a", 2)), FIELDS(INT("a", 1)), false},
    {FIELDS(ALL, INT("a", 1)), FIELDS(INT("a", 2), INT("a", 1)), false},
};

/* A headers exchange with one binding. */
static bool matches(struct bytes arguments, struct bytes table) {
    uint8_t room[256];
    struct writer writer = writer_over(room, sizeof room);
    term_write_canonical(&writer, arguments);
    struct binding *binding = binding_new(BYTES("ignored"), writer_bytes(&writer));
    binding->queue = 1;
    binding->match = (uint8_t)headers_match_kind(binding_arguments(binding));
    struct targets targets = {0};
    targets_add(&targets, binding);
    struct routes routes;
    routes_init(&routes);
    struct walk walk = {.queues = &routes};
    struct headers headers;
    headers_init(&headers, table);
    headers_match(&headers, &targets, &walk);
    uint32_t count = routes.count;
    headers_match(&headers, &targets, &walk);
    assert_int_equal(routes.count, count);
    assert_int_equal(walk.found, 2 * count);
    headers_deinit(&headers);
    routes_deinit(&routes);
    targets_remove(&targets, binding);
    binding_free(binding);
    return count == 1;
}

static void known_cases(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        uint8_t arguments_room[256], headers_room[256];
        struct bytes arguments =
            fields_table(&cases[i].arguments, arguments_room, sizeof arguments_room);
        struct bytes table = fields_table(&cases[i].headers, headers_room, sizeof headers_room);
        if (matches(arguments, table) != cases[i].matches) fail_msg("case %zu", i);
    }
}

/* ---- many headers, and distinct names: the answer is plain set logic ---- */

static struct bytes random_table(
    struct prng *prng, uint32_t names, uint8_t *room, size_t size, const char *match) {
    struct writer writer = writer_over(room, size);
    if (match) table_put_text(&writer, "x-match", bytes_text(match));
    uint32_t first = (uint32_t)prng_below(prng, names);
    uint32_t count = (uint32_t)prng_below(prng, match ? 4 : names + 1);
    for (uint32_t i = 0; i < count; i++) {
        char name[] = "n0";
        name[1] = (char)('0' + (first + i * 7) % names);
        table_put_i32(&writer, name, (int32_t)prng_below(prng, 2));
    }
    check(!writer.bad);
    return writer_bytes(&writer);
}

static bool naive(struct bytes arguments, struct bytes table, bool any) {
    struct reader reader = reader_over(arguments);
    struct field argument, header;
    bool some = false, every = true;
    while (table_next(&reader, &argument)) {
        if (bytes_equal(argument.name, BYTES("x-match"))) continue;
        bool equal =
            table_find(table, argument.name, &header) && header.integer == argument.integer;
        some = some || equal;
        every = every && equal;
    }
    return any ? some : every;
}

static void random_tables(void **state) {
    (void)state;
    struct prng prng;
    prng_init(&prng, 4);
    uint32_t matched = 0;
    for (int step = 0; step < 20000; step++) {
        uint8_t arguments_room[128], table_room[1024];
        bool any = prng_chance(&prng, 50);
        struct bytes arguments =
            random_table(&prng, 40, arguments_room, sizeof arguments_room, any ? "any" : "all");
        struct bytes table = random_table(&prng, 40, table_room, sizeof table_room, NULL);
        bool expected = naive(arguments, table, any);
        assert_int_equal(matches(arguments, table), expected);
        matched += expected;
    }
    assert_in_range(matched, 2000, 18000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_cases),
        cmocka_unit_test(random_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
