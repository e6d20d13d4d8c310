/* inventory_test: walks in slices give everything, also when names come and go meanwhile. */
#include "unit.h"

#include "base/str.h"
#include "core/inventory.h"

enum { QUEUES = 300 };

struct walk {
    uint32_t seen[2 * QUEUES]; /* how often each numbered name was given */
    uint32_t others;
    struct inventory_binding last;
};

static void note_name(struct walk *walk, struct bytes name) {
    uint64_t number = 0;
    bool numbered = name.size > 1 && name.data[0] == 'n' &&
                    str_to_u64(bytes_of(name.data + 1, name.size - 1), &number);
    if (numbered)
        walk->seen[number]++;
    else
        walk->others++;
}

static void note_queue(void *context, const struct queue_entry *entry) {
    note_name(context, entry->name);
}

static void note_exchange(void *context, const struct inventory_exchange *exchange) {
    note_name(context, exchange->name);
}

static void note_binding(void *context, const struct inventory_binding *binding) {
    struct walk *walk = context;
    walk->last = *binding;
    note_name(walk, binding->routing_key);
}

static struct bytes name_of(char name[16], uint32_t number) {
    return bytes_of(name, str_format(name, 16, "n%u", number));
}

static void put_queue(struct vhost *vhost, uint32_t number) {
    char name[16];
    struct change change = {.kind = CHANGE_QUEUE_DECLARE, .name = name_of(name, number)};
    vhost_put_queue(vhost, &change, number + 1);
}

static void remove_queue(struct vhost *vhost, uint32_t number) {
    char name[16];
    assert_true(vhost_remove_queue(vhost, name_of(name, number), number + 1));
}

static void change(struct vhost *vhost, const struct change *wanted) {
    struct change_result result;
    vhost_change(vhost, wanted, &result);
    assert_int_equal(result.code, REPLY_OK);
}

static void every_queue_once(void **state) {
    (void)state;
    struct topology *topology = topology_new();
    struct vhost *vhost = topology_find_vhost(topology, BYTES("/"));
    for (uint32_t i = 0; i < QUEUES; i++)
        put_queue(vhost, i);
    for (uint32_t slots = 1; slots < 2000; slots = slots * 3 + 1) {
        struct walk walk = {0};
        struct inventory_slice slice = {.slots = slots, .context = &walk};
        while (inventory_queues(vhost, &slice, note_queue))
            continue;
        for (uint32_t i = 0; i < QUEUES; i++)
            assert_int_equal(walk.seen[i], 1);
        assert_int_equal(walk.others, 0);
    }
    topology_free(topology);
}

/* Even names stay; odd ones go and others come while the walk rests, so that the table shifts and
 * grows. Nothing that stays is missed, wherever the seed puts the names. */
static void what_stays_is_given(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        struct topology *topology = topology_new_seeded(seed);
        struct vhost *vhost = topology_find_vhost(topology, BYTES("/"));
        struct walk walk = {0};
        struct inventory_slice slice = {.slots = 1 + (uint32_t)seed % 40, .context = &walk};
        uint32_t come = QUEUES;
        uint32_t gone = 1;
        for (uint32_t i = 0; i < QUEUES; i++)
            put_queue(vhost, i);
        while (inventory_queues(vhost, &slice, note_queue)) {
            for (int i = 0; i < 3 && come < 2 * QUEUES && seed % 2; i++)
                put_queue(vhost, come++);
            for (int i = 0; i < 5 && gone < QUEUES; i++, gone += 2)
                remove_queue(vhost, gone);
        }
        for (uint32_t i = 0; i < QUEUES; i += 2)
            assert_in_range(walk.seen[i], 1, seed % 2 ? 2 : 1);
        topology_free(topology);
    }
}

static void exchanges_and_bindings(void **state) {
    (void)state;
    struct topology *topology = topology_new();
    struct vhost *vhost = topology_find_vhost(topology, BYTES("/"));
    char name[16];
    put_queue(vhost, 0);
    for (uint32_t i = 0; i < 50; i++) {
        struct bytes text = name_of(name, i);
        change(vhost, &(struct change){.kind = CHANGE_EXCHANGE_DECLARE,
                          .name = text,
                          .internal = true,
                          .type = BYTES("fanout")});
        change(vhost, &(struct change){.kind = CHANGE_QUEUE_BIND,
                          .name = BYTES("n0"),
                          .source = text,
                          .routing_key = text});
    }
    change(vhost, &(struct change){.kind = CHANGE_EXCHANGE_BIND,
                      .name = BYTES("n7"),
                      .source = BYTES("n8"),
                      .routing_key = BYTES("other")});
    struct walk walk = {0};
    struct inventory_slice slice = {.slots = 5, .context = &walk};
    while (inventory_exchanges(vhost, &slice, note_exchange))
        continue;
    assert_int_equal(walk.others, 7); /* those that are there from the beginning */
    slice.at = 0;
    while (inventory_bindings(vhost, &slice, note_binding))
        continue;
    for (uint32_t i = 0; i < 50; i++)
        assert_int_equal(walk.seen[i], 2);
    assert_int_equal(walk.others, 8);
    struct inventory_exchange found;
    assert_true(inventory_find_exchange(vhost, BYTES("n3"), &found));
    assert_string_equal(found.type, "fanout");
    assert_true(found.internal);
    assert_false(inventory_find_exchange(vhost, BYTES("n50"), &found));
    topology_free(topology);
}

static void what_a_binding_says(void **state) {
    (void)state;
    struct topology *topology = topology_new();
    struct vhost *vhost = topology_find_vhost(topology, BYTES("/"));
    change(vhost, &(struct change){.kind = CHANGE_EXCHANGE_BIND,
                      .name = BYTES("amq.direct"),
                      .source = BYTES("amq.topic"),
                      .routing_key = BYTES("a.*")});
    struct walk walk = {0};
    struct inventory_slice slice = {.slots = 1000, .context = &walk};
    assert_false(inventory_bindings(vhost, &slice, note_binding));
    assert_text(walk.last.source, "amq.topic");
    assert_text(walk.last.destination, "amq.direct");
    assert_text(walk.last.routing_key, "a.*");
    assert_true(walk.last.to_exchange);
    assert_int_equal(walk.last.arguments.size, 0);
    topology_free(topology);
}

static void nothing_is_nothing(void **state) {
    (void)state;
    struct topology *topology = topology_new();
    struct vhost *vhost = topology_find_vhost(topology, BYTES("/"));
    struct walk walk = {0};
    struct inventory_slice slice = {.slots = 10, .context = &walk};
    assert_false(inventory_queues(vhost, &slice, note_queue));
    assert_false(inventory_bindings(vhost, &slice, note_binding));
    slice.at = UINT32_MAX;
    assert_false(inventory_exchanges(vhost, &slice, note_exchange));
    assert_int_equal(walk.others, 0);
    topology_free(topology);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_queue_once),
        cmocka_unit_test(what_stays_is_given),
        cmocka_unit_test(exchanges_and_bindings),
        cmocka_unit_test(what_a_binding_says),
        cmocka_unit_test(nothing_is_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
