/* figures: everything that is counted, of all shards together. */
#include "admin/figures.h"

/* Counters have one writer each and may be read by anybody. */
static void add_counters(const struct counters *counters, struct figures *figures) {
#define COUNTER(name, kind, metric, text) figures->name += counter_read(&counters->name);
#include "shard/counters.def"
#undef COUNTER
    figures->message_bytes += counter_read(&counters->message_bytes);
    figures->spill_file_bytes += counter_read(&counters->spill_file_bytes);
}

static uint64_t commit_age_ms(const struct counters *counters, uint64_t now_ms) {
    uint64_t since_ms = counter_read(&counters->commit_since_ms);
    return since_ms != 0 && since_ms < now_ms ? now_ms - since_ms : 0;
}

void figures_read(const struct node *node, struct figures *ret_figures) {
    const struct broker *broker = node->broker;
    *ret_figures = (struct figures){
        .descriptors_max = node->descriptors_max,
        .synced = node->synced,
        .memory_limit = broker->memory.limit,
        .memory_used = memory_level_used(&broker->memory),
        .memory_alarm = atomic_load(&broker->memory.alarm),
        .disk_alarm = broker_disk_alarm(broker),
        .disk_free = atomic_load(&broker->disk_free),
        .disk_limit = atomic_load(&broker->disk_limit),
        .disk_slow = broker_disk_slow(broker),
        .definitions_failing = atomic_load(&broker->definitions_failing),
        .shards = broker->shard_count,
        .node_name = node->name,
        .cluster_name = broker->settings.cluster_name,
        .version = broker->settings.version,
        .product = broker->settings.product,
    };
    node_read(node, &ret_figures->node);
    for (uint32_t i = 0; i < broker->shard_count; i++) {
        const struct counters *counters = &broker->shards[i]->counters;
        add_counters(counters, ret_figures);
        ret_figures->shard_counters[i] = counters;
        ret_figures->commit_age_ms =
            max_u64(ret_figures->commit_age_ms, commit_age_ms(counters, ret_figures->node.now_ms));
    }
}
