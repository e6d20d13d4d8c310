/* mailbox: one FIFO for each ordered pair of actors (the shards and the registrar), and one from
 * each to itself, so that there is one code path and one order.
 *
 * Posting never blocks and never fails: what does not fit the ring goes to a list of the sender and
 * follows when there is room, in order. Volume is bounded at the edges, by windows. A sleeping
 * receiver is woken by one bell per sender and turn, and not at all for mail that can wait. */
#ifndef SHARD_MAILBOX_H
#define SHARD_MAILBOX_H

#include "base/base.h"
#include "base/limits.h"
#include "shard/mail.h"

struct mesh;

/* Wakes an actor that may sleep; called from the sender's thread. */
typedef void (*mesh_bell)(void *context, uint32_t actor);

/* A mesh of `actors` actors. `bell` and `context` are borrowed for its life. */
struct mesh *mesh_new(uint32_t actors, mesh_bell bell, void *context);

/* Releases the mesh. All mail must have been taken. */
void mesh_free(struct mesh *mesh);

/* A place for one piece of mail from `from` to `to`, zero-initialised by nobody: the caller fills
 * all of it at once. Only the thread of `from` may call it; the mail travels at the next
 * mesh_publish. The pointer is valid until the next call. */
struct mail *mesh_post(struct mesh *mesh, uint32_t from, uint32_t to);

/* As mesh_post, for mail that can wait: a sleeping receiver is not woken for it alone. */
struct mail *mesh_post_quietly(struct mesh *mesh, uint32_t from, uint32_t to);

/* Shows the receivers what was posted and rings the bells of those that sleep. Gives false when
 * some mail still waits for room. */
bool mesh_publish(struct mesh *mesh, uint32_t from);

/* The next piece of mail for `to` from `from`, or NULL. Valid until mesh_took. */
const struct mail *mesh_peek(struct mesh *mesh, uint32_t from, uint32_t to);
void mesh_took(struct mesh *mesh, uint32_t from, uint32_t to);

/* Gives the room of taken mail back to `from`. Once per batch. */
void mesh_release(struct mesh *mesh, uint32_t from, uint32_t to);

/* True when nothing waits for `actor`: no mail to read, and none to send that now has room. */
bool mesh_quiet(struct mesh *mesh, uint32_t actor);

/* True when no mail is under way between any two actors. Only while none of them runs. */
bool mesh_all_quiet(struct mesh *mesh);

/* Announces that `actor` is about to sleep. False when mail waits, then it must not sleep. */
bool mesh_may_sleep(struct mesh *mesh, uint32_t actor);

/* The actor is awake: no bells are needed. */
void mesh_awake(struct mesh *mesh, uint32_t actor);

/* How many actors there are. */
uint32_t mesh_actors(const struct mesh *mesh);

#endif
