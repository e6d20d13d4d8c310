/* handshake_test: from the protocol header to open-ok, and every way not to get there. */
#include "fake_host.h"

#include <stdio.h>

#include "session/session.h"

#define HEADER bytes_of(FRAME_PROTOCOL_HEADER, sizeof FRAME_PROTOCOL_HEADER)
#define START_OK                                                                                   \
    "connection.start_ok client_properties={} mechanism='PLAIN' response='\\x00guest\\x00guest'"
#define TUNE    "connection.tune channel_max=2047 frame_max=131072 heartbeat=60"
#define TUNE_OK "connection.tune_ok channel_max=2047 frame_max=131072"
#define START                                                                                      \
    "connection.start version_minor=9 server_properties={'capabilities'=F:{"                       \
    "'publisher_confirms'=t:true, 'exchange_exchange_bindings'=t:true, 'basic.nack'=t:true, "      \
    "'consumer_cancel_notify'=t:true, 'connection.blocked'=t:true, "                               \
    "'consumer_priorities'=t:true, 'authentication_failure_close'=t:true, "                        \
    "'per_consumer_qos'=t:true, 'direct_reply_to'=t:true}, 'cluster_name'=S:'here', "              \
    "'copyright'=S:'Copyright the Godwit authors', 'information'=S:'Licensed under Apache-2.0', "  \
    "'platform'=S:'C', 'product'=S:'Godwit', 'version'=S:'1.2.3'} "                                \
    "mechanisms='PLAIN AMQPLAIN' locales='en_US'"

static int set_up(void **state) {
    static struct fake_host host;
    host_init(&host);
    *state = &host;
    return 0;
}

static int tear_down(void **state) {
    host_deinit(*state);
    return 0;
}

/* The session has ended without another word. */
static void assert_dropped(struct fake_host *host) {
    host_asked(host, "leave");
    host_asked(host, "finish");
    host_asked_nothing(host);
    host_hear_nothing(host);
}

static void come_to_starting(struct fake_host *host) {
    host_say_bytes(host, HEADER);
    host_hear(host, 0, START);
}

static void come_to_tuning(struct fake_host *host) {
    come_to_starting(host);
    host_say(host, 0, START_OK);
    host_asked(host, "login 'guest' 'guest'");
    session_on_login(host->session, true, host->now_ms);
    host_hear(host, 0, TUNE);
}

static void come_to_opening(struct fake_host *host) {
    come_to_tuning(host);
    host_say(host, 0, TUNE_OK);
    host_hear_nothing(host);
}

static void again(struct fake_host *host) {
    host_deinit(host);
    host_init(host);
}

static void another_protocol_is_told_ours(void **state) {
    struct fake_host *host = *state;
    static const char headers[][9] = {"AMQP\0\0\x09\0", "AMQP\0\0\x08\0", "HTTP/1.1", "GET / HT",
        "\0\0\0\0\0\0\0\0", "amqp\0\0\x09\x01", "AMQP\x02\0\0\x09", "AMQP\x03\x01\0\0"};
    for (size_t i = 0; i < COUNT_OF(headers); i++) {
        again(host);
        host_say_bytes(host, bytes_of(headers[i], 8));
        host_hear_bytes(host, HEADER);
        assert_dropped(host);
        host_say_bytes(host, BYTES("more"));
        host_asked_nothing(host);
    }
}

static void header_may_come_in_pieces(void **state) {
    struct fake_host *host = *state;
    for (uint32_t i = 0; i < 8; i++) {
        host_hear_nothing(host);
        host_say_bytes(host, bytes_of(HEADER.data + i, 1));
    }
    host_hear(host, 0, START);
}

static void a_client_comes_in(void **state) {
    struct fake_host *host = *state;
    come_to_opening(host);
    host_say(host, 0, "connection.open virtual_host='/'");
    host_asked(host, "open_vhost '/'");
    host_hear(host, 0, "connection.open_ok");
    host_asked_nothing(host);
    struct session_facts facts;
    session_facts(host->session, &facts);
    assert_text(facts.user, "guest");
    assert_text(facts.vhost, "/");
    assert_string_equal(facts.state, "running");
    assert_int_equal(facts.channels, 0);
}

static void amqplain_will_do(void **state) {
    struct fake_host *host = *state;
    come_to_starting(host);
    host_say(host, 0,
        "connection.start_ok mechanism='AMQPLAIN' "
        "response='\\x05LOGINS\\x00\\x00\\x00\\x03bob\\x08PASSWORDS\\x00\\x00\\x00\\x02pw'");
    host_asked(host, "login 'bob' 'pw'");
    session_on_login(host->session, true, host->now_ms);
    host_hear(host, 0, TUNE);
}

static void clients_have_names(void **state) {
    struct fake_host *host = *state;
    static const struct {
        const char *properties;
        const char *name;
    } cases[] = {
        {"{'product'=S:'pika', 'connection_name'=S:'orders'}", "orders"},
        {"{'product'=S:'pika'}", "pika"},
        {"{'product'=I:5, 'connection_name'=t:true}", ""},
        {"{}", ""},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        again(host);
        come_to_starting(host);
        char line[200];
        snprintf(line, sizeof line,
            "connection.start_ok client_properties=%s mechanism='PLAIN' response='\\x00a\\x00b'",
            cases[i].properties);
        host_say(host, 0, line);
        struct session_facts facts;
        session_facts(host->session, &facts);
        assert_text(facts.client_name, cases[i].name);
    }
}

static void a_wrong_password_is_told_to_those_who_can_take_it(void **state) {
    struct fake_host *host = *state;
    come_to_starting(host);
    host_say(host, 0,
        "connection.start_ok client_properties={'capabilities'=F:"
        "{'authentication_failure_close'=t:true}} mechanism='PLAIN' response='\\x00guest\\x00x'");
    host_asked(host, "login 'guest' 'x'");
    session_on_login(host->session, false, host->now_ms);
    host_hear_close(host, 0, REPLY_ACCESS_REFUSED,
        "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. "
        "For details see the broker logfile.",
        "unknown");
    assert_dropped(host);
}

static void a_wrong_password_is_silence_to_others(void **state) {
    struct fake_host *host = *state;
    static const char *const properties[] = {"{}", "{'capabilities'=F:{}}", "{'capabilities'=I:1}",
        "{'capabilities'=F:{'authentication_failure_close'=t:false}}",
        "{'capabilities'=F:{'authentication_failure_close'=I:1}}"};
    for (size_t i = 0; i < COUNT_OF(properties); i++) {
        again(host);
        come_to_starting(host);
        char line[200];
        snprintf(line, sizeof line,
            "connection.start_ok client_properties=%s mechanism='PLAIN' "
            "response='\\x00guest\\x00x'",
            properties[i]);
        host_say(host, 0, line);
        host_asked(host, "login 'guest' 'x'");
        session_on_login(host->session, false, host->now_ms);
        assert_dropped(host);
    }
}

static void a_bad_start_ok_is_dropped(void **state) {
    struct fake_host *host = *state;
    static const char *const lines[] = {
        "connection.start_ok response='\\x00guest\\x00guest'",
        "connection.start_ok mechanism='SECRET' response='\\x00guest\\x00guest'",
        "connection.start_ok mechanism='plain' response='\\x00guest\\x00guest'",
        "connection.start_ok mechanism='PLAIN'",
        "connection.start_ok mechanism='PLAIN' response='guest\\x00guest'",
        "connection.start_ok mechanism='AMQPLAIN' response='xx'",
        "connection.start_ok mechanism='PLAIN' response='\\x00guest\\x00guest' "
        "client_properties=?'\\x01aZ'",
    };
    for (size_t i = 0; i < COUNT_OF(lines); i++) {
        again(host);
        come_to_starting(host);
        host_say(host, 0, lines[i]);
        assert_dropped(host);
    }
}

static void what_comes_out_of_order_is_dropped(void **state) {
    struct fake_host *host = *state;
    static const char *const before_start_ok[] = {TUNE_OK, "connection.open virtual_host='/'",
        "connection.close", "connection.secure_ok response='x'", "connection.close_ok",
        "channel.open", "queue.declare"};
    for (size_t i = 0; i < COUNT_OF(before_start_ok); i++) {
        for (uint16_t channel = 0; channel < 2; channel++) {
            again(host);
            come_to_starting(host);
            host_say(host, channel, before_start_ok[i]);
            assert_dropped(host);
        }
    }
    static const char *const before_tune_ok[] = {
        START_OK, "connection.open", "connection.close", "channel.open"};
    for (size_t i = 0; i < COUNT_OF(before_tune_ok); i++) {
        again(host);
        come_to_tuning(host);
        host_say(host, i == 3, before_tune_ok[i]);
        assert_dropped(host);
    }
}

static void broken_frames_in_the_handshake_are_dropped(void **state) {
    struct fake_host *host = *state;
    static const char frames[][13] = {
        "\x01\0\0\0\x10\0\0",              /* more than HANDSHAKE_FRAME_MAX */
        "\x01\0\0\0\0\0\x04\0\x0a\0\x0b!", /* a wrong end */
        "\x07\0\0\0\0\0\0\xce",            /* no such type */
        "\x03\0\0\0\0\0\0\xce",            /* content */
        "\x01\0\0\0\0\0\x02\0\x0a\xce",    /* half a method id */
        "\x01\0\0\0\0\0\x04\0\x63\0\x01\xce",
        "\x01\0\0\0\0\0\x04\0\x0a\0\x0b\xce", /* start-ok without its arguments */
        "\x08\0\x01\0\0\0\0\xce",             /* a heartbeat on a channel */
    };
    static const uint32_t sizes[] = {7, 12, 8, 8, 10, 12, 12, 8};
    for (size_t i = 0; i < COUNT_OF(frames); i++) {
        again(host);
        come_to_starting(host);
        host_say_bytes(host, bytes_of(frames[i], sizes[i]));
        assert_dropped(host);
    }
}

static void tune_ok_stays_within_the_offer(void **state) {
    struct fake_host *host = *state;
    static const struct {
        const char *fields;
        bool good;
    } cases[] = {
        {"channel_max=1 frame_max=4096", true},
        {"channel_max=2047 frame_max=131072 heartbeat=65535", true},
        {"frame_max=131072", false},
        {"channel_max=2048 frame_max=131072", false},
        {"channel_max=65535 frame_max=131072", false},
        {"channel_max=2047", false},
        {"channel_max=2047 frame_max=131073", false},
        {"channel_max=2047 frame_max=4095", false},
        {"channel_max=2047 frame_max=8", false},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        again(host);
        come_to_tuning(host);
        char line[100];
        snprintf(line, sizeof line, "connection.tune_ok %s", cases[i].fields);
        host_say(host, 0, line);
        if (cases[i].good) {
            host_say(host, 0, "connection.open virtual_host='/'");
            host_hear(host, 0, "connection.open_ok");
        } else {
            assert_dropped(host);
        }
    }
}

static void an_offer_without_limits_may_be_taken(void **state) {
    struct fake_host *host = *state;
    host->settings.frame_max = 0;
    host->settings.channel_max = 0;
    host->settings.heartbeat_s = 0;
    come_to_starting(host);
    host_say(host, 0, START_OK);
    session_on_login(host->session, true, host->now_ms);
    host_hear(host, 0, "connection.tune");
    host_say(host, 0, "connection.tune_ok");
    host_say(host, 0, "connection.open virtual_host='/'");
    host_hear(host, 0, "connection.open_ok");
    host_open_channel(host, 65535);
    host_say_bytes(host, BYTES("\x03\0\x01\x7f\xff\xff\xff"));
    host_hear_close(host, 0, REPLY_FRAME_ERROR,
        "FRAME_ERROR - type 3, all octets = <<>>: {frame_too_large,2147483647,4294967288}",
        "unknown");
}

static void only_open_comes_after_tune_ok(void **state) {
    struct fake_host *host = *state;
    static const struct {
        const char *line;
        const char *name;
    } cases[] = {
        {"connection.close", "connection.close"},
        {TUNE_OK, "connection.tune_ok"},
        {START_OK, "connection.start_ok"},
        {"queue.declare", "queue.declare"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        again(host);
        come_to_opening(host);
        host_say(host, 0, cases[i].line);
        host_hear_close(host, 0, REPLY_CHANNEL_ERROR,
            "CHANNEL_ERROR - unexpected method in connection state opening", cases[i].name);
        host_asked(host, "leave");
        host_asked_nothing(host);
        host_say(host, 0, "connection.close_ok");
        host_asked(host, "finish");
    }
}

static void an_unknown_vhost_is_not_allowed(void **state) {
    struct fake_host *host = *state;
    for (int later = 0; later < 2; later++) {
        again(host);
        come_to_opening(host);
        host->later = later;
        struct answer answer = host_fault(REPLY_NOT_ALLOWED, "vhost absent not found");
        if (!later) *host_next_answer(host) = answer;
        host_say(host, 0, "connection.open virtual_host='absent'");
        host_asked(host, "open_vhost 'absent'");
        if (later) host_answer(host, &answer);
        host_hear_close(
            host, 0, REPLY_NOT_ALLOWED, "NOT_ALLOWED - vhost absent not found", "connection.open");
        host_asked(host, "leave");
        host_say(host, 0, "connection.close_ok");
        host_asked(host, "finish");
        host_hear_nothing(host);
    }
}

static void all_of_it_may_be_sent_at_once(void **state) {
    struct fake_host *host = *state;
    static const char *const lines[] = {
        START_OK, TUNE_OK, "connection.open virtual_host='/'", "channel.open", "queue.declare"};
    host->later = true;
    host_say_bytes(host, HEADER);
    for (size_t i = 0; i < COUNT_OF(lines); i++)
        host_say(host, i > 2, lines[i]);
    host_hear(host, 0, START);
    host_hear_nothing(host);
    host_asked(host, "login 'guest' 'guest'");
    host_asked_nothing(host);
    session_on_login(host->session, true, host->now_ms);
    host_hear(host, 0, TUNE);
    host_hear_nothing(host);
    host_asked(host, "open_vhost '/'");
    host_asked_nothing(host);
    struct answer answer = host_ok("");
    host_answer(host, &answer);
    host_hear(host, 0, "connection.open_ok");
    host_hear(host, 1, "channel.open_ok");
    host_asked(host, "change 1 queue_declare 'amq.gen-AAECAwQFBgcICQoLDA0ODw' server_named");
    host_asked_nothing(host);
}

static void input_that_waits_for_login_is_bounded(void **state) {
    struct fake_host *host = *state;
    static uint8_t zeroes[HANDSHAKE_BYTES_MAX];
    come_to_starting(host);
    host_say(host, 0, START_OK);
    assert_true(session_wants_input(host->session));
    host_say_bytes(host, bytes_of(zeroes, sizeof zeroes));
    assert_false(session_wants_input(host->session));
    session_on_login(host->session, false, host->now_ms);
    host_asked(host, "login 'guest' 'guest'");
    assert_dropped(host);
}

static void input_that_waits_for_a_vhost_is_bounded(void **state) {
    struct fake_host *host = *state;
    static uint8_t zeroes[PARKED_INPUT_BYTES_MAX];
    come_to_opening(host);
    host->later = true;
    host_say(host, 0, "connection.open virtual_host='/'");
    host_asked(host, "open_vhost '/'");
    assert_true(session_wants_input(host->session));
    host_say_bytes(host, bytes_of(zeroes, sizeof zeroes));
    assert_false(session_wants_input(host->session));
    struct answer answer = host_fault(REPLY_NOT_ALLOWED, "no");
    host_answer(host, &answer);
    assert_true(session_wants_input(host->session));
    host_hear_close(host, 0, REPLY_NOT_ALLOWED, "NOT_ALLOWED - no", "connection.open");
}

static void heartbeats_are_welcome_but_not_for_ever(void **state) {
    struct fake_host *host = *state;
    static const uint8_t heartbeat[] = {FRAME_HEARTBEAT, 0, 0, 0, 0, 0, 0, FRAME_END};
    come_to_starting(host);
    for (int i = 0; i < HANDSHAKE_BYTES_MAX / 8; i++)
        host_say_bytes(host, bytes_of(heartbeat, sizeof heartbeat));
    host_asked_nothing(host);
    host_say_bytes(host, bytes_of(heartbeat, sizeof heartbeat));
    assert_dropped(host);
}

static void a_large_start_ok_is_taken(void **state) {
    struct fake_host *host = *state;
    enum { PADDING = 60000 };
    static char line[PADDING + 300];
    come_to_starting(host);
    int at = snprintf(line, sizeof line, "connection.start_ok client_properties={'x'=S:'");
    memset(line + at, 'x', PADDING);
    snprintf(line + at + PADDING, sizeof line - (size_t)at - PADDING,
        "'} mechanism='PLAIN' response='\\x00guest\\x00guest'");
    host_say(host, 0, line);
    host_asked(host, "login 'guest' 'guest'");
}

static void the_handshake_takes_ten_seconds_at_most(void **state) {
    struct fake_host *host = *state;
    for (int stage = 0; stage < 4; stage++) {
        again(host);
        if (stage == 0) host_say_bytes(host, bytes_of(HEADER.data, 3));
        if (stage == 1) come_to_starting(host);
        if (stage == 2) come_to_tuning(host);
        if (stage == 3) come_to_opening(host);
        host->now_ms += HANDSHAKE_MS_MAX - 1;
        assert_int_equal(session_tick(host->session, host->now_ms), host->now_ms + 1);
        host_asked_nothing(host);
        host->now_ms++;
        assert_true(session_tick(host->session, host->now_ms) == UINT64_MAX);
        assert_dropped(host);
    }
    again(host);
    host_log_in(host);
    assert_true(session_tick(host->session, host->now_ms) == UINT64_MAX);
}

static void a_verdict_that_comes_too_late_is_ignored(void **state) {
    struct fake_host *host = *state;
    come_to_starting(host);
    host_say(host, 0, START_OK);
    host_asked(host, "login 'guest' 'guest'");
    session_on_disconnect(host->session, host->now_ms);
    host_asked(host, "leave");
    session_on_login(host->session, true, host->now_ms);
    host_asked_nothing(host);
    host_hear_nothing(host);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(another_protocol_is_told_ours),
        CASE(header_may_come_in_pieces),
        CASE(a_client_comes_in),
        CASE(amqplain_will_do),
        CASE(clients_have_names),
        CASE(a_wrong_password_is_told_to_those_who_can_take_it),
        CASE(a_wrong_password_is_silence_to_others),
        CASE(a_bad_start_ok_is_dropped),
        CASE(what_comes_out_of_order_is_dropped),
        CASE(broken_frames_in_the_handshake_are_dropped),
        CASE(tune_ok_stays_within_the_offer),
        CASE(an_offer_without_limits_may_be_taken),
        CASE(only_open_comes_after_tune_ok),
        CASE(an_unknown_vhost_is_not_allowed),
        CASE(all_of_it_may_be_sent_at_once),
        CASE(input_that_waits_for_login_is_bounded),
        CASE(input_that_waits_for_a_vhost_is_bounded),
        CASE(heartbeats_are_welcome_but_not_for_ever),
        CASE(a_large_start_ok_is_taken),
        CASE(the_handshake_takes_ten_seconds_at_most),
        CASE(a_verdict_that_comes_too_late_is_ignored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
