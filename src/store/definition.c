/* definition: what the row of a virtual host, exchange, queue or binding says beside its key. */
#include "store/definition.h"

#include "base/limits.h"

enum { FLAG_AUTO_DELETE = 1, FLAG_INTERNAL = 2 };

const char DEFINITION_NEVER_WRITTEN[] =
    "was never written; the file is damaged: restore it from a backup";

/* version, flags, type (exchanges only), arguments up to the end */
struct bytes definition_write(
    enum metadata_kind kind, const struct definition *definition, struct buffer *room) {
    bool exchange = kind == METADATA_EXCHANGE;
    bool declared = exchange || kind == METADATA_QUEUE;
    size_t size = 3 + (size_t)definition->type.size + definition->table.size;
    room->size = 0;
    uint8_t *data = buffer_room(room, size);
    check(data != NULL);
    struct writer writer = writer_over(data, size);
    write_u8(&writer, DEFINITION_VERSION);
    if (declared) {
        write_u8(&writer, (uint8_t)((definition->auto_delete ? FLAG_AUTO_DELETE : 0) |
                                    (exchange && definition->internal ? FLAG_INTERNAL : 0)));
    }
    if (exchange) write_shortstr(&writer, definition->type);
    if (declared) write_bytes(&writer, definition->table);
    check(!writer.bad);
    return writer_bytes(&writer);
}

static const char *read_declared(
    struct reader *reader, bool exchange, struct definition *ret_definition) {
    uint8_t flags = read_u8(reader);
    if (flags & ~(FLAG_AUTO_DELETE | (exchange ? FLAG_INTERNAL : 0)))
        return "has flags that this program does not know: run a newer one";
    ret_definition->auto_delete = (flags & FLAG_AUTO_DELETE) != 0;
    ret_definition->internal = (flags & FLAG_INTERNAL) != 0;
    if (exchange) ret_definition->type = read_shortstr(reader);
    ret_definition->table = read_bytes(reader, reader_left(reader));
    return NULL;
}

static const char *read_kind(
    const struct metadata_row *row, struct reader *reader, struct definition *ret_definition) {
    switch (row->kind) {
    case METADATA_VHOST: return NULL;
    case METADATA_EXCHANGE: return read_declared(reader, true, ret_definition);
    case METADATA_QUEUE: return read_declared(reader, false, ret_definition);
    case METADATA_QUEUE_BINDING:
    case METADATA_EXCHANGE_BINDING: ret_definition->table = row->key[4]; return NULL;
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

const char *definition_read(const struct metadata_row *row, struct definition *ret_definition) {
    *ret_definition = (struct definition){.auto_delete = false};
    struct reader reader = reader_over(row->content);
    uint8_t version = read_u8(&reader);
    if (version > DEFINITION_VERSION)
        return "has a version that this program does not know: run a newer one";
    const char *wrong = read_kind(row, &reader, ret_definition);
    if (wrong) return wrong;
    bool good = version != 0 && !reader.bad && reader_left(&reader) == 0;
    /* The parts behind a kind's key are empty, and arguments are no name. */
    for (int i = 0; i < METADATA_KEY_PARTS_MAX - 1; i++)
        good = good && row->key[i].size <= NAME_BYTES_MAX;
    return good ? NULL : DEFINITION_NEVER_WRITTEN;
}
