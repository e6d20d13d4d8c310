/* session: what a session costs per message, in nanoseconds: frames in to calls out, deliveries in
 * to bytes out, with a host that does nothing. Messages have 16 bytes of body and a delivery mode.
 *
 * Each line is the least of several runs. Builds for measuring are scripts/build release. */
#include "session/session.h"

#include <stdio.h>
#include <time.h>

#include "amqp/frame.h"
#include "base/memory.h"

enum {
    RUNS = 15,
    ROUNDS = 200,         /* per run */
    INPUT_BYTES = 200000, /* one read */
    BATCH = 256,          /* deliveries of one turn */
    BODY_BYTES = 16
};

/* The host, and what it was told last. */
struct bench {
    struct session *session;
    struct message_pool *pool;
    struct chunk_pool chunks;
    uint32_t tag_id; /* of the consumer made last */
    uint32_t confirms_wanted;
    uint32_t epoch;
    uint64_t seqno;
    uint64_t publish_count;
    uint64_t settled_count;
    uint64_t next_tag; /* of the channel that acks */
    uint16_t next_channel;
};

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- a host that does nothing */

static void on_login(void *host, struct bytes user, struct bytes password) {
    (void)host;
    (void)user;
    (void)password;
}

static bool on_vhost(void *host, struct bytes vhost, struct answer *ret_answer) {
    (void)host;
    (void)vhost;
    ret_answer->code = REPLY_OK;
    return true;
}

static bool on_consume(void *host, uint16_t channel, uint32_t request,
    const struct consume_request *consume, struct answer *ret_answer) {
    (void)channel;
    (void)consume;
    ((struct bench *)host)->tag_id = request;
    *ret_answer = (struct answer){.queue = 1, .consumer = 1};
    return true;
}

static void on_cancel(void *host, uint16_t channel, uint32_t request, queue_ref queue,
    uint32_t tag_id, consumer_handle consumer) {
    (void)host;
    (void)channel;
    (void)request;
    (void)queue;
    (void)tag_id;
    (void)consumer;
}

static void on_settle(void *host, const struct settle *settle) {
    ((struct bench *)host)->settled_count += settle->count;
}

static void on_publish(
    void *host, const struct publish *publish, struct publish_result *ret_result) {
    struct bench *bench = host;
    bench->publish_count++;
    bench->seqno = publish->seqno;
    bench->epoch = publish->epoch;
    ret_result->code = REPLY_OK;
    ret_result->queues = 1;
    ret_result->confirms = bench->confirms_wanted;
}

static void on_event(void *host) {
    (void)host;
}

static void on_random(void *host, uint8_t *data, size_t size) {
    (void)host;
    memset(data, 7, size);
}

static const struct session_calls calls = {
    .login = on_login,
    .open_vhost = on_vhost,
    .consume = on_consume,
    .cancel = on_cancel,
    .settle = on_settle,
    .publish = on_publish,
    .leave = on_event,
    .finish = on_event,
    .wake = on_event,
    .random = on_random,
};

/* ---- the client */

static void drain(struct bench *bench) {
    struct outbox *outbox = session_outbox(bench->session);
    if (outbox->size != 0) outbox_written(outbox, outbox->size);
}

static void say(struct bench *bench, uint16_t channel, const struct method *method) {
    uint8_t memory[1024];
    struct writer writer = writer_over(memory, sizeof memory);
    frame_put_method(&writer, channel, method);
    session_on_bytes(bench->session, writer_bytes(&writer), 1);
    drain(bench);
}

static void log_in(struct bench *bench) {
    static const struct session_settings settings = {
        .product = "Godwit",
        .version = "0",
        .cluster_name = "bench",
        .frame_max = FRAME_MAX_DEFAULT,
        .channel_max = CHANNELS_PER_CONNECTION_MAX,
        .message_bytes_max = MESSAGE_BYTES_MAX_DEFAULT,
    };
    bench->session = session_new(&settings, &calls, bench, 7, bench->pool, &bench->chunks);
    session_on_bytes(
        bench->session, bytes_of(FRAME_PROTOCOL_HEADER, sizeof FRAME_PROTOCOL_HEADER), 1);
    say(bench, 0,
        &(struct method){.kind = METHOD_connection_start_ok,
            .connection_start_ok = {.mechanism = BYTES("PLAIN"),
                .response = bytes_of("\0guest\0guest", 12),
                .locale = BYTES("en_US")}});
    session_on_login(bench->session, true, 1);
    say(bench, 0,
        &(struct method){.kind = METHOD_connection_tune_ok,
            .connection_tune_ok = {.channel_max = 2047, .frame_max = FRAME_MAX_DEFAULT}});
    say(bench, 0,
        &(struct method){
            .kind = METHOD_connection_open, .connection_open = {.virtual_host = BYTES("/")}});
}

static void consume(struct bench *bench, uint16_t channel, bool no_ack) {
    say(bench, channel, &(struct method){.kind = METHOD_channel_open});
    say(bench, channel,
        &(struct method){.kind = METHOD_basic_consume,
            .basic_consume = {
                .queue = BYTES("q"), .consumer_tag = BYTES("ctag1.0"), .no_ack = no_ack}});
}

/* As many publishes as one read brings. */
static struct bytes publishes(uint16_t channel, uint8_t memory[INPUT_BYTES]) {
    static const uint8_t body[BODY_BYTES];
    static const struct method publish = {
        .kind = METHOD_basic_publish,
        .basic_publish = {.routing_key = {(const uint8_t *)"bench-queue", 11}},
    };
    struct writer writer = writer_over(memory, INPUT_BYTES);
    struct bytes whole = writer_bytes(&writer);
    for (;;) {
        frame_put_method(&writer, channel, &publish);
        frame_put_header(&writer, channel, sizeof body, BYTES("\x10\0\x01"));
        frame_put_body(&writer, channel, bytes_of(body, sizeof body), FRAME_MAX_DEFAULT);
        if (writer.bad) return whole;
        whole = writer_bytes(&writer);
    }
}

/* ---- what is measured: each gives nanoseconds per message */

static double run_publish(struct bench *bench, uint16_t channel) {
    static uint8_t memory[INPUT_BYTES];
    struct bytes input = publishes(channel, memory);
    uint64_t before_count = bench->publish_count;
    uint64_t spent = 0;
    bench->confirms_wanted = channel == 2;
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t first = bench->seqno + 1;
        uint64_t before = now_ns();
        session_on_bytes(bench->session, input, 1);
        for (uint64_t seqno = first; bench->confirms_wanted && seqno <= bench->seqno; seqno++)
            session_on_confirm(bench->session, channel, bench->epoch, seqno, true);
        session_flush(bench->session, 1);
        drain(bench);
        spent += now_ns() - before;
        if (!bench->confirms_wanted) bench->seqno = 0;
    }
    return (double)spent / (double)(bench->publish_count - before_count);
}

static void deliver_batch(struct bench *bench, uint16_t channel, struct message *message) {
    for (uint32_t i = 0; i < BATCH; i++) {
        struct effect effect = {
            .kind = EFFECT_DELIVER,
            .flags = channel == 3 ? EFFECT_NO_ACK : 0,
            .channel = channel,
            .tag_id = bench->tag_id,
            .message = message,
            .seq = bench->next_tag++,
            .consumer = 1,
        };
        message_ref(message, 1);
        session_on_deliver(bench->session, 1, &effect, 1);
    }
    drain(bench);
}

static struct message *new_message(struct bench *bench, uint32_t body_size) {
    struct message *message =
        message_new(bench->pool, BYTES(""), BYTES("bench-queue"), BYTES("\x10\0\x01"), body_size);
    memset(message_body_data(message), 'x', body_size);
    return message;
}

static double run_deliver(struct bench *bench, uint16_t channel) {
    struct message *message = new_message(bench, BODY_BYTES);
    uint64_t before = now_ns();
    for (int i = 0; i < ROUNDS; i++)
        deliver_batch(bench, channel, message);
    uint64_t spent = now_ns() - before;
    message_unref(bench->pool, message);
    return (double)spent / (ROUNDS * BATCH);
}

/* With single acks in the order of the deliveries. */
static double run_deliver_and_ack(struct bench *bench, uint16_t first_channel) {
    static uint8_t memory[BATCH * 32];
    struct message *message = new_message(bench, BODY_BYTES);
    uint64_t spent = 0;
    bench->next_tag = 1;
    uint64_t settled_count = bench->settled_count;
    uint16_t channel = (uint16_t)(first_channel + bench->next_channel++);
    consume(bench, channel, false);
    for (int i = 0; i < ROUNDS; i++) {
        struct writer acks = writer_over(memory, sizeof memory);
        for (uint64_t k = 0; k < BATCH; k++) {
            struct method ack = {
                .kind = METHOD_basic_ack, .basic_ack = {.delivery_tag = bench->next_tag + k}};
            frame_put_method(&acks, channel, &ack);
        }
        uint64_t before = now_ns();
        deliver_batch(bench, channel, message);
        session_on_bytes(bench->session, writer_bytes(&acks), 1);
        session_flush(bench->session, 1);
        spent += now_ns() - before;
    }
    check(bench->settled_count == settled_count + ROUNDS * BATCH);
    message_unref(bench->pool, message);
    return (double)spent / (ROUNDS * BATCH);
}

static void report(const char *text, double (*run)(struct bench *, uint16_t), struct bench *bench,
    uint16_t channel) {
    double least = run(bench, channel);
    for (int i = 1; i < RUNS; i++) {
        double result = run(bench, channel);
        if (result < least) least = result;
    }
    printf("%-58s %7.1f ns\n", text, least);
    fflush(stdout);
}

int main(void) {
    struct bench bench = {.pool = message_pool_new(0)};
    log_in(&bench);
    say(&bench, 1, &(struct method){.kind = METHOD_channel_open});
    say(&bench, 2, &(struct method){.kind = METHOD_channel_open});
    say(&bench, 2, &(struct method){.kind = METHOD_confirm_select});
    report("publish", run_publish, &bench, 1);
    report("publish and confirm", run_publish, &bench, 2);
    consume(&bench, 3, true);
    report("deliver without ack", run_deliver, &bench, 3);
    report("deliver and ack", run_deliver_and_ack, &bench, 4);
    session_on_disconnect(bench.session, 1);
    session_free(bench.session);
    chunk_pool_deinit(&bench.chunks);
    message_pool_free(bench.pool);
    return 0;
}
