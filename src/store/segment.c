/* segment: frames in memory, as a journal would write them, and the request that makes a file of
 * them.
 *
 *     [file header][frame][frame] ... [frame of INDEX, SEAL]
 *
 * A lsn is an offset, nothing is ever torn, and the flag SEAL says that nothing is missing. */
#include "store/segment.h"

#include <string.h>

#include "base/memory.h"
#include "base/str.h"
#include "store/file_index.h"
#include "store/journal_frame.h"
#include "store/le.h"

/* What is mapped at first, unless the segment is to be smaller: only what is written to takes
 * memory.
 */
enum { MEMORY_BYTES_FIRST = 64 * 1024 * 1024 };

struct segment_build {
    struct segment_settings settings;
    uint8_t *memory;
    size_t memory_bytes;
    size_t at;       /* where the next record goes, or the next frame */
    size_t frame_at; /* of the frame that is being filled, or 0 */
    struct journal_frame frame;
    uint32_t crc; /* of the header before */
    struct file_header header;
    struct file_index index;
    uint64_t record_count;
    bool in_message; /* the last record was a PART */
    bool finished;
};

/* Its memory is the caller's, as long as that is enough. */
static bool is_borrowed(const struct segment_build *build) {
    return build->memory == build->settings.memory;
}

static void reserve(struct segment_build *build, size_t size) {
    size_t needed = build->at + size;
    if (needed <= build->memory_bytes) return;
    size_t bytes = build->memory_bytes;
    while (bytes < needed)
        bytes *= 2;
    if (is_borrowed(build)) {
        build->memory = disk_memory_map(bytes);
        bytes_copy(build->memory, build->settings.memory, build->at);
    } else {
        build->memory = disk_memory_map_more(build->memory, build->memory_bytes, bytes);
    }
    build->memory_bytes = bytes;
}

struct segment_build *segment_begin(const struct segment_settings *settings) {
    check(settings->capacity_bytes >= SEGMENT_BYTES_MIN);
    check(settings->capacity_bytes % DISK_BLOCK_BYTES == 0);
    struct segment_build *build = NEW(struct segment_build);
    build->settings = *settings;
    build->memory = settings->memory;
    build->memory_bytes = settings->memory_bytes;
    build->header = (struct file_header){
        .format = FILE_FORMAT,
        .kind = settings->spill ? FILE_SPILL : FILE_SEGMENT,
        .shard = settings->shard,
        .file_no = settings->number,
        .file_id = settings->file_id,
    };
    memcpy(build->header.node_id, settings->node_id, FILE_NODE_ID_BYTES);
    file_index_clear(&build->index, settings->capacity_bytes / FILE_INDEX_PART);
    if (!settings->memory) {
        build->memory_bytes = min_u64(settings->capacity_bytes, MEMORY_BYTES_FIRST);
        build->memory = disk_memory_map(build->memory_bytes);
    }
    build->crc = file_header_encode(&build->header, build->memory);
    build->at = SEGMENT_FRAMES_AT;
    return build;
}

static void frame_begin(struct segment_build *build) {
    reserve(build, JOURNAL_FRAME_HEADER_BYTES);
    build->frame_at = build->at;
    build->frame = (struct journal_frame){
        .shard = build->settings.shard,
        .file_id = build->settings.file_id,
        .lsn = build->at,
        .prev_crc = build->crc,
    };
    build->at += JOURNAL_FRAME_HEADER_BYTES;
}

static void frame_end(struct segment_build *build, uint8_t flags) {
    size_t size = build->at - build->frame_at;
    size_t whole = journal_frame_size(size - JOURNAL_FRAME_HEADER_BYTES);
    reserve(build, whole - size);
    memset(build->memory + build->at, 0, whole - size);
    build->frame.flags = flags;
    build->frame.size = (uint32_t)whole;
    build->crc = journal_frame_put_header(&build->frame, build->memory + build->frame_at);
    build->at = build->frame_at + whole;
    build->frame_at = 0;
}

static void put_record(struct segment_build *build, const struct record *record, size_t size) {
    reserve(build, size);
    uint32_t crc = record_encode(record, build->memory + build->at);
    struct record_view view = record_view_of(record, build->memory + build->at);
    if (!build->settings.spill)
        file_index_add(&build->index, &view, build->memory + build->at, build->at);
    build->frame.body_crc = journal_frame_fold(build->frame.body_crc, crc);
    build->frame.record_count++;
    build->at += size;
}

/* Whether a record of `size` goes into the frame that is being filled. */
static bool fits_frame(const struct segment_build *build, size_t size) {
    if (build->frame_at == 0) return false;
    size_t taken = build->at - build->frame_at - JOURNAL_FRAME_HEADER_BYTES;
    return journal_frame_size(taken + size) <= JOURNAL_FRAME_BYTES;
}

static bool fits(const struct segment_build *build, const struct record *record, size_t size) {
    if (build->record_count == 0 || build->in_message) return true;
    uint64_t end = segment_bytes(build) + size;
    if (!fits_frame(build, size)) end += JOURNAL_FRAME_HEADER_BYTES;
    if (build->settings.spill) return end + DISK_BLOCK_BYTES <= build->settings.capacity_bytes;
    uint64_t index = file_index_frames_bytes(&build->index, JOURNAL_FRAME_BYTES,
        record->target_count, file_index_cost(record->type, record->target_count, size));
    uint64_t padding = DISK_BLOCK_BYTES;
    return end + padding + index <= build->settings.capacity_bytes;
}

bool segment_put(struct segment_build *build, const struct record *record, uint64_t *ret_offset) {
    check(!build->finished && record_validate(record) == 0);
    size_t size = record_size(record);
    if (!fits(build, record, size)) return false;
    bool same_frame = fits_frame(build, size);
    if (build->frame_at != 0 && !same_frame) frame_end(build, 0);
    if (!same_frame) frame_begin(build);
    *ret_offset = build->at;
    put_record(build, record, size);
    build->record_count++;
    build->in_message = record->type == RECORD_PART;
    return true;
}

uint64_t segment_bytes(const struct segment_build *build) {
    if (build->frame_at == 0) return build->at;
    return build->frame_at +
           journal_frame_size(build->at - build->frame_at - JOURNAL_FRAME_HEADER_BYTES);
}

uint64_t segment_records(const struct segment_build *build) {
    return build->record_count;
}

static void put_index(struct segment_build *build) {
    file_index_begin(&build->index, JOURNAL_FRAME_BYTES, build->at / FILE_INDEX_PART, UINT64_MAX);
    build->header.prev_index_lsn = build->at;
    while (!file_index_done(&build->index)) {
        size_t room = JOURNAL_FRAME_BYTES - JOURNAL_FRAME_HEADER_BYTES;
        frame_begin(build);
        reserve(build, room);
        build->at += file_index_put(&build->index, build->memory + build->at, room, &build->frame);
        bool last = file_index_done(&build->index);
        frame_end(build, file_index_flags(&build->index) | (last ? JOURNAL_FRAME_SEAL : 0));
    }
}

/* The header says where the index is, which was not known before; each frame names the one before.
 */
static void link_frames(struct segment_build *build) {
    uint32_t crc = file_header_encode(&build->header, build->memory);
    for (size_t at = SEGMENT_FRAMES_AT; at < build->at;) {
        struct journal_frame frame;
        check(journal_frame_parse(build->memory + at, &frame));
        frame.prev_crc = crc;
        crc = journal_frame_put_header(&frame, build->memory + at);
        at += frame.size;
    }
}

void segment_finish(struct segment_build *build, struct disk_request *ret_request) {
    check(!build->finished && build->record_count != 0);
    if (build->frame_at != 0) frame_end(build, 0);
    if (!build->settings.spill) {
        put_index(build);
        link_frames(build);
    }
    build->finished = true;
    *ret_request = (struct disk_request){
        .kind = DISK_MAKE,
        .data = build->memory,
        .size = build->at,
        .head_size = build->at,
        .spent = !is_borrowed(build),
    };
    if (build->settings.spill) {
        segment_spill_name(build->settings.file_id, ret_request->name);
        ret_request->fleeting = true;
    } else {
        segment_name(build->settings.file_id, ret_request->name);
    }
}

void segment_free(struct segment_build *build) {
    if (!build) return;
    if (!is_borrowed(build)) disk_memory_unmap(build->memory, build->memory_bytes);
    file_index_deinit(&build->index);
    mem_free(build);
}

void segment_name(uint64_t file_id, char name[DISK_NAME_BYTES_MAX]) {
    str_format(name, DISK_NAME_BYTES_MAX, "%016llx.segment", (unsigned long long)file_id);
}

void segment_ref_put(const struct segment_ref *ref, uint8_t *at) {
    le_put_u64(at, ref->number);
    le_put_u64(at + 8, ref->file_id);
}

void segment_spill_name(uint64_t file_id, char name[DISK_NAME_BYTES_MAX]) {
    str_format(name, DISK_NAME_BYTES_MAX, "%016llx.spill", (unsigned long long)file_id);
}
