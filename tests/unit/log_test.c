/* log_test: lines that stay one line whatever is put into them, levels, and moderation. */
#include "unit.h"

#include "base/log.h"

struct seen {
    int lines;
    enum log_level level;
    char text[LOG_LINE_BYTES_MAX + 1];
};

static void see(void *context, enum log_level level, struct bytes line) {
    struct seen *seen = context;
    seen->lines++;
    seen->level = level;
    memcpy(seen->text, line.data, line.size);
    seen->text[line.size] = 0;
}

static void test_a_line(void **state) {
    (void)state;
    struct seen seen = {0};
    struct log log = {.level = LEVEL_INFO, .write = see, .context = &seen};
    struct log_line line;
    log_begin(&line, "connection.closed");
    log_put_text(&line, "peer", "127.0.0.1:5000");
    log_put_number(&line, "channels", 17);
    log_put_text(&line, "reason", "no heartbeat");
    log_end(&line, &log, LEVEL_WARNING);
    assert_int_equal(seen.lines, 1);
    assert_int_equal(seen.level, LEVEL_WARNING);
    assert_string_equal(
        seen.text, "connection.closed peer=127.0.0.1:5000 channels=17 reason=\"no heartbeat\"");
}

static const struct {
    struct bytes value;
    const char *shown;
} values[] = {
#define LITERAL(text)                                                                              \
    { (const uint8_t *)(text), sizeof(text) - 1 }
    {LITERAL("plain-1.2"), " k=plain-1.2"},
    {LITERAL(""), " k=\"\""},
    {LITERAL("a b"), " k=\"a b\""},
    {LITERAL("a=b"), " k=\"a=b\""},
    {LITERAL("say \"hi\" \\"), " k=\"say \\\"hi\\\" \\\\\""},
    {LITERAL("two\nlines\r\n"), " k=\"two\\x0alines\\x0d\\x0a\""},
    {LITERAL("\x1b[31mred\x7f"), " k=\"\\x1b[31mred\\x7f\""},
    {LITERAL("zero\0inside"), " k=\"zero\\x00inside\""},
    {LITERAL("caf\xc3\xa9"), " k=\"caf\xc3\xa9\""},
    {LITERAL("c1 \xc2\x9b control"), " k=\"c1 \\xc2\\x9b control\""},
    {LITERAL("\xff\xfe"), " k=\"\\xff\\xfe\""},
#undef LITERAL
};

static void test_values_are_escaped(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT_OF(values); i++) {
        struct log_line line = {0};
        log_put(&line, "k", values[i].value);
        assert_text(bytes_of(line.text, line.size), values[i].shown);
    }
}

static void test_long_values_are_cut(void **state) {
    (void)state;
    uint8_t value[LOG_VALUE_BYTES_MAX + 1];
    memset(value, 'v', sizeof value);
    struct log_line line = {0};
    log_put(&line, "k", bytes_of(value, LOG_VALUE_BYTES_MAX));
    assert_int_equal(line.size, LOG_VALUE_BYTES_MAX + 3);
    line.size = 0;
    log_put(&line, "k", bytes_of(value, sizeof value));
    assert_int_equal(line.size, LOG_VALUE_BYTES_MAX + 3 + 5);
    assert_text(bytes_of(line.text + line.size - 5, 5), "v...\"");
    /* A character of two octets is not cut in the middle. */
    value[LOG_VALUE_BYTES_MAX - 1] = 0xc3;
    value[LOG_VALUE_BYTES_MAX] = 0xa9;
    line.size = 0;
    log_put(&line, "k", bytes_of(value, sizeof value));
    assert_text(bytes_of(line.text + line.size - 5, 5), "v...\"");
}

/* What does not fit any more is left out as a whole. */
static void test_the_line_is_bounded(void **state) {
    (void)state;
    uint8_t value[LOG_VALUE_BYTES_MAX];
    memset(value, 1, sizeof value);
    struct log_line line;
    log_begin(&line, "e");
    for (int i = 0; i < 5; i++)
        log_put(&line, "k", bytes_of(value, sizeof value));
    assert_true(line.size <= LOG_LINE_BYTES_MAX);
    log_begin(&line, "e");
    memset(value, 'v', sizeof value);
    for (int i = 0; i < 5; i++)
        log_put(&line, "k", bytes_of(value, sizeof value));
    assert_int_equal(line.size, 1 + 3 * (LOG_VALUE_BYTES_MAX + 3));
    log_put_text(&line, "short", "1");
    assert_text(bytes_of(line.text + line.size - 8, 8), " short=1");
}

static void test_levels(void **state) {
    (void)state;
    struct seen seen = {0};
    struct log log = {.level = LEVEL_WARNING, .write = see, .context = &seen};
    struct log_line line;
    log_begin(&line, "e");
    log_end(&line, &log, LEVEL_INFO);
    assert_int_equal(seen.lines, 0);
    log_end(&line, &log, LEVEL_WARNING);
    log_end(&line, &log, LEVEL_ERROR);
    assert_int_equal(seen.lines, 2);
    atomic_store(&log.level, LEVEL_DEBUG);
    log_end(&line, &log, LEVEL_DEBUG);
    assert_int_equal(seen.lines, 3);
    log_end(&line, NULL, LEVEL_ERROR);
    assert_false(log_wants(NULL, LEVEL_ERROR));
    enum log_level level = LEVEL_DEBUG;
    assert_true(log_level_find(BYTES("error"), &level));
    assert_int_equal(level, LEVEL_ERROR);
    assert_true(log_level_find(BYTES("critical"), &level));
    assert_int_equal(level, LEVEL_ERROR);
    assert_false(log_level_find(BYTES("loud"), &level));
    assert_string_equal(log_level_name(LEVEL_WARNING), "warning");
}

static void test_a_flood_is_withheld(void **state) {
    (void)state;
    struct log_budget budget = {0};
    uint32_t withheld = 99;
    for (int i = 0; i < LOG_LINES_PER_SECOND; i++) {
        assert_true(log_budget_take(&budget, 5000, &withheld));
        assert_int_equal(withheld, 0);
    }
    for (int i = 0; i < 7; i++)
        assert_false(log_budget_take(&budget, 5999, &withheld));
    assert_true(log_budget_take(&budget, 6000, &withheld));
    assert_int_equal(withheld, 7);
    assert_true(log_budget_take(&budget, 6001, &withheld));
    assert_int_equal(withheld, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_line),
        cmocka_unit_test(test_values_are_escaped),
        cmocka_unit_test(test_long_values_are_cut),
        cmocka_unit_test(test_the_line_is_bounded),
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_a_flood_is_withheld),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
