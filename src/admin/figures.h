/* figures: everything that is counted, of all shards together. */
#ifndef ADMIN_FIGURES_H
#define ADMIN_FIGURES_H

#include "admin/node.h"
#include "admin/survey.h"
#include "base/limits.h"

struct figures {
    struct survey_sums sums;
    struct node_facts node;
    uint64_t descriptors_max;
    uint64_t memory_limit;  /* bytes */
    uint64_t message_bytes; /* memory of messages */
    uint64_t spill_file_bytes;
    bool synced; /* node->synced */
    uint64_t memory_used;
    bool memory_alarm;
    bool disk_alarm;
    uint64_t disk_free;  /* bytes, where the data directory is */
    uint64_t disk_limit; /* below which publishers are blocked */
    bool disk_slow;
    uint64_t commit_age_ms; /* of the oldest commit under way to some journal */
    bool definitions_failing;
    uint32_t shards;
    const char *node_name; /* borrowed */
    const char *cluster_name;
    const char *version; /* what clients are told */
    const char *product;
#define COUNTER(name, kind, metric, text) uint64_t name;
#include "shard/counters.def"
#undef COUNTER
    const struct counters *shard_counters[SHARDS_MAX]; /* [shards], borrowed: histograms of each */
};

/* All but the sums, which take questions to the shards. */
void figures_read(const struct node *node, struct figures *ret_figures);

#endif
