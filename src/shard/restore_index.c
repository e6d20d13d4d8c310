/* restore_index: which queue an id of the last run is now; made by loading, of use to recovery. */
#include "shard/restore_index.h"

#include "base/memory.h"

void restore_index_add(struct restore_index *index, uint64_t id, queue_ref queue) {
    check(id != 0);
    check(queue != 0);
    check(index->count == 0 || index->entries[index->count - 1].id < id);
    if (index->count == index->capacity) {
        index->capacity = index->capacity ? index->capacity * 2 : 64;
        index->entries = mem_resize(index->entries, index->capacity * sizeof *index->entries);
    }
    index->entries[index->count++] = (struct restore_entry){id, queue};
}

queue_ref restore_index_find(const struct restore_index *index, uint64_t id) {
    size_t first = 0;
    size_t end = index->count;
    while (first < end) {
        size_t middle = first + (end - first) / 2;
        if (index->entries[middle].id == id) return index->entries[middle].queue;
        if (index->entries[middle].id < id)
            first = middle + 1;
        else
            end = middle;
    }
    return 0;
}

void restore_index_deinit(struct restore_index *index) {
    mem_free(index->entries);
    *index = (struct restore_index){0};
}
