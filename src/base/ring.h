/* ring: a fixed single-producer single-consumer ring of one cache line slots, in C11 atomics.
 *
 * The producer writes slots and publishes them in batches; the consumer sees only what has been
 * published. Each side keeps a copy of the other's position and looks at the shared one only when
 * the copy says that there is nothing, so that the cache lines travel once per batch. */
#ifndef BASE_RING_H
#define BASE_RING_H

#include <stdatomic.h>

#include "base/base.h"

enum { RING_SLOT_BYTES = 64 };

struct ring_slot {
    _Alignas(RING_SLOT_BYTES) uint8_t bytes[RING_SLOT_BYTES];
};

struct ring {
    struct ring_slot *slots;
    uint64_t mask;
    _Alignas(64) uint64_t write_at; /* producer: next slot to fill */
    uint64_t published;             /* producer: what the consumer may see */
    uint64_t read_seen;             /* producer: the consumer's position, as last seen */
    _Alignas(64) uint64_t read_at;  /* consumer: next slot to read */
    uint64_t write_seen;            /* consumer: the producer's position, as last seen */
    _Alignas(64) _Atomic uint64_t shared_write;
    _Alignas(64) _Atomic uint64_t shared_read;
};

/* `slots` has `count` elements, a power of two; borrowed. */
static inline void ring_init(struct ring *ring, struct ring_slot *slots, uint64_t count) {
    check(count != 0 && (count & (count - 1)) == 0);
    *ring = (struct ring){.slots = slots, .mask = count - 1};
}

/* Producer: the next slot to fill, or NULL when the ring is full. */
static inline void *ring_reserve(struct ring *ring) {
    if (ring->write_at - ring->read_seen > ring->mask) {
        ring->read_seen = atomic_load_explicit(&ring->shared_read, memory_order_acquire);
        if (ring->write_at - ring->read_seen > ring->mask) return NULL;
    }
    return ring->slots[ring->write_at++ & ring->mask].bytes;
}

/* Producer: true when ring_reserve would give a slot. */
static inline bool ring_has_room(struct ring *ring) {
    uint64_t read = atomic_load_explicit(&ring->shared_read, memory_order_acquire);
    return ring->write_at - read <= ring->mask;
}

/* Producer: true when reserved slots have not been published. */
static inline bool ring_pending(const struct ring *ring) {
    return ring->write_at != ring->published;
}

/* Producer: shows the consumer everything that was reserved and filled. */
static inline void ring_publish(struct ring *ring) {
    ring->published = ring->write_at;
    atomic_store_explicit(&ring->shared_write, ring->write_at, memory_order_release);
}

/* Consumer: the next slot to read, or NULL when there is none. It stays valid until ring_release.
 */
static inline const void *ring_peek(struct ring *ring) {
    if (ring->read_at == ring->write_seen) {
        ring->write_seen = atomic_load_explicit(&ring->shared_write, memory_order_acquire);
        if (ring->read_at == ring->write_seen) return NULL;
    }
    return ring->slots[ring->read_at & ring->mask].bytes;
}

/* Consumer: done with the slot that ring_peek gave. */
static inline void ring_advance(struct ring *ring) {
    ring->read_at++;
}

/* Consumer: lets the producer reuse everything that was advanced over. */
static inline void ring_release(struct ring *ring) {
    if (atomic_load_explicit(&ring->shared_read, memory_order_relaxed) != ring->read_at)
        atomic_store_explicit(&ring->shared_read, ring->read_at, memory_order_release);
}

/* Anyone: true when something published has not been released; exact only while nobody works. */
static inline bool ring_busy(struct ring *ring) {
    return atomic_load_explicit(&ring->shared_write, memory_order_acquire) !=
           atomic_load_explicit(&ring->shared_read, memory_order_acquire);
}

#endif
