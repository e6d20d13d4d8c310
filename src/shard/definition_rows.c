/* definition_rows: exchanges, queues and bindings as rows of the metadata, and back. */
#include "shard/definition_rows.h"

#include "amqp/table.h"
#include "core/term.h"
#include "store/definition.h"

/* ---- to rows ---- */

static const uint8_t version_alone[] = {DEFINITION_VERSION};

static struct bytes content_of(const struct change *change, struct buffer *room) {
    bool exchange = change->kind == CHANGE_EXCHANGE_DECLARE;
    struct definition definition = {.auto_delete = change->auto_delete,
        .internal = change->internal,
        .type = change->type,
        .table = change->arguments};
    return definition_write(exchange ? METADATA_EXCHANGE : METADATA_QUEUE, &definition, room);
}

/* Bindings are the same when their arguments are in canonical form, so that is their key. */
static struct bytes canonical(struct bytes arguments, struct buffer *room) {
    if (arguments.size == 0) return arguments;
    room->size = 0;
    uint8_t *data = buffer_room(room, arguments.size);
    check(data != NULL);
    struct writer writer = writer_over(data, arguments.size);
    term_write_canonical(&writer, arguments);
    check(!writer.bad);
    return writer_bytes(&writer);
}

static struct metadata_row row_of_binding(
    struct bytes vhost, const struct change *change, struct buffer *room) {
    bool to_queue = change->kind == CHANGE_QUEUE_BIND || change->kind == CHANGE_QUEUE_UNBIND;
    return (struct metadata_row){
        .kind = to_queue ? METADATA_QUEUE_BINDING : METADATA_EXCHANGE_BINDING,
        .key = {vhost, change->name, change->source, change->routing_key,
            canonical(change->arguments, room)},
        .content = bytes_of(version_alone, sizeof version_alone)};
}

struct metadata_row definition_row_of_vhost(struct bytes vhost) {
    return (struct metadata_row){.kind = METADATA_VHOST,
        .key = {vhost},
        .content = bytes_of(version_alone, sizeof version_alone)};
}

struct metadata_row definition_row_of_exchange(struct bytes vhost, struct bytes name) {
    return (struct metadata_row){.kind = METADATA_EXCHANGE, .key = {vhost, name}};
}

struct metadata_row definition_row_of(
    struct bytes vhost, const struct change *change, uint64_t id, struct buffer *room) {
    struct metadata_row row = {.kind = METADATA_QUEUE, .id = id, .key = {vhost, change->name}};
    switch (change->kind) {
    case CHANGE_EXCHANGE_DECLARE:
        row = definition_row_of_exchange(vhost, change->name);
        row.content = content_of(change, room);
        return row;
    case CHANGE_EXCHANGE_DELETE: return definition_row_of_exchange(vhost, change->name);
    case CHANGE_QUEUE_DECLARE: row.content = content_of(change, room); return row;
    case CHANGE_QUEUE_DELETE: return row;
    case CHANGE_EXCHANGE_BIND:
    case CHANGE_EXCHANGE_UNBIND:
    case CHANGE_QUEUE_BIND:
    case CHANGE_QUEUE_UNBIND: return row_of_binding(vhost, change, room);
    }
    unreachable_here();
}

/* ---- and back ---- */

static void read_declare(const struct definition *definition, struct change *ret_change) {
    ret_change->durable = true;
    ret_change->auto_delete = definition->auto_delete;
    ret_change->internal = definition->internal;
    ret_change->type = definition->type;
}

static void read_binding(const struct metadata_row *row, struct change *ret_change) {
    ret_change->source = row->key[2];
    ret_change->routing_key = row->key[3];
}

const char *definition_row_read(const struct metadata_row *row, struct change *ret_change) {
    struct definition definition;
    *ret_change = (struct change){0};
    const char *wrong = definition_read(row, &definition);
    if (wrong) return wrong;
    ret_change->name = row->key[row->kind == METADATA_VHOST ? 0 : 1];
    ret_change->arguments = definition.table;
    if (row->kind == METADATA_EXCHANGE) {
        ret_change->kind = CHANGE_EXCHANGE_DECLARE;
        read_declare(&definition, ret_change);
    } else if (row->kind == METADATA_QUEUE) {
        ret_change->kind = CHANGE_QUEUE_DECLARE;
        ret_change->server_named = true; /* its name was fine when it was made */
        read_declare(&definition, ret_change);
    } else if (row->kind != METADATA_VHOST) {
        bool to_queue = row->kind == METADATA_QUEUE_BINDING;
        ret_change->kind = to_queue ? CHANGE_QUEUE_BIND : CHANGE_EXCHANGE_BIND;
        read_binding(row, ret_change);
    }
    return table_valid(definition.table) ? NULL : DEFINITION_NEVER_WRITTEN;
}
