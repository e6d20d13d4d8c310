/* directory: the shared topology behind its lock, and each shard's route cache. */
#ifndef SHARD_DIRECTORY_H
#define SHARD_DIRECTORY_H

#include "base/base.h"
#include "core/topology.h"

/* The topology and its rwlock (writers first). One for the process. */
struct directory;

/* `hash_seed` should be unguessable: peers choose the names that are hashed. */
struct directory *directory_new(uint64_t hash_seed);
void directory_free(struct directory *directory);

/* Readers hold it for one look-up or one batch; the registrar alone writes. */
struct topology *directory_read(struct directory *directory);
struct topology *directory_write(struct directory *directory);
void directory_done(struct directory *directory);

/* A cached route: the queues of one (vhost, exchange, routing key). */
struct route {
    struct vhost *vhost;
    uint64_t generation;
    uint64_t hash;
    enum route_status status;
    bool by_headers; /* the routing key does not decide: call vhost_route with the headers */
    uint32_t count;
    queue_ref *queues; /* behind the strings */
    uint32_t bytes;    /* of all this */
    uint8_t exchange_size;
    uint8_t routing_key_size;
    uint8_t strings[]; /* exchange, routing key */
};

/* One per shard; bounded by ROUTE_CACHE_ENTRIES_MAX and ROUTE_CACHE_BYTES_MAX. */
struct route_cache {
    struct route **slots;
    uint64_t bytes; /* of the routes in it */
    uint32_t hand;  /* the slot that is emptied next when they come to too many */
};

void route_cache_init(struct route_cache *cache);
void route_cache_deinit(struct route_cache *cache);

/* The route of a message, from the cache or computed under the read lock. Never NULL; with
 * `by_headers` set the queues are not given and the caller asks vhost_route. Valid until the next
 * call. */
const struct route *route_find(struct route_cache *cache, struct directory *directory,
    struct vhost *vhost, struct bytes exchange, struct bytes routing_key);

#endif
