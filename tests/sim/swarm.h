/* swarm: what one seed does and what it leaves out: every feature is on in about half of the seeds,
 * so that rare combinations become common. */
#ifndef SIM_SWARM_H
#define SIM_SWARM_H

#include "base/base.h"

/* FEATURE(name, percent of the seeds) */
#define SWARM_FEATURES                                                                             \
    FEATURE(confirms, 60)                                                                          \
    FEATURE(tx, 30)                                                                                \
    FEATURE(mandatory, 50)                                                                         \
    FEATURE(no_ack, 40)                                                                            \
    FEATURE(get, 60)                                                                               \
    FEATURE(requeue, 60)                                                                           \
    FEATURE(reject, 40)                                                                            \
    FEATURE(recover, 40)                                                                           \
    FEATURE(prefetch, 60)                                                                          \
    FEATURE(shared_prefetch, 30)                                                                   \
    FEATURE(cancel, 50)                                                                            \
    FEATURE(purge, 25)                                                                             \
    FEATURE(volatile_queues, 60)                                                                   \
    FEATURE(own_queues, 40)                                                                        \
    FEATURE(exchanges, 40)                                                                         \
    FEATURE(lane_close, 50)                                                                        \
    FEATURE(guest_close, 40)                                                                       \
    FEATURE(drops, 45)                                                                             \
    FEATURE(mistakes, 35)                                                                          \
    FEATURE(garbage, 15)                                                                           \
    FEATURE(heartbeats, 40)                                                                        \
    FEATURE(large_bodies, 25)                                                                      \
    FEATURE(small_frames, 40)                                                                      \
    FEATURE(no_wait, 40)                                                                           \
    FEATURE(crumbs, 25)                                                                            \
    FEATURE(slow_readers, 40)                                                                      \
    FEATURE(alarms, 12)                                                                            \
    FEATURE(floods, 12)                                                                            \
    FEATURE(refused_sockets, 20)                                                                   \
    FEATURE(copies, 25)                                                                            \
    FEATURE(replies, 25)                                                                           \
    FEATURE(shutdown, 15)                                                                          \
    FEATURE(disk, 60)                                                                              \
    FEATURE(disk_faults, 35)                                                                       \
    FEATURE(crashes, 70)                                                                           \
    FEATURE(durable_exchanges, 70)                                                                 \
    FEATURE(hoards, 50)

/* The same for those with a disk. */
#define SWARM_DISK_FEATURES                                                                        \
    FEATURE(long_queues, 25)                                                                       \
    FEATURE(short_memory, 30)                                                                      \
    FEATURE(bad_sectors, 45)

/* The same again. */
#define SWARM_SPILL_FEATURES FEATURE(spills, 25)

struct swarm {
    uint32_t shards;
    uint32_t guests;         /* model clients beside the founder */
    uint32_t lanes;          /* channels of each */
    uint32_t stable;         /* queues that are never deleted */
    uint32_t acts;           /* what all clients do together before they are told to settle */
    uint32_t body_bytes;     /* of an ordinary message, at most */
    uint32_t publish_weight; /* how often that is a publish */
    uint32_t act_weight; /* how often clients act, the network delivers, and actors take turns */
    uint32_t wire_weight;
    uint32_t turn_weight;
    uint32_t disk_weight;
    uint32_t crash_count;    /* in seeds that have crashes */
    uint32_t durable;        /* a bit for each stable queue */
    uint32_t persistent;     /* percent of the messages */
    uint32_t starved;        /* an actor that seldom gets a turn; the number may be nobody's */
    uint32_t settling_slice; /* see struct session_settings; 0 in most seeds */
    uint32_t socket_room;    /* bytes that a socket takes before its reader reads */
#define FEATURE(name, percent) bool name;
    SWARM_FEATURES
    SWARM_DISK_FEATURES
    SWARM_SPILL_FEATURES
#undef FEATURE
};

/* The swarm of a seed. */
void swarm_init(struct swarm *swarm, uint64_t seed);

/* "3 shards, 5 clients, ...: confirms tx ..." for people. */
void swarm_print(const struct swarm *swarm);

#endif
