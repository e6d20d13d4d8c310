/* consuming: a channel's consumers, and what they share: the shared prefetch and direct reply-to.
 */
#include "session/consuming.h"

#include "base/memory.h"

/* Ids count up; the multiplication spreads them over the map's low bits and keeps them apart. */
static uint64_t hash_of_id(uint32_t tag_id) {
    return tag_id * 0x9e3779b97f4a7c15u;
}

struct consuming *consuming_new(uint64_t seed) {
    struct consuming *consuming = NEW(struct consuming);
    consuming->seed = seed;
    tokens_init(&consuming->tokens);
    return consuming;
}

void consuming_free(struct consuming *consuming) {
    if (!consuming) return;
    check(consuming->by_id.count == 0);
    check(consuming->tokens.lent == 0);
    map_deinit(&consuming->by_id);
    map_deinit(&consuming->by_tag);
    mem_free(consuming);
}

struct channel_consumer *consuming_put(
    struct consuming *consuming, struct list *consumers, struct bytes tag, uint32_t tag_id) {
    check(tag.size <= 255);
    struct channel_consumer *consumer = mem_new(sizeof *consumer + tag.size);
    consumer->tag_id = tag_id;
    consumer->stage = CONSUMER_ASKED;
    consumer->tag_size = (uint8_t)tag.size;
    bytes_copy(consumer->tag, tag.data, tag.size);
    list_put_last(consumers, &consumer->in_channel);
    map_put(&consuming->by_id, hash_of_id(tag_id), consumer);
    map_put(&consuming->by_tag, map_hash(tag, consuming->seed), consumer);
    return consumer;
}

void consuming_remove(struct consuming *consuming, struct channel_consumer *consumer) {
    struct bytes tag = channel_consumer_tag(consumer);
    tokens_leave(&consuming->tokens, &consumer->tokens);
    list_remove(&consumer->in_channel);
    map_remove(&consuming->by_id, hash_of_id(consumer->tag_id), consumer);
    map_remove(&consuming->by_tag, map_hash(tag, consuming->seed), consumer);
    if (consuming->waiting == consumer) consuming->waiting = NULL;
    mem_free(consumer);
}

struct channel_consumer *consuming_find(const struct consuming *consuming, uint32_t tag_id) {
    struct map_probe probe = map_probe(&consuming->by_id, hash_of_id(tag_id));
    struct channel_consumer *consumer;
    while ((consumer = map_probe_next(&probe)) != NULL) {
        if (consumer->tag_id == tag_id) return consumer;
    }
    return NULL;
}

struct channel_consumer *consuming_find_tag(const struct consuming *consuming, struct bytes tag) {
    struct map_probe probe = map_probe(&consuming->by_tag, map_hash(tag, consuming->seed));
    struct channel_consumer *consumer;
    while ((consumer = map_probe_next(&probe)) != NULL) {
        if (bytes_equal(channel_consumer_tag(consumer), tag)) return consumer;
    }
    return NULL;
}

void consuming_check(const struct consuming *consuming, const struct list *consumers) {
    uint32_t count = 0;
    uint32_t held = 0;
    list_for (struct channel_consumer, consumer, consumers, in_channel) {
        check(consuming_find(consuming, consumer->tag_id) == consumer);
        check(consuming_find_tag(consuming, channel_consumer_tag(consumer)) == consumer);
        check((consumer->queue == 0) == (consumer->stage == CONSUMER_ASKED));
        check(list_linked(&consumer->tokens.in_waiting) == (consumer->tokens.wanted != 0));
        if (!consumer->shared) check(consumer->tokens.held == 0);
        held += consumer->tokens.held;
        count++;
    }
    check(consuming->by_id.count == count);
    check(consuming->by_tag.count == count);
    check(consuming->tokens.lent == held);
}
