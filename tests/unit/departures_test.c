/* departures_test: what is told of durable exchanges that go, whatever made them go. */
#include "unit.h"

#include "base/str.h"
#include "core/departures.h"
#include "core/topology.h"

struct world {
    struct topology *topology;
    struct vhost *vhost;
    struct departures departures;
};

static void start(struct world *world) {
    world->topology = topology_new();
    world->vhost = topology_find_vhost(world->topology, BYTES("/"));
    departures_init(&world->departures);
    vhost_watch(world->vhost, &world->departures);
}

static void end(struct world *world) {
    vhost_check(world->vhost);
    topology_free(world->topology);
    departures_deinit(&world->departures);
}

static void change(struct world *world, const struct change *wanted) {
    struct change_result result = {0};
    vhost_change(world->vhost, wanted, &result);
    assert_int_equal(result.code, REPLY_OK);
}

static void declare(struct world *world, const char *name, bool durable, bool auto_delete) {
    change(world, &(struct change){.kind = CHANGE_EXCHANGE_DECLARE,
                      .name = bytes_text(name),
                      .type = BYTES("fanout"),
                      .durable = durable,
                      .auto_delete = auto_delete});
}

static void of_binding(
    struct world *world, enum change_kind kind, const char *source, const char *name) {
    change(world,
        &(struct change){.kind = kind, .source = bytes_text(source), .name = bytes_text(name)});
}

static void put_queue(struct world *world, const char *name, queue_ref queue) {
    struct change made = {.kind = CHANGE_QUEUE_DECLARE, .name = bytes_text(name)};
    vhost_put_queue(world->vhost, &made, queue);
}

/* The names, with a comma behind each; and forgets them. */
static const char *told(struct world *world) {
    static char text[256];
    struct bytes name;
    size_t at = 0, size = 0;
    text[0] = 0;
    while (departures_next(&world->departures, &at, &name))
        size += str_format(
            text + size, sizeof text - size, "%.*s,", (int)name.size, (const char *)name.data);
    departures_clear(&world->departures);
    return text;
}

static void test_deleting(void **state) {
    (void)state;
    struct world world;
    start(&world);
    declare(&world, "kept", true, false);
    declare(&world, "passing", false, false);
    change(&world, &(struct change){.kind = CHANGE_EXCHANGE_DELETE, .name = BYTES("passing")});
    assert_string_equal(told(&world), "");
    change(&world, &(struct change){.kind = CHANGE_EXCHANGE_DELETE, .name = BYTES("kept")});
    assert_string_equal(told(&world), "kept,");
    change(&world, &(struct change){.kind = CHANGE_EXCHANGE_DELETE, .name = BYTES("kept")});
    assert_string_equal(told(&world), "");
    end(&world);
}

static void test_last_binding(void **state) {
    (void)state;
    struct world world;
    start(&world);
    declare(&world, "kept", true, true);
    put_queue(&world, "a", 1);
    put_queue(&world, "b", 2);
    of_binding(&world, CHANGE_QUEUE_BIND, "kept", "a");
    of_binding(&world, CHANGE_QUEUE_BIND, "kept", "b");
    of_binding(&world, CHANGE_QUEUE_UNBIND, "kept", "a");
    assert_string_equal(told(&world), "");
    assert_true(vhost_remove_queue(world.vhost, BYTES("b"), 2));
    assert_string_equal(told(&world), "kept,");
    end(&world);
}

/* A queue takes a chain of exchanges along; the transient one in it is not told of. */
static void test_chain(void **state) {
    (void)state;
    struct world world;
    start(&world);
    declare(&world, "first", true, true);
    declare(&world, "second", false, true);
    declare(&world, "third", true, true);
    declare(&world, "stays", true, false);
    put_queue(&world, "q", 1);
    of_binding(&world, CHANGE_EXCHANGE_BIND, "stays", "first");
    of_binding(&world, CHANGE_EXCHANGE_BIND, "first", "second");
    of_binding(&world, CHANGE_EXCHANGE_BIND, "second", "third");
    of_binding(&world, CHANGE_QUEUE_BIND, "third", "q");
    assert_true(vhost_remove_queue(world.vhost, BYTES("q"), 1));
    assert_string_equal(told(&world), "third,first,");
    end(&world);
}

static void test_nobody_watches(void **state) {
    (void)state;
    struct world world;
    start(&world);
    vhost_watch(world.vhost, NULL);
    declare(&world, "kept", true, false);
    change(&world, &(struct change){.kind = CHANGE_EXCHANGE_DELETE, .name = BYTES("kept")});
    assert_string_equal(told(&world), "");
    end(&world);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_deleting),
        cmocka_unit_test(test_last_binding),
        cmocka_unit_test(test_chain),
        cmocka_unit_test(test_nobody_watches),
    };
    return cmocka_run_group_tests_name("departures", tests, NULL, NULL);
}
