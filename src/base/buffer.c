/* buffer: growable bytes that state their maximum when they are made. */
#include "base/buffer.h"

#include "base/memory.h"

void buffer_init(struct buffer *buffer, size_t size_max) {
    *buffer = (struct buffer){.size_max = size_max};
}

void buffer_deinit(struct buffer *buffer) {
    mem_free(buffer->data);
    buffer_init(buffer, buffer->size_max);
}

uint8_t *buffer_room(struct buffer *buffer, size_t size) {
    check(buffer->size <= buffer->capacity);
    if (size > buffer->size_max - buffer->size) return NULL;
    size_t wanted = buffer->size + size;
    if (wanted > buffer->capacity) {
        size_t capacity = buffer->capacity * 2;
        if (capacity < wanted) capacity = wanted;
        if (capacity < 256) capacity = 256;
        if (capacity > buffer->size_max) capacity = buffer->size_max;
        buffer->data = mem_resize(buffer->data, capacity);
        buffer->capacity = capacity;
    }
    return buffer->data + buffer->size;
}

bool buffer_put(struct buffer *buffer, const void *data, size_t size) {
    uint8_t *room = buffer_room(buffer, size);
    if (!room) return false;
    bytes_copy(room, data, size);
    buffer->size += size;
    return true;
}

void buffer_drop(struct buffer *buffer, size_t size) {
    check(size <= buffer->size);
    buffer->size -= size;
    if (buffer->size != 0) memmove(buffer->data, buffer->data + size, buffer->size);
}
