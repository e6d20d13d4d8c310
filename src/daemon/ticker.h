/* ticker: a thread that looks at something now and then, and at once when it is hurried. */
#ifndef DAEMON_TICKER_H
#define DAEMON_TICKER_H

#include <pthread.h>

#include "base/base.h"

struct ticker {
    const char *name;                /* of the thread; static text */
    uint32_t (*look)(void *context); /* on the thread; gives the ms until the next look */
    void *context;
    uint32_t first_ms;
    pthread_t thread;
    bool started;
    pthread_mutex_t mutex; /* guards the next two */
    pthread_cond_t wake;
    bool hurried;
    bool ending;
};

/* Nothing runs yet. Released by ticker_deinit. */
void ticker_init(
    struct ticker *ticker, const char *name, uint32_t (*look)(void *context), void *context);

/* Begins: it looks after so many ms, or at once when it has been hurried. */
void ticker_start(struct ticker *ticker, uint32_t ms);

/* Has it look at once, now or as soon as it has started. Any thread. */
void ticker_hurry(struct ticker *ticker);

/* Ends the thread, if it was started. It may still be hurried, which does nothing. */
void ticker_stop(struct ticker *ticker);

/* It has been stopped, and nobody hurries it any more. */
void ticker_deinit(struct ticker *ticker);

#endif
