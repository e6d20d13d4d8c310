/* recover_segments: which segments count, and which are left over.
 *
 * A writer's chain says by its last manifest which segments there are. One that it lists must be
 * there and whole. One that it does not list was made by a retirement that did not get so far, or
 * had already been given up; either way what lives in it is elsewhere too, and it goes. Unless the
 * chain itself is damaged: then nobody knows what its last manifest was, and everything stays. */
#include <stdlib.h>

#include "base/memory.h"
#include "store/plant.h"
#include "store/recover_state.h"

void recover_segment_judge(struct recovery *recovery, struct recover_file *file) {
    file->kind = RECOVER_FILE_BAD;
    if (file->size < FILE_HEADER_BYTES) return;
    recover_reader_set(recovery, &recovery->reader, file);
    const uint8_t *block = recover_reader_get(recovery, &recovery->reader, 0, FILE_HEADER_BYTES);
    enum file_header_fault fault =
        block ? file_header_parse(block, &file->header) : FILE_HEADER_BAD;
    if (fault == FILE_HEADER_NEWER) {
        recover_damage_add(recovery, RECOVER_NEWER, file, 0);
        return;
    }
    if (fault == FILE_HEADER_BAD || file->header.kind != FILE_SEGMENT) return;
    if (memcmp(file->header.node_id, recovery->settings.node_id, FILE_NODE_ID_BYTES) != 0) {
        recover_damage_add(recovery, RECOVER_FOREIGN, file, 0);
        return;
    }
    if (file->header.base_lsn != 0) return;
    file->header_crc = file_header_crc(block);
    file->kind = RECOVER_FILE_SEGMENT;
}

static int by_file_id(const void *a, const void *b) {
    const struct recover_file *left = *(struct recover_file *const *)a;
    const struct recover_file *right = *(struct recover_file *const *)b;
    bool known = left->kind == RECOVER_FILE_SEGMENT;
    if (known != (right->kind == RECOVER_FILE_SEGMENT)) return known ? -1 : 1;
    if (!known || left->header.file_id == right->header.file_id) return 0;
    return left->header.file_id < right->header.file_id ? -1 : 1;
}

/* The file that a manifest's entry means, or NULL. The files are in the order of by_file_id. */
static struct recover_file *find(
    const struct recovery *recovery, uint16_t shard, const struct segment_ref *segment) {
    struct recover_file like = {.kind = RECOVER_FILE_SEGMENT, .header.file_id = segment->file_id};
    const struct recover_file *key = &like;
    if (recovery->segment_count == 0) return NULL;
    struct recover_file **found =
        bsearch(&key, recovery->segments, recovery->segment_count, sizeof key, by_file_id);
    if (!found) return NULL;
    const struct file_header *header = &(*found)->header;
    return header->shard == shard && header->file_no == segment->number ? *found : NULL;
}

/* Why the header of a file cannot be read, or 0: then it is not what was written. */
static int header_error(struct recovery *recovery, struct recover_file *file) {
    recover_reader_set(recovery, &recovery->reader, file);
    bool given = file->size < FILE_HEADER_BYTES ||
                 recover_reader_get(recovery, &recovery->reader, 0, FILE_HEADER_BYTES);
    return given ? 0 : recovery->reader.error;
}

/* Reports the one with the right name and not the right header, or that there is none. */
static void report_missing(
    struct recovery *recovery, uint16_t shard, const struct segment_ref *segment) {
    char name[DISK_NAME_BYTES_MAX];
    segment_name(segment->file_id, name);
    struct recover_file *file = NULL;
    for (uint32_t i = 0; i < recovery->segment_count && !file; i++)
        if (strcmp(recovery->segments[i]->name, name) == 0) file = recovery->segments[i];
    int error = file ? header_error(recovery, file) : 0;
    enum recover_damage_kind kind = !file   ? RECOVER_MISSING
                                    : error ? RECOVER_UNREADABLE
                                            : RECOVER_BAD_HEADER;
    struct recover_damage *damage = recover_damage_add(recovery, kind, file, 0);
    if (!damage) return;
    memcpy(damage->name, name, sizeof name);
    damage->error = error;
    damage->shard = shard;
    damage->file_no = segment->number;
}

/* Finds what a manifest lists. */
static void list_manifest(struct recovery *recovery, const struct recover_chain *chain) {
    for (uint32_t i = 0; i < chain->manifest_count; i++) {
        const struct segment_ref *segment = &chain->manifest[i];
        if ((segment->number & SEGMENT_REF_KEPT) != 0) continue;
        struct recover_file *found = find(recovery, chain->shard, segment);
        if (found) {
            found->listed = true;
        } else {
            report_missing(recovery, chain->shard, segment);
        }
    }
}

static bool has_chain(const struct recovery *recovery, uint16_t shard) {
    for (uint32_t i = 0; i < recovery->chain_count; i++)
        if (recovery->chains[i].shard == shard) return true;
    return false;
}

/* Whoever has written a segment had a chain, whose last file is never released. */
static void report_orphans(struct recovery *recovery) {
    for (uint32_t i = 0; i < recovery->segment_count; i++) {
        const struct recover_file *file = recovery->segments[i];
        if (file->kind != RECOVER_FILE_SEGMENT || has_chain(recovery, file->header.shard)) continue;
        struct recover_damage *damage = recover_damage_add(recovery, RECOVER_MISSING, NULL, 0);
        if (damage) damage->shard = file->header.shard;
        return;
    }
}

static int by_writer_and_number(const void *a, const void *b) {
    const struct recover_file *left = *(struct recover_file *const *)a;
    const struct recover_file *right = *(struct recover_file *const *)b;
    if (left->listed != right->listed) return left->listed ? -1 : 1;
    if (!left->listed) return 0;
    if (left->header.shard != right->header.shard)
        return left->header.shard < right->header.shard ? -1 : 1;
    if (left->header.file_no != right->header.file_no)
        return left->header.file_no < right->header.file_no ? -1 : 1;
    return 0;
}

static void sort(struct recovery *recovery, int (*order)(const void *, const void *)) {
    if (recovery->segment_count == 0) return;
    qsort(recovery->segments, recovery->segment_count, sizeof(struct recover_file *), order);
}

bool recover_segments_check(struct recovery *recovery, bool doubtful) {
    sort(recovery, by_file_id);
    for (uint32_t i = 0; i < recovery->chain_count; i++)
        list_manifest(recovery, &recovery->chains[i]);
    uint64_t damages = recovery->damage_count;
    report_orphans(recovery);
    doubtful = doubtful || damages != recovery->damage_count;
    for (uint32_t i = 0; i < recovery->segment_count; i++) {
        struct recover_file *file = recovery->segments[i];
        if (doubtful) file->listed = file->kind == RECOVER_FILE_SEGMENT;
        if (!doubtful && !file->listed) recover_leftover_add(recovery, file->name);
        recovery->listed_count += file->listed;
    }
    sort(recovery, by_writer_and_number);
    for (uint32_t i = 0; i < recovery->listed_count; i++)
        recover_segment_scan(recovery, recovery->segments[i]);
    return doubtful;
}

uint32_t recover_segment_count(const struct recovery *recovery) {
    return recovery->listed_count + recovery->kept_count;
}

void recover_segment_at(
    const struct recovery *recovery, uint32_t at, struct recover_segment *ret_segment) {
    check(at < recover_segment_count(recovery));
    bool kept = at >= recovery->listed_count;
    const struct recover_file *file =
        kept ? recovery->kept[at - recovery->listed_count] : recovery->segments[at];
    *ret_segment = (struct recover_segment){
        .kept = kept,
        .shard = file->header.shard,
        .number = file->header.file_no,
        .file_id = file->header.file_id,
        .bytes = file->size,
        .end = kept ? file->end : file->size,
        .index = file->index,
        .indexed = file->indexed,
        .damaged = file->damaged,
    };
    memcpy(ret_segment->name, file->name, sizeof ret_segment->name);
}

uint64_t recover_last_segment_number(const struct recovery *recovery, uint16_t shard) {
    uint64_t last = 0;
    for (uint32_t i = 0; i < recovery->chain_count; i++)
        if (recovery->chains[i].shard == shard)
            last = max_u64(last, recovery->chains[i].last_segment_number);
    for (uint32_t i = 0; i < recovery->segment_count; i++) {
        const struct recover_file *file = recovery->segments[i];
        if (file->kind == RECOVER_FILE_SEGMENT && file->header.shard == shard)
            last = max_u64(last, file->header.file_no);
    }
    return last;
}
