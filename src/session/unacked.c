/* unacked: the ledger of a channel's deliveries that wait for an ack, by delivery tag. */
#include "session/unacked.h"

#include "base/memory.h"

enum {
    BLOCK_MIN = 16,  /* capacity of the first block, while it is the only one, */
    BLOCK_MAX = 256, /* and of others */
    HOLES_MIN = 16,  /* fewer are not worth rewriting a block for */
    PLACES_MIN = 4,
    PLACES_KEPT = 64, /* so few are not worth giving back */
    MARK_BITS = 0x7fffffff,
    EPOCHS = MARK_BITS - 1
};

static bool is_hole(const struct delivery *entry) {
    return entry->queue == 0;
}

static struct unacked_place *place_at(const struct unacked *unacked, uint32_t index) {
    return &unacked->places[unacked->first + index];
}

static struct unacked_block *block_at(const struct unacked *unacked, uint32_t index) {
    return place_at(unacked, index)->block;
}

static uint32_t mark_now(const struct unacked *unacked) {
    return unacked->epoch + 1;
}

static bool is_marked(const struct unacked *unacked, const struct delivery *entry) {
    return entry->mark == mark_now(unacked);
}

static void become_empty(struct unacked *unacked) {
    for (uint32_t i = 0; i < unacked->block_count; i++)
        mem_free(block_at(unacked, i));
    mem_free(unacked->places);
    *unacked = (struct unacked){0};
}

void unacked_deinit(struct unacked *unacked) {
    become_empty(unacked);
}

/* ---- blocks ---- */

/* Closes the holes. */
static void pack(struct unacked_block *block) {
    uint32_t end = 0;
    for (uint32_t i = block->first; i < block->end; i++) {
        if (!is_hole(&block->entries[i])) block->entries[end++] = block->entries[i];
    }
    check(end == block->live);
    block->first = 0;
    block->end = end;
}

static struct unacked_block *resize(struct unacked_block *block, uint32_t capacity) {
    check(!block || block->end <= capacity);
    struct unacked_block *resized =
        mem_resize(block, sizeof *resized + capacity * sizeof resized->entries[0]);
    if (!block) resized->first = resized->end = resized->live = 0;
    resized->capacity = capacity;
    return resized;
}

/* Room for one more place. */
static void reserve_place(struct unacked *unacked) {
    if (unacked->first + unacked->block_count < unacked->capacity) return;
    size_t size = unacked->block_count * sizeof *unacked->places;
    if (unacked->first > unacked->capacity / 2) {
        memmove(unacked->places, place_at(unacked, 0), size);
        unacked->first = 0;
        return;
    }
    unacked->capacity = unacked->capacity ? 2 * unacked->capacity : PLACES_MIN;
    unacked->places = mem_resize(unacked->places, unacked->capacity * sizeof *unacked->places);
}

static void remove_place(struct unacked *unacked, uint32_t index) {
    mem_free(block_at(unacked, index));
    unacked->block_count--;
    if (index == 0) {
        unacked->first++;
    } else {
        struct unacked_place *place = place_at(unacked, index);
        memmove(place, place + 1, (unacked->block_count - index) * sizeof *place);
    }
    if (unacked->capacity <= PLACES_KEPT || unacked->block_count > unacked->capacity / 8) return;
    memmove(unacked->places, place_at(unacked, 0), unacked->block_count * sizeof *unacked->places);
    unacked->first = 0;
    unacked->capacity /= 4;
    unacked->places = mem_resize(unacked->places, unacked->capacity * sizeof *unacked->places);
}

/* The last block, with room for one more. */
static struct unacked_block *open_last(struct unacked *unacked, uint64_t tag) {
    uint32_t count = unacked->block_count;
    struct unacked_place *last = count ? place_at(unacked, count - 1) : NULL;
    if (last && last->block->end < last->block->capacity) return last->block;
    if (last && last->block->live <= last->block->capacity / 2) {
        pack(last->block);
        return last->block;
    }
    if (last && last->block->capacity < BLOCK_MAX)
        return last->block = resize(last->block, 2 * last->block->capacity);
    reserve_place(unacked);
    struct unacked_place *place = place_at(unacked, count);
    place->from = tag;
    place->block = resize(NULL, last ? BLOCK_MAX : BLOCK_MIN);
    unacked->block_count++;
    return place->block;
}

void unacked_put(struct unacked *unacked, const struct delivery *delivery) {
    check(delivery->queue != 0);
    struct unacked_block *block = open_last(unacked, delivery->tag);
    check(block->live == 0 || block->entries[block->end - 1].tag < delivery->tag);
    block->entries[block->end] = *delivery;
    block->entries[block->end].mark = 0;
    block->end++;
    block->live++;
    unacked->count++;
    unacked->of_get_count += delivery->of_get;
}

/* ---- finding ---- */

/* Where a delivery is. */
struct spot {
    uint32_t index; /* of the block */
    uint32_t at;
};

/* The last block that may have the tag. While no tags were skipped, all blocks but the first are as
 * far apart as they are large. */
static uint32_t find_block(const struct unacked *unacked, uint64_t tag) {
    uint32_t low = 0;
    uint32_t high = unacked->block_count;
    uint64_t from = place_at(unacked, 0)->from;
    uint64_t guess = tag < from ? 0 : (tag - from) / BLOCK_MAX;
    if (guess + 1 < high && place_at(unacked, (uint32_t)guess)->from <= tag &&
        place_at(unacked, (uint32_t)guess + 1)->from > tag)
        return (uint32_t)guess;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (place_at(unacked, middle)->from <= tag) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

/* The first entry of the block whose tag is not below, or its end. Holes keep their tags. */
static uint32_t find_in(const struct unacked_block *block, uint64_t tag) {
    uint32_t low = block->first;
    uint32_t high = block->end;
    uint64_t first_tag = block->entries[low].tag;
    if (tag <= first_tag) return low;
    uint64_t distance = tag - first_tag;
    if (distance < high - low) {
        uint32_t guess = low + (uint32_t)distance;
        if (block->entries[guess].tag == tag) return guess;
        high = guess; /* tags are distinct, so the place is not further */
    }
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (block->entries[middle].tag < tag) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static struct delivery *entry_of(const struct unacked *unacked, struct spot spot) {
    return &block_at(unacked, spot.index)->entries[spot.at];
}

/* The delivery of that tag that is not marked. */
static bool find(const struct unacked *unacked, uint64_t tag, struct spot *ret_spot) {
    if (unacked->count == 0) return false;
    ret_spot->index = find_block(unacked, tag);
    const struct unacked_block *block = block_at(unacked, ret_spot->index);
    ret_spot->at = find_in(block, tag);
    if (ret_spot->at == block->end) return false;
    const struct delivery *entry = entry_of(unacked, *ret_spot);
    return entry->tag == tag && !is_hole(entry) && !is_marked(unacked, entry);
}

/* The first delivery that is not marked, if its tag is not above `tag_max`. What has been passed
 * because it is marked is not looked at again. */
static bool find_first(struct unacked *unacked, uint64_t tag_max, struct spot *ret_spot) {
    if (unacked->marked_count == unacked->count) return false;
    uint32_t index = 0;
    uint32_t at = block_at(unacked, 0)->first;
    if (unacked->marked_count != 0) {
        index = find_block(unacked, unacked->unmarked_from);
        at = find_in(block_at(unacked, index), unacked->unmarked_from);
    }
    for (;; at++) {
        const struct unacked_block *block = block_at(unacked, index);
        if (at == block->end) {
            index++;
            check(index < unacked->block_count);
            block = block_at(unacked, index);
            at = block->first;
        }
        const struct delivery *entry = &block->entries[at];
        bool there = !is_hole(entry) && !is_marked(unacked, entry);
        if (there || entry->tag > tag_max) {
            *ret_spot = (struct spot){index, at};
            if (unacked->marked_count != 0) unacked->unmarked_from = entry->tag;
            return entry->tag <= tag_max;
        }
    }
}

bool unacked_has(const struct unacked *unacked, uint64_t tag) {
    struct spot spot;
    return find(unacked, tag, &spot);
}

/* ---- taking ---- */

/* Two neighbours that have few deliveries become one. */
static bool merge(struct unacked *unacked, uint32_t index) {
    if (index + 1 >= unacked->block_count) return false;
    struct unacked_block *into = block_at(unacked, index);
    struct unacked_block *from = block_at(unacked, index + 1);
    if (into->live + from->live > BLOCK_MAX / 2) return false;
    pack(into);
    pack(from);
    if (into->capacity < BLOCK_MAX)
        into = place_at(unacked, index)->block = resize(into, BLOCK_MAX);
    memcpy(&into->entries[into->end], from->entries, from->live * sizeof from->entries[0]);
    into->live += from->live;
    into->end += from->live;
    remove_place(unacked, index + 1);
    return true;
}

/* A block has lost deliveries: its ends are to be free of holes, and their number bounded. Each
 * hole is passed once, and rewriting n deliveries comes after at least as many were taken: O(1)
 * amortised. */
static void tidy(struct unacked *unacked, uint32_t index) {
    struct unacked_block *block = block_at(unacked, index);
    if (block->live == 0) {
        remove_place(unacked, index);
        return;
    }
    while (is_hole(&block->entries[block->first]))
        block->first++;
    while (is_hole(&block->entries[block->end - 1]))
        block->end--;
    if (block->live <= BLOCK_MAX / 4) {
        if (merge(unacked, index) || (index != 0 && merge(unacked, index - 1))) return;
    }
    uint32_t holes = block->end - block->first - block->live;
    if (holes > block->live + HOLES_MIN) pack(block);
    bool much_room = block->capacity > BLOCK_MIN && block->live < block->capacity / 16;
    if (much_room && unacked->block_count == 1) {
        pack(block);
        place_at(unacked, index)->block = resize(block, BLOCK_MIN);
    }
}

static void take(struct unacked *unacked, struct spot spot, struct delivery *ret_delivery) {
    struct delivery *entry = entry_of(unacked, spot);
    *ret_delivery = *entry;
    unacked->of_get_count -= entry->of_get;
    unacked->count--;
    entry->queue = 0;
    block_at(unacked, spot.index)->live--;
    if (unacked->count == 0) {
        become_empty(unacked);
        return;
    }
    tidy(unacked, spot.index);
}

bool unacked_take(struct unacked *unacked, uint64_t tag, struct delivery *ret_delivery) {
    struct spot spot;
    if (!find(unacked, tag, &spot)) return false;
    take(unacked, spot, ret_delivery);
    return true;
}

bool unacked_take_first(struct unacked *unacked, uint64_t tag_max, struct delivery *ret_delivery) {
    struct spot spot;
    if (!find_first(unacked, tag_max, &spot)) return false;
    take(unacked, spot, ret_delivery);
    return true;
}

/* Moves the first block to the end of another ledger. */
static void move_block(struct unacked *from, struct unacked *into) {
    reserve_place(into);
    struct unacked_place place = *place_at(from, 0);
    into->places[into->first + into->block_count++] = place;
    into->count += place.block->live;
    from->count -= place.block->live;
    from->first++;
    from->block_count--;
    for (uint32_t i = place.block->first; from->of_get_count != 0 && i < place.block->end; i++) {
        const struct delivery *entry = &place.block->entries[i];
        uint32_t of_get = is_hole(entry) ? 0 : entry->of_get;
        into->of_get_count += of_get;
        from->of_get_count -= of_get;
    }
}

struct unacked unacked_split(struct unacked *unacked, uint64_t tag_max) {
    struct unacked split = {.epoch = unacked->epoch};
    check(unacked->marked_count == 0);
    while (unacked->block_count != 0) {
        const struct unacked_block *block = block_at(unacked, 0);
        if (block->entries[block->end - 1].tag > tag_max) break;
        move_block(unacked, &split);
    }
    struct delivery delivery;
    while (unacked->count != 0 && unacked_take_first(unacked, tag_max, &delivery))
        unacked_put(&split, &delivery);
    if (unacked->count == 0) become_empty(unacked);
    return split;
}

/* ---- marks ---- */

static void mark(struct unacked *unacked, struct spot spot, struct delivery *ret_delivery) {
    struct delivery *entry = entry_of(unacked, spot);
    entry->mark = mark_now(unacked) & MARK_BITS;
    unacked->marked_count++;
    *ret_delivery = *entry;
}

bool unacked_mark(struct unacked *unacked, uint64_t tag, struct delivery *ret_delivery) {
    struct spot spot;
    if (!find(unacked, tag, &spot)) return false;
    mark(unacked, spot, ret_delivery);
    return true;
}

bool unacked_mark_first(struct unacked *unacked, uint64_t tag_max, struct delivery *ret_delivery) {
    struct spot spot;
    if (!find_first(unacked, tag_max, &spot)) return false;
    mark(unacked, spot, ret_delivery);
    return true;
}

void unacked_unmark_all(struct unacked *unacked) {
    unacked->unmarked_from = 0;
    if (unacked->marked_count == 0) return;
    unacked->marked_count = 0;
    if (++unacked->epoch < EPOCHS) return;
    unacked->epoch = 0;
    for (uint32_t i = 0; i < unacked->block_count; i++) {
        struct unacked_block *block = block_at(unacked, i);
        for (uint32_t k = block->first; k < block->end; k++)
            block->entries[k].mark = 0;
    }
}

/* Those of one block. */
static void drop_marked_of(struct unacked *unacked, struct unacked_block *block) {
    for (uint32_t i = block->first; i < block->end; i++) {
        struct delivery *entry = &block->entries[i];
        if (is_hole(entry) || !is_marked(unacked, entry)) continue;
        entry->queue = 0;
        block->live--;
        unacked->count--;
        unacked->of_get_count -= entry->of_get;
        unacked->marked_count--;
    }
}

void unacked_drop_marked(struct unacked *unacked) {
    if (unacked->marked_count == unacked->count) {
        become_empty(unacked);
        return;
    }
    /* From the last on, as blocks that are tidied may go, and those before them stay. */
    for (uint32_t i = unacked->block_count; i-- > 0 && unacked->marked_count != 0;) {
        uint32_t live = block_at(unacked, i)->live;
        drop_marked_of(unacked, block_at(unacked, i));
        if (block_at(unacked, i)->live != live) tidy(unacked, i);
        i = i < unacked->block_count ? i : unacked->block_count;
    }
    check(unacked->marked_count == 0);
    unacked->unmarked_from = 0;
}

/* ---- checks ---- */

struct tally {
    uint32_t count;
    uint32_t of_get;
    uint32_t marked;
    uint64_t tag; /* the last one */
};

static void check_block(
    const struct unacked *unacked, const struct unacked_block *block, struct tally *tally) {
    uint32_t live = 0;
    check(block->first < block->end);
    check(block->end <= block->capacity);
    check(!is_hole(&block->entries[block->first]));
    check(!is_hole(&block->entries[block->end - 1]));
    for (uint32_t i = block->first; i < block->end; i++) {
        const struct delivery *entry = &block->entries[i];
        check(tally->count == 0 || entry->tag > tally->tag);
        tally->tag = entry->tag;
        if (is_hole(entry)) continue;
        live++;
        tally->count++;
        tally->of_get += entry->of_get;
        tally->marked += is_marked(unacked, entry);
        if (entry->tag < unacked->unmarked_from) check(is_marked(unacked, entry));
    }
    check(live == block->live);
    check(block->end - block->first <= 2 * live + HOLES_MIN);
}

void unacked_check(const struct unacked *unacked) {
    struct tally tally = {0};
    check(unacked->first + unacked->block_count <= unacked->capacity);
    check((unacked->count == 0) == (unacked->places == NULL));
    check((unacked->count == 0) == (unacked->block_count == 0));
    for (uint32_t i = 0; i < unacked->block_count; i++) {
        const struct unacked_block *block = block_at(unacked, i);
        uint64_t from = place_at(unacked, i)->from;
        check(tally.count == 0 || tally.tag < from);
        check(from <= block->entries[block->first].tag);
        check_block(unacked, block, &tally);
    }
    check(tally.count == unacked->count);
    check(tally.of_get == unacked->of_get_count);
    check(tally.marked == unacked->marked_count);
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
