/* fifo: values of one size that leave in the order they came. */
#include "base/fifo.h"

#include "base/memory.h"

enum { CAPACITY_MIN = 16 };

void fifo_deinit(struct fifo *fifo) {
    mem_free(fifo->items);
    fifo_init(fifo, fifo->item_bytes);
}

void fifo_grow(struct fifo *fifo) {
    uint32_t capacity = fifo->capacity ? fifo->capacity * 2 : CAPACITY_MIN;
    check(capacity > fifo->capacity);
    uint8_t *items = mem_raw((size_t)capacity * fifo->item_bytes);
    for (uint32_t i = 0; i < fifo->count; i++)
        bytes_copy(items + (size_t)i * fifo->item_bytes, fifo_at(fifo, i), fifo->item_bytes);
    mem_free(fifo->items);
    fifo->items = items;
    fifo->first = 0;
    fifo->capacity = capacity;
}
