/* world: one seed's universe. */
#include "sim/world.h"

#include "sim/guest.h"
#include "sim/reckoning.h"

#include <stdarg.h>
#include <stdio.h>
#include <xxhash.h>

#include "base/memory.h"
#include "base/str.h"
#include "shard/client.h"

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

static void adopt(void *context, void *accepted) {
    struct world *world = context;
    struct wire *wire = accepted;
    struct shard *shard = world->broker->shards[wire->shard];
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

static void no_bell(void *context, uint32_t actor) {
    (void)context;
    (void)actor;
}

/* ---- life ---- */

static void create(struct world *world, uint64_t seed) {
    prng_init(&world->schedule, seed ^ 0x1111);
    prng_init(&world->network, seed ^ 0x2222);
    prng_init(&world->load, seed ^ 0x3333);
    prng_init(&world->secrets, seed ^ 0x4444);
    swarm_init(&world->swarm, seed);
    world->now_ms = 1000;
    struct broker_settings settings = {
        .session = {.product = "Godwit",
            .version = "sim",
            .cluster_name = "sim",
            .frame_max = FRAME_MAX_DEFAULT,
            .channel_max = CHANNELS_PER_CONNECTION_MAX,
            .heartbeat_s = HEARTBEAT_S_DEFAULT,
            .message_bytes_max = MESSAGE_BYTES_MAX_DEFAULT},
        .memory_limit = world->swarm.alarms ? 100000 : INT64_MAX,
        .hash_seed = prng_next(&world->secrets),
    };
    world->broker = broker_new(world->swarm.shards, &settings, no_bell, NULL);
    world->registrar = registrar_new(world->broker);
    for (uint32_t i = 0; i < world->swarm.shards; i++) {
        world->io[i] = (struct shard_io){
            wire_write, wire_want, wire_close, wire_close, fill_random, adopt, world};
        (void)shard_new(world->broker, i, &world->io[i]);
    }
    world->card = card_new(world);
    world->guest_count = 1 + world->swarm.guests;
    for (uint32_t i = 0; i < world->guest_count; i++)
        world->guests[i] = guest_new(world, i);
}

static void destroy(struct world *world) {
    for (uint32_t i = 0; i < world->guest_count; i++)
        guest_free(world->guests[i]);
    for (uint32_t i = 0; i < world->swarm.shards; i++)
        shard_free(world->broker->shards[i]);
    registrar_free(world->registrar);
    broker_free(world->broker);
    for (uint32_t i = 0; i < world->wire_count; i++)
        wire_free(world->wires[i]);
    card_free(world->card);
}

/* ---- time and chance ---- */

static bool turn(struct world *world, uint32_t actor) {
    if (actor == world->swarm.shards) return registrar_turn(world->registrar);
    return shard_turn(world->broker->shards[actor], world->now_ms);
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
    (void)turn(world, actor);
}

/* Does one random thing; true when it was a client's. */
static bool happen(struct world *world) {
    const struct swarm *swarm = &world->swarm;
    struct prng *schedule = &world->schedule;
    uint32_t total = swarm->act_weight + swarm->wire_weight + swarm->turn_weight;
    uint64_t what = prng_below(schedule, total);
    world->step++;
    world->verdict->step = world->step;
    if (prng_chance(schedule, 2)) pass_time(world);
    if (prng_below(schedule, 300) == 0) check_all(world);
    if (what < swarm->act_weight) {
        guest_act(world->guests[1 + prng_below(schedule, world->guest_count - 1)]);
        return true;
    }
    if (what < swarm->act_weight + swarm->wire_weight)
        move_wire(world);
    else
        take_turn(world);
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
    for (uint32_t i = 0; i <= world->swarm.shards; i++)
        moved = turn(world, i) || moved;
    for (uint32_t i = 0; i < mesh_actors(world->broker->mesh); i++)
        moved = !mesh_quiet(world->broker->mesh, i) || moved;
    world->step++;
    return moved;
}

void world_settle(struct world *world) {
    bool settling = world->settling;
    world->settling = true;
    world->verdict->step = world->step;
    /* What the last turns have written is seen in the next round only. */
    for (uint32_t still = 0; still < 4; still++) {
        if (round_of_all(world)) still = 0;
        if (world->step > world->verdict->step + SETTLE_STEPS_MAX)
            world_fail(world, liveness, "the broker never comes to rest");
    }
    world->settling = settling;
    check_all(world);
}

static void found(struct world *world) {
    struct guest *founder = world->guests[0];
    guest_connect(founder);
    world_settle(world);
    if (founder->state != GUEST_OPEN) world_fail(world, liveness, "the founder cannot connect");
    lane_open(founder->lanes[0]);
    world_settle(world);
    guest_found(founder);
    world_settle(world);
    if (!guest_quiet(founder)) world_fail(world, liveness, "the founder gets no answers");
}

void world_run(uint64_t seed, struct verdict *verdict, bool verbose) {
    *verdict = (struct verdict){.seed = seed};
    struct world *world = NEW(struct world);
    world->verdict = verdict;
    world->verbose = verbose;
    verdict_watch(verdict);
    create(world, seed);
    if (verbose) swarm_print(&world->swarm);
    found(world);
    uint32_t acts = 0;
    while (acts < world->swarm.acts)
        acts += happen(world);
    reckoning(world);
    destroy(world);
    mem_free(world);
}
