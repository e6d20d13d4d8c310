/* settlements: what a queue that is kept on disk has done with, for whoever keeps it.
 *
 * The queue notes runs of sequence numbers as it applies ops; the keeper takes them right after. A
 * settled run has to be recorded. A dropped message is not held any more: what kept it counts one
 * less. Most messages are settled and dropped at once; of a long settlement or a purge the run is
 * settled at once, and its messages are dropped by and by. */
#ifndef CORE_SETTLEMENTS_H
#define CORE_SETTLEMENTS_H

#include "core/ranges.h"

/* Runs in the order of their coming; neighbours are one. */
struct settled_runs {
    struct range *list;
    uint32_t count;
    uint32_t capacity;
};

/* All zero is empty. */
struct settlements {
    struct settled_runs settled; /* may name messages that nobody keeps: they do not matter */
    struct settled_runs dropped; /* exactly the kept ones */
};

/* Gives the memory back. */
void settlements_deinit(struct settlements *settlements);

/* The slow part of settled_runs_put. */
void settled_runs_add(struct settled_runs *runs, uint64_t seq, uint64_t count);

/* Appends `count` seqs from `seq` on. */
static inline void settled_runs_put(struct settled_runs *runs, uint64_t seq, uint64_t count) {
    if (runs->count != 0) {
        struct range *last = &runs->list[runs->count - 1];
        if (last->seq + last->count == seq) {
            last->count += count;
            return;
        }
    }
    settled_runs_add(runs, seq, count);
}

/* Forgets all; the memory stays for the next ones. */
static inline void settlements_clear(struct settlements *settlements) {
    settlements->settled.count = 0;
    settlements->dropped.count = 0;
}

#endif
