/* kept_record: a message as records on disk, and back.
 *
 * What a message is made of - exchange, routing key, properties, body - lies in one run of bytes,
 * which is a record's body as it is; the sizes are packed into the record's message id. A message
 * that is too large for one record is written as PARTs of that run, and the PUB has the rest. */
#ifndef SHARD_KEPT_RECORD_H
#define SHARD_KEPT_RECORD_H

#include "core/message.h"
#include "store/record.h"

/* How many PARTs go before the PUB of this message, with so many targets. At most 255. */
uint32_t kept_record_parts(const struct message *message, uint32_t targets);

/* The PART number `part` for the message's place `target`. Borrows both. */
struct record kept_record_part(
    const struct message *message, uint32_t part, const struct record_target *target);

/* The PUB behind its parts. Borrows all. */
struct record kept_record_pub(
    const struct message *message, const struct record_target *targets, uint32_t target_count);

/* The message of a PUB whose parts, one behind the other, are `parts` (empty when it has none).
 * NULL when sizes do not fit. With one reference. */
struct message *kept_record_message(
    struct message_pool *pool, const struct record_view *pub, struct bytes parts);

#endif
