/* disk_watch: looks at the room on disk: raises the alarm, clears it, and keeps the reserve.
 *
 *      free < limit, or a piece of the reserve was taken  ---> alarm: publishers are blocked
 *      free enough, and the reserve as large as it was    ---> no alarm
 *
 * On a thread of its own, because asking a disk that hangs hangs. What the shards see is a flag of
 * the broker and a bell. */
#include "daemon/disk_watch.h"

#include <errno.h>
#include <string.h>
#include <sys/statvfs.h>

#include "base/memory.h"
#include "daemon/ticker.h"

enum { LOOK_AGAIN_MS = 1000 }; /* when the disk has not told what is free */

struct disk_watch {
    struct disk_watch_settings settings;
    struct ticker ticker;

    /* Of whoever looks: first the main thread, then the watch's. */
    bool low;                   /* too little is free */
    bool on_reserve;            /* pieces were taken, and are not there again */
    uint32_t had;               /* then: pieces that there were before */
    uint32_t pieces;            /* after the last look */
    bool empty_said;            /* that there are none left */
    int add_error;              /* why no piece could be made; said once */
    int look_error;             /* why nothing is known of the disk; said once */
    uint32_t look_ms;           /* until the next look */
    struct reserve_taken taken; /* as known */
};

/* ---- what is said ---- */

static void say_room(const struct disk_watch *watch, uint64_t free, uint64_t limit) {
    struct log_line line;
    log_begin(&line, watch->low ? "disk.low" : "disk.has_room");
    log_put_number(&line, "free", free);
    log_put_number(&line, "limit", limit);
    log_end(&line, watch->settings.log, watch->low ? LEVEL_WARNING : LEVEL_INFO);
}

/* What goes on failing is said once. */
static void say_error(const struct disk_watch *watch, const char *event, int error, int *said) {
    bool again = error == *said;
    *said = error;
    if (error == 0 || again) return;
    struct log_line line;
    log_begin(&line, event);
    log_put_text(&line, "error", strerror(-error));
    log_end(&line, watch->settings.log, LEVEL_WARNING);
}

static void say_reserve(const struct disk_watch *watch, const char *event, enum log_level level) {
    struct log_line line;
    log_begin(&line, event);
    log_put_number(
        &line, "bytes", (uint64_t)reserve_count(watch->settings.reserve) * RESERVE_PIECE_BYTES);
    log_end(&line, watch->settings.log, level);
}

static void say_used(const struct disk_watch *watch, uint64_t files, uint64_t given) {
    struct log_line line;
    log_begin(&line, "reserve.used");
    if (files != 0) log_put_number(&line, "journal_files", files);
    if (given != 0) log_put_number(&line, "definitions", given);
    log_put_number(
        &line, "left", (uint64_t)reserve_count(watch->settings.reserve) * RESERVE_PIECE_BYTES);
    log_end(&line, watch->settings.log, LEVEL_WARNING);
}

/* ---- the reserve ---- */

/* What others have taken since. */
static void notice_taken(struct disk_watch *watch) {
    struct reserve_taken taken = reserve_taken(watch->settings.reserve);
    uint64_t files = taken.files - watch->taken.files;
    uint64_t given = taken.given - watch->taken.given;
    bool asked = taken.asked != watch->taken.asked;
    watch->taken = taken;
    if (files + given != 0) {
        if (!watch->on_reserve) watch->had = watch->pieces;
        watch->on_reserve = true;
        say_used(watch, files, given);
    }
    bool empty = asked && watch->on_reserve && reserve_count(watch->settings.reserve) == 0;
    if (empty && !watch->empty_said) say_reserve(watch, "reserve.empty", LEVEL_WARNING);
    watch->empty_said = watch->empty_said || empty;
}

/* What is in journals, or has been. */
static uint64_t written(const struct disk_watch *watch) {
    const struct broker *broker = watch->settings.broker;
    uint64_t bytes = watch->settings.written;
    for (uint32_t i = 0; i < broker->shard_count; i++)
        bytes += counter_read(&broker->shards[i]->counters.journal_bytes);
    return bytes;
}

/* Makes pieces while that leaves enough, so that the reserve itself never raises the alarm. Gives
 * what is free then. */
static uint64_t keep_reserve(
    struct disk_watch *watch, uint64_t total, uint64_t free, uint64_t limit) {
    struct reserve *reserve = watch->settings.reserve;
    const struct room_rules *rules = &watch->settings.rules;
    uint32_t most = room_pieces_max(rules, total);
    uint32_t wanted = room_pieces(rules, total, written(watch));
    if (watch->on_reserve) wanted = (uint32_t)max_u64(wanted, min_u64(watch->had, most));
    uint64_t needed = room_enough(limit) + min_u64(RESERVE_PIECE_BYTES, UINT64_MAX - limit);
    int error = 0;
    bool added = false;
    while (error == 0 && reserve_count(reserve) > most)
        error = reserve_drop(reserve);
    while (error == 0 && reserve_count(reserve) < wanted && free >= needed) {
        error = reserve_add(reserve);
        if (error != 0) break;
        free -= RESERVE_PIECE_BYTES;
        added = true;
    }
    say_error(watch, "reserve.failed", error, &watch->add_error);
    if (added) say_reserve(watch, "reserve.made", LEVEL_INFO);
    watch->empty_said = watch->empty_said && !added;
    watch->pieces = reserve_count(reserve);
    if (watch->pieces >= min_u64(watch->had, most)) watch->on_reserve = false;
    return free;
}

/* ---- looking ---- */

static void look(struct disk_watch *watch, bool keeps) {
    struct broker *broker = watch->settings.broker;
    struct statvfs facts;
    int error = statvfs(watch->settings.directory, &facts) == 0 ? 0 : -errno;
    say_error(watch, "disk.unknown", error, &watch->look_error);
    watch->look_ms = LOOK_AGAIN_MS;
    if (error != 0) return;
    uint64_t total = (uint64_t)facts.f_blocks * facts.f_frsize;
    uint64_t free = (uint64_t)facts.f_bavail * facts.f_frsize;
    uint64_t limit = room_limit(&watch->settings.rules, total);
    notice_taken(watch);
    if (keeps) free = keep_reserve(watch, total, free, limit);
    bool was_low = watch->low;
    watch->low = room_is_low(was_low, free, limit);
    if (watch->low != was_low) say_room(watch, free, limit);
    atomic_store(&broker->disk_free, free);
    atomic_store(&broker->disk_limit, limit);
    bool alarm = watch->low || watch->on_reserve;
    if (atomic_exchange(&broker->disk_low, alarm) != alarm)
        watch->settings.changed(watch->settings.context);
    watch->look_ms = room_look_ms(alarm, free, limit);
}

static uint32_t look_and_keep(void *context) {
    struct disk_watch *watch = context;
    look(watch, true);
    return watch->look_ms;
}

/* ---- life ---- */

struct disk_watch *disk_watch_new(const struct disk_watch_settings *settings) {
    struct disk_watch *watch = NEW(struct disk_watch);
    watch->settings = *settings;
    watch->pieces = reserve_count(settings->reserve);
    ticker_init(&watch->ticker, "disk-watch", look_and_keep, watch);
    look(watch, false);
    return watch;
}

void disk_watch_start(struct disk_watch *watch) {
    ticker_start(&watch->ticker, 0); /* the reserve is made by the thread */
}

void disk_watch_hurry(struct disk_watch *watch) {
    ticker_hurry(&watch->ticker);
}

void disk_watch_stop(struct disk_watch *watch) {
    ticker_stop(&watch->ticker);
}

void disk_watch_free(struct disk_watch *watch) {
    if (!watch) return;
    ticker_deinit(&watch->ticker);
    mem_free(watch);
}
