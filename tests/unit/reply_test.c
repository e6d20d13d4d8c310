/* reply_test: names of reply codes and what they close. */
#include "unit.h"

#include "amqp/reply.h"

static void names(void **state) {
    (void)state;
    assert_string_equal(reply_name(REPLY_ACCESS_REFUSED), "ACCESS_REFUSED");
    assert_string_equal(reply_name(REPLY_SUCCESS), "SUCCESS");
    assert_string_equal(reply_name(REPLY_OK), "OK");
    assert_string_equal(reply_name((enum reply_code)599), "UNKNOWN");
}

static void every_code_has_a_name(void **state) {
    (void)state;
    int known = 0;
    for (int code = 1; code < 1000; code++) {
        known += strcmp(reply_name((enum reply_code)code), "UNKNOWN") != 0;
    }
    assert_int_equal(known, 19);
}

static void scopes(void **state) {
    (void)state;
    static const enum reply_code soft[] = {REPLY_CONTENT_TOO_LARGE, REPLY_NO_ROUTE,
        REPLY_NO_CONSUMERS, REPLY_ACCESS_REFUSED, REPLY_NOT_FOUND, REPLY_RESOURCE_LOCKED,
        REPLY_PRECONDITION_FAILED, REPLY_SUCCESS, REPLY_OK};
    static const enum reply_code hard[] = {REPLY_CONNECTION_FORCED, REPLY_INVALID_PATH,
        REPLY_FRAME_ERROR, REPLY_SYNTAX_ERROR, REPLY_COMMAND_INVALID, REPLY_CHANNEL_ERROR,
        REPLY_UNEXPECTED_FRAME, REPLY_RESOURCE_ERROR, REPLY_NOT_ALLOWED, REPLY_NOT_IMPLEMENTED,
        REPLY_INTERNAL_ERROR};
    for (size_t i = 0; i < COUNT_OF(soft); i++) {
        assert_false(reply_closes_connection(soft[i]));
    }
    for (size_t i = 0; i < COUNT_OF(hard); i++) {
        assert_true(reply_closes_connection(hard[i]));
    }
    assert_false(reply_closes_connection((enum reply_code)599));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),
        cmocka_unit_test(every_code_has_a_name),
        cmocka_unit_test(scopes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
