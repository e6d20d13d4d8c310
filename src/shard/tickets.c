/* tickets: which commit of definitions an answer has to wait for. */
#include "shard/tickets.h"

#include "core/inventory.h"

uint64_t tickets_unstable(const struct broker *broker) {
    uint64_t stable = atomic_load(&broker->ticket_stable);
    uint64_t open = atomic_load(&broker->ticket_open);
    return open > stable ? open : 0;
}

static bool exchange_is_durable(const struct vhost *vhost, struct bytes name) {
    struct inventory_exchange exchange;
    return inventory_find_exchange(vhost, name, &exchange) && exchange.durable;
}

static bool queue_is_durable(const struct vhost *vhost, struct bytes name) {
    const struct queue_entry *entry = vhost_find_queue(vhost, name);
    return entry && entry->durable;
}

bool tickets_binding_is_durable(const struct vhost *vhost, const struct change *change) {
    bool to_queue = change->kind == CHANGE_QUEUE_BIND || change->kind == CHANGE_QUEUE_UNBIND;
    return exchange_is_durable(vhost, change->source) &&
           (to_queue ? queue_is_durable(vhost, change->name)
                     : exchange_is_durable(vhost, change->name));
}

/* What is missing may have been durable: whoever hears that it is gone may rely on that too. */
static bool names_durable(const struct vhost *vhost, const struct change *change) {
    switch (change->kind) {
    case CHANGE_EXCHANGE_DECLARE: return exchange_is_durable(vhost, change->name);
    case CHANGE_QUEUE_DECLARE: return queue_is_durable(vhost, change->name);
    case CHANGE_EXCHANGE_BIND:
    case CHANGE_QUEUE_BIND: return tickets_binding_is_durable(vhost, change);
    case CHANGE_EXCHANGE_DELETE:
    case CHANGE_EXCHANGE_UNBIND:
    case CHANGE_QUEUE_DELETE:
    case CHANGE_QUEUE_UNBIND: return true;
    }
    unreachable_here();
}

uint64_t tickets_of_found(
    const struct broker *broker, const struct vhost *vhost, const struct change *change) {
    uint64_t ticket = tickets_unstable(broker);
    return ticket != 0 && names_durable(vhost, change) ? ticket : 0;
}
