/* consumer: who takes messages from a queue, and whose turn it is. */
#include "core/consumer.h"

#include "base/memory.h"

struct consumers *consumers_new(consumer_handle last_handle) {
    struct consumers *consumers = NEW(struct consumers);
    consumers->last_handle = last_handle;
    consumers->table = consumers->own_table;
    consumers->capacity = COUNT_OF(consumers->own_table);
    list_init(&consumers->levels);
    list_init(&consumers->active);
    list_init(&consumers->holders);
    return consumers;
}

void consumers_free(struct consumers *consumers) {
    if (!consumers) return;
    check(consumers->count == 0);
    check(list_empty(&consumers->levels));
    check(list_empty(&consumers->holders));
    if (consumers->table != consumers->own_table) mem_free(consumers->table);
    mem_free(consumers);
}

/* Two handles that differ below the old capacity differ below the new one: nobody collides. */
static void grow_table(struct consumers *consumers) {
    uint32_t capacity = 2 * consumers->capacity;
    struct consumer **table = mem_new_array(capacity, sizeof *table);
    for (uint32_t i = 0; i < consumers->capacity; i++) {
        struct consumer *consumer = consumers->table[i];
        if (consumer) table[consumer->handle & (capacity - 1)] = consumer;
    }
    if (consumers->table != consumers->own_table) mem_free(consumers->table);
    consumers->table = table;
    consumers->capacity = capacity;
}

/* The next serial number whose place is free; a quarter of the places is, so that this is short. */
static consumer_handle next_handle(struct consumers *consumers) {
    if (4 * (consumers->count + 1) > 3 * consumers->capacity) grow_table(consumers);
    do {
        consumers->last_handle++;
    } while (consumers->last_handle == 0 ||
             consumers->table[consumers->last_handle & (consumers->capacity - 1)]);
    return consumers->last_handle;
}

static struct consumer_level *level_for(struct consumers *consumers, int32_t priority) {
    struct list_node *after = &consumers->levels.head;
    list_for (struct consumer_level, level, &consumers->levels, in_levels) {
        if (level->priority == priority) return level;
        if (level->priority < priority) break;
        after = &level->in_levels;
    }
    struct consumer_level *level = &consumers->own_level;
    if (level->count != 0) level = NEW(struct consumer_level);
    level->priority = priority;
    list_init(&level->ring);
    list_put_after(after, &level->in_levels);
    return level;
}

struct consumer *consumers_put(
    struct consumers *consumers, struct queue *queue, const struct op *op, struct credit *credit) {
    check(credit != NULL);
    struct consumer *consumer = NEW(struct consumer);
    consumer->queue = queue;
    consumer->consumers = consumers;
    consumer->level = level_for(consumers, op->consume.priority);
    consumer->level->count++;
    consumer->credit = credit;
    consumer->connection = op->connection;
    consumer->tag_id = op->consume.tag_id;
    consumer->channel = op->channel;
    /* Without acks nothing is ever unacked, so neither prefetch can be reached. */
    consumer->no_ack = op->flags & OP_NO_ACK;
    consumer->shared = !consumer->no_ack && op->flags & OP_SHARED;
    consumer->prefetch = consumer->no_ack ? 0 : op->consume.prefetch;
    consumer->handle = next_handle(consumers);
    consumers->table[consumer->handle & (consumers->capacity - 1)] = consumer;
    consumers->count++;
    credit->users++;
    if (op->flags & OP_EXCLUSIVE) consumers->exclusive = consumer->handle;
    consumer->place = CONSUMER_BLOCKED;
    consumer_activate(consumer);
    return consumer;
}

void consumers_remove(struct consumers *consumers, struct consumer *consumer) {
    struct consumer **place = &consumers->table[consumer->handle & (consumers->capacity - 1)];
    check(*place == consumer);
    consumer_set_tokens(consumer, 0);
    consumer_deactivate(consumer, CONSUMER_BLOCKED);
    *place = NULL;
    consumers->count--;
    if (consumers->exclusive == consumer->handle) consumers->exclusive = 0;
    if (--consumer->level->count == 0) {
        list_remove(&consumer->level->in_levels);
        if (consumer->level != &consumers->own_level) mem_free(consumer->level);
    }
    check(consumer->credit->users != 0);
    consumer->credit->users--;
    mem_free(consumer);
}

struct consumer *consumers_find(const struct consumers *consumers, consumer_handle handle) {
    if (!consumers || handle == 0) return NULL;
    struct consumer *consumer = consumers->table[handle & (consumers->capacity - 1)];
    return consumer && consumer->handle == handle ? consumer : NULL;
}

struct consumer *consumers_find_for(const struct consumers *consumers, const struct op *op) {
    if (op->consumer.consumer != 0) return consumers_find(consumers, op->consumer.consumer);
    for (uint32_t i = 0; consumers && i < consumers->capacity; i++) {
        struct consumer *consumer = consumers->table[i];
        if (consumer && consumer->connection == op->connection &&
            consumer->channel == op->channel && consumer->tag_id == op->consumer.tag_id) {
            return consumer;
        }
    }
    return NULL;
}

struct consumer *consumers_next_lost(struct consumers *consumers) {
    while (consumers->lost_from < consumers->capacity) {
        struct consumer *consumer = consumers->table[consumers->lost_from];
        if (consumer) return consumer;
        consumers->lost_from++;
    }
    return NULL;
}

/* The level's ring has got its first member: it takes its place by priority. */
static void put_in_active(struct consumers *consumers, struct consumer_level *level) {
    struct list_node *after = &consumers->active.head;
    list_for (struct consumer_level, other, &consumers->active, in_active) {
        if (other->priority < level->priority) break;
        after = &other->in_active;
    }
    list_put_after(after, &level->in_active);
}

void consumer_activate(struct consumer *consumer) {
    struct consumer_level *level = consumer->level;
    if (consumer->place == CONSUMER_ACTIVE) return;
    list_remove_if_linked(&consumer->in_turn);
    if (list_empty(&level->ring)) put_in_active(consumer->consumers, level);
    list_put_last(&level->ring, &consumer->in_turn);
    consumer->place = CONSUMER_ACTIVE;
}

void consumer_deactivate(struct consumer *consumer, enum consumer_place place) {
    check(place != CONSUMER_ACTIVE);
    list_remove_if_linked(&consumer->in_turn);
    if (consumer->place == CONSUMER_ACTIVE && list_empty(&consumer->level->ring)) {
        list_remove(&consumer->level->in_active);
    }
    if (place == CONSUMER_WAITING) list_put_last(&consumer->credit->waiting, &consumer->in_turn);
    consumer->place = (uint8_t)place;
}

void consumer_set_tokens(struct consumer *consumer, uint32_t tokens) {
    if (tokens != 0 && consumer->tokens == 0) {
        list_put_last(&consumer->consumers->holders, &consumer->in_holders);
    }
    if (tokens == 0) list_remove_if_linked(&consumer->in_holders);
    consumer->tokens = tokens;
}

void consumer_settled(struct consumer *consumer, uint32_t count) {
    check_slow(count <= consumer->unacked);
    /* The count comes from the ledger of another shard; a wrong one costs prefetch, not the node.
     */
    consumer->unacked -= count <= consumer->unacked ? count : consumer->unacked;
    if (consumer->place == CONSUMER_BLOCKED && !consumer_at_prefetch(consumer)) {
        consumer_activate(consumer);
    }
}

static void check_consumer(const struct consumers *consumers, const struct consumer *consumer) {
    bool linked = list_linked(&consumer->in_turn);
    check(consumer->consumers == consumers);
    check(consumer->credit->users != 0);
    check(list_linked(&consumer->in_holders) == (consumer->tokens != 0));
    if (consumer->prefetch != 0) check(consumer->unacked <= consumer->prefetch);
    switch ((enum consumer_place)consumer->place) {
    case CONSUMER_ACTIVE:
        check(linked);
        check(list_linked(&consumer->level->in_active));
        return;
    case CONSUMER_BLOCKED:
        check(!linked);
        check(consumer_at_prefetch(consumer));
        check(consumer->tokens == 0);
        return;
    case CONSUMER_WAITING:
        check(linked);
        check(consumer->credit->bytes <= 0);
        check(consumer->tokens == 0);
        return;
    case CONSUMER_ASKING:
        check(!linked);
        check(consumer->shared);
        check(consumer->tokens == 0);
        return;
    }
    unreachable_here();
}

static uint32_t check_level(const struct consumer_level *level) {
    uint32_t active = 0;
    list_for (struct consumer, consumer, &level->ring, in_turn) {
        check(consumer->place == CONSUMER_ACTIVE);
        check(consumer->level == level);
        active++;
    }
    check(list_linked(&level->in_active) == (active != 0));
    return active;
}

uint64_t consumers_check(const struct consumers *consumers) {
    uint64_t unacked = 0;
    uint32_t count = 0, active = 0, in_levels = 0, in_rings = 0;
    for (uint32_t i = 0; i < consumers->capacity; i++) {
        const struct consumer *consumer = consumers->table[i];
        if (!consumer) continue;
        check((consumer->handle & (consumers->capacity - 1)) == i);
        check_consumer(consumers, consumer);
        active += consumer->place == CONSUMER_ACTIVE;
        unacked += consumer->unacked;
        count++;
    }
    check(count == consumers->count);
    const struct consumer_level *last = NULL;
    list_for (const struct consumer_level, level, &consumers->levels, in_levels) {
        if (last) check(last->priority > level->priority);
        in_levels += level->count;
        in_rings += check_level(level);
        last = level;
    }
    check(in_levels == count);
    check(in_rings == active);
    last = NULL;
    list_for (const struct consumer_level, level, &consumers->active, in_active) {
        if (last) check(last->priority > level->priority);
        last = level;
    }
    if (consumers->exclusive) check(consumers_find(consumers, consumers->exclusive) != NULL);
    return unacked;
}
