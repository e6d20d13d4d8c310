/* journal: the turn: what the disk has done, what goes out next, and what happens when it fails.
 *
 * Frames leave in the order of their records and are counted stable in that order. After a failed
 * write nothing counts that was in flight, whatever the disk says of it: it lies behind a hole. All
 * of it is sent again, to a new file, which says where the old one ends. */
#include "store/journal.h"

#include <errno.h>

#include "base/memory.h"
#include "store/journal_state.h"
#include "store/plant.h"

void journal_report(struct journal *journal, enum journal_trouble trouble, int error) {
    journal->settings.calls->on_trouble(journal->settings.context, trouble, error);
}

static void adopt(struct journal *journal, const struct journal_past_file *past) {
    struct journal_file *file = NEW(struct journal_file);
    memcpy(file->name, past->name, sizeof file->name);
    file->file_no = past->file_no;
    file->file_id = past->file_id;
    file->base_lsn = past->base_lsn;
    file->size = past->bytes;
    file->end = past->end;
    file->index = past->index;
    /* The last file of a chain must not be released before it has a successor. */
    file->state = past->abandoned ? JOURNAL_FILE_ABANDONED : JOURNAL_FILE_FULL;
    file->past = true;
    list_put_last(&journal->files, &file->in_files);
}

struct journal *journal_open(
    const struct journal_settings *settings, const struct journal_past *past) {
    check(settings->file_bytes >= JOURNAL_FILE_BYTES_MIN);
    check(settings->file_bytes % DISK_BLOCK_BYTES == 0);
    check(settings->files_spare != 0);
    check(settings->file_bytes_first <= settings->file_bytes);
    check(settings->file_bytes_first % DISK_BLOCK_BYTES == 0);
    struct journal *journal = NEW(struct journal);
    journal->settings = *settings;
    /* Ids are not to be repeated even by an owner whose seeds are: the chain moves on, and so do
     * they. */
    uint64_t place = past->next_base_lsn + past->last_file_no * 0x9e3779b97f4a7c15u;
    prng_init(&journal->prng, settings->seed ^ place ^ ((uint64_t)settings->shard << 48));
    list_init(&journal->files);
    list_init(&journal->spares);
    list_init(&journal->unfit);
    journal->header = disk_memory_new(FILE_HEADER_BYTES);
    journal->make_head = disk_memory_new(FILE_FRAMES_AT);
    journal->make_bytes =
        settings->file_bytes_first ? settings->file_bytes_first : settings->file_bytes;
    journal->last_file_no = past->last_file_no;
    journal->next_base_lsn = past->next_base_lsn;
    journal->released_file_no = past->released_file_no;
    journal->tail = (struct journal_tail){
        .file_no = past->prev_file_no,
        .end_lsn = past->prev_end_lsn,
        .index_lsn = past->prev_index_lsn,
        .crc = past->prev_crc,
    };
    journal->stable = journal->tail;
    journal->durable_lsn = past->prev_end_lsn;
    journal->trim_ms = UINT64_MAX;
    journal->sealed = true; /* the first header bears witness of the past */
    for (uint32_t i = 0; i < past->file_count; i++)
        adopt(journal, &past->files[i]);
    return journal;
}

static uint32_t in_flight(const struct journal *journal) {
    uint32_t count = journal->marks_sent + journal->header_sent + journal->making;
    count += journal->removing;
    for (uint32_t i = 0; i < JOURNAL_IN_FLIGHT_MAX; i++)
        count += journal->slots[i].state == JOURNAL_SLOT_SENT;
    return count;
}

/* One of the owner's own requests. */
static void give_back(struct journal *journal, struct disk_request *request) {
    check(journal->settings.calls->on_request != NULL);
    journal->settings.calls->on_request(journal->settings.context, request);
}

void journal_close(struct journal *journal) {
    if (!journal) return;
    uint32_t left = in_flight(journal);
    struct disk_request *request = NULL;
    while ((request = disk_reap(journal->settings.disk)) != NULL) {
        left -= request->submitter == journal;
        if (request->submitter != journal) give_back(journal, request);
    }
    check(left == 0);
    list_for_safe (struct journal_file, file, &journal->files, in_files) {
        journal_file_free(journal, file);
    }
    list_for_safe (struct journal_file, file, &journal->spares, in_files) {
        journal_file_free(journal, file);
    }
    list_for_safe (struct journal_file, file, &journal->unfit, in_files) {
        journal_file_free(journal, file);
    }
    for (uint32_t i = 0; i < JOURNAL_IN_FLIGHT_MAX; i++)
        disk_memory_free(journal->slots[i].buffer);
    disk_memory_free(journal->header);
    disk_memory_free(journal->make_head);
    file_index_deinit(&journal->index);
    mem_free(journal->spans);
    mem_free(journal->staged);
    mem_free(journal);
}

static void staged_grow(struct journal *journal) {
    uint32_t capacity = journal->staged_capacity ? journal->staged_capacity * 2 : 64;
    struct journal_staged *staged = mem_new_array(capacity, sizeof *staged);
    for (uint32_t i = 0; i < journal->staged_count; i++)
        staged[i] = *journal_staged_at(journal, i);
    mem_free(journal->staged);
    journal->staged = staged;
    journal->staged_first = 0;
    journal->staged_capacity = capacity;
}

/* Whether a file can hold the record at all, with the summaries it brings. */
static bool fits_a_file(const struct journal *journal, const struct record *record, size_t size) {
    uint64_t room = journal_file_bytes_least(journal) - FILE_FRAMES_AT;
    uint64_t index =
        file_index_summaries_bytes(journal_group_frame_bytes(journal), record->target_count);
    return journal_frame_size(size) + index <= room;
}

int journal_put(struct journal *journal, const struct record *record, uint64_t *ret_position) {
    if (journal->stopped) return -EIO;
    int status = record_validate(record);
    if (status != 0) return status;
    size_t size = record_size(record);
    if (!fits_a_file(journal, record, size)) return -EMSGSIZE;
    if (journal->staged_count == journal->staged_capacity) staged_grow(journal);
    struct journal_staged *staged = journal_staged_at(journal, journal->staged_count++);
    *staged = (struct journal_staged){
        .record = *record, .position = ++journal->put_position, .size = size};
    if (record->target_count == 1) staged->target = record->targets[0];
    if (record->type != RECORD_ACK) {
        journal->urgent_count++;
    } else if (journal->staged_count - journal->urgent_count == 1) {
        journal->lazy_since_ms = journal->now_ms;
    }
    journal->staged_bytes += size;
    journal->unstable_bytes += size;
    journal->counts.records++;
    *ret_position = staged->position;
    return 0;
}

/* A settlement that goes on where the last staged one ends needs no place of its own. */
static bool merge_settlement(struct journal *journal, const struct record_target *span) {
    if (journal->staged_count == 0) return false;
    struct journal_staged *last = journal_staged_at(journal, journal->staged_count - 1);
    struct record_target *target = &last->target;
    if (last->record.type != RECORD_ACK || last->record.target_count != 1) return false;
    if (target->queue != span->queue || target->seq + target->count != span->seq) return false;
    if (target->seq >> SEQ_PRIORITY_SHIFT != span->seq >> SEQ_PRIORITY_SHIFT) return false;
    target->count += span->count;
    last->position = ++journal->put_position;
    journal->counts.records++;
    return true;
}

int journal_settle(
    struct journal *journal, const struct record_target *span, uint64_t *ret_position) {
    struct record record = {.type = RECORD_ACK, .target_count = 1, .targets = span};
    if (journal->stopped) return -EIO;
    int status = record_validate(&record);
    if (status != 0) return status;
    if (!merge_settlement(journal, span)) return journal_put(journal, &record, ret_position);
    *ret_position = journal->put_position;
    return 0;
}

/* The frame in the first slot is stable. */
static void on_frame_stable(struct journal *journal, struct journal_slot *slot) {
    journal->stable.end_lsn = slot->frame.lsn + slot->frame.size;
    journal->stable.crc = slot->crc;
    slot->write.file->end = slot->write.request.offset + slot->frame.size;
    if ((slot->frame.flags & JOURNAL_FRAME_INDEX) != 0 && slot->write.file->index == 0)
        slot->write.file->index = slot->write.request.offset;
    if ((slot->frame.flags & JOURNAL_FRAME_INDEX) != 0 && journal->stable.index_lsn == 0)
        journal->stable.index_lsn = slot->frame.lsn;
    if (!journal->settings.unwitnessed) journal->durable_lsn = journal->stable.end_lsn;
    journal->unstable_bytes -= slot->put_bytes;
    journal->last_done_ms = journal->now_ms;
    journal->last_took_ms = journal->now_ms - slot->sent_ms;
    journal->failures = 0;
    slot->state = JOURNAL_SLOT_FREE;
    journal->slot_first = (journal->slot_first + 1) % JOURNAL_IN_FLIGHT_MAX;
    journal->slot_count--;
    if (slot->position == 0) return;
    check(slot->position > journal->stable_position || PLANTED(EARLY_STABLE));
    journal->stable_position = slot->position;
    slot->write.file->position = slot->position;
    journal->settings.calls->on_stable(journal->settings.context, slot->position);
}

static void on_write_failed(struct journal *journal, struct journal_write *write, int error) {
    journal->counts.failed_writes++;
    write->file->failed = true;
    if (PLANTED(STABLE_PAST_HOLE) && write->kind == JOURNAL_WRITE_FRAME) return;
    journal->failing = true;
    journal->failing_error = error;
}

static void on_frame_done(struct journal *journal, struct journal_slot *slot, int status) {
    if (status != 0) on_write_failed(journal, &slot->write, -status);
    if (journal->failing) {
        slot->state = JOURNAL_SLOT_BUILT;
        return;
    }
    check(slot == journal_slot_at(journal, 0));
    on_frame_stable(journal, slot);
}

static void on_header_done(struct journal *journal, int status) {
    journal->header_sent = false;
    if (status != 0) on_write_failed(journal, &journal->header_write, -status);
    if (!journal->failing) journal_file_on_header(journal, status);
}

static void on_done(struct journal *journal, struct disk_request *request) {
    if (request->submitter != journal) {
        give_back(journal, request);
        return;
    }
    if (request == &journal->make) {
        journal_file_on_make(journal, request->status);
        return;
    }
    if (request == &journal->removal) {
        journal_file_on_removed(journal, request->status);
        return;
    }
    struct journal_write *write = CONTAINER_OF(request, struct journal_write, request);
    switch (write->kind) {
    case JOURNAL_WRITE_FRAME:
        on_frame_done(journal, CONTAINER_OF(write, struct journal_slot, write), request->status);
        break;
    case JOURNAL_WRITE_HEADER: on_header_done(journal, request->status); break;
    case JOURNAL_WRITE_MARK: journal_file_on_mark(journal, write->file, request->status); break;
    }
}

/* Sends a built frame to the active file, which has room for it. */
static void send(struct journal *journal, struct journal_slot *slot) {
    struct journal_file *file = journal->active;
    struct journal_frame *frame = &slot->frame;
    check(journal->active_offset + frame->size <= file->size);
    frame->shard = journal->settings.shard;
    frame->file_id = file->file_id;
    frame->lsn = file->base_lsn + journal->active_offset;
    frame->durable_lsn = journal->durable_lsn;
    if (PLANTED(WITNESS_TOO_HIGH)) frame->durable_lsn = frame->lsn + frame->size;
    frame->prev_crc = journal->tail.crc;
    frame->wall_ms = journal->wall_ms;
    slot->crc = journal_frame_put_header(frame, slot->buffer);
    slot->write = (struct journal_write){
        .request = {.kind = DISK_WRITE,
            .file = file->handle,
            .offset = journal->active_offset,
            .data = slot->buffer,
            .size = frame->size,
            .submitter = journal},
        .kind = JOURNAL_WRITE_FRAME,
        .file = file,
    };
    slot->state = JOURNAL_SLOT_SENT;
    if (slot->position != 0) journal_mark_put(file, slot->first_position, journal->active_offset);
    journal->active_offset += frame->size;
    journal->tail.end_lsn = frame->lsn + frame->size;
    journal->tail.crc = slot->crc;
    if ((frame->flags & JOURNAL_FRAME_INDEX) != 0 && journal->tail.index_lsn == 0)
        journal->tail.index_lsn = frame->lsn;
    journal->sealed = (frame->flags & JOURNAL_FRAME_SEAL) != 0;
    journal->counts.frames++;
    journal->counts.bytes += frame->size;
    disk_submit(journal->settings.disk, &slot->write.request);
    if (PLANTED(EARLY_STABLE) && slot->position != 0)
        journal->settings.calls->on_stable(journal->settings.context, slot->position);
}

static void send_new(struct journal *journal, struct journal_slot *slot) {
    journal->slot_count++;
    slot->sent_ms = journal->now_ms;
    send(journal, slot);
}

static uint64_t room_left(const struct journal *journal) {
    return journal->active->size - journal->active_offset;
}

/* Nothing but its INDEX frames goes into the active file from now on. */
static void begin_closing(struct journal *journal) {
    journal->closing = true;
    file_index_begin(&journal->index, journal_group_frame_bytes(journal),
        journal->active_offset / FILE_INDEX_PART, room_left(journal));
}

/* The active file gets no more frames. Its INDEX, if it has one, has been sent. */
static void leave_file(struct journal *journal) {
    journal->active->state = JOURNAL_FILE_FULL;
    journal->active = NULL;
    journal->closing = false;
}

static void send_index(struct journal *journal, struct journal_slot *slot) {
    journal_group_build_index(journal, slot);
    send_new(journal, slot);
    if (file_index_done(&journal->index)) leave_file(journal);
}

static bool wants_frame(const struct journal *journal) {
    if (journal->staged_count == 0) return false;
    if (journal->slot_count != 0) return journal->staged_bytes >= JOURNAL_SECOND_BYTES;
    bool waited = journal->now_ms >= journal->lazy_since_ms + JOURNAL_LAZY_MS;
    return journal->urgent_count != 0 || journal->hurried_count != 0 || waited ||
           journal->finishing;
}

bool journal_makes(const struct journal *journal) {
    return journal->active || journal->make_failed || journal_needs_file(journal);
}

bool journal_needs_file(const struct journal *journal) {
    return journal->staged_count != 0 || journal->slot_count != 0 || journal->begin_wanted;
}

static bool wants_seal(const struct journal *journal) {
    if (journal->sealed || journal->slot_count != 0) return false;
    return journal->finishing || journal->now_ms >= journal->last_done_ms + JOURNAL_SEAL_MS;
}

/* A frame that is sent again, and its records on the way into another file's index. */
struct again {
    struct journal *journal;
    const uint8_t *frame;
};

static void index_again(void *context, const struct record_view *view) {
    const struct again *again = context;
    const uint8_t *at = view->targets - RECORD_HEADER_BYTES;
    file_index_add(&again->journal->index, view, at,
        again->journal->active_offset + (uint64_t)(at - again->frame));
}

/* Sends a frame once more that was built for a file that failed. What does not fit beside the
 * others goes to one more file; the one before then has no INDEX, which is read from its records.
 */
static void send_again(struct journal *journal, struct journal_slot *slot) {
    uint64_t summaries = journal->index.summary_count + slot->frame.size / RECORD_POINT_BYTES;
    uint64_t index = file_index_summaries_bytes(journal_group_frame_bytes(journal), summaries);
    bool fits = slot->frame.size + index <= room_left(journal);
    if (!fits && journal->active_offset > FILE_FRAMES_AT) {
        leave_file(journal);
        return;
    }
    struct bytes bytes = bytes_of(slot->buffer, slot->frame.size);
    struct again again = {journal, slot->buffer};
    journal_frame_walk(&slot->frame, bytes, index_again, &again);
    send(journal, slot);
}

/* The first frame that waits to be sent again, or NULL. */
static struct journal_slot *slot_to_send_again(struct journal *journal) {
    for (uint32_t i = 0; i < journal->slot_count; i++) {
        struct journal_slot *slot = journal_slot_at(journal, i);
        if (slot->state == JOURNAL_SLOT_BUILT) return slot;
    }
    return NULL;
}

/* Sends one more thing; false when there is nothing to send, or no place for it. */
static bool step(struct journal *journal) {
    if (!journal->active && !journal_needs_file(journal)) return false;
    if (!journal->active && !journal_file_begin(journal)) return false;
    struct journal_slot *again = slot_to_send_again(journal);
    if (again) {
        check(!journal->closing);
        send_again(journal, again);
        return true;
    }
    if (journal->slot_count == JOURNAL_IN_FLIGHT_MAX) return false;
    struct journal_slot *slot = journal_slot_at(journal, journal->slot_count);
    if (journal->closing) {
        send_index(journal, slot);
        return true;
    }
    if (wants_frame(journal)) {
        if (journal_group_build(journal, slot, room_left(journal))) {
            send_new(journal, slot);
        } else {
            begin_closing(journal);
        }
        return true;
    }
    if (!wants_seal(journal)) return false;
    uint64_t index = journal_group_index_bytes(journal, 0, 0);
    if (room_left(journal) < index + JOURNAL_FRAME_BLOCK_BYTES) {
        begin_closing(journal);
        return true;
    }
    journal_group_build_seal(journal, slot);
    send_new(journal, slot);
    return true;
}

/* Frames that only concern the file that failed are not sent again. */
static void drop_empty_frames(struct journal *journal) {
    struct journal_slot kept[JOURNAL_IN_FLIGHT_MAX] = {{.state = JOURNAL_SLOT_FREE}};
    uint32_t kept_count = 0;
    uint32_t dropped = JOURNAL_IN_FLIGHT_MAX;
    for (uint32_t i = 0; i < JOURNAL_IN_FLIGHT_MAX; i++) {
        struct journal_slot *slot = journal_slot_at(journal, i);
        if (slot->state == JOURNAL_SLOT_BUILT && slot->frame.flags == 0) {
            kept[kept_count++] = *slot;
            continue;
        }
        slot->state = JOURNAL_SLOT_FREE;
        kept[--dropped] = *slot;
    }
    memcpy(journal->slots, kept, sizeof kept);
    journal->slot_first = 0;
    journal->slot_count = kept_count;
}

/* Everything that was in flight is back. Goes on in a new file, or stops. */
static void fail_over(struct journal *journal) {
    journal->failing = false;
    if (++journal->failures > 1) {
        journal->stopped = true;
        journal_report(journal, JOURNAL_STOPPED, journal->failing_error);
        return;
    }
    if (PLANTED(SAME_FILE_AGAIN) && journal->active && journal->slot_count != 0) {
        journal->active->failed = false;
        return;
    }
    drop_empty_frames(journal);
    journal_marks_cut(journal);
    journal_file_give_up(journal);
    journal->sealed = false;
    journal_report(journal, JOURNAL_WRITE_FAILED, journal->failing_error);
}

void journal_turn(struct journal *journal, uint64_t now_ms, uint64_t wall_ms) {
    check(now_ms >= journal->now_ms);
    journal->now_ms = now_ms;
    journal->wall_ms = wall_ms;
    struct disk_request *request = NULL;
    while ((request = disk_reap(journal->settings.disk)) != NULL)
        on_done(journal, request);
    if (journal->stopped) return;
    if (journal->failing) {
        if (journal_slots_sent(journal) != 0 || journal->header_sent) return;
        fail_over(journal);
    }
    while (!journal->stopped && step(journal)) {
    }
    if (journal->stopped) return;
    journal_file_make(journal);
    journal_file_trim(journal);
}

uint64_t journal_due(const struct journal *journal) {
    uint64_t due = UINT64_MAX;
    if (journal->stopped) return due;
    /* While a write is on its way, or a file is awaited, the bell says when. */
    bool bell = journal->slot_count != 0 || (!journal->active && journal->spare_count == 0);
    if (journal->staged_count > journal->urgent_count && !bell)
        due = min_u64(due, journal->lazy_since_ms + JOURNAL_LAZY_MS);
    if (journal->active && !journal->sealed && journal->slot_count == 0)
        due = min_u64(due, journal->last_done_ms + JOURNAL_SEAL_MS);
    if (journal_makes(journal) && !journal->making &&
        journal->spare_count < journal->settings.files_spare)
        due = min_u64(due, journal->make_after_ms);
    if (!journal->removing && !journal->failing) due = min_u64(due, journal->trim_ms);
    return due;
}

bool journal_want_file(struct journal *journal) {
    if (journal->active || journal->begin_wanted || journal->stopped) return false;
    journal->begin_wanted = true;
    return true;
}

bool journal_has_chain(const struct journal *journal) {
    return journal->stable.file_no != 0;
}

void journal_finish(struct journal *journal) {
    journal->finishing = true;
}

void journal_hurry(struct journal *journal) {
    journal->hurried_count = journal->staged_count;
}

bool journal_idle(const struct journal *journal) {
    if (in_flight(journal) != 0) return false;
    if (journal->stopped) return true;
    return journal->staged_count == 0 && journal->slot_count == 0 &&
           (journal->sealed || !journal->active);
}

bool journal_stopped(const struct journal *journal) {
    return journal->stopped;
}

bool journal_starved(const struct journal *journal) {
    bool has_place = journal->active || journal->spare_count != 0;
    return journal->stopped || (journal->make_failed && !has_place);
}

uint64_t journal_stable(const struct journal *journal) {
    return journal->stable_position;
}

uint64_t journal_unstable_bytes(const struct journal *journal) {
    return journal->unstable_bytes;
}

struct journal_pace journal_pace(const struct journal *journal) {
    struct journal_pace pace = {UINT64_MAX, journal->last_done_ms, journal->last_took_ms};
    if (!journal->stopped && journal->slot_count != 0)
        pace.waits_since_ms = journal->slots[journal->slot_first].sent_ms;
    return pace;
}

uint32_t journal_files(const struct journal *journal) {
    uint32_t count = 0;
    list_for (struct journal_file, file, &journal->files, in_files) {
        count += file->state != JOURNAL_FILE_ABANDONED && file->state != JOURNAL_FILE_MARKING;
    }
    return count;
}

uint32_t journal_spares(const struct journal *journal) {
    return journal->spare_count;
}

const struct journal_counts *journal_counts(const struct journal *journal) {
    return &journal->counts;
}
