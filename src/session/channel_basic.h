/* channel_basic: what the handlers of the classes basic and tx share. */
#ifndef SESSION_CHANNEL_BASIC_H
#define SESSION_CHANNEL_BASIC_H

#include "session/channel.h"
#include "session/outgoing.h"
#include "session/unacked.h"

/* Where messages to this channel's client are written. */
struct outgoing channel_outgoing(const struct channel *channel);

/* The channel's consuming, made when it is not there yet. */
struct consuming *channel_get_consuming(struct channel *channel);

/* Gives the message the next delivery tag, which is returned, and remembers it unless `no_ack`. */
uint64_t channel_next_tag(struct channel *channel, const struct delivery *delivery, bool no_ack);

/* Settles a delivery that has been taken from the ledger: said below at the end of the turn, or
 * with channel_say_settled. */
void channel_settle(struct channel *channel, const struct delivery *delivery, enum settle_how how);
void channel_say_settled(struct channel *channel);

/* Lends what is free of the shared prefetch to the queues that asked. To be called whenever
 * something became free. */
void channel_lend_tokens(struct channel *channel);

/* ---- channel_consume.c, for channel_basic.c ---- */

/* Answers to WAIT_CONSUME and WAIT_CANCEL. */
void channel_on_consumed(struct channel *channel, const struct answer *answer);
void channel_on_cancelled(struct channel *channel, const struct answer *answer);

/* Cancels every consumer without a word to the client, and releases channel->consuming. */
void channel_cancel_all(struct channel *channel);

#endif
