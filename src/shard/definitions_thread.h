/* definitions_thread: definitions in meta.db, committed by a thread of their own. */
#ifndef SHARD_DEFINITIONS_THREAD_H
#define SHARD_DEFINITIONS_THREAD_H

#include "shard/definitions.h"

struct definitions_thread;
struct reserve;

/* A thread that waits for commits. `bell` is called on it when one has ended, to wake the
 * registrar. Takes the metadata. The reserve, from which a commit that finds no room gets some, is
 * borrowed; it may be NULL. */
struct definitions_thread *definitions_thread_new(
    struct metadata *metadata, struct reserve *reserve, void (*bell)(void *context), void *context);

/* Ends the thread after the commit that is under way, and closes the metadata. */
void definitions_thread_free(struct definitions_thread *thread);

/* The seam; borrowed. */
struct definitions *definitions_thread_seam(struct definitions_thread *thread);

/* Waits until no commit is under way. Of the thread that begins them. */
void definitions_thread_wait(struct definitions_thread *thread);

#endif
