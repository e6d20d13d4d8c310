/* credit: what may be under way from one shard's queues to one connection, in bytes.
 *
 * It belongs to the connection; all its consumers at this shard share it. While it is used up,
 * those consumers wait here instead of in their queues, so that queues do not look at them in vain.
 */
#ifndef CORE_CREDIT_H
#define CORE_CREDIT_H

#include "base/list.h"

struct credit {
    int64_t bytes;  /* may pass below zero by one message */
    uint32_t users; /* consumers that refer to it */
    struct list waiting;
};

void credit_init(struct credit *credit, int64_t bytes);

/* Gives `bytes` back. When there is credit again, the waiting consumers return to their queues, and
 * each of those queues is put last in `pump` (queue_in_pump) unless it is in a list already. */
void credit_add(struct credit *credit, int64_t bytes, struct list *pump);

#endif
