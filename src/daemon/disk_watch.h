/* disk_watch: looks at the room on disk: raises the alarm, clears it, and keeps the reserve. */
#ifndef DAEMON_DISK_WATCH_H
#define DAEMON_DISK_WATCH_H

#include "daemon/room.h"
#include "shard/shard.h"
#include "store/reserve.h"

struct disk_watch;

struct disk_watch_settings {
    const char *directory; /* borrowed; whose file system is looked at */
    struct room_rules rules;
    struct broker *broker;   /* is told what there is, and whether it is enough */
    struct reserve *reserve; /* borrowed, like the broker */
    uint64_t written;        /* bytes of messages that were there at the start */
    const struct log *log;
    /* The alarm has changed: the shards have to look. Any thread. */
    void (*changed)(void *context);
    void *context;
};

/* Looks for the first time, so that the alarm is right before anybody publishes; the thread begins
 * with disk_watch_start. */
struct disk_watch *disk_watch_new(const struct disk_watch_settings *settings);

/* Goes on looking, on a thread of its own. */
void disk_watch_start(struct disk_watch *watch);

/* Have it look now: somebody has found no room. Any thread. */
void disk_watch_hurry(struct disk_watch *watch);

/* Ends the thread; the broker and its shards are still there. */
void disk_watch_stop(struct disk_watch *watch);

/* Releases the watch, which has been stopped, and whom nobody hurries any more. NULL is fine. */
void disk_watch_free(struct disk_watch *watch);

#endif
