/* connection_test: frames, channels, parking, faults, heartbeats and ends of a connection. */
#include "fake_host.h"

#include "base/str.h"

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

static void again(struct fake_host *host) {
    host_deinit(host);
    host_init(host);
    host_log_in(host);
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

static void assert_dropped(struct fake_host *host) {
    host_asked(host, "leave");
    host_asked(host, "finish");
    host_asked_nothing(host);
    host_hear_nothing(host);
}

/* ---- frames ---- */

static void broken_frames_are_frame_errors(void **state) {
    struct fake_host *host = *state;
    const struct {
        struct bytes frame;
        const char *text;
    } cases[] = {
        {BYTES("\x01\0\x01\0\0\0\x05\0\x14\0\x0a\0\xcf"),
            "FRAME_ERROR - type 1, all octets = <<0,20,0,10,0>>: {invalid_frame_end_marker,207}"},
        {BYTES("\x03\0\x01\0\0\0\x11"
               "0123456789abcdefg"
               "\x01"),
            "FRAME_ERROR - type 3, first 16 octets = <<\"0123456789abcdef\">>: "
            "{invalid_frame_end_marker,1}"},
        {BYTES("\x03\0\x01\0\x02\0\x01"),
            "FRAME_ERROR - type 3, all octets = <<>>: {frame_too_large,131073,131064}"},
        {BYTES("\x01\0\0\xff\xff\xff\xff"),
            "FRAME_ERROR - type 1, all octets = <<>>: {frame_too_large,4294967295,131064}"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        again(host);
        host_open_channel(host, 1);
        host_say_bytes(host, cases[i].frame);
        hear_the_end(host, REPLY_FRAME_ERROR, cases[i].text, "unknown");
    }
}

static void frames_in_wrong_places_are_refused(void **state) {
    struct fake_host *host = *state;
    const struct {
        uint8_t type;
        uint16_t channel;
        struct bytes payload;
        enum reply_code code;
        const char *text;
    } cases[] = {
        {0, 0, {0}, 501, "FRAME_ERROR - type 0, all octets = <<>>: unknown_frame"},
        {7, 1, {0}, 501, "FRAME_ERROR - type 7, all octets = <<>>: unknown_frame"},
        {255, 9, BYTES("a\"\\\n"), 501,
            "FRAME_ERROR - type 255, all octets = <<\"a\\\"\\\\\\n\">>: unknown_frame"},
        {7, 9, BYTES("0123456789abcdefg"), 501,
            "FRAME_ERROR - type 7, first 16 octets = <<\"0123456789abcdef\">>: unknown_frame"},
        {1, 0, {0}, 501, "FRAME_ERROR - type 1, all octets = <<>>: unknown_frame"},
        {1, 1, BYTES("\0\x0a"), 501, "FRAME_ERROR - type 1, all octets = <<0,10>>: unknown_frame"},
        {2, 1, BYTES("\0\x3c\0\0\0\0\0"), 501,
            "FRAME_ERROR - type 2, all octets = <<0,60,0,0,0,0,0>>: unknown_frame"},
        {8, 0, BYTES("abc"), 501, "FRAME_ERROR - type 8, all octets = <<\"abc\">>: unknown_frame"},
        {8, 1, {0}, 505, "UNEXPECTED_FRAME - type 8, all octets = <<>>"},
        {8, 5, {0}, 505, "UNEXPECTED_FRAME - type 8, all octets = <<>>"},
        {3, 0, BYTES("abc"), 505, "UNEXPECTED_FRAME - type 3, all octets = <<\"abc\">>"},
        {3, 1, BYTES("abc"), 505,
            "UNEXPECTED_FRAME - expected method frame, got non method frame instead"},
        {3, 5, BYTES("abc"), 505,
            "UNEXPECTED_FRAME - expected method frame, got non method frame instead"},
        {2, 1, BYTES("\0\x3c\0\0\0\0\0\0\0\0\0\0\0\0"), 505,
            "UNEXPECTED_FRAME - expected method frame, got non method frame instead"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        again(host);
        host_open_channel(host, 1);
        host_say_frame(host, cases[i].type, cases[i].channel, cases[i].payload);
        hear_the_end(host, cases[i].code, cases[i].text, "unknown");
    }
}

static void unknown_methods_and_bad_tables_are_dropped(void **state) {
    struct fake_host *host = *state;
    const struct bytes payloads[] = {
        BYTES("\0\x63\0\x0a"), BYTES("\0\x0a\0\x63"), BYTES("\0\0\0\0"), BYTES("\xff\xff\xff\xff")};
    for (size_t i = 0; i < COUNT_OF(payloads) * 3; i++) {
        again(host);
        host_open_channel(host, 1);
        host_say_frame(host, FRAME_METHOD, (uint16_t)(i % 3), payloads[i / 3]);
        assert_dropped(host);
    }
    static const char *const lines[] = {"queue.declare arguments=?'\\x01aZ'",
        "queue.bind arguments=?'\\x05'", "exchange.declare arguments=?'\\x01aZ'",
        "exchange.bind arguments=?'\\x01aZ'", "basic.consume arguments=?'\\x01aZ'"};
    for (size_t i = 0; i < COUNT_OF(lines); i++) {
        again(host);
        host_open_channel(host, 1);
        host_say(host, 1, lines[i]);
        assert_dropped(host);
    }
}

static void undecodable_methods_are_frame_errors(void **state) {
    struct fake_host *host = *state;
    const struct {
        uint16_t channel;
        struct bytes payload;
        const char *text;
        const char *method;
    } cases[] = {
        {1,
            BYTES("\0\x32\0\x0a\0\0\x03"
                  "abc\0\0"),
            "FRAME_ERROR - cannot decode <<0,0,3,97,98,99,0,0>>", "queue.declare"},
        {1, BYTES("\0\x14\0\x0a"), "FRAME_ERROR - cannot decode <<>>", "channel.open"},
        {1, BYTES("\0\x14\0\x0a\0z"), "FRAME_ERROR - cannot decode <<0,122>>", "channel.open"},
        {1, BYTES("\0\x3c\0\x28\0"), "FRAME_ERROR - cannot decode <<0>>", "basic.publish"},
        {1, BYTES("\0\x3c\0\x50\0"), "FRAME_ERROR - cannot decode <<0>>", "basic.ack"},
        {0, BYTES("\0\x0a\0\x28\x05"), "FRAME_ERROR - cannot decode <<5>>", "connection.open"},
        {1, BYTES("\0\x32\0\x0a\0\0\x01\xff\0\0\0\0\0"),
            "FRAME_ERROR - Malformed UTF-8 in shortstr", "unknown"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        again(host);
        host_open_channel(host, 1);
        host_say_frame(host, FRAME_METHOD, cases[i].channel, cases[i].payload);
        hear_the_end(host, REPLY_FRAME_ERROR, cases[i].text, cases[i].method);
    }
}

static void long_texts_are_cut(void **state) {
    struct fake_host *host = *state;
    static uint8_t payload[300] = {0, 50, 0, 10};
    host_open_channel(host, 1);
    host_say_frame(host, FRAME_METHOD, 1, bytes_of(payload, sizeof payload));
    char text[256];
    size_t used = str_format(text, sizeof text, "FRAME_ERROR - cannot decode <<0");
    while (used < 252)
        used += str_format(text + used, 253 - used, ",0");
    str_format(text + used, sizeof text - used, "...");
    assert_int_equal(strlen(text), 255);
    hear_the_end(host, REPLY_FRAME_ERROR, text, "queue.declare");
}

static void texts_are_not_cut_within_a_character(void **state) {
    struct fake_host *host = *state;
    host_open_channel(host, 1);
    struct answer *answer = host_next_answer(host);
    answer->code = REPLY_PRECONDITION_FAILED;
    size_t used = 0;
    for (int i = 0; i < 84; i++)
        used += str_format(answer->text + used, sizeof answer->text - used, "\xe2\x82\xac");
    host_say(host, 1, "queue.declare queue='q'");
    char text[256];
    used = str_format(text, sizeof text, "PRECONDITION_FAILED - ");
    for (int i = 0; i < 76; i++)
        used += str_format(text + used, sizeof text - used, "\xe2\x82\xac");
    str_format(text + used, sizeof text - used, "...");
    host_hear_close(host, 1, REPLY_PRECONDITION_FAILED, text, "queue.declare");
}

static void frames_may_be_split_anywhere(void **state) {
    struct fake_host *host = *state;
    uint8_t memory[512];
    for (uint32_t size = 1; size < 40; size++) {
        again(host);
        struct writer writer = writer_over(memory, sizeof memory);
        frame_put_method(&writer, 1, &(struct method){.kind = METHOD_channel_open});
        frame_put_heartbeat(&writer);
        for (int i = 0; i < 3; i++)
            frame_put_method(&writer, 1,
                &(struct method){.kind = METHOD_queue_declare,
                    .queue_declare = {.queue = BYTES("q"), .durable = true}});
        for (uint32_t at = 0; at < writer_size(&writer); at += size) {
            uint32_t left = (uint32_t)writer_size(&writer) - at;
            host_say_bytes(host, bytes_of(memory + at, left < size ? left : size));
        }
        host_hear(host, 1, "channel.open_ok");
        for (int i = 0; i < 3; i++)
            host_hear(host, 1, "queue.declare_ok queue='q'");
        host_hear_nothing(host);
    }
}

static void a_small_frame_max_has_eight_octets_of_slack(void **state) {
    struct fake_host *host = *state;
    static uint8_t frame[FRAME_BYTES_MIN + 16] = {FRAME_HEARTBEAT, 0, 0, 0, 0, 0x10, 0};
    host_deinit(host);
    host_init(host);
    host_log_in_with(host, "{}", "channel_max=2047 frame_max=4096");
    frame[FRAME_HEADER_BYTES + 0x1000] = FRAME_END;
    host_say_bytes(host, bytes_of(frame, 0x1000 + FRAME_OVERHEAD_BYTES));
    host_hear_close(host, 0, REPLY_FRAME_ERROR,
        "FRAME_ERROR - type 8, first 16 octets = <<0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0>>: "
        "unknown_frame",
        "unknown");
    host_deinit(host);
    host_init(host);
    host_log_in_with(host, "{}", "channel_max=2047 frame_max=4096");
    frame[6] = 1;
    host_say_bytes(host, bytes_of(frame, FRAME_HEADER_BYTES));
    host_hear_close(host, 0, REPLY_FRAME_ERROR,
        "FRAME_ERROR - type 8, all octets = <<>>: {frame_too_large,4097,4088}", "unknown");
}

/* ---- channel 0 ---- */

static void methods_without_a_place_on_channel_zero(void **state) {
    struct fake_host *host = *state;
    static const char *const names[] = {"connection.open", "connection.start_ok",
        "connection.tune_ok", "connection.close_ok", "connection.start", "connection.blocked",
        "connection.secure_ok", "channel.open", "queue.declare", "tx.select"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        again(host);
        host_say(host, 0, names[i]);
        hear_the_end(host, REPLY_CHANNEL_ERROR,
            "CHANNEL_ERROR - unexpected method in connection state running", names[i]);
    }
}

static void a_new_secret_is_taken(void **state) {
    struct fake_host *host = *state;
    host_say(host, 0, "connection.update_secret new_secret='guest' reason='because'");
    host_hear(host, 0, "connection.update_secret_ok");
}

static void the_client_closes(void **state) {
    struct fake_host *host = *state;
    host_open_channel(host, 1);
    host_say(host, 0, "connection.close reply_code=200");
    host_hear_nothing(host);
    host_asked(host, "leave");
    host_say(host, 1, "queue.declare queue='q'");
    host_say(host, 0, "connection.close");
    host_asked_nothing(host);
    session_on_left(host->session, host->now_ms);
    host_hear(host, 0, "connection.close_ok");
    host_hear_nothing(host);
    host_asked(host, "finish");
    host_say(host, 1, "queue.declare queue='q'");
    host_asked_nothing(host);
    host_hear_nothing(host);
}

static void assert_state(struct fake_host *host, const char *name) {
    struct session_facts facts;
    session_facts(host->session, &facts);
    assert_string_equal(facts.state, name);
}

static void states_have_names(void **state) {
    struct fake_host *host = *state;
    assert_state(host, "running");
    host_say(host, 0, "connection.close");
    assert_state(host, "closing");
    session_on_left(host->session, host->now_ms);
    assert_state(host, "closed");
    host_hear(host, 0, "connection.close_ok");
    again(host);
    host_say(host, 0, "queue.declare");
    assert_state(host, "closing");
    host_deinit(host);
    host_init(host);
    assert_state(host, "starting");
}

static void nothing_counts_after_our_close_but_close_ok(void **state) {
    struct fake_host *host = *state;
    host_open_channel(host, 1);
    host_say(host, 0, "queue.declare");
    host_hear_close(host, 0, REPLY_CHANNEL_ERROR,
        "CHANNEL_ERROR - unexpected method in connection state running", "queue.declare");
    host_asked(host, "leave");
    host_say(host, 1, "queue.declare queue='q'");
    host_say(host, 2, "channel.open");
    host_say(host, 0, "connection.close");
    host_say(host, 0, "queue.declare");
    host_say_frame(host, 77, 5, BYTES("x"));
    session_on_left(host->session, host->now_ms);
    host_asked_nothing(host);
    host_hear_nothing(host);
    host_say(host, 0, "connection.close_ok");
    host_asked(host, "finish");
}

static void close_ok_is_not_waited_for_for_ever(void **state) {
    struct fake_host *host = *state;
    host_say(host, 0, "queue.declare");
    host_asked(host, "leave");
    assert_int_equal(session_tick(host->session, host->now_ms), host->now_ms + 30000);
    host->now_ms += 30000;
    session_tick(host->session, host->now_ms);
    host_asked(host, "finish");
}

static void a_frame_error_while_closing_ends_it(void **state) {
    struct fake_host *host = *state;
    host_say(host, 0, "queue.declare");
    host_asked(host, "leave");
    host_say_bytes(host, BYTES("\x01\0\0\0\0\0\0!"));
    host_asked(host, "finish");
    host_asked_nothing(host);
}

static void the_broker_shuts_it(void **state) {
    struct fake_host *host = *state;
    host_open_channel(host, 1);
    session_shut(host->session, "broker forced connection closure", host->now_ms);
    hear_the_end(host, REPLY_CONNECTION_FORCED,
        "CONNECTION_FORCED - broker forced connection closure", "unknown");
    session_shut(host->session, "again", host->now_ms);
    host_hear_nothing(host);
    host_deinit(host);
    host_init(host);
    session_shut(host->session, "too early", host->now_ms);
    assert_dropped(host);
}

static void publishers_are_told_of_alarms(void **state) {
    struct fake_host *host = *state;
    session_on_blocked(host->session, "low on memory");
    host_hear_nothing(host);
    host_open_channel(host, 1);
    host_hear_nothing(host);
    host_say(host, 1, "basic.publish routing_key='q'");
    host_say_content(host, 1, BYTES("\0\0"), BYTES("x"));
    assert_true(session_has_published(host->session));
    host_hear(host, 0, "connection.blocked reason='low on memory'");
    session_on_blocked(host->session, "low on disk");
    host_hear_nothing(host);
    struct session_facts facts;
    session_facts(host->session, &facts);
    assert_string_equal(facts.state, "blocked");
    session_on_unblocked(host->session);
    host_hear(host, 0, "connection.unblocked");
    session_on_unblocked(host->session);
    host_hear_nothing(host);
    session_on_blocked(host->session, "low on disk");
    host_hear(host, 0, "connection.blocked reason='low on disk'");
}

static void alarms_are_not_told_to_those_who_cannot_hear(void **state) {
    struct fake_host *host = *state;
    host_deinit(host);
    host_init(host);
    host_log_in_with(host, "{}", "channel_max=2047 frame_max=131072");
    host_open_channel(host, 1);
    host_say(host, 1, "basic.publish routing_key='q'");
    host_say_content(host, 1, BYTES("\0\0"), BYTES("x"));
    session_on_blocked(host->session, "low on memory");
    session_on_unblocked(host->session);
    host_hear_nothing(host);
}

/* ---- heartbeats ---- */

static void heartbeats_go_both_ways(void **state) {
    struct fake_host *host = *state;
    host_deinit(host);
    host_init(host);
    host_log_in_with(host, "{}", "channel_max=2047 frame_max=131072 heartbeat=10");
    uint64_t start = host->now_ms;
    assert_int_equal(session_tick(host->session, host->now_ms), start + 5000);
    host->now_ms = start + 4999;
    session_tick(host->session, host->now_ms);
    host_hear_nothing(host);
    host->now_ms = start + 5000;
    assert_int_equal(session_tick(host->session, host->now_ms), start + 10000);
    host_hear_heartbeat(host);
    host_hear_nothing(host);
    host->now_ms = start + 7000;
    host_open_channel(host, 1); /* both have said something */
    host->now_ms = start + 11999;
    assert_int_equal(session_tick(host->session, host->now_ms), start + 12000);
    host_hear_nothing(host);
    host->now_ms = start + 26999;
    session_tick(host->session, host->now_ms);
    host_asked_nothing(host);
    host_hear_heartbeat(host);
    host->now_ms = start + 27000;
    session_tick(host->session, host->now_ms);
    assert_dropped(host);
}

static void a_heartbeat_does_not_pile_up(void **state) {
    struct fake_host *host = *state;
    host_deinit(host);
    host_init(host);
    host_log_in_with(host, "{}", "channel_max=2047 frame_max=131072 heartbeat=10");
    session_on_input_paused(host->session, true, host->now_ms);
    for (int i = 0; i < 5; i++) {
        host->now_ms += 5000;
        session_tick(host->session, host->now_ms);
    }
    host_hear_heartbeat(host);
    host_hear_nothing(host);
}

static void silence_is_not_held_against_who_is_not_read(void **state) {
    struct fake_host *host = *state;
    host_deinit(host);
    host_init(host);
    host_log_in_with(host, "{}", "channel_max=2047 frame_max=131072 heartbeat=10");
    session_on_input_paused(host->session, true, host->now_ms);
    host->now_ms += 100000;
    session_tick(host->session, host->now_ms);
    host_asked_nothing(host);
    session_on_input_paused(host->session, false, host->now_ms);
    host->now_ms += 19999;
    session_tick(host->session, host->now_ms);
    host_asked_nothing(host);
    host->now_ms++;
    session_tick(host->session, host->now_ms);
    host_asked(host, "leave");
    host_asked(host, "finish");
}

static void no_heartbeats_when_there_are_none(void **state) {
    struct fake_host *host = *state;
    host->now_ms += 10000000;
    assert_true(session_tick(host->session, host->now_ms) == UINT64_MAX);
    host_hear_nothing(host);
    host_asked_nothing(host);
}

/* ---- channels ---- */

static void channels_open_and_close(void **state) {
    struct fake_host *host = *state;
    static const uint16_t numbers[] = {7, 1, 65535, 3, 2, 2048, 4};
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < COUNT_OF(numbers); i++)
            host_open_channel(host, numbers[i]);
        struct session_facts facts;
        session_facts(host->session, &facts);
        assert_int_equal(facts.channels, COUNT_OF(numbers));
        for (size_t i = 0; i < COUNT_OF(numbers); i++) {
            host_say(host, numbers[i], "channel.close reply_code=200");
            host_hear(host, numbers[i], "channel.close_ok");
        }
    }
    host_asked_nothing(host);
}

static void channels_are_counted(void **state) {
    struct fake_host *host = *state;
    host_deinit(host);
    host_init(host);
    host_log_in_with(host, "{}", "channel_max=2 frame_max=131072");
    host_open_channel(host, 5);
    host_open_channel(host, 9);
    host_say(host, 9, "channel.close");
    host_hear(host, 9, "channel.close_ok");
    host_open_channel(host, 1);
    host_say(host, 2, "channel.open");
    hear_the_end(host, REPLY_NOT_ALLOWED,
        "NOT_ALLOWED - number of channels opened (2) has reached the negotiated channel_max (2)",
        "unknown");
}

static void all_channels_of_the_default(void **state) {
    struct fake_host *host = *state;
    for (uint16_t i = 1; i <= CHANNELS_PER_CONNECTION_MAX; i++)
        host_open_channel(host, i);
    host_say(host, CHANNELS_PER_CONNECTION_MAX + 1, "channel.open");
    host_hear_close(host, 0, REPLY_NOT_ALLOWED,
        "NOT_ALLOWED - number of channels opened (2047) has reached the negotiated channel_max "
        "(2047)",
        "unknown");
}

static void only_open_may_come_on_a_channel_that_is_not(void **state) {
    struct fake_host *host = *state;
    static const char *const names[] = {"queue.declare", "channel.close", "channel.close_ok",
        "channel.flow", "connection.open", "basic.ack", "basic.publish", "tx.select",
        "queue.declare_ok"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        again(host);
        host_say(host, 5, names[i]);
        hear_the_end(
            host, REPLY_CHANNEL_ERROR, "CHANNEL_ERROR - expected 'channel.open'", names[i]);
    }
}

static void open_comes_once(void **state) {
    struct fake_host *host = *state;
    host_open_channel(host, 1);
    host_say(host, 1, "channel.open");
    hear_the_end(
        host, REPLY_CHANNEL_ERROR, "CHANNEL_ERROR - second 'channel.open' seen", "channel.open");
}

static void servers_methods_are_unimplemented(void **state) {
    struct fake_host *host = *state;
    static const char *const names[] = {"channel.flow_ok", "channel.open_ok", "channel.close_ok",
        "queue.declare_ok", "exchange.declare_ok", "basic.consume_ok", "basic.get_empty",
        "basic.recover_ok", "confirm.select_ok", "tx.commit_ok", "connection.open",
        "connection.close", "connection.update_secret", "access.request_ok"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        again(host);
        host_open_channel(host, 1);
        host_say(host, 1, names[i]);
        hear_the_end(
            host, REPLY_COMMAND_INVALID, "COMMAND_INVALID - unimplemented method", names[i]);
    }
}

static void flow_and_tickets(void **state) {
    struct fake_host *host = *state;
    host_open_channel(host, 1);
    host_say(host, 1, "channel.flow active");
    host_hear(host, 1, "channel.flow_ok active");
    host_say(host, 1, "access.request realm='/data' read");
    host_hear(host, 1, "access.request_ok ticket=1");
    host_say(host, 1, "channel.flow");
    hear_the_end(host, REPLY_NOT_IMPLEMENTED, "NOT_IMPLEMENTED - active=false", "channel.flow");
}

static void fault_on(struct fake_host *host, uint16_t channel) {
    *host_next_answer(host) = host_fault(REPLY_NOT_FOUND, "no queue 'q' in vhost '/'");
    host_say(host, channel, "queue.declare queue='q' passive");
    host_hear_close(
        host, channel, REPLY_NOT_FOUND, "NOT_FOUND - no queue 'q' in vhost '/'", "queue.declare");
    host_asked(host, "change 1 queue_declare 'q' passive");
}

static void after_a_fault_a_channel_ignores_all_but_closes(void **state) {
    struct fake_host *host = *state;
    host_open_channel(host, 1);
    host_open_channel(host, 2);
    fault_on(host, 1);
    host_say(host, 1, "queue.declare queue='r'");
    host_say(host, 1, "basic.publish routing_key='q'");
    host_say_content(host, 1, BYTES("\0\0"), BYTES("x"));
    host_say(host, 1, "channel.flow");
    host_say(host, 1, "exchange.declare exchange='e' type='none'");
    host_asked_nothing(host);
    host_hear_nothing(host);
    host_say(host, 2, "queue.declare queue='r'");
    host_hear(host, 2, "queue.declare_ok queue='r'");
    host_say(host, 1, "channel.close");
    host_hear(host, 1, "channel.close_ok");
    host_say(host, 1, "channel.close_ok");
    host_hear_nothing(host);
    host_open_channel(host, 1);
}

static void open_before_close_ok_is_a_second_open(void **state) {
    struct fake_host *host = *state;
    host_open_channel(host, 1);
    fault_on(host, 1);
    host_say(host, 1, "channel.open");
    hear_the_end(
        host, REPLY_CHANNEL_ERROR, "CHANNEL_ERROR - second 'channel.open' seen", "channel.open");
}

static void a_closing_channel_may_still_be_wrong(void **state) {
    struct fake_host *host = *state;
    host_open_channel(host, 1);
    fault_on(host, 1);
    host_say_frame(host, FRAME_METHOD, 1, BYTES("\0\x63\0\x0a"));
    assert_dropped(host);
}

static void content_is_not_interrupted(void **state) {
    struct fake_host *host = *state;
    static const char no_header[] =
        "UNEXPECTED_FRAME - expected content header for class 60, got non content header frame "
        "instead";
    static const char no_body[] =
        "UNEXPECTED_FRAME - expected content body, got non content body frame instead";
    for (int i = 0; i < 4; i++) {
        again(host);
        host_open_channel(host, 1);
        host_say(host, 1, "basic.publish routing_key='q'");
        if (i >= 2) {
            host_say_frame(host, FRAME_HEADER, 1, BYTES("\0\x3c\0\0\0\0\0\0\0\0\0\x05\0\0"));
        }
        if (i % 2 == 0) {
            host_say(host, 1, "channel.close");
        } else if (i == 1) {
            host_say_frame(host, FRAME_BODY, 1, BYTES("x"));
        } else {
            host_say_frame(host, FRAME_HEADER, 1, BYTES("\0\x3c\0\0\0\0\0\0\0\0\0\x05\0\0"));
        }
        hear_the_end(host, REPLY_UNEXPECTED_FRAME, i < 2 ? no_header : no_body, "basic.publish");
    }
}

static void a_connection_closes_while_a_channel_does(void **state) {
    struct fake_host *host = *state;
    host_open_channel(host, 1);
    fault_on(host, 1);
    host_say(host, 0, "connection.close");
    host_asked(host, "leave");
    session_on_left(host->session, host->now_ms);
    host_hear(host, 0, "connection.close_ok");
}

static void mail_for_channels_that_are_gone(void **state) {
    struct fake_host *host = *state;
    struct effect effect = {.kind = EFFECT_DELIVER, .channel = 5, .tag_id = 1, .seq = 3};
    effect.consumer = 8;
    effect.message = host_message(host, "a", "body");
    session_on_deliver(host->session, 4, &effect, host->now_ms);
    host_asked(host, "settle return queue=4 seq=3 count=1 consumer=8");
    effect.flags = EFFECT_NO_ACK;
    effect.message = host_message(host, "a", "body");
    session_on_deliver(host->session, 4, &effect, host->now_ms);
    session_on_reply(host->session, 5, host_message(host, "a", "body"));
    session_on_tokens(host->session, 4, &effect);
    session_on_consumer_lost(host->session, &effect);
    session_on_confirm(host->session, 5, 1, 1, true);
    host_asked_nothing(host);
    host_hear_nothing(host);
}

static void the_socket_goes(void **state) {
    struct fake_host *host = *state;
    host_open_channel(host, 1);
    host_say_bytes(host, BYTES("\x01\0\x01\0\0"));
    session_on_disconnect(host->session, host->now_ms);
    host_asked(host, "leave");
    session_on_left(host->session, host->now_ms);
    session_on_disconnect(host->session, host->now_ms);
    host_say(host, 1, "queue.declare queue='q'");
    assert_true(session_tick(host->session, host->now_ms) == UINT64_MAX);
    host_asked_nothing(host);
    host_hear_nothing(host);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(broken_frames_are_frame_errors),
        CASE(frames_in_wrong_places_are_refused),
        CASE(unknown_methods_and_bad_tables_are_dropped),
        CASE(undecodable_methods_are_frame_errors),
        CASE(long_texts_are_cut),
        CASE(texts_are_not_cut_within_a_character),
        CASE(frames_may_be_split_anywhere),
        CASE(a_small_frame_max_has_eight_octets_of_slack),
        CASE(methods_without_a_place_on_channel_zero),
        CASE(a_new_secret_is_taken),
        CASE(the_client_closes),
        CASE(states_have_names),
        CASE(nothing_counts_after_our_close_but_close_ok),
        CASE(close_ok_is_not_waited_for_for_ever),
        CASE(a_frame_error_while_closing_ends_it),
        CASE(the_broker_shuts_it),
        CASE(publishers_are_told_of_alarms),
        CASE(alarms_are_not_told_to_those_who_cannot_hear),
        CASE(heartbeats_go_both_ways),
        CASE(a_heartbeat_does_not_pile_up),
        CASE(silence_is_not_held_against_who_is_not_read),
        CASE(no_heartbeats_when_there_are_none),
        CASE(channels_open_and_close),
        CASE(channels_are_counted),
        CASE(all_channels_of_the_default),
        CASE(only_open_may_come_on_a_channel_that_is_not),
        CASE(open_comes_once),
        CASE(servers_methods_are_unimplemented),
        CASE(flow_and_tickets),
        CASE(after_a_fault_a_channel_ignores_all_but_closes),
        CASE(open_before_close_ok_is_a_second_open),
        CASE(a_closing_channel_may_still_be_wrong),
        CASE(content_is_not_interrupted),
        CASE(a_connection_closes_while_a_channel_does),
        CASE(mail_for_channels_that_are_gone),
        CASE(the_socket_goes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
