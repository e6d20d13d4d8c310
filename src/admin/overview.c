/* overview: the figures as RabbitMQ's HTTP API shows them. What has no figure here is left out. */
#include "admin/overview.h"

#include <jansson.h>
#include <stdlib.h>
#include <unistd.h>

#include "amqp/value.h"

static void put_json(struct web_call *call, json_t *value) {
    char *text = json_dumps(value, JSON_COMPACT);
    json_decref(value);
    web_put(call, text, strlen(text));
    free(text);
}

static json_t *text(const char *value) {
    return value_text(bytes_text(value));
}

static json_t *number(uint64_t value) {
    return json_integer((json_int_t)value);
}

static json_t *exchange_types(void) {
    static const char *const names[] = {"direct", "fanout", "headers", "topic"};
    json_t *types = json_array();
    for (size_t i = 0; i < COUNT_OF(names); i++)
        json_array_append_new(types, json_pack("{s:s, s:b}", "name", names[i], "enabled", 1));
    return types;
}

static json_t *message_stats(const struct figures *f) {
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "publish",
        number(f->published), "confirm", number(f->confirmed), "deliver",
        number(f->delivered - f->delivered_no_ack), "deliver_no_ack", number(f->delivered_no_ack),
        "get", number(f->got), "deliver_get", number(f->delivered + f->got), "ack",
        number(f->settled), "redeliver", number(f->requeued), "drop_unroutable",
        number(f->unroutable_dropped));
}

void overview_print(const struct node *node, const struct figures *f, struct web_call *call) {
    const struct survey_sums *sums = &f->sums;
    directory_read(node->broker->directory);
    uint32_t exchanges = vhost_exchange_count(node->broker->vhost);
    directory_done(node->broker->directory);
    json_t *overview = json_object();
    json_object_set_new(overview, "management_version", text(f->version));
    json_object_set_new(overview, "rabbitmq_version", text(f->version));
    json_object_set_new(overview, "product_name", text(f->product));
    json_object_set_new(overview, "product_version", text(f->version));
    json_object_set_new(overview, "godwit_version", text(GODWIT_VERSION));
    json_object_set_new(overview, "cluster_name", text(f->cluster_name));
    json_object_set_new(overview, "node", text(f->node_name));
    json_object_set_new(overview, "rates_mode", text("none"));
    json_object_set_new(overview, "exchange_types", exchange_types());
    json_object_set_new(overview, "object_totals",
        json_pack("{s:o, s:o, s:o, s:o, s:o}", "connections", number(sums->connections), "channels",
            number(sums->channels), "consumers", number(sums->consumers), "exchanges",
            number(exchanges), "queues", number(sums->queues)));
    json_object_set_new(overview, "queue_totals",
        json_pack("{s:o, s:o, s:o}", "messages", number(sums->ready + sums->unacked),
            "messages_ready", number(sums->ready), "messages_unacknowledged",
            number(sums->unacked)));
    json_object_set_new(overview, "message_stats", message_stats(f));
    json_object_set_new(overview, "churn_rates",
        json_pack("{s:o, s:o, s:o, s:o}", "connection_created", number(f->connections_opened),
            "connection_closed", number(f->connections_closed), "queue_created",
            number(f->queues_made), "queue_deleted", number(f->queues_deleted)));
    json_object_set_new(overview, "statistics_db_event_queue", number(0));
    put_json(call, overview);
}

static json_t *describe_node(const struct node *node, const struct figures *f) {
    json_t *described = json_object();
    json_object_set_new(described, "name", text(f->node_name));
    json_object_set_new(described, "type", text("disc"));
    json_object_set_new(described, "running", json_true());
    json_object_set_new(described, "uptime", number(f->node.uptime_ms));
    json_object_set_new(described, "started_at", number(node->started_at));
    json_object_set_new(described, "os_pid", json_sprintf("%ld", (long)getpid()));
    json_object_set_new(described, "processors", number(f->shards));
    json_object_set_new(described, "fd_used", number(f->node.descriptors));
    json_object_set_new(described, "fd_total", number(f->descriptors_max));
    json_object_set_new(described, "sockets_used", number(f->sums.connections));
    json_object_set_new(described, "mem_used", number(f->node.resident_bytes));
    json_object_set_new(described, "mem_messages", number(f->message_bytes));
    json_object_set_new(described, "mem_limit", number(f->memory_limit));
    json_object_set_new(described, "mem_alarm", json_boolean(f->memory_alarm));
    json_object_set_new(described, "disk_free", number(f->disk_free));
    json_object_set_new(described, "disk_free_limit", number(f->disk_limit));
    json_object_set_new(described, "disk_free_alarm", json_boolean(f->disk_alarm));
    json_object_set_new(described, "disk_slow", json_boolean(f->disk_slow));
    json_object_set_new(described, "durability", text(f->synced ? "fsync" : "os"));
    json_object_set_new(described, "cpu_ms", number(f->node.cpu_ms));
    json_object_set_new(described, "data_dir", text(node->data_dir));
    json_object_set_new(described, "exchange_types", exchange_types());
    json_object_set_new(described, "partitions", json_array());
    return described;
}

void overview_print_nodes(
    const struct node *node, const struct figures *figures, struct web_call *call) {
    put_json(call, json_pack("[o]", describe_node(node, figures)));
}

void overview_print_node(
    const struct node *node, const struct figures *figures, struct web_call *call) {
    put_json(call, describe_node(node, figures));
}
