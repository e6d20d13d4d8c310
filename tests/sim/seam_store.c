/* seam_store: planted bugs of what keeps messages and definitions: see sim/seam.c. */
#include "sim/edges.h"
#include "sim/plant.h"

#include <errno.h>

#include "base/memory.h"
#include "session/session.h"
#include "shard/keeper.h"

/* The linker's names. */
int __wrap_journal_put(
    struct journal *journal, const struct record *record, uint64_t *ret_position) MUST_USE;
int __real_journal_put(
    struct journal *journal, const struct record *record, uint64_t *ret_position) MUST_USE;
int __wrap_journal_settle(
    struct journal *journal, const struct record_target *span, uint64_t *ret_position) MUST_USE;
int __real_journal_settle(
    struct journal *journal, const struct record_target *span, uint64_t *ret_position) MUST_USE;
uint64_t __wrap_kept_file_live(const struct kept_file *file);
uint64_t __real_kept_file_live(const struct kept_file *file);
uint64_t __wrap_keeper_stage(struct keeper *keeper, const struct record *record, void *memory);
uint64_t __real_keeper_stage(struct keeper *keeper, const struct record *record, void *memory);
bool __wrap_facts_put(struct facts *facts, const struct queue_slot *slot, uint32_t *steps);
bool __real_facts_put(struct facts *facts, const struct queue_slot *slot, uint32_t *steps);
uint64_t __wrap_retire_put_manifest(struct archive *archive);
uint64_t __real_retire_put_manifest(struct archive *archive);
void __wrap_segment_ref_put(const struct segment_ref *ref, uint8_t *at);
void __real_segment_ref_put(const struct segment_ref *ref, uint8_t *at);
void __wrap_session_on_answer(struct session *session, uint16_t channel, uint32_t number,
    const struct answer *answer, uint64_t now_ms);
void __real_session_on_answer(struct session *session, uint16_t channel, uint32_t number,
    const struct answer *answer, uint64_t now_ms);

/* One run is one process and one thread. */
static uint64_t occasions;

static bool every(uint64_t n) {
    return ++occasions % n == 0;
}

/* ---- records ---- */

int __wrap_journal_put(
    struct journal *journal, const struct record *record, uint64_t *ret_position) {
    struct record changed = *record;
    struct record_target nothing = {0};
    if (record->type == RECORD_DELIVERED && plant_on(PLANT_delivered_unrecorded)) {
        nothing = (struct record_target){.queue = record->targets[0].queue, .seq = 1};
        changed.targets = &nothing;
    }
    if (record->type == RECORD_PART && record->message_id != 0 && plant_on(PLANT_parts_mixed))
        changed.body = bytes_of(record->body.data - record->body.size, record->body.size);
    return __real_journal_put(journal, &changed, ret_position);
}

int __wrap_journal_settle(
    struct journal *journal, const struct record_target *span, uint64_t *ret_position) {
    if (plant_on(PLANT_ack_unrecorded) && every(5)) return -EINVAL;
    return __real_journal_settle(journal, span, ret_position);
}

/* Sets the first bit that is clear between two that are set. */
static void spoil_bits(uint8_t *bits, size_t size) {
    bool before = false;
    for (size_t at = 0; at + 1 < size * 8; at++) {
        bool here = bits[at / 8] >> (at % 8) & 1;
        bool behind = bits[(at + 1) / 8] >> ((at + 1) % 8) & 1;
        if (before && !here && behind) {
            bits[at / 8] |= (uint8_t)(1u << at % 8);
            return;
        }
        before = here;
    }
}

/* What evacuations put again; without it, or before it is stable, files go. */
uint64_t __wrap_keeper_stage(struct keeper *keeper, const struct record *record, void *memory) {
    edges_add(EDGE_facts_bits, record->type == RECORD_SETTLED);
    if (record->type == RECORD_SETTLED && plant_on(PLANT_bits_wrong))
        spoil_bits(memory, record->body.size);
    if (plant_on(PLANT_facts_lost)) {
        mem_free(memory);
        return 0;
    }
    return __real_keeper_stage(keeper, record, memory);
}

bool __wrap_facts_put(struct facts *facts, const struct queue_slot *slot, uint32_t *steps) {
    bool done = __real_facts_put(facts, slot, steps);
    edges_add(EDGE_facts_sliced, !done);
    if (done || !plant_on(PLANT_facts_end_early)) return done;
    facts_drop(facts);
    return true;
}

/* ---- files ---- */

uint64_t __wrap_kept_file_live(const struct kept_file *file) {
    return __real_kept_file_live(file) + (plant_on(PLANT_segment_not_empty) && file->segment);
}

/* The last segment, or one that is kept, is left out. */
uint64_t __wrap_retire_put_manifest(struct archive *archive) {
    struct kept_file *left_out = NULL;
    list_for (struct kept_file, file, &archive->segments, in_archive) {
        if (plant_on(PLANT_segment_unlisted)) left_out = file;
        if (plant_on(PLANT_kept_unlisted) && file->kept) left_out = file;
    }
    if (left_out) list_remove(&left_out->in_archive);
    uint64_t position = __real_retire_put_manifest(archive);
    if (left_out) list_put_last(&archive->segments, &left_out->in_archive);
    return position;
}

void __wrap_segment_ref_put(const struct segment_ref *ref, uint8_t *at) {
    struct segment_ref changed = *ref;
    if (plant_on(PLANT_manifest_wrong)) changed.file_id ^= 1;
    __real_segment_ref_put(&changed, at);
}

/* ---- definitions ---- */

void __wrap_session_on_answer(struct session *session, uint16_t channel, uint32_t number,
    const struct answer *answer, uint64_t now_ms) {
    struct answer changed = *answer;
    if (plant_on(PLANT_answer_unstable)) changed.ticket = 0;
    __real_session_on_answer(session, channel, number, &changed, now_ms);
}
