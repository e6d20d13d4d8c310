/* memory_watch: looks at what the process has resident, and gives memory back after a burst.
 *
 * Between two looks the shards tell what their messages have (shard/memory_level.h); what there is
 * beside them, connections, queues, what the allocator keeps, changes slowly. */
#ifndef DAEMON_MEMORY_WATCH_H
#define DAEMON_MEMORY_WATCH_H

#include "shard/shard.h"

struct memory_watch;

/* Looks for the first time and goes on on a thread of its own. `changed` is called by that thread
 * when the shards have to look: at the alarm, or for what they may give back. The broker is
 * borrowed. */
struct memory_watch *memory_watch_new(
    struct broker *broker, void (*changed)(void *context), void *context);

/* Ends the thread and releases it; the broker is still there. NULL is fine. */
void memory_watch_free(struct memory_watch *watch);

#endif
