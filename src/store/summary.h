/* summary: what a journal file or a segment holds, per queue and priority, so that a sealed file
 * can be judged without reading its messages. It is written as INDEX records at the file's end. */
#ifndef STORE_SUMMARY_H
#define STORE_SUMMARY_H

#include "base/map.h"
#include "store/record.h"

enum { SUMMARY_BYTES = 48 }; /* of one, on disk */

/* One queue's messages of one priority in one file. Without any, the two seqs are those of a
 * priority's first place. */
struct summary {
    uint64_t queue;
    uint64_t first_seq; /* the lowest published here */
    uint64_t last_seq;  /* the highest */
    uint64_t count;     /* how many places were taken here */
    uint64_t bytes; /* of the records that took them, one with several targets counts for each, and
                       of their parts, which may be here without them */
    uint64_t settled; /* how many places were settled by records in this file */
};

/* All zero is an empty table. */
struct summaries {
    struct map by_run;
    struct summary *all; /* in the order of their first appearance */
    uint32_t count;
    uint32_t capacity;
};

/* Forgets everything and gives the memory back. */
void summaries_deinit(struct summaries *summaries);

/* Forgets everything. */
void summaries_clear(struct summaries *summaries);

/* Counts one target of a record: PUB, PART and ACK count, other types do not. `size` is what the
 * record takes on disk. */
void summaries_add(
    struct summaries *summaries, uint8_t type, const struct record_target *target, size_t size);

/* Writes the summaries from `from` on, as many as fit into `size` bytes. Gives how many. */
uint32_t summaries_encode(
    const struct summaries *summaries, uint32_t from, uint8_t *at, size_t size);

/* The number of summaries in the body of an INDEX record. */
uint32_t summary_count(struct bytes body);

/* One of them; `at` is below summary_count. */
struct summary summary_decode(struct bytes body, uint32_t at);

#endif
