/* outbox: bytes that wait to be written to one socket, as pieces for one writev.
 *
 * Small things are copied into chunks that come from the shard's chunk pool and go back when they
 * have been written, so an idle connection holds none. Large bodies are not copied: a piece points
 * into the message and holds a reference. */
#ifndef SESSION_OUTBOX_H
#define SESSION_OUTBOX_H

#include <sys/uio.h>

#include "base/base.h"
#include "core/message.h"

struct chunk;

enum {
    OUTBOX_COPY_BYTES_MAX = 4096, /* larger bodies go by reference: a piece costs more than this */
};

/* A shard's spare chunks. Not thread-safe; each shard has its own. */
struct chunk_pool {
    struct chunk *spare;
    uint32_t spare_count;
    uint32_t used_count;
};
void chunk_pool_deinit(struct chunk_pool *pool);

struct piece;

struct outbox {
    struct chunk_pool *chunks;     /* borrowed */
    struct message_pool *messages; /* borrowed: where bodies' references are dropped */
    struct piece *pieces;          /* a ring that grows */
    struct chunk *tail;            /* where small things go next, or NULL */
    uint32_t capacity;             /* a power of two, or 0 */
    uint32_t first;
    uint32_t count;
    uint64_t size;   /* bytes that wait */
    uint64_t *total; /* borrowed: what this and other outboxes have waiting together */
};

/* An empty one. What waits in it is counted in `total`, too. */
void outbox_init(struct outbox *outbox, struct chunk_pool *chunks, struct message_pool *messages,
    uint64_t *total);
void outbox_deinit(struct outbox *outbox);

/* Contiguous room for up to `size` bytes, to be written through the writer and then kept with
 * outbox_keep. Only one at a time; what is not kept is forgotten. */
struct writer outbox_writer(struct outbox *outbox, size_t size);
void outbox_keep(struct outbox *outbox, const struct writer *writer);

/* Appends a copy. */
void outbox_put(struct outbox *outbox, struct bytes bytes);

/* Appends `size` bytes of the message's body from `offset` on, by reference. */
void outbox_put_body(
    struct outbox *outbox, struct message *message, uint32_t offset, uint32_t size);

/* Moves the first `size` bytes of `from`, which has the same pools, behind what is in `outbox`:
 * bodies and large pieces by reference, small ones are copied. */
void outbox_move(struct outbox *outbox, struct outbox *from, uint64_t size);

/* Fills `ret_vectors` with up to `count` pieces from the front; gives how many. */
uint32_t outbox_vectors(const struct outbox *outbox, struct iovec *ret_vectors, uint32_t count);

/* The first `size` bytes have been written. */
void outbox_written(struct outbox *outbox, uint64_t size);

#endif
