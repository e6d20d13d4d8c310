/* office: a registrar with shards that do only what it asks, and definitions in memory. */
#include "office.h"

#include <errno.h>

#include "base/memory.h"
#include "base/str.h"
#include "shard/queue_host.h"

/* ---- outside ---- */

static void bell(void *context, uint32_t actor) {
    (void)context;
    (void)actor;
}

static void take_line(void *context, enum log_level level, struct bytes line) {
    struct office *office = context;
    (void)level;
    check(office->lines < OFFICE_LINES_MAX);
    str_format(office->line[office->lines++], sizeof office->line[0], "%.*s", (int)line.size,
        (const char *)line.data);
}

/* ---- shards ---- */

static void reply(struct office *office, uint32_t shard, enum mail_kind kind, void *request) {
    struct mail *mail = mesh_post(office->broker->mesh, shard, office->broker->registrar);
    *mail = (struct mail){.kind = (uint8_t)kind, .request = request};
}

static void on_mail(struct office *office, uint32_t number, const struct mail *mail) {
    struct shard *shard = office->broker->shards[number];
    struct request *request = mail->request;
    switch ((int)mail->kind) {
    case MAIL_MAKE:
        request->result.queue = queue_host_make(shard, request);
        reply(office, number, MAIL_MADE, request);
        return;
    case MAIL_REMOVE:
        request->result.code = queue_host_remove(shard, mail->ref, mail->flags, &request->messages);
        reply(office, number, MAIL_REMOVED, request);
        return;
    case MAIL_FORGET:
        queue_host_forget(shard, mail->ref);
        office->forgotten = mail->ref;
        office->forgotten_count++;
        return;
    case MAIL_ROWED:
        queue_host_on_rowed(shard, mail->ref, mail->count);
        office->rowed = mail->ref;
        office->rowed_ticket = mail->count;
        return;
    case MAIL_COMMITTED:
        check(mail->count == office->committed[number] + 1);
        office->committed[number] = mail->count;
        return;
    case MAIL_CHANGED:
        request->next = office->answers;
        office->answers = request;
        return;
    case MAIL_LEFT: office->left++; return;
    default: break;
    }
    unreachable_here();
}

static bool read_mail(struct office *office, uint32_t shard) {
    struct mesh *mesh = office->broker->mesh;
    uint32_t from = office->broker->registrar;
    const struct mail *mail = NULL;
    bool any = false;
    while ((mail = mesh_peek(mesh, from, shard)) != NULL) {
        struct mail copy = *mail;
        mesh_took(mesh, from, shard);
        on_mail(office, shard, &copy);
        any = true;
    }
    if (any) mesh_release(mesh, from, shard);
    mesh_publish(mesh, shard);
    return any;
}

void office_settle(struct office *office) {
    bool more = true;
    while (more || !mesh_all_quiet(office->broker->mesh)) {
        more = registrar_turn(office->registrar, office->now_ms);
        for (uint32_t i = 0; i < office->broker->shard_count; i++)
            more = read_mail(office, i) || more;
    }
}

/* ---- life ---- */

static void start(struct office *office, uint32_t shards) {
    struct broker_settings settings = {.log = &office->log, .memory_limit = INT64_MAX};
    office->broker = broker_new(shards, &settings, bell, NULL);
    for (uint32_t i = 0; i < shards; i++) {
        (void)shard_new(office->broker, i, &office->io);
        office->committed[i] = 0;
    }
    office->registrar = registrar_new(office->broker, &office->memory.definitions);
    struct metadata_problem problem;
    int error = registrar_load(office->registrar, &office->index, &problem);
    if (error) check_failed(problem.text, __FILE__, __LINE__);
    office_settle(office);
}

static void forget_answers(struct office *office) {
    while (office->answers) {
        struct request *next = office->answers->next;
        mem_free(office->answers);
        office->answers = next;
    }
}

static void stop(struct office *office) {
    if (office->memory.under_way) {
        memory_definitions_end(&office->memory, -EIO);
        office_settle(office);
    }
    registrar_give_up(office->registrar);
    office_settle(office);
    forget_answers(office);
    vhost_check(office->broker->vhost);
    for (uint32_t i = 0; i < office->broker->shard_count; i++)
        shard_free(office->broker->shards[i]);
    registrar_free(office->registrar);
    broker_free(office->broker);
    restore_index_deinit(&office->index);
}

void office_init(struct office *office, uint32_t shards) {
    *office = (struct office){.now_ms = 1000};
    office->log = (struct log){LEVEL_DEBUG, take_line, office};
    memory_definitions_init(&office->memory);
    start(office, shards);
}

void office_deinit(struct office *office) {
    stop(office);
    memory_definitions_deinit(&office->memory);
}

void office_crash(struct office *office, bool committed, uint32_t shards) {
    stop(office);
    memory_definitions_crash(&office->memory, committed);
    start(office, shards);
}

/* ---- requests ---- */

static struct bytes keep(uint8_t **at, struct bytes bytes) {
    struct bytes kept = bytes_of(*at, bytes.size);
    bytes_copy(*at, bytes.data, bytes.size);
    *at += bytes.size;
    return kept;
}

void office_send(struct office *office, const struct change *change) {
    size_t size = (size_t)change->name.size + change->source.size + change->type.size +
                  change->routing_key.size + change->arguments.size;
    struct request *request = mem_new(sizeof *request + size);
    uint8_t *at = request->strings;
    request->change = *change;
    request->change.name = keep(&at, change->name);
    request->change.source = keep(&at, change->source);
    request->change.type = keep(&at, change->type);
    request->change.routing_key = keep(&at, change->routing_key);
    request->change.arguments = keep(&at, change->arguments);
    request->vhost = office->broker->vhost;
    struct mail *mail = mesh_post(office->broker->mesh, 0, office->broker->registrar);
    *mail = (struct mail){.kind = MAIL_CHANGE, .request = request};
}

const struct request *office_ask(struct office *office, const struct change *change) {
    forget_answers(office);
    office_send(office, change);
    office_settle(office);
    check(office->answers != NULL);
    check(office->answers->next == NULL);
    return office->answers;
}

void office_end_queue(struct office *office, const char *name) {
    const struct queue_entry *entry = vhost_find_queue(office->broker->vhost, bytes_text(name));
    check(entry != NULL);
    uint32_t shard = ref_shard(entry->queue);
    struct mail *mail = mesh_post(office->broker->mesh, shard, office->broker->registrar);
    *mail =
        (struct mail){.kind = MAIL_GONE, .ref = entry->queue, .name = name_new(bytes_text(name))};
    office_settle(office);
}

void office_leave(struct office *office, connection_ref connection) {
    struct mail *mail = mesh_post(office->broker->mesh, 0, office->broker->registrar);
    *mail = (struct mail){.kind = MAIL_LEAVE, .ref = connection};
    office_settle(office);
}

void office_commit(struct office *office, int error) {
    memory_definitions_end(&office->memory, error);
    office_settle(office);
}

void office_commit_all(struct office *office) {
    while (office->memory.under_way)
        office_commit(office, 0);
}
