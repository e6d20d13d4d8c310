/* fifo: values of one size that leave in the order they came; grows as it needs to. */
#ifndef BASE_FIFO_H
#define BASE_FIFO_H

#include "base/base.h"

enum { FIFO_KEPT_MAX = 1024 }; /* values: so much room an empty one keeps */

/* All zero but item_bytes is empty. Not for several threads. */
struct fifo {
    uint8_t *items; /* a ring */
    uint32_t item_bytes;
    uint32_t first;
    uint32_t count;
    uint32_t capacity; /* a power of two, or 0 */
};

/* An empty fifo of values of that size. */
static inline void fifo_init(struct fifo *fifo, size_t item_bytes) {
    *fifo = (struct fifo){.item_bytes = (uint32_t)item_bytes};
}

/* Gives the memory back; what the values own is the caller's to release before. */
void fifo_deinit(struct fifo *fifo);

/* Makes room for more. */
void fifo_grow(struct fifo *fifo);

/* The value at `at` from the front, which must be there; valid until the next fifo_put or
 * fifo_drop. */
static inline void *fifo_at(const struct fifo *fifo, uint32_t at) {
    check(at < fifo->count);
    size_t index = (fifo->first + at) & (fifo->capacity - 1);
    return fifo->items + index * fifo->item_bytes;
}

/* A new last value, which the caller fills; valid as long. */
static inline void *fifo_put(struct fifo *fifo) {
    if (fifo->count == fifo->capacity) fifo_grow(fifo);
    fifo->count++;
    return fifo_at(fifo, fifo->count - 1);
}

/* The first value, or NULL. */
static inline void *fifo_first(const struct fifo *fifo) {
    return fifo->count ? fifo_at(fifo, 0) : NULL;
}

/* The last value, or NULL. */
static inline void *fifo_last(const struct fifo *fifo) {
    return fifo->count ? fifo_at(fifo, fifo->count - 1) : NULL;
}

/* Forgets the first value, which must be there. One that was long and is empty gives its memory
 * back. */
static inline void fifo_drop(struct fifo *fifo) {
    check(fifo->count != 0);
    fifo->first = (fifo->first + 1) & (fifo->capacity - 1);
    fifo->count--;
    if (fifo->count == 0 && fifo->capacity > FIFO_KEPT_MAX) fifo_deinit(fifo);
}

#endif
