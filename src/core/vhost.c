/* vhost: the exchanges, queues and bindings of one virtual host, and how they come and go together.
 */
#include "core/vhost.h"

#include "base/limits.h"
#include "base/memory.h"
#include "core/departures.h"

/* Readers compare generations without the lock, so the count is atomic; it is written under the
 * lock only. */
static void raise_generation(struct vhost *vhost) {
    uint64_t now = atomic_load_explicit(&vhost->generation, memory_order_relaxed);
    atomic_store_explicit(&vhost->generation, now + 1, memory_order_release);
}

const char *vhost_name(const struct vhost *vhost) {
    return vhost->name;
}

uint64_t vhost_generation(const struct vhost *vhost) {
    return atomic_load_explicit(&vhost->generation, memory_order_acquire);
}

static void add_predeclared(struct vhost *vhost) {
    static const struct {
        const char *name;
        enum exchange_kind kind;
        bool internal;
    } predeclared[] = {
        {"", EXCHANGE_DIRECT, false},
        {"amq.direct", EXCHANGE_DIRECT, false},
        {"amq.fanout", EXCHANGE_FANOUT, false},
        {"amq.topic", EXCHANGE_TOPIC, false},
        {"amq.headers", EXCHANGE_HEADERS, false},
        {"amq.match", EXCHANGE_HEADERS, false},
        {"amq.rabbitmq.trace", EXCHANGE_TOPIC, true},
    };
    for (size_t i = 0; i < COUNT_OF(predeclared); i++) {
        struct change change = {
            .kind = CHANGE_EXCHANGE_DECLARE,
            .durable = true,
            .internal = predeclared[i].internal,
            .name = bytes_text(predeclared[i].name),
        };
        vhost_add_exchange(vhost, &change, predeclared[i].kind);
    }
}

struct vhost *vhost_new(struct bytes name, uint64_t hash_seed) {
    struct vhost *vhost = NEW(struct vhost);
    vhost->name = mem_text(name);
    vhost->hash_seed = hash_seed;
    atomic_init(&vhost->generation, 1);
    list_init(&vhost->sparse);
    add_predeclared(vhost);
    return vhost;
}

/* ---- queues ---- */

struct bound_queue *vhost_find_bound_queue(const struct vhost *vhost, struct bytes name) {
    struct map_probe probe = map_probe(&vhost->queues, map_hash(name, vhost->hash_seed));
    struct bound_queue *queue;
    while ((queue = map_probe_next(&probe)) != NULL) {
        if (bytes_equal(queue->entry.name, name)) return queue;
    }
    return NULL;
}

const struct queue_entry *vhost_find_queue(const struct vhost *vhost, struct bytes name) {
    const struct bound_queue *queue = vhost_find_bound_queue(vhost, name);
    return queue ? &queue->entry : NULL;
}

void vhost_each_queue(const struct vhost *vhost,
    bool (*each)(void *context, const struct queue_entry *entry), void *context) {
    for (uint32_t at = 0; at < map_slot_count(&vhost->queues); at++) {
        const struct bound_queue *queue = map_item_at(&vhost->queues, at);
        if (queue && !each(context, &queue->entry)) return;
    }
}

uint32_t vhost_queue_count(const struct vhost *vhost) {
    return vhost->queues.count;
}

/* RabbitMQ keeps an exclusive queue as one that is not durable, whatever was asked for. */
void vhost_put_queue(struct vhost *vhost, const struct change *change, queue_ref ref) {
    check(ref != 0);
    check(!vhost_find_bound_queue(vhost, change->name));
    size_t size = (size_t)change->name.size + change->arguments.size;
    struct bound_queue *queue = mem_new(sizeof *queue + size);
    bytes_copy(queue->data, change->name.data, change->name.size);
    uint8_t *arguments = queue->data + change->name.size;
    bytes_copy(arguments, change->arguments.data, change->arguments.size);
    queue->entry = (struct queue_entry){
        .name = bytes_of(queue->data, change->name.size),
        .queue = ref,
        .owner = change->exclusive ? change->connection : 0,
        .durable = change->durable && !change->exclusive,
        .exclusive = change->exclusive,
        .auto_delete = change->auto_delete,
        .arguments = bytes_of(arguments, change->arguments.size),
    };
    list_init(&queue->bindings);
    map_put(&vhost->queues, map_hash(queue->entry.name, vhost->hash_seed), queue);
    raise_generation(vhost);
}

/* ---- bindings ---- */

static uint64_t binding_hash(const struct vhost *vhost, const struct exchange *source,
    const void *destination, struct bytes routing_key, struct bytes arguments) {
    uint64_t hash = map_hash(routing_key, vhost->hash_seed ^ (uintptr_t)source);
    if (arguments.size != 0) hash = map_hash(arguments, hash);
    hash = (hash ^ (uintptr_t)destination) * 0x9e3779b97f4a7c15u;
    return hash ^ (hash >> 32);
}

static uint64_t hash_of_binding(const struct vhost *vhost, const struct binding *binding) {
    return binding_hash(vhost, binding->source, binding->destination, binding_key(binding),
        binding_arguments(binding));
}

static void *destination_of(const struct binding_query *query) {
    check((query->queue != NULL) != (query->exchange != NULL));
    return query->queue ? (void *)query->queue : (void *)query->exchange;
}

struct binding *vhost_find_binding(const struct vhost *vhost, const struct binding_query *query) {
    const void *destination = destination_of(query);
    uint64_t hash =
        binding_hash(vhost, query->source, destination, query->routing_key, query->arguments);
    struct map_probe probe = map_probe(&vhost->bindings, hash);
    struct binding *binding;
    while ((binding = map_probe_next(&probe)) != NULL) {
        if (binding->source != query->source || binding->destination != destination) continue;
        if (!bytes_equal(binding_key(binding), query->routing_key)) continue;
        if (bytes_equal(binding_arguments(binding), query->arguments)) return binding;
    }
    return NULL;
}

void vhost_add_binding(struct vhost *vhost, const struct binding_query *query) {
    struct binding *binding = binding_new(query->routing_key, query->arguments);
    binding->source = query->source;
    binding->destination = destination_of(query);
    binding->queue = query->queue ? query->queue->entry.queue : 0;
    exchange_attach(query->source, binding);
    list_put_last(query->queue ? &query->queue->bindings : &query->exchange->inbound,
        &binding->in_destination);
    map_put(&vhost->bindings, hash_of_binding(vhost, binding), binding);
    raise_generation(vhost);
}

uint32_t vhost_binding_count(const struct vhost *vhost) {
    return vhost->bindings.count;
}

/* ---- leaving ----
 *
 * What leaves takes its bindings along; an auto-delete exchange whose last binding goes leaves too.
 * Such exchanges wait in a list of doomed ones until it is empty, so that a long chain of them
 * needs no stack. */

/* Takes a binding out of its four places. */
static void unbind(struct vhost *vhost, struct binding *binding) {
    map_remove_only(&vhost->bindings, hash_of_binding(vhost, binding), binding);
    list_remove(&binding->in_destination);
    struct exchange *source = binding->source;
    check(source != NULL);
    exchange_detach(source, binding);
    const struct map *table = exchange_table(source);
    if (table && map_is_sparse(table) && !list_linked(&source->in_sparse))
        list_put_last(&vhost->sparse, &source->in_sparse);
    binding_free(binding);
}

/* The same, and dooms the source if that was its reason to be. */
static void unbind_and_doom(struct vhost *vhost, struct binding *binding, struct list *doomed) {
    struct exchange *source = binding->source;
    unbind(vhost, binding);
    if (!source->auto_delete || !list_empty(&source->bindings)) return;
    if (!list_linked(&source->in_doomed)) list_put_last(doomed, &source->in_doomed);
}

static void drop_exchange(struct vhost *vhost, struct exchange *exchange, struct list *doomed) {
    list_for_safe (struct binding, binding, &exchange->bindings, in_source) {
        unbind(vhost, binding);
    }
    list_for_safe (struct binding, binding, &exchange->inbound, in_destination) {
        unbind_and_doom(vhost, binding, doomed);
    }
    map_remove_only(&vhost->exchanges, map_hash(exchange->name, vhost->hash_seed), exchange);
    if (vhost->departures && exchange->durable) departures_add(vhost->departures, exchange->name);
    exchange_free(exchange);
}

static void drop_doomed(struct vhost *vhost, struct list *doomed) {
    struct list_node *node;
    while ((node = list_take_first(doomed)) != NULL) {
        drop_exchange(vhost, LIST_ENTRY(node, struct exchange, in_doomed), doomed);
    }
    raise_generation(vhost);
}

void vhost_watch(struct vhost *vhost, struct departures *departures) {
    vhost->departures = departures;
}

void vhost_remove_binding(struct vhost *vhost, struct binding *binding) {
    struct list doomed;
    list_init(&doomed);
    unbind_and_doom(vhost, binding, &doomed);
    drop_doomed(vhost, &doomed);
}

bool vhost_remove_queue(struct vhost *vhost, struct bytes name, queue_ref ref) {
    struct bound_queue *queue = vhost_find_bound_queue(vhost, name);
    if (!queue || queue->entry.queue != ref) return false;
    struct list doomed;
    list_init(&doomed);
    list_for_safe (struct binding, binding, &queue->bindings, in_destination) {
        unbind_and_doom(vhost, binding, &doomed);
    }
    map_remove_only(&vhost->queues, map_hash(queue->entry.name, vhost->hash_seed), queue);
    mem_free(queue);
    drop_doomed(vhost, &doomed);
    return true;
}

/* ---- exchanges ---- */

struct exchange *vhost_find_exchange(const struct vhost *vhost, struct bytes name) {
    struct map_probe probe = map_probe(&vhost->exchanges, map_hash(name, vhost->hash_seed));
    struct exchange *exchange;
    while ((exchange = map_probe_next(&probe)) != NULL) {
        if (bytes_equal(exchange->name, name)) return exchange;
    }
    return NULL;
}

uint32_t vhost_exchange_count(const struct vhost *vhost) {
    return vhost->exchanges.count;
}

void vhost_add_exchange(struct vhost *vhost, const struct change *change, enum exchange_kind kind) {
    check(!vhost_find_exchange(vhost, change->name));
    struct exchange *exchange = exchange_new(change, kind, vhost->hash_seed);
    map_put(&vhost->exchanges, map_hash(exchange->name, vhost->hash_seed), exchange);
    raise_generation(vhost);
}

void vhost_remove_exchange(struct vhost *vhost, struct exchange *exchange) {
    struct list doomed;
    list_init(&doomed);
    list_put_last(&doomed, &exchange->in_doomed);
    drop_doomed(vhost, &doomed);
}

/* ---- thinning ----
 *
 * The generation is left to the change that follows. Until then routes that are cached stand as
 * they are, and nobody has to look for them anew after each slice. */

void vhost_thin_exchange(struct vhost *vhost, struct exchange *exchange, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        unbind(vhost, LIST_ENTRY(list_first(&exchange->bindings), struct binding, in_source));
    check(!list_empty(&exchange->bindings));
}

void vhost_thin_queue(struct vhost *vhost, struct bound_queue *queue, uint32_t count) {
    struct list doomed;
    list_init(&doomed);
    for (uint32_t i = 0; i < count; i++) {
        struct list_node *first = list_first(&queue->bindings);
        unbind_and_doom(vhost, LIST_ENTRY(first, struct binding, in_destination), &doomed);
    }
    check(!list_empty(&queue->bindings));
    if (!list_empty(&doomed)) drop_doomed(vhost, &doomed);
}

/* ---- the end ---- */

/* Bindings first, which leaves nothing that hangs together. */
void vhost_free(struct vhost *vhost) {
    if (!vhost) return;
    for (uint32_t at = 0; at < map_slot_count(&vhost->exchanges); at++) {
        struct exchange *exchange = map_item_at(&vhost->exchanges, at);
        if (!exchange) continue;
        list_for_safe (struct binding, binding, &exchange->bindings, in_source) {
            unbind(vhost, binding);
        }
    }
    check(vhost->bindings.count == 0);
    for (uint32_t at = 0; at < map_slot_count(&vhost->exchanges); at++) {
        if (map_item_at(&vhost->exchanges, at)) exchange_free(map_item_at(&vhost->exchanges, at));
    }
    for (uint32_t at = 0; at < map_slot_count(&vhost->queues); at++) {
        mem_free(map_item_at(&vhost->queues, at));
    }
    map_deinit(&vhost->queues);
    map_deinit(&vhost->exchanges);
    map_deinit(&vhost->bindings);
    mem_free(vhost->name);
    mem_free(vhost);
}

/* ---- checking ---- */

static void check_inbound(const struct vhost *vhost, const struct list *inbound,
    const void *destination, uint32_t *ret_count) {
    list_for (struct binding, binding, inbound, in_destination) {
        check(binding->destination == destination);
        check(vhost_find_exchange(vhost, binding->source->name) == binding->source);
        ++*ret_count;
    }
}

void vhost_check(const struct vhost *vhost) {
    uint32_t outbound = 0, inbound = 0, items = 0;
    for (uint32_t at = 0; at < map_slot_count(&vhost->queues); at++) {
        const struct bound_queue *queue = map_item_at(&vhost->queues, at);
        if (!queue) continue;
        items++;
        check(queue->entry.queue != 0);
        check(vhost_find_bound_queue(vhost, queue->entry.name) == queue);
        check(!(queue->entry.exclusive && queue->entry.durable));
        check_inbound(vhost, &queue->bindings, queue, &inbound);
        list_for (struct binding, binding, &queue->bindings, in_destination) {
            check(binding->queue == queue->entry.queue);
        }
    }
    check(items == vhost->queues.count);
    items = 0;
    for (uint32_t at = 0; at < map_slot_count(&vhost->exchanges); at++) {
        const struct exchange *exchange = map_item_at(&vhost->exchanges, at);
        if (!exchange) continue;
        items++;
        check(vhost_find_exchange(vhost, exchange->name) == exchange);
        check(!list_linked(&exchange->in_doomed));
        check_inbound(vhost, &exchange->inbound, exchange, &inbound);
        list_for (struct binding, binding, &exchange->bindings, in_source)
            outbound++;
        exchange_check(exchange);
    }
    check(items == vhost->exchanges.count);
    check(inbound == vhost->bindings.count);
    check(outbound == vhost->bindings.count);
}
