/* sasl_test: what logins look like, and whom they let in. */
#include "unit.h"

#include "auth/access.h"
#include "auth/sasl.h"

static void mechanisms_have_exact_names(void **state) {
    (void)state;
    assert_int_equal(sasl_find(BYTES("PLAIN")), SASL_PLAIN);
    assert_int_equal(sasl_find(BYTES("AMQPLAIN")), SASL_AMQPLAIN);
    static const char *const others[] = {
        "", "plain", "PLAINX", "PLAI", "EXTERNAL", "PLAIN AMQPLAIN"};
    for (size_t i = 0; i < COUNT_OF(others); i++)
        assert_int_equal(sasl_find(bytes_text(others[i])), SASL_NONE);
    assert_string_equal(sasl_name(SASL_PLAIN), "PLAIN");
    assert_string_equal(sasl_name(SASL_AMQPLAIN), "AMQPLAIN");
    assert_string_equal(sasl_name(SASL_NONE), "");
}

static void plain_is_two_texts_behind_zeroes(void **state) {
    (void)state;
    struct sasl_login login;
    assert_int_equal(sasl_feed(SASL_PLAIN, BYTES("\0guest\0secret"), &login), SASL_DONE);
    assert_text(login.user, "guest");
    assert_text(login.password, "secret");
    assert_int_equal(sasl_feed(SASL_PLAIN, BYTES("\0\0"), &login), SASL_DONE);
    assert_text(login.user, "");
    assert_text(login.password, "");
}

static void malformed_plain_is_bad(void **state) {
    (void)state;
    static const struct bytes responses[] = {
        {(const uint8_t *)"", 0},
        {(const uint8_t *)"\0", 1},
        {(const uint8_t *)"\0guest", 6},
        {(const uint8_t *)"guest\0guest", 11},
        {(const uint8_t *)"other\0guest\0guest", 17},
        {(const uint8_t *)"\0guest\0guest\0", 13},
        {(const uint8_t *)"guest", 5},
    };
    for (size_t i = 0; i < COUNT_OF(responses); i++) {
        struct sasl_login login = {BYTES("untouched"), BYTES("untouched")};
        assert_int_equal(sasl_feed(SASL_PLAIN, responses[i], &login), SASL_BAD);
        assert_text(login.user, "untouched");
    }
    struct sasl_login login;
    assert_int_equal(sasl_feed(SASL_PLAIN, bytes_of(NULL, 0), &login), SASL_BAD);
    assert_int_equal(sasl_feed(SASL_NONE, BYTES("\0guest\0guest"), &login), SASL_BAD);
}

static void amqplain_is_a_table(void **state) {
    (void)state;
    struct sasl_login login;
    struct bytes good = BYTES("\x05LOGINS\0\0\0\x03"
                              "bob\x08PASSWORDS\0\0\0\x02pw");
    assert_int_equal(sasl_feed(SASL_AMQPLAIN, good, &login), SASL_DONE);
    assert_text(login.user, "bob");
    assert_text(login.password, "pw");
    static const struct bytes responses[] = {
        {(const uint8_t *)"", 0},
        {(const uint8_t *)"xx", 2},
        {(const uint8_t *)"\x05LOGINS\0\0\0\x03"
                          "bob",
            14},
        {(const uint8_t *)"\x08PASSWORDS\0\0\0\x02pw", 16},
        {(const uint8_t *)"\x05LOGINt\x01\x08PASSWORDS\0\0\0\x02pw", 24},
        {(const uint8_t *)"\x05LOGINS\0\0\0\x03"
                          "bob\x08PASSWORDt\x01",
            25},
    };
    for (size_t i = 0; i < COUNT_OF(responses); i++)
        assert_int_equal(sasl_feed(SASL_AMQPLAIN, responses[i], &login), SASL_BAD);
    for (uint32_t cut = 0; cut < good.size; cut++)
        assert_int_equal(sasl_feed(SASL_AMQPLAIN, bytes_of(good.data, cut), &login), SASL_BAD);
}

static void guest_comes_from_this_machine_only(void **state) {
    (void)state;
    assert_true(access_login(BYTES("guest"), BYTES("guest"), true));
    assert_false(access_login(BYTES("guest"), BYTES("guest"), false));
    static const char *const others[] = {"", "gues", "guesu", "guestg", "guestguest", "GUEST"};
    for (size_t i = 0; i < COUNT_OF(others); i++) {
        assert_false(access_login(BYTES("guest"), bytes_text(others[i]), true));
        assert_false(access_login(bytes_text(others[i]), BYTES("guest"), true));
    }
}

static void nothing_is_allowed_before_login(void **state) {
    (void)state;
    struct access_subject subject = {BYTES("guest"), BYTES("/"), false};
    struct access_object vhost = {ACCESS_VHOST, BYTES("/")};
    struct access_object queue = {ACCESS_QUEUE, BYTES("q")};
    assert_false(access_authorize(&subject, ACCESS_ENTER, vhost));
    assert_false(access_authorize(&subject, ACCESS_READ, queue));
    subject.logged_in = true;
    assert_true(access_authorize(&subject, ACCESS_ENTER, vhost));
    assert_false(access_authorize(&subject, ACCESS_ENTER, queue));
    static const enum access_operation operations[] = {ACCESS_CONFIGURE, ACCESS_WRITE, ACCESS_READ};
    for (size_t i = 0; i < COUNT_OF(operations); i++) {
        subject.vhost = BYTES("/");
        assert_true(access_authorize(&subject, operations[i], queue));
        subject.vhost = BYTES("other");
        assert_false(access_authorize(&subject, operations[i], queue));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mechanisms_have_exact_names),
        cmocka_unit_test(plain_is_two_texts_behind_zeroes),
        cmocka_unit_test(malformed_plain_is_bad),
        cmocka_unit_test(amqplain_is_a_table),
        cmocka_unit_test(guest_comes_from_this_machine_only),
        cmocka_unit_test(nothing_is_allowed_before_login),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
