/* map: an open-addressing table of pointers, found by a 64-bit hash that the caller computes. */
#include "base/map.h"

/* Inlined, because keys are short and a call through the library costs as much as the hash. */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/memory.h"

enum { SLOTS_MIN = 8, ITEMS_MAX = 1 << 30 };

uint64_t map_hash(struct bytes key, uint64_t seed) {
    return XXH3_64bits_withSeed(key.data, key.size, seed);
}

void map_deinit(struct map *map) {
    mem_free(map->slots);
    *map = (struct map){0};
}

static void put_slot(struct map *map, struct map_slot slot) {
    uint32_t at = (uint32_t)slot.hash & map->mask;
    while (map->slots[at].item)
        at = (at + 1) & map->mask;
    map->slots[at] = slot;
}

static void resize(struct map *map, uint32_t slot_count) {
    struct map old = *map;
    map->slots = mem_new_array(slot_count, sizeof *map->slots);
    map->mask = slot_count - 1;
    for (uint32_t at = 0; at < map_slot_count(&old); at++) {
        if (old.slots[at].item) put_slot(map, old.slots[at]);
    }
    mem_free(old.slots);
}

void map_put(struct map *map, uint64_t hash, void *item) {
    check(item != NULL);
    check(map->count < ITEMS_MAX);
    uint32_t slot_count = map_slot_count(map);
    /* At most three quarters are taken, so that a probe ends soon. */
    if (map->count + 1 > slot_count - slot_count / 4) {
        resize(map, slot_count ? slot_count * 2 : SLOTS_MIN);
    }
    put_slot(map, (struct map_slot){hash, item});
    map->count++;
}

/* The slot of an item that must be there. */
static uint32_t slot_of(const struct map *map, uint64_t hash, const void *item) {
    check(map->count > 0);
    uint32_t at = (uint32_t)hash & map->mask;
    while (map->slots[at].item != item) {
        check(map->slots[at].item != NULL);
        at = (at + 1) & map->mask;
    }
    check(map->slots[at].hash == hash);
    return at;
}

void map_remove(struct map *map, uint64_t hash, const void *item) {
    uint32_t hole = slot_of(map, hash, item);
    uint32_t at = hole;
    for (;;) {
        at = (at + 1) & map->mask;
        if (!map->slots[at].item) break;
        /* A slot may fill the hole unless its home lies after the hole (cyclically). */
        uint32_t home = (uint32_t)map->slots[at].hash & map->mask;
        if (((at - home) & map->mask) < ((at - hole) & map->mask)) continue;
        map->slots[hole] = map->slots[at];
        hole = at;
    }
    map->slots[hole] = (struct map_slot){0};
    map->count--;
    if (map->count == 0) {
        map_deinit(map);
    } else if (map->mask + 1 > SLOTS_MIN && map->count < (map->mask + 1) / 8) {
        resize(map, (map->mask + 1) / 2);
    }
}
