/* channel_tx_test: transactions, and which modes exclude each other. */
#include "fake_host.h"

#include "amqp/properties.h"
#include "amqp/table.h"

static void select_tx(struct fake_host *host) {
    host_say(host, 1, "tx.select");
    host_hear(host, 1, "tx.select_ok");
}

static void publish(struct fake_host *host, const char *line, struct bytes properties) {
    host_say(host, 1, line);
    host_say_content(host, 1, properties, BYTES("x"));
    host_asked(host, "look 'e'");
    host_asked_nothing(host);
}

static void confirm(struct fake_host *host, uint64_t seqno, bool ok) {
    session_on_confirm(host->session, 1, host->publishes[0].epoch, seqno, ok);
    session_check(host->session);
}

static void modes_exclude_each_other(void **state) {
    struct fake_host *host = *state;
    static const struct {
        const char *first;
        const char *first_ok;
        const char *second;
        const char *text;
    } cases[] = {
        {"tx.select", "tx.select_ok", "confirm.select",
            "PRECONDITION_FAILED - cannot switch from tx to confirm mode"},
        {"confirm.select", "confirm.select_ok", "tx.select",
            "PRECONDITION_FAILED - cannot switch from confirm to tx mode"},
        {"channel.flow active", "channel.flow_ok active", "tx.commit",
            "PRECONDITION_FAILED - channel is not transactional"},
        {"confirm.select", "confirm.select_ok", "tx.rollback",
            "PRECONDITION_FAILED - channel is not transactional"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        host_say(host, 1, cases[i].first);
        host_hear(host, 1, cases[i].first_ok);
        host_say(host, 1, cases[i].first);
        host_hear(host, 1, cases[i].first_ok);
        host_say(host, 1, cases[i].second);
        host_hear_close(host, 1, REPLY_PRECONDITION_FAILED, cases[i].text, cases[i].second);
        host_say(host, 1, "channel.close_ok");
        host_open_channel(host, 1);
    }
}

static void commit_publishes_and_waits(void **state) {
    struct fake_host *host = *state;
    select_tx(host);
    publish(host, "basic.publish exchange='e' routing_key='a'", NO_PROPERTIES);
    publish(host, "basic.publish exchange='e' routing_key='b' mandatory", NO_PROPERTIES);
    host->publish_result = (struct publish_result){.queues = 2, .confirms = 2};
    host_say(host, 1, "tx.commit");
    host_asked(host, "publish 1 'e' 'a' 1 seqno=1");
    host_asked(host, "publish 1 'e' 'b' 1 seqno=1");
    host_hear_nothing(host);
    /* What follows waits behind the commit. */
    host_say(host, 1, "basic.qos prefetch_count=5");
    for (int i = 0; i < 3; i++) {
        confirm(host, 1, true);
        confirm(host, 2, true); /* of no commit */
        host_hear_nothing(host);
    }
    confirm(host, 1, true);
    host_hear(host, 1, "tx.commit_ok");
    host_hear(host, 1, "basic.qos_ok");
    confirm(host, 1, true);
    /* The next one starts anew. */
    publish(host, "basic.publish exchange='e' routing_key='c'", NO_PROPERTIES);
    host->publish_result = (struct publish_result){.queues = 1, .confirms = 1};
    host_say(host, 1, "tx.commit");
    host_asked(host, "publish 1 'e' 'c' 1 seqno=2");
    confirm(host, 2, true);
    host_hear(host, 1, "tx.commit_ok");
}

static void a_refused_publish_fails_the_commit(void **state) {
    struct fake_host *host = *state;
    select_tx(host);
    publish(host, "basic.publish exchange='e' routing_key='a'", NO_PROPERTIES);
    host->publish_result = (struct publish_result){.queues = 2, .confirms = 2};
    host_say(host, 1, "tx.commit");
    host_asked(host, "publish 1 'e' 'a' 1 seqno=1");
    confirm(host, 1, false);
    confirm(host, 1, true);
    host_hear_close(host, 1, REPLY_PRECONDITION_FAILED,
        "PRECONDITION_FAILED - partial tx completion", "tx.commit");
}

static void unroutable_ones_come_back_at_commit(void **state) {
    struct fake_host *host = *state;
    select_tx(host);
    publish(host, "basic.publish exchange='e' routing_key='a' mandatory", NO_PROPERTIES);
    publish(host, "basic.publish exchange='e' routing_key='b'", NO_PROPERTIES);
    host->publish_result = (struct publish_result){0};
    host_say(host, 1, "tx.commit");
    host_asked(host, "publish 1 'e' 'a' 1 seqno=1");
    host_asked(host, "publish 1 'e' 'b' 1 seqno=1");
    host_hear(
        host, 1, "basic.return reply_code=312 reply_text='NO_ROUTE' exchange='e' routing_key='a'");
    host_hear_body(host, 1, BYTES("x"));
    host_hear(host, 1, "tx.commit_ok");
}

static void a_missing_exchange_is_known_at_once(void **state) {
    struct fake_host *host = *state;
    select_tx(host);
    host->look_code = REPLY_NOT_FOUND;
    host_say(host, 1, "basic.publish exchange='e'");
    host_say_content(host, 1, NO_PROPERTIES, BYTES("x"));
    host_asked(host, "look 'e'");
    host_hear_close(
        host, 1, REPLY_NOT_FOUND, "NOT_FOUND - no exchange 'e' in vhost '/'", "basic.publish");
}

static void copies_are_routed_before_commit(void **state) {
    struct fake_host *host = *state;
    uint8_t table[256];
    uint8_t memory[512];
    struct writer writer = writer_over(table, sizeof table);
    uint8_t *begun = table_begin_array(&writer, "CC");
    table_put_text(&writer, NULL, BYTES("c"));
    table_end(&writer, begun);
    begun = table_begin_array(&writer, "BCC");
    table_put_text(&writer, NULL, BYTES("b"));
    table_end(&writer, begun);
    struct properties properties = {
        .flags = PROPERTY_HAS_headers, .headers = writer_bytes(&writer)};
    struct writer encoded = writer_over(memory, sizeof memory);
    properties_encode(&encoded, &properties);
    select_tx(host);
    host_say(host, 1, "basic.publish exchange='e' routing_key='a'");
    host_say_content(host, 1, writer_bytes(&encoded), BYTES("x"));
    host_asked(host, "look 'e'");
    host_asked(host, "hold cc=c bcc=b");
    publish(host, "basic.publish exchange='e' routing_key='b'", NO_PROPERTIES);
    host_say(host, 1, "tx.commit");
    host_asked(host, "publish 1 'e' 'a' 1 seqno=1");
    host_asked(host, "publish 1 'e' 'b' 1 seqno=1");
    host_hear(host, 1, "tx.commit_ok");
}

/* ---- acks ---- */

/* Gets n messages with seq 1, 2, ... */
static void get(struct fake_host *host, uint64_t count) {
    for (uint64_t seq = 1; seq <= count; seq++) {
        *host_next_answer(host) =
            (struct answer){.queue = 1, .seq = seq, .message = host_message(host, "k", "x")};
        host_say(host, 1, "basic.get queue='q'");
        host_asked(host, "get 1 'q'");
    }
    buffer_drop(&host->heard, host->heard.size);
    outbox_written(session_outbox(host->session), session_outbox(host->session)->size);
}

static void acks_wait_for_commit(void **state) {
    struct fake_host *host = *state;
    get(host, 5);
    select_tx(host);
    host_say(host, 1, "basic.ack delivery_tag=2 multiple");
    host_say(host, 1, "basic.reject delivery_tag=4 requeue");
    host_say(host, 1, "basic.nack delivery_tag=5");
    host_flush(host);
    host_asked_nothing(host);
    struct session_facts facts;
    session_facts(host->session, &facts);
    assert_int_equal(facts.unacked, 5);
    host_say(host, 1, "tx.commit");
    host_asked(host, "settle ack queue=1 seq=1 count=2 consumer=0");
    host_asked(host, "settle requeue queue=1 seq=4 count=1 consumer=0");
    host_asked(host, "settle reject queue=1 seq=5 count=1 consumer=0");
    host_asked(host, "fence 1 stable");
    host_hear(host, 1, "tx.commit_ok");
    session_facts(host->session, &facts);
    assert_int_equal(facts.unacked, 1);
    host_say(host, 1, "channel.close");
    host_asked(host, "settle requeue queue=1 seq=3 count=1 consumer=0");
    host_hear(host, 1, "channel.close_ok");
}

static void rollback_undoes_acks(void **state) {
    struct fake_host *host = *state;
    get(host, 4);
    select_tx(host);
    host_say(host, 1, "basic.ack delivery_tag=3");
    host_say(host, 1, "basic.reject delivery_tag=1");
    /* recover leaves alone what the transaction holds */
    host_say(host, 1, "basic.recover requeue");
    host_asked(host, "settle requeue queue=1 seq=2 count=1 consumer=0");
    host_asked(host, "settle requeue queue=1 seq=4 count=1 consumer=0");
    host_hear(host, 1, "basic.recover_ok");
    host_say(host, 1, "tx.rollback");
    host_hear(host, 1, "tx.rollback_ok");
    host_say(host, 1, "basic.ack delivery_tag=3 multiple");
    host_say(host, 1, "tx.commit");
    host_asked(host, "settle ack queue=1 seq=1 count=1 consumer=0");
    host_asked(host, "settle ack queue=1 seq=3 count=1 consumer=0");
    host_asked(host, "fence 1 stable");
    host_hear(host, 1, "tx.commit_ok");
}

/* A commit of one publish with two confirms and one ack, which waits for all three. */
static void commit_both(struct fake_host *host) {
    get(host, 1);
    select_tx(host);
    publish(host, "basic.publish exchange='e' routing_key='a'", NO_PROPERTIES);
    host_say(host, 1, "basic.ack delivery_tag=1");
    host->later = true;
    host->publish_result = (struct publish_result){.queues = 2, .confirms = 2};
    host_say(host, 1, "tx.commit");
    host_asked(host, "publish 1 'e' 'a' 1 seqno=1");
    host_asked(host, "settle ack queue=1 seq=1 count=1 consumer=0");
    host_asked(host, "fence 1 stable");
    host_say(host, 1, "basic.qos prefetch_count=5"); /* waits behind it */
    host_hear_nothing(host);
}

static void commit_waits_for_acks_and_confirms(void **state) {
    struct fake_host *host = *state;
    struct answer fenced = host_ok("");
    commit_both(host);
    confirm(host, 1, true);
    host_answer(host, &fenced);
    host_hear_nothing(host);
    confirm(host, 1, true);
    host_hear(host, 1, "tx.commit_ok");
    host_hear(host, 1, "basic.qos_ok");
}

static void the_fence_may_be_last(void **state) {
    struct fake_host *host = *state;
    struct answer fenced = host_ok("");
    commit_both(host);
    confirm(host, 1, true);
    confirm(host, 1, true);
    host_hear_nothing(host);
    host_answer(host, &fenced);
    host_hear(host, 1, "tx.commit_ok");
    host_hear(host, 1, "basic.qos_ok");
    /* The next one has nothing to settle, and no fence. */
    publish(host, "basic.publish exchange='e' routing_key='c'", NO_PROPERTIES);
    host->publish_result = (struct publish_result){.queues = 1, .confirms = 1};
    host_say(host, 1, "tx.commit");
    host_asked(host, "publish 1 'e' 'c' 1 seqno=2");
    confirm(host, 2, true);
    host_hear(host, 1, "tx.commit_ok");
}

static void a_refusal_waits_for_the_rest(void **state) {
    struct fake_host *host = *state;
    struct answer fenced = host_ok("");
    commit_both(host);
    confirm(host, 1, false);
    confirm(host, 1, true);
    host_hear_nothing(host);
    host_answer(host, &fenced);
    host_hear_close(host, 1, REPLY_PRECONDITION_FAILED,
        "PRECONDITION_FAILED - partial tx completion", "tx.commit");
}

/* The client is gone when the fence comes back. */
static void a_fence_may_come_too_late(void **state) {
    struct fake_host *host = *state;
    struct answer fenced = host_ok("");
    commit_both(host);
    session_on_disconnect(host->session, host->now_ms);
    host_asked(host, "leave");
    host_answer(host, &fenced);
}

static void a_tag_is_acked_once_in_a_transaction(void **state) {
    struct fake_host *host = *state;
    get(host, 3);
    select_tx(host);
    host_say(host, 1, "basic.ack delivery_tag=2");
    host_say(host, 1, "basic.ack delivery_tag=2");
    /* Everything is given back, the ack was never committed. */
    host_asked(host, "settle requeue queue=1 seq=1 count=3 consumer=0");
    host_hear_close(host, 1, REPLY_PRECONDITION_FAILED,
        "PRECONDITION_FAILED - unknown delivery tag 2", "basic.ack");
}

static void a_channel_ends_while_it_commits(void **state) {
    struct fake_host *host = *state;
    select_tx(host);
    publish(host, "basic.publish exchange='e' routing_key='a'", NO_PROPERTIES);
    host->publish_result = (struct publish_result){.queues = 1, .confirms = 1};
    host_say(host, 1, "tx.commit");
    host_asked(host, "publish 1 'e' 'a' 1 seqno=1");
    host_say(host, 1, "channel.close"); /* waits too */
    host_hear_nothing(host);
    confirm(host, 1, true);
    host_hear(host, 1, "tx.commit_ok");
    host_hear(host, 1, "channel.close_ok");
    confirm(host, 1, true);
}

static void rollback_forgets_publishes(void **state) {
    struct fake_host *host = *state;
    select_tx(host);
    publish(host, "basic.publish exchange='e' routing_key='a'", NO_PROPERTIES);
    host_say(host, 1, "tx.rollback");
    host_hear(host, 1, "tx.rollback_ok");
    host_say(host, 1, "tx.commit");
    host_hear(host, 1, "tx.commit_ok");
    publish(host, "basic.publish exchange='e' routing_key='b'", NO_PROPERTIES);
    /* The channel ends with a publish in hand. */
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, host_set_up, host_tear_down)
    const struct CMUnitTest tests[] = {
        CASE(modes_exclude_each_other),
        CASE(commit_publishes_and_waits),
        CASE(a_refused_publish_fails_the_commit),
        CASE(unroutable_ones_come_back_at_commit),
        CASE(a_missing_exchange_is_known_at_once),
        CASE(copies_are_routed_before_commit),
        CASE(acks_wait_for_commit),
        CASE(rollback_undoes_acks),
        CASE(commit_waits_for_acks_and_confirms),
        CASE(the_fence_may_be_last),
        CASE(a_refusal_waits_for_the_rest),
        CASE(a_fence_may_come_too_late),
        CASE(a_tag_is_acked_once_in_a_transaction),
        CASE(a_channel_ends_while_it_commits),
        CASE(rollback_forgets_publishes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
