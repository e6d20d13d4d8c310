/* world: one seed's universe. */
#include "sim/world.h"

#include "sim/guest.h"
#include "sim/plant.h"
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

static uint64_t wall_ms(void *context) {
    const struct world *world = context;
    return world->now_ms + 1700000000000;
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

static void bell(void *context, uint32_t actor) {
    struct world *world = context;
    if (plant_loses_bell()) return;
    world->asleep[actor] = false;
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
        .memory_limit =
            world->swarm.alarms ? 20000 + prng_below(&world->secrets, 200000) : INT64_MAX,
        .hash_seed = prng_next(&world->secrets),
    };
    world->broker = broker_new(world->swarm.shards, &settings, bell, world);
    world->registrar = registrar_new(world->broker, NULL);
    for (uint32_t i = 0; i < world->swarm.shards; i++) {
        world->io[i] = (struct shard_io){
            wire_write, wire_want, wire_close, wire_close, fill_random, wall_ms, adopt, world};
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

static bool is_awake(const struct world *world, uint32_t actor) {
    if (!world->asleep[actor]) return true;
    uint64_t deadline = actor == world->broker->registrar
                            ? registrar_next_deadline(world->registrar)
                            : shard_next_deadline(world->broker->shards[actor]);
    return deadline <= world->now_ms;
}

static void turn(struct world *world, uint32_t actor) {
    struct mesh *mesh = world->broker->mesh;
    mesh_awake(mesh, actor);
    bool more = actor == world->broker->registrar
                    ? registrar_turn(world->registrar, world->now_ms)
                    : shard_turn(world->broker->shards[actor], world->now_ms);
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
    for (uint32_t i = 0; i <= world->swarm.shards; i++) {
        if (!is_awake(world, i)) continue;
        turn(world, i);
        moved = true;
    }
    world->step++;
    return moved;
}

void world_settle(struct world *world) {
    bool settling = world->settling;
    world->settling = true;
    world->verdict->step = world->step;
    while (round_of_all(world)) {
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
    if (world->swarm.shutdown)
        reckoning_shutdown(world);
    else
        reckoning(world);
    destroy(world);
    mem_free(world);
}
