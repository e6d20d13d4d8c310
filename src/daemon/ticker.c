/* ticker: a thread that looks at something now and then, and at once when it is hurried. */
#include "daemon/ticker.h"

#include <time.h>

void ticker_init(
    struct ticker *ticker, const char *name, uint32_t (*look)(void *context), void *context) {
    *ticker = (struct ticker){.name = name, .look = look, .context = context};
    pthread_condattr_t monotonic;
    check(pthread_condattr_init(&monotonic) == 0);
    check(pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC) == 0);
    check(pthread_cond_init(&ticker->wake, &monotonic) == 0);
    check(pthread_condattr_destroy(&monotonic) == 0);
    check(pthread_mutex_init(&ticker->mutex, NULL) == 0);
}

static struct timespec after_ms(uint32_t ms) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    time.tv_sec += ms / 1000;
    time.tv_nsec += (long)(ms % 1000) * 1000000;
    time.tv_sec += time.tv_nsec / 1000000000;
    time.tv_nsec %= 1000000000;
    return time;
}

/* Waits with the mutex; false when it is to end. */
static bool wait_for(struct ticker *ticker, const struct timespec *next) {
    int status = 0;
    while (!ticker->ending && !ticker->hurried && status == 0)
        status = pthread_cond_timedwait(&ticker->wake, &ticker->mutex, next);
    ticker->hurried = false;
    return !ticker->ending;
}

static void *thread_main(void *context) {
    struct ticker *ticker = context;
    pthread_setname_np(pthread_self(), ticker->name);
    struct timespec next = after_ms(ticker->first_ms);
    pthread_mutex_lock(&ticker->mutex);
    while (wait_for(ticker, &next)) {
        pthread_mutex_unlock(&ticker->mutex);
        next = after_ms(ticker->look(ticker->context));
        pthread_mutex_lock(&ticker->mutex);
    }
    pthread_mutex_unlock(&ticker->mutex);
    return NULL;
}

void ticker_start(struct ticker *ticker, uint32_t ms) {
    ticker->first_ms = ms;
    check(pthread_create(&ticker->thread, NULL, thread_main, ticker) == 0);
    ticker->started = true;
}

void ticker_hurry(struct ticker *ticker) {
    pthread_mutex_lock(&ticker->mutex);
    ticker->hurried = true;
    pthread_cond_signal(&ticker->wake);
    pthread_mutex_unlock(&ticker->mutex);
}

void ticker_stop(struct ticker *ticker) {
    if (!ticker->started) return;
    pthread_mutex_lock(&ticker->mutex);
    ticker->ending = true;
    pthread_cond_signal(&ticker->wake);
    pthread_mutex_unlock(&ticker->mutex);
    pthread_join(ticker->thread, NULL);
    ticker->started = false;
}

void ticker_deinit(struct ticker *ticker) {
    check(!ticker->started);
    pthread_cond_destroy(&ticker->wake);
    pthread_mutex_destroy(&ticker->mutex);
}
