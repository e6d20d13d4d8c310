/* ref: the address of a queue or a connection: (node, shard, slot, generation) in 64 bits.
 *
 * A ref is never a pointer: whoever holds one may outlive what it names. Its shard looks the slot
 * up and compares generations; another generation means "that one is gone", which is never an
 * error. Zero is no ref. Nodes are for later: today the node's 8 bits are zero. */
#ifndef CORE_REF_H
#define CORE_REF_H

#include "base/base.h"

typedef uint64_t queue_ref;
typedef uint64_t connection_ref;

enum { REF_SLOT_BITS = 24, REF_GENERATION_BITS = 24, REF_SLOTS_MAX = 1 << REF_SLOT_BITS };

/* shard < 256, slot < 2^24; the generation is cut to 24 bits and must not be 0 after that. */
static inline uint64_t ref_make(uint32_t shard, uint32_t slot, uint32_t generation) {
    return (uint64_t)shard << 48 | (uint64_t)(generation & 0xffffff) << 24 | (slot & 0xffffff);
}

static inline uint32_t ref_shard(uint64_t ref) {
    return (uint32_t)(ref >> 48) & 0xff;
}

static inline uint32_t ref_generation(uint64_t ref) {
    return (uint32_t)(ref >> 24) & 0xffffff;
}

static inline uint32_t ref_slot(uint64_t ref) {
    return (uint32_t)ref & 0xffffff;
}

#endif
