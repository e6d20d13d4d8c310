/* session_model_test: random conversations over several channels, with a host that answers late and
 * a client that reads everything. What must hold at every step and at the end:
 *
 *   every delivery is settled exactly once, whoever closes what and when
 *   what a client is told to be confirmed had all its confirms
 *   no client hears of a change before its commit is stable, nor what its channel said later
 *   a consumer that needs tokens is granted no more than the limit leaves
 *   nothing is left in memory
 */
#include "model_host.h"

#include "amqp/frame.h"
#include "base/memory.h"

enum { STEPS = 1200 };

/* ---- the client's ears ---- */

static void hear_delivery(
    struct world *world, uint16_t number, uint64_t tag, struct bytes routing_key) {
    struct model_channel *channel = &world->channels[number];
    uint64_t ticket;
    assert_int_equal(routing_key.size, sizeof ticket);
    memcpy(&ticket, routing_key.data, sizeof ticket);
    assert_true(ticket <= world->stable);
    assert_true(channel->open);
    if (channel->tag_count == TAGS_MAX) return;
    channel->tags[channel->tag_count++] = tag;
    world->delivered_count++;
}

/* Everything it covers that was not told before had all its confirms, and the same verdict. */
static void hear_confirm(
    struct world *world, uint16_t number, uint64_t seqno, bool multiple, bool ok) {
    struct model_channel *channel = &world->channels[number];
    bool found = false;
    for (uint32_t i = channel->first_publish; i < world->publish_count; i++) {
        struct model_publish *publish = &world->publishes[i];
        if (publish->channel != number || publish->told) continue;
        if (publish->seqno > seqno || (!multiple && publish->seqno != seqno)) continue;
        assert_int_equal(publish->left, 0);
        assert_int_equal(publish->refused, !ok);
        publish->told = true;
        found |= publish->seqno == seqno;
        world->confirmed_count++;
    }
    assert_true(found);
}

static void say_method(struct world *world, uint16_t channel, const struct method *method);

static void channel_is_gone(struct world *world, uint16_t number) {
    struct model_channel *channel = &world->channels[number];
    channel->open = false;
    channel->closing = false;
    channel->tag_count = 0;
    channel->first_publish = world->publish_count;
}

static void hear_method(struct world *world, uint16_t channel, const struct method *method) {
    switch ((int)method->kind) {
    case METHOD_basic_deliver:
        hear_delivery(
            world, channel, method->basic_deliver.delivery_tag, method->basic_deliver.routing_key);
        break;
    case METHOD_basic_get_ok:
        hear_delivery(
            world, channel, method->basic_get_ok.delivery_tag, method->basic_get_ok.routing_key);
        break;
    case METHOD_queue_declare_ok:
        assert_true(method->queue_declare_ok.message_count <= world->stable);
        world->changed_count += method->queue_declare_ok.message_count != 0;
        break;
    case METHOD_basic_ack:
        hear_confirm(
            world, channel, method->basic_ack.delivery_tag, method->basic_ack.multiple, true);
        break;
    case METHOD_basic_nack:
        hear_confirm(
            world, channel, method->basic_nack.delivery_tag, method->basic_nack.multiple, false);
        break;
    case METHOD_channel_close_ok: channel_is_gone(world, channel); break;
    case METHOD_channel_close:
        channel_is_gone(world, channel);
        say_method(world, channel, &(struct method){.kind = METHOD_channel_close_ok});
        break;
    case METHOD_connection_close: world->over = true; break;
    case METHOD_connection_close_ok:
        for (uint16_t i = 1; i <= CHANNELS; i++)
            assert_true(world->channels[i].ticket <= world->stable);
        world->closed = true;
        break;
    default: break;
    }
}

static void listen(struct world *world) {
    struct outbox *outbox = session_outbox(world->session);
    struct iovec vectors[4];
    for (uint32_t count; (count = outbox_vectors(outbox, vectors, 4)) != 0;) {
        uint64_t size = 0;
        for (uint32_t i = 0; i < count; i++) {
            assert_true(buffer_put(&world->heard, vectors[i].iov_base, vectors[i].iov_len));
            size += vectors[i].iov_len;
        }
        outbox_written(outbox, size);
    }
    size_t at = 0;
    struct frame frame;
    uint32_t taken;
    while (frame_parse(bytes_of(world->heard.data + at, world->heard.size - at), 0, &frame,
               &taken) == FRAME_COMPLETE) {
        at += taken;
        struct method method;
        if (frame.type != FRAME_METHOD) continue;
        assert_true(method_decode(frame.payload, &method));
        hear_method(world, frame.channel, &method);
        if (world->heard.size == 0) return; /* hearing it made us hear more */
    }
    buffer_drop(&world->heard, at);
}

/* ---- the client's mouth ---- */

/* Whole or in two pieces. */
static void say_bytes(struct world *world, struct bytes bytes) {
    uint32_t first = model_chance(world, 30) ? model_below(world, bytes.size + 1) : bytes.size;
    session_on_bytes(world->session, bytes_of(bytes.data, first), 1);
    session_on_bytes(world->session, bytes_of(bytes.data + first, bytes.size - first), 1);
}

static void say_method(struct world *world, uint16_t channel, const struct method *method) {
    uint8_t memory[2048];
    struct writer writer = writer_over(memory, sizeof memory);
    frame_put_method(&writer, channel, method);
    assert_false(writer.bad);
    say_bytes(world, writer_bytes(&writer));
}

static struct bytes queue_name(struct world *world) {
    static const char *const names[] = {"1", "2", "3"};
    return bytes_text(names[model_below(world, QUEUES)]);
}

static struct bytes tag_name(struct world *world) {
    static const char *const names[] = {"a", "b", "c", "d", "e", "f", "g", "h"};
    return bytes_text(names[model_below(world, 8)]);
}

static void say_publish(struct world *world, uint16_t channel) {
    static uint8_t body[9000];
    uint8_t memory[12000];
    uint32_t size =
        model_chance(world, 20) ? model_below(world, sizeof body) : model_below(world, 40);
    struct method publish = {.kind = METHOD_basic_publish,
        .basic_publish = {.routing_key = BYTES("key"), .mandatory = model_chance(world, 20)}};
    struct writer writer = writer_over(memory, sizeof memory);
    frame_put_method(&writer, channel, &publish);
    frame_put_header(&writer, channel, size, bytes_of("\0\0", 2));
    frame_put_body(&writer, channel, bytes_of(body, size), 4096);
    assert_false(writer.bad);
    say_bytes(world, writer_bytes(&writer));
}

/* One of the tags that wait, or rarely one that does not. */
static uint64_t some_tag(struct world *world, struct model_channel *channel, bool multiple) {
    if (channel->tag_count == 0 || model_chance(world, 1)) return model_below(world, 50);
    uint32_t index = model_chance(world, 60) ? 0 : model_below(world, channel->tag_count);
    uint64_t tag = channel->tags[index];
    uint32_t kept = 0;
    for (uint32_t i = 0; i < channel->tag_count; i++) {
        bool gone = channel->tags[i] == tag || (multiple && channel->tags[i] < tag);
        if (!gone) channel->tags[kept++] = channel->tags[i];
    }
    channel->tag_count = kept;
    return tag;
}

static void say_settlement(struct world *world, uint16_t number) {
    struct model_channel *channel = &world->channels[number];
    bool multiple = model_chance(world, 20);
    if (channel->tag_count == 0 && !model_chance(world, 1)) return;
    uint64_t tag = some_tag(world, channel, multiple);
    struct method method = {0};
    uint32_t how = model_below(world, 4);
    if (how <= 1) {
        method.kind = METHOD_basic_ack;
        method.basic_ack = (struct amqp_basic_ack){tag, multiple};
    } else if (how == 2 || multiple) {
        method.kind = METHOD_basic_nack;
        method.basic_nack = (struct amqp_basic_nack){tag, multiple, model_chance(world, 50)};
    } else {
        method.kind = METHOD_basic_reject;
        method.basic_reject = (struct amqp_basic_reject){tag, model_chance(world, 50)};
    }
    say_method(world, number, &method);
}

static void say_rare(struct world *world, uint16_t number) {
    struct method method = {0};
    bool tx = world->channels[number].tx || model_chance(world, 5);
    switch (tx ? model_below(world, 6) : 3 + model_below(world, 5)) {
    case 0:
    case 1: method.kind = METHOD_tx_commit; break;
    case 2: method.kind = METHOD_tx_rollback; break;
    case 3:
        method.kind = METHOD_channel_flow;
        method.channel_flow.active = true;
        break;
    case 4:
        method.kind = METHOD_channel_close;
        world->channels[number].closing = true;
        break;
    case 5:
    case 6:
        method.kind = METHOD_basic_recover;
        method.basic_recover.requeue = true;
        world->channels[number].tag_count = 0;
        break;
    default: method.kind = model_chance(world, 50) ? METHOD_tx_select : METHOD_confirm_select;
    }
    say_method(world, number, &method);
}

static void say_something(struct world *world) {
    uint16_t number = (uint16_t)(1 + model_below(world, CHANNELS));
    struct model_channel *channel = &world->channels[number];
    if (channel->closing) return;
    if (!channel->open) {
        channel->open = true;
        say_method(world, number, &(struct method){.kind = METHOD_channel_open});
        channel->tx = model_chance(world, 30);
        if (channel->tx) {
            say_method(world, number, &(struct method){.kind = METHOD_tx_select});
        } else if (model_chance(world, 60)) {
            say_method(world, number, &(struct method){.kind = METHOD_confirm_select});
        }
        return;
    }
    struct method method = {0};
    uint32_t what = model_below(world, 100);
    if (what < 25) {
        say_publish(world, number);
    } else if (what < 30) {
        bool no_wait = model_chance(world, 20);
        method.kind = METHOD_queue_declare;
        method.queue_declare = (struct amqp_queue_declare){
            .queue = no_wait ? BYTES("w") : BYTES("1"), .no_wait = no_wait};
        say_method(world, number, &method);
    } else if (what < 65) {
        say_settlement(world, number);
    } else if (what < 75) {
        method.kind = METHOD_basic_consume;
        method.basic_consume = (struct amqp_basic_consume){.queue = queue_name(world),
            .consumer_tag = model_chance(world, 90) ? bytes_of(NULL, 0) : tag_name(world),
            .no_ack = model_chance(world, 30),
            .no_wait = model_chance(world, 20)};
        say_method(world, number, &method);
    } else if (what < 80) {
        method.kind = METHOD_basic_cancel;
        method.basic_cancel.consumer_tag = tag_name(world);
        say_method(world, number, &method);
    } else if (what < 90) {
        method.kind = METHOD_basic_get;
        method.basic_get.queue = queue_name(world);
        method.basic_get.no_ack = model_chance(world, 30);
        say_method(world, number, &method);
    } else if (what < 95) {
        method.kind = METHOD_basic_qos;
        method.basic_qos.prefetch_count = (uint16_t)model_below(world, 10);
        method.basic_qos.global = model_chance(world, 60);
        say_method(world, number, &method);
    } else {
        say_rare(world, number);
    }
}

/* ---- the broker ---- */

static void answer_one(struct world *world) {
    if (world->pending_count == 0) return;
    struct model_pending pending = world->pending[0];
    world->pending_count--;
    memmove(world->pending, world->pending + 1, world->pending_count * sizeof world->pending[0]);
    struct answer answer = {0};
    if (pending.kind == PENDING_CONSUME) {
        answer = model_consumed(world, pending.consumer);
        if (model_chance(world, 10)) {
            world->consumers[pending.consumer].alive = false;
            answer = (struct answer){.code = REPLY_NOT_FOUND, .text = "no such queue"};
        }
    } else if (pending.kind == PENDING_CANCEL) {
        world->consumers[pending.consumer].alive = false;
    } else if (pending.kind == PENDING_GET) {
        answer = model_got(world, pending.channel, pending.queue, pending.no_ack);
        /* A late no-ack answer may be given back; the queue would ignore that. */
        if (answer.message && pending.no_ack) world->state[answer.queue][answer.seq] = SEQ_OUT;
    } else if (pending.kind == PENDING_CHANGE) {
        answer = model_changed(world, pending.channel, pending.no_ack);
    }
    session_on_answer(world->session, pending.channel, pending.request, &answer, 1);
    if (pending.kind == PENDING_GET && answer.message && pending.no_ack)
        world->state[answer.queue][answer.seq] = SEQ_SETTLED;
}

static struct effect effect_for(const struct world *world, uint32_t index, enum effect_kind kind) {
    const struct model_consumer *consumer = &world->consumers[index];
    return (struct effect){
        .kind = (uint8_t)kind,
        .channel = consumer->channel,
        .tag_id = consumer->tag_id,
        .consumer = index + 1,
    };
}

static void deliver(struct world *world, uint32_t index) {
    struct model_consumer *consumer = &world->consumers[index];
    if (consumer->shared && consumer->tokens == 0) return;
    if (world->next_seq[consumer->queue] == SEQS_MAX) return;
    struct effect effect = effect_for(world, index, EFFECT_DELIVER);
    if (consumer->shared) consumer->tokens--;
    effect.flags = consumer->no_ack ? EFFECT_NO_ACK : 0;
    effect.message = model_new_message(world, consumer->channel);
    effect.seq = model_take_seq(world, consumer->queue, consumer->no_ack);
    session_on_deliver(world->session, consumer->queue, &effect, 1);
}

static void tokens(struct world *world, uint32_t index) {
    struct model_consumer *consumer = &world->consumers[index];
    struct effect effect = effect_for(world, index, EFFECT_TOKENS_BACK);
    if (consumer->tokens != 0) {
        effect.consumers = consumer->tokens;
        consumer->tokens = 0;
    } else if (consumer->shared && !consumer->asked) {
        effect.kind = EFFECT_TOKENS_WANTED;
        effect.consumers = 1 + model_below(world, 20);
        consumer->asked = true;
    } else {
        return;
    }
    session_on_tokens(world->session, consumer->queue, &effect);
}

static void commit_some(struct world *world) {
    world->stable += model_below(world, (uint32_t)(world->ticket - world->stable) + 1);
    session_on_stable(world->session, world->stable);
}

static void broker_step(struct world *world) {
    if (model_chance(world, 5)) commit_some(world);
    if (world->consumer_count == 0 || model_chance(world, 30)) {
        answer_one(world);
        return;
    }
    uint32_t index = world->consumer_count - 1 -
                     model_below(world, (uint32_t)min_u64(world->consumer_count, 20));
    struct model_consumer *consumer = &world->consumers[index];
    /* Now and then something comes from a queue that has not heard of the cancel. */
    if (!consumer->alive && !model_chance(world, 3)) return;
    if (consumer->tag_id == 0) return;
    uint32_t what = model_below(world, 100);
    if (what < 70) {
        for (uint32_t i = model_below(world, 5); i > 0; i--)
            deliver(world, index);
    } else if (what < 97) {
        tokens(world, index);
    } else {
        struct effect effect = effect_for(world, index, EFFECT_CONSUMER_LOST);
        consumer->alive = false;
        session_on_consumer_lost(world->session, &effect);
    }
}

static void confirm_one(struct world *world, struct model_publish *publish) {
    if (publish->left == 0) return;
    bool ok = !model_chance(world, 3);
    publish->left--;
    if (!ok) publish->refused = true;
    session_on_confirm(world->session, publish->channel, publish->epoch, publish->seqno, ok);
}

static void confirm_some(struct world *world) {
    for (uint32_t tries = model_below(world, 10); tries > 0 && world->publish_count != 0; tries--) {
        uint32_t back = model_below(world, (uint32_t)min_u64(world->publish_count, 40));
        confirm_one(world, &world->publishes[world->publish_count - 1 - back]);
    }
}

/* ---- runs ---- */

static void log_in(struct world *world) {
    static const struct session_settings settings = {
        .product = "Godwit",
        .version = "1",
        .cluster_name = "here",
        .frame_max = FRAME_MAX_DEFAULT,
        .channel_max = CHANNELS_PER_CONNECTION_MAX,
        .message_bytes_max = 1 << 20,
    };
    world->session = session_new(&settings, &MODEL_CALLS, world, 7, world->pool, &world->chunks);
    session_on_bytes(
        world->session, bytes_of(FRAME_PROTOCOL_HEADER, sizeof FRAME_PROTOCOL_HEADER), 1);
    say_method(world, 0,
        &(struct method){.kind = METHOD_connection_start_ok,
            .connection_start_ok = {.mechanism = BYTES("PLAIN"),
                .response = bytes_of("\0guest\0guest", 12),
                .locale = BYTES("en_US")}});
    session_on_login(world->session, true, 1);
    say_method(world, 0,
        &(struct method){.kind = METHOD_connection_tune_ok,
            .connection_tune_ok = {.channel_max = 2047, .frame_max = 4096}});
    say_method(world, 0,
        &(struct method){
            .kind = METHOD_connection_open, .connection_open = {.virtual_host = BYTES("/")}});
    listen(world);
    assert_false(world->left);
}

static void finish(struct world *world) {
    if (!world->left) session_on_disconnect(world->session, 1);
    session_check(world->session);
    while (world->pending_count != 0)
        answer_one(world);
    for (uint64_t queue = 1; queue <= QUEUES; queue++) {
        for (uint64_t seq = 0; seq < world->next_seq[queue]; seq++)
            assert_int_equal(world->state[queue][seq], SEQ_SETTLED);
    }
    session_free(world->session);
    assert_int_equal(world->chunks.used_count, 0);
    chunk_pool_deinit(&world->chunks);
    assert_int_equal(message_pool_count(world->pool), 0);
    message_pool_free(world->pool);
    buffer_deinit(&world->heard);
}

/* The client closes: all that it was promised comes before close-ok. */
static void close_connection(struct world *world) {
    say_method(world, 0, &(struct method){.kind = METHOD_connection_close});
    for (int tries = 0; !world->left; tries++) {
        assert_true(tries < 10000);
        answer_one(world);
        for (uint32_t i = 0; i < world->publish_count; i++)
            confirm_one(world, &world->publishes[i]);
    }
    listen(world);
    if (model_chance(world, 50)) session_on_left(world->session, 1);
    while (session_holds(world->session)) {
        assert_false(world->finished);
        commit_some(world);
        session_check(world->session);
        listen(world);
    }
    session_on_left(world->session, 1);
    listen(world);
    assert_true(world->finished);
    assert_true(world->closed);
}

static void run(uint64_t seed, struct world *totals) {
    struct world *world = NEW(struct world);
    prng_init(&world->prng, seed);
    world->pool = message_pool_new(0);
    buffer_init(&world->heard, 1 << 28);
    log_in(world);
    for (int step = 0; step < STEPS && !world->left; step++) {
        uint32_t what = model_below(world, 100);
        if (what < 45) {
            say_something(world);
        } else if (what < 80) {
            broker_step(world);
        } else if (what < 90) {
            confirm_some(world);
        } else if (world->woken) {
            world->woken = false;
            session_flush(world->session, 1);
        }
        listen(world);
        if (step % 8 == 0) session_check(world->session);
    }
    totals->delivered_count += world->delivered_count;
    totals->confirmed_count += world->confirmed_count;
    totals->changed_count += world->changed_count;
    if (!world->left && model_chance(world, 50)) close_connection(world);
    totals->closed |= world->closed;
    finish(world);
    mem_free(world);
}

static void conversations_leave_nothing_behind(void **state) {
    (void)state;
    struct world *totals = NEW(struct world);
    for (uint64_t seed = 0; seed < 150; seed++)
        run(seed, totals);
    /* The runs have not been about nothing. */
    assert_true(totals->delivered_count > 5000);
    assert_true(totals->confirmed_count > 1000);
    assert_true(totals->changed_count > 500);
    assert_true(totals->closed);
    mem_free(totals);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conversations_leave_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
