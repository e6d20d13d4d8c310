/* perf_consumer: receives on one connection from one or several queues, checks, acknowledges. */
#ifndef TOOLS_PERF_CONSUMER_H
#define TOOLS_PERF_CONSUMER_H

#include "tools/perf_client.h"
#include "tools/perf_counters.h"
#include "tools/perf_histogram.h"
#include "tools/perf_ledger.h"

/* Where a consumer counts: its worker's. */
struct consumer_tally {
    struct counters *counters;
    struct histogram *latency;
};

struct subscription {
    uint32_t queue;        /* its number */
    struct ledger *ledger; /* of the queue, shared with its other consumers on the same thread */
    uint64_t *next;        /* per producer: one above the latest sequence that came this way */
};

struct consumer {
    struct client client;
    const struct options *options; /* borrowed */
    struct consumer_tally tally;
    uint64_t began_ns; /* messages with an earlier stamp are from another run */
    struct subscription *subscriptions;
    uint32_t subscription_count;

    struct subscription *from; /* the message that is arriving: where from */
    uint64_t tag;
    bool redelivered;
    bool arriving;
    bool stamped; /* its stamp was seen */
    uint64_t body_left;

    uint64_t consumed;
    uint64_t unacked; /* deliveries since the last acknowledgement */
    uint64_t pace_began_ns;
    uint64_t now_ns; /* when the bytes at hand were read */
};

/* Opens the connection for `subscription_count` queues. False with the reason in
 * consumer->client.error; consumer_deinit is called in both cases. */
bool consumer_open(
    struct consumer *consumer, const struct options *options, uint32_t subscription_count) MUST_USE;

/* Says which queue one of the subscriptions takes from; keeps a reference to the ledger. */
void consumer_assign(
    struct consumer *consumer, uint32_t subscription, uint32_t queue, struct ledger *ledger);

/* Asks for deliveries of one subscription. False with the reason in consumer->client.error. */
bool consumer_subscribe(
    struct consumer *consumer, uint32_t subscription, struct bytes queue_name) MUST_USE;
void consumer_deinit(struct consumer *consumer);

/* Reads what is there and takes as many messages as the pace lets. False when the connection
 * failed. */
bool consumer_on_readable(struct consumer *consumer, bool ending) MUST_USE;

/* Takes messages that were read but had to wait. False when the connection failed. */
bool consumer_take(struct consumer *consumer, bool ending) MUST_USE;

/* When the next message may be taken; 0 when at any time, UINT64_MAX when never more. */
uint64_t consumer_due_ns(const struct consumer *consumer, bool ending);

/* Acknowledges what is left over. */
bool consumer_ack_rest(struct consumer *consumer) MUST_USE;

#endif
