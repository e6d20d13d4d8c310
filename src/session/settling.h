/* settling: very many deliveries that are settled, or given back, a slice of a turn at a time.
 *
 *     a ledger, or what a transaction kept  --->  session->settling, in order  --->  calls->settle
 *                                                     a slice per turn          \--> what comes
 * then
 *
 * Few are settled where they stand. More leave the channel at once, so that nobody finds them
 * there, and queues hear of them by and by: in between a queue has some of them back already and
 * the others not yet. Whatever has to come behind waits in the same line: the fence of a channel
 * that closes or of a commit, what the channel does after a basic.recover, the leaving of the
 * connection. */
#ifndef SESSION_SETTLING_H
#define SESSION_SETTLING_H

#include "session/connection.h"
#include "session/unacked.h"

/* What a transaction keeps of settlements, in the order of their coming: in blocks, so that keeping
 * one more never takes long. All zero is empty. */
struct kept_settled {
    struct kept_block *first;
    struct kept_block *last;
    uint32_t count;
};

/* Adds one. */
void kept_settled_put(
    struct kept_settled *kept, const struct delivery *delivery, enum settle_how how);

/* Forgets all. */
void kept_settled_clear(struct kept_settled *kept);

/* What comes behind the settlements. */
enum settling_then {
    THEN_NOTHING,
    THEN_FENCE,        /* of a channel, parked for this request */
    THEN_STABLE_FENCE, /* the same, of a commit */
    THEN_GO_ON,        /* the channel, parked for this request, goes on */
    THEN_LEAVE         /* the connection leaves */
};

/* All up to `tag_max`, none of them marked, leave the ledger and are settled that way. */
void settling_put(
    struct session *session, struct unacked *unacked, uint64_t tag_max, enum settle_how how);

/* What a transaction has kept is settled, and is empty then. */
void settling_put_kept(struct session *session, struct kept_settled *kept);

/* So many are few. */
uint32_t settling_slice(const struct session *session);

/* True while something that was put is not done. */
bool settling_busy(const struct session *session);

/* Does that, now or when its turn comes. */
void settling_then(
    struct session *session, enum settling_then then, uint16_t channel, uint32_t request);

/* Settles a slice. */
void settling_go_on(struct session *session);

#endif
