/* channel_basic_test: consumers and their deliveries, get, settlements, prefetch, confirms. */
#include "fake_host.h"

#include "amqp/properties.h"
#include "base/memory.h"
#include "base/str.h"
#include "session/reply_to.h"

enum { QUEUE = 1, CONSUMER = 1 }; /* what the host answers to a consume */

/* The id by which the host knows the consumer whose consume was the n-th id of the session. */
static struct effect delivery(struct fake_host *host, uint32_t tag_id, uint64_t seq) {
    return (struct effect){
        .kind = EFFECT_DELIVER,
        .channel = 1,
        .tag_id = tag_id,
        .message = host_message(host, "key", "body"),
        .seq = seq,
        .consumer = CONSUMER,
    };
}

/* Delivers seq and expects the client to see it under this delivery tag. */
static void deliver(struct fake_host *host, uint32_t tag_id, uint64_t seq, unsigned tag) {
    char line[128];
    struct effect effect = delivery(host, tag_id, seq);
    session_on_deliver(host->session, QUEUE, &effect, host->now_ms);
    str_format(
        line, sizeof line, "basic.deliver consumer_tag='t' delivery_tag=%u routing_key='key'", tag);
    host_hear(host, 1, line);
    host_hear_body(host, 1, BYTES("body"));
}

/* A consumer 't'; gives the id by which deliveries name it. */
static uint32_t consume(struct fake_host *host) {
    host_say(host, 1, "basic.consume queue='q' consumer_tag='t'");
    host_asked(host, "consume 1 'q' prefetch=0 priority=0");
    host_hear(host, 1, "basic.consume_ok consumer_tag='t'");
    return host->consume_id;
}

static void hear_fault(
    struct fake_host *host, enum reply_code code, const char *text, const char *method) {
    uint16_t channel = reply_closes_connection(code) ? 0 : 1;
    host_hear_close(host, channel, code, text, method);
    if (channel == 0) {
        host_asked(host, "leave");
        return;
    }
    host_say(host, 1, "channel.close_ok");
    host_open_channel(host, 1);
}

/* ---- consume and cancel ---- */

static void consumers_come_and_go(void **state) {
    struct fake_host *host = *state;
    for (int later = 0; later < 2; later++) {
        host->later = later;
        host_say(host, 1,
            "basic.consume queue='q' consumer_tag='t' exclusive no_local "
            "arguments={'x-priority'=l:-7, 'x-other'=V}");
        host_asked(host, "consume 1 'q' prefetch=0 priority=-7 exclusive");
        if (later) {
            host_hear_nothing(host);
            struct answer answer = {.queue = QUEUE, .consumer = CONSUMER};
            host_answer(host, &answer);
        }
        host_hear(host, 1, "basic.consume_ok consumer_tag='t'");
        host_say(host, 1, "basic.cancel consumer_tag='t'");
        host_asked(host, "cancel 1 queue=1 consumer=1");
        host_hear_nothing(host);
        struct answer answer = {0};
        host_answer(host, &answer);
        host_hear(host, 1, "basic.cancel_ok consumer_tag='t'");
    }
}

static void no_wait_is_silent(void **state) {
    struct fake_host *host = *state;
    host_say(host, 1, "basic.consume queue='q' consumer_tag='t' no_ack no_wait");
    host_asked(host, "consume 1 'q' prefetch=0 priority=0 no_ack");
    host_say(host, 1, "basic.cancel consumer_tag='t' no_wait");
    host_asked(host, "cancel 1 queue=1 consumer=1");
    struct answer answer = {0};
    host_answer(host, &answer);
    host_say(host, 1, "basic.cancel consumer_tag='unknown' no_wait");
    host_say(host, 1, "basic.cancel consumer_tag='unknown'");
    host_hear(host, 1, "basic.cancel_ok consumer_tag='unknown'");
}

static void tags_are_made_up(void **state) {
    struct fake_host *host = *state;
    host->random_next = 8; /* the first eight go into the hash's seed */
    host_say(host, 1, "basic.consume queue='q'");
    host_asked(host, "consume 1 'q' prefetch=0 priority=0");
    host_hear(host, 1, "basic.consume_ok consumer_tag='amq.ctag-EBESExQVFhcYGRobHB0eHw'");
    host_say(host, 1, "basic.cancel consumer_tag='amq.ctag-EBESExQVFhcYGRobHB0eHw'");
    host_asked(host, "cancel 1 queue=1 consumer=1");
    struct answer answer = {0};
    host_answer(host, &answer);
    host_hear(host, 1, "basic.cancel_ok consumer_tag='amq.ctag-EBESExQVFhcYGRobHB0eHw'");
}

static void a_tag_is_used_once(void **state) {
    struct fake_host *host = *state;
    consume(host);
    host_say(host, 1, "basic.consume queue='missing' consumer_tag='t'");
    host_asked(host, "cancel 1 queue=1 consumer=1 silently");
    hear_fault(host, REPLY_NOT_ALLOWED, "NOT_ALLOWED - attempt to reuse consumer tag 't'",
        "basic.consume");
}

static void consume_is_refused(void **state) {
    struct fake_host *host = *state;
    static const struct {
        const char *method;
        const char *text;
    } cases[] = {
        {"basic.consume", "NOT_FOUND - no previously declared queue"},
        {"basic.consume queue='q' arguments={'x-priority'=S:'a'}",
            "PRECONDITION_FAILED - invalid arg 'x-priority' for queue 'q' in vhost '/': "
            "\"expected integer, got longstr\""},
        {"basic.consume queue='q' arguments={'x-cancel-on-ha-failover'=S:'a'}",
            "PRECONDITION_FAILED - invalid arg 'x-cancel-on-ha-failover' for queue 'q' in vhost "
            "'/': {unacceptable_type,longstr}"},
        {"basic.consume queue='q' arguments={'x-stream-offset'=S:'first'}",
            "PRECONDITION_FAILED - invalid arg 'x-stream-offset' for queue 'q' in vhost '/' of "
            "queue type rabbit_classic_queue"},
        {"basic.consume queue='amq.rabbitmq.reply-to'",
            "PRECONDITION_FAILED - reply consumer cannot acknowledge"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        host_say(host, 1, cases[i].method);
        hear_fault(host, i == 0 ? REPLY_NOT_FOUND : REPLY_PRECONDITION_FAILED, cases[i].text,
            "basic.consume");
    }
    for (int later = 0; later < 2; later++) {
        host->later = later;
        struct answer fault =
            host_fault(REPLY_ACCESS_REFUSED, "queue 'q' in vhost '/' in exclusive use");
        if (!later) *host_next_answer(host) = fault;
        host_say(host, 1, "basic.consume queue='q'");
        host_asked(host, "consume 1 'q' prefetch=0 priority=0");
        if (later) host_answer(host, &fault);
        hear_fault(host, REPLY_ACCESS_REFUSED,
            "ACCESS_REFUSED - queue 'q' in vhost '/' in exclusive use", "basic.consume");
    }
}

static void a_lost_queue_cancels(void **state) {
    struct fake_host *host = *state;
    uint32_t id = consume(host);
    deliver(host, id, 10, 1);
    struct effect lost = {
        .kind = EFFECT_CONSUMER_LOST, .channel = 1, .tag_id = id, .consumer = CONSUMER};
    session_on_consumer_lost(host->session, &lost);
    host_hear(host, 1, "basic.cancel consumer_tag='t' no_wait");
    session_on_consumer_lost(host->session, &lost);
    /* What it had can still be settled, and its tag used again. */
    host_say(host, 1, "basic.ack delivery_tag=1");
    host_flush(host);
    host_asked(host, "settle ack queue=1 seq=10 count=1 consumer=1");
    consume(host);
    host_say(host, 1, "channel.close");
    host_asked(host, "cancel 1 queue=1 consumer=1 silently");
    host_hear(host, 1, "channel.close_ok");
}

static void a_lost_queue_while_cancelling(void **state) {
    struct fake_host *host = *state;
    uint32_t id = consume(host);
    host_say(host, 1, "basic.cancel consumer_tag='t'");
    host_asked(host, "cancel 1 queue=1 consumer=1");
    deliver(host, id, 10, 1); /* was under way */
    struct effect lost = {
        .kind = EFFECT_CONSUMER_LOST, .channel = 1, .tag_id = id, .consumer = CONSUMER};
    session_on_consumer_lost(host->session, &lost);
    struct answer answer = {0};
    host_answer(host, &answer);
    host_hear(host, 1, "basic.cancel_ok consumer_tag='t'");
    host_say(host, 1, "basic.ack delivery_tag=1");
    host_flush(host);
    host_asked(host, "settle ack queue=1 seq=10 count=1 consumer=1");
}

/* ---- deliveries ---- */

static void late_deliveries_go_back(void **state) {
    struct fake_host *host = *state;
    uint32_t id = consume(host);
    struct effect wrong_id = delivery(host, id + 1000, 5);
    session_on_deliver(host->session, QUEUE, &wrong_id, host->now_ms);
    host_asked(host, "settle return queue=1 seq=5 count=1 consumer=1");
    struct effect wrong_queue = delivery(host, id, 6);
    session_on_deliver(host->session, QUEUE + 1, &wrong_queue, host->now_ms);
    host_asked(host, "settle return queue=2 seq=6 count=1 consumer=1");
    struct effect no_ack = delivery(host, id + 1000, 7);
    no_ack.flags = EFFECT_NO_ACK;
    session_on_deliver(host->session, QUEUE, &no_ack, host->now_ms);
    host_say(host, 1, "channel.close");
    host_asked(host, "cancel 1 queue=1 consumer=1 silently");
    host_hear(host, 1, "channel.close_ok");
    struct effect closed = delivery(host, id, 8);
    session_on_deliver(host->session, QUEUE, &closed, host->now_ms);
    host_asked(host, "settle return queue=1 seq=8 count=1 consumer=1");
}

static void deliveries_without_ack_take_tags(void **state) {
    struct fake_host *host = *state;
    uint32_t id = consume(host);
    struct effect effect = delivery(host, id, 5);
    effect.flags = EFFECT_NO_ACK | EFFECT_REDELIVERED;
    session_on_deliver(host->session, QUEUE, &effect, host->now_ms);
    host_hear(
        host, 1, "basic.deliver consumer_tag='t' delivery_tag=1 redelivered routing_key='key'");
    host_hear_body(host, 1, BYTES("body"));
    deliver(host, id, 6, 2);
    host_say(host, 1, "basic.ack delivery_tag=1");
    host_asked(host, "cancel 1 queue=1 consumer=1 silently");
    host_asked(host, "settle requeue queue=1 seq=6 count=1 consumer=1");
    hear_fault(host, REPLY_PRECONDITION_FAILED, "PRECONDITION_FAILED - unknown delivery tag 1",
        "basic.ack");
}

/* Bodies that are copied, that go by reference, and that need several frames. */
static void bodies_of_every_size(void **state) {
    static struct fake_host host; /* another one, with small frames */
    (void)state;
    host_init(&host);
    host_log_in_with(&host, "{}", "channel_max=2047 frame_max=4096");
    host_open_channel(&host, 1);
    uint32_t id = consume(&host);
    static const uint32_t sizes[] = {0, 1, 4087, 4088, 4089, 4096, 4097, 8176, 8177, 100000};
    for (uint32_t i = 0; i < COUNT_OF(sizes); i++) {
        uint8_t *body = mem_raw(sizes[i]);
        for (uint32_t k = 0; k < sizes[i]; k++)
            body[k] = (uint8_t)(k * 31 + i);
        struct message *message = message_new(
            host.pool, BYTES("exchange"), BYTES("key"), BYTES("\x80\0\x02it"), sizes[i]);
        bytes_copy(message_body_data(message), body, sizes[i]);
        struct effect effect = delivery(&host, id, i);
        message_unref(host.pool, effect.message);
        effect.message = message;
        effect.flags = EFFECT_NO_ACK;
        session_on_deliver(host.session, QUEUE, &effect, host.now_ms);
        char line[128];
        str_format(line, sizeof line,
            "basic.deliver consumer_tag='t' delivery_tag=%u exchange='exchange' "
            "routing_key='key'",
            i + 1);
        host_hear(&host, 1, line);
        host_hear_body(&host, 1, bytes_of(body, sizes[i]));
        mem_free(body);
    }
    buffer_drop(&host.asked, host.asked.size);
    host_deinit(&host);
}

/* ---- settling ---- */

static void acks_are_gathered(void **state) {
    struct fake_host *host = *state;
    uint32_t id = consume(host);
    for (unsigned i = 1; i <= 6; i++)
        deliver(host, id, 100 + i, i);
    host_say(host, 1, "basic.ack delivery_tag=1");
    host_say(host, 1, "basic.ack delivery_tag=2");
    host_say(host, 1, "basic.ack delivery_tag=4 multiple");
    host_asked_nothing(host);
    host_flush(host);
    host_asked(host, "settle ack queue=1 seq=101 count=4 consumer=1");
    host_say(host, 1, "basic.ack multiple");
    host_flush(host);
    host_asked(host, "settle ack queue=1 seq=105 count=2 consumer=1");
    host_say(host, 1, "basic.ack multiple");
    host_say(host, 1, "basic.nack multiple requeue");
    host_flush(host);
}

static void rejects_are_said_at_once(void **state) {
    struct fake_host *host = *state;
    uint32_t id = consume(host);
    for (unsigned i = 1; i <= 6; i++)
        deliver(host, id, 100 + i, i);
    host_say(host, 1, "basic.reject delivery_tag=3");
    host_asked(host, "settle reject queue=1 seq=103 count=1 consumer=1");
    host_say(host, 1, "basic.reject delivery_tag=4 requeue");
    host_asked(host, "settle requeue queue=1 seq=104 count=1 consumer=1");
    host_say(host, 1, "basic.ack delivery_tag=1");
    host_say(host, 1, "basic.nack delivery_tag=5 multiple requeue");
    host_asked(host, "settle ack queue=1 seq=101 count=1 consumer=1");
    host_asked(host, "settle requeue queue=1 seq=102 count=1 consumer=1");
    host_asked(host, "settle requeue queue=1 seq=105 count=1 consumer=1");
    host_say(host, 1, "basic.nack delivery_tag=6");
    host_asked(host, "settle reject queue=1 seq=106 count=1 consumer=1");
}

static void unknown_tags(void **state) {
    struct fake_host *host = *state;
    static const struct {
        const char *method;
        const char *tag;
        const char *name;
    } cases[] = {
        {"basic.ack delivery_tag=2", "2", "basic.ack"},
        {"basic.ack", "0", "basic.ack"},
        {"basic.ack delivery_tag=18446744073709551615", "18446744073709551615", "basic.ack"},
        {"basic.ack delivery_tag=2 multiple", "2", "basic.ack"},
        {"basic.nack delivery_tag=7", "7", "basic.nack"},
        {"basic.nack delivery_tag=7 multiple requeue", "7", "basic.nack"},
        {"basic.reject delivery_tag=7", "7", "basic.reject"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char text[128];
        uint32_t id = consume(host);
        for (unsigned k = 1; k <= 3; k++)
            deliver(host, id, k, k);
        host_say(host, 1, "basic.ack delivery_tag=2");
        host_say(host, 1, cases[i].method);
        host_asked(host, "settle ack queue=1 seq=2 count=1 consumer=1");
        host_asked(host, "cancel 1 queue=1 consumer=1 silently");
        host_asked(host, "settle requeue queue=1 seq=1 count=1 consumer=1");
        host_asked(host, "settle requeue queue=1 seq=3 count=1 consumer=1");
        str_format(
            text, sizeof text, "PRECONDITION_FAILED - unknown delivery tag %s", cases[i].tag);
        hear_fault(host, REPLY_PRECONDITION_FAILED, text, cases[i].name);
    }
}

static void recover_requeues_all(void **state) {
    struct fake_host *host = *state;
    uint32_t id = consume(host);
    for (unsigned i = 1; i <= 3; i++)
        deliver(host, id, i, i);
    host_say(host, 1, "basic.ack delivery_tag=2");
    host_say(host, 1, "basic.recover requeue");
    host_asked(host, "settle ack queue=1 seq=2 count=1 consumer=1");
    host_asked(host, "settle requeue queue=1 seq=1 count=1 consumer=1");
    host_asked(host, "settle requeue queue=1 seq=3 count=1 consumer=1");
    host_hear(host, 1, "basic.recover_ok");
    deliver(host, id, 1, 4);
    host_say(host, 1, "basic.recover_async requeue");
    host_asked(host, "settle requeue queue=1 seq=1 count=1 consumer=1");
    host_say(host, 1, "basic.recover");
    host_asked(host, "cancel 1 queue=1 consumer=1 silently");
    hear_fault(host, REPLY_NOT_IMPLEMENTED, "NOT_IMPLEMENTED - requeue=false", "basic.recover");
}

/* ---- get ---- */

static void get_takes_one(void **state) {
    struct fake_host *host = *state;
    for (int later = 0; later < 2; later++) {
        host->later = later;
        struct answer answer = {
            .queue = QUEUE,
            .message = host_message(host, "key", "body"),
            .seq = 40,
            .messages = 3,
            .redelivered = true,
        };
        if (!later) *host_next_answer(host) = answer;
        host_say(host, 1, "basic.get queue='q'");
        host_asked(host, "get 1 'q'");
        if (later) host_answer(host, &answer);
        char line[128];
        str_format(line, sizeof line,
            "basic.get_ok delivery_tag=%d redelivered routing_key='key' message_count=3",
            later + 1);
        host_hear(host, 1, line);
        host_hear_body(host, 1, BYTES("body"));
        str_format(line, sizeof line, "basic.ack delivery_tag=%d", later + 1);
        host_say(host, 1, line);
        host_flush(host);
        host_asked(host, "settle ack queue=1 seq=40 count=1 consumer=0");
    }
}

static void get_without_ack_or_message(void **state) {
    struct fake_host *host = *state;
    host_say(host, 1, "basic.get queue='q' no_ack");
    host_asked(host, "get 1 'q' no_ack");
    host_hear(host, 1, "basic.get_empty");
    *host_next_answer(host) =
        (struct answer){.queue = QUEUE, .message = host_message(host, "key", "body")};
    host_say(host, 1, "basic.get queue='q' no_ack");
    host_asked(host, "get 1 'q' no_ack");
    host_hear(host, 1, "basic.get_ok delivery_tag=1 routing_key='key'");
    host_hear_body(host, 1, BYTES("body"));
    host_say(host, 1, "basic.ack delivery_tag=1");
    hear_fault(host, REPLY_PRECONDITION_FAILED, "PRECONDITION_FAILED - unknown delivery tag 1",
        "basic.ack");
    *host_next_answer(host) = host_fault(REPLY_NOT_FOUND, "no queue 'q' in vhost '/'");
    host_say(host, 1, "basic.get queue='q'");
    host_asked(host, "get 1 'q'");
    hear_fault(host, REPLY_NOT_FOUND, "NOT_FOUND - no queue 'q' in vhost '/'", "basic.get");
}

/* ---- prefetch ---- */

static void prefetch_is_for_new_consumers(void **state) {
    struct fake_host *host = *state;
    host_say(host, 1, "basic.qos prefetch_count=5");
    host_hear(host, 1, "basic.qos_ok");
    host_say(host, 1, "basic.consume queue='q' consumer_tag='t'");
    host_asked(host, "consume 1 'q' prefetch=5 priority=0");
    host_hear(host, 1, "basic.consume_ok consumer_tag='t'");
    host_say(host, 1, "basic.qos prefetch_size=10");
    host_asked(host, "cancel 1 queue=1 consumer=1 silently");
    hear_fault(host, REPLY_NOT_IMPLEMENTED, "NOT_IMPLEMENTED - prefetch_size!=0 (10)", "basic.qos");
}

static void tokens(struct fake_host *host, uint32_t id, enum effect_kind kind, uint32_t count) {
    struct effect effect = {.kind = (uint8_t)kind,
        .channel = 1,
        .tag_id = id,
        .consumer = CONSUMER,
        .consumers = count};
    session_on_tokens(host->session, QUEUE, &effect);
    session_check(host->session);
}

static void shared_prefetch_lends_tokens(void **state) {
    struct fake_host *host = *state;
    host_say(host, 1, "basic.qos prefetch_count=3 global");
    host_hear(host, 1, "basic.qos_ok");
    host_say(host, 1, "basic.consume queue='q' consumer_tag='t'");
    host_asked(host, "consume 1 'q' prefetch=0 priority=0 shared");
    host_hear(host, 1, "basic.consume_ok consumer_tag='t'");
    uint32_t id = host->consume_id;
    host_say(host, 1, "basic.consume queue='q' consumer_tag='n' no_ack");
    host_asked(host, "consume 1 'q' prefetch=0 priority=0 no_ack");
    host_hear(host, 1, "basic.consume_ok consumer_tag='n'");
    tokens(host, id, EFFECT_TOKENS_WANTED, 2);
    host_asked(host, "grant 1 queue=1 consumer=1 count=2");
    deliver(host, id, 1, 1);
    deliver(host, id, 2, 2);
    tokens(host, id, EFFECT_TOKENS_WANTED, 64);
    host_asked(host, "grant 1 queue=1 consumer=1 count=1");
    tokens(host, id, EFFECT_TOKENS_WANTED, 64);
    host_asked_nothing(host);
    host_say(host, 1, "basic.ack delivery_tag=2");
    host_asked(host, "grant 1 queue=1 consumer=1 count=1");
    host_flush(host);
    host_asked(host, "settle ack queue=1 seq=2 count=1 consumer=1");
    tokens(host, id, EFFECT_TOKENS_BACK, 2);
    tokens(host, id, EFFECT_TOKENS_WANTED, 64);
    host_asked(host, "grant 1 queue=1 consumer=1 count=2");
    /* global=false lifts it. */
    tokens(host, id, EFFECT_TOKENS_WANTED, 64);
    host_say(host, 1, "basic.qos prefetch_count=9");
    host_asked(host, "grant 1 queue=1 consumer=1 count=64");
    host_hear(host, 1, "basic.qos_ok");
    host_say(host, 1, "channel.close");
    host_asked(host, "cancel 1 queue=1 consumer=1 silently");
    host_asked(host, "cancel 1 queue=1 consumer=1 silently");
    host_asked(host, "settle requeue queue=1 seq=1 count=1 consumer=1");
    host_hear(host, 1, "channel.close_ok");
}

static void shared_prefetch_takes_in_who_is_there(void **state) {
    struct fake_host *host = *state;
    uint32_t id = consume(host);
    deliver(host, id, 1, 1);
    host_say(host, 1, "basic.qos prefetch_count=2 global");
    host_asked(host, "grant 1 queue=1 consumer=1 count=0");
    host_hear(host, 1, "basic.qos_ok");
    tokens(host, id, EFFECT_TOKENS_WANTED, 64);
    host_asked(host, "grant 1 queue=1 consumer=1 count=1");
    /* A message that was under way before the queue knew. */
    deliver(host, id, 2, 2);
    deliver(host, id, 3, 3);
    tokens(host, id, EFFECT_TOKENS_WANTED, 64);
    host_say(host, 1, "basic.ack delivery_tag=3 multiple");
    host_asked(host, "grant 1 queue=1 consumer=1 count=2");
    host_flush(host);
    host_asked(host, "settle ack queue=1 seq=1 count=3 consumer=1");
    /* The consumer goes with its tokens. */
    host_say(host, 1, "basic.cancel consumer_tag='t'");
    host_asked(host, "cancel 1 queue=1 consumer=1");
    struct answer answer = {0};
    host_answer(host, &answer);
    host_hear(host, 1, "basic.cancel_ok consumer_tag='t'");
    tokens(host, id, EFFECT_TOKENS_BACK, 2);
}

static void gets_do_not_count_against_the_prefetch(void **state) {
    struct fake_host *host = *state;
    host_say(host, 1, "basic.qos prefetch_count=1 global");
    host_hear(host, 1, "basic.qos_ok");
    *host_next_answer(host) =
        (struct answer){.queue = QUEUE, .seq = 9, .message = host_message(host, "key", "body")};
    host_say(host, 1, "basic.get queue='q'");
    host_asked(host, "get 1 'q'");
    host_hear(host, 1, "basic.get_ok delivery_tag=1 routing_key='key'");
    host_hear_body(host, 1, BYTES("body"));
    host_say(host, 1, "basic.consume queue='q' consumer_tag='t'");
    host_asked(host, "consume 1 'q' prefetch=0 priority=0 shared");
    host_hear(host, 1, "basic.consume_ok consumer_tag='t'");
    tokens(host, host->consume_id, EFFECT_TOKENS_WANTED, 5);
    host_asked(host, "grant 1 queue=1 consumer=1 count=1");
}

/* ---- confirms ---- */

static void publish(struct fake_host *host, unsigned seqno, uint32_t queues, uint32_t confirms) {
    char line[64];
    host->publish_result = (struct publish_result){.queues = queues, .confirms = confirms};
    host_say(host, 1, "basic.publish routing_key='k' mandatory");
    host_say_content(host, 1, NO_PROPERTIES, BYTES("x"));
    str_format(line, sizeof line, "publish 1 '' 'k' 1 seqno=%u", seqno);
    host_asked(host, line);
}

static void confirm(struct fake_host *host, uint64_t seqno, bool ok) {
    session_on_confirm(host->session, 1, host->publishes[0].epoch, seqno, ok);
}

static void confirms_are_coalesced(void **state) {
    struct fake_host *host = *state;
    publish(host, 0, 1, 0);
    host_say(host, 1, "confirm.select");
    host_hear(host, 1, "confirm.select_ok");
    host_say(host, 1, "confirm.select no_wait");
    for (unsigned i = 1; i <= 5; i++)
        publish(host, i, 1, i == 3 ? 2 : 1);
    publish(host, 6, 0, 0);
    host_hear(host, 1, "basic.return reply_code=312 reply_text='NO_ROUTE' routing_key='k'");
    host_hear_body(host, 1, BYTES("x"));
    host_flush(host);
    host_hear(host, 1, "basic.ack delivery_tag=6");
    for (unsigned i = 1; i <= 4; i++)
        confirm(host, i, i != 2);
    host_hear_nothing(host);
    host_flush(host);
    host_hear(host, 1, "basic.ack delivery_tag=1");
    host_hear(host, 1, "basic.nack delivery_tag=2 requeue");
    host_hear(host, 1, "basic.ack delivery_tag=4");
    confirm(host, 3, true);
    confirm(host, 5, true);
    confirm(host, 5, true);
    confirm(host, 99, true);
    host_flush(host);
    host_hear(host, 1, "basic.ack delivery_tag=5 multiple");
}

static void confirms_of_a_closed_channel_are_dropped(void **state) {
    struct fake_host *host = *state;
    host_say(host, 1, "confirm.select");
    host_hear(host, 1, "confirm.select_ok");
    publish(host, 1, 1, 1);
    publish(host, 2, 1, 1);
    confirm(host, 1, true);
    host_say(host, 1, "channel.close");
    host_hear(host, 1, "basic.ack delivery_tag=1"); /* what is known is said */
    host_hear(host, 1, "channel.close_ok");
    host_open_channel(host, 1);
    host_say(host, 1, "confirm.select");
    host_hear(host, 1, "confirm.select_ok");
    publish(host, 1, 1, 1);
    confirm(host, 1, true); /* of the first channel's epoch */
    host_flush(host);
    host_hear_nothing(host);
    session_on_confirm(host->session, 1, host->publishes[2].epoch, 1, true);
    host_flush(host);
    host_hear(host, 1, "basic.ack delivery_tag=1");
}

/* ---- direct reply-to ---- */

static struct message *reply_to_key(struct fake_host *host, const struct message *request) {
    struct properties properties;
    assert_true(properties_decode(message_properties(request), &properties));
    char key[256] = "";
    str_format(key, sizeof key, "%.*s", (int)properties.reply_to.size,
        (const char *)properties.reply_to.data);
    return host_message(host, key, "answer");
}

static void replies_reach_their_consumer(void **state) {
    struct fake_host *host = *state;
    uint8_t memory[128];
    struct properties asks = {.flags = PROPERTY_HAS_reply_to, .reply_to = BYTES(REPLY_TO_QUEUE)};
    struct writer writer = writer_over(memory, sizeof memory);
    properties_encode(&writer, &asks);
    host_say(host, 1, "basic.consume queue='amq.rabbitmq.reply-to' consumer_tag='r' no_ack");
    host_hear(host, 1, "basic.consume_ok consumer_tag='r'");
    host_say(host, 1, "basic.publish routing_key='k'");
    host_say_content(host, 1, writer_bytes(&writer), BYTES("question"));
    host_asked(host, "publish 1 '' 'k' 8 seqno=0");
    struct message *answer = reply_to_key(host, host->published[0]);
    message_ref(answer, 1);
    session_on_reply(host->session, 1, answer);
    char line[256];
    str_format(line, sizeof line,
        "basic.deliver consumer_tag='r' delivery_tag=1 routing_key='%.*s'",
        (int)message_routing_key(answer).size, (const char *)message_routing_key(answer).data);
    host_hear(host, 1, line);
    host_hear_body(host, 1, BYTES("answer"));
    /* A key with other random bytes is nobody's. */
    struct message *guess = reply_to_key(host, host->published[0]);
    guess->data[40] ^= 1;
    session_on_reply(host->session, 1, guess);
    host_say(host, 1, "basic.cancel consumer_tag='r'");
    host_hear(host, 1, "basic.cancel_ok consumer_tag='r'");
    session_on_reply(host->session, 1, answer);
}

static void one_reply_consumer_per_channel(void **state) {
    struct fake_host *host = *state;
    host_say(host, 1, "basic.consume queue='amq.rabbitmq.reply-to' consumer_tag='t' no_ack");
    host_hear(host, 1, "basic.consume_ok consumer_tag='t'");
    consume(host); /* its tag is none of the others' */
    host_say(host, 1, "basic.consume queue='amq.rabbitmq.reply-to' consumer_tag='u' no_ack");
    host_asked(host, "cancel 1 queue=1 consumer=1 silently");
    hear_fault(host, REPLY_PRECONDITION_FAILED, "PRECONDITION_FAILED - reply consumer already set",
        "basic.consume");
}

/* ---- the end ---- */

static void a_disconnect_gives_everything_back(void **state) {
    struct fake_host *host = *state;
    uint32_t id = consume(host);
    deliver(host, id, 1, 1);
    deliver(host, id, 2, 2);
    deliver(host, id, 4, 3);
    host_say(host, 1, "basic.ack delivery_tag=1");
    session_on_disconnect(host->session, host->now_ms);
    host_asked(host, "settle ack queue=1 seq=1 count=1 consumer=1");
    host_asked(host, "cancel 1 queue=1 consumer=1 silently");
    host_asked(host, "settle requeue queue=1 seq=2 count=1 consumer=1");
    host_asked(host, "settle requeue queue=1 seq=4 count=1 consumer=1");
    host_asked(host, "leave");
    struct session_facts facts;
    session_facts(host->session, &facts);
    assert_int_equal(facts.unacked, 0);
    assert_int_equal(facts.consumers, 0);
}

static void facts_count(void **state) {
    struct fake_host *host = *state;
    struct session_facts facts;
    uint32_t id = consume(host);
    deliver(host, id, 1, 1);
    deliver(host, id, 2, 2);
    host_say(host, 1, "confirm.select");
    host_hear(host, 1, "confirm.select_ok");
    publish(host, 1, 1, 1);
    session_facts(host->session, &facts);
    assert_int_equal(facts.consumers, 1);
    assert_int_equal(facts.unacked, 2);
    assert_int_equal(facts.unconfirmed, 1);
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup_teardown(name, host_set_up, host_tear_down)
    const struct CMUnitTest tests[] = {
        CASE(consumers_come_and_go),
        CASE(no_wait_is_silent),
        CASE(tags_are_made_up),
        CASE(a_tag_is_used_once),
        CASE(consume_is_refused),
        CASE(a_lost_queue_cancels),
        CASE(a_lost_queue_while_cancelling),
        CASE(late_deliveries_go_back),
        CASE(deliveries_without_ack_take_tags),
        CASE(bodies_of_every_size),
        CASE(acks_are_gathered),
        CASE(rejects_are_said_at_once),
        CASE(unknown_tags),
        CASE(recover_requeues_all),
        CASE(get_takes_one),
        CASE(get_without_ack_or_message),
        CASE(prefetch_is_for_new_consumers),
        CASE(shared_prefetch_lends_tokens),
        CASE(shared_prefetch_takes_in_who_is_there),
        CASE(gets_do_not_count_against_the_prefetch),
        CASE(confirms_are_coalesced),
        CASE(confirms_of_a_closed_channel_are_dropped),
        CASE(replies_reach_their_consumer),
        CASE(one_reply_consumer_per_channel),
        CASE(a_disconnect_gives_everything_back),
        CASE(facts_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
