/* queue_kept_test: what a queue that is kept on disk notes, and how it is put back. */
#include "kept_queue.h"

static struct message *new_message(struct fixture *f, bool persistent) {
    struct bytes none = bytes_of(NULL, 0);
    struct message *message = message_new(f->pool, none, none, none, 10);
    message->persistent = persistent;
    return message;
}

static void enqueue(struct fixture *f, bool persistent) {
    struct op op = {.kind = OP_ENQUEUE, .message = new_message(f, persistent)};
    queue_apply(f->queue, &op, NULL, &f->effects);
}

static void get(struct fixture *f, bool no_ack) {
    struct op op = {.kind = OP_GET, .flags = no_ack ? OP_NO_ACK : 0};
    queue_apply(f->queue, &op, NULL, &f->effects);
    drop_effects(f);
}

static void pump(struct fixture *f) {
    while (queue_owes(f->queue)) {
        queue_pump(f->queue, PUMP_EFFECTS_MAX, &f->effects);
        drop_effects(f);
    }
}

/* The runs are those of the list, as seq and count in turn, ended by 0; and are forgotten. */
static void expect_runs(struct settled_runs *runs, const uint64_t *list) {
    uint32_t count = 0;
    for (; list[2 * count] != 0; count++) {
        assert_true(count < runs->count);
        assert_int_equal(runs->list[count].seq, list[2 * count]);
        assert_int_equal(runs->list[count].count, list[2 * count + 1]);
    }
    assert_int_equal(runs->count, count);
    runs->count = 0;
}

#define RUNS(...)                                                                                  \
    (const uint64_t[]) {                                                                           \
        __VA_ARGS__, 0                                                                             \
    }
#define NO_RUNS                                                                                    \
    (const uint64_t[]) {                                                                           \
        0                                                                                          \
    }

static void settling_notes_kept_messages_only(void **state) {
    struct fixture *f = *state;
    for (int i = 0; i < 6; i++)
        enqueue(f, i != 2); /* message 3 is transient */
    for (int i = 0; i < 6; i++)
        get(f, false);
    expect_runs(&f->settlements.settled, NO_RUNS);
    apply_range(f, OP_SETTLE, 0, 1, 5);
    expect_runs(&f->settlements.settled, RUNS(1, 2, 4, 2));
    expect_runs(&f->settlements.dropped, RUNS(1, 2, 4, 2));
    apply_range(f, OP_SETTLE, 0, 1, 6); /* those that are gone do not count again */
    expect_runs(&f->settlements.settled, RUNS(6, 1));
    expect_runs(&f->settlements.dropped, RUNS(6, 1));
}

static void a_message_without_ack_is_settled_as_it_leaves(void **state) {
    struct fixture *f = *state;
    enqueue(f, true);
    get(f, true);
    expect_runs(&f->settlements.settled, RUNS(1, 1));
    expect_runs(&f->settlements.dropped, RUNS(1, 1));
}

static void what_is_ready_again_is_not_settled(void **state) {
    struct fixture *f = *state;
    enqueue(f, true);
    get(f, false);
    apply_range(f, OP_REQUEUE, 0, 1, 1);
    apply_range(f, OP_SETTLE, 0, 1, 1);
    expect_runs(&f->settlements.settled, NO_RUNS);
    get(f, false);
    apply_range(f, OP_SETTLE, 0, 1, 1); /* it is kept still */
    expect_runs(&f->settlements.settled, RUNS(1, 1));
    expect_runs(&f->settlements.dropped, RUNS(1, 1));
}

static void a_purge_is_settled_at_once_and_dropped_later(void **state) {
    struct fixture *f = *state;
    for (int i = 0; i < 5; i++)
        enqueue(f, i != 3);
    get(f, false); /* stays */
    get(f, false);
    apply_range(f, OP_REQUEUE, 0, 2, 1);
    struct op op = {.kind = OP_PURGE};
    queue_apply(f->queue, &op, NULL, &f->effects);
    f->effects.count = 0;
    expect_runs(&f->settlements.settled, RUNS(2, 4));
    expect_runs(&f->settlements.dropped, NO_RUNS);
    assert_true(queue_is_dropping(f->queue));
    pump(f);
    assert_false(queue_is_dropping(f->queue));
    expect_runs(&f->settlements.settled, NO_RUNS);
    expect_runs(&f->settlements.dropped, RUNS(2, 2, 5, 1));
    uint64_t seq = 1;
    assert_true(queue_next_kept(f->queue, &seq, 100, NULL));
    assert_int_equal(seq, 1);
    seq++;
    assert_false(queue_next_kept(f->queue, &seq, 100, NULL));
}

static void a_long_settlement_is_settled_at_once_and_dropped_later(void **state) {
    struct fixture *f = *state;
    for (int i = 0; i < 1000; i++) {
        enqueue(f, true);
        get(f, false);
    }
    apply_range(f, OP_SETTLE, 0, 1, 1000);
    expect_runs(&f->settlements.settled, RUNS(1, 1000));
    pump(f);
    expect_runs(&f->settlements.dropped, RUNS(1, 1000));
}

static void restore(struct fixture *f, const uint64_t *seqs, uint64_t next_seq) {
    struct queue_restored list[64] = {0};
    size_t count = 0;
    for (; seqs[count] != 0; count++)
        list[count] = (struct queue_restored){
            .seq = seqs[count], .count = 1, .bytes = 10, .redelivered = seqs[count] < 10};
    queue_restore(f->queue, list, count, next_seq);
    queue_check(f->queue);
    assert_int_equal(queue_away_count(f->queue), count);
    for (size_t i = 0; i < count; i++)
        assert_true(queue_give(f->queue, seqs[i], new_message(f, true)));
    queue_check(f->queue);
    assert_int_equal(queue_ready_count(f->queue), count);
    assert_int_equal(queue_next_seq(f->queue), next_seq);
}

static void restored_messages_have_their_places(void **state) {
    struct fixture *f = *state;
    /* Neighbours, gaps within and between chunks, one so wide that it is not kept in the ring. */
    static const uint64_t seqs[] = {3, 4, 70, 71, 500, 1000000, 1000001, 90000000000, 0};
    restore(f, seqs, 90000000777);
    for (size_t i = 0; seqs[i] != 0; i++) {
        assert_int_equal(queue_next_ready(f->queue), seqs[i]);
        struct op op = {.kind = OP_GET};
        queue_apply(f->queue, &op, NULL, &f->effects);
        assert_int_equal(f->effects.list[0].seq, seqs[i]);
        assert_int_equal(f->effects.list[0].flags, seqs[i] < 10 ? EFFECT_REDELIVERED : 0);
        drop_effects(f);
        queue_check(f->queue);
    }
    enqueue(f, true);
    assert_int_equal(queue_next_ready(f->queue), 90000000777);
    apply_range(f, OP_SETTLE, 0, 1, UINT32_MAX);
    expect_runs(&f->settlements.settled, RUNS(3, 2, 70, 2, 500, 1, 1000000, 2));
    f->settlements.dropped.count = 0;
}

static void an_empty_queue_goes_on_where_it_was(void **state) {
    struct fixture *f = *state;
    restore(f, NO_RUNS, 4711);
    enqueue(f, true);
    assert_int_equal(queue_next_ready(f->queue), 4711);
}

static void nothing_is_delivered_beyond_the_limit(void **state) {
    struct fixture *f = *state;
    queue_free(f->queue);
    f->queue = queue_new(2, &(struct queue_settings){0}, f->pool);
    queue_keep(f->queue, &f->settlements);
    struct op consume = {.kind = OP_CONSUME, .flags = OP_NO_ACK, .request = 1};
    queue_apply(f->queue, &consume, &f->credit, &f->effects);
    f->effects.count = 0;
    for (int i = 0; i < 5; i++)
        enqueue(f, true);
    assert_true(queue_is_held_back(f->queue));
    assert_false(queue_owes(f->queue));
    queue_allow(f->queue, 3);
    assert_true(queue_owes(f->queue));
    queue_pump(f->queue, 100, &f->effects);
    assert_int_equal(f->effects.count, 2);
    drop_effects(f);
    assert_true(queue_is_held_back(f->queue));
    queue_allow(f->queue, UINT64_MAX);
    assert_false(queue_is_held_back(f->queue));
    pump(f);
    assert_int_equal(queue_ready_count(f->queue), 0);
    expect_runs(&f->settlements.settled, RUNS(1, 5));
    f->settlements.dropped.count = 0;
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(settling_notes_kept_messages_only),
        CASE(a_message_without_ack_is_settled_as_it_leaves),
        CASE(what_is_ready_again_is_not_settled),
        CASE(a_purge_is_settled_at_once_and_dropped_later),
        CASE(a_long_settlement_is_settled_at_once_and_dropped_later),
        CASE(restored_messages_have_their_places),
        CASE(an_empty_queue_goes_on_where_it_was),
        CASE(nothing_is_delivered_beyond_the_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
