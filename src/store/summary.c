/* summary: six numbers. */
#include "store/summary.h"

#include "store/le.h"

void summary_encode(const struct summary *summary, uint8_t *at) {
    le_put_u64(at, summary->queue);
    le_put_u64(at + 8, summary->first_seq);
    le_put_u64(at + 16, summary->last_seq);
    le_put_u64(at + 24, summary->count);
    le_put_u64(at + 32, summary->bytes);
    le_put_u64(at + 40, summary->settled);
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
