/* room: how much room on disk is enough: when publishers are blocked, and what is kept aside.
 *
 * Values in, values out: who measures the disk is disk_watch.c. */
#ifndef DAEMON_ROOM_H
#define DAEMON_ROOM_H

#include "base/base.h"

#define ROOM_UNSET UINT64_MAX /* a limit that was not given */

struct room_rules {
    uint64_t absolute;       /* the limit in bytes, or ROOM_UNSET */
    uint64_t relative;       /* or in hundredths of the memory, or ROOM_UNSET */
    uint64_t memory;         /* bytes that were granted to the process */
    uint64_t journal_budget; /* bytes, of one shard */
    uint64_t reserve;        /* bytes that are kept aside at most */
    uint32_t shards;
};

/* Free bytes below which publishers are blocked, on a file system of so many bytes. What was given
 * counts as it is; the default is not more than a part of the file system. */
uint64_t room_limit(const struct room_rules *rules, uint64_t total);

/* Free bytes at which they go on: somewhat more than the limit, so that the alarm does not flutter.
 */
uint64_t room_enough(uint64_t limit);

/* Whether there is too little, given whether there was before. */
bool room_is_low(bool was_low, uint64_t free, uint64_t limit);

/* Milliseconds until the disk has to be looked at again: soon when it could be low soon, or while
 * somebody waits for it. */
uint32_t room_look_ms(bool low, uint64_t free, uint64_t limit);

/* Pieces of the reserve (store/reserve.h) that there should be at most, whatever was written. */
uint32_t room_pieces_max(const struct room_rules *rules, uint64_t total);

/* Pieces that there should be when so much is in journals, or has been: one for each journal and
 * one more, and then as much as that; little is taken for little. */
uint32_t room_pieces(const struct room_rules *rules, uint64_t total, uint64_t written);

#endif
