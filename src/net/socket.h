/* socket: a connected TCP socket on a loop: level-triggered events, plain reads and writes. */
#ifndef NET_SOCKET_H
#define NET_SOCKET_H

#include <sys/socket.h>
#include <sys/uio.h>

#include "net/loop.h"

struct socket;

/* What the owner is told, on the loop's thread. After on_closed the socket is gone. */
struct socket_events {
    void (*on_read)(void *owner, struct bytes bytes, uint64_t now_ms);
    void (*on_writable)(void *owner);
    void (*on_closed)(void *owner, uint64_t now_ms);
};

/* Takes a connected descriptor: non-blocking, no delay, keepalive. Nothing is read until
 * socket_want. NULL (and the descriptor closed) when the loop cannot watch it. */
struct socket *socket_open(struct loop *loop, int fd, const struct socket_events *events);

/* Who is told the events; borrowed for the socket's life. */
void socket_set_owner(struct socket *socket, void *owner);

/* Which events the owner wants. The end of the connection is always told. */
void socket_want(struct socket *socket, bool read, bool write);

/* Writes what it can: bytes taken, 0 when the kernel has no room, -errno when it failed. */
int64_t socket_write(struct socket *socket, const struct iovec *vectors, uint32_t count);

/* Closes and releases; nothing is told any more. Also allowed within on_read. */
void socket_close(struct socket *socket);

/* Ends our side and lets the other read to its end: what still arrives is read and thrown away
 * until it closes too, for LINGER_MS_MAX and LINGER_BYTES_MAX at most. Closing at once would answer
 * those bytes with a reset, which destroys what the other has not read yet. Nothing is told any
 * more. */
void socket_finish(struct socket *socket);

/* Closes all sockets of a loop that are being finished; before loop_free. */
void socket_close_finishing(struct loop *loop);

#endif
