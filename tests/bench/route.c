/* route: what a publish's way through the topology costs, in nanoseconds, and what the topology
 * costs in memory.
 *
 *   godwit-bench-route [--scale]
 *
 * Keys change from route to route, so that nothing is measured from the nearest cache alone.
 * --scale adds a million queues and a million bindings. Every figure is the best of three runs. */
#include <malloc.h>
#include <stdio.h>
#include <time.h>

#include "base/memory.h"
#include "base/prng.h"
#include "base/str.h"
#include "core/topology.h"

enum { KEYS = 4096, KEY_BYTES = 64, RUNS = 3 };

struct bench {
    struct topology *topology;
    struct vhost *vhost;
    struct prng prng;
    char (*keys)[KEY_BYTES];
};

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static size_t heap_bytes(void) {
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

static void bench_begin(struct bench *bench) {
    bench->topology = topology_new_seeded(1);
    bench->vhost = topology_find_vhost(bench->topology, BYTES("/"));
    bench->keys = mem_new_array(KEYS, KEY_BYTES);
    prng_init(&bench->prng, 1);
}

static void bench_end(struct bench *bench) {
    topology_free(bench->topology);
    mem_free(bench->keys);
}

static uint32_t below(struct bench *bench, uint32_t bound) {
    return (uint32_t)prng_below(&bench->prng, bound);
}

static void put_queue(struct bench *bench, const char *name, queue_ref queue) {
    struct change change = {.kind = CHANGE_QUEUE_DECLARE, .name = bytes_text(name)};
    vhost_put_queue(bench->vhost, &change, queue);
}

static void bind(struct bench *bench, const char *queue, const char *exchange, const char *key) {
    struct change change = {
        .kind = CHANGE_QUEUE_BIND,
        .name = bytes_text(queue),
        .source = bytes_text(exchange),
        .routing_key = bytes_text(key),
    };
    struct change_result result;
    vhost_change(bench->vhost, &change, &result);
    check(result.code == REPLY_OK);
}

/* Routes `count` messages with the bench's keys and prints one line. */
static void measure(struct bench *bench, const char *what, const char *exchange, uint32_t count) {
    struct bytes keys[KEYS];
    struct routes routes;
    bool by_headers;
    uint64_t best = UINT64_MAX, queues = 0;
    for (size_t i = 0; i < KEYS; i++)
        keys[i] = bytes_text(bench->keys[i]);
    for (int run = 0; run < RUNS; run++) {
        queues = 0;
        uint64_t start = now_ns();
        for (uint32_t i = 0; i < count; i++) {
            routes_init(&routes);
            (void)vhost_route(bench->vhost, bytes_text(exchange), keys[i % KEYS], bytes_of(NULL, 0),
                &routes, &by_headers);
            queues += routes.count;
            routes_deinit(&routes);
        }
        best = min_u64(best, now_ns() - start);
    }
    printf(
        "%-44s %9.1f ns  %8.2f queues each\n", what, (double)best / count, (double)queues / count);
}

static void bench_direct(uint32_t count) {
    struct bench bench;
    char text[64];
    bench_begin(&bench);
    for (uint32_t i = 0; i < count; i++) {
        str_format(text, sizeof text, "orders.queue-%u", i);
        put_queue(&bench, text, i + 1);
        bind(&bench, text, "amq.direct", text);
    }
    for (size_t i = 0; i < KEYS; i++) {
        str_format(bench.keys[i], KEY_BYTES, "orders.queue-%u", below(&bench, count));
    }
    str_format(text, sizeof text, "default exchange, %u queues", count);
    measure(&bench, text, "", 1000000);
    str_format(text, sizeof text, "direct, %u bindings", count);
    measure(&bench, text, "amq.direct", 1000000);
    bench_end(&bench);
}

static void bench_fanout(uint32_t count) {
    struct bench bench;
    char text[64];
    bench_begin(&bench);
    for (uint32_t i = 0; i < count; i++) {
        str_format(text, sizeof text, "q%u", i);
        put_queue(&bench, text, i + 1);
        bind(&bench, text, "amq.fanout", "");
    }
    str_format(text, sizeof text, "fanout, %u queues", count);
    measure(&bench, text, "amq.fanout", 4000000 / (count + 10));
    bench_end(&bench);
}

/* region.site.device.sensor.kind: a fifth of the patterns with '*', one in fifty with '#'. */
static void topic_pattern(struct bench *bench, uint32_t device, char *text) {
    uint32_t dice = below(bench, 100), region = device % 10, site = device % 100;
    if (dice < 78) {
        str_format(text, KEY_BYTES, "r%u.s%u.dev%u.t%u.k%u", region, site, device, below(bench, 4),
            below(bench, 4));
    } else if (dice < 88) {
        str_format(text, KEY_BYTES, "r%u.s%u.dev%u.*.k%u", region, site, device, below(bench, 4));
    } else if (dice < 98) {
        str_format(text, KEY_BYTES, "r%u.*.dev%u.t%u.*", region, device, below(bench, 4));
    } else {
        str_format(text, KEY_BYTES, "r%u.s%u.dev%u.#", region, site, device);
    }
}

static void bench_topic(uint32_t count) {
    struct bench bench;
    char text[KEY_BYTES], pattern[KEY_BYTES];
    uint32_t devices = count / 2;
    bench_begin(&bench);
    for (uint32_t i = 0; i < count; i++) {
        str_format(text, sizeof text, "q%u", i);
        put_queue(&bench, text, i + 1);
    }
    size_t before = heap_bytes();
    uint64_t start = now_ns();
    for (uint32_t i = 0; i < count; i++) {
        str_format(text, sizeof text, "q%u", i);
        topic_pattern(&bench, i % devices, pattern);
        bind(&bench, text, "amq.topic", pattern);
    }
    double bind_ns = (double)(now_ns() - start) / count;
    double bytes = (double)(heap_bytes() - before) / count;
    for (size_t i = 0; i < KEYS; i++) {
        uint32_t device = below(&bench, devices);
        str_format(bench.keys[i], KEY_BYTES, "r%u.s%u.dev%u.t%u.k%u", device % 10, device % 100,
            device, below(&bench, 4), below(&bench, 4));
    }
    str_format(text, sizeof text, "topic, %u bindings, 5 words", count);
    measure(&bench, text, "amq.topic", 500000);
    printf("%-44s %9.1f ns  %8.0f bytes each\n", "    binding them", bind_ns, bytes);
    bench_end(&bench);
}

/* Patterns that make a backtracking matcher explode, and a key of 31 words that almost matches. */
static void bench_adversarial(void) {
    static const char *const patterns[] = {
        "#.a.#.b.#.c.#", "#.a.#.a.#.a.#.a.#", "*.#.*.#.*.#.x", "#.#.#.#.b", "#.a.*.#.b.#.*.c"};
    struct bench bench;
    bench_begin(&bench);
    for (uint32_t i = 0; i < COUNT_OF(patterns); i++) {
        char name[8];
        str_format(name, sizeof name, "q%u", i);
        put_queue(&bench, name, i + 1);
        bind(&bench, name, "amq.topic", patterns[i]);
    }
    for (size_t i = 0; i < KEYS; i++) {
        size_t size = str_format(bench.keys[i], KEY_BYTES, "a");
        for (int word = 0; word < 30; word++) {
            const char *next = (word + (int)i) % 2 ? ".b" : ".a";
            size += str_format(bench.keys[i] + size, KEY_BYTES - size, "%s", next);
        }
    }
    measure(&bench, "topic, 5 patterns of '#', 31 words", "amq.topic", 100000);
    bench_end(&bench);
}

/* "#.w<i>.#" a thousand times: a thousand states stay alive at every word that is met. */
static void bench_live_states(void) {
    struct bench bench;
    char name[16], pattern[KEY_BYTES];
    bench_begin(&bench);
    for (uint32_t i = 0; i < 1000; i++) {
        str_format(name, sizeof name, "q%u", i);
        str_format(pattern, sizeof pattern, "#.w%u.#.w%u.#.end", i % 10, i);
        put_queue(&bench, name, i + 1);
        bind(&bench, name, "amq.topic", pattern);
    }
    for (size_t i = 0; i < KEYS; i++) {
        size_t size = 0;
        for (int word = 0; word < 15; word++) {
            uint32_t number = below(&bench, 10);
            size += str_format(bench.keys[i] + size, KEY_BYTES - size, "w%u.", number);
        }
        str_format(bench.keys[i] + size, KEY_BYTES - size, "end");
    }
    measure(&bench, "topic, 1000 of '#.x.#.y.#.end', 16 words", "amq.topic", 50000);
    bench_end(&bench);
}

static void bench_exchange_chain(void) {
    struct bench bench;
    struct change_result result;
    bench_begin(&bench);
    put_queue(&bench, "q", 1);
    struct change change = {.kind = CHANGE_EXCHANGE_DECLARE};
    change.name = BYTES("front");
    change.type = BYTES("topic");
    vhost_change(bench.vhost, &change, &result);
    change = (struct change){.kind = CHANGE_EXCHANGE_BIND, .routing_key = BYTES("orders.#")};
    change.source = BYTES("front");
    change.name = BYTES("amq.fanout");
    vhost_change(bench.vhost, &change, &result);
    check(result.code == REPLY_OK);
    bind(&bench, "q", "amq.fanout", "");
    for (size_t i = 0; i < KEYS; i++)
        str_format(bench.keys[i], KEY_BYTES, "orders.%zu", i);
    measure(&bench, "topic to fanout to queue", "front", 1000000);
    bench_end(&bench);
}

/* Prints the cost of one of `count` things since (`start`, `before`). */
static void print_each(const char *what, uint32_t count, uint64_t start, size_t before) {
    uint64_t took = now_ns() - start;
    size_t now = heap_bytes();
    double bytes = now > before ? (double)(now - before) / count : 0;
    printf("%-44s %9.1f ns  %8.0f bytes each\n", what, (double)took / count, bytes);
}

static void bench_scale(void) {
    enum { COUNT = 1000000 };
    struct bench bench;
    char text[64];
    bench_begin(&bench);
    size_t before = heap_bytes();
    uint64_t start = now_ns();
    for (uint32_t i = 0; i < COUNT; i++) {
        str_format(text, sizeof text, "tenant.queue-%u", i);
        put_queue(&bench, text, i + 1);
    }
    print_each("a million queues", COUNT, start, before);
    before = heap_bytes();
    start = now_ns();
    for (uint32_t i = 0; i < COUNT; i++) {
        str_format(text, sizeof text, "tenant.queue-%u", i);
        bind(&bench, text, "amq.direct", text);
    }
    print_each("a million direct bindings", COUNT, start, before);
    for (size_t i = 0; i < KEYS; i++) {
        str_format(bench.keys[i], KEY_BYTES, "tenant.queue-%u", below(&bench, COUNT));
    }
    measure(&bench, "default exchange, a million queues", "", 1000000);
    measure(&bench, "direct, a million bindings", "amq.direct", 1000000);
    start = now_ns();
    for (uint32_t i = 0; i < COUNT; i++) {
        str_format(text, sizeof text, "tenant.queue-%u", i);
        check(vhost_remove_queue(bench.vhost, bytes_text(text), i + 1));
    }
    print_each("deleting a queue and its binding", COUNT, start, SIZE_MAX);
    check(vhost_binding_count(bench.vhost) == 0);
    bench_end(&bench);
}

int main(int argc, char **argv) {
    bool scale = argc == 2 && strcmp(argv[1], "--scale") == 0;
    if (argc > 1 && !scale) {
        fprintf(stderr, "usage: %s [--scale]\n", argv[0]);
        return 2;
    }
    bench_direct(1);
    bench_direct(10000);
    bench_direct(100000);
    bench_fanout(1);
    bench_fanout(10);
    bench_fanout(1000);
    bench_exchange_chain();
    bench_topic(1000);
    bench_topic(10000);
    bench_topic(100000);
    bench_adversarial();
    bench_live_states();
    if (scale) bench_scale();
    return 0;
}
