/* listener: accepting TCP connections on a loop. */
#ifndef NET_LISTENER_H
#define NET_LISTENER_H

#include "net/loop.h"

struct listener;

/* Called for each accepted descriptor, which it takes. `peer` is "ADDRESS:PORT". */
typedef void (*listener_accepted)(void *owner, int fd, const char *peer, bool loopback);

/* Called when accepting fails for want of descriptors or memory (error is an errno); accepting
 * goes on 100 ms later. */
typedef void (*listener_failed)(void *owner, int error);

struct listener_events {
    listener_accepted accepted;
    listener_failed failed;
};

/* Binds and listens on "ADDRESS:PORT" ("[::1]:5672" for IPv6). Gives 0 or -errno; -EINVAL for an
 * address that cannot be read. Accepting starts with listener_start on the loop's thread. */
int listener_bind(const char *address, int *ret_fd) MUST_USE;

/* Takes the descriptor. `events` and `owner` are borrowed. */
struct listener *listener_start(
    struct loop *loop, int fd, const struct listener_events *events, void *owner);

/* Stops accepting and releases; the loop's thread. */
void listener_close(struct listener *listener);

#endif
