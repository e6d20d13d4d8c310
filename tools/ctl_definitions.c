/* ctl_definitions: the definitions of a data directory, as lines or as RabbitMQ exports them. */
#include "tools/ctl_definitions.h"

#include "tools/ctl_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "amqp/table.h"
#include "amqp/value.h"
#include "store/definition.h"

struct printing {
    const char *vhost;
    json_t *all; /* what is exported, or NULL: lines */
};

/* ---- lines ---- */

static const struct ctl_column vhost_line[] = {{"vhost", "name"}};
static const struct ctl_column exchange_line[] = {{"exchange", "name"}, {"vhost", "vhost"},
    {"type", "type"}, {"durable", "durable"}, {"auto_delete", "auto_delete"},
    {"internal", "internal"}, {"arguments", "arguments"}};
static const struct ctl_column queue_line[] = {{"queue", "name"}, {"vhost", "vhost"}, {"id", "id"},
    {"durable", "durable"}, {"auto_delete", "auto_delete"}, {"arguments", "arguments"}};
static const struct ctl_column binding_line[] = {{"binding", "source"}, {"vhost", "vhost"},
    {"destination", "destination"}, {"destination_type", "destination_type"},
    {"routing_key", "routing_key"}, {"arguments", "arguments"}};

/* "exchange orders vhost=/ type=topic ..." */
static void print_line(const struct ctl_column *columns, size_t count, json_t *row) {
    for (size_t i = 0; i < count; i++) {
        printf(i == 0 ? "%s " : " %s=", columns[i].name);
        ctl_table_print(json_object_get(row, columns[i].key));
    }
    putchar('\n');
}

/* ---- rows ---- */

static void put_declared(json_t *row, const struct definition *definition) {
    json_object_set_new(row, "durable", json_true());
    json_object_set_new(row, "auto_delete", json_boolean(definition->auto_delete));
}

/* Takes the row. */
static void put_row(struct printing *printing, enum metadata_kind kind, json_t *row) {
    const char *name = json_string_value(json_object_get(row, "name"));
    const char *list = "bindings";
    if (!printing->all) {
        if (kind == METADATA_VHOST)
            print_line(vhost_line, COUNT_OF(vhost_line), row);
        else if (kind == METADATA_EXCHANGE)
            print_line(exchange_line, COUNT_OF(exchange_line), row);
        else if (kind == METADATA_QUEUE)
            print_line(queue_line, COUNT_OF(queue_line), row);
        else
            print_line(binding_line, COUNT_OF(binding_line), row);
        json_decref(row);
        return;
    }
    if (kind == METADATA_VHOST) list = "vhosts";
    if (kind == METADATA_EXCHANGE) list = "exchanges";
    if (kind == METADATA_QUEUE) list = "queues";
    json_object_del(row, "id");
    /* Every broker has these, and RabbitMQ does not export them. */
    bool everywhere = kind == METADATA_EXCHANGE && name &&
                      (name[0] == 0 || strncmp(name, "amq.", strlen("amq.")) == 0);
    if (everywhere)
        json_decref(row);
    else
        json_array_append_new(json_object_get(printing->all, list), row);
}

static int on_row(void *context, const struct metadata_row *row) {
    struct printing *printing = context;
    struct definition definition;
    if (printing->vhost && !bytes_equal(row->key[0], bytes_text(printing->vhost))) return 0;
    /* What is wrong with a row has been said when the directory was opened. */
    if (definition_read(row, &definition) != NULL || !table_valid(definition.table)) return 0;
    json_t *json = json_object();
    if (row->kind == METADATA_VHOST) {
        json_object_set_new(json, "name", value_text(row->key[0]));
        put_row(printing, row->kind, json);
        return 0;
    }
    json_object_set_new(json, "vhost", value_text(row->key[0]));
    json_object_set_new(json, "arguments", value_table(definition.table));
    bool queue = row->kind == METADATA_QUEUE;
    if (queue || row->kind == METADATA_EXCHANGE) {
        json_object_set_new(json, "name", value_text(row->key[1]));
        put_declared(json, &definition);
        if (queue) {
            json_object_set_new(json, "id", json_integer((json_int_t)row->id));
        } else {
            json_object_set_new(json, "type", value_text(definition.type));
            json_object_set_new(json, "internal", json_boolean(definition.internal));
        }
    } else {
        bool to_queue = row->kind == METADATA_QUEUE_BINDING;
        json_object_set_new(json, "source", value_text(row->key[2]));
        json_object_set_new(json, "destination", value_text(row->key[1]));
        json_object_set_new(json, "destination_type", json_string(to_queue ? "queue" : "exchange"));
        json_object_set_new(json, "routing_key", value_text(row->key[3]));
    }
    put_row(printing, row->kind, json);
    return 0;
}

bool ctl_definitions_print(const struct ctl_home *home, const char *vhost, bool json) {
    struct printing printing = {.vhost = vhost};
    if (!home->metadata) return false;
    if (json) {
        printing.all = json_pack("{s:s, s:s, s:[], s:[], s:[], s:[]}", "product_name", "Godwit",
            "product_version", GODWIT_VERSION, "vhosts", "queues", "exchanges", "bindings");
    }
    bool good = metadata_load(home->metadata, on_row, &printing) == 0;
    if (json) {
        json_dumpf(printing.all, stdout, JSON_INDENT(2));
        putchar('\n');
        json_decref(printing.all);
    }
    return good && fflush(stdout) == 0;
}
