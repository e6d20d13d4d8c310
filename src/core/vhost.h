/* vhost: the exchanges, queues and bindings of one virtual host, and how they come and go together.
 *
 * This is the inside of core/topology.h: the files of the topology share it, nobody else. What is
 * asked for has been checked when it gets here (core/vhost_change.c). */
#ifndef CORE_VHOST_H
#define CORE_VHOST_H

#include <stdatomic.h>

#include "base/list.h"
#include "base/map.h"
#include "core/exchange.h"
#include "core/topology.h"

/* A queue as the topology knows it. */
struct bound_queue {
    struct queue_entry entry;
    struct list bindings; /* to here */
    uint8_t data[];       /* name and arguments */
};

struct vhost {
    char *name;
    uint64_t hash_seed;
    _Atomic uint64_t generation;
    struct map queues;             /* struct bound_queue by name */
    struct map exchanges;          /* struct exchange by name */
    struct map bindings;           /* struct binding by source, destination, key and arguments */
    struct list sparse;            /* exchanges whose table is larger than it need be */
    struct departures *departures; /* of durable exchanges; NULL: nobody wants to know */
};

/* A virtual host with the pre-declared exchanges. */
struct vhost *vhost_new(struct bytes name, uint64_t hash_seed);
void vhost_free(struct vhost *vhost);

/* The exchange or queue of that name, or NULL. */
struct exchange *vhost_find_exchange(const struct vhost *vhost, struct bytes name);
struct bound_queue *vhost_find_bound_queue(const struct vhost *vhost, struct bytes name);

/* Makes the exchange that a CHANGE_EXCHANGE_DECLARE asks for; the name must be free. */
void vhost_add_exchange(struct vhost *vhost, const struct change *change, enum exchange_kind kind);

/* Removes an exchange with its bindings in both directions, and every auto-delete exchange that has
 * lost its last binding by that. */
void vhost_remove_exchange(struct vhost *vhost, struct exchange *exchange);

/* Removes the first `count` bindings from an exchange, or to a queue, which has more. */
void vhost_thin_exchange(struct vhost *vhost, struct exchange *exchange, uint32_t count);
void vhost_thin_queue(struct vhost *vhost, struct bound_queue *queue, uint32_t count);

/* What a binding is known by. */
struct binding_query {
    struct exchange *source;
    struct bound_queue *queue; /* the destination, or NULL and */
    struct exchange *exchange; /* this is it */
    struct bytes routing_key;
    struct bytes arguments; /* canonical */
};

/* The binding that says all of this, or NULL. */
struct binding *vhost_find_binding(const struct vhost *vhost, const struct binding_query *query);

/* Makes a binding that is not there. */
void vhost_add_binding(struct vhost *vhost, const struct binding_query *query);

/* Removes a binding, and its source if that is an auto-delete exchange without bindings now, and so
 * on. */
void vhost_remove_binding(struct vhost *vhost, struct binding *binding);

#endif
