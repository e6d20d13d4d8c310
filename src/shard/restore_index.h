/* restore_index: which queue an id of the last run is now; made by loading, of use to recovery. */
#ifndef SHARD_RESTORE_INDEX_H
#define SHARD_RESTORE_INDEX_H

#include "core/ref.h"

struct restore_entry {
    uint64_t id;
    queue_ref queue;
};

/* All zero is an empty one. */
struct restore_index {
    struct restore_entry *entries; /* by rising id */
    size_t count;
    size_t capacity;
};

/* Adds a queue, whose id must be above those before. */
void restore_index_add(struct restore_index *index, uint64_t id, queue_ref queue);

/* The queue of an id, or 0 when no queue has it. */
queue_ref restore_index_find(const struct restore_index *index, uint64_t id);

/* Releases the memory; the index is empty then. */
void restore_index_deinit(struct restore_index *index);

#endif
