/* topology: virtual hosts, exchanges, queues' names, and bindings: what a publish is routed by.
 *
 * The parts: vhost.c keeps them together, vhost_change.c answers requests, vhost_route.c walks. */
#include "core/topology.h"

#include "base/memory.h"
#include "core/vhost.h"

/* There is one virtual host so far; it is found by name all the same. */
struct topology {
    struct vhost *vhost;
};

struct topology *topology_new_seeded(uint64_t hash_seed) {
    struct topology *topology = NEW(struct topology);
    topology->vhost = vhost_new(BYTES("/"), hash_seed);
    return topology;
}

struct topology *topology_new(void) {
    return topology_new_seeded(0);
}

void topology_free(struct topology *topology) {
    if (!topology) return;
    vhost_free(topology->vhost);
    mem_free(topology);
}

struct vhost *topology_find_vhost(struct topology *topology, struct bytes name) {
    if (!bytes_equal(name, bytes_text(vhost_name(topology->vhost)))) return NULL;
    return topology->vhost;
}
