/* perf_consumer: receives on one connection from one or several queues, checks, acknowledges. */
#include "tools/perf_consumer.h"

#include "tools/perf_clock.h"
#include "tools/perf_message.h"

#include "amqp/properties.h"
#include "base/memory.h"
#include "base/str.h"

enum { READS_MAX = 4 }; /* per turn, so that the others have theirs */

bool consumer_open(
    struct consumer *consumer, const struct options *options, uint32_t subscription_count) {
    *consumer = (struct consumer){.options = options, .subscription_count = subscription_count};
    consumer->subscriptions = mem_new_array(subscription_count, sizeof *consumer->subscriptions);
    consumer->from = consumer->subscriptions;
    if (!client_open(&consumer->client, options)) return false;
    if (options->raw || options->qos == 0) return true;
    struct method qos = {.kind = METHOD_basic_qos}, answer;
    qos.basic_qos.prefetch_count = (uint16_t)options->qos;
    return client_ask(&consumer->client, &qos, METHOD_basic_qos_ok, &answer);
}

void consumer_assign(
    struct consumer *consumer, uint32_t subscription, uint32_t queue, struct ledger *ledger) {
    consumer->subscriptions[subscription] = (struct subscription){
        .queue = queue,
        .ledger = ledger,
        .next = mem_new_array(options_authors(consumer->options), sizeof(uint64_t)),
    };
}

bool consumer_subscribe(struct consumer *consumer, uint32_t subscription, struct bytes queue_name) {
    char tag[16];
    struct method consume = {.kind = METHOD_basic_consume};
    consume.basic_consume.queue = queue_name;
    consume.basic_consume.consumer_tag =
        bytes_of(tag, str_format(tag, sizeof tag, "%u", subscription));
    consume.basic_consume.no_ack = consumer->options->auto_ack;
    consume.basic_consume.no_wait = true;
    return client_tell(&consumer->client, &consume);
}

void consumer_deinit(struct consumer *consumer) {
    client_close(&consumer->client);
    for (uint32_t i = 0; i < consumer->subscription_count; i++) {
        mem_free(consumer->subscriptions[i].next);
    }
    mem_free(consumer->subscriptions);
}

/* Whether this is the body of a message of an earlier run. */
static bool is_stored(const struct consumer *consumer, struct bytes body) {
    bool same = body.size == consumer->options->size;
    for (uint32_t i = STAMP_BYTES; i < body.size && same; i++)
        same = body.data[i] == MESSAGE_FILL;
    return same;
}

/* Compares a message with those that came before it; `body` is its first frame. */
static void check_stamp(struct consumer *consumer, struct bytes body) {
    struct counters *counters = consumer->tally.counters;
    struct subscription *from = consumer->from;
    struct stamp stamp = stamp_read(body.data);
    bool stored = consumer->options->stored != 0;
    bool ours = stored ? is_stored(consumer, body)
                       : stamp.sent_ns >= consumer->began_ns && stamp.sent_ns <= consumer->now_ns;
    if (stamp.producer >= from->ledger->producers || !ours) {
        counter_add(&counters->foreign, 1);
        return;
    }
    if (!stored) histogram_add(consumer->tally.latency, consumer->now_ns - stamp.sent_ns, 1);
    bool fresh = ledger_note(from->ledger, stamp.producer, stamp.sequence);
    uint64_t *next = &from->next[stamp.producer];
    if (!fresh) {
        counter_add(&counters->duplicates, 1);
    } else if (stamp.sequence < *next && !consumer->redelivered) {
        counter_add(&counters->reordered, 1);
    }
    if (stamp.sequence >= *next) *next = stamp.sequence + 1;
}

static bool put_ack(struct consumer *consumer, uint64_t tag, bool multiple) {
    uint8_t memory[32];
    struct writer writer = writer_over(memory, sizeof memory);
    struct method ack = {.kind = METHOD_basic_ack};
    ack.basic_ack.delivery_tag = tag;
    ack.basic_ack.multiple = multiple;
    frame_put_method(&writer, CLIENT_CHANNEL, &ack);
    consumer->unacked = 0;
    return buffer_put(&consumer->client.output, memory, writer_size(&writer)) ||
           client_fail(&consumer->client, "the server does not read acknowledgements");
}

static bool on_message(struct consumer *consumer) {
    consumer->arriving = false;
    consumer->consumed++;
    if (consumer->redelivered) counter_add(&consumer->tally.counters->redelivered, 1);
    if (consumer->options->auto_ack || consumer->options->raw) return true;
    consumer->unacked++;
    uint64_t every = consumer->options->multi_ack_every;
    return consumer->unacked < every || put_ack(consumer, consumer->tag, every > 1);
}

static bool on_deliver(struct consumer *consumer, struct reader *reader) {
    struct amqp_basic_deliver deliver;
    read_basic_deliver(reader, &deliver);
    consumer->tag = deliver.delivery_tag;
    consumer->redelivered = deliver.redelivered;
    uint32_t subscription = 0;
    for (uint32_t i = 0; i < deliver.consumer_tag.size; i++) {
        subscription = subscription * 10 + (uint32_t)(deliver.consumer_tag.data[i] - '0');
    }
    if (reader->bad || subscription >= consumer->subscription_count) {
        return client_fail(&consumer->client, "a delivery that nobody asked for");
    }
    consumer->from = &consumer->subscriptions[subscription];
    consumer->arriving = true;
    return true;
}

/* Method frames: a delivery announces a message; through a relay it is still a publish. */
static bool on_method(struct consumer *consumer, const struct frame *frame) {
    struct reader reader = reader_over(frame->payload);
    uint32_t ids = read_u32(&reader);
    if (ids == (60u << 16 | 60)) return on_deliver(consumer, &reader);
    if (ids == (60u << 16 | 40) && consumer->options->raw) {
        consumer->arriving = true;
        return true;
    }
    return client_on_other_frame(&consumer->client, frame);
}

static bool on_frame(struct consumer *consumer, const struct frame *frame) {
    if (frame->type == FRAME_METHOD) return on_method(consumer, frame);
    if (!consumer->arriving) return true;
    if (frame->type == FRAME_HEADER) {
        struct content_header header;
        if (!properties_read_header(frame->payload, &header)) {
            return client_fail(&consumer->client, "a malformed content header");
        }
        consumer->body_left = header.body_size;
        consumer->stamped = header.body_size < STAMP_BYTES;
    } else if (frame->type == FRAME_BODY) {
        if (!consumer->stamped && frame->payload.size >= STAMP_BYTES) {
            check_stamp(consumer, frame->payload);
        }
        consumer->stamped = true;
        if (frame->payload.size > consumer->body_left) {
            return client_fail(&consumer->client, "a body longer than its header said");
        }
        consumer->body_left -= frame->payload.size;
    }
    return consumer->body_left != 0 || on_message(consumer);
}

uint64_t consumer_due_ns(const struct consumer *consumer, bool ending) {
    const struct options *options = consumer->options;
    if (options->cmessages != 0 && consumer->consumed >= options->cmessages) return UINT64_MAX;
    uint64_t rate = options->consumer_rate, count = consumer->consumed;
    if (rate == 0 || ending || consumer->pace_began_ns == 0) return 0;
    return consumer->pace_began_ns + count / rate * CLOCK_SECOND_NS +
           count % rate * CLOCK_SECOND_NS / rate;
}

bool consumer_take(struct consumer *consumer, bool ending) {
    uint64_t before = consumer->consumed;
    consumer->now_ns = clock_now_ns();
    if (consumer->pace_began_ns == 0) consumer->pace_began_ns = consumer->now_ns;
    bool paced = consumer->options->consumer_rate != 0 || consumer->options->cmessages != 0;
    bool good = true;
    struct frame frame;
    while (good && !(paced && consumer_due_ns(consumer, ending) > consumer->now_ns) &&
           client_next_frame(&consumer->client, &frame)) {
        good = on_frame(consumer, &frame);
    }
    counter_add(&consumer->tally.counters->consumed, consumer->consumed - before);
    return good && consumer->client.error[0] == 0 && client_flush(&consumer->client);
}

bool consumer_on_readable(struct consumer *consumer, bool ending) {
    for (int i = 0; i < READS_MAX; i++) {
        size_t room = CLIENT_INPUT_BYTES - (consumer->client.input_end - consumer->client.input_at);
        int64_t got = client_read(&consumer->client);
        if (got <= 0) return got == 0;
        if (!consumer_take(consumer, ending)) return false;
        bool waiting = consumer_due_ns(consumer, ending) > consumer->now_ns;
        if (waiting || (size_t)got < room) return true;
    }
    return true;
}

bool consumer_ack_rest(struct consumer *consumer) {
    if (consumer->unacked == 0) return true;
    return put_ack(consumer, consumer->tag, true) && client_flush(&consumer->client);
}
