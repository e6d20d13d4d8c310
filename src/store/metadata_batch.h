/* metadata_batch: changes that wait in memory for their commit, one behind the other. */
#ifndef STORE_METADATA_BATCH_H
#define STORE_METADATA_BATCH_H

#include "base/buffer.h"
#include "store/metadata.h"

struct metadata_batch {
    struct buffer bytes;
    uint64_t count;
};

struct metadata_change {
    bool removes; /* else puts */
    struct metadata_row row;
};

void metadata_batch_init(struct metadata_batch *batch);
void metadata_batch_deinit(struct metadata_batch *batch);

/* Copies a change to the end. False, and nothing changed, when it is a row to be put and the batch
 * would have more than METADATA_BATCH_BYTES_MAX. A removal always has room: they follow in any
 * number from one request, the end of an exchange with its bindings, and name no more than what is
 * there. */
bool metadata_batch_add(
    struct metadata_batch *batch, const struct metadata_change *change) MUST_USE;

/* The change at `*at`, and moves on; `*at` is 0 at first. False at the end. The row's bytes are
 * borrowed from the batch. */
bool metadata_batch_next(
    const struct metadata_batch *batch, size_t *at, struct metadata_change *ret_change);

/* Forgets all changes; the memory of a large batch is given back. */
void metadata_batch_clear(struct metadata_batch *batch);

#endif
