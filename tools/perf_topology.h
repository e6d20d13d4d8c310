/* perf_topology: the exchange, queues and bindings that the load goes through. */
#ifndef TOOLS_PERF_TOPOLOGY_H
#define TOOLS_PERF_TOPOLOGY_H

#include "tools/perf_client.h"

struct topology {
    const struct options *options; /* borrowed */
    char (*queues)[OPTIONS_TEXT_BYTES];
    uint32_t queue_count;
    uint32_t destination_count; /* routing keys: one for all, or one per queue */
};

void topology_init(struct topology *topology, const struct options *options);
void topology_deinit(struct topology *topology);

/* The routing key of a destination; borrowed. */
struct bytes topology_key(const struct topology *topology, uint32_t destination);

/* Declares the exchange and the named queues, binds and purges them. False with the reason in
 * client->error. */
bool topology_declare(struct topology *topology, struct client *client) MUST_USE;

/* Declares and binds queue `index` for the consumer alone whose connection this is, and learns its
 * name. False with the reason in client->error. */
bool topology_declare_own(
    struct topology *topology, struct client *client, uint32_t index) MUST_USE;

/* Asks how many messages wait in a queue. False with the reason in client->error. */
bool topology_count(const struct topology *topology, struct client *client, uint32_t index,
    uint64_t *ret_count) MUST_USE;

#endif
