/* model_host: see the header. */
#include "model_host.h"

#include "base/memory.h"

static void put_pending(struct world *world, struct model_pending pending) {
    assert_true(world->pending_count < PENDING_MAX);
    world->pending[world->pending_count++] = pending;
}

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

struct answer model_changed(struct world *world, uint16_t channel, bool no_wait) {
    struct answer answer = {.name = "1"};
    if (model_chance(world, 40)) return answer;
    if (world->ticket == 0 || model_chance(world, 60)) world->ticket++;
    answer.ticket = world->ticket;
    answer.messages = (uint32_t)answer.ticket;
    if (!no_wait) world->channels[channel].ticket = answer.ticket;
    return answer;
}

/* The name says what the client wants: here "w" is no_wait. */
static bool on_change(void *host, uint16_t channel, uint32_t request, const struct change *change,
    struct answer *ret_answer) {
    struct world *world = host;
    bool no_wait = change->name.data[0] == 'w';
    if (model_chance(world, 40)) {
        *ret_answer = model_changed(world, channel, no_wait);
        return true;
    }
    put_pending(world, (struct model_pending){PENDING_CHANGE, channel, request, 0, 0, no_wait});
    return false;
}

struct answer model_consumed(struct world *world, uint32_t index) {
    struct model_consumer *consumer = &world->consumers[index];
    consumer->alive = true;
    return (struct answer){.queue = consumer->queue, .consumer = index + 1};
}

static bool on_consume(void *host, uint16_t channel, uint32_t request,
    const struct consume_request *consume, struct answer *ret_answer) {
    struct world *world = host;
    assert_int_equal(request, consume->tag_id);
    if (world->consumer_count == CONSUMERS_MAX) {
        *ret_answer = (struct answer){.code = REPLY_ACCESS_REFUSED, .text = "enough"};
        return true;
    }
    uint32_t index = world->consumer_count++;
    world->consumers[index] = (struct model_consumer){
        .tag_id = request,
        .queue = (queue_ref)(consume->queue.data[0] - '0'),
        .channel = channel,
        .no_ack = consume->flags & OP_NO_ACK,
        .shared = consume->flags & OP_SHARED,
    };
    assert_false(world->consumers[index].no_ack && world->consumers[index].shared);
    if (model_chance(world, 30)) {
        *ret_answer = model_consumed(world, index);
        return true;
    }
    put_pending(world, (struct model_pending){PENDING_CONSUME, channel, request, index, 0, false});
    return false;
}

static void on_cancel(void *host, uint16_t channel, uint32_t request, queue_ref queue,
    uint32_t tag_id, consumer_handle handle) {
    struct world *world = host;
    assert_in_range(handle, 1, world->consumer_count);
    struct model_consumer *consumer = &world->consumers[handle - 1];
    assert_int_equal(consumer->tag_id, tag_id);
    assert_int_equal(consumer->queue, queue);
    assert_int_equal(consumer->channel, channel);
    if (request == 0) {
        consumer->alive = false;
        return;
    }
    put_pending(
        world, (struct model_pending){PENDING_CANCEL, channel, request, handle - 1, 0, false});
}

uint64_t model_take_seq(struct world *world, queue_ref queue, bool no_ack) {
    uint64_t seq = world->next_seq[queue]++;
    assert_true(seq < SEQS_MAX);
    world->state[queue][seq] = no_ack ? SEQ_SETTLED : SEQ_OUT;
    return seq;
}

struct message *model_new_message(struct world *world, uint16_t channel) {
    uint32_t size = model_chance(world, 10) ? model_below(world, 20000) : model_below(world, 50);
    const uint64_t *ticket = &world->channels[channel].ticket;
    struct message *message = message_new(
        world->pool, BYTES(""), bytes_of(ticket, sizeof *ticket), bytes_of("\0\0", 2), size);
    memset(message_body_data(message), 'm', size);
    return message;
}

struct answer model_got(struct world *world, uint16_t channel, queue_ref queue, bool no_ack) {
    struct answer answer = {.queue = queue};
    if (model_chance(world, 30) || world->next_seq[queue] == SEQS_MAX) return answer;
    answer.message = model_new_message(world, channel);
    answer.seq = model_take_seq(world, queue, no_ack);
    return answer;
}

static bool on_get(void *host, uint16_t channel, uint32_t request, struct bytes queue, bool no_ack,
    struct answer *ret_answer) {
    struct world *world = host;
    queue_ref ref = (queue_ref)(queue.data[0] - '0');
    if (model_chance(world, 30)) {
        *ret_answer = model_got(world, channel, ref, no_ack);
        return true;
    }
    put_pending(world, (struct model_pending){PENDING_GET, channel, request, 0, ref, no_ack});
    return false;
}

static bool on_purge(
    void *host, uint16_t channel, uint32_t request, struct bytes queue, struct answer *ret_answer) {
    (void)host;
    (void)channel;
    (void)request;
    (void)queue;
    ret_answer->code = REPLY_OK;
    return true;
}

static void on_settle(void *host, const struct settle *settle) {
    struct world *world = host;
    assert_in_range(settle->queue, 1, QUEUES);
    assert_true(settle->count != 0);
    for (uint32_t i = 0; i < settle->count; i++) {
        assert_int_equal(world->state[settle->queue][settle->seq + i], SEQ_OUT);
        world->state[settle->queue][settle->seq + i] = SEQ_SETTLED;
    }
}

static void on_fence(void *host, uint16_t channel, uint32_t request, bool stable) {
    (void)stable;
    put_pending(host, (struct model_pending){PENDING_FENCE, channel, request, 0, 0, false});
}

static void on_grant(void *host, queue_ref queue, uint16_t channel, uint32_t tag_id,
    consumer_handle handle, uint32_t count) {
    struct world *world = host;
    struct model_consumer *consumer = &world->consumers[handle - 1];
    assert_int_equal(consumer->tag_id, tag_id);
    assert_int_equal(consumer->queue, queue);
    assert_int_equal(consumer->channel, channel);
    assert_false(consumer->no_ack);
    consumer->shared = true;
    if (count == 0) return;
    assert_true(consumer->asked);
    consumer->asked = false;
    consumer->tokens += count;
}

static void on_publish(
    void *host, const struct publish *publish, struct publish_result *ret_result) {
    struct world *world = host;
    *ret_result = (struct publish_result){.queues = model_below(world, 3)};
    if (!publish->held && prng_below(&world->prng, 1000) < 3) {
        ret_result->code = REPLY_NOT_FOUND;
        return;
    }
    if (publish->seqno == 0 || ret_result->queues == 0) return;
    ret_result->confirms = 1 + model_below(world, 3);
}

/* Confirm mode's publishes are remembered by the numbers they get; those of a tx share one. */
static void on_publish_noted(
    void *host, const struct publish *publish, struct publish_result *ret_result) {
    struct world *world = host;
    on_publish(host, publish, ret_result);
    if (publish->seqno == 0 || ret_result->code != REPLY_OK) return;
    assert_true(world->publish_count < PUBLISHES_MAX);
    world->publishes[world->publish_count++] = (struct model_publish){
        .seqno = publish->seqno,
        .epoch = publish->epoch,
        .channel = publish->channel,
        .left = ret_result->confirms,
    };
}

static void on_hold(void *host, const struct publish *publish, struct publish_result *ret_result,
    struct held_route **ret_held) {
    (void)publish;
    *ret_result = (struct publish_result){.queues = 1};
    if (model_chance(host, 1))
        ret_result->code = REPLY_NOT_FOUND;
    else
        *ret_held = NEW(struct held_route);
}

static enum reply_code on_look(void *host, struct bytes exchange, char text[256]) {
    (void)exchange;
    text[0] = 0;
    return model_chance(host, 1) ? REPLY_NOT_FOUND : REPLY_OK;
}

static void on_leave(void *host) {
    ((struct world *)host)->left = true;
}

static void on_finish(void *host) {
    ((struct world *)host)->finished = true;
}

static void on_wake(void *host) {
    ((struct world *)host)->woken = true;
}

static void on_random(void *host, uint8_t *data, size_t size) {
    struct world *world = host;
    for (size_t i = 0; i < size; i++)
        data[i] = (uint8_t)prng_next(&world->prng);
}

const struct session_calls MODEL_CALLS = {
    .login = on_login,
    .open_vhost = on_vhost,
    .change = on_change,
    .consume = on_consume,
    .cancel = on_cancel,
    .get = on_get,
    .purge = on_purge,
    .settle = on_settle,
    .fence = on_fence,
    .grant = on_grant,
    .publish = on_publish_noted,
    .hold = on_hold,
    .look = on_look,
    .leave = on_leave,
    .finish = on_finish,
    .wake = on_wake,
    .random = on_random,
};
