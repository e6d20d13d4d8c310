/* channel_basic: get, ack, nack, reject, recover; confirms; the end of a turn and of a channel.
 *
 * Acks are gathered into runs and said below at the end of the turn. Rejects and requeues are said
 * at once: the next method of the channel may look at what they changed. */
#include "session/channel_basic.h"

#include "base/memory.h"
#include "session/channel_tx.h"
#include "session/confirms.h"
#include "session/consuming.h"
#include "session/held.h"
#include "session/publish.h"
#include "session/settling.h"

enum { GATHERED_MAX = 256 };

struct outgoing channel_outgoing(const struct channel *channel) {
    return (struct outgoing){held_outbox(channel), channel->session->frame_max, channel->number};
}

/* ---- the ledger ---- */

uint64_t channel_next_tag(struct channel *channel, const struct delivery *delivery, bool no_ack) {
    uint64_t tag = channel->next_delivery_tag++;
    if (no_ack) return tag;
    if (!channel->unacked) channel->unacked = NEW(struct unacked);
    struct delivery tagged = *delivery;
    tagged.tag = tag;
    unacked_put(channel->unacked, &tagged);
    return tag;
}

void channel_say_settled(struct channel *channel) {
    struct settle_runs *settled = channel->settled;
    if (!settled) return;
    const struct session *session = channel->session;
    for (uint32_t i = 0; i < settled->count; i++)
        session->calls->settle(session->host, &settled->runs[i]);
    mem_free(settled);
    channel->settled = NULL;
}

void channel_settle(struct channel *channel, const struct delivery *delivery, enum settle_how how) {
    if (channel->settled && settle_runs_put(channel->settled, delivery, how)) return;
    channel_say_settled(channel);
    channel->settled = mem_raw(sizeof *channel->settled);
    channel->settled->count = 0;
    bool put = settle_runs_put(channel->settled, delivery, how);
    check(put);
}

/* Deliveries that count against the shared prefetch. */
static uint64_t in_use(const struct channel *channel) {
    const struct unacked *unacked = channel->unacked;
    return unacked ? unacked->count - unacked->of_get_count : 0;
}

void channel_lend_tokens(struct channel *channel) {
    if (!channel->consuming) return;
    const struct session *session = channel->session;
    struct tokens *tokens = &channel->consuming->tokens;
    struct token_holder *holder;
    uint32_t count;
    while ((holder = tokens_lend(tokens, in_use(channel), &count)) != NULL) {
        const struct channel_consumer *consumer =
            CONTAINER_OF(holder, struct channel_consumer, tokens);
        session->calls->grant(session->host, consumer->queue, channel->number, consumer->tag_id,
            consumer->handle, count);
    }
}

/* ---- ack, nack, reject, recover ---- */

/* Very many are given back by and by: the next method waits for that, as it may look at what they
 * changed. */
static void wait_until_given_back(struct channel *channel) {
    struct session *session = channel->session;
    if (!settling_busy(session)) return;
    uint32_t request = connection_next_id(session);
    channel_park(channel, WAIT_SETTLED, request);
    settling_then(session, THEN_GO_ON, channel->number, request);
}

/* What was settled is said now or at the end of the turn; its room in the prefetch is free. While
 * more is being given back the channel waits, and lends then. */
static void after_settling(struct channel *channel, enum settle_how how) {
    if (channel->mode == MODE_TX) return;
    if (how == SETTLE_ACK) {
        channel_wake(channel);
    } else {
        channel_say_settled(channel);
        wait_until_given_back(channel);
        if (channel_is_parked(channel)) return;
    }
    channel_lend_tokens(channel);
}

static void settle_tag(struct channel *channel, uint64_t tag, enum settle_how how) {
    struct unacked *unacked = channel->unacked;
    struct delivery delivery;
    bool tx = channel->mode == MODE_TX;
    bool found = unacked && (tx ? unacked_mark(unacked, tag, &delivery)
                                : unacked_take(unacked, tag, &delivery));
    if (!found) {
        channel_fault(channel, REPLY_PRECONDITION_FAILED, "unknown delivery tag %llu",
            (unsigned long long)tag);
        return;
    }
    if (tx) {
        channel_tx_keep_settled(channel, &delivery, how);
    } else {
        channel_settle(channel, &delivery, how);
    }
    after_settling(channel, how);
}

/* Few acks are gathered with those of the rest of the turn. */
static void settle_many(struct channel *channel, uint64_t tag_max, enum settle_how how) {
    struct unacked *unacked = channel->unacked;
    struct delivery delivery;
    for (uint64_t i = min_u64(GATHERED_MAX, settling_slice(channel->session)); i > 0; i--) {
        if (!unacked_take_first(unacked, tag_max, &delivery)) return;
        channel_settle(channel, &delivery, how);
    }
    channel_say_settled(channel);
    settling_put(channel->session, unacked, tag_max, how);
}

/* All up to `tag`, which must be waiting for an ack itself; 0 is all there are, perhaps none. */
static void settle_up_to(struct channel *channel, uint64_t tag, enum settle_how how) {
    struct unacked *unacked = channel->unacked;
    uint64_t tag_max = tag == 0 ? UINT64_MAX : tag;
    if (tag != 0 && (!unacked || !unacked_has(unacked, tag))) {
        channel_fault(channel, REPLY_PRECONDITION_FAILED, "unknown delivery tag %llu",
            (unsigned long long)tag);
        return;
    }
    if (unacked && channel->mode == MODE_TX) {
        struct delivery delivery;
        while (unacked_mark_first(unacked, tag_max, &delivery))
            channel_tx_keep_settled(channel, &delivery, how);
    } else if (unacked) {
        settle_many(channel, tag_max, how);
    }
    after_settling(channel, how);
}

void channel_on_basic_ack(struct channel *channel, const struct amqp_basic_ack *arguments) {
    if (arguments->multiple) {
        settle_up_to(channel, arguments->delivery_tag, SETTLE_ACK);
    } else {
        settle_tag(channel, arguments->delivery_tag, SETTLE_ACK);
    }
}

void channel_on_basic_nack(struct channel *channel, const struct amqp_basic_nack *arguments) {
    enum settle_how how = arguments->requeue ? SETTLE_REQUEUE : SETTLE_REJECT;
    if (arguments->multiple) {
        settle_up_to(channel, arguments->delivery_tag, how);
    } else {
        settle_tag(channel, arguments->delivery_tag, how);
    }
}

void channel_on_basic_reject(struct channel *channel, const struct amqp_basic_reject *arguments) {
    enum settle_how how = arguments->requeue ? SETTLE_REQUEUE : SETTLE_REJECT;
    settle_tag(channel, arguments->delivery_tag, how);
}

static void requeue_all(struct channel *channel) {
    channel_say_settled(channel);
    if (channel->unacked)
        settling_put(channel->session, channel->unacked, UINT64_MAX, SETTLE_REQUEUE);
}

/* False when it was refused. */
static bool recover(struct channel *channel, bool requeue) {
    if (!requeue) {
        channel_fault(channel, REPLY_NOT_IMPLEMENTED, "requeue=false");
        return false;
    }
    requeue_all(channel);
    if (!settling_busy(channel->session)) channel_lend_tokens(channel);
    return true;
}

void channel_on_basic_recover_async(
    struct channel *channel, const struct amqp_basic_recover_async *arguments) {
    if (!recover(channel, arguments->requeue)) return;
    wait_until_given_back(channel);
}

/* It is said before any of them can come again. */
void channel_on_basic_recover(struct channel *channel, const struct amqp_basic_recover *arguments) {
    if (!recover(channel, arguments->requeue)) return;
    channel_reply(channel, &(struct method){.kind = METHOD_basic_recover_ok});
    wait_until_given_back(channel);
}

void channel_on_settled(struct session *session, uint16_t number, uint32_t request) {
    struct channel *channel = connection_find_channel(session, number);
    if (!channel || channel->wait != WAIT_SETTLED || channel->request != request) return;
    channel_unpark(channel);
    channel_lend_tokens(channel);
    connection_replay(session, number);
    connection_drained(session);
}

/* ---- get ---- */

void channel_on_basic_get(struct channel *channel, const struct amqp_basic_get *arguments) {
    struct session *session = channel->session;
    struct bytes queue;
    if (!channel_name_queue(channel, arguments->queue, &queue)) return;
    if (!channel_authorize(channel, ACCESS_READ, ACCESS_QUEUE, queue)) return;
    struct answer answer = {0};
    uint32_t request = connection_next_id(session);
    channel->get_no_ack = arguments->no_ack;
    if (session->calls->get(
            session->host, channel->number, request, queue, arguments->no_ack, &answer)) {
        channel_basic_on_answer(channel, WAIT_GET, &answer);
    } else {
        channel_park(channel, WAIT_GET, request);
    }
}

static void on_got(struct channel *channel, const struct answer *answer) {
    struct message *message = answer->message;
    held_wait(channel, answer->ticket);
    if (!message) {
        channel_reply(channel, &(struct method){.kind = METHOD_basic_get_empty});
        return;
    }
    struct delivery delivery = {.queue = answer->queue, .seq = answer->seq, .of_get = true};
    struct amqp_basic_get_ok get_ok = {
        .delivery_tag = channel_next_tag(channel, &delivery, channel->get_no_ack),
        .redelivered = answer->redelivered,
        .exchange = message_exchange(message),
        .routing_key = message_routing_key(message),
        .message_count = answer->messages,
    };
    struct outgoing outgoing = channel_outgoing(channel);
    outgoing_put_get_ok(&outgoing, &get_ok, message);
    message_unref(channel->session->pool, message);
}

void channel_basic_on_answer(
    struct channel *channel, enum channel_wait wait, const struct answer *answer) {
    if (wait == WAIT_CONSUME) {
        channel_on_consumed(channel, answer);
    } else if (wait == WAIT_CANCEL) {
        channel_on_cancelled(channel, answer);
    } else if (answer->code != REPLY_OK) {
        channel_fault(channel, answer->code, "%s", answer->text);
    } else {
        check(wait == WAIT_GET);
        on_got(channel, answer);
    }
}

/* Ours are sent with no_wait, so no client has one to answer. */
void channel_on_basic_cancel_ok(
    struct channel *channel, const struct amqp_basic_cancel_ok *arguments) {
    (void)arguments;
    channel_fault(channel, REPLY_COMMAND_INVALID, "unimplemented method");
}

/* ---- confirms, and the end of the turn ---- */

void channel_on_confirm(struct channel *channel, uint64_t seqno, bool ok) {
    if (channel->mode == MODE_TX) {
        channel_tx_on_confirm(channel, seqno, ok);
    } else if (channel->confirms && confirms_settle(channel->confirms, seqno, ok)) {
        channel_wake(channel);
    }
}

void channel_flush(struct channel *channel) {
    channel_say_settled(channel);
    if (!channel->confirms) return;
    struct outgoing outgoing = channel_outgoing(channel);
    struct confirm_word word;
    while (confirms_next(channel->confirms, &word))
        outgoing_put_confirm(&outgoing, word.seqno, word.multiple, word.ok);
}

/* ---- the end of the channel ---- */

void channel_basic_deinit(struct channel *channel) {
    channel_say_settled(channel);
    /* First no consumer, then the messages: they are not to come back to this channel. */
    channel_cancel_all(channel);
    channel_tx_deinit(channel);
    requeue_all(channel);
    if (channel->unacked) unacked_deinit(channel->unacked);
    mem_free(channel->unacked);
    channel->unacked = NULL;
    if (channel->confirms) confirms_deinit(channel->confirms);
    mem_free(channel->confirms);
    channel->confirms = NULL;
    publish_content_free(channel->content, channel->session->pool);
    channel->content = NULL;
    channel->mode = MODE_PLAIN;
}

/* ---- for people and tests ---- */

uint64_t channel_unacked_count(const struct channel *channel) {
    return channel->unacked ? channel->unacked->count : 0;
}

uint64_t channel_unconfirmed_count(const struct channel *channel) {
    return channel->confirms ? confirms_count(channel->confirms) : 0;
}

void channel_basic_check(const struct channel *channel) {
    if (channel->unacked) unacked_check(channel->unacked);
    if (channel->confirms) confirms_check(channel->confirms);
    if (channel->consuming) {
        consuming_check(channel->consuming, &channel->consumers);
    } else {
        check(list_empty(&channel->consumers));
    }
    uint32_t told = 0;
    list_for (struct channel_consumer, consumer, &channel->consumers, in_channel) {
        told += consumer->stage != CONSUMER_ASKED;
    }
    check(told == channel->consumer_count);
    check((channel->mode == MODE_CONFIRM) == (channel->confirms != NULL));
    check((channel->mode == MODE_TX) == (channel->tx != NULL));
    if (channel->state != CHANNEL_OPEN) check(!channel->content);
}
