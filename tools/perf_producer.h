/* perf_producer: publishes on one connection, as fast as goes or as paced, and counts confirms.
 *
 * Messages are laid one after the other into a batch that is written at once. With one destination
 * the batch is laid out a single time, and afterwards only the stamps change. */
#ifndef TOOLS_PERF_PRODUCER_H
#define TOOLS_PERF_PRODUCER_H

#include "tools/perf_client.h"
#include "tools/perf_counters.h"
#include "tools/perf_histogram.h"
#include "tools/perf_message.h"

/* Where a producer counts: its worker's. */
struct producer_tally {
    struct counters *counters;
    struct histogram *confirm_latency;
};

struct producer {
    struct client client;
    const struct options *options; /* borrowed */
    struct producer_tally tally;
    uint32_t id;

    const struct message *messages; /* one per destination; borrowed */
    uint32_t destination_count;     /* of all producers */
    uint32_t destination;           /* the next one */
    uint32_t destination_step;      /* producers share the destinations between them */
    uint64_t *sequences;            /* messages so far, per destination */

    uint8_t *batch;
    size_t batch_bytes_max;
    size_t batch_size;
    size_t batch_written;
    bool batch_prepared; /* laid out once for all */

    uint64_t sent;
    uint64_t pace_began_ns;
    uint64_t *open_ns;      /* ring of sending times, 0 when answered, by delivery tag */
    uint64_t open_capacity; /* a power of two */
    uint64_t open_first;    /* the oldest delivery tag without an answer */
    uint64_t open_count;
};

/* Opens the connection. False with the reason in producer->client.error; producer_deinit is called
 * in both cases. */
bool producer_open(struct producer *producer, const struct options *options, uint32_t id) MUST_USE;

/* Gives the producer its messages and counters, before it runs. */
void producer_prepare(struct producer *producer, const struct message *messages,
    uint32_t destination_count, struct producer_tally tally);

/* The time from which its pace counts. */
void producer_start(struct producer *producer, uint64_t now_ns);
void producer_deinit(struct producer *producer);

/* Lays out and writes what is allowed to go at this time. False when the connection failed. */
bool producer_publish(struct producer *producer, uint64_t now_ns, bool ending) MUST_USE;

/* Reads confirms and returns. False when the connection failed. */
bool producer_on_readable(struct producer *producer) MUST_USE;

/* Through a relay, what has come back counts as confirmed: the first `count` messages. */
void producer_on_returned(struct producer *producer, uint64_t count, uint64_t now_ns);

/* True while it would write, whatever the time, if the socket took it. */
bool producer_wants_to_write(const struct producer *producer, bool ending);

/* When the next message is due; UINT64_MAX when that does not depend on the time. */
uint64_t producer_due_ns(const struct producer *producer);

/* True when nothing is left to send or to be confirmed. */
bool producer_is_done(const struct producer *producer, bool ending);

#endif
