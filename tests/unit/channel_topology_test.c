/* channel_topology_test: exchange.* and queue.*: what is asked of the host, and what is replied. */
#include "fake_host.h"

#include <stdio.h>

#include "session/reply_to.h"

static void each_method_is_one_request(void **state) {
    struct fake_host *host = *state;
    static const struct {
        const char *method;
        const char *call;
        const char *reply;
    } cases[] = {
        {"exchange.declare exchange='e' type='topic' durable auto_delete internal "
         "arguments={'x'=I:1}",
            "change 1 exchange_declare 'e' topic durable auto_delete internal {'x'=I:1}",
            "exchange.declare_ok"},
        {"exchange.declare exchange='e' passive", "change 1 exchange_declare 'e' passive",
            "exchange.declare_ok"},
        {"exchange.delete exchange='e' if_unused", "change 1 exchange_delete 'e' if_unused",
            "exchange.delete_ok"},
        {"exchange.bind destination='d' source='s' routing_key='k' arguments={'x'=I:1}",
            "change 1 exchange_bind 'd' from 's' by 'k' {'x'=I:1}", "exchange.bind_ok"},
        {"exchange.unbind destination='d' source='s' routing_key='k'",
            "change 1 exchange_unbind 'd' from 's' by 'k'", "exchange.unbind_ok"},
        {"queue.declare queue='q' durable exclusive auto_delete arguments={'x'=I:1}",
            "change 1 queue_declare 'q' durable exclusive auto_delete {'x'=I:1}",
            "queue.declare_ok queue='q'"},
        {"queue.declare queue='q' passive", "change 1 queue_declare 'q' passive",
            "queue.declare_ok queue='q'"},
        {"queue.bind queue='q' exchange='e' routing_key='k' arguments={'x'=I:1}",
            "change 1 queue_bind 'q' from 'e' by 'k' {'x'=I:1}", "queue.bind_ok"},
        {"queue.unbind queue='q' exchange='e' routing_key='k'",
            "change 1 queue_unbind 'q' from 'e' by 'k'", "queue.unbind_ok"},
        {"queue.purge queue='q'", "purge 1 'q'", "queue.purge_ok"},
        {"queue.delete queue='q' if_unused if_empty",
            "change 1 queue_delete 'q' if_unused if_empty", "queue.delete_ok"},
    };
    for (int later = 0; later < 2; later++) {
        host->later = later;
        for (size_t i = 0; i < COUNT_OF(cases); i++) {
            host_say(host, 1, cases[i].method);
            host_asked(host, cases[i].call);
            struct answer answer = host_ok("q");
            if (later) host_answer(host, &answer);
            host_hear(host, 1, cases[i].reply);
        }
    }
}

static void no_wait_says_nothing(void **state) {
    struct fake_host *host = *state;
    static const char *const lines[] = {
        "exchange.declare exchange='e' type='topic' no_wait",
        "exchange.delete exchange='e' no_wait",
        "exchange.bind destination='d' source='s' no_wait",
        "exchange.unbind destination='d' source='s' no_wait",
        "queue.declare queue='q' no_wait",
        "queue.bind queue='q' exchange='e' no_wait",
        "queue.purge queue='q' no_wait",
        "queue.delete queue='q' no_wait",
    };
    for (int later = 0; later < 2; later++) {
        host->later = later;
        for (size_t i = 0; i < COUNT_OF(lines); i++) {
            host_say(host, 1, lines[i]);
            struct answer answer = host_ok("q");
            if (later) host_answer(host, &answer);
            host_hear_nothing(host);
        }
    }
    host_say(host, 1, "access.request");
    host_hear(host, 1, "access.request_ok ticket=1");
    buffer_drop(&host->asked, host->asked.size);
}

static void faults_are_raised_also_without_waiting(void **state) {
    struct fake_host *host = *state;
    for (int later = 0; later < 2; later++) {
        struct answer answer = host_fault(REPLY_NOT_FOUND, "no exchange 'e' in vhost '/'");
        host->later = later;
        if (!later) *host_next_answer(host) = answer;
        host_say(host, 1, "exchange.bind destination='d' source='e' no_wait");
        host_asked(host, "change 1 exchange_bind 'd' from 'e' by ''");
        if (later) host_answer(host, &answer);
        host_hear_close(
            host, 1, REPLY_NOT_FOUND, "NOT_FOUND - no exchange 'e' in vhost '/'", "exchange.bind");
        host_say(host, 1, "channel.close_ok");
        host_open_channel(host, 1);
    }
}

static void some_faults_close_the_connection(void **state) {
    struct fake_host *host = *state;
    *host_next_answer(host) = host_fault(REPLY_COMMAND_INVALID, "unknown exchange type 'absent'");
    host_say(host, 1, "exchange.declare exchange='e' type='absent'");
    host_asked(host, "change 1 exchange_declare 'e' absent");
    host_hear_close(host, 0, REPLY_COMMAND_INVALID,
        "COMMAND_INVALID - unknown exchange type 'absent'", "exchange.declare");
    host_asked(host, "leave");
}

static void counts_are_passed_on(void **state) {
    struct fake_host *host = *state;
    struct answer *answer = host_next_answer(host);
    *answer = host_ok("q");
    answer->messages = 5;
    answer->consumers = 2;
    host_say(host, 1, "queue.declare queue='q'");
    host_hear(host, 1, "queue.declare_ok queue='q' message_count=5 consumer_count=2");
    host_next_answer(host)->messages = 6;
    host_say(host, 1, "queue.purge queue='q'");
    host_hear(host, 1, "queue.purge_ok message_count=6");
    host_next_answer(host)->messages = 7;
    host_say(host, 1, "queue.delete queue='q'");
    host_hear(host, 1, "queue.delete_ok message_count=7");
    buffer_drop(&host->asked, host->asked.size);
}

static void names_are_made_up_and_remembered(void **state) {
    struct fake_host *host = *state;
    host->random_next = 240;
    host_say(host, 1, "queue.declare exclusive");
    host_asked(
        host, "change 1 queue_declare 'amq.gen-8PHy8_T19vf4-fr7_P3-_w' exclusive server_named");
    host_hear(host, 1, "queue.declare_ok queue='amq.gen-8PHy8_T19vf4-fr7_P3-_w'");
    host_say(host, 1, "queue.bind exchange='amq.direct'");
    host_asked(host, "change 1 queue_bind 'amq.gen-8PHy8_T19vf4-fr7_P3-_w' from 'amq.direct' by "
                     "'amq.gen-8PHy8_T19vf4-fr7_P3-_w'");
    host_hear(host, 1, "queue.bind_ok");
    host_say(host, 1, "queue.declare exclusive");
    host_asked(
        host, "change 1 queue_declare 'amq.gen-AAECAwQFBgcICQoLDA0ODw' exclusive server_named");
    host_hear(host, 1, "queue.declare_ok queue='amq.gen-AAECAwQFBgcICQoLDA0ODw'");
}

static void an_empty_name_is_the_queue_declared_last(void **state) {
    struct fake_host *host = *state;
    static const struct {
        const char *method;
        const char *call;
        const char *reply;
    } cases[] = {
        {"queue.declare queue='other'", "change 1 queue_declare 'other'",
            "queue.declare_ok queue='other'"},
        {"queue.declare queue='q' passive", "change 1 queue_declare 'q' passive",
            "queue.declare_ok queue='q'"},
        {"queue.bind exchange='e' routing_key='k'", "change 1 queue_bind 'q' from 'e' by 'k'",
            "queue.bind_ok"},
        {"queue.bind exchange='e'", "change 1 queue_bind 'q' from 'e' by 'q'", "queue.bind_ok"},
        {"queue.bind queue='r' exchange='e'", "change 1 queue_bind 'r' from 'e' by ''",
            "queue.bind_ok"},
        {"queue.unbind exchange='e' routing_key='k'", "change 1 queue_unbind 'q' from 'e' by 'k'",
            "queue.unbind_ok"},
        {"queue.unbind exchange='e'", "change 1 queue_unbind 'q' from 'e' by 'q'",
            "queue.unbind_ok"},
        {"queue.purge", "purge 1 'q'", "queue.purge_ok"},
        {"queue.delete", "change 1 queue_delete 'q'", "queue.delete_ok"},
        {"queue.delete", "change 1 queue_delete 'q'", "queue.delete_ok"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        host_say(host, 1, cases[i].method);
        host_asked(host, cases[i].call);
        host_hear(host, 1, cases[i].reply);
    }
}

static void without_a_queue_declared_there_is_none(void **state) {
    struct fake_host *host = *state;
    static const struct {
        const char *method;
        const char *name;
    } cases[] = {
        {"queue.bind exchange='e'", "queue.bind"},
        {"queue.unbind exchange='e'", "queue.unbind"},
        {"queue.purge", "queue.purge"},
        {"queue.delete", "queue.delete"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        host_say(host, 1, cases[i].method);
        host_hear_close(
            host, 1, REPLY_NOT_FOUND, "NOT_FOUND - no previously declared queue", cases[i].name);
        host_say(host, 1, "channel.close_ok");
        host_open_channel(host, 1);
    }
    /* Another channel's queue, one that was refused, and one from before the channel was closed do
     * not count. */
    host_open_channel(host, 2);
    host_say(host, 2, "queue.declare queue='q'");
    host_hear(host, 2, "queue.declare_ok queue='q'");
    host_say(host, 2, "channel.close");
    host_hear(host, 2, "channel.close_ok");
    host_open_channel(host, 2);
    for (uint16_t channel = 1; channel <= 2; channel++) {
        host_say(host, channel, "queue.purge");
        host_hear_close(host, channel, REPLY_NOT_FOUND, "NOT_FOUND - no previously declared queue",
            "queue.purge");
    }
    host_asked(host, "change 2 queue_declare 'q'");
}

static void an_empty_name_may_be_asked_about(void **state) {
    struct fake_host *host = *state;
    *host_next_answer(host) = host_fault(REPLY_NOT_FOUND, "no queue '' in vhost '/'");
    host_say(host, 1, "queue.declare passive");
    host_asked(host, "change 1 queue_declare '' passive");
    host_hear_close(
        host, 1, REPLY_NOT_FOUND, "NOT_FOUND - no queue '' in vhost '/'", "queue.declare");
}

static void line_ends_are_taken_out_of_declared_names(void **state) {
    struct fake_host *host = *state;
    host_say(host, 1, "queue.declare queue='a\\x0d\\x0ab\\x0a'");
    host_asked(host, "change 1 queue_declare 'ab'");
    host_hear(host, 1, "queue.declare_ok queue='ab'");
    host_say(host, 1, "exchange.declare exchange='\\x0ae' type='fanout'");
    host_asked(host, "change 1 exchange_declare 'e' fanout");
    host_hear(host, 1, "exchange.declare_ok");
}

static void reply_to_can_always_be_declared(void **state) {
    struct fake_host *host = *state;
    host_say(host, 1, "queue.declare queue='amq.rabbitmq.reply-to' durable");
    host_hear(host, 1, "queue.declare_ok queue='amq.rabbitmq.reply-to' consumer_count=1");
    host_say(host, 1, "queue.declare queue='amq.rabbitmq.reply-to' passive no_wait");
    host_hear_nothing(host);
}

static void reply_keys_can_be_asked_about(void **state) {
    struct fake_host *host = *state;
    host_say(host, 1, "basic.consume queue='amq.rabbitmq.reply-to' consumer_tag='t' no_ack");
    host_hear(host, 1, "basic.consume_ok consumer_tag='t'");
    host_say(host, 1, "basic.publish routing_key='q'");
    host_say_content(host, 1, BYTES("\x02\0\x15" REPLY_TO_QUEUE), BYTES("x"));
    host_asked(host, "publish 1 '' 'q' 1 seqno=0");
    struct bytes properties = message_properties(host->published[0]);
    struct bytes key = bytes_of(properties.data + 3, properties.size - 3);
    char line[256];
    snprintf(line, sizeof line, "queue.declare queue='%.*s' passive", (int)key.size, key.data);
    host_say(host, 1, line);
    snprintf(line, sizeof line, "queue.declare_ok queue='%.*s' consumer_count=1", (int)key.size,
        key.data);
    host_hear(host, 1, line);
    host_say(host, 1, "basic.cancel consumer_tag='t'");
    host_hear(host, 1, "basic.cancel_ok consumer_tag='t'");
    snprintf(line, sizeof line, "queue.declare queue='%.*s'", (int)key.size, key.data);
    *host_next_answer(host) = host_fault(REPLY_NOT_FOUND, "no queue");
    host_say(host, 1, line);
    snprintf(line, sizeof line, "change 1 queue_declare '%.*s' passive", (int)key.size, key.data);
    host_asked(host, line);
    host_hear_close(host, 1, REPLY_NOT_FOUND, "NOT_FOUND - no queue", "queue.declare");
}

static void lost_consumers_are_told_behind_the_deletion(void **state) {
    struct fake_host *host = *state;
    uint32_t tag_ids[3];
    host_open_channel(host, 2);
    for (uint16_t channel = 1; channel <= 2; channel++) {
        host_say(host, channel, "basic.consume queue='q' consumer_tag='t'");
        tag_ids[channel] = host->tag_id;
        host_hear(host, channel, "basic.consume_ok consumer_tag='t'");
        host_asked(host, channel == 1 ? "consume 1 'q' prefetch=0 priority=0"
                                      : "consume 2 'q' prefetch=0 priority=0");
    }
    host->later = true;
    host_say(host, 1, "queue.delete queue='q'");
    host_asked(host, "change 1 queue_delete 'q'");
    host_say(host, 1, "access.request");
    for (uint16_t channel = 1; channel <= 2; channel++) {
        struct effect effect = {.kind = EFFECT_CONSUMER_LOST, .channel = channel};
        effect.tag_id = tag_ids[channel];
        effect.consumer = 1;
        session_on_consumer_lost(host->session, &effect);
    }
    host_hear(host, 2, "basic.cancel consumer_tag='t' no_wait");
    host_hear_nothing(host);
    struct answer answer = host_ok("");
    host_answer(host, &answer);
    host_hear(host, 1, "queue.delete_ok");
    host_hear(host, 1, "basic.cancel consumer_tag='t' no_wait");
    host_hear(host, 1, "access.request_ok ticket=1");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, host_set_up, host_tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(each_method_is_one_request),
        CASE(no_wait_says_nothing),
        CASE(faults_are_raised_also_without_waiting),
        CASE(some_faults_close_the_connection),
        CASE(counts_are_passed_on),
        CASE(names_are_made_up_and_remembered),
        CASE(an_empty_name_is_the_queue_declared_last),
        CASE(without_a_queue_declared_there_is_none),
        CASE(an_empty_name_may_be_asked_about),
        CASE(line_ends_are_taken_out_of_declared_names),
        CASE(reply_to_can_always_be_declared),
        CASE(reply_keys_can_be_asked_about),
        CASE(lost_consumers_are_told_behind_the_deletion),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
