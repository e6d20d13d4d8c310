/* memory_watch: looks at what the process has resident, and gives memory back after a burst. */
#include "daemon/memory_watch.h"

#include <malloc.h>

#include "base/memory.h"
#include "daemon/machine.h"
#include "daemon/ticker.h"

enum {
    LOOK_MS = 2500,
    LOOK_SOON_MS = 100,             /* while memory is short, or is being given back */
    BURST_BYTES = 64 * 1024 * 1024, /* of messages that have gone: worth giving memory back; or */
    BURST_PART = 16,                /* that part of the limit, if it is less */
    GAIN_PART = 64,                 /* of the limit: giving back that much was worth it */
    REST_MAX = 128,                 /* looks: 13 s */
};

struct memory_watch {
    struct broker *broker;
    void (*changed)(void *context);
    void *context;
    int64_t peak;    /* of messages' memory, since a burst was over last */
    bool goes_on;    /* the last try was the first after a burst, or was worth it */
    uint32_t rest;   /* looks until the next try while memory is short, */
    uint32_t rested; /* and how many there were before the last one */
    struct ticker ticker;
    struct memory_watcher watcher;
};

/* Whether many messages have gone since it was so last. */
static bool burst_is_over(struct memory_watch *watch) {
    const struct memory_level *level = &watch->broker->memory;
    int64_t now = atomic_load(&level->messages);
    int64_t burst = (int64_t)min_u64(BURST_BYTES, level->limit / BURST_PART);
    if (now > watch->peak) watch->peak = now;
    bool over = watch->peak - now > burst && watch->peak > 2 * now;
    if (over) watch->peak = now;
    return over;
}

/* Memory may be short for long: then trying in vain is done less and less often. */
static bool has_rested(struct memory_watch *watch) {
    if (!broker_is_pressed(watch->broker)) {
        watch->rest = watch->rested = 0;
        return false;
    }
    if (watch->rest == 0) return true;
    watch->rest--;
    return false;
}

/* The C library keeps what is free, slabs of messages too, until it is asked; while it gives that
 * back, who allocates may have to wait for it. The shards give back empty slabs when they are
 * woken: those go with the next try. True when it was worth it. */
static bool give_back(struct memory_watch *watch) {
    struct memory_level *level = &watch->broker->memory;
    uint64_t before = machine_resident_bytes();
    malloc_trim(0);
    uint64_t after = machine_resident_bytes();
    bool gained = before > after && before - after > level->limit / GAIN_PART;
    watch->rested = gained ? 0 : (uint32_t)min_u64(2 * (uint64_t)watch->rested + 1, REST_MAX);
    watch->rest = watch->rested;
    atomic_fetch_add(&level->trims, 1);
    watch->changed(watch->context);
    return gained;
}

static uint32_t look(void *context) {
    struct memory_watch *watch = context;
    bool over = burst_is_over(watch);
    bool gained = (over || watch->goes_on || has_rested(watch)) && give_back(watch);
    watch->goes_on = over || gained;
    uint64_t resident = machine_resident_bytes();
    if (resident != 0 && memory_level_set_resident(&watch->broker->memory, resident))
        watch->changed(watch->context);
    bool soon = watch->goes_on || broker_is_pressed(watch->broker);
    atomic_store(&watch->broker->memory.looks_soon, soon);
    return soon ? LOOK_SOON_MS : LOOK_MS;
}

static void hurry(void *context) {
    ticker_hurry(context);
}

struct memory_watch *memory_watch_new(
    struct broker *broker, void (*changed)(void *context), void *context) {
    struct memory_watch *watch = NEW(struct memory_watch);
    watch->broker = broker;
    watch->changed = changed;
    watch->context = context;
    ticker_init(&watch->ticker, "memory-watch", look, watch);
    ticker_start(&watch->ticker, look(watch));
    watch->watcher = (struct memory_watcher){.hurry = hurry, .context = &watch->ticker};
    atomic_store(&broker->memory.watcher, &watch->watcher);
    return watch;
}

void memory_watch_free(struct memory_watch *watch) {
    if (!watch) return;
    atomic_store(&watch->broker->memory.watcher, NULL);
    ticker_stop(&watch->ticker);
    ticker_deinit(&watch->ticker);
    mem_free(watch);
}
