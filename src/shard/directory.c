/* directory: the shared topology behind its lock, and each shard's route cache. */
#include "shard/directory.h"

#include <pthread.h>
#include <xxhash.h>

#include "base/limits.h"
#include "base/memory.h"

struct directory {
    struct topology *topology;
    pthread_rwlock_t lock;
};

struct directory *directory_new(uint64_t hash_seed) {
    struct directory *directory = NEW(struct directory);
    directory->topology = topology_new_seeded(hash_seed);
    pthread_rwlockattr_t attributes;
    pthread_rwlockattr_init(&attributes);
    /* Many readers must not starve the registrar: declares would never end under load. */
    pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    check(pthread_rwlock_init(&directory->lock, &attributes) == 0);
    pthread_rwlockattr_destroy(&attributes);
    return directory;
}

void directory_free(struct directory *directory) {
    if (!directory) return;
    topology_free(directory->topology);
    pthread_rwlock_destroy(&directory->lock);
    mem_free(directory);
}

struct topology *directory_read(struct directory *directory) {
    check(pthread_rwlock_rdlock(&directory->lock) == 0);
    return directory->topology;
}

struct topology *directory_write(struct directory *directory) {
    check(pthread_rwlock_wrlock(&directory->lock) == 0);
    return directory->topology;
}

void directory_done(struct directory *directory) {
    check(pthread_rwlock_unlock(&directory->lock) == 0);
}

void route_cache_init(struct route_cache *cache) {
    *cache =
        (struct route_cache){.slots = mem_new_array(ROUTE_CACHE_ENTRIES_MAX, sizeof *cache->slots)};
}

void route_cache_deinit(struct route_cache *cache) {
    for (uint32_t i = 0; i < ROUTE_CACHE_ENTRIES_MAX; i++)
        mem_free(cache->slots[i]);
    mem_free(cache->slots);
    cache->slots = NULL;
}

static uint64_t route_hash(struct bytes exchange, struct bytes routing_key) {
    uint64_t seed = exchange.size ? XXH3_64bits(exchange.data, exchange.size) : 0;
    return XXH3_64bits_withSeed(routing_key.data, routing_key.size, seed);
}

static bool route_is(const struct route *route, const struct vhost *vhost, struct bytes exchange,
    struct bytes routing_key) {
    const uint8_t *strings = route->strings;
    return route->vhost == vhost &&
           bytes_equal(bytes_of(strings, route->exchange_size), exchange) &&
           bytes_equal(bytes_of(strings + exchange.size, route->routing_key_size), routing_key);
}

static struct route *route_new(const struct routes *routes, struct vhost *vhost,
    struct bytes exchange, struct bytes routing_key) {
    size_t strings = (size_t)exchange.size + routing_key.size;
    size_t queues_at = (sizeof(struct route) + strings + 7) & ~(size_t)7;
    size_t bytes = queues_at + routes->count * sizeof(queue_ref);
    struct route *route = mem_raw(bytes);
    *route = (struct route){
        .vhost = vhost,
        .count = routes->count,
        .queues = (queue_ref *)(void *)((uint8_t *)route + queues_at),
        .bytes = (uint32_t)bytes,
        .exchange_size = (uint8_t)exchange.size,
        .routing_key_size = (uint8_t)routing_key.size,
    };
    bytes_copy(route->strings, exchange.data, exchange.size);
    bytes_copy(route->strings + exchange.size, routing_key.data, routing_key.size);
    bytes_copy(route->queues, routes->queues, routes->count * sizeof(queue_ref));
    return route;
}

/* Computes the route. One that headers decide, or that is too wide to keep, is remembered as such.
 */
static struct route *route_make(
    struct directory *directory, struct vhost *vhost, struct bytes exchange, struct bytes key) {
    struct routes routes;
    routes_init(&routes);
    bool by_headers = false;
    directory_read(directory);
    uint64_t generation = vhost_generation(vhost);
    enum route_status status =
        vhost_route(vhost, exchange, key, bytes_of(NULL, 0), &routes, &by_headers);
    directory_done(directory);
    by_headers = by_headers || routes.count > ROUTES_PER_PUBLISH_CACHED_MAX;
    if (by_headers) routes.count = 0;
    struct route *route = route_new(&routes, vhost, exchange, key);
    route->generation = generation;
    route->status = status;
    route->by_headers = by_headers;
    routes_deinit(&routes);
    return route;
}

static void empty(struct route_cache *cache, struct route **slot) {
    if (*slot) cache->bytes -= (*slot)->bytes;
    mem_free(*slot);
    *slot = NULL;
}

/* Wide routes count by what they are: slots are emptied in turn. */
static void make_room(struct route_cache *cache) {
    while (cache->bytes > ROUTE_CACHE_BYTES_MAX) {
        empty(cache, &cache->slots[cache->hand]);
        cache->hand = (cache->hand + 1) & (ROUTE_CACHE_ENTRIES_MAX - 1);
    }
}

const struct route *route_find(struct route_cache *cache, struct directory *directory,
    struct vhost *vhost, struct bytes exchange, struct bytes routing_key) {
    uint64_t hash = route_hash(exchange, routing_key);
    struct route **slot = &cache->slots[hash & (ROUTE_CACHE_ENTRIES_MAX - 1)];
    struct route *route = *slot;
    if (route && route->hash == hash && route->generation == vhost_generation(vhost) &&
        route_is(route, vhost, exchange, routing_key))
        return route;
    empty(cache, slot);
    make_room(cache);
    route = route_make(directory, vhost, exchange, routing_key);
    route->hash = hash;
    cache->bytes += route->bytes;
    *slot = route;
    return route;
}
