/* client: a session's host: its socket on one side, the mail to other actors on the other. */
#include "shard/client.h"

#include "base/memory.h"
#include "base/str.h"

enum {
    WRITE_VECTORS = 64,           /* pieces of one writev */
    WRITES_PER_FLUSH = 16,        /* a fast reader may not hold up the others for ever */
    OUTBOX_LOW_BYTES = 256 * 1024 /* below it the credit of what was delivered goes back */
};

/* ---- life ---- */

static uint32_t slot_take(struct shard *shard) {
    if (shard->client_first_free == 0) {
        uint32_t old = shard->client_capacity;
        uint32_t capacity = old ? old * 2 : 64;
        check(capacity <= REF_SLOTS_MAX);
        shard->clients = mem_resize(shard->clients, capacity * sizeof *shard->clients);
        shard->client_next = mem_resize(shard->client_next, capacity * sizeof *shard->client_next);
        shard->client_generation =
            mem_resize(shard->client_generation, capacity * sizeof *shard->client_generation);
        for (uint32_t i = capacity; i-- > old;) {
            shard->clients[i] = NULL;
            shard->client_generation[i] = 0;
            shard->client_next[i] = shard->client_first_free;
            shard->client_first_free = i + 1;
        }
        shard->client_capacity = capacity;
    }
    uint32_t slot = shard->client_first_free - 1;
    shard->client_first_free = shard->client_next[slot];
    uint32_t *generation = &shard->client_generation[slot];
    do
        *generation = (*generation + 1) & 0xffffff;
    while (*generation == 0);
    return slot;
}

static void arm(struct client *client) {
    struct shard *shard = client->shard;
    deadline_set(
        &shard->deadlines, &client->deadline, session_tick(client->session, shard->now_ms));
}

struct client *client_open(struct shard *shard, void *socket, const char *peer, bool local) {
    uint32_t slot = slot_take(shard);
    struct client *client = NEW(struct client);
    shard->clients[slot] = client;
    client->shard = shard;
    client->socket = socket;
    client->self = ref_make(shard->number, slot, shard->client_generation[slot]);
    client->local = local;
    client->reading = true;
    str_format(client->peer, sizeof client->peer, "%s", peer);
    client->session = session_new(
        &shard->broker->settings, &CLIENT_CALLS, client, client->self, shard->pool, &shard->chunks);
    counter_add(&shard->counters.connections_opened, 1);
    shard->io->want(socket, true, false);
    arm(client);
    if (shard->alarm_seen) client_on_alarm(client);
    /* It was accepted before the listeners closed and adopted after everybody was told. */
    if (shard->stopping) client_shut(client);
    return client;
}

static void client_free(struct client *client) {
    struct shard *shard = client->shard;
    list_remove_if_linked(&client->in_dirty);
    list_remove_if_linked(&client->in_holding);
    deadline_set(&shard->deadlines, &client->deadline, UINT64_MAX);
    session_free(client->session);
    while (client->asks) {
        struct ask *ask = client->asks;
        client->asks = ask->next;
        ask_free(ask);
    }
    uint32_t slot = ref_slot(client->self);
    shard->clients[slot] = NULL;
    shard->client_next[slot] = shard->client_first_free;
    shard->client_first_free = slot + 1;
    atomic_fetch_sub_explicit(&shard->client_count, 1, memory_order_relaxed);
    counter_add(&shard->counters.connections_closed, 1);
    mem_free(client->delivered);
    mem_free(client);
}

/* A connection ends when its socket is closed and its exclusive queues are gone. */
static void end_if_over(struct client *client) {
    if (!client->socket && client->left) client_free(client);
}

struct client *client_find(struct shard *shard, connection_ref ref) {
    uint32_t slot = ref_slot(ref);
    if (slot >= shard->client_capacity || !shard->clients[slot]) return NULL;
    return shard->client_generation[slot] == ref_generation(ref) ? shard->clients[slot] : NULL;
}

/* The socket is closed (by us or them): the session learns of it and lets go of what it holds. */
static void over(struct client *client) {
    client_note_closed(client);
    client->socket = NULL;
    deadline_set(&client->shard->deadlines, &client->deadline, UINT64_MAX);
    if (!client->leaving) session_on_disconnect(client->session, client->shard->now_ms);
    check(client->leaving || session_settles(client->session));
    end_if_over(client);
}

void client_on_closed(struct client *client) {
    over(client);
}

void client_not_opened(struct shard *shard) {
    atomic_fetch_sub_explicit(&shard->client_count, 1, memory_order_relaxed);
}

void client_drop(struct client *client) {
    client->shard->io->close(client->socket);
    over(client);
}

void client_on_left(struct shard *shard, connection_ref ref) {
    struct client *client = client_find(shard, ref);
    check(client != NULL);
    check(client->leaving);
    client->left = true;
    if (client->socket) {
        session_on_left(client->session, shard->now_ms);
        client_wake(client);
    }
    end_if_over(client);
}

/* ---- input ---- */

void client_wake(struct client *client) {
    if (!list_linked(&client->in_dirty)) list_put_last(&client->shard->dirty, &client->in_dirty);
}

void client_on_read(struct client *client, struct bytes bytes) {
    struct shard *shard = client->shard;
    counter_add(&shard->counters.bytes_received, bytes.size);
    session_on_bytes(client->session, bytes, shard->now_ms);
    if (shard->alarm_seen) client_on_alarm(client);
    client_wake(client);
}

void client_on_writable(struct client *client) {
    client_wake(client);
}

void client_on_alarm(struct client *client) {
    const char *reason = client->shard->alarm_seen;
    bool block = reason != NULL && session_has_published(client->session);
    if (block == client->blocked) return;
    client->blocked = block;
    if (block)
        session_on_blocked(client->session, reason);
    else
        session_on_unblocked(client->session);
    client_wake(client);
}

void client_on_deadline(struct client *client) {
    bool was_finishing = client->finishing;
    arm(client);
    if (client->finishing && !was_finishing && !client->reason) client->reason = "timeout";
    client_wake(client);
}

void client_shut(struct client *client) {
    if (!client->socket || client->leaving) return;
    client->reason = "shutdown";
    session_shut(client->session, "broker forced connection closure with reason 'shutdown'",
        client->shard->now_ms);
    client_wake(client);
}

/* ---- the end of the turn ---- */

/* Returns byte credit for deliveries that have left, or nearly so, in few large pieces. */
static void return_credit(struct client *client) {
    struct shard *shard = client->shard;
    for (uint32_t i = 0; i < shard->broker->shard_count; i++) {
        if (client->delivered[i] < DELIVERY_CREDIT_BYTES / 4) continue;
        struct mesh *mesh = shard->broker->mesh;
        bool starved = client->starved >> i & 1;
        struct mail *mail =
            starved ? mesh_post(mesh, shard->number, i) : mesh_post_quietly(mesh, shard->number, i);
        client->starved &= ~((uint64_t)1 << i);
        mail->kind = MAIL_CREDIT;
        mail->ref = client->self;
        mail->count = client->delivered[i];
        client->delivered[i] = 0;
    }
    client->delivered_sum = 0;
}

/* Writes what the socket takes. False when the socket failed. */
static bool write_out(struct client *client, struct outbox *outbox) {
    struct shard *shard = client->shard;
    client->writing = false;
    for (int i = 0; i < WRITES_PER_FLUSH && outbox->size != 0; i++) {
        struct iovec vectors[WRITE_VECTORS];
        uint32_t count = outbox_vectors(outbox, vectors, WRITE_VECTORS);
        uint64_t offered = 0;
        for (uint32_t k = 0; k < count; k++)
            offered += vectors[k].iov_len;
        int64_t written = shard->io->write(client->socket, vectors, count);
        if (written < 0) return false;
        outbox_written(outbox, (uint64_t)written);
        counter_add(&shard->counters.bytes_sent, (uint64_t)written);
        if ((uint64_t)written < offered) break;
    }
    client->writing = outbox->size != 0;
    return true;
}

static void update_wants(struct client *client, bool was_writing) {
    bool reading = !client->finishing && !client->blocked && session_wants_input(client->session) &&
                   publisher_window_open(client);
    if (reading == client->reading && was_writing == client->writing) return;
    if (reading != client->reading)
        session_on_input_paused(client->session, !reading, client->shard->now_ms);
    client->reading = reading;
    client->shard->io->want(client->socket, reading, client->writing);
}

/* Very many deliveries of one client are settled in slices of turns; one slice in every turn,
 * whoever's, and more while the turn is not long. */
static void settle_some(struct client *client) {
    struct shard *shard = client->shard;
    if (!session_settles(client->session)) return;
    if (shard->settled && shard_turn_is_long(shard)) {
        client_wake(client);
        return;
    }
    shard->settled = true;
    session_settle_some(client->session, shard->now_ms);
}

void client_flush(struct client *client) {
    settle_some(client);
    if (!client->socket) return;
    struct shard *shard = client->shard;
    session_flush(client->session, shard->now_ms);
    struct outbox *outbox = session_outbox(client->session);
    bool was_writing = client->writing;
    if (outbox->size != 0 || client->writing) {
        if (!write_out(client, outbox)) {
            client_drop(client);
            return;
        }
    }
    /* What waits for a commit has not left, either. */
    bool gone = session_unwritten_bytes(client->session) <= OUTBOX_LOW_BYTES;
    if (client->delivered_sum >= DELIVERY_CREDIT_BYTES / 4 && gone) return_credit(client);
    if (client->finishing && outbox->size == 0) {
        shard->io->finish(client->socket);
        over(client);
        return;
    }
    update_wants(client, was_writing);
    arm(client);
}

/* ---- mail ---- */

/* Nobody is there for a message: it returns to its queue. */
static void give_back(struct shard *shard, queue_ref queue, const struct effect *effect) {
    if (!(effect->flags & EFFECT_NO_ACK)) {
        struct op *op = shard_post_op(shard, queue);
        *op =
            (struct op){.kind = OP_REQUEUE, .flags = OP_RETURNED, .connection = effect->connection};
        op->range.seq = effect->seq;
        op->range.count = 1;
        op->range.consumer = effect->consumer;
    }
    message_unref(shard->pool, effect->message);
}

static void effect_for_missing(struct shard *shard, queue_ref queue, const struct effect *effect) {
    if (effect->kind == EFFECT_DELIVER || effect->kind == EFFECT_GOT)
        give_back(shard, queue, effect);
    if (effect->kind == EFFECT_CONSUMED && effect->code == REPLY_OK) {
        struct op *op = shard_post_op(shard, queue);
        *op = (struct op){
            .kind = OP_CANCEL, .channel = effect->channel, .connection = effect->connection};
        op->consumer.consumer = effect->consumer;
    }
}

static void on_deliver(struct client *client, queue_ref queue, const struct effect *effect) {
    struct shard *shard = client->shard;
    if (!client->delivered)
        client->delivered = mem_new_array(shard->broker->shard_count, sizeof(uint32_t));
    uint32_t cost = (uint32_t)queue_delivery_cost(effect->message);
    client->delivered[ref_shard(queue)] += cost;
    if (effect->flags & EFFECT_CREDIT_LOW) client->starved |= (uint64_t)1 << ref_shard(queue);
    client->delivered_sum += cost;
    session_on_deliver(client->session, queue, effect, shard->now_ms);
    client_wake(client);
}

static void refusal_text(
    const struct client *client, const struct ask *ask, struct answer *answer) {
    const char *vhost = vhost_name(client->vhost);
    if (answer->code == REPLY_ACCESS_REFUSED)
        str_format(answer->text, sizeof answer->text, "queue '%s' in vhost '%s' in exclusive use",
            ask->name, vhost);
    else
        str_format(
            answer->text, sizeof answer->text, "no queue '%s' in vhost '%s'", ask->name, vhost);
}

/* A declare found its queue ended: the registrar waits until the name is free and tries anew. */
static void declare_anew(struct client *client, struct ask *ask) {
    struct request *request = ask->request;
    ask->request = NULL;
    request->gone = request->result.queue;
    request->result = (struct change_result){0};
    client_send_request(client, request);
}

static void answer_ask(
    struct client *client, struct ask *ask, queue_ref queue, const struct effect *effect) {
    if (ask->request && effect->code == REPLY_NOT_FOUND) {
        declare_anew(client, ask);
        return;
    }
    struct answer answer = {
        .code = (enum reply_code)effect->code,
        .ticket = ask->request ? client_ticket(client, ask->request->ticket) : 0,
        .messages = effect->messages,
        .consumers = effect->consumers,
        .queue = queue,
        .consumer = effect->consumer,
        .message = effect->message,
        .seq = effect->seq,
        .redelivered = (effect->flags & EFFECT_REDELIVERED) != 0,
    };
    str_format(answer.name, sizeof answer.name, "%s", ask->name);
    if (answer.code != REPLY_OK) refusal_text(client, ask, &answer);
    if (effect->kind == EFFECT_GOT) counter_add(&client->shard->counters.got, 1);
    session_on_answer(
        client->session, effect->channel, effect->request, &answer, client->shard->now_ms);
}

static void on_answer(struct client *client, queue_ref queue, const struct effect *effect) {
    if (effect->kind == EFFECT_CANCELLED) {
        struct answer answer = {.code = REPLY_OK};
        session_on_answer(
            client->session, effect->channel, effect->request, &answer, client->shard->now_ms);
        client_wake(client);
        return;
    }
    struct ask *ask = client_take_ask(client, effect->channel, effect->request);
    check(ask != NULL);
    answer_ask(client, ask, queue, effect);
    ask_free(ask);
    client_wake(client);
}

void client_on_effect(struct shard *shard, const struct mail *mail) {
    const struct effect *effect = &mail->effect;
    struct client *client = client_find(shard, effect->connection);
    if (!client) {
        effect_for_missing(shard, mail->ref, effect);
        return;
    }
    switch ((enum effect_kind)effect->kind) {
    case EFFECT_DELIVER: on_deliver(client, mail->ref, effect); return;
    case EFFECT_GOT:
    case EFFECT_GET_EMPTY:
    case EFFECT_CONSUMED:
    case EFFECT_CANCELLED:
    case EFFECT_PURGED:
    case EFFECT_STATED: on_answer(client, mail->ref, effect); return;
    case EFFECT_CONSUMER_LOST:
        session_on_consumer_lost(client->session, effect);
        client_wake(client);
        return;
    case EFFECT_TOKENS_WANTED:
    case EFFECT_TOKENS_BACK: session_on_tokens(client->session, mail->ref, effect); return;
    case EFFECT_DELETED:
    case EFFECT_REJECT:
    case EFFECT_GONE:
    case EFFECT_KIND_COUNT: break;
    }
    unreachable_here();
}

void client_on_changed(struct shard *shard, struct request *request) {
    struct client *client = client_find(shard, request->change.connection);
    if (!client) {
        mem_free(request);
        return;
    }
    bool declared = request->change.kind == CHANGE_QUEUE_DECLARE && !request->made;
    if (declared && request->result.code == REPLY_OK) {
        client_ask_counts(client, request);
        return;
    }
    struct answer answer = {.code = request->result.code,
        .ticket = client_ticket(client, request->ticket),
        .messages = request->messages,
        .consumers = request->consumers};
    str_format(answer.text, sizeof answer.text, "%s", request->result.text);
    str_format(answer.name, sizeof answer.name, "%.*s", (int)request->change.name.size,
        (const char *)request->change.name.data);
    session_on_answer(client->session, request->channel, request->number, &answer, shard->now_ms);
    client_wake(client);
    mem_free(request);
}

/* What the client must not hear of yet. Sessions are told of commits only while they wait for one,
 * so what is stable already is none of theirs. */
uint64_t client_ticket(struct client *client, uint64_t ticket) {
    struct shard *shard = client->shard;
    if (ticket <= shard->ticket_stable) return 0;
    if (!list_linked(&client->in_holding)) list_put_last(&shard->holding, &client->in_holding);
    return ticket;
}

void client_on_committed(struct shard *shard, uint64_t ticket) {
    list_for_safe (struct client, client, &shard->holding, in_holding) {
        session_on_stable(client->session, ticket);
        if (!session_holds(client->session)) list_remove(&client->in_holding);
        client_wake(client);
    }
}

void client_on_reply(struct shard *shard, const struct mail *mail) {
    struct client *client = client_find(shard, mail->ref);
    if (!client) {
        message_unref(shard->pool, mail->message);
        return;
    }
    session_on_reply(client->session, mail->channel, mail->message);
    client_wake(client);
}
