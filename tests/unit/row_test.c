/* row_test: queues, connections, exchanges and bindings as JSON, and the values in them. */
#include "fields.h"
#include "unit.h"

#include <stdlib.h>

#include "admin/row.h"
#include "amqp/value.h"

static const struct row_place place = {.vhost = "/", .node = "godwit@host"};

/* The value is spelled so; releases it. */
static void assert_json(json_t *value, const char *expected) {
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_SORT_KEYS);
    assert_non_null(text);
    assert_string_equal(text, expected);
    free(text);
    json_decref(value);
}

static void texts(void **state) {
    (void)state;
    assert_json(value_text(BYTES("plain")), "\"plain\"");
    assert_json(value_text(BYTES("")), "\"\"");
    assert_json(value_text(BYTES("a\"\\\n\x01")), "\"a\\\"\\\\\\n\\u0001\"");
    assert_json(value_text(BYTES("caf\xc3\xa9")), "\"caf\xc3\xa9\"");
    assert_json(value_text(BYTES("a\xff"
                                 "b\xc3")),
        "\"a\xef\xbf\xbd"
        "b\xef\xbf\xbd\"");
    assert_json(value_text(BYTES("\xed\xa0\x80")), "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
    assert_json(value_text(BYTES("\xf0\x9f\x90\xa6\xf0\x9f")),
        "\"\xf0\x9f\x90\xa6\xef\xbf\xbd\xef\xbf\xbd\"");
    assert_json(value_text(BYTES("nul\0in")), "\"nul\\u0000in\"");
}

static void tables(void **state) {
    (void)state;
    uint8_t data[512];
    struct writer writer = writer_over(data, sizeof data);
    table_put_text(&writer, "text", BYTES("x"));
    table_put_bool(&writer, "yes", true);
    table_put_i64(&writer, "large", INT64_MIN);
    uint8_t *inner = table_begin(&writer, "inner");
    uint8_t *list = table_begin_array(&writer, "list");
    table_put_i32(&writer, NULL, -1);
    table_put_text(&writer, NULL, BYTES("y"));
    table_end(&writer, list);
    table_end(&writer, inner);
    table_put_field(&writer, &(struct field){.name = BYTES("none"), .type = 'V'});
    table_put_field(&writer, &(struct field){.name = BYTES("when"), .type = 'T', .timestamp = 9});
    table_put_field(&writer, &(struct field){.name = BYTES("half"), .type = 'd', .real = 0.5});
    assert_false(writer.bad);
    assert_true(table_valid(writer_bytes(&writer)));
    assert_json(value_table(writer_bytes(&writer)),
        "{\"half\":0.5,\"inner\":{\"list\":[-1,\"y\"]},\"large\":-9223372036854775808,"
        "\"none\":null,\"text\":\"x\",\"when\":9,\"yes\":true}");
    assert_json(value_table(BYTES("")), "{}");
}

/* As deep as the wire allows. */
static void deep_tables(void **state) {
    (void)state;
    uint8_t data[1024];
    uint8_t *begun[TABLE_DEPTH_MAX];
    struct writer writer = writer_over(data, sizeof data);
    for (int i = 0; i < TABLE_DEPTH_MAX - 1; i++)
        begun[i] = table_begin(&writer, "t");
    for (int i = TABLE_DEPTH_MAX - 1; i-- > 0;)
        table_end(&writer, begun[i]);
    assert_true(table_valid(writer_bytes(&writer)));
    json_t *value = value_table(writer_bytes(&writer));
    const json_t *at = value;
    int depth = 0;
    while ((at = json_object_get(at, "t")) != NULL)
        depth++;
    assert_int_equal(depth, TABLE_DEPTH_MAX - 1);
    json_decref(value);
}

static void a_queue(void **state) {
    (void)state;
    struct queue_entry entry = {.name = BYTES("q/1"), .durable = true, .arguments = BYTES("")};
    struct survey_queue figures = {.ready = 4, .unacked = 1, .bytes = 25, .consumers = 2};
    assert_json(row_choose_columns(row_of_queue(&place, &entry, &figures),
                    "name,messages,messages_ready,messages_unacknowledged,consumers,durable"),
        "{\"consumers\":2,\"durable\":true,\"messages\":5,\"messages_ready\":4,"
        "\"messages_unacknowledged\":1,\"name\":\"q/1\"}");
    assert_json(row_choose_columns(row_of_queue(&place, &entry, &figures), "type,vhost,nothing,"),
        "{\"type\":\"classic\",\"vhost\":\"/\"}");
}

static void a_client(void **state) {
    (void)state;
    struct survey_client client = {.state = "running", .channels = 2, .peer = "::1:5000"};
    assert_json(
        row_choose_columns(row_of_client(&place, &client), "peer_host,peer_port,state,channels"),
        "{\"channels\":2,\"peer_host\":\"::1\",\"peer_port\":5000,\"state\":\"running\"}");
}

static void bindings(void **state) {
    (void)state;
    struct inventory_binding binding = {
        .source = BYTES("x"), .destination = BYTES("q"), .routing_key = BYTES("")};
    assert_json(row_of_binding(&place, &binding),
        "{\"arguments\":{},\"destination\":\"q\",\"destination_type\":\"queue\","
        "\"properties_key\":\"~\",\"routing_key\":\"\",\"source\":\"x\",\"vhost\":\"/\"}");
    uint8_t data[64];
    struct writer writer = writer_over(data, sizeof data);
    table_put_i32(&writer, "p", 1);
    binding.arguments = writer_bytes(&writer);
    binding.routing_key = BYTES("k");
    binding.to_exchange = true;
    json_t *row = row_of_binding(&place, &binding);
    const char *key = json_string_value(json_object_get(row, "properties_key"));
    assert_int_equal(strlen(key), 18);
    assert_memory_equal(key, "k~", 2);
    assert_string_equal(json_string_value(json_object_get(row, "destination_type")), "exchange");
    json_decref(row);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts),
        cmocka_unit_test(tables),
        cmocka_unit_test(deep_tables),
        cmocka_unit_test(a_queue),
        cmocka_unit_test(a_client),
        cmocka_unit_test(bindings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
