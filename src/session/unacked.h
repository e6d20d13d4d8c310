/* unacked: the ledger of a channel's deliveries that wait for an ack, by delivery tag.
 *
 * Tags only grow, so the ledger is a ring sorted by tag. Acks mostly come in order and take the
 * first; any other is found by its distance from the first, or else by bisection. One taken from
 * the middle leaves a hole; when there are more holes than deliveries the ring is rewritten without
 * them, so a delivery that is never acked does not make the ring grow. An empty ledger holds no
 * memory. */
#ifndef SESSION_UNACKED_H
#define SESSION_UNACKED_H

#include "session/session.h"

/* One delivery. */
struct delivery {
    uint64_t tag;
    queue_ref queue; /* never 0 */
    uint64_t seq;
    consumer_handle consumer; /* 0 of basic.get */
    bool of_get;              /* does not count against a prefetch */
};

struct unacked {
    struct delivery *ring; /* capacity is a power of two; a hole has queue 0 */
    uint32_t capacity;
    uint32_t first;
    uint32_t size;  /* deliveries and holes between them; the first and the last are no holes */
    uint32_t count; /* deliveries */
    uint32_t of_get_count;
};

/* An empty ledger is all zero. */
void unacked_deinit(struct unacked *unacked);

/* Adds a delivery; its tag is above all tags that were put. */
void unacked_put(struct unacked *unacked, const struct delivery *delivery);

/* Tells whether this tag waits for an ack. */
bool unacked_has(const struct unacked *unacked, uint64_t tag);

/* Takes the delivery of this tag; false when the tag is unknown, or was taken before. */
bool unacked_take(struct unacked *unacked, uint64_t tag, struct delivery *ret_delivery) MUST_USE;

/* Takes the delivery with the lowest tag if that is not above `tag_max`; false when there is none.
 */
bool unacked_take_first(
    struct unacked *unacked, uint64_t tag_max, struct delivery *ret_delivery) MUST_USE;

/* Puts deliveries back that were taken. They are sorted by tag here; O(n). */
void unacked_put_back(struct unacked *unacked, struct delivery *deliveries, uint32_t count);

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
