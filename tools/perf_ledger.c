/* perf_ledger: which messages of which producer have come out of one queue. */
#include "tools/perf_ledger.h"

#include "base/memory.h"

enum {
    AHEAD_BITS_MIN = 4096,
    AHEAD_BITS_MAX = 1 << 26, /* 8 MiB a track; a gap that is older is a loss whatever follows */
};

void ledger_init(struct ledger *ledger, uint32_t producers) {
    ledger->producers = producers;
    ledger->tracks = mem_new_array(producers, sizeof *ledger->tracks);
}

void ledger_deinit(struct ledger *ledger) {
    for (uint32_t i = 0; i < ledger->producers; i++) {
        mem_free(ledger->tracks[i].bits);
    }
    mem_free(ledger->tracks);
}

static uint64_t *word_of(const struct track *track, uint64_t sequence) {
    return &track->bits[(sequence & (track->capacity - 1)) / 64];
}

static bool bit_is_set(const struct track *track, uint64_t sequence) {
    return *word_of(track, sequence) >> (sequence & 63) & 1;
}

static void grow(struct track *track, uint64_t capacity) {
    struct track old = *track;
    track->capacity = capacity;
    track->bits = mem_new_array(capacity / 64, sizeof *track->bits);
    for (uint64_t s = old.low; s < old.low + old.capacity; s++) {
        if (bit_is_set(&old, s)) *word_of(track, s) |= 1ull << (s & 63);
    }
    mem_free(old.bits);
}

/* Moves low up by one, over something that arrived or that is given up. */
static void step(struct track *track) {
    uint64_t bit = 1ull << (track->low & 63);
    uint64_t *word = word_of(track, track->low);
    if (*word & bit) track->ahead--;
    *word &= ~bit;
    track->low++;
}

static void make_room(struct track *track, uint64_t sequence) {
    uint64_t capacity = track->capacity ? track->capacity : AHEAD_BITS_MIN;
    while (capacity < AHEAD_BITS_MAX && sequence - track->low >= capacity) {
        capacity *= 2;
    }
    if (capacity != track->capacity) grow(track, capacity);
    if (sequence - track->low >= 2 * capacity) { /* far beyond the ring: nothing of it is kept */
        memset(track->bits, 0, capacity / 8);
        track->ahead = 0;
        track->low = sequence - capacity + 1;
    }
    while (sequence - track->low >= capacity) {
        step(track);
    }
}

bool ledger_note_ahead(struct track *track, uint64_t sequence) {
    if (sequence < track->low) return false;
    make_room(track, sequence);
    if (bit_is_set(track, sequence)) return false;
    *word_of(track, sequence) |= 1ull << (sequence & 63);
    track->ahead++;
    track->received++;
    while (track->ahead != 0 && bit_is_set(track, track->low)) {
        step(track);
    }
    return true;
}
