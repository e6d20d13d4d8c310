/* swarm: what one seed does and what it leaves out. */
#include "sim/swarm.h"

#include <stdio.h>

#include "base/prng.h"

/* Hundreds of messages wait in one queue, nearly all of them kept. */
static void lengthen(struct swarm *swarm, struct prng *prng) {
    swarm->hoards = true;
    swarm->stable = 1;
    swarm->durable |= 1;
    swarm->persistent = prng_chance(prng, 70) ? 100 : 99;
    swarm->body_bytes = 1 + (uint32_t)prng_below(prng, 100);
    swarm->publish_weight += 150;
    swarm->acts += (uint32_t)prng_below(prng, 3000);
}

/* Hundreds of messages wait, few of them kept, and memory is short now and then. Numbers of its own
 * leave what other seeds do as it was. */
static void swell(struct swarm *swarm, uint64_t seed) {
    struct prng prng;
    prng_init(&prng, seed ^ 0x5b111);
#define FEATURE(name, percent) swarm->name = prng_chance(&prng, percent);
    SWARM_SPILL_FEATURES
#undef FEATURE
    if (!swarm->spills) return;
    swarm->hoards = swarm->short_memory = true;
    swarm->stable = 1 + (uint32_t)prng_below(&prng, 2);
    swarm->durable = (uint32_t)prng_below(&prng, 16);
    swarm->persistent = prng_chance(&prng, 50) ? 0 : (uint32_t)prng_below(&prng, 60);
    swarm->body_bytes = 1 + (uint32_t)prng_below(&prng, 1000);
    swarm->publish_weight += 150;
    swarm->acts += (uint32_t)prng_below(&prng, 3000);
}

void swarm_init(struct swarm *swarm, uint64_t seed) {
    struct prng prng;
    prng_init(&prng, seed ^ 0x5eed5eed5eed5eedu);
    *swarm = (struct swarm){
        .shards = 1 + (uint32_t)prng_below(&prng, 4),
        .guests = 1 + (uint32_t)prng_below(&prng, 6),
        .lanes = 1 + (uint32_t)prng_below(&prng, 3),
        .stable = 1 + (uint32_t)prng_below(&prng, 4),
        .acts = 200 + (uint32_t)prng_below(&prng, 300u << prng_below(&prng, 6)),
        .body_bytes = 1 + (uint32_t)prng_below(&prng, 300),
        .publish_weight = 30,
        .act_weight = 10 + (uint32_t)prng_below(&prng, 50),
        .wire_weight = 10 + (uint32_t)prng_below(&prng, 50),
        .turn_weight = 10 + (uint32_t)prng_below(&prng, 50),
        .disk_weight = 5 + (uint32_t)prng_below(&prng, 50),
        .crash_count = 1 + (uint32_t)prng_below(&prng, 4),
        .durable = (uint32_t)prng_below(&prng, 16),
        .persistent = prng_chance(&prng, 50) ? 100 : (uint32_t)prng_below(&prng, 100),
        .starved = (uint32_t)prng_below(&prng, 8),
        .settling_slice = seed % 4 == 1 ? 1 + (uint32_t)(seed / 4 % 8) : 0,
        .socket_room = 64u << prng_below(&prng, 12),
    };
#define FEATURE(name, percent) swarm->name = prng_chance(&prng, percent);
    SWARM_FEATURES
#undef FEATURE
    swarm->crashes = swarm->crashes && swarm->disk;
    swarm->disk_faults = swarm->disk_faults && swarm->disk;
    if (!swarm->disk) return;
    if (prng_chance(&prng, 90)) swarm->durable |= 1;
    /* Files are to be filled. */
    swarm->publish_weight += (uint32_t)prng_below(&prng, 150);
    swarm->body_bytes *= 1u << prng_below(&prng, 6);
    swarm->acts += (uint32_t)prng_below(&prng, 1000);
#define FEATURE(name, percent) swarm->name = prng_chance(&prng, percent);
    SWARM_DISK_FEATURES
#undef FEATURE
    if (swarm->long_queues) lengthen(swarm, &prng);
    swell(swarm, seed);
}

void swarm_print(const struct swarm *swarm) {
    printf("%u shards, %u clients with %u channels, %u queues, %u acts:", swarm->shards,
        swarm->guests, swarm->lanes, swarm->stable, swarm->acts);
#define FEATURE(name, percent)                                                                     \
    if (swarm->name) printf(" %s", #name);
    SWARM_FEATURES
    SWARM_DISK_FEATURES
    SWARM_SPILL_FEATURES
#undef FEATURE
    printf("\n");
}
