/* memory_watch: looks at what the process has resident, and gives memory back after a burst. */
#include "daemon/memory_watch.h"

#include <malloc.h>

#include "base/memory.h"
#include "daemon/machine.h"
#include "daemon/ticker.h"

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
    struct ticker ticker;
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

static uint32_t look(void *context) {
    struct memory_watch *watch = context;
    give_back(watch);
    uint64_t resident = machine_resident_bytes();
    if (resident != 0 && broker_set_resident(watch->broker, resident))
        watch->changed(watch->context);
    return broker_is_pressed(watch->broker) ? LOOK_SOON_MS : LOOK_MS;
}

struct memory_watch *memory_watch_new(
    struct broker *broker, void (*changed)(void *context), void *context) {
    struct memory_watch *watch = NEW(struct memory_watch);
    watch->broker = broker;
    watch->changed = changed;
    watch->context = context;
    ticker_init(&watch->ticker, "memory-watch", look, watch);
    ticker_start(&watch->ticker, look(watch));
    return watch;
}

void memory_watch_free(struct memory_watch *watch) {
    if (!watch) return;
    ticker_stop(&watch->ticker);
    ticker_deinit(&watch->ticker);
    mem_free(watch);
}
