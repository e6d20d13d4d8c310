/* row: one queue, connection, exchange or binding as RabbitMQ's HTTP API shows it. */
#include "admin/row.h"

#include "amqp/table.h"
#include "amqp/value.h"
#include "base/map.h"
#include "base/str.h"

static void put(json_t *row, const char *name, json_t *value) {
    json_object_set_new(row, name, value);
}

static void put_text(json_t *row, const char *name, const char *value) {
    put(row, name, value_text(bytes_text(value)));
}

static void put_number(json_t *row, const char *name, uint64_t value) {
    put(row, name, json_integer((json_int_t)value));
}

static const char *queue_type(struct bytes arguments) {
    struct field field;
    if (!table_find(arguments, BYTES("x-queue-type"), &field) || field.type != 'S')
        return "classic";
    if (bytes_equal(field.bytes, BYTES("quorum"))) return "quorum";
    return bytes_equal(field.bytes, BYTES("stream")) ? "stream" : "classic";
}

json_t *row_of_queue(const struct row_place *place, const struct queue_entry *entry,
    const struct survey_queue *figures) {
    json_t *row = json_object();
    put(row, "name", value_text(entry->name));
    put_text(row, "vhost", place->vhost);
    put_text(row, "type", queue_type(entry->arguments));
    put(row, "durable", json_boolean(entry->durable));
    put(row, "auto_delete", json_boolean(entry->auto_delete));
    put(row, "exclusive", json_boolean(entry->exclusive));
    put(row, "arguments", value_table(entry->arguments));
    put_text(row, "node", place->node);
    put_text(row, "state", "running");
    put_number(row, "consumers", figures->consumers);
    put_number(row, "messages", figures->ready + figures->unacked);
    put_number(row, "messages_ready", figures->ready);
    put_number(row, "messages_unacknowledged", figures->unacked);
    put_number(row, "message_bytes", figures->bytes);
    return row;
}

/* "127.0.0.1:5000" and "::1:5000", cut at the last colon. */
static void put_peer(json_t *row, const char *peer) {
    const char *colon = strrchr(peer, ':');
    size_t size = colon ? (size_t)(colon - peer) : strlen(peer);
    uint64_t port = 0;
    put(row, "peer_host", value_text(bytes_of(peer, size)));
    if (colon && str_to_u64(bytes_text(colon + 1), &port)) put_number(row, "peer_port", port);
}

json_t *row_of_client(const struct row_place *place, const struct survey_client *client) {
    json_t *row = json_object();
    put_text(row, "name", client->peer);
    put_peer(row, client->peer);
    put(row, "user", value_text(survey_bytes(&client->user)));
    put(row, "vhost", value_text(survey_bytes(&client->vhost)));
    put(row, "user_provided_name", value_text(survey_bytes(&client->client_name)));
    put_text(row, "state", client->state);
    put_text(row, "node", place->node);
    put_text(row, "type", "network");
    put_text(row, "protocol", "AMQP 0-9-1");
    put(row, "ssl", json_false());
    put_number(row, "channels", client->channels);
    put_number(row, "consumers", client->consumers);
    put_number(row, "messages_unacknowledged", client->unacked);
    put_number(row, "messages_unconfirmed", client->unconfirmed);
    return row;
}

json_t *row_of_exchange(const struct row_place *place, const struct inventory_exchange *exchange) {
    json_t *row = json_object();
    put(row, "name", value_text(exchange->name));
    put_text(row, "vhost", place->vhost);
    put_text(row, "type", exchange->type);
    put(row, "durable", json_boolean(exchange->durable));
    put(row, "auto_delete", json_boolean(exchange->auto_delete));
    put(row, "internal", json_boolean(exchange->internal));
    put(row, "arguments", value_table(exchange->arguments));
    return row;
}

/* What tells bindings between the same two apart: the key, and a hash of the arguments if there are
 * any; "~" stands for an empty key. */
static json_t *properties_key(const struct inventory_binding *binding) {
    char text[300];
    if (binding->arguments.size == 0)
        return binding->routing_key.size == 0 ? json_string("~") : value_text(binding->routing_key);
    size_t size = str_format(text, sizeof text, "%.*s~%016llx", (int)binding->routing_key.size,
        (const char *)binding->routing_key.data,
        (unsigned long long)map_hash(binding->arguments, 0));
    return value_text(bytes_of(text, size));
}

json_t *row_of_binding(const struct row_place *place, const struct inventory_binding *binding) {
    json_t *row = json_object();
    put(row, "source", value_text(binding->source));
    put_text(row, "vhost", place->vhost);
    put(row, "destination", value_text(binding->destination));
    put_text(row, "destination_type", binding->to_exchange ? "exchange" : "queue");
    put(row, "routing_key", value_text(binding->routing_key));
    put(row, "arguments", value_table(binding->arguments));
    put(row, "properties_key", properties_key(binding));
    return row;
}

json_t *row_choose_columns(json_t *row, const char *columns) {
    if (columns[0] == 0) return row;
    json_t *chosen = json_object();
    while (*columns) {
        size_t size = strcspn(columns, ",");
        char name[64];
        str_format(name, sizeof name, "%.*s", (int)min_u64(size, sizeof name - 1), columns);
        json_t *value = json_object_get(row, name);
        if (value) json_object_set(chosen, name, value);
        columns += size;
        columns += *columns == ',';
    }
    json_decref(row);
    return chosen;
}
