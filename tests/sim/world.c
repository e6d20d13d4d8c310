/* world: one seed's universe. */
#include "sim/world.h"

#include "sim/guest.h"
#include "sim/inspect.h"
#include "sim/lives.h"
#include "sim/plant.h"
#include "sim/reckoning.h"
#include "sim/vault.h"

#include <stdarg.h>
#include <stdio.h>
#include <xxhash.h>

#include "base/memory.h"
#include "base/str.h"
#include "shard/client.h"

enum { FOUNDING_STEPS_MAX = 20000, SETTLE_MS_MAX = 20000, SETTLE_MS = 20 };

/* ---- trace ---- */

void world_trace(struct world *world, const char *format, ...) {
    if (!world->verbose) return;
    printf("%6llu %7llums  ", (unsigned long long)world->step, (unsigned long long)world->now_ms);
    va_list arguments;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    printf("\n");
    fflush(stdout);
}

void world_hash(struct world *world, struct bytes bytes) {
    world->verdict->hash = XXH3_64bits_withSeed(
        bytes.data, bytes.size, world->verdict->hash + world->step + world->now_ms);
}

/* ---- a shard's outside ---- */

static void fill_random(void *context, uint8_t *data, size_t size) {
    struct world *world = context;
    for (size_t i = 0; i < size; i++)
        data[i] = (uint8_t)prng_next(&world->secrets);
}

static uint64_t wall_ms(void *context) {
    const struct world *world = context;
    return world->now_ms + 1700000000000;
}

static void adopt(void *context, void *accepted) {
    struct world *world = context;
    struct wire *wire = accepted;
    struct shard *shard = world->broker->shards[wire->shard];
    if (world->ghost || wire->peer_closed) {
        client_not_opened(shard);
        wire->broker_closed = true;
        return;
    }
    if (world->swarm.refused_sockets && !world->settling && prng_chance(&world->network, 10)) {
        client_not_opened(shard);
        wire->broker_closed = true;
        return;
    }
    shard->now_ms = world->now_ms;
    wire->adopted = true;
    wire->heard_ms = world->now_ms;
    wire->client = client_open(shard, wire, "127.0.0.1:5000", true);
}

struct wire *world_connect(struct world *world) {
    if (world->wire_count == WIRES_MAX) return NULL;
    struct wire *wire = NEW(struct wire);
    world->wires[world->wire_count] = wire;
    wire->number = world->wire_count++;
    wire->world = world;
    buffer_init(&wire->up, SIZE_MAX);
    buffer_init(&wire->down, SIZE_MAX);
    wire->shard = broker_assign_shard(world->broker);
    struct mail *mail = mesh_post(world->broker->mesh, 0, wire->shard);
    world_wake(world, 0); /* it has accepted */
    *mail = (struct mail){.kind = MAIL_ADOPT, .socket = wire};
    world_trace(world, "wire %u: connects to shard %u", wire->number, wire->shard);
    return wire;
}

static struct guest *user_of(const struct wire *wire) {
    const struct world *world = wire->world;
    for (uint32_t i = 0; i < world->guest_count; i++) {
        if (world->guests[i]->wire == wire) return world->guests[i];
    }
    return NULL;
}

void world_on_down(struct wire *wire, struct bytes bytes) {
    struct guest *guest = user_of(wire);
    if (guest) guest_on_bytes(guest, bytes);
}

void world_on_end(struct wire *wire) {
    struct guest *guest = user_of(wire);
    if (guest) guest_on_end(guest);
}

/* ---- sleep: nobody may need a turn who was not woken for it, as in net/loop.c ---- */

void world_wake(struct world *world, uint32_t shard) {
    world->asleep[shard] = false;
}

void world_bell(void *context, uint32_t actor) {
    struct world *world = context;
    if (world->ghost) return;
    if (plant_loses_bell()) return;
    world->asleep[actor] = false;
}

/* ---- life ---- */

/* Now and then a turn is a long one, and leaves work for the next. */
static uint64_t time_ns(void *context) {
    struct world *world = context;
    world->turn_clock_ns += prng_below(&world->haste, 300000);
    return world->turn_clock_ns;
}

static void create(struct world *world, uint64_t seed) {
    prng_init(&world->schedule, seed ^ 0x1111);
    prng_init(&world->network, seed ^ 0x2222);
    prng_init(&world->load, seed ^ 0x3333);
    prng_init(&world->secrets, seed ^ 0x4444);
    prng_init(&world->storage, seed ^ 0x5555);
    prng_init(&world->haste, seed ^ 0x6666);
    swarm_init(&world->swarm, seed);
    world->now_ms = 1000;
    for (uint32_t i = 0; i < COUNT_OF(world->io); i++) {
        world->io[i] = (struct shard_io){.write = wire_write,
            .want = wire_want,
            .close = wire_close,
            .finish = wire_close,
            .random = fill_random,
            .wall_ms = wall_ms,
            .time_ns = time_ns,
            .adopt = adopt,
            .context = world};
    }
    world->card = card_new(world);
    if (world->verdict->fail_at != 0) world->swarm.disk_faults = world->swarm.bad_sectors = false;
    if (world->swarm.disk) world->vault = vault_new(world);
    if (world->swarm.crashes) world->crashes_left = world->swarm.crash_count;
    world->guest_count = 1 + world->swarm.guests;
    for (uint32_t i = 0; i < world->guest_count; i++)
        world->guests[i] = guest_new(world, i);
    life_begin(world);
}

static void destroy(struct world *world) {
    life_end(world);
    if (world->vault) {
        world->verdict->operations = world->vault->platter.operations;
        world->verdict->fired = world->vault->platter.fired;
    }
    edges_end(world, &world->verdict->edges);
    for (uint32_t i = 0; i < world->guest_count; i++)
        guest_free(world->guests[i]);
    for (uint32_t i = 0; i < world->wire_count; i++)
        wire_free(world->wires[i]);
    card_free(world->card);
    vault_free(world->vault);
}

/* ---- time and chance ---- */

static bool is_awake(const struct world *world, uint32_t actor) {
    if (!world->asleep[actor]) return true;
    uint64_t deadline = actor == world->broker->registrar
                            ? registrar_next_deadline(world->registrar)
                            : shard_next_deadline(world->broker->shards[actor]);
    return deadline <= world->now_ms;
}

/* While a journal has no place at all, messages are delivered that it knows nothing of. */
static void note_starved(struct world *world, uint32_t shard) {
    const struct keeper *keeper = world->broker->shards[shard]->keeper;
    if (!keeper) return;
    if (journal_starved(keeper->archives[0].journal))
        world->starved[shard] = true;
    else if (keeper->stable >= keeper->last_position)
        world->starved[shard] = false;
}

static void turn(struct world *world, uint32_t actor) {
    struct mesh *mesh = world->broker->mesh;
    mesh_awake(mesh, actor);
    bool more = actor == world->broker->registrar
                    ? registrar_turn(world->registrar, world->now_ms)
                    : shard_turn(world->broker->shards[actor], world->now_ms);
    if (world->vault && actor != world->broker->registrar) note_starved(world, actor);
    /* Sockets are polled before the next turn, so that a bell may ring meanwhile. */
    world->asleep[actor] = !more && mesh_may_sleep(mesh, actor);
}

static void pass_time(struct world *world) {
    uint64_t most = world->swarm.heartbeats && prng_chance(&world->schedule, 5) ? 4000 : 30;
    world->now_ms += prng_below(&world->schedule, most);
    for (uint32_t i = 0; i < world->guest_count; i++)
        guest_tick(world->guests[i]);
}

static void check_all(struct world *world) {
    for (uint32_t i = 0; i < world->swarm.shards; i++)
        shard_check(world->broker->shards[i]);
    vhost_check(world->broker->vhost);
}

static void move_wire(struct world *world) {
    if (world->wire_count == 0) return;
    /* The latest ones are those in use. */
    uint32_t recent = (uint32_t)min_u64(world->wire_count, 12);
    uint64_t at = world->wire_count - 1 - prng_below(&world->schedule, recent);
    if (prng_chance(&world->schedule, 10)) at = prng_below(&world->schedule, world->wire_count);
    (void)wire_step(world->wires[at], false);
}

static void take_turn(struct world *world) {
    uint32_t actor = (uint32_t)prng_below(&world->schedule, world->swarm.shards + 1);
    if (actor == world->swarm.starved && !prng_chance(&world->schedule, 5)) return;
    if (is_awake(world, actor)) turn(world, actor);
}

/* Memory gets short for a while, and enough. */
static void press(struct world *world) {
    edges_press(!edges_pressed());
    world_trace(world, "memory: %s", edges_pressed() ? "short" : "enough");
    for (uint32_t i = 0; i < world->swarm.shards; i++)
        world_wake(world, i);
}

/* Does one random thing; true when it was a client's. */
static bool happen(struct world *world, bool acting) {
    const struct swarm *swarm = &world->swarm;
    struct prng *schedule = &world->schedule;
    uint32_t total = swarm->act_weight + swarm->wire_weight + swarm->turn_weight;
    if (world->vault) total += swarm->disk_weight;
    uint64_t what = prng_below(schedule, total);
    world->step++;
    world->verdict->step = world->step;
    if (prng_chance(schedule, 2)) pass_time(world);
    if (prng_below(schedule, 300) == 0) check_all(world);
    if (world->vault && prng_below(schedule, 200) == 0) inspect_departed(world);
    if (swarm->short_memory && prng_below(schedule, 400) == 0) press(world);
    if (what < swarm->act_weight && acting) {
        guest_act(world->guests[1 + prng_below(schedule, world->guest_count - 1)]);
        return true;
    }
    if (what < swarm->act_weight + swarm->wire_weight)
        move_wire(world);
    else if (what < swarm->act_weight + swarm->wire_weight + swarm->turn_weight)
        take_turn(world);
    else
        vault_step(world->vault);
    return false;
}

/* One round of everything that can go on without a fault; false when nothing did. */
static bool round_of_all(struct world *world) {
    bool moved = false;
    for (uint32_t i = 0; i < world->wire_count; i++) {
        while (wire_step(world->wires[i], true)) {
            moved = true;
            if (++world->step > world->verdict->step + SETTLE_STEPS_MAX)
                world_fail(world, liveness, "wire %u never comes to rest", i);
        }
    }
    if (world->vault) moved = vault_complete_all(world->vault) || moved;
    for (uint32_t i = 0; i <= world->swarm.shards; i++) {
        if (!is_awake(world, i)) continue;
        turn(world, i);
        moved = true;
    }
    world->step++;
    return moved;
}

/* What journals and definitions put off takes time. */
static bool wait_for_disk(struct world *world, uint64_t end_ms) {
    uint64_t due = world->vault ? registrar_next_deadline(world->registrar) : UINT64_MAX;
    for (uint32_t i = 0; world->vault && i < world->swarm.shards; i++) {
        const struct keeper *keeper = world->broker->shards[i]->keeper;
        due = min_u64(due, keeper ? keeper_due(keeper) : UINT64_MAX);
    }
    if (due == UINT64_MAX) return false;
    if (due > end_ms) world_fail(world, liveness, "the disk never comes to rest");
    world->now_ms = max_u64(world->now_ms, min_u64(due, world->now_ms + SETTLE_MS));
    for (uint32_t i = 0; i < world->guest_count; i++)
        guest_tick(world->guests[i]);
    return true;
}

void world_settle(struct world *world) {
    bool settling = world->settling;
    world->settling = true;
    world->verdict->step = world->step;
    uint64_t end_ms = world->now_ms + SETTLE_MS_MAX;
    while (round_of_all(world) || wait_for_disk(world, end_ms)) {
        if (world->step > world->verdict->step + SETTLE_STEPS_MAX)
            world_fail(world, liveness, "the broker never comes to rest");
    }
    world->settling = settling;
    check_all(world);
}

void world_take_all_mail(struct world *world) {
    struct mesh *mesh = world->broker->mesh;
    bool left = true;
    for (int round = 0; left && round < 1000; round++) {
        left = false;
        for (uint32_t i = 0; i <= world->swarm.shards; i++)
            turn(world, i);
        for (uint32_t i = 0; i <= world->swarm.shards; i++)
            left = left || !mesh_quiet(mesh, i);
    }
}

/* ---- the founder ---- */

/* Takes the next step; true when it has done all. */
static bool found_step(struct world *world) {
    struct guest *founder = world->guests[0];
    struct lane *lane = founder->lanes[0];
    if (founder->state == GUEST_AWAY) {
        guest_connect(founder);
        return false;
    }
    if (founder->state != GUEST_OPEN || !guest_quiet(founder)) return false;
    if (lane->state == LANE_SHUT) {
        lane_open(lane);
        return false;
    }
    if (!world->founding) return world->founded = true;
    world->founding = false;
    guest_found(founder);
    return false;
}

void world_found(struct world *world) {
    enum { STEPS = 8 };
    world->founding = true;
    for (int i = 0; i < STEPS; i++) {
        if (found_step(world)) return;
        world_settle(world);
    }
    world_fail(world, liveness, "the founder gets no answers");
}

static bool crash_is_due(const struct world *world) {
    return world->crashes_left != 0 && world->step >= world->crash_at;
}

/* With all that can come between; false when that was a crash. */
static bool found_by_and_by(struct world *world) {
    world->founding = true;
    uint64_t limit = world->step + FOUNDING_STEPS_MAX;
    while (!found_step(world)) {
        if (crash_is_due(world)) return false;
        (void)happen(world, false);
        if (world->step <= limit) continue;
        /* By crumbs a handshake may take longer than it may. */
        world_found(world);
        return true;
    }
    return true;
}

/* When the node dies next: soon, or at some time. */
static void plan_crash(struct world *world, uint32_t acts) {
    uint64_t left = world->swarm.acts - min_u64(acts, world->swarm.acts);
    uint64_t most = prng_chance(&world->schedule, 20) ? 300 : 5 * left;
    world->crash_at = world->step + prng_below(&world->schedule, most + 1);
}

/* One life of the broker; false when it ends in a crash. */
static bool live(struct world *world, uint32_t *acts) {
    plan_crash(world, *acts);
    if (!world->vault || prng_chance(&world->schedule, 50)) {
        world_found(world);
    } else if (!found_by_and_by(world)) {
        return false;
    }
    while (*acts < world->swarm.acts) {
        if (crash_is_due(world)) return false;
        *acts += happen(world, true);
    }
    return true;
}

void world_run(uint64_t seed, struct verdict *verdict, bool verbose) {
    *verdict = (struct verdict){.seed = seed, .fail_at = verdict->fail_at};
    struct world *world = NEW(struct world);
    world->verdict = verdict;
    world->verbose = verbose;
    verdict_watch(verdict);
    edges_begin(world);
    create(world, seed);
    if (verbose) swarm_print(&world->swarm);
    uint32_t acts = 0;
    while (!live(world, &acts)) {
        world->crashes_left--;
        if (prng_chance(&world->schedule, 75))
            life_crash(world);
        else
            life_restart(world);
    }
    if (world->swarm.shutdown)
        reckoning_stop(world);
    else
        reckoning(world);
    destroy(world);
    mem_free(world);
}
