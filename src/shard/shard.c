/* shard: one per core: the only place where effects become I/O. */
#include "shard/shard.h"

#include "base/memory.h"
#include "shard/client.h"
#include "shard/keeper.h"
#include "shard/queue_host.h"

enum {
    TURN_LONG_NS = 500000,  /* then sockets have waited long enough: the rest is for later */
    MAIL_PER_LOOK = 512,    /* between two looks at the clock */
    MAIL_PER_ROUND = 2048,  /* from one peer: sockets wait meanwhile */
    ROUNDS_PER_TURN = 4,    /* mail to oneself is answered within the turn */
    PUMP_PER_ROUND = 16384, /* pieces of owed work */
    PUMP_MIN = 512,         /* also in a long turn, */
    PUMP_PER_MAIL = 2,      /* with so much for each mail: deliveries keep up with publishes */
};

/* ---- broker ---- */

struct broker *broker_new(
    uint32_t shards, const struct broker_settings *settings, mesh_bell bell, void *context) {
    check(shards >= 1);
    check(shards <= SHARDS_MAX);
    struct broker *broker = NEW(struct broker);
    broker->shard_count = shards;
    broker->registrar = shards;
    broker->admin = shards + 1;
    broker->mesh = mesh_new(shards + 2, bell, context);
    broker->directory = directory_new(settings->hash_seed);
    broker->vhost = topology_find_vhost(directory_read(broker->directory), BYTES("/"));
    directory_done(broker->directory);
    broker->settings = settings->session;
    broker->log = settings->log;
    broker->shards = mem_new_array(shards, sizeof(struct shard *));
    memory_level_init(&broker->memory, settings->memory_limit);
    return broker;
}

void broker_free(struct broker *broker) {
    if (!broker) return;
    mesh_free(broker->mesh);
    directory_free(broker->directory);
    mem_free(broker->shards);
    mem_free(broker);
}

bool broker_disk_alarm(const struct broker *broker) {
    return atomic_load_explicit(&broker->disk_alarms, memory_order_relaxed) != 0 ||
           atomic_load_explicit(&broker->disk_low, memory_order_relaxed);
}

bool broker_disk_slow(const struct broker *broker) {
    for (uint32_t i = 0; i < broker->shard_count; i++) {
        if (counter_read(&broker->shards[i]->counters.journal_slow) != 0) return true;
    }
    return false;
}

const char *broker_alarm(const struct broker *broker) {
    bool memory = atomic_load_explicit(&broker->memory.alarm, memory_order_relaxed);
    bool disk = broker_disk_alarm(broker);
    if (memory) return disk ? "low on memory & disk" : "low on memory";
    return disk ? "low on disk" : NULL;
}

uint32_t broker_assign_shard(struct broker *broker) {
    uint32_t best = 0;
    uint32_t fewest = UINT32_MAX;
    for (uint32_t i = 0; i < broker->shard_count; i++) {
        uint32_t count =
            atomic_load_explicit(&broker->shards[i]->client_count, memory_order_relaxed);
        if (count < fewest) {
            fewest = count;
            best = i;
        }
    }
    atomic_fetch_add_explicit(&broker->shards[best]->client_count, 1, memory_order_relaxed);
    return best;
}

/* ---- life ---- */

struct shard *shard_new(struct broker *broker, uint32_t number, const struct shard_io *io) {
    check(number < broker->shard_count);
    struct shard *shard = NEW(struct shard);
    shard->broker = broker;
    shard->io = io;
    shard->number = number;
    shard->pool = message_pool_new((uint8_t)number);
    route_cache_init(&shard->routes);
    shard->peers = mem_new_array(broker->shard_count, sizeof *shard->peers);
    list_init(&shard->pump);
    list_init(&shard->dirty);
    list_init(&shard->holding);
    deadlines_init(&shard->deadlines);
    for (uint32_t i = 0; i < broker->shard_count; i++)
        fifo_init(&shard->peers[i].marks, sizeof(struct stable_mark));
    broker->shards[number] = shard;
    return shard;
}

void shard_free(struct shard *shard) {
    if (!shard) return;
    check(shard_idle(shard));
    shard_drop_queues(shard);
    route_cache_deinit(&shard->routes);
    keeper_free(shard->keeper);
    for (uint32_t i = 0; i < shard->broker->shard_count; i++) {
        fifo_deinit(&shard->peers[i].marks);
        mem_free(shard->peers[i].transient.ring);
        mem_free(shard->peers[i].persistent.ring);
    }
    mem_free(shard->peers);
    mem_free(shard->clients);
    mem_free(shard->client_next);
    mem_free(shard->client_generation);
    deadlines_deinit(&shard->deadlines);
    chunk_pool_deinit(&shard->chunks);
    message_pool_free(shard->pool);
    mem_free(shard);
}

/* ---- mail ---- */

struct op *shard_post_op(struct shard *shard, queue_ref queue) {
    struct mail *mail = mesh_post(shard->broker->mesh, shard->number, ref_shard(queue));
    mail->kind = MAIL_OP;
    mail->ref = queue;
    return &mail->op;
}

static void on_make(struct shard *shard, struct request *request) {
    request->result.queue = queue_host_make(shard, request);
    struct mail *mail = mesh_post(shard->broker->mesh, shard->number, shard->broker->registrar);
    *mail = (struct mail){.kind = MAIL_MADE, .request = request};
}

static void on_remove(struct shard *shard, const struct mail *mail) {
    struct request *request = mail->request;
    uint32_t messages = 0;
    request->result.code = queue_host_remove(shard, mail->ref, mail->flags, &messages);
    request->messages = messages;
    struct mail *answer = mesh_post(shard->broker->mesh, shard->number, shard->broker->registrar);
    *answer = (struct mail){.kind = MAIL_REMOVED, .request = request};
}

static void on_committed(struct shard *shard, uint64_t ticket) {
    shard->ticket_stable = ticket;
    client_on_committed(shard, ticket);
}

static void on_logged_in(struct shard *shard, const struct mail *mail) {
    struct client *client = client_find(shard, mail->ref);
    if (!client || !client->socket) return;
    session_on_login(client->session, mail->flags != 0, shard->now_ms);
    client_wake(client);
}

/* With a flag, what was recorded before the fence has to be stable, too. Without one it still comes
 * back behind what is held for whoever sent it: a connection leaves by it. */
static void on_fence(struct shard *shard, uint32_t from, const struct mail *fence) {
    struct mail mail = {.kind = MAIL_FENCED,
        .flags = fence->flags,
        .channel = fence->channel,
        .number = fence->number,
        .ref = fence->ref};
    if (!shard->keeper) {
        *mesh_post(shard->broker->mesh, shard->number, from) = mail;
    } else if (fence->flags != 0) {
        keeper_post_stable(shard->keeper, from, &mail);
    } else {
        keeper_post_at(shard->keeper, 0, from, &mail);
    }
}

/* The admin side waits for its visits to come back; the server's own do not return. */
static void on_visit(struct shard *shard, uint32_t from, struct visit *visit) {
    visit->run(shard, visit);
    if (from != shard->broker->admin) return;
    struct mail *mail = mesh_post(shard->broker->mesh, shard->number, from);
    *mail = (struct mail){.kind = MAIL_VISITED, .visit = visit};
}

static void on_mail(struct shard *shard, uint32_t from, const struct mail *mail) {
    switch ((enum mail_kind)mail->kind) {
    case MAIL_OP: queue_host_on_op(shard, from, mail); return;
    case MAIL_EFFECT: client_on_effect(shard, mail); return;
    case MAIL_WATERMARK:
        publisher_on_watermark(shard, from, mail->watermark.applied, mail->watermark.stable);
        return;
    case MAIL_CREDIT: queue_host_on_credit(shard, mail->ref, mail->count); return;
    case MAIL_REPLY: client_on_reply(shard, mail); return;
    case MAIL_PROBE: client_on_probe(shard, mail); return;
    case MAIL_FENCE: on_fence(shard, from, mail); return;
    case MAIL_FENCED: client_on_fenced(shard, mail); return;
    case MAIL_RELEASE: message_pool_put_home(shard->pool, mail->message); return;
    case MAIL_LOGGED_IN: on_logged_in(shard, mail); return;
    case MAIL_ADOPT: shard->io->adopt(shard->io->context, mail->socket); return;
    case MAIL_VISIT: on_visit(shard, from, mail->visit); return;
    case MAIL_CHANGED: client_on_changed(shard, mail->request); return;
    case MAIL_MAKE: on_make(shard, mail->request); return;
    case MAIL_REMOVE: on_remove(shard, mail); return;
    case MAIL_FORGET: queue_host_forget(shard, mail->ref); return;
    case MAIL_ROWED: queue_host_on_rowed(shard, mail->ref, mail->count); return;
    case MAIL_COMMITTED: on_committed(shard, mail->count); return;
    case MAIL_LEFT: client_on_left(shard, mail->ref); return;
    case MAIL_EVACUATE:
        retirement_on_evacuate(&shard->keeper->retirement, mail->evacuation);
        return;
    case MAIL_EVACUATED:
        retirement_on_evacuated(&shard->keeper->retirement, mail->evacuation);
        return;
    case MAIL_EMPTIED: shard->keeper->retirement.changed = true; return;
    case MAIL_ALARM: return; /* the turn that it began looks at the alarm */
    case MAIL_CHANGE:
    case MAIL_MADE:
    case MAIL_REMOVED:
    case MAIL_GONE:
    case MAIL_VISITED:
    case MAIL_LEAVE: break;
    }
    unreachable_here();
}

/* Reads the mail of one sender, bounded; gives how much there was. A slot stays as it is until it
 * is released, also while its answer is posted to the same ring (mail to oneself). */
static uint32_t read_mail(struct shard *shard, uint32_t from) {
    struct mesh *mesh = shard->broker->mesh;
    uint32_t count = 0;
    const struct mail *mail = NULL;
    while (count < MAIL_PER_ROUND && (mail = mesh_peek(mesh, from, shard->number)) != NULL) {
        on_mail(shard, from, mail);
        mesh_took(mesh, from, shard->number);
        count++;
        if (count % MAIL_PER_LOOK == 0 && shard_turn_is_long(shard)) break;
    }
    if (count != 0) mesh_release(mesh, from, shard->number);
    return count;
}

/* ---- memory ---- */

/* Who sleeps is not woken for memory, unless that is short: it counts as used until it is home, and
 * publishers may wait for it. */
static void send_home(struct shard *shard) {
    struct mesh *mesh = shard->broker->mesh;
    for (uint32_t i = 0; i < shard->broker->shard_count; i++) {
        if (i == shard->number) continue;
        struct message *chain = message_pool_take_away(shard->pool, (uint8_t)i);
        if (!chain) continue;
        struct mail *mail = broker_is_pressed(shard->broker)
                                ? mesh_post(mesh, shard->number, i)
                                : mesh_post_quietly(mesh, shard->number, i);
        mail->kind = MAIL_RELEASE;
        mail->message = chain;
    }
}

/* Who sleeps has to look too: its publishers may wait for nothing else. */
static void tell_alarm(struct shard *shard) {
    struct broker *broker = shard->broker;
    for (uint32_t i = 0; i < broker->shard_count; i++) {
        if (i == shard->number) continue;
        *mesh_post(broker->mesh, shard->number, i) = (struct mail){.kind = MAIL_ALARM};
    }
}

void broker_set_disk_alarm(struct shard *shard, bool alarm) {
    uint64_t bit = (uint64_t)1 << shard->number;
    uint64_t before = alarm ? atomic_fetch_or(&shard->broker->disk_alarms, bit)
                            : atomic_fetch_and(&shard->broker->disk_alarms, ~bit);
    if (((before & bit) != 0) != alarm) tell_alarm(shard);
}

bool broker_is_pressed(const struct broker *broker) {
    return memory_level_is_pressed(&broker->memory);
}

static void tell_memory(struct shard *shard) {
    struct memory_level *level = &shard->broker->memory;
    uint32_t trims = atomic_load_explicit(&level->trims, memory_order_relaxed);
    bool trim = trims != shard->trims_seen;
    if (trim) message_pool_trim(shard->pool);
    shard->trims_seen = trims;
    counter_set(&shard->counters.message_bytes, message_pool_bytes(shard->pool));
    if (memory_level_tell(level, &shard->memory_told, shard->pool, trim)) tell_alarm(shard);
}

static void spread_alarm(struct shard *shard) {
    const char *alarm = broker_alarm(shard->broker);
    if (alarm == shard->alarm_seen) return;
    shard->alarm_seen = alarm;
    for (uint32_t i = 0; i < shard->client_capacity; i++) {
        if (shard->clients[i] && shard->clients[i]->socket) client_on_alarm(shard->clients[i]);
    }
}

/* ---- the turn ---- */

bool shard_turn_is_long(const struct shard *shard) {
    if (shard->turn_long_ns == 0) return false;
    return shard->io->time_ns(shard->io->context) >= shard->turn_long_ns;
}

static bool round_of_work(struct shard *shard) {
    uint32_t count = 0;
    mesh_publish(shard->broker->mesh, shard->number);
    for (uint32_t from = 0; from < mesh_actors(shard->broker->mesh); from++)
        count += read_mail(shard, from);
    uint32_t enough = PUMP_MIN + count * PUMP_PER_MAIL;
    count += queue_host_pump(shard, enough, PUMP_PER_ROUND);
    queue_host_announce(shard);
    return count != 0;
}

static void flush_dirty(struct shard *shard) {
    struct list_node *node = NULL;
    /* A flush may wake its connection again only for the next turn: bounded by those here now. */
    struct list now;
    list_init(&now);
    shard->settled = false;
    while ((node = list_take_first(&shard->dirty)) != NULL)
        list_put_last(&now, node);
    while ((node = list_take_first(&now)) != NULL)
        client_flush(LIST_ENTRY(node, struct client, in_dirty));
}

static void run_deadlines(struct shard *shard) {
    struct deadline *due = NULL;
    while ((due = deadlines_take_due(&shard->deadlines, shard->now_ms)) != NULL)
        client_on_deadline(CONTAINER_OF(due, struct client, deadline));
}

/* Each round does some of everything, and another one follows while there is something to do and
 * the turn has not become long. */
static void work_in_rounds(struct shard *shard) {
    bool worked = round_of_work(shard);
    for (int i = 1; i < ROUNDS_PER_TURN && worked && !shard_turn_is_long(shard); i++)
        worked = round_of_work(shard);
}

bool shard_turn(struct shard *shard, uint64_t now_ms) {
    shard->now_ms = now_ms;
    const struct shard_io *io = shard->io;
    if (io->time_ns) shard->turn_long_ns = io->time_ns(io->context) + TURN_LONG_NS;
    counter_add(&shard->counters.turns, 1);
    run_deadlines(shard);
    bool more = shard->keeper && keeper_turn(shard->keeper);
    work_in_rounds(shard);
    if (shard->keeper) more = keeper_turn(shard->keeper) || more;
    send_home(shard);
    tell_memory(shard);
    spread_alarm(shard);
    flush_dirty(shard);
    counter_set(&shard->counters.connections,
        atomic_load_explicit(&shard->client_count, memory_order_relaxed));
    counter_set(&shard->counters.queues, shard->queue_count);
    mesh_publish(shard->broker->mesh, shard->number);
    return more || !list_empty(&shard->pump) || !list_empty(&shard->dirty) ||
           !mesh_quiet(shard->broker->mesh, shard->number);
}

uint64_t shard_next_deadline(const struct shard *shard) {
    uint64_t next = deadlines_next(&shard->deadlines);
    return shard->keeper ? min_u64(next, keeper_due(shard->keeper)) : next;
}

void shard_finish_keeping(struct shard *shard) {
    if (shard->keeper) keeper_finish(shard->keeper);
}

void shard_end_keeping(struct shard *shard) {
    keeper_free(shard->keeper);
}

bool shard_kept(const struct shard *shard) {
    return !shard->keeper || keeper_idle(shard->keeper);
}

void shard_stop(struct shard *shard, uint64_t now_ms) {
    shard->now_ms = now_ms;
    shard->stopping = true;
    for (uint32_t i = 0; i < shard->client_capacity; i++) {
        if (shard->clients[i]) client_shut(shard->clients[i]);
    }
}

void shard_drop_connections(struct shard *shard) {
    for (uint32_t i = 0; i < shard->client_capacity; i++) {
        struct client *client = shard->clients[i];
        if (client && client->socket) client_drop(client);
    }
}

void shard_drop_queues(struct shard *shard) {
    queue_host_deinit(shard);
    list_init(&shard->pump);
}

bool shard_idle(const struct shard *shard) {
    return atomic_load_explicit(&shard->client_count, memory_order_relaxed) == 0;
}

void shard_check(struct shard *shard) {
    for (uint32_t i = 0; i < shard->queue_capacity; i++) {
        struct queue_slot *slot = queue_host_slot_at(shard, i);
        if (slot->queue) queue_check(slot->queue);
        if (slot->shelf) keeper_check_queue(slot);
        if (slot->queue && shard->keeper) spill_check_queue(slot);
    }
    for (uint32_t i = 0; i < shard->client_capacity; i++) {
        struct client *client = shard->clients[i];
        if (client) session_check(client->session);
    }
    if (shard->keeper) keeper_check(shard->keeper);
    for (uint32_t i = 0; i < shard->broker->shard_count; i++) {
        const struct peer *peer = &shard->peers[i];
        check(peer->announced <= peer->applied);
        check(peer->stable <= peer->applied);
    }
}
