/* memory_definitions: definitions in memory, for tests: committed when told, failing when told, and
 * there after a crash of whoever used them. It holds rows to the rules of the real tables. */
#ifndef TESTS_UNIT_MEMORY_DEFINITIONS_H
#define TESTS_UNIT_MEMORY_DEFINITIONS_H

#include "shard/definitions.h"

struct memory_row;

struct memory_definitions {
    struct definitions definitions;
    struct memory_row *rows; /* stable ones, in the order of their making; queues by rising id */
    size_t count;
    struct metadata_batch pending; /* handed over, not stable */
    uint32_t ids;                  /* asked for with it */
    uint64_t id_next;              /* stable */
    bool under_way;
    bool ended; /* and not heard of yet */
    struct definitions_outcome outcome;
    uint64_t commits; /* that were handed over */
};

void memory_definitions_init(struct memory_definitions *memory);
void memory_definitions_deinit(struct memory_definitions *memory);

/* Ends the commit that is under way: with 0 it becomes stable, else it fails with that error. */
void memory_definitions_end(struct memory_definitions *memory, int error);

/* Its user is gone. What was under way is there if `committed` says so, which both may be. */
void memory_definitions_crash(struct memory_definitions *memory, bool committed);

/* True when a stable row has these first two parts of a key; NULL is any. */
bool memory_definitions_have(const struct memory_definitions *memory, enum metadata_kind kind,
    const char *second, const char *third);

/* How many stable rows there are of a kind. */
size_t memory_definitions_count(const struct memory_definitions *memory, enum metadata_kind kind);

#endif
