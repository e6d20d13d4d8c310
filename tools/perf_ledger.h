/* perf_ledger: which messages of which producer have come out of one queue.
 *
 * A message of at least STAMP_BYTES begins with a stamp: the producer's number in the upper 20 bits
 * and its count of messages to this destination in the lower 44, then the time it was sent. Each
 * queue has a ledger with one track per producer: everything below `low` has arrived, and a ring of
 * bits tells which of the later ones have. */
#ifndef TOOLS_PERF_LEDGER_H
#define TOOLS_PERF_LEDGER_H

#include "base/base.h"

enum {
    STAMP_BYTES = 16,
    STAMP_SEQUENCE_BITS = 44,
    STAMP_PRODUCERS_MAX = 1 << 20,
};

struct stamp {
    uint32_t producer;
    uint64_t sequence;
    uint64_t sent_ns; /* the monotonic clock of this machine */
};

/* Writes a stamp over the first STAMP_BYTES of a body. */
static inline void stamp_write(uint8_t *body, struct stamp stamp) {
    uint64_t words[2] = {
        (uint64_t)stamp.producer << STAMP_SEQUENCE_BITS | stamp.sequence, stamp.sent_ns};
    memcpy(body, words, sizeof words);
}

/* Reads the stamp of a body of at least STAMP_BYTES. */
static inline struct stamp stamp_read(const uint8_t *body) {
    uint64_t words[2];
    memcpy(words, body, sizeof words);
    return (struct stamp){
        .producer = (uint32_t)(words[0] >> STAMP_SEQUENCE_BITS),
        .sequence = words[0] & ((1ull << STAMP_SEQUENCE_BITS) - 1),
        .sent_ns = words[1],
    };
}

struct track {
    uint64_t low;      /* every sequence below has arrived, or was given up */
    uint64_t received; /* different messages */
    uint64_t *bits;    /* which of low, low + 1, ... have arrived; NULL while none is ahead */
    uint64_t capacity; /* bits in the ring, a power of two */
    uint64_t ahead;    /* bits that are set */
};

struct ledger {
    struct track *tracks; /* one per producer */
    uint32_t producers;
};

void ledger_init(struct ledger *ledger, uint32_t producers);
void ledger_deinit(struct ledger *ledger);

/* Notes one that is not the next in its track; false when it had arrived before. */
bool ledger_note_ahead(struct track *track, uint64_t sequence);

/* Notes an arrival; false when the message had arrived before. */
static inline bool ledger_note(struct ledger *ledger, uint32_t producer, uint64_t sequence) {
    struct track *track = &ledger->tracks[producer];
    if (sequence != track->low || track->ahead != 0) return ledger_note_ahead(track, sequence);
    track->low++;
    track->received++;
    return true;
}

#endif
