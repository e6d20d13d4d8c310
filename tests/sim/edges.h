/* edges: how often a run came to what is rare by nature and has to be met: messages that go out of
 * memory and come back, files that are kept in place, memory that is short.
 *
 * The broker's own counters tell some of it; the rest is counted where it happens, between the
 * broker's functions (sim/seam_pager.c). */
#ifndef SIM_EDGES_H
#define SIM_EDGES_H

#include "base/base.h"

struct world;

/* EDGE(name, what happened) */
#define EDGES                                                                                      \
    EDGE(paged_out, "messages paged out")                                                          \
    EDGE(paged_in, "messages paged in")                                                            \
    EDGE(given, "messages given back to their queues, by that or for their files to go")           \
    EDGE(unacked_out, "unacked messages paged out")                                                \
    EDGE(folded, "chunks of messages folded")                                                      \
    EDGE(restored, "messages restored")                                                            \
    EDGE(gets_parked, "gets parked")                                                               \
    EDGE(reads_failed, "reads that failed")                                                        \
    EDGE(spilled, "messages spilled")                                                              \
    EDGE(spill_failed, "spill files that could not be made")                                       \
    EDGE(lost, "messages lost")                                                                    \
    EDGE(files_kept, "files kept in place")                                                        \
    EDGE(files_broken, "files that could not be emptied")                                          \
    EDGE(facts_sliced, "turns in which a queue's facts did not come to their end")                 \
    EDGE(facts_bits, "records that say what is settled as bits")                                   \
    EDGE(pressed, "turns with memory short")

enum edge {
#define EDGE(name, text) EDGE_##name,
    EDGES
#undef EDGE
        EDGE_COUNT
};

/* How often each was come to: in one run, or in many. */
struct edge_counts {
    uint64_t times[EDGE_COUNT];
    uint64_t seeds[EDGE_COUNT]; /* in so many at least once */
    uint64_t disks;             /* seeds that have a disk */
};

/* From now on the broker finds that its memory is short, whatever it uses; or it looks itself. */
void edges_press(bool pressed);
bool edges_pressed(void);

/* A run begins. */
void edges_begin(struct world *world);

/* The one that runs. */
struct world *edges_world(void);

/* It has come to an edge so many times. */
void edges_add(enum edge edge, uint64_t times);

/* The broker is about to be freed, or to take turns as a ghost: what it has counted. */
void edges_take(const struct world *world);

/* Gives what the run has come to. */
void edges_end(const struct world *world, struct edge_counts *ret_counts);

/* Adds the counts of a run, or of many. */
void edges_sum(struct edge_counts *sum, const struct edge_counts *more);

/* A line for each. */
void edges_print(const struct edge_counts *counts);

#endif
