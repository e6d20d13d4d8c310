/* channel_topology: exchange.* and queue.*: each becomes one request to the host, and its answer
 * one reply. What is allowed, equal or reserved is decided below (core/topology.h); here are the
 * channel's own rules: the queue declared last, names the broker makes up, replies and their
 * absence. */
#include "base/memory.h"
#include "session/base64url.h"
#include "session/held.h"
#include "session/reply_to.h"

enum { NAME_RANDOM_BYTES = 16 };

/* ---- requests ---- */

static void request_change(struct channel *channel, const struct change *change, bool no_wait) {
    struct session *session = channel->session;
    struct answer answer = {0};
    uint32_t request = connection_next_id(session);
    channel->no_wait = no_wait;
    bool now = session->calls->change(session->host, channel->number, request, change, &answer);
    if (now) {
        channel_topology_on_answer(channel, WAIT_CHANGE, &answer);
    } else {
        channel_park(channel, WAIT_CHANGE, request);
    }
}

static void reply_unless(bool no_wait, struct channel *channel, const struct method *method) {
    if (!no_wait) channel_reply(channel, method);
}

/* RabbitMQ takes carriage returns and line feeds out of the names that are declared. */
static struct bytes strip_line_ends(struct bytes name, uint8_t memory[NAME_BYTES_MAX]) {
    uint32_t size = 0;
    for (uint32_t i = 0; i < name.size; i++) {
        if (name.data[i] != '\r' && name.data[i] != '\n') memory[size++] = name.data[i];
    }
    return bytes_of(memory, size);
}

/* ---- exchange ---- */

void channel_on_exchange_declare(
    struct channel *channel, const struct amqp_exchange_declare *arguments) {
    uint8_t memory[NAME_BYTES_MAX];
    struct bytes name = strip_line_ends(arguments->exchange, memory);
    if (!arguments->passive &&
        !channel_authorize(channel, ACCESS_CONFIGURE, ACCESS_EXCHANGE, name)) {
        return;
    }
    struct change change = {
        .kind = CHANGE_EXCHANGE_DECLARE,
        .passive = arguments->passive,
        .durable = arguments->durable,
        .auto_delete = arguments->auto_delete,
        .internal = arguments->internal,
        .connection = channel->session->self,
        .name = name,
        .type = arguments->type,
        .arguments = arguments->arguments,
    };
    request_change(channel, &change, arguments->no_wait);
}

void channel_on_exchange_delete(
    struct channel *channel, const struct amqp_exchange_delete *arguments) {
    uint8_t memory[NAME_BYTES_MAX];
    struct bytes name = strip_line_ends(arguments->exchange, memory);
    if (!channel_authorize(channel, ACCESS_CONFIGURE, ACCESS_EXCHANGE, name)) return;
    struct change change = {
        .kind = CHANGE_EXCHANGE_DELETE,
        .if_unused = arguments->if_unused,
        .connection = channel->session->self,
        .name = name,
    };
    request_change(channel, &change, arguments->no_wait);
}

/* A binding changes what its destination receives from its source: write there, read here. */
static void request_binding(struct channel *channel, const struct change *change, bool no_wait) {
    bool to_queue = change->kind == CHANGE_QUEUE_BIND || change->kind == CHANGE_QUEUE_UNBIND;
    enum access_kind kind = to_queue ? ACCESS_QUEUE : ACCESS_EXCHANGE;
    if (!channel_authorize(channel, ACCESS_WRITE, kind, change->name)) return;
    if (!channel_authorize(channel, ACCESS_READ, ACCESS_EXCHANGE, change->source)) return;
    request_change(channel, change, no_wait);
}

void channel_on_exchange_bind(struct channel *channel, const struct amqp_exchange_bind *arguments) {
    struct change change = {
        .kind = CHANGE_EXCHANGE_BIND,
        .connection = channel->session->self,
        .name = arguments->destination,
        .source = arguments->source,
        .routing_key = arguments->routing_key,
        .arguments = arguments->arguments,
    };
    request_binding(channel, &change, arguments->no_wait);
}

void channel_on_exchange_unbind(
    struct channel *channel, const struct amqp_exchange_unbind *arguments) {
    struct change change = {
        .kind = CHANGE_EXCHANGE_UNBIND,
        .connection = channel->session->self,
        .name = arguments->destination,
        .source = arguments->source,
        .routing_key = arguments->routing_key,
        .arguments = arguments->arguments,
    };
    request_binding(channel, &change, arguments->no_wait);
}

/* ---- queue ---- */

/* "amq.gen-" and 128 random bits; `memory` has room for any name. */
static struct bytes make_name(struct session *session, uint8_t memory[NAME_BYTES_MAX]) {
    struct bytes prefix = BYTES("amq.gen-");
    uint8_t random[NAME_RANDOM_BYTES];
    session->calls->random(session->host, random, sizeof random);
    memcpy(memory, prefix.data, prefix.size);
    base64url_encode(bytes_of(random, sizeof random), memory + prefix.size);
    return bytes_of(memory, prefix.size + BASE64URL_CHARACTERS(NAME_RANDOM_BYTES));
}

static void remember_queue(struct channel *channel, struct bytes name) {
    if (channel->last_queue && bytes_equal(bytes_text(channel->last_queue), name)) return;
    char *text = mem_text(name);
    mem_free(channel->last_queue);
    channel->last_queue = text;
}

/* The pseudo queue of direct reply-to can be declared, as whatever, and always has its consumer. So
 * has a reply key while its channel is there. */
static bool is_reply_queue(struct channel *channel, struct bytes name) {
    struct session *session = channel->session;
    connection_ref connection;
    uint16_t number;
    if (bytes_equal(name, BYTES(REPLY_TO_QUEUE))) return true;
    return reply_to_parse(name, &connection, &number) && connection == session->self &&
           session_awaits_reply(session, number, name);
}

static void declare_reply_queue(struct channel *channel, struct bytes name, bool no_wait) {
    remember_queue(channel, name);
    reply_unless(no_wait, channel,
        &(struct method){
            .kind = METHOD_queue_declare_ok,
            .queue_declare_ok = {.queue = name, .consumer_count = 1},
        });
}

void channel_on_queue_declare(struct channel *channel, const struct amqp_queue_declare *arguments) {
    uint8_t memory[NAME_BYTES_MAX];
    struct bytes name = strip_line_ends(arguments->queue, memory);
    bool server_named = name.size == 0 && !arguments->passive;
    if (server_named) name = make_name(channel->session, memory);
    if (is_reply_queue(channel, name)) {
        declare_reply_queue(channel, name, arguments->no_wait);
        return;
    }
    /* Names below it are asked about, never declared. */
    bool passive = arguments->passive || bytes_start_with(name, BYTES(REPLY_TO_QUEUE "."));
    if (!passive && !channel_authorize(channel, ACCESS_CONFIGURE, ACCESS_QUEUE, name)) {
        return;
    }
    struct change change = {
        .kind = CHANGE_QUEUE_DECLARE,
        .passive = passive,
        .durable = arguments->durable,
        .exclusive = arguments->exclusive,
        .auto_delete = arguments->auto_delete,
        .server_named = server_named,
        .connection = channel->session->self,
        .name = name,
        .arguments = arguments->arguments,
    };
    request_change(channel, &change, arguments->no_wait);
}

/* With neither a queue nor a key, the key is the name of the queue declared last. */
static bool name_binding(struct channel *channel, struct bytes *queue, struct bytes *routing_key) {
    bool key_is_name = queue->size == 0 && routing_key->size == 0;
    if (!channel_name_queue(channel, *queue, queue)) return false;
    if (key_is_name) *routing_key = *queue;
    return true;
}

void channel_on_queue_bind(struct channel *channel, const struct amqp_queue_bind *arguments) {
    struct change change = {
        .kind = CHANGE_QUEUE_BIND,
        .connection = channel->session->self,
        .name = arguments->queue,
        .source = arguments->exchange,
        .routing_key = arguments->routing_key,
        .arguments = arguments->arguments,
    };
    if (!name_binding(channel, &change.name, &change.routing_key)) return;
    request_binding(channel, &change, arguments->no_wait);
}

void channel_on_queue_unbind(struct channel *channel, const struct amqp_queue_unbind *arguments) {
    struct change change = {
        .kind = CHANGE_QUEUE_UNBIND,
        .connection = channel->session->self,
        .name = arguments->queue,
        .source = arguments->exchange,
        .routing_key = arguments->routing_key,
        .arguments = arguments->arguments,
    };
    if (!name_binding(channel, &change.name, &change.routing_key)) return;
    request_binding(channel, &change, false);
}

void channel_on_queue_delete(struct channel *channel, const struct amqp_queue_delete *arguments) {
    struct bytes name;
    if (!channel_name_queue(channel, arguments->queue, &name)) return;
    if (!channel_authorize(channel, ACCESS_CONFIGURE, ACCESS_QUEUE, name)) return;
    struct change change = {
        .kind = CHANGE_QUEUE_DELETE,
        .if_unused = arguments->if_unused,
        .if_empty = arguments->if_empty,
        .connection = channel->session->self,
        .name = name,
    };
    request_change(channel, &change, arguments->no_wait);
}

void channel_on_queue_purge(struct channel *channel, const struct amqp_queue_purge *arguments) {
    struct session *session = channel->session;
    struct bytes name;
    if (!channel_name_queue(channel, arguments->queue, &name)) return;
    if (!channel_authorize(channel, ACCESS_READ, ACCESS_QUEUE, name)) return;
    struct answer answer = {0};
    uint32_t request = connection_next_id(session);
    channel->no_wait = arguments->no_wait;
    if (session->calls->purge(session->host, channel->number, request, name, &answer)) {
        channel_topology_on_answer(channel, WAIT_PURGE, &answer);
    } else {
        channel_park(channel, WAIT_PURGE, request);
    }
}

/* ---- answers ---- */

static void on_changed(struct channel *channel, const struct answer *answer) {
    struct method reply = {0};
    switch ((int)channel->method) {
    case METHOD_exchange_declare: reply.kind = METHOD_exchange_declare_ok; break;
    case METHOD_exchange_delete: reply.kind = METHOD_exchange_delete_ok; break;
    case METHOD_exchange_bind: reply.kind = METHOD_exchange_bind_ok; break;
    case METHOD_exchange_unbind: reply.kind = METHOD_exchange_unbind_ok; break;
    case METHOD_queue_bind: reply.kind = METHOD_queue_bind_ok; break;
    case METHOD_queue_unbind: reply.kind = METHOD_queue_unbind_ok; break;
    case METHOD_queue_delete:
        reply.kind = METHOD_queue_delete_ok;
        reply.queue_delete_ok.message_count = answer->messages;
        break;
    case METHOD_queue_declare:
        reply.kind = METHOD_queue_declare_ok;
        reply.queue_declare_ok = (struct amqp_queue_declare_ok){
            .queue = bytes_text(answer->name),
            .message_count = answer->messages,
            .consumer_count = answer->consumers,
        };
        remember_queue(channel, bytes_text(answer->name));
        break;
    default: unreachable_here();
    }
    reply_unless(channel->no_wait, channel, &reply);
}

void channel_topology_on_answer(
    struct channel *channel, enum channel_wait wait, const struct answer *answer) {
    if (answer->code != REPLY_OK) {
        channel_fault(channel, answer->code, "%s", answer->text);
        return;
    }
    if (!channel->no_wait) held_wait(channel, answer->ticket);
    if (wait == WAIT_PURGE) {
        reply_unless(channel->no_wait, channel,
            &(struct method){.kind = METHOD_queue_purge_ok,
                .queue_purge_ok = {.message_count = answer->messages}});
    } else {
        check(wait == WAIT_CHANGE);
        on_changed(channel, answer);
    }
}
