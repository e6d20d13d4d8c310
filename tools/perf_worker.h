/* perf_worker: a thread that runs some of the producers and consumers. */
#ifndef TOOLS_PERF_WORKER_H
#define TOOLS_PERF_WORKER_H

#include "tools/perf_consumer.h"
#include "tools/perf_producer.h"

#include <pthread.h>
#include <stdatomic.h>

enum worker_phase {
    WORKER_RUN,   /* producers publish */
    WORKER_DRAIN, /* they do not any more; what is on its way arrives */
    WORKER_STOP,
};

struct worker {
    const struct options *options; /* borrowed */
    struct producer **producers;
    struct consumer **consumers;
    uint32_t producer_count;
    uint32_t consumer_count;
    uint32_t *producer_events; /* what epoll was asked for */
    uint32_t *consumer_events;
    uint64_t
        *producer_due_ns; /* when a pace lets each go on, UINT64_MAX when something else does */
    uint64_t *consumer_due_ns;
    int epoll_fd;
    int wake_fd;
    int notify_fd; /* borrowed: told when one of the flags below changes */
    pthread_t thread;
    atomic_int phase;
    atomic_bool producers_done; /* nothing left to send or to be confirmed */
    atomic_bool consumers_done; /* each has all that it wants */
    atomic_bool failed;
    struct counters counters;
    struct histogram latency;
    struct histogram confirm_latency;
    char error[CLIENT_ERROR_BYTES];
};

/* Prepares a worker for at most so many clients. */
void worker_init(struct worker *worker, const struct options *options, int notify_fd);
void worker_deinit(struct worker *worker);

/* Gives it a client to run; borrowed, and not to be touched until worker_join. */
void worker_add_producer(struct worker *worker, struct producer *producer);
void worker_add_consumer(struct worker *worker, struct consumer *consumer);

/* Starts the thread. */
void worker_start(struct worker *worker);

/* Tells the thread to go on to a later phase. */
void worker_enter(struct worker *worker, enum worker_phase phase);

/* Waits until it ended, after WORKER_STOP or a failure. */
void worker_join(struct worker *worker);

#endif
