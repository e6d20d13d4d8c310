/* entries: the messages of one queue by sequence number, dense where traffic is, sparse behind it.
 *
 *   strays (sorted array)          ring of chunks, 64 entries each
 *   [7] [912] [3001]     ...      | 80 | -- | 82 | 83 |
 *                                   ^first          ^tail: where the next one goes
 *
 * New entries go into the tail chunk. A chunk without entries is given back at once, so an empty
 * queue holds none, and the ring's front moves past such gaps. Where only a few entries are left
 * behind of what is being delivered (a consumer that never settles), they are moved one by one into
 * `strays`, so that neither chunks nor the ring grow with the distance: beyond the dense part,
 * memory follows the number of entries.
 *
 * Whether an entry is ready is for the queue to know (by its cursor and its runs of requeued ones);
 * here an entry is live, or it is not. The message of a kept or spilled one may be on disk only,
 * and then entry->message is NULL. A chunk of which that holds for all 64, and that has nothing
 * else to remember, is folded: its place in the ring says so, and it takes no other memory. */
#ifndef CORE_ENTRIES_H
#define CORE_ENTRIES_H

#include "core/message.h"
#include "core/slab.h"

enum {
    CHUNK_ENTRIES = 64,  /* one bit each in a word */
    RING_SMALL = 2,      /* chunks that the ring can hold without memory of its own */
    SPARSE_SPAN_MIN = 4, /* chunks behind the cursor, from which on sparseness is looked at */
    SPARSE_ENTRIES = 4   /* fewer entries per chunk than this are sparse */
};

/* entry.flags */
enum {
    ENTRY_UNACKED = 1,
    ENTRY_REDELIVERED = 2,
    ENTRY_REMOVED = 4, /* strays only: where a removed one was */
    ENTRY_KEPT = 8,    /* on disk, or on its way there */
    ENTRY_SPILLED = 16 /* not kept, and away: on disk until it is back, or this process ends */
};

struct entry {
    struct message *message; /* with one reference; NULL: it is on disk only */
    uint32_t body_size;      /* 0 for one that was folded */
    uint8_t flags;
    uint8_t attempts; /* deliveries that came back, saturating */
};

static_assert(sizeof(struct entry) == 16, "what a waiting message costs beside itself");

struct chunk {
    uint64_t live; /* bit i: entries[i] is there */
    uint64_t unused;
    struct entry entries[CHUNK_ENTRIES];
};

struct stray {
    uint64_t seq;
    struct entry entry;
};

/* Sorted by seq; appended at the end, removed anywhere. */
struct strays {
    struct stray *list;
    uint32_t first; /* index of the first that is not removed */
    uint32_t count; /* indexes in use, removed ones included */
    uint32_t capacity;
    uint32_t live;
};

struct entries {
    struct chunk **ring;
    uint32_t ring_capacity; /* a power of two */
    uint32_t ring_first;    /* index in ring of chunk number `first` */
    uint32_t span;          /* chunk numbers covered, gaps included; the first is none */
    struct chunk *tail;     /* holds next_seq, or NULL while there is no such chunk */
    uint64_t first;         /* number (seq / 64) of the ring's first chunk */
    uint64_t next_seq;      /* of the next entry; the first is 1 */
    uint64_t live;          /* entries in the ring, those in folded chunks included */
    struct strays *strays;  /* NULL while there are none */
    struct slab_class *chunks;
    struct chunk *small[RING_SMALL];
};

/* `chunks` is where chunks are taken from, borrowed. */
void entries_init(struct entries *entries, struct slab_class *chunks);

/* The entries have been removed. */
void entries_deinit(struct entries *entries);

/* Makes the chunk that next_seq belongs to. */
struct chunk *entries_open_tail(struct entries *entries);

/* The next entry gets `seq`, which is not below next_seq: those between were never there. For a
 * queue that is read back; nothing may be unacked or ready yet. */
void entries_skip(struct entries *entries, uint64_t seq);

/* Gives chunk `number` back, which has lost its last entry. */
void entries_close_chunk(struct entries *entries, uint64_t number);

/* entries_find and entries_remove for what is not in the ring. */
struct entry *entries_find_stray(const struct entries *entries, uint64_t seq);
/* The stray must be there. */
void entries_remove_stray(struct entries *entries, uint64_t seq);

/* Moves the oldest entries to strays while those before `cursor` are sparse, a bounded number of
 * chunks per call. */
void entries_move_strays(struct entries *entries, uint64_t cursor);

/* The first entry with *seq <= its seq < end, whose seq is put into *seq; NULL when there is none.
 * It may be removed while walking. Folded chunks are passed over. */
struct entry *entries_next(const struct entries *entries, uint64_t *seq, uint64_t end);

/* The same, but stops at folded chunks as well, at each place in them: then *ret_entry is NULL. */
bool entries_next_any(
    const struct entries *entries, uint64_t *seq, uint64_t end, struct entry **ret_entry);

/* The first chunk from *number on that has entries, whose number is put into *number: bit i of
 * *ret_live says whether its entry i is there. False when there is none. Looks at a bounded number
 * of places: where it comes to nothing within that, *ret_live is 0, and the caller may go on from
 * *number. */
bool entries_next_chunk(const struct entries *entries, uint64_t *number, uint64_t *ret_live);

/* Folds chunk `number` if it is full and every message in it is on disk only. */
void entries_fold(struct entries *entries, uint64_t number);

/* The same as entries_put for CHUNK_ENTRIES of them at once that are on disk only; next_seq must be
 * the first of a chunk. */
void entries_put_folded(struct entries *entries, bool redelivered);

/* Gives the entries of a folded chunk memory again. */
struct chunk *entries_unfold(struct entries *entries, uint64_t number);

/* Removes a folded chunk and all that is in it. */
void entries_remove_folded(struct entries *entries, uint64_t number);

/* Checks the invariants. */
void entries_check(const struct entries *entries);

/* Number of entries anywhere. */
static inline uint64_t entries_count(const struct entries *entries) {
    return entries->live + (entries->strays ? entries->strays->live : 0);
}

/* Where chunk `number` hangs in the ring, which covers it. */
static inline struct chunk **entries_slot(const struct entries *entries, uint64_t number) {
    uint64_t index = entries->ring_first + (number - entries->first);
    return &entries->ring[index & (entries->ring_capacity - 1)];
}

/* What hangs in the place of a folded chunk whose entries all have these flags: no address, as it
 * is odd. They are kept ones or spilled ones, redelivered or not. */
static inline struct chunk *entries_folded_mark(uint8_t flags) {
    return (struct chunk *)(uintptr_t)(1 | (flags & ENTRY_REDELIVERED ? 2 : 0) |
                                       (flags & ENTRY_SPILLED ? 4 : 0));
}

static inline uint8_t entries_mark_flags(const struct chunk *mark) {
    uintptr_t bits = (uintptr_t)mark;
    return (uint8_t)((bits & 2 ? ENTRY_REDELIVERED : 0) | (bits & 4 ? ENTRY_SPILLED : ENTRY_KEPT));
}

static inline bool entries_is_folded(const struct chunk *chunk) {
    return (uintptr_t)chunk & 1;
}

/* Whether there is a chunk and it has memory. */
static inline bool entries_is_plain(const struct chunk *chunk) {
    return (uintptr_t)chunk > 7;
}

/* The chunk that may hold `seq`, or NULL; also a folded one's mark. */
static inline struct chunk *entries_chunk(const struct entries *entries, uint64_t seq) {
    uint64_t number = seq / CHUNK_ENTRIES;
    if (number - entries->first >= entries->span) return NULL; /* also when below first */
    return *entries_slot(entries, number);
}

/* Whether `seq` is in a folded chunk: then it is there, and its message is not in memory. */
static inline bool entries_in_folded(const struct entries *entries, uint64_t seq) {
    return entries_is_folded(entries_chunk(entries, seq));
}

/* Appends `message` with these flags, taking the caller's reference; gives its seq. NULL for one
 * that is on disk only. */
static inline uint64_t entries_put(
    struct entries *entries, struct message *message, uint8_t flags) {
    uint64_t seq = entries->next_seq;
    struct chunk *chunk = entries->tail;
    if (__builtin_expect(chunk == NULL, 0)) chunk = entries_open_tail(entries);
    uint32_t at = seq % CHUNK_ENTRIES;
    uint32_t body_size = message ? message->body_size : 0;
    entries->next_seq = seq + 1;
    chunk->live |= (uint64_t)1 << at;
    chunk->entries[at] = (struct entry){.message = message, .body_size = body_size, .flags = flags};
    entries->live++;
    if (at == CHUNK_ENTRIES - 1) entries->tail = NULL;
    return seq;
}

/* The entry, or NULL when there is none of that seq; valid until entries are put or removed. It is
 * not looked for in folded chunks. */
static inline struct entry *entries_find(const struct entries *entries, uint64_t seq) {
    struct chunk *chunk = entries_chunk(entries, seq);
    if (__builtin_expect(!entries_is_plain(chunk), 0))
        return chunk ? NULL : entries_find_stray(entries, seq);
    uint32_t at = seq % CHUNK_ENTRIES;
    return chunk->live >> at & 1 ? &chunk->entries[at] : NULL;
}

/* Forgets the entry, which must be there; its reference has been taken by the caller. */
static inline void entries_remove(struct entries *entries, uint64_t seq) {
    struct chunk *chunk = entries_chunk(entries, seq);
    if (__builtin_expect(chunk == NULL, 0)) {
        entries_remove_stray(entries, seq);
        return;
    }
    check(entries_is_plain(chunk));
    uint64_t bit = (uint64_t)1 << (seq % CHUNK_ENTRIES);
    check(chunk->live & bit);
    chunk->live &= ~bit;
    entries->live--;
    if (chunk->live == 0) entries_close_chunk(entries, seq / CHUNK_ENTRIES);
}

/* Whether the entries before `cursor`, the seq from which on all are there, have become sparse. */
static inline bool entries_sparse(const struct entries *entries, uint64_t cursor) {
    uint64_t span = cursor / CHUNK_ENTRIES - entries->first;
    uint64_t behind = entries->live - (entries->next_seq - cursor);
    return span >= SPARSE_SPAN_MIN && behind < span * SPARSE_ENTRIES;
}

/* To be called now and then, with the seq from which on all entries are there. */
static inline void entries_tidy(struct entries *entries, uint64_t cursor) {
    if (__builtin_expect(entries_sparse(entries, cursor), 0)) entries_move_strays(entries, cursor);
}

#endif
