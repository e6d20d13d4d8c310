/* asking: what a session asks of the broker, turned into look-ups, mail and answers. */
#include "auth/access.h"
#include "base/memory.h"
#include "base/str.h"
#include "shard/connection.h"

/* ---- rights ---- */

bool connection_may(const struct connection *connection, enum access_operation operation,
    enum access_kind kind, struct bytes name, char text[256]) {
    struct bytes user = connection->user ? name_bytes(connection->user) : BYTES("");
    struct access_subject subject = {.user = user,
        .vhost = bytes_text(vhost_name(connection->vhost)),
        .logged_in = connection->user != NULL};
    if (access_authorize(&subject, operation, (struct access_object){kind, name})) return true;
    str_format(text, 256, "access to %s '%.*s' in vhost '%s' refused for user '%.*s'",
        kind == ACCESS_QUEUE ? "queue" : "exchange", (int)name.size, (const char *)name.data,
        vhost_name(connection->vhost), (int)user.size, (const char *)user.data);
    return false;
}

/* Fills in the refusal of an operation on a queue. */
static bool may_use_queue(const struct connection *connection, enum access_operation operation,
    struct bytes name, struct answer *answer) {
    *answer = (struct answer){.code = REPLY_ACCESS_REFUSED};
    return connection_may(connection, operation, ACCESS_QUEUE, name, answer->text);
}

/* The rights that a change needs: configure to make and delete, write on what a binding feeds, read
 * on what it takes from. */
static bool may_change(
    const struct connection *connection, const struct change *change, struct answer *answer) {
    *answer = (struct answer){.code = REPLY_ACCESS_REFUSED};
    switch (change->kind) {
    case CHANGE_EXCHANGE_DECLARE:
    case CHANGE_EXCHANGE_DELETE:
        return connection_may(
            connection, ACCESS_CONFIGURE, ACCESS_EXCHANGE, change->name, answer->text);
    case CHANGE_QUEUE_DECLARE:
    case CHANGE_QUEUE_DELETE:
        return connection_may(
            connection, ACCESS_CONFIGURE, ACCESS_QUEUE, change->name, answer->text);
    case CHANGE_EXCHANGE_BIND:
    case CHANGE_EXCHANGE_UNBIND:
    case CHANGE_QUEUE_BIND:
    case CHANGE_QUEUE_UNBIND: break;
    }
    bool queue = change->kind == CHANGE_QUEUE_BIND || change->kind == CHANGE_QUEUE_UNBIND;
    return connection_may(connection, ACCESS_WRITE, queue ? ACCESS_QUEUE : ACCESS_EXCHANGE,
               change->name, answer->text) &&
           connection_may(
               connection, ACCESS_READ, ACCESS_EXCHANGE, change->source, answer->text);
}

/* ---- asks ---- */

static struct ask *ask_put(struct connection *connection, uint16_t channel, uint32_t number,
    struct bytes name, struct request *request) {
    struct ask *ask = mem_new(sizeof *ask + name.size + 1);
    ask->channel = channel;
    ask->number = number;
    ask->request = request;
    bytes_copy(ask->name, name.data, name.size);
    ask->next = connection->asks;
    connection->asks = ask;
    return ask;
}

struct ask *connection_take_ask(
    struct connection *connection, uint16_t channel, uint32_t number) {
    for (struct ask **at = &connection->asks; *at; at = &(*at)->next) {
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

struct request *request_new(const struct connection *connection, const struct change *change,
    uint16_t channel, uint32_t number) {
    size_t strings = (size_t)change->name.size + change->source.size + change->type.size +
                     change->routing_key.size + change->arguments.size;
    struct request *request = mem_new(sizeof *request + strings);
    uint8_t *at = request->strings;
    request->change = *change;
    request->change.connection = connection->self;
    request->change.name = keep(&at, change->name);
    request->change.source = keep(&at, change->source);
    request->change.type = keep(&at, change->type);
    request->change.routing_key = keep(&at, change->routing_key);
    request->change.arguments = keep(&at, change->arguments);
    request->vhost = connection->vhost;
    request->channel = channel;
    request->number = number;
    request->shard = connection->shard->number;
    return request;
}

void connection_send_request(struct connection *connection, struct request *request) {
    struct broker *broker = connection->shard->broker;
    struct mail *mail = mesh_post(broker->mesh, connection->shard->number, broker->registrar);
    *mail = (struct mail){.kind = MAIL_CHANGE, .request = request};
    if (request->change.exclusive) connection->exclusive = true;
}

void connection_ask_counts(struct connection *connection, struct request *request) {
    ask_put(connection, request->channel, request->number, request->change.name, request);
    struct op *op = shard_post_op(connection->shard, request->result.queue);
    *op = (struct op){.kind = OP_STAT,
        .channel = request->channel,
        .request = request->number,
        .connection = connection->self};
}

/* Fills in a refusal; the text is "" when there is none. */
static void answer_result(struct answer *answer, const struct change_result *result) {
    *answer = (struct answer){.code = result->code};
    str_format(answer->text, sizeof answer->text, "%s", result->text);
}

static bool ask_change(void *host, uint16_t channel, uint32_t number, const struct change *asked,
    struct answer *ret_answer) {
    struct connection *connection = host;
    if (!may_change(connection, asked, ret_answer)) return true;
    struct change change = *asked;
    change.connection = connection->self;
    struct change_result result = {0};
    struct directory *directory = connection->shard->broker->directory;
    directory_read(directory);
    bool answered = vhost_answer(connection->vhost, &change, &result);
    directory_done(directory);
    bool counts = answered && result.code == REPLY_OK && change.kind == CHANGE_QUEUE_DECLARE;
    if (answered && !counts) {
        answer_result(ret_answer, &result);
        return true;
    }
    struct request *request = request_new(connection, &change, channel, number);
    request->result = result;
    if (counts) connection_ask_counts(connection, request);
    else connection_send_request(connection, request);
    return false;
}

/* ---- operations on a queue ---- */

/* Finds the queue that `name` names for this connection; 0 with the answer filled in otherwise. */
static queue_ref use_queue(
    const struct connection *connection, struct bytes name, struct answer *ret_answer) {
    if (!may_use_queue(connection, ACCESS_READ, name, ret_answer)) return 0;
    struct change_result result = {0};
    struct directory *directory = connection->shard->broker->directory;
    directory_read(directory);
    const struct queue_entry *entry =
        vhost_use_queue(connection->vhost, name, connection->self, &result);
    queue_ref queue = entry ? entry->queue : 0;
    directory_done(directory);
    if (!queue) answer_result(ret_answer, &result);
    return queue;
}

/* An op that will be answered, for this connection. */
static struct op *post_asking(struct connection *connection, queue_ref queue, enum op_kind kind,
    uint16_t channel, uint32_t number) {
    struct op *op = shard_post_op(connection->shard, queue);
    *op = (struct op){.kind = (uint8_t)kind,
        .channel = channel,
        .request = number,
        .connection = connection->self};
    return op;
}

static bool ask_consume(void *host, uint16_t channel, uint32_t number,
    const struct consume_request *consume, struct answer *ret_answer) {
    struct connection *connection = host;
    queue_ref queue = use_queue(connection, consume->queue, ret_answer);
    if (!queue) return true;
    ask_put(connection, channel, number, consume->queue, NULL);
    struct op *op = post_asking(connection, queue, OP_CONSUME, channel, number);
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
    struct connection *connection = host;
    queue_ref queue = use_queue(connection, name, ret_answer);
    if (!queue) return true;
    ask_put(connection, channel, number, name, NULL);
    struct op *op = post_asking(connection, queue, OP_GET, channel, number);
    op->flags = no_ack ? OP_NO_ACK : 0;
    return false;
}

static bool ask_purge(void *host, uint16_t channel, uint32_t number, struct bytes name,
    struct answer *ret_answer) {
    struct connection *connection = host;
    queue_ref queue = use_queue(connection, name, ret_answer);
    if (!queue) return true;
    ask_put(connection, channel, number, name, NULL);
    post_asking(connection, queue, OP_PURGE, channel, number);
    return false;
}

static void tell_settle(void *host, const struct settle *settle) {
    struct connection *connection = host;
    static const uint8_t kinds[] = {[SETTLE_ACK] = OP_SETTLE,
        [SETTLE_REJECT] = OP_SETTLE,
        [SETTLE_REQUEUE] = OP_REQUEUE,
        [SETTLE_RETURN] = OP_REQUEUE};
    static const uint8_t flags[] = {
        [SETTLE_REJECT] = OP_REJECTED, [SETTLE_REQUEUE] = 0, [SETTLE_RETURN] = OP_RETURNED};
    struct op *op = shard_post_op(connection->shard, settle->queue);
    *op = (struct op){.kind = kinds[settle->how],
        .flags = flags[settle->how],
        .connection = connection->self};
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
    struct connection *connection = host;
    bool ok = access_login(user, password, connection->local);
    if (ok && !connection->user) connection->user = name_new(user);
    struct shard *shard = connection->shard;
    struct mail *mail = mesh_post(shard->broker->mesh, shard->number, shard->number);
    *mail = (struct mail){.kind = MAIL_LOGGED_IN, .flags = ok, .ref = connection->self};
}

static bool ask_vhost(void *host, struct bytes name, struct answer *ret_answer) {
    struct connection *connection = host;
    struct directory *directory = connection->shard->broker->directory;
    struct topology *topology = directory_read(directory);
    connection->vhost = topology_find_vhost(topology, name);
    directory_done(directory);
    *ret_answer = (struct answer){.code = REPLY_NOT_ALLOWED};
    struct access_subject subject = {.user = name_bytes(connection->user),
        .vhost = name,
        .logged_in = true};
    if (!connection->vhost) {
        str_format(ret_answer->text, sizeof ret_answer->text, "vhost %.*s not found",
            (int)name.size, (const char *)name.data);
    } else if (!access_authorize(
                   &subject, ACCESS_ENTER, (struct access_object){ACCESS_VHOST, name})) {
        str_format(ret_answer->text, sizeof ret_answer->text,
            "access to vhost '%.*s' refused for user '%.*s'", (int)name.size,
            (const char *)name.data, (int)subject.user.size, (const char *)subject.user.data);
    } else {
        ret_answer->code = REPLY_OK;
    }
    return true;
}

/* ---- the end ---- */

static void tell_leave(void *host) {
    struct connection *connection = host;
    struct shard *shard = connection->shard;
    check(!connection->leaving);
    connection->leaving = true;
    /* Without an exclusive queue the registrar knows nothing of this connection. */
    bool known = connection->exclusive;
    uint32_t to = known ? shard->broker->registrar : shard->number;
    struct mail *mail = mesh_post(shard->broker->mesh, shard->number, to);
    *mail = (struct mail){.kind = known ? MAIL_LEAVE : MAIL_LEFT, .ref = connection->self};
}

static void tell_finish(void *host) {
    struct connection *connection = host;
    connection->finishing = true;
    connection_wake(connection);
}

static void tell_wake(void *host) {
    connection_wake(host);
}

static void fill_random(void *host, uint8_t *data, size_t size) {
    struct connection *connection = host;
    connection->shard->io->random(connection->shard->io->context, data, size);
}

const struct session_calls CONNECTION_CALLS = {
    .login = ask_login,
    .open_vhost = ask_vhost,
    .change = ask_change,
    .consume = ask_consume,
    .cancel = ask_cancel,
    .get = ask_get,
    .purge = ask_purge,
    .settle = tell_settle,
    .grant = tell_grant,
    .publish = connection_publish,
    .look = connection_look,
    .leave = tell_leave,
    .finish = tell_finish,
    .wake = tell_wake,
    .random = fill_random,
};
