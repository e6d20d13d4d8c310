/* str_test: formatting into bounded memory, reading numbers, recognizing UTF-8. */
#include "unit.h"

#include "base/str.h"

static void format_cuts_and_terminates(void **state) {
    (void)state;
    char text[8];
    memset(text, 'z', sizeof text);
    assert_int_equal(str_format(text, 6, "%s-%d", "ab", 12), 5);
    assert_string_equal(text, "ab-12");
    assert_int_equal(text[6], 'z');
    assert_int_equal(str_format(text, 5, "%s-%d", "ab", 12), 4);
    assert_string_equal(text, "ab-1");
    assert_int_equal(str_format(text, 1, "abc"), 0);
    assert_string_equal(text, "");
}

static void numbers(void **state) {
    (void)state;
    static const struct {
        const char *text;
        bool good;
        uint64_t value;
    } cases[] = {
        {"0", true, 0},
        {"60000", true, 60000},
        {"00012", true, 12},
        {"18446744073709551615", true, UINT64_MAX},
        {"18446744073709551616", false, 0},
        {"99999999999999999999", false, 0},
        {"000000000000000000001", false, 0},
        {"", false, 0},
        {"-1", false, 0},
        {"+1", false, 0},
        {" 1", false, 0},
        {"1 ", false, 0},
        {"1x", false, 0},
        {"0x10", false, 0},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        uint64_t value = 77;
        assert_int_equal(str_to_u64(bytes_text(cases[i].text), &value), cases[i].good);
        assert_true(value == (cases[i].good ? cases[i].value : 77));
    }
}

static void utf8(void **state) {
    (void)state;
    static const struct {
        const char *text;
        bool good;
    } cases[] = {
        {"", true}, {"plain", true}, {"\x7f", true}, {"gr\xc3\xbc\xc3\x9f", true},
        {"\xe2\x82\xac", true}, {"\xed\x9f\xbf", true}, {"\xee\x80\x80", true},
        {"\xf0\x9f\x90\x87", true}, {"\xf4\x8f\xbf\xbf", true},
        {"\x80", false},                  /* a continuation leads */
        {"\xc0\x80", false},              /* overlong */
        {"\xc1\xbf", false},              /* overlong */
        {"\xe0\x9f\xbf", false},          /* overlong */
        {"\xf0\x8f\xbf\xbf", false},      /* overlong */
        {"\xed\xa0\x80", false},          /* a surrogate */
        {"\xf4\x90\x80\x80", false},      /* beyond U+10FFFF */
        {"\xf5\x80\x80\x80", false},      /* no such lead */
        {"\xff", false}, {"\xc3", false}, /* cut */
        {"\xe2\x82", false},              /* cut */
        {"\xf0\x9f\x90", false},          /* cut */
        {"\xc3q", false},                 /* no continuation */
        {"\xe2\x82q", false},             /* no continuation */
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        assert_int_equal(str_is_utf8(bytes_text(cases[i].text)), cases[i].good);
    }
    assert_true(str_is_utf8(bytes_of("a\0b", 3)));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(format_cuts_and_terminates),
        cmocka_unit_test(numbers),
        cmocka_unit_test(utf8),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
