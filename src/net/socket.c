/* socket: a connected TCP socket on a loop: level-triggered events, plain reads and writes. */
#include "net/socket.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>
#include <uv.h>

#include "base/limits.h"
#include "base/memory.h"

struct socket {
    uv_poll_t poll;
    struct loop *loop;
    const struct socket_events *events;
    void *owner;
    struct loop_guest guest;       /* of the loop, when it has much to read */
    int seen;                      /* events that have not been served */
    int wanted;                    /* events */
    bool polled;                   /* for these; not while it stands in line */
    struct list_node in_finishing; /* of the loop */
    struct farewell *farewell;     /* while it is being finished */
    int fd;
    bool closed;
};

/* The bounds of a socket that is being finished. */
struct farewell {
    uv_timer_t timer;
    struct socket *socket;
    uint64_t bytes_left;
};

/* A peer that vanished without a word is noticed by the kernel, also with heartbeats off. */
static void set_options(int fd) {
    int on = 1;
    int idle_s = 60;
    int interval_s = 10;
    int probes = 6;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof interval_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
}

static void serve(struct loop_guest *guest);

struct socket *socket_open(struct loop *loop, int fd, const struct socket_events *events) {
    set_options(fd);
    struct socket *socket = NEW(struct socket);
    if (uv_poll_init_socket(loop_uv(loop), &socket->poll, fd) != 0) {
        close(fd);
        mem_free(socket);
        return NULL;
    }
    socket->poll.data = socket;
    socket->loop = loop;
    socket->guest.serve = serve;
    socket->events = events;
    socket->fd = fd;
    return socket;
}

void socket_set_owner(struct socket *socket, void *owner) {
    socket->owner = owner;
}

static void tell_closed(struct socket *socket) {
    const struct socket_events *events = socket->events;
    void *owner = socket->owner;
    uint64_t now_ms = loop_now(socket->loop);
    socket_close(socket);
    events->on_closed(owner, now_ms);
}

/* One read per event: a fast sender takes its turn like the others. */
static void read_some(struct socket *socket) {
    uint8_t *buffer = loop_read_buffer(socket->loop);
    struct loop *loop = socket->loop;
    ssize_t size = read(socket->fd, buffer, loop_read_size(loop));
    if (size > 0) {
        socket->events->on_read(socket->owner, bytes_of(buffer, (size_t)size), loop_now(loop));
        loop_has_read(loop, (size_t)size);
        return;
    }
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
    tell_closed(socket);
    loop_has_read(loop, 0); /* it took its time, too */
}

static void on_poll(uv_poll_t *handle, int status, int events);

static void poll(struct socket *socket) {
    socket->polled = true;
    check(uv_poll_start(&socket->poll, socket->wanted, on_poll) == 0);
}

static void handle(struct socket *socket, int events) {
    if (events & UV_WRITABLE) socket->events->on_writable(socket->owner);
    if (socket->closed) return;
    if (events & UV_READABLE) {
        read_some(socket);
        return;
    }
    /* The other side is gone and nobody reads: there is nothing to wait for. */
    if (events & UV_DISCONNECT) tell_closed(socket);
}

/* Events that are not wanted any more come again when they are. */
static void serve(struct loop_guest *guest) {
    struct socket *socket = CONTAINER_OF(guest, struct socket, guest);
    int events = socket->seen & socket->wanted;
    socket->seen = 0;
    handle(socket, events);
    if (!socket->closed && !socket->farewell && !socket->polled) poll(socket);
}

static void on_poll(uv_poll_t *handle, int status, int events) {
    struct socket *socket = handle->data;
    loop_woke(socket->loop);
    if (status < 0) {
        tell_closed(socket);
        return;
    }
    socket->seen |= events;
    if (!loop_lines_up(socket->loop, &socket->guest)) {
        serve(&socket->guest);
        return;
    }
    /* It would be found ready again and again, and libuv asks up to 48 times at a stretch while it
     * finds a thousand. */
    uv_poll_stop(&socket->poll);
    socket->polled = false;
}

void socket_want(struct socket *socket, bool read, bool write) {
    socket->wanted = UV_DISCONNECT | (read ? UV_READABLE : 0) | (write ? UV_WRITABLE : 0);
    if (!list_linked(&socket->guest.in_line)) poll(socket);
}

int64_t socket_write(struct socket *socket, const struct iovec *vectors, uint32_t count) {
    struct msghdr header = {.msg_iov = (struct iovec *)(uintptr_t)vectors, .msg_iovlen = count};
    ssize_t written = sendmsg(socket->fd, &header, MSG_NOSIGNAL);
    if (written >= 0) return written;
    if (errno == EAGAIN || errno == EINTR) return 0;
    return -errno;
}

static void on_freed(uv_handle_t *handle) {
    mem_free(handle->data);
}

void socket_close(struct socket *socket) {
    check(!socket->closed);
    socket->closed = true;
    list_remove_if_linked(&socket->in_finishing);
    list_remove_if_linked(&socket->guest.in_line);
    if (socket->farewell) uv_close((uv_handle_t *)&socket->farewell->timer, on_freed);
    /* libuv lets go of the descriptor within uv_close; after close() its number may be another
     * thread's. */
    uv_close((uv_handle_t *)&socket->poll, on_freed);
    close(socket->fd);
}

/* ---- finishing ---- */

static void on_linger_over(uv_timer_t *timer) {
    struct farewell *farewell = timer->data;
    socket_close(farewell->socket);
}

static void on_leftover(uv_poll_t *handle, int status, int events) {
    struct socket *socket = handle->data;
    (void)events;
    loop_woke(socket->loop);
    ssize_t size =
        status < 0 ? -1 : read(socket->fd, loop_read_buffer(socket->loop), READ_BUFFER_BYTES);
    if (size < 0 && status >= 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (size <= 0 || (uint64_t)size >= socket->farewell->bytes_left) {
        socket_close(socket);
        return;
    }
    socket->farewell->bytes_left -= (uint64_t)size;
}

void socket_finish(struct socket *socket) {
    check(!socket->closed);
    check(!socket->farewell);
    list_remove_if_linked(&socket->guest.in_line);
    if (shutdown(socket->fd, SHUT_WR) != 0) {
        socket_close(socket);
        return;
    }
    struct farewell *farewell = NEW(struct farewell);
    farewell->socket = socket;
    farewell->bytes_left = LINGER_BYTES_MAX;
    check(uv_timer_init(loop_uv(socket->loop), &farewell->timer) == 0);
    farewell->timer.data = farewell;
    socket->farewell = farewell;
    list_put_last(loop_finishing(socket->loop), &socket->in_finishing);
    uv_timer_start(&farewell->timer, on_linger_over, LINGER_MS_MAX, 0);
    check(uv_poll_start(&socket->poll, UV_READABLE, on_leftover) == 0);
}

void socket_close_finishing(struct loop *loop) {
    list_for_safe (struct socket, socket, loop_finishing(loop), in_finishing) {
        socket_close(socket);
    }
}
