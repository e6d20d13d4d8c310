/* channel_tx: publishes and acks that wait for tx.commit. */
#ifndef SESSION_CHANNEL_TX_H
#define SESSION_CHANNEL_TX_H

#include "session/publish.h"
#include "session/unacked.h"

/* Keeps a publish until commit; takes the message's reference and the route. False, and nothing was
 * taken, when the transaction would become too large. */
bool channel_tx_keep_publish(
    struct channel *channel, const struct parcel *parcel, struct held_route *held) MUST_USE;

/* Keeps the settlement of a delivery that has been marked in the ledger until commit. */
void channel_tx_keep_settled(
    struct channel *channel, const struct delivery *delivery, enum settle_how how);

/* A confirm of the commit that is under way. May end the waiting: the channel may be gone then. */
void channel_tx_on_confirm(struct channel *channel, uint64_t seqno, bool ok);

/* Drops the publishes and unmarks what was settled; releases channel->tx. */
void channel_tx_deinit(struct channel *channel);

#endif
