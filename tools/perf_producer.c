/* perf_producer: publishes on one connection, as fast as goes or as paced, and counts confirms. */
#include "tools/perf_producer.h"

#include "tools/perf_clock.h"
#include "tools/perf_ledger.h"

#include "base/memory.h"

enum {
    BATCH_BYTES = 64 * 1024, /* one write; a larger message is a batch of its own */
    LATE_NS = 1000000,       /* who waits longer than this was kept waiting by the server */
};

bool producer_open(struct producer *producer, const struct options *options, uint32_t id) {
    *producer = (struct producer){.options = options, .id = id, .open_first = 1};
    if (!client_open(&producer->client, options)) return false;
    if (options->confirm == 0) return true;
    producer->open_capacity = 1;
    while (producer->open_capacity < 2 * options->confirm) {
        producer->open_capacity *= 2;
    }
    producer->open_ns = mem_new_array(producer->open_capacity, sizeof *producer->open_ns);
    if (options->raw) return true;
    struct method select = {.kind = METHOD_confirm_select}, answer;
    return client_ask(&producer->client, &select, METHOD_confirm_select_ok, &answer);
}

void producer_prepare(struct producer *producer, const struct message *messages,
    uint32_t destination_count, struct producer_tally tally) {
    producer->messages = messages;
    producer->tally = tally;
    producer->destination_count = destination_count;
    producer->destination = producer->id % destination_count;
    uint32_t step = producer->options->producers % destination_count;
    producer->destination_step = producer->options->producers < destination_count ? step : 0;
    producer->sequences = mem_new_array(destination_count, sizeof *producer->sequences);
    size_t largest = 0;
    for (uint32_t i = 0; i < destination_count; i++) {
        if (messages[i].size > largest) largest = messages[i].size;
    }
    producer->batch_bytes_max = largest > BATCH_BYTES ? largest : BATCH_BYTES;
    producer->batch = mem_raw(producer->batch_bytes_max);
    if (destination_count != 1) return;
    for (size_t at = 0; at + largest <= producer->batch_bytes_max; at += largest) {
        bytes_copy(producer->batch + at, messages[0].data, largest);
    }
    producer->batch_prepared = true;
}

void producer_start(struct producer *producer, uint64_t now_ns) {
    uint64_t rate = producer->options->rate, count = producer->options->producers;
    /* Many producers of one pace do not all send at the same moment. */
    uint64_t shift = rate == 0 ? 0 : CLOCK_SECOND_NS / rate * producer->id / count;
    producer->pace_began_ns = now_ns + shift;
}

void producer_deinit(struct producer *producer) {
    producer->client.mute =
        producer->client.mute || producer->batch_written != producer->batch_size;
    client_close(&producer->client);
    mem_free(producer->sequences);
    mem_free(producer->batch);
    mem_free(producer->open_ns);
}

/* How many messages the pace has let go until now. */
static uint64_t paced_count(const struct producer *producer, uint64_t now_ns) {
    if (now_ns < producer->pace_began_ns) return 0;
    uint64_t run_ns = now_ns - producer->pace_began_ns;
    uint64_t seconds = run_ns / CLOCK_SECOND_NS, rest = run_ns % CLOCK_SECOND_NS;
    uint64_t rate = producer->options->rate;
    return seconds * rate + rest * rate / CLOCK_SECOND_NS + 1;
}

/* When the message number `count`, from 0, is due. */
static uint64_t paced_due_ns(const struct producer *producer, uint64_t count) {
    uint64_t rate = producer->options->rate;
    uint64_t rest = (count % rate * CLOCK_SECOND_NS + rate - 1) / rate;
    return producer->pace_began_ns + count / rate * CLOCK_SECOND_NS + rest;
}

static uint64_t allowed_now(const struct producer *producer, uint64_t now_ns) {
    const struct options *options = producer->options;
    uint64_t allowed = UINT64_MAX;
    if (options->pmessages != 0) allowed = options->pmessages - producer->sent;
    if (options->rate != 0) {
        uint64_t paced = paced_count(producer, now_ns);
        allowed = min_u64(allowed, paced > producer->sent ? paced - producer->sent : 0);
    }
    if (options->confirm != 0) {
        uint64_t span = producer->sent + 1 - producer->open_first;
        allowed = min_u64(allowed, options->confirm - producer->open_count);
        allowed = min_u64(allowed, producer->open_capacity - span);
    }
    return allowed;
}

bool producer_wants_to_write(const struct producer *producer, bool ending) {
    if (producer->batch_written != producer->batch_size) return true;
    return !ending && producer->options->rate == 0 && allowed_now(producer, 0) != 0;
}

uint64_t producer_due_ns(const struct producer *producer) {
    const struct options *options = producer->options;
    bool open = options->confirm == 0 || producer->open_count < options->confirm;
    bool full = producer->batch_written != producer->batch_size;
    bool over = options->pmessages != 0 && producer->sent >= options->pmessages;
    if (options->rate == 0 || !open || full || over) return UINT64_MAX;
    return paced_due_ns(producer, producer->sent);
}

bool producer_is_done(const struct producer *producer, bool ending) {
    bool over = ending || (producer->options->pmessages != 0 &&
                              producer->sent >= producer->options->pmessages);
    return over && producer->batch_written == producer->batch_size && producer->open_count == 0;
}

/* The time that a message says it was sent. One that had to wait was due earlier, and that is what
 * its receiver notices. */
static uint64_t stamp_ns(const struct producer *producer, uint64_t now_ns) {
    if (producer->options->rate == 0) return now_ns;
    uint64_t due_ns = paced_due_ns(producer, producer->sent);
    return now_ns > due_ns + LATE_NS ? due_ns : now_ns;
}

static void lay_out(struct producer *producer, uint64_t count, uint64_t now_ns) {
    bool stamped = producer->options->size >= STAMP_BYTES;
    uint64_t before = producer->sent;
    size_t at = 0;
    while (producer->sent - before < count) {
        const struct message *message = &producer->messages[producer->destination];
        if (at + message->size > producer->batch_bytes_max) break;
        if (!producer->batch_prepared) {
            bytes_copy(producer->batch + at, message->data, message->size);
        }
        if (stamped) {
            stamp_write(producer->batch + at + message->stamp_offset,
                (struct stamp){.producer = producer->id,
                    .sequence = producer->sequences[producer->destination],
                    .sent_ns = stamp_ns(producer, now_ns)});
        }
        producer->sequences[producer->destination]++;
        producer->destination += producer->destination_step;
        if (producer->destination >= producer->destination_count) {
            producer->destination = producer->id % producer->destination_count;
        }
        producer->sent++;
        if (producer->open_ns) {
            producer->open_ns[producer->sent & (producer->open_capacity - 1)] = now_ns;
        }
        at += message->size;
    }
    if (producer->open_ns) producer->open_count += producer->sent - before;
    counter_add(&producer->tally.counters->published, producer->sent - before);
    producer->batch_size = at;
    producer->batch_written = 0;
}

bool producer_publish(struct producer *producer, uint64_t now_ns, bool ending) {
    if (producer->batch_written == producer->batch_size) {
        uint64_t allowed = ending ? 0 : allowed_now(producer, now_ns);
        if (allowed == 0) return true;
        lay_out(producer, allowed, now_ns);
    }
    int64_t done = client_write(&producer->client, producer->batch + producer->batch_written,
        producer->batch_size - producer->batch_written);
    if (done > 0) producer->batch_written += (size_t)done;
    return done >= 0;
}

/* Ends the wait for one delivery tag. */
static uint64_t settle(struct producer *producer, uint64_t tag, uint64_t now_ns) {
    uint64_t *open_ns = &producer->open_ns[tag & (producer->open_capacity - 1)];
    if (*open_ns == 0) return 0;
    histogram_add(producer->tally.confirm_latency, now_ns - *open_ns, 1);
    *open_ns = 0;
    producer->open_count--;
    return 1;
}

/* Ends the wait for one delivery tag, or for all up to it. False when there is no such tag. */
static bool on_confirm(
    struct producer *producer, uint64_t tag, bool multiple, uint64_t *counter, uint64_t now_ns) {
    if (tag == 0 && multiple) tag = producer->sent;
    if (!producer->open_ns || tag < producer->open_first || tag > producer->sent) {
        return client_fail(&producer->client, "a confirm for the tag %llu, which is not open",
            (unsigned long long)tag);
    }
    uint64_t first = multiple ? producer->open_first : tag, settled = 0;
    for (uint64_t t = first; t <= tag; t++) {
        settled += settle(producer, t, now_ns);
    }
    counter_add(counter, settled);
    uint64_t mask = producer->open_capacity - 1;
    while (producer->open_first <= producer->sent &&
           producer->open_ns[producer->open_first & mask] == 0) {
        producer->open_first++;
    }
    return true;
}

void producer_on_returned(struct producer *producer, uint64_t count, uint64_t now_ns) {
    uint64_t *confirmed = &producer->tally.counters->confirmed;
    if (count < producer->open_first || count > producer->sent) return;
    (void)on_confirm(producer, count, true, confirmed, now_ns);
}

static bool on_frame(struct producer *producer, const struct frame *frame, uint64_t now_ns) {
    struct method method;
    if (frame->type != FRAME_METHOD || !method_decode(frame->payload, &method)) return true;
    struct counters *counters = producer->tally.counters;
    switch ((int)method.kind) {
    case METHOD_basic_ack:
        return on_confirm(producer, method.basic_ack.delivery_tag, method.basic_ack.multiple,
            &counters->confirmed, now_ns);
    case METHOD_basic_nack:
        return on_confirm(producer, method.basic_nack.delivery_tag, method.basic_nack.multiple,
            &counters->nacked, now_ns);
    case METHOD_basic_return: counter_add(&counters->returned, 1); return true;
    default: return client_on_other_frame(&producer->client, frame);
    }
}

bool producer_on_readable(struct producer *producer) {
    int64_t got = client_read(&producer->client);
    if (got <= 0) return got == 0;
    uint64_t now_ns = clock_now_ns();
    struct frame frame;
    while (client_next_frame(&producer->client, &frame)) {
        if (!on_frame(producer, &frame, now_ns)) return false;
    }
    return producer->client.error[0] == 0;
}
