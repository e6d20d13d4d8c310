/* sharing: messages that several queues have, gathered with all their places. */
#include "shard/sharing.h"

#include "base/memory.h"

enum { TARGETS_MIN = 4 };

void sharing_init(struct sharing *sharing) {
    *sharing = (struct sharing){.by_message = {0}};
    fifo_init(&sharing->list, sizeof(struct shared *));
}

void sharing_deinit(struct sharing *sharing, struct message_pool *pool) {
    while (sharing_first(sharing))
        sharing_drop(sharing, pool);
    fifo_deinit(&sharing->list);
    map_deinit(&sharing->by_message);
}

static uint64_t hash_of(const struct message *message) {
    return map_hash(bytes_of(&message, sizeof(struct message *)), 0);
}

static struct shared *find(const struct sharing *sharing, const struct message *message) {
    struct map_probe probe = map_probe(&sharing->by_message, hash_of(message));
    struct shared *shared = NULL;
    while ((shared = map_probe_next(&probe)) != NULL) {
        /* A record names so many places and no more: then there is another one. */
        if (shared->message == message && shared->count < RECORD_TARGETS_MAX) return shared;
    }
    return NULL;
}

bool sharing_put(struct sharing *sharing, struct message *message,
    const struct record_target *target, uint32_t move) {
    struct shared *shared = find(sharing, message);
    bool new = shared == NULL;
    if (new) {
        shared = NEW(struct shared);
        shared->message = message;
        message_ref(message, 1);
        map_put(&sharing->by_message, hash_of(message), shared);
        *(struct shared **)fifo_put(&sharing->list) = shared;
    }
    if (shared->count == shared->capacity) {
        shared->capacity = shared->capacity ? 2 * shared->capacity : TARGETS_MIN;
        shared->targets = mem_resize(shared->targets, shared->capacity * sizeof *shared->targets);
        shared->moves = mem_resize(shared->moves, shared->capacity * sizeof *shared->moves);
    }
    shared->moves[shared->count] = move;
    shared->targets[shared->count++] = *target;
    return new;
}

struct shared *sharing_first(const struct sharing *sharing) {
    struct shared **first = fifo_first(&sharing->list);
    return first ? *first : NULL;
}

void sharing_drop(struct sharing *sharing, struct message_pool *pool) {
    struct shared *shared = sharing_first(sharing);
    check(shared != NULL);
    fifo_drop(&sharing->list);
    map_remove(&sharing->by_message, hash_of(shared->message), shared);
    message_unref(pool, shared->message);
    mem_free(shared->targets);
    mem_free(shared->moves);
    mem_free(shared);
}
