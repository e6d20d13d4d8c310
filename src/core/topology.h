/* topology: virtual hosts, exchanges, queues' names, and bindings: what a publish is routed by.
 *
 * One structure for the process. It is pure: the caller holds the lock (shard/directory.h). The
 * registrar is its only writer; everybody reads. Every change that can alter a route raises the
 * virtual host's generation, which is what route caches compare. */
#ifndef CORE_TOPOLOGY_H
#define CORE_TOPOLOGY_H

#include "amqp/reply.h"
#include "base/base.h"
#include "base/limits.h"
#include "core/ref.h"

struct topology;
struct vhost;
struct exchange;

/* A topology with the virtual host "/" and its pre-declared exchanges. */
struct topology *topology_new(void);

/* The same with a seed for the hashes of names and keys. A server takes a random one, so that peers
 * cannot choose names that collide. */
struct topology *topology_new_seeded(uint64_t hash_seed);
void topology_free(struct topology *topology);

/* The virtual host of that name, or NULL. It lives as long as the topology. */
struct vhost *topology_find_vhost(struct topology *topology, struct bytes name);
const char *vhost_name(const struct vhost *vhost);

/* May be read without the lock: routes computed under this generation hold while it stands. */
uint64_t vhost_generation(const struct vhost *vhost);

/* What is known of a queue here; its messages are at its shard. */
struct queue_entry {
    struct bytes name;
    queue_ref queue;
    connection_ref owner; /* the connection of an exclusive queue, else 0 */
    bool durable;
    bool exclusive;
    bool auto_delete;
    struct bytes arguments; /* field table as declared */
};

/* The queue of that name, or NULL. Borrowed while the lock is held. */
const struct queue_entry *vhost_find_queue(const struct vhost *vhost, struct bytes name);

/* Calls back for every queue, in the order of their names' hash; stops when `each` gives false. */
void vhost_each_queue(const struct vhost *vhost,
    bool (*each)(void *context, const struct queue_entry *entry), void *context);
uint32_t vhost_queue_count(const struct vhost *vhost);

/* With the default exchange and the other pre-declared ones. */
uint32_t vhost_exchange_count(const struct vhost *vhost);

/* Without the implied bindings of the default exchange, one for each queue. */
uint32_t vhost_binding_count(const struct vhost *vhost);

/* ---- routing ---- */

/* Where one publish goes: each queue once. Starts inline and grows. */
struct routes {
    uint32_t count;
    uint32_t capacity;
    queue_ref *queues; /* inline_queues or owned memory */
    uint32_t *index;   /* finds a queue among many (core/routes.c) */
    uint32_t index_capacity;
    uint32_t index_mask;
    uint32_t indexed; /* how many queues the index covers */
    queue_ref inline_queues[16];
};

void routes_init(struct routes *routes);

/* Forgets the queues but keeps the memory, for the next publish. */
static inline void routes_reset(struct routes *routes) {
    routes->count = 0;
    routes->indexed = 0;
}
void routes_deinit(struct routes *routes);

enum route_status {
    ROUTE_OK,          /* routes holds the queues, perhaps none */
    ROUTE_NO_EXCHANGE, /* 404 */
    ROUTE_INTERNAL     /* the exchange is internal: 403 */
};

/* Routes a message by its exchange's name, bindings, exchange-to-exchange bindings and alternate
 * exchanges; each exchange is visited once and each queue given once. `headers` is the validated
 * field table of the headers property (empty when there is none). *ret_by_headers tells whether the
 * headers mattered, in which case the result must not be cached by the routing key. */
enum route_status vhost_route(const struct vhost *vhost, struct bytes exchange,
    struct bytes routing_key, struct bytes headers, struct routes *routes, bool *ret_by_headers);

/* A publish with several routing keys: its own, then those of CC and BCC (which are not looked at
 * here). They are routed together, as an alternate exchange is used only when none of them leads
 * anywhere. */
struct route_query {
    struct bytes exchange;
    const struct bytes *routing_keys;
    uint32_t routing_key_count; /* at least 1 */
    struct bytes headers;
};

/* As vhost_route, for all of the query's routing keys. */
enum route_status vhost_route_query(const struct vhost *vhost, const struct route_query *query,
    struct routes *routes, bool *ret_by_headers);

/* ---- changes: requests, answered with RabbitMQ's codes and texts ---- */

enum change_kind {
    CHANGE_EXCHANGE_DECLARE,
    CHANGE_EXCHANGE_DELETE,
    CHANGE_EXCHANGE_BIND,
    CHANGE_EXCHANGE_UNBIND,
    CHANGE_QUEUE_DECLARE,
    CHANGE_QUEUE_DELETE,
    CHANGE_QUEUE_BIND,
    CHANGE_QUEUE_UNBIND
};

struct change {
    enum change_kind kind;
    bool passive;
    bool durable;
    bool exclusive;
    bool auto_delete;
    bool internal;
    bool if_unused;
    bool if_empty;
    bool server_named; /* QUEUE_DECLARE: the broker made the name up, it may begin with "amq." */
    connection_ref connection; /* who asks; 0 for the broker itself */
    struct bytes name;         /* the exchange or queue; of a binding, the destination */
    struct bytes source;       /* of a binding, the source exchange */
    struct bytes type;         /* of an exchange to declare */
    struct bytes routing_key;
    struct bytes arguments; /* field table, validated */
};

struct change_result {
    enum reply_code code; /* REPLY_OK, or why it was refused */
    char text[256];       /* without the "NOT_FOUND - " prefix, zero-terminated */
    queue_ref queue;      /* QUEUE_...: the queue, when it exists */
};

/* Answers a change of exchanges or bindings and carries it out: EXCHANGE_DECLARE, EXCHANGE_DELETE,
 * EXCHANGE_BIND, EXCHANGE_UNBIND, QUEUE_BIND, QUEUE_UNBIND. Needs the write lock. Deleting or
 * unbinding what is missing succeeds, as in RabbitMQ. An auto-delete exchange goes with its last
 * binding. */
void vhost_change(
    struct vhost *vhost, const struct change *change, struct change_result *ret_result);

/* True when the change can be answered without writing: passive declares, declares of what exists
 * (whether equivalent or not) and declares that are refused; then the answer is given. Needs the
 * read lock only. For queues an answer with code REPLY_OK names the queue, whose shard knows the
 * counts. False when the registrar has to do it. */
bool vhost_answer(
    const struct vhost *vhost, const struct change *change, struct change_result *ret_result);

/* The checks of any operation on an existing queue by `connection`: 404 "no queue 'q' in vhost
 * '/'", 405 when it is another connection's exclusive queue. Gives the entry, or NULL with code and
 * text. */
const struct queue_entry *vhost_use_queue(const struct vhost *vhost, struct bytes name,
    connection_ref connection, struct change_result *ret_result);

/* Checks a QUEUE_DECLARE of a name that is not there (reserved names, arguments' types and values);
 * code REPLY_OK means: make it at its shard, then put it. */
void vhost_check_new_queue(
    const struct vhost *vhost, const struct change *change, struct change_result *ret_result);

/* Puts a queue that its shard has made. Binds it to the default exchange. The name must be free. An
 * exclusive queue is kept as one that is not durable, as RabbitMQ does. */
void vhost_put_queue(struct vhost *vhost, const struct change *change, queue_ref queue);

/* Removes the queue and its bindings (auto-delete exchanges may go with them). False when no queue
 * of that name has this ref. */
bool vhost_remove_queue(struct vhost *vhost, struct bytes name, queue_ref queue);

/* Room for what a change adds, which is made before it, or what is not needed after one: large
 * tables are filled anew without the lock, by who alone changes them. */
enum { VHOST_GROWN_MAX = 4 };

struct vhost_room {
    struct grown {
        struct map *map;
        struct map_slot *slots; /* the new ones, then the old ones */
        uint32_t slot_count;
    } grown[VHOST_GROWN_MAX];
    uint32_t count;
};

/* Makes room for the change if it needs any: the caller is the only one that changes the virtual
 * host. */
void vhost_make_room(struct vhost *vhost, const struct change *change, struct vhost_room *ret_room);

/* Makes smaller tables where large ones have few items left; one exchange's at a time. */
void vhost_take_room(struct vhost *vhost, struct vhost_room *ret_room);

/* Puts it in place; needs the lock, and is followed by the change, if it is for one. */
void vhost_use_room(struct vhost_room *room);

/* Releases what was there before, without the lock. */
void vhost_end_room(struct vhost_room *room);

/* True when an EXCHANGE_DELETE that will be accepted, or the removal of a queue (QUEUE_DELETE),
 * takes very many bindings along. Then vhost_thin takes some of them away before, so that the lock
 * is not held for all of them at once. The change has to follow: it raises the generation. */
bool vhost_takes_many(const struct vhost *vhost, const struct change *change);
void vhost_thin(struct vhost *vhost, const struct change *change);

/* From now on the names of durable exchanges that go are added to `departures`: those deleted, and
 * those that go with their last binding. Borrowed until another call; NULL ends it. */
struct departures;
void vhost_watch(struct vhost *vhost, struct departures *departures);

/* Checks every invariant: O(n). For tests and the simulator. */
void vhost_check(const struct vhost *vhost);

#endif
