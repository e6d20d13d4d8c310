/* journal_group: building frames: what was staged, the file's index, or nothing but a witness.
 *
 * Settlements of a frame are gathered into as few records as possible. Within a frame their place
 * does not matter: it is there as a whole or not at all, and replay applies publishes first. */
#include "base/memory.h"
#include "store/journal_state.h"
#include "store/plant.h"

enum { STAGED_KEPT_MAX = 65536 }; /* so much room is kept when nothing is staged */

/* What taking so many staged records means for the frame and for the file's index. */
struct measure {
    uint32_t count;
    uint64_t record_bytes;
    uint64_t put_bytes;
    uint64_t targets;
    uint64_t index_bytes; /* of runs and facts */
    uint32_t spans;       /* settlements to be gathered */
};

size_t journal_group_frame_bytes(const struct journal *journal) {
    uint64_t quarter = (journal->settings.file_bytes - FILE_FRAMES_AT) / 4;
    quarter -= quarter % JOURNAL_FRAME_BLOCK_BYTES;
    return (size_t)min_u64(JOURNAL_FRAME_BYTES, quarter);
}

uint64_t journal_group_index_bytes(
    const struct journal *journal, uint64_t summaries, uint64_t bytes) {
    return file_index_frames_bytes(
        &journal->index, journal_group_frame_bytes(journal), summaries, bytes);
}

static bool is_gathered(const struct journal_staged *staged) {
    return staged->record.type == RECORD_ACK && staged->record.target_count == 1;
}

static uint64_t gathered_bytes(uint32_t spans) {
    uint64_t records = (spans + RECORD_TARGETS_MAX - 1) / RECORD_TARGETS_MAX;
    return (uint64_t)spans * RECORD_SPAN_BYTES + records * RECORD_HEADER_BYTES;
}

/* How much of the staged goes into one frame. */
static struct measure take_measure(struct journal *journal, uint64_t room) {
    struct measure taken = {.count = 0};
    for (uint32_t i = 0; i < journal->staged_count; i++) {
        const struct journal_staged *staged = journal_staged_at(journal, i);
        struct measure next = taken;
        next.count++;
        next.put_bytes += staged->size;
        next.targets += staged->record.target_count;
        next.index_bytes +=
            file_index_cost(staged->record.type, staged->record.target_count, staged->size);
        if (is_gathered(staged)) {
            next.spans++;
        } else {
            next.record_bytes += staged->size;
        }
        size_t size = journal_frame_size(next.record_bytes + gathered_bytes(next.spans));
        if (i != 0 && size > journal_group_frame_bytes(journal)) break;
        uint64_t index = journal_group_index_bytes(journal, next.targets, next.index_bytes);
        if (size + index > room) break;
        taken = next;
    }
    return taken;
}

static void slot_prepare(struct journal_slot *slot, size_t size) {
    /* The buffer of one huge record is not kept for all the small ones after it. */
    bool too_large = slot->capacity > JOURNAL_FRAME_BYTES && size <= JOURNAL_FRAME_BYTES;
    if (slot->capacity < size || too_large) {
        disk_memory_free(slot->buffer);
        slot->capacity = max_u64(size, min_u64(2 * size, JOURNAL_FRAME_BYTES));
        slot->buffer = disk_memory_new(slot->capacity);
    }
    slot->frame = (struct journal_frame){.size = (uint32_t)size};
}

static size_t put_record(
    struct journal *journal, struct journal_slot *slot, size_t at, const struct record *record) {
    size_t size = record_size(record);
    uint32_t crc = record_encode(record, slot->buffer + at);
    slot->frame.body_crc = journal_frame_fold(slot->frame.body_crc, crc);
    slot->frame.record_count++;
    struct record_view view = record_view_of(record, slot->buffer + at);
    file_index_add(&journal->index, &view, slot->buffer + at, journal->active_offset + at);
    return at + size;
}

/* Adds a settlement to those of the frame; a run that goes on is one span. */
static uint32_t gather(struct record_target *spans, uint32_t count, struct record_target span) {
    struct record_target *last = count ? &spans[count - 1] : NULL;
    bool goes_on = last && last->queue == span.queue && last->seq + last->count == span.seq &&
                   last->seq >> SEQ_PRIORITY_SHIFT == span.seq >> SEQ_PRIORITY_SHIFT;
    if (goes_on) {
        last->count += span.count;
        return count;
    }
    spans[count] = span;
    return count + 1;
}

static size_t put_spans(
    struct journal *journal, struct journal_slot *slot, size_t at, uint32_t span_count) {
    for (uint32_t from = 0; from < span_count; from += RECORD_TARGETS_MAX) {
        struct record settled = {
            .type = RECORD_ACK,
            .target_count = (uint16_t)min_u64(span_count - from, RECORD_TARGETS_MAX),
            .targets = journal->spans + from,
        };
        at = put_record(journal, slot, at, &settled);
    }
    return at;
}

static void finish_frame(struct journal_slot *slot, size_t at) {
    slot->frame.size = (uint32_t)journal_frame_size(at - JOURNAL_FRAME_HEADER_BYTES);
    check(slot->frame.size <= slot->capacity);
    memset(slot->buffer + at, 0, slot->frame.size - at);
    slot->state = JOURNAL_SLOT_BUILT;
}

bool journal_group_build(struct journal *journal, struct journal_slot *slot, uint64_t room) {
    struct measure taken = take_measure(journal, room);
    if (taken.count == 0) return false;
    slot_prepare(slot, journal_frame_size(taken.record_bytes + gathered_bytes(taken.spans)));
    if (taken.spans > journal->spans_capacity) {
        journal->spans_capacity = taken.spans;
        journal->spans = mem_resize(journal->spans, taken.spans * sizeof *journal->spans);
    }
    size_t at = JOURNAL_FRAME_HEADER_BYTES;
    uint32_t spans = 0;
    for (uint32_t i = 0; i < taken.count; i++) {
        struct journal_staged *staged = journal_staged_at(journal, i);
        if (staged->record.target_count == 1) staged->record.targets = &staged->target;
        if (is_gathered(staged)) {
            spans = gather(journal->spans, spans, staged->target);
        } else {
            at = put_record(journal, slot, at, &staged->record);
        }
        if (staged->record.type != RECORD_ACK) journal->urgent_count--;
        slot->position = staged->position;
    }
    slot->first_position = journal->built_position + 1;
    journal->built_position = slot->position;
    if (PLANTED(LOST_SETTLE) && spans > 1) spans--;
    at = put_spans(journal, slot, at, spans);
    finish_frame(slot, at);
    slot->put_bytes = taken.put_bytes;
    journal->staged_first += taken.count;
    journal->staged_count -= taken.count;
    journal->hurried_count -= (uint32_t)min_u64(journal->hurried_count, taken.count);
    journal->staged_bytes -= taken.put_bytes;
    if (journal->staged_count == 0 && journal->staged_capacity > STAGED_KEPT_MAX) {
        mem_free(journal->staged);
        journal->staged = NULL;
        journal->staged_first = journal->staged_capacity = 0;
    }
    return true;
}

void journal_group_build_index(struct journal *journal, struct journal_slot *slot) {
    size_t room = journal_group_frame_bytes(journal) - JOURNAL_FRAME_HEADER_BYTES;
    room = max_u64(room, file_index_least(&journal->index));
    slot_prepare(slot, journal_frame_size(room));
    size_t at = JOURNAL_FRAME_HEADER_BYTES;
    at += file_index_put(&journal->index, slot->buffer + at, room, &slot->frame);
    finish_frame(slot, at);
    slot->frame.flags = file_index_flags(&journal->index);
    slot->put_bytes = 0;
    slot->position = 0;
}

void journal_group_build_seal(struct journal *journal, struct journal_slot *slot) {
    struct record record = {.type = RECORD_SEAL};
    slot_prepare(slot, journal_frame_size(record_size(&record)));
    finish_frame(slot, put_record(journal, slot, JOURNAL_FRAME_HEADER_BYTES, &record));
    slot->frame.flags = JOURNAL_FRAME_SEAL;
    slot->put_bytes = 0;
    slot->position = 0;
}
