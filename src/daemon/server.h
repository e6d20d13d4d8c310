/* server: the running broker: its threads, listeners, and its end. */
#ifndef DAEMON_SERVER_H
#define DAEMON_SERVER_H

#include "base/log.h"
#include "daemon/config.h"
#include "daemon/datadir.h"
#include "daemon/room.h"
#include "shard/shard.h"
#include "store/metadata.h"

struct server;

/* The log and the texts are borrowed for the server's life. */
struct server_options {
    uint32_t shards;
    uint64_t memory_limit;    /* bytes */
    uint64_t descriptors_max; /* that this process may have open */
    const int *listeners;     /* bound descriptors; taken, as are the next two */
    uint32_t listener_count;
    int management; /* HTTP; -1 for none */
    int metrics;
    const char *data_dir;
    struct metadata *metadata; /* the definitions in it; taken */
    uint8_t node_id[NODE_ID_BYTES];
    enum durability durability;
    uint64_t journal_budget; /* bytes, for each shard */
    struct room_rules room;
    bool salvage;
    struct log *log;
    struct session_settings session;
};

/* A server whose threads run and whose listeners accept, with what was durable in the last run; or
 * NULL with the reason, when that cannot be read. Aborts only on our own bugs or without memory or
 * threads. */
struct server *server_start(const struct server_options *options, struct config_why *ret_why);

/* Runs the registrar on the calling thread until SIGTERM or SIGINT; then stops accepting, closes
 * connections in order and returns when they are gone or after the grace time. A second signal
 * ends the process at once. `on_reload` is called for SIGHUP. */
void server_run(struct server *server, void (*on_reload)(void *context), void *context);

/* Releases everything. */
void server_free(struct server *server);

#endif
