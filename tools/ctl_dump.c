/* ctl_dump: prints what a data directory holds: messages that live, or the records themselves. */
#include "tools/ctl_data.h"
#include "tools/ctl_definitions.h"
#include "tools/ctl_living.h"
#include "tools/ctl_table.h"

#include <stdio.h>
#include <string.h>

#include "amqp/properties.h"
#include "amqp/value.h"
#include "base/memory.h"
#include "base/str.h"
#include "store/segment.h"

enum { SHORT_BODY_BYTES = 256, TARGET_TEXT_BYTES = 80 };

struct dump {
    const struct ctl_data *data;
    struct ctl_table table;
    bool failed; /* standard output takes no more */
};

static void add_columns(struct dump *dump, const struct ctl_column *columns, uint32_t count) {
    dump->table.json = dump->data->json;
    dump->table.headers = dump->data->headers;
    for (uint32_t i = 0; i < count; i++)
        dump->table.columns[dump->table.column_count++] = &columns[i];
}

/* Takes the row; false when that was enough. */
static bool put_row(struct dump *dump, json_t *row) {
    dump->failed = !ctl_table_put(&dump->table, row);
    json_decref(row);
    return !dump->failed && dump->table.rows < dump->data->limit;
}

/* ---- messages ---- */

static const struct ctl_column message_columns[] = {{"queue", "queue"}, {"vhost", "vhost"},
    {"seq", "seq"}, {"exchange", "exchange"}, {"routing_key", "routing_key"},
    {"payload_bytes", "payload_bytes"}, {"redelivered", "redelivered"},
    {"properties", "properties"}, {"payload_encoding", "payload_encoding"}, {"payload", "payload"}};

/* One value per type of property. */
#define VALUE_SHORTSTR(value)  value_text(value)
#define VALUE_TABLE(value)     value_table(value)
#define VALUE_OCTET(value)     json_integer(value)
#define VALUE_TIMESTAMP(value) json_integer((json_int_t)(value))

static json_t *properties_json(struct bytes encoded) {
    struct properties properties;
    json_t *json = json_object();
    if (!properties_decode(encoded, &properties)) return json;
#define PROPERTY(name, type, bit)                                                                  \
    if (properties.flags & PROPERTY_HAS_##name)                                                    \
        json_object_set_new(json, #name, VALUE_##type(properties.name));
#include "amqp/properties.def"
#undef PROPERTY
    return json;
}

static json_t *base64(struct bytes bytes) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t size = ((size_t)bytes.size + 2) / 3 * 4;
    char *text = mem_raw(size + 1);
    char *to = text;
    for (uint32_t at = 0; at < bytes.size; at += 3) {
        uint32_t left = bytes.size - at;
        uint32_t group = (uint32_t)bytes.data[at] << 16;
        if (left > 1) group |= (uint32_t)bytes.data[at + 1] << 8;
        if (left > 2) group |= bytes.data[at + 2];
        *to++ = digits[group >> 18];
        *to++ = digits[group >> 12 & 63];
        *to++ = left > 1 ? digits[group >> 6 & 63] : '=';
        *to++ = left > 2 ? digits[group & 63] : '=';
    }
    json_t *json = json_stringn(text, size);
    mem_free(text);
    return json;
}

/* As RabbitMQ's HTTP API gives messages: text as it is, anything else in base64. */
static void put_payload(const struct dump *dump, json_t *row, struct bytes body) {
    bool text = str_is_utf8(body) && (body.size == 0 || !memchr(body.data, 0, body.size));
    bool shown = dump->data->body || (text && body.size <= SHORT_BODY_BYTES);
    if (!shown) return;
    json_object_set_new(row, "payload_encoding", json_string(text ? "string" : "base64"));
    json_object_set_new(row, "payload", text ? value_text(body) : base64(body));
}

static bool on_message(void *context, const struct ctl_living *living) {
    struct dump *dump = context;
    const struct ctl_queue *queue = living->queue;
    const struct ctl_data *data = dump->data;
    struct bytes name = bytes_of(queue->name, queue->name_size);
    struct bytes vhost = bytes_of(queue->vhost, queue->vhost_size);
    if (data->queue && !bytes_equal(name, bytes_text(data->queue))) return true;
    if (data->vhost && !bytes_equal(vhost, bytes_text(data->vhost))) return true;
    json_t *row = json_pack("{s:o, s:o, s:I, s:o, s:o, s:I, s:b, s:o}", "queue", value_text(name),
        "vhost", value_text(vhost), "seq", (json_int_t)living->seq, "exchange",
        value_text(living->exchange), "routing_key", value_text(living->routing_key),
        "payload_bytes", (json_int_t)living->body.size, "redelivered", living->redelivered,
        "properties", properties_json(living->properties));
    put_payload(dump, row, living->body);
    return put_row(dump, row);
}

static int dump_messages(struct dump *dump, struct ctl_home *home) {
    struct ctl_living_counts counts;
    add_columns(dump, message_columns, COUNT_OF(message_columns));
    if (dump->data->limit == 0) return 0;
    return ctl_living_walk(home, on_message, dump, &counts);
}

/* ---- records ---- */

static const struct ctl_column record_columns[] = {{"kind", "kind"}, {"writer", "writer"},
    {"number", "number"}, {"lsn", "lsn"}, {"type", "type"}, {"flags", "flags"},
    {"message_id", "message_id"}, {"bytes", "bytes"}, {"targets", "targets"}};

static uint64_t count_settled(const struct record_view *view) {
    uint64_t count = 0;
    for (uint32_t i = 0; i < record_settled_words(view); i++)
        count += (uint64_t)__builtin_popcountll(record_settled_word(view, i));
    return count;
}

static json_t *targets_json(const struct record_view *view) {
    json_t *targets = json_array();
    char text[TARGET_TEXT_BYTES];
    for (uint32_t i = 0; i < view->target_count; i++) {
        struct record_target target = record_view_target(view, i);
        size_t size = str_format(text, sizeof text, "%llu:%llu", (unsigned long long)target.queue,
            (unsigned long long)target.seq);
        if (view->target_bytes == RECORD_SPAN_BYTES)
            str_format(text + size, sizeof text - size, "+%llu", (unsigned long long)target.count);
        json_array_append_new(targets, json_string(text));
    }
    if (view->type == RECORD_SETTLED) {
        str_format(text, sizeof text, "%llu of %u settled", (unsigned long long)count_settled(view),
            record_settled_words(view) * RECORD_SETTLED_PLACES);
        json_array_append_new(targets, json_string(text));
    }
    /* A manifest has files instead. */
    bool manifest = manifest_is(view->type);
    for (uint32_t i = 0; manifest && i < manifest_count(view); i++) {
        struct segment_ref ref = manifest_at(view, i);
        bool kept = (ref.number & SEGMENT_REF_KEPT) != 0;
        str_format(text, sizeof text, "%s %llu %016llx", kept ? "journal" : "segment",
            (unsigned long long)(ref.number & ~SEGMENT_REF_KEPT), (unsigned long long)ref.file_id);
        json_array_append_new(targets, json_string(text));
    }
    return targets;
}

static bool names_queue(const struct dump *dump, const struct record_view *view, uint64_t id) {
    if (!dump->data->queue) return true;
    for (uint32_t i = 0; i < view->target_count; i++) {
        if (record_view_target(view, i).queue == id) return true;
    }
    return false;
}

struct record_dump {
    struct dump *dump;
    uint64_t queue; /* its id, when one is asked for */
    bool ended;
};

static void on_record(void *context, const struct recover_record *record) {
    struct record_dump *records = context;
    const struct record_view *view = record->view;
    if (records->ended || !names_queue(records->dump, view, records->queue)) return;
    json_t *row = json_pack("{s:s, s:i, s:I, s:I, s:s, s:i, s:I, s:I, s:o}", "kind",
        record->kept         ? "kept"
        : record->in_segment ? "segment"
                             : "journal",
        "writer", record->shard, "number", (json_int_t)record->file_no, "lsn",
        (json_int_t)record->lsn, "type", record_type_text(view->type), "flags", view->flags,
        "message_id", (json_int_t)view->message_id, "bytes", (json_int_t)view->size, "targets",
        targets_json(view));
    records->ended = !put_row(records->dump, row);
}

static uint64_t id_of(const struct ctl_home *home, const struct ctl_data *data) {
    for (size_t i = 0; data->queue && i < home->queue_count; i++) {
        const struct ctl_queue *queue = &home->queues[i];
        if (strcmp(queue->name, data->queue) != 0) continue;
        if (!data->vhost || strcmp(queue->vhost, data->vhost) == 0) return queue->id;
    }
    return 0;
}

static int dump_records(struct dump *dump, struct ctl_home *home) {
    struct record_dump records = {.dump = dump, .queue = id_of(home, dump->data)};
    add_columns(dump, record_columns, COUNT_OF(record_columns));
    if (!home->recovery || dump->data->limit == 0) return 0;
    return recover_replay(home->recovery, UINT32_MAX, on_record, &records);
}

/* ---- the command ---- */

static int complain(const char *text) {
    fprintf(stderr, "godwitctl: %s\n", text);
    return 1;
}

int ctl_data_dump(const struct ctl_data *data, struct ctl_home *home) {
    struct dump dump = {.data = data};
    int error = 0;
    if (home->recovery && recover_verdict(home->recovery) == RECOVER_REFUSED)
        return complain("files of a newer version or of another node: godwitctl data verify");
    if (data->queue && id_of(home, data) == 0) return complain("there is no queue of that name");
    if (!data->messages && !data->records) {
        if (!ctl_definitions_print(home, data->vhost, data->json))
            return complain(home->wrong_count ? home->wrongs[0] : "definitions cannot be printed");
    } else {
        error = data->messages ? dump_messages(&dump, home) : dump_records(&dump, home);
        dump.failed = !ctl_table_end(&dump.table) || dump.failed;
    }
    if (error != 0) return complain("a second reading gave something else than the first");
    if (dump.failed) return complain("cannot write");
    if (ctl_home_damaged(home))
        return complain("what is damaged was left out: godwitctl data verify lists it");
    return 0;
}
