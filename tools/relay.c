/* relay: godwit-relay, the yardstick: passes bytes from TCP connections to TCP connections.
 *
 * What a broker has to do at the least is to read everything once and to write everything once per
 * receiver. This program does that and nothing else, so that its cost per message, measured with
 * the same generator (godwit-perf --raw), is the floor that no broker over sockets can go below.
 *
 *     source --> read --> buffer --> write --> each sink
 *
 * The first byte of a connection is its role: P gives, C takes. Nothing more is read until all
 * sinks have taken what was read before. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/base.h"
#include "base/memory.h"
#include "base/str.h"

enum {
    RELAY_BUFFER_BYTES = 256 * 1024, /* as the broker's read buffer */
    RELAY_CLIENTS_MAX = 1024,
    RELAY_EVENTS_MAX = 64,
};

enum relay_role { ROLE_UNKNOWN, ROLE_SOURCE, ROLE_SINK };

struct relay_client {
    int fd; /* -1: free place */
    enum relay_role role;
    uint32_t events;
    size_t written; /* bytes of the buffer that this sink has taken */
};

struct relay {
    int epoll_fd;
    int listener_fd;
    struct relay_client clients[RELAY_CLIENTS_MAX];
    uint32_t sinks;
    uint32_t behind; /* sinks that have not taken everything */
    size_t size;     /* bytes in the buffer */
    uint8_t buffer[RELAY_BUFFER_BYTES];
};

static int open_listener(const char *text) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    const char *colon = strrchr(text, ':');
    char host[64];
    uint64_t port;
    if (!colon || (size_t)(colon - text) >= sizeof host ||
        !str_to_u64(bytes_text(colon + 1), &port) || port > 65535) {
        return -EINVAL;
    }
    str_format(host, sizeof host, "%.*s", (int)(colon - text), text);
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1) return -EINVAL;
    address.sin_port = htons((uint16_t)port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return -errno;
    int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && listen(fd, 128) == 0) {
        return fd;
    }
    int error = errno;
    close(fd);
    return -error;
}

static void want(struct relay *relay, uint32_t number, uint32_t events) {
    struct relay_client *client = &relay->clients[number];
    if (client->events == events) return;
    client->events = events;
    struct epoll_event event = {.events = events, .data.u32 = number};
    check(epoll_ctl(relay->epoll_fd, EPOLL_CTL_MOD, client->fd, &event) == 0);
}

/* Sources are read only while there is somebody to take it and nobody is behind. */
static void tell_sources(struct relay *relay) {
    bool reading = relay->behind == 0 && relay->sinks != 0;
    for (uint32_t i = 0; i < RELAY_CLIENTS_MAX; i++) {
        struct relay_client *client = &relay->clients[i];
        if (client->fd >= 0 && client->role == ROLE_SOURCE) want(relay, i, reading ? EPOLLIN : 0);
    }
}

static void drop(struct relay *relay, uint32_t number) {
    struct relay_client *client = &relay->clients[number];
    if (client->role == ROLE_SINK) {
        relay->sinks--;
        if (client->written < relay->size) relay->behind--;
    }
    close(client->fd);
    client->fd = -1;
    tell_sources(relay);
}

static void accept_client(struct relay *relay) {
    int fd = accept4(relay->listener_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    uint32_t number = 0;
    while (number < RELAY_CLIENTS_MAX && relay->clients[number].fd >= 0) {
        number++;
    }
    if (number == RELAY_CLIENTS_MAX) {
        close(fd);
        return;
    }
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    relay->clients[number] = (struct relay_client){.fd = fd, .events = EPOLLIN};
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = number};
    check(epoll_ctl(relay->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0);
}

static void learn_role(struct relay *relay, uint32_t number) {
    struct relay_client *client = &relay->clients[number];
    char letter;
    ssize_t got = recv(client->fd, &letter, 1, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got != 1 || (letter != 'P' && letter != 'C')) {
        drop(relay, number);
        return;
    }
    client->role = letter == 'P' ? ROLE_SOURCE : ROLE_SINK;
    client->written = relay->size;
    if (client->role == ROLE_SINK) relay->sinks++;
    tell_sources(relay);
}

/* Writes what the sink has not taken yet. True when it has taken everything, or is gone. */
static bool write_sink(struct relay *relay, uint32_t number) {
    struct relay_client *client = &relay->clients[number];
    ssize_t done = send(
        client->fd, relay->buffer + client->written, relay->size - client->written, MSG_NOSIGNAL);
    if (done < 0 && errno != EAGAIN && errno != EINTR) {
        drop(relay, number);
        return true;
    }
    if (done > 0) client->written += (size_t)done;
    bool whole = client->written == relay->size;
    want(relay, number, whole ? EPOLLIN : EPOLLOUT);
    return whole;
}

static void read_source(struct relay *relay, uint32_t number) {
    if (relay->behind != 0) return;
    ssize_t got = recv(relay->clients[number].fd, relay->buffer, RELAY_BUFFER_BYTES, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
        drop(relay, number);
        return;
    }
    relay->size = (size_t)got;
    relay->behind = relay->sinks;
    for (uint32_t i = 0; i < RELAY_CLIENTS_MAX; i++) {
        struct relay_client *client = &relay->clients[i];
        if (client->fd < 0 || client->role != ROLE_SINK) continue;
        client->written = 0;
        bool was_there = write_sink(relay, i);
        if (was_there && client->fd >= 0) relay->behind--;
    }
    if (relay->behind != 0) tell_sources(relay);
}

static void on_sink(struct relay *relay, uint32_t number, uint32_t events) {
    struct relay_client *client = &relay->clients[number];
    bool was_behind = client->written < relay->size;
    if (was_behind && events & EPOLLOUT) {
        bool whole = write_sink(relay, number);
        if (whole && client->fd >= 0 && --relay->behind == 0) tell_sources(relay);
        return;
    }
    char byte; /* a sink says nothing: this is its end */
    if (recv(client->fd, &byte, 1, 0) == 0 || events & (EPOLLHUP | EPOLLERR)) drop(relay, number);
}

static void on_event(struct relay *relay, const struct epoll_event *event) {
    uint32_t number = event->data.u32;
    if (number == RELAY_CLIENTS_MAX) {
        accept_client(relay);
        return;
    }
    struct relay_client *client = &relay->clients[number];
    if (client->fd < 0) return;
    switch (client->role) {
    case ROLE_UNKNOWN: learn_role(relay, number); return;
    case ROLE_SOURCE: read_source(relay, number); return;
    case ROLE_SINK: on_sink(relay, number, event->events); return;
    }
}

int main(int argc, char **argv) {
    if (argc != 3 || strcmp(argv[1], "--listen") != 0) {
        fputs("usage: godwit-relay --listen ADDR:PORT   (until it is terminated)\n", stderr);
        return 2;
    }
    struct relay *relay = NEW(struct relay);
    for (uint32_t i = 0; i < RELAY_CLIENTS_MAX; i++) {
        relay->clients[i].fd = -1;
    }
    relay->listener_fd = open_listener(argv[2]);
    if (relay->listener_fd < 0) {
        fprintf(stderr, "godwit-relay: %s: %s\n", argv[2], strerror(-relay->listener_fd));
        mem_free(relay);
        return 1;
    }
    relay->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    check(relay->epoll_fd >= 0);
    struct epoll_event listening = {.events = EPOLLIN, .data.u32 = RELAY_CLIENTS_MAX};
    check(epoll_ctl(relay->epoll_fd, EPOLL_CTL_ADD, relay->listener_fd, &listening) == 0);
    fputs("ready\n", stderr);
    for (;;) {
        struct epoll_event events[RELAY_EVENTS_MAX];
        int count = epoll_wait(relay->epoll_fd, events, RELAY_EVENTS_MAX, -1);
        check(count >= 0 || errno == EINTR);
        for (int i = 0; i < count; i++) {
            on_event(relay, &events[i]);
        }
    }
}
