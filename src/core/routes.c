/* routes: a list of distinct 64-bit ids that is cheap while it is short and never quadratic.
 *
 * Up to LINEAR_MAX ids are compared one by one. Beyond that an index, an open-addressing table of
 * places in the list, is made of what is there and then kept. The index says how many ids it
 * covers: when that is not all of the list (somebody emptied or appended to it), it is made anew.
 */
#include "core/routes.h"

#include "base/memory.h"

enum { LINEAR_MAX = 16, INDEX_SLOTS_MIN = 64 };

static_assert(COUNT_OF(((struct routes *)NULL)->inline_queues) >= LINEAR_MAX,
    "the inline ids are found without an index");

void routes_init(struct routes *routes) {
    routes->count = 0;
    routes->capacity = COUNT_OF(routes->inline_queues);
    routes->queues = routes->inline_queues;
    routes->index = NULL;
    routes->index_capacity = 0;
    routes->index_mask = 0;
    routes->indexed = 0;
}

void routes_deinit(struct routes *routes) {
    if (routes->queues != routes->inline_queues) mem_free(routes->queues);
    mem_free(routes->index);
    routes_init(routes);
}

void routes_append(struct routes *routes, uint64_t id) {
    if (routes->count == routes->capacity) {
        check(routes->capacity <= UINT32_MAX / 2);
        uint32_t capacity = routes->capacity * 2;
        if (routes->queues == routes->inline_queues) {
            routes->queues = mem_raw(capacity * sizeof *routes->queues);
            memcpy(routes->queues, routes->inline_queues, sizeof routes->inline_queues);
        } else {
            routes->queues = mem_resize(routes->queues, capacity * sizeof *routes->queues);
        }
        routes->capacity = capacity;
    }
    routes->queues[routes->count++] = id;
}

static bool listed(const struct routes *routes, uint64_t id) {
    for (uint32_t i = 0; i < routes->count; i++) {
        if (routes->queues[i] == id) return true;
    }
    return false;
}

/* The slot where `id` is or would be; a slot holds a place in the list plus 1, or 0. */
static uint32_t slot_of(const struct routes *routes, uint64_t id) {
    uint32_t at = (uint32_t)((id * 0x9e3779b97f4a7c15u) >> 32) & routes->index_mask;
    while (routes->index[at] != 0 && routes->queues[routes->index[at] - 1] != id) {
        at = (at + 1) & routes->index_mask;
    }
    return at;
}

/* Makes the index of all ids, with room for as many more. */
static void make_index(struct routes *routes) {
    uint32_t slots = INDEX_SLOTS_MIN;
    while (slots / 4 <= routes->count)
        slots *= 2;
    if (slots > routes->index_capacity) {
        mem_free(routes->index);
        routes->index = mem_raw(slots * sizeof *routes->index);
        routes->index_capacity = slots;
    }
    memset(routes->index, 0, slots * sizeof *routes->index);
    routes->index_mask = slots - 1;
    for (uint32_t i = 0; i < routes->count; i++) {
        routes->index[slot_of(routes, routes->queues[i])] = i + 1;
    }
    routes->indexed = routes->count;
}

bool routes_add(struct routes *routes, uint64_t id) {
    if (routes->count < LINEAR_MAX) {
        if (listed(routes, id)) return false;
        routes_append(routes, id);
        return true;
    }
    bool stale = routes->count == LINEAR_MAX || routes->indexed != routes->count;
    if (stale || routes->count >= (routes->index_mask + 1) / 2) make_index(routes);
    uint32_t at = slot_of(routes, id);
    if (routes->index[at] != 0) return false;
    routes_append(routes, id);
    routes->index[at] = routes->count;
    routes->indexed = routes->count;
    return true;
}
