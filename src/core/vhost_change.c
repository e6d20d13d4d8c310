/* vhost_change: requests to change the topology, checked in RabbitMQ's order and answered in its
 * words, then carried out. */
#include "base/limits.h"
#include "base/memory.h"
#include "base/str.h"
#include "core/args.h"
#include "core/change.h"
#include "core/term.h"
#include "core/vhost.h"

static struct change_subject exchange_subject(const struct vhost *vhost, struct bytes name) {
    return (struct change_subject){"exchange", name, vhost->name};
}

static struct change_subject queue_subject(const struct vhost *vhost, struct bytes name) {
    return (struct change_subject){"queue", name, vhost->name};
}

static bool reserved(struct bytes name) {
    return bytes_start_with(name, BYTES("amq."));
}

static bool check_name(const struct change_subject *subject, struct change_result *ret_result) {
    if (!reserved(subject->name)) return true;
    return change_refuse(ret_result, REPLY_ACCESS_REFUSED,
        "%s name '%.*s' contains reserved prefix 'amq.*'", subject->kind,
        CHANGE_NAME(subject->name));
}

static bool check_not_default(struct bytes exchange, struct change_result *ret_result) {
    if (exchange.size != 0) return true;
    return change_refuse(
        ret_result, REPLY_ACCESS_REFUSED, "operation not permitted on the default exchange");
}

/* ---- exchanges ---- */

/* The empty type is a name that RabbitMQ knows, only not as a type of exchange. */
static bool check_type(
    struct bytes type, enum exchange_kind *ret_kind, struct change_result *ret_result) {
    if (exchange_find_kind(type, ret_kind)) return true;
    return change_refuse(ret_result, REPLY_COMMAND_INVALID, "%s exchange type '%.*s'",
        type.size ? "unknown" : "invalid", CHANGE_NAME(type));
}

static bool check_same_exchange(const struct vhost *vhost, const struct exchange *exchange,
    enum exchange_kind kind, const struct change *change, struct change_result *ret_result) {
    struct change_subject subject = exchange_subject(vhost, exchange->name);
    if (kind != exchange->kind) {
        char received[16], current[16];
        str_format(received, sizeof received, "'%s'", exchange_kind_name(kind));
        str_format(current, sizeof current, "'%s'", exchange_kind_name(exchange->kind));
        return change_refuse_inequivalent(ret_result, &subject, "type", received, current);
    }
    return change_same_flag(ret_result, &subject, "durable", change->durable, exchange->durable) &&
           change_same_flag(
               ret_result, &subject, "auto_delete", change->auto_delete, exchange->auto_delete) &&
           change_same_flag(
               ret_result, &subject, "internal", change->internal, exchange->internal) &&
           args_equivalent_exchange(&subject, exchange->arguments, change->arguments, ret_result);
}

/* What a declare comes to before anything is written: refused, done, or to be made. */
enum verdict { REFUSED, DONE, TO_MAKE };

static enum verdict done(struct change_result *ret_result) {
    change_accept(ret_result, 0);
    return DONE;
}

static enum verdict judge_exchange_declare(const struct vhost *vhost, const struct change *change,
    enum exchange_kind *ret_kind, struct change_result *ret_result) {
    struct change_subject subject = exchange_subject(vhost, change->name);
    if (!change->passive && !check_type(change->type, ret_kind, ret_result)) return REFUSED;
    if (!check_not_default(change->name, ret_result)) return REFUSED;
    const struct exchange *exchange = vhost_find_exchange(vhost, change->name);
    if (change->passive) {
        if (exchange) return done(ret_result);
        (void)change_refuse_missing(ret_result, &subject);
        return REFUSED;
    }
    if (exchange) {
        bool same = check_same_exchange(vhost, exchange, *ret_kind, change, ret_result);
        return same ? done(ret_result) : REFUSED;
    }
    if (!check_name(&subject, ret_result)) return REFUSED;
    bool fine =
        args_check_exchange_name(&subject, change->arguments, "alternate-exchange", ret_result);
    return fine ? TO_MAKE : REFUSED;
}

static void declare_exchange(
    struct vhost *vhost, const struct change *change, struct change_result *ret_result) {
    enum exchange_kind kind = EXCHANGE_DIRECT;
    if (judge_exchange_declare(vhost, change, &kind, ret_result) != TO_MAKE) return;
    vhost_add_exchange(vhost, change, kind);
    change_accept(ret_result, 0);
}

static void delete_exchange(
    struct vhost *vhost, const struct change *change, struct change_result *ret_result) {
    struct change_subject subject = exchange_subject(vhost, change->name);
    if (!check_not_default(change->name, ret_result)) return;
    if (reserved(change->name)) {
        (void)change_refuse(ret_result, REPLY_ACCESS_REFUSED,
            "deletion of system exchange '%.*s' in vhost '%s' not allowed",
            CHANGE_NAME(change->name), vhost->name);
        return;
    }
    struct exchange *exchange = vhost_find_exchange(vhost, change->name);
    if (exchange && change->if_unused && !list_empty(&exchange->bindings)) {
        (void)change_refuse(ret_result, REPLY_PRECONDITION_FAILED, "%s '%.*s' in vhost '%s' in use",
            subject.kind, CHANGE_NAME(subject.name), vhost->name);
        return;
    }
    if (exchange) vhost_remove_exchange(vhost, exchange);
    change_accept(ret_result, 0);
}

/* ---- queues ---- */

static bool refuse_locked(
    const struct vhost *vhost, struct bytes name, struct change_result *ret_result) {
    return change_refuse(ret_result, REPLY_RESOURCE_LOCKED,
        "cannot obtain exclusive access to locked queue '%.*s' in vhost '%s'. It could be "
        "originally declared on another connection or the exclusive property value does not match "
        "that of the original declaration.",
        CHANGE_NAME(name), vhost->name);
}

static bool may_use(const struct queue_entry *entry, connection_ref connection) {
    return !entry->exclusive || entry->owner == connection;
}

const struct queue_entry *vhost_use_queue(const struct vhost *vhost, struct bytes name,
    connection_ref connection, struct change_result *ret_result) {
    const struct queue_entry *entry = vhost_find_queue(vhost, name);
    if (!entry) {
        struct change_subject subject = queue_subject(vhost, name);
        (void)change_refuse_missing(ret_result, &subject);
        return NULL;
    }
    if (!may_use(entry, connection)) {
        (void)refuse_locked(vhost, name, ret_result);
        return NULL;
    }
    change_accept(ret_result, entry->queue);
    return entry;
}

static bool check_queue_name(
    const struct vhost *vhost, const struct change *change, struct change_result *ret_result) {
    struct change_subject subject = queue_subject(vhost, change->name);
    return change->server_named || check_name(&subject, ret_result);
}

void vhost_check_new_queue(
    const struct vhost *vhost, const struct change *change, struct change_result *ret_result) {
    struct change_subject subject = queue_subject(vhost, change->name);
    if (!check_queue_name(vhost, change, ret_result)) return;
    if (!args_check_new_queue(&subject, change, ret_result)) return;
    change_accept(ret_result, 0);
}

/* A redeclare has to ask for the owner that the queue has: the exclusive flag counts both ways. */
static bool check_same_queue(const struct vhost *vhost, const struct queue_entry *entry,
    const struct change *change, struct change_result *ret_result) {
    struct change_subject subject = queue_subject(vhost, entry->name);
    if (change->exclusive != entry->exclusive || !may_use(entry, change->connection)) {
        return refuse_locked(vhost, entry->name, ret_result);
    }
    bool durable = change->durable && !change->exclusive;
    return change_same_flag(ret_result, &subject, "durable", durable, entry->durable) &&
           change_same_flag(
               ret_result, &subject, "auto_delete", change->auto_delete, entry->auto_delete) &&
           args_equivalent_queue(&subject, entry->arguments, change->arguments, ret_result);
}

static bool answer_queue_declare(
    const struct vhost *vhost, const struct change *change, struct change_result *ret_result) {
    if (change->passive) {
        (void)vhost_use_queue(vhost, change->name, change->connection, ret_result);
        return true;
    }
    if (!check_queue_name(vhost, change, ret_result)) return true;
    const struct queue_entry *entry = vhost_find_queue(vhost, change->name);
    if (!entry) {
        vhost_check_new_queue(vhost, change, ret_result);
        return ret_result->code != REPLY_OK;
    }
    if (check_same_queue(vhost, entry, change, ret_result)) {
        change_accept(ret_result, entry->queue);
    }
    return true;
}

bool vhost_answer(
    const struct vhost *vhost, const struct change *change, struct change_result *ret_result) {
    enum exchange_kind kind;
    if (change->kind == CHANGE_EXCHANGE_DECLARE) {
        return judge_exchange_declare(vhost, change, &kind, ret_result) != TO_MAKE;
    }
    if (change->kind == CHANGE_QUEUE_DECLARE) {
        return answer_queue_declare(vhost, change, ret_result);
    }
    return false;
}

/* ---- bindings ---- */

static bool to_queue(const struct change *change) {
    return change->kind == CHANGE_QUEUE_BIND || change->kind == CHANGE_QUEUE_UNBIND;
}

/* Finds both ends; false when one is missing. */
static bool find_ends(
    const struct vhost *vhost, const struct change *change, struct binding_query *ret_query) {
    *ret_query = (struct binding_query){
        .source = vhost_find_exchange(vhost, change->source),
        .routing_key = change->routing_key,
    };
    if (to_queue(change)) {
        ret_query->queue = vhost_find_bound_queue(vhost, change->name);
    } else {
        ret_query->exchange = vhost_find_exchange(vhost, change->name);
    }
    return ret_query->source && (ret_query->queue || ret_query->exchange);
}

static bool check_ends_named(const struct change *change, struct change_result *ret_result) {
    if (!to_queue(change) && !check_not_default(change->name, ret_result)) return false;
    return check_not_default(change->source, ret_result);
}

/* A missing source is named before a missing destination. */
static void refuse_missing_end(const struct vhost *vhost, const struct change *change,
    const struct binding_query *query, struct change_result *ret_result) {
    struct change_subject subject = exchange_subject(vhost, change->source);
    if (query->source) {
        subject = to_queue(change) ? queue_subject(vhost, change->name)
                                   : exchange_subject(vhost, change->name);
    }
    (void)change_refuse_missing(ret_result, &subject);
}

static bool check_queue_use(const struct vhost *vhost, const struct binding_query *query,
    connection_ref connection, struct change_result *ret_result) {
    if (!query->queue || may_use(&query->queue->entry, connection)) return true;
    return refuse_locked(vhost, query->queue->entry.name, ret_result);
}

static void add_binding(struct vhost *vhost, const struct change *change,
    struct binding_query *query, struct change_result *ret_result) {
    if (query->source->kind == EXCHANGE_HEADERS &&
        !args_check_match(query->arguments, ret_result)) {
        return;
    }
    if (!check_queue_use(vhost, query, change->connection, ret_result)) return;
    if (!vhost_find_binding(vhost, query)) vhost_add_binding(vhost, query);
    change_accept(ret_result, query->queue ? query->queue->entry.queue : 0);
}

static void remove_binding(struct vhost *vhost, const struct change *change,
    struct binding_query *query, struct change_result *ret_result) {
    struct binding *binding = vhost_find_binding(vhost, query);
    if (binding && !check_queue_use(vhost, query, change->connection, ret_result)) return;
    change_accept(ret_result, query->queue ? query->queue->entry.queue : 0);
    if (binding) vhost_remove_binding(vhost, binding);
}

/* Bindings are known by their arguments in canonical form, which `room` is for. */
static struct bytes canonical(struct bytes arguments, uint8_t *room) {
    if (arguments.size == 0) return arguments;
    struct writer writer = writer_over(room, arguments.size);
    term_write_canonical(&writer, arguments);
    check(!writer.bad);
    return writer_bytes(&writer);
}

static void change_binding(
    struct vhost *vhost, const struct change *change, struct change_result *ret_result) {
    struct binding_query query;
    bool making = change->kind == CHANGE_QUEUE_BIND || change->kind == CHANGE_EXCHANGE_BIND;
    if (!check_ends_named(change, ret_result)) return;
    if (!find_ends(vhost, change, &query)) {
        change_accept(ret_result, 0);
        if (making) refuse_missing_end(vhost, change, &query, ret_result);
        return;
    }
    uint8_t *room = mem_raw(change->arguments.size);
    query.arguments = canonical(change->arguments, room);
    if (making) {
        add_binding(vhost, change, &query, ret_result);
    } else {
        remove_binding(vhost, change, &query, ret_result);
    }
    mem_free(room);
}

/* ---- thinning ---- */

enum { THINNED_BINDINGS = 256 };

static bool is_many(const struct list *bindings) {
    uint32_t count = 0;
    const struct list_node *node = list_first(bindings);
    while (node && node != &bindings->head && count <= THINNED_BINDINGS) {
        node = node->next;
        count++;
    }
    return count > THINNED_BINDINGS;
}

/* The exchange that the change will delete; one in use is not deleted when that counts. */
static struct exchange *exchange_to_delete(const struct vhost *vhost, const struct change *change) {
    bool refused = change->name.size == 0 || reserved(change->name) || change->if_unused;
    return refused ? NULL : vhost_find_exchange(vhost, change->name);
}

bool vhost_takes_many(const struct vhost *vhost, const struct change *change) {
    if (change->kind == CHANGE_QUEUE_DELETE) {
        const struct bound_queue *queue = vhost_find_bound_queue(vhost, change->name);
        return queue && is_many(&queue->bindings);
    }
    if (change->kind != CHANGE_EXCHANGE_DELETE) return false;
    const struct exchange *exchange = exchange_to_delete(vhost, change);
    return exchange && is_many(&exchange->bindings);
}

void vhost_thin(struct vhost *vhost, const struct change *change) {
    if (change->kind == CHANGE_QUEUE_DELETE) {
        struct bound_queue *queue = vhost_find_bound_queue(vhost, change->name);
        vhost_thin_queue(vhost, queue, THINNED_BINDINGS);
    } else {
        vhost_thin_exchange(vhost, exchange_to_delete(vhost, change), THINNED_BINDINGS);
    }
}

void vhost_change(
    struct vhost *vhost, const struct change *change, struct change_result *ret_result) {
    check(change->name.size <= NAME_BYTES_MAX);
    check(change->routing_key.size <= NAME_BYTES_MAX);
    switch (change->kind) {
    case CHANGE_EXCHANGE_DECLARE: declare_exchange(vhost, change, ret_result); return;
    case CHANGE_EXCHANGE_DELETE: delete_exchange(vhost, change, ret_result); return;
    case CHANGE_EXCHANGE_BIND:
    case CHANGE_EXCHANGE_UNBIND:
    case CHANGE_QUEUE_BIND:
    case CHANGE_QUEUE_UNBIND: change_binding(vhost, change, ret_result); return;
    case CHANGE_QUEUE_DECLARE:
    case CHANGE_QUEUE_DELETE: break;
    }
    unreachable_here();
}
