/* credit: what may be under way from one shard's queues to one connection, in bytes. */
#include "core/credit.h"

#include "core/consumer.h"

void credit_init(struct credit *credit, int64_t bytes) {
    *credit = (struct credit){.bytes = bytes};
    list_init(&credit->waiting);
}

void credit_add(struct credit *credit, int64_t bytes, struct list *pump) {
    credit->bytes += bytes;
    if (credit->bytes <= 0) return;
    struct list_node *node;
    while ((node = list_first(&credit->waiting)) != NULL) {
        struct consumer *consumer = LIST_ENTRY(node, struct consumer, in_turn);
        consumer_activate(consumer);
        struct list_node *in_pump = queue_in_pump(consumer->queue);
        if (!list_linked(in_pump)) list_put_last(pump, in_pump);
    }
}
