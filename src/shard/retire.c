/* retire: choosing files to be emptied, and giving them back. */
#include "shard/retire.h"

#include "base/memory.h"
#include "base/str.h"
#include "shard/keeper.h"
#include "shard/queue_host.h"

enum {
    LIVE_PERCENT_MAX = 40,    /* a segment with less is worth copying */
    GARBAGE_PERCENT_MIN = 50, /* below that part of what lives segments are left alone */
    /* A journal file is kept in place when so much of its messages lives, */
    KEEP_LIVE_PERCENT_MIN = 75,
    KEEP_BYTES_PERCENT_MIN = 50, /* that is so much of its bytes, */
    KEEP_QUEUES_MAX = 8,         /* and it belongs to so few queues. */
    KEEP_TOUCHED_MAX = 4096,     /* With more it is not even looked at */
    BROKEN_LOOK_MS = 5000,       /* before the same file is tried again */
};

void retirement_init(struct retirement *retirement, struct keeper *keeper) {
    *retirement = (struct retirement){.keeper = keeper, .changed = true};
    fifo_init(&retirement->jobs, sizeof(struct evacuation *));
    fifo_init(&retirement->buildings, sizeof(struct building *));
    sharing_init(&retirement->sharing);
    retrieval_init(&retirement->retrieval, keeper);
    facts_init(&retirement->facts, keeper);
}

static void building_free(struct building *building) {
    segment_free(building->build);
    kept_file_free(building->file);
    mem_free(building);
}

void retirement_deinit(struct retirement *retirement) {
    struct building **building = NULL;
    while ((building = fifo_first(&retirement->buildings)) != NULL) {
        building_free(*building);
        fifo_drop(&retirement->buildings);
    }
    /* Files that are on no list any more and have not been given back. */
    bool unlisted = retirement->release >= RELEASE_RECORDING && !retirement->evacuation.keeps;
    for (uint32_t i = 0; unlisted && i < retirement->evacuation.file_count; i++)
        kept_file_free(retirement->evacuation.files[i]);
    if (retirement->shared) building_free(retirement->shared);
    sharing_deinit(&retirement->sharing, retirement->keeper->shard->pool);
    retrieval_deinit(&retirement->retrieval);
    facts_deinit(&retirement->facts);
    fifo_deinit(&retirement->buildings);
    fifo_deinit(&retirement->jobs);
    mem_free(retirement->moves);
}

/* ---- the manifest ---- */

uint64_t retire_put_manifest(struct archive *archive) {
    size_t count = 0;
    list_for (struct kept_file, file, &archive->segments, in_archive)
        count++;
    struct segment_ref *refs = mem_new_array(count + 1, sizeof *refs);
    uint8_t *body = mem_raw(count * RECORD_CATALOG_ENTRY_BYTES + 1);
    uint32_t at = 0;
    list_for (struct kept_file, file, &archive->segments, in_archive) {
        refs[at++] =
            (struct segment_ref){.number = file->number | (file->kept ? SEGMENT_REF_KEPT : 0),
                .file_id = file->file_id,
                .end = file->kept ? file->bytes : 0,
                .index = file->index};
    }
    struct record record = manifest_record(refs, at, archive->last_kept, body);
    mem_free(refs);
    archive->manifest_in = archive->current;
    return keeper_stage_in(archive, &record, body);
}

/* ---- choosing ---- */

static void choose_file(struct evacuation *evacuation, struct kept_file *file) {
    evacuation->files[evacuation->file_count++] = file;
    file->retiring = true;
}

/* How many queues the file's living messages belong to, as if all had the same number of them;
 * those of this shard. */
static uint64_t queues_in(const struct keeper *keeper, const struct kept_file *file) {
    const struct file_part *part = &file->parts[keeper->shard->number];
    double all = 0;
    double squares = 0;
    for (uint32_t i = 0; i < part->touched_count; i++) {
        const struct queue_slot *slot = queue_host_slot(keeper->shard, part->touched[i]);
        double live = slot ? (double)shelf_live_in(slot->shelf, file) : 0;
        all += live;
        squares += live * live;
    }
    return squares > 0 ? (uint64_t)(all * all / squares) : 0;
}

/* A file that mostly lives is as good as a segment when its few queues have long runs in it. */
static bool is_worth_keeping(const struct archive *archive, const struct kept_file *file) {
    const struct keeper *keeper = archive->keeper;
    const struct file_part *part = &file->parts[keeper->shard->number];
    uint64_t live = kept_file_live(file);
    if (!file->whole) return false;
    if (file->broken) return true;
    /* One that is thought to be in two files lives in the other than the one that counts it. */
    if (live == 0 || file->messages == 0) return false;
    if (atomic_load_explicit(&part->live, memory_order_relaxed) != live) return false;
    if (live * 100 < file->messages * KEEP_LIVE_PERCENT_MIN) return false;
    uint64_t bytes = file->put_bytes / file->messages * live;
    struct segment_ref ref = journal_keep_ref(archive->journal, file->number);
    if (bytes * 100 < ref.end * KEEP_BYTES_PERCENT_MIN) return false;
    return part->touched_count <= KEEP_TOUCHED_MAX && queues_in(keeper, file) <= KEEP_QUEUES_MAX;
}

static bool choose_journal_file(struct archive *archive, struct evacuation *evacuation) {
    struct list_node *node = list_first(&archive->files);
    if (!node) return false;
    struct kept_file *file = LIST_ENTRY(node, struct kept_file, in_archive);
    uint32_t count = 0;
    list_for (struct kept_file, left, &archive->files, in_archive)
        count++;
    bool over = count >= archive->keeper->settings.files_budget;
    if (!over && kept_file_live(file) != 0) return false;
    if (journal_oldest(archive->journal) != file->number) {
        /* The last file of a chain stays until it has a successor. */
        archive->keeper->retirement.more |= journal_want_file(archive->journal);
        archive->keeper->retirement.awaits_file = true;
        return false;
    }
    evacuation->keeps = over && is_worth_keeping(archive, file);
    if (file->broken && file->whole && !evacuation->keeps) return false;
    choose_file(evacuation, file);
    return true;
}

static uint64_t live_bytes(const struct kept_file *segment) {
    if (segment->messages == 0) return 0;
    return segment->bytes / segment->messages * kept_file_live(segment);
}

static bool is_worth_copying(const struct kept_file *segment) {
    if (segment->broken) return false;
    return live_bytes(segment) * 100 < segment->bytes * LIVE_PERCENT_MAX;
}

/* What several queues have comes into one new segment, which is put together in memory: so much at
 * once and no more. */
static void choose_segments_to_copy(struct archive *archive, struct evacuation *evacuation) {
    uint64_t bytes = 0;
    list_for (struct kept_file, segment, &archive->segments, in_archive) {
        if (evacuation->file_count == EVACUATION_FILES_MAX) return;
        if (!is_worth_copying(segment)) continue;
        bytes += segment->bytes;
        bool much = bytes > archive->keeper->settings.limits.emptied_bytes;
        if (much && evacuation->file_count != 0) return;
        choose_file(evacuation, segment);
    }
}

static bool choose_segments(struct archive *archive, struct evacuation *evacuation) {
    uint64_t bytes = 0;
    uint64_t living = 0;
    list_for (struct kept_file, segment, &archive->segments, in_archive) {
        bytes += segment->bytes;
        living += live_bytes(segment);
        bool full = evacuation->file_count == EVACUATION_FILES_MAX;
        bool empty = kept_file_live(segment) == 0 && !segment->broken;
        if (!full && empty) choose_file(evacuation, segment);
    }
    if (evacuation->file_count != 0) return true;
    uint64_t garbage = bytes - min_u64(living, bytes);
    uint64_t garbage_min = archive->keeper->settings.limits.garbage_bytes_min;
    if (garbage < garbage_min || garbage * 100 < living * GARBAGE_PERCENT_MIN) return false;
    choose_segments_to_copy(archive, evacuation);
    return evacuation->file_count != 0;
}

/* What this shard has to be asked for, or all of them: those of before the start may have anybody's
 * messages. */
static void send_evacuation(struct retirement *retirement) {
    struct shard *shard = retirement->keeper->shard;
    struct evacuation *evacuation = &retirement->evacuation;
    bool past = false;
    evacuation->broken = false;
    for (uint32_t i = 0; i < evacuation->file_count; i++)
        past = past || evacuation->files[i]->past;
    evacuation->owner = shard->number;
    evacuation->left = past ? shard->broker->shard_count : 1;
    retirement->release = evacuation->gone ? RELEASE_FORGETTING : RELEASE_EMPTYING;
    for (uint32_t i = 0; i < shard->broker->shard_count; i++) {
        if (!past && i != shard->number) continue;
        *mesh_post(shard->broker->mesh, shard->number, i) =
            (struct mail){.kind = MAIL_EVACUATE, .evacuation = evacuation};
    }
}

/* Looking at all files takes time: it is done when something has changed, and not every turn. */
static void choose(struct retirement *retirement) {
    struct keeper *keeper = retirement->keeper;
    if (!retirement->changed || keeper->shard->now_ms < retirement->look_ms) return;
    retirement->evacuation = (struct evacuation){.file_count = 0};
    retirement->awaits_file = false;
    for (uint32_t i = 0; i < keeper->archive_count; i++) {
        struct archive *archive = &keeper->archives[i];
        /* Of a journal that has stopped nothing can be given back: it cannot say so. */
        if (journal_stopped(archive->journal)) continue;
        if (choose_journal_file(archive, &retirement->evacuation) ||
            choose_segments(archive, &retirement->evacuation)) {
            send_evacuation(retirement);
            return;
        }
    }
    retirement->changed = retirement->awaits_file;
    retirement->look_ms = keeper->shard->now_ms + 1 + keeper->settings.limits.look_ms;
}

void retirement_on_emptied(struct retirement *retirement) {
    const struct shard *shard = retirement->keeper->shard;
    retirement->changed = true;
    for (uint32_t i = 0; i < shard->broker->shard_count; i++) {
        if (i == shard->number) continue;
        *mesh_post(shard->broker->mesh, shard->number, i) = (struct mail){.kind = MAIL_EMPTIED};
    }
}

void retirement_on_evacuate(struct retirement *retirement, struct evacuation *evacuation) {
    *(struct evacuation **)fifo_put(&retirement->jobs) = evacuation;
}

/* ---- giving back ---- */

/* What could not be emptied stays: a journal file as a segment, so that those behind it may go. One
 * whose last message ends in the next file cannot stay alone: it is tried again and again, until it
 * can be read, or what cannot be has been given up by its queue. */
static void leave_broken(struct retirement *retirement) {
    struct evacuation *evacuation = &retirement->evacuation;
    struct kept_file *first = evacuation->files[0];
    for (uint32_t i = 0; i < evacuation->file_count; i++) {
        struct kept_file *file = evacuation->files[i];
        if (!file->whole) atomic_store_explicit(&file->broken, false, memory_order_relaxed);
        file->retiring = false;
    }
    retirement->release = RELEASE_NONE;
    retirement->changed = true;
    if (!first->segment && !first->whole)
        retirement->look_ms = retirement->keeper->shard->now_ms + BROKEN_LOOK_MS;
    if (first->segment || !first->whole) return;
    first->retiring = true;
    evacuation->keeps = true;
    send_evacuation(retirement);
}

/* The manifest names the file from now on. */
static void keep_in_place(struct archive *archive, struct kept_file *file) {
    struct segment_ref ref = journal_keep_ref(archive->journal, file->number);
    file->kept = true;
    file->file_id = ref.file_id;
    file->bytes = ref.end;
    file->index = ref.index;
    archive->last_kept = file->number;
    list_put_last(&archive->segments, &file->in_archive);
}

/* Whoever empties files of this archive has done so: its journal says what it has from now on. */
void retirement_on_evacuated(struct retirement *retirement, struct evacuation *evacuation) {
    check(evacuation == &retirement->evacuation);
    check(evacuation->left != 0);
    if (--evacuation->left != 0) return;
    if (retirement->release == RELEASE_FORGETTING) {
        for (uint32_t i = 0; i < evacuation->file_count; i++)
            kept_file_free(evacuation->files[i]);
        retirement->release = RELEASE_NONE;
        return;
    }
    if (atomic_load_explicit(&evacuation->broken, memory_order_relaxed)) {
        leave_broken(retirement);
        return;
    }
    struct archive *archive = evacuation->files[0]->archive;
    retirement->release = RELEASE_RECORDING;
    retirement->manifest_position = 0;
    for (uint32_t i = 0; i < evacuation->file_count; i++) {
        struct kept_file *file = evacuation->files[i];
        check(evacuation->keeps || kept_file_live(file) == 0);
        list_remove(&file->in_archive);
        if (evacuation->keeps) keep_in_place(archive, file);
    }
    /* Which file of before the start has the last manifest is not known. */
    const struct kept_file *first = evacuation->files[0];
    bool says = first->segment || first->past || archive->manifest_in == first;
    if (says || evacuation->keeps) retirement->manifest_position = retire_put_manifest(archive);
}

void retire_remove(
    struct retirement *retirement, struct archive *archive, const struct kept_file *file) {
    struct removal *removal = NEW(struct removal);
    removal->request.kind = DISK_REMOVE;
    if (file->name) {
        bytes_copy(removal->request.name, file->name, DISK_NAME_BYTES_MAX);
    } else {
        segment_name(file->file_id, removal->request.name);
    }
    retirement->removals++;
    disk_submit(archive->disk, &removal->request);
}

/* The journal leaves the file alone: it is a segment. */
static void leave_in_place(struct retirement *retirement, struct kept_file *file) {
    struct journal_kept kept;
    journal_keep(file->archive->journal, file->number, &kept);
    if (!file->name) file->name = mem_raw(DISK_NAME_BYTES_MAX);
    bytes_copy(file->name, kept.name, DISK_NAME_BYTES_MAX);
    file->marks = kept.marks;
    file->mark_count = kept.mark_count;
    file->segment = true;
    file->retiring = false;
    counter_add(&retirement->keeper->shard->counters.files_kept, 1);
    retirement->release = RELEASE_NONE;
    retirement->changed = true;
}

static void give_back(struct retirement *retirement) {
    struct evacuation *evacuation = &retirement->evacuation;
    struct archive *archive = evacuation->files[0]->archive;
    if (evacuation->keeps) {
        leave_in_place(retirement, evacuation->files[0]);
        return;
    }
    for (uint32_t i = 0; i < evacuation->file_count; i++) {
        struct kept_file *file = evacuation->files[i];
        if (file->segment) {
            retire_remove(retirement, archive, file);
        } else {
            journal_release(archive->journal, file->number);
        }
    }
    evacuation->gone = true;
    send_evacuation(retirement);
}

/* The journal that would say so has stopped: the files stay, and others may go. */
static void leave_unrecorded(struct retirement *retirement) {
    const struct evacuation *evacuation = &retirement->evacuation;
    for (uint32_t i = evacuation->file_count; i-- != 0 && !evacuation->keeps;) {
        struct kept_file *file = evacuation->files[i];
        struct archive *archive = file->archive;
        list_put_first(file->segment ? &archive->segments : &archive->files, &file->in_archive);
    }
    for (uint32_t i = 0; i < evacuation->file_count; i++)
        evacuation->files[i]->retiring = false;
    retirement->release = RELEASE_NONE;
    retirement->changed = true;
}

void retirement_on_request(struct retirement *retirement, struct disk_request *request) {
    if (request->kind == DISK_REMOVE) {
        /* One that stays is removed at the next start: no manifest names it. */
        retirement->removals--;
        mem_free(CONTAINER_OF(request, struct removal, request));
        return;
    }
    evacuate_on_built(retirement, CONTAINER_OF(request, struct building, request));
}

/* ---- the turn ---- */

bool retirement_busy(const struct retirement *retirement) {
    bool looks = retirement->changed && retirement->keeper->shard->now_ms >= retirement->look_ms;
    return looks || retirement->release != RELEASE_NONE || retirement->jobs.count != 0;
}

bool retirement_turn(struct retirement *retirement) {
    struct keeper *keeper = retirement->keeper;
    bool waits = keeper->shard->now_ms < retirement->retry_ms;
    retirement->more = false;
    if (retirement->release == RELEASE_NONE && !retirement->ending && !keeper->stopped && !waits)
        choose(retirement);
    if (retirement->release == RELEASE_RECORDING) {
        struct archive *archive = retirement->evacuation.files[0]->archive;
        bool stable = journal_stable(archive->journal) >= retirement->manifest_position;
        if (stable && !retirement->held) give_back(retirement);
        if (!stable && journal_stopped(archive->journal)) leave_unrecorded(retirement);
    }
    bool more = !retirement->ending && !waits && evacuate_turn(retirement);
    return more || retirement->more;
}

uint64_t retirement_due(const struct retirement *retirement) {
    const struct journal *own = retirement->keeper->archives[0].journal;
    bool waits = retirement->jobs.count != 0 && retirement->phase == EVACUATION_NONE &&
                 !retirement->ending && journal_has_chain(own);
    bool may_look = !retirement->ending && !retirement->keeper->stopped;
    bool looks = retirement->changed && retirement->release == RELEASE_NONE && may_look;
    uint64_t due = waits ? retirement->retry_ms : UINT64_MAX;
    if (retirement->phase == EVACUATION_LOADING)
        due = min_u64(due, retrieval_due(&retirement->retrieval));
    return looks ? min_u64(due, max_u64(retirement->look_ms, retirement->retry_ms)) : due;
}

bool retirement_copies(const struct retirement *retirement) {
    return retirement->phase == EVACUATION_LOADING || retirement->phase == EVACUATION_COPYING ||
           retirement->phase == EVACUATION_SHARING;
}

bool retirement_idle(const struct retirement *retirement) {
    if (!retrieval_idle(&retirement->retrieval)) return false;
    for (uint32_t i = 0; i < retirement->buildings.count; i++) {
        const struct building *building = *(struct building **)fifo_at(&retirement->buildings, i);
        if (building->sent && !building->done) return false;
    }
    return retirement->removals == 0;
}
