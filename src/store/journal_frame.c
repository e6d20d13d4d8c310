/* journal_frame: the header of a group commit, and what has to hold behind it.
 *
 *     0 magic   4 version 5 flags 6 shard   8 file id   16 lsn   24 durable lsn   32 size
 *    36 records   40 predecessor's crc   44 body crc   48 wall clock   56 zero   60 crc */
#include "store/journal_frame.h"

#include "store/crc.h"
#include "store/le.h"
#include "store/plant.h"

#define MAGIC 0x314a5747u /* "GWJ1" */

enum {
    VERSION = 1,
    AT_VERSION = 4,
    AT_FLAGS = 5,
    AT_SHARD = 6,
    AT_FILE_ID = 8,
    AT_LSN = 16,
    AT_DURABLE = 24,
    AT_SIZE = 32,
    AT_RECORDS = 36,
    AT_PREV_CRC = 40,
    AT_BODY_CRC = 44,
    AT_WALL = 48,
    AT_ZERO = 56,
    AT_CRC = 60,
};

uint32_t journal_frame_fold(uint32_t body_crc, uint32_t record_crc) {
    uint8_t bytes[4];
    le_put_u32(bytes, record_crc);
    return crc32c_more(body_crc, bytes, sizeof bytes);
}

uint32_t journal_frame_put_header(const struct journal_frame *frame, uint8_t *at) {
    check(frame->size % JOURNAL_FRAME_BLOCK_BYTES == 0);
    check(frame->durable_lsn <= frame->lsn || PLANTED(WITNESS_TOO_HIGH));
    le_put_u32(at, MAGIC);
    at[AT_VERSION] = VERSION;
    at[AT_FLAGS] = frame->flags;
    le_put_u16(at + AT_SHARD, frame->shard);
    le_put_u64(at + AT_FILE_ID, frame->file_id);
    le_put_u64(at + AT_LSN, frame->lsn);
    le_put_u64(at + AT_DURABLE, frame->durable_lsn);
    le_put_u32(at + AT_SIZE, frame->size);
    le_put_u32(at + AT_RECORDS, frame->record_count);
    le_put_u32(at + AT_PREV_CRC, frame->prev_crc);
    le_put_u32(at + AT_BODY_CRC, frame->body_crc);
    le_put_u64(at + AT_WALL, frame->wall_ms);
    le_put_u32(at + AT_ZERO, 0);
    uint32_t crc = crc32c(at, AT_CRC);
    le_put_u32(at + AT_CRC, crc);
    return crc;
}

uint32_t journal_frame_crc(const uint8_t *at) {
    return le_get_u32(at + AT_CRC);
}

bool journal_frame_parse(const uint8_t *at, struct journal_frame *ret_frame) {
    if (le_get_u32(at) != MAGIC || at[AT_VERSION] != VERSION) return false;
    if (le_get_u32(at + AT_ZERO) != 0) return false;
    if (crc32c(at, AT_CRC) != le_get_u32(at + AT_CRC)) return false;
    uint32_t size = le_get_u32(at + AT_SIZE);
    if (size == 0 || size % JOURNAL_FRAME_BLOCK_BYTES != 0) return false;
    if (size > JOURNAL_FRAME_BYTES_MAX) return false;
    *ret_frame = (struct journal_frame){
        .flags = at[AT_FLAGS],
        .shard = le_get_u16(at + AT_SHARD),
        .file_id = le_get_u64(at + AT_FILE_ID),
        .lsn = le_get_u64(at + AT_LSN),
        .durable_lsn = le_get_u64(at + AT_DURABLE),
        .size = size,
        .record_count = le_get_u32(at + AT_RECORDS),
        .prev_crc = le_get_u32(at + AT_PREV_CRC),
        .body_crc = le_get_u32(at + AT_BODY_CRC),
        .wall_ms = le_get_u64(at + AT_WALL),
    };
    return true;
}

static bool all_zero(const uint8_t *at, size_t size) {
    if (size == 0) return true;
    return at[0] == 0 && memcmp(at, at + 1, size - 1) == 0;
}

struct journal_frame_verdict journal_frame_check(
    const struct journal_frame *frame, struct bytes bytes) {
    check(bytes.size == frame->size);
    uint32_t at = JOURNAL_FRAME_HEADER_BYTES;
    uint32_t body_crc = 0;
    for (uint32_t i = 0; i < frame->record_count; i++) {
        struct record_view view;
        enum record_fault fault = record_parse(bytes_of(bytes.data + at, bytes.size - at), &view);
        if (fault != RECORD_GOOD) return (struct journal_frame_verdict){fault, at};
        body_crc = journal_frame_fold(body_crc, view.checksum);
        at += view.size;
    }
    if (body_crc != frame->body_crc)
        return (struct journal_frame_verdict){RECORD_BAD_CHECKSUM, AT_BODY_CRC};
    if (bytes.size - at >= JOURNAL_FRAME_BLOCK_BYTES)
        return (struct journal_frame_verdict){RECORD_BAD_LENGTH, at};
    if (!all_zero(bytes.data + at, bytes.size - at) && !PLANTED(NO_PADDING_CHECK))
        return (struct journal_frame_verdict){RECORD_BAD_CHECKSUM, at};
    return (struct journal_frame_verdict){RECORD_GOOD, 0};
}

void journal_frame_walk(
    const struct journal_frame *frame, struct bytes bytes, journal_frame_fn found, void *context) {
    uint32_t at = JOURNAL_FRAME_HEADER_BYTES;
    for (uint32_t i = 0; i < frame->record_count; i++) {
        struct record_view view;
        enum record_fault fault =
            record_parse_known(bytes_of(bytes.data + at, bytes.size - at), &view);
        check(fault == RECORD_GOOD || PLANTED(TAIL_CUT_LATE));
        if (fault != RECORD_GOOD) return;
        found(context, &view);
        at += view.size;
    }
}

void journal_frame_salvage(
    const struct journal_frame *frame, struct bytes bytes, journal_frame_fn found, void *context) {
    uint32_t at = JOURNAL_FRAME_HEADER_BYTES;
    for (uint32_t i = 0; i < frame->record_count && at < bytes.size; i++) {
        struct bytes rest = bytes_of(bytes.data + at, bytes.size - at);
        struct record_view view;
        if (record_parse(rest, &view) == RECORD_GOOD) found(context, &view);
        size_t size = record_claimed_size(rest);
        if (size == 0) return;
        at += (uint32_t)size;
    }
}
