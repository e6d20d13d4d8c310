/* journal_frame: one group commit as it lies on disk: a header, records, zeroes up to a block. */
#ifndef STORE_JOURNAL_FRAME_H
#define STORE_JOURNAL_FRAME_H

#include "store/record.h"

enum {
    JOURNAL_FRAME_HEADER_BYTES = 64,
    JOURNAL_FRAME_BLOCK_BYTES = 4096,
    /* A frame is not filled further than this: with two in flight, the disk writes the one while
     * the other is built. */
    JOURNAL_FRAME_BYTES = 512 * 1024,
    JOURNAL_FRAME_BYTES_MAX = 4 * 1024 * 1024, /* unless one record alone needs more */
};

enum journal_frame_flag {
    JOURNAL_FRAME_SEAL = 1,  /* nothing but a witness, written when there was nothing to write */
    JOURNAL_FRAME_INDEX = 2, /* of the file it ends: store/file_index.h */
    JOURNAL_FRAME_COMPLETE =
        4, /* the last of these frames: together they say what the file holds */
};

/* What a frame's header says. */
struct journal_frame {
    uint8_t flags;
    uint16_t shard;
    uint64_t file_id;
    uint64_t lsn;         /* where it stands */
    uint64_t durable_lsn; /* everything below was stable when it was written */
    uint32_t size;        /* with header and padding, a multiple of the block */
    uint32_t record_count;
    uint32_t prev_crc; /* the header checksum of the frame before, or of the file header */
    uint32_t body_crc; /* folded over the records' checksums */
    uint64_t wall_ms;
};

/* The size of a frame whose records take that many bytes. */
static inline size_t journal_frame_size(size_t record_bytes) {
    size_t size = JOURNAL_FRAME_HEADER_BYTES + record_bytes;
    return (size + JOURNAL_FRAME_BLOCK_BYTES - 1) & ~(size_t)(JOURNAL_FRAME_BLOCK_BYTES - 1);
}

/* Folds a record's checksum into a frame's; the first is folded into 0. */
uint32_t journal_frame_fold(uint32_t body_crc, uint32_t record_crc);

/* Writes the header over the first bytes of the frame. Gives the header's checksum, which the next
 * frame names as its predecessor's. */
uint32_t journal_frame_put_header(const struct journal_frame *frame, uint8_t *at);

/* Reads a header of JOURNAL_FRAME_HEADER_BYTES, of which nothing is believed. False when it is
 * none: other magic or version, wrong checksum, a size that no frame has. */
bool journal_frame_parse(const uint8_t *at, struct journal_frame *ret_frame) MUST_USE;

/* The checksum in a header that was parsed. */
uint32_t journal_frame_crc(const uint8_t *at);

/* Called for each record of a good frame; a view is borrowed for the call. */
typedef void (*journal_frame_fn)(void *context, const struct record_view *view);

struct journal_frame_verdict {
    enum record_fault fault;
    uint32_t offset; /* where in the frame it is */
};

/* Checks all that stands behind the header: every record, how many there are, their folded
 * checksums, the padding. `bytes` is the whole frame. */
struct journal_frame_verdict journal_frame_check(
    const struct journal_frame *frame, struct bytes bytes) MUST_USE;

/* Walks the records of a frame that was checked since it was read. */
void journal_frame_walk(
    const struct journal_frame *frame, struct bytes bytes, journal_frame_fn found, void *context);

/* Of a frame that failed its check, gives the records that are good by themselves, up to the first
 * whose length cannot be believed. */
void journal_frame_salvage(
    const struct journal_frame *frame, struct bytes bytes, journal_frame_fn found, void *context);

#endif
