/* unacked: the ledger of a channel's deliveries that wait for an ack, by delivery tag. */
#include "session/unacked.h"

#include <stdlib.h>

#include "base/memory.h"

enum {
    RING_MIN = 16,
    HOLES_MIN = 64, /* fewer are not worth rewriting the ring for */
};

static struct delivery *entry_at(const struct unacked *unacked, uint32_t index) {
    return &unacked->ring[(unacked->first + index) & (unacked->capacity - 1)];
}

static bool is_hole(const struct delivery *entry) {
    return entry->queue == 0;
}

static void become_empty(struct unacked *unacked) {
    mem_free(unacked->ring);
    *unacked = (struct unacked){0};
}

void unacked_deinit(struct unacked *unacked) {
    become_empty(unacked);
}

/* The power of two that leaves as much room as there are deliveries. */
static uint32_t capacity_for(uint32_t count) {
    uint32_t capacity = RING_MIN;
    while (capacity < count * 2)
        capacity *= 2;
    return capacity;
}

/* Copies the deliveries without the holes into a ring with room for at least one more. */
static void rewrite(struct unacked *unacked) {
    uint32_t capacity = capacity_for(unacked->count + 1);
    struct delivery *ring = mem_raw(capacity * sizeof *ring);
    uint32_t size = 0;
    for (uint32_t i = 0; i < unacked->size; i++) {
        const struct delivery *entry = entry_at(unacked, i);
        if (!is_hole(entry)) ring[size++] = *entry;
    }
    check(size == unacked->count);
    mem_free(unacked->ring);
    unacked->ring = ring;
    unacked->capacity = capacity;
    unacked->first = 0;
    unacked->size = size;
}

void unacked_put(struct unacked *unacked, const struct delivery *delivery) {
    check(delivery->queue != 0);
    check(unacked->size == 0 || entry_at(unacked, unacked->size - 1)->tag < delivery->tag);
    if (unacked->size == unacked->capacity) rewrite(unacked);
    *entry_at(unacked, unacked->size) = *delivery;
    unacked->size++;
    unacked->count++;
    unacked->of_get_count += delivery->of_get;
}

/* The entry with that tag that is no hole, or NULL. Holes keep their tags, so a stretch in which
 * nothing was skipped is found in one step. */
static struct delivery *find(const struct unacked *unacked, uint64_t tag) {
    if (unacked->count == 0) return NULL;
    uint64_t first_tag = entry_at(unacked, 0)->tag;
    if (tag < first_tag) return NULL;
    uint64_t distance = tag - first_tag;
    uint32_t low = 0;
    uint32_t high = unacked->size;
    if (distance < high) {
        struct delivery *guess = entry_at(unacked, (uint32_t)distance);
        if (guess->tag == tag) return is_hole(guess) ? NULL : guess;
        high = (uint32_t)distance; /* tags are distinct, so the place is not further */
    }
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        struct delivery *entry = entry_at(unacked, middle);
        if (entry->tag == tag) return is_hole(entry) ? NULL : entry;
        if (entry->tag < tag) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

bool unacked_has(const struct unacked *unacked, uint64_t tag) {
    return find(unacked, tag) != NULL;
}

/* Takes the entry out and keeps the ring's ends free of holes. Each hole is passed once, and a
 * rewrite of n entries comes after at least n/2 holes were made: O(1) amortised. */
static void take_entry(
    struct unacked *unacked, struct delivery *entry, struct delivery *ret_delivery) {
    *ret_delivery = *entry;
    unacked->of_get_count -= entry->of_get;
    unacked->count--;
    entry->queue = 0;
    if (unacked->count == 0) {
        become_empty(unacked);
        return;
    }
    while (is_hole(entry_at(unacked, 0))) {
        unacked->first = (unacked->first + 1) & (unacked->capacity - 1);
        unacked->size--;
    }
    while (is_hole(entry_at(unacked, unacked->size - 1)))
        unacked->size--;
    bool much_room = unacked->capacity > 4 * HOLES_MIN && unacked->count < unacked->capacity / 16;
    if (unacked->size - unacked->count > unacked->count + HOLES_MIN || much_room) rewrite(unacked);
}

bool unacked_take(struct unacked *unacked, uint64_t tag, struct delivery *ret_delivery) {
    struct delivery *entry = find(unacked, tag);
    if (!entry) return false;
    take_entry(unacked, entry, ret_delivery);
    return true;
}

bool unacked_take_first(struct unacked *unacked, uint64_t tag_max, struct delivery *ret_delivery) {
    if (unacked->count == 0) return false;
    struct delivery *first = entry_at(unacked, 0);
    if (first->tag > tag_max) return false;
    take_entry(unacked, first, ret_delivery);
    return true;
}

static int compare_tags(const void *a, const void *b) {
    uint64_t tag_a = ((const struct delivery *)a)->tag;
    uint64_t tag_b = ((const struct delivery *)b)->tag;
    return (tag_a > tag_b) - (tag_a < tag_b);
}

void unacked_put_back(struct unacked *unacked, struct delivery *deliveries, uint32_t count) {
    if (count == 0) return;
    qsort(deliveries, count, sizeof *deliveries, compare_tags);
    struct unacked merged = {0};
    uint32_t next = 0;
    for (uint32_t i = 0; i < unacked->size; i++) {
        const struct delivery *entry = entry_at(unacked, i);
        if (is_hole(entry)) continue;
        while (next < count && deliveries[next].tag < entry->tag)
            unacked_put(&merged, &deliveries[next++]);
        unacked_put(&merged, entry);
    }
    while (next < count)
        unacked_put(&merged, &deliveries[next++]);
    become_empty(unacked);
    *unacked = merged;
}

void unacked_check(const struct unacked *unacked) {
    check(unacked->size <= unacked->capacity);
    check((unacked->capacity & (unacked->capacity - 1)) == 0);
    check((unacked->count == 0) == (unacked->ring == NULL));
    uint32_t count = 0;
    uint32_t of_get_count = 0;
    uint64_t tag = 0;
    for (uint32_t i = 0; i < unacked->size; i++) {
        const struct delivery *entry = entry_at(unacked, i);
        check(i == 0 || entry->tag > tag);
        tag = entry->tag;
        if (is_hole(entry)) continue;
        count++;
        of_get_count += entry->of_get;
    }
    check(count == unacked->count);
    check(of_get_count == unacked->of_get_count);
    if (count == 0) return;
    check(!is_hole(entry_at(unacked, 0)));
    check(!is_hole(entry_at(unacked, unacked->size - 1)));
    check(unacked->size - count <= count + HOLES_MIN);
}

static bool extends(
    const struct settle *run, const struct delivery *delivery, enum settle_how how) {
    return run->seq + run->count == delivery->seq && run->queue == delivery->queue &&
           run->consumer == delivery->consumer && run->how == how && run->count < UINT32_MAX;
}

bool settle_runs_put(
    struct settle_runs *runs, const struct delivery *delivery, enum settle_how how) {
    for (uint32_t i = runs->count; i > 0; i--) {
        struct settle *run = &runs->runs[i - 1];
        if (!extends(run, delivery, how)) continue;
        run->count++;
        return true;
    }
    if (runs->count == SETTLE_RUNS_MAX) return false;
    runs->runs[runs->count++] = (struct settle){
        .queue = delivery->queue,
        .seq = delivery->seq,
        .count = 1,
        .consumer = delivery->consumer,
        .how = how,
    };
    return true;
}
