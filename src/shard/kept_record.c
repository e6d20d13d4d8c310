/* kept_record: a message as records on disk, and back.
 *
 * The message id of a PUB, from the lowest bit: 8 exchange size, 8 routing key size, 8 priority,
 * 16 header flags, 24 properties size. The body's size follows from all there is. */
#include "shard/kept_record.h"

#include "base/memory.h"

enum { PROPERTIES_BYTES_MAX = (1 << 24) - 1 };

static uint64_t run_bytes(const struct message *message) {
    return (uint64_t)message_properties_at(message) + message->properties_size + message->body_size;
}

/* What a PUB has room for beside its targets. */
static uint64_t pub_room(uint32_t targets) {
    return RECORD_BYTES_MAX - RECORD_HEADER_BYTES - (uint64_t)targets * RECORD_POINT_BYTES - 8;
}

uint32_t kept_record_parts(const struct kept_record *kept) {
    uint64_t size = run_bytes(kept->message);
    uint64_t room = min_u64(pub_room(kept->target_count), kept->part_bytes);
    if (size <= room) return 0;
    uint64_t parts = (size - room + kept->part_bytes - 1) / kept->part_bytes;
    check(parts <= UINT8_MAX);
    return (uint32_t)parts;
}

struct record kept_record_part(const struct kept_record *kept, uint32_t part) {
    uint64_t at = (uint64_t)part * kept->part_bytes;
    return (struct record){
        .type = RECORD_PART,
        .target_count = 1,
        .targets = &kept->targets[0],
        .message_id = at,
        .body = bytes_of(kept->message->data + at, kept->part_bytes),
    };
}

struct record kept_record_pub(const struct kept_record *kept) {
    const struct message *message = kept->message;
    uint32_t parts = kept_record_parts(kept);
    uint64_t at = (uint64_t)parts * kept->part_bytes;
    check(message->properties_size <= PROPERTIES_BYTES_MAX);
    return (struct record){
        .type = RECORD_PUB,
        .flags = (uint8_t)parts,
        .target_count = (uint16_t)kept->target_count,
        .targets = kept->targets,
        .message_id = message->exchange_size | (uint64_t)message->routing_key_size << 8 |
                      (uint64_t)message->priority << 16 | (uint64_t)message->header_flags << 24 |
                      (uint64_t)message->properties_size << 40,
        .body = bytes_of(message->data + at, run_bytes(message) - at),
    };
}

struct message *kept_record_message(struct message_pool *pool, const struct record_view *pub,
    struct bytes parts, uint32_t part_bytes) {
    uint64_t id = pub->message_id;
    uint64_t size = (uint64_t)parts.size + pub->body.size;
    uint64_t strings = (id & 0xff) + (id >> 8 & 0xff);
    uint64_t properties = id >> 40;
    if (parts.size != (uint64_t)pub->flags * part_bytes) return NULL;
    if (size < strings + properties || size > UINT32_MAX) return NULL;
    /* The run is taken as it is: its pieces are not looked at here. */
    uint32_t body_size = (uint32_t)(size - strings - properties);
    struct bytes none = bytes_of(NULL, 0);
    struct message *message = message_new(pool, none, none, none, (uint32_t)size);
    message->exchange_size = (uint8_t)id;
    message->routing_key_size = (uint8_t)(id >> 8);
    message->properties_size = (uint32_t)properties;
    message->body_size = body_size;
    message->persistent = true;
    message->priority = (uint8_t)(id >> 16);
    message->header_flags = (uint16_t)(id >> 24);
    bytes_copy(message->data, parts.data, parts.size);
    bytes_copy(message->data + parts.size, pub->body.data, pub->body.size);
    return message;
}
