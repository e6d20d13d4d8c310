/* room_test: how much room is enough: limits as given and by default, when the alarm changes, how
 * soon the disk is looked at again, and how large the reserve is. */
#include "unit.h"

#include <assert.h>

#include "daemon/config.h"
#include "daemon/room.h"
#include "store/reserve.h"

#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

static struct room_rules rules_by_default(void) {
    return (struct room_rules){.absolute = ROOM_UNSET,
        .relative = ROOM_UNSET,
        .memory = 8 * GIB,
        .journal_budget = 512 * MIB,
        .reserve = 256 * MIB,
        .shards = 1};
}

static void what_is_given_counts_as_it_is(void **state) {
    (void)state;
    static_assert(ROOM_UNSET == CONFIG_UNSET, "settings are rules");
    struct room_rules rules = rules_by_default();
    rules.relative = 150;
    assert_true(room_limit(&rules, 10 * GIB) / MIB == 12 * GIB / MIB - 1);
    rules.absolute = 50000000;
    assert_true(room_limit(&rules, 100 * MIB) == 50000000);
    rules.absolute = 0;
    assert_true(room_limit(&rules, 100 * MIB) == 0);
    rules.absolute = ROOM_UNSET;
    rules.relative = 0;
    assert_true(room_limit(&rules, 100 * MIB) == 0);
}

static void the_default_follows_budget_and_disk(void **state) {
    (void)state;
    struct room_rules rules = rules_by_default();
    assert_true(room_limit(&rules, 1000 * GIB) == 2 * GIB);
    assert_true(room_limit(&rules, 40 * GIB) == 2 * GIB);
    assert_true(room_limit(&rules, 20 * GIB) == GIB);
    assert_true(room_limit(&rules, 100 * MIB) == 5 * MIB);
    assert_true(room_limit(&rules, 0) == 0);
    rules.journal_budget = 4 * GIB;
    assert_true(room_limit(&rules, 1000 * GIB) == 8 * GIB);
    rules.journal_budget = INT64_MAX;
    assert_true(room_limit(&rules, 1000 * GIB) == 50 * GIB);
}

static void the_alarm_does_not_flutter(void **state) {
    (void)state;
    assert_false(room_is_low(false, 100, 100));
    assert_true(room_is_low(false, 99, 100));
    assert_true(room_is_low(true, 100, 100));
    assert_true(room_is_low(true, 109, 100));
    assert_false(room_is_low(true, 110, 100));
    /* Without a limit there is always enough. */
    assert_false(room_is_low(false, 0, 0));
    assert_false(room_is_low(true, 0, 0));
    assert_true(room_enough(UINT64_MAX) == UINT64_MAX);
}

static void it_looks_sooner_when_there_is_less(void **state) {
    (void)state;
    assert_int_equal(room_look_ms(false, 1000 * GIB, 2 * GIB), 10000);
    assert_int_equal(room_look_ms(false, 3 * GIB, 2 * GIB), 1024);
    assert_int_equal(room_look_ms(false, 2 * GIB, 2 * GIB), 100);
    assert_int_equal(room_look_ms(false, 0, 2 * GIB), 100);
    assert_int_equal(room_look_ms(true, 1000 * GIB, 2 * GIB), 1000);
}

static void the_reserve_grows_with_what_is_written(void **state) {
    (void)state;
    struct room_rules rules = rules_by_default();
    assert_int_equal(room_pieces(&rules, 1000 * GIB, 0), 2);
    assert_int_equal(room_pieces(&rules, 1000 * GIB, 80 * MIB), 10);
    assert_int_equal(room_pieces(&rules, 1000 * GIB, 80 * GIB), 32);
    assert_int_equal(room_pieces_max(&rules, 1000 * GIB), 32);
    rules.shards = 8;
    assert_int_equal(room_pieces(&rules, 1000 * GIB, 0), 9);
    rules.shards = 64;
    assert_int_equal(room_pieces(&rules, 1000 * GIB, 0), 32);
    /* A small disk has a small one, and a tiny one none. */
    assert_int_equal(room_pieces(&rules, GIB, 80 * GIB), 16);
    assert_int_equal(room_pieces(&rules, 96 * MIB, 80 * GIB), 2);
    assert_int_equal(room_pieces(&rules, 64 * MIB, 80 * GIB), 2);
    assert_int_equal(room_pieces(&rules, 63 * MIB, 80 * GIB), 0);
    rules.reserve = RESERVE_PIECE_BYTES;
    assert_int_equal(room_pieces(&rules, 96 * MIB, 80 * GIB), 1);
    rules.reserve = RESERVE_PIECE_BYTES - 1;
    assert_int_equal(room_pieces(&rules, 1000 * GIB, 80 * GIB), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_given_counts_as_it_is),
        cmocka_unit_test(the_default_follows_budget_and_disk),
        cmocka_unit_test(the_alarm_does_not_flutter),
        cmocka_unit_test(it_looks_sooner_when_there_is_less),
        cmocka_unit_test(the_reserve_grows_with_what_is_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
