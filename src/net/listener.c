/* listener: accepting TCP connections. */
#include "net/listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "base/memory.h"
#include "base/str.h"

enum {
    LISTEN_BACKLOG = 4096,
    ACCEPTS_PER_EVENT = 64, /* then the others have their turn */
    RETRY_MS = 100          /* after running out of descriptors */
};

struct listener {
    uv_poll_t poll;
    uv_timer_t retry;
    struct loop *loop;
    const struct listener_events *events;
    void *owner;
    int fd;
    int open_handles;
};

/* Splits "ADDRESS:PORT" at the last colon; brackets around an IPv6 address are taken off. */
static bool split_address(
    const char *address, char *host, size_t host_size, const char **ret_port) {
    const char *colon = strrchr(address, ':');
    if (!colon || colon[1] == 0) return false;
    size_t size = (size_t)(colon - address);
    if (size >= 2 && address[0] == '[' && address[size - 1] == ']') {
        address++;
        size -= 2;
    }
    if (size == 0 || size >= host_size) return false;
    bytes_copy(host, address, size);
    host[size] = 0;
    *ret_port = colon + 1;
    return true;
}

static int bind_one(const struct addrinfo *info, int *ret_fd) {
    int fd = socket(info->ai_family, info->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, info->ai_addr, info->ai_addrlen) != 0 || listen(fd, LISTEN_BACKLOG) != 0) {
        int error = -errno;
        close(fd);
        return error;
    }
    *ret_fd = fd;
    return 0;
}

int listener_bind(const char *address, int *ret_fd) {
    char host[256];
    const char *port = NULL;
    if (!split_address(address, host, sizeof host, &port)) return -EINVAL;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    if (getaddrinfo(host, port, &hints, &found) != 0) return -EINVAL;
    int error = bind_one(found, ret_fd);
    freeaddrinfo(found);
    return error;
}

static bool is_loopback(const struct sockaddr_storage *address) {
    if (address->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)address;
        return (ntohl(in->sin_addr.s_addr) >> 24) == 127;
    }
    const struct sockaddr_in6 *in6 = (const void *)address;
    if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) return in6->sin6_addr.s6_addr[12] == 127;
    return IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr);
}

static void accepted(struct listener *listener, int fd, const struct sockaddr_storage *address) {
    char host[INET6_ADDRSTRLEN] = "?";
    uint16_t port = 0;
    if (address->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)address;
        inet_ntop(AF_INET, &in->sin_addr, host, sizeof host);
        port = ntohs(in->sin_port);
    } else {
        const struct sockaddr_in6 *in6 = (const void *)address;
        inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof host);
        port = ntohs(in6->sin6_port);
    }
    char peer[64];
    str_format(peer, sizeof peer, "%s:%u", host, port);
    listener->events->accepted(listener->owner, fd, peer, is_loopback(address));
}

static void on_acceptable(uv_poll_t *handle, int status, int events);

static void on_retry(uv_timer_t *timer) {
    struct listener *listener = timer->data;
    uv_poll_start(&listener->poll, UV_READABLE, on_acceptable);
}

static void on_acceptable(uv_poll_t *handle, int status, int events) {
    struct listener *listener = handle->data;
    (void)events;
    loop_woke(listener->loop);
    if (status < 0) return;
    for (int i = 0; i < ACCEPTS_PER_EVENT; i++) {
        struct sockaddr_storage address;
        socklen_t size = sizeof address;
        int fd =
            accept4(listener->fd, (struct sockaddr *)&address, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            accepted(listener, fd, &address);
            continue;
        }
        if (errno == EAGAIN) return;
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            listener->events->failed(listener->owner, errno);
            uv_poll_stop(&listener->poll);
            uv_timer_start(&listener->retry, on_retry, RETRY_MS, 0);
            return;
        }
        /* ECONNABORTED and the like: that one is gone, the next may be fine. */
    }
}

struct listener *listener_start(
    struct loop *loop, int fd, const struct listener_events *events, void *owner) {
    struct listener *listener = NEW(struct listener);
    listener->loop = loop;
    listener->events = events;
    listener->owner = owner;
    listener->fd = fd;
    listener->open_handles = 2;
    check(uv_poll_init_socket(loop_uv(loop), &listener->poll, fd) == 0);
    check(uv_timer_init(loop_uv(loop), &listener->retry) == 0);
    listener->poll.data = listener;
    listener->retry.data = listener;
    check(uv_poll_start(&listener->poll, UV_READABLE, on_acceptable) == 0);
    return listener;
}

static void on_handle_closed(uv_handle_t *handle) {
    struct listener *listener = handle->data;
    if (--listener->open_handles == 0) mem_free(listener);
}

void listener_close(struct listener *listener) {
    uv_close((uv_handle_t *)&listener->poll, on_handle_closed);
    uv_close((uv_handle_t *)&listener->retry, on_handle_closed);
    close(listener->fd);
}
