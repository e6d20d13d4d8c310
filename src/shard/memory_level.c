/* memory_level: how much memory the process has, and when that is too much. */
#include "shard/memory_level.h"

enum {
    TELL_BYTES = 65536, /* the shared figures are touched when a shard's own moved this far */
    CLEAR_PERCENT = 95, /* of the limit: below, publishers go on */
};

void memory_level_init(struct memory_level *level, uint64_t limit) {
    *level = (struct memory_level){.limit = limit};
    atomic_init(&level->allowed, (int64_t)min_u64(limit, INT64_MAX));
}

static int64_t load(const _Atomic int64_t *figure) {
    return atomic_load_explicit(figure, memory_order_relaxed);
}

static int64_t percent_of_limit(const struct memory_level *level, uint64_t percent) {
    return (int64_t)(min_u64(level->limit, INT64_MAX) / 100 * percent);
}

static int64_t used(const struct memory_level *level) {
    bool watched = atomic_load_explicit(&level->watched, memory_order_relaxed);
    return watched ? load(&level->held) + load(&level->beside) : load(&level->messages);
}

uint64_t memory_level_used(const struct memory_level *level) {
    int64_t bytes = used(level);
    return bytes > 0 ? (uint64_t)bytes : 0;
}

bool memory_level_is_pressed(const struct memory_level *level) {
    int64_t bytes = used(level);
    bool watched = atomic_load_explicit(&level->watched, memory_order_relaxed);
    int64_t idle = watched ? load(&level->idle) : 0;
    return bytes - idle > percent_of_limit(level, 50) || bytes > percent_of_limit(level, 90);
}

/* Whoever changes it looks again: another shard may have told meanwhile, and nobody else might look
 * for long. */
static bool decide(struct memory_level *level) {
    bool changed = false;
    for (;;) {
        bool was = atomic_load(&level->alarm);
        bool may_clear = !atomic_load_explicit(&level->watched, memory_order_relaxed);
        bool alarm = used(level) > load(&level->allowed);
        if (was) alarm = !may_clear || used(level) >= percent_of_limit(level, CLEAR_PERCENT);
        if (alarm == was) return changed;
        if (atomic_compare_exchange_strong(&level->alarm, &was, alarm)) changed = true;
    }
}

static void move(_Atomic int64_t *figure, int64_t *told, int64_t now) {
    if (now != *told) atomic_fetch_add_explicit(figure, now - *told, memory_order_relaxed);
    *told = now;
}

static bool is_far(int64_t told, int64_t now) {
    int64_t moved = now - told;
    return moved <= -TELL_BYTES || moved >= TELL_BYTES || (now == 0 && told != 0);
}

/* From half of the limit on much moves between what is held and what the C library keeps of it,
 * which only a look tells: the next one must not be seconds away. */
static void hurry_when_pressed(struct memory_level *level) {
    struct memory_watcher *watcher = atomic_load(&level->watcher);
    if (!watcher || atomic_load_explicit(&level->looks_soon, memory_order_relaxed)) return;
    if (!memory_level_is_pressed(level)) return;
    if (!atomic_exchange(&level->looks_soon, true)) watcher->hurry(watcher->context);
}

bool memory_level_tell(struct memory_level *level, struct pool_figures *told,
    const struct message_pool *pool, bool at_once) {
    struct pool_figures now = {.messages = (int64_t)message_pool_bytes(pool),
        .held = (int64_t)message_pool_held_bytes(pool)};
    if (!at_once && !is_far(told->messages, now.messages) && !is_far(told->held, now.held))
        return false;
    now.idle = (int64_t)message_pool_idle_bytes(pool);
    move(&level->messages, &told->messages, now.messages);
    move(&level->idle, &told->idle, now.idle);
    move(&level->held, &told->held, now.held);
    hurry_when_pressed(level);
    return decide(level);
}

/* Somebody has looked: publishers may go on when there is room, or when there would be if what is
 * idle were not between what lives. */
static bool clear(struct memory_level *level, int64_t resident) {
    if (!atomic_load(&level->alarm)) return false;
    bool room = resident < percent_of_limit(level, CLEAR_PERCENT);
    bool idles = resident - load(&level->idle) < percent_of_limit(level, 50);
    if (!room && !idles) return false;
    atomic_store(&level->alarm, false);
    return true;
}

bool memory_level_set_resident(struct memory_level *level, uint64_t bytes) {
    int64_t resident = (int64_t)min_u64(bytes, INT64_MAX);
    int64_t limit = (int64_t)min_u64(level->limit, INT64_MAX);
    bool changed = clear(level, resident);
    int64_t allowed = load(&level->allowed);
    /* A look is a moment: a little more is no growth. */
    if (changed) allowed = resident + limit / 100;
    if (allowed > resident + limit / 50) allowed = resident + limit / 50;
    atomic_store(&level->allowed, allowed > limit ? allowed : limit);
    atomic_store_explicit(&level->beside, resident - load(&level->held), memory_order_relaxed);
    atomic_store_explicit(&level->watched, true, memory_order_relaxed);
    return decide(level) || changed;
}
