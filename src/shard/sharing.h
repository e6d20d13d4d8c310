/* sharing: messages that several queues have, gathered with all their places, so that a copy of
 * them is one as well. */
#ifndef SHARD_SHARING_H
#define SHARD_SHARING_H

#include "base/fifo.h"
#include "base/map.h"
#include "core/message.h"
#include "store/record.h"

/* One message, with a reference, and its places. */
struct shared {
    struct message *message;
    struct record_target *targets;
    uint32_t *moves; /* the owner's, for each target */
    uint32_t count;
    uint32_t capacity;
};

struct sharing {
    struct map by_message; /* struct shared by the address of the message */
    struct fifo list;      /* struct shared *, in the order they came */
};

void sharing_init(struct sharing *sharing);

/* Forgets all; references are dropped into `pool`. */
void sharing_deinit(struct sharing *sharing, struct message_pool *pool);

/* Adds a place of a message, which is referenced; `move` is remembered with it. True when the
 * message is new here. */
bool sharing_put(struct sharing *sharing, struct message *message,
    const struct record_target *target, uint32_t move);

/* The first message, or NULL. */
struct shared *sharing_first(const struct sharing *sharing);

/* Forgets the first message; its reference is dropped into `pool`. */
void sharing_drop(struct sharing *sharing, struct message_pool *pool);

#endif
