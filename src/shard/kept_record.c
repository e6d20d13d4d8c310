/* kept_record: a message as records on disk, and back. */
#include "shard/kept_record.h"

#include "base/memory.h"
#include "store/pub.h"

/* The head of a transient message's PUB; that of a persistent one is empty. */
static const uint8_t TRANSIENT[8] = "passing";

static uint64_t run_bytes(const struct message *message) {
    return (uint64_t)message_properties_at(message) + message->properties_size + message->body_size;
}

/* What a PUB has room for beside its targets. */
static uint64_t pub_room(uint32_t targets) {
    return RECORD_BYTES_MAX - RECORD_HEADER_BYTES - (uint64_t)targets * RECORD_POINT_BYTES - 8 -
           sizeof TRANSIENT;
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
    struct pub pub = {.exchange_size = message->exchange_size,
        .routing_key_size = message->routing_key_size,
        .priority = message->priority,
        .header_flags = message->header_flags,
        .properties_size = message->properties_size};
    return (struct record){
        .type = RECORD_PUB,
        .flags = (uint8_t)parts,
        .target_count = (uint16_t)kept->target_count,
        .targets = kept->targets,
        .message_id = pub_message_id(&pub),
        .head = bytes_of(TRANSIENT, message->persistent ? 0 : sizeof TRANSIENT),
        .body = bytes_of(message->data + at, run_bytes(message) - at),
    };
}

bool kept_record_put(
    const struct kept_record *kept, struct segment_build *build, uint64_t *ret_offset) {
    uint32_t parts = kept_record_parts(kept);
    uint64_t offset = 0;
    for (uint32_t i = 0; i < parts; i++) {
        struct record part = kept_record_part(kept, i);
        bool taken = segment_put(build, &part, &offset);
        check(taken || i == 0);
        if (!taken) return false;
        if (i == 0) *ret_offset = offset;
    }
    struct record pub = kept_record_pub(kept);
    bool taken = segment_put(build, &pub, &offset);
    check(taken || parts == 0);
    if (taken && parts == 0) *ret_offset = offset;
    return taken;
}

struct message *kept_record_message(
    struct message_pool *pool, const struct record_view *view, struct bytes parts) {
    struct pub pub = pub_of(view->message_id);
    uint64_t size = (uint64_t)parts.size + view->body.size;
    if (size < pub_head_bytes(&pub) || size > UINT32_MAX) return NULL;
    /* The run is taken as it is: its pieces are not looked at here. */
    struct bytes none = bytes_of(NULL, 0);
    struct message *message = message_new(pool, none, none, none, (uint32_t)size);
    message->exchange_size = pub.exchange_size;
    message->routing_key_size = pub.routing_key_size;
    message->properties_size = pub.properties_size;
    message->body_size = (uint32_t)(size - pub_head_bytes(&pub));
    message->persistent = view->head.size == 0;
    message->priority = pub.priority;
    message->header_flags = pub.header_flags;
    bytes_copy(message->data, parts.data, parts.size);
    bytes_copy(message->data + parts.size, view->body.data, view->body.size);
    return message;
}
