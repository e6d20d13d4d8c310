/* perf: godwit-perf, the load generator: connects everybody, lets them run, and measures.
 *
 *     connect  ->  warm up  ->  measure  ->  drain  ->  compare what went in with what came out
 *
 * The main thread only looks: workers count, and two moments' counts give what lies between. */
#include "tools/perf_clock.h"
#include "tools/perf_report.h"
#include "tools/perf_topology.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/memory.h"

enum {
    DRAIN_LOOK_MS = 5,              /* how often the main thread compares the counts */
    DRAIN_IDLE_NS_MAX = 2000000000, /* nothing came for so long: nothing will */
};

struct perf {
    const struct options *options;
    struct topology topology;
    struct client admin; /* declares and asks; not there in a raw run */
    struct message *messages;
    struct ledger *ledgers; /* one per queue */
    struct producer *producers;
    struct consumer *consumers;
    uint32_t producers_open;
    uint32_t consumers_open;
    struct worker *workers;
    int notify_fd;
    int signal_fd;
    bool interrupted;
    uint64_t began_ns;
    struct sample start, begin, end, last; /* of the run, the measured time, the last second */
    struct report report;
    char error[CLIENT_ERROR_BYTES];
};

static bool perf_fail(struct perf *perf, const char *what, const char *why) {
    if (perf->report.error) return false;
    snprintf(perf->error, sizeof perf->error, "%s: %s", what, why);
    perf->report.error = perf->error;
    return false;
}

/* Through a relay a role is all there is to say. */
static bool say_role(struct client *client, const char *role) {
    return client_write(client, (const uint8_t *)role, 1) == 1;
}

static bool open_consumer(struct perf *perf, uint32_t number) {
    const struct options *options = perf->options;
    struct consumer *consumer = &perf->consumers[perf->consumers_open++];
    uint32_t queues = perf->topology.queue_count, count = 1;
    if (options->consumers < queues) {
        count = (queues - number + options->consumers - 1) / options->consumers;
    }
    bool good = consumer_open(consumer, options, count);
    uint32_t first = number % queues;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t queue = first + i * options->consumers;
        consumer_assign(consumer, i, queue, &perf->ledgers[queue]);
    }
    good = good && (!options->raw || say_role(&consumer->client, "C"));
    if (good && options->queue_count == 0 && !options->raw) {
        good = topology_declare_own(&perf->topology, &consumer->client, number);
    }
    struct worker *worker = &perf->workers[first % options->threads];
    consumer->tally = (struct consumer_tally){&worker->counters, &worker->latency};
    consumer->began_ns = perf->began_ns;
    for (uint32_t i = 0; good && !options->raw && i < count; i++) {
        const char *name = perf->topology.queues[first + i * options->consumers];
        good = consumer_subscribe(consumer, i, bytes_text(name));
    }
    worker_add_consumer(worker, consumer);
    return good || perf_fail(perf, "consumer", consumer->client.error);
}

static bool open_producer(struct perf *perf, uint32_t number) {
    const struct options *options = perf->options;
    struct producer *producer = &perf->producers[perf->producers_open++];
    bool good = producer_open(producer, options, number) &&
                (!options->raw || say_role(&producer->client, "P"));
    if (!good) return perf_fail(perf, "producer", producer->client.error);
    struct worker *worker = &perf->workers[options->threads - 1 - number % options->threads];
    producer_prepare(producer, perf->messages, perf->topology.destination_count,
        (struct producer_tally){&worker->counters, &worker->confirm_latency});
    worker_add_producer(worker, producer);
    return true;
}

static bool connect_all(struct perf *perf) {
    const struct options *options = perf->options;
    struct topology *topology = &perf->topology;
    bool good = options->raw ||
                (client_open(&perf->admin, options) && topology_declare(topology, &perf->admin));
    if (!good) return perf_fail(perf, "connecting", perf->admin.error);
    uint32_t frame_max = options->raw ? CLIENT_FRAME_MAX : perf->admin.frame_max;
    for (uint32_t i = 0; i < topology->destination_count; i++) {
        message_init(&perf->messages[i], options, topology_key(topology, i), frame_max);
    }
    for (uint32_t i = 0; i < options->consumers; i++) {
        if (!open_consumer(perf, i)) return false;
    }
    for (uint32_t i = 0; i < options->producers; i++) {
        if (!open_producer(perf, i)) return false;
    }
    return true;
}

static void perf_init(struct perf *perf, const struct options *options) {
    perf->options = options;
    perf->began_ns = clock_now_ns();
    perf->admin.fd = -1;
    topology_init(&perf->topology, options);
    perf->messages = mem_new_array(perf->topology.destination_count + 1, sizeof *perf->messages);
    perf->producers = mem_new_array(options->producers + 1, sizeof *perf->producers);
    perf->consumers = mem_new_array(options->consumers + 1, sizeof *perf->consumers);
    perf->workers = mem_new_array(options->threads, sizeof *perf->workers);
    perf->ledgers = mem_new_array(perf->topology.queue_count + 1, sizeof *perf->ledgers);
    for (uint32_t i = 0; i < perf->topology.queue_count; i++)
        ledger_init(&perf->ledgers[i], options_authors(options));
    perf->notify_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    check(perf->notify_fd >= 0);
    for (uint32_t i = 0; i < options->threads; i++) {
        worker_init(&perf->workers[i], options, perf->notify_fd);
    }
    sigset_t set;
    sigemptyset(&set);
    perf->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    check(perf->signal_fd >= 0);
}

static void perf_deinit(struct perf *perf) {
    bool failed = perf->report.error != NULL; /* what failed has been said: no words on leaving */
    perf->admin.mute = perf->admin.mute || failed;
    for (uint32_t i = 0; i < perf->producers_open; i++) {
        perf->producers[i].client.mute = perf->producers[i].client.mute || failed;
        producer_deinit(&perf->producers[i]);
    }
    for (uint32_t i = 0; i < perf->consumers_open; i++) {
        perf->consumers[i].client.mute = perf->consumers[i].client.mute || failed;
        consumer_deinit(&perf->consumers[i]);
    }
    client_close(&perf->admin);
    for (uint32_t i = 0; i < perf->options->threads; i++) {
        worker_deinit(&perf->workers[i]);
    }
    for (uint32_t i = 0; i < perf->topology.queue_count; i++) {
        ledger_deinit(&perf->ledgers[i]);
    }
    for (uint32_t i = 0; i < perf->topology.destination_count; i++) {
        message_deinit(&perf->messages[i]);
    }
    mem_free(perf->messages);
    mem_free(perf->producers);
    mem_free(perf->consumers);
    mem_free(perf->workers);
    mem_free(perf->ledgers);
    topology_deinit(&perf->topology);
    close(perf->notify_fd);
    close(perf->signal_fd);
}

/* From here on an interrupt ends the run in order. */
static void catch_signals(struct perf *perf) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    check(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    check(signalfd(perf->signal_fd, &set, 0) == perf->signal_fd);
}

/* Waits for news from the workers, a signal, or the time. */
static void await_news(struct perf *perf, uint64_t until_ns) {
    uint64_t now_ns = clock_now_ns();
    int patience_ms = until_ns > now_ns ? (int)((until_ns - now_ns + 999999) / 1000000) : 0;
    struct pollfd fds[2] = {
        {.fd = perf->notify_fd, .events = POLLIN}, {.fd = perf->signal_fd, .events = POLLIN}};
    if (poll(fds, 2, patience_ms) <= 0) return;
    uint64_t count;
    struct signalfd_siginfo info;
    if (fds[0].revents && read(perf->notify_fd, &count, sizeof count) < 0) check(errno == EAGAIN);
    if (fds[1].revents && read(perf->signal_fd, &info, sizeof info) > 0) perf->interrupted = true;
}

struct state {
    bool producers_done;
    bool consumers_done;
    bool failed;
};

static struct state look(struct perf *perf) {
    struct state state = {true, true, false};
    for (uint32_t i = 0; i < perf->options->threads; i++) {
        struct worker *worker = &perf->workers[i];
        state.producers_done = state.producers_done && atomic_load(&worker->producers_done);
        state.consumers_done = state.consumers_done && atomic_load(&worker->consumers_done);
        state.failed = state.failed || atomic_load(&worker->failed);
    }
    return state;
}

static void on_second(struct perf *perf) {
    struct sample now, second;
    sample_take(&now, perf->workers, perf->options);
    sample_between(&second, &perf->last, &now);
    perf->last = now;
    perf->report.rss_bytes_peak = max_u64(perf->report.rss_bytes_peak, now.server.rss_bytes);
    if (perf->options->quiet || second.at_ns < CLOCK_SECOND_NS / 10) return;
    report_second(perf->options, &second, now.at_ns - perf->start.at_ns);
}

/* Lets everybody run until `end_ns`; true when something else ended it. */
static bool run_until(struct perf *perf, uint64_t end_ns) {
    const struct options *options = perf->options;
    uint64_t second_ns = perf->last.at_ns + CLOCK_SECOND_NS;
    for (uint64_t now_ns; (now_ns = clock_now_ns()) < end_ns;) {
        await_news(perf, min_u64(second_ns, end_ns));
        if (clock_now_ns() >= second_ns) {
            on_second(perf);
            second_ns += CLOCK_SECOND_NS;
        }
        struct state state = look(perf);
        bool all_sent = options->pmessages != 0 && options->producers != 0 && state.producers_done;
        bool all_taken = options->cmessages != 0 && options->consumers != 0 && state.consumers_done;
        if (perf->interrupted || state.failed || all_sent || all_taken) return true;
    }
    return false;
}

/* How many queues one message goes into. */
static uint64_t copies_each(const struct perf *perf) {
    return perf->options->default_exchange ? 1 : perf->topology.queue_count;
}

/* Waits until the queues are empty, or nothing comes any more. */
static void drain(struct perf *perf) {
    uint64_t end_ns = clock_now_ns() + perf->options->drain_ns;
    uint64_t moved_ns = clock_now_ns(), count = 0;
    bool consuming = perf->options->consumers != 0 && perf->options->cmessages == 0;
    for (uint32_t i = 0; i < perf->options->threads; i++) {
        worker_enter(&perf->workers[i], WORKER_DRAIN);
    }
    for (uint64_t now_ns; (now_ns = clock_now_ns()) < end_ns;) {
        struct state state = look(perf);
        struct counters counters = {0};
        for (uint32_t i = 0; i < perf->options->threads; i++) {
            counters_merge(&counters, &perf->workers[i].counters);
        }
        uint64_t moves = counters.consumed + counters.confirmed;
        if (moves != count) moved_ns = now_ns;
        count = moves;
        bool empty = !consuming || counters.consumed >= counters.published * copies_each(perf);
        bool stuck = now_ns - moved_ns > DRAIN_IDLE_NS_MAX;
        if (state.failed || (state.producers_done && empty) || stuck) return;
        await_news(perf, now_ns + DRAIN_LOOK_MS * 1000000ull);
    }
}

static void run(struct perf *perf) {
    const struct options *options = perf->options;
    catch_signals(perf);
    sample_take(&perf->start, perf->workers, options);
    perf->last = perf->start;
    for (uint32_t i = 0; i < options->threads; i++) {
        worker_start(&perf->workers[i]);
    }
    perf->begin = perf->start;
    bool over = options->warmup_ns != 0 && run_until(perf, perf->start.at_ns + options->warmup_ns);
    if (options->warmup_ns != 0) sample_take(&perf->begin, perf->workers, options);
    uint64_t end_ns = options->time_ns == 0 ? UINT64_MAX : perf->begin.at_ns + options->time_ns;
    if (!over) over = run_until(perf, end_ns);
    /* A run that ended by time is measured up to here, one that ended by count until all is out. */
    sample_take(&perf->end, perf->workers, options);
    drain(perf);
    struct sample drained;
    sample_take(&drained, perf->workers, options);
    if (over && !perf->interrupted) perf->end = drained;
    for (uint32_t i = 0; i < options->threads; i++) {
        if (!atomic_load(&perf->workers[i].failed)) worker_enter(&perf->workers[i], WORKER_STOP);
        worker_join(&perf->workers[i]);
        if (atomic_load(&perf->workers[i].failed)) {
            perf_fail(perf, "running", perf->workers[i].error);
        }
    }
    on_second(perf);
    sample_between(&perf->report.measured, &perf->begin, &perf->end);
    sample_between(&perf->report.whole, &perf->start, &drained);
}

/* How many messages of a queue did not come out. */
static uint64_t missing_count(const struct perf *perf, uint32_t queue) {
    uint64_t missing = 0;
    uint32_t destination = perf->options->default_exchange ? queue : 0;
    for (uint32_t p = 0; p < perf->producers_open; p++) {
        uint64_t sent = perf->producers[p].sequences[destination];
        uint64_t received = perf->ledgers[queue].tracks[p].received;
        missing += sent - min_u64(sent, received);
    }
    return missing;
}

/* Compares what went in with what came out and what is left in the queues. */
static void check_losses(struct perf *perf) {
    const struct options *options = perf->options;
    struct report *report = &perf->report;
    report->checked = !report->error && options->cmessages == 0;
    if (!report->checked) return;
    uint64_t missing = 0;
    if (options->size < STAMP_BYTES) {
        uint64_t expected = report->whole.counters.published * copies_each(perf);
        uint64_t consumed = report->whole.counters.consumed;
        missing = expected - min_u64(expected, consumed);
    }
    for (uint32_t q = 0; options->size >= STAMP_BYTES && q < perf->topology.queue_count; q++) {
        missing += missing_count(perf, q);
    }
    if (missing == 0) return;
    for (uint32_t q = 0; !options->raw && q < perf->topology.queue_count; q++) {
        bool own = options->queue_count == 0;
        struct client *client = own ? &perf->consumers[q].client : &perf->admin;
        uint64_t count = 0;
        if (own) client_wait_again(client);
        if (!topology_count(&perf->topology, client, q, &count)) {
            report->checked = perf_fail(perf, "counting", client->error);
            return;
        }
        report->remaining += count;
    }
    /* What was refused or returned went into no queue; how often it would have, is known. */
    const struct counters *counters = &report->whole.counters;
    uint64_t refused = counters->nacked + counters->returned;
    uint64_t excused = report->remaining + refused * copies_each(perf);
    report->lost = missing - min_u64(missing, excused);
}

static void raise_file_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) perror("godwit-perf: raising the file limit");
}

int main(int argc, char **argv) {
    struct options *options = NEW(struct options);
    enum options_verdict verdict = options_read(options, argc, argv);
    if (verdict != OPTIONS_RUN) {
        mem_free(options);
        return verdict == OPTIONS_WRONG ? 2 : 0;
    }
    raise_file_limit();
    struct perf *perf = NEW(struct perf);
    perf_init(perf, options);
    if (connect_all(perf)) {
        run(perf);
        check_losses(perf);
    }
    report_print(options, &perf->report);
    bool good = report_is_good(&perf->report);
    perf_deinit(perf);
    mem_free(perf);
    mem_free(options);
    return good ? 0 : 1;
}
