/* restore: what was durable in the last run is made again, before any thread runs. */
#ifndef SHARD_RESTORE_H
#define SHARD_RESTORE_H

#include "shard/restore_index.h"
#include "shard/scribe.h"

/* Reads all rows, makes what they say, and tells the id of each queue in `index`. Rows that belong
 * to every broker and are missing are put with the scribe's open batch. Gives 0, or a negative
 * errno with what is wrong; then some of it has been made, and the broker is of no use. */
int restore_definitions(struct broker *broker, struct definitions *definitions,
    struct scribe *scribe, struct restore_index *index,
    struct metadata_problem *ret_problem) MUST_USE;

#endif
