/* shard: one per core: the only place where effects become I/O.
 *
 * A shard owns connections, queues and memory; it runs on one thread, in turns:
 *
 *     sockets' bytes -> sessions -> mail out | mail in -> queues, sessions | pump | flush | write
 *
 * It reaches other actors by mail only. Sockets, time and randomness come from outside (struct
 * shard_io and arguments), so that production binds libuv and the simulator binds itself. */
#ifndef SHARD_SHARD_H
#define SHARD_SHARD_H

#include <stdatomic.h>
#include <sys/uio.h>

#include "base/base.h"
#include "base/deadline.h"
#include "base/fifo.h"
#include "base/list.h"
#include "base/log.h"
#include "core/queue.h"
#include "session/session.h"
#include "shard/counters.h"
#include "shard/directory.h"
#include "shard/mailbox.h"
#include "shard/memory_level.h"

/* ---- what the outside does for a shard ---- */

struct shard_io {
    /* Writes what it can of the vectors: bytes taken, 0 when the socket is full (then
     * client_on_writable follows once `want` asked for it), or -errno. */
    int64_t (*write)(void *socket, const struct iovec *vectors, uint32_t count);
    /* Asks for readable and writable events. */
    void (*want)(void *socket, bool read, bool write);
    /* Closes at once; nothing is called for this socket any more. */
    void (*close)(void *socket);
    /* Closes when the other side has read what was written; nothing is called any more. */
    void (*finish)(void *socket);
    /* Fills with unguessable bytes (in simulation: seeded ones). */
    void (*random)(void *context, uint8_t *data, size_t size);
    /* Wall clock, ms since 1970. */
    uint64_t (*wall_ms)(void *context);
    /* A clock to measure what parts of a turn take; NULL: they are not measured. */
    uint64_t (*time_ns)(void *context);
    /* Makes a socket of what MAIL_ADOPT brought and gives it to client_open. */
    void (*adopt)(void *context, void *accepted);
    void *context;
};

/* ---- what all actors share ---- */

struct broker {
    uint32_t shard_count; /* shards are actors 0 .. shard_count - 1 */
    uint32_t registrar;   /* the registrar's actor number: shard_count */
    uint32_t admin;       /* the admin side's: shard_count + 1 */
    struct mesh *mesh;
    struct directory *directory;
    struct vhost *vhost; /* "/" */
    struct session_settings settings;
    struct shard **shards;
    const struct log *log; /* NULL: nothing is noted */
    struct memory_level memory;
    _Atomic uint64_t disk_alarms; /* a bit for each shard that has no room on disk */
    /* As whoever watches the disk has found it; a change of `disk_low` comes with a bell. */
    _Atomic bool disk_low;       /* too little is free */
    _Atomic uint64_t disk_free;  /* bytes */
    _Atomic uint64_t disk_limit; /* below which that is too little */
    /* Durable definitions are committed in batches, which are numbered from 1: their tickets. */
    _Atomic uint64_t ticket_open;     /* the newest that has rows */
    _Atomic uint64_t ticket_stable;   /* all up to this one are stable */
    _Atomic bool definitions_failing; /* the last try to commit one has failed */
};

struct broker_settings {
    struct session_settings session;
    const struct log *log; /* borrowed for the broker's life; may be NULL */
    uint64_t memory_limit; /* bytes */
    uint64_t hash_seed;    /* unguessable: peers choose the names that are hashed */
};

/* A broker with its mesh and directory; `bell` wakes an actor. `settings` is copied. */
struct broker *broker_new(
    uint32_t shards, const struct broker_settings *settings, mesh_bell bell, void *context);

/* Releases the broker, whose shards and registrar must be gone. */
void broker_free(struct broker *broker);

/* Why publishers are blocked, or NULL. Any thread. */
const char *broker_alarm(const struct broker *broker);

/* Whether messages that are on disk should leave memory. Any thread. */
bool broker_is_pressed(const struct broker *broker);

/* Whether that is because of the disk, be it alone or not. Any thread. */
bool broker_disk_alarm(const struct broker *broker);

/* Whether some journal's disk is slow, which is a warning and blocks nobody. Any thread. */
bool broker_disk_slow(const struct broker *broker);

/* This shard has no room on disk, or has it again. */
struct shard;
void broker_set_disk_alarm(struct shard *shard, bool alarm);

/* ---- the shard ---- */

struct client;
struct keeper;
struct queue_slot;
struct link;

/* A publish that its owner has not applied yet. */
struct pending {
    uint64_t index; /* of the last ENQUEUE to that owner */
    connection_ref connection;
    uint64_t seqno;
    uint64_t cost; /* bytes of the connection's window */
    uint32_t epoch;
    uint32_t publishes;
    uint16_t channel;
};

/* Publishes whose owners' answer depends on one thing: that they are applied, or that they are
 * stable. */
struct pendings {
    struct pending *ring; /* oldest first */
    uint32_t first;
    uint32_t count;
    uint32_t capacity;
};

/* ENQUEUEs up to `index` are stable when this position of the journal and this commit of
 * definitions are. */
struct stable_mark {
    uint64_t index;
    uint64_t position;
    uint64_t ticket;
    bool awaited;
};

/* What this shard has under way to another one, and what it has done for it. */
struct peer {
    uint64_t sent;      /* ENQUEUEs posted to it */
    uint64_t applied;   /* its ENQUEUEs applied here */
    uint64_t announced; /* of those, told by watermark */
    uint64_t stable;    /* the same for those that are stable, or need not be */
    uint64_t announced_stable;
    bool awaited;               /* its publishers wait for one of those not yet told */
    bool awaited_stable;        /* for one to be stable that has no mark yet */
    uint64_t marked;            /* of applied, up to where marks are put */
    uint64_t staged;            /* the journal's position of its last message that is kept */
    uint64_t ticket;            /* the commit that its messages' queues need */
    struct fifo marks;          /* struct stable_mark */
    struct pendings transient;  /* wait until they are applied */
    struct pendings persistent; /* wait until they are stable */
};

/* Of a queue's slot: its row's commit is not known yet. */
#define TICKET_UNKNOWN UINT64_MAX

struct shard {
    struct broker *broker;
    const struct shard_io *io;
    uint32_t number;
    uint64_t now_ms;
    bool settled;          /* this turn has settled a slice (session_settle_some) */
    uint64_t turn_long_ns; /* from then on the turn is long; 0: that is not measured */
    struct message_pool *pool;
    struct keeper *keeper; /* NULL: durable queues are in memory only, too */
    struct chunk_pool chunks;
    struct route_cache routes;
    struct peer *peers;         /* [shard_count] */
    struct queue_slot **queues; /* in blocks: queue_host_slot_at() */
    uint32_t queue_capacity;    /* slots */
    uint32_t queue_free;        /* first free slot + 1, chained */
    uint32_t queue_count;
    struct link *links; /* by connection, uthash */
    struct list pump;   /* queues that owe work */
    struct client **clients;
    uint32_t client_capacity;
    uint32_t client_first_free; /* first free slot + 1, chained through client_next */
    uint32_t *client_next;
    uint32_t *client_generation;
    _Atomic uint32_t client_count; /* open ones and those assigned but not adopted yet */
    struct list holding;           /* connections that wait for a commit of definitions */
    struct list dirty;             /* connections with something to flush or to write */
    struct deadlines deadlines;
    uint64_t ticket_stable; /* definitions up to this ticket are stable, as far as we were told */
    struct pool_figures memory_told;
    uint32_t trims_seen; /* of broker->memory.trims */
    struct log_budget log_budget;
    const char *alarm_seen; /* why publishers are blocked, as this shard has told its clients */
    bool stopping;
    struct counters counters;
    struct effects effects;
};

/* A shard, registered as broker->shards[number]. `io` is borrowed for its life. */
struct shard *shard_new(struct broker *broker, uint32_t number, const struct shard_io *io);

/* Releases the shard; its connections must be gone. Queues go with it. */
void shard_free(struct shard *shard);

/* One turn. True when work is left, so that the next turn should come without sleeping. */
bool shard_turn(struct shard *shard, uint64_t now_ms);

/* The time at which the shard wants a turn without mail or bytes; UINT64_MAX for never. */
uint64_t shard_next_deadline(const struct shard *shard);

/* Closes all connections in order (320); shard_idle tells when they are gone. */
void shard_stop(struct shard *shard, uint64_t now_ms);
bool shard_idle(const struct shard *shard);

/* Drops what is left of connections without another word (the end of the process, or a crash in
 * simulation). Turns must follow until the mail is settled. */
void shard_drop_connections(struct shard *shard);

/* Drops all queues; their messages go home by mail. Nothing may use the shard's queues afterwards.
 */
void shard_drop_queues(struct shard *shard);

/* Asks the keeper to write everything and stop; shard_kept tells when that is done. Without a
 * keeper there is nothing to do. */
void shard_finish_keeping(struct shard *shard);
bool shard_kept(const struct shard *shard);

/* Releases the keeper, if there is one: its disks have handed back everything, and the queues of
 * all shards are gone, as they may have messages in files of this one. */
void shard_end_keeping(struct shard *shard);

/* Whether this turn has taken so long that what can wait should be left for the next one. */
bool shard_turn_is_long(const struct shard *shard);

/* Posts an op to its queue's shard. */
struct op *shard_post_op(struct shard *shard, queue_ref queue);

/* The shard whose connections are fewest, counting the one that will now be opened there (by
 * MAIL_ADOPT and client_open). Any thread. */
uint32_t broker_assign_shard(struct broker *broker);

/* Checks every invariant: O(n). For tests and the simulator. */
void shard_check(struct shard *shard);

#endif
