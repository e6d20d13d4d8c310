/* buffer: growable bytes that state their maximum when they are made. */
#ifndef BASE_BUFFER_H
#define BASE_BUFFER_H

#include "base/base.h"

struct buffer {
    uint8_t *data;
    size_t size;
    size_t capacity;
    size_t size_max;
};

/* An empty buffer that holds no memory yet and never more than `size_max` bytes. */
void buffer_init(struct buffer *buffer, size_t size_max);

/* Releases the memory; the buffer may be used again. */
void buffer_deinit(struct buffer *buffer);

/* Room for `size` more bytes at data + size, or NULL when that would pass the maximum. The room is
 * kept by adding to buffer->size. */
uint8_t *buffer_room(struct buffer *buffer, size_t size) MUST_USE;

/* Appends; false (and nothing changed) when that would pass the maximum. */
bool buffer_put(struct buffer *buffer, const void *data, size_t size) MUST_USE;

/* Forgets the first `size` bytes; the rest moves to the front. */
void buffer_drop(struct buffer *buffer, size_t size);

#endif
