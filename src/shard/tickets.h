/* tickets: which commit of definitions an answer has to wait for. */
#ifndef SHARD_TICKETS_H
#define SHARD_TICKETS_H

#include "shard/shard.h"

/* The newest commit that has rows, while it is not stable; else 0. Any thread. */
uint64_t tickets_unstable(const struct broker *broker);

/* The same for a change that had nothing to do: 0 when what it names is not durable. The caller
 * holds the lock under which it found that there was nothing to do. */
uint64_t tickets_of_found(
    const struct broker *broker, const struct vhost *vhost, const struct change *change);

/* True when the row of this binding would have both of its ends. Under the lock. */
bool tickets_binding_is_durable(const struct vhost *vhost, const struct change *change);

#endif
