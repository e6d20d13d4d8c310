/* kept_record: a message as records on disk, and back: store/pub.h says how it lies there. */
#ifndef SHARD_KEPT_RECORD_H
#define SHARD_KEPT_RECORD_H

#include "core/message.h"
#include "store/record.h"
#include "store/segment.h"

/* The usual size of a PART: a record of it fits a frame. */
enum { KEPT_RECORD_PART_BYTES = 4 * 1024 * 1024 - 8192 };

/* What is to be written, borrowed from the caller. */
struct kept_record {
    const struct message *message;
    const struct record_target *targets; /* the parts are of the first */
    uint32_t target_count;
    uint32_t part_bytes;
};

/* How many PARTs go before the PUB. At most 255. */
uint32_t kept_record_parts(const struct kept_record *kept);

/* The PART number `part`. Borrows all. */
struct record kept_record_part(const struct kept_record *kept, uint32_t part);

/* The PUB behind its parts. Borrows all. */
struct record kept_record_pub(const struct kept_record *kept);

/* Puts the parts and the PUB into one segment, or nothing when they do not fit; says where the
 * first of these records begins. */
bool kept_record_put(
    const struct kept_record *kept, struct segment_build *build, uint64_t *ret_offset) MUST_USE;

/* The message of a PUB; what of it lies in parts is `parts`, complete (store/pub.h). With one
 * reference, or NULL when it is too large. */
struct message *kept_record_message(
    struct message_pool *pool, const struct record_view *pub, struct bytes parts);

#endif
