/* copier: makes a copy of a node's directory while its broker runs, on a thread of its own.
 *
 *      copier_new       DIR.part is made
 *      copier_add       every file of every journal's chain, up to where it is stable
 *      copier_add_kept  every journal file that is kept in place
 *      copier_start     journal files are copied, segments linked, then definitions copied;
 *                       all of it stable, DIR.part becomes DIR
 *      copier_over      from then on there is a result
 *
 * While it works no journal file may be released and no segment removed. Journal files are copied
 * and not linked, because a file that is released is written again in place; segments and files
 * that are kept in place, which never are, get a second name where the file system is the same.
 * Definitions come last, so that every queue of which there are messages has its own, or has been
 * deleted meanwhile. */
#ifndef STORE_COPIER_H
#define STORE_COPIER_H

#include "store/journal.h"

enum { COPIER_WHY_BYTES = 512 };

/* Why there is no copy, for people. */
struct copier_why {
    char text[COPIER_WHY_BYTES];
};

struct copier_settings {
    const char *source;          /* the node's directory */
    const char *target;          /* absolute; must not be there, or be empty */
    void (*bell)(void *context); /* called once, on the copier's thread: it is over */
    void *context;
};

struct copier;

/* Makes the directory that it will work in. NULL with the reason; then nothing was made. */
struct copier *copier_new(const struct copier_settings *settings, struct copier_why *ret_why);

/* Adds a file of a writer's chain; those of one writer in order, and one after the other. */
void copier_add(struct copier *copier, uint16_t writer, const struct journal_piece *piece);

/* Adds a journal file that is kept in place and never written again, as a segment. */
void copier_add_kept(struct copier *copier, const char name[DISK_NAME_BYTES_MAX]);

/* Begins. False, and over as if it had failed, when it was cancelled before or there is no thread
 * to be had. */
bool copier_start(struct copier *copier);

/* Waits until it is over. */
void copier_wait(struct copier *copier);

/* Whether it has ended, well or not. */
bool copier_over(const struct copier *copier);

/* Asks it to end early, which is a failure. */
void copier_cancel(struct copier *copier);

struct copier_counts {
    uint64_t files;
    uint64_t bytes;  /* copied */
    uint64_t linked; /* files that have only got a second name */
};

/* What has been done so far. */
struct copier_counts copier_counts(const struct copier *copier);

/* Once it is over: why it failed, or NULL when there is a copy. Borrowed. */
const char *copier_failure(const struct copier *copier);

/* Releases it, waiting for its end. What it made of a copy that failed or was
 * never begun is removed. NULL is fine. */
void copier_free(struct copier *copier);

#endif
