/* recover_kept: journal files that their writers have kept instead of releasing them.
 *
 *      chain      ... [file 8] [file 9, with a CATALOG: segments 1 and 4, journal file 6]
 *      kept       [file 6]
 *      left over  [file 5]     released, or kept once and given up: goes
 *
 * A kept file is never in the chain: whoever names one has released all before it, so the chain
 * begins behind it, whether a header says so yet or not. Every bit of it counts up to its end. When
 * nobody knows what the last manifest was, all files from before the chain may be kept ones. */
#include <stdlib.h>

#include "base/memory.h"
#include "store/recover_state.h"

static void kept_add(
    struct recovery *recovery, struct recover_file *file, uint64_t end, uint64_t index) {
    recovery->kept =
        mem_resize(recovery->kept, (recovery->kept_count + 1) * sizeof(struct recover_file *));
    recovery->kept[recovery->kept_count++] = file;
    file->listed = true;
    file->end = end;
    file->index_said = index;
}

/* The file that a manifest's entry means, or NULL. */
static struct recover_file *find(const struct recover_chain *chain, const struct segment_ref *ref) {
    for (uint32_t i = 0; i < chain->live_count; i++) {
        struct recover_file *file = chain->live[i];
        bool same = file->header.file_id == ref->file_id &&
                    file->header.file_no == (ref->number & ~SEGMENT_REF_KEPT);
        if (same && !file->in_chain) return file;
    }
    return NULL;
}

/* Whether the file, whose header is gone, has that one's first frame. */
static bool begins_like(struct recovery *recovery, struct recover_file *file, uint16_t shard,
    const struct segment_ref *ref, struct journal_frame *ret_frame) {
    if (file->size < FILE_FRAMES_AT + JOURNAL_FRAME_BLOCK_BYTES) return false;
    recover_reader_set(recovery, &recovery->reader, file);
    const uint8_t *block =
        recover_reader_get(recovery, &recovery->reader, FILE_FRAMES_AT, JOURNAL_FRAME_BLOCK_BYTES);
    if (!block || !journal_frame_parse(block, ret_frame)) return false;
    return ret_frame->shard == shard && ret_frame->file_id == ref->file_id &&
           ret_frame->lsn >= FILE_FRAMES_AT;
}

/* Reports the one whose header is gone and whose frames may be good, or that there is none. What is
 * damaged is not given away as a spare. */
static void report_missing(
    struct recovery *recovery, const struct recover_chain *chain, const struct segment_ref *ref) {
    struct recover_file *file = NULL;
    struct journal_frame first;
    for (uint32_t i = 0; i < recovery->file_count && !file; i++) {
        struct recover_file *other = recovery->files[i];
        bool headless = other->kind == RECOVER_FILE_HEADLESS || other->kind == RECOVER_FILE_BAD;
        if (headless && begins_like(recovery, other, chain->shard, ref, &first)) file = other;
    }
    enum recover_damage_kind kind = file ? RECOVER_BAD_HEADER : RECOVER_MISSING;
    struct recover_damage *damage = recover_damage_add(recovery, kind, file, 0);
    if (damage) {
        damage->shard = chain->shard;
        damage->file_no = ref->number & ~SEGMENT_REF_KEPT;
    }
    if (!file) return;
    file->kind = RECOVER_FILE_LIVE;
    file->header = (struct file_header){.shard = chain->shard,
        .file_no = ref->number & ~SEGMENT_REF_KEPT,
        .file_id = ref->file_id,
        .base_lsn = first.lsn - FILE_FRAMES_AT};
    file->damaged = true;
    kept_add(recovery, file, ref->end, ref->index);
}

static void list_manifest(struct recovery *recovery, const struct recover_chain *chain) {
    for (uint32_t i = 0; i < chain->manifest_count; i++) {
        const struct segment_ref *ref = &chain->manifest[i];
        if ((ref->number & SEGMENT_REF_KEPT) == 0) continue;
        struct recover_file *file = find(chain, ref);
        if (!file) {
            report_missing(recovery, chain, ref);
        } else if (!file->listed) {
            kept_add(recovery, file, ref->end, ref->index);
        }
    }
}

static void list_doubtful(struct recovery *recovery, const struct recover_chain *chain) {
    for (uint32_t i = 0; i < chain->live_count; i++) {
        struct recover_file *file = chain->live[i];
        if (file->listed || file->header.file_no >= chain->files[0]->header.file_no) continue;
        file->doubtful = true;
        kept_add(recovery, file, file->size, 0);
    }
}

static int by_writer_and_number(const void *a, const void *b) {
    const struct file_header *left = &(*(struct recover_file *const *)a)->header;
    const struct file_header *right = &(*(struct recover_file *const *)b)->header;
    if (left->shard != right->shard) return left->shard < right->shard ? -1 : 1;
    if (left->file_no != right->file_no) return left->file_no < right->file_no ? -1 : 1;
    return 0;
}

void recover_kept_check(struct recovery *recovery, bool doubtful) {
    for (uint32_t i = 0; i < recovery->chain_count; i++)
        list_manifest(recovery, &recovery->chains[i]);
    for (uint32_t i = 0; i < recovery->chain_count && doubtful; i++)
        list_doubtful(recovery, &recovery->chains[i]);
    if (recovery->kept_count == 0) return;
    qsort(
        recovery->kept, recovery->kept_count, sizeof(struct recover_file *), by_writer_and_number);
    for (uint32_t i = 0; i < recovery->kept_count; i++)
        if (!recovery->kept[i]->scanned) recover_kept_scan(recovery, recovery->kept[i]);
}
