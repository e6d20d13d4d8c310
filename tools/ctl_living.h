/* ctl_living: the messages that live in a data directory, each once, as a broker that starts on it
 * would have them. */
#ifndef TOOLS_CTL_LIVING_H
#define TOOLS_CTL_LIVING_H

#include "tools/ctl_home.h"

#include "store/pub.h"

/* A message in one queue; borrowed for the call. */
struct ctl_living {
    struct ctl_queue *queue;
    uint64_t seq;
    bool redelivered; /* it may have been delivered before */
    struct bytes exchange;
    struct bytes routing_key;
    struct bytes properties; /* flags and values */
    struct bytes body;
};

/* Takes a message; false ends the walk. */
typedef bool (*ctl_living_fn)(void *context, const struct ctl_living *living);

struct ctl_living_counts {
    uint64_t messages;   /* given */
    uint64_t incomplete; /* large ones of which parts are missing */
    uint64_t ownerless;  /* of queues that do not exist any more */
};

/* Gives every living message in the order in which they lie on disk: those of one queue and
 * priority mostly by seq. 0 or -errno. The directory's files must not be refused. */
int ctl_living_walk(struct ctl_home *home, ctl_living_fn each, void *context,
    struct ctl_living_counts *ret_counts) MUST_USE;

#endif
