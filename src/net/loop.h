/* loop: one thread's libuv loop around an actor that works in turns.
 *
 *     poll: sockets call back  ->  turn  ->  (more work? poll without waiting)  ->  may it sleep?
 *
 * Knows bytes and time, not AMQP. */
#ifndef NET_LOOP_H
#define NET_LOOP_H

#include "base/base.h"
#include "base/list.h"

struct durations;
struct loop;
struct uv_loop_s;

/* The actor's side. All run on the loop's thread. */
struct loop_actor {
    bool (*turn)(void *actor, uint64_t now_ms); /* true: come back without sleeping */
    bool (*may_sleep)(void *actor);             /* announces sleep; false: mail waits */
    void (*awake)(void *actor);
    uint64_t (*next_deadline)(void *actor); /* ms; UINT64_MAX for none */
};

/* `callbacks` and `actor` are borrowed for the loop's life. */
struct loop *loop_new(const struct loop_actor *callbacks, void *actor);
void loop_free(struct loop *loop);

/* Counts in `turns`, which is borrowed, how long the loop's turns take: from waking, callbacks of
 * sockets included, until it waits again or the next turn begins. */
void loop_measure(struct loop *loop, struct durations *turns);

/* A callback of a handle of the loop begins: the loop has woken, unless it has before. */
void loop_woke(struct loop *loop);

/* ---- taking turns at being read
 *
 * When many send at once, the loop stops reading after a while: who is left waits, in the order of
 * coming, and is served before the next turn. Who has something new then stands in line behind. So
 * turns are short whatever comes, and everybody is read in turn. */

/* Somebody who can stand in line; `serve` is called once, out of it. */
struct loop_guest {
    struct list_node in_line; /* remove it when there is nothing to serve any more */
    void (*serve)(struct loop_guest *guest);
};

/* False when the guest may be served now; else it stands in line. */
bool loop_lines_up(struct loop *loop, struct loop_guest *guest);

/* How many bytes may be read at once: less when they took long before. */
size_t loop_read_size(const struct loop *loop);

/* A guest has been served, and so much was read. */
void loop_has_read(struct loop *loop, size_t size);

/* Runs until loop_end. */
void loop_run(struct loop *loop);

/* Wakes the loop; any thread. */
void loop_bell(struct loop *loop);

/* Lets loop_run return after this iteration; the loop's own thread. */
void loop_end(struct loop *loop);

/* Milliseconds of a clock that only goes forward, read once per iteration. */
uint64_t loop_now(const struct loop *loop);

/* The libuv loop itself, for the handles of this folder. */
struct uv_loop_s *loop_uv(struct loop *loop);

/* The sockets that are being finished (net/socket.c). */
struct list *loop_finishing(struct loop *loop);

/* The loop's buffer for reading: READ_BUFFER_BYTES, used within one callback. */
uint8_t *loop_read_buffer(struct loop *loop);

#endif
