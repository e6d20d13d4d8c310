/* harm_segment: damaging a segment that a manifest lists, or a journal file that was kept. Every
 * bit of it counts but for a kept one's mark and what lies behind its end, and there is no tail:
 * whatever is done to it must be reported with its name, and only what is in it be lost. */
#include "by_index.h"

static struct sim_file *file_named(struct world *world, const char *name) {
    for (int i = 0; i < SIM_FILES_MAX; i++) {
        struct sim_file *file = &world->platter.files[i];
        if (file->used && !file->removed && strcmp(file->name, name) == 0) return file;
    }
    unreachable_here();
}

/* Of a journal file that is missing the number is told, not the name. */
static bool is_named(const struct recovery *recovery, const struct recover_segment *segment) {
    uint64_t count = min_u64(recover_damage_count(recovery), RECOVER_DAMAGES_MAX);
    for (uint64_t i = 0; i < count; i++) {
        const struct recover_damage *damage = recover_damage_at(recovery, i);
        bool missing = segment->kept && damage->kind == RECOVER_MISSING &&
                       damage->shard == segment->shard && damage->file_no == segment->number;
        if (missing || strcmp(damage->name, segment->name) == 0) return true;
    }
    return false;
}

/* Looks whether it is seen, and whether what is left is what was put. */
static void look(struct world *world, const struct recover_segment *segment) {
    struct recovery *recovery = world_recover(world, false);
    if (!recovery) return;
    world->harms++;
    bool seen = recover_verdict(recovery) == RECOVER_DAMAGED && is_named(recovery, segment);
    world->harms_seen += seen;
    if (!seen) oracle_fails(&world->oracle, "%s is damaged, and nobody says so", segment->name);
    recover_close(recovery);
    recovery = world_recover(world, true);
    if (!recovery) return;
    world->ledger.damage_allowed = true;
    if (recover_verdict(recovery) == RECOVER_DAMAGED) ledger_compare(&world->ledger, recovery);
    world->ledger.damage_allowed = false;
    recover_close(recovery);
}

void harm_segment_try(struct world *world, struct recovery *recovery) {
    uint32_t count = recover_segment_count(recovery);
    if (count == 0 || !prng_chance(&world->prng, 60)) return;
    struct recover_segment segment;
    recover_segment_at(recovery, (uint32_t)prng_below(&world->prng, count), &segment);
    struct sim_file *file = file_named(world, segment.name);
    uint64_t size = file->size;
    uint64_t at = prng_below(&world->prng, segment.end);
    if (segment.kept && at >= FILE_MARK_AT && at < FILE_FRAMES_AT) return;
    uint8_t bit = (uint8_t)(1u << prng_below(&world->prng, 8));
    uint64_t kind = prng_below(&world->prng, 5);
    struct index_view good;
    index_view_take(world, &good);
    switch (kind) {
    case 0: file->used = false; break;
    case 1: file->unreadable = at - at % SIM_SECTOR_BYTES; break;
    case 2: file->size = at; break;
    default: file->seen[at] ^= bit; break;
    }
    look(world, &segment);
    by_index_survive(world, &good);
    index_view_deinit(&good);
    if (kind > 2) file->seen[at] ^= bit;
    file->used = true;
    file->unreadable = UINT64_MAX;
    file->size = size;
    struct recovery *again = world_recover(world, false);
    if (again && recover_verdict(again) == RECOVER_CLEAN) ledger_compare(&world->ledger, again);
    if (again && recover_verdict(again) != RECOVER_CLEAN)
        oracle_fails(&world->oracle, "%s is healed, and damaged", segment.name);
    recover_close(again);
}
