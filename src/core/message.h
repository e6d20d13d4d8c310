/* message: one immutable block: exchange, routing key, property bytes as received, body.
 *
 * One copy serves any fan-out. The reference count is atomic because queues of several shards may
 * hold it; the memory belongs to the pool of the shard that made it. Whoever drops the last
 * reference puts the block into its own pool, which keeps blocks of other shards in chains that the
 * shard mails home once per turn. */
#ifndef CORE_MESSAGE_H
#define CORE_MESSAGE_H

#include <stdatomic.h>

#include "base/base.h"
#include "base/limits.h"

struct message {
    struct message *next; /* in a free list or in a chain that travels home */
    _Atomic uint32_t refs;
    uint32_t body_size;
    uint32_t properties_size;
    uint32_t capacity; /* bytes after the struct */
    uint8_t home;      /* the shard whose pool made it */
    uint8_t size_class;
    uint8_t exchange_size;
    uint8_t routing_key_size;
    bool persistent; /* delivery_mode 2 */
    uint8_t priority;
    uint16_t header_flags; /* MESSAGE_HAS_... */
    uint8_t data[];        /* exchange, routing key, properties, body */
};

static_assert(sizeof(struct message) == 32, "the header of every message in memory");

static inline struct bytes message_exchange(const struct message *message) {
    return bytes_of(message->data, message->exchange_size);
}

static inline struct bytes message_routing_key(const struct message *message) {
    return bytes_of(message->data + message->exchange_size, message->routing_key_size);
}

static inline uint32_t message_properties_at(const struct message *message) {
    return (uint32_t)message->exchange_size + message->routing_key_size;
}

static inline struct bytes message_properties(const struct message *message) {
    return bytes_of(message->data + message_properties_at(message), message->properties_size);
}

static inline uint8_t *message_body_data(struct message *message) {
    return message->data + message_properties_at(message) + message->properties_size;
}

static inline struct bytes message_body(const struct message *message) {
    return bytes_of(message->data + message_properties_at(message) + message->properties_size,
        message->body_size);
}

/* What a message costs in memory, in bytes; also the unit of windows and byte credit. */
static inline uint64_t message_cost(const struct message *message) {
    return sizeof *message + message->capacity;
}

/* A shard's message memory. Not thread-safe; each shard has its own. Blocks of up to 32 KiB come
 * from slabs of one size each, larger ones from malloc. */
struct message_pool;
struct slab_class;

/* `home` is the shard's number. */
struct message_pool *message_pool_new(uint8_t home);

/* Releases the pool and its free blocks. Every message of it must have come back. */
void message_pool_free(struct message_pool *pool);

/* Bytes of this pool's messages that are in use anywhere (message_cost each), and their number.
 * A shard that has stopped and has all its blocks back shows 0, or there is a leak. */
uint64_t message_pool_bytes(const struct message_pool *pool);
uint64_t message_pool_count(const struct message_pool *pool);

/* Bytes that the pool holds for blocks and chunks, used or not, as far as they were ever written.
 * After a burst it falls back to 8 MiB and at most one slab of 512 KiB for each size that was used,
 * beside slabs of which some block is in use. */
uint64_t message_pool_held_bytes(const struct message_pool *pool);

/* The part of it that is not used: new messages of the same sizes come to lie there. */
uint64_t message_pool_idle_bytes(const struct message_pool *pool);

/* Gives back the slabs of which nothing is used. */
void message_pool_trim(struct message_pool *pool);

/* Where this shard's queues take their chunks of entries from (core/entries.h). */
struct slab_class *message_pool_chunks(struct message_pool *pool);

/* A message with one reference, its exchange, routing key and properties copied, and room for
 * body_size bytes of body, which the caller fills before sharing it. The sizes have been checked
 * against their limits by the caller. */
struct message *message_new(struct message_pool *pool, struct bytes exchange,
    struct bytes routing_key, struct bytes properties, uint32_t body_size);

/* Adds `count` references; the caller holds one. A holder that reads 1 is the only one, and only a
 * holder can add, so nobody races with its plain store: most messages never pay for a locked
 * instruction. */
static inline void message_ref(struct message *message, uint32_t count) {
    uint32_t refs = atomic_load_explicit(&message->refs, memory_order_relaxed);
    check(refs != 0);
    if (refs == 1) {
        atomic_store_explicit(&message->refs, 1 + count, memory_order_relaxed);
    } else {
        atomic_fetch_add_explicit(&message->refs, count, memory_order_relaxed);
    }
}

/* Drops one reference; with the last one the block goes into `pool`, the caller's own, to be reused
 * or sent home. NULL is fine. Always gives NULL. */
struct message *message_unref(struct message_pool *pool, struct message *message);

/* Takes the chain (linked by next) of blocks that belong to shard `home`; NULL when there is none.
 */
struct message *message_pool_take_away(struct message_pool *pool, uint8_t home);

/* Takes back a chain of this pool's own blocks. */
void message_pool_put_home(struct message_pool *pool, struct message *chain);

#endif
