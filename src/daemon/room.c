/* room: how much room on disk is enough: when publishers are blocked, and what is kept aside. */
#include "daemon/room.h"

#include "store/reserve.h"

enum {
    LIMIT_SHARE = 20,      /* the default limit is at most this part of the file system */
    RESERVE_SHARE = 8,     /* the same for the reserve, */
    RESERVE_PIECES = 2,    /* but so many pieces where the file system has room */
    SMALL_PIECES = 8,      /* for so many */
    ENOUGH_SHARE = 10,     /* of the limit, above it */
    LOOK_MS_MIN = 100,     /* between two looks */
    LOOK_MS_MAX = 10000,   /* the same when there is much room */
    LOOK_MS_LOW = 1000,    /* while there is too little */
    BYTES_PER_MS = 1 << 20 /* that others may write: a gigabyte in each second */
};

#define LIMIT_BYTES ((uint64_t)2 << 30)

uint64_t room_limit(const struct room_rules *rules, uint64_t total) {
    if (rules->absolute != ROOM_UNSET) return rules->absolute;
    if (rules->relative != ROOM_UNSET) return rules->memory / 100 * rules->relative;
    uint64_t wanted = max_u64(LIMIT_BYTES, min_u64(rules->journal_budget, INT64_MAX) * 2);
    return min_u64(wanted, total / LIMIT_SHARE);
}

uint64_t room_enough(uint64_t limit) {
    uint64_t more = limit / ENOUGH_SHARE;
    return limit > UINT64_MAX - more ? UINT64_MAX : limit + more;
}

bool room_is_low(bool was_low, uint64_t free, uint64_t limit) {
    return free < (was_low ? room_enough(limit) : limit);
}

uint32_t room_look_ms(bool low, uint64_t free, uint64_t limit) {
    if (low) return LOOK_MS_LOW;
    uint64_t above = free > limit ? free - limit : 0;
    return (uint32_t)min_u64(max_u64(above / BYTES_PER_MS, LOOK_MS_MIN), LOOK_MS_MAX);
}

uint32_t room_pieces_max(const struct room_rules *rules, uint64_t total) {
    uint64_t share = total / RESERVE_SHARE / RESERVE_PIECE_BYTES;
    if (share < RESERVE_PIECES && total / RESERVE_PIECE_BYTES >= SMALL_PIECES)
        share = RESERVE_PIECES;
    return (uint32_t)min_u64(min_u64(rules->reserve / RESERVE_PIECE_BYTES, share), UINT32_MAX);
}

uint32_t room_pieces(const struct room_rules *rules, uint64_t total, uint64_t written) {
    uint64_t wanted = max_u64(written / RESERVE_PIECE_BYTES, (uint64_t)rules->shards + 1);
    return (uint32_t)min_u64(wanted, room_pieces_max(rules, total));
}
