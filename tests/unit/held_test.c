/* held_test: what waits for a commit, what is said behind it, and who is not held up. */
#include "fake_host.h"

#include "base/memory.h"
#include "base/str.h"

enum { QUEUE = 1, CONSUMER = 1 }; /* what the host answers to a consume */

/* Declares a queue; the answer comes at once and waits for the ticket. */
static void declare(struct fake_host *host, uint16_t channel, const char *name, uint64_t ticket) {
    char line[128];
    *host_next_answer(host) = host_ok(name);
    host->answers[host->answer_count - 1].ticket = ticket;
    str_format(line, sizeof line, "queue.declare queue='%s' durable", name);
    host_say(host, channel, line);
    str_format(line, sizeof line, "change %u queue_declare '%s' durable", channel, name);
    host_asked(host, line);
}

static void hear_declared(struct fake_host *host, uint16_t channel, const char *name) {
    char line[128];
    str_format(line, sizeof line, "queue.declare_ok queue='%s'", name);
    host_hear(host, channel, line);
}

static void stable(struct fake_host *host, uint64_t ticket) {
    session_on_stable(host->session, ticket);
    session_check(host->session);
}

/* A consumer 't'; gives the id by which deliveries name it. */
static uint32_t consume(struct fake_host *host, uint16_t channel) {
    char line[128];
    host_say(host, channel, "basic.consume queue='q' consumer_tag='t'");
    str_format(line, sizeof line, "consume %u 'q' prefetch=0 priority=0", channel);
    host_asked(host, line);
    return host->consume_id;
}

static void deliver(struct fake_host *host, uint16_t channel, uint32_t tag_id, const char *body) {
    struct effect effect = {
        .kind = EFFECT_DELIVER,
        .flags = EFFECT_NO_ACK,
        .channel = channel,
        .tag_id = tag_id,
        .message = host_message(host, "key", body),
        .seq = 1,
        .consumer = CONSUMER,
    };
    session_on_deliver(host->session, QUEUE, &effect, host->now_ms);
    session_check(host->session);
}

static void hear_delivery(
    struct fake_host *host, uint16_t channel, unsigned delivery_tag, const char *body) {
    char line[128];
    str_format(line, sizeof line,
        "basic.deliver consumer_tag='t' delivery_tag=%u routing_key='key'", delivery_tag);
    host_hear(host, channel, line);
    host_hear_body(host, channel, bytes_text(body));
}

/* ---- one channel ---- */

static void a_reply_waits_for_its_commit(void **state) {
    struct fake_host *host = *state;
    stable(host, 6);
    declare(host, 1, "before", 6);
    hear_declared(host, 1, "before");
    assert_false(session_holds(host->session));
    declare(host, 1, "a", 8);
    host_hear_nothing(host);
    assert_true(session_holds(host->session));
    assert_true(session_unwritten_bytes(host->session) != 0);
    stable(host, 7);
    stable(host, 3); /* nothing becomes unstable again */
    host_hear_nothing(host);
    stable(host, 8);
    assert_false(session_holds(host->session));
    hear_declared(host, 1, "a");
    assert_int_equal(session_unwritten_bytes(host->session), 0);
    declare(host, 1, "after", 8);
    hear_declared(host, 1, "after");
}

static void a_late_answer_waits_too(void **state) {
    struct fake_host *host = *state;
    struct answer answer = host_ok("a");
    answer.ticket = 1;
    host->later = true;
    host_say(host, 1, "queue.declare queue='a' durable");
    host_say(host, 1, "queue.delete queue='b'");
    host_asked(host, "change 1 queue_declare 'a' durable");
    host_answer(host, &answer);
    /* The channel itself has gone on. */
    host_asked(host, "change 1 queue_delete 'b'");
    answer = host_ok("");
    host_answer(host, &answer);
    host_hear_nothing(host);
    stable(host, 1);
    hear_declared(host, 1, "a");
    host_hear(host, 1, "queue.delete_ok");
}

static void every_kind_of_reply_can_wait(void **state) {
    struct fake_host *host = *state;
    static const char *const lines[][3] = {
        {"exchange.declare exchange='e' type='fanout'", "change 1 exchange_declare 'e' fanout",
            "exchange.declare_ok"},
        {"exchange.delete exchange='e'", "change 1 exchange_delete 'e'", "exchange.delete_ok"},
        {"queue.bind queue='q' exchange='e'", "change 1 queue_bind 'q' from 'e' by ''",
            "queue.bind_ok"},
        {"queue.unbind queue='q' exchange='e'", "change 1 queue_unbind 'q' from 'e' by ''",
            "queue.unbind_ok"},
        {"queue.delete queue='q'", "change 1 queue_delete 'q'", "queue.delete_ok"},
        {"queue.purge queue='q'", "purge 1 'q'", "queue.purge_ok"},
        {"basic.get queue='q'", "get 1 'q'", "basic.get_empty"},
        {"basic.consume queue='q' consumer_tag='t'", "consume 1 'q' prefetch=0 priority=0",
            "basic.consume_ok consumer_tag='t'"},
    };
    for (uint64_t i = 0; i < COUNT_OF(lines); i++) {
        host_next_answer(host)->ticket = i + 1;
        host_say(host, 1, lines[i][0]);
        host_asked(host, lines[i][1]);
        host_hear_nothing(host);
        stable(host, i + 1);
        host_hear(host, 1, lines[i][2]);
    }
    struct answer answer = {.ticket = 100};
    host_say(host, 1, "basic.cancel consumer_tag='t'");
    host_asked(host, "cancel 1 queue=1 consumer=1");
    host_answer(host, &answer);
    host_hear_nothing(host);
    stable(host, 100);
    host_hear(host, 1, "basic.cancel_ok consumer_tag='t'");
}

static void what_is_said_next_stays_behind(void **state) {
    struct fake_host *host = *state;
    declare(host, 1, "a", 5);
    host_say(host, 1, "confirm.select");
    host_say(host, 1, "basic.qos prefetch_count=5");
    host_next_answer(host)->message = host_message(host, "k", "got");
    host->answers[0].seq = 1;
    host->answers[0].queue = QUEUE;
    host_say(host, 1, "basic.get queue='a' no_ack");
    host_asked(host, "get 1 'a' no_ack");
    host->publish_result = (struct publish_result){0};
    host_say(host, 1, "basic.publish routing_key='nowhere' mandatory");
    host_say_content(host, 1, NO_PROPERTIES, BYTES("x"));
    host_asked(host, "publish 1 '' 'nowhere' 1 seqno=1");
    host_flush(host);
    *host_next_answer(host) = host_fault(REPLY_NOT_FOUND, "no queue 'b' in vhost '/'");
    host->answers[0].ticket = 9; /* a fault waits for no commit of its own */
    host_say(host, 1, "queue.bind queue='b' exchange='e'");
    host_asked(host, "change 1 queue_bind 'b' from 'e' by ''");
    host_hear_nothing(host);
    stable(host, 5);
    hear_declared(host, 1, "a");
    host_hear(host, 1, "confirm.select_ok");
    host_hear(host, 1, "basic.qos_ok");
    host_hear(host, 1, "basic.get_ok delivery_tag=1 routing_key='k'");
    host_hear_body(host, 1, BYTES("got"));
    host_hear(host, 1, "basic.return reply_code=312 reply_text='NO_ROUTE' routing_key='nowhere'");
    host_hear_body(host, 1, BYTES("x"));
    host_hear(host, 1, "basic.ack delivery_tag=1");
    host_hear_close(
        host, 1, REPLY_NOT_FOUND, "NOT_FOUND - no queue 'b' in vhost '/'", "queue.bind");
    host_say(host, 1, "channel.close_ok");
}

static void a_fault_does_not_wait(void **state) {
    struct fake_host *host = *state;
    *host_next_answer(host) = host_fault(REPLY_NOT_FOUND, "no queue 'a' in vhost '/'");
    host->answers[0].ticket = 1;
    host_say(host, 1, "queue.delete queue='a'");
    host_asked(host, "change 1 queue_delete 'a'");
    host_hear_close(
        host, 1, REPLY_NOT_FOUND, "NOT_FOUND - no queue 'a' in vhost '/'", "queue.delete");
    assert_false(session_holds(host->session));
}

static void who_wants_no_reply_waits_for_nothing(void **state) {
    struct fake_host *host = *state;
    host_next_answer(host)->ticket = 1;
    host_say(host, 1, "queue.declare queue='a' durable no_wait");
    host_asked(host, "change 1 queue_declare 'a' durable");
    host_next_answer(host)->ticket = 1;
    host_say(host, 1, "queue.purge queue='a' no_wait");
    host_asked(host, "purge 1 'a'");
    host_next_answer(host)->ticket = 1;
    host_say(host, 1, "basic.consume queue='a' consumer_tag='t' no_wait");
    host_asked(host, "consume 1 'a' prefetch=0 priority=0");
    assert_false(session_holds(host->session));
    host_say(host, 1, "channel.flow active");
    host_hear(host, 1, "channel.flow_ok active");
    /* A get has a reply, whatever the method before it wanted. */
    host_next_answer(host)->ticket = 1;
    host_say(host, 1, "basic.get queue='a'");
    host_asked(host, "get 1 'a'");
    host_hear_nothing(host);
    stable(host, 1);
    host_hear(host, 1, "basic.get_empty");
    host_say(host, 1, "channel.close");
    host_asked(host, "cancel 1 queue=1 consumer=1 silently");
    host_hear(host, 1, "channel.close_ok");
}

static void bodies_stay_behind_whole(void **state) {
    struct fake_host *host = *state;
    char large[40001];
    for (size_t i = 0; i < sizeof large; i++)
        large[i] = (char)('a' + i % 26);
    large[sizeof large - 1] = 0;
    uint32_t tag_id = consume(host, 1);
    host_hear(host, 1, "basic.consume_ok consumer_tag='t'");
    declare(host, 1, "a", 1);
    deliver(host, 1, tag_id, "small");
    deliver(host, 1, tag_id, large);
    declare(host, 1, "b", 2);
    deliver(host, 1, tag_id, large);
    host_hear_nothing(host);
    assert_int_equal(message_pool_count(host->pool), 2); /* the large ones, by reference */
    stable(host, 1);
    hear_declared(host, 1, "a");
    hear_delivery(host, 1, 1, "small");
    hear_delivery(host, 1, 2, large);
    host_hear_nothing(host);
    assert_int_equal(message_pool_count(host->pool), 1);
    stable(host, 2);
    hear_declared(host, 1, "b");
    hear_delivery(host, 1, 3, large);
    assert_int_equal(message_pool_count(host->pool), 0);
    host_say(host, 1, "channel.close");
    host_asked(host, "cancel 1 queue=1 consumer=1 silently");
    host_hear(host, 1, "channel.close_ok");
}

static void each_ticket_lets_its_own_go(void **state) {
    struct fake_host *host = *state;
    declare(host, 1, "a", 1);
    host_say(host, 1, "channel.flow active");
    declare(host, 1, "b", 3);
    declare(host, 1, "c", 3);
    declare(host, 1, "d", 2); /* less than what is before it */
    declare(host, 1, "e", 0);
    declare(host, 1, "f", 4);
    host_hear_nothing(host);
    stable(host, 2);
    hear_declared(host, 1, "a");
    host_hear(host, 1, "channel.flow_ok active");
    host_hear_nothing(host);
    declare(host, 1, "g", 4);
    stable(host, 3);
    hear_declared(host, 1, "b");
    hear_declared(host, 1, "c");
    hear_declared(host, 1, "d");
    hear_declared(host, 1, "e");
    host_hear_nothing(host);
    stable(host, 9);
    hear_declared(host, 1, "f");
    hear_declared(host, 1, "g");
}

/* Quadratic work would be noticed. */
static void many_held_replies_are_cheap(void **state) {
    enum { REPLIES = 10000 };
    struct fake_host *host = *state;
    uint8_t memory[128];
    struct writer writer = writer_over(memory, sizeof memory);
    frame_put_method(&writer, 1,
        &(struct method){
            .kind = METHOD_queue_declare, .queue_declare = {.queue = BYTES("a"), .durable = true}});
    for (uint64_t ticket = 1; ticket <= REPLIES; ticket++) {
        *host_next_answer(host) = host_ok("a");
        host->answers[0].ticket = ticket;
        session_on_bytes(host->session, writer_bytes(&writer), host->now_ms);
    }
    session_check(host->session);
    host_hear_nothing(host);
    struct outbox *outbox = session_outbox(host->session);
    uint64_t size = session_unwritten_bytes(host->session) / REPLIES;
    for (uint64_t ticket = 1; ticket <= REPLIES; ticket++) {
        session_on_stable(host->session, ticket);
        assert_int_equal(outbox->size, ticket * size);
    }
    assert_false(session_holds(host->session));
    for (int i = 0; i < 3; i++)
        hear_declared(host, 1, "a");
    buffer_drop(&host->heard, host->heard.size);
    buffer_drop(&host->asked, host->asked.size);
}

/* ---- other channels ---- */

static void other_channels_go_on(void **state) {
    struct fake_host *host = *state;
    host_open_channel(host, 2);
    host_open_channel(host, 3);
    uint32_t tag_id = consume(host, 2);
    host_hear(host, 2, "basic.consume_ok consumer_tag='t'");
    declare(host, 1, "a", 2);
    declare(host, 3, "c", 1);
    deliver(host, 2, tag_id, "body");
    hear_delivery(host, 2, 1, "body");
    declare(host, 2, "b", 0);
    hear_declared(host, 2, "b");
    host_open_channel(host, 4);
    host_say(host, 0, "connection.update_secret new_secret='s' reason='r'");
    host_hear(host, 0, "connection.update_secret_ok");
    stable(host, 1);
    hear_declared(host, 3, "c");
    host_hear_nothing(host);
    stable(host, 2);
    hear_declared(host, 1, "a");
    host_say(host, 2, "channel.close");
    host_asked(host, "cancel 2 queue=1 consumer=1 silently");
    host_hear(host, 2, "channel.close_ok");
}

static uint32_t count_channels(struct fake_host *host) {
    struct session_facts facts;
    session_facts(host->session, &facts);
    return facts.channels;
}

static void the_next_channel_of_a_number_stays_behind(void **state) {
    struct fake_host *host = *state;
    uint32_t tag_id = consume(host, 1);
    host_hear(host, 1, "basic.consume_ok consumer_tag='t'");
    declare(host, 1, "a", 1);
    host_say(host, 1, "channel.close");
    host_asked(host, "cancel 1 queue=1 consumer=1 silently");
    assert_int_equal(count_channels(host), 0);
    host_say(host, 1, "channel.open");
    assert_int_equal(count_channels(host), 1);
    deliver(host, 1, tag_id, "for the one before");
    declare(host, 1, "b", 2);
    host_say(host, 1, "channel.close");
    host_say(host, 1, "channel.open");
    host_say(host, 1, "channel.close");
    host_open_channel(host, 2);
    host_hear_nothing(host);
    stable(host, 1);
    hear_declared(host, 1, "a");
    host_hear(host, 1, "channel.close_ok");
    host_hear(host, 1, "channel.open_ok");
    host_hear_nothing(host);
    stable(host, 2);
    hear_declared(host, 1, "b");
    host_hear(host, 1, "channel.close_ok");
    host_hear(host, 1, "channel.open_ok");
    host_hear(host, 1, "channel.close_ok");
    assert_int_equal(count_channels(host), 1);
    host_open_channel(host, 1);
}

/* We close it; the client agrees when it hears of that. */
static void a_channel_closed_by_us_is_told_in_order(void **state) {
    struct fake_host *host = *state;
    declare(host, 1, "a", 1);
    host_say(host, 1, "basic.ack delivery_tag=9");
    host_say(host, 1, "channel.flow active"); /* is ignored */
    host_say(host, 1, "channel.close");       /* has crossed ours */
    host_hear_nothing(host);
    stable(host, 1);
    hear_declared(host, 1, "a");
    host_hear_close(host, 1, REPLY_PRECONDITION_FAILED,
        "PRECONDITION_FAILED - unknown delivery tag 9", "basic.ack");
    host_hear(host, 1, "channel.close_ok");
    host_say(host, 1, "channel.close_ok");
    host_open_channel(host, 1);
}

/* ---- the end of the connection ---- */

static void close_ok_comes_behind_all(void **state) {
    struct fake_host *host = *state;
    host_open_channel(host, 2);
    declare(host, 1, "a", 1);
    declare(host, 2, "b", 2);
    host_say(host, 2, "channel.close");
    host_say(host, 0, "connection.close");
    host_asked(host, "leave");
    session_on_left(host->session, host->now_ms);
    session_check(host->session);
    host_hear_nothing(host);
    host_asked_nothing(host);
    stable(host, 1);
    hear_declared(host, 1, "a");
    host_hear_nothing(host);
    host_asked_nothing(host);
    stable(host, 2);
    hear_declared(host, 2, "b");
    host_hear(host, 2, "channel.close_ok");
    host_hear(host, 0, "connection.close_ok");
    host_asked(host, "finish");
}

static void the_commit_may_be_stable_before_all_have_left(void **state) {
    struct fake_host *host = *state;
    declare(host, 1, "a", 1);
    host_say(host, 0, "connection.close");
    host_asked(host, "leave");
    stable(host, 1);
    hear_declared(host, 1, "a");
    host_hear_nothing(host);
    session_on_left(host->session, host->now_ms);
    host_hear(host, 0, "connection.close_ok");
    host_asked(host, "finish");
}

/* What was asked before the close is answered before close-ok, and waits as ever. */
static void a_parked_channel_finishes_and_waits(void **state) {
    struct fake_host *host = *state;
    struct answer answer = host_ok("a");
    answer.ticket = 1;
    host->later = true;
    host_say(host, 1, "queue.declare queue='a' durable");
    host_asked(host, "change 1 queue_declare 'a' durable");
    host_say(host, 0, "connection.close");
    host_asked_nothing(host);
    host_answer(host, &answer);
    host_asked(host, "leave");
    session_on_left(host->session, host->now_ms);
    host_hear_nothing(host);
    stable(host, 1);
    hear_declared(host, 1, "a");
    host_hear(host, 0, "connection.close_ok");
    host_asked(host, "finish");
}

static void our_close_comes_behind_all(void **state) {
    struct fake_host *host = *state;
    declare(host, 1, "a", 1);
    session_shut(host->session, "bye", host->now_ms);
    session_check(host->session);
    host_asked(host, "leave");
    host_say(host, 1, "channel.flow active"); /* is ignored */
    session_on_left(host->session, host->now_ms);
    host_hear_nothing(host);
    stable(host, 1);
    hear_declared(host, 1, "a");
    host_hear_close(host, 0, REPLY_CONNECTION_FORCED, "CONNECTION_FORCED - bye", "unknown");
    host_asked_nothing(host);
    host_say(host, 0, "connection.close_ok");
    host_asked(host, "finish");
}

/* A disk that does not answer keeps no stopping broker. */
static void our_close_does_not_wait_for_ever(void **state) {
    struct fake_host *host = *state;
    declare(host, 1, "a", 1);
    session_shut(host->session, "bye", host->now_ms);
    host_asked(host, "leave");
    host->now_ms = session_tick(host->session, host->now_ms);
    session_tick(host->session, host->now_ms);
    session_check(host->session);
    host_asked(host, "finish");
    stable(host, 1);
}

static void a_fault_of_the_connection_drops_what_is_held(void **state) {
    struct fake_host *host = *state;
    host_open_channel(host, 2);
    declare(host, 1, "a", 1);
    declare(host, 2, "b", 2);
    host_say_frame(host, FRAME_METHOD, 1, BYTES("\0\x3c\0\x28")); /* no publish */
    host_hear_close(
        host, 0, REPLY_FRAME_ERROR, "FRAME_ERROR - cannot decode <<>>", "basic.publish");
    host_asked(host, "leave");
    assert_false(session_holds(host->session));
    stable(host, 2);
    host_hear_nothing(host);
    host_say(host, 0, "connection.close_ok");
    host_asked(host, "finish");
}

static void a_disconnect_drops_what_is_held(void **state) {
    struct fake_host *host = *state;
    char large[10001];
    memset(large, 'x', sizeof large);
    large[sizeof large - 1] = 0;
    host_open_channel(host, 2);
    uint32_t tag_id = consume(host, 1);
    host_hear(host, 1, "basic.consume_ok consumer_tag='t'");
    declare(host, 1, "a", 1);
    deliver(host, 1, tag_id, large);
    declare(host, 2, "b", 2);
    host_say(host, 2, "channel.close");
    session_on_disconnect(host->session, host->now_ms);
    session_check(host->session);
    host_asked(host, "cancel 1 queue=1 consumer=1 silently");
    host_asked(host, "leave");
    assert_false(session_holds(host->session));
    assert_int_equal(message_pool_count(host->pool), 0);
    stable(host, 2);
}

/* The host may release a session whose socket went while close-ok was held. */
static void a_session_ends_with_its_farewell_unsaid(void **state) {
    struct fake_host *host = *state;
    declare(host, 1, "a", 1);
    host_say(host, 0, "connection.close");
    host_asked(host, "leave");
    session_on_left(host->session, host->now_ms);
    session_check(host->session);
    assert_true(session_holds(host->session));
}

/* ---- bounds and time ---- */

static void who_has_too_much_held_is_not_read(void **state) {
    struct fake_host *host = *state;
    uint8_t memory[64];
    struct writer writer = writer_over(memory, sizeof memory);
    frame_put_method(&writer, 1,
        &(struct method){.kind = METHOD_channel_flow, .channel_flow = {.active = true}});
    declare(host, 1, "a", 1);
    while (session_wants_input(host->session)) {
        session_on_bytes(host->session, writer_bytes(&writer), host->now_ms);
        assert_true(session_unwritten_bytes(host->session) < REPLY_BYTES_MAX + 100);
    }
    session_check(host->session);
    assert_int_equal(session_outbox(host->session)->size, 0);
    assert_true(session_unwritten_bytes(host->session) >= REPLY_BYTES_MAX);
    stable(host, 1);
    assert_false(session_wants_input(host->session));
    hear_declared(host, 1, "a");
    host_hear(host, 1, "channel.flow_ok active");
    assert_true(session_wants_input(host->session));
    buffer_drop(&host->heard, host->heard.size);
}

/* What is held is not heard: the client needs a heartbeat. */
static void heartbeats_are_not_held(void **state) {
    struct fake_host *host = *state;
    host_deinit(host);
    host_init(host);
    host_log_in_with(host, "{}", "channel_max=2047 frame_max=131072 heartbeat=10");
    host_open_channel(host, 1);
    uint32_t tag_id = consume(host, 1);
    host_hear(host, 1, "basic.consume_ok consumer_tag='t'");
    declare(host, 1, "a", 1);
    host->now_ms += 4999;
    host_say(host, 1, "channel.flow active");
    deliver(host, 1, tag_id, "body");
    session_tick(host->session, host->now_ms);
    host_hear_nothing(host);
    host->now_ms += 1;
    session_tick(host->session, host->now_ms);
    host_hear_heartbeat(host);
    stable(host, 1);
    hear_declared(host, 1, "a");
    host_hear(host, 1, "channel.flow_ok active");
    hear_delivery(host, 1, 1, "body");
    host_say(host, 1, "channel.close");
    host_asked(host, "cancel 1 queue=1 consumer=1 silently");
    host_hear(host, 1, "channel.close_ok");
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, host_set_up, host_tear_down)
    const struct CMUnitTest tests[] = {
        CASE(a_reply_waits_for_its_commit),
        CASE(a_late_answer_waits_too),
        CASE(every_kind_of_reply_can_wait),
        CASE(what_is_said_next_stays_behind),
        CASE(a_fault_does_not_wait),
        CASE(who_wants_no_reply_waits_for_nothing),
        CASE(bodies_stay_behind_whole),
        CASE(each_ticket_lets_its_own_go),
        CASE(many_held_replies_are_cheap),
        CASE(other_channels_go_on),
        CASE(the_next_channel_of_a_number_stays_behind),
        CASE(a_channel_closed_by_us_is_told_in_order),
        CASE(close_ok_comes_behind_all),
        CASE(the_commit_may_be_stable_before_all_have_left),
        CASE(a_parked_channel_finishes_and_waits),
        CASE(our_close_comes_behind_all),
        CASE(our_close_does_not_wait_for_ever),
        CASE(a_fault_of_the_connection_drops_what_is_held),
        CASE(a_disconnect_drops_what_is_held),
        CASE(a_session_ends_with_its_farewell_unsaid),
        CASE(who_has_too_much_held_is_not_read),
        CASE(heartbeats_are_not_held),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
