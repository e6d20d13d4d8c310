/* scribe: the registrar's hand: gathers the rows of durable changes and has them committed.
 *
 * Rows go to the open batch, whose number is their ticket. At the end of a turn the open batch is
 * handed over if no commit is under way, and the next one is opened; so batches grow with the load
 * by themselves. A commit that failed is tried again, and nothing is told before it is stable. */
#ifndef SHARD_SCRIBE_H
#define SHARD_SCRIBE_H

#include "shard/definitions.h"
#include "shard/shard.h"

struct scribe;

/* Both are borrowed for its life; without definitions nothing is kept and every ticket is 0. */
struct scribe *scribe_new(struct broker *broker, struct definitions *definitions);
void scribe_free(struct scribe *scribe);

/* Puts a row or removes it, with the open batch, whose ticket it gives. */
uint64_t scribe_put(struct scribe *scribe, const struct metadata_row *row);
uint64_t scribe_remove(struct scribe *scribe, const struct metadata_row *row);

/* True while so much waits for a commit that nothing should be added that can wait, too. */
bool scribe_full(const struct scribe *scribe);

/* False when the next queue id is not reserved yet: wait for a commit. */
bool scribe_has_id(const struct scribe *scribe);

/* The next queue id; 0 when nothing is kept. */
uint64_t scribe_take_id(struct scribe *scribe);

/* Lets a queue that has left the topology be forgotten by its shard as soon as its removal is
 * stable; with ticket 0 at once. */
void scribe_forget(struct scribe *scribe, queue_ref queue, uint64_t ticket);

/* Begins a turn: true when a commit has ended, so that what waited for it may go on. Shards have
 * been told if it is stable. */
bool scribe_hear(struct scribe *scribe, uint64_t now_ms);

/* Ends a turn: hands the open batch over if no commit is under way. */
void scribe_hand_over(struct scribe *scribe, uint64_t now_ms);

/* When a failed commit is to be tried again; UINT64_MAX for never. */
uint64_t scribe_next_deadline(const struct scribe *scribe);

/* True when everything is stable. */
bool scribe_settled(const struct scribe *scribe);

/* Keeps nothing from now on, and hears of no commit; what is not stable may be lost. For the end of
 * the process. */
void scribe_give_up(struct scribe *scribe);

#endif
