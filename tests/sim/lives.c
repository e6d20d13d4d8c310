/* lives: a broker's birth, its deaths, and what comes after. */
#include "sim/lives.h"

#include "sim/guest.h"
#include "sim/inspect.h"
#include "sim/reckoning.h"
#include "sim/vault.h"
#include "sim/world.h"

#include "shard/client.h"

enum { REST_ROUNDS_MAX = 2000, REST_ROUND_MS = 50 };

/* ---- birth ---- */

static void make_broker(struct world *world) {
    struct broker_settings settings = {
        .session = {.product = "Godwit",
            .version = "sim",
            .cluster_name = "sim",
            .frame_max = FRAME_MAX_DEFAULT,
            .channel_max = CHANNELS_PER_CONNECTION_MAX,
            .heartbeat_s = HEARTBEAT_S_DEFAULT,
            .message_bytes_max = MESSAGE_BYTES_MAX_DEFAULT,
            .settling_slice = world->swarm.settling_slice},
        .memory_limit =
            world->swarm.alarms ? 20000 + prng_below(&world->secrets, 200000) : INT64_MAX,
        .hash_seed = prng_next(&world->secrets),
    };
    struct definitions *definitions = world->vault ? &world->vault->definitions.definitions : NULL;
    world->broker = broker_new(world->swarm.shards, &settings, world_bell, world);
    world->registrar = registrar_new(world->broker, definitions);
    for (uint32_t i = 0; i < world->swarm.shards; i++)
        (void)shard_new(world->broker, i, &world->io[i]);
    for (uint32_t i = 0; i < ACTORS_MAX; i++)
        world->asleep[i] = world->starved[i] = false;
}

/* ---- death ---- */

static void free_broker(struct world *world) {
    for (uint32_t i = 0; i < world->swarm.shards; i++)
        shard_free(world->broker->shards[i]);
    registrar_free(world->registrar);
    broker_free(world->broker);
    world->broker = NULL;
    world->registrar = NULL;
}

/* What was written to a socket before may still arrive. */
static void drop_guests(struct world *world) {
    for (uint32_t i = 0; i < world->guest_count; i++) {
        struct guest *guest = world->guests[i];
        if (guest->state == GUEST_AWAY) continue;
        if (guest->wire->down.size != 0 && prng_chance(&world->network, 50))
            wire_flush_down(guest->wire);
        if (guest->state != GUEST_AWAY) guest_drop(guest);
    }
}

static bool at_rest(const struct world *world) {
    for (uint32_t i = 0; i < world->swarm.shards; i++) {
        const struct shard *shard = world->broker->shards[i];
        if (!shard_idle(shard) || !shard_kept(shard)) return false;
    }
    return registrar_settled(world->registrar) && mesh_all_quiet(world->broker->mesh);
}

static void take_turns(struct world *world, uint64_t *now_ms) {
    for (int round = 0; round < REST_ROUNDS_MAX; round++) {
        *now_ms += REST_ROUND_MS;
        (void)registrar_turn(world->registrar, *now_ms);
        for (uint32_t i = 0; i < world->swarm.shards; i++)
            (void)shard_turn(world->broker->shards[i], *now_ms);
        if (round > 2 && at_rest(world)) return;
    }
    world_fail(world, liveness, "a dead broker cannot be laid to rest");
}

/* Frees the dead broker: without a disk, a network or a clock of this world. */
static void lay_to_rest(struct world *world) {
    uint64_t now_ms = world->now_ms;
    world->ghost = true;
    for (uint32_t i = 0; i < world->swarm.shards; i++)
        shard_drop_connections(world->broker->shards[i]);
    for (uint32_t i = 0; i < world->swarm.shards; i++)
        shard_finish_keeping(world->broker->shards[i]);
    take_turns(world, &now_ms);
    for (uint32_t i = 0; i < world->swarm.shards; i++)
        shard_drop_queues(world->broker->shards[i]);
    for (uint32_t i = 0; i < world->swarm.shards; i++)
        shard_end_keeping(world->broker->shards[i]);
    take_turns(world, &now_ms);
    free_broker(world);
    world->ghost = false;
}

void life_end(struct world *world) {
    edges_take(world);
    bool dead = !world->vault || !world->broker->shards[0]->keeper;
    if (dead) {
        free_broker(world);
        return;
    }
    vault_crash(world->vault, false);
    lay_to_rest(world);
}

void life_begin(struct world *world) {
    make_broker(world);
    if (!world->vault) return;
    if (!vault_recover(world->vault)) {
        vault_crash(world->vault, false);
        lay_to_rest(world);
        make_broker(world);
        check(vault_recover(world->vault));
    }
    inspect_recovered(world);
}

/* As another number of shards. */
static void begin_again(struct world *world) {
    world->sealing = false;
    world->now_ms += prng_below(&world->schedule, 1000);
    world->swarm.shards = 1 + (uint32_t)prng_below(&world->schedule, 4);
    life_begin(world);
}

void life_crash(struct world *world) {
    edges_take(world);
    bool power_loss = prng_chance(&world->storage, 50);
    world_trace(world, "---- %s", power_loss ? "the power is lost" : "the broker is killed");
    drop_guests(world);
    inspect_stable(world);
    inspect_blind(world);
    vault_crash(world->vault, power_loss);
    card_crash(world->card);
    lay_to_rest(world);
    begin_again(world);
}

void life_restart(struct world *world) {
    uint32_t life = world->card->life;
    reckoning_stop(world);
    if (world->card->life != life) return; /* it could only be killed */
    edges_take(world);
    drop_guests(world);
    card_settle(world->card);
    card_crash(world->card);
    free_broker(world);
    begin_again(world);
}
