/* definition_rows_test: what is declared and bound comes back from its row; rows that are not known
 * are not read. */
#include "fields.h"
#include "unit.h"

#include "base/memory.h"
#include "shard/definition_rows.h"

static const struct fields some = FIELDS(INT("x-max-length", 5), TEXT("a", "b"));

static uint8_t arguments_room[256];

static struct bytes arguments(void) {
    return fields_table(&some, arguments_room, sizeof arguments_room);
}

/* Reads the row and compares what was declared or bound. */
static void assert_comes_back(const struct change *change, uint64_t id) {
    struct buffer room;
    buffer_init(&room, SIZE_MAX);
    struct metadata_row row = definition_row_of(BYTES("/"), change, id, &room);
    struct change read;
    assert_null(definition_row_read(&row, &read));
    assert_true(row.id == id);
    assert_text(row.key[0], "/");
    assert_int_equal(read.kind, change->kind);
    assert_true(bytes_equal(read.name, change->name));
    assert_true(bytes_equal(read.source, change->source));
    assert_true(bytes_equal(read.type, change->type));
    assert_true(bytes_equal(read.routing_key, change->routing_key));
    assert_true(bytes_equal(read.arguments, change->arguments));
    assert_int_equal(read.durable, change->durable);
    assert_int_equal(read.auto_delete, change->auto_delete);
    assert_int_equal(read.internal, change->internal);
    buffer_deinit(&room);
}

static void test_declares(void **state) {
    (void)state;
    for (int flags = 0; flags < 8; flags++) {
        struct change change = {.kind = CHANGE_EXCHANGE_DECLARE,
            .durable = true,
            .auto_delete = flags & 1,
            .internal = flags & 2,
            .name = BYTES("a\0\xff"),
            .type = BYTES("topic"),
            .arguments = flags & 4 ? arguments() : BYTES("")};
        assert_comes_back(&change, 0);
        change.kind = CHANGE_QUEUE_DECLARE;
        change.type = BYTES("");
        change.internal = false;
        assert_comes_back(&change, 77);
    }
}

static void test_bindings(void **state) {
    (void)state;
    static const enum change_kind kinds[] = {CHANGE_QUEUE_BIND, CHANGE_EXCHANGE_BIND};
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        struct change change = {.kind = kinds[i],
            .name = BYTES("to"),
            .source = BYTES("from"),
            .routing_key = BYTES("a.\xfe")};
        assert_comes_back(&change, 0);
    }
}

/* The same binding has the same key, however its arguments are spelled; unbinding has it too. */
static void test_key_of_binding(void **state) {
    (void)state;
    static const struct fields spellings[] = {
        FIELDS(INT("n", 1), TEXT("m", "x")), FIELDS(TEXT("m", "x"), INT("n", 1))};
    struct buffer room[2];
    struct metadata_row row[2];
    uint8_t memory[2][256];
    for (int i = 0; i < 2; i++) {
        buffer_init(&room[i], SIZE_MAX);
        struct change change = {.kind = i == 0 ? CHANGE_QUEUE_BIND : CHANGE_QUEUE_UNBIND,
            .name = BYTES("q"),
            .source = BYTES("x"),
            .arguments = fields_table(&spellings[i], memory[i], sizeof memory[i])};
        row[i] = definition_row_of(BYTES("/"), &change, 0, &room[i]);
    }
    assert_int_equal(row[0].kind, row[1].kind);
    for (int i = 0; i < METADATA_KEY_PARTS_MAX; i++)
        assert_true(bytes_equal(row[0].key[i], row[1].key[i]));
    buffer_deinit(&room[0]);
    buffer_deinit(&room[1]);
}

#define NEWER   "run a newer one"
#define DAMAGED "damaged"
#define LONG_NAME                                                                                  \
    "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890"  \
    "1234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901"  \
    "2345678901234567890123456789012345678901234567890123456789012345678901234567890"

/* As BYTES, where constants are needed. */
#define LIT(text)                                                                                  \
    { (const uint8_t *)(text), (uint32_t)(sizeof(text) - 1) }

static const struct {
    struct metadata_row row;
    const char *why; /* part of it; NULL: it is fine */
} rows[] = {
    {{.kind = METADATA_VHOST, .key = {LIT("/")}, .content = LIT("\1")}, NULL},
    {{.kind = METADATA_VHOST, .key = {LIT("/")}, .content = LIT("\2")}, NEWER},
    {{.kind = METADATA_VHOST, .key = {LIT("/")}, .content = LIT("\0")}, DAMAGED},
    {{.kind = METADATA_VHOST, .key = {LIT("/")}, .content = LIT("")}, DAMAGED},
    {{.kind = METADATA_VHOST, .key = {LIT("/")}, .content = LIT("\1\1")}, DAMAGED},
    {{.kind = METADATA_QUEUE, .id = 1, .key = {LIT("/"), LIT("q")}, .content = LIT("\1\1")}, NULL},
    {{.kind = METADATA_QUEUE, .id = 1, .key = {LIT("/"), LIT("q")}, .content = LIT("\2\1")}, NEWER},
    {{.kind = METADATA_QUEUE, .id = 1, .key = {LIT("/"), LIT("q")}, .content = LIT("\1\2")}, NEWER},
    {{.kind = METADATA_QUEUE, .id = 1, .key = {LIT("/"), LIT("q")}, .content = LIT("\1")}, DAMAGED},
    {{.kind = METADATA_QUEUE, .id = 1, .key = {LIT("/"), LIT("q")}, .content = LIT("\1\0\1aS")},
        DAMAGED},
    {{.kind = METADATA_QUEUE, .id = 1, .key = {LIT("/"), LIT(LONG_NAME)}, .content = LIT("\1\0")},
        DAMAGED},
    {{.kind = METADATA_EXCHANGE, .key = {LIT("/"), LIT("x")}, .content = LIT("\1\3\6direct")},
        NULL},
    {{.kind = METADATA_EXCHANGE, .key = {LIT("/"), LIT("x")}, .content = LIT("\1\4\6direct")},
        NEWER},
    {{.kind = METADATA_EXCHANGE, .key = {LIT("/"), LIT("x")}, .content = LIT("\1\3\7direct")},
        DAMAGED},
    {{.kind = METADATA_QUEUE_BINDING,
         .key = {LIT("/"), LIT("q"), LIT("x"), LIT("k"), LIT("S")},
         .content = LIT("\1")},
        DAMAGED},
    {{.kind = METADATA_QUEUE_BINDING,
         .key = {LIT("/"), LIT("q"), LIT("x"), LIT("k"), LIT("")},
         .content = LIT("\2")},
        NEWER},
    {{.kind = METADATA_USER, .key = {LIT("guest")}, .content = LIT("\1")}, NEWER},
};

static void test_rows_not_read(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct change change;
        const char *why = definition_row_read(&rows[i].row, &change);
        if (!rows[i].why != !why) fail_msg("row %zu: %s", i, why ? why : "is fine");
        if (why && !strstr(why, rows[i].why)) fail_msg("row %zu: %s", i, why);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_declares),
        cmocka_unit_test(test_bindings),
        cmocka_unit_test(test_key_of_binding),
        cmocka_unit_test(test_rows_not_read),
    };
    return cmocka_run_group_tests_name("definition_rows", tests, NULL, NULL);
}
