/* backup: has a running broker's directory copied, one copy at a time.
 *
 *     every shard      gives no file back any more             (a visit)
 *     every shard      tells its files, and up to where they are stable   (a visit)
 *     the copier       copies them, then the definitions (store/copier.h)
 *     every shard      gives files back again                  (a visit)
 *
 * Why that is a consistent cut: what is stable when a shard is asked is in the copy, and all that
 * was confirmed before the backup was asked for is stable then. A message that moves from one
 * shard's files to another's meanwhile is in both, since no file goes between the first visit and
 * the end; and what is there twice counts once. A shard works for one look at its list of files. */
#ifndef SHARD_BACKUP_H
#define SHARD_BACKUP_H

#include "shard/shard.h"
#include "store/copier.h"

enum backup_state { BACKUP_NONE, BACKUP_RUNNING, BACKUP_DONE, BACKUP_FAILED };

enum { BACKUP_PATH_BYTES_MAX = 1024 };

/* What became of the last one, or is becoming of it. */
struct backup_report {
    enum backup_state state;
    char target[BACKUP_PATH_BYTES_MAX];
    struct copier_counts counts;
    struct copier_why why; /* of BACKUP_FAILED */
};

struct backup;

/* Belongs to the admin side. `bell` wakes it, from any thread; `source`, the node's directory, is
 * borrowed. */
struct backup *backup_new(
    struct broker *broker, const char *source, void (*bell)(void *context), void *context);

/* Begins one; none must be running. False with the reason. */
bool backup_start(struct backup *backup, const char *target, struct copier_why *ret_why);

/* Whether one is running. */
bool backup_running(const struct backup *backup);

/* Goes on when the copier is over; each turn of the admin side. */
void backup_turn(struct backup *backup);

/* The broker ends: the copier is told so, and waited for. */
void backup_stop(struct backup *backup);

/* What there is to tell. */
void backup_report(const struct backup *backup, struct backup_report *ret_report);

/* Releases it; no visit of it is under way. NULL is fine. */
void backup_free(struct backup *backup);

#endif
