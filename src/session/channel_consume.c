/* channel_consume: consumers from basic.consume to basic.cancel, their deliveries, the prefetch,
 * and direct reply-to. */
#include "amqp/table.h"
#include "base/str.h"
#include "core/term.h"
#include "session/base64url.h"
#include "session/channel_basic.h"
#include "session/consuming.h"
#include "session/held.h"

enum { TAG_RANDOM_BYTES = 16 };

static_assert(SHORTSTR_BYTES_MAX == 255, "the sizes of tags are octets");

struct consuming *channel_get_consuming(struct channel *channel) {
    if (!channel->consuming) {
        const struct session *session = channel->session;
        uint64_t seed;
        session->calls->random(session->host, (uint8_t *)&seed, sizeof seed);
        channel->consuming = consuming_new(seed);
    }
    return channel->consuming;
}

/* ---- consume ---- */

/* The client's tag, or "amq.ctag-" and 128 random bits in `memory`. */
static struct bytes choose_tag(
    const struct session *session, struct bytes tag, uint8_t memory[SHORTSTR_BYTES_MAX]) {
    if (tag.size != 0) return tag;
    struct bytes prefix = BYTES("amq.ctag-");
    uint8_t random[TAG_RANDOM_BYTES];
    session->calls->random(session->host, random, sizeof random);
    memcpy(memory, prefix.data, prefix.size);
    base64url_encode(bytes_of(random, sizeof random), memory + prefix.size);
    return bytes_of(memory, prefix.size + BASE64URL_CHARACTERS(sizeof random));
}

static void reply_consume_ok(struct channel *channel, struct bytes tag) {
    if (channel->no_wait) return;
    channel_reply(channel, &(struct method){.kind = METHOD_basic_consume_ok,
                               .basic_consume_ok = {.consumer_tag = tag}});
}

/* The pseudo queue of direct reply-to: one consumer per channel, which cannot ack. It has a tag of
 * its own, apart from those of the others. */
static void consume_replies(struct channel *channel, const struct amqp_basic_consume *arguments) {
    struct session *session = channel->session;
    struct consuming *consuming = channel_get_consuming(channel);
    if (!arguments->no_ack) {
        channel_fault(channel, REPLY_PRECONDITION_FAILED, "reply consumer cannot acknowledge");
        return;
    }
    if (consuming->has_reply) {
        channel_fault(channel, REPLY_PRECONDITION_FAILED, "reply consumer already set");
        return;
    }
    uint8_t memory[SHORTSTR_BYTES_MAX];
    struct bytes tag = choose_tag(session, arguments->consumer_tag, memory);
    uint8_t random[REPLY_TO_RANDOM_BYTES];
    session->calls->random(session->host, random, sizeof random);
    reply_to_make(session->self, channel->number, random, consuming->reply_key);
    consuming->has_reply = true;
    consuming->reply_tag_size = (uint8_t)tag.size;
    bytes_copy(consuming->reply_tag, tag.data, tag.size);
    reply_consume_ok(channel, tag);
}

/* Raises the fault of an argument that cannot be; `reason` is the text's end. */
static void refuse_argument(
    struct channel *channel, const struct field *field, struct bytes queue, const char *reason) {
    struct bytes vhost = channel->session->subject.vhost;
    channel_fault(channel, REPLY_PRECONDITION_FAILED,
        "invalid arg '%.*s' for queue '%.*s' in vhost '%.*s'%s", (int)field->name.size,
        (const char *)field->name.data, (int)queue.size, (const char *)queue.data, (int)vhost.size,
        (const char *)vhost.data, reason);
}

static int32_t clamp_priority(int64_t priority) {
    if (priority > INT32_MAX) return INT32_MAX;
    return priority < INT32_MIN ? INT32_MIN : (int32_t)priority;
}

/* Reads the arguments that mean something; false when the fault has been raised. */
static bool read_arguments(struct channel *channel, struct consume_request *request) {
    char reason[64];
    struct field field;
    int64_t priority = 0;
    if (table_find(request->arguments, BYTES("x-priority"), &field) &&
        !field_integer(&field, &priority)) {
        str_format(reason, sizeof reason, ": \"expected integer, got %s\"", term_type_name(&field));
        refuse_argument(channel, &field, request->queue, reason);
        return false;
    }
    request->priority = clamp_priority(priority);
    if (table_find(request->arguments, BYTES("x-cancel-on-ha-failover"), &field) &&
        field.type != 't') {
        str_format(reason, sizeof reason, ": {unacceptable_type,%s}", term_type_name(&field));
        refuse_argument(channel, &field, request->queue, reason);
        return false;
    }
    if (table_find(request->arguments, BYTES("x-stream-offset"), &field)) {
        refuse_argument(channel, &field, request->queue, " of queue type rabbit_classic_queue");
        return false;
    }
    return true;
}

static void ask_to_consume(
    struct channel *channel, struct consume_request *request, struct channel_consumer *consumer) {
    struct session *session = channel->session;
    struct answer answer = {0};
    channel->consuming->waiting = consumer;
    bool now =
        session->calls->consume(session->host, channel->number, request->tag_id, request, &answer);
    if (now) {
        channel_on_consumed(channel, &answer);
    } else {
        channel_park(channel, WAIT_CONSUME, request->tag_id);
    }
}

void channel_on_basic_consume(struct channel *channel, const struct amqp_basic_consume *arguments) {
    struct session *session = channel->session;
    struct consuming *consuming = channel_get_consuming(channel);
    struct bytes tag = arguments->consumer_tag;
    struct bytes queue;
    channel->no_wait = arguments->no_wait;
    if (!channel_name_queue(channel, arguments->queue, &queue)) return;
    if (consuming_find_tag(consuming, tag)) {
        channel_fault(channel, REPLY_NOT_ALLOWED, "attempt to reuse consumer tag '%.*s'",
            (int)tag.size, (const char *)tag.data);
        return;
    }
    if (bytes_equal(queue, BYTES(REPLY_TO_QUEUE))) {
        consume_replies(channel, arguments);
        return;
    }
    if (consuming->by_id.count >= CONSUMERS_PER_CHANNEL_MAX) {
        channel_fault(channel, REPLY_NOT_ALLOWED, "reached maximum (%u) of consumers per channel",
            (unsigned)CONSUMERS_PER_CHANNEL_MAX);
        return;
    }
    bool shared = !arguments->no_ack && consuming->tokens.limit != 0;
    struct consume_request request = {
        .queue = queue,
        .arguments = arguments->arguments,
        .tag_id = connection_next_id(session),
        .prefetch = channel->prefetch,
        .flags = (uint8_t)((arguments->no_ack ? OP_NO_ACK : 0) |
                           (arguments->exclusive ? OP_EXCLUSIVE : 0) | (shared ? OP_SHARED : 0)),
    };
    if (!channel_authorize(channel, ACCESS_READ, ACCESS_QUEUE, queue)) return;
    if (!read_arguments(channel, &request)) return;
    uint8_t memory[SHORTSTR_BYTES_MAX];
    tag = choose_tag(session, tag, memory);
    struct channel_consumer *consumer =
        consuming_put(consuming, &channel->consumers, tag, request.tag_id);
    consumer->no_ack = arguments->no_ack;
    consumer->shared = shared;
    ask_to_consume(channel, &request, consumer);
}

void channel_on_consumed(struct channel *channel, const struct answer *answer) {
    struct consuming *consuming = channel->consuming;
    struct channel_consumer *consumer = consuming->waiting;
    check(consumer != NULL);
    check(consumer->stage == CONSUMER_ASKED);
    consuming->waiting = NULL;
    if (answer->code != REPLY_OK) {
        consuming_remove(consuming, consumer);
        channel_fault(channel, answer->code, "%s", answer->text);
        return;
    }
    check(answer->queue != 0);
    consumer->stage = CONSUMER_CONSUMING;
    consumer->queue = answer->queue;
    consumer->handle = answer->consumer;
    channel->consumer_count++;
    if (!channel->no_wait) held_wait(channel, answer->ticket);
    reply_consume_ok(channel, channel_consumer_tag(consumer));
}

/* ---- cancel ---- */

static void reply_cancel_ok(struct channel *channel, struct bytes tag) {
    if (channel->no_wait) return;
    channel_reply(channel,
        &(struct method){.kind = METHOD_basic_cancel_ok, .basic_cancel_ok = {.consumer_tag = tag}});
}

static void remove_consumer(struct channel *channel, struct channel_consumer *consumer) {
    check(channel->consumer_count > 0);
    channel->consumer_count--;
    consuming_remove(channel->consuming, consumer);
    channel_lend_tokens(channel);
}

static bool is_reply_consumer(const struct consuming *consuming, struct bytes tag) {
    struct bytes own = bytes_of(consuming->reply_tag, consuming->reply_tag_size);
    return consuming->has_reply && bytes_equal(own, tag);
}

void channel_on_basic_cancel(struct channel *channel, const struct amqp_basic_cancel *arguments) {
    struct session *session = channel->session;
    struct consuming *consuming = channel->consuming;
    struct bytes tag = arguments->consumer_tag;
    channel->no_wait = arguments->no_wait;
    if (consuming && is_reply_consumer(consuming, tag)) {
        consuming->has_reply = false;
        reply_cancel_ok(channel, tag);
        return;
    }
    struct channel_consumer *consumer = consuming ? consuming_find_tag(consuming, tag) : NULL;
    if (!consumer) {
        reply_cancel_ok(channel, tag);
        return;
    }
    check(consumer->stage == CONSUMER_CONSUMING);
    consumer->stage = CONSUMER_LEAVING;
    consuming->waiting = consumer;
    uint32_t request = connection_next_id(session);
    session->calls->cancel(session->host, channel->number, request, consumer->queue,
        consumer->tag_id, consumer->handle);
    channel_park(channel, WAIT_CANCEL, request);
}

void channel_on_cancelled(struct channel *channel, const struct answer *answer) {
    struct channel_consumer *consumer = channel->consuming->waiting;
    check(consumer != NULL);
    if (!channel->no_wait) held_wait(channel, answer->ticket);
    reply_cancel_ok(channel, channel_consumer_tag(consumer));
    remove_consumer(channel, consumer);
}

void channel_cancel_all(struct channel *channel) {
    const struct session *session = channel->session;
    list_for_safe (struct channel_consumer, consumer, &channel->consumers, in_channel) {
        /* One that is still ASKED is undone when its answer comes and finds nobody. */
        if (consumer->stage == CONSUMER_CONSUMING) {
            session->calls->cancel(session->host, channel->number, 0, consumer->queue,
                consumer->tag_id, consumer->handle);
        }
        consuming_remove(channel->consuming, consumer);
    }
    channel->consumer_count = 0;
    consuming_free(channel->consuming);
    channel->consuming = NULL;
}

/* ---- what comes from the queues ---- */

/* The consumer that an effect is for, or NULL when it is gone. */
static struct channel_consumer *find(
    const struct channel *channel, queue_ref queue, const struct effect *effect) {
    if (!channel->consuming) return NULL;
    struct channel_consumer *consumer = consuming_find(channel->consuming, effect->tag_id);
    return consumer && consumer->queue == queue ? consumer : NULL;
}

void channel_on_deliver(struct channel *channel, queue_ref queue, const struct effect *effect) {
    struct channel_consumer *consumer = find(channel, queue, effect);
    struct message *message = effect->message;
    struct delivery delivery = {.queue = queue, .seq = effect->seq, .consumer = effect->consumer};
    bool no_ack = effect->flags & EFFECT_NO_ACK;
    if (consumer) {
        struct amqp_basic_deliver deliver = {
            .consumer_tag = channel_consumer_tag(consumer),
            .delivery_tag = channel_next_tag(channel, &delivery, no_ack),
            .redelivered = effect->flags & EFFECT_REDELIVERED,
            .exchange = message_exchange(message),
            .routing_key = message_routing_key(message),
        };
        if (consumer->shared) tokens_take(&channel->consuming->tokens, &consumer->tokens, 1);
        struct outgoing outgoing = channel_outgoing(channel);
        outgoing_put_deliver(&outgoing, &deliver, message);
    } else if (!no_ack) {
        channel_settle(channel, &delivery, SETTLE_RETURN);
        channel_say_settled(channel);
    }
    message_unref(channel->session->pool, message);
}

void channel_on_consumer_lost(struct channel *channel, const struct effect *effect) {
    if (!channel->consuming) return;
    struct channel_consumer *consumer = consuming_find(channel->consuming, effect->tag_id);
    /* The answer to a cancel that is under way is all that the client wants to hear. */
    if (!consumer || consumer->stage != CONSUMER_CONSUMING) return;
    if (channel->session->client_can & CLIENT_CAN_CANCEL_NOTIFY) {
        channel_reply(channel,
            &(struct method){.kind = METHOD_basic_cancel,
                .basic_cancel = {.consumer_tag = channel_consumer_tag(consumer), .no_wait = true}});
    }
    remove_consumer(channel, consumer);
}

bool channel_awaits_reply(const struct channel *channel, struct bytes key) {
    const struct consuming *consuming = channel->consuming;
    return consuming && consuming->has_reply && reply_to_equal(key, consuming->reply_key);
}

void channel_on_reply(struct channel *channel, struct message *message) {
    const struct consuming *consuming = channel->consuming;
    if (channel_awaits_reply(channel, message_routing_key(message))) {
        struct amqp_basic_deliver deliver = {
            .consumer_tag = bytes_of(consuming->reply_tag, consuming->reply_tag_size),
            .delivery_tag = channel->next_delivery_tag++,
            .exchange = message_exchange(message),
            .routing_key = message_routing_key(message),
        };
        struct outgoing outgoing = channel_outgoing(channel);
        outgoing_put_deliver(&outgoing, &deliver, message);
    }
    message_unref(channel->session->pool, message);
}

/* ---- prefetch ---- */

void channel_on_tokens(struct channel *channel, queue_ref queue, const struct effect *effect) {
    struct channel_consumer *consumer = find(channel, queue, effect);
    if (!consumer || effect->consumers == 0) return;
    struct tokens *tokens = &channel->consuming->tokens;
    if (effect->kind == EFFECT_TOKENS_WANTED) {
        tokens_ask(tokens, &consumer->tokens, effect->consumers);
    } else {
        tokens_take(tokens, &consumer->tokens, effect->consumers);
    }
    channel_lend_tokens(channel);
}

/* Consumers that came before the shared prefetch take part in it from now on: a grant, here of
 * nothing, tells their queues that deliveries need tokens. */
static void share_all(struct channel *channel) {
    const struct session *session = channel->session;
    list_for (struct channel_consumer, consumer, &channel->consumers, in_channel) {
        if (consumer->shared || consumer->no_ack) continue;
        consumer->shared = true;
        session->calls->grant(
            session->host, consumer->queue, channel->number, consumer->tag_id, consumer->handle, 0);
    }
}

void channel_on_basic_qos(struct channel *channel, const struct amqp_basic_qos *arguments) {
    if (arguments->prefetch_size != 0) {
        channel_fault(channel, REPLY_NOT_IMPLEMENTED, "prefetch_size!=0 (%u)",
            (unsigned)arguments->prefetch_size);
        return;
    }
    if (!arguments->global) {
        /* As in RabbitMQ this lifts the shared prefetch. */
        channel->prefetch = arguments->prefetch_count;
        if (channel->consuming) channel->consuming->tokens.limit = 0;
    } else {
        struct consuming *consuming = channel_get_consuming(channel);
        consuming->tokens.limit = arguments->prefetch_count;
        if (arguments->prefetch_count != 0) share_all(channel);
    }
    channel_lend_tokens(channel);
    channel_reply(channel, &(struct method){.kind = METHOD_basic_qos_ok});
}
