/* inventory: what a virtual host holds, a slice at a time, for lists that people ask for.
 *
 * A walk keeps its place in a number between slices. While it rests, names come and go: what stays
 * is given at least once, and twice only when the tables grew meanwhile. The caller holds the lock
 * during a slice and keeps nothing of what it was given. */
#ifndef CORE_INVENTORY_H
#define CORE_INVENTORY_H

#include "core/topology.h"

struct inventory_exchange {
    struct bytes name;
    const char *type; /* static text */
    bool durable;
    bool auto_delete;
    bool internal;
    struct bytes arguments; /* field table */
};

struct inventory_binding {
    struct bytes source;
    struct bytes destination;
    bool to_exchange; /* else to a queue */
    struct bytes routing_key;
    struct bytes arguments; /* field table */
};

/* Who is called back, for a slice of at most `slots` places of a table. */
struct inventory_slice {
    uint32_t at; /* where it goes on; 0 begins */
    uint32_t slots;
    void *context;
};

/* Each calls back for what is in the slice and moves its place on; false when that was the last
 * one. */
bool inventory_exchanges(const struct vhost *vhost, struct inventory_slice *slice,
    void (*each)(void *context, const struct inventory_exchange *exchange)) MUST_USE;
bool inventory_queues(const struct vhost *vhost, struct inventory_slice *slice,
    void (*each)(void *context, const struct queue_entry *entry)) MUST_USE;

/* Bindings that were asked for; each queue's own binding to the default exchange is not among them.
 */
bool inventory_bindings(const struct vhost *vhost, struct inventory_slice *slice,
    void (*each)(void *context, const struct inventory_binding *binding)) MUST_USE;

/* The exchange of that name; false when there is none. Borrowed while the lock is held. */
bool inventory_find_exchange(
    const struct vhost *vhost, struct bytes name, struct inventory_exchange *ret_exchange) MUST_USE;

#endif
