/* harm: damaging what had been stable, to see whether recovery finds it and what it saves.
 *
 * A frame, a header or a file is chosen among those that the disk reported written. If anything on
 * the platter bears witness of it, recovery has to report exactly that place; in every case nothing
 * may come back that was not put. Salvaging must give all but the damaged frame. */
#include "by_index.h"

#include <stdlib.h>

#include "store/crc.h"
#include "store/journal_frame.h"
#include "store/le.h"

enum harm_kind {
    HARM_BIT,
    HARM_ZEROES,
    HARM_NOISE,
    HARM_COPY,       /* another sector's content */
    HARM_UNREADABLE, /* -EIO */
    HARM_FORGED,     /* changed, and all its checksums made right */
    HARM_LENGTH,     /* a bit of a record's length that the rounding hides */
    HARM_PADDING,    /* a bit behind the records */
    HARM_HEADER,     /* a bit in the file's first block */
    HARM_MISSING,    /* the whole file */
    HARM_CRAFTED,    /* nonsense in a header, with a checksum that is right */
    HARMS,
};

struct harm {
    struct world *world;
    enum harm_kind kind;
    struct sim_file *file;
    struct file_header header;
    struct journal_frame frame;
    uint64_t offset; /* of the frame, or 0 */
    uint8_t saved[FILE_HEADER_BYTES];
    uint8_t *saved_frame;
};

/* The highest durable_lsn on the platter of this shard, in good headers and frames, but not in what
 * is damaged. */
static uint64_t witness_lsn(const struct harm *harm) {
    uint64_t highest = 0;
    for (int i = 0; i < SIM_FILES_MAX; i++) {
        const struct sim_file *file = &harm->world->platter.files[i];
        struct file_header header;
        if (!file->used || file->removed) continue;
        if (file_header_parse(file->seen, &header) != FILE_HEADER_GOOD) continue;
        if (header.shard != harm->header.shard) continue;
        highest = max_u64(highest, header.durable_lsn);
        for (uint32_t j = 0; j < file->write_count; j++) {
            struct journal_frame frame;
            bool itself = file == harm->file && file->writes[j].offset == harm->offset;
            const uint8_t *at = file->seen + file->writes[j].offset;
            if (itself || !journal_frame_parse(at, &frame)) continue;
            if (frame.file_id == header.file_id) highest = max_u64(highest, frame.durable_lsn);
        }
    }
    return highest;
}

/* Chooses a stable frame of a file in a chain that recovery has read. False when there is none. */
static bool choose(struct harm *harm) {
    struct world *world = harm->world;
    struct prng *prng = &world->prng;
    struct sim_file *file = &world->platter.files[prng_below(prng, 16)];
    struct file_header mark;
    if (!file->used || file->removed || file->write_count == 0) return false;
    if (file_header_parse(file->seen, &harm->header) != FILE_HEADER_GOOD) return false;
    bool marked = file_header_parse(file->seen + FILE_MARK_AT, &mark) == FILE_HEADER_GOOD &&
                  mark.file_id == harm->header.file_id;
    if (marked) return false;
    harm->file = file;
    harm->offset = file->writes[prng_below(prng, file->write_count)].offset;
    if (!journal_frame_parse(file->seen + harm->offset, &harm->frame)) return false;
    return harm->frame.file_id == harm->header.file_id;
}

/* The items that the last comparison found in the frame. */
static bool frame_has_items(const struct harm *harm) {
    const struct oracle_shard *shard = &harm->world->oracle.shards[harm->header.shard];
    for (uint64_t i = 0; i < shard->count; i++)
        if (shard->items[i].present && shard->items[i].lsn == harm->frame.lsn) return true;
    return false;
}

static bool is_lost(void *context, uint16_t shard, const struct oracle_item *item) {
    const struct harm *harm = context;
    return shard == harm->header.shard && item->lsn == harm->frame.lsn;
}

/* Gives a frame another time of day, as if another history had been restored. */
static void forge(struct harm *harm) {
    uint8_t *at = harm->file->seen + harm->offset;
    struct journal_frame other = harm->frame;
    other.wall_ms++;
    journal_frame_put_header(&other, at);
}

/* Puts any number into any field of a header, as no disk would and an enemy may. */
static void craft(struct harm *harm) {
    struct prng *prng = &harm->world->prng;
    bool of_file = prng_chance(prng, 50);
    uint8_t *at = harm->file->seen + (of_file ? 0 : harm->offset);
    uint64_t fields = of_file ? 14 : 6;
    uint64_t value = prng_next(prng) >> prng_below(prng, 64);
    uint64_t field = 8 + 8 * prng_below(prng, fields);
    if (prng_chance(prng, 50)) value = le_get_u64(at + field) + value % 20000 - 10000;
    le_put_u64(at + field, value);
    size_t crc_at = of_file ? FILE_HEADER_BYTES - 4 : JOURNAL_FRAME_HEADER_BYTES - 4;
    le_put_u32(at + crc_at, crc32c(at, crc_at));
}

/* Where the frame's records end. */
static uint64_t padding_at(const struct harm *harm) {
    const uint8_t *bytes = harm->file->seen + harm->offset;
    uint64_t at = JOURNAL_FRAME_HEADER_BYTES;
    for (uint32_t i = 0; i < harm->frame.record_count; i++)
        at += (le_get_u32(bytes + at + 4) + 7u) & ~7u;
    return at;
}

static uint64_t sector_of(uint64_t offset) {
    return offset - offset % SIM_SECTOR_BYTES;
}

/* Changes the platter. False when nothing changes. */
static bool inflict(struct harm *harm) {
    struct prng *prng = &harm->world->prng;
    struct sim_file *file = harm->file;
    uint8_t *frame = file->seen + harm->offset;
    uint64_t any = prng_below(prng, harm->frame.size);
    uint8_t *sector = frame + sector_of(any);
    switch (harm->kind) {
    case HARM_BIT: frame[any] ^= (uint8_t)(1u << prng_below(prng, 8)); return true;
    case HARM_ZEROES: memset(sector, 0, SIM_SECTOR_BYTES); break;
    case HARM_NOISE:
        for (int i = 0; i < SIM_SECTOR_BYTES; i++)
            sector[i] = (uint8_t)prng_next(prng);
        break;
    case HARM_COPY:
        memmove(sector, file->seen + sector_of(prng_below(prng, file->size)), SIM_SECTOR_BYTES);
        break;
    case HARM_UNREADABLE: file->unreadable = harm->offset + sector_of(any); return true;
    case HARM_FORGED: forge(harm); return true;
    case HARM_LENGTH: frame[JOURNAL_FRAME_HEADER_BYTES + 4] ^= 1; break;
    case HARM_PADDING: {
        uint64_t at = padding_at(harm);
        if (at >= harm->frame.size) return false;
        frame[at + prng_below(prng, harm->frame.size - at)] ^= 1;
        break;
    }
    case HARM_HEADER: file->seen[prng_below(prng, 120)] ^= 1; return true;
    case HARM_MISSING: file->used = false; return true;
    case HARM_CRAFTED: craft(harm); return true;
    case HARMS: unreachable_here();
    }
    return memcmp(frame, harm->saved_frame, harm->frame.size) != 0;
}

static void heal(struct harm *harm) {
    memcpy(harm->file->seen + harm->offset, harm->saved_frame, harm->frame.size);
    memcpy(harm->file->seen, harm->saved, sizeof harm->saved);
    harm->file->unreadable = UINT64_MAX;
    harm->file->used = true;
}

/* Whether something tells that the damage is none of a torn tail. */
static bool must_be_seen(const struct harm *harm, uint64_t witness) {
    uint64_t lsn = harm->frame.lsn;
    switch (harm->kind) {
    case HARM_UNREADABLE: return true;
    case HARM_CRAFTED: return false;
    /* Only the next frame tells, and who forges the last one before a gap is not seen. */
    case HARM_FORGED: return witness > lsn + harm->frame.size;
    case HARM_HEADER: return witness > harm->header.base_lsn + FILE_FRAMES_AT;
    case HARM_MISSING: return witness >= harm->header.base_lsn + harm->file->size;
    case HARM_BIT:
    case HARM_ZEROES:
    case HARM_NOISE:
    case HARM_COPY:
    case HARM_LENGTH:
    case HARM_PADDING: return witness > lsn;
    case HARMS: break;
    }
    unreachable_here();
}

static bool names_the_place(const struct harm *harm, const struct recovery *recovery) {
    uint64_t count = min_u64(recover_damage_count(recovery), RECOVER_DAMAGES_MAX);
    for (uint64_t i = 0; i < count; i++) {
        const struct recover_damage *damage = recover_damage_at(recovery, i);
        /* Of a file in the middle of a chain it is told that it is missing. */
        bool whole_file = harm->kind == HARM_MISSING || harm->kind == HARM_HEADER;
        if (whole_file && damage->file_no == harm->header.file_no) return true;
        if (memcmp(damage->name, harm->file->name, sizeof damage->name) != 0) continue;
        if (harm->kind == HARM_HEADER && damage->offset == 0) return true;
        /* A forged frame is good by itself; its successor does not follow it. */
        uint64_t offset = harm->offset + (harm->kind == HARM_FORGED ? harm->frame.size : 0);
        if (harm->kind != HARM_HEADER && damage->offset == offset) return true;
    }
    return false;
}

static void look(struct harm *harm, bool must) {
    struct world *world = harm->world;
    struct recovery *recovery = world_recover(world, false);
    if (!recovery) return;
    bool seen = recover_verdict(recovery) != RECOVER_CLEAN;
    world->harms++;
    world->harms_seen += seen;
    if (must && !seen)
        oracle_fails(&world->oracle, "harm %d at lsn %llu is not seen", harm->kind,
            (unsigned long long)harm->frame.lsn);
    if (must && seen && !names_the_place(harm, recovery))
        oracle_fails(&world->oracle, "harm %d at lsn %llu is reported elsewhere", harm->kind,
            (unsigned long long)harm->frame.lsn);
    recover_close(recovery);
}

/* Everything but the damaged frame comes back. */
static void save(struct harm *harm) {
    struct world *world = harm->world;
    struct recovery *recovery = world_recover(world, true);
    if (!recovery) return;
    if (recover_verdict(recovery) == RECOVER_DAMAGED)
        oracle_compare(&world->oracle, recovery, is_lost, harm);
    recover_close(recovery);
}

static void ignore_record(void *context, const struct recover_record *record) {
    (void)context;
    (void)record;
}

/* Whatever comes back, coming back must not end the process. */
static void survive(struct harm *harm) {
    struct recovery *recovery = world_recover(harm->world, true);
    if (!recovery) return;
    if (recover_verdict(recovery) != RECOVER_REFUSED) {
        int status = recover_replay(recovery, ~0u, ignore_record, NULL);
        if (status != 0) oracle_fails(&harm->world->oracle, "a second reading differs");
    }
    recover_close(recovery);
}

void harm_try(struct world *world, struct recovery *recovery) {
    struct harm harm = {.world = world};
    if (!prng_chance(&world->prng, 60) || !choose(&harm)) return;
    (void)recovery;
    harm.kind = (enum harm_kind)prng_below(&world->prng, HARMS);
    memcpy(harm.saved, harm.file->seen, sizeof harm.saved);
    harm.saved_frame = malloc(harm.frame.size);
    check(harm.saved_frame != NULL);
    memcpy(harm.saved_frame, harm.file->seen + harm.offset, harm.frame.size);
    bool counts = frame_has_items(&harm);
    struct index_view good;
    index_view_take(world, &good);
    uint64_t witness = witness_lsn(&harm);
    /* Frames that were cut off earlier lie behind the end of their file and may be anything. */
    if (counts && inflict(&harm)) {
        bool must = must_be_seen(&harm, witness);
        look(&harm, must);
        bool of_a_frame = harm.kind != HARM_HEADER && harm.kind != HARM_MISSING;
        if (must && of_a_frame && world->oracle.failure[0] == 0) save(&harm);
        if (harm.kind == HARM_CRAFTED) survive(&harm);
        by_index_survive(world, &good);
    }
    index_view_deinit(&good);
    heal(&harm);
    free(harm.saved_frame);
    struct recovery *again = world_recover(world, false);
    if (again) oracle_compare(&world->oracle, again, NULL, NULL);
    recover_close(again);
}
