/* outbox: the bytes that wait to be written to one socket.
 *
 *   pieces   [chunk A 0..900] [body of message m] [chunk A 900..1300] [chunk B 0..70]
 *                                                                      ^ tail: has room
 *
 * A piece is a stretch of a chunk or of a message's body. What is written into the tail right
 * behind the last piece extends that piece, so small frames cost no pieces of their own. A chunk
 * counts who needs it: the pieces that point into it, perhaps of another outbox to which they were
 * moved, and the outbox whose tail it is. The last of them gives it back. With the last byte the
 * tail and the ring go too. */
#include "session/outbox.h"

#include "base/memory.h"

enum {
    CHUNK_BYTES = 16384 - 32, /* with malloc's header, four pages */
    SPARE_CHUNKS_MAX = 256,   /* 4 MiB kept for a shard's next turn */
    PIECES_MIN = 8,
};

struct chunk {
    struct chunk *next; /* in the pool */
    uint32_t refs;      /* pieces that point into data, and the outbox whose tail it is */
    uint32_t size;      /* used */
    uint32_t capacity;
    uint8_t data[];
};

struct piece {
    const uint8_t *data;
    union {
        struct chunk *chunk;
        struct message *message;
    };
    uint32_t size;
    bool of_message;
};

/* With one reference: the tail's. */
static struct chunk *take_chunk(struct chunk_pool *pool, size_t size) {
    pool->used_count++;
    struct chunk *chunk = pool->spare;
    if (size <= CHUNK_BYTES && chunk) {
        pool->spare = chunk->next;
        pool->spare_count--;
    } else {
        size_t capacity = max_u64(size, CHUNK_BYTES);
        chunk = mem_raw(sizeof *chunk + capacity);
        chunk->capacity = (uint32_t)capacity;
    }
    chunk->next = NULL;
    chunk->refs = 1;
    chunk->size = 0;
    return chunk;
}

static void put_chunk(struct chunk_pool *pool, struct chunk *chunk) {
    check(pool->used_count > 0);
    check(chunk->refs == 0);
    pool->used_count--;
    if (chunk->capacity != CHUNK_BYTES || pool->spare_count >= SPARE_CHUNKS_MAX) {
        mem_free(chunk);
        return;
    }
    chunk->next = pool->spare;
    pool->spare = chunk;
    pool->spare_count++;
}

void chunk_pool_deinit(struct chunk_pool *pool) {
    check(pool->used_count == 0);
    while (pool->spare) {
        struct chunk *chunk = pool->spare;
        pool->spare = chunk->next;
        mem_free(chunk);
    }
    pool->spare_count = 0;
}

void outbox_init(struct outbox *outbox, struct chunk_pool *chunks, struct message_pool *messages,
    uint64_t *total) {
    *outbox = (struct outbox){.chunks = chunks, .messages = messages, .total = total};
}

static void count_more(struct outbox *outbox, uint64_t size) {
    outbox->size += size;
    *outbox->total += size;
}

static void count_less(struct outbox *outbox, uint64_t size) {
    outbox->size -= size;
    *outbox->total -= size;
}

static struct piece *piece_at(const struct outbox *outbox, uint32_t index) {
    return &outbox->pieces[(outbox->first + index) & (outbox->capacity - 1)];
}

static void unref_chunk(const struct outbox *outbox, struct chunk *chunk) {
    check(chunk->refs > 0);
    chunk->refs--;
    if (chunk->refs == 0) put_chunk(outbox->chunks, chunk);
}

static void drop_tail(struct outbox *outbox) {
    if (outbox->tail) unref_chunk(outbox, outbox->tail);
    outbox->tail = NULL;
}

/* Nothing waits: nothing is held. */
static void become_idle(struct outbox *outbox) {
    check(outbox->size == 0);
    drop_tail(outbox);
    mem_free(outbox->pieces);
    outbox->pieces = NULL;
    outbox->capacity = 0;
    outbox->first = 0;
}

static void drop_first(struct outbox *outbox) {
    struct piece *piece = piece_at(outbox, 0);
    if (piece->of_message) {
        message_unref(outbox->messages, piece->message);
    } else {
        unref_chunk(outbox, piece->chunk);
        struct chunk *tail = outbox->tail;
        if (tail && tail->refs == 1) tail->size = 0;
    }
    outbox->first = (outbox->first + 1) & (outbox->capacity - 1);
    outbox->count--;
}

void outbox_deinit(struct outbox *outbox) {
    count_less(outbox, outbox->size);
    while (outbox->count != 0)
        drop_first(outbox);
    become_idle(outbox);
}

static struct piece *add_piece(struct outbox *outbox) {
    if (outbox->count == outbox->capacity) {
        uint32_t capacity = outbox->capacity ? outbox->capacity * 2 : PIECES_MIN;
        struct piece *pieces = mem_raw(capacity * sizeof *pieces);
        for (uint32_t i = 0; i < outbox->count; i++)
            pieces[i] = *piece_at(outbox, i);
        mem_free(outbox->pieces);
        outbox->pieces = pieces;
        outbox->capacity = capacity;
        outbox->first = 0;
    }
    outbox->count++;
    return piece_at(outbox, outbox->count - 1);
}

/* The tail's next `size` bytes, which have been written, now wait. */
static void keep_in_tail(struct outbox *outbox, uint32_t size) {
    struct chunk *tail = outbox->tail;
    check(tail->capacity - tail->size >= size);
    const uint8_t *data = tail->data + tail->size;
    tail->size += size;
    count_more(outbox, size);
    if (outbox->count != 0) {
        struct piece *last = piece_at(outbox, outbox->count - 1);
        if (!last->of_message && last->chunk == tail && last->data + last->size == data) {
            last->size += size;
            return;
        }
    }
    struct piece *piece = add_piece(outbox);
    *piece = (struct piece){.data = data, .chunk = tail, .size = size};
    tail->refs++;
}

struct writer outbox_writer(struct outbox *outbox, size_t size) {
    struct chunk *tail = outbox->tail;
    if (!tail || tail->capacity - tail->size < size) {
        drop_tail(outbox);
        tail = outbox->tail = take_chunk(outbox->chunks, size);
    }
    return writer_over(tail->data + tail->size, size);
}

void outbox_keep(struct outbox *outbox, const struct writer *writer) {
    check(!writer->bad);
    check(outbox->tail != NULL);
    check(writer->start == outbox->tail->data + outbox->tail->size);
    size_t size = writer_size(writer);
    if (size != 0) {
        keep_in_tail(outbox, (uint32_t)size);
    } else if (outbox->count == 0) {
        become_idle(outbox);
    }
}

void outbox_put(struct outbox *outbox, struct bytes bytes) {
    while (bytes.size != 0) {
        struct chunk *tail = outbox->tail;
        if (!tail || tail->size == tail->capacity) {
            drop_tail(outbox);
            tail = outbox->tail = take_chunk(outbox->chunks, 0);
        }
        uint32_t size = (uint32_t)min_u64(bytes.size, tail->capacity - tail->size);
        bytes_copy(tail->data + tail->size, bytes.data, size);
        keep_in_tail(outbox, size);
        bytes = bytes_of(bytes.data + size, bytes.size - size);
    }
}

void outbox_put_body(
    struct outbox *outbox, struct message *message, uint32_t offset, uint32_t size) {
    check(offset <= message->body_size);
    check(size <= message->body_size - offset);
    if (size == 0) return;
    message_ref(message, 1);
    struct piece *piece = add_piece(outbox);
    *piece = (struct piece){
        .data = message_body_data(message) + offset,
        .message = message,
        .size = size,
        .of_message = true,
    };
    count_more(outbox, size);
}

/* Appends the first `size` bytes of another outbox's piece. */
static void put_part(struct outbox *outbox, const struct piece *other, uint32_t size) {
    if (!other->of_message && size <= OUTBOX_COPY_BYTES_MAX) {
        outbox_put(outbox, bytes_of(other->data, size));
        return;
    }
    struct piece part = *other;
    part.size = size;
    if (part.of_message) {
        message_ref(part.message, 1);
    } else {
        part.chunk->refs++;
    }
    *add_piece(outbox) = part;
    count_more(outbox, size);
}

void outbox_move(struct outbox *outbox, struct outbox *from, uint64_t size) {
    check(outbox != from);
    check(outbox->chunks == from->chunks);
    check(size <= from->size);
    while (size != 0) {
        const struct piece *piece = piece_at(from, 0);
        uint32_t part = (uint32_t)min_u64(size, piece->size);
        put_part(outbox, piece, part);
        outbox_written(from, part);
        size -= part;
    }
}

uint32_t outbox_vectors(const struct outbox *outbox, struct iovec *ret_vectors, uint32_t count) {
    uint32_t given = (uint32_t)min_u64(count, outbox->count);
    for (uint32_t i = 0; i < given; i++) {
        const struct piece *piece = piece_at(outbox, i);
        ret_vectors[i].iov_base = (void *)(uintptr_t)piece->data;
        ret_vectors[i].iov_len = piece->size;
    }
    return given;
}

void outbox_written(struct outbox *outbox, uint64_t size) {
    check(size <= outbox->size);
    count_less(outbox, size);
    while (size != 0) {
        struct piece *piece = piece_at(outbox, 0);
        if (size < piece->size) {
            piece->data += size;
            piece->size -= (uint32_t)size;
            return;
        }
        size -= piece->size;
        drop_first(outbox);
    }
    if (outbox->count == 0) become_idle(outbox);
}
