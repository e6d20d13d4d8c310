/* perf_options: what the command line of godwit-perf asks for. */
#ifndef TOOLS_PERF_OPTIONS_H
#define TOOLS_PERF_OPTIONS_H

#include "base/base.h"

enum {
    OPTIONS_TEXT_BYTES = 256,
    OPTIONS_PIDS_MAX = 16,
    OPTIONS_CLIENTS_MAX = 100000, /* producers or consumers */
    OPTIONS_QUEUES_MAX = 1000000,
    OPTIONS_THREADS_MAX = 64,
    OPTIONS_CONFIRM_MAX = 1 << 20, /* unconfirmed messages of one producer */
    OPTIONS_SIZE_MAX = 1 << 29,    /* bytes of a body: RabbitMQ's largest max_message_size */
};

struct options {
    char host[OPTIONS_TEXT_BYTES];
    uint16_t port;
    char user[OPTIONS_TEXT_BYTES];
    char password[OPTIONS_TEXT_BYTES];
    char vhost[OPTIONS_TEXT_BYTES];
    uint32_t producers;
    uint32_t consumers;
    uint32_t threads;
    char queue[OPTIONS_TEXT_BYTES]; /* a name, or a pattern with %d when queue_count is not 1 */
    uint32_t queue_first;           /* the number of the first queue of a pattern */
    uint32_t queue_count;           /* 0: each consumer has a queue of its own */
    char exchange[OPTIONS_TEXT_BYTES];
    bool default_exchange; /* publish straight to the queues, by their names */
    char type[OPTIONS_TEXT_BYTES];
    char routing_key[OPTIONS_TEXT_BYTES];
    uint64_t size;            /* bytes of a body */
    uint64_t confirm;         /* unconfirmed messages at most; 0: no confirms */
    uint64_t qos;             /* unacknowledged messages per consumer; 0: any number */
    uint64_t multi_ack_every; /* one basic.ack for so many messages */
    uint64_t rate;            /* messages per second and producer; 0: as many as go */
    uint64_t consumer_rate;   /* messages per second and consumer; 0: as many as come */
    uint64_t pmessages;       /* messages of each producer; 0: no end */
    uint64_t cmessages;       /* messages of each consumer; 0: no end */
    uint64_t time_ns;         /* measured time; 0: no end */
    uint64_t warmup_ns;       /* runs before the measured time */
    uint64_t drain_ns;        /* at most, for what is in the queues at the end */
    bool auto_ack;
    bool persistent;
    bool mandatory;
    bool durable;
    bool auto_delete;
    uint32_t stored;  /* consume what so many producers have left in an earlier run; 0: no */
    bool predeclared; /* queues and exchange exist: declare and purge nothing */
    bool raw;         /* no protocol: frames go through a relay */
    bool json;
    bool quiet; /* no line per second */
    int pids[OPTIONS_PIDS_MAX];
    uint32_t pid_count;
};

/* Whose messages are told apart: the producers of this run, or of the one that left them. */
static inline uint32_t options_authors(const struct options *options) {
    return options->stored != 0 ? options->stored : options->producers;
}

enum options_verdict { OPTIONS_RUN, OPTIONS_SHOWN, OPTIONS_WRONG };

/* Reads the command line. Prints the help (OPTIONS_SHOWN), or what is wrong with it on stderr
 * (OPTIONS_WRONG). */
enum options_verdict options_read(struct options *options, int argc, char **argv);

/* The name of queue number `index`, counted from 0, into `text` of OPTIONS_TEXT_BYTES. Only where
 * queue_count is not 0. */
void options_queue_name(const struct options *options, uint32_t index, char *text);

/* How many queues there are. */
uint32_t options_queues(const struct options *options);

#endif
