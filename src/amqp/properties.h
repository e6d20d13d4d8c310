/* properties: the content header's flags and the 14 basic properties (spec 4.2.6.1), validated once
 * and then kept as the bytes that were received. */
#ifndef AMQP_PROPERTIES_H
#define AMQP_PROPERTIES_H

#include "base/base.h"

/* PROPERTY_HAS_content_type and so on: the flag bits, from properties.def in flag order. */
enum {
#define PROPERTY(name, type, bit) PROPERTY_HAS_##name = 1 << (bit),
#include "amqp/properties.def"
#undef PROPERTY
};

/* Decoded properties. Only members whose flag is set are meaningful. Strings are borrowed. */
struct properties {
    uint16_t flags;
    struct bytes content_type;
    struct bytes content_encoding;
    struct bytes headers; /* field table without its length prefix; validated */
    uint8_t delivery_mode;
    uint8_t priority;
    struct bytes correlation_id;
    struct bytes reply_to;
    struct bytes expiration;
    struct bytes message_id;
    uint64_t timestamp;
    struct bytes type;
    struct bytes user_id;
    struct bytes app_id;
    struct bytes cluster_id;
};

/* Decodes flags and values; all of `encoded` must be used. False when it is malformed or the
 * headers table is; the result then means nothing. The strings stay borrowed from `encoded`.
 * Flag bit 1 has no property and is ignored, as in RabbitMQ. Bit 0 announces a second flag word:
 * RabbitMQ ignores it too, but then passes on bytes that consumers read differently; refused here.
 */
bool properties_decode(struct bytes encoded, struct properties *ret_properties) MUST_USE;

/* What a header frame's payload says. */
struct content_header {
    uint16_t class_id;
    uint64_t body_size;
    struct bytes properties; /* flags and values, borrowed, not decoded yet */
};

/* Reads class id, weight, body size, then the property bytes. False when it is cut short or the
 * weight is not 0; RabbitMQ answers that with 505. */
bool properties_read_header(struct bytes payload, struct content_header *ret_header) MUST_USE;

/* Writes flags and values. */
void properties_encode(struct writer *writer, const struct properties *properties);

#endif
