/* recover: opening, reading windows of files, replaying what was found good. */
#include "store/recover.h"

#include <errno.h>

#include "base/memory.h"
#include "store/recover_state.h"

enum { WINDOW_BYTES = 1024 * 1024 }; /* one read: many frames */

void recover_reader_set(
    struct recovery *recovery, struct recover_reader *reader, struct recover_file *file) {
    if (reader->file != file) {
        disk_close(recovery->settings.disk, reader->handle);
        reader->handle = NULL;
    }
    reader->file = file;
    reader->size = 0;
    reader->error = 0;
}

/* The file's handle, or one of the reader's own; opening is tried twice as reading is. */
static int open_handle(
    struct recovery *recovery, struct recover_reader *reader, struct disk_file **ret_handle) {
    struct disk *disk = recovery->settings.disk;
    *ret_handle = reader->file->handle ? reader->file->handle : reader->handle;
    if (*ret_handle) return 0;
    int status = disk_open(disk, reader->file->name, &reader->handle);
    if (status != 0) status = disk_open(disk, reader->file->name, &reader->handle);
    *ret_handle = reader->handle;
    return status;
}

/* Reads a whole window; where that fails, only what is needed, and that once more. */
static int load(struct recovery *recovery, struct recover_reader *reader, uint64_t offset,
    uint64_t size, uint64_t window) {
    struct disk *disk = recovery->settings.disk;
    struct disk_file *handle = NULL;
    reader->from = offset;
    reader->size = 0;
    int status = open_handle(recovery, reader, &handle);
    if (status != 0) return status;
    if (reader->capacity < window) {
        disk_memory_free(reader->buffer);
        reader->capacity = (window + DISK_BLOCK_BYTES - 1) & ~(uint64_t)(DISK_BLOCK_BYTES - 1);
        reader->buffer = disk_memory_new(reader->capacity);
    }
    status = disk_read(disk, handle, offset, reader->buffer, window);
    if (status == 0) {
        reader->size = window;
        return 0;
    }
    status = disk_read(disk, handle, offset, reader->buffer, size);
    if (status != 0) status = disk_read(disk, handle, offset, reader->buffer, size);
    if (status == 0) reader->size = size;
    return status;
}

const uint8_t *recover_reader_get(
    struct recovery *recovery, struct recover_reader *reader, uint64_t offset, uint64_t size) {
    check(size <= JOURNAL_FRAME_BYTES_MAX && offset <= reader->file->size);
    check(size <= reader->file->size - offset);
    bool covered = offset >= reader->from && offset - reader->from <= reader->size &&
                   size <= reader->size - (offset - reader->from);
    if (!covered) {
        uint64_t window = max_u64(size, WINDOW_BYTES);
        window = min_u64(window, reader->file->size - offset);
        int status = load(recovery, reader, offset, size, window);
        if (status != 0) {
            reader->error = -status;
            return NULL;
        }
    }
    return reader->buffer + (offset - reader->from);
}

struct recover_damage *recover_damage_add(struct recovery *recovery, enum recover_damage_kind kind,
    const struct recover_file *file, uint64_t offset) {
    if (kind == RECOVER_NEWER || kind == RECOVER_FOREIGN) recovery->refused = true;
    if (recovery->damage_count++ >= RECOVER_DAMAGES_MAX) return NULL;
    recovery->damages =
        mem_resize(recovery->damages, recovery->damage_count * sizeof *recovery->damages);
    struct recover_damage *damage = &recovery->damages[recovery->damage_count - 1];
    *damage = (struct recover_damage){.kind = kind, .offset = offset};
    if (file) {
        memcpy(damage->name, file->name, sizeof damage->name);
        bool known = file->kind == RECOVER_FILE_LIVE || file->kind == RECOVER_FILE_SEGMENT;
        damage->shard = known ? file->header.shard : 0;
        damage->file_no = known ? file->header.file_no : 0;
        damage->lsn = known ? file->header.base_lsn + offset : 0;
    }
    return damage;
}

static int open_once(const struct recover_settings *settings, struct recovery **ret_recovery) {
    struct recovery *recovery = NEW(struct recovery);
    recovery->settings = *settings;
    int status = recover_files_load(recovery);
    if (status != 0) {
        recover_close(recovery);
        return status;
    }
    recover_chains_form(recovery);
    for (uint32_t i = 0; i < recovery->chain_count && !recovery->refused; i++) {
        recover_chain_scan(recovery, &recovery->chains[i]);
        recover_chain_trim(recovery, &recovery->chains[i]);
    }
    recover_headless_check(recovery);
    recover_lost_headers_check(recovery);
    if (!recovery->refused) {
        bool doubtful = recovery->damage_count != 0;
        doubtful = recover_segments_check(recovery, doubtful);
        recover_kept_check(recovery, doubtful);
        for (uint32_t i = 0; i < recovery->chain_count; i++)
            recover_past_form(recovery, &recovery->chains[i], doubtful);
    }
    *ret_recovery = recovery;
    return 0;
}

int recover_open(const struct recover_settings *settings, struct recovery **ret_recovery) {
    struct recover_settings how = *settings;
    how.by_index = how.by_index && !how.salvage;
    int status = open_once(&how, ret_recovery);
    if (status != 0 || !how.by_index || (*ret_recovery)->damage_count == 0) return status;
    /* Where something is wrong, everything that is wrong is to be told. */
    recover_close(*ret_recovery);
    how.by_index = false;
    return open_once(&how, ret_recovery);
}

static void file_free(struct recovery *recovery, struct recover_file *file) {
    disk_close(recovery->settings.disk, file->handle);
    mem_free(file->stretches);
    mem_free(file->pieces);
    mem_free(file);
}

void recover_close(struct recovery *recovery) {
    if (!recovery) return;
    recover_reader_set(recovery, &recovery->reader, NULL);
    recover_reader_set(recovery, &recovery->search_reader, NULL);
    for (uint32_t i = 0; i < recovery->file_count; i++)
        file_free(recovery, recovery->files[i]);
    for (uint32_t i = 0; i < recovery->segment_count; i++)
        file_free(recovery, recovery->segments[i]);
    for (uint32_t i = 0; i < recovery->chain_count; i++) {
        mem_free(recovery->chains[i].manifest);
        mem_free(recovery->chains[i].files);
        mem_free(recovery->chains[i].live);
        mem_free(recovery->chains[i].past_files);
    }
    disk_memory_free(recovery->reader.buffer);
    disk_memory_free(recovery->search_reader.buffer);
    mem_free(recovery->chains);
    mem_free(recovery->files);
    mem_free(recovery->segments);
    mem_free(recovery->kept);
    mem_free(recovery->leftovers);
    mem_free(recovery->damages);
    mem_free(recovery);
}

enum recover_verdict recover_verdict(const struct recovery *recovery) {
    if (recovery->refused) return RECOVER_REFUSED;
    return recovery->damage_count ? RECOVER_DAMAGED : RECOVER_CLEAN;
}

uint64_t recover_damage_count(const struct recovery *recovery) {
    return recovery->damage_count;
}

const struct recover_damage *recover_damage_at(const struct recovery *recovery, uint64_t at) {
    check(at < min_u64(recovery->damage_count, RECOVER_DAMAGES_MAX));
    return &recovery->damages[at];
}

/* A replay, and the frame it is at. */
struct replay {
    uint32_t types;
    recover_record_fn found;
    void *context;
    const uint8_t *frame;
    bool repeats; /* the frame says again what others have said, which are replayed, too */
    struct recover_record record;
};

static void on_view(void *context, const struct record_view *view) {
    struct replay *replay = context;
    bool wanted = view->type < 31 ? (replay->types & RECORD_BIT(view->type)) != 0
                                  : replay->types == RECOVER_RUNS_BIT && view->type == RECORD_RUNS;
    if (!wanted) return;
    if (replay->record.kept && manifest_is(view->type)) return;
    if (replay->repeats && view->type != RECORD_INDEX) return;
    const uint8_t *begin = view->targets - RECORD_HEADER_BYTES;
    replay->record.record_at = replay->record.offset + (uint64_t)(begin - replay->frame);
    replay->record.view = view;
    replay->found(replay->context, &replay->record);
}

static int replay_stretch(struct recovery *recovery, struct replay *replay,
    const struct recover_file *file, const struct recover_stretch *stretch) {
    struct recover_reader *reader = &recovery->reader;
    for (uint64_t at = stretch->from; at < stretch->to;) {
        const uint8_t *bytes = recover_reader_get(recovery, reader, at, FILE_HEADER_BYTES);
        struct journal_frame frame;
        if (!bytes || !journal_frame_parse(bytes, &frame)) return -EIO;
        if (frame.size > stretch->to - at) return -EIO;
        bytes = recover_reader_get(recovery, reader, at, frame.size);
        if (!bytes) return -EIO;
        struct bytes whole = bytes_of(bytes, frame.size);
        replay->record.lsn = file->header.base_lsn + at;
        replay->record.offset = at;
        replay->frame = bytes;
        replay->repeats = (frame.flags & JOURNAL_FRAME_INDEX) != 0 && !file->indexed;
        if (stretch->partial) {
            journal_frame_salvage(&frame, whole, on_view, replay);
        } else {
            if (journal_frame_check(&frame, whole).fault != RECORD_GOOD) return -EIO;
            journal_frame_walk(&frame, whole, on_view, replay);
        }
        at += frame.size;
    }
    return 0;
}

static void on_piece(void *context, const struct record_view *view, uint64_t record_at) {
    struct replay *replay = context;
    if ((replay->types & RECORD_BIT(view->type)) == 0) return;
    replay->record.record_at = record_at;
    replay->record.view = view;
    replay->found(replay->context, &replay->record);
}

/* Of a message that is in two files the place is told, and not that of the frame. */
static int replay_pieces(
    struct recovery *recovery, struct replay *replay, struct recover_file *file) {
    uint32_t types = RECORD_BIT(RECORD_PUB) | RECORD_BIT(RECORD_PART);
    if ((replay->types & types) == 0) return 0;
    for (uint32_t i = 0; i < file->piece_count; i++) {
        replay->record.offset = file->pieces[i].offset;
        replay->record.lsn = file->header.base_lsn + file->pieces[i].offset;
        if (!recover_piece_walk(recovery, &recovery->reader, &file->pieces[i], on_piece, replay))
            return -EIO;
    }
    return 0;
}

static int replay_file(
    struct recovery *recovery, struct replay *replay, struct recover_file *file) {
    recover_reader_set(recovery, &recovery->reader, file);
    replay->record.kept = file->kind == RECOVER_FILE_LIVE && !file->in_chain;
    replay->record.in_segment = file->kind == RECOVER_FILE_SEGMENT || replay->record.kept;
    replay->record.shard = file->header.shard;
    replay->record.file_no = file->header.file_no;
    for (uint32_t i = 0; i < file->stretch_count; i++) {
        if ((file->stretches[i].types & replay->types) == 0) continue;
        int status = replay_stretch(recovery, replay, file, &file->stretches[i]);
        if (status != 0) return status;
    }
    return replay_pieces(recovery, replay, file);
}

typedef int (*file_fn)(struct recovery *recovery, struct replay *replay, struct recover_file *file);

/* Segments, kept files, chains. */
static int each_file(struct recovery *recovery, struct replay *replay, file_fn each) {
    enum recover_verdict verdict = recover_verdict(recovery);
    check(verdict != RECOVER_REFUSED);
    check(verdict == RECOVER_CLEAN || recovery->settings.salvage);
    for (uint32_t i = 0; i < recovery->listed_count + recovery->kept_count; i++) {
        struct recover_file *file = i < recovery->listed_count
                                        ? recovery->segments[i]
                                        : recovery->kept[i - recovery->listed_count];
        int status = each(recovery, replay, file);
        if (status != 0) return status;
    }
    for (uint32_t i = 0; i < recovery->chain_count; i++) {
        const struct recover_chain *chain = &recovery->chains[i];
        for (uint32_t j = 0; j < chain->count; j++) {
            int status = each(recovery, replay, chain->files[j]);
            if (status != 0) return status;
        }
    }
    return 0;
}

int recover_replay(
    struct recovery *recovery, uint32_t types, recover_record_fn found, void *context) {
    struct replay replay = {.types = types, .found = found, .context = context};
    return each_file(recovery, &replay, replay_file);
}

static int runs_of_file(
    struct recovery *recovery, struct replay *replay, struct recover_file *file) {
    return file->indexed ? replay_file(recovery, replay, file) : 0;
}

/* Where runs go. */
struct runs {
    recover_run_fn found;
    void *context;
};

static void on_runs(void *context, const struct recover_record *record) {
    const struct runs *runs = context;
    for (uint32_t i = 0; i < file_run_count(record->view->body); i++) {
        struct file_run run = file_run_at(record->view->body, i);
        if (run.count == 0) continue;
        runs->found(runs->context, &(struct recover_run){.in_segment = record->in_segment,
                                       .kept = record->kept,
                                       .shard = record->shard,
                                       .file_no = record->file_no,
                                       .queue = run.queue,
                                       .first_seq = run.first_seq,
                                       .count = run.count,
                                       .offset = run.offset,
                                       .bytes = run.bytes,
                                       .body_bytes = run.body_bytes});
    }
}

int recover_runs(struct recovery *recovery, recover_run_fn found, void *context) {
    struct runs runs = {found, context};
    struct replay replay = {.types = RECOVER_RUNS_BIT, .found = on_runs, .context = &runs};
    return each_file(recovery, &replay, runs_of_file);
}

uint32_t recover_shard_count(const struct recovery *recovery) {
    return recovery->chain_count;
}

uint16_t recover_shard_at(const struct recovery *recovery, uint32_t at) {
    check(at < recovery->chain_count);
    return recovery->chains[at].shard;
}

void recover_past(const struct recovery *recovery, uint16_t shard, struct journal_past *ret_past) {
    *ret_past = (struct journal_past){.file_count = 0};
    for (uint32_t i = 0; i < recovery->chain_count; i++) {
        const struct recover_chain *chain = &recovery->chains[i];
        if (chain->shard != shard) continue;
        *ret_past = (struct journal_past){
            .last_file_no = chain->last_file_no,
            .next_base_lsn = chain->next_base_lsn,
            .prev_file_no = chain->end_file_no,
            .prev_end_lsn = chain->end_lsn,
            .prev_index_lsn = chain->end_index_lsn,
            .prev_crc = chain->end_crc,
            .released_file_no = chain->released_file_no,
            .files = chain->past_files,
            .file_count = chain->past_count,
        };
    }
}

const char *recover_take_spare(struct recovery *recovery, uint16_t shard) {
    for (uint32_t i = 0; i < recovery->file_count; i++) {
        struct recover_file *file = recovery->files[i];
        bool free = file->kind == RECOVER_FILE_SPARE || file->kind == RECOVER_FILE_HEADLESS;
        bool theirs = file->mark_needed && file->mark.shard != shard;
        if (!free || theirs || file->taken) continue;
        file->taken = true;
        return file->name;
    }
    return NULL;
}

/* ---- for people ---- */

const char *recover_damage_text(enum recover_damage_kind kind) {
    switch (kind) {
    case RECOVER_BAD_FRAME: return "not what was written";
    case RECOVER_UNREADABLE: return "cannot be read";
    case RECOVER_BAD_HEADER: return "its beginning is not what was written";
    case RECOVER_MISSING: return "is missing";
    case RECOVER_NEWER: return "written by a newer version";
    case RECOVER_FOREIGN: return "of another node";
    }
    unreachable_here();
}

static const char *what_is(const struct recover_file *file) {
    switch (file->kind) {
    case RECOVER_FILE_LIVE:
        if (file->listed) return "journal, kept";
        if (!file->in_chain) return "journal, left over";
        return file->cut_off ? "journal, cut off" : "journal";
    case RECOVER_FILE_SPARE:
    case RECOVER_FILE_HEADLESS: return "spare";
    case RECOVER_FILE_BAD: return "unreadable";
    case RECOVER_FILE_SEGMENT: return file->listed ? "segment" : "segment, left over";
    }
    unreachable_here();
}

uint32_t recover_file_count(const struct recovery *recovery) {
    return recovery->file_count + recovery->segment_count;
}

void recover_file_at(
    const struct recovery *recovery, uint32_t at, struct recover_file_report *ret_report) {
    check(at < recover_file_count(recovery));
    const struct recover_file *file = at < recovery->file_count
                                          ? recovery->files[at]
                                          : recovery->segments[at - recovery->file_count];
    bool known = file->kind != RECOVER_FILE_BAD && file->kind != RECOVER_FILE_HEADLESS;
    *ret_report = (struct recover_file_report){.what = what_is(file),
        .known = known,
        .bytes = file->size,
        .frames = file->frames,
        .records = file->records};
    memcpy(ret_report->name, file->name, sizeof ret_report->name);
    if (!known) return;
    ret_report->shard = file->header.shard;
    ret_report->number = file->header.file_no;
    ret_report->base_lsn = file->header.base_lsn;
}

int recover_sweep(struct recovery *recovery) {
    for (uint32_t i = 0; i < recovery->leftover_count; i++) {
        int status = disk_remove(recovery->settings.disk, recovery->leftovers[i]);
        if (status != 0) return status;
    }
    recovery->leftover_count = 0;
    return 0;
}

struct recover_counts recover_counts(const struct recovery *recovery) {
    return recovery->counts;
}
