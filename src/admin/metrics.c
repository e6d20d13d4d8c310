/* metrics: figures as text for Prometheus. The two tables are expanded into one line each. */
#include "admin/metrics.h"

#include "base/str.h"

const char METRICS_TYPE[] = "text/plain; version=0.0.4; charset=utf-8";

struct series {
    const char *kind;
    const char *name;
    const char *text;
};

static void put_text(struct buffer *buffer, const char *text) {
    check(buffer_put(buffer, text, strlen(text)));
}

static void put_intro(struct buffer *buffer, const struct series *metric) {
    char line[512];
    str_format(line, sizeof line, "# HELP %s %s\n# TYPE %s %s\n", metric->name, metric->text,
        metric->name, metric->kind);
    put_text(buffer, line);
}

static void put_metric(struct buffer *buffer, const struct series *metric, uint64_t value) {
    char line[192];
    put_intro(buffer, metric);
    str_format(line, sizeof line, "%s %llu\n", metric->name, (unsigned long long)value);
    put_text(buffer, line);
}

/* Puts name="value" with what the format wants escaped; control characters become spaces. */
static void put_label(
    struct buffer *buffer, const char *before, const char *name, const char *value) {
    put_text(buffer, before);
    put_text(buffer, name);
    put_text(buffer, "=\"");
    bool text = str_is_utf8(bytes_text(value));
    for (const char *at = value; *at; at++) {
        uint8_t c = (uint8_t)*at;
        char put[2] = {c < ' ' || (c >= 0x80 && !text) ? ' ' : *at, 0};
        if (c == '"' || c == '\\') put_text(buffer, "\\");
        put_text(buffer, put);
    }
    put_text(buffer, "\"");
}

/* Dashboards join everything with these two by instance. */
static void put_infos(struct buffer *buffer, const struct figures *f) {
    static const struct series identity = {"untyped", "rabbitmq_identity_info", "Node and cluster"};
    static const struct series build = {"untyped", "rabbitmq_build_info", "Versions"};
    put_intro(buffer, &identity);
    put_label(buffer, "rabbitmq_identity_info{", "rabbitmq_node", f->node_name);
    put_label(buffer, ",", "rabbitmq_cluster", f->cluster_name);
    put_label(buffer, ",", "rabbitmq_cluster_permanent_id", f->cluster_name);
    put_text(buffer, "} 1\n");
    put_intro(buffer, &build);
    put_label(buffer, "rabbitmq_build_info{", "rabbitmq_version", f->version);
    put_label(buffer, ",", "product_name", f->product);
    put_label(buffer, ",", "product_version", f->version);
    put_label(buffer, ",", "godwit_version", GODWIT_VERSION);
    put_text(buffer, "} 1\n");
}

/* Buckets are cumulative, and the last one, +Inf, is what the count has to be. */
static void put_durations(struct buffer *buffer, const struct series *metric, uint32_t shard,
    const struct durations *durations) {
    static const char *const bounds[] = {
#define BUCKET(ns, seconds) seconds,
#include "base/durations.def"
#undef BUCKET
        "+Inf"};
    static_assert(COUNT_OF(bounds) == DURATIONS_BUCKETS, "one bound for each bucket");
    char line[192];
    uint64_t count = 0;
    for (uint32_t i = 0; i < DURATIONS_BUCKETS; i++) {
        count += counter_read(&durations->counts[i]);
        str_format(line, sizeof line, "%s_bucket{shard=\"%u\",le=\"%s\"} %llu\n", metric->name,
            shard, bounds[i], (unsigned long long)count);
        put_text(buffer, line);
    }
    uint64_t sum_ns = counter_read(&durations->sum_ns);
    str_format(line, sizeof line, "%s_sum{shard=\"%u\"} %llu.%09llu\n%s_count{shard=\"%u\"} %llu\n",
        metric->name, shard, (unsigned long long)(sum_ns / 1000000000),
        (unsigned long long)(sum_ns % 1000000000), metric->name, shard, (unsigned long long)count);
    put_text(buffer, line);
}

static void put_histograms(struct buffer *buffer, const struct figures *f) {
#define HISTOGRAM(field, metric, about)                                                            \
    {                                                                                              \
        const struct series series = {"histogram", metric, about};                                 \
        put_intro(buffer, &series);                                                                \
        for (uint32_t i = 0; i < f->shards; i++)                                                   \
            put_durations(buffer, &series, i, &f->shard_counters[i]->field);                       \
    }
#include "shard/histograms.def"
#undef HISTOGRAM
}

void metrics_print(const struct figures *figures, struct buffer *buffer) {
    const struct figures *f = figures;
    put_infos(buffer, f);
#define METRIC(kind, name, value, text)                                                            \
    put_metric(buffer, &(const struct series){#kind, name, text}, value);
#include "admin/metrics.def"
#undef METRIC
#define COUNTER(name, kind, metric, text)                                                          \
    put_metric(buffer, &(const struct series){#kind, metric, text}, f->name);
#include "shard/counters.def"
#undef COUNTER
    put_histograms(buffer, f);
}
