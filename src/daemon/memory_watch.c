/* memory_watch: looks at what the process has resident, and gives memory back after a burst. */
#include "daemon/memory_watch.h"

#include <malloc.h>
#include <pthread.h>
#include <time.h>

#include "base/memory.h"
#include "daemon/machine.h"

enum {
    LOOK_MS = 2500,
    LOOK_SOON_MS = 100,            /* when half of the limit is used */
    TRIM_BYTES = 64 * 1024 * 1024, /* of messages that have gone: worth giving memory back */
};

struct memory_watch {
    struct broker *broker;
    void (*changed)(void *context);
    void *context;
    int64_t peak; /* of messages' memory, since memory was given back last */
    pthread_t thread;
    pthread_mutex_t mutex; /* guards `ending` */
    pthread_cond_t wake;
    bool ending;
};

/* Messages come from slabs of their own, which are given back as they become empty; large ones, and
 * all else, come from the C library, which keeps what is free until it is asked. */
static void give_back(struct memory_watch *watch) {
    const struct broker *broker = watch->broker;
    int64_t now = atomic_load(&broker->message_bytes);
    if (now > watch->peak) watch->peak = now;
    bool gone = watch->peak - now > TRIM_BYTES && watch->peak > 2 * now;
    if (!gone && !atomic_load(&broker->memory_alarm)) return;
    malloc_trim(0);
    watch->peak = now;
}

static void look(struct memory_watch *watch) {
    give_back(watch);
    uint64_t resident = machine_resident_bytes();
    if (resident != 0 && broker_set_resident(watch->broker, resident))
        watch->changed(watch->context);
}

static struct timespec next_look(const struct memory_watch *watch) {
    uint32_t ms = broker_is_pressed(watch->broker) ? LOOK_SOON_MS : LOOK_MS;
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    time.tv_nsec += (long)ms * 1000000;
    time.tv_sec += time.tv_nsec / 1000000000;
    time.tv_nsec %= 1000000000;
    return time;
}

static void *thread_main(void *context) {
    struct memory_watch *watch = context;
    pthread_setname_np(pthread_self(), "memory-watch");
    pthread_mutex_lock(&watch->mutex);
    while (!watch->ending) {
        struct timespec next = next_look(watch);
        int status = 0;
        while (!watch->ending && status == 0)
            status = pthread_cond_timedwait(&watch->wake, &watch->mutex, &next);
        if (watch->ending) break;
        pthread_mutex_unlock(&watch->mutex);
        look(watch);
        pthread_mutex_lock(&watch->mutex);
    }
    pthread_mutex_unlock(&watch->mutex);
    return NULL;
}

struct memory_watch *memory_watch_new(
    struct broker *broker, void (*changed)(void *context), void *context) {
    struct memory_watch *watch = NEW(struct memory_watch);
    watch->broker = broker;
    watch->changed = changed;
    watch->context = context;
    pthread_condattr_t monotonic;
    check(pthread_condattr_init(&monotonic) == 0);
    check(pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC) == 0);
    check(pthread_cond_init(&watch->wake, &monotonic) == 0);
    check(pthread_condattr_destroy(&monotonic) == 0);
    check(pthread_mutex_init(&watch->mutex, NULL) == 0);
    look(watch);
    check(pthread_create(&watch->thread, NULL, thread_main, watch) == 0);
    return watch;
}

void memory_watch_free(struct memory_watch *watch) {
    if (!watch) return;
    pthread_mutex_lock(&watch->mutex);
    watch->ending = true;
    pthread_cond_signal(&watch->wake);
    pthread_mutex_unlock(&watch->mutex);
    pthread_join(watch->thread, NULL);
    pthread_cond_destroy(&watch->wake);
    pthread_mutex_destroy(&watch->mutex);
    mem_free(watch);
}
