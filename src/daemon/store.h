/* store: the data directory of a running broker: journals, segments, definitions.
 *
 *     DIR/LOCK       one broker at a time (daemon/datadir.h)
 *     DIR/node.id    whose files these are
 *     DIR/meta.db    durable definitions (store/metadata.h)
 *     DIR/messages/  journals and segments (docs/disk-format.md)
 *     DIR/reserve/   room for when the disk is full (store/reserve.h) */
#ifndef DAEMON_STORE_H
#define DAEMON_STORE_H

#include "base/log.h"
#include "daemon/config.h"
#include "shard/recall.h"
#include "shard/registrar.h"

struct store;

struct store_settings {
    const char *data_dir;
    uint8_t node_id[FILE_NODE_ID_BYTES];
    enum durability durability;
    uint64_t memory_limit;   /* bytes, of the process */
    uint64_t journal_budget; /* bytes, for each shard */
    bool salvage;
    struct reserve *reserve; /* borrowed */
    uint64_t seed;           /* random */
    const struct log *log;
    /* Wakes the shard; any thread. */
    void (*bell)(void *context, uint32_t shard);
    void *context;
};

/* Opens the directory's messages and definitions and puts everything back into the broker, whose
 * shards and registrar have been made and have not run. False with the reason; then the process is
 * of no use. */
bool store_open(struct broker *broker, struct registrar *registrar,
    const struct store_settings *settings, struct store **ret_store, struct config_why *ret_why);

/* Bytes of what it has read back. */
uint64_t store_recovered_bytes(const struct store *store);

/* Ends the disks' threads. The shards' keepers are gone or idle. NULL is fine. */
void store_close(struct store *store);

#endif
