/* mail: what actors tell each other: ops to queues, effects back, and the few other things below.
 * One piece of mail is one cache line. Pointers in it change hands with it. */
#ifndef SHARD_MAIL_H
#define SHARD_MAIL_H

#include "base/base.h"
#include "base/memory.h"
#include "core/op.h"
#include "core/topology.h"

enum mail_kind {
    MAIL_OP,        /* to a queue's shard: queue, op */
    MAIL_EFFECT,    /* to a connection's shard: queue, effect */
    MAIL_WATERMARK, /* to a publisher's shard: so many ENQUEUEs of yours are applied, and stable */
    MAIL_CREDIT,    /* to a queue's shard: byte credit of a connection */
    MAIL_REPLY,     /* to a connection's shard: a direct reply-to message */
    MAIL_PROBE,     /* to a client's shard: does somebody wait for this reply key? */
    MAIL_FENCE,     /* to every shard: come back when all before this has been done */
    MAIL_FENCED,    /* back */
    MAIL_RELEASE,   /* to a message's home: a chain of blocks */
    MAIL_LOGGED_IN, /* to the same shard: the verdict on a login, in `flags` */
    MAIL_ADOPT,     /* to a shard: an accepted socket */
    MAIL_VISIT,     /* to a shard: run a function there (questions of the admin side) */
    MAIL_VISITED,   /* back to the admin side */
    MAIL_CHANGE,    /* to the registrar: a topology request */
    MAIL_CHANGED,   /* back to the requester: the same request, answered */
    MAIL_MAKE,      /* registrar to a shard: make the queue of this request */
    MAIL_MADE,      /* back */
    MAIL_ROWED,     /* registrar to a shard: this queue is durable from ticket `count` on */
    MAIL_REMOVE,    /* registrar to a shard: drop the queue of this request, if it may go */
    MAIL_REMOVED,   /* back */
    MAIL_FORGET,    /* registrar to a shard: the queue has left the topology; free its slot */
    MAIL_GONE,      /* shard to registrar: an auto-delete queue has ended; its name in `name` */
    MAIL_LEAVE,     /* shard to registrar: a connection ends; its exclusive queues go */
    MAIL_LEFT,      /* back */
    MAIL_COMMITTED, /* registrar to every shard: all tickets up to `count` are stable */
    MAIL_EVACUATE,  /* to a shard: empty these files of what you have in them */
    MAIL_EVACUATED, /* back */
    MAIL_EMPTIED,   /* to every shard: a file of yours may have nothing more that lives */
    MAIL_ALARM      /* to every shard: look at the alarm again */
};

/* A queue's name on its own: any bytes, so not a zero-terminated text. */
struct name {
    uint32_t size;
    uint8_t data[];
};

/* A copy, owned by the caller and released by mem_free. */
static inline struct name *name_new(struct bytes bytes) {
    struct name *name = mem_raw(sizeof *name + bytes.size);
    name->size = bytes.size;
    bytes_copy(name->data, bytes.data, bytes.size);
    return name;
}

static inline struct bytes name_bytes(const struct name *name) {
    return bytes_of(name->data, name->size);
}

/* A topology request on its way to the registrar and back. Owns its strings. */
struct request {
    struct change change; /* strings point into `strings` */
    struct vhost *vhost;
    uint16_t channel;
    uint32_t number; /* the session's request number */
    uint32_t shard;  /* who asked */
    queue_ref gone;  /* the requester found this queue ended; wait until it has left */
    struct change_result result;
    uint64_t ticket;      /* the commit that must be stable before anybody hears; 0: none */
    uint64_t queue_id;    /* QUEUE_DECLARE: of a queue that will be durable; else 0 */
    uint32_t messages;    /* QUEUE_DELETE: ready messages that went with it */
    uint32_t consumers;   /* of a reply key: 1 when somebody waits */
    bool made;            /* QUEUE_DECLARE: it did not exist before */
    struct request *next; /* in the registrar's list of a name that is in transition */
    uint8_t strings[];
};

struct evacuation;

/* A function that runs on a shard, for questions from other threads. */
struct shard;
struct visit {
    void (*run)(struct shard *shard, struct visit *visit);
    void (*back)(struct visit *visit); /* on the admin side, if that has sent it */
};

struct mail {
    uint8_t kind; /* enum mail_kind */
    uint8_t flags;
    uint16_t channel;
    uint32_t number;
    uint64_t ref; /* queue_ref or connection_ref, as the kind says */
    union {
        struct op op;
        struct effect effect;
        uint64_t count; /* CREDIT, ROWED, COMMITTED */
        struct {
            uint64_t applied;
            uint64_t stable;
        } watermark;
        struct evacuation *evacuation;
        struct message *message; /* REPLY, RELEASE */
        struct request *request;
        struct visit *visit;
        void *socket;
        struct name *name; /* owned */
    };
};

static_assert(sizeof(struct mail) == 64, "one piece of mail is one cache line");

#endif
