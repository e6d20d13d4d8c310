/* parking_test: a channel that waits for an answer keeps its input; others go on; answers may be
 * late.
 */
#include "fake_host.h"

#include <stdio.h>

static int set_up(void **state) {
    static struct fake_host host;
    host_init(&host);
    host_log_in(&host);
    *state = &host;
    return 0;
}

static int tear_down(void **state) {
    host_deinit(*state);
    return 0;
}

/* The connection was closed with these values; the client agrees, and it is over. */
static void hear_the_end(
    struct fake_host *host, enum reply_code code, const char *text, const char *method) {
    host_hear_close(host, 0, code, text, method);
    host_hear_nothing(host);
    host_asked(host, "leave");
    host_asked_nothing(host);
    host_say(host, 0, "connection.close_ok");
    host_asked(host, "finish");
    host_asked_nothing(host);
}

static void a_parked_channel_keeps_its_input(void **state) {
    struct fake_host *host = *state;
    struct answer answer = host_ok("a");
    host_open_channel(host, 1);
    host_open_channel(host, 2);
    host->later = true;
    host_say(host, 1, "queue.declare queue='a'");
    host_say(host, 1, "queue.declare queue='b'");
    host_say(host, 1, "access.request");
    host_say(host, 1, "queue.purge queue='c'");
    host_asked(host, "change 1 queue_declare 'a'");
    host_asked_nothing(host);
    host_say(host, 2, "access.request");
    host_hear(host, 2, "access.request_ok ticket=1");
    host_answer(host, &answer);
    host_hear(host, 1, "queue.declare_ok queue='a'");
    host_hear_nothing(host);
    host_asked(host, "change 1 queue_declare 'b'");
    answer = host_ok("b");
    host_answer(host, &answer);
    host_hear(host, 1, "queue.declare_ok queue='b'");
    host_hear(host, 1, "access.request_ok ticket=1");
    host_hear_nothing(host);
    host_asked(host, "purge 1 'c'");
    answer.messages = 5;
    host_answer(host, &answer);
    host_hear(host, 1, "queue.purge_ok message_count=5");
    host_asked_nothing(host);
}

static void channels_wait_each_for_their_own(void **state) {
    struct fake_host *host = *state;
    host->later = true;
    for (uint16_t i = 1; i <= 3; i++) {
        host_open_channel(host, i);
        host_say(host, i, "queue.declare queue='a'");
        host_say(host, i, "access.request");
    }
    /* Answers come in any order. */
    struct answer answer = host_ok("a");
    struct pending first = host->pending[0];
    host->pending[0] = host->pending[2];
    host->pending[2] = first;
    for (uint16_t i = 3; i >= 1; i--) {
        host_answer(host, &answer);
        host_hear(host, i, "queue.declare_ok queue='a'");
        host_hear(host, i, "access.request_ok ticket=1");
        host_hear_nothing(host);
    }
}

static void kept_input_is_bounded(void **state) {
    struct fake_host *host = *state;
    host_open_channel(host, 1);
    host->later = true;
    host_say(host, 1, "queue.declare queue='a'");
    uint32_t count = 0;
    while (session_wants_input(host->session)) {
        host_say(host, 1, "channel.flow active");
        count++;
        assert_true(count <= PARKED_INPUT_BYTES_MAX);
    }
    assert_int_equal(count, (PARKED_INPUT_BYTES_MAX + 12) / 13);
    struct answer answer = host_ok("a");
    host_answer(host, &answer);
    assert_true(session_wants_input(host->session));
    host_hear(host, 1, "queue.declare_ok queue='a'");
    for (uint32_t i = 0; i < 3; i++)
        host_hear(host, 1, "channel.flow_ok active");
}

static void who_does_not_read_the_answers_is_not_read(void **state) {
    struct fake_host *host = *state;
    host_open_channel(host, 1);
    while (session_wants_input(host->session)) {
        host_say(host, 1, "channel.flow active");
        assert_true(session_outbox(host->session)->size < REPLY_BYTES_MAX + 13);
    }
    assert_true(session_outbox(host->session)->size >= REPLY_BYTES_MAX);
    for (int i = 0; i < 2; i++)
        host_hear(host, 1, "channel.flow_ok active");
    assert_true(session_wants_input(host->session));
    buffer_drop(&host->heard, host->heard.size);
}

/* Each kept method parks the channel again: what is kept must not be copied each time. */
static void many_kept_methods_are_cheap(void **state) {
    struct fake_host *host = *state;
    enum { COUNT = 20000 };
    host_open_channel(host, 1);
    host->later = true;
    for (int i = 0; i < COUNT; i++)
        host_say(host, 1, "queue.purge queue='a'");
    struct answer answer = host_ok("");
    for (int i = 0; i < COUNT; i++) {
        host_answer(host, &answer);
        buffer_drop(&host->asked, host->asked.size);
    }
    assert_int_equal(host->pending_count, 0);
    enum { PURGE_OK_BYTES = FRAME_OVERHEAD_BYTES + 8 };
    assert_int_equal(session_outbox(host->session)->size, PURGE_OK_BYTES * COUNT);
}

static void what_was_replayed_is_forgotten(void **state) {
    struct fake_host *host = *state;
    struct answer answer = host_ok("");
    host_open_channel(host, 1);
    host->later = true;
    for (uint32_t i = 0; i < 1000; i++) {
        char line[64];
        snprintf(line, sizeof line, "queue.purge queue='%u'", i);
        host_say(host, 1, line);
        if (i % 8 < 3) continue; /* behind at first, then nearly up to date */
        host_answer(host, &answer);
        host_hear(host, 1, "queue.purge_ok");
    }
    while (host->pending_count != 0) {
        host_answer(host, &answer);
        host_hear(host, 1, "queue.purge_ok");
    }
    for (uint32_t i = 0; i < 1000; i++) {
        char line[64];
        snprintf(line, sizeof line, "purge 1 '%u'", i);
        host_asked(host, line);
    }
    host_asked_nothing(host);
}

static void kept_input_goes_to_the_next_channel_of_its_number(void **state) {
    struct fake_host *host = *state;
    host_open_channel(host, 1);
    host->later = true;
    host_say(host, 1, "queue.declare queue='a'");
    host_say(host, 1, "channel.close");
    host_say(host, 1, "channel.open");
    host_say(host, 1, "queue.declare queue='b'");
    host_say(host, 1, "access.request");
    struct answer answer = host_ok("a");
    host_answer(host, &answer);
    host_hear(host, 1, "queue.declare_ok queue='a'");
    host_hear(host, 1, "channel.close_ok");
    host_hear(host, 1, "channel.open_ok");
    host_hear_nothing(host);
    answer = host_ok("b");
    host_answer(host, &answer);
    host_hear(host, 1, "queue.declare_ok queue='b'");
    host_hear(host, 1, "access.request_ok ticket=1");
}

static void a_fault_makes_kept_input_void(void **state) {
    struct fake_host *host = *state;
    host_open_channel(host, 1);
    host->later = true;
    host_say(host, 1, "queue.declare queue='a'");
    host_say(host, 1, "queue.declare queue='b'");
    host_say(host, 1, "channel.close_ok");
    host_say(host, 1, "channel.open");
    struct answer answer = host_fault(REPLY_PRECONDITION_FAILED, "not so");
    host_answer(host, &answer);
    host_hear_close(
        host, 1, REPLY_PRECONDITION_FAILED, "PRECONDITION_FAILED - not so", "queue.declare");
    host_hear(host, 1, "channel.open_ok");
    host_asked(host, "change 1 queue_declare 'a'");
    host_asked_nothing(host);
}

static void a_connection_fault_in_kept_input_ends_it(void **state) {
    struct fake_host *host = *state;
    host_open_channel(host, 1);
    host->later = true;
    host_say(host, 1, "queue.declare queue='a'");
    host_say(host, 1, "channel.flow");
    host_say(host, 1, "queue.declare queue='b'");
    host_asked(host, "change 1 queue_declare 'a'");
    struct answer answer = host_ok("a");
    host_answer(host, &answer);
    host_hear(host, 1, "queue.declare_ok queue='a'");
    hear_the_end(host, REPLY_NOT_IMPLEMENTED, "NOT_IMPLEMENTED - active=false", "channel.flow");
}

static void a_closing_connection_finishes_parked_channels(void **state) {
    struct fake_host *host = *state;
    host_open_channel(host, 1);
    host->later = true;
    host_say(host, 1, "queue.declare queue='a' no_wait");
    host_say(host, 1, "basic.publish routing_key='a'");
    host_say_content(host, 1, BYTES("\0\0"), BYTES("x"));
    host_say(host, 0, "connection.close");
    host_say(host, 1, "queue.declare queue='too late'");
    host_asked(host, "change 1 queue_declare 'a'");
    host_asked_nothing(host);
    struct answer answer = host_ok("a");
    host_answer(host, &answer);
    host_asked(host, "publish 1 '' 'a' 1 seqno=0");
    host_asked(host, "leave");
    host_asked_nothing(host);
    session_on_left(host->session, host->now_ms);
    host_hear(host, 0, "connection.close_ok");
    host_hear_nothing(host);
    host_asked(host, "finish");
}

static void a_fault_while_a_close_waits_is_not_told(void **state) {
    struct fake_host *host = *state;
    host_open_channel(host, 1);
    host_open_channel(host, 2);
    host->later = true;
    host_say(host, 1, "queue.declare queue='a'");
    host_say(host, 1, "channel.flow");
    host_say(host, 2, "queue.declare queue='b'");
    host_say(host, 0, "connection.close");
    host_asked(host, "change 1 queue_declare 'a'");
    host_asked(host, "change 2 queue_declare 'b'");
    struct answer answer = host_ok("a");
    host_answer(host, &answer);
    host_asked(host, "leave");
    host_hear(host, 1, "queue.declare_ok queue='a'");
    host_answer(host, &answer);
    session_on_left(host->session, host->now_ms);
    host_hear(host, 0, "connection.close_ok");
    host_hear_nothing(host);
}

static void late_answers_are_taken_back(void **state) {
    struct fake_host *host = *state;
    host_open_channel(host, 1);
    host_open_channel(host, 2);
    host_open_channel(host, 3);
    host->later = true;
    host_say(host, 1, "basic.get queue='a'");
    host_say(host, 2, "basic.consume queue='a'");
    host_say(host, 3, "queue.declare queue='a'");
    host_asked(host, "get 1 'a'");
    host_asked(host, "consume 2 'a' prefetch=0 priority=0");
    host_asked(host, "change 3 queue_declare 'a'");
    session_on_disconnect(host->session, host->now_ms);
    host_asked(host, "leave");
    struct answer answer = host_ok("");
    answer.message = host_message(host, "a", "body");
    answer.queue = 4;
    answer.seq = 9;
    host_answer(host, &answer);
    host_asked(host, "settle return queue=4 seq=9 count=1 consumer=0");
    answer = host_ok("");
    answer.queue = 4;
    answer.consumer = 77;
    host_answer(host, &answer);
    host_asked(host, "cancel 2 queue=4 consumer=77 silently");
    answer = host_ok("a");
    host_answer(host, &answer);
    host_asked_nothing(host);
}

static void close_ok_waits_for_the_queues(void **state) {
    struct fake_host *host = *state;
    host_open_channel(host, 1);
    host_say(host, 1, "basic.consume queue='q' consumer_tag='t'");
    host_hear(host, 1, "basic.consume_ok consumer_tag='t'");
    host->later = true;
    host_say(host, 1, "channel.close");
    host_say(host, 1, "channel.open");
    host_say(host, 1, "access.request");
    host_hear_nothing(host);
    host_asked(host, "consume 1 'q' prefetch=0 priority=0");
    host_asked(host, "cancel 1 queue=1 consumer=1 silently");
    /* What was on its way goes back. */
    struct effect effect = {.kind = EFFECT_DELIVER, .channel = 1, .seq = 3, .consumer = 1};
    effect.tag_id = host->tag_id;
    effect.message = host_message(host, "q", "body");
    session_on_deliver(host->session, 1, &effect, host->now_ms);
    host_asked(host, "settle return queue=1 seq=3 count=1 consumer=1");
    struct answer answer = host_ok("");
    host_answer(host, &answer);
    host_hear(host, 1, "channel.close_ok");
    host_hear(host, 1, "channel.open_ok");
    host_hear(host, 1, "access.request_ok ticket=1");
    host_asked_nothing(host);
}

static void a_connection_closes_behind_its_channels(void **state) {
    struct fake_host *host = *state;
    for (uint16_t channel = 1; channel <= 2; channel++) {
        host_open_channel(host, channel);
        host_say(host, channel, "basic.consume queue='q' consumer_tag='t'");
        host_hear(host, channel, "basic.consume_ok consumer_tag='t'");
    }
    host->later = true;
    host_say(host, 1, "channel.close");
    host_say(host, 2, "channel.close");
    host_say(host, 0, "connection.close");
    buffer_drop(&host->asked, host->asked.size);
    struct answer answer = host_ok("");
    host_answer(host, &answer);
    host_hear(host, 1, "channel.close_ok");
    host_asked_nothing(host);
    host_answer(host, &answer);
    host_hear(host, 2, "channel.close_ok");
    host_asked(host, "leave");
    session_on_left(host->session, host->now_ms);
    host_hear(host, 0, "connection.close_ok");
    host_asked(host, "finish");
}

static void a_channel_that_leaves_may_be_overtaken(void **state) {
    struct fake_host *host = *state;
    host_open_channel(host, 1);
    host_say(host, 1, "basic.consume queue='q' consumer_tag='t'");
    host_hear(host, 1, "basic.consume_ok consumer_tag='t'");
    host->later = true;
    host_say(host, 1, "channel.close");
    host_say(host, 1, "channel.open");
    buffer_drop(&host->asked, host->asked.size);
    host_say(host, 0, "queue.declare");
    hear_the_end(host, REPLY_CHANNEL_ERROR,
        "CHANNEL_ERROR - unexpected method in connection state running", "queue.declare");
    struct answer answer = host_ok("");
    host_answer(host, &answer);
    host_hear_nothing(host);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(a_parked_channel_keeps_its_input),
        CASE(channels_wait_each_for_their_own),
        CASE(kept_input_is_bounded),
        CASE(who_does_not_read_the_answers_is_not_read),
        CASE(many_kept_methods_are_cheap),
        CASE(what_was_replayed_is_forgotten),
        CASE(kept_input_goes_to_the_next_channel_of_its_number),
        CASE(a_fault_makes_kept_input_void),
        CASE(a_connection_fault_in_kept_input_ends_it),
        CASE(a_closing_connection_finishes_parked_channels),
        CASE(a_fault_while_a_close_waits_is_not_told),
        CASE(late_answers_are_taken_back),
        CASE(close_ok_waits_for_the_queues),
        CASE(a_connection_closes_behind_its_channels),
        CASE(a_channel_that_leaves_may_be_overtaken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
