/* definition_rows: exchanges, queues and bindings as rows of the metadata, and back. */
#include "shard/definition_rows.h"

#include "amqp/table.h"
#include "base/limits.h"
#include "core/term.h"

enum { VERSION = 1 };

enum { FLAG_AUTO_DELETE = 1, FLAG_INTERNAL = 2 };

static const uint8_t version_alone[] = {VERSION};

/* ---- to rows ---- */

static struct writer write_into(struct buffer *room, size_t size) {
    room->size = 0;
    uint8_t *data = buffer_room(room, size);
    check(data != NULL);
    return writer_over(data, size);
}

/* version, flags, type (exchanges only), arguments up to the end */
static struct bytes content_of(const struct change *change, struct buffer *room) {
    bool exchange = change->kind == CHANGE_EXCHANGE_DECLARE;
    size_t size = 2 + (exchange ? 1 + (size_t)change->type.size : 0) + change->arguments.size;
    struct writer writer = write_into(room, size);
    write_u8(&writer, VERSION);
    write_u8(&writer, (uint8_t)((change->auto_delete ? FLAG_AUTO_DELETE : 0) |
                                (exchange && change->internal ? FLAG_INTERNAL : 0)));
    if (exchange) write_shortstr(&writer, change->type);
    write_bytes(&writer, change->arguments);
    check(!writer.bad);
    return writer_bytes(&writer);
}

/* Bindings are the same when their arguments are in canonical form, so that is their key. */
static struct bytes canonical(struct bytes arguments, struct buffer *room) {
    if (arguments.size == 0) return arguments;
    struct writer writer = write_into(room, arguments.size);
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

static const char *read_declare(struct reader *reader, bool exchange, struct change *ret_change) {
    uint8_t flags = read_u8(reader);
    if (flags & ~(FLAG_AUTO_DELETE | (exchange ? FLAG_INTERNAL : 0)))
        return "has flags that this program does not know: run a newer one";
    ret_change->durable = true;
    ret_change->auto_delete = (flags & FLAG_AUTO_DELETE) != 0;
    ret_change->internal = (flags & FLAG_INTERNAL) != 0;
    if (exchange) ret_change->type = read_shortstr(reader);
    ret_change->arguments = read_bytes(reader, reader_left(reader));
    return NULL;
}

static void read_binding(const struct metadata_row *row, struct change *ret_change) {
    ret_change->source = row->key[2];
    ret_change->routing_key = row->key[3];
    ret_change->arguments = row->key[4];
}

static const char *read_kind(
    const struct metadata_row *row, struct reader *reader, struct change *ret_change) {
    ret_change->name = row->key[1];
    switch (row->kind) {
    case METADATA_VHOST: ret_change->name = row->key[0]; return NULL;
    case METADATA_EXCHANGE:
        ret_change->kind = CHANGE_EXCHANGE_DECLARE;
        return read_declare(reader, true, ret_change);
    case METADATA_QUEUE:
        ret_change->kind = CHANGE_QUEUE_DECLARE;
        ret_change->server_named = true; /* its name was fine when it was made */
        return read_declare(reader, false, ret_change);
    case METADATA_QUEUE_BINDING:
        ret_change->kind = CHANGE_QUEUE_BIND;
        read_binding(row, ret_change);
        return NULL;
    case METADATA_EXCHANGE_BINDING:
        ret_change->kind = CHANGE_EXCHANGE_BIND;
        read_binding(row, ret_change);
        return NULL;
    case METADATA_USER:
    case METADATA_PERMISSION:
    case METADATA_TOPIC_PERMISSION:
    case METADATA_POLICY:
    case METADATA_OPERATOR_POLICY:
    case METADATA_PARAMETER:
    case METADATA_GLOBAL_PARAMETER:
        return "is of a kind that this program does not use: run a newer one";
    case METADATA_KINDS: break;
    }
    unreachable_here();
}

const char *definition_row_read(const struct metadata_row *row, struct change *ret_change) {
    *ret_change = (struct change){0};
    struct reader reader = reader_over(row->content);
    uint8_t version = read_u8(&reader);
    if (version > VERSION) return "has a version that this program does not know: run a newer one";
    const char *wrong = read_kind(row, &reader, ret_change);
    if (wrong) return wrong;
    bool good = version != 0 && !reader.bad && reader_left(&reader) == 0 &&
                table_valid(ret_change->arguments);
    /* The parts behind a kind's key are empty, and arguments are no name. */
    for (int i = 0; i < METADATA_KEY_PARTS_MAX - 1; i++)
        good = good && row->key[i].size <= NAME_BYTES_MAX;
    return good ? NULL : "was never written; the file is damaged: restore it from a backup";
}
