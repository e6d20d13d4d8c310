/* asking: what a session asks of the broker, turned into look-ups, mail and answers. */
#include "auth/access.h"
#include "base/memory.h"
#include "base/str.h"
#include "session/reply_to.h"
#include "shard/client.h"
#include "shard/tickets.h"

/* ---- asks ---- */

static struct ask *ask_put(struct client *client, uint16_t channel, uint32_t number,
    struct bytes name, struct request *request) {
    struct ask *ask = mem_new(sizeof *ask + name.size + 1);
    ask->channel = channel;
    ask->number = number;
    ask->request = request;
    bytes_copy(ask->name, name.data, name.size);
    ask->next = client->asks;
    client->asks = ask;
    return ask;
}

struct ask *client_take_ask(struct client *client, uint16_t channel, uint32_t number) {
    for (struct ask **at = &client->asks; *at; at = &(*at)->next) {
        struct ask *ask = *at;
        if (ask->channel != channel || ask->number != number) continue;
        *at = ask->next;
        return ask;
    }
    return NULL;
}

void ask_free(struct ask *ask) {
    mem_free(ask->request);
    mem_free(ask);
}

/* ---- topology ---- */

static struct bytes keep(uint8_t **at, struct bytes bytes) {
    struct bytes kept = bytes_of(*at, bytes.size);
    bytes_copy(*at, bytes.data, bytes.size);
    *at += bytes.size;
    return kept;
}

struct request *client_make_request(
    const struct client *client, const struct change *change, uint16_t channel, uint32_t number) {
    size_t strings = (size_t)change->name.size + change->source.size + change->type.size +
                     change->routing_key.size + change->arguments.size;
    struct request *request = mem_new(sizeof *request + strings);
    uint8_t *at = request->strings;
    request->change = *change;
    request->change.connection = client->self;
    request->change.name = keep(&at, change->name);
    request->change.source = keep(&at, change->source);
    request->change.type = keep(&at, change->type);
    request->change.routing_key = keep(&at, change->routing_key);
    request->change.arguments = keep(&at, change->arguments);
    request->vhost = client->vhost;
    request->channel = channel;
    request->number = number;
    request->shard = client->shard->number;
    return request;
}

void client_send_request(struct client *client, struct request *request) {
    struct broker *broker = client->shard->broker;
    struct mail *mail = mesh_post(broker->mesh, client->shard->number, broker->registrar);
    *mail = (struct mail){.kind = MAIL_CHANGE, .request = request};
    if (request->change.exclusive) client->exclusive = true;
}

void client_ask_counts(struct client *client, struct request *request) {
    ask_put(client, request->channel, request->number, request->change.name, request);
    struct op *op = shard_post_op(client->shard, request->result.queue);
    *op = (struct op){.kind = OP_STAT,
        .channel = request->channel,
        .request = request->number,
        .connection = client->self};
}

/* Fills in a refusal; the text is "" when there is none. */
static void answer_result(struct answer *answer, const struct change_result *result) {
    *answer = (struct answer){.code = result->code};
    str_format(answer->text, sizeof answer->text, "%s", result->text);
}

/* A reply key may be declared as if it were a queue, to see whether its client still waits. */
static bool ask_reply_address(
    struct client *client, uint16_t channel, uint32_t number, const struct change *change) {
    connection_ref target = 0;
    uint16_t target_channel = 0;
    struct shard *shard = client->shard;
    if (!reply_to_parse(change->name, &target, &target_channel) ||
        ref_shard(target) >= shard->broker->shard_count)
        return false;
    struct request *request = client_make_request(client, change, channel, number);
    struct mail *mail = mesh_post(shard->broker->mesh, shard->number, ref_shard(target));
    *mail = (struct mail){
        .kind = MAIL_PROBE, .channel = target_channel, .ref = target, .request = request};
    return true;
}

void client_on_probe(struct shard *shard, const struct mail *mail) {
    struct request *request = mail->request;
    struct client *target = client_find(shard, mail->ref);
    bool waits =
        target && session_awaits_reply(target->session, mail->channel, request->change.name);
    request->consumers = waits;
    if (!waits) {
        request->result.code = REPLY_NOT_FOUND;
        str_format(request->result.text, sizeof request->result.text,
            "no queue '%.*s' in vhost '%s'", (int)request->change.name.size,
            (const char *)request->change.name.data, vhost_name(request->vhost));
    }
    request->made = true; /* complete: there is no shard to ask for counts */
    struct mail *answer = mesh_post(shard->broker->mesh, shard->number, request->shard);
    *answer = (struct mail){.kind = MAIL_CHANGED, .request = request};
}

static bool ask_change(void *host, uint16_t channel, uint32_t number, const struct change *asked,
    struct answer *ret_answer) {
    struct client *client = host;
    struct change change = *asked;
    change.connection = client->self;
    if (change.kind == CHANGE_QUEUE_DECLARE && ask_reply_address(client, channel, number, &change))
        return false;
    struct change_result result = {0};
    struct directory *directory = client->shard->broker->directory;
    directory_read(directory);
    bool answered = vhost_answer(client->vhost, &change, &result);
    bool found = answered && result.code == REPLY_OK;
    uint64_t ticket = found ? tickets_of_found(client->shard->broker, client->vhost, &change) : 0;
    directory_done(directory);
    bool counts = found && change.kind == CHANGE_QUEUE_DECLARE;
    if (answered && !counts) {
        answer_result(ret_answer, &result);
        ret_answer->ticket = client_ticket(client, ticket);
        return true;
    }
    struct request *request = client_make_request(client, &change, channel, number);
    request->result = result;
    request->ticket = ticket;
    if (counts)
        client_ask_counts(client, request);
    else
        client_send_request(client, request);
    return false;
}

/* ---- operations on a queue ---- */

/* Finds the queue that `name` names for this connection; 0 with the answer filled in otherwise. */
static queue_ref use_queue(
    const struct client *client, struct bytes name, struct answer *ret_answer) {
    struct change_result result = {0};
    struct directory *directory = client->shard->broker->directory;
    directory_read(directory);
    const struct queue_entry *entry = vhost_use_queue(client->vhost, name, client->self, &result);
    queue_ref queue = entry ? entry->queue : 0;
    directory_done(directory);
    if (!queue) answer_result(ret_answer, &result);
    return queue;
}

/* An op that will be answered, for this connection. */
static struct op *post_asking(
    struct client *client, queue_ref queue, enum op_kind kind, uint16_t channel, uint32_t number) {
    struct op *op = shard_post_op(client->shard, queue);
    *op = (struct op){
        .kind = (uint8_t)kind, .channel = channel, .request = number, .connection = client->self};
    return op;
}

static bool ask_consume(void *host, uint16_t channel, uint32_t number,
    const struct consume_request *consume, struct answer *ret_answer) {
    struct client *client = host;
    queue_ref queue = use_queue(client, consume->queue, ret_answer);
    if (!queue) return true;
    ask_put(client, channel, number, consume->queue, NULL);
    struct op *op = post_asking(client, queue, OP_CONSUME, channel, number);
    op->flags = consume->flags;
    op->consume.tag_id = consume->tag_id;
    op->consume.prefetch = consume->prefetch;
    op->consume.priority = consume->priority;
    return false;
}

static void ask_cancel(void *host, uint16_t channel, uint32_t number, queue_ref queue,
    uint32_t tag_id, consumer_handle consumer) {
    struct op *op = post_asking(host, queue, OP_CANCEL, channel, number);
    op->consumer.tag_id = tag_id;
    op->consumer.consumer = consumer;
}

static bool ask_get(void *host, uint16_t channel, uint32_t number, struct bytes name, bool no_ack,
    struct answer *ret_answer) {
    struct client *client = host;
    queue_ref queue = use_queue(client, name, ret_answer);
    if (!queue) return true;
    ask_put(client, channel, number, name, NULL);
    struct op *op = post_asking(client, queue, OP_GET, channel, number);
    op->flags = no_ack ? OP_NO_ACK : 0;
    return false;
}

static bool ask_purge(
    void *host, uint16_t channel, uint32_t number, struct bytes name, struct answer *ret_answer) {
    struct client *client = host;
    queue_ref queue = use_queue(client, name, ret_answer);
    if (!queue) return true;
    ask_put(client, channel, number, name, NULL);
    post_asking(client, queue, OP_PURGE, channel, number);
    return false;
}

static void tell_settle(void *host, const struct settle *settle) {
    struct client *client = host;
    static const uint8_t kinds[] = {[SETTLE_ACK] = OP_SETTLE,
        [SETTLE_REJECT] = OP_SETTLE,
        [SETTLE_REQUEUE] = OP_REQUEUE,
        [SETTLE_RETURN] = OP_REQUEUE};
    static const uint8_t flags[] = {
        [SETTLE_REJECT] = OP_REJECTED, [SETTLE_REQUEUE] = 0, [SETTLE_RETURN] = OP_RETURNED};
    struct op *op = shard_post_op(client->shard, settle->queue);
    *op = (struct op){
        .kind = kinds[settle->how], .flags = flags[settle->how], .connection = client->self};
    op->range.seq = settle->seq;
    op->range.count = settle->count;
    op->range.consumer = settle->consumer;
}

static void tell_grant(void *host, queue_ref queue, uint16_t channel, uint32_t tag_id,
    consumer_handle consumer, uint32_t count) {
    struct op *op = post_asking(host, queue, OP_TOKENS, channel, 0);
    op->consumer.tag_id = tag_id;
    op->consumer.consumer = consumer;
    op->consumer.count = count;
}

/* ---- login and virtual host ---- */

static void ask_login(void *host, struct bytes user, struct bytes password) {
    struct client *client = host;
    bool ok = access_login(user, password, client->local);
    if (!ok) client_note_refused(client, user);
    struct shard *shard = client->shard;
    struct mail *mail = mesh_post(shard->broker->mesh, shard->number, shard->number);
    *mail = (struct mail){.kind = MAIL_LOGGED_IN, .flags = ok, .ref = client->self};
}

static bool ask_vhost(void *host, struct bytes name, struct answer *ret_answer) {
    struct client *client = host;
    struct directory *directory = client->shard->broker->directory;
    struct topology *topology = directory_read(directory);
    client->vhost = topology_find_vhost(topology, name);
    directory_done(directory);
    *ret_answer = (struct answer){.code = client->vhost ? REPLY_OK : REPLY_NOT_ALLOWED};
    if (client->vhost)
        client_note_opened(client);
    else
        str_format(ret_answer->text, sizeof ret_answer->text, "vhost %.*s not found",
            (int)name.size, (const char *)name.data);
    return true;
}

/* ---- fences: all that was posted before has been done ---- */

static void post_fences(struct client *client, uint16_t channel, uint32_t number, bool stable) {
    struct shard *shard = client->shard;
    for (uint32_t i = 0; i < shard->broker->shard_count; i++) {
        struct mail *mail = mesh_post(shard->broker->mesh, shard->number, i);
        *mail = (struct mail){.kind = MAIL_FENCE,
            .flags = stable,
            .channel = channel,
            .number = number,
            .ref = client->self};
    }
}

static void ask_fence(void *host, uint16_t channel, uint32_t number, bool stable) {
    struct client *client = host;
    struct ask *ask = ask_put(client, channel, number, BYTES(""), NULL);
    ask->fences_left = client->shard->broker->shard_count;
    post_fences(client, channel, number, stable);
}

/* Without an exclusive queue the registrar knows nothing of this client. */
static void leave(struct client *client) {
    struct shard *shard = client->shard;
    uint32_t to = client->exclusive ? shard->broker->registrar : shard->number;
    struct mail *mail = mesh_post(shard->broker->mesh, shard->number, to);
    *mail = (struct mail){.kind = client->exclusive ? MAIL_LEAVE : MAIL_LEFT, .ref = client->self};
}

static void tell_leave(void *host) {
    struct client *client = host;
    check(!client->leaving);
    client->leaving = true;
    client->fences_left = client->shard->broker->shard_count;
    post_fences(client, 0, 0, false);
}

void client_on_fenced(struct shard *shard, const struct mail *mail) {
    struct client *client = client_find(shard, mail->ref);
    /* It does not leave before its own fences are back; but those that promise something may be
     * held for as long as a disk has no room, and the others pass them (keeper.c). */
    if (!client && mail->number != 0) return;
    check(client != NULL);
    if (mail->number == 0) {
        if (--client->fences_left == 0) leave(client);
        return;
    }
    struct ask *ask = client_take_ask(client, mail->channel, mail->number);
    check(ask != NULL);
    if (--ask->fences_left != 0) {
        ask->next = client->asks;
        client->asks = ask;
        return;
    }
    ask_free(ask);
    struct answer answer = {.code = REPLY_OK};
    session_on_answer(client->session, mail->channel, mail->number, &answer, shard->now_ms);
    client_wake(client);
}

/* ---- the end ---- */

static void tell_finish(void *host) {
    struct client *client = host;
    client->finishing = true;
    client_wake(client);
}

static void tell_wake(void *host) {
    client_wake(host);
}

static void fill_random(void *host, uint8_t *data, size_t size) {
    struct client *client = host;
    client->shard->io->random(client->shard->io->context, data, size);
}

const struct session_calls CLIENT_CALLS = {
    .login = ask_login,
    .open_vhost = ask_vhost,
    .change = ask_change,
    .consume = ask_consume,
    .cancel = ask_cancel,
    .get = ask_get,
    .purge = ask_purge,
    .settle = tell_settle,
    .fence = ask_fence,
    .grant = tell_grant,
    .publish = client_publish,
    .hold = client_hold,
    .look = client_look,
    .leave = tell_leave,
    .finish = tell_finish,
    .wake = tell_wake,
    .complain = client_note_fault,
    .random = fill_random,
};
