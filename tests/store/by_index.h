/* by_index: whether reading files by their indexes says the same as reading all of them. */
#ifndef TESTS_STORE_BY_INDEX_H
#define TESTS_STORE_BY_INDEX_H

#include "world.h"

/* A message's place, and where its records are. */
struct index_place {
    uint64_t file; /* its number, and what kind of file it is; see by_index.c */
    uint64_t queue;
    uint64_t seq;
    uint64_t at; /* where its first record begins in the file, or its PUB in another */
    uint64_t end;
    uint32_t checksum; /* of the PUB */
    uint64_t parts;    /* folded over its PARTs, wherever they are */
    bool half;         /* the first of them is in another file */
    bool met;
};

/* Something that is said of a queue. */
struct index_fact {
    uint32_t type;
    uint64_t queue;
    uint64_t seq;
    uint64_t value;
    uint64_t order;
};

/* What a recovery says. */
struct index_view {
    struct index_place *places;
    uint64_t place_count, place_capacity;
    struct index_fact *facts;
    uint64_t fact_count, fact_capacity;
    struct recover_run *runs;
    uint64_t run_count, run_capacity;
    struct index_place open; /* a message of which PARTs were met */
    struct {
        uint64_t queue, seq, value;
    } parts[WORLD_SHARDS_MAX]; /* by writer: those met last, and not in a segment */
    uint64_t order;
};

/* Compares both ways of reading what is on the platter, which must be good, and reads what the
 * indexes are about. */
void by_index_compare(struct world *world);

/* Takes down what is on the platter, which must be good; freed by index_view_deinit. */
void index_view_take(struct world *world, struct index_view *view);
void index_view_deinit(struct index_view *view);

/* Something may be damaged: whatever the indexes lead to is as it was when it was taken down, or
 * known to be bad. */
void by_index_survive(struct world *world, const struct index_view *good);

#endif
