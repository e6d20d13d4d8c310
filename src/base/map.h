/* map: an open-addressing table of pointers, found by a 64-bit hash that the caller computes.
 *
 * A slot is 16 bytes: the hash and the item, so that growing never touches an item, and a look-up
 * costs one cache line before the item's own. The map does not know keys: it offers every item of a
 * hash, and the caller compares. It owns no items. Removing shifts the following slots back, so
 * that there are no gravestones and the table stays as good as new. */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include "base/base.h"

struct map_slot {
    uint64_t hash;
    void *item; /* NULL: free */
};

/* All zero is an empty map that holds no memory. */
struct map {
    struct map_slot *slots;
    uint32_t mask; /* slots - 1; meaningless without slots */
    uint32_t count;
};

/* The hash of a key. A seed that peers cannot know keeps them from choosing keys that collide. */
uint64_t map_hash(struct bytes key, uint64_t seed);

/* Releases the slots, not the items; the map may be used again. */
void map_deinit(struct map *map);

/* Puts an item in; an item may be put in once. At most 2^30 items. */
void map_put(struct map *map, uint64_t hash, void *item);

/* Takes out the item that was put in with that hash; it must be there. Gives memory back when few
 * are left. */
void map_remove(struct map *map, uint64_t hash, const void *item);

/* The same, but a large table stays as it is, so that this never takes long: map_smaller is for
 * whoever removes in this way. */
void map_remove_only(struct map *map, uint64_t hash, const void *item);

/* A table with room for `more` items beside those that the map has, and with these in it; NULL when
 * the map has the room, or is so small that it may as well grow when it has to. The map is only
 * read, so that others may read it too. */
struct map_slot *map_bigger(const struct map *map, uint32_t more, uint32_t *ret_slot_count);

/* A table of the right size with the map's items, when its own is large and has few; else NULL. The
 * map is only read. */
struct map_slot *map_smaller(const struct map *map, uint32_t *ret_slot_count);

/* Whether there is a smaller one. */
bool map_is_sparse(const struct map *map);

/* The map takes a table that map_bigger or map_smaller has made of what it still is, and gives its
 * own, to be freed. */
struct map_slot *map_exchange(struct map *map, struct map_slot *slots, uint32_t slot_count);

/* Walks the items of one hash:
 *
 *     struct map_probe probe = map_probe(map, hash);
 *     while ((item = map_probe_next(&probe)) != NULL) if (equal(item, key)) ...
 *
 * The map must not be changed meanwhile. */
struct map_probe {
    const struct map *map;
    uint64_t hash;
    uint32_t at;
};

static inline struct map_probe map_probe(const struct map *map, uint64_t hash) {
    return (struct map_probe){map, hash, map->slots ? (uint32_t)hash & map->mask : 0};
}

static inline void *map_probe_next(struct map_probe *probe) {
    const struct map *map = probe->map;
    if (map->count == 0) return NULL;
    for (;;) {
        const struct map_slot *slot = &map->slots[probe->at];
        if (!slot->item) return NULL;
        probe->at = (probe->at + 1) & map->mask;
        if (slot->hash == probe->hash) return slot->item;
    }
}

/* The number of slots, and the item in one of them or NULL: a walk over everything. */
static inline uint32_t map_slot_count(const struct map *map) {
    return map->slots ? map->mask + 1 : 0;
}

static inline void *map_item_at(const struct map *map, uint32_t at) {
    return map->slots[at].item;
}

/* Bytes of memory that the slots take. */
static inline size_t map_bytes(const struct map *map) {
    return (size_t)map_slot_count(map) * sizeof(struct map_slot);
}

#endif
