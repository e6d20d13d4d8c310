/* message: one immutable block, and the pool that its memory comes from and returns to.
 *
 * Small blocks come from slab classes, four sizes to each power of two, so that at most a fifth of
 * a block is unused. Bodies beyond the largest class go to malloc one by one: their cost lies in
 * copying, not in allocation. */
#include "core/message.h"

#include "base/memory.h"
#include "core/entries.h"
#include "core/slab.h"

enum {
    CLASS_BYTES_MIN = 64,
    CLASS_STEPS = 4,                          /* sizes per power of two */
    CLASS_COUNT = (15 - 6) * CLASS_STEPS + 1, /* 64, 80, 96, 112, 128, ..., 32768 */
    CLASS_NONE = 255                          /* its memory is malloc's */
};

struct message_pool {
    uint64_t count;
    uint64_t bytes;
    uint64_t large_bytes; /* the part of bytes that is malloc's */
    uint8_t home;
    struct slab_depot depot;
    struct slab_class chunks;
    struct slab_class classes[CLASS_COUNT];
    struct message *away[SHARDS_MAX];
};

/* 64 << (index / 4), and as many quarters of that as index % 4. */
static uint32_t class_bytes(uint32_t index) {
    uint32_t power = (uint32_t)CLASS_BYTES_MIN << (index / CLASS_STEPS);
    return power + power / CLASS_STEPS * (index % CLASS_STEPS);
}

/* The smallest class that holds `size` bytes; size is within (0, 32768]. */
static inline uint32_t class_for(uint32_t size) {
    if (size <= CLASS_BYTES_MIN) return 0;
    uint32_t power = 31 - (uint32_t)__builtin_clz(size - 1);
    uint32_t quarter = ((size - 1) >> (power - 2)) & (CLASS_STEPS - 1);
    return (power - 6) * CLASS_STEPS + quarter + 1;
}

struct message_pool *message_pool_new(uint8_t home) {
    check(home < SHARDS_MAX);
    struct message_pool *pool = NEW(struct message_pool);
    pool->home = home;
    slab_depot_init(&pool->depot);
    slab_class_init(&pool->chunks, &pool->depot, sizeof(struct chunk));
    for (uint32_t i = 0; i < CLASS_COUNT; i++) {
        slab_class_init(&pool->classes[i], &pool->depot, class_bytes(i));
        check(class_for(class_bytes(i)) == i);
    }
    return pool;
}

void message_pool_free(struct message_pool *pool) {
    if (!pool) return;
    check(pool->count == 0);
    check(pool->bytes == 0);
    for (uint32_t i = 0; i < SHARDS_MAX; i++) {
        check(pool->away[i] == NULL);
    }
    for (uint32_t i = 0; i < CLASS_COUNT; i++) {
        slab_class_deinit(&pool->classes[i]);
    }
    slab_class_deinit(&pool->chunks);
    slab_depot_deinit(&pool->depot);
    mem_free(pool);
}

uint64_t message_pool_bytes(const struct message_pool *pool) {
    return pool->bytes;
}

uint64_t message_pool_count(const struct message_pool *pool) {
    return pool->count;
}

uint64_t message_pool_held_bytes(const struct message_pool *pool) {
    return pool->depot.touched_bytes + pool->large_bytes;
}

uint64_t message_pool_idle_bytes(const struct message_pool *pool) {
    uint64_t blocks = pool->bytes - pool->large_bytes;
    uint64_t chunks = (uint64_t)pool->chunks.used * pool->chunks.block_bytes;
    return pool->depot.touched_bytes - blocks - chunks;
}

void message_pool_trim(struct message_pool *pool) {
    for (uint32_t i = 0; i < CLASS_COUNT; i++) {
        slab_class_trim(&pool->classes[i]);
    }
    slab_class_trim(&pool->chunks);
    slab_depot_trim(&pool->depot);
}

struct slab_class *message_pool_chunks(struct message_pool *pool) {
    return &pool->chunks;
}

/* A block with room for `size` bytes, header included; only its capacity and its class are set. */
static struct message *take_block(struct message_pool *pool, uint64_t size) {
    struct message *message;
    if (size <= SLAB_BLOCK_BYTES_MAX) {
        uint32_t index = class_for((uint32_t)size);
        struct slab_class *class = &pool->classes[index];
        message = slab_take(class);
        message->size_class = (uint8_t)index;
        message->capacity = class->block_bytes - (uint32_t)sizeof *message;
    } else {
        check(size <= UINT32_MAX);
        message = mem_raw(size);
        message->size_class = CLASS_NONE;
        message->capacity = (uint32_t)(size - sizeof *message);
        pool->large_bytes += size;
    }
    pool->count++;
    pool->bytes += message_cost(message);
    return message;
}

struct message *message_new(struct message_pool *pool, struct bytes exchange,
    struct bytes routing_key, struct bytes properties, uint32_t body_size) {
    check(exchange.size <= UINT8_MAX);
    check(routing_key.size <= UINT8_MAX);
    uint64_t size = sizeof(struct message) + (uint64_t)exchange.size + routing_key.size +
                    properties.size + body_size;
    struct message *message = take_block(pool, size);
    message->next = NULL;
    atomic_store_explicit(&message->refs, 1, memory_order_relaxed);
    message->body_size = body_size;
    message->properties_size = properties.size;
    message->home = pool->home;
    message->exchange_size = (uint8_t)exchange.size;
    message->routing_key_size = (uint8_t)routing_key.size;
    message->persistent = false;
    message->priority = 0;
    message->header_flags = 0;
    uint8_t *at = message->data;
    bytes_copy(at, exchange.data, exchange.size);
    at += exchange.size;
    bytes_copy(at, routing_key.data, routing_key.size);
    at += routing_key.size;
    bytes_copy(at, properties.data, properties.size);
    return message;
}

/* Back where it came from. The block's reference count stays 0 there, so that whoever still uses
 * it fails a check. */
static void put_block(struct message_pool *pool, struct message *message) {
    uint64_t cost = message_cost(message);
    check(message->home == pool->home);
    check(pool->count != 0);
    check(pool->bytes >= cost);
    pool->count--;
    pool->bytes -= cost;
#ifdef GODWIT_CHECK_SLOW
    memset(message->data, 0xdb, message->capacity < 256 ? message->capacity : 256);
#endif
    if (message->size_class == CLASS_NONE) {
        pool->large_bytes -= cost;
        mem_free(message);
    } else {
        slab_put(&pool->classes[message->size_class], message);
    }
}

struct message *message_unref(struct message_pool *pool, struct message *message) {
    if (!message) return NULL;
    /* A holder that reads 1 is the last one: nobody else can add or drop, so the locked decrement
     * is not needed. Acquire pairs with the release of those who dropped theirs before. */
    uint32_t refs = atomic_load_explicit(&message->refs, memory_order_acquire);
    check(refs != 0);
    if (refs != 1) {
        refs = atomic_fetch_sub_explicit(&message->refs, 1, memory_order_acq_rel);
        check(refs != 0);
        if (refs != 1) return NULL;
    } else {
        atomic_store_explicit(&message->refs, 0, memory_order_relaxed);
    }
    if (message->home == pool->home) {
        put_block(pool, message);
    } else {
        message->next = pool->away[message->home];
        pool->away[message->home] = message;
    }
    return NULL;
}

struct message *message_pool_take_away(struct message_pool *pool, uint8_t home) {
    check(home < SHARDS_MAX);
    struct message *chain = pool->away[home];
    pool->away[home] = NULL;
    return chain;
}

void message_pool_put_home(struct message_pool *pool, struct message *chain) {
    while (chain) {
        struct message *next = chain->next;
        check(atomic_load_explicit(&chain->refs, memory_order_relaxed) == 0);
        put_block(pool, chain);
        chain = next;
    }
}
