/* deadline: an intrusive binary heap of times; the earliest is found at once. */
#ifndef BASE_DEADLINE_H
#define BASE_DEADLINE_H

#include "base/base.h"

struct deadline {
    uint64_t at_ms;
    uint32_t place; /* index in the heap plus 1; 0 = not in a heap */
};

struct deadlines {
    struct deadline **heap;
    uint32_t count;
    uint32_t capacity;
};

void deadlines_init(struct deadlines *deadlines);
void deadlines_deinit(struct deadlines *deadlines);

/* Puts or moves; at_ms UINT64_MAX takes it out. The deadline stays the caller's. */
void deadline_set(struct deadlines *deadlines, struct deadline *deadline, uint64_t at_ms);

/* The earliest time, UINT64_MAX when there is none. */
uint64_t deadlines_next(const struct deadlines *deadlines);

/* Takes out and gives one that is due at now_ms, or NULL. */
struct deadline *deadlines_take_due(struct deadlines *deadlines, uint64_t now_ms);

#endif
