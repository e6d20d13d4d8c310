/* model_host: the host of session_model_test, which answers late and knows the queues. */
#ifndef TESTS_UNIT_MODEL_HOST_H
#define TESTS_UNIT_MODEL_HOST_H

#include "unit.h"

#include "base/buffer.h"
#include "base/prng.h"
#include "session/session.h"

enum {
    CHANNELS = 3,
    QUEUES = 3,
    SEQS_MAX = 4096, /* per queue */
    CONSUMERS_MAX = 512,
    PENDING_MAX = 64,
    PUBLISHES_MAX = 4096,
    TAGS_MAX = 8192, /* per channel and incarnation */
};

enum seq_state { SEQ_FREE, SEQ_OUT, SEQ_SETTLED };

/* A consumer as its queue knows it. */
struct model_consumer {
    uint32_t tag_id;
    queue_ref queue;
    uint16_t channel;
    bool no_ack;
    bool shared;
    bool alive;
    bool asked;
    uint32_t tokens;
};

struct model_pending {
    enum { PENDING_CONSUME, PENDING_CANCEL, PENDING_GET, PENDING_CHANGE, PENDING_FENCE } kind;
    uint16_t channel;
    uint32_t request;
    uint32_t consumer; /* index */
    queue_ref queue;
    bool no_ack; /* change: no_wait */
};

struct model_publish {
    uint64_t seqno;
    uint32_t epoch;
    uint16_t channel;
    uint32_t left;
    bool refused;
    bool told;
};

/* What the client knows of a channel. */
struct model_channel {
    bool open;
    bool closing; /* we have said channel.close */
    bool tx;
    uint32_t first_publish; /* of this incarnation, in world.publishes */
    uint64_t tags[TAGS_MAX];
    uint32_t tag_count; /* deliveries that wait for our ack */
    uint64_t ticket;    /* the highest that a reply on this number waits for */
};

struct world {
    struct prng prng;
    struct session *session;
    struct message_pool *pool;
    struct chunk_pool chunks;
    struct buffer heard;
    bool over; /* the session has called finish or leave */
    bool left;
    bool finished;
    bool woken;
    uint8_t state[QUEUES + 1][SEQS_MAX];
    uint64_t next_seq[QUEUES + 1];
    struct model_consumer consumers[CONSUMERS_MAX];
    uint32_t consumer_count;
    struct model_pending pending[PENDING_MAX];
    uint32_t pending_count;
    struct model_publish publishes[PUBLISHES_MAX];
    uint32_t publish_count;
    struct model_channel channels[CHANNELS + 1];
    bool closed;     /* the client has heard close-ok */
    uint64_t ticket; /* of the last commit */
    uint64_t stable;
    uint32_t delivered_count;
    uint32_t confirmed_count;
    uint32_t changed_count;
};

static inline uint32_t model_below(struct world *world, uint32_t bound) {
    return (uint32_t)prng_below(&world->prng, bound);
}

static inline bool model_chance(struct world *world, unsigned percent) {
    return prng_chance(&world->prng, percent);
}

/* The calls' host is the world. */
extern const struct session_calls MODEL_CALLS;

/* The next seq of a queue, on its way; with no_ack it is settled. */
uint64_t model_take_seq(struct world *world, queue_ref queue, bool no_ack);

/* The routing key says which commit has to be stable when it arrives. */
struct message *model_new_message(struct world *world, uint16_t channel);

/* What a get is answered with: a message, or none. */
struct answer model_got(struct world *world, uint16_t channel, queue_ref queue, bool no_ack);

/* The consumer of that index exists now; gives what its client is answered. */
struct answer model_consumed(struct world *world, uint32_t index);

/* The client learns the ticket from the count of messages. */
struct answer model_changed(struct world *world, uint16_t channel, bool no_wait);

#endif
