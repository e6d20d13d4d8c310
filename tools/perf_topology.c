/* perf_topology: the exchange, queues and bindings that the load goes through. */
#include "tools/perf_topology.h"

#include "tools/perf_message.h"

#include "amqp/table.h"
#include "base/memory.h"
#include "base/str.h"

void topology_init(struct topology *topology, const struct options *options) {
    *topology = (struct topology){.options = options, .queue_count = options_queues(options)};
    topology->queues = mem_new_array(topology->queue_count, sizeof *topology->queues);
    for (uint32_t i = 0; i < options->queue_count; i++) {
        options_queue_name(options, i, topology->queues[i]);
    }
    topology->destination_count = options->default_exchange ? topology->queue_count : 1;
}

void topology_deinit(struct topology *topology) {
    mem_free(topology->queues);
}

struct bytes topology_key(const struct topology *topology, uint32_t destination) {
    if (topology->options->default_exchange) return bytes_text(topology->queues[destination]);
    bool given = topology->options->routing_key[0] != 0;
    return given ? bytes_text(topology->options->routing_key) : BYTES("godwit-perf");
}

static bool bind(struct topology *topology, struct client *client, uint32_t index) {
    const struct options *options = topology->options;
    if (options->default_exchange) return true;
    uint8_t memory[512];
    struct writer table = writer_over(memory, sizeof memory);
    if (strcmp(options->type, "headers") == 0) {
        table_put_text(&table, "x-match", BYTES("all"));
        table_put_text(&table, MESSAGE_HEADER, topology_key(topology, 0));
    }
    struct method bind = {.kind = METHOD_queue_bind}, answer;
    bind.queue_bind.queue = bytes_text(topology->queues[index]);
    bind.queue_bind.exchange = bytes_text(options->exchange);
    bind.queue_bind.routing_key = topology_key(topology, 0);
    bind.queue_bind.arguments = writer_bytes(&table);
    return client_ask(client, &bind, METHOD_queue_bind_ok, &answer);
}

static bool declare_exchange(const struct options *options, struct client *client) {
    bool exists = options->default_exchange || strncmp(options->exchange, "amq.", 4) == 0;
    if (exists) return true;
    struct method declare = {.kind = METHOD_exchange_declare}, answer;
    declare.exchange_declare.exchange = bytes_text(options->exchange);
    declare.exchange_declare.type = bytes_text(options->type);
    declare.exchange_declare.durable = options->durable;
    declare.exchange_declare.auto_delete = options->auto_delete;
    return client_ask(client, &declare, METHOD_exchange_declare_ok, &answer);
}

static bool declare_named(struct topology *topology, struct client *client, uint32_t index) {
    struct method declare = {.kind = METHOD_queue_declare}, answer;
    declare.queue_declare.queue = bytes_text(topology->queues[index]);
    declare.queue_declare.durable = topology->options->durable;
    declare.queue_declare.auto_delete = topology->options->auto_delete;
    struct method purge = {.kind = METHOD_queue_purge};
    purge.queue_purge.queue = bytes_text(topology->queues[index]);
    return client_ask(client, &declare, METHOD_queue_declare_ok, &answer) &&
           client_ask(client, &purge, METHOD_queue_purge_ok, &answer) &&
           bind(topology, client, index);
}

bool topology_declare(struct topology *topology, struct client *client) {
    const struct options *options = topology->options;
    if (options->predeclared) return true;
    if (!declare_exchange(options, client)) return false;
    for (uint32_t i = 0; i < options->queue_count; i++) {
        if (!declare_named(topology, client, i)) return false;
    }
    return true;
}

bool topology_declare_own(struct topology *topology, struct client *client, uint32_t index) {
    struct method declare = {.kind = METHOD_queue_declare}, answer;
    declare.queue_declare.durable = topology->options->durable;
    declare.queue_declare.exclusive = true;
    declare.queue_declare.auto_delete = topology->options->auto_delete;
    if (!client_ask(client, &declare, METHOD_queue_declare_ok, &answer)) return false;
    struct bytes name = answer.queue_declare_ok.queue;
    str_format(
        topology->queues[index], sizeof *topology->queues, "%.*s", (int)name.size, name.data);
    return bind(topology, client, index);
}

bool topology_count(
    const struct topology *topology, struct client *client, uint32_t index, uint64_t *ret_count) {
    struct method declare = {.kind = METHOD_queue_declare}, answer;
    declare.queue_declare.queue = bytes_text(topology->queues[index]);
    declare.queue_declare.passive = true;
    if (!client_ask(client, &declare, METHOD_queue_declare_ok, &answer)) return false;
    *ret_count = answer.queue_declare_ok.message_count;
    return true;
}
