/* fetch: reading a kept message where its shelf says that it lies, without the broker's own reader.
 */
#ifndef SIM_FETCH_H
#define SIM_FETCH_H

#include "shard/queue_host.h"

struct world;

/* The message of `seq`, which the queue of this slot keeps: from memory, or from disk. With a
 * reference that goes back by fetch_release; NULL when it is not where it should be. */
struct message *fetch_message(struct world *world, const struct queue_slot *slot, uint64_t seq);

/* Whether a reader that passes over bad blocks would find the message on disk, with what has been
 * sick in this life. */
bool fetch_is_readable(struct world *world, const struct queue_slot *slot, uint64_t seq);

/* Takes it back; NULL is fine. */
void fetch_release(struct world *world, const struct queue_slot *slot, struct message *message);

#endif
