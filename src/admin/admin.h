/* admin: the thread that answers people and programs over HTTP: the mesh's actor broker->admin.
 *
 * It owns nothing of the broker. It asks the shards by mail, reads counters, and reads the topology
 * under its lock; nobody waits for it. */
#ifndef ADMIN_ADMIN_H
#define ADMIN_ADMIN_H

#include "shard/shard.h"

struct admin;

/* Descriptors are bound, or -1 for none, and taken. The texts are borrowed. */
struct admin_settings {
    int management;
    int metrics;
    uint64_t descriptors_max;
    bool synced; /* what is confirmed has been synced; else the operating system has it */
    const char *data_dir;
};

/* Accepts from now on, but answers only when the thread runs. `broker` is borrowed. */
struct admin *admin_new(struct broker *broker, const struct admin_settings *settings);

/* Starts its thread. */
void admin_start(struct admin *admin);

/* Wakes it for mail; any thread. */
void admin_bell(struct admin *admin);

/* Ends its thread and waits for that; what it has asked stays under way. */
void admin_stop(struct admin *admin);

/* One turn: reads the mail. For the thread that settles the mail after all have ended; true when
 * more is left. */
bool admin_turn(struct admin *admin, uint64_t now_ms);

/* Drops the connections and lists; their questions to the shards may still be under way, and turns
 * take them home. After admin_stop. */
void admin_close(struct admin *admin);

/* Releases it, when no mail is under way any more. */
void admin_free(struct admin *admin);

#endif
