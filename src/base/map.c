/* map: an open-addressing table of pointers, found by a 64-bit hash that the caller computes. */
#include "base/map.h"

/* Inlined, because keys are short and a call through the library costs as much as the hash. */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/memory.h"

enum {
    SLOTS_MIN = 8,
    ITEMS_MAX = 1 << 30,
    SLOTS_MANY = 4096, /* fewer are filled anew in some ten microseconds */
    SPARSE = 8         /* with so many times more slots than items there are too many */
};

uint64_t map_hash(struct bytes key, uint64_t seed) {
    return XXH3_64bits_withSeed(key.data, key.size, seed);
}

void map_deinit(struct map *map) {
    mem_free(map->slots);
    *map = (struct map){0};
}

static void put_slot(struct map_slot *slots, uint32_t mask, struct map_slot slot) {
    uint32_t at = (uint32_t)slot.hash & mask;
    while (slots[at].item)
        at = (at + 1) & mask;
    slots[at] = slot;
}

/* Another table with the same items. */
static struct map_slot *copy_slots(const struct map *map, uint32_t slot_count) {
    struct map_slot *slots = mem_new_array(slot_count, sizeof *slots);
    for (uint32_t at = 0; at < map_slot_count(map); at++) {
        if (map->slots[at].item) put_slot(slots, slot_count - 1, map->slots[at]);
    }
    return slots;
}

static void resize(struct map *map, uint32_t slot_count) {
    mem_free(map_exchange(map, copy_slots(map, slot_count), slot_count));
}

/* At most three quarters are taken, so that a probe ends soon. */
static bool has_room(uint32_t slot_count, uint64_t items) {
    return items <= slot_count - slot_count / 4;
}

struct map_slot *map_bigger(const struct map *map, uint32_t more, uint32_t *ret_slot_count) {
    uint32_t slot_count = map_slot_count(map);
    uint64_t items = (uint64_t)map->count + more;
    if (slot_count < SLOTS_MANY || has_room(slot_count, items)) return NULL;
    check(items <= ITEMS_MAX);
    while (!has_room(slot_count, items))
        slot_count *= 2;
    *ret_slot_count = slot_count;
    return copy_slots(map, slot_count);
}

bool map_is_sparse(const struct map *map) {
    uint32_t slot_count = map_slot_count(map);
    return slot_count >= SLOTS_MANY && map->count < slot_count / SPARSE;
}

struct map_slot *map_smaller(const struct map *map, uint32_t *ret_slot_count) {
    if (!map_is_sparse(map)) return NULL;
    uint32_t slot_count = SLOTS_MIN;
    while (slot_count / 2 < map->count)
        slot_count *= 2;
    *ret_slot_count = slot_count;
    return copy_slots(map, slot_count);
}

struct map_slot *map_exchange(struct map *map, struct map_slot *slots, uint32_t slot_count) {
    struct map_slot *old = map->slots;
    map->slots = slots;
    map->mask = slot_count - 1;
    return old;
}

void map_put(struct map *map, uint64_t hash, void *item) {
    check(item != NULL);
    check(map->count < ITEMS_MAX);
    uint32_t slot_count = map_slot_count(map);
    if (!has_room(slot_count, (uint64_t)map->count + 1)) {
        resize(map, slot_count ? slot_count * 2 : SLOTS_MIN);
    }
    put_slot(map->slots, map->mask, (struct map_slot){hash, item});
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

static void take_out(struct map *map, uint64_t hash, const void *item) {
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
}

void map_remove(struct map *map, uint64_t hash, const void *item) {
    take_out(map, hash, item);
    uint32_t slot_count = map_slot_count(map);
    if (map->count == 0) {
        map_deinit(map);
    } else if (slot_count > SLOTS_MIN && map->count < slot_count / SPARSE) {
        resize(map, slot_count / 2);
    }
}

void map_remove_only(struct map *map, uint64_t hash, const void *item) {
    if (map_slot_count(map) < SLOTS_MANY) {
        map_remove(map, hash, item);
    } else {
        take_out(map, hash, item);
    }
}
