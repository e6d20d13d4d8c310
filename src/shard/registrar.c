/* registrar: the single writer of the topology. */
#include "shard/registrar.h"

#define HASH_NONFATAL_OOM 0
#include <uthash.h>
#include <xxhash.h>

#include "base/memory.h"
#include "base/str.h"

enum { MAIL_PER_TURN = 1024 };

/* A queue's name while it is being made or removed; others who name it wait in line. */
struct transition {
    struct name *name; /* the key; one virtual host, so the name is enough */
    struct request *first;
    struct request *last;
    queue_ref gone; /* not 0: the line waits for this queue's GONE */
    UT_hash_handle hh;
};

/* An exclusive queue of a connection. */
struct owned {
    struct owned *next;
    struct name *name;
    queue_ref queue;
};

/* A connection that has exclusive queues. */
struct owner {
    connection_ref connection;
    struct owned *queues;
    uint32_t under_way; /* requests for its exclusive queues that are not answered */
    bool leaving;
    UT_hash_handle hh;
};

struct registrar {
    struct broker *broker;
    struct definitions *definitions; /* NULL: nothing is kept */
    uint64_t now_ms;
    struct transition *transitions;
    struct owner *owners;
};

struct registrar *registrar_new(struct broker *broker, struct definitions *definitions) {
    struct registrar *registrar = NEW(struct registrar);
    registrar->broker = broker;
    registrar->definitions = definitions;
    return registrar;
}

static void owned_free(struct owned *owned) {
    mem_free(owned->name);
    mem_free(owned);
}

static void owner_drop(struct registrar *registrar, struct owner *owner) {
    HASH_DEL(registrar->owners, owner);
    while (owner->queues) {
        struct owned *owned = owner->queues;
        owner->queues = owned->next;
        owned_free(owned);
    }
    mem_free(owner);
}

void registrar_free(struct registrar *registrar) {
    if (!registrar) return;
    check(registrar->transitions == NULL);
    struct owner *owner = NULL;
    struct owner *next = NULL;
    HASH_ITER(hh, registrar->owners, owner, next) {
        owner_drop(registrar, owner);
    }
    mem_free(registrar);
}

uint64_t registrar_next_deadline(const struct registrar *registrar) {
    (void)registrar;
    return UINT64_MAX;
}

bool registrar_idle(const struct registrar *registrar) {
    return registrar->transitions == NULL;
}

static struct mail *post(struct registrar *registrar, uint32_t shard) {
    return mesh_post(registrar->broker->mesh, registrar->broker->registrar, shard);
}

/* ---- owners of exclusive queues ---- */

static struct owner *owner_find(struct registrar *registrar, connection_ref connection) {
    struct owner *owner = NULL;
    HASH_FIND(hh, registrar->owners, &connection, sizeof connection, owner);
    return owner;
}

static struct owner *owner_get(struct registrar *registrar, connection_ref connection) {
    struct owner *owner = owner_find(registrar, connection);
    if (owner) return owner;
    owner = NEW(struct owner);
    owner->connection = connection;
    HASH_ADD(hh, registrar->owners, connection, sizeof owner->connection, owner);
    return owner;
}

static void owner_put(struct owner *owner, struct bytes name, queue_ref queue) {
    struct owned *owned = NEW(struct owned);
    owned->queue = queue;
    owned->name = name_new(name);
    owned->next = owner->queues;
    owner->queues = owned;
}

static void owner_forget(struct registrar *registrar, connection_ref connection, queue_ref queue) {
    struct owner *owner = connection ? owner_find(registrar, connection) : NULL;
    if (!owner) return;
    for (struct owned **at = &owner->queues; *at; at = &(*at)->next) {
        struct owned *owned = *at;
        if (owned->queue != queue) continue;
        *at = owned->next;
        owned_free(owned);
        return;
    }
}

static void leave_step(struct registrar *registrar, struct owner *owner);

/* Requests that a leaving connection has to wait for: declares of exclusive queues, and the
 * registrar's own deletes. */
static bool counts_for_owner(const struct registrar *registrar, const struct request *request) {
    bool declares = request->change.kind == CHANGE_QUEUE_DECLARE && request->change.exclusive;
    return declares || request->shard == registrar->broker->registrar;
}

/* Every request is answered once, here. */
static void answer(struct registrar *registrar, struct request *request) {
    struct owner *owner = NULL;
    if (counts_for_owner(registrar, request))
        owner = owner_find(registrar, request->change.connection);
    if (request->shard == registrar->broker->registrar)
        mem_free(request);
    else
        *post(registrar, request->shard) = (struct mail){.kind = MAIL_CHANGED, .request = request};
    if (!owner) return;
    check(owner->under_way != 0);
    owner->under_way--;
    leave_step(registrar, owner);
}

/* ---- transitions ---- */

static struct transition *transition_find(struct registrar *registrar, struct bytes name) {
    struct transition *transition = NULL;
    HASH_FIND(hh, registrar->transitions, name.data, name.size, transition);
    return transition;
}

static struct transition *transition_begin(struct registrar *registrar, struct bytes name) {
    struct transition *transition = NEW(struct transition);
    transition->name = name_new(name);
    HASH_ADD_KEYPTR(hh, registrar->transitions, transition->name->data, name.size, transition);
    return transition;
}

static void wait_in_line(struct transition *transition, struct request *request) {
    request->next = NULL;
    if (transition->last)
        transition->last->next = request;
    else
        transition->first = request;
    transition->last = request;
}

static void on_change(struct registrar *registrar, struct request *request);

/* The name is settled: those in line go on, in order; the first may begin a transition anew. */
static void transition_end(struct registrar *registrar, struct bytes name) {
    struct transition *transition = transition_find(registrar, name);
    check(transition != NULL);
    HASH_DEL(registrar->transitions, transition);
    struct request *request = transition->first;
    mem_free(transition->name);
    mem_free(transition);
    while (request) {
        struct request *next = request->next;
        request->next = NULL;
        on_change(registrar, request);
        request = next;
    }
}

/* Answers the request that began the transition of its name, and ends it. */
static void answer_and_end(struct registrar *registrar, struct request *request) {
    struct name *name = name_new(request->change.name);
    answer(registrar, request);
    transition_end(registrar, name_bytes(name));
    mem_free(name);
}

/* ---- declare ---- */

/* Exclusive queues live with their connection, others where their name's hash says. */
static uint32_t choose_shard(const struct registrar *registrar, const struct request *request) {
    const struct change *change = &request->change;
    if (change->exclusive || change->server_named) return request->shard;
    uint64_t hash = XXH3_64bits(change->name.data, change->name.size);
    return (uint32_t)(hash % registrar->broker->shard_count);
}

static void declare_queue(struct registrar *registrar, struct request *request) {
    const struct change *change = &request->change;
    const struct queue_entry *entry = vhost_find_queue(request->vhost, change->name);
    if (entry && entry->queue == request->gone) {
        /* Its shard said that it has ended; the notice to us is still on its way. */
        struct transition *transition = transition_begin(registrar, change->name);
        transition->gone = request->gone;
        wait_in_line(transition, request);
        return;
    }
    if (vhost_answer(request->vhost, change, &request->result)) {
        answer(registrar, request);
        return;
    }
    vhost_check_new_queue(request->vhost, change, &request->result);
    if (request->result.code != REPLY_OK) {
        answer(registrar, request);
        return;
    }
    transition_begin(registrar, change->name);
    *post(registrar, choose_shard(registrar, request)) =
        (struct mail){.kind = MAIL_MAKE, .request = request};
}

static void on_made(struct registrar *registrar, struct request *request) {
    const struct change *change = &request->change;
    directory_write(registrar->broker->directory);
    vhost_put_queue(request->vhost, change, request->result.queue);
    directory_done(registrar->broker->directory);
    request->made = true;
    if (change->exclusive) {
        struct owner *owner = owner_get(registrar, change->connection);
        owner_put(owner, change->name, request->result.queue);
    }
    answer_and_end(registrar, request);
}

/* ---- delete ---- */

static void forget_queue(struct registrar *registrar, struct request *request, queue_ref queue) {
    directory_write(registrar->broker->directory);
    const struct queue_entry *entry = vhost_find_queue(request->vhost, request->change.name);
    connection_ref owner = entry ? entry->owner : 0;
    bool removed = vhost_remove_queue(request->vhost, request->change.name, queue);
    directory_done(registrar->broker->directory);
    check(removed);
    owner_forget(registrar, owner, queue);
    *post(registrar, ref_shard(queue)) = (struct mail){.kind = MAIL_FORGET, .ref = queue};
}

static void delete_queue(struct registrar *registrar, struct request *request) {
    const struct change *change = &request->change;
    request->result = (struct change_result){0};
    const struct queue_entry *entry =
        vhost_use_queue(request->vhost, change->name, change->connection, &request->result);
    if (!entry) {
        /* Deleting what is missing succeeds. */
        if (request->result.code == REPLY_NOT_FOUND) request->result = (struct change_result){0};
        answer(registrar, request);
        return;
    }
    transition_begin(registrar, change->name);
    request->result.queue = entry->queue;
    uint8_t flags =
        (uint8_t)((change->if_unused ? OP_IF_UNUSED : 0) | (change->if_empty ? OP_IF_EMPTY : 0));
    *post(registrar, ref_shard(entry->queue)) =
        (struct mail){.kind = MAIL_REMOVE, .flags = flags, .ref = entry->queue, .request = request};
}

static void refuse_removal(struct request *request) {
    const struct change *change = &request->change;
    /* The shard looks at consumers first, as RabbitMQ does, and gives the messages otherwise. */
    bool in_use = change->if_unused && request->messages == 0;
    str_format(request->result.text, sizeof request->result.text, "queue '%.*s' in vhost '%s' %s",
        (int)change->name.size, (const char *)change->name.data, vhost_name(request->vhost),
        in_use ? "in use" : "not empty");
    request->messages = 0;
}

static void on_removed(struct registrar *registrar, struct request *request) {
    if (request->result.code == REPLY_OK) {
        forget_queue(registrar, request, request->result.queue);
    } else if (request->result.code == REPLY_NOT_FOUND) {
        /* It ended by itself meanwhile: its GONE came before this answer, on the same way. */
        request->result = (struct change_result){0};
    } else {
        refuse_removal(request);
    }
    answer_and_end(registrar, request);
}

/* An auto-delete queue has ended at its shard. */
static void on_gone(struct registrar *registrar, const struct mail *mail) {
    struct request request = {.vhost = registrar->broker->vhost};
    struct bytes name = name_bytes(mail->name);
    request.change.name = name;
    const struct queue_entry *entry = vhost_find_queue(request.vhost, name);
    if (entry && entry->queue == mail->ref) forget_queue(registrar, &request, mail->ref);
    struct transition *transition = transition_find(registrar, name);
    if (transition && transition->gone == mail->ref) transition_end(registrar, name);
    mem_free(mail->name);
}

/* ---- leaving connections ---- */

/* Deletes one of its queues in its name. Takes `owned`. */
static void delete_owned(struct registrar *registrar, struct owner *owner, struct owned *owned) {
    struct bytes name = name_bytes(owned->name);
    struct request *request = mem_new(sizeof *request + name.size);
    bytes_copy(request->strings, name.data, name.size);
    request->change.kind = CHANGE_QUEUE_DELETE;
    request->change.name = bytes_of(request->strings, name.size);
    request->change.connection = owner->connection;
    request->vhost = registrar->broker->vhost;
    request->shard = registrar->broker->registrar;
    owned_free(owned);
    owner->under_way++;
    on_change(registrar, request);
}

static void leave_step(struct registrar *registrar, struct owner *owner) {
    if (!owner->leaving || owner->under_way != 0) return;
    /* Held while we walk, because a request may be answered at once. */
    owner->under_way++;
    struct owned *owned = owner->queues;
    owner->queues = NULL;
    while (owned) {
        struct owned *next = owned->next;
        delete_owned(registrar, owner, owned);
        owned = next;
    }
    owner->under_way--;
    if (owner->under_way != 0) return;
    connection_ref connection = owner->connection;
    owner_drop(registrar, owner);
    *post(registrar, ref_shard(connection)) = (struct mail){.kind = MAIL_LEFT, .ref = connection};
}

static void on_leave(struct registrar *registrar, connection_ref connection) {
    struct owner *owner = owner_get(registrar, connection);
    owner->leaving = true;
    leave_step(registrar, owner);
}

/* ---- mail ---- */

static bool names_queue_for_life(const struct change *change) {
    return change->kind == CHANGE_QUEUE_DECLARE || change->kind == CHANGE_QUEUE_DELETE;
}

static void on_change(struct registrar *registrar, struct request *request) {
    const struct change *change = &request->change;
    bool of_queue = names_queue_for_life(change) || change->kind == CHANGE_QUEUE_BIND ||
                    change->kind == CHANGE_QUEUE_UNBIND;
    struct transition *transition = of_queue ? transition_find(registrar, change->name) : NULL;
    if (transition) {
        wait_in_line(transition, request);
        return;
    }
    if (change->kind == CHANGE_QUEUE_DECLARE) {
        declare_queue(registrar, request);
        return;
    }
    if (change->kind == CHANGE_QUEUE_DELETE) {
        delete_queue(registrar, request);
        return;
    }
    directory_write(registrar->broker->directory);
    vhost_change(request->vhost, change, &request->result);
    directory_done(registrar->broker->directory);
    answer(registrar, request);
}

static void on_mail(struct registrar *registrar, const struct mail *mail) {
    switch ((enum mail_kind)mail->kind) {
    case MAIL_CHANGE:
        if (counts_for_owner(registrar, mail->request))
            owner_get(registrar, mail->request->change.connection)->under_way++;
        on_change(registrar, mail->request);
        return;
    case MAIL_MADE: on_made(registrar, mail->request); return;
    case MAIL_REMOVED: on_removed(registrar, mail->request); return;
    case MAIL_GONE: on_gone(registrar, mail); return;
    case MAIL_LEAVE: on_leave(registrar, mail->ref); return;
    case MAIL_OP:
    case MAIL_EFFECT:
    case MAIL_WATERMARK:
    case MAIL_CREDIT:
    case MAIL_REPLY:
    case MAIL_PROBE:
    case MAIL_FENCE:
    case MAIL_FENCED:
    case MAIL_RELEASE:
    case MAIL_LOGGED_IN:
    case MAIL_ADOPT:
    case MAIL_VISIT:
    case MAIL_VISITED:
    case MAIL_CHANGED:
    case MAIL_MAKE:
    case MAIL_REMOVE:
    case MAIL_FORGET:
    case MAIL_ROWED:
    case MAIL_COMMITTED:
    case MAIL_LEFT:
    case MAIL_EVACUATE:
    case MAIL_EVACUATED:
    case MAIL_ALARM: break;
    }
    unreachable_here();
}

bool registrar_turn(struct registrar *registrar, uint64_t now_ms) {
    registrar->now_ms = now_ms;
    struct mesh *mesh = registrar->broker->mesh;
    uint32_t self = registrar->broker->registrar;
    for (uint32_t from = 0; from < self; from++) {
        const struct mail *mail = NULL;
        uint32_t count = 0;
        while (count < MAIL_PER_TURN && (mail = mesh_peek(mesh, from, self)) != NULL) {
            struct mail copy = *mail;
            mesh_took(mesh, from, self);
            on_mail(registrar, &copy);
            count++;
        }
        if (count != 0) mesh_release(mesh, from, self);
    }
    mesh_publish(mesh, self);
    return !mesh_quiet(mesh, self);
}
