/* retrieve: bringing back what lives in files and is on disk only, before these are emptied.
 *
 * Each file is read once from its beginning to its end, whatever the number of queues in it; a
 * message that several queues have is one in memory, as it was before. */
#ifndef SHARD_RETRIEVE_H
#define SHARD_RETRIEVE_H

#include "core/ref.h"
#include "shard/piece.h"

struct evacuation;
struct keeper;
struct kept_file;

/* A queue that has something in the file that lives and is away. */
struct retrieved_queue {
    uint64_t id;
    queue_ref queue;
};

struct retrieval {
    struct keeper *keeper;
    const struct evacuation *evacuation;
    uint32_t file_at;
    bool begun; /* the file at file_at */
    bool reading;
    bool skipped;      /* something was met of a queue that takes nothing just now */
    uint32_t failures; /* of one read */
    uint64_t retry_ms;
    struct retrieved_queue *queues; /* by id */
    uint32_t queue_count;
    uint32_t queue_capacity;
    struct piece piece;
};

void retrieval_init(struct retrieval *retrieval, struct keeper *keeper);

/* The disks have handed back everything. */
void retrieval_deinit(struct retrieval *retrieval);

/* Begins with files that are to be emptied of what this shard has in them. */
void retrieval_begin(struct retrieval *retrieval, const struct evacuation *evacuation);

/* Goes on. True when it is done: everything that can be read is in memory. */
bool retrieval_turn(struct retrieval *retrieval);

/* A disk has handed back a read. */
void retrieval_on_request(struct retrieval *retrieval, struct disk_request *request);

/* When it wants a turn without any other reason; UINT64_MAX for never. */
uint64_t retrieval_due(const struct retrieval *retrieval);

/* True when no request of it is with a disk. */
bool retrieval_idle(const struct retrieval *retrieval);

#endif
