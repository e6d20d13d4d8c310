/* outbox: the bytes that wait to be written to one socket.
 *
 *   pieces   [chunk A 0..900] [body of message m] [chunk A 900..1300] [chunk B 0..70]
 *                                                                      ^ tail: has room
 *
 * A piece is a stretch of a chunk or of a message's body. What is written into the tail right
 * behind the last piece extends that piece, so small frames cost no pieces of their own. A chunk
 * counts the pieces that point into it; it is given back when the last of them has been written and
 * it is not the tail. With the last byte the tail and the ring go too. */
#include "session/outbox.h"

#include "base/memory.h"

enum {
    CHUNK_BYTES = 16384 - 32, /* with malloc's header, four pages */
    SPARE_CHUNKS_MAX = 256,   /* 4 MiB kept for a shard's next turn */
    PIECES_MIN = 8,
};

struct chunk {
    struct chunk *next; /* in the pool */
    uint32_t pieces;    /* that point into data */
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
    chunk->pieces = 0;
    chunk->size = 0;
    return chunk;
}

static void put_chunk(struct chunk_pool *pool, struct chunk *chunk) {
    check(pool->used_count > 0);
    check(chunk->pieces == 0);
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

void outbox_init(struct outbox *outbox, struct chunk_pool *chunks, struct message_pool *messages) {
    *outbox = (struct outbox){.chunks = chunks, .messages = messages};
}

static struct piece *piece_at(const struct outbox *outbox, uint32_t index) {
    return &outbox->pieces[(outbox->first + index) & (outbox->capacity - 1)];
}

static void drop_tail(struct outbox *outbox) {
    if (outbox->tail && outbox->tail->pieces == 0) put_chunk(outbox->chunks, outbox->tail);
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
        struct chunk *chunk = piece->chunk;
        chunk->pieces--;
        if (chunk->pieces == 0) chunk->size = 0;
        if (chunk->pieces == 0 && chunk != outbox->tail) put_chunk(outbox->chunks, chunk);
    }
    outbox->first = (outbox->first + 1) & (outbox->capacity - 1);
    outbox->count--;
}

void outbox_deinit(struct outbox *outbox) {
    while (outbox->count != 0) {
        outbox->size -= piece_at(outbox, 0)->size;
        drop_first(outbox);
    }
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
    outbox->size += size;
    if (outbox->count != 0) {
        struct piece *last = piece_at(outbox, outbox->count - 1);
        if (!last->of_message && last->chunk == tail && last->data + last->size == data) {
            last->size += size;
            return;
        }
    }
    struct piece *piece = add_piece(outbox);
    *piece = (struct piece){.data = data, .chunk = tail, .size = size};
    tail->pieces++;
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
    outbox->size += size;
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
    outbox->size -= size;
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
