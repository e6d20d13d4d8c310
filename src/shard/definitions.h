/* definitions: what keeps the durable definitions, as the registrar sees it.
 *
 * The registrar gathers rows and hands them over in batches, one at a time; while one is being
 * committed, the next one gathers. Who keeps them (shard/definitions_thread.h, or memory in tests)
 * says when a commit is done, and wakes the registrar for it. */
#ifndef SHARD_DEFINITIONS_H
#define SHARD_DEFINITIONS_H

#include "store/metadata.h"
#include "store/metadata_batch.h"

/* How a commit went. */
struct definitions_outcome {
    int error;           /* 0: it is stable; else a negative errno, and nothing of it is there */
    const char *problem; /* with an error: one line for people; borrowed until the next commit */
    uint64_t id_first;   /* queue ids that were reserved with it, perhaps in spite of an error */
    uint64_t id_count;
};

struct definitions {
    /* Gives every row, parents before what hangs on them; only before the first commit. What
     * `each` gives but 0 ends it and is given back; an error of its own is told in `ret_problem`.
     */
    int (*load)(struct definitions *definitions, metadata_row_fn each, void *context,
        struct metadata_problem *ret_problem);
    /* Begins a commit: of the changes of a batch, which it copies; those of a commit that failed
     * come first. Reserves `ids` queue ids as well. Only while no commit is under way. */
    void (*commit)(
        struct definitions *definitions, const struct metadata_batch *batch, uint32_t ids);
    /* True once when the commit is done, with how it went. */
    bool (*done)(struct definitions *definitions, struct definitions_outcome *ret_outcome);
};

#endif
