/* registrar: the single writer of the topology.
 *
 * Requests come by mail from the shards and are answered by mail. A queue becomes visible only
 * after its shard has made it, and its shard frees it only after it has left the topology:
 *
 *     declare:  CHANGE -> MAKE -> MADE -> (put) -> CHANGED
 *     delete:   CHANGE -> REMOVE -> REMOVED -> (removed) -> FORGET, CHANGED
 *     auto:     GONE -> (removed) -> FORGET
 *     leave:    LEAVE -> REMOVE ... -> LEFT
 *
 * While a name is in one of these transitions, other requests that name it wait in its line.
 *
 * What is durable is done at once all the same, and written to the definitions in batches
 * (shard/scribe.h): the answer carries its batch's ticket, and MAIL_COMMITTED tells every shard
 * when that is stable. A durable queue gets its id with MAKE and its ticket with ROWED; its FORGET
 * waits until its removal is stable. */
#ifndef SHARD_REGISTRAR_H
#define SHARD_REGISTRAR_H

#include "shard/definitions.h"
#include "shard/restore_index.h"
#include "shard/shard.h"

struct registrar;

/* The registrar of a broker, which is borrowed for its life, as is what keeps its definitions; with
 * NULL nothing is kept. */
struct registrar *registrar_new(struct broker *broker, struct definitions *definitions);

/* Makes what was durable in the last run again, at the shards that there are now, and tells which
 * queue an id is in `index`. Before the first turn of anybody. Gives 0, or a negative errno with
 * what is wrong; then the broker is of no use. */
int registrar_load(struct registrar *registrar, struct restore_index *index,
    struct metadata_problem *ret_problem) MUST_USE;

/* Releases it; no name may be in transition. */
void registrar_free(struct registrar *registrar);

/* Answers the mail that is there. True when more is left. */
bool registrar_turn(struct registrar *registrar, uint64_t now_ms);

/* The time at which it wants a turn without mail; UINT64_MAX for never. */
uint64_t registrar_next_deadline(const struct registrar *registrar);

/* True when no name is in transition and no request waits. For tests and the simulator. */
bool registrar_idle(const struct registrar *registrar);

/* True when it is idle and all that it has done to durable definitions is stable. */
bool registrar_settled(const struct registrar *registrar);

/* Keeps nothing from now on, so that what waits for a commit goes on without one. For the end of
 * the process when definitions cannot be kept. */
void registrar_give_up(struct registrar *registrar);

/* The shard that a queue of that name goes to, unless a connection brings it along. */
uint32_t registrar_choose_shard(const struct broker *broker, struct bytes queue);

#endif
