/* limits: every bound in the broker, with its unit and its reason. */
#ifndef BASE_LIMITS_H
#define BASE_LIMITS_H

#include <assert.h>

enum {
    CHANNELS_PER_CONNECTION_MAX = 2047,    /* RabbitMQ's default offer; clients size arrays by it */
    FRAME_MAX_DEFAULT = 131072,            /* bytes; RabbitMQ's default offer */
    HANDSHAKE_FRAME_MAX = 65536 - 1024,    /* bytes; a large token fits in start-ok */
    HANDSHAKE_BYTES_MAX = 65536,           /* a connection costs no more before authentication */
    HANDSHAKE_MS_MAX = 10000,              /* and lives no longer before it */
    HEARTBEAT_S_DEFAULT = 60,              /* RabbitMQ's default offer */
    SHORTSTR_BYTES_MAX = 255,              /* one octet of length */
    TABLE_DEPTH_MAX = 32,                  /* decoding is a loop with a stack of this size */
    MESSAGE_BYTES_MAX_DEFAULT = 134217728, /* 128 MiB, RabbitMQ's default max_message_size */
    ROUTES_PER_PUBLISH_CACHED_MAX = 4096,  /* a wider fan-out is routed anew, not cached */
    ROUTE_CACHE_ENTRIES_MAX = 16384, /* per shard; a new route takes the place of the old one */
    ROUTE_CACHE_BYTES_MAX = 4 * 1024 * 1024, /* per shard, for wide routes */
    PUMP_EFFECTS_MAX = 256, /* one slice of owed work: a queue may not starve the loop */
    MAILBOX_SLOTS = 4096,   /* per ordered pair; beyond these a sender's overflow list */
    SHARDS_MAX = 64,        /* a queue handle has 8 bits for the shard; 64 cores are one socket */
    CONNECTION_WINDOW_BYTES = 4 * 1024 * 1024, /* published bytes not yet applied by their owners */
    CONNECTION_WINDOW_PUBLISHES = 16384,       /* the same in messages, for empty bodies */
    DELIVERY_CREDIT_BYTES = 1024 * 1024, /* per connection and owner: sent, not yet written out */
    PARKED_INPUT_BYTES_MAX = 2 * 1024 * 1024, /* a parked channel's input; then no reading */
    READ_BUFFER_BYTES = 256 * 1024,           /* one per shard; what one read may bring */
    REPLY_BYTES_MAX = 4 * 1024 * 1024, /* answers that a client does not read; then no reading */
    EXCHANGE_HOPS_MAX = 4096, /* exchanges visited by one publish; cycles end by visiting once */
    NAME_BYTES_MAX = 255,     /* exchange, queue, routing key, consumer tag */
    LINGER_MS_MAX = 5000,     /* for a client to read our last words and close */
    LINGER_BYTES_MAX = 64 * 1024 * 1024, /* thrown away meanwhile; costs time, no memory */
    REASON_BYTES_MAX = 255,              /* reply-text is a short string */
};

static_assert((ROUTE_CACHE_ENTRIES_MAX & (ROUTE_CACHE_ENTRIES_MAX - 1)) == 0, "hashes are masked");
static_assert((MAILBOX_SLOTS & (MAILBOX_SLOTS - 1)) == 0, "the ring masks its indexes");

#endif
