/* recover: fuzzes reading back a directory: one or two files of any content, on a disk in memory.
 *
 *     flags, then for each file: its size, patches { place / 8: u16, size: u8, bytes }, size 0
 *
 * A file is zeroes but for its patches, so that inputs stay small. With REPAIR all checksums are
 * made right, and with LINK each frame follows the one before, so that what is behind them is
 * reached. Whatever comes of it, reading it twice gives the same, and nothing is left behind. */
#include "store/recover.h"

#include "fuzz.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/crc.h"
#include "store/journal_frame.h"
#include "store/le.h"
#include "store/pages.h"
#include "store/segment.h"

enum flag {
    TWO = 1,
    SALVAGE = 2,
    REPAIR = 4,
    LINK = 8,
    FIRST_SEGMENT = 16,
    SECOND_SEGMENT = 32,
    BY_INDEX = 64
};
enum { FILES_MAX = 2, BLOCKS_MAX = 64 };

struct memory_file {
    const char *name; /* NULL: removed */
    uint8_t *bytes;
    uint64_t size;
};

struct memory_disk {
    struct disk disk;
    struct memory_file files[FILES_MAX];
    int count;
};

static struct memory_disk *memory_of(struct disk *disk) {
    return CONTAINER_OF(disk, struct memory_disk, disk);
}

static struct memory_file *file_of(struct disk_file *handle) {
    return (struct memory_file *)(void *)handle;
}

static int memory_list(struct disk *disk, disk_name_fn found, void *context) {
    for (int i = 0; i < memory_of(disk)->count; i++)
        if (memory_of(disk)->files[i].name) found(context, memory_of(disk)->files[i].name);
    return 0;
}

static int memory_open(struct disk *disk, const char *name, struct disk_file **ret_file) {
    for (int i = 0; i < memory_of(disk)->count; i++) {
        struct memory_file *file = &memory_of(disk)->files[i];
        if (!file->name || strcmp(file->name, name) != 0) continue;
        *ret_file = (struct disk_file *)(void *)file;
        return 0;
    }
    return -ENOENT;
}

static void memory_close(struct disk *disk, struct disk_file *file) {
    (void)disk;
    (void)file;
}

static int memory_size(struct disk *disk, struct disk_file *file, uint64_t *ret_size) {
    (void)disk;
    *ret_size = file_of(file)->size;
    return 0;
}

static int memory_read(
    struct disk *disk, struct disk_file *file, uint64_t offset, void *into, size_t size) {
    (void)disk;
    uint64_t there = file_of(file)->size;
    if (offset > there || size > there - offset) return -EIO;
    memcpy(into, file_of(file)->bytes + offset, size);
    return 0;
}

static int memory_remove(struct disk *disk, const char *name) {
    struct disk_file *file = NULL;
    int status = memory_open(disk, name, &file);
    if (status == 0) file_of(file)->name = NULL;
    return status;
}

/* A recovery that only looks calls nothing else. */
static const struct disk_calls CALLS = {
    .list = memory_list,
    .open = memory_open,
    .close = memory_close,
    .size = memory_size,
    .read = memory_read,
    .remove = memory_remove,
};

static uint8_t take(const uint8_t **data, size_t *size) {
    if (*size == 0) return 0;
    ++*data;
    --*size;
    return (*data)[-1];
}

static void fill(struct memory_file *file, const uint8_t **data, size_t *size) {
    while (*size >= 3) {
        uint64_t at = 8u * (uint64_t)le_get_u16(*data);
        size_t count = (*data)[2];
        *data += 3;
        *size -= 3;
        if (count == 0) return;
        count = min_u64(count, *size);
        if (at < file->size) memcpy(file->bytes + at, *data, min_u64(count, file->size - at));
        *data += count;
        *size -= count;
    }
}

static void repair_block(struct memory_file *file, uint64_t at) {
    if (at + FILE_HEADER_BYTES > file->size) return;
    uint8_t *block = file->bytes + at;
    le_put_u32(block + FILE_HEADER_BYTES - 4, crc32c(block, FILE_HEADER_BYTES - 4));
}

/* Makes the checksums of one frame right. Gives its size, or that of a block. */
static uint64_t repair_frame(struct memory_file *file, uint64_t at, uint32_t *prev_crc, bool link) {
    uint8_t *frame = file->bytes + at;
    uint64_t size = le_get_u32(frame + 32);
    if (memcmp(frame, "GWJ1", 4) != 0) return DISK_BLOCK_BYTES;
    if (size == 0 || size % DISK_BLOCK_BYTES != 0 || size > file->size - at)
        size = DISK_BLOCK_BYTES;
    uint32_t body_crc = 0;
    uint64_t record = JOURNAL_FRAME_HEADER_BYTES;
    for (uint32_t left = le_get_u32(frame + 36); left != 0 && record < size; left--) {
        size_t bytes = record_claimed_size(bytes_of(frame + record, size - record));
        if (bytes == 0) break;
        uint32_t crc = crc32c(frame + record + 4, bytes - 4);
        le_put_u32(frame + record, crc);
        body_crc = journal_frame_fold(body_crc, crc);
        record += bytes;
    }
    if (link) le_put_u32(frame + 40, *prev_crc);
    le_put_u32(frame + 44, body_crc);
    le_put_u32(frame + 60, crc32c(frame, 60));
    *prev_crc = journal_frame_crc(frame);
    return size;
}

static void repair(struct memory_file *file, bool segment, bool link) {
    repair_block(file, 0);
    if (!segment && memcmp(file->bytes + FILE_MARK_AT, "GWF1", 4) == 0)
        repair_block(file, FILE_MARK_AT);
    uint32_t prev_crc = file_header_crc(file->bytes);
    uint64_t at = segment ? SEGMENT_FRAMES_AT : FILE_FRAMES_AT;
    while (at + DISK_BLOCK_BYTES <= file->size)
        at += repair_frame(file, at, &prev_crc, link);
}

struct tally {
    uint64_t records;
    uint64_t bytes;
};

static void on_record(void *context, const struct recover_record *record) {
    struct tally *tally = context;
    const struct record_view *view = record->view;
    tally->records++;
    tally->bytes += view->body.size + view->head.size;
    for (uint32_t i = 0; i < view->target_count; i++)
        tally->bytes += record_view_target(view, i).queue;
    for (uint32_t i = 0; i < view->body.size; i++)
        tally->bytes += view->body.data[i];
}

static void walk(struct recovery *recovery) {
    struct recover_segment segment;
    struct journal_past past;
    for (uint32_t i = 0; i < recover_segment_count(recovery); i++) {
        recover_segment_at(recovery, i, &segment);
        if (segment.kept) continue;
        check(segment.number <= recover_last_segment_number(recovery, segment.shard));
    }
    for (uint32_t i = 0; i < recover_shard_count(recovery); i++)
        recover_past(recovery, recover_shard_at(recovery, i), &past);
    uint64_t damages = min_u64(recover_damage_count(recovery), RECOVER_DAMAGES_MAX);
    for (uint64_t i = 0; i < damages; i++)
        check(memchr(recover_damage_at(recovery, i)->name, 0, DISK_NAME_BYTES_MAX) != NULL);
}

static void on_run(void *context, const struct recover_run *run) {
    struct tally *tally = context;
    tally->records++;
    tally->bytes += run->count + run->first_seq + run->offset;
    check(run->count != 0 && run->bytes / RECORD_HEADER_BYTES >= run->count);
    check(run->offset + run->bytes <= BLOCKS_MAX * DISK_BLOCK_BYTES);
}

static struct tally read_back(struct memory_disk *memory, uint8_t flags) {
    bool salvage = (flags & SALVAGE) != 0;
    struct recover_settings settings = {.disk = &memory->disk,
        .salvage = salvage,
        .read_only = true,
        .by_index = (flags & BY_INDEX) != 0};
    struct tally tally = {0};
    struct recovery *recovery = NULL;
    if (recover_open(&settings, &recovery) != 0) return tally;
    walk(recovery);
    enum recover_verdict verdict = recover_verdict(recovery);
    if (verdict == RECOVER_CLEAN || (verdict == RECOVER_DAMAGED && salvage)) {
        uint32_t messages = RECORD_BIT(RECORD_PUB) | RECORD_BIT(RECORD_PART);
        check(recover_replay(recovery, ~messages, on_record, &tally) == 0);
        check(recover_replay(recovery, messages, on_record, &tally) == 0);
        struct tally once = {0};
        check(recover_replay(recovery, ~0u, on_record, &once) == 0);
        check(once.records == tally.records && once.bytes == tally.bytes);
        check(recover_runs(recovery, on_run, &tally) == 0);
    }
    recover_close(recovery);
    return tally;
}

static void sweep(struct memory_disk *memory) {
    struct recover_settings settings = {.disk = &memory->disk, .read_only = true};
    struct recovery *recovery = NULL;
    if (recover_open(&settings, &recovery) != 0) return;
    check(recover_sweep(recovery) == 0);
    while (recover_take_spare(recovery, 0)) {
    }
    recover_close(recovery);
}

/* Walks a file's records from a place, in pieces, as who reads messages back does. Whatever is in
 * it, the walk goes forward and ends. */
static uint64_t walk_pages(const struct memory_file *file, uint64_t at, uint64_t piece_bytes) {
    struct page page = {.end = file->size, .file_id = le_get_u64(file->bytes + 40)};
    uint64_t from = at - at % DISK_BLOCK_BYTES;
    uint64_t records = 0;
    page_begin(
        &page, bytes_of(file->bytes + from, min_u64(piece_bytes, file->size - from)), from, at);
    for (;;) {
        uint64_t before = page.at;
        enum page_step step = page_next(&page);
        check(page.at >= before && page.at <= file->size);
        if (step == PAGE_RECORD) {
            check(page.at > before && page.record_at >= before);
            records += 1 + page.view.target_count;
            continue;
        }
        check(page_next(&page) == step);
        if (step != PAGE_MORE) return records;
        from = page.at - page.at % DISK_BLOCK_BYTES;
        check(page.needed <= file->size - page.at);
        uint64_t size = max_u64(piece_bytes, page.at - from + page.needed);
        page_continue(&page, bytes_of(file->bytes + from, min_u64(size, file->size - from)), from);
    }
}

static void walk_all_pages(const struct memory_file *file) {
    uint64_t whole = walk_pages(file, SEGMENT_FRAMES_AT % file->size, file->size);
    uint64_t pieces = walk_pages(file, SEGMENT_FRAMES_AT % file->size, DISK_BLOCK_BYTES);
    check(whole == pieces);
    for (uint64_t at = 0; at < file->size; at += 8 * (1 + at / 64))
        walk_pages(file, at, 2 * (uint64_t)DISK_BLOCK_BYTES);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint8_t flags = take(&data, &size);
    struct memory_disk memory = {.disk.calls = &CALLS, .count = flags & TWO ? 2 : 1};
    for (int i = 0; i < memory.count; i++) {
        struct memory_file *file = &memory.files[i];
        bool segment = (flags & (i == 0 ? FIRST_SEGMENT : SECOND_SEGMENT)) != 0;
        file->name =
            segment ? (i == 0 ? "1.segment" : "2.segment") : (i == 0 ? "1.journal" : "2.journal");
        uint64_t blocks = 1 + take(&data, &size) % BLOCKS_MAX;
        /* Shorter journal files are refused by their size, which needs no search. */
        if (!segment) blocks = max_u64(blocks, JOURNAL_FILE_BYTES_MIN / DISK_BLOCK_BYTES);
        file->size = blocks * DISK_BLOCK_BYTES;
        file->bytes = calloc(1, file->size);
        check(file->bytes != NULL);
        fill(file, &data, &size);
        if ((flags & REPAIR) != 0) repair(file, segment, (flags & LINK) != 0);
    }
    struct tally first = read_back(&memory, flags);
    struct tally second = read_back(&memory, flags);
    check(first.records == second.records && first.bytes == second.bytes);
    sweep(&memory);
    for (int i = 0; i < memory.count; i++)
        walk_all_pages(&memory.files[i]);
    for (int i = 0; i < memory.count; i++)
        free(memory.files[i].bytes);
    return 0;
}
