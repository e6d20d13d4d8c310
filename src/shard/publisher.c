/* publisher: a publish on its way: routed here, posted to the owners, confirmed by watermark.
 *
 *     publish -> route -> ENQUEUE to each owner, one `pending` per owner at the end of a ring
 *     watermark from an owner: k are applied, s are stable -> transient pendings up to index k and
 *     persistent ones up to s leave their rings: the connection's window opens by their cost, and
 *     those with a seqno are told to the session
 *
 * Publishes of one connection that nobody waits for share a pending, so the ring stays short. */
#include "amqp/table.h"
#include "base/memory.h"
#include "base/str.h"
#include "session/reply_to.h"
#include "shard/client.h"

enum {
    WINDOW_PUBLISH_BYTES = 64, /* what a publish weighs beside its message */
    PENDINGS_KEPT_MAX = 4096,  /* so much room an empty ring keeps */
};

/* Some queues, in somebody else's memory. */
struct queue_refs {
    const queue_ref *refs;
    uint32_t count;
};

/* ---- the rings of pendings ---- */

static void pendings_grow(struct pendings *pendings) {
    uint32_t capacity = pendings->capacity ? pendings->capacity * 2 : 256;
    struct pending *ring = mem_raw(capacity * sizeof *ring);
    for (uint32_t i = 0; i < pendings->count; i++)
        ring[i] = pendings->ring[(pendings->first + i) & (pendings->capacity - 1)];
    mem_free(pendings->ring);
    pendings->ring = ring;
    pendings->first = 0;
    pendings->capacity = capacity;
}

static void pendings_free(struct pendings *pendings) {
    mem_free(pendings->ring);
    *pendings = (struct pendings){0};
}

static struct pending *pendings_last(struct pendings *pendings) {
    uint32_t at = pendings->first + pendings->count - 1;
    return &pendings->ring[at & (pendings->capacity - 1)];
}

/* Remembers the publish whose last ENQUEUE to this owner was just posted. */
static void pending_put(struct client *client, struct peer *peer, const struct publish *publish) {
    struct pendings *pendings = publish->message->persistent ? &peer->persistent : &peer->transient;
    uint64_t cost = message_cost(publish->message) + WINDOW_PUBLISH_BYTES;
    client->window_bytes += cost;
    client->window_publishes++;
    if (publish->seqno == 0 && pendings->count != 0) {
        struct pending *last = pendings_last(pendings);
        if (last->connection == client->self && last->seqno == 0) {
            last->index = peer->sent;
            last->cost += cost;
            last->publishes++;
            return;
        }
    }
    if (pendings->count == pendings->capacity) pendings_grow(pendings);
    pendings->count++;
    *pendings_last(pendings) = (struct pending){
        .index = peer->sent,
        .connection = client->self,
        .seqno = publish->seqno,
        .cost = cost,
        .epoch = publish->epoch,
        .publishes = 1,
        .channel = publish->channel,
    };
}

static void pending_done(struct shard *shard, const struct pending *pending) {
    struct client *client = client_find(shard, pending->connection);
    if (!client) return;
    check(client->window_bytes >= pending->cost);
    check(client->window_publishes >= pending->publishes);
    client->window_bytes -= pending->cost;
    client->window_publishes -= pending->publishes;
    if (pending->seqno != 0) {
        counter_add(&shard->counters.confirmed, 1);
        session_on_confirm(client->session, pending->channel, pending->epoch, pending->seqno, true);
    }
    client_wake(client);
}

static void pendings_advance(struct shard *shard, struct pendings *pendings, uint64_t count) {
    while (pendings->count != 0) {
        const struct pending *first = &pendings->ring[pendings->first];
        if (first->index > count) return;
        struct pending done = *first;
        pendings->first = (pendings->first + 1) & (pendings->capacity - 1);
        pendings->count--;
        if (pendings->count == 0 && pendings->capacity > PENDINGS_KEPT_MAX) pendings_free(pendings);
        pending_done(shard, &done);
    }
}

void publisher_on_watermark(
    struct shard *shard, uint32_t owner, uint64_t applied, uint64_t stable) {
    struct peer *peer = &shard->peers[owner];
    check(applied <= peer->sent);
    check(stable <= applied);
    pendings_advance(shard, &peer->transient, applied);
    pendings_advance(shard, &peer->persistent, stable);
}

bool publisher_window_open(const struct client *client) {
    /* A closed window opens again at half, so that reading is not toggled for every message. */
    uint64_t bytes = CONNECTION_WINDOW_BYTES;
    uint32_t publishes = CONNECTION_WINDOW_PUBLISHES;
    if (!client->reading) {
        bytes /= 2;
        publishes /= 2;
    }
    return client->window_bytes < bytes && client->window_publishes < publishes;
}

/* ---- posting ---- */

/* A confirm is awaited, and so is room in a window that fills. */
static bool is_awaited(const struct client *client, const struct publish *publish) {
    return publish->seqno != 0 || client->window_bytes > CONNECTION_WINDOW_BYTES / 4 ||
           client->window_publishes > CONNECTION_WINDOW_PUBLISHES / 4;
}

static void post_enqueue(
    struct shard *shard, queue_ref queue, struct message *message, uint8_t flags) {
    struct op *op = shard_post_op(shard, queue);
    *op = (struct op){.kind = OP_ENQUEUE, .flags = flags, .message = message};
    shard->peers[ref_shard(queue)].sent++;
}

/* Posts to every queue and remembers one pending for each owner. The message gets all its
 * references before the first one travels. */
static uint32_t post_all(
    struct client *client, const struct publish *publish, const queue_ref *queues, uint32_t count) {
    struct shard *shard = client->shard;
    message_ref(publish->message, count);
    uint64_t owners = 0;
    uint8_t flags = is_awaited(client, publish) ? OP_AWAITED : 0;
    for (uint32_t i = 0; i < count; i++) {
        post_enqueue(shard, queues[i], publish->message, flags);
        owners |= (uint64_t)1 << ref_shard(queues[i]);
    }
    for (uint64_t left = owners; left != 0; left &= left - 1) {
        uint32_t owner = (uint32_t)__builtin_ctzll(left);
        pending_put(client, &shard->peers[owner], publish);
    }
    return (uint32_t)__builtin_popcountll(owners);
}

static_assert(SHARDS_MAX <= 64, "owners are a mask of 64 bits");

static void refuse(const struct vhost *vhost, enum route_status status, struct bytes exchange,
    enum reply_code *ret_code, char text[256]) {
    if (status == ROUTE_NO_EXCHANGE) {
        *ret_code = REPLY_NOT_FOUND;
        str_format(text, 256, "no exchange '%.*s' in vhost '%s'", (int)exchange.size,
            (const char *)exchange.data, vhost_name(vhost));
        return;
    }
    *ret_code = REPLY_ACCESS_REFUSED;
    str_format(text, 256, "cannot publish to internal exchange '%.*s' in vhost '%s'",
        (int)exchange.size, (const char *)exchange.data, vhost_name(vhost));
}

/* ---- direct reply-to: the routing key is an address, there is no queue; a mandatory answer is
 * returned even when it arrives, as RabbitMQ 3.10 does ---- */

static bool is_reply(const struct message *message) {
    connection_ref target = 0;
    uint16_t channel = 0;
    return message->exchange_size == 0 &&
           reply_to_parse(message_routing_key(message), &target, &channel);
}

static bool publish_reply(struct client *client, const struct publish *publish) {
    struct message *message = publish->message;
    connection_ref target = 0;
    uint16_t channel = 0;
    if (message->exchange_size != 0 ||
        !reply_to_parse(message_routing_key(message), &target, &channel))
        return false;
    if (ref_shard(target) >= client->shard->broker->shard_count) return true;
    message_ref(message, 1);
    struct mail *mail =
        mesh_post(client->shard->broker->mesh, client->shard->number, ref_shard(target));
    *mail =
        (struct mail){.kind = MAIL_REPLY, .channel = channel, .ref = target, .message = message};
    return true;
}

/* ---- slow routes: headers exchanges, CC and BCC ---- */

/* The routing key, and those of CC and BCC behind it. An array's element takes 5 bytes at least, so
 * the sizes bound the count. */
static uint32_t gather_keys(const struct publish *publish, struct bytes *ret_keys) {
    const struct bytes arrays[] = {publish->cc, publish->bcc};
    uint32_t count = 0;
    ret_keys[count++] = message_routing_key(publish->message);
    for (size_t i = 0; i < COUNT_OF(arrays); i++) {
        struct reader reader = reader_over(arrays[i]);
        struct field field;
        while (table_array_next(&reader, &field)) {
            if (field.type == 'S') ret_keys[count++] = field.bytes;
        }
    }
    return count;
}

static enum route_status route_slowly(
    const struct client *client, const struct publish *publish, struct routes *routes) {
    size_t keys_max = 1 + (size_t)(publish->cc.size + publish->bcc.size) / 5;
    struct bytes *keys = mem_new_array(keys_max, sizeof *keys);
    struct route_query query = {.exchange = message_exchange(publish->message),
        .routing_keys = keys,
        .routing_key_count = gather_keys(publish, keys),
        .headers = publish->headers};
    check(query.routing_key_count <= keys_max);
    bool by_headers = false;
    struct directory *directory = client->shard->broker->directory;
    directory_read(directory);
    enum route_status status = vhost_route_query(client->vhost, &query, routes, &by_headers);
    directory_done(directory);
    mem_free(keys);
    return status;
}

/* Where a publish goes: the cache's queues, or those of `routes`, which is the caller's memory. */
static void find_route(struct client *client, const struct publish *publish, struct routes *routes,
    struct queue_refs *ret_queues, struct publish_result *ret_result) {
    struct shard *shard = client->shard;
    struct bytes exchange = message_exchange(publish->message);
    const struct route *route = route_find(&shard->routes, shard->broker->directory, client->vhost,
        exchange, message_routing_key(publish->message));
    enum route_status status = route->status;
    *ret_queues = (struct queue_refs){route->queues, route->count};
    if (route->by_headers || publish->cc.size != 0 || publish->bcc.size != 0) {
        status = route_slowly(client, publish, routes);
        *ret_queues = (struct queue_refs){routes->queues, routes->count};
    }
    if (status == ROUTE_OK) return;
    ret_queues->count = 0;
    refuse(client->vhost, status, exchange, &ret_result->code, ret_result->text);
}

static void count_publish(struct shard *shard, uint32_t queues) {
    counter_add(&shard->counters.published, 1);
    counter_add(&shard->counters.routed, queues);
    if (queues == 0) counter_add(&shard->counters.unroutable_dropped, 1);
}

void client_publish(void *host, const struct publish *publish, struct publish_result *ret_result) {
    struct client *client = host;
    struct routes routes;
    struct queue_refs queues = {NULL, 0};
    routes_init(&routes);
    ret_result->code = REPLY_OK;
    ret_result->confirms = 0;
    if (publish->held) queues = (struct queue_refs){publish->held->queues, publish->held->count};
    bool reply = publish_reply(client, publish);
    if (!reply && !publish->held) find_route(client, publish, &routes, &queues, ret_result);
    ret_result->queues = queues.count;
    if (queues.count != 0)
        ret_result->confirms = post_all(client, publish, queues.refs, queues.count);
    count_publish(client->shard, queues.count);
    routes_deinit(&routes);
}

void client_hold(void *host, const struct publish *publish, struct publish_result *ret_result,
    struct held_route **ret_held) {
    struct client *client = host;
    struct routes routes;
    struct queue_refs queues = {NULL, 0};
    routes_init(&routes);
    ret_result->code = REPLY_OK;
    if (!is_reply(publish->message)) find_route(client, publish, &routes, &queues, ret_result);
    ret_result->queues = queues.count;
    ret_result->confirms = 0;
    if (ret_result->code == REPLY_OK) {
        struct held_route *held = mem_raw(sizeof *held + queues.count * sizeof *held->queues);
        held->count = queues.count;
        bytes_copy(held->queues, queues.refs, queues.count * sizeof *held->queues);
        *ret_held = held;
    }
    routes_deinit(&routes);
}

enum reply_code client_look(void *host, struct bytes exchange, char text[256]) {
    struct client *client = host;
    struct routes routes;
    routes_init(&routes);
    bool by_headers = false;
    struct directory *directory = client->shard->broker->directory;
    directory_read(directory);
    enum route_status status =
        vhost_route(client->vhost, exchange, BYTES(""), bytes_of(NULL, 0), &routes, &by_headers);
    directory_done(directory);
    routes_deinit(&routes);
    enum reply_code code = REPLY_OK;
    if (status != ROUTE_OK) refuse(client->vhost, status, exchange, &code, text);
    return code;
}
