/* record: encoding and reading one record.
 *
 *     0 crc   4 len   8 type 9 flags 10 targets   12 head size   16 message id   24 expiry
 *    32 targets, head, body, zeroes up to a multiple of 8
 *
 * The checksum covers everything behind itself, the length and the zeroes included. */
#include "store/record.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "store/crc.h"
#include "store/le.h"
#include "store/plant.h"

enum { NONE = 0, POINTS = RECORD_POINT_BYTES, SPANS = RECORD_SPAN_BYTES };
enum { MANY = RECORD_TARGETS_MAX };
enum {
    AT_CRC = 0,
    AT_LEN = 4,
    AT_TYPE = 8,
    AT_FLAGS = 9,
    AT_TARGETS = 10,
    AT_HEAD = 12,
    AT_MESSAGE = 16,
    AT_EXPIRY = 24,
};

static_assert(AT_EXPIRY + 8 == RECORD_HEADER_BYTES, "the header ends with the expiry");

struct layout {
    const char *text;
    uint8_t target_bytes;
    uint16_t targets_min;
    uint16_t targets_max;
};

/* What the table says of a type; NULL for one that is not in it. */
static const struct layout *layout_of(uint8_t type) {
    static const struct layout LAYOUTS[] = {
#define RECORD(name, number, layout, targets_min, targets_max)                                     \
    [number] = {#name, layout, targets_min, targets_max},
#include "store/records.def"
#undef RECORD
    };
    if (type >= COUNT_OF(LAYOUTS) || !LAYOUTS[type].text) return NULL;
    return &LAYOUTS[type];
}

static size_t rounded(size_t size) {
    return (size + 7) & ~(size_t)7;
}

/* Durable queues only, and a settled span ends within its priority. */
static bool target_is_sound(uint8_t type, const struct record_target *target) {
    if (target->queue == 0 || (target->queue & QUEUE_ID_TRANSIENT) != 0) return false;
    if (type != RECORD_ACK) return true;
    uint64_t place = target->seq & (((uint64_t)1 << SEQ_PRIORITY_SHIFT) - 1);
    uint64_t room = ((uint64_t)1 << SEQ_PRIORITY_SHIFT) - place;
    return target->count != 0 && target->count <= room;
}

/* Manifests are made of whole entries, bits of whole words; all other bodies are the owner's. */
static bool body_is_sound(uint8_t type, size_t size) {
    if (type == RECORD_SETTLED)
        return size != 0 && size % 8 == 0 && size <= RECORD_SETTLED_BYTES_MAX;
    if (type == RECORD_CATALOG) return size % RECORD_CATALOG_ENTRY_BYTES == 0;
    return type != RECORD_MANIFEST || size % RECORD_MANIFEST_ENTRY_BYTES == 0;
}

/* The bits of a SETTLED are of one priority, and words of them are words of anybody's. */
static bool bits_are_sound(uint8_t type, const struct record_target *target, size_t size) {
    if (type != RECORD_SETTLED) return true;
    uint64_t place = target->seq & (((uint64_t)1 << SEQ_PRIORITY_SHIFT) - 1);
    uint64_t room = ((uint64_t)1 << SEQ_PRIORITY_SHIFT) - place;
    return place % RECORD_SETTLED_PLACES == 0 && (uint64_t)size * 8 <= room;
}

int record_validate(const struct record *record) {
    const struct layout *layout = layout_of((uint8_t)record->type);
    if (!layout || record->target_count < layout->targets_min) return -EINVAL;
    if (record->target_count > layout->targets_max) return -EINVAL;
    if (!body_is_sound((uint8_t)record->type, record->body.size)) return -EINVAL;
    for (uint32_t i = 0; i < record->target_count; i++)
        if (!target_is_sound((uint8_t)record->type, &record->targets[i]) ||
            !bits_are_sound((uint8_t)record->type, &record->targets[i], record->body.size))
            return -EINVAL;
    return record_size(record) <= RECORD_BYTES_MAX ? 0 : -EMSGSIZE;
}

static size_t target_bytes_of(const struct record *record) {
    const struct layout *layout = layout_of((uint8_t)record->type);
    check(layout != NULL);
    return layout->target_bytes;
}

static size_t exact_size(const struct record *record) {
    size_t targets = record->target_count * target_bytes_of(record);
    return RECORD_HEADER_BYTES + targets + record->head.size + record->body.size;
}

size_t record_size(const struct record *record) {
    return rounded(exact_size(record));
}

static uint8_t *put_bytes(uint8_t *at, struct bytes bytes) {
    bytes_copy(at, bytes.data, bytes.size);
    return at + bytes.size;
}

static uint8_t *put_targets(uint8_t *at, const struct record *record) {
    size_t target_bytes = target_bytes_of(record);
    for (uint32_t i = 0; i < record->target_count; i++, at += target_bytes) {
        le_put_u64(at, record->targets[i].queue);
        le_put_u64(at + 8, record->targets[i].seq);
        if (target_bytes == SPANS) le_put_u64(at + 16, record->targets[i].count);
    }
    return at;
}

/* The first byte that the checksum covers. */
static size_t covered_from(void) {
    return PLANTED(LENGTH_UNCHECKED) ? AT_TYPE : AT_LEN;
}

uint32_t record_encode(const struct record *record, uint8_t *at) {
    size_t exact = exact_size(record);
    size_t size = rounded(exact);
    le_put_u32(at + AT_LEN, (uint32_t)exact);
    at[AT_TYPE] = (uint8_t)record->type;
    at[AT_FLAGS] = record->flags;
    le_put_u16(at + AT_TARGETS, record->target_count);
    le_put_u32(at + AT_HEAD, record->head.size);
    le_put_u64(at + AT_MESSAGE, record->message_id);
    le_put_u64(at + AT_EXPIRY, record->expiry_ms);
    uint8_t *end = at + RECORD_HEADER_BYTES;
    end = put_targets(end, record);
    end = put_bytes(end, record->head);
    end = put_bytes(end, record->body);
    check((size_t)(end - at) == exact);
    memset(end, 0, size - exact);
    uint32_t crc = crc32c(at + covered_from(), size - covered_from());
    le_put_u32(at + AT_CRC, crc);
    return crc;
}

struct record_view record_view_of(const struct record *record, const uint8_t *at) {
    size_t target_bytes = target_bytes_of(record);
    size_t targets = record->target_count * target_bytes;
    const uint8_t *head = at + RECORD_HEADER_BYTES + targets;
    return (struct record_view){
        .type = (uint8_t)record->type,
        .flags = record->flags,
        .target_count = record->target_count,
        .target_bytes = (uint8_t)target_bytes,
        .targets = at + RECORD_HEADER_BYTES,
        .message_id = record->message_id,
        .expiry_ms = record->expiry_ms,
        .head = bytes_of(head, record->head.size),
        .body = bytes_of(head + record->head.size, record->body.size),
        .checksum = le_get_u32(at + AT_CRC),
        .size = (uint32_t)record_size(record),
    };
}

struct record_target record_view_target(const struct record_view *view, uint32_t at) {
    check(at < view->target_count);
    const uint8_t *from = view->targets + (size_t)at * view->target_bytes;
    return (struct record_target){
        .queue = le_get_u64(from),
        .seq = le_get_u64(from + 8),
        .count = view->target_bytes == SPANS ? le_get_u64(from + 16) : 1,
    };
}

/* Cuts what follows the header into targets, head and body. */
static enum record_fault parse_content(const uint8_t *at, size_t exact, struct record_view *view) {
    const struct layout *layout = layout_of(view->type);
    size_t left = exact - RECORD_HEADER_BYTES;
    size_t target_bytes = (size_t)view->target_count * layout->target_bytes;
    size_t head_bytes = le_get_u32(at + AT_HEAD);
    if (view->target_count < layout->targets_min) return RECORD_BAD_CONTENT;
    if (view->target_count > layout->targets_max) return RECORD_BAD_CONTENT;
    if (target_bytes > left || head_bytes > left - target_bytes) return RECORD_BAD_CONTENT;
    view->target_bytes = layout->target_bytes;
    view->targets = at + RECORD_HEADER_BYTES;
    view->head = bytes_of(view->targets + target_bytes, head_bytes);
    view->body =
        bytes_of(view->targets + target_bytes + head_bytes, left - target_bytes - head_bytes);
    if (!body_is_sound(view->type, view->body.size)) return RECORD_BAD_CONTENT;
    for (uint32_t i = 0; i < view->target_count; i++) {
        struct record_target target = record_view_target(view, i);
        if (!target_is_sound(view->type, &target) ||
            !bits_are_sound(view->type, &target, view->body.size))
            return RECORD_BAD_CONTENT;
    }
    return RECORD_GOOD;
}

size_t record_claimed_size(struct bytes bytes) {
    if (bytes.size < RECORD_HEADER_BYTES) return 0;
    size_t exact = le_get_u32(bytes.data + AT_LEN);
    /* The range is checked before the length is rounded or added to anything. */
    if (exact < RECORD_HEADER_BYTES || exact > RECORD_BYTES_MAX) return 0;
    size_t size = rounded(exact);
    return size <= bytes.size ? size : 0;
}

enum record_fault record_parse_known(struct bytes bytes, struct record_view *ret_view) {
    size_t size = record_claimed_size(bytes);
    if (size == 0) return RECORD_BAD_LENGTH;
    const uint8_t *at = bytes.data;
    struct record_view view = {
        .type = at[AT_TYPE],
        .flags = at[AT_FLAGS],
        .target_count = le_get_u16(at + AT_TARGETS),
        .message_id = le_get_u64(at + AT_MESSAGE),
        .expiry_ms = le_get_u64(at + AT_EXPIRY),
        .checksum = le_get_u32(at + AT_CRC),
        .size = (uint32_t)size,
    };
    enum record_fault fault = RECORD_GOOD;
    if (layout_of(view.type)) {
        fault = parse_content(at, le_get_u32(at + AT_LEN), &view);
    } else if ((view.type & RECORD_IGNORABLE) == 0) {
        fault = RECORD_UNKNOWN;
    } else {
        view.target_count = 0;
    }
    *ret_view = view;
    return fault;
}

enum record_fault record_parse(struct bytes bytes, struct record_view *ret_view) {
    size_t size = record_claimed_size(bytes);
    if (size == 0) return RECORD_BAD_LENGTH;
    uint32_t crc = crc32c(bytes.data + covered_from(), size - covered_from());
    if (crc != le_get_u32(bytes.data + AT_CRC)) return RECORD_BAD_CHECKSUM;
    return record_parse_known(bytes, ret_view);
}

uint32_t record_settled_words(const struct record_view *view) {
    check(view->type == RECORD_SETTLED);
    return (uint32_t)(view->body.size / 8);
}

uint64_t record_settled_word(const struct record_view *view, uint32_t at) {
    check(at < record_settled_words(view));
    return le_get_u64(view->body.data + (size_t)at * 8);
}

/* The first place from `at` on, counted from the record's first, whose bit is `set`, or the end. */
static uint64_t next_bit(const struct record_view *view, uint64_t at, bool set) {
    uint64_t end = (uint64_t)record_settled_words(view) * RECORD_SETTLED_PLACES;
    while (at < end) {
        uint64_t word = record_settled_word(view, (uint32_t)(at / RECORD_SETTLED_PLACES));
        uint64_t bits = (set ? word : ~word) >> (at % RECORD_SETTLED_PLACES);
        if (bits != 0) return at + (uint64_t)__builtin_ctzll(bits);
        at = (at / RECORD_SETTLED_PLACES + 1) * RECORD_SETTLED_PLACES;
    }
    return end;
}

bool record_settled_run(const struct record_view *view, uint64_t *seq, uint64_t *ret_end) {
    uint64_t first = record_view_target(view, 0).seq;
    uint64_t end = (uint64_t)record_settled_words(view) * RECORD_SETTLED_PLACES;
    uint64_t from = next_bit(view, *seq > first ? *seq - first : 0, true);
    if (from == end) return false;
    *seq = first + from;
    *ret_end = first + next_bit(view, from, false);
    return true;
}

const char *record_type_text(uint8_t type) {
    const struct layout *layout = layout_of(type);
    return layout ? layout->text : "unknown";
}
