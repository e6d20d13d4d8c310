/* vault: the simulated node's disk and definitions. */
#include "sim/vault.h"

#include "sim/world.h"

#include <errno.h>

#include "base/memory.h"
#include "shard/recall.h"

enum { RECOVERY_PORT = SIM_PORTS_MAX - 1, FILE_BYTES_MAX = 2 * JOURNAL_FILE_BYTES_MIN };

/* ---- the dead broker's disk: everything works, nothing is done ---- */

static int ghost_open(struct disk *disk, const char *name, struct disk_file **ret_file) {
    (void)name;
    *ret_file = (struct disk_file *)(void *)disk;
    return 0;
}

static void ghost_close(struct disk *disk, struct disk_file *file) {
    (void)disk;
    (void)file;
}

static int ghost_size(struct disk *disk, struct disk_file *file, uint64_t *ret_size) {
    (void)disk;
    (void)file;
    *ret_size = FILE_BYTES_MAX;
    return 0;
}

static void ghost_submit(struct disk *disk, struct disk_request *request) {
    struct sim_port *port = CONTAINER_OF(disk, struct sim_port, disk);
    struct disk_request **at = &port->done;
    while (*at)
        at = &(*at)->next;
    request->status = 0;
    request->next = NULL;
    *at = request;
}

static struct disk_request *ghost_reap(struct disk *disk) {
    struct sim_port *port = CONTAINER_OF(disk, struct sim_port, disk);
    struct disk_request *request = port->done;
    if (request) port->done = request->next;
    return request;
}

static const struct disk_calls GHOST_CALLS = {
    .open = ghost_open,
    .close = ghost_close,
    .size = ghost_size,
    .submit = ghost_submit,
    .reap = ghost_reap,
};

/* ---- its definitions ---- */

static struct vault *vault_of(struct definitions *definitions) {
    return CONTAINER_OF(CONTAINER_OF(definitions, struct memory_definitions, definitions),
        struct vault, definitions);
}

static void ghost_commit(
    struct definitions *definitions, const struct metadata_batch *batch, uint32_t ids) {
    struct vault *vault = vault_of(definitions);
    (void)batch;
    vault->ghost_ids = ids;
    vault->ghost_commit = true;
}

static bool ghost_done(struct definitions *definitions, struct definitions_outcome *ret_outcome) {
    struct vault *vault = vault_of(definitions);
    if (!vault->ghost_commit) return false;
    vault->ghost_commit = false;
    *ret_outcome =
        (struct definitions_outcome){.id_first = (uint64_t)1 << 60, .id_count = vault->ghost_ids};
    return true;
}

/* ---- life ---- */

/* By numbers of their own. */
static struct spill_limits choose_spill_limits(uint64_t seed) {
    struct prng prng;
    prng_init(&prng, seed ^ 0x7777);
    return (struct spill_limits){
        .file_bytes = SEGMENT_BYTES_MIN,
        .file_part = 1,
        .queue_bytes = 1 + prng_below(&prng, 4096),
        .message_bytes = 1 + prng_below(&prng, 32 * 1024),
        .messages_shared = 1 + (uint32_t)prng_below(&prng, 4),
        .slice_bytes = 1 + prng_below(&prng, 16 * 1024),
        .slice_messages = 1 + (uint32_t)prng_below(&prng, 64),
        .slice_queues = 1 + (uint32_t)prng_below(&prng, 4),
        .look_ms = (uint32_t)prng_below(&prng, 100),
    };
}

struct vault *vault_new(struct world *world) {
    struct vault *vault = NEW(struct vault);
    struct prng *storage = &world->storage;
    vault->world = world;
    platter_init(&vault->platter, prng_next(storage));
    vault->platter.fail_at = world->verdict->fail_at;
    vault->platter.reserve = world->swarm.shards % 4;
    vault->calls = vault->platter.ports[0].disk.calls;
    memory_definitions_init(&vault->definitions);
    vault->definitions_calls = vault->definitions.definitions;
    vault->settings = (struct keeper_settings){
        .node_id = "the only node ",
        .file_bytes = prng_chance(storage, 70) ? JOURNAL_FILE_BYTES_MIN : FILE_BYTES_MAX,
        .file_bytes_first = prng_chance(storage, 50) ? JOURNAL_FILE_BYTES_MIN : 0,
        .files_spare = 1 + (uint32_t)prng_below(storage, 2),
        .files_budget = 2 + (uint32_t)prng_below(storage, 3),
        .limits = {.part_bytes = 2048u << prng_below(storage, 4),
            .segment_bytes = SEGMENT_BYTES_MIN,
            .garbage_bytes_min = 1 + prng_below(storage, 128 * 1024),
            .emptied_bytes = 1 + prng_below(storage, 512 * 1024),
            .slice_bytes = 1 + prng_below(storage, 32 * 1024),
            .slice_queues = 1 + (uint32_t)prng_below(storage, 4),
            .pager = {.window_bytes = 1 + prng_below(storage, 4096),
                .high_bytes = prng_below(storage, 32 * 1024),
                .low_bytes = prng_below(storage, 8 * 1024),
                .slice_messages = 1 + (uint32_t)prng_below(storage, 64),
                .reads = 1 + (uint32_t)prng_below(storage, 3)}},
    };
    uint64_t drawn = vault->settings.limits.slice_bytes;
    vault->settings.limits.slice_steps = 1 + (uint32_t)drawn % 5;
    vault->settings.limits.facts_bytes = 1 + drawn % 2000;
    vault->settings.limits.spill = choose_spill_limits(world->verdict->seed);
    return vault;
}

void vault_free(struct vault *vault) {
    if (!vault) return;
    platter_deinit(&vault->platter);
    memory_definitions_deinit(&vault->definitions);
    mem_free(vault);
}

/* ---- recovery ---- */

static struct disk *open_port(void *context, uint32_t shard) {
    struct vault *vault = context;
    check(vault->port_count < RECOVERY_PORT);
    vault->wakes[vault->port_count] = shard;
    return &vault->platter.ports[vault->port_count++].disk;
}

/* Whether this failure is the ladder's. */
static bool forgive(struct vault *vault) {
    if (!vault->platter.fired || vault->forgiven) return false;
    world_trace(vault->world, "---- recovery has failed, once");
    return vault->forgiven = true;
}

static void fail_damaged(struct vault *vault, const struct recovery *recovery) {
    if (recover_damage_count(recovery) == 0)
        world_fail(vault->world, damage, "recovery refuses, but names no damage");
    const struct recover_damage *damage = recover_damage_at(recovery, 0);
    world_fail(vault->world, damage,
        "recovery finds %llu damages, first: kind %d, writer %u, '%s', file %llu, offset %llu",
        (unsigned long long)recover_damage_count(recovery), damage->kind, damage->shard,
        damage->name, (unsigned long long)damage->file_no, (unsigned long long)damage->offset);
}

static void forget_ports(struct vault *vault) {
    for (uint32_t i = 0; i < SIM_PORTS_MAX; i++) {
        struct sim_port *port = &vault->platter.ports[i];
        check(!port->waiting);
        check(!port->done);
        port->disk.calls = vault->calls;
        port->faulty = port->dropped = false;
    }
    vault->port_count = 0;
    platter_forget_sickness(&vault->platter);
    vault->lost_count = 0;
    vault->platter.fault = SIM_NO_FAULT;
    vault->definitions.definitions = vault->definitions_calls;
}

struct disk *vault_reader(struct vault *vault) {
    return &vault->platter.ports[RECOVERY_PORT].disk;
}

/* Reads everything; the first failure is told in `ret_why`. */
static int recall_all(struct vault *vault, struct recall **ret_recall, struct restore_index *index,
    struct recall_report *report, const char **ret_why) {
    struct world *world = vault->world;
    struct recall_settings settings = {
        .disk = vault_reader(vault),
        .keeper = vault->settings,
        .open_disk = open_port,
        .context = vault,
    };
    settings.keeper.seed = prng_next(&world->storage);
    struct metadata_problem problem;
    *ret_why = "recovery";
    int status = recall_begin(world->broker, &settings, ret_recall);
    if (status != 0) return status;
    *ret_why = "loading definitions";
    status = registrar_load(world->registrar, index, &problem);
    if (status != 0) return status;
    *ret_why = "recalling messages";
    return recall_finish(*ret_recall, index, report);
}

bool vault_recover(struct vault *vault) {
    struct world *world = vault->world;
    struct recall *recall = NULL;
    struct restore_index index = {0};
    struct recall_report report = {0};
    const char *why = NULL;
    forget_ports(vault);
    int status = recall_all(vault, &recall, &index, &report, &why);
    bool forgiven = status != 0 && forgive(vault);
    if (status == -EBADMSG && !forgiven) fail_damaged(vault, recall_recovery(recall));
    if (status != 0 && !forgiven) world_fail(world, damage, "%s fails with %d", why, status);
    if (report.incomplete != 0)
        world_fail(
            world, damage, "%llu messages lack parts", (unsigned long long)report.incomplete);
    world_trace(world, "---- recovered: %llu files, %llu segments, %llu queues, %llu messages",
        (unsigned long long)report.files, (unsigned long long)report.segments,
        (unsigned long long)report.queues, (unsigned long long)report.messages);
    recall_close(recall);
    restore_index_deinit(&index);
    return !forgiven;
}

/* ---- what happens ---- */

static bool complete(struct vault *vault, uint32_t at, bool slow) {
    if (!platter_complete(&vault->platter.ports[at], slow)) return false;
    world_trace(vault->world, "port %u: a %s request is done", at, slow ? "slow" : "write");
    world_wake(vault->world, vault->wakes[at]);
    return true;
}

static void end_commit(struct vault *vault, int error) {
    world_trace(vault->world, "definitions: commit ends with %d", error);
    memory_definitions_end(&vault->definitions, error);
    world_wake(vault->world, vault->world->broker->registrar);
}

/* What the next request that it fits suffers. */
static void arm_fault(struct vault *vault) {
    static const enum sim_fault faults[] = {SIM_EIO, SIM_EIO, SIM_SHORT, SIM_NO_SPACE};
    struct prng *storage = &vault->world->storage;
    vault->platter.fault = faults[prng_below(storage, COUNT_OF(faults))];
    if (vault->platter.fault == SIM_NO_SPACE && prng_chance(storage, 70))
        vault->full_until = vault->world->step + prng_below(storage, 1000);
    world_trace(vault->world, "disk: fault %d", vault->platter.fault);
}

void vault_step(struct vault *vault) {
    struct prng *storage = &vault->world->storage;
    bool faults = vault->world->swarm.disk_faults;
    if (vault->definitions.under_way && prng_chance(storage, 10)) {
        end_commit(vault, faults && prng_chance(storage, 25) ? -EIO : 0);
        return;
    }
    if (faults && prng_below(storage, 150) == 0) arm_fault(vault);
    if (vault->world->swarm.bad_sectors && prng_below(storage, 12) == 0)
        platter_sicken(&vault->platter);
    if (vault->world->step < vault->full_until) vault->platter.fault = SIM_NO_SPACE;
    (void)complete(
        vault, (uint32_t)prng_below(storage, vault->port_count), prng_chance(storage, 30));
}

bool vault_stopped(const struct vault *vault) {
    const struct broker *broker = vault->world->broker;
    for (uint32_t i = 0; i < broker->shard_count; i++) {
        if (broker->shards[i]->keeper && broker->shards[i]->keeper->stopped) return true;
    }
    return false;
}

bool vault_complete_all(struct vault *vault) {
    bool any = false;
    vault->platter.healed = true;
    vault->platter.fault = SIM_NO_FAULT;
    vault->full_until = 0;
    for (uint32_t i = 0; i < vault->port_count; i++) {
        while (complete(vault, i, false) || complete(vault, i, true))
            any = true;
    }
    if (!vault->definitions.under_way) return any;
    end_commit(vault, 0);
    return true;
}

void vault_crash(struct vault *vault, bool power_loss) {
    if (power_loss) {
        platter_power_loss(&vault->platter);
    } else {
        platter_kill(&vault->platter);
    }
    for (uint32_t i = 0; i < SIM_PORTS_MAX; i++) {
        struct sim_port *port = &vault->platter.ports[i];
        port->disk.calls = &GHOST_CALLS;
        for (struct disk_request *request = port->done; request; request = request->next)
            request->status = 0;
    }
    vault->ghost_commit = vault->definitions.under_way || vault->definitions.ended;
    vault->ghost_ids = vault->definitions.ids;
    memory_definitions_crash(&vault->definitions,
        vault->definitions.under_way && prng_chance(&vault->world->storage, 50));
    vault->definitions.definitions.commit = ghost_commit;
    vault->definitions.definitions.done = ghost_done;
}
