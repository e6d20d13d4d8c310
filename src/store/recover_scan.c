/* recover_scan: checking the frames of one writer's chain, and telling a torn tail from damage.
 *
 *      file 7  [frame][frame][frame] x ......        file 8  [frame][frame] ...
 *                                    ^ the first bad frame
 *
 * Every frame says up to where everything was stable when it was written. If any later frame or
 * header says more than x, then x had been stable: damage. If none does, nobody was ever told that
 * x is stable: the chain ends there, and what lies behind does not count. */
#include "base/memory.h"
#include "store/plant.h"
#include "store/recover_state.h"

/* A chain while it is scanned. */
struct scan {
    struct recovery *recovery;
    struct recover_chain *chain;
    struct recover_file *file;
    uint64_t at;       /* in the file */
    uint64_t limit;    /* where the successor says that the file ends, or UINT64_MAX */
    uint32_t crc;      /* of the header before */
    bool crc_known;    /* not behind a gap */
    bool ended;        /* torn: nothing behind counts */
    bool older;        /* behind a gap: not where the chain ends */
    bool manifests;    /* those that are met count */
    bool by_index;     /* only the index is read */
    bool nonsense;     /* it says what cannot be */
    uint32_t types;    /* RECORD_BIT of what the good frame at the place holds */
    uint64_t last_lsn; /* of the frame before, for PLANTED(TAIL_CUT_EARLY) */
    uint32_t last_crc;
};

enum frame_finding { FRAME_GOOD, FRAME_BAD, FRAME_UNREADABLE, FRAME_NEWER };

/* The header of the frame at an offset, if one of this file and place is there. */
static bool header_at(
    const struct recover_file *file, const uint8_t *block, uint64_t at, struct journal_frame *ret) {
    if (!journal_frame_parse(block, ret)) return false;
    if (PLANTED(STALE_FRAMES)) return ret->size <= file->size - at;
    if (ret->file_id != file->header.file_id || ret->shard != file->header.shard) return false;
    return ret->lsn == file->header.base_lsn + at && ret->size <= file->size - at;
}

static enum frame_finding look(
    struct scan *scan, struct journal_frame *ret_frame, struct journal_frame_verdict *ret_verdict) {
    struct recover_reader *reader = &scan->recovery->reader;
    const struct recover_file *file = scan->file;
    *ret_verdict = (struct journal_frame_verdict){RECORD_BAD_CHECKSUM, 0};
    *ret_frame = (struct journal_frame){.size = 0};
    if (file->size - scan->at < JOURNAL_FRAME_BLOCK_BYTES) return FRAME_BAD;
    const uint8_t *bytes =
        recover_reader_get(scan->recovery, reader, scan->at, JOURNAL_FRAME_BLOCK_BYTES);
    if (!bytes) return FRAME_UNREADABLE;
    struct journal_frame frame;
    if (!header_at(file, bytes, scan->at, &frame)) return FRAME_BAD;
    *ret_frame = frame;
    bool linked = !scan->crc_known || frame.prev_crc == scan->crc || PLANTED(NO_CHAIN_CHECK);
    if (!linked) return FRAME_BAD;
    bytes = recover_reader_get(scan->recovery, reader, scan->at, frame.size);
    if (!bytes) return FRAME_UNREADABLE;
    *ret_verdict = journal_frame_check(&frame, bytes_of(bytes, frame.size));
    if (ret_verdict->fault == RECORD_UNKNOWN) return FRAME_NEWER;
    bool good = ret_verdict->fault == RECORD_GOOD || PLANTED(TAIL_CUT_LATE);
    return good ? FRAME_GOOD : FRAME_BAD;
}

static void stretch_add(struct recover_file *file, const struct recover_stretch *stretch) {
    struct recover_stretch *last =
        file->stretch_count ? &file->stretches[file->stretch_count - 1] : NULL;
    bool joins = last && last->to == stretch->from && last->types == stretch->types;
    if (joins && !last->partial && !stretch->partial) {
        last->to = stretch->to;
        return;
    }
    if (file->stretch_count == file->stretch_capacity) {
        file->stretch_capacity = file->stretch_capacity ? 2 * file->stretch_capacity : 8;
        file->stretches =
            mem_resize(file->stretches, file->stretch_capacity * sizeof *file->stretches);
    }
    file->stretches[file->stretch_count++] = *stretch;
}

/* A later frame in this file that says that `lsn` was stable. Headers decide: they were only
 * written by somebody who knew. */
static bool file_bears_witness(
    struct scan *scan, struct recover_file *file, uint64_t from, uint64_t lsn) {
    struct recovery *recovery = scan->recovery;
    recover_reader_set(recovery, &recovery->search_reader, file);
    uint64_t at = from;
    for (; at + JOURNAL_FRAME_BLOCK_BYTES <= file->size; at += JOURNAL_FRAME_BLOCK_BYTES) {
        const uint8_t *block =
            recover_reader_get(recovery, &recovery->search_reader, at, JOURNAL_FRAME_BLOCK_BYTES);
        struct journal_frame frame;
        if (!block || !journal_frame_parse(block, &frame)) continue;
        if (frame.shard != scan->chain->shard || frame.durable_lsn <= lsn) continue;
        bool known = file->kind == RECOVER_FILE_LIVE;
        if (known && !header_at(file, block, at, &frame)) continue;
        return true;
    }
    return false;
}

/* The file that says that `lsn` was stable, or NULL. */
static struct recover_file *find_witness(struct scan *scan, uint64_t lsn) {
    struct recovery *recovery = scan->recovery;
    if (PLANTED(NO_WITNESS)) return NULL;
    for (uint32_t i = 0; i < recovery->file_count; i++) {
        struct recover_file *file = recovery->files[i];
        bool ours = file->kind == RECOVER_FILE_LIVE && file->header.shard == scan->chain->shard;
        if (ours && file->header.durable_lsn > lsn) return file;
    }
    uint64_t behind = scan->at + JOURNAL_FRAME_BLOCK_BYTES;
    if (file_bears_witness(scan, scan->file, behind, lsn)) return scan->file;
    for (uint32_t i = 0; i < recovery->file_count; i++) {
        struct recover_file *file = recovery->files[i];
        bool later = file->kind == RECOVER_FILE_LIVE && file->header.shard == scan->chain->shard &&
                     file->header.base_lsn > lsn;
        bool headless = file->kind == RECOVER_FILE_HEADLESS;
        if (!later && !headless) continue;
        if (file_bears_witness(scan, file, FILE_FRAMES_AT, lsn)) return file;
    }
    return NULL;
}

/* The next offset with a good frame, or the limit, or the file's end. */
static uint64_t find_resumption(struct scan *scan) {
    struct recovery *recovery = scan->recovery;
    struct recover_file *file = scan->file;
    uint64_t end = min_u64(scan->limit, file->size);
    uint64_t at = scan->at + JOURNAL_FRAME_BLOCK_BYTES;
    recover_reader_set(recovery, &recovery->search_reader, file);
    for (; at + JOURNAL_FRAME_BLOCK_BYTES <= end; at += JOURNAL_FRAME_BLOCK_BYTES) {
        struct recover_reader *reader = &recovery->search_reader;
        const uint8_t *bytes = recover_reader_get(recovery, reader, at, JOURNAL_FRAME_BLOCK_BYTES);
        struct journal_frame frame;
        if (!bytes || !header_at(file, bytes, at, &frame)) continue;
        bytes = recover_reader_get(recovery, reader, at, frame.size);
        if (!bytes) continue;
        struct bytes whole = bytes_of(bytes, frame.size);
        if (journal_frame_check(&frame, whole).fault == RECORD_GOOD) return at;
    }
    return end;
}

/* What the damaged record says it is about, for the report. */
static void name_target(struct scan *scan, const struct journal_frame *frame, uint32_t at,
    struct recover_damage *damage) {
    uint64_t needed = at + RECORD_HEADER_BYTES + RECORD_POINT_BYTES;
    if (at < JOURNAL_FRAME_HEADER_BYTES || needed > frame->size) return;
    const uint8_t *bytes =
        recover_reader_get(scan->recovery, &scan->recovery->reader, scan->at, frame->size);
    if (!bytes) return;
    struct record_view view = {
        .target_count = 1,
        .target_bytes = RECORD_POINT_BYTES,
        .targets = bytes + at + RECORD_HEADER_BYTES,
    };
    damage->target = record_view_target(&view, 0);
    damage->has_target = damage->target.queue != 0;
}

/* Reports the bad frame at the place, and goes behind it. */
static void pass_damage(struct scan *scan, enum frame_finding finding,
    const struct journal_frame *frame, uint32_t fault_at) {
    struct recovery *recovery = scan->recovery;
    enum recover_damage_kind kind = finding == FRAME_NEWER        ? RECOVER_NEWER
                                    : finding == FRAME_UNREADABLE ? RECOVER_UNREADABLE
                                                                  : RECOVER_BAD_FRAME;
    int error = recovery->reader.error;
    struct recover_damage *damage = recover_damage_add(recovery, kind, scan->file, scan->at);
    if (damage && frame->size != 0) name_target(scan, frame, fault_at, damage);
    uint64_t resumed = find_resumption(scan);
    if (damage) {
        damage->size = resumed - scan->at;
        damage->error = finding == FRAME_UNREADABLE ? error : 0;
    }
    bool whole = frame->size != 0 && frame->size <= resumed - scan->at;
    if (finding == FRAME_BAD && whole)
        stretch_add(
            scan->file, &(struct recover_stretch){scan->at, scan->at + frame->size, true, ~0u});
    scan->at = resumed;
    scan->crc_known = false;
}

static void note_end(struct scan *scan) {
    struct recover_chain *chain = scan->chain;
    scan->file->end = scan->at;
    if (scan->older) return;
    chain->end_index_lsn = scan->file->index ? scan->file->header.base_lsn + scan->file->index : 0;
    chain->end_file_no = scan->file->header.file_no;
    chain->end_lsn = scan->file->header.base_lsn + scan->at;
    chain->end_crc = scan->crc;
}

/* The last manifest of a chain says which segments there are. Nobody has kept the file that he
 * writes to. */
static void on_manifest(struct scan *scan, const struct record_view *view) {
    struct recover_chain *chain = scan->chain;
    uint64_t released = manifest_released(view);
    chain->has_manifest = true;
    chain->manifest_released = released < scan->file->header.file_no ? released : 0;
    if (PLANTED(KEPT_UNEXPLAINED)) chain->manifest_released = 0;
    chain->manifest_count = manifest_count(view);
    if (chain->manifest_count == 0) return;
    chain->manifest = mem_resize(chain->manifest, chain->manifest_count * sizeof *chain->manifest);
    for (uint32_t i = 0; i < chain->manifest_count; i++) {
        struct segment_ref ref = manifest_at(view, i);
        chain->manifest[i] = ref;
        if ((ref.number & SEGMENT_REF_KEPT) == 0)
            chain->last_segment_number = max_u64(chain->last_segment_number, ref.number);
    }
}

/* Remembers where pieces are of messages that lie in two files. */
static void on_runs(struct scan *scan, struct bytes body) {
    struct recover_file *file = scan->file;
    for (uint32_t i = 0; i < file_run_count(body); i++) {
        struct file_run run = file_run_at(body, i);
        scan->nonsense = scan->nonsense || !recover_run_is_sound(file, &run);
        if (run.count != 0 || scan->nonsense) continue;
        file->pieces = mem_resize(file->pieces, (file->piece_count + 1) * sizeof *file->pieces);
        file->pieces[file->piece_count++] = run;
    }
}

static void on_good_record(void *context, const struct record_view *view) {
    struct scan *scan = context;
    if (view->type < 31) scan->types |= RECORD_BIT(view->type);
    if (view->type == RECORD_RUNS) scan->types |= RECOVER_RUNS_BIT;
    if (view->type == RECORD_RUNS && scan->by_index) on_runs(scan, view->body);
    if (scan->manifests && manifest_is(view->type)) on_manifest(scan, view);
}

static void pass_good(struct scan *scan, const struct journal_frame *frame) {
    struct recovery *recovery = scan->recovery;
    const uint8_t *bytes = recover_reader_get(recovery, &recovery->reader, scan->at, frame->size);
    scan->types = 0;
    if (bytes) journal_frame_walk(frame, bytes_of(bytes, frame->size), on_good_record, scan);
    stretch_add(scan->file,
        &(struct recover_stretch){scan->at, scan->at + frame->size, false, scan->types});
    scan->last_crc = scan->crc;
    scan->last_lsn = scan->at;
    scan->crc = bytes ? journal_frame_crc(bytes) : 0;
    scan->crc_known = bytes != NULL;
    if ((frame->flags & JOURNAL_FRAME_INDEX) != 0 && scan->file->index == 0)
        scan->file->index = scan->at;
    scan->at += frame->size;
    scan->file->frames++;
    scan->file->records += frame->record_count;
    scan->file->bytes += frame->size;
    recovery->counts.frames++;
    recovery->counts.records += frame->record_count;
    recovery->counts.bytes += frame->size;
}

/* A frame by somebody who knew that the header of its file is stable. The last file of a chain is
 * never released, so that whoever has written such a frame still has a file with a header. */
static bool frame_is_orphan(const struct journal_frame *frame, uint64_t at) {
    return frame->lsn >= at && frame->durable_lsn > frame->lsn - at;
}

/* Reports the files whose headers were stable, are gone, and would have continued the chain. False
 * when there is none: then the witness is a file that was begun later and whose header was torn. */
static bool report_headless(struct scan *scan, uint64_t lsn) {
    struct recovery *recovery = scan->recovery;
    struct recover_reader *reader = &recovery->search_reader;
    uint32_t reported = 0;
    for (uint32_t i = 0; i < recovery->file_count; i++) {
        struct recover_file *file = recovery->files[i];
        if (file->kind != RECOVER_FILE_HEADLESS) continue;
        recover_reader_set(recovery, reader, file);
        bool found = false;
        uint64_t at = FILE_FRAMES_AT;
        for (; !found && at < file->size; at += JOURNAL_FRAME_BLOCK_BYTES) {
            const uint8_t *block =
                recover_reader_get(recovery, reader, at, JOURNAL_FRAME_BLOCK_BYTES);
            struct journal_frame frame;
            if (!block || !journal_frame_parse(block, &frame)) continue;
            if (frame.shard != scan->chain->shard || frame.durable_lsn <= lsn) continue;
            found = frame_is_orphan(&frame, at);
        }
        if (found) recover_damage_add(recovery, RECOVER_BAD_HEADER, file, 0);
        reported += found;
    }
    return reported != 0;
}

/* The first bad frame, or the end: torn, or damage. */
static void judge_bad(struct scan *scan, enum frame_finding finding,
    const struct journal_frame *frame, uint32_t fault_at) {
    uint64_t lsn = scan->file->header.base_lsn + scan->at;
    struct recover_file *witness = find_witness(scan, lsn);
    bool at_end = scan->at >= min_u64(scan->limit, scan->file->size);
    bool headless = witness && witness->kind == RECOVER_FILE_HEADLESS && scan->limit == UINT64_MAX;
    if (headless && report_headless(scan, lsn) &&
        !file_bears_witness(scan, scan->file, scan->at, lsn)) {
        /* The chain goes on in a file whose header is gone, and this one is good to its end. */
        scan->ended = true;
        return;
    }
    if (!at_end && (witness || finding == FRAME_UNREADABLE || finding == FRAME_NEWER)) {
        pass_damage(scan, finding, frame, fault_at);
        return;
    }
    if (PLANTED(TAIL_CUT_EARLY) && scan->file->stretch_count != 0 && scan->last_lsn != 0) {
        scan->file->stretches[scan->file->stretch_count - 1].to = scan->last_lsn;
        scan->at = scan->last_lsn;
        scan->crc = scan->last_crc;
    }
    scan->ended = true;
}

/* ---- by index ---- */

/* Whether a later header or frame says that everything below was stable. Without one it may be that
 * the index has reached the disk, and not all that it is about. */
static bool is_witnessed(struct scan *scan, uint64_t lsn) {
    struct recovery *recovery = scan->recovery;
    for (uint32_t i = 0; i < scan->chain->live_count; i++)
        if (scan->chain->live[i]->header.durable_lsn >= lsn) return true;
    struct recover_file *next = scan->file->successor;
    struct recover_reader *reader = &recovery->search_reader;
    recover_reader_set(recovery, reader, next);
    uint64_t at = FILE_FRAMES_AT;
    while (at + JOURNAL_FRAME_BLOCK_BYTES <= next->size) {
        struct journal_frame frame;
        const uint8_t *block = recover_reader_get(recovery, reader, at, JOURNAL_FRAME_BLOCK_BYTES);
        if (!block || !header_at(next, block, at, &frame)) return false;
        if (frame.durable_lsn >= lsn) return true;
        at += frame.size;
    }
    return false;
}

/* Whether the frames from the place to the limit are the index, and say that it is complete. */
static bool is_index(struct scan *scan) {
    bool complete = false;
    while (scan->at < scan->limit && !complete) {
        struct journal_frame frame;
        struct journal_frame_verdict verdict;
        if (look(scan, &frame, &verdict) != FRAME_GOOD) return false;
        if ((frame.flags & JOURNAL_FRAME_INDEX) == 0) return false;
        const uint8_t *bytes = recover_reader_get(
            scan->recovery, &scan->recovery->reader, scan->at, JOURNAL_FRAME_BLOCK_BYTES);
        if (!bytes) return false;
        complete = (frame.flags & JOURNAL_FRAME_COMPLETE) != 0;
        scan->crc = journal_frame_crc(bytes);
        scan->crc_known = true;
        scan->at += frame.size;
    }
    return complete && scan->at == scan->limit;
}

static void ignore_record(void *context, const struct record_view *view, uint64_t record_at) {
    (void)context;
    (void)view;
    (void)record_at;
}

static bool pieces_are_good(struct scan *scan) {
    struct recover_file *file = scan->file;
    struct recover_reader *reader = &scan->recovery->search_reader;
    recover_reader_set(scan->recovery, reader, file);
    for (uint32_t i = 0; i < file->piece_count; i++)
        if (!recover_piece_walk(scan->recovery, reader, &file->pieces[i], ignore_record, NULL))
            return false;
    return true;
}

/* Reads the index at an offset that a header or a manifest names, up to the limit, instead of the
 * whole file. False when it is not all there: then the file is to be read. */
static bool scan_index(struct scan *scan, uint64_t index_at) {
    const struct recover_file *file = scan->file;
    bool possible = scan->recovery->settings.by_index && index_at % DISK_BLOCK_BYTES == 0 &&
                    index_at >= FILE_HEADER_BYTES && index_at < scan->limit &&
                    scan->limit <= file->size;
    if (!possible) return false;
    scan->at = index_at;
    scan->crc_known = false;
    if (!is_index(scan)) return false;
    scan->at = index_at;
    scan->crc_known = false;
    scan->by_index = true;
    scan->nonsense = false;
    while (scan->at < scan->limit) {
        struct journal_frame frame;
        const uint8_t *bytes = recover_reader_get(
            scan->recovery, &scan->recovery->reader, scan->at, JOURNAL_FRAME_BLOCK_BYTES);
        check(bytes && journal_frame_parse(bytes, &frame));
        pass_good(scan, &frame);
    }
    scan->by_index = false;
    scan->file->indexed = !scan->nonsense && pieces_are_good(scan);
    if (!scan->file->indexed) recover_scan_forget(scan->recovery, scan->file);
    return scan->file->indexed;
}

/* A file of the chain, whose successor says where its index is. */
static bool scan_by_index(struct scan *scan) {
    const struct recover_file *next = scan->file->successor;
    uint64_t base = scan->file->header.base_lsn;
    bool said = next && next->header.prev_index_lsn > base;
    if (!scan->recovery->settings.by_index || !said) return false;
    bool witnessed = is_witnessed(scan, next->header.prev_end_lsn);
    if (!witnessed && !PLANTED(INDEX_UNWITNESSED)) return false;
    return scan_index(scan, next->header.prev_index_lsn - base);
}

static void scan_begin(struct scan *scan, uint64_t at) {
    recover_reader_set(scan->recovery, &scan->recovery->reader, scan->file);
    scan->at = at;
    scan->crc = scan->file->header_crc;
    scan->crc_known = scan->file->header_crc != 0;
    scan->last_lsn = 0;
}

/* ---- files of a chain ---- */

static void scan_file(struct scan *scan) {
    scan_begin(scan, FILE_FRAMES_AT);
    scan->recovery->counts.files++;
    if (scan_by_index(scan)) {
        note_end(scan);
        return;
    }
    scan_begin(scan, FILE_FRAMES_AT);
    uint64_t damages = scan->recovery->damage_count;
    while (!scan->ended && scan->at < scan->limit) {
        struct journal_frame frame;
        struct journal_frame_verdict verdict;
        enum frame_finding finding = look(scan, &frame, &verdict);
        if (finding == FRAME_GOOD) {
            pass_good(scan, &frame);
        } else {
            judge_bad(scan, finding, &frame, verdict.offset);
        }
    }
    scan->file->damaged = scan->recovery->damage_count != damages;
    note_end(scan);
}

/* The file before must end where and with what its successor says. */
static void check_join(struct scan *scan) {
    const struct recover_file *next = scan->file->successor;
    if (scan->ended || !next || !scan->crc_known) return;
    bool joins = scan->at == scan->limit && scan->crc == next->header.prev_crc;
    if (joins || PLANTED(NO_CHAIN_CHECK)) return;
    recover_damage_add(scan->recovery, RECOVER_BAD_FRAME, scan->file, scan->at);
}

/* The first `count` files of the chain. What is younger has been looked at, and decides where the
 * chain ends. */
static void scan_part(struct recovery *recovery, struct recover_chain *chain, uint32_t count) {
    struct scan scan = {.recovery = recovery,
        .chain = chain,
        .older = count < chain->count,
        .manifests = !chain->has_manifest};
    for (uint32_t i = 0; i < count; i++) {
        scan.file = chain->files[i];
        if (scan.ended) {
            scan.file->cut_off = true;
            continue;
        }
        const struct recover_file *next = scan.file->successor;
        scan.limit = next ? next->header.prev_end_lsn - scan.file->header.base_lsn : UINT64_MAX;
        scan_file(&scan);
        check_join(&scan);
    }
}

void recover_chain_scan(struct recovery *recovery, struct recover_chain *chain) {
    scan_part(recovery, chain, chain->count);
    /* The manifest may say that what is not there is not missed. */
    while (chain->gap && chain->gap->header.prev_file_no > chain->manifest_released) {
        uint32_t scanned = chain->count;
        recover_chain_form_on(recovery, chain);
        scan_part(recovery, chain, chain->count - scanned);
    }
}

/* A segment has no tail: it was stable as a whole before anybody knew of it. What is not good is
 * damage, and so is what ends too early or too late. */
void recover_segment_scan(struct recovery *recovery, struct recover_file *file) {
    struct scan scan = {.recovery = recovery, .file = file, .limit = file->size};
    scan_begin(&scan, SEGMENT_FRAMES_AT);
    recovery->counts.files++;
    if (scan_index(&scan, file->header.prev_index_lsn)) return;
    scan_begin(&scan, SEGMENT_FRAMES_AT);
    uint64_t damages = recovery->damage_count;
    bool sealed = false;
    while (scan.at < scan.limit) {
        struct journal_frame frame;
        struct journal_frame_verdict verdict;
        enum frame_finding finding = look(&scan, &frame, &verdict);
        if (finding == FRAME_GOOD && !sealed) {
            pass_good(&scan, &frame);
            sealed = (frame.flags & JOURNAL_FRAME_SEAL) != 0;
        } else if (PLANTED(SEGMENT_TORN)) {
            return;
        } else {
            pass_damage(&scan, finding, &frame, verdict.offset);
        }
    }
    bool whole = file->size % DISK_BLOCK_BYTES == 0 && sealed;
    if (!whole && recovery->damage_count == damages)
        recover_damage_add(recovery, RECOVER_BAD_FRAME, file, scan.at);
    file->damaged = recovery->damage_count != damages;
}

/* A kept journal file was stable up to its end before anybody named it as kept. Of one that is in
 * doubt nobody knows where it ends. */
void recover_kept_scan(struct recovery *recovery, struct recover_file *file) {
    struct scan scan = {.recovery = recovery, .file = file, .limit = file->end};
    uint64_t damages = recovery->damage_count;
    scan_begin(&scan, FILE_FRAMES_AT);
    recovery->counts.files++;
    if (scan_index(&scan, file->index_said)) return;
    scan_begin(&scan, FILE_FRAMES_AT);
    bool known = file->end >= scan.at && file->end <= file->size;
    while (known && scan.at < scan.limit) {
        struct journal_frame frame;
        struct journal_frame_verdict verdict;
        enum frame_finding finding = look(&scan, &frame, &verdict);
        if (finding == FRAME_GOOD) {
            pass_good(&scan, &frame);
        } else if (file->doubtful || PLANTED(SEGMENT_TORN)) {
            break;
        } else {
            pass_damage(&scan, finding, &frame, verdict.offset);
        }
    }
    bool whole = known && (scan.at == file->end || file->doubtful || PLANTED(SEGMENT_TORN));
    if (!whole && recovery->damage_count == damages)
        recover_damage_add(recovery, RECOVER_BAD_FRAME, file, scan.at);
    if (file->doubtful) file->end = scan.at;
    file->damaged = file->damaged || recovery->damage_count != damages;
}

static const struct recover_chain *find_chain(const struct recovery *recovery, uint16_t shard) {
    for (uint32_t i = 0; i < recovery->chain_count; i++)
        if (recovery->chains[i].shard == shard) return &recovery->chains[i];
    return NULL;
}

void recover_headless_check(struct recovery *recovery) {
    struct recover_reader *reader = &recovery->search_reader;
    for (uint32_t i = 0; i < recovery->file_count; i++) {
        struct recover_file *file = recovery->files[i];
        if (file->kind != RECOVER_FILE_HEADLESS) continue;
        recover_reader_set(recovery, reader, file);
        uint64_t at = FILE_FRAMES_AT;
        for (; at + JOURNAL_FRAME_BLOCK_BYTES <= file->size; at += JOURNAL_FRAME_BLOCK_BYTES) {
            const uint8_t *block =
                recover_reader_get(recovery, reader, at, JOURNAL_FRAME_BLOCK_BYTES);
            struct journal_frame frame;
            if (!block || !journal_frame_parse(block, &frame)) continue;
            if (find_chain(recovery, frame.shard) || !frame_is_orphan(&frame, at)) continue;
            recover_damage_add(recovery, RECOVER_BAD_HEADER, file, 0);
            break;
        }
    }
}

/* Whether a file that its mark calls free has been used behind the end of its writer's chain by
 * somebody who knew that its header is stable. What is left of earlier uses lies before that end,
 * so that this costs one block for most files. */
static bool was_begun(struct recovery *recovery, struct recover_file *file) {
    struct recover_reader *reader = &recovery->search_reader;
    recover_reader_set(recovery, reader, file);
    uint64_t at = FILE_FRAMES_AT;
    while (at + JOURNAL_FRAME_BLOCK_BYTES <= file->size) {
        const uint8_t *block = recover_reader_get(recovery, reader, at, JOURNAL_FRAME_BLOCK_BYTES);
        struct journal_frame frame;
        if (!block || !journal_frame_parse(block, &frame) || frame.lsn < at) return false;
        const struct recover_chain *chain = find_chain(recovery, frame.shard);
        if (!chain || frame.lsn - at < chain->end_lsn) return false;
        if (frame_is_orphan(&frame, at)) return true;
        at += frame.size;
    }
    return false;
}

void recover_lost_headers_check(struct recovery *recovery) {
    for (uint32_t i = 0; i < recovery->file_count; i++) {
        struct recover_file *file = recovery->files[i];
        if (file->kind != RECOVER_FILE_SPARE || !was_begun(recovery, file)) continue;
        recover_damage_add(recovery, RECOVER_BAD_HEADER, file, 0);
    }
}
