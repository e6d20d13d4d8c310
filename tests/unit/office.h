/* office: a registrar with shards that do only what it asks, and definitions in memory: for tests
 * of what is answered, told and kept. No connection is real; requests and answers are looked at. */
#ifndef TESTS_UNIT_OFFICE_H
#define TESTS_UNIT_OFFICE_H

#include "memory_definitions.h"

#include "base/log.h"
#include "shard/registrar.h"

enum { OFFICE_SHARDS_MAX = 4, OFFICE_LINES_MAX = 64 };

struct office {
    struct memory_definitions memory; /* outlives crashes */
    struct log log;
    uint32_t lines; /* that were logged */
    char line[OFFICE_LINES_MAX][64];
    struct broker *broker;
    struct registrar *registrar;
    struct shard_io io;
    uint64_t now_ms;
    struct request *answers;               /* not looked at yet, newest first; owned */
    uint64_t committed[OFFICE_SHARDS_MAX]; /* what each shard was told */
    queue_ref forgotten;                   /* the last one */
    uint32_t forgotten_count;
    queue_ref rowed; /* the last one, and its ticket */
    uint64_t rowed_ticket;
    uint32_t left; /* connections that have left */
    struct restore_index index;
};

/* Definitions that are empty, and a broker that has loaded them. */
void office_init(struct office *office, uint32_t shards);
void office_deinit(struct office *office);

/* The process ends at once; the one after it loads what is there. A commit that was under way has
 * come to be if `committed` says so. */
void office_crash(struct office *office, bool committed, uint32_t shards);

/* Everybody takes turns until no mail is left. */
void office_settle(struct office *office);

/* Sends a request as from shard 0; its answer comes to `answers`. */
void office_send(struct office *office, const struct change *change);

/* Sends, settles, and gives the answer, which must be there; borrowed until the next call. */
const struct request *office_ask(struct office *office, const struct change *change);

/* An auto-delete queue ends at its shard. */
void office_end_queue(struct office *office, const char *name);

/* A connection ends. */
void office_leave(struct office *office, connection_ref connection);

/* Ends the commit under way and settles; see memory_definitions_end. */
void office_commit(struct office *office, int error);

/* Commits until nothing is left to commit. */
void office_commit_all(struct office *office);

#endif
