/* settling_test: very many deliveries that are settled a slice at a time, and what comes behind. */
#include "fake_host.h"

#include "base/str.h"

enum { QUEUE = 1, CONSUMER = 1, SLICE = 4, HELD = 10 };

/* A consumer has got HELD messages, which are not adjacent: every one is settled by itself. */
static int hold(void **state) {
    int status = host_set_up(state);
    struct fake_host *host = *state;
    host->settings.settling_slice = SLICE;
    host->later = false;
    host_say(host, 1, "basic.consume queue='q' consumer_tag='t'");
    host_asked(host, "consume 1 'q' prefetch=0 priority=0");
    host_hear(host, 1, "basic.consume_ok consumer_tag='t'");
    for (unsigned tag = 1; tag <= HELD; tag++) {
        struct effect effect = {.kind = EFFECT_DELIVER,
            .channel = 1,
            .tag_id = host->consume_id,
            .message = host_message(host, "key", "body"),
            .seq = 2 * tag,
            .consumer = CONSUMER};
        session_on_deliver(host->session, QUEUE, &effect, host->now_ms);
        char line[128];
        str_format(line, sizeof line,
            "basic.deliver consumer_tag='t' delivery_tag=%u routing_key='key'", tag);
        host_hear(host, 1, line);
        host_hear_body(host, 1, BYTES("body"));
    }
    return status;
}

static void asked_settled(struct fake_host *host, const char *how, unsigned from, unsigned to) {
    for (unsigned tag = from; tag <= to; tag++) {
        char line[128];
        str_format(line, sizeof line, "settle %s queue=1 seq=%u count=1 consumer=1", how, 2 * tag);
        host_asked(host, line);
    }
}

/* The slices after the first, which must be two and some. */
static void settle_on(struct fake_host *host, const char *how, unsigned from) {
    for (unsigned tag = from; tag <= HELD; tag += SLICE) {
        host_asked_nothing(host);
        host_hear_nothing(host);
        assert_true(session_settles(host->session));
        session_settle_some(host->session, host->now_ms);
        session_check(host->session);
        asked_settled(host, how, tag, tag + SLICE - 1 < HELD ? tag + SLICE - 1 : HELD);
    }
    assert_false(session_settles(host->session));
}

static void a_channel_closes_behind_what_it_gives_back(void **state) {
    struct fake_host *host = *state;
    host->later = true;
    uint32_t woken = host->wake_count;
    host_say(host, 1, "channel.close reply_code=200");
    host_asked(host, "cancel 1 queue=1 consumer=1 silently");
    assert_true(host->wake_count > woken);
    assert_int_equal(host->pending_count, 0); /* no fence */
    settle_on(host, "requeue", 1);
    assert_int_equal(host->pending_count, 1);
    host_hear_nothing(host);
    struct answer answer = {0};
    host_answer(host, &answer);
    host_hear(host, 1, "channel.close_ok");
}

static void a_lost_connection_leaves_behind_it(void **state) {
    struct fake_host *host = *state;
    session_on_disconnect(host->session, host->now_ms);
    host_asked(host, "cancel 1 queue=1 consumer=1 silently");
    session_check(host->session);
    settle_on(host, "requeue", 1);
    host_asked(host, "leave");
}

static void what_follows_recover_waits(void **state) {
    struct fake_host *host = *state;
    host_say(host, 1, "basic.recover requeue");
    host_hear(host, 1, "basic.recover_ok");
    host_say(host, 1, "basic.get queue='q'");
    settle_on(host, "requeue", 1);
    host_asked(host, "get 1 'q'");
    host_hear(host, 1, "basic.get_empty");
}

/* Some are said with what else was settled in the turn; the rest follows. */
static void the_next_method_sees_all_given_back(void **state) {
    struct fake_host *host = *state;
    host_say(host, 1, "basic.nack delivery_tag=0 multiple requeue");
    host_say(host, 1, "basic.get queue='q'");
    asked_settled(host, "requeue", 1, SLICE);
    settle_on(host, "requeue", SLICE + 1);
    host_asked(host, "get 1 'q'");
    host_hear(host, 1, "basic.get_empty");
}

static void acks_hold_nobody_up(void **state) {
    struct fake_host *host = *state;
    host_say(host, 1, "basic.ack delivery_tag=0 multiple");
    asked_settled(host, "ack", 1, SLICE);
    host_say(host, 1, "basic.get queue='q'");
    host_asked(host, "get 1 'q'");
    host_hear(host, 1, "basic.get_empty");
    struct session_facts facts;
    session_facts(host->session, &facts);
    assert_int_equal(facts.unacked, 0);
    host_say(host, 1, "channel.close reply_code=200");
    host_asked(host, "cancel 1 queue=1 consumer=1 silently");
    settle_on(host, "ack", SLICE + 1);
    host_say(host, 2, "channel.open"); /* the fence is back */
    host_hear(host, 2, "channel.open_ok");
    host_hear(host, 1, "channel.close_ok");
}

static void a_commit_is_stable_behind_it(void **state) {
    struct fake_host *host = *state;
    host_say(host, 1, "tx.select");
    host_hear(host, 1, "tx.select_ok");
    host_say(host, 1, "basic.ack delivery_tag=0 multiple");
    host_say(host, 1, "tx.rollback");
    host_hear(host, 1, "tx.rollback_ok");
    host_say(host, 1, "basic.ack delivery_tag=0 multiple");
    host->later = true;
    host_say(host, 1, "tx.commit");
    settle_on(host, "ack", 1);
    host_asked(host, "fence 1 stable");
    host_hear_nothing(host);
    struct answer answer = {0};
    host_answer(host, &answer);
    host_hear(host, 1, "tx.commit_ok");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, hold, host_tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(a_channel_closes_behind_what_it_gives_back),
        CASE(a_lost_connection_leaves_behind_it),
        CASE(what_follows_recover_waits),
        CASE(the_next_method_sees_all_given_back),
        CASE(acks_hold_nobody_up),
        CASE(a_commit_is_stable_behind_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
