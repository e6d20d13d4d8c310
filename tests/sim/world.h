/* world: one seed's universe: a broker of several shards, its registrar, a network, a clock and the
 * model clients, all in one thread and in an order that the seed decides. */
#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include "sim/swarm.h"
#include "sim/verdict.h"
#include "sim/wire.h"

#include "base/prng.h"
#include "shard/registrar.h"
#include "shard/shard.h"

struct card;
struct guest;
struct vault;

enum { GUESTS_MAX = 8, ACTORS_MAX = 6, WIRES_MAX = 512, SETTLE_STEPS_MAX = 200000 };

struct world {
    struct verdict *verdict; /* borrowed */
    struct swarm swarm;
    /* One generator per concern, so that one more choice here does not shift the others. */
    struct prng schedule;
    struct prng network;
    struct prng load;
    struct prng secrets;
    struct prng storage;
    struct prng haste; /* how long parts of a turn take */
    uint64_t turn_clock_ns;
    uint64_t now_ms;
    uint64_t step;
    bool verbose;
    bool settling;     /* faults are off */
    bool stopping;     /* the broker is told to stop: it may close everybody */
    bool ghost;        /* the broker that takes turns is dead already */
    bool founded;      /* once it was done */
    uint32_t *drained; /* by the last drain: the last message of each publisher, plus 1 */
    bool sealing;      /* see inspect_departed() */
    uint64_t seal_positions[ACTORS_MAX];
    bool starved[ACTORS_MAX]; /* journals that had no place, and have not caught up since */
    bool founding;            /* the others wait for the founder */
    uint32_t crashes_left;
    uint64_t crash_at;       /* when so much has been done */
    bool asleep[ACTORS_MAX]; /* actors that wait for a bell, a socket or a deadline */
    struct broker *broker;
    struct registrar *registrar;
    struct shard_io io[4];
    struct wire *wires[WIRES_MAX];
    uint32_t wire_count;
    struct guest *guests[GUESTS_MAX]; /* the first is the founder */
    uint32_t guest_count;
    struct card *card;
    struct vault *vault; /* NULL: there is no disk */
};

/* Runs one seed from the big bang to the last released byte. Returns only when nothing was found;
 * the rest is in `verdict`, whose fail_at is looked at. */
void world_run(uint64_t seed, struct verdict *verdict, bool verbose);

/* A new connection to the broker, which one of the shards will adopt. Owned by the world. */
struct wire *world_connect(struct world *world);

/* From the wires: bytes and the end for the model client that uses it. */
void world_on_down(struct wire *wire, struct bytes bytes);
void world_on_end(struct wire *wire);

/* The founder comes and declares what nobody changes; the others wait. */
void world_found(struct world *world);

/* Lets everything that is under way arrive and be done; fails the liveness checker when it does
 * not end. */
void world_settle(struct world *world);

/* All actors take turns, asleep or not, until there is no mail left: mail that can wait wakes
 * nobody. */
void world_take_all_mail(struct world *world);

/* From the wires: a shard's poll returns. */
void world_wake(struct world *world, uint32_t shard);

/* A bell that wakes an actor. */
void world_bell(void *context, uint32_t actor);

/* Folds bytes into the hash of all that happened. */
void world_hash(struct world *world, struct bytes bytes);

/* A line of the trace, printed when the run is verbose. */
void world_trace(struct world *world, const char *format, ...) PRINTF_LIKE(2, 3);

#define world_fail(world, checker, ...)                                                            \
    verdict_fail((world)->verdict, CHECKER_##checker, __VA_ARGS__)

#endif
