/* op: what can happen to a queue (struct op) and what it wants done (struct effect), as values.
 *
 * The same structs are the mail between shards, later the journal's records and the Raft log's
 * entries. Both stay within 48 bytes, so that one piece of mail is one cache line. */
#ifndef CORE_OP_H
#define CORE_OP_H

#include "amqp/reply.h"
#include "base/base.h"
#include "base/limits.h"
#include "core/message.h"
#include "core/ref.h"

enum op_kind {
#define OP(name, text, journal, replicated) OP_##name,
#include "core/ops.def"
#undef OP
    OP_KIND_COUNT
};

enum effect_kind {
#define EFFECT(name, text) EFFECT_##name,
#include "core/effects.def"
#undef EFFECT
    EFFECT_KIND_COUNT
};

/* op.flags */
enum {
    OP_NO_ACK = 1,     /* CONSUME, GET: messages are settled as they leave */
    OP_EXCLUSIVE = 2,  /* CONSUME: the only consumer */
    OP_SHARED = 4,     /* CONSUME: deliveries need tokens of the channel (qos global) */
    OP_REJECTED = 8,   /* SETTLE: reject or nack without requeue, not ack */
    OP_IF_UNUSED = 16, /* DELETE: only without consumers */
    OP_IF_EMPTY = 32,  /* DELETE: only without ready messages */
    OP_RETURNED = 64,  /* REQUEUE: it never reached the client (the channel was gone) */
    OP_AWAITED = 128   /* ENQUEUE: the publisher waits for it to be applied */
};

/* A consumer as its queue knows it: a serial number of the queue, which is never used again.
 * Whoever holds one of a consumer that is gone names nobody. Zero is none (basic.get). */
typedef uint32_t consumer_handle;

struct op {
    uint8_t kind; /* enum op_kind */
    uint8_t flags;
    uint16_t channel;          /* of the connection that acts */
    uint32_t request;          /* answers carry it back */
    connection_ref connection; /* who acts; 0 for the broker itself */
    uint64_t now_ms;           /* loop time, set by the host */
    union {
        struct message *message; /* ENQUEUE: one reference goes with it */
        struct {                 /* SETTLE, REQUEUE: count messages from seq on, all unacked */
            uint64_t seq;
            uint32_t count;
            consumer_handle consumer;
        } range;
        struct { /* CONSUME */
            uint32_t tag_id;
            uint32_t prefetch; /* per consumer, 0 = no limit */
            int32_t priority;  /* x-priority; higher first */
        } consume;
        struct { /* CANCEL, TOKENS */
            uint32_t tag_id;
            uint32_t count;
            consumer_handle consumer;
        } consumer;
    };
};

/* effect.flags */
enum {
    EFFECT_REDELIVERED = 1,
    EFFECT_NO_ACK = 2,
    EFFECT_CREDIT_LOW = 4 /* DELIVER: less than half of the connection's byte credit is left */
};

struct effect {
    uint8_t kind; /* enum effect_kind */
    uint8_t flags;
    uint16_t channel;
    union {
        uint32_t request; /* of the op that this answers */
        uint32_t tag_id;  /* DELIVER, CONSUMER_LOST, TOKENS_...: the session's consumer */
    };
    connection_ref connection;
    struct message *message;  /* DELIVER, GOT: one reference goes with it */
    uint64_t seq;             /* DELIVER, GOT: names the message when it is settled */
    consumer_handle consumer; /* DELIVER, CONSUMED, TOKENS_... */
    uint16_t code;            /* enum reply_code of an answer; 0 is success */
    uint32_t messages;        /* ready messages: GOT (left), PURGED and DELETED (gone), STATED */
    uint32_t consumers;       /* STATED; TOKENS_WANTED and TOKENS_BACK: how many tokens */
};

static_assert(sizeof(struct op) <= 48, "an op travels in one cache line");
static_assert(sizeof(struct effect) <= 56, "an effect travels in one cache line");

/* A list of effects that the caller owns and empties. */
struct effects {
    uint32_t count;
    struct effect list[PUMP_EFFECTS_MAX];
};

/* "ENQUEUE"; static text. */
const char *op_name(enum op_kind kind);
const char *effect_name(enum effect_kind kind);

#endif
