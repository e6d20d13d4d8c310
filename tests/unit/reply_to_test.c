/* reply_to_test: keys name their channel, and nothing else passes for one. */
#include "unit.h"

#include "base/prng.h"
#include "session/reply_to.h"

static void make(struct prng *prng, connection_ref *ret_connection, uint16_t *ret_channel,
    uint8_t ret_key[REPLY_TO_KEY_BYTES]) {
    uint8_t random[REPLY_TO_RANDOM_BYTES];
    for (size_t i = 0; i < sizeof random; i++)
        random[i] = (uint8_t)prng_next(prng);
    *ret_connection = prng_next(prng);
    *ret_channel = (uint16_t)prng_next(prng);
    reply_to_make(*ret_connection, *ret_channel, random, ret_key);
}

static void keys_come_back(void **state) {
    (void)state;
    struct prng prng;
    prng_init(&prng, 1);
    for (int i = 0; i < 2000; i++) {
        uint8_t key[REPLY_TO_KEY_BYTES];
        connection_ref connection, parsed_connection;
        uint16_t channel, parsed_channel;
        make(&prng, &connection, &channel, key);
        struct bytes text = bytes_of(key, sizeof key);
        assert_true(bytes_start_with(text, BYTES("amq.rabbitmq.reply-to.")));
        for (size_t at = 22; at < sizeof key; at++)
            assert_non_null(strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                   "0123456789-_",
                key[at]));
        assert_true(reply_to_parse(text, &parsed_connection, &parsed_channel));
        assert_int_equal(parsed_connection, connection);
        assert_int_equal(parsed_channel, channel);
        assert_true(reply_to_equal(text, key));
    }
}

static void other_keys_are_refused(void **state) {
    (void)state;
    struct prng prng;
    uint8_t key[REPLY_TO_KEY_BYTES];
    connection_ref connection;
    uint16_t channel;
    prng_init(&prng, 2);
    make(&prng, &connection, &channel, key);
    const char *bad[] = {"", "amq.rabbitmq.reply-to", "amq.rabbitmq.reply-to.", "q",
        "amq.rabbitmq.reply-to.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "amq.rabbitmq.reply-to.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "amq.rabbitmq.reply-to.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=A",
        "amq.rabbitmq.reply-to.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB",
        "amq.rabbitmq.reply-ta.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        assert_false(reply_to_parse(bytes_text(bad[i]), &connection, &channel));
        assert_false(reply_to_equal(bytes_text(bad[i]), key));
    }
    for (size_t at = 0; at < sizeof key; at++) {
        uint8_t other[REPLY_TO_KEY_BYTES];
        memcpy(other, key, sizeof key);
        other[at] ^= 1;
        assert_false(reply_to_equal(bytes_of(other, sizeof other), key));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_come_back),
        cmocka_unit_test(other_keys_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
