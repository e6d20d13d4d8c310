/* publish: from basic.publish and its header and bodies to one message for the host. */
#ifndef SESSION_PUBLISH_H
#define SESSION_PUBLISH_H

#include "session/channel.h"

/* A whole message, with one reference, and what routing needs beside it. */
struct parcel {
    struct message *message;
    struct bytes headers; /* as in struct publish; borrowed */
    struct bytes cc;
    struct bytes bcc;
    const struct held_route *held; /* of a transaction: it has been routed */
    bool mandatory;
};

/* Drops a half-assembled content. NULL is fine. */
void publish_content_free(struct content *content, struct message_pool *pool);

/* Gives the message to the host, with a number if somebody waits for it, and returns it to the
 * client if it is mandatory and goes nowhere. The message stays the caller's. What the host said is
 * in *ret_result; a refusal is not yet a fault. */
void publish_hand_over(struct channel *channel, const struct parcel *parcel, uint64_t seqno,
    struct publish_result *ret_result);

#endif
