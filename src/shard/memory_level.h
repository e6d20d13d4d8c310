/* memory_level: how much memory the process has, and when that is too much.
 *
 *     resident memory = what the shards' pools of messages hold + all else, when last looked at
 *
 * Shards tell what their pools hold as it changes; somebody who watches tells what is resident now
 * and then, from which follows what there is beside. Publishers are blocked above the limit. They
 * go on a little below it, once somebody has looked; or when most of what is resident is idle: held
 * for messages that have gone, which new ones may use, but between some that live. Then what is
 * resident is the limit until it has become less, so that it does not grow again. */
#ifndef SHARD_MEMORY_LEVEL_H
#define SHARD_MEMORY_LEVEL_H

#include <stdatomic.h>

#include "core/message.h"

/* Of one pool, in bytes. */
struct pool_figures {
    int64_t messages; /* that are in use */
    int64_t held;     /* for them, and what was */
    int64_t idle;     /* the part that is not used */
};

/* Somebody who looks at what is resident now and then. */
struct memory_watcher {
    void (*hurry)(void *context); /* has it look at once; any thread */
    void *context;
};

struct memory_level {
    uint64_t limit;           /* bytes; not written while there are several threads */
    _Atomic int64_t messages; /* of all shards, as far as they have told */
    _Atomic int64_t held;
    _Atomic int64_t idle;
    _Atomic int64_t beside;  /* what the process has beside what is held */
    _Atomic int64_t allowed; /* what may be resident: the limit, or more for a while */
    struct memory_watcher *_Atomic watcher; /* borrowed; or NULL */
    _Atomic bool looks_soon;                /* the watcher's: it does not have to be hurried */
    _Atomic bool watched;                   /* somebody looks; nobody: only messages count */
    _Atomic bool alarm;
    _Atomic uint32_t trims; /* how often the shards have been asked to give back what is idle */
};

/* Nothing is known yet. */
void memory_level_init(struct memory_level *level, uint64_t limit);

/* A shard's pool: `told`, what it has told before, is brought up to date when it has moved far
 * enough or `at_once` is set. True when that has changed the alarm: the other shards have to look.
 * Any thread. */
bool memory_level_tell(struct memory_level *level, struct pool_figures *told,
    const struct message_pool *pool, bool at_once);

/* The process has so many bytes resident now. True when that has changed the alarm: then all shards
 * have to be woken. One thread. */
bool memory_level_set_resident(struct memory_level *level, uint64_t bytes);

/* Bytes that are resident, by what is known. Any thread. */
uint64_t memory_level_used(const struct memory_level *level);

/* Half of the limit is in use, not counting what is idle, or nearly all of it with that. Any
 * thread. */
bool memory_level_is_pressed(const struct memory_level *level);

#endif
