/* perf_worker: a thread that runs some of the producers and consumers. */
#include "tools/perf_worker.h"

#include "tools/perf_clock.h"

#include <errno.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/str.h"

enum { EVENTS_MAX = 256 };

/* What an event is about: the kind in the upper half, the number in the lower. */
enum { KIND_WAKE, KIND_PRODUCER, KIND_CONSUMER };

static uint64_t mark_of(uint32_t kind, uint32_t number) {
    return (uint64_t)kind << 32 | number;
}

void worker_init(struct worker *worker, const struct options *options, int notify_fd) {
    *worker = (struct worker){.options = options, .notify_fd = notify_fd};
    worker->producers = mem_new_array(options->producers + 1, sizeof *worker->producers);
    worker->consumers = mem_new_array(options->consumers + 1, sizeof *worker->consumers);
    worker->producer_events = mem_new_array(options->producers + 1, sizeof(uint32_t));
    worker->consumer_events = mem_new_array(options->consumers + 1, sizeof(uint32_t));
    worker->producer_due_ns = mem_new_array(options->producers + 1, sizeof(uint64_t));
    worker->consumer_due_ns = mem_new_array(options->consumers + 1, sizeof(uint64_t));
    worker->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    worker->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    check(worker->epoll_fd >= 0);
    check(worker->wake_fd >= 0);
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = mark_of(KIND_WAKE, 0)};
    check(epoll_ctl(worker->epoll_fd, EPOLL_CTL_ADD, worker->wake_fd, &event) == 0);
}

void worker_deinit(struct worker *worker) {
    close(worker->epoll_fd);
    close(worker->wake_fd);
    mem_free(worker->producers);
    mem_free(worker->consumers);
    mem_free(worker->producer_events);
    mem_free(worker->consumer_events);
    mem_free(worker->producer_due_ns);
    mem_free(worker->consumer_due_ns);
}

void worker_add_producer(struct worker *worker, struct producer *producer) {
    worker->producers[worker->producer_count++] = producer;
}

void worker_add_consumer(struct worker *worker, struct consumer *consumer) {
    worker->consumers[worker->consumer_count++] = consumer;
}

static void signal_fd(int fd) {
    uint64_t one = 1;
    ssize_t done = write(fd, &one, sizeof one);
    check(done == (ssize_t)sizeof one || errno == EAGAIN);
}

static void raise_flag(struct worker *worker, atomic_bool *flag) {
    if (atomic_exchange(flag, true)) return;
    signal_fd(worker->notify_fd);
}

static bool give_up(struct worker *worker, const char *error) {
    str_format(worker->error, sizeof worker->error, "%s", error);
    return false;
}

static bool is_ending(struct worker *worker) {
    return atomic_load_explicit(&worker->phase, memory_order_relaxed) != WORKER_RUN;
}

/* Asks epoll for other events of a socket, if they are others. */
static void want(struct worker *worker, int fd, uint64_t mark, uint32_t *asked, uint32_t events) {
    if (*asked == events) return;
    struct epoll_event event = {.events = events, .data.u64 = mark};
    check(epoll_ctl(worker->epoll_fd, EPOLL_CTL_MOD, fd, &event) == 0);
    *asked = events;
}

static bool turn_producer(struct worker *worker, uint32_t i, bool readable, uint64_t now_ns) {
    struct producer *producer = worker->producers[i];
    bool ending = is_ending(worker);
    if ((readable && !producer_on_readable(producer)) ||
        !producer_publish(producer, now_ns, ending)) {
        return give_up(worker, producer->client.error);
    }
    worker->producer_due_ns[i] = ending ? UINT64_MAX : producer_due_ns(producer);
    uint32_t events = EPOLLIN | (producer_wants_to_write(producer, ending) ? EPOLLOUT : 0u);
    want(worker, producer->client.fd, mark_of(KIND_PRODUCER, i), &worker->producer_events[i],
        events);
    return true;
}

static bool turn_consumer(struct worker *worker, uint32_t i, bool readable, uint64_t now_ns) {
    struct consumer *consumer = worker->consumers[i];
    bool ending = is_ending(worker), good = true;
    if (consumer_due_ns(consumer, ending) > now_ns) {
        good = client_flush(&consumer->client);
    } else if (readable) {
        good = consumer_on_readable(consumer, ending);
    } else {
        good = consumer_take(consumer, ending);
    }
    if (!good) return give_up(worker, consumer->client.error);
    if (worker->options->raw && worker->options->confirm != 0) {
        producer_on_returned(worker->producers[0], consumer->consumed, consumer->now_ns);
        if (!turn_producer(worker, 0, false, consumer->now_ns)) return false;
    }
    uint64_t due_ns = consumer_due_ns(consumer, ending);
    bool waiting = due_ns > now_ns;
    worker->consumer_due_ns[i] = waiting ? due_ns : UINT64_MAX;
    uint32_t events =
        (waiting ? 0u : EPOLLIN) | (client_has_output(&consumer->client) ? EPOLLOUT : 0u);
    want(worker, consumer->client.fd, mark_of(KIND_CONSUMER, i), &worker->consumer_events[i],
        events);
    return true;
}

static bool on_event(struct worker *worker, const struct epoll_event *event, uint64_t now_ns) {
    uint32_t number = (uint32_t)event->data.u64;
    bool readable = (event->events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0;
    switch (event->data.u64 >> 32) {
    case KIND_PRODUCER: return turn_producer(worker, number, readable, now_ns);
    case KIND_CONSUMER: return turn_consumer(worker, number, readable, now_ns);
    default: break;
    }
    uint64_t count;
    check(read(worker->wake_fd, &count, sizeof count) == (ssize_t)sizeof count);
    for (uint32_t i = 0; i < worker->producer_count; i++) {
        if (!turn_producer(worker, i, false, now_ns)) return false;
    }
    for (uint32_t i = 0; i < worker->consumer_count; i++) {
        if (!turn_consumer(worker, i, false, now_ns)) return false;
    }
    return true;
}

/* Runs everybody whose time has come, where there is a pace. */
static bool on_time(struct worker *worker, uint64_t now_ns) {
    for (uint32_t i = 0; worker->options->rate != 0 && i < worker->producer_count; i++) {
        bool due = worker->producer_due_ns[i] <= now_ns;
        if (due && !turn_producer(worker, i, false, now_ns)) return false;
    }
    for (uint32_t i = 0; worker->options->consumer_rate != 0 && i < worker->consumer_count; i++) {
        bool due = worker->consumer_due_ns[i] <= now_ns;
        if (due && !turn_consumer(worker, i, false, now_ns)) return false;
    }
    return true;
}

/* The earliest moment at which on_time has something to do. */
static uint64_t next_due_ns(const struct worker *worker) {
    uint64_t due_ns = UINT64_MAX;
    for (uint32_t i = 0; worker->options->rate != 0 && i < worker->producer_count; i++) {
        due_ns = min_u64(due_ns, worker->producer_due_ns[i]);
    }
    for (uint32_t i = 0; worker->options->consumer_rate != 0 && i < worker->consumer_count; i++) {
        due_ns = min_u64(due_ns, worker->consumer_due_ns[i]);
    }
    return due_ns;
}

static int await_events(struct worker *worker, struct epoll_event *events) {
    uint64_t due_ns = next_due_ns(worker);
    struct timespec patience = {0}, *timeout = NULL;
    if (due_ns != UINT64_MAX) {
        uint64_t now_ns = clock_now_ns();
        uint64_t left_ns = due_ns > now_ns ? due_ns - now_ns : 0;
        patience.tv_sec = (time_t)(left_ns / CLOCK_SECOND_NS);
        patience.tv_nsec = (long)(left_ns % CLOCK_SECOND_NS);
        timeout = &patience;
    }
    int count = epoll_pwait2(worker->epoll_fd, events, EVENTS_MAX, timeout, NULL);
    check(count >= 0 || errno == EINTR);
    return count;
}

static void notice_done(struct worker *worker) {
    bool ending = is_ending(worker), producers = true, consumers = true;
    if (!ending && worker->options->pmessages == 0 && worker->options->cmessages == 0) return;
    for (uint32_t i = 0; producers && i < worker->producer_count; i++) {
        producers = producer_is_done(worker->producers[i], ending);
    }
    for (uint32_t i = 0; consumers && i < worker->consumer_count; i++) {
        consumers = consumer_due_ns(worker->consumers[i], ending) == UINT64_MAX;
    }
    if (producers) raise_flag(worker, &worker->producers_done);
    if (consumers) raise_flag(worker, &worker->consumers_done);
}

static bool run(struct worker *worker) {
    struct epoll_event events[EVENTS_MAX];
    while (atomic_load(&worker->phase) != WORKER_STOP) {
        int count = await_events(worker, events);
        uint64_t now_ns = clock_now_ns();
        for (int i = 0; i < count; i++) {
            if (!on_event(worker, &events[i], now_ns)) return false;
        }
        if (!on_time(worker, now_ns)) return false;
        notice_done(worker);
    }
    for (uint32_t i = 0; i < worker->consumer_count; i++) {
        struct client *client = &worker->consumers[i]->client;
        if (!consumer_ack_rest(worker->consumers[i])) return give_up(worker, client->error);
    }
    return true;
}

static void *run_thread(void *context) {
    struct worker *worker = context;
    prctl(PR_SET_TIMERSLACK, 1);
    if (!run(worker)) raise_flag(worker, &worker->failed);
    return NULL;
}

void worker_start(struct worker *worker) {
    uint64_t now_ns = clock_now_ns();
    for (uint32_t i = 0; i < worker->producer_count; i++) {
        struct producer *producer = worker->producers[i];
        client_stop_waiting(&producer->client);
        producer_start(producer, now_ns);
        worker->producer_events[i] = EPOLLIN;
        struct epoll_event event = {.events = EPOLLIN, .data.u64 = mark_of(KIND_PRODUCER, i)};
        check(epoll_ctl(worker->epoll_fd, EPOLL_CTL_ADD, producer->client.fd, &event) == 0);
    }
    for (uint32_t i = 0; i < worker->consumer_count; i++) {
        struct client *client = &worker->consumers[i]->client;
        client_stop_waiting(client);
        worker->consumer_events[i] = EPOLLIN;
        struct epoll_event event = {.events = EPOLLIN, .data.u64 = mark_of(KIND_CONSUMER, i)};
        check(epoll_ctl(worker->epoll_fd, EPOLL_CTL_ADD, client->fd, &event) == 0);
    }
    signal_fd(worker->wake_fd); /* the first turn gets everybody going */
    check(pthread_create(&worker->thread, NULL, run_thread, worker) == 0);
}

void worker_enter(struct worker *worker, enum worker_phase phase) {
    atomic_store(&worker->phase, (int)phase);
    signal_fd(worker->wake_fd);
}

void worker_join(struct worker *worker) {
    check(pthread_join(worker->thread, NULL) == 0);
}
