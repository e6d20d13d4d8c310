/* pub: what lies in a PUB, and in the PARTs before it: a message as one run of bytes.
 *
 *      exchange | routing key | properties | body
 *
 * The sizes of the first three are packed into the record's message id; the body is what is left.
 * Of a run that is too large for one record the beginning lies in PARTs, and the end in the PUB. */
#ifndef STORE_PUB_H
#define STORE_PUB_H

#include "base/buffer.h"
#include "store/record.h"

enum { PUB_PROPERTIES_BYTES_MAX = (1 << 24) - 1 };

/* What the message id of a PUB says. */
struct pub {
    uint8_t exchange_size;
    uint8_t routing_key_size;
    uint8_t priority;
    uint16_t header_flags; /* the owner's */
    uint32_t properties_size;
};

/* The message id that says so; properties_size is at most PUB_PROPERTIES_BYTES_MAX. */
uint64_t pub_message_id(const struct pub *pub);

/* What a message id says. */
struct pub pub_of(uint64_t message_id);

/* Bytes of the run before the body. */
uint64_t pub_head_bytes(const struct pub *pub);

/* The PARTs of one message while they are read; other records may stand between them. */
struct pub_parts {
    struct buffer bytes;
    uint32_t count;
    struct record_target of;
};

void pub_parts_init(struct pub_parts *parts);
void pub_parts_deinit(struct pub_parts *parts);

/* Takes the next PART that was read. True when it is the first of its message. */
bool pub_parts_take(struct pub_parts *parts, const struct record_view *part);

/* Whether the PARTs that were taken last are of the message of this PUB. */
bool pub_parts_are_of(const struct pub_parts *parts, const struct record_view *pub);

/* What lies in PARTs of the message of this PUB; borrowed until the next one is taken. False when
 * one of them is missing, or the record makes no sense. */
bool pub_parts_find(
    const struct pub_parts *parts, const struct record_view *pub, struct bytes *ret_run) MUST_USE;

#endif
