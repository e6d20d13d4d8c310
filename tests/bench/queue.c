/* queue: what the queue machine costs per message, in nanoseconds.
 *
 * The first block runs the same leaf work twice: once through struct op and struct effect, as a
 * host does it, once by calling the leaves directly. The difference is the price of ops and
 * effects. Each line is the median of several runs. Builds for measuring are scripts/build release.
 */
#include "core/queue.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/memory.h"
#include "base/prng.h"
#include "core/consumer.h"
#include "core/entries.h"

enum { RUNS = 31, MESSAGES = 200000, BATCH_MAX = 256, WINDOW_MAX = 4096, BODY_BYTES = 16 };

/* One queue, its consumer's credit, messages that go round, and a place for results. */
struct bench {
    struct message_pool *pool;
    struct queue *queue;
    struct credit credit;
    consumer_handle consumer;
    struct effects effects;
    struct prng prng;
    struct message *messages[WINDOW_MAX];
    uint64_t seqs[WINDOW_MAX];
    uint64_t sink;
};

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Runs one benchmark, which gives its nanoseconds per message, and prints the least: other
 * processes only ever add. */
static double report(const char *text, double (*run)(struct bench *, uint32_t), struct bench *bench,
    uint32_t argument) {
    double least = run(bench, argument);
    for (int i = 1; i < RUNS; i++) {
        double result = run(bench, argument);
        if (result < least) least = result;
    }
    printf("%-58s %7.1f ns\n", text, least);
    fflush(stdout);
    return least;
}

static struct message *new_message(struct bench *bench, uint32_t body_size) {
    struct message *message =
        message_new(bench->pool, BYTES(""), BYTES("bench-queue"), BYTES("\x10\0\x02"), body_size);
    memset(message_body_data(message), 'x', body_size);
    return message;
}

static inline void apply(struct bench *bench, struct op op) {
    queue_apply(bench->queue, &op, op.kind == OP_CONSUME ? &bench->credit : NULL, &bench->effects);
}

static void open_queue(struct bench *bench, uint8_t flags, uint32_t prefetch) {
    bench->credit.bytes = INT64_MAX / 2;
    bench->queue = queue_new(1, &(struct queue_settings){0}, bench->pool);
    bench->effects.count = 0;
    apply(bench, (struct op){.kind = OP_CONSUME,
                     .flags = flags,
                     .connection = 1,
                     .consume = {.tag_id = 1, .prefetch = prefetch}});
    bench->consumer = bench->effects.list[0].consumer;
    bench->effects.count = 0;
}

static void close_queue(struct bench *bench) {
    queue_free(bench->queue);
    bench->queue = NULL;
}

static inline void enqueue(struct bench *bench, struct message *message) {
    const struct op op = {.kind = OP_ENQUEUE, .connection = 1, .now_ms = 1, .message = message};
    queue_apply(bench->queue, &op, NULL, &bench->effects);
}

/* What a host does with a delivery, at the least: look at where it goes and at the message. */
static inline void hand_over(struct bench *bench, const struct effect *effect) {
    bench->sink += effect->seq + effect->tag_id + effect->channel + effect->connection +
                   effect->message->body_size;
}

/* ---- the same work with and without ops and effects */

static double no_ack_by_ops(struct bench *bench, uint32_t batch) {
    open_queue(bench, OP_NO_ACK, 0);
    uint64_t start = now_ns();
    for (uint32_t n = 0; n < MESSAGES; n += batch) {
        for (uint32_t i = 0; i < batch; i++) {
            enqueue(bench, bench->messages[i]);
        }
        bench->effects.count = 0;
        queue_pump(bench->queue, PUMP_EFFECTS_MAX, &bench->effects);
        for (uint32_t i = 0; i < bench->effects.count; i++) {
            const struct effect *effect = &bench->effects.list[i];
            hand_over(bench, effect);
            bench->messages[i] = effect->message;
        }
    }
    double result = (double)(now_ns() - start) / MESSAGES;
    bench->effects.count = 0;
    close_queue(bench);
    return result;
}

/* The leaves of a queue, held together without queue.c. */
struct leaves {
    struct entries entries;
    uint64_t cursor;
    uint64_t ready;
    uint64_t ready_bytes;
    struct consumers *consumers;
};

static __attribute__((noinline)) void leaf_enqueue(struct leaves *leaves, struct message *message) {
    entries_put(&leaves->entries, message, 0);
    leaves->ready++;
    leaves->ready_bytes += message->body_size;
}

/* Calls the session's side of a delivery directly. */
static __attribute__((noinline)) void leaf_hand_over(struct bench *bench,
    const struct consumer *consumer, struct message *message, uint64_t seq, bool redelivered) {
    bench->sink += seq + consumer->tag_id + consumer->channel + consumer->connection +
                   message->body_size + redelivered;
}

static __attribute__((noinline)) uint32_t leaf_deliver(struct leaves *leaves, struct bench *bench) {
    uint32_t count = 0;
    while (leaves->ready != 0 && count < PUMP_EFFECTS_MAX) {
        struct consumer *consumer = consumers_first(leaves->consumers);
        if (!consumer || consumer_at_prefetch(consumer) || consumer->credit->bytes <= 0) break;
        uint64_t seq = leaves->cursor++;
        struct entry *entry = entries_find(&leaves->entries, seq);
        check(entry != NULL);
        struct message *message = entry->message;
        leaves->ready--;
        leaves->ready_bytes -= entry->body_size;
        bool redelivered = entry->flags & ENTRY_REDELIVERED;
        entries_remove(&leaves->entries, seq);
        consumer->credit->bytes -= queue_delivery_cost(message);
        consumer_rotate(consumer);
        leaf_hand_over(bench, consumer, message, seq, redelivered);
        bench->messages[count++] = message;
    }
    return count;
}

static double no_ack_by_leaves(struct bench *bench, uint32_t batch) {
    struct leaves leaves = {.cursor = 1, .consumers = consumers_new(0)};
    const struct op op = {.kind = OP_CONSUME, .flags = OP_NO_ACK, .consume = {.tag_id = 1}};
    entries_init(&leaves.entries, message_pool_chunks(bench->pool));
    struct consumer *consumer = consumers_put(leaves.consumers, NULL, &op, &bench->credit);
    uint64_t start = now_ns();
    for (uint32_t n = 0; n < MESSAGES; n += batch) {
        for (uint32_t i = 0; i < batch; i++) {
            leaf_enqueue(&leaves, bench->messages[i]);
        }
        leaf_deliver(&leaves, bench);
    }
    double result = (double)(now_ns() - start) / MESSAGES;
    consumers_remove(leaves.consumers, consumer);
    consumers_free(leaves.consumers);
    entries_deinit(&leaves.entries);
    return result;
}

/* ---- with acks: each message is new, and its memory goes back with the ack */

static inline void settle(struct bench *bench, uint64_t seq, uint32_t count) {
    const struct op op = {
        .kind = OP_SETTLE, .connection = 1, .now_ms = 1, .range = {seq, count, bench->consumer}};
    queue_apply(bench->queue, &op, NULL, &bench->effects);
}

static inline void requeue(struct bench *bench, uint64_t seq, uint32_t count) {
    const struct op op = {
        .kind = OP_REQUEUE, .connection = 1, .now_ms = 1, .range = {seq, count, bench->consumer}};
    queue_apply(bench->queue, &op, NULL, &bench->effects);
}

/* `batch` messages in, delivered, and out of the sender's hands; gives the first one's seq. */
static uint64_t batch_unacked(struct bench *bench, uint32_t batch) {
    for (uint32_t i = 0; i < batch; i++) {
        enqueue(bench, new_message(bench, BODY_BYTES));
    }
    bench->effects.count = 0;
    queue_pump(bench->queue, PUMP_EFFECTS_MAX, &bench->effects);
    for (uint32_t i = 0; i < bench->effects.count; i++) {
        hand_over(bench, &bench->effects.list[i]);
        message_unref(bench->pool, bench->effects.list[i].message);
    }
    return bench->effects.list[0].seq;
}

static double settle_in_order(struct bench *bench, uint32_t batch) {
    open_queue(bench, 0, 0);
    uint64_t start = now_ns();
    for (uint32_t n = 0; n < MESSAGES; n += batch) {
        uint64_t seq = batch_unacked(bench, batch);
        for (uint32_t i = 0; i < batch; i++) {
            settle(bench, seq + i, 1);
        }
    }
    double result = (double)(now_ns() - start) / MESSAGES;
    bench->effects.count = 0;
    close_queue(bench);
    return result;
}

static double settle_multiple(struct bench *bench, uint32_t batch) {
    open_queue(bench, 0, 0);
    uint64_t start = now_ns();
    for (uint32_t n = 0; n < MESSAGES; n += batch) {
        settle(bench, batch_unacked(bench, batch), batch);
    }
    double result = (double)(now_ns() - start) / MESSAGES;
    bench->effects.count = 0;
    close_queue(bench);
    return result;
}

/* Delivers everything that is ready and writes the seqs down. */
static uint32_t deliver_all(struct bench *bench) {
    uint32_t count = 0;
    while (queue_owes(bench->queue)) {
        bench->effects.count = 0;
        queue_pump(bench->queue, PUMP_EFFECTS_MAX, &bench->effects);
        for (uint32_t i = 0; i < bench->effects.count; i++) {
            const struct effect *effect = &bench->effects.list[i];
            message_unref(bench->pool, effect->message);
            bench->seqs[count++] = effect->seq;
        }
    }
    bench->effects.count = 0;
    return count;
}

static void shuffle(struct bench *bench, uint32_t count) {
    for (uint32_t i = count - 1; i > 0; i--) {
        uint32_t other = (uint32_t)prng_below(&bench->prng, i + 1);
        uint64_t seq = bench->seqs[i];
        bench->seqs[i] = bench->seqs[other];
        bench->seqs[other] = seq;
    }
}

/* All but the shuffling is measured. */
static double settle_shuffled(struct bench *bench, uint32_t window) {
    uint64_t ns = 0, done = 0;
    open_queue(bench, 0, 0);
    while (done < MESSAGES) {
        uint64_t start = now_ns();
        for (uint32_t i = 0; i < window; i++) {
            enqueue(bench, new_message(bench, BODY_BYTES));
        }
        deliver_all(bench);
        ns += now_ns() - start;
        shuffle(bench, window);
        start = now_ns();
        for (uint32_t i = 0; i < window; i++) {
            settle(bench, bench->seqs[i], 1);
        }
        ns += now_ns() - start;
        done += window;
    }
    close_queue(bench);
    return (double)ns / (double)done;
}

static double requeue_shuffled(struct bench *bench, uint32_t window) {
    uint64_t ns = 0, done = 0;
    open_queue(bench, 0, 0);
    for (uint32_t i = 0; i < window; i++) {
        enqueue(bench, new_message(bench, BODY_BYTES));
    }
    deliver_all(bench);
    while (done < MESSAGES) {
        shuffle(bench, window);
        uint64_t start = now_ns();
        for (uint32_t i = 0; i < window; i++) {
            requeue(bench, bench->seqs[i], 1);
        }
        deliver_all(bench);
        ns += now_ns() - start;
        done += window;
    }
    close_queue(bench);
    return (double)ns / (double)done;
}

static double requeue_runs(struct bench *bench, uint32_t window) {
    uint64_t ns = 0, done = 0;
    open_queue(bench, 0, 0);
    for (uint32_t i = 0; i < window; i++) {
        enqueue(bench, new_message(bench, BODY_BYTES));
    }
    deliver_all(bench);
    while (done < MESSAGES) {
        uint64_t start = now_ns();
        requeue(bench, 1, window);
        deliver_all(bench);
        ns += now_ns() - start;
        done += window;
    }
    close_queue(bench);
    return (double)ns / (double)done;
}

/* ---- wide and deep */

static double many_queues(struct bench *bench, uint32_t queue_count) {
    struct queue **queues = mem_new_array(queue_count, sizeof *queues);
    for (uint32_t i = 0; i < queue_count; i++) {
        open_queue(bench, OP_NO_ACK, 0);
        queues[i] = bench->queue;
    }
    uint64_t start = now_ns();
    for (uint32_t n = 0; n < MESSAGES; n++) {
        bench->queue = queues[prng_below(&bench->prng, queue_count)];
        enqueue(bench, bench->messages[0]);
        bench->effects.count = 0;
        queue_pump(bench->queue, PUMP_EFFECTS_MAX, &bench->effects);
        hand_over(bench, &bench->effects.list[0]);
    }
    double result = (double)(now_ns() - start) / MESSAGES;
    bench->effects.count = 0;
    for (uint32_t i = 0; i < queue_count; i++) {
        queue_free(queues[i]);
    }
    mem_free(queues);
    return result;
}

static double build_backlog(struct bench *bench, uint32_t body_size) {
    bench->queue = queue_new(1, &(struct queue_settings){0}, bench->pool);
    uint64_t start = now_ns();
    for (uint32_t n = 0; n < MESSAGES; n++) {
        enqueue(bench, new_message(bench, body_size));
    }
    return (double)(now_ns() - start) / MESSAGES;
}

static double backlog_in(struct bench *bench, uint32_t body_size) {
    double result = build_backlog(bench, body_size);
    close_queue(bench);
    return result;
}

static double backlog_out(struct bench *bench, uint32_t body_size) {
    build_backlog(bench, body_size);
    bench->credit.bytes = INT64_MAX / 2;
    apply(bench, (struct op){.kind = OP_CONSUME, .flags = OP_NO_ACK, .connection = 1});
    uint64_t start = now_ns();
    while (queue_owes(bench->queue)) {
        bench->effects.count = 0;
        queue_pump(bench->queue, PUMP_EFFECTS_MAX, &bench->effects);
        for (uint32_t i = 0; i < bench->effects.count; i++) {
            hand_over(bench, &bench->effects.list[i]);
            message_unref(bench->pool, bench->effects.list[i].message);
        }
    }
    double result = (double)(now_ns() - start) / MESSAGES;
    bench->effects.count = 0;
    close_queue(bench);
    return result;
}

static double purge(struct bench *bench, uint32_t body_size) {
    build_backlog(bench, body_size);
    uint64_t start = now_ns();
    apply(bench, (struct op){.kind = OP_PURGE, .connection = 1, .request = 1});
    while (queue_owes(bench->queue)) {
        queue_pump(bench->queue, PUMP_EFFECTS_MAX - 1, &bench->effects);
    }
    double result = (double)(now_ns() - start) / MESSAGES;
    bench->effects.count = 0;
    close_queue(bench);
    return result;
}

/* One op that speaks of `count` messages. */
static double long_range(struct bench *bench, enum op_kind kind, uint32_t count) {
    open_queue(bench, 0, 0);
    for (uint32_t n = 0; n < count; n++) {
        enqueue(bench, new_message(bench, BODY_BYTES));
    }
    while (queue_owes(bench->queue)) {
        bench->effects.count = 0;
        queue_pump(bench->queue, PUMP_EFFECTS_MAX, &bench->effects);
        for (uint32_t i = 0; i < bench->effects.count; i++) {
            message_unref(bench->pool, bench->effects.list[i].message);
        }
    }
    bench->effects.count = 0;
    const struct op op = {
        .kind = (uint8_t)kind, .request = 1, .range = {1, count, bench->consumer}};
    uint64_t start = now_ns();
    queue_apply(bench->queue, &op, NULL, &bench->effects);
    double result = (double)(now_ns() - start) / count;
    bench->effects.count = 0;
    close_queue(bench);
    return result;
}

static double settle_long(struct bench *bench, uint32_t count) {
    return long_range(bench, OP_SETTLE, count);
}

static double requeue_long(struct bench *bench, uint32_t count) {
    return long_range(bench, OP_REQUEUE, count);
}

static double make_and_drop(struct bench *bench, uint32_t body_size) {
    uint64_t start = now_ns();
    for (uint32_t n = 0; n < MESSAGES; n++) {
        struct message *message = message_new(
            bench->pool, BYTES(""), BYTES("bench-queue"), BYTES("\x10\0\x02"), body_size);
        bench->sink += message->capacity;
        message_unref(bench->pool, message);
    }
    return (double)(now_ns() - start) / MESSAGES;
}

int main(void) {
    struct bench *bench = NEW(struct bench);
    bench->pool = message_pool_new(0);
    prng_init(&bench->prng, 1);
    credit_init(&bench->credit, INT64_MAX / 2);
    for (uint32_t i = 0; i < WINDOW_MAX; i++) {
        bench->messages[i] = new_message(bench, BODY_BYTES);
    }
    static const uint32_t batches[] = {1, 16, 64, 256};
    for (uint32_t i = 0; i < COUNT_OF(batches); i++) {
        char text[64];
        snprintf(text, sizeof text, "no-ack, ops and effects, batch %u", batches[i]);
        double by_ops = report(text, no_ack_by_ops, bench, batches[i]);
        snprintf(text, sizeof text, "no-ack, leaves called directly, batch %u", batches[i]);
        double by_leaves = report(text, no_ack_by_leaves, bench, batches[i]);
        printf("%-58s %7.1f ns\n", "  so op and effect cost", by_ops - by_leaves);
    }
    report("new, ack, one SETTLE per message, in order, batch 64", settle_in_order, bench, 64);
    report("new, ack, one SETTLE per 64 messages", settle_multiple, bench, 64);
    report("new, ack, shuffled in a window of 64", settle_shuffled, bench, 64);
    report("new, ack, shuffled in a window of 4096", settle_shuffled, bench, 4096);
    report("requeue one by one and redeliver, shuffled, 1000", requeue_shuffled, bench, 1000);
    report("requeue as one range and redeliver, 1000", requeue_runs, bench, 1000);
    report("no-ack, random one of 1,000 queues", many_queues, bench, 1000);
    report("no-ack, random one of 100,000 queues", many_queues, bench, 100000);
    report("message_new and unref, body of 16 bytes", make_and_drop, bench, 16);
    report("message_new and unref, body of 1 KiB", make_and_drop, bench, 1024);
    report("backlog of 200,000 in, with message_new, 16 bytes", backlog_in, bench, 16);
    report("backlog of 200,000 out, with unref, 16 bytes", backlog_out, bench, 16);
    report("backlog of 200,000 purged, 16 bytes", purge, bench, 16);
    report("one SETTLE of 1,000 messages, per message", settle_long, bench, 1000);
    report("one SETTLE of 300,000 messages, per message", settle_long, bench, 300000);
    report("one REQUEUE of 300,000 messages, per message", requeue_long, bench, 300000);
    for (uint32_t i = 0; i < WINDOW_MAX; i++) {
        message_unref(bench->pool, bench->messages[i]);
    }
    printf("(%llu)\n", (unsigned long long)bench->sink);
    message_pool_free(bench->pool);
    mem_free(bench);
    return 0;
}
