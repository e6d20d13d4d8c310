/* record: what the journal remembers, one piece of it, and its bytes on disk.
 *
 * A record has a type, the queues and sequence numbers it is about (its targets), and two runs of
 * bytes that only the owner understands (head and body). The layout is in docs/disk-format.md. */
#ifndef STORE_RECORD_H
#define STORE_RECORD_H

#include "base/base.h"

enum {
    RECORD_HEADER_BYTES = 32,
    RECORD_POINT_BYTES = 16,
    RECORD_SPAN_BYTES = 24,
    RECORD_MANIFEST_ENTRY_BYTES = 16, /* {segment number u64, file id u64} */
    RECORD_CATALOG_ENTRY_BYTES = 32,  /* the same, {end u64, index u64} */
    RECORD_TARGETS_MAX = 65535,       /* they are counted in 16 bits */
    RECORD_SETTLED_PLACES = 64,       /* a SETTLED begins at a multiple of this, in words of it, */
    RECORD_SETTLED_BYTES_MAX = 4096,  /* and has at most so many bytes of bits */
    /* A frame of the largest record, with its header and padding, takes 4 MiB. */
    RECORD_BYTES_MAX = 4 * 1024 * 1024 - 4096,
    RECORD_IGNORABLE = 0x80, /* who does not know a type with this bit may leave it out */
};

enum record_type {
#define RECORD(name, number, layout, targets_min, targets_max) RECORD_##name = (number),
#include "store/records.def"
#undef RECORD
};

#define RECORD_BIT(type) (1u << (unsigned)(type))

/* Queue ids are never used twice. Those of transient queues have the top bit and never get here. */
#define QUEUE_ID_TRANSIENT ((uint64_t)1 << 63)

/* A sequence number has the message's priority in its top byte. */
#define SEQ_PRIORITY_SHIFT 56

/* One message, or a run of them, in one queue. */
struct record_target {
    uint64_t queue;
    uint64_t seq;
    uint64_t count; /* of spans only; for points it is taken for 1 */
};

/* A record to be written. Everything is borrowed. */
struct record {
    enum record_type type;
    uint8_t flags; /* the owner's */
    uint16_t target_count;
    const struct record_target *targets;
    uint64_t message_id;
    uint64_t expiry_ms; /* wall clock, or 0 */
    struct bytes head;
    struct bytes body;
};

/* A record as it was read; all of it lies in the bytes that were parsed. */
struct record_view {
    uint8_t type; /* an enum record_type, or an unknown one with RECORD_IGNORABLE */
    uint8_t flags;
    uint16_t target_count;
    uint8_t target_bytes; /* of each; 0 when there are none */
    const uint8_t *targets;
    uint64_t message_id;
    uint64_t expiry_ms;
    struct bytes head;
    struct bytes body;
    uint32_t checksum; /* what the frame's checksum is folded from */
    uint32_t size;     /* bytes taken, a multiple of 8 */
};

enum record_fault {
    RECORD_GOOD,
    RECORD_BAD_LENGTH,   /* does not fit where it stands */
    RECORD_BAD_CHECKSUM, /* not what was written */
    RECORD_BAD_CONTENT,  /* well kept, and nonsense all the same */
    RECORD_UNKNOWN,      /* well kept, of a type that only a newer version knows */
};

/* Whether the journal takes this record: known type, as many targets as it needs, durable queues,
 * spans that stay within their priority, not too large. 0, -EINVAL or -EMSGSIZE. */
int record_validate(const struct record *record) MUST_USE;

/* Bytes that the record takes on disk, a multiple of 8. */
size_t record_size(const struct record *record);

/* Writes a valid record; `at` has record_size() bytes. Gives the checksum for the frame. */
uint32_t record_encode(const struct record *record, uint8_t *at);

/* The record as it would be read where it was encoded, without reading it. */
struct record_view record_view_of(const struct record *record, const uint8_t *at);

/* Reads the record at the beginning of `bytes`, of which nothing is believed. `ret_view` is
 * complete only for RECORD_GOOD; for RECORD_UNKNOWN its type and size are set. */
enum record_fault record_parse(struct bytes bytes, struct record_view *ret_view) MUST_USE;

/* The same for bytes whose checksum has been compared since they were read: it is not again. */
enum record_fault record_parse_known(struct bytes bytes, struct record_view *ret_view) MUST_USE;

/* The bytes that the record at the beginning of `bytes` says it takes, or 0 when that cannot be. */
size_t record_claimed_size(struct bytes bytes);

/* One target of a record that was read. */
struct record_target record_view_target(const struct record_view *view, uint32_t at);

/* Words of bits that a SETTLED has; one of them, whose bit i says that the message at target.seq +
 * 64 * `at` + i is settled. */
uint32_t record_settled_words(const struct record_view *view);
uint64_t record_settled_word(const struct record_view *view, uint32_t at);

/* The first run of settled messages of a SETTLED from *seq on, which is within it or before: where
 * it begins and ends. False when there is none. */
bool record_settled_run(const struct record_view *view, uint64_t *seq, uint64_t *ret_end);

/* The type's name, for example "PUB", or "unknown". */
const char *record_type_text(uint8_t type);

#endif
