/* inventory: what a virtual host holds, a slice at a time, for lists that people ask for. */
#include "core/inventory.h"

#include "core/vhost.h"

/* ---- slices of a table ----
 *
 * Names that share a beginning of the table lie in one run without gaps, each at or behind the
 * place that its hash gives it, its home. A slice ends at a gap, so that whatever has its home
 * before the end has been given: names that shift or move up later cannot slip past. Those of a run
 * that continues from the table's end at its beginning come last, at the places from `count` on. */

struct window {
    const struct map *map;
    uint32_t count; /* of slots */
    uint32_t at;
    uint32_t end;
};

static bool is_gap(const struct window *window, uint32_t at) {
    return !map_item_at(window->map, at < window->count ? at : at - window->count);
}

/* One after the last place there is. */
static uint32_t window_limit(const struct window *window) {
    uint32_t limit = window->count;
    while (limit < 2 * window->count && !is_gap(window, limit))
        limit++;
    return limit;
}

/* Opens the window of a slice and moves its place on; false when it is the last one. */
static bool window_open(
    struct window *window, const struct map *map, struct inventory_slice *slice) {
    *window = (struct window){.map = map, .count = map_slot_count(map), .at = slice->at};
    uint32_t limit = window_limit(window);
    if (window->at > limit) window->at = limit;
    window->end = (uint32_t)min_u64((uint64_t)window->at + slice->slots, limit);
    while (window->end < limit && !is_gap(window, window->end))
        window->end++;
    slice->at = window->end;
    return window->end < limit;
}

/* The next thing in the window, or NULL. */
static void *window_next(struct window *window) {
    const struct map *map = window->map;
    while (window->at < window->end) {
        uint32_t at = window->at++;
        bool again = at >= window->count;
        if (again) at -= window->count;
        const struct map_slot *slot = &map->slots[at];
        bool wrapped = ((uint32_t)slot->hash & map->mask) > at;
        if (slot->item && wrapped == again) return slot->item;
    }
    return NULL;
}

static struct inventory_exchange describe_exchange(const struct exchange *exchange) {
    return (struct inventory_exchange){
        .name = exchange->name,
        .type = exchange_kind_name(exchange->kind),
        .durable = exchange->durable,
        .auto_delete = exchange->auto_delete,
        .internal = exchange->internal,
        .arguments = exchange->arguments,
    };
}

bool inventory_exchanges(const struct vhost *vhost, struct inventory_slice *slice,
    void (*each)(void *context, const struct inventory_exchange *exchange)) {
    struct window window;
    bool more = window_open(&window, &vhost->exchanges, slice);
    const struct exchange *exchange;
    while ((exchange = window_next(&window)) != NULL) {
        struct inventory_exchange described = describe_exchange(exchange);
        each(slice->context, &described);
    }
    return more;
}

bool inventory_queues(const struct vhost *vhost, struct inventory_slice *slice,
    void (*each)(void *context, const struct queue_entry *entry)) {
    struct window window;
    bool more = window_open(&window, &vhost->queues, slice);
    const struct bound_queue *queue;
    while ((queue = window_next(&window)) != NULL)
        each(slice->context, &queue->entry);
    return more;
}

bool inventory_bindings(const struct vhost *vhost, struct inventory_slice *slice,
    void (*each)(void *context, const struct inventory_binding *binding)) {
    struct window window;
    bool more = window_open(&window, &vhost->bindings, slice);
    const struct binding *binding;
    while ((binding = window_next(&window)) != NULL) {
        const struct bound_queue *queue = binding->destination;
        const struct exchange *exchange = binding->destination;
        struct inventory_binding described = {
            .source = binding->source->name,
            .destination = binding->queue ? queue->entry.name : exchange->name,
            .to_exchange = binding->queue == 0,
            .routing_key = binding_key(binding),
            .arguments = binding_arguments(binding),
        };
        each(slice->context, &described);
    }
    return more;
}

bool inventory_find_exchange(
    const struct vhost *vhost, struct bytes name, struct inventory_exchange *ret_exchange) {
    const struct exchange *exchange = vhost_find_exchange(vhost, name);
    if (!exchange) return false;
    *ret_exchange = describe_exchange(exchange);
    return true;
}
