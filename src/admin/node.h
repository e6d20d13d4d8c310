/* node: what this broker is called, and what its process has and uses. */
#ifndef ADMIN_NODE_H
#define ADMIN_NODE_H

#include "shard/shard.h"

/* Texts and broker are borrowed. */
struct node {
    struct broker *broker;
    char name[256]; /* "godwit@host" */
    const char *data_dir;
    uint64_t descriptors_max;
    bool synced;         /* what is confirmed has been synced; else the operating system has it */
    uint64_t started_ms; /* of the clock that only goes forward */
    uint64_t started_at; /* seconds since 1970 */
};

/* What the operating system says of the process now; 0 where it does not. */
struct node_facts {
    uint64_t now_ms; /* the clock of the shards' loops */
    uint64_t uptime_ms;
    uint64_t resident_bytes;
    uint64_t descriptors; /* open now */
    uint64_t cpu_ms;      /* of all threads, in user and system mode */
};

/* Fills in the name and the times; the rest is the caller's. */
void node_init(struct node *node);

/* Reads what the process and the machine are at now. */
/* Asks the operating system. */
void node_read(const struct node *node, struct node_facts *ret_facts);

#endif
