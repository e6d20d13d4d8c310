/* entries: the messages of one queue by sequence number, dense where traffic is, sparse behind it.
 */
#include "core/entries.h"

#include "base/memory.h"

enum {
    RING_KEPT = 8,             /* an empty queue keeps a ring of its own up to this capacity */
    RING_SHRINK = 8,           /* a ring with so many times more room than span is made smaller */
    STRAYS_MIN = 16,           /* the first capacity of strays */
    LOOKED_MAX = 256,          /* gaps looked at by one entries_next_chunk */
    MOVED_CHUNKS_MAX = 64,     /* chunks looked at by one entries_move_strays */
    SKIPPED_CHUNKS_MAX = 1024, /* a wider gap is not kept in the ring, */
    SKIPPED_PER_ENTRY = 3      /* unless its places cost less than entries as strays do */
};

void entries_init(struct entries *entries, struct slab_class *chunks) {
    *entries = (struct entries){.ring_capacity = RING_SMALL, .next_seq = 1, .chunks = chunks};
    entries->ring = entries->small;
}

static void release_ring(struct entries *entries) {
    if (entries->ring != entries->small) mem_free(entries->ring);
    entries->ring = entries->small;
    entries->ring_capacity = RING_SMALL;
    entries->ring_first = 0;
}

static void release_strays(struct entries *entries) {
    if (!entries->strays) return;
    mem_free(entries->strays->list);
    mem_free(entries->strays);
    entries->strays = NULL;
}

void entries_deinit(struct entries *entries) {
    check(entries_count(entries) == 0);
    check(entries->span == 0);
    release_ring(entries);
    release_strays(entries);
}

/* Gives the ring room for `capacity` chunks, a power of two that is not below its span. */
static void resize_ring(struct entries *entries, uint32_t capacity) {
    check(capacity >= entries->span);
    check(capacity > RING_SMALL);
    struct chunk **ring = mem_raw(capacity * sizeof *ring);
    for (uint32_t i = 0; i < entries->span; i++) {
        ring[i] = *entries_slot(entries, entries->first + i);
    }
    release_ring(entries);
    entries->ring = ring;
    entries->ring_capacity = capacity;
}

struct chunk *entries_open_tail(struct entries *entries) {
    uint64_t number = entries->next_seq / CHUNK_ENTRIES;
    check(entries->tail == NULL);
    if (entries->span == 0) entries->first = number;
    if (number - entries->first == entries->span) {
        if (entries->span == entries->ring_capacity) resize_ring(entries, 2 * entries->span);
        entries->span++;
        *entries_slot(entries, number) = NULL;
    }
    struct chunk **slot = entries_slot(entries, number);
    check(number - entries->first < entries->span);
    check(*slot == NULL);
    struct chunk *chunk = slab_take(entries->chunks);
    chunk->live = 0;
    *slot = entries->tail = chunk;
    return chunk;
}

/* Moves the front past gaps, and gives room back that a burst has left. */
static void advance_front(struct entries *entries) {
    while (entries->span != 0 && *entries_slot(entries, entries->first) == NULL) {
        entries->first++;
        entries->ring_first = (entries->ring_first + 1) & (entries->ring_capacity - 1);
        entries->span--;
    }
    uint32_t capacity = entries->ring_capacity;
    if (entries->span == 0) {
        /* Below this chunk everything is a stray, whatever the ring has covered. */
        entries->first = entries->next_seq / CHUNK_ENTRIES;
        if (capacity > RING_KEPT) release_ring(entries);
    } else if (capacity > RING_KEPT && entries->span < capacity / RING_SHRINK) {
        resize_ring(entries, capacity / 4);
    }
}

void entries_close_chunk(struct entries *entries, uint64_t number) {
    struct chunk **slot = entries_slot(entries, number);
    check((*slot)->live == 0);
    if (*slot == entries->tail) entries->tail = NULL;
    slab_put(entries->chunks, *slot);
    *slot = NULL;
    if (number == entries->first) advance_front(entries);
}

/* ---- folded chunks */

void entries_fold(struct entries *entries, uint64_t number) {
    struct chunk **slot = entries_slot(entries, number);
    struct chunk *chunk = *slot;
    check(entries_is_plain(chunk));
    if (chunk == entries->tail || chunk->live != UINT64_MAX) return;
    uint8_t flags = chunk->entries[0].flags;
    uint8_t kind = flags & (uint8_t)~ENTRY_REDELIVERED;
    if (kind != ENTRY_KEPT && kind != ENTRY_SPILLED) return;
    for (uint32_t i = 0; i < CHUNK_ENTRIES; i++) {
        const struct entry *entry = &chunk->entries[i];
        if (entry->message || entry->flags != flags || entry->attempts != 0) return;
    }
    slab_put(entries->chunks, chunk);
    *slot = entries_folded_mark(flags);
}

void entries_put_folded(struct entries *entries, bool redelivered) {
    check(entries->next_seq % CHUNK_ENTRIES == 0);
    uint64_t number = entries->next_seq / CHUNK_ENTRIES;
    struct chunk *chunk = entries_open_tail(entries);
    slab_put(entries->chunks, chunk);
    uint8_t flags = (uint8_t)(ENTRY_KEPT | (redelivered ? ENTRY_REDELIVERED : 0));
    *entries_slot(entries, number) = entries_folded_mark(flags);
    entries->tail = NULL;
    entries->next_seq += CHUNK_ENTRIES;
    entries->live += CHUNK_ENTRIES;
}

struct chunk *entries_unfold(struct entries *entries, uint64_t number) {
    struct chunk **slot = entries_slot(entries, number);
    check(entries_is_folded(*slot));
    uint8_t flags = entries_mark_flags(*slot);
    struct chunk *chunk = slab_take(entries->chunks);
    chunk->live = UINT64_MAX;
    for (uint32_t i = 0; i < CHUNK_ENTRIES; i++)
        chunk->entries[i] = (struct entry){.flags = flags};
    *slot = chunk;
    return chunk;
}

void entries_remove_folded(struct entries *entries, uint64_t number) {
    struct chunk **slot = entries_slot(entries, number);
    check(entries_is_folded(*slot));
    *slot = NULL;
    entries->live -= CHUNK_ENTRIES;
    if (number == entries->first) advance_front(entries);
}

/* ---- strays */

/* The index of the first stray that is not before seq. */
static uint32_t search(const struct strays *strays, uint64_t seq) {
    uint32_t low = strays->first, high = strays->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (strays->list[middle].seq < seq) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

struct entry *entries_find_stray(const struct entries *entries, uint64_t seq) {
    const struct strays *strays = entries->strays;
    if (!strays) return NULL;
    uint32_t at = search(strays, seq);
    if (at == strays->count || strays->list[at].seq != seq) return NULL;
    struct entry *entry = &strays->list[at].entry;
    return entry->flags & ENTRY_REMOVED ? NULL : entry;
}

/* Closes the holes that removed strays have left. */
static void pack(struct strays *strays) {
    uint32_t kept = 0;
    for (uint32_t i = strays->first; i < strays->count; i++) {
        if (!(strays->list[i].entry.flags & ENTRY_REMOVED)) strays->list[kept++] = strays->list[i];
    }
    check(kept == strays->live);
    strays->first = 0;
    strays->count = kept;
}

void entries_remove_stray(struct entries *entries, uint64_t seq) {
    struct strays *strays = entries->strays;
    struct entry *entry = entries_find_stray(entries, seq);
    check(entry != NULL);
    entry->flags = ENTRY_REMOVED;
    if (--strays->live == 0) {
        release_strays(entries);
        return;
    }
    while (strays->list[strays->first].entry.flags & ENTRY_REMOVED) {
        strays->first++;
    }
    /* Each packing is paid for by as many removals as it moves entries. */
    if (strays->count - strays->live > strays->live + STRAYS_MIN) {
        pack(strays);
        if (strays->capacity > 4 * strays->live + STRAYS_MIN) {
            strays->capacity = 2 * strays->live + STRAYS_MIN;
            strays->list = mem_resize(strays->list, strays->capacity * sizeof *strays->list);
        }
    }
}

static void put_stray(struct entries *entries, uint64_t seq, const struct entry *entry) {
    if (!entries->strays) entries->strays = NEW(struct strays);
    struct strays *strays = entries->strays;
    if (strays->count == strays->capacity) {
        strays->capacity = strays->capacity ? 2 * strays->capacity : STRAYS_MIN;
        strays->list = mem_resize(strays->list, strays->capacity * sizeof *strays->list);
    }
    check(strays->count == 0 || strays->list[strays->count - 1].seq < seq);
    strays->list[strays->count++] = (struct stray){.seq = seq, .entry = *entry};
    strays->live++;
}

/* Moves the ring's first chunk. */
static void move_first(struct entries *entries) {
    uint64_t number = entries->first;
    struct chunk *chunk = *entries_slot(entries, number);
    if (entries_is_folded(chunk)) chunk = entries_unfold(entries, number);
    for (uint64_t live = chunk->live; live; live &= live - 1) {
        uint32_t at = (uint32_t)__builtin_ctzll(live);
        put_stray(entries, number * CHUNK_ENTRIES + at, &chunk->entries[at]);
        entries->live--;
    }
    chunk->live = 0;
    entries_close_chunk(entries, number);
}

void entries_move_strays(struct entries *entries, uint64_t cursor) {
    for (uint32_t n = 0; n < MOVED_CHUNKS_MAX && entries_sparse(entries, cursor); n++) {
        check(entries->first < cursor / CHUNK_ENTRIES);
        if (entries->span == 0) return;
        move_first(entries);
    }
}

void entries_skip(struct entries *entries, uint64_t seq) {
    check(seq >= entries->next_seq);
    uint64_t number = seq / CHUNK_ENTRIES;
    bool same_chunk = number == entries->next_seq / CHUNK_ENTRIES;
    entries->next_seq = seq;
    if (same_chunk) return;
    entries->tail = NULL;
    uint64_t gap = number - entries->first - entries->span;
    bool wide = gap > SKIPPED_CHUNKS_MAX && gap > entries->live * SKIPPED_PER_ENTRY;
    while (wide && entries->span != 0) {
        move_first(entries);
    }
    if (entries->span == 0) entries->first = number;
    while (number - entries->first > entries->span) {
        if (entries->span == entries->ring_capacity) resize_ring(entries, 2 * entries->span);
        entries->span++;
        *entries_slot(entries, entries->first + entries->span - 1) = NULL;
    }
}

static struct entry *next_stray(const struct strays *strays, uint64_t *seq, uint64_t end) {
    for (uint32_t i = search(strays, *seq); i < strays->count; i++) {
        struct stray *stray = &strays->list[i];
        if (stray->seq >= end) return NULL;
        if (stray->entry.flags & ENTRY_REMOVED) continue;
        *seq = stray->seq;
        return &stray->entry;
    }
    return NULL;
}

/* The first entry of the ring, or folded chunk. */
static bool next_in_ring(
    const struct entries *entries, uint64_t *seq, uint64_t end, struct entry **ret_entry) {
    for (uint64_t at = *seq; at < end;) {
        uint64_t number = at / CHUNK_ENTRIES;
        if (number - entries->first >= entries->span) return false;
        struct chunk *chunk = *entries_slot(entries, number);
        *ret_entry = NULL;
        if (entries_is_folded(chunk)) {
            *seq = at;
            return true;
        }
        uint64_t live = chunk ? chunk->live >> (at % CHUNK_ENTRIES) : 0;
        if (live) {
            at += (uint64_t)__builtin_ctzll(live);
            if (at >= end) return false;
            *seq = at;
            *ret_entry = &chunk->entries[at % CHUNK_ENTRIES];
            return true;
        }
        at = (number + 1) * CHUNK_ENTRIES;
    }
    return false;
}

bool entries_next_any(
    const struct entries *entries, uint64_t *seq, uint64_t end, struct entry **ret_entry) {
    uint64_t ring_seq = entries->first * CHUNK_ENTRIES;
    if (*seq < ring_seq) {
        *ret_entry = entries->strays ? next_stray(entries->strays, seq, end) : NULL;
        if (*ret_entry) return true;
        *seq = ring_seq;
    }
    return next_in_ring(entries, seq, end, ret_entry);
}

struct entry *entries_next(const struct entries *entries, uint64_t *seq, uint64_t end) {
    struct entry *entry = NULL;
    while (entries_next_any(entries, seq, end, &entry)) {
        if (entry) return entry;
        *seq = (*seq / CHUNK_ENTRIES + 1) * CHUNK_ENTRIES;
    }
    return NULL;
}

/* Strays of one chunk, or 0 where there are only removed ones. False when there are none. */
static bool next_chunk_of_strays(
    const struct strays *strays, uint64_t *number, uint64_t *ret_live) {
    uint32_t at = search(strays, *number * CHUNK_ENTRIES);
    *ret_live = 0;
    for (uint32_t n = 0; at < strays->count; at++, n++) {
        const struct stray *stray = &strays->list[at];
        uint64_t here = stray->seq / CHUNK_ENTRIES;
        if (*ret_live != 0 && here != *number) return true;
        *number = here;
        if (*ret_live == 0 && n > LOOKED_MAX) return true;
        if (stray->entry.flags & ENTRY_REMOVED) continue;
        *ret_live |= (uint64_t)1 << (stray->seq % CHUNK_ENTRIES);
    }
    return *ret_live != 0;
}

bool entries_next_chunk(const struct entries *entries, uint64_t *number, uint64_t *ret_live) {
    if (*number < entries->first && entries->strays) {
        uint64_t stray = *number;
        if (next_chunk_of_strays(entries->strays, &stray, ret_live)) {
            *number = stray;
            return true;
        }
    }
    *number = *number < entries->first ? entries->first : *number;
    *ret_live = 0;
    for (uint32_t n = 0; *number - entries->first < entries->span; (*number)++, n++) {
        const struct chunk *chunk = *entries_slot(entries, *number);
        if (n > LOOKED_MAX && !chunk) return true;
        if (!chunk) continue;
        *ret_live = entries_is_folded(chunk) ? UINT64_MAX : chunk->live;
        return true;
    }
    return false;
}

/* Only what is on disk is not in memory; a spilled one is there only while it is not. */
static void check_away(const struct entry *entry) {
    bool spilled = entry->flags & ENTRY_SPILLED;
    if (!entry->message) check(spilled || entry->flags & ENTRY_KEPT);
    if (spilled) check(!entry->message && !(entry->flags & (ENTRY_KEPT | ENTRY_UNACKED)));
}

static void check_strays(const struct entries *entries) {
    const struct strays *strays = entries->strays;
    uint32_t live = 0;
    check(strays->live != 0);
    check(strays->count <= strays->capacity);
    for (uint32_t i = strays->first; i < strays->count; i++) {
        const struct stray *stray = &strays->list[i];
        if (i > strays->first) check(strays->list[i - 1].seq < stray->seq);
        check(stray->seq < entries->first * CHUNK_ENTRIES);
        if (stray->entry.flags & ENTRY_REMOVED) continue;
        check_away(&stray->entry);
        live++;
    }
    check(live == strays->live);
}

void entries_check(const struct entries *entries) {
    uint64_t live = 0;
    check(entries->span <= entries->ring_capacity);
    for (uint32_t i = 0; i < entries->span; i++) {
        const struct chunk *chunk = *entries_slot(entries, entries->first + i);
        if (i == 0) check(chunk != NULL);
        if (!chunk) continue;
        if (entries_is_folded(chunk)) {
            live += CHUNK_ENTRIES;
            continue;
        }
        check(chunk->live != 0);
        live += (uint64_t)__builtin_popcountll(chunk->live);
        for (uint64_t bits = chunk->live; bits; bits &= bits - 1) {
            const struct entry *entry = &chunk->entries[__builtin_ctzll(bits)];
            check_away(entry);
            if (entry->message) check(entry->message->body_size == entry->body_size);
            check(!(entry->flags & ENTRY_REMOVED));
        }
    }
    check(live == entries->live);
    struct chunk *at_next = entries_chunk(entries, entries->next_seq);
    check(entries->tail == at_next);
    if (entries->strays) check_strays(entries);
}
