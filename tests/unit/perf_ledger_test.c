/* perf_ledger_test: what arrives twice is known, whatever the order and the gaps. */
#include "tools/perf_ledger.h"
#include "unit.h"

#include "base/prng.h"

enum { MODEL_MESSAGES = 300000 };

static void a_stamp_comes_back(void **state) {
    (void)state;
    uint8_t body[STAMP_BYTES];
    struct stamp stamp = {
        STAMP_PRODUCERS_MAX - 1, (1ull << STAMP_SEQUENCE_BITS) - 1, 1234567890123};
    stamp_write(body, stamp);
    struct stamp found = stamp_read(body);
    assert_int_equal(found.producer, stamp.producer);
    assert_true(found.sequence == stamp.sequence);
    assert_true(found.sent_ns == stamp.sent_ns);
}

static void producers_have_tracks_of_their_own(void **state) {
    (void)state;
    struct ledger ledger;
    ledger_init(&ledger, 2);
    assert_true(ledger_note(&ledger, 0, 0));
    assert_true(ledger_note(&ledger, 1, 0));
    assert_false(ledger_note(&ledger, 0, 0));
    assert_true(ledger_note(&ledger, 0, 2));
    assert_false(ledger_note(&ledger, 0, 2));
    assert_true(ledger_note(&ledger, 0, 1));
    assert_int_equal(ledger.tracks[0].low, 3);
    assert_int_equal(ledger.tracks[0].ahead, 0);
    assert_int_equal(ledger.tracks[0].received, 3);
    assert_int_equal(ledger.tracks[1].received, 1);
    ledger_deinit(&ledger);
}

/* Arrivals in an order that wanders, some twice, some never, compared with a plain set. */
static void a_ledger_is_a_set(void **state) {
    (void)state;
    struct prng prng;
    prng_init(&prng, 11);
    static bool arrived[MODEL_MESSAGES];
    struct ledger ledger;
    ledger_init(&ledger, 1);
    uint64_t received = 0, repeated = 0;
    for (uint64_t i = 0; i + 20000 < MODEL_MESSAGES; i++) {
        uint64_t reach = 1 + (i / 50000) * 4000; /* nearly in order at first, wilder later */
        uint64_t sequence = i + prng_below(&prng, reach);
        bool fresh = ledger_note(&ledger, 0, sequence);
        assert_int_equal(fresh, !arrived[sequence]);
        received += fresh;
        repeated += !fresh;
        arrived[sequence] = true;
    }
    assert_int_equal(ledger.tracks[0].received, received);
    assert_true(repeated > 1000);
    for (uint64_t s = 0; s < ledger.tracks[0].low; s++) {
        assert_true(arrived[s]);
    }
    assert_false(arrived[ledger.tracks[0].low]);
    ledger_deinit(&ledger);
}

static void a_gap_beyond_the_ring_is_given_up(void **state) {
    (void)state;
    struct ledger ledger;
    ledger_init(&ledger, 1);
    assert_true(ledger_note(&ledger, 0, 0));
    assert_true(ledger_note(&ledger, 0, 1ull << 40)); /* no such amount of memory is taken */
    assert_false(ledger_note(&ledger, 0, 1ull << 40));
    assert_true(ledger_note(&ledger, 0, (1ull << 40) + (1 << 20)));
    assert_true(ledger_note(&ledger, 0, (1ull << 40) + (1 << 26))); /* slides by a little */
    assert_false(ledger_note(&ledger, 0, (1ull << 40) + (1 << 20)));
    assert_int_equal(ledger.tracks[0].received, 4);
    ledger_deinit(&ledger);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stamp_comes_back),
        cmocka_unit_test(producers_have_tracks_of_their_own),
        cmocka_unit_test(a_ledger_is_a_set),
        cmocka_unit_test(a_gap_beyond_the_ring_is_given_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
