/* witness: what the disk itself says. */
#include "sim/witness.h"

#include "sim/card.h"
#include "sim/inspect.h"
#include "sim/vault.h"
#include "sim/world.h"

#include "amqp/properties.h"
#include "base/memory.h"
#include "base/str.h"
#include "shard/queue_host.h"
#include "store/recover.h"

enum { CONFIRMS_PER_LOOK = 60 };

/* ---- the stable image ---- */

struct look {
    struct world *world;
    uint32_t number;    /* of the letter that is looked for */
    uint64_t queue;     /* the id of the queue that it is in */
    uint8_t head[2048]; /* of the first PART that was read last */
    size_t head_size;
    bool found;
};

/* Whether the run of a message begins as that letter's does. */
static bool is_letter(const struct look *look, const struct record_view *pub, struct bytes run) {
    uint64_t strings = (pub->message_id & 0xff) + (pub->message_id >> 8 & 0xff);
    uint64_t size = pub->message_id >> 40;
    struct properties properties;
    uint64_t number = UINT64_MAX;
    if (strings + size > run.size) return false;
    struct bytes bytes = bytes_of(run.data + strings, (size_t)size);
    return properties_decode(bytes, &properties) && str_to_u64(properties.message_id, &number) &&
           number == look->number;
}

static void on_record(void *context, const struct recover_record *record) {
    struct look *look = context;
    const struct record_view *view = record->view;
    if (view->type == RECORD_PART) {
        if (view->message_id != 0) return;
        look->head_size = min_u64(view->body.size, sizeof look->head);
        bytes_copy(look->head, view->body.data, look->head_size);
        return;
    }
    struct bytes run = view->flags != 0 ? bytes_of(look->head, look->head_size) : view->body;
    for (uint32_t i = 0; i < view->target_count; i++) {
        if (record_view_target(view, i).queue == look->queue && is_letter(look, view, run))
            look->found = true;
    }
}

/* A power loss now would leave exactly the sectors that are stable. */
static bool is_stable(struct look *look) {
    struct vault *vault = look->world->vault;
    struct recover_settings settings = {.disk = vault_reader(vault), .read_only = true};
    bytes_copy(settings.node_id, vault->settings.node_id, sizeof settings.node_id);
    struct recovery *recovery = NULL;
    vault->platter.looking = true;
    int status = recover_open(&settings, &recovery);
    if (status != 0 || recover_verdict(recovery) != RECOVER_CLEAN)
        world_fail(look->world, damage, "what is stable cannot be recovered: %d", status);
    uint32_t types = RECORD_BIT(RECORD_PUB) | RECORD_BIT(RECORD_PART);
    status = recover_replay(recovery, types, on_record, look);
    if (status != 0) world_fail(look->world, damage, "what is stable cannot be read: %d", status);
    recover_close(recovery);
    vault->platter.looking = false;
    return look->found;
}

void witness_confirm(struct world *world, const struct letter *letter) {
    if (!world->vault || !letter->persistent) return;
    if (prng_below(&world->storage, CONFIRMS_PER_LOOK) != 0) return;
    for (uint32_t i = 0; i < world->swarm.stable; i++) {
        const struct card_queue *known = &world->card->queues[i];
        if (!known->durable || !(letter->targets & 1u << i)) continue;
        uint32_t number = card_number(world->card, letter);
        uint64_t id = inspect_waiting(world, known, letter);
        struct look look = {.world = world, .number = number, .queue = id};
        if (id == 0) continue;
        if (!memory_definitions_have(&world->vault->definitions, METADATA_QUEUE, known->name, NULL))
            world_fail(world, early_confirm, "message %u is confirmed before its queue %s is kept",
                number, known->name);
        if (!is_stable(&look))
            world_fail(world, early_confirm, "message %u of %s is confirmed before it is stable",
                number, known->name);
    }
}

/* ---- room ---- */

static uint32_t count_names(const struct platter *platter, const char *end) {
    uint32_t count = 0;
    for (int i = 0; i < SIM_FILES_MAX; i++) {
        const struct sim_file *file = &platter->files[i];
        count += file->used && !file->removed && strstr(file->name, end) != NULL;
    }
    return count;
}

/* Counted here: what the broker thinks of it may be wrong. */
static uint64_t count_living(const struct kept_file *file) {
    uint64_t live = 0;
    for (uint32_t i = 0; i < file->part_count; i++)
        live += atomic_load(&file->parts[i].live);
    return live;
}

static void check_segments(
    struct world *world, const struct archive *archive, uint32_t *count, uint32_t *kept) {
    uint64_t bytes = 0;
    uint64_t living = 0;
    list_for (struct kept_file, file, &archive->segments, in_archive) {
        uint64_t live = count_living(file);
        ++*(file->kept ? kept : count);
        if (live == 0 && !file->broken)
            world_fail(world, bounded, "segment %llu of writer %u has nothing that lives",
                (unsigned long long)file->number, archive->number);
        check(file->messages != 0);
        if (file->broken) continue;
        bytes += file->bytes;
        living += file->bytes / file->messages * live;
    }
    /* Segments of which too little is dead are left alone, so there may be that much garbage. */
    uint64_t most = living + living + world->vault->settings.limits.garbage_bytes_min;
    if (bytes > 3 * most)
        world_fail(world, bounded, "the segments of writer %u have %llu bytes, %llu of them live",
            archive->number, (unsigned long long)bytes, (unsigned long long)living);
}

/* Those on disk are those that queues have something in. */
static void check_spill_files(struct world *world) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < world->swarm.shards; i++) {
        const struct spill *spill = &world->broker->shards[i]->keeper->spill;
        list_for (struct spill_file, file, &spill->files, in_files) {
            count++;
            if (file->live == 0)
                world_fail(
                    world, bounded, "the spill file %s has nothing that lives", file->place.name);
        }
    }
    uint32_t there = count_names(&world->vault->platter, ".spill");
    if (there != count)
        world_fail(world, bounded, "there are %u spill files on disk, %u count", there, count);
}

void witness_bounds(struct world *world) {
    /* Those that no header explains yet cannot be removed, and each fault leaves one behind. */
    enum { SPARES_MAX = 24 };
    uint32_t budget = world->vault->settings.files_budget;
    uint32_t files = 0;
    uint32_t segments = 0;
    for (uint32_t i = 0; i < world->swarm.shards; i++) {
        const struct keeper *keeper = world->broker->shards[i]->keeper;
        for (uint32_t k = 0; k < keeper->archive_count; k++) {
            const struct archive *archive = &keeper->archives[k];
            /* It cannot say that a file is given back: the next start can. */
            if (journal_stopped(archive->journal)) continue;
            /* The one that is being written, and the one before it. */
            uint32_t count = journal_files(archive->journal);
            if (count > budget + 2)
                world_fail(world, bounded, "writer %u has %u journal files, %u are enough",
                    archive->number, count, budget);
            uint32_t spares = journal_spares(archive->journal);
            if (spares > SPARES_MAX)
                world_fail(world, bounded, "writer %u has %u spare files", archive->number, spares);
            files += count + spares;
            check_segments(world, archive, &segments, &files);
        }
    }
    if (world->swarm.disk_faults || world->vault->platter.fired)
        return; /* which leave files behind until the next start */
    const struct platter *platter = &world->vault->platter;
    if (count_names(platter, ".segment") != segments)
        world_fail(world, bounded, "there are %u segments on disk, %u count",
            count_names(platter, ".segment"), segments);
    check_spill_files(world);
    if (count_names(platter, ".journal") > files + SIM_PORTS_MAX)
        world_fail(world, bounded, "there are %u journal files on disk, %u count",
            count_names(platter, ".journal"), files);
}
