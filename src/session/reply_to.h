/* reply_to: the keys of direct reply-to: "amq.rabbitmq.reply-to." and a token.
 *
 * A requester consumes from the pseudo queue amq.rabbitmq.reply-to; its publishes' reply_to
 * property is rewritten to the key of its channel, and whoever answers publishes to the default
 * exchange with that key. The token names connection and channel, so that the answer finds its way
 * without a queue, and holds 128 random bits, so that nobody can guess it. The session that made
 * the key compares all of it. */
#ifndef SESSION_REPLY_TO_H
#define SESSION_REPLY_TO_H

#include <assert.h>

#include "base/base.h"
#include "core/ref.h"

#define REPLY_TO_QUEUE "amq.rabbitmq.reply-to"

enum {
    REPLY_TO_RANDOM_BYTES = 16,
    REPLY_TO_TOKEN_BYTES = 35, /* 8 + 2 + 16 bytes in base64 without padding */
    REPLY_TO_KEY_BYTES = sizeof(REPLY_TO_QUEUE) + REPLY_TO_TOKEN_BYTES, /* the dot is counted */
};

/* Writes the key of a channel; `random` comes from calls->random. */
void reply_to_make(connection_ref connection, uint16_t channel,
    const uint8_t random[REPLY_TO_RANDOM_BYTES], uint8_t ret_key[REPLY_TO_KEY_BYTES]);

/* True when `key` has the form of a reply key; it then tells whom to ask. Says nothing about
 * whether the channel ever gave that key out. */
bool reply_to_parse(
    struct bytes key, connection_ref *ret_connection, uint16_t *ret_channel) MUST_USE;

/* Compares in a time that does not depend on where they differ. */
bool reply_to_equal(struct bytes key, const uint8_t own[REPLY_TO_KEY_BYTES]) MUST_USE;

#endif
