/* server: the running broker: its threads, listeners, and its end.
 *
 *     main thread    the registrar's loop, and signals
 *     definitions    commits what the registrar has gathered (shard/definitions_thread.h)
 *     shard threads  one loop each; the first one also accepts
 *     admin thread   HTTP (src/admin)
 *     disk watch     looks at the room on disk (daemon/disk_watch.h)
 *     memory watch   looks at what is resident (daemon/memory_watch.h)
 */
#include "daemon/server.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include "admin/admin.h"
#include "base/memory.h"
#include "base/str.h"
#include "daemon/config.h"
#include "daemon/disk_watch.h"
#include "daemon/memory_watch.h"
#include "daemon/store.h"
#include "net/listener.h"
#include "net/socket.h"
#include "shard/client.h"
#include "shard/definitions_thread.h"
#include "shard/registrar.h"

enum {
    STOP_GRACE_MS = 5000, /* for clients to answer connection.close */
    STOP_LOOK_MS = 20,    /* how often the end is looked for while stopping */
    KEEP_LOOK_US = 200,   /* the same for journals */
    KEEP_TRIES_MAX = 50000
};

/* One shard's thread. */
struct worker {
    struct server *server;
    struct shard *shard;
    struct loop *loop;
    struct shard_io io;
    pthread_t thread;
    struct visit stop; /* sent by the main thread, each once */
    struct visit end;
};

struct server {
    const struct log *log;
    struct broker *broker;
    struct registrar *registrar;
    struct definitions_thread *definitions;
    struct reserve *reserve;
    struct store *store;
    struct disk_watch *disk_watch;
    struct memory_watch *memory_watch;
    struct admin *admin;
    struct loop *loop; /* the registrar's */
    struct worker *workers;
    int listener_fds[LISTENERS_MAX];
    struct listener *listeners[LISTENERS_MAX];
    uint32_t listener_count;
    uv_signal_t signals[3];
    uv_timer_t stop_timer;
    uint64_t stop_deadline_ms;
    bool stopping;
    struct log_budget accept_log; /* shard 0's thread */
    void (*on_reload)(void *context);
    void *reload_context;
};

/* What the accepting shard hands to another one. */
struct accepted {
    int fd;
    bool loopback;
    char peer[64];
};

/* ---- a shard's outside: sockets ---- */

static int64_t io_write(void *socket, const struct iovec *vectors, uint32_t count) {
    return socket_write(socket, vectors, count);
}

static void io_want(void *socket, bool read, bool write) {
    socket_want(socket, read, write);
}

static void io_close(void *socket) {
    socket_close(socket);
}

static void io_finish(void *socket) {
    socket_finish(socket);
}

static void io_random(void *context, uint8_t *data, size_t size) {
    (void)context;
    while (size > 0) {
        ssize_t got = getrandom(data, size, 0);
        if (got < 0 && errno == EINTR) continue;
        check(got > 0);
        data += got;
        size -= (size_t)got;
    }
}

static uint64_t io_wall_ms(void *context) {
    (void)context;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static uint64_t io_time_ns(void *context) {
    (void)context;
    return uv_hrtime();
}

static void on_read(void *owner, struct bytes bytes, uint64_t now_ms) {
    struct client *client = owner;
    client->shard->now_ms = now_ms;
    client_on_read(client, bytes);
}

static void on_writable(void *owner) {
    client_on_writable(owner);
}

static void on_closed(void *owner, uint64_t now_ms) {
    struct client *client = owner;
    client->shard->now_ms = now_ms;
    client_on_closed(client);
}

static const struct socket_events SOCKET_EVENTS = {on_read, on_writable, on_closed};

static void io_adopt(void *context, void *mailed) {
    struct worker *worker = context;
    struct accepted *accepted = mailed;
    struct socket *socket = socket_open(worker->loop, accepted->fd, &SOCKET_EVENTS);
    if (socket) {
        struct client *client =
            client_open(worker->shard, socket, accepted->peer, accepted->loopback);
        socket_set_owner(socket, client);
    } else {
        client_not_opened(worker->shard);
    }
    mem_free(accepted);
}

/* ---- accepting ---- */

static void on_accepted(void *owner, int fd, const char *peer, bool loopback) {
    struct server *server = owner;
    struct accepted *accepted = NEW(struct accepted);
    accepted->fd = fd;
    accepted->loopback = loopback;
    str_format(accepted->peer, sizeof accepted->peer, "%s", peer);
    uint32_t shard = broker_assign_shard(server->broker);
    struct mail *mail = mesh_post(server->broker->mesh, 0, shard);
    *mail = (struct mail){.kind = MAIL_ADOPT, .socket = accepted};
}

static void on_accept_failed(void *owner, int error) {
    struct server *server = owner;
    struct log_line line;
    uint32_t withheld = 0;
    if (!log_budget_take(&server->accept_log, loop_now(server->workers[0].loop), &withheld)) return;
    log_begin(&line, "listener.paused");
    log_put_text(&line, "reason", strerror(error));
    if (withheld != 0) log_put_number(&line, "withheld", withheld);
    log_end(&line, server->log, LEVEL_WARNING);
}

static const struct listener_events LISTENER_EVENTS = {on_accepted, on_accept_failed};

/* ---- threads ---- */

static bool worker_turn(void *actor, uint64_t now_ms) {
    struct worker *worker = actor;
    return shard_turn(worker->shard, now_ms);
}

static bool worker_may_sleep(void *actor) {
    struct worker *worker = actor;
    return mesh_may_sleep(worker->server->broker->mesh, worker->shard->number);
}

static void worker_awake(void *actor) {
    struct worker *worker = actor;
    mesh_awake(worker->server->broker->mesh, worker->shard->number);
}

static uint64_t worker_next_deadline(void *actor) {
    struct worker *worker = actor;
    return shard_next_deadline(worker->shard);
}

static const struct loop_actor WORKER_ACTOR = {
    worker_turn, worker_may_sleep, worker_awake, worker_next_deadline};

static bool registrar_do_turn(void *actor, uint64_t now_ms) {
    struct server *server = actor;
    return registrar_turn(server->registrar, now_ms);
}

static bool registrar_may_sleep(void *actor) {
    struct server *server = actor;
    return mesh_may_sleep(server->broker->mesh, server->broker->registrar);
}

static void registrar_awake(void *actor) {
    struct server *server = actor;
    mesh_awake(server->broker->mesh, server->broker->registrar);
}

static uint64_t registrar_deadline(void *actor) {
    struct server *server = actor;
    return registrar_next_deadline(server->registrar);
}

static const struct loop_actor REGISTRAR_ACTOR = {
    registrar_do_turn, registrar_may_sleep, registrar_awake, registrar_deadline};

static void bell(void *context, uint32_t actor) {
    struct server *server = context;
    if (actor == server->broker->registrar)
        loop_bell(server->loop);
    else if (actor == server->broker->admin)
        admin_bell(server->admin);
    else
        loop_bell(server->workers[actor].loop);
}

static void definitions_bell(void *context) {
    struct server *server = context;
    loop_bell(server->loop);
}

static void *worker_main(void *context) {
    struct worker *worker = context;
    char name[16];
    str_format(name, sizeof name, "shard-%u", worker->shard->number);
    pthread_setname_np(pthread_self(), name);
    loop_run(worker->loop);
    return NULL;
}

static void worker_start(struct server *server, uint32_t number) {
    struct worker *worker = &server->workers[number];
    worker->server = server;
    worker->io = (struct shard_io){.write = io_write,
        .want = io_want,
        .close = io_close,
        .finish = io_finish,
        .random = io_random,
        .wall_ms = io_wall_ms,
        .time_ns = io_time_ns,
        .adopt = io_adopt,
        .context = worker};
    worker->shard = shard_new(server->broker, number, &worker->io);
    worker->loop = loop_new(&WORKER_ACTOR, worker);
    loop_measure(worker->loop, &worker->shard->counters.turn_time);
}

static void on_signal(uv_signal_t *handle, int number);

/* From here on a signal ends the server in order; before anybody is told that it is ready. */
static void watch_signals(struct server *server) {
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};
    for (size_t i = 0; i < COUNT_OF(numbers); i++) {
        uv_signal_init(loop_uv(server->loop), &server->signals[i]);
        server->signals[i].data = server;
        uv_signal_start(&server->signals[i], on_signal, numbers[i]);
    }
}

/* Everything is quiet; what is not the admin side's goes. */
static void release(struct server *server) {
    struct broker *broker = server->broker;
    for (uint32_t i = 0; i < broker->shard_count; i++)
        shard_free(broker->shards[i]);
    definitions_thread_free(server->definitions);
    disk_watch_free(server->disk_watch);
    reserve_close(server->reserve);
    loop_free(server->loop);
    registrar_free(server->registrar);
    broker_free(broker);
    mem_free(server->workers);
    mem_free(server);
}

static void wake_shard(void *context, uint32_t shard) {
    struct server *server = context;
    loop_bell(server->workers[shard].loop);
}

static void wake_shards(void *context) {
    struct server *server = context;
    for (uint32_t i = 0; i < server->broker->shard_count; i++)
        loop_bell(server->workers[i].loop);
}

static void hurry_watch(void *context) {
    struct server *server = context;
    disk_watch_hurry(server->disk_watch);
}

static bool open_reserve(struct server *server, const char *data_dir, struct config_why *ret_why) {
    struct reserve_settings settings = {
        .directory = data_dir, .bell = hurry_watch, .context = server};
    int error = reserve_open(&settings, &server->reserve);
    if (error == 0) return true;
    str_format(ret_why->text, sizeof ret_why->text, "cannot open '%.300s/reserve': %s", data_dir,
        strerror(-error));
    return false;
}

static void begin_watch(struct server *server, const struct server_options *options) {
    struct disk_watch_settings settings = {
        .directory = options->data_dir,
        .rules = options->room,
        .broker = server->broker,
        .reserve = server->reserve,
        .written = store_recovered_bytes(server->store),
        .log = server->log,
        .changed = wake_shards,
        .context = server,
    };
    server->disk_watch = disk_watch_new(&settings);
}

/* Everything that was durable in the last run, before any thread runs. */
static bool load(
    struct server *server, const struct server_options *options, struct config_why *ret_why) {
    struct store_settings settings = {
        .data_dir = options->data_dir,
        .durability = options->durability,
        .memory_limit = options->memory_limit,
        .journal_budget = options->journal_budget,
        .salvage = options->salvage,
        .reserve = server->reserve,
        .log = server->log,
        .bell = wake_shard,
        .context = server,
    };
    bytes_copy(settings.node_id, options->node_id, sizeof settings.node_id);
    io_random(NULL, (uint8_t *)&settings.seed, sizeof settings.seed);
    return store_open(server->broker, server->registrar, &settings, &server->store, ret_why);
}

struct server *server_start(const struct server_options *options, struct config_why *ret_why) {
    check(options->listener_count <= LISTENERS_MAX);
    struct server *server = NEW(struct server);
    server->log = options->log;
    struct broker_settings settings = {
        .session = options->session, .log = options->log, .memory_limit = options->memory_limit};
    io_random(NULL, (uint8_t *)&settings.hash_seed, sizeof settings.hash_seed);
    server->broker = broker_new(options->shards, &settings, bell, server);
    if (!open_reserve(server, options->data_dir, ret_why)) return NULL;
    server->definitions =
        definitions_thread_new(options->metadata, server->reserve, definitions_bell, server);
    server->registrar = registrar_new(server->broker, definitions_thread_seam(server->definitions));
    server->loop = loop_new(&REGISTRAR_ACTOR, server);
    server->workers = mem_new_array(options->shards, sizeof *server->workers);
    for (uint32_t i = 0; i < options->shards; i++)
        worker_start(server, i);
    /* The process ends then: what has been made so far goes with it. */
    if (!load(server, options, ret_why)) return NULL;
    begin_watch(server, options);
    server->listener_count = options->listener_count;
    for (uint32_t i = 0; i < options->listener_count; i++)
        server->listeners[i] = listener_start(
            server->workers[0].loop, options->listeners[i], &LISTENER_EVENTS, server);
    server->admin =
        admin_new(server->broker, &(struct admin_settings){.management = options->management,
                                      .metrics = options->metrics,
                                      .descriptors_max = options->descriptors_max,
                                      .synced = options->durability == DURABILITY_FSYNC,
                                      .data_dir = options->data_dir});
    watch_signals(server);
    for (uint32_t i = 0; i < options->shards; i++) {
        struct worker *worker = &server->workers[i];
        check(pthread_create(&worker->thread, NULL, worker_main, worker) == 0);
    }
    disk_watch_start(server->disk_watch);
    server->memory_watch = memory_watch_new(server->broker, wake_shards, server);
    admin_start(server->admin);
    return server;
}

/* ---- the end ---- */

static void visit_stop(struct shard *shard, struct visit *visit) {
    struct worker *worker = CONTAINER_OF(visit, struct worker, stop);
    struct server *server = worker->server;
    if (shard->number == 0) {
        for (uint32_t i = 0; i < server->listener_count; i++)
            listener_close(server->listeners[i]);
        server->listener_count = 0;
    }
    shard_stop(shard, shard->now_ms);
}

static void visit_end(struct shard *shard, struct visit *visit) {
    (void)shard;
    loop_end(CONTAINER_OF(visit, struct worker, end)->loop);
}

/* Tells every shard to stop, or to end. Each worker has a visit for either: the one before may
 * still be looked at. */
static void visit_shards(struct server *server, bool end) {
    struct broker *broker = server->broker;
    for (uint32_t i = 0; i < broker->shard_count; i++) {
        struct worker *worker = &server->workers[i];
        struct visit *visit = end ? &worker->end : &worker->stop;
        visit->run = end ? visit_end : visit_stop;
        struct mail *mail = mesh_post(broker->mesh, broker->registrar, i);
        *mail = (struct mail){.kind = MAIL_VISIT, .visit = visit};
    }
    mesh_publish(broker->mesh, broker->registrar);
}

static bool all_idle(const struct server *server) {
    for (uint32_t i = 0; i < server->broker->shard_count; i++) {
        if (!shard_idle(server->broker->shards[i])) return false;
    }
    return true;
}

/* Connections are gone, or have had their time. */
static void on_stop_timer(uv_timer_t *timer) {
    struct server *server = timer->data;
    bool late = loop_now(server->loop) >= server->stop_deadline_ms;
    if (!all_idle(server) && !late) return;
    uv_timer_stop(timer);
    visit_shards(server, true);
    loop_end(server->loop);
}

static void say_stopping(const struct server *server, int number) {
    struct log_line line;
    log_begin(&line, "server.stopping");
    log_put_text(&line, "signal", number == SIGTERM ? "TERM" : "INT");
    log_end(&line, server->log, LEVEL_INFO);
}

static void on_signal(uv_signal_t *handle, int number) {
    struct server *server = handle->data;
    if (number == SIGHUP) {
        if (server->on_reload) server->on_reload(server->reload_context);
        return;
    }
    if (server->stopping) _exit(0);
    server->stopping = true;
    say_stopping(server, number);
    server->stop_deadline_ms = loop_now(server->loop) + STOP_GRACE_MS;
    visit_shards(server, false);
    uv_timer_init(loop_uv(server->loop), &server->stop_timer);
    server->stop_timer.data = server;
    uv_timer_start(&server->stop_timer, on_stop_timer, STOP_LOOK_MS, STOP_LOOK_MS);
}

void server_run(struct server *server, void (*on_reload)(void *context), void *context) {
    server->on_reload = on_reload;
    server->reload_context = context;
    loop_run(server->loop);
    for (uint32_t i = 0; i < server->broker->shard_count; i++)
        pthread_join(server->workers[i].thread, NULL);
    admin_stop(server->admin);
}

/* All threads have ended: this one takes all turns until no mail is left. */
static void settle_mail(struct server *server) {
    bool more = true;
    while (more || !mesh_all_quiet(server->broker->mesh)) {
        more = registrar_turn(server->registrar, loop_now(server->loop));
        more = admin_turn(server->admin, 0) || more;
        for (uint32_t i = 0; i < server->broker->shard_count; i++) {
            struct shard *shard = server->broker->shards[i];
            more = shard_turn(shard, shard->now_ms) || more;
        }
    }
}

/* Commits what is open. At the end of the process a failure is final. */
static void finish_definitions(struct server *server) {
    struct log_line line;
    do {
        definitions_thread_wait(server->definitions);
        settle_mail(server);
    } while (!registrar_settled(server->registrar) &&
             !atomic_load(&server->broker->definitions_failing));
    if (!registrar_settled(server->registrar)) {
        log_begin(&line, "definitions.lost");
        log_put_text(&line, "note", "changes that nobody was told of could not be written");
        log_end(&line, server->log, LEVEL_ERROR);
    }
    registrar_give_up(server->registrar);
    settle_mail(server);
}

/* Lets the journals write what they have, and a witness behind it. A disk that does not answer any
 * more is not waited for longer than connections are. */
static void finish_keeping(struct server *server) {
    struct broker *broker = server->broker;
    for (uint32_t i = 0; i < broker->shard_count; i++)
        shard_finish_keeping(broker->shards[i]);
    for (int tries = 0; tries < KEEP_TRIES_MAX; tries++) {
        bool kept = true;
        settle_mail(server);
        for (uint32_t i = 0; i < broker->shard_count; i++)
            kept = shard_kept(broker->shards[i]) && kept;
        if (kept) return;
        usleep(KEEP_LOOK_US);
    }
}

void server_free(struct server *server) {
    struct broker *broker = server->broker;
    admin_close(server->admin);
    disk_watch_stop(server->disk_watch);
    memory_watch_free(server->memory_watch);
    for (uint32_t i = 0; i < broker->shard_count; i++)
        shard_drop_connections(broker->shards[i]);
    settle_mail(server);
    finish_definitions(server);
    finish_keeping(server);
    for (uint32_t i = 0; i < broker->shard_count; i++)
        shard_drop_queues(broker->shards[i]);
    /* Any shard's queues may have been in any keeper's files. */
    for (uint32_t i = 0; i < broker->shard_count; i++)
        shard_end_keeping(broker->shards[i]);
    store_close(server->store);
    settle_mail(server);
    /* Nobody rings their bells any more. */
    for (uint32_t i = 0; i < broker->shard_count; i++) {
        socket_close_finishing(server->workers[i].loop);
        loop_free(server->workers[i].loop);
    }
    admin_free(server->admin);
    release(server);
}
