/* facts_test: what is said again of a queue: all of it, nothing else, and in few bytes, wherever
 * the slices fall and whatever happens between them. */
#include "kept_queue.h"

#include "base/prng.h"
#include "shard/facts.h"
#include "shard/keeper.h"
#include "shard/queue_host.h"
#include "store/ledger.h"

enum { QUEUE = 7, FILES = 4, SEQS = 20000, ROUNDS = 300 };

enum place { NEVER, KEPT, TRANSIENT, SETTLED, LOST };

struct desk {
    struct fixture *f;
    struct keeper keeper;
    struct archive archive;
    struct queue_slot slot;
    struct kept_file *files[FILES];
    struct facts facts;
    struct ledger ledger; /* what a start would make of it */
    uint32_t records[32]; /* by type */
    uint64_t bytes;
    uint8_t places[SEQS];
};

static struct desk *desk; /* for what is staged */

/* The linker's names. */
uint64_t __wrap_keeper_stage(struct keeper *keeper, const struct record *record, void *memory);

/* Every record is read back as a start does. */
uint64_t __wrap_keeper_stage(struct keeper *keeper, const struct record *record, void *memory) {
    assert_ptr_equal(keeper, &desk->keeper);
    assert_int_equal(record_validate(record), 0);
    size_t size = record_size(record);
    assert_true(size <= 8192);
    uint8_t *at = test_malloc(size);
    struct record_view view;
    record_encode(record, at);
    assert_int_equal(record_parse(bytes_of(at, size), &view), RECORD_GOOD);
    for (uint32_t i = 0; i < view.target_count; i++) {
        struct record_target target = record_view_target(&view, i);
        ledger_take(ledger_find(&desk->ledger, target.queue), &view, &target);
    }
    desk->records[view.type]++;
    desk->bytes += size;
    test_free(at);
    mem_free(memory);
    return desk->bytes;
}

static void open_desk(struct fixture *f) {
    desk = test_malloc(sizeof *desk);
    *desk = (struct desk){.f = f};
    desk->keeper.shard = mem_new(sizeof(struct shard));
    desk->keeper.archives = &desk->archive;
    for (int i = 0; i < FILES; i++)
        desk->files[i] = kept_file_new(NULL, false, 1);
    desk->archive.current = desk->files[0];
    desk->slot = (struct queue_slot){.queue = f->queue, .id = QUEUE, .shelf = shelf_new(QUEUE, 1)};
    ledger_add(&desk->ledger, QUEUE);
    facts_init(&desk->facts, &desk->keeper);
}

static void close_desk(void) {
    struct settlements *settlements = &desk->f->settlements;
    settlements_clear(settlements);
    facts_deinit(&desk->facts);
    ledger_deinit(&desk->ledger);
    shelf_free(desk->slot.shelf, 0);
    for (int i = 0; i < FILES; i++)
        kept_file_free(desk->files[i]);
    mem_free(desk->keeper.shard);
    test_free(desk);
}

/* A message comes, and goes to a consumer at once. */
static void put(bool persistent) {
    struct fixture *f = desk->f;
    struct bytes none = bytes_of(NULL, 0);
    uint64_t seq = queue_next_seq(f->queue);
    struct message *message = message_new(f->pool, none, none, none, 0);
    message->persistent = persistent;
    struct op enqueue = {.kind = OP_ENQUEUE, .message = message};
    struct op get = {.kind = OP_GET};
    queue_apply(f->queue, &enqueue, NULL, &f->effects);
    queue_apply(f->queue, &get, NULL, &f->effects);
    drop_effects(f);
    assert_true(seq < SEQS);
    desk->places[seq] = persistent ? KEPT : TRANSIENT;
    struct shelf_place place = {.file = desk->archive.current, .at = seq};
    if (persistent) shelf_put(desk->slot.shelf, seq, 1, &place, 0);
}

/* It leaves the queue: settled, or since it could not be read. */
static void take(uint64_t seq, enum place place) {
    struct fixture *f = desk->f;
    struct op op = {.kind = OP_SETTLE};
    op.range.seq = seq;
    op.range.count = 1;
    queue_apply(f->queue, &op, NULL, &f->effects);
    if (place == LOST)
        shelf_lose(desk->slot.shelf, seq, 0);
    else if (desk->places[seq] == KEPT)
        shelf_drop(desk->slot.shelf, seq, 1, 0);
    desk->places[seq] = (uint8_t)place;
}

static void settle(uint64_t seq) {
    if (desk->places[seq] == KEPT || desk->places[seq] == TRANSIENT) take(seq, SETTLED);
}

static void say_all(void) {
    uint32_t steps = UINT32_MAX;
    facts_begin(&desk->facts, &desk->slot);
    assert_true(facts_put(&desk->facts, &desk->slot, &steps));
    assert_false(desk->facts.begun);
    ledger_close(&desk->ledger);
}

/* What was settled at the beginning is, and what is not now is not. */
static void compare(const uint8_t *before, uint64_t end) {
    struct ledger_queue *queue = ledger_find(&desk->ledger, QUEUE);
    assert_true(queue->next_seq >= end);
    for (uint64_t seq = 1; seq < end; seq++) {
        bool lives = ledger_lives(queue, seq);
        if (before[seq] == SETTLED) assert_false(lives);
        if (desk->places[seq] == KEPT || desk->places[seq] == LOST) assert_true(lives);
    }
}

static void every_other_one_costs_a_bit(void **state) {
    open_desk(*state);
    for (uint64_t seq = 1; seq < SEQS; seq++) {
        put(true);
        if (seq % 2 == 0) settle(seq);
    }
    say_all();
    compare(desk->places, SEQS);
    assert_int_equal(desk->records[RECORD_QSTATE], 1);
    assert_int_equal(desk->records[RECORD_SETTLED], 1);
    assert_true(desk->bytes < SEQS / 8 + 300);
    close_desk();
}

static void few_and_long_ones_are_spans(void **state) {
    open_desk(*state);
    for (uint64_t seq = 1; seq < SEQS; seq++) {
        desk->archive.current = desk->files[seq * FILES / SEQS];
        put(seq % 1000 != 3);
        if (seq % 3000 == 1000 || (seq > 5000 && seq < 15000)) settle(seq);
    }
    settle(1);
    say_all();
    compare(desk->places, SEQS);
    assert_int_equal(desk->records[RECORD_SETTLED], 0);
    assert_int_equal(desk->records[RECORD_ACK], 1);
    assert_true(desk->bytes < 300);
    close_desk();
}

static void what_all_lives_or_none_needs_a_state_alone(void **state) {
    open_desk(*state);
    say_all();
    for (uint64_t seq = 1; seq < 3000; seq++)
        put(true);
    say_all();
    for (uint64_t seq = 1; seq < 3000; seq++)
        settle(seq);
    say_all();
    compare(desk->places, 3000);
    assert_int_equal(desk->records[RECORD_QSTATE], 3);
    assert_int_equal(desk->records[RECORD_SETTLED] + desk->records[RECORD_ACK], 0);
    close_desk();
}

static void a_lost_one_is_never_settled(void **state) {
    open_desk(*state);
    for (uint64_t seq = 1; seq < 2000; seq++)
        put(true);
    for (uint64_t seq = 1; seq < 2000; seq++)
        take(seq, seq % 600 == 5 || (seq > 1000 && seq % 3 == 0) ? LOST : SETTLED);
    say_all();
    compare(desk->places, 2000);
    assert_int_equal(desk->records[RECORD_SETTLED], 1);
    close_desk();
}

static void what_was_dropped_is_begun_anew(void **state) {
    open_desk(*state);
    for (uint64_t seq = 1; seq < SEQS; seq++) {
        put(true);
        if (seq % 2 == 0 || (seq > 6000 && seq < 7000)) settle(seq);
    }
    uint32_t steps = 20;
    facts_begin(&desk->facts, &desk->slot);
    assert_false(facts_put(&desk->facts, &desk->slot, &steps));
    assert_int_equal(steps, 0);
    assert_true(desk->facts.begun);
    facts_drop(&desk->facts);
    assert_false(desk->facts.begun);
    say_all();
    compare(desk->places, SEQS);
    close_desk();
}

/* Some run of the queue, of which so much goes. */
static void settle_some(struct prng *prng) {
    uint64_t next = queue_next_seq(desk->f->queue);
    uint64_t from = 1 + prng_below(prng, next);
    uint64_t count = prng_below(prng, 1 + prng_below(prng, 3000));
    uint64_t every = 1 + prng_below(prng, 4);
    uint32_t most = 1 + (uint32_t)prng_below(prng, 100);
    bool loses = prng_chance(prng, 10);
    for (uint64_t seq = from; seq < next && seq < from + count; seq += every) {
        if (desk->places[seq] != KEPT && desk->places[seq] != TRANSIENT) continue;
        if (!prng_chance(prng, most)) continue;
        bool lost = loses && desk->places[seq] == KEPT && prng_chance(prng, 50);
        take(seq, lost ? LOST : SETTLED);
    }
}

static void fill_some(struct prng *prng) {
    uint64_t count = prng_below(prng, 2000);
    uint32_t kept = prng_chance(prng, 30) ? 50 : 100;
    desk->archive.current = desk->files[prng_below(prng, FILES)];
    for (uint64_t i = 0; i < count && queue_next_seq(desk->f->queue) < SEQS - 1; i++)
        put(prng_chance(prng, kept));
}

static void whatever_happens_between_slices(void **state) {
    for (uint64_t round = 0; round < ROUNDS; round++) {
        struct prng prng;
        prng_init(&prng, round);
        open_desk(*state);
        fill_some(&prng);
        for (uint64_t i = prng_below(&prng, 12); i != 0; i--)
            (prng_chance(&prng, 50) ? fill_some : settle_some)(&prng);
        uint8_t before[SEQS];
        memcpy(before, desk->places, sizeof before);
        uint64_t end = queue_next_seq(desk->f->queue);
        facts_begin(&desk->facts, &desk->slot);
        uint32_t steps = 1 + (uint32_t)prng_below(&prng, 4);
        while (!facts_put(&desk->facts, &desk->slot, &steps)) {
            if (prng_chance(&prng, 20)) settle_some(&prng);
            if (prng_chance(&prng, 5)) fill_some(&prng);
            steps = 1 + (uint32_t)prng_below(&prng, 8);
        }
        ledger_close(&desk->ledger);
        compare(before, end);
        close_desk();
        tear_down(state);
        set_up(state);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_other_one_costs_a_bit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(few_and_long_ones_are_spans, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            what_all_lives_or_none_needs_a_state_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_lost_one_is_never_settled, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_was_dropped_is_begun_anew, set_up, tear_down),
        cmocka_unit_test_setup_teardown(whatever_happens_between_slices, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
