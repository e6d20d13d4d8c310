/* summary: what a journal file or a segment holds, per queue and priority, so that a sealed file
 * can be judged without reading its messages. It is written as INDEX records at the file's end
 * (store/file_index.h). */
#ifndef STORE_SUMMARY_H
#define STORE_SUMMARY_H

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

/* Writes SUMMARY_BYTES. */
void summary_encode(const struct summary *summary, uint8_t *at);

/* The number of summaries in the body of an INDEX record. */
uint32_t summary_count(struct bytes body);

/* One of them; `at` is below summary_count. */
struct summary summary_decode(struct bytes body, uint32_t at);

#endif
