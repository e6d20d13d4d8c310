/* unacked: the ledger of a channel's deliveries that wait for an ack, by delivery tag.
 *
 *     blocks   | 1 ........ 256 | 257 ... 512 | 600 . . 901 |      sorted by tag
 *
 * Tags only grow, so that new ones go into the last block. Acks mostly come in order and take the
 * first; any other is found by its distance from the first, or else by bisection. One taken from
 * the middle leaves a hole; a block with more holes than deliveries is rewritten without them, and
 * one with few deliveries becomes one with its neighbour, so a delivery that is never acked does
 * not make the ledger grow. Nothing ever moves more than a block. An empty ledger holds no memory.
 *
 * Within a transaction what is acked is only marked, and not there for anybody but the commit;
 * a rollback forgets all marks at once. */
#ifndef SESSION_UNACKED_H
#define SESSION_UNACKED_H

#include "session/session.h"

/* One delivery. */
struct delivery {
    uint64_t tag;
    queue_ref queue; /* never 0 */
    uint64_t seq;
    consumer_handle consumer; /* 0 of basic.get */
    uint32_t of_get : 1;      /* does not count against a prefetch */
    uint32_t mark : 31;       /* the ledger's own */
};

static_assert(sizeof(struct delivery) == 32, "what a delivery costs that is not acked");

/* Some deliveries in a row. */
struct unacked_block {
    uint32_t capacity;
    uint32_t first; /* from here on, */
    uint32_t end;   /* and before here, deliveries and holes; the first and the last are no holes */
    uint32_t live;  /* deliveries; at least one */
    struct delivery entries[]; /* a hole has queue 0 */
};

struct unacked_place {
    uint64_t from; /* no tag in it is below, and none in those before is not */
    struct unacked_block *block;
};

struct unacked {
    struct unacked_place *places;
    uint32_t first; /* of places, */
    uint32_t block_count;
    uint32_t capacity;
    uint32_t count; /* deliveries, marked ones included */
    uint32_t of_get_count;
    uint32_t marked_count;
    uint32_t epoch;         /* marks of other epochs are none */
    uint64_t unmarked_from; /* all below are marked */
};

/* An empty ledger is all zero. */
void unacked_deinit(struct unacked *unacked);

/* Adds a delivery; its tag is above all tags that were put. */
void unacked_put(struct unacked *unacked, const struct delivery *delivery);

/* Tells whether this tag waits for an ack, and is not marked. */
bool unacked_has(const struct unacked *unacked, uint64_t tag);

/* Takes the delivery of this tag; false when the tag is unknown, was taken before, or is marked. */
bool unacked_take(struct unacked *unacked, uint64_t tag, struct delivery *ret_delivery) MUST_USE;

/* Takes the delivery with the lowest tag that is not marked, if that tag is not above `tag_max`;
 * false when there is none. */
bool unacked_take_first(
    struct unacked *unacked, uint64_t tag_max, struct delivery *ret_delivery) MUST_USE;

/* Takes all up to `tag_max` at once, into a ledger of their own. None may be marked. As long as
 * there are blocks: some ten thousand deliveries in a microsecond. */
struct unacked unacked_split(struct unacked *unacked, uint64_t tag_max);

/* The same as unacked_take and unacked_take_first, but the delivery stays, marked. */
bool unacked_mark(struct unacked *unacked, uint64_t tag, struct delivery *ret_delivery) MUST_USE;
bool unacked_mark_first(
    struct unacked *unacked, uint64_t tag_max, struct delivery *ret_delivery) MUST_USE;

/* No delivery is marked any more. O(1), but for once in 2^31 times. */
void unacked_unmark_all(struct unacked *unacked);

/* Those that are marked are gone: O(n), but nothing to do for any of them when all are. */
void unacked_drop_marked(struct unacked *unacked);

/* Checks every invariant: O(n). */
void unacked_check(const struct unacked *unacked);

/* ---- what has been settled and not been said yet ---- */

enum { SETTLE_RUNS_MAX = 8 };

/* Runs that are still open to be made longer, in the order in which they began. */
struct settle_runs {
    uint32_t count;
    struct settle runs[SETTLE_RUNS_MAX];
};

/* Adds one settled delivery to a run, or begins one. When there is no room, false, and nothing was
 * added: say the runs first. */
bool settle_runs_put(
    struct settle_runs *runs, const struct delivery *delivery, enum settle_how how) MUST_USE;

#endif
