/* registrar: the single writer of the topology. */
#include "shard/registrar.h"

#define HASH_NONFATAL_OOM 0
#include <uthash.h>
#include <xxhash.h>

#include "base/list.h"
#include "base/memory.h"
#include "base/str.h"
#include "core/departures.h"
#include "shard/definition_rows.h"
#include "shard/restore.h"
#include "shard/scribe.h"
#include "shard/tickets.h"

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
    struct list_node in_owner;
    struct name *name;
    queue_ref queue;
    UT_hash_handle hh;
};

/* A connection that has exclusive queues. */
struct owner {
    connection_ref connection;
    struct list queues;
    uint32_t under_way; /* requests for its exclusive queues that are not answered */
    bool leaving;
    UT_hash_handle hh;
};

/* Mail that waits until the scribe is less busy. */
struct postponed {
    struct postponed *next;
    struct mail mail; /* CHANGE or GONE */
};

struct registrar {
    struct broker *broker;
    struct definitions *definitions; /* NULL: nothing is kept */
    struct scribe *scribe;
    struct departures departures; /* exchanges that the change being made has taken along */
    struct buffer room;           /* for rows */
    struct postponed *postponed;  /* first of a chain, in order */
    struct postponed **postponed_end;
    struct transition *transitions;
    struct owner *owners;
    struct owned *owned; /* of all of them, by queue */
};

struct registrar *registrar_new(struct broker *broker, struct definitions *definitions) {
    struct registrar *registrar = NEW(struct registrar);
    registrar->broker = broker;
    registrar->definitions = definitions;
    registrar->scribe = scribe_new(broker, definitions);
    registrar->postponed_end = &registrar->postponed;
    buffer_init(&registrar->room, SIZE_MAX);
    departures_init(&registrar->departures);
    vhost_watch(broker->vhost, &registrar->departures);
    return registrar;
}

int registrar_load(struct registrar *registrar, struct restore_index *index,
    struct metadata_problem *ret_problem) {
    if (!registrar->definitions) return 0;
    return restore_definitions(
        registrar->broker, registrar->definitions, registrar->scribe, index, ret_problem);
}

static void owned_free(struct registrar *registrar, struct owned *owned) {
    list_remove_if_linked(&owned->in_owner);
    HASH_DEL(registrar->owned, owned);
    mem_free(owned->name);
    mem_free(owned);
}

static void owner_drop(struct registrar *registrar, struct owner *owner) {
    HASH_DEL(registrar->owners, owner);
    list_for_safe (struct owned, owned, &owner->queues, in_owner) {
        owned_free(registrar, owned);
    }
    mem_free(owner);
}

void registrar_free(struct registrar *registrar) {
    if (!registrar) return;
    check(registrar_idle(registrar));
    struct owner *owner = NULL;
    struct owner *next = NULL;
    HASH_ITER(hh, registrar->owners, owner, next) {
        owner_drop(registrar, owner);
    }
    vhost_watch(registrar->broker->vhost, NULL);
    departures_deinit(&registrar->departures);
    buffer_deinit(&registrar->room);
    scribe_free(registrar->scribe);
    mem_free(registrar);
}

uint64_t registrar_next_deadline(const struct registrar *registrar) {
    return scribe_next_deadline(registrar->scribe);
}

bool registrar_idle(const struct registrar *registrar) {
    return registrar->transitions == NULL && registrar->postponed == NULL;
}

bool registrar_settled(const struct registrar *registrar) {
    return registrar_idle(registrar) && scribe_settled(registrar->scribe);
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
    list_init(&owner->queues);
    HASH_ADD(hh, registrar->owners, connection, sizeof owner->connection, owner);
    return owner;
}

static void owner_put(
    struct registrar *registrar, struct owner *owner, struct bytes name, queue_ref queue) {
    struct owned *owned = NEW(struct owned);
    owned->queue = queue;
    owned->name = name_new(name);
    list_put_last(&owner->queues, &owned->in_owner);
    HASH_ADD(hh, registrar->owned, queue, sizeof owned->queue, owned);
}

/* A queue that is exclusive, or not, is gone. */
static void owner_forget(struct registrar *registrar, queue_ref queue) {
    struct owned *owned = NULL;
    HASH_FIND(hh, registrar->owned, &queue, sizeof queue, owned);
    if (owned) owned_free(registrar, owned);
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

/* ---- what waits for a commit ---- */

static void postpone(struct registrar *registrar, const struct mail *mail) {
    struct postponed *postponed = NEW(struct postponed);
    postponed->mail = *mail;
    *registrar->postponed_end = postponed;
    registrar->postponed_end = &postponed->next;
}

/* Declares of what will not be durable need nothing of the scribe; of other changes it is not known
 * before they are made what they come to. */
static bool has_to_wait(const struct registrar *registrar, const struct change *change) {
    bool declares = change->kind == CHANGE_QUEUE_DECLARE || change->kind == CHANGE_EXCHANGE_DECLARE;
    if (declares && (!change->durable || change->exclusive || change->passive)) return false;
    if (change->kind == CHANGE_QUEUE_DECLARE && !scribe_has_id(registrar->scribe)) return true;
    return scribe_full(registrar->scribe);
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

/* ---- rows ---- */

/* All rows that one request changes are in one batch, so the last one's ticket is that of all. */

static void put_row(struct registrar *registrar, struct request *request) {
    struct bytes vhost = bytes_text(vhost_name(request->vhost));
    struct metadata_row row =
        definition_row_of(vhost, &request->change, request->queue_id, &registrar->room);
    request->ticket = scribe_put(registrar->scribe, &row);
}

static void remove_row(struct registrar *registrar, struct request *request) {
    struct bytes vhost = bytes_text(vhost_name(request->vhost));
    struct metadata_row row = definition_row_of(vhost, &request->change, 0, &registrar->room);
    request->ticket = scribe_remove(registrar->scribe, &row);
}

/* The exchanges that went with the change. What hangs on them goes with their rows. */
static void remove_rows_of_departed(struct registrar *registrar, struct request *request) {
    struct bytes vhost = bytes_text(vhost_name(request->vhost));
    struct bytes name;
    size_t at = 0;
    while (departures_next(&registrar->departures, &at, &name)) {
        struct metadata_row row = definition_row_of_exchange(vhost, name);
        request->ticket = scribe_remove(registrar->scribe, &row);
    }
    departures_clear(&registrar->departures);
}

/* Nothing had to be done for it. */
static void find_ticket(struct registrar *registrar, struct request *request) {
    if (request->result.code != REPLY_OK) return;
    request->ticket = tickets_of_found(registrar->broker, request->vhost, &request->change);
}

/* ---- declare ---- */

uint32_t registrar_choose_shard(const struct broker *broker, struct bytes queue) {
    return (uint32_t)(XXH3_64bits(queue.data, queue.size) % broker->shard_count);
}

/* Exclusive queues live with their connection, others where their name's hash says. */
static uint32_t choose_shard(const struct registrar *registrar, const struct request *request) {
    const struct change *change = &request->change;
    if (change->exclusive || change->server_named) return request->shard;
    return registrar_choose_shard(registrar->broker, change->name);
}

static bool will_be_durable(const struct change *change) {
    return change->durable && !change->exclusive;
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
        find_ticket(registrar, request);
        answer(registrar, request);
        return;
    }
    vhost_check_new_queue(request->vhost, change, &request->result);
    if (request->result.code != REPLY_OK) {
        answer(registrar, request);
        return;
    }
    transition_begin(registrar, change->name);
    request->queue_id = will_be_durable(change) ? scribe_take_id(registrar->scribe) : 0;
    *post(registrar, choose_shard(registrar, request)) =
        (struct mail){.kind = MAIL_MAKE, .request = request};
}

/* The row is put before anybody can see the queue and ask what it has to wait for. */
static void make_durable(struct registrar *registrar, struct request *request) {
    put_row(registrar, request);
    if (request->ticket == 0) return;
    *post(registrar, ref_shard(request->result.queue)) =
        (struct mail){.kind = MAIL_ROWED, .ref = request->result.queue, .count = request->ticket};
}

/* Tables that have to grow do so before shards have to wait. */
static void make_room(struct registrar *registrar, struct request *request) {
    struct vhost_room room;
    vhost_make_room(request->vhost, &request->change, &room);
    if (room.count == 0) return;
    directory_write(registrar->broker->directory);
    vhost_use_room(&room);
    directory_done(registrar->broker->directory);
    vhost_end_room(&room);
}

/* The other way round: tables that have become much too large. */
static void take_room(struct registrar *registrar, struct vhost *vhost) {
    struct vhost_room room;
    vhost_take_room(vhost, &room);
    if (room.count == 0) return;
    directory_write(registrar->broker->directory);
    vhost_use_room(&room);
    directory_done(registrar->broker->directory);
    vhost_end_room(&room);
}

static void on_made(struct registrar *registrar, struct request *request) {
    const struct change *change = &request->change;
    if (request->queue_id != 0) make_durable(registrar, request);
    make_room(registrar, request);
    directory_write(registrar->broker->directory);
    vhost_put_queue(request->vhost, change, request->result.queue);
    directory_done(registrar->broker->directory);
    request->made = true;
    if (change->exclusive) {
        struct owner *owner = owner_get(registrar, change->connection);
        owner_put(registrar, owner, change->name, request->result.queue);
    }
    answer_and_end(registrar, request);
}

/* ---- delete ---- */

/* Of very many bindings most go before, some at a time, so that shards can read in between. */
static void thin(struct registrar *registrar, struct vhost *vhost, const struct change *change) {
    while (vhost_takes_many(vhost, change)) {
        directory_write(registrar->broker->directory);
        vhost_thin(vhost, change);
        directory_done(registrar->broker->directory);
        take_room(registrar, vhost);
    }
}

static void forget_queue(struct registrar *registrar, struct request *request, queue_ref queue) {
    struct change leaving = {.kind = CHANGE_QUEUE_DELETE, .name = request->change.name};
    thin(registrar, request->vhost, &leaving);
    directory_write(registrar->broker->directory);
    const struct queue_entry *entry = vhost_find_queue(request->vhost, request->change.name);
    bool durable = entry && entry->durable;
    bool removed = vhost_remove_queue(request->vhost, request->change.name, queue);
    directory_done(registrar->broker->directory);
    check(removed);
    take_room(registrar, request->vhost);
    owner_forget(registrar, queue);
    if (durable) remove_row(registrar, request);
    uint64_t ticket = request->ticket;
    remove_rows_of_departed(registrar, request);
    scribe_forget(registrar->scribe, queue, ticket);
}

static void delete_queue(struct registrar *registrar, struct request *request) {
    const struct change *change = &request->change;
    request->result = (struct change_result){0};
    const struct queue_entry *entry =
        vhost_use_queue(request->vhost, change->name, change->connection, &request->result);
    if (!entry) {
        /* Deleting what is missing succeeds. */
        if (request->result.code == REPLY_NOT_FOUND) {
            request->result = (struct change_result){0};
            find_ticket(registrar, request);
        }
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
        find_ticket(registrar, request);
    } else {
        refuse_removal(request);
    }
    answer_and_end(registrar, request);
}

/* An auto-delete queue has ended at its shard. */
static void on_gone(struct registrar *registrar, const struct mail *mail) {
    if (scribe_full(registrar->scribe)) {
        postpone(registrar, mail);
        return;
    }
    struct request request = {.vhost = registrar->broker->vhost};
    struct bytes name = name_bytes(mail->name);
    request.change = (struct change){.kind = CHANGE_QUEUE_DELETE, .name = name};
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
    owned_free(registrar, owned);
    owner->under_way++;
    on_change(registrar, request);
}

static void leave_step(struct registrar *registrar, struct owner *owner) {
    if (!owner->leaving || owner->under_way != 0) return;
    /* Held while we walk, because a request may be answered at once. */
    owner->under_way++;
    struct list_node *node = NULL;
    while ((node = list_take_first(&owner->queues)) != NULL)
        delete_owned(registrar, owner, LIST_ENTRY(node, struct owned, in_owner));
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

static void declare_exchange(struct registrar *registrar, struct request *request) {
    const struct change *change = &request->change;
    if (vhost_answer(request->vhost, change, &request->result)) {
        find_ticket(registrar, request);
        answer(registrar, request);
        return;
    }
    if (change->durable) put_row(registrar, request);
    make_room(registrar, request);
    directory_write(registrar->broker->directory);
    vhost_change(request->vhost, change, &request->result);
    directory_done(registrar->broker->directory);
    answer(registrar, request);
}

/* Deletes an exchange; binds or unbinds. What came of it shows in the counts. */
static void change_at_once(struct registrar *registrar, struct request *request) {
    const struct change *change = &request->change;
    const struct vhost *vhost = request->vhost;
    bool deletes = change->kind == CHANGE_EXCHANGE_DELETE;
    if (deletes) thin(registrar, request->vhost, change);
    make_room(registrar, request);
    bool durable = !deletes && tickets_binding_is_durable(vhost, change);
    uint32_t bindings = vhost_binding_count(vhost);
    uint32_t exchanges = vhost_exchange_count(vhost);
    directory_write(registrar->broker->directory);
    vhost_change(request->vhost, change, &request->result);
    directory_done(registrar->broker->directory);
    bool bound = vhost_binding_count(vhost) > bindings;
    bool unbound = vhost_binding_count(vhost) < bindings;
    if (deletes || unbound) take_room(registrar, request->vhost);
    if (bound && durable) put_row(registrar, request);
    if (unbound && durable) remove_row(registrar, request);
    remove_rows_of_departed(registrar, request);
    if (!bound && !unbound && vhost_exchange_count(vhost) == exchanges)
        find_ticket(registrar, request);
    answer(registrar, request);
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
    if (has_to_wait(registrar, change)) {
        postpone(registrar, &(struct mail){.kind = MAIL_CHANGE, .request = request});
        return;
    }
    request->ticket = 0;
    if (change->kind == CHANGE_QUEUE_DECLARE)
        declare_queue(registrar, request);
    else if (change->kind == CHANGE_QUEUE_DELETE)
        delete_queue(registrar, request);
    else if (change->kind == CHANGE_EXCHANGE_DECLARE)
        declare_exchange(registrar, request);
    else
        change_at_once(registrar, request);
}

/* A commit has ended: what was postponed goes on, in order, or waits again. */
static void resume(struct registrar *registrar) {
    struct postponed *postponed = registrar->postponed;
    registrar->postponed = NULL;
    registrar->postponed_end = &registrar->postponed;
    while (postponed) {
        struct postponed *next = postponed->next;
        if (postponed->mail.kind == MAIL_GONE)
            on_gone(registrar, &postponed->mail);
        else
            on_change(registrar, postponed->mail.request);
        mem_free(postponed);
        postponed = next;
    }
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
    case MAIL_EMPTIED:
    case MAIL_ALARM: break;
    }
    unreachable_here();
}

void registrar_give_up(struct registrar *registrar) {
    scribe_give_up(registrar->scribe);
    resume(registrar);
}

bool registrar_turn(struct registrar *registrar, uint64_t now_ms) {
    if (scribe_hear(registrar->scribe, now_ms)) resume(registrar);
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
    scribe_hand_over(registrar->scribe, now_ms);
    mesh_publish(mesh, self);
    return !mesh_quiet(mesh, self);
}
