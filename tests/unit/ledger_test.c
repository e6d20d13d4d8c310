/* ledger_test: what is settled does not live, and messages are put together from their parts. */
#include "unit.h"

#include "base/prng.h"
#include "store/le.h"
#include "store/ledger.h"
#include "store/pub.h"

enum { ROUNDS = 200, SEQS = 64 };

static void take(struct ledger *ledger, enum record_type type, struct record_target target) {
    struct record_view view = {.type = (uint8_t)type};
    struct ledger_queue *queue = ledger_find(ledger, target.queue);
    if (queue) ledger_take(queue, &view, &target);
}

static void test_queues_are_found(void **state) {
    (void)state;
    struct ledger ledger = {.count = 0};
    assert_null(ledger_find(&ledger, 1));
    for (uint64_t id = 1; id < 100; id += 3)
        ledger_add(&ledger, id);
    for (uint64_t id = 0; id < 110; id++) {
        struct ledger_queue *queue = ledger_find(&ledger, id);
        assert_int_equal(queue != NULL, id < 100 && id % 3 == 1);
        if (queue) assert_int_equal(queue->at, id / 3);
        assert_ptr_equal(ledger_find(&ledger, id), queue);
    }
    ledger_deinit(&ledger);
}

static void test_facts_settle(void **state) {
    (void)state;
    struct ledger ledger = {.count = 0};
    uint64_t high = (uint64_t)9 << SEQ_PRIORITY_SHIFT;
    ledger_add(&ledger, 5);
    take(&ledger, RECORD_ACK, (struct record_target){5, 30, 2});
    take(&ledger, RECORD_ACK, (struct record_target){5, 32, 1});
    take(&ledger, RECORD_ACK, (struct record_target){5, 20, 1});
    take(&ledger, RECORD_ACK, (struct record_target){5, high + 4, 3});
    take(&ledger, RECORD_PURGE, (struct record_target){5, 10, 0});
    take(&ledger, RECORD_DELIVERED, (struct record_target){5, 25, 0});
    take(&ledger, RECORD_ACK, (struct record_target){6, 1, 1000});
    ledger_close(&ledger);
    struct ledger_queue *queue = ledger_find(&ledger, 5);
    static const uint64_t settled[] = {1, 9, 20, 30, 31, 32};
    static const uint64_t living[] = {10, 19, 21, 29, 33, 1000};
    for (size_t i = 0; i < COUNT_OF(settled); i++)
        assert_false(ledger_lives(queue, settled[i]));
    for (size_t i = 0; i < COUNT_OF(living); i++)
        assert_true(ledger_lives(queue, living[i]));
    assert_true(ledger_lives(queue, high + 3));
    assert_false(ledger_lives(queue, high + 4));
    assert_true(ledger_lives(queue, high + 7));
    assert_int_equal(queue->next_seq, high + 8);
    assert_int_equal(queue->delivered, 25);
    ledger_deinit(&ledger);
}

static void test_qstate_counts_as_purge_and_more(void **state) {
    (void)state;
    struct ledger ledger = {.count = 0};
    uint8_t head[LEDGER_QSTATE_HEAD_BYTES];
    le_put_u64(head, 77);
    le_put_u64(head + 8, 50);
    struct record_view view = {.type = RECORD_QSTATE, .head = bytes_of(head, sizeof head)};
    struct record_target target = {.queue = 1, .seq = 40};
    ledger_add(&ledger, 1);
    struct ledger_queue *queue = ledger_find(&ledger, 1);
    ledger_take(queue, &view, &target);
    ledger_close(&ledger);
    assert_int_equal(queue->next_seq, 77);
    assert_int_equal(queue->delivered, 50);
    assert_false(ledger_lives(queue, 39));
    assert_true(ledger_lives(queue, 40));
    ledger_deinit(&ledger);
}

/* Spans in any order, overlapping, looked up in any order. */
static void test_spans_in_any_order(void **state) {
    (void)state;
    uint64_t random = 1;
    for (int round = 0; round < ROUNDS; round++) {
        struct ledger ledger = {.count = 0};
        bool settled[SEQS] = {false};
        ledger_add(&ledger, 1);
        for (int i = 0; i < round % 20; i++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            uint64_t seq = random >> 40 & (SEQS / 2 - 1);
            uint64_t count = 1 + (random >> 50 & 7);
            take(&ledger, RECORD_ACK, (struct record_target){1, seq, count});
            for (uint64_t at = seq; at < seq + count; at++)
                settled[at] = true;
        }
        ledger_close(&ledger);
        for (int i = 0; i < 4 * SEQS; i++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            uint64_t seq = i < SEQS ? (uint64_t)i : random >> 40 & (SEQS - 1);
            assert_int_equal(ledger_lives(ledger_find(&ledger, 1), seq), !settled[seq]);
        }
        ledger_deinit(&ledger);
    }
}

/* Bits for so many words from `seq` on, which are drawn: about so many percent of them are set. */
static void take_bits(
    struct ledger *ledger, struct prng *prng, uint64_t seq, uint32_t words, bool *settled) {
    uint8_t body[RECORD_SETTLED_BYTES_MAX] = {0};
    uint32_t percent = (uint32_t)prng_below(prng, 101);
    for (uint64_t i = 0; i < (uint64_t)words * RECORD_SETTLED_PLACES; i++) {
        if (!prng_chance(prng, percent)) continue;
        body[i / 8] |= (uint8_t)(1u << i % 8);
        settled[seq + i] = true;
    }
    struct record_target target = {5, seq, 1};
    struct record_view view = {
        .type = RECORD_SETTLED, .target_count = 1, .body = bytes_of(body, (size_t)words * 8)};
    ledger_take(ledger_find(ledger, 5), &view, &target);
}

/* Bits over bits and spans, in any order; asked one by one and for runs. */
static void test_bits_settle_as_spans_do(void **state) {
    (void)state;
    enum { PLACES = 40000, WORDS = 512 };
    for (uint64_t round = 0; round < 60; round++) {
        struct prng prng;
        struct ledger ledger = {.count = 0};
        static bool settled[PLACES];
        memset(settled, 0, sizeof settled);
        prng_init(&prng, round);
        ledger_add(&ledger, 5);
        for (uint64_t i = prng_below(&prng, 8); i != 0; i--) {
            uint32_t words = 1 + (uint32_t)prng_below(&prng, round % 2 ? 4 : WORDS);
            uint64_t most = PLACES / RECORD_SETTLED_PLACES - words;
            take_bits(
                &ledger, &prng, prng_below(&prng, most) * RECORD_SETTLED_PLACES, words, settled);
            uint64_t seq = prng_below(&prng, PLACES - 600), count = 1 + prng_below(&prng, 600);
            take(&ledger, RECORD_ACK, (struct record_target){5, seq, count});
            memset(settled + seq, true, count);
        }
        ledger_close(&ledger);
        struct ledger_queue *queue = ledger_find(&ledger, 5);
        uint64_t last = PLACES;
        while (last != 0 && !settled[last - 1])
            last--;
        assert_int_equal(queue->next_seq, last);
        for (uint64_t seq = 0; seq < PLACES; seq++)
            assert_int_equal(ledger_lives(queue, seq), !settled[seq]);
        uint64_t from = prng_below(&prng, PLACES), at = from, end = 0;
        for (; ledger_next_live(queue, &at, PLACES, &end); at = end) {
            for (; from < at; from++)
                assert_true(settled[from]);
            for (; from < end; from++)
                assert_false(settled[from]);
        }
        for (; from < PLACES; from++)
            assert_true(settled[from]);
        ledger_deinit(&ledger);
    }
}

/* ---- pub ---- */

/* Runs of what lives are what lives, one by one, wherever one begins to look. */
static void test_runs_of_what_lives(void **state) {
    (void)state;
    struct prng prng;
    prng_init(&prng, 4711);
    for (int round = 0; round < ROUNDS; round++) {
        struct ledger ledger = {.count = 0};
        ledger_add(&ledger, 5);
        for (uint64_t i = prng_below(&prng, 20); i != 0; i--)
            take(&ledger, RECORD_ACK,
                (struct record_target){5, 1 + prng_below(&prng, SEQS), 1 + prng_below(&prng, 4)});
        take(&ledger, RECORD_PURGE, (struct record_target){5, 1 + prng_below(&prng, 8), 0});
        ledger_close(&ledger);
        struct ledger_queue *queue = ledger_find(&ledger, 5);
        for (int look = 0; look < 10; look++) {
            uint64_t seq = 1 + prng_below(&prng, SEQS);
            uint64_t end = seq + prng_below(&prng, SEQS);
            uint64_t at = seq, live_end = 0;
            for (; ledger_next_live(queue, &at, end, &live_end); at = live_end) {
                for (; seq < at; seq++)
                    assert_false(ledger_lives(queue, seq));
                assert_true(live_end > at && live_end <= end);
                for (; seq < live_end; seq++)
                    assert_true(ledger_lives(queue, seq));
            }
            for (; seq < end; seq++)
                assert_false(ledger_lives(queue, seq));
        }
        ledger_deinit(&ledger);
    }
}

static void test_sizes_come_back(void **state) {
    (void)state;
    struct pub pub = {255, 254, 9, 0xfedc, PUB_PROPERTIES_BYTES_MAX};
    struct pub back = pub_of(pub_message_id(&pub));
    assert_int_equal(back.exchange_size, 255);
    assert_int_equal(back.routing_key_size, 254);
    assert_int_equal(back.priority, 9);
    assert_int_equal(back.header_flags, 0xfedc);
    assert_int_equal(back.properties_size, PUB_PROPERTIES_BYTES_MAX);
    assert_int_equal(pub_head_bytes(&back), 255 + 254 + PUB_PROPERTIES_BYTES_MAX);
}

static uint8_t target_bytes[RECORD_POINT_BYTES];

/* A record of the message `seq` of queue 1. */
static struct record_view view_of(uint64_t seq, uint8_t flags, uint64_t id, const char *body) {
    le_put_u64(target_bytes, 1);
    le_put_u64(target_bytes + 8, seq);
    return (struct record_view){.type = RECORD_PUB,
        .flags = flags,
        .target_count = 1,
        .target_bytes = RECORD_POINT_BYTES,
        .targets = target_bytes,
        .message_id = id,
        .body = bytes_text(body)};
}

static bool take_part(struct pub_parts *parts, uint64_t seq, uint64_t at, const char *body) {
    struct record_view view = view_of(seq, 0, at, body);
    return pub_parts_take(parts, &view);
}

static bool finds(struct pub_parts *parts, uint64_t seq, uint8_t count, const char *run) {
    struct record_view view = view_of(seq, count, 0, "end");
    struct bytes found = bytes_of(NULL, 0);
    if (!pub_parts_find(parts, &view, &found)) return false;
    assert_true(bytes_equal(found, bytes_text(run)));
    return true;
}

static void test_parts_are_put_together(void **state) {
    (void)state;
    struct pub_parts parts;
    pub_parts_init(&parts);
    assert_true(finds(&parts, 1, 0, ""));
    assert_false(finds(&parts, 1, 1, ""));
    assert_true(take_part(&parts, 7, 0, "abc"));
    assert_false(take_part(&parts, 7, 3, "de"));
    assert_true(finds(&parts, 7, 2, "abcde"));
    assert_false(finds(&parts, 8, 2, ""));
    assert_false(finds(&parts, 7, 3, ""));
    /* Another message has none of them. */
    assert_true(finds(&parts, 9, 0, ""));
    /* One that is missing, at the beginning or between. */
    assert_false(take_part(&parts, 10, 3, "de"));
    assert_false(finds(&parts, 10, 1, ""));
    assert_true(take_part(&parts, 11, 0, "abc"));
    assert_false(take_part(&parts, 11, 5, "fg"));
    assert_false(finds(&parts, 11, 2, ""));
    pub_parts_deinit(&parts);
}

static void test_a_run_that_is_too_short_is_no_message(void **state) {
    (void)state;
    struct pub_parts parts;
    struct bytes run;
    struct pub sizes = {.exchange_size = 2, .routing_key_size = 2};
    pub_parts_init(&parts);
    struct record_view view = view_of(1, 0, pub_message_id(&sizes), "abc");
    assert_false(pub_parts_find(&parts, &view, &run));
    view = view_of(1, 0, pub_message_id(&sizes), "abcd");
    assert_true(pub_parts_find(&parts, &view, &run));
    pub_parts_deinit(&parts);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_queues_are_found),
        cmocka_unit_test(test_facts_settle),
        cmocka_unit_test(test_qstate_counts_as_purge_and_more),
        cmocka_unit_test(test_spans_in_any_order),
        cmocka_unit_test(test_runs_of_what_lives),
        cmocka_unit_test(test_bits_settle_as_spans_do),
        cmocka_unit_test(test_sizes_come_back),
        cmocka_unit_test(test_parts_are_put_together),
        cmocka_unit_test(test_a_run_that_is_too_short_is_no_message),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
