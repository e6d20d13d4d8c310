/* bench_codec: what the codec costs per call, in nanoseconds, for the calls made once per message.
 *
 * Each line is the median of several runs over inputs of varying lengths, so that neither the
 * branch predictor nor the compiler can learn one size by heart. Builds for measuring are
 * scripts/build release. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "amqp/frame.h"
#include "amqp/properties.h"
#include "amqp/table.h"
#include "base/prng.h"

enum { INPUTS = 64, INPUT_BYTES = 1024, RUNS = 9, CALLS = 2000000 };

/* Prepared inputs, and a place for results so that nothing is optimized away. */
struct bench {
    uint8_t memory[INPUTS][INPUT_BYTES];
    struct bytes inputs[INPUTS];
    struct method methods[INPUTS];
    uint64_t sink;
};

static const uint8_t LETTERS[] = "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz";

static struct bytes text_of(struct prng *prng, uint32_t size_min, uint32_t size_max) {
    uint64_t size = size_min + prng_below(prng, size_max - size_min + 1);
    return bytes_of(LETTERS + prng_below(prng, 26), size);
}

static void prepare_publish(struct bench *bench, struct prng *prng, uint32_t i) {
    bench->methods[i] = (struct method){.kind = METHOD_basic_publish};
    bench->methods[i].basic_publish.exchange = text_of(prng, 0, 16);
    bench->methods[i].basic_publish.routing_key = text_of(prng, 4, 24);
    struct writer writer = writer_over(bench->memory[i], INPUT_BYTES);
    method_encode(&writer, &bench->methods[i]);
    bench->inputs[i] = writer_bytes(&writer);
}

static void prepare_deliver(struct bench *bench, struct prng *prng, uint32_t i) {
    bench->methods[i] = (struct method){.kind = METHOD_basic_deliver};
    bench->methods[i].basic_deliver.consumer_tag = text_of(prng, 6, 24);
    bench->methods[i].basic_deliver.delivery_tag = prng_next(prng);
    bench->methods[i].basic_deliver.redelivered = prng_chance(prng, 10);
    bench->methods[i].basic_deliver.exchange = text_of(prng, 0, 16);
    bench->methods[i].basic_deliver.routing_key = text_of(prng, 4, 24);
}

static void prepare_properties(struct bench *bench, struct prng *prng, uint32_t i) {
    struct properties properties = {.flags = PROPERTY_HAS_content_type | PROPERTY_HAS_delivery_mode,
        .content_type = text_of(prng, 8, 24),
        .delivery_mode = 2};
    struct writer writer = writer_over(bench->memory[i], INPUT_BYTES);
    properties_encode(&writer, &properties);
    bench->inputs[i] = writer_bytes(&writer);
}

static void prepare_headers(struct bench *bench, struct prng *prng, uint32_t i) {
    uint8_t memory[INPUT_BYTES];
    struct writer table = writer_over(memory, sizeof memory);
    table_put_text(&table, "trace-id", text_of(prng, 8, 24));
    table_put_i64(&table, "attempt", (int64_t)prng_below(prng, 9));
    table_put_bool(&table, "sampled", true);
    struct properties properties = {.flags = PROPERTY_HAS_headers | PROPERTY_HAS_delivery_mode,
        .headers = writer_bytes(&table),
        .delivery_mode = 1};
    struct writer writer = writer_over(bench->memory[i], INPUT_BYTES);
    properties_encode(&writer, &properties);
    bench->inputs[i] = writer_bytes(&writer);
}

static void prepare_frame(struct bench *bench, struct prng *prng, uint32_t i) {
    prepare_publish(bench, prng, i);
    struct writer writer = writer_over(bench->memory[i], INPUT_BYTES);
    frame_put_method(&writer, 1, &bench->methods[i]);
    bench->inputs[i] = writer_bytes(&writer);
}

static void run_frame_parse(struct bench *bench, uint32_t i) {
    struct frame frame;
    uint32_t taken = 0;
    if (frame_parse(bench->inputs[i], 131072, &frame, &taken) == FRAME_COMPLETE) {
        bench->sink += taken + frame.channel;
    }
}

static void run_method_decode(struct bench *bench, uint32_t i) {
    struct method method;
    if (method_decode(bench->inputs[i], &method)) {
        bench->sink += method.basic_publish.routing_key.size;
    }
}

static void run_publish_read(struct bench *bench, uint32_t i) {
    struct amqp_basic_publish publish;
    struct reader reader = reader_over(bench->inputs[i]);
    (void)read_u32(&reader);
    read_basic_publish(&reader, &publish);
    bench->sink += publish.routing_key.size;
}

static void run_deliver_write(struct bench *bench, uint32_t i) {
    uint8_t memory[INPUT_BYTES];
    struct writer writer = writer_over(memory, sizeof memory);
    write_basic_deliver(&writer, &bench->methods[i].basic_deliver);
    bench->sink += memory[writer_size(&writer) - 1];
}

static void run_deliver_frame(struct bench *bench, uint32_t i) {
    uint8_t memory[INPUT_BYTES];
    struct writer writer = writer_over(memory, sizeof memory);
    frame_put_method(&writer, 1, &bench->methods[i]);
    bench->sink += memory[writer_size(&writer) - 2];
}

static void run_properties(struct bench *bench, uint32_t i) {
    struct properties properties;
    if (properties_decode(bench->inputs[i], &properties)) bench->sink += properties.flags;
}

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

struct subject {
    const char *name;
    void (*prepare)(struct bench *bench, struct prng *prng, uint32_t i);
    void (*run)(struct bench *bench, uint32_t i);
};

static const struct subject SUBJECTS[] = {
    {"frame_parse", prepare_frame, run_frame_parse},
    {"read_basic_publish", prepare_publish, run_publish_read},
    {"method_decode(basic.publish)", prepare_publish, run_method_decode},
    {"write_basic_deliver", prepare_deliver, run_deliver_write},
    {"frame_put_method(basic.deliver)", prepare_deliver, run_deliver_frame},
    {"properties_decode(2 properties)", prepare_properties, run_properties},
    {"properties_decode(3 headers)", prepare_headers, run_properties},
};

static double measure(struct bench *bench, const struct subject *subject) {
    struct prng prng;
    prng_init(&prng, 1);
    for (uint32_t i = 0; i < INPUTS; i++) {
        subject->prepare(bench, &prng, i);
    }
    double times[RUNS];
    for (int run = 0; run < RUNS; run++) {
        uint64_t began = now_ns();
        for (uint32_t call = 0; call < CALLS; call++) {
            subject->run(bench, call % INPUTS);
        }
        times[run] = (double)(now_ns() - began) / CALLS;
    }
    qsort(times, RUNS, sizeof times[0], compare_doubles);
    return times[RUNS / 2];
}

int main(void) {
    static struct bench bench;
    for (size_t i = 0; i < COUNT_OF(SUBJECTS); i++) {
        printf("%-34s %6.1f ns\n", SUBJECTS[i].name, measure(&bench, &SUBJECTS[i]));
    }
    return bench.sink == 0;
}
