/* session: what the host calls: each function takes the time, finds the channel, and recognises
 * what comes too late for it. The conversation itself is in connection.c, channel.c and their
 * handlers. */
#include "session/session.h"

#include "base/memory.h"
#include "session/channel.h"
#include "session/handshake.h"
#include "session/held.h"
#include "session/settling.h"

/* ---- life ---- */

struct session *session_new(const struct session_settings *settings,
    const struct session_calls *calls, void *host, connection_ref self, struct message_pool *pool,
    struct chunk_pool *chunks) {
    struct session *session = NEW(struct session);
    session->settings = settings;
    session->calls = calls;
    session->host = host;
    session->self = self;
    session->pool = pool;
    session->frame_max = HANDSHAKE_FRAME_MAX;
    session->deadline_ms = UINT64_MAX;
    list_init(&session->busy);
    list_init(&session->held);
    list_init(&session->settling);
    outbox_init(&session->outbox, chunks, pool, &session->unwritten_bytes);
    buffer_init(&session->partial, SIZE_MAX);
    return session;
}

void session_free(struct session *session) {
    if (!session) return;
    check(session->left_called);
    check(!settling_busy(session));
    held_drop_all(session);
    for (uint32_t i = 0; i < session->channel_count; i++) {
        channel_end(session->channels[i]);
        channel_free(session->channels[i]);
    }
    check(session->parked_count == 0);
    check(session->parked_bytes == 0);
    mem_free(session->channels);
    mem_free((void *)session->subject.user.data);
    mem_free((void *)session->subject.vhost.data);
    mem_free((void *)session->client_name.data);
    mem_free(session->alarm);
    buffer_deinit(&session->partial);
    outbox_deinit(&session->outbox);
    check(session->unwritten_bytes == 0);
    mem_free(session);
}

static void see_time(struct session *session, uint64_t now_ms) {
    session->now_ms = now_ms;
    if (session->begun) return;
    session->begun = true;
    session->heard_ms = now_ms;
    session->said_ms = now_ms;
    session->deadline_ms = now_ms + HANDSHAKE_MS_MAX;
}

void session_on_disconnect(struct session *session, uint64_t now_ms) {
    see_time(session, now_ms);
    connection_leave(session);
    if (session->state != CONNECTION_CLOSED) connection_enter(session, CONNECTION_CLOSED);
    buffer_deinit(&session->partial);
}

void session_shut(struct session *session, const char *text, uint64_t now_ms) {
    see_time(session, now_ms);
    connection_fault(session, REPLY_CONNECTION_FORCED, METHOD_unknown, "%s", text);
}

/* ---- input ---- */

/* RabbitMQ tells those who publish. */
static void say_blocked(struct session *session) {
    bool tell = session->alarm && session->published && session->state == CONNECTION_OPEN;
    if (!tell || session->blocked || !(session->client_can & CLIENT_CAN_BLOCKED)) return;
    session->blocked = true;
    connection_put(session, 0,
        &(struct method){.kind = METHOD_connection_blocked,
            .connection_blocked = {.reason = bytes_text(session->alarm)}});
}

/* What the client's input has made the session say: a client that asks and asks but does not read
 * the answers is not read any more, nor is one whose answers are held. Deliveries do not count:
 * they have a credit of their own, and a client may well publish for long before it looks at them.
 * With a fault there may be less than before: what was held is dropped. */
static void count_replies(struct session *session, uint64_t bytes_before) {
    if (session->unwritten_bytes > bytes_before)
        session->reply_bytes += session->unwritten_bytes - bytes_before;
}

void session_on_bytes(struct session *session, struct bytes bytes, uint64_t now_ms) {
    see_time(session, now_ms);
    session->heard_ms = now_ms;
    uint64_t bytes_before = session->unwritten_bytes;
    if (bytes_before == 0) session->reply_bytes = 0;
    connection_on_bytes(session, bytes);
    if (session->alarm) say_blocked(session);
    count_replies(session, bytes_before);
}

bool session_wants_input(const struct session *session) {
    uint64_t reply_bytes = min_u64(session->reply_bytes, session->unwritten_bytes);
    if (reply_bytes >= REPLY_BYTES_MAX) return false;
    if (session->state == CONNECTION_LOGIN) return session->partial.size < HANDSHAKE_BYTES_MAX;
    if (session->state == CONNECTION_ENTERING) {
        return session->partial.size < PARKED_INPUT_BYTES_MAX;
    }
    return session->parked_bytes < PARKED_INPUT_BYTES_MAX;
}

void session_on_input_paused(struct session *session, bool paused, uint64_t now_ms) {
    see_time(session, now_ms);
    session->input_paused = paused;
    session->heard_ms = now_ms;
}

/* ---- what comes back ---- */

void session_on_login(struct session *session, bool ok, uint64_t now_ms) {
    see_time(session, now_ms);
    handshake_on_login(session, ok);
}

/* An answer that its channel does not wait for any more: what it granted is given back. A message
 * that was settled as it left (no_ack) is not unacked, so that giving it back changes nothing. */
static void take_back(
    struct session *session, uint16_t number, uint32_t request, const struct answer *answer) {
    if (answer->code != REPLY_OK) return;
    const struct session_calls *calls = session->calls;
    if (answer->message) {
        struct settle settle = {
            .queue = answer->queue, .seq = answer->seq, .count = 1, .how = SETTLE_RETURN};
        calls->settle(session->host, &settle);
        message_unref(session->pool, answer->message);
    } else if (answer->consumer) {
        calls->cancel(session->host, number, 0, answer->queue, request, answer->consumer);
    }
}

static void hand_over(
    struct channel *channel, enum channel_wait wait, const struct answer *answer) {
    switch (wait) {
    case WAIT_CHANGE:
    case WAIT_PURGE: channel_topology_on_answer(channel, wait, answer); return;
    case WAIT_CONSUME:
    case WAIT_CANCEL:
    case WAIT_GET: channel_basic_on_answer(channel, wait, answer); return;
    case WAIT_COMMIT: channel_tx_on_answer(channel, answer); return;
    case WAIT_CLOSE:
    case WAIT_SETTLED:
    case WAIT_NOTHING: break;
    }
    unreachable_here();
}

void session_on_answer(struct session *session, uint16_t channel_number, uint32_t request,
    const struct answer *answer, uint64_t now_ms) {
    see_time(session, now_ms);
    if (channel_number == 0) {
        handshake_on_vhost(session, answer);
        connection_resume(session);
        return;
    }
    struct channel *channel = connection_find_channel(session, channel_number);
    if (!channel || !channel_is_parked(channel) || channel->request != request) {
        take_back(session, channel_number, request, answer);
        return;
    }
    uint64_t bytes_before = session->unwritten_bytes;
    enum channel_wait wait = (enum channel_wait)channel->wait;
    if (wait == WAIT_CLOSE) {
        connection_on_channel_left(session, channel);
        return;
    }
    channel_unpark(channel);
    if (channel->state == CHANNEL_OPEN) {
        hand_over(channel, wait, answer);
        channel_tell_lost(channel);
    } else {
        take_back(session, channel_number, request, answer);
    }
    connection_replay(session, channel_number);
    connection_drained(session);
    count_replies(session, bytes_before);
}

void session_on_left(struct session *session, uint64_t now_ms) {
    see_time(session, now_ms);
    connection_on_left(session);
}

void session_on_stable(struct session *session, uint64_t ticket) {
    if (ticket <= session->stable_ticket) return;
    session->stable_ticket = ticket;
    if (session_holds(session)) connection_on_stable(session, ticket);
}

/* The channel of that number if things may be said on it. */
static struct channel *find_open(struct session *session, uint16_t number) {
    if (!connection_is_open(session)) return NULL;
    struct channel *channel = connection_find_channel(session, number);
    return channel && channel->state == CHANNEL_OPEN ? channel : NULL;
}

void session_on_deliver(
    struct session *session, queue_ref queue, const struct effect *effect, uint64_t now_ms) {
    see_time(session, now_ms);
    struct channel *channel = find_open(session, effect->channel);
    if (channel) {
        if (!channel->held) session->said_ms = now_ms;
        channel_on_deliver(channel, queue, effect);
        return;
    }
    if (!(effect->flags & EFFECT_NO_ACK)) {
        struct settle settle = {
            .queue = queue,
            .seq = effect->seq,
            .count = 1,
            .consumer = effect->consumer,
            .how = SETTLE_RETURN,
        };
        session->calls->settle(session->host, &settle);
    }
    message_unref(session->pool, effect->message);
}

void session_on_consumer_lost(struct session *session, const struct effect *effect) {
    struct channel *channel = find_open(session, effect->channel);
    if (channel) channel_lose_consumer(channel, effect);
}

void session_on_tokens(struct session *session, queue_ref queue, const struct effect *effect) {
    struct channel *channel = find_open(session, effect->channel);
    if (channel) channel_on_tokens(channel, queue, effect);
}

void session_on_reply(struct session *session, uint16_t channel_number, struct message *message) {
    struct channel *channel = find_open(session, channel_number);
    if (channel) {
        channel_on_reply(channel, message);
    } else {
        message_unref(session->pool, message);
    }
}

bool session_awaits_reply(struct session *session, uint16_t channel_number, struct bytes key) {
    struct channel *channel = find_open(session, channel_number);
    return channel && channel_awaits_reply(channel, key);
}

void session_on_confirm(
    struct session *session, uint16_t channel_number, uint32_t epoch, uint64_t seqno, bool ok) {
    struct channel *channel = find_open(session, channel_number);
    if (channel && channel->epoch == epoch) channel_on_confirm(channel, seqno, ok);
}

void session_on_blocked(struct session *session, const char *reason) {
    mem_free(session->alarm);
    session->alarm = mem_text(bytes_text(reason));
    if (strlen(session->alarm) > REASON_BYTES_MAX) session->alarm[REASON_BYTES_MAX] = 0;
    say_blocked(session);
}

void session_on_unblocked(struct session *session) {
    mem_free(session->alarm);
    session->alarm = NULL;
    if (!session->blocked) return;
    session->blocked = false;
    if (session->state != CONNECTION_OPEN) return;
    connection_put(session, 0, &(struct method){.kind = METHOD_connection_unblocked});
}

/* ---- the end of the turn, and time ---- */

void session_flush(struct session *session, uint64_t now_ms) {
    see_time(session, now_ms);
    for (struct list_node *node; (node = list_take_first(&session->busy));) {
        struct channel *channel = LIST_ENTRY(node, struct channel, in_busy);
        if (channel->state != CHANNEL_OPEN) continue;
        channel_flush(channel);
        if (!channel->held) session->said_ms = now_ms;
    }
}

bool session_settles(const struct session *session) {
    return settling_busy(session);
}

void session_settle_some(struct session *session, uint64_t now_ms) {
    see_time(session, now_ms);
    uint64_t bytes_before = session->unwritten_bytes;
    settling_go_on(session);
    count_replies(session, bytes_before);
}

static bool has_heartbeat(const struct session *session) {
    if (session->heartbeat_s == 0) return false;
    return session->state == CONNECTION_OPENING || session->state == CONNECTION_ENTERING ||
           connection_is_open(session);
}

/* When the client has been silent for two intervals. Not while its input is not read. */
static uint64_t silence_due(const struct session *session) {
    bool reads = !session->input_paused && session_wants_input(session);
    if (!has_heartbeat(session) || !reads) return UINT64_MAX;
    return session->heard_ms + session->heartbeat_s * 2000u;
}

static uint64_t heartbeat_due(const struct session *session) {
    if (!has_heartbeat(session)) return UINT64_MAX;
    return session->said_ms + session->heartbeat_s * 500u;
}

/* While something still waits to be written, another heartbeat would tell the client nothing. */
static void say_heartbeat(struct session *session) {
    session->said_ms = session->now_ms;
    if (session->outbox.size != 0) return;
    struct writer writer = outbox_writer(&session->outbox, FRAME_OVERHEAD_BYTES);
    frame_put_heartbeat(&writer);
    outbox_keep(&session->outbox, &writer);
}

uint64_t session_tick(struct session *session, uint64_t now_ms) {
    see_time(session, now_ms);
    if (session->state == CONNECTION_CLOSED) return UINT64_MAX;
    if (now_ms >= session->deadline_ms || now_ms >= silence_due(session)) {
        connection_drop(session);
        return UINT64_MAX;
    }
    if (now_ms >= heartbeat_due(session)) say_heartbeat(session);
    uint64_t due = min_u64(session->deadline_ms, silence_due(session));
    return min_u64(due, heartbeat_due(session));
}

/* ---- questions ---- */

struct outbox *session_outbox(struct session *session) {
    return &session->outbox;
}

bool session_holds(const struct session *session) {
    return !list_empty(&session->held);
}

uint64_t session_unwritten_bytes(const struct session *session) {
    return session->unwritten_bytes;
}

bool session_has_published(const struct session *session) {
    return session->published;
}

void session_facts(const struct session *session, struct session_facts *ret_facts) {
    *ret_facts = (struct session_facts){
        .user = session->subject.user,
        .vhost = session->subject.vhost,
        .client_name = session->client_name,
        .state = session->blocked ? "blocked"
                                  : connection_state_name((enum connection_state)session->state),
    };
    for (uint32_t i = 0; i < session->channel_count; i++) {
        const struct channel *channel = session->channels[i];
        if (channel->state == CHANNEL_CLOSED) continue;
        ret_facts->channels++;
        ret_facts->consumers += channel->consumer_count;
        ret_facts->unacked += channel_unacked_count(channel);
        ret_facts->unconfirmed += channel_unconfirmed_count(channel);
    }
}

void session_check(const struct session *session) {
    check(session->state < CONNECTION_STATE_COUNT);
    check(session->channel_count <= session->channel_capacity);
    check(session->state != CONNECTION_CLOSED || session->left_called);
    uint32_t parked = 0;
    uint64_t parked_bytes = 0;
    uint32_t before = 0;
    bool recent_found = !session->recent;
    for (uint32_t i = 0; i < session->channel_count; i++) {
        const struct channel *channel = session->channels[i];
        check(channel->session == session);
        check(channel->number > before);
        check(channel->state == CHANNEL_CLOSED || !session->left_called);
        check(channel->state != CHANNEL_CLOSED || !channel_is_parked(channel));
        check(channel->state != CHANNEL_CLOSED || channel->held || !connection_is_open(session));
        before = channel->number;
        recent_found |= channel == session->recent;
        parked += channel_is_parked(channel);
        check(!channel->parked || channel_is_parked(channel));
        if (channel->parked) parked_bytes += channel->parked->bytes.size - channel->parked->at;
        channel_basic_check(channel);
    }
    check(recent_found);
    check(parked == session->parked_count);
    check(parked_bytes == session->parked_bytes);
    held_check(session);
}
