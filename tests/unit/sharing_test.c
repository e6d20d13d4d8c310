/* sharing_test: places of one message are gathered, as many as one record can name. */
#include "unit.h"

#include "shard/sharing.h"

struct fixture {
    struct message_pool *pool;
    struct sharing sharing;
};

static struct message *message(struct fixture *f) {
    return message_new(f->pool, BYTES("x"), BYTES("k"), (struct bytes){0}, 8);
}

static struct record_target place(uint64_t queue) {
    return (struct record_target){.queue = queue, .seq = queue + 1, .count = 1};
}

static bool put(struct fixture *f, struct message *one, uint64_t queue) {
    struct record_target target = place(queue);
    return sharing_put(&f->sharing, one, &target, (uint32_t)queue);
}

static struct fixture set_up(void) {
    struct fixture f = {.pool = message_pool_new(0)};
    sharing_init(&f.sharing);
    return f;
}

static void tear_down(struct fixture *f) {
    sharing_deinit(&f->sharing, f->pool);
    assert_int_equal(message_pool_count(f->pool), 0);
    message_pool_free(f->pool);
}

static void places_of_a_message_come_together(void **state) {
    (void)state;
    struct fixture f = set_up();
    struct message *one = message(&f);
    struct message *two = message(&f);
    assert_true(put(&f, one, 1));
    assert_true(put(&f, two, 1));
    for (uint64_t queue = 2; queue < 20; queue++)
        assert_false(put(&f, one, queue));
    message_unref(f.pool, one); /* the queues let go of them meanwhile */
    message_unref(f.pool, two);

    const struct shared *first = sharing_first(&f.sharing);
    assert_ptr_equal(first->message, one);
    assert_int_equal(first->count, 19);
    for (uint32_t i = 0; i < first->count; i++) {
        struct record_target expected = place(i + 1);
        assert_memory_equal(&first->targets[i], &expected, sizeof expected);
    }
    sharing_drop(&f.sharing, f.pool);
    assert_ptr_equal(sharing_first(&f.sharing)->message, two);
    assert_int_equal(sharing_first(&f.sharing)->count, 1);
    sharing_drop(&f.sharing, f.pool);
    assert_null(sharing_first(&f.sharing));
    tear_down(&f);
}

static void more_places_than_a_record_names_make_another(void **state) {
    (void)state;
    struct fixture f = set_up();
    struct message *one = message(&f);
    uint32_t news = 0;
    for (uint64_t queue = 0; queue < RECORD_TARGETS_MAX + 3; queue++)
        news += put(&f, one, queue);
    message_unref(f.pool, one);
    assert_int_equal(news, 2);
    assert_int_equal(sharing_first(&f.sharing)->count, RECORD_TARGETS_MAX);
    sharing_drop(&f.sharing, f.pool);
    assert_int_equal(sharing_first(&f.sharing)->count, 3);
    tear_down(&f); /* with one left */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(places_of_a_message_come_together),
        cmocka_unit_test(more_places_than_a_record_names_make_another),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
