/* connection: a session's host: its socket on one side, the mail to other actors on the other. */
#include "shard/connection.h"

#include "base/memory.h"
#include "base/str.h"

enum {
    WRITE_VECTORS = 64,          /* pieces of one writev */
    WRITES_PER_FLUSH = 16,       /* a fast reader may not hold up the others for ever */
    OUTBOX_LOW_BYTES = 256 * 1024 /* below it the credit of what was delivered goes back */
};

/* ---- life ---- */

static uint32_t slot_take(struct shard *shard) {
    if (shard->connection_free == 0) {
        uint32_t old = shard->connection_capacity;
        uint32_t capacity = old ? old * 2 : 64;
        check(capacity <= REF_SLOTS_MAX);
        shard->connections =
            mem_resize(shard->connections, capacity * sizeof *shard->connections);
        shard->connection_next =
            mem_resize(shard->connection_next, capacity * sizeof *shard->connection_next);
        shard->connection_generation = mem_resize(
            shard->connection_generation, capacity * sizeof *shard->connection_generation);
        for (uint32_t i = capacity; i-- > old;) {
            shard->connections[i] = NULL;
            shard->connection_generation[i] = 0;
            shard->connection_next[i] = shard->connection_free;
            shard->connection_free = i + 1;
        }
        shard->connection_capacity = capacity;
    }
    uint32_t slot = shard->connection_free - 1;
    shard->connection_free = shard->connection_next[slot];
    uint32_t *generation = &shard->connection_generation[slot];
    do *generation = (*generation + 1) & 0xffffff;
    while (*generation == 0);
    return slot;
}

static void arm(struct connection *connection) {
    struct shard *shard = connection->shard;
    deadline_set(&shard->deadlines, &connection->deadline,
        session_tick(connection->session, shard->now_ms));
}

struct connection *connection_open(
    struct shard *shard, void *socket, const char *peer, bool local) {
    uint32_t slot = slot_take(shard);
    struct connection *connection = NEW(struct connection);
    shard->connections[slot] = connection;
    connection->shard = shard;
    connection->socket = socket;
    connection->self = ref_make(shard->number, slot, shard->connection_generation[slot]);
    connection->local = local;
    connection->reading = true;
    str_format(connection->peer, sizeof connection->peer, "%s", peer);
    connection->session = session_new(&shard->broker->settings, &CONNECTION_CALLS, connection,
        connection->self, shard->pool, &shard->chunks);
    counter_add(&shard->counters.connections_opened, 1);
    shard->io->want(socket, true, false);
    arm(connection);
    if (broker_alarm(shard->broker)) connection_on_alarm(connection);
    return connection;
}

static void connection_free(struct connection *connection) {
    struct shard *shard = connection->shard;
    list_remove_if_linked(&connection->in_dirty);
    deadline_set(&shard->deadlines, &connection->deadline, UINT64_MAX);
    session_free(connection->session);
    while (connection->asks) {
        struct ask *ask = connection->asks;
        connection->asks = ask->next;
        ask_free(ask);
    }
    uint32_t slot = ref_slot(connection->self);
    shard->connections[slot] = NULL;
    shard->connection_next[slot] = shard->connection_free;
    shard->connection_free = slot + 1;
    atomic_fetch_sub_explicit(&shard->connection_count, 1, memory_order_relaxed);
    counter_add(&shard->counters.connections_closed, 1);
    mem_free(connection->delivered);
    mem_free(connection->user);
    mem_free(connection);
}

/* A connection ends when its socket is closed and its exclusive queues are gone. */
static void end_if_over(struct connection *connection) {
    if (!connection->socket && connection->left) connection_free(connection);
}

struct connection *connection_find(struct shard *shard, connection_ref ref) {
    uint32_t slot = ref_slot(ref);
    if (slot >= shard->connection_capacity || !shard->connections[slot]) return NULL;
    return shard->connection_generation[slot] == ref_generation(ref) ? shard->connections[slot]
                                                                     : NULL;
}

/* The socket is closed (by us or them): the session learns of it and lets go of what it holds. */
static void over(struct connection *connection) {
    connection->socket = NULL;
    deadline_set(&connection->shard->deadlines, &connection->deadline, UINT64_MAX);
    if (!connection->leaving) session_on_disconnect(connection->session, connection->shard->now_ms);
    check(connection->leaving);
    end_if_over(connection);
}

void connection_on_closed(struct connection *connection) {
    over(connection);
}

void connection_not_opened(struct shard *shard) {
    atomic_fetch_sub_explicit(&shard->connection_count, 1, memory_order_relaxed);
}

void connection_drop(struct connection *connection) {
    connection->shard->io->close(connection->socket);
    over(connection);
}

void connection_on_left(struct shard *shard, connection_ref ref) {
    struct connection *connection = connection_find(shard, ref);
    check(connection != NULL);
    check(connection->leaving);
    connection->left = true;
    if (connection->socket) {
        session_on_left(connection->session, shard->now_ms);
        connection_wake(connection);
    }
    end_if_over(connection);
}

/* ---- input ---- */

void connection_wake(struct connection *connection) {
    if (!list_linked(&connection->in_dirty))
        list_put_last(&connection->shard->dirty, &connection->in_dirty);
}

void connection_on_read(struct connection *connection, struct bytes bytes) {
    struct shard *shard = connection->shard;
    counter_add(&shard->counters.bytes_received, bytes.size);
    session_on_bytes(connection->session, bytes, shard->now_ms);
    if (broker_alarm(shard->broker)) connection_on_alarm(connection);
    connection_wake(connection);
}

void connection_on_writable(struct connection *connection) {
    connection_wake(connection);
}

void connection_on_alarm(struct connection *connection) {
    const char *reason = broker_alarm(connection->shard->broker);
    bool block = reason != NULL && session_has_published(connection->session);
    if (block == connection->blocked) return;
    connection->blocked = block;
    if (block) session_on_blocked(connection->session, reason);
    else session_on_unblocked(connection->session);
    connection_wake(connection);
}

void connection_on_deadline(struct connection *connection) {
    arm(connection);
    connection_wake(connection);
}

void connection_shut(struct connection *connection) {
    if (!connection->socket || connection->leaving) return;
    session_shut(connection->session, "broker forced connection closure with reason 'shutdown'",
        connection->shard->now_ms);
    connection_wake(connection);
}

/* ---- the end of the turn ---- */

/* Returns byte credit for deliveries that have left, or nearly so, in few large pieces. */
static void return_credit(struct connection *connection) {
    struct shard *shard = connection->shard;
    for (uint32_t i = 0; i < shard->broker->shard_count; i++) {
        if (connection->delivered[i] < DELIVERY_CREDIT_BYTES / 4) continue;
        struct mail *mail = mesh_post(shard->broker->mesh, shard->number, i);
        mail->kind = MAIL_CREDIT;
        mail->ref = connection->self;
        mail->count = connection->delivered[i];
        connection->delivered[i] = 0;
    }
    connection->delivered_sum = 0;
}

/* Writes what the socket takes. False when the socket failed. */
static bool write_out(struct connection *connection, struct outbox *outbox) {
    struct shard *shard = connection->shard;
    connection->writing = false;
    for (int i = 0; i < WRITES_PER_FLUSH && outbox->size != 0; i++) {
        struct iovec vectors[WRITE_VECTORS];
        uint32_t count = outbox_vectors(outbox, vectors, WRITE_VECTORS);
        uint64_t offered = 0;
        for (uint32_t k = 0; k < count; k++)
            offered += vectors[k].iov_len;
        int64_t written = shard->io->write(connection->socket, vectors, count);
        if (written < 0) return false;
        outbox_written(outbox, (uint64_t)written);
        counter_add(&shard->counters.bytes_sent, (uint64_t)written);
        if ((uint64_t)written < offered) break;
    }
    connection->writing = outbox->size != 0;
    return true;
}

static void update_wants(struct connection *connection, bool was_writing) {
    bool reading = !connection->finishing && !connection->blocked &&
                   session_wants_input(connection->session) && publisher_window_open(connection);
    if (reading == connection->reading && was_writing == connection->writing) return;
    if (reading != connection->reading)
        session_on_input_paused(connection->session, !reading, connection->shard->now_ms);
    connection->reading = reading;
    connection->shard->io->want(connection->socket, reading, connection->writing);
}

void connection_flush(struct connection *connection) {
    if (!connection->socket) return;
    struct shard *shard = connection->shard;
    session_flush(connection->session, shard->now_ms);
    struct outbox *outbox = session_outbox(connection->session);
    bool was_writing = connection->writing;
    if (outbox->size != 0 || connection->writing) {
        if (!write_out(connection, outbox)) {
            connection_drop(connection);
            return;
        }
    }
    if (connection->delivered_sum >= DELIVERY_CREDIT_BYTES / 4 &&
        outbox->size <= OUTBOX_LOW_BYTES)
        return_credit(connection);
    if (connection->finishing && outbox->size == 0) {
        connection_drop(connection);
        return;
    }
    update_wants(connection, was_writing);
    arm(connection);
}

/* ---- mail ---- */

/* Nobody is there for a message: it returns to its queue. */
static void give_back(struct shard *shard, queue_ref queue, const struct effect *effect) {
    if (!(effect->flags & EFFECT_NO_ACK)) {
        struct op *op = shard_post_op(shard, queue);
        *op = (struct op){
            .kind = OP_REQUEUE, .flags = OP_RETURNED, .connection = effect->connection};
        op->range.seq = effect->seq;
        op->range.count = 1;
        op->range.consumer = effect->consumer;
    }
    message_unref(shard->pool, effect->message);
}

static void effect_for_missing(
    struct shard *shard, queue_ref queue, const struct effect *effect) {
    if (effect->kind == EFFECT_DELIVER || effect->kind == EFFECT_GOT)
        give_back(shard, queue, effect);
    if (effect->kind == EFFECT_CONSUMED && effect->code == REPLY_OK) {
        struct op *op = shard_post_op(shard, queue);
        *op = (struct op){.kind = OP_CANCEL,
            .channel = effect->channel,
            .connection = effect->connection};
        op->consumer.consumer = effect->consumer;
    }
}

static void on_deliver(
    struct connection *connection, queue_ref queue, const struct effect *effect) {
    struct shard *shard = connection->shard;
    if (!connection->delivered)
        connection->delivered = mem_new_array(shard->broker->shard_count, sizeof(uint32_t));
    uint32_t cost = (uint32_t)queue_delivery_cost(effect->message);
    connection->delivered[ref_shard(queue)] += cost;
    connection->delivered_sum += cost;
    session_on_deliver(connection->session, queue, effect, shard->now_ms);
    connection_wake(connection);
}

static void refusal_text(
    const struct connection *connection, const struct ask *ask, struct answer *answer) {
    const char *vhost = vhost_name(connection->vhost);
    if (answer->code == REPLY_ACCESS_REFUSED)
        str_format(answer->text, sizeof answer->text, "queue '%s' in vhost '%s' in exclusive use",
            ask->name, vhost);
    else
        str_format(
            answer->text, sizeof answer->text, "no queue '%s' in vhost '%s'", ask->name, vhost);
}

/* A declare found its queue ended: the registrar waits until the name is free and tries anew. */
static void declare_anew(struct connection *connection, struct ask *ask) {
    struct request *request = ask->request;
    ask->request = NULL;
    request->gone = request->result.queue;
    request->result = (struct change_result){0};
    connection_send_request(connection, request);
}

static void answer_ask(struct connection *connection, struct ask *ask, queue_ref queue,
    const struct effect *effect) {
    if (ask->request && effect->code == REPLY_NOT_FOUND) {
        declare_anew(connection, ask);
        return;
    }
    struct answer answer = {
        .code = (enum reply_code)effect->code,
        .messages = effect->messages,
        .consumers = effect->consumers,
        .queue = queue,
        .consumer = effect->consumer,
        .message = effect->message,
        .seq = effect->seq,
        .redelivered = (effect->flags & EFFECT_REDELIVERED) != 0,
    };
    str_format(answer.name, sizeof answer.name, "%s", ask->name);
    if (answer.code != REPLY_OK) refusal_text(connection, ask, &answer);
    if (effect->kind == EFFECT_GOT) counter_add(&connection->shard->counters.got, 1);
    session_on_answer(connection->session, effect->channel, effect->request, &answer,
        connection->shard->now_ms);
}

static void on_answer(
    struct connection *connection, queue_ref queue, const struct effect *effect) {
    if (effect->kind == EFFECT_CANCELLED) {
        struct answer answer = {.code = REPLY_OK};
        session_on_answer(connection->session, effect->channel, effect->request, &answer,
            connection->shard->now_ms);
        connection_wake(connection);
        return;
    }
    struct ask *ask = connection_take_ask(connection, effect->channel, effect->request);
    check(ask != NULL);
    answer_ask(connection, ask, queue, effect);
    ask_free(ask);
    connection_wake(connection);
}

void connection_on_effect(struct shard *shard, const struct mail *mail) {
    const struct effect *effect = &mail->effect;
    struct connection *connection = connection_find(shard, effect->connection);
    if (!connection) {
        effect_for_missing(shard, mail->ref, effect);
        return;
    }
    switch ((enum effect_kind)effect->kind) {
    case EFFECT_DELIVER: on_deliver(connection, mail->ref, effect); return;
    case EFFECT_GOT:
    case EFFECT_GET_EMPTY:
    case EFFECT_CONSUMED:
    case EFFECT_CANCELLED:
    case EFFECT_PURGED:
    case EFFECT_STATED: on_answer(connection, mail->ref, effect); return;
    case EFFECT_CONSUMER_LOST:
        session_on_consumer_lost(connection->session, effect);
        connection_wake(connection);
        return;
    case EFFECT_TOKENS_WANTED:
    case EFFECT_TOKENS_BACK: session_on_tokens(connection->session, mail->ref, effect); return;
    case EFFECT_DELETED:
    case EFFECT_REJECT:
    case EFFECT_GONE:
    case EFFECT_KIND_COUNT: break;
    }
    unreachable_here();
}

void connection_on_changed(struct shard *shard, struct request *request) {
    struct connection *connection = connection_find(shard, request->change.connection);
    if (!connection) {
        mem_free(request);
        return;
    }
    bool declared = request->change.kind == CHANGE_QUEUE_DECLARE && !request->made;
    if (declared && request->result.code == REPLY_OK) {
        connection_ask_counts(connection, request);
        return;
    }
    struct answer answer = {.code = request->result.code, .messages = request->messages};
    str_format(answer.text, sizeof answer.text, "%s", request->result.text);
    str_format(answer.name, sizeof answer.name, "%.*s", (int)request->change.name.size,
        (const char *)request->change.name.data);
    session_on_answer(
        connection->session, request->channel, request->number, &answer, shard->now_ms);
    connection_wake(connection);
    mem_free(request);
}

void connection_on_reply(struct shard *shard, const struct mail *mail) {
    struct connection *connection = connection_find(shard, mail->ref);
    if (!connection) {
        message_unref(shard->pool, mail->message);
        return;
    }
    session_on_reply(connection->session, mail->channel, mail->message);
    connection_wake(connection);
}
