/* world: a platter, some journals, the oracle, and one life after the other. */
#ifndef TESTS_STORE_WORLD_H
#define TESTS_STORE_WORLD_H

#include "disk_sim.h"
#include "keeper.h"
#include "oracle.h"

enum {
    WORLD_SHARDS_MAX = 3,
    WORLD_FILES_MAX = 12, /* per writer, when its keeper is done */
};

struct world_options {
    uint64_t seed;
    uint64_t
        fail_at; /* the one operation that fails, for the ladder; 0 for the seed's own faults */
    uint32_t lives;
};

struct world {
    struct world_options options;
    struct platter platter;
    struct oracle oracle;
    struct prng prng;
    struct journal *journals[WORLD_SHARDS_MAX];
    uint32_t shards;
    uint32_t running; /* the first so many, in this life */
    uint64_t now_ms;
    uint64_t file_bytes;
    bool may_lie;   /* this seed's disk may drop or misdirect writes */
    bool given_up;  /* the disk lied and was found out */
    bool cut_short; /* this life ends now */
    bool stopped[WORLD_SHARDS_MAX];
    bool kept; /* by keepers, whose messages are in the ledger; otherwise the oracle's items */
    struct ledger ledger;
    struct keeper keepers[WORLD_SHARDS_MAX];
    uint64_t jobs;    /* that keepers have done */
    uint64_t reads;   /* messages that they have read back */
    uint64_t indexed; /* messages that were found by index */
    uint32_t life;
    uint64_t crashes;
    uint64_t harms;
    uint64_t harms_seen;
};

/* Runs a seed. True when all went well; otherwise world->oracle.failure says why. What the world
 * holds is freed by world_deinit. */
bool world_run(struct world *world, const struct world_options *options);

/* Frees all. */
void world_deinit(struct world *world);

/* Damages what is on the platter, looks whether recovery sees it, and puts it back. `recovery` is a
 * good one of the same platter. */
void harm_try(struct world *world, struct recovery *recovery);

/* The same for the segments that a recovery has found. */
void harm_segment_try(struct world *world, struct recovery *recovery);

/* Opens a recovery that reads everything; NULL after noting a failure. */
struct recovery *world_recover(struct world *world, bool salvage);

#endif
