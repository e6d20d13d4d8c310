/* metrics_test: figures as Prometheus reads them. */
#include "unit.h"

#include "admin/metrics.h"

static char text[METRICS_BYTES_MAX + 1];

static void print(const struct figures *figures) {
    struct buffer buffer;
    buffer_init(&buffer, METRICS_BYTES_MAX);
    metrics_print(figures, &buffer);
    memcpy(text, buffer.data, buffer.size);
    text[buffer.size] = 0;
    buffer_deinit(&buffer);
}

static struct figures some_figures(void) {
    return (struct figures){
        .sums = {.queues = 3, .ready = 40, .unacked = 2, .connections = 5, .channels = 6},
        .memory_limit = UINT64_MAX,
        .node_name = "godwit@host",
        .cluster_name = "shop",
        .version = "3.10.8",
        .product = "Godwit",
        .published = 18446744073709551615u,
    };
}

static void values_are_what_was_counted(void **state) {
    (void)state;
    struct figures figures = some_figures();
    print(&figures);
    assert_non_null(strstr(text, "\nrabbitmq_queues 3\n"));
    assert_non_null(strstr(text, "\nrabbitmq_queue_messages 42\n"));
    assert_non_null(strstr(text, "\nrabbitmq_queue_messages_ready 40\n"));
    assert_non_null(strstr(text, "\nrabbitmq_connections 5\n"));
    assert_non_null(strstr(text, "\nrabbitmq_channels 6\n"));
    assert_non_null(
        strstr(text, "\nrabbitmq_global_messages_received_total 18446744073709551615\n"));
    assert_non_null(strstr(text, "\n# TYPE rabbitmq_queues gauge\n"));
    assert_non_null(strstr(text, "\n# TYPE rabbitmq_queues_created_total counter\n"));
}

/* Every counter of the shards is there, under its own name. */
static void counters_are_all_there(void **state) {
    (void)state;
    struct figures figures = some_figures();
    print(&figures);
#define COUNTER(name, kind, metric, about)                                                         \
    assert_non_null(strstr(text, "\n# HELP " metric " " about "\n# TYPE " metric " " #kind "\n"));
#include "shard/counters.def"
#undef COUNTER
}

static void names_come_once(void **state) {
    (void)state;
    struct figures figures = some_figures();
    print(&figures);
    for (const char *at = strstr(text, "# TYPE "); at; at = strstr(at + 1, "# TYPE ")) {
        char line[128] = "";
        size_t size = strcspn(at + 7, " ");
        memcpy(line, at, 7 + size + 1);
        assert_null(strstr(at + 1, line));
    }
}

static void labels_are_escaped(void **state) {
    (void)state;
    struct figures figures = some_figures();
    figures.cluster_name = "a\"b\\c\nd\xff";
    print(&figures);
    assert_non_null(strstr(text, "rabbitmq_cluster=\"a\\\"b\\\\c d \""));
    figures.cluster_name = "caf\xc3\xa9";
    print(&figures);
    assert_non_null(strstr(text, "rabbitmq_cluster=\"caf\xc3\xa9\""));
}

/* A duration counts in the first bucket whose bound it does not pass, and in all after it. */
static void durations_are_cumulative(void **state) {
    (void)state;
    struct counters first = {0};
    struct counters second = {0};
    struct figures figures = some_figures();
    figures.shards = 2;
    figures.shard_counters[0] = &first;
    figures.shard_counters[1] = &second;
    durations_put(&first.turn_time, 0);
    durations_put(&first.turn_time, 50000);
    durations_put(&first.turn_time, 50001);
    durations_put(&first.turn_time, 1000000);
    durations_put(&second.turn_time, 1000000001);
    durations_put(&second.retire_time, 7);
    print(&figures);
#define TURNS "\ngodwit_loop_turn_seconds"
    assert_non_null(strstr(text, "\n# TYPE godwit_loop_turn_seconds histogram\n"));
    assert_non_null(strstr(text, TURNS "_bucket{shard=\"0\",le=\"0.00005\"} 2\n"));
    assert_non_null(strstr(text, TURNS "_bucket{shard=\"0\",le=\"0.0001\"} 3\n"));
    assert_non_null(strstr(text, TURNS "_bucket{shard=\"0\",le=\"0.0005\"} 3\n"));
    assert_non_null(strstr(text, TURNS "_bucket{shard=\"0\",le=\"0.001\"} 4\n"));
    assert_non_null(strstr(text, TURNS "_bucket{shard=\"0\",le=\"+Inf\"} 4\n"));
    assert_non_null(strstr(text, TURNS "_sum{shard=\"0\"} 0.001100001\n"));
    assert_non_null(strstr(text, TURNS "_count{shard=\"0\"} 4\n"));
    assert_non_null(strstr(text, TURNS "_bucket{shard=\"1\",le=\"1\"} 0\n"));
    assert_non_null(strstr(text, TURNS "_bucket{shard=\"1\",le=\"+Inf\"} 1\n"));
    assert_non_null(strstr(text, TURNS "_sum{shard=\"1\"} 1.000000001\n"));
    assert_non_null(strstr(text, "\ngodwit_retire_turn_seconds_count{shard=\"1\"} 1\n"));
#undef TURNS
}

/* As many shards as there can be, whose figures have all their digits. */
static void all_shards_have_room(void **state) {
    (void)state;
    struct counters counters;
    memset(&counters, 0, sizeof counters);
    for (uint32_t i = 0; i < DURATIONS_BUCKETS; i++)
        counters.turn_time.counts[i] = counters.retire_time.counts[i] = UINT64_MAX / 16;
    counters.turn_time.sum_ns = counters.retire_time.sum_ns = UINT64_MAX;
    struct figures figures = some_figures();
    figures.shards = SHARDS_MAX;
    for (uint32_t i = 0; i < SHARDS_MAX; i++)
        figures.shard_counters[i] = &counters;
    print(&figures);
    assert_non_null(strstr(text, "\ngodwit_retire_turn_seconds_count{shard=\"63\"} "));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_what_was_counted),
        cmocka_unit_test(counters_are_all_there),
        cmocka_unit_test(names_come_once),
        cmocka_unit_test(labels_are_escaped),
        cmocka_unit_test(durations_are_cumulative),
        cmocka_unit_test(all_shards_have_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
