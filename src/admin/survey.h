/* survey: questions to the shards: a function that runs there, and comes back with figures.
 *
 * A question covers a bounded number of queues or connections, so that it never holds a shard up
 * for long; who wants to know about all of them asks again from where the last one ended. */
#ifndef ADMIN_SURVEY_H
#define ADMIN_SURVEY_H

#include "shard/shard.h"

enum {
    SURVEY_ROWS_MAX = 128,      /* described queues or connections of one answer */
    SURVEY_QUEUES_MAX = 4096,   /* counted queues of one answer: some hundred microseconds */
    SURVEY_CLIENTS_MAX = 256,   /* counted connections of one answer */
    SURVEY_CHANNELS_MAX = 16384 /* their channels, after which an answer ends */
};

/* A name, or the beginning of a longer text; any bytes. */
struct survey_name {
    uint8_t size;
    uint8_t data[255];
};

static inline struct bytes survey_bytes(const struct survey_name *name) {
    return bytes_of(name->data, name->size);
}

struct survey_queue {
    queue_ref queue;
    uint64_t ready;
    uint64_t unacked;
    uint64_t bytes; /* of their bodies */
    uint32_t consumers;
    struct survey_name name;
};

struct survey_client {
    const char *state; /* static text */
    uint32_t channels;
    uint32_t consumers;
    uint64_t unacked;
    uint64_t unconfirmed;
    struct survey_name user;
    struct survey_name vhost;
    struct survey_name client_name;
    char peer[64];
};

/* Sums over what was counted. */
struct survey_sums {
    uint64_t queues;
    uint64_t ready;
    uint64_t unacked;
    uint64_t bytes;
    uint64_t consumers;
    uint64_t connections;
    uint64_t channels;
    uint64_t unconfirmed;
};

enum survey_kind {
    SURVEY_QUEUES,     /* describes queues in `queues` */
    SURVEY_CLIENTS,    /* describes connections in `clients` */
    SURVEY_QUEUE_SUMS, /* adds to `sums` */
    SURVEY_CLIENT_SUMS /* adds to `sums` */
};

/* One question and its answer. Belongs to the asker, but while it is out to the shard; freeing one
 * that is out waits until it is back. */
struct survey {
    struct visit visit;
    enum survey_kind kind;
    uint32_t shard;
    uint32_t at;   /* slot to begin with; moved on by the answer */
    bool more;     /* there are slots behind `at` */
    bool single;   /* only the slot `at` is wanted */
    bool out;      /* at the shard; only then is it not the asker's */
    bool unwanted; /* its asker is gone */
    struct survey_sums sums;
    uint32_t count; /* rows below */
    /* Called on the admin thread when the answer is there. */
    void (*done)(void *asker, struct survey *survey);
    void *asker;
    union {
        struct survey_queue queues[SURVEY_ROWS_MAX];
        struct survey_client clients[SURVEY_ROWS_MAX];
    };
};

/* A question that starts with the first slot of shard 0. Those for sums have no room for rows. */
struct survey *survey_new(
    enum survey_kind kind, void (*done)(void *asker, struct survey *survey), void *asker);

/* Releases it, at once or when it is back. NULL is fine. */
void survey_free(struct survey *survey);

/* Sends it to its shard; the admin thread. */
void survey_ask(struct survey *survey, struct broker *broker);

/* Moves on to what was not covered yet, of this shard or the next. False when that was all. */
bool survey_advance(struct survey *survey, const struct broker *broker);

#endif
