/* vault: what of the simulated node survives a crash: its disk and its definitions.
 *
 *     shards' journals --- ports ---> platter      registrar --- commits ---> definitions
 *
 * Requests and commits wait until the schedule completes them, one by one. After a crash the ports
 * of the dead broker lead nowhere: whatever it still asks for is answered with "done", so that it
 * can be freed in order, and what is on the platter stays as the crash has left it. */
#ifndef SIM_VAULT_H
#define SIM_VAULT_H

#include "unit/memory_definitions.h"

#include "shard/keeper.h"
#include "store/disk_sim.h"

struct world;

enum { LOST_FILES_MAX = 64 };

/* A file in which something could not be read, as it was then. */
struct lost_file {
    const struct sim_file *file;
    uint32_t uses;
};

struct vault {
    struct world *world;
    struct platter platter;
    const struct disk_calls *calls; /* the platter's own */
    struct memory_definitions definitions;
    struct definitions definitions_calls; /* the same */
    struct keeper_settings settings;
    uint32_t port_count;                   /* opened in this life */
    uint32_t wakes[SIM_PORTS_MAX];         /* the shard of each */
    uint64_t full_until;                   /* this step there is no room on the disk */
    struct lost_file lost[LOST_FILES_MAX]; /* in this life */
    uint32_t lost_count;
    bool forgiven;      /* a recovery has failed, as the ladder's failure may make it */
    uint32_t ghost_ids; /* asked for by the dead registrar */
    bool ghost_commit;
};

struct vault *vault_new(struct world *world);
void vault_free(struct vault *vault);

/* Gives the broker, whose shards and registrar are new, what is there. False when that could not be
 * read because of the one failure of the ladder: then the broker is of no use, and the next one
 * must do better. */
bool vault_recover(struct vault *vault);

/* A disk of the same files that nobody else uses. */
struct disk *vault_reader(struct vault *vault);

/* One random request or commit is completed, or nothing happens. */
void vault_step(struct vault *vault);

/* A journal has failed twice in a row: nothing of its shard becomes stable before a restart. */
bool vault_stopped(const struct vault *vault);

/* Completes everything, without faults. False when there was nothing. */
bool vault_complete_all(struct vault *vault);

/* The process is killed, or the power is lost. The broker's ports lead nowhere from now on. */
void vault_crash(struct vault *vault, bool power_loss);

#endif
