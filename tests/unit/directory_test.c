/* directory_test: a shard's cache of routes. */
#include "unit.h"

#include "base/limits.h"
#include "base/str.h"
#include "shard/directory.h"

/* A directory with a fanout exchange "wide" that has so many queues. */
static struct directory *directory_with(uint32_t queues, struct vhost **ret_vhost) {
    struct directory *directory = directory_new(1);
    struct vhost *vhost = topology_find_vhost(directory_write(directory), BYTES("/"));
    struct change_result result;
    struct change exchange = {
        .kind = CHANGE_EXCHANGE_DECLARE, .name = BYTES("wide"), .type = BYTES("fanout")};
    vhost_change(vhost, &exchange, &result);
    assert_int_equal(result.code, REPLY_OK);
    for (uint32_t i = 0; i < queues; i++) {
        char name[16];
        str_format(name, sizeof name, "q%u", i);
        struct change queue = {.kind = CHANGE_QUEUE_DECLARE, .name = bytes_text(name)};
        vhost_put_queue(vhost, &queue, i + 1);
        struct change bind = {
            .kind = CHANGE_QUEUE_BIND, .name = bytes_text(name), .source = BYTES("wide")};
        vhost_change(vhost, &bind, &result);
        assert_int_equal(result.code, REPLY_OK);
    }
    directory_done(directory);
    *ret_vhost = vhost;
    return directory;
}

static const struct route *find(
    struct route_cache *cache, struct directory *directory, struct vhost *vhost, uint32_t key) {
    char text[16];
    str_format(text, sizeof text, "k%u", key);
    return route_find(cache, directory, vhost, BYTES("wide"), bytes_text(text));
}

static void routes_are_kept(void **state) {
    (void)state;
    struct vhost *vhost;
    struct directory *directory = directory_with(3, &vhost);
    struct route_cache cache;
    route_cache_init(&cache);
    const struct route *first = find(&cache, directory, vhost, 1);
    assert_int_equal(first->count, 3);
    find(&cache, directory, vhost, 2);
    assert_ptr_equal(find(&cache, directory, vhost, 1), first);
    route_cache_deinit(&cache);
    directory_free(directory);
}

/* Wide routes of ever new keys: as many as may be, and all that is noted is there. */
static void wide_routes_take_no_more_than_they_may(void **state) {
    (void)state;
    enum { QUEUES = 1000, KEYS = 3 * ROUTE_CACHE_BYTES_MAX / QUEUES / (int)sizeof(queue_ref) };
    struct vhost *vhost;
    struct directory *directory = directory_with(QUEUES, &vhost);
    struct route_cache cache;
    route_cache_init(&cache);
    uint64_t most = 0;
    for (uint32_t i = 0; i < KEYS; i++) {
        const struct route *route = find(&cache, directory, vhost, i);
        assert_int_equal(route->count, QUEUES);
        most = cache.bytes > most ? cache.bytes : most;
    }
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < ROUTE_CACHE_ENTRIES_MAX; i++)
        bytes += cache.slots[i] ? cache.slots[i]->bytes : 0;
    assert_int_equal(bytes, cache.bytes);
    assert_in_range(most, ROUTE_CACHE_BYTES_MAX / 2, ROUTE_CACHE_BYTES_MAX + 16 * QUEUES);
    route_cache_deinit(&cache);
    directory_free(directory);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(routes_are_kept),
        cmocka_unit_test(wide_routes_take_no_more_than_they_may),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
