/* figures: everything that is counted, of all shards together. */
#include "admin/figures.h"

/* Counters have one writer each and may be read by anybody. */
static void add_counters(const struct counters *counters, struct figures *figures) {
#define COUNTER(name, kind, metric, text) figures->name += counter_read(&counters->name);
#include "shard/counters.def"
#undef COUNTER
    figures->message_bytes += counter_read(&counters->message_bytes);
}

void figures_read(const struct node *node, struct figures *ret_figures) {
    const struct broker *broker = node->broker;
    *ret_figures = (struct figures){
        .descriptors_max = node->descriptors_max,
        .synced = node->synced,
        .memory_limit = broker->memory_limit,
        .memory_alarm = atomic_load(&broker->memory_alarm),
        .disk_alarm = atomic_load(&broker->disk_alarms) != 0,
        .definitions_failing = atomic_load(&broker->definitions_failing),
        .shards = broker->shard_count,
        .node_name = node->name,
        .cluster_name = broker->settings.cluster_name,
        .version = broker->settings.version,
        .product = broker->settings.product,
    };
    for (uint32_t i = 0; i < broker->shard_count; i++) {
        add_counters(&broker->shards[i]->counters, ret_figures);
        ret_figures->shard_counters[i] = &broker->shards[i]->counters;
    }
    node_read(node, &ret_figures->node);
}
