/* tokens_test: the shared prefetch is never overlent, and whoever asks gets a turn. */
#include "unit.h"

#include "base/prng.h"
#include "session/tokens.h"

static void what_is_free_is_lent_in_order(void **state) {
    (void)state;
    struct tokens tokens;
    struct token_holder a = {0}, b = {0};
    uint32_t count;
    tokens_init(&tokens);
    tokens.limit = 10;
    assert_null(tokens_lend(&tokens, 0, &count));
    tokens_ask(&tokens, &a, 8);
    tokens_ask(&tokens, &b, 8);
    assert_ptr_equal(tokens_lend(&tokens, 1, &count), &a);
    assert_int_equal(count, 8);
    assert_ptr_equal(tokens_lend(&tokens, 1, &count), &b);
    assert_int_equal(count, 1);
    tokens_ask(&tokens, &a, 5);
    tokens_ask(&tokens, &b, 5);
    assert_null(tokens_lend(&tokens, 1, &count));
    tokens_take(&tokens, &a, 3); /* unused ones come back */
    assert_ptr_equal(tokens_lend(&tokens, 1, &count), &a);
    assert_int_equal(count, 3);
    tokens_take(&tokens, &a, 100); /* no more than it holds */
    assert_int_equal(a.held, 0);
    assert_int_equal(tokens.lent, 1);
    assert_ptr_equal(tokens_lend(&tokens, 1, &count), &b);
    assert_int_equal(count, 5);
    tokens_ask(&tokens, &b, 5);
    tokens_leave(&tokens, &b);
    assert_int_equal(tokens.lent, 0);
    assert_null(tokens_lend(&tokens, 0, &count));
}

static void no_limit_lends_all(void **state) {
    (void)state;
    struct tokens tokens;
    struct token_holder a = {0};
    uint32_t count;
    tokens_init(&tokens);
    tokens.limit = 1;
    tokens_ask(&tokens, &a, 1000);
    assert_null(tokens_lend(&tokens, 1, &count));
    tokens.limit = 0;
    assert_ptr_equal(tokens_lend(&tokens, 1, &count), &a);
    assert_int_equal(count, 1000);
    tokens.limit = 5; /* lower than what is out: nothing until it is back */
    tokens_ask(&tokens, &a, 1);
    assert_null(tokens_lend(&tokens, 0, &count));
    tokens_take(&tokens, &a, 996);
    assert_ptr_equal(tokens_lend(&tokens, 0, &count), &a);
    tokens_leave(&tokens, &a);
}

enum { HOLDERS = 6 };

/* Each delivery uses a token and becomes one in use until it is acked. */
static void random_lending_keeps_the_limit(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 30; seed++) {
        struct prng prng;
        struct tokens tokens;
        struct token_holder holders[HOLDERS] = {0};
        uint64_t in_use = 0;
        uint64_t delivered = 0;
        prng_init(&prng, seed);
        tokens_init(&tokens);
        tokens.limit = 1 + (uint32_t)prng_below(&prng, 20);
        for (int step = 0; step < 5000; step++) {
            struct token_holder *holder = &holders[prng_below(&prng, HOLDERS)];
            uint64_t what = prng_below(&prng, 4);
            if (what == 0 && holder->held == 0) {
                tokens_ask(&tokens, holder, 1 + (uint32_t)prng_below(&prng, 64));
            } else if (what == 1 && holder->held != 0) {
                tokens_take(&tokens, holder, 1);
                in_use++;
                delivered++;
            } else if (what == 2 && in_use != 0) {
                in_use--;
            } else if (what == 3) {
                tokens_take(&tokens, holder, (uint32_t)prng_below(&prng, 3));
            }
            uint32_t count;
            while ((holder = tokens_lend(&tokens, in_use, &count)) != NULL)
                assert_true(count != 0 && holder->wanted == 0 && holder->held >= count);
            assert_true(tokens.lent + in_use <= tokens.limit);
            if (!list_empty(&tokens.waiting)) assert_true(tokens.lent + in_use == tokens.limit);
        }
        assert_true(delivered > 100);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_free_is_lent_in_order),
        cmocka_unit_test(no_limit_lends_all),
        cmocka_unit_test(random_lending_keeps_the_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
