/* queue_away_test: messages of a queue that are on disk only: how they go, come back and end. */
#include "kept_queue.h"

#include "core/queue_state.h"

/* ---- what is done to the queue */

static struct message *message_of(struct fixture *f, uint64_t seq, uint32_t size, bool persistent) {
    struct bytes none = bytes_of(NULL, 0);
    struct message *message = message_new(f->pool, none, none, none, size);
    memcpy(message_body_data(message), &seq, min_u64(size, sizeof seq));
    message->persistent = persistent;
    return message;
}

static void enqueue(struct fixture *f, bool persistent) {
    uint64_t seq = queue_next_seq(f->queue);
    struct op op = {.kind = OP_ENQUEUE, .message = message_of(f, seq, 10, persistent)};
    queue_apply(f->queue, &op, NULL, &f->effects);
}

static void fill(struct fixture *f, uint64_t count) {
    for (; count != 0; count--)
        enqueue(f, true);
}

static void settle(struct fixture *f, uint64_t seq, uint32_t count) {
    apply_range(f, OP_SETTLE, 0, seq, count);
}

static void requeue(struct fixture *f, uint64_t seq, uint32_t count) {
    apply_range(f, OP_REQUEUE, 0, seq, count);
}

/* As if the client had never seen them: nothing is counted. */
static void give_back(struct fixture *f, uint64_t seq, uint32_t count) {
    apply_range(f, OP_REQUEUE, OP_RETURNED, seq, count);
}

static void pump(struct fixture *f) {
    while (queue_owes(f->queue)) {
        queue_pump(f->queue, PUMP_EFFECTS_MAX, &f->effects);
        queue_check(f->queue);
        drop_effects(f);
    }
}

/* Everything from `seq` on and below `end` goes; gives how many did. */
static uint32_t page_out(struct fixture *f, uint64_t seq, uint64_t end) {
    uint32_t gone = queue_page_out(f->queue, &seq, end, UINT32_MAX);
    queue_check(f->queue);
    return gone;
}

static void give(struct fixture *f, uint64_t seq) {
    assert_true(queue_wants(f->queue, seq));
    assert_true(queue_give(f->queue, seq, message_of(f, seq, 10, true)));
    assert_false(queue_wants(f->queue, seq));
    queue_check(f->queue);
}

static void give_range(struct fixture *f, uint64_t seq, uint64_t end) {
    for (; seq < end; seq++)
        give(f, seq);
}

static void get_with(struct fixture *f, uint64_t seq, bool no_ack, bool redelivered) {
    struct op op = {.kind = OP_GET, .flags = no_ack ? OP_NO_ACK : 0};
    assert_false(queue_is_away(f->queue));
    queue_apply(f->queue, &op, NULL, &f->effects);
    const struct effect *effect = &f->effects.list[0];
    assert_int_equal(effect->kind, EFFECT_GOT);
    assert_int_equal(effect->seq, seq);
    assert_int_equal(!(effect->flags & EFFECT_REDELIVERED), !redelivered);
    assert_memory_equal(message_body(effect->message).data, &seq, sizeof seq);
    drop_effects(f);
    queue_check(f->queue);
}

/* The next message is this one, and is unacked from now on. */
static void get(struct fixture *f, uint64_t seq) {
    get_with(f, seq, false, false);
}

static void get_again(struct fixture *f, uint64_t seq) {
    get_with(f, seq, false, true);
}

static void get_range(struct fixture *f, uint64_t seq, uint64_t end) {
    for (; seq < end; seq++)
        get(f, seq);
}

static void expect_counts(struct fixture *f, uint64_t ready, uint64_t away, uint64_t unacked) {
    assert_int_equal(queue_ready_count(f->queue), ready);
    assert_int_equal(queue_away_count(f->queue), away);
    assert_int_equal(queue_unacked_count(f->queue), unacked);
}

/* How many messages the runs name; they are forgotten. */
static uint64_t take_runs(struct settled_runs *runs) {
    uint64_t count = 0;
    for (uint32_t i = 0; i < runs->count; i++)
        count += runs->list[i].count;
    runs->count = 0;
    return count;
}

static void expect_settled(struct fixture *f, uint64_t count) {
    assert_int_equal(take_runs(&f->settlements.settled), count);
    assert_int_equal(take_runs(&f->settlements.dropped), count);
}

static uint64_t next_away(struct fixture *f, uint64_t from) {
    uint64_t seq = from;
    return queue_next_away(f->queue, &seq) ? seq : 0;
}

/* ---- going, and coming back */

static void kept_messages_go_and_transient_ones_stay(void **state) {
    struct fixture *f = *state;
    for (int i = 1; i <= 10; i++)
        enqueue(f, i != 6);
    assert_int_equal(page_out(f, 4, 9), 4);
    expect_counts(f, 10, 4, 0);
    assert_int_equal(message_pool_count(f->pool), 6);
    assert_int_equal(queue_resident_bytes(f->queue), 60);
    assert_int_equal(queue_bytes(f->queue), 100);
    assert_int_equal(queue_resident_head(f->queue), 4); /* 1, 2, 3, and 6 */
    assert_false(queue_wants(f->queue, 6));
    assert_true(queue_lacks(f->queue));
    assert_int_equal(page_out(f, 1, 4), 3);
    assert_int_equal(page_out(f, 1, UINT64_MAX), 2);
    expect_counts(f, 10, 9, 0);
}

static void a_slice_looks_at_so_many_and_goes_on_behind(void **state) {
    struct fixture *f = *state;
    fill(f, 200);
    uint64_t seq = 3;
    assert_int_equal(queue_page_out(f->queue, &seq, 100, 7), 7);
    assert_int_equal(seq, 10);
    assert_int_equal(queue_page_out(f->queue, &seq, 100, 1000), 90);
    assert_int_equal(seq, 100);
    queue_check(f->queue);
    /* One folded chunk counts as one. */
    assert_int_equal(page_out(f, 100, 192), 92);
    seq = 64;
    assert_int_equal(queue_page_out(f->queue, &seq, 201, 2), 0);
    assert_int_equal(seq, 192);
    queue_check(f->queue);
}

static void they_come_back_in_any_order_and_leave_in_theirs(void **state) {
    struct fixture *f = *state;
    fill(f, 300);
    assert_int_equal(page_out(f, 2, 300), 298);
    for (uint64_t i = 0; i < 298; i++)
        give(f, 2 + (i * 101 + 57) % 298);
    expect_counts(f, 300, 0, 0);
    assert_false(queue_lacks(f->queue));
    assert_int_equal(queue_resident_bytes(f->queue), 3000);
    get_range(f, 1, 301);
}

static void nothing_is_given_that_is_not_wanted(void **state) {
    struct fixture *f = *state;
    fill(f, 5);
    struct message *message = message_of(f, 3, 10, true);
    assert_false(queue_give(f->queue, 3, message));
    page_out(f, 3, 4);
    assert_false(queue_give(f->queue, 2, message));
    assert_false(queue_give(f->queue, 6, message));
    assert_true(queue_give(f->queue, 3, message));
    queue_check(f->queue);
}

static void nothing_is_delivered_before_the_next_one_is_back(void **state) {
    struct fixture *f = *state;
    fill(f, 200);
    page_out(f, 3, 190);
    struct op consume = {.kind = OP_CONSUME, .request = 1};
    queue_apply(f->queue, &consume, &f->credit, &f->effects);
    f->effects.count = 0;
    queue_pump(f->queue, 200, &f->effects);
    assert_int_equal(f->effects.count, 2);
    drop_effects(f);
    assert_true(queue_is_away(f->queue));
    assert_false(queue_owes(f->queue));
    give_range(f, 4, 190);
    assert_false(queue_owes(f->queue));
    give(f, 3);
    assert_false(queue_is_away(f->queue));
    assert_true(queue_owes(f->queue));
    queue_pump(f->queue, PUMP_EFFECTS_MAX, &f->effects);
    assert_int_equal(f->effects.count, 198);
    for (uint32_t i = 0; i < f->effects.count; i++)
        assert_int_equal(f->effects.list[i].seq, 3 + i);
    drop_effects(f);
}

static void a_get_needs_only_the_next_one(void **state) {
    struct fixture *f = *state;
    fill(f, 4);
    page_out(f, 1, 5);
    assert_true(queue_is_away(f->queue));
    give(f, 2);
    assert_true(queue_is_away(f->queue));
    give(f, 1);
    get(f, 1);
    get(f, 2);
    assert_true(queue_is_away(f->queue));
    give(f, 3);
    get_with(f, 3, true, false);
    expect_settled(f, 1);
    assert_true(queue_is_away(f->queue));
    requeue(f, 1, 1);
    assert_false(queue_is_away(f->queue)); /* what is back goes before it */
    get_again(f, 1);
}

static void the_next_one_that_is_away_is_found(void **state) {
    struct fixture *f = *state;
    fill(f, 400);
    page_out(f, 10, 350);
    assert_int_equal(next_away(f, 0), 10);
    assert_int_equal(next_away(f, 70), 70);
    assert_int_equal(next_away(f, 349), 349);
    assert_int_equal(next_away(f, 350), 0);
    give_range(f, 10, 140);
    assert_int_equal(next_away(f, 0), 140);
    give(f, 142);
    assert_int_equal(next_away(f, 142), 143);
}

static void kept_messages_are_found_wherever_they_are(void **state) {
    struct fixture *f = *state;
    fill(f, 200);
    page_out(f, 30, 192);
    struct message *message = NULL;
    for (uint64_t at = 1; at <= 200; at++) {
        uint64_t seq = at;
        assert_true(queue_next_kept(f->queue, &seq, at + 1, &message));
        assert_int_equal(seq, at);
        assert_int_equal(message == NULL, at >= 30 && at < 192);
    }
}

/* ---- redelivered ones */

static void redelivered_ones_say_so_when_they_have_been_away(void **state) {
    struct fixture *f = *state;
    fill(f, 64 * 4);
    get_range(f, 1, 128);
    give_back(f, 64, 64); /* a whole chunk; the one before stays unacked */
    page_out(f, 64, 192);
    assert_true(entries_in_folded(&f->queue->entries, 64));
    assert_true(entries_in_folded(&f->queue->entries, 128));
    give_range(f, 64, 192);
    for (uint64_t seq = 64; seq < 128; seq++)
        get_again(f, seq);
    get_range(f, 128, 192);
}

static void one_redelivered_among_others_is_not_forgotten(void **state) {
    struct fixture *f = *state;
    fill(f, 64 * 3);
    get_range(f, 1, 101);
    settle(f, 1, 63);
    give_back(f, 64, 37);
    page_out(f, 1, UINT64_MAX);
    give_range(f, 64, 193);
    for (uint64_t seq = 64; seq < 101; seq++)
        get_again(f, seq);
    get_range(f, 101, 193);
}

/* ---- unacked ones that go */

static void unacked_ones_go_and_are_settled_where_they_are(void **state) {
    struct fixture *f = *state;
    fill(f, 100);
    get_range(f, 1, 81);
    assert_int_equal(page_out(f, 1, 101), 100);
    expect_counts(f, 20, 20, 80);
    assert_int_equal(message_pool_count(f->pool), 0);
    settle(f, 1, 40);
    settle(f, 60, 1);
    expect_settled(f, 41);
    expect_counts(f, 20, 20, 39);
    assert_int_equal(queue_bytes(f->queue), 590);
}

static void unacked_ones_that_are_still_being_sent_stay(void **state) {
    struct fixture *f = *state;
    fill(f, 3);
    struct op op = {.kind = OP_GET};
    queue_apply(f->queue, &op, NULL, &f->effects); /* somebody has it */
    assert_int_equal(page_out(f, 1, 2), 0);
    drop_effects(f);
    assert_int_equal(page_out(f, 1, 2), 1);
    assert_true(queue_lacks(f->queue));
    assert_false(queue_is_away(f->queue));
    settle(f, 1, 1);
    assert_false(queue_lacks(f->queue));
}

static void unacked_ones_that_went_come_back_before_they_are_delivered_again(void **state) {
    struct fixture *f = *state;
    fill(f, 200);
    get_range(f, 1, 151);
    page_out(f, 1, 151);
    assert_int_equal(next_away(f, 0), 0);
    requeue(f, 20, 90);
    expect_counts(f, 140, 90, 60);
    assert_true(queue_is_away(f->queue));
    assert_int_equal(next_away(f, 0), 20);
    give(f, 150); /* one that is unacked still */
    give_range(f, 20, 110);
    for (uint64_t seq = 20; seq < 110; seq++)
        get_again(f, seq);
    get_range(f, 151, 201);
}

static void many_unacked_ones_that_went_are_settled_at_once(void **state) {
    struct fixture *f = *state;
    fill(f, 1000);
    get_range(f, 1, 901);
    page_out(f, 1, 901);
    settle(f, 1, 900);
    expect_counts(f, 100, 0, 0);
    assert_int_equal(take_runs(&f->settlements.settled), 900);
    assert_true(queue_is_dropping(f->queue));
    pump(f);
    assert_int_equal(take_runs(&f->settlements.dropped), 900);
    assert_false(queue_lacks(f->queue));
}

/* ---- the end of what is away */

static uint32_t apply_answered(struct fixture *f, enum op_kind kind) {
    struct op op = {.kind = (uint8_t)kind};
    queue_apply(f->queue, &op, NULL, &f->effects);
    queue_check(f->queue);
    uint32_t messages = f->effects.list[0].messages;
    assert_int_equal(f->effects.count, 1);
    f->effects.count = 0;
    return messages;
}

static void a_purge_takes_what_is_away(void **state) {
    struct fixture *f = *state;
    fill(f, 500);
    get_range(f, 1, 4);
    page_out(f, 1, 450);
    requeue(f, 2, 1);
    assert_int_equal(apply_answered(f, OP_PURGE), 498);
    expect_counts(f, 0, 0, 2);
    assert_int_equal(take_runs(&f->settlements.settled), 498);
    /* Until it is dropped nothing is wanted, and nothing goes. */
    assert_false(queue_wants(f->queue, 200));
    assert_false(queue_wants(f->queue, 1));
    assert_int_equal(page_out(f, 450, 501), 0);
    fill(f, 10);
    queue_pump(f->queue, 3, &f->effects);
    queue_check(f->queue);
    assert_true(queue_is_dropping(f->queue));
    pump(f);
    assert_int_equal(take_runs(&f->settlements.dropped), 498);
    assert_true(queue_wants(f->queue, 1));
    assert_int_equal(page_out(f, 501, 511), 10);
    give_range(f, 501, 511);
    get_range(f, 501, 511);
}

static void a_queue_is_deleted_with_what_is_away(void **state) {
    struct fixture *f = *state;
    fill(f, 500);
    get_range(f, 1, 4);
    page_out(f, 2, 450);
    assert_int_equal(apply_answered(f, OP_DELETE), 497);
    assert_false(queue_is_away(f->queue));
    assert_false(queue_wants(f->queue, 200));
    assert_int_equal(page_out(f, 1, 501), 0);
    pump(f);
    assert_int_equal(message_pool_count(f->pool), 0);
}

static void what_is_lost_leaves_without_being_settled(void **state) {
    struct fixture *f = *state;
    fill(f, 200);
    page_out(f, 1, 201);
    queue_skip_away(f->queue); /* 1 */
    queue_check(f->queue);
    give_range(f, 2, 64);
    get_range(f, 2, 64);
    assert_true(entries_in_folded(&f->queue->entries, 64));
    queue_skip_away(f->queue);
    queue_check(f->queue);
    expect_counts(f, 136, 136, 62);
    requeue(f, 10, 1);
    page_out(f, 10, 11);
    queue_skip_away(f->queue); /* 10, which was there before */
    queue_check(f->queue);
    give_range(f, 65, 201);
    get_range(f, 65, 201);
    settle(f, 1, 200);
    expect_settled(f, 61 + 136);
    assert_int_equal(queue_bytes(f->queue), 0);
}

static void the_last_one_that_is_away_may_be_lost(void **state) {
    struct fixture *f = *state;
    fill(f, 1);
    page_out(f, 1, 2);
    queue_skip_away(f->queue);
    queue_check(f->queue);
    expect_counts(f, 0, 0, 0);
    assert_int_equal(queue_bytes(f->queue), 0);
    fill(f, 1);
    get(f, 2);
}

/* ---- what is put back at start */

static void restore(
    struct fixture *f, const struct queue_restored *list, size_t count, uint64_t next_seq) {
    queue_restore(f->queue, list, count, next_seq);
    queue_check(f->queue);
}

static void restored_runs_are_away_and_in_order(void **state) {
    struct fixture *f = *state;
    static const struct queue_restored list[] = {
        {.seq = 5, .count = 3, .bytes = 30, .redelivered = true},
        {.seq = 64, .count = 200, .bytes = 2000, .redelivered = true},
        {.seq = 264, .count = 70, .bytes = 700},
        {.seq = 5000, .count = 64, .bytes = 640},
        {.seq = 90000000000, .count = 129, .bytes = 1290},
    };
    restore(f, list, COUNT_OF(list), 90000000200);
    expect_counts(f, 466, 466, 0);
    assert_int_equal(queue_resident_bytes(f->queue), 0);
    assert_true(queue_is_away(f->queue));
    uint64_t seq = 0;
    for (size_t i = 0; i < COUNT_OF(list); i++) {
        for (uint64_t k = 0; k < list[i].count; k++, seq++) {
            assert_int_equal(next_away(f, 0), list[i].seq + k);
            seq = list[i].seq + k;
            give(f, seq);
            get_with(f, seq, false, list[i].redelivered);
        }
    }
    assert_int_equal(queue_next_ready(f->queue), 90000000200);
    fill(f, 1);
    get(f, 90000000200);
}

static void estimates_of_sizes_are_put_right(void **state) {
    struct fixture *f = *state;
    struct queue_restored list[] = {
        {.seq = 1, .count = 100, .bytes = 100},      /* too little */
        {.seq = 300, .count = 100, .bytes = 100000}, /* too much */
    };
    restore(f, list, COUNT_OF(list), 500);
    give_range(f, 1, 101);
    assert_int_equal(queue_resident_bytes(f->queue), 1000);
    give_range(f, 300, 399);
    assert_int_equal(queue_resident_bytes(f->queue), 1990);
    give(f, 399);
    assert_int_equal(queue_bytes(f->queue), 2000);
    get_range(f, 1, 101);
    get_range(f, 300, 400);
    settle(f, 1, 500);
    assert_int_equal(queue_bytes(f->queue), 0);
}

static void estimates_that_are_too_low_are_put_right(void **state) {
    struct fixture *f = *state;
    struct queue_restored run = {.seq = 1, .count = 100, .bytes = 0};
    restore(f, &run, 1, 101);
    give_range(f, 50, 101);
    assert_int_equal(queue_resident_bytes(f->queue), 510);
    for (int i = 0; i < 49; i++)
        queue_skip_away(f->queue);
    queue_check(f->queue);
    assert_int_equal(queue_bytes(f->queue), 510);
    page_out(f, 1, 101);
    give_range(f, 50, 101);
    get_range(f, 50, 101);
}

/* ---- sparse ones */

/* Few messages of many chunks are left: they are strays, and may be away as well. */
static void strays_go_and_come_back(void **state) {
    struct fixture *f = *state;
    fill(f, 64 * 60);
    get_range(f, 1, 64 * 60 + 1);
    for (uint64_t seq = 1; seq <= 64 * 60; seq++) {
        if (seq % 300 != 0) settle(f, seq, 1);
    }
    assert_non_null(f->queue->entries.strays);
    expect_counts(f, 0, 0, 12);
    assert_int_equal(page_out(f, 1, UINT64_MAX), 12);
    assert_int_equal(message_pool_count(f->pool), 0);
    requeue(f, 600, 900);
    expect_counts(f, 3, 3, 9);
    assert_int_equal(next_away(f, 0), 600);
    assert_int_equal(next_away(f, 601), 900);
    queue_skip_away(f->queue);
    queue_check(f->queue);
    give(f, 1200);
    give(f, 900);
    give(f, 3600); /* unacked still */
    get_again(f, 900);
    get_again(f, 1200);
    requeue(f, 1500, 400);
    assert_true(queue_is_away(f->queue));
    settle(f, 1, UINT32_MAX);
    apply_answered(f, OP_PURGE);
    pump(f);
    assert_false(queue_lacks(f->queue));
}

static void what_is_away_becomes_strays_when_it_is_sparse(void **state) {
    struct fixture *f = *state;
    struct queue_restored list[] = {
        {.seq = 64, .count = 64, .bytes = 640, .redelivered = true},
        {.seq = 64 * 900, .count = 65, .bytes = 650},
    };
    restore(f, list, COUNT_OF(list), 64 * 1000);
    assert_false(entries_in_folded(&f->queue->entries, 64));
    assert_non_null(f->queue->entries.strays);
    give_range(f, 64, 128);
    for (uint64_t seq = 64; seq < 128; seq++)
        get_again(f, seq);
    give_range(f, 64 * 900, 64 * 900 + 65);
    get_range(f, 64 * 900, 64 * 900 + 65);
}

/* ---- spilled ones */

static uint32_t spill(struct fixture *f, uint64_t seq, uint64_t end) {
    uint32_t gone = queue_spill_out(f->queue, &seq, end, UINT32_MAX);
    queue_check(f->queue);
    return gone;
}

static void give_transient(struct fixture *f, uint64_t seq, uint64_t end) {
    for (; seq < end; seq++) {
        assert_true(queue_is_spilled(f->queue, seq));
        assert_true(queue_give(f->queue, seq, message_of(f, seq, 10, false)));
        assert_false(queue_is_spilled(f->queue, seq));
        queue_check(f->queue);
    }
}

static void transient_messages_are_spilled_and_kept_ones_stay(void **state) {
    struct fixture *f = *state;
    for (int i = 1; i <= 10; i++)
        enqueue(f, i == 6);
    assert_int_equal(spill(f, 4, 9), 4);
    expect_counts(f, 10, 4, 0);
    assert_int_equal(message_pool_count(f->pool), 6);
    uint64_t seq = 1;
    assert_true(queue_next_kept(f->queue, &seq, 100, NULL));
    assert_int_equal(seq, 6);
    assert_int_equal(page_out(f, 1, 100), 1);
    assert_true(queue_wants(f->queue, 6));
    assert_false(queue_is_spilled(f->queue, 6));
    get_range(f, 1, 4);
    assert_true(queue_is_away(f->queue));
    give_transient(f, 4, 6);
    get_range(f, 4, 6);
    give(f, 6);
    give_transient(f, 7, 9);
    get_range(f, 6, 11);
    /* That they are settled is nobody's business but the kept one's. */
    settle(f, 1, 10);
    expect_settled(f, 1);
}

static void chunks_of_spilled_ones_are_folded_and_not_kept(void **state) {
    struct fixture *f = *state;
    for (int i = 0; i < 64 * 5; i++)
        enqueue(f, i >= 64 * 3 - 1);
    get_range(f, 1, 65);
    give_back(f, 1, 64); /* redelivered */
    spill(f, 1, 64 * 3);
    page_out(f, 64 * 3, UINT64_MAX);
    for (uint64_t seq = 64; seq < 64 * 4; seq += 64)
        assert_int_equal(entries_in_folded(&f->queue->entries, seq),
            seq != 64); /* 64 alone has been delivered */
    uint64_t seq = 1;
    assert_true(queue_next_kept(f->queue, &seq, UINT64_MAX, NULL));
    assert_int_equal(seq, 64 * 3);
    give_transient(f, 1, 64 * 3);
    for (seq = 1; seq < 65; seq++)
        get_again(f, seq);
    get_range(f, 65, 64 * 3);
}

static void a_purge_takes_what_is_spilled_and_notes_what_is_kept(void **state) {
    struct fixture *f = *state;
    for (int i = 0; i < 300; i++)
        enqueue(f, i >= 200);
    spill(f, 1, 200);
    page_out(f, 210, 290);
    struct op op = {.kind = OP_PURGE};
    queue_apply(f->queue, &op, NULL, &f->effects);
    drop_effects(f);
    assert_int_equal(spill(f, 1, UINT64_MAX), 0);
    assert_false(queue_wants(f->queue, 100));
    pump(f);
    take_runs(&f->settlements.settled);
    assert_int_equal(take_runs(&f->settlements.dropped), 100);
    assert_int_equal(message_pool_count(f->pool), 0);
}

static void what_could_be_spilled_is_found(void **state) {
    struct fixture *f = *state;
    for (int i = 1; i <= 200; i++)
        enqueue(f, i == 3 || i > 100);
    get(f, 1);
    uint64_t seq = 1;
    uint32_t budget = UINT32_MAX;
    struct message *message = NULL;
    assert_true(queue_next_spillable(f->queue, &seq, 300, &budget, &message));
    assert_int_equal(seq, 1); /* unacked, and in the way */
    assert_null(message);
    seq = 2;
    assert_true(queue_next_spillable(f->queue, &seq, 300, &budget, &message));
    assert_non_null(message);
    seq = 3;
    assert_true(queue_next_spillable(f->queue, &seq, 300, &budget, &message));
    assert_int_equal(seq, 4);
    spill(f, 2, 90);
    seq = 2;
    budget = 10;
    assert_false(queue_next_spillable(f->queue, &seq, 300, &budget, &message));
    assert_int_equal(budget, 0);
    budget = UINT32_MAX;
    assert_true(queue_next_spillable(f->queue, &seq, 300, &budget, &message));
    assert_int_equal(seq, 90);
    seq = 101;
    assert_false(queue_next_spillable(f->queue, &seq, 300, &budget, &message));
    assert_int_equal(seq, 201);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(kept_messages_go_and_transient_ones_stay),
        CASE(a_slice_looks_at_so_many_and_goes_on_behind),
        CASE(they_come_back_in_any_order_and_leave_in_theirs),
        CASE(nothing_is_given_that_is_not_wanted),
        CASE(nothing_is_delivered_before_the_next_one_is_back),
        CASE(a_get_needs_only_the_next_one),
        CASE(the_next_one_that_is_away_is_found),
        CASE(kept_messages_are_found_wherever_they_are),
        CASE(redelivered_ones_say_so_when_they_have_been_away),
        CASE(one_redelivered_among_others_is_not_forgotten),
        CASE(unacked_ones_go_and_are_settled_where_they_are),
        CASE(unacked_ones_that_are_still_being_sent_stay),
        CASE(unacked_ones_that_went_come_back_before_they_are_delivered_again),
        CASE(many_unacked_ones_that_went_are_settled_at_once),
        CASE(a_purge_takes_what_is_away),
        CASE(a_queue_is_deleted_with_what_is_away),
        CASE(what_is_lost_leaves_without_being_settled),
        CASE(the_last_one_that_is_away_may_be_lost),
        CASE(restored_runs_are_away_and_in_order),
        CASE(estimates_of_sizes_are_put_right),
        CASE(estimates_that_are_too_low_are_put_right),
        CASE(strays_go_and_come_back),
        CASE(what_is_away_becomes_strays_when_it_is_sparse),
        CASE(transient_messages_are_spilled_and_kept_ones_stay),
        CASE(chunks_of_spilled_ones_are_folded_and_not_kept),
        CASE(a_purge_takes_what_is_spilled_and_notes_what_is_kept),
        CASE(what_could_be_spilled_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
