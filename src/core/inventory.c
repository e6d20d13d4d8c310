/* inventory: what a virtual host holds, a slice at a time, for lists that people ask for. */
#include "core/inventory.h"

#include "core/vhost.h"

/* The end of the slice; moves the place on. */
static uint32_t slice_end(const struct map *map, struct inventory_slice *slice, uint32_t *ret_at) {
    uint32_t all = map_slot_count(map);
    *ret_at = slice->at < all ? slice->at : all;
    slice->at = (uint32_t)min_u64((uint64_t)*ret_at + slice->slots, all);
    return slice->at;
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
    uint32_t at = 0;
    uint32_t end = slice_end(&vhost->exchanges, slice, &at);
    for (; at < end; at++) {
        const struct exchange *exchange = map_item_at(&vhost->exchanges, at);
        if (!exchange) continue;
        struct inventory_exchange described = describe_exchange(exchange);
        each(slice->context, &described);
    }
    return end < map_slot_count(&vhost->exchanges);
}

bool inventory_queues(const struct vhost *vhost, struct inventory_slice *slice,
    void (*each)(void *context, const struct queue_entry *entry)) {
    uint32_t at = 0;
    uint32_t end = slice_end(&vhost->queues, slice, &at);
    for (; at < end; at++) {
        const struct bound_queue *queue = map_item_at(&vhost->queues, at);
        if (queue) each(slice->context, &queue->entry);
    }
    return end < map_slot_count(&vhost->queues);
}

bool inventory_bindings(const struct vhost *vhost, struct inventory_slice *slice,
    void (*each)(void *context, const struct inventory_binding *binding)) {
    uint32_t at = 0;
    uint32_t end = slice_end(&vhost->bindings, slice, &at);
    for (; at < end; at++) {
        const struct binding *binding = map_item_at(&vhost->bindings, at);
        if (!binding) continue;
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
    return end < map_slot_count(&vhost->bindings);
}

bool inventory_find_exchange(
    const struct vhost *vhost, struct bytes name, struct inventory_exchange *ret_exchange) {
    const struct exchange *exchange = vhost_find_exchange(vhost, name);
    if (!exchange) return false;
    *ret_exchange = describe_exchange(exchange);
    return true;
}
