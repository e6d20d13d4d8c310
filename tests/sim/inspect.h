/* inspect: what a recovered broker holds, compared with what the card says it may and must. */
#ifndef SIM_INSPECT_H
#define SIM_INSPECT_H

#include "core/queue.h"

struct world;
struct card_queue;
struct letter;

/* Looks into every durable queue before anybody takes a turn; from then on the card knows exactly
 * what is there. */
void inspect_recovered(struct world *world);

/* Notes what has left the durable queues for good, if no mail is under way; and, once the journals
 * are stable up to here, that no crash may bring it back. */
void inspect_departed(struct world *world);

/* Before a crash: what has become stable since then. */
void inspect_stable(struct world *world);

/* Before a crash: of which queues deliveries went unrecorded. */
void inspect_blind(struct world *world);

/* The message that would leave the queue next is given up: it is away, and cannot be read. */
void inspect_lost(struct world *world, const struct queue *queue);

/* At rest: files with messages that were given up in this life are as they were. */
void inspect_lost_files(struct world *world);

/* The id of the queue if the letter waits in it, or is unacked there; else 0. */
uint64_t inspect_waiting(
    struct world *world, const struct card_queue *known, const struct letter *letter);

#endif
