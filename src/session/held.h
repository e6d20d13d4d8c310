/* held: what a channel has said and its client may not hear yet.
 *
 *   said:   declare-ok  qos-ok  bind-ok  deliver ...
 *           ^ ticket 7          ^ ticket 9            when 7 is stable, two replies may go
 *
 * A reply that waits for a commit makes a mark, and all that is said on that channel number behind
 * it stays behind it, in an outbox of its own. Marks are in the order of the channel's words, and
 * of their tickets: one that waits for less than the mark before it needs none of its own. Other
 * channels go on. Only connection.close and close-ok wait for all channels: the farewell.
 *
 * What a client makes the session hold counts as replies that it does not read
 * (session_wants_input). A channel that was closed stays in the session while something of it is
 * held, so that the next one of its number speaks behind it.
 *
 * Only the files of this folder include this header. */
#ifndef SESSION_HELD_H
#define SESSION_HELD_H

#include "session/channel.h"

struct held {
    struct list_node in_session; /* session->held */
    struct channel *channel;     /* whose held this is */
    struct outbox outbox;
    struct list marks; /* struct held_mark; never empty */
    uint64_t released; /* bytes that have left the outbox: the first mark is here */
};

/* What the channel says from here on waits until the ticket is stable. Nothing happens if it is. */
void held_wait(struct channel *channel, uint64_t ticket);

/* Moves what waits for nothing else than this ticket to the session's outbox. True when nothing is
 * held any more: the channel's held is gone then. */
bool held_release(struct held *held, uint64_t ticket) MUST_USE;

/* The next channel of a number takes over what is held of the closed one. */
void held_hand_on(struct channel *old, struct channel *channel);

/* Drops what is held, the farewell too: the client will hear nothing of it. */
void held_drop_all(struct session *session);

/* Checks every invariant: O(n). */
void held_check(const struct session *session);

/* Where the channel's words go. */
static inline struct outbox *held_outbox(const struct channel *channel) {
    return channel->held ? &channel->held->outbox : &channel->session->outbox;
}

#endif
