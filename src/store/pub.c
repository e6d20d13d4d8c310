/* pub: what lies in a PUB, and in the PARTs before it: a message as one run of bytes.
 *
 * The message id of a PUB, from the lowest bit: 8 exchange size, 8 routing key size, 8 priority,
 * 16 header flags, 24 properties size. */
#include "store/pub.h"

enum { RUN_BYTES_MAX = 1 << 30 }; /* 255 PARTs at most */

uint64_t pub_message_id(const struct pub *pub) {
    check(pub->properties_size <= PUB_PROPERTIES_BYTES_MAX);
    return pub->exchange_size | (uint64_t)pub->routing_key_size << 8 |
           (uint64_t)pub->priority << 16 | (uint64_t)pub->header_flags << 24 |
           (uint64_t)pub->properties_size << 40;
}

struct pub pub_of(uint64_t message_id) {
    return (struct pub){
        .exchange_size = (uint8_t)message_id,
        .routing_key_size = (uint8_t)(message_id >> 8),
        .priority = (uint8_t)(message_id >> 16),
        .header_flags = (uint16_t)(message_id >> 24),
        .properties_size = (uint32_t)(message_id >> 40),
    };
}

uint64_t pub_head_bytes(const struct pub *pub) {
    return (uint64_t)pub->exchange_size + pub->routing_key_size + pub->properties_size;
}

void pub_parts_init(struct pub_parts *parts) {
    *parts = (struct pub_parts){.count = 0};
    buffer_init(&parts->bytes, RUN_BYTES_MAX);
}

void pub_parts_deinit(struct pub_parts *parts) {
    buffer_deinit(&parts->bytes);
}

static bool is_of(const struct pub_parts *parts, const struct record_target *target) {
    return parts->of.queue == target->queue && parts->of.seq == target->seq;
}

/* One that is missing leaves too few of them behind, which is noticed at the PUB. */
bool pub_parts_take(struct pub_parts *parts, const struct record_view *part) {
    struct record_target target = record_view_target(part, 0);
    bool first = part->message_id == 0;
    if (first) {
        parts->bytes.size = 0;
        parts->count = 0;
        parts->of = target;
    }
    if (!is_of(parts, &target) || parts->bytes.size != part->message_id) return first;
    if (buffer_put(&parts->bytes, part->body.data, part->body.size)) parts->count++;
    return first;
}

bool pub_parts_are_of(const struct pub_parts *parts, const struct record_view *pub) {
    struct record_target first = record_view_target(pub, 0);
    return pub->flags != 0 && is_of(parts, &first);
}

bool pub_parts_find(
    const struct pub_parts *parts, const struct record_view *pub, struct bytes *ret_run) {
    struct pub sizes = pub_of(pub->message_id);
    uint64_t size = 0;
    if (pub->flags != 0) {
        if (!pub_parts_are_of(parts, pub) || parts->count != pub->flags) return false;
        size = parts->bytes.size;
    }
    if (size + pub->body.size < pub_head_bytes(&sizes)) return false;
    *ret_run = bytes_of(parts->bytes.data, size);
    return true;
}
