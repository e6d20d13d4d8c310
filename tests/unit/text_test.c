/* text_test: methods as lines, printed as documented and parsed back, malformed lines refused. */
#include "method_any.h"
#include "unit.h"

#include "amqp/text.h"
#include "base/limits.h"
#include "base/str.h"

enum { LINE_MAX = 16384 };

static void known_lines(void **state) {
    (void)state;
    char line[LINE_MAX];
    struct method method = {.kind = METHOD_queue_declare};
    method.queue_declare.queue = BYTES("it's \\ \x01\xc3\xbc");
    method.queue_declare.durable = true;
    size_t size = text_print(line, sizeof line, &method);
    assert_string_equal(line, "queue.declare queue='it\\'s \\\\ \\x01\\xc3\\xbc' durable");
    assert_int_equal(size, strlen(line));

    method = (struct method){.kind = METHOD_basic_ack};
    (void)text_print(line, sizeof line, &method);
    assert_string_equal(line, "basic.ack");
    method.basic_ack.delivery_tag = UINT64_MAX;
    method.basic_ack.multiple = true;
    (void)text_print(line, sizeof line, &method);
    assert_string_equal(line, "basic.ack delivery_tag=18446744073709551615 multiple");

    method = (struct method){.kind = METHOD_channel_open_ok};
    (void)text_print(line, sizeof line, &method);
    assert_string_equal(line, "channel.open_ok");
    method.kind = METHOD_unknown;
    (void)text_print(line, sizeof line, &method);
    assert_string_equal(line, "unknown");
}

static const char TABLE_LINE[] =
    "{'t'=t:true, 'b'=b:-128, 'B'=B:255, 's'=s:-32768, 'u'=u:65535, 'I'=I:-2147483648, "
    "'i'=i:4294967295, 'l'=l:-9223372036854775808, 'L'=L:9223372036854775807, 'f'=f:1.5, "
    "'d'=d:-0.10000000000000001, 'D'=D:2:-314, 'S'=S:'a\\x00b', 'x'=x:'\\xff', "
    "'T'=T:18446744073709551615, 'V'=V, 'e'=F:{}, 'a'=A:[], "
    "'F'=F:{'n'=F:{'m'=t:false}, 'o'=V}, 'A'=A:[V, A:[b:1, F:{}], S:''], ''=V}";

static void every_type_of_a_table(void **state) {
    (void)state;
    char line[LINE_MAX] = "queue.declare arguments=";
    strncat(line, TABLE_LINE, sizeof line - strlen(line) - 1);
    uint8_t memory[LINE_MAX];
    struct writer writer = writer_over(memory, sizeof memory);
    struct method method;
    assert_true(text_parse(bytes_text(line), &writer, &method));
    assert_int_equal(method.kind, METHOD_queue_declare);
    assert_true(table_valid(method.queue_declare.arguments));
    char printed[LINE_MAX];
    (void)text_print(printed, sizeof printed, &method);
    assert_string_equal(printed, line);
    (void)text_print_table(printed, sizeof printed, method.queue_declare.arguments);
    assert_string_equal(printed, TABLE_LINE);
}

static void bytes_that_are_no_table(void **state) {
    (void)state;
    char line[64];
    uint8_t memory[64];
    struct writer writer = writer_over(memory, sizeof memory);
    struct method method = {.kind = METHOD_queue_unbind};
    method.queue_unbind.arguments = BYTES("\x05no");
    (void)text_print(line, sizeof line, &method);
    assert_string_equal(line, "queue.unbind arguments=?'\\x05no'");
    struct method parsed;
    assert_true(text_parse(bytes_text(line), &writer, &parsed));
    assert_true(methods_equal(&method, &parsed));
}

static void every_method_comes_back(void **state) {
    (void)state;
    char line[LINE_MAX];
    uint8_t memory[LINE_MAX];
    struct prng prng;
    prng_init(&prng, 4);
    for (int kind = METHOD_unknown + 1; kind < METHOD_KIND_COUNT; kind++) {
        for (int round = 0; round < 20; round++) {
            struct method method = any_method(&prng, (enum method_kind)kind);
            struct method parsed;
            size_t size = text_print(line, sizeof line, &method);
            assert_in_range(size, 1, sizeof line - 2);
            struct writer writer = writer_over(memory, sizeof memory);
            assert_true(text_parse(bytes_of(line, size), &writer, &parsed));
            assert_true(methods_equal(&method, &parsed));
        }
    }
}

static void no_method_takes_a_wrong_argument(void **state) {
    (void)state;
    for (int kind = METHOD_unknown + 1; kind < METHOD_KIND_COUNT; kind++) {
        static const char *const wrong[] = {"nonsense", "=1", "q='x'", "declare"};
        for (size_t i = 0; i < COUNT_OF(wrong); i++) {
            char line[100];
            uint8_t memory[100];
            size_t size = str_format(
                line, sizeof line, "%s %s", method_name((enum method_kind)kind), wrong[i]);
            struct writer writer = writer_over(memory, sizeof memory);
            struct method method;
            assert_false(text_parse(bytes_of(line, size), &writer, &method));
            size -= strlen(wrong[i]) + 1;
            assert_true(text_parse(bytes_of(line, size), &writer, &method));
        }
    }
}

static void printing_is_cut(void **state) {
    (void)state;
    struct method method = {.kind = METHOD_queue_declare};
    method.queue_declare.queue = BYTES("\x01\x02");
    uint8_t memory[LINE_MAX];
    char whole[LINE_MAX], part[LINE_MAX];
    struct prng prng;
    prng_init(&prng, 8);
    struct writer writer = writer_over(memory, sizeof memory);
    table_put_text(&writer, "name", BYTES("\xff"));
    table_put_i32(&writer, "number", -123456);
    method.queue_declare.arguments = writer_bytes(&writer);
    size_t size = text_print(whole, sizeof whole, &method);
    for (size_t room = 1; room <= size + 1; room++) {
        memset(part, 'z', sizeof part);
        assert_int_equal(text_print(part, room, &method), room - 1);
        assert_memory_equal(part, whole, room - 1);
        assert_int_equal(part[room - 1], 0);
        assert_int_equal(part[room], 'z');
    }
}

static void order_does_not_matter(void **state) {
    (void)state;
    uint8_t memory[64];
    struct writer writer = writer_over(memory, sizeof memory);
    struct method method;
    assert_true(text_parse(
        BYTES("basic.publish mandatory routing_key='k' exchange='e'"), &writer, &method));
    assert_text(method.basic_publish.exchange, "e");
    assert_text(method.basic_publish.routing_key, "k");
    assert_true(method.basic_publish.mandatory);
    assert_false(method.basic_publish.immediate);
    assert_int_equal(method.basic_publish.reserved_1, 0);
}

static void malformed_lines_are_refused(void **state) {
    (void)state;
    static const char *const cases[] = {
        "",
        " ",
        "basic",
        "basic.nonsense",
        "unknown",
        "basic.ack ",
        "basic.ack  multiple",
        "basic.ack nonsense=1",
        "basic.ack delivery_tag",
        "basic.ack delivery_tag=",
        "basic.ack delivery_tag=-1",
        "basic.ack delivery_tag=1x",
        "basic.ack delivery_tag=18446744073709551616",
        "basic.ack multiple=1",
        "basic.qos prefetch_count=65536",
        "connection.start version_major=256",
        "queue.purge queue=x",
        "queue.purge queue='x",
        "queue.purge queue='x\\",
        "queue.purge queue='\\n'",
        "queue.purge queue='\\x0'",
        "queue.purge queue='\\x0g'",
        "queue.purge queue='\\x",
        "queue.purge queue='x'no_wait",
        "queue.unbind arguments=",
        "queue.unbind arguments={",
        "queue.unbind arguments={'a'=V",
        "queue.unbind arguments={'a'}",
        "queue.unbind arguments={'a'=}",
        "queue.unbind arguments={'a'=Q:1}",
        "queue.unbind arguments={'a'=I}",
        "queue.unbind arguments={'a'=I:}",
        "queue.unbind arguments={'a'=I:2147483648}",
        "queue.unbind arguments={'a'=I:-2147483649}",
        "queue.unbind arguments={'a'=b:128}",
        "queue.unbind arguments={'a'=B:-1}",
        "queue.unbind arguments={'a'=l:00000000000000000000000000000000001}",
        "queue.unbind arguments={'a'=T:\x01}",
        "queue.unbind arguments={'a'=",
        "queue.unbind arguments={'a'=t:maybe}",
        "queue.unbind arguments={'a'=d:1.5.5}",
        "queue.unbind arguments={'a'=d:}",
        "queue.unbind arguments={'a'=D:1}",
        "queue.unbind arguments={'a'=D:256:1}",
        "queue.unbind arguments={'a'=S:b}",
        "queue.unbind arguments={'a'=A:[V}",
        "queue.unbind arguments={'a'=A:{V}}",
        "queue.unbind arguments={'a'=V,'b'=V}",
        "queue.unbind arguments={'a'=V, }",
        "queue.unbind arguments={V}",
        "queue.unbind arguments=[V]",
        "queue.unbind arguments=?x",
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        uint8_t memory[128];
        struct writer writer = writer_over(memory, sizeof memory);
        struct method method = {.kind = METHOD_tx_select};
        if (text_parse(bytes_text(cases[i]), &writer, &method)) {
            fail_msg("taken although malformed: %s", cases[i]);
        }
        assert_int_equal(method.kind, METHOD_tx_select);
    }
}

static void a_line_that_does_not_fit_is_refused(void **state) {
    (void)state;
    struct bytes line = BYTES("queue.unbind arguments={'a'=S:'x', 'b'=A:[t:true]}");
    uint8_t memory[64];
    struct method method;
    struct writer writer = writer_over(memory, sizeof memory);
    assert_true(text_parse(line, &writer, &method));
    size_t needed = writer_size(&writer);
    assert_int_equal(needed, 3 + 5 + 3 + 4 + 2);
    for (size_t room = 0; room < needed; room++) {
        writer = writer_over(memory, room);
        assert_false(text_parse(line, &writer, &method));
    }
}

static void nesting_has_a_limit(void **state) {
    (void)state;
    for (uint32_t depth = TABLE_DEPTH_MAX - 2; depth <= TABLE_DEPTH_MAX + 2; depth++) {
        char line[1024] = "queue.unbind arguments={'a'=";
        for (uint32_t i = 1; i < depth; i++) {
            strncat(line, "A:[", sizeof line - strlen(line) - 1);
        }
        strncat(line, "V", sizeof line - strlen(line) - 1);
        for (uint32_t i = 1; i < depth; i++) {
            strncat(line, "]", sizeof line - strlen(line) - 1);
        }
        strncat(line, "}", sizeof line - strlen(line) - 1);
        uint8_t memory[512];
        struct writer writer = writer_over(memory, sizeof memory);
        struct method method;
        assert_int_equal(text_parse(bytes_text(line), &writer, &method), depth <= TABLE_DEPTH_MAX);
    }
}

static void a_long_name_in_a_table_is_refused(void **state) {
    (void)state;
    for (size_t size = 254; size <= 257; size++) {
        char line[400] = "queue.unbind arguments={'";
        size_t before = strlen(line);
        memset(line + before, 'n', size);
        strncat(line, "'=V}", sizeof line - strlen(line) - 1);
        uint8_t memory[400];
        struct writer writer = writer_over(memory, sizeof memory);
        struct method method;
        assert_int_equal(text_parse(bytes_text(line), &writer, &method), size <= 255);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_lines),
        cmocka_unit_test(every_type_of_a_table),
        cmocka_unit_test(bytes_that_are_no_table),
        cmocka_unit_test(every_method_comes_back),
        cmocka_unit_test(no_method_takes_a_wrong_argument),
        cmocka_unit_test(printing_is_cut),
        cmocka_unit_test(order_does_not_matter),
        cmocka_unit_test(malformed_lines_are_refused),
        cmocka_unit_test(a_line_that_does_not_fit_is_refused),
        cmocka_unit_test(nesting_has_a_limit),
        cmocka_unit_test(a_long_name_in_a_table_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
