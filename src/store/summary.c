/* summary: one small table per open journal file, found by (queue, priority). */
#include "store/summary.h"

#include "base/memory.h"
#include "store/le.h"

static uint64_t hash_of(uint64_t queue, uint64_t priority) {
    uint64_t mixed = (queue ^ (priority << SEQ_PRIORITY_SHIFT)) * 0x9e3779b97f4a7c15u;
    return mixed ^ (mixed >> 32);
}

void summaries_deinit(struct summaries *summaries) {
    map_deinit(&summaries->by_run);
    mem_free(summaries->all);
    *summaries = (struct summaries){.count = 0};
}

void summaries_clear(struct summaries *summaries) {
    map_deinit(&summaries->by_run);
    summaries->by_run = (struct map){.count = 0};
    summaries->count = 0;
}

/* The map holds places in the array, counted from 1 since NULL is none: the array moves. */
static void *place_of(uint32_t at) {
    return (void *)((uintptr_t)at + 1); /* never followed */
}

static struct summary *find(struct summaries *summaries, uint64_t queue, uint64_t priority) {
    struct map_probe probe = map_probe(&summaries->by_run, hash_of(queue, priority));
    const void *item = NULL;
    while ((item = map_probe_next(&probe)) != NULL) {
        struct summary *summary = &summaries->all[(uintptr_t)item - 1];
        if (summary->queue == queue && summary->first_seq >> SEQ_PRIORITY_SHIFT == priority)
            return summary;
    }
    return NULL;
}

static struct summary *get(struct summaries *summaries, const struct record_target *target) {
    uint64_t priority = target->seq >> SEQ_PRIORITY_SHIFT;
    struct summary *summary = find(summaries, target->queue, priority);
    if (summary) return summary;
    if (summaries->count == summaries->capacity) {
        summaries->capacity = summaries->capacity ? summaries->capacity * 2 : 16;
        summaries->all =
            mem_resize(summaries->all, (size_t)summaries->capacity * sizeof *summaries->all);
    }
    uint64_t lowest = priority << SEQ_PRIORITY_SHIFT;
    summary = &summaries->all[summaries->count];
    *summary = (struct summary){.queue = target->queue, .first_seq = lowest, .last_seq = lowest};
    map_put(&summaries->by_run, hash_of(target->queue, priority), place_of(summaries->count++));
    return summary;
}

void summaries_add(
    struct summaries *summaries, uint8_t type, const struct record_target *target, size_t size) {
    if (type != RECORD_PUB && type != RECORD_ACK && type != RECORD_PART) return;
    struct summary *summary = get(summaries, target);
    if (type == RECORD_ACK) {
        summary->settled += target->count;
        return;
    }
    summary->bytes += size;
    if (type == RECORD_PART) return;
    bool first = summary->count == 0;
    summary->first_seq = first ? target->seq : min_u64(summary->first_seq, target->seq);
    summary->last_seq = first ? target->seq : max_u64(summary->last_seq, target->seq);
    summary->count++;
}

uint32_t summaries_encode(
    const struct summaries *summaries, uint32_t from, uint8_t *at, size_t size) {
    check(from <= summaries->count);
    uint32_t count = (uint32_t)min_u64(summaries->count - from, size / SUMMARY_BYTES);
    for (uint32_t i = 0; i < count; i++, at += SUMMARY_BYTES) {
        const struct summary *summary = &summaries->all[from + i];
        le_put_u64(at, summary->queue);
        le_put_u64(at + 8, summary->first_seq);
        le_put_u64(at + 16, summary->last_seq);
        le_put_u64(at + 24, summary->count);
        le_put_u64(at + 32, summary->bytes);
        le_put_u64(at + 40, summary->settled);
    }
    return count;
}

uint32_t summary_count(struct bytes body) {
    return body.size / SUMMARY_BYTES;
}

struct summary summary_decode(struct bytes body, uint32_t at) {
    check(at < summary_count(body));
    const uint8_t *from = body.data + (size_t)at * SUMMARY_BYTES;
    return (struct summary){
        .queue = le_get_u64(from),
        .first_seq = le_get_u64(from + 8),
        .last_seq = le_get_u64(from + 16),
        .count = le_get_u64(from + 24),
        .bytes = le_get_u64(from + 32),
        .settled = le_get_u64(from + 40),
    };
}
