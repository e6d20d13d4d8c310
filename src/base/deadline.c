/* deadline: an intrusive binary heap of times. */
#include "base/deadline.h"

#include "base/memory.h"

void deadlines_init(struct deadlines *deadlines) {
    *deadlines = (struct deadlines){0};
}

void deadlines_deinit(struct deadlines *deadlines) {
    check(deadlines->count == 0);
    mem_free(deadlines->heap);
    deadlines_init(deadlines);
}

static void place(struct deadlines *deadlines, uint32_t index, struct deadline *deadline) {
    deadlines->heap[index] = deadline;
    deadline->place = index + 1;
}

static void sift_up(struct deadlines *deadlines, struct deadline *deadline) {
    uint32_t index = deadline->place - 1;
    while (index > 0) {
        uint32_t parent = (index - 1) / 2;
        if (deadlines->heap[parent]->at_ms <= deadline->at_ms) break;
        place(deadlines, index, deadlines->heap[parent]);
        index = parent;
    }
    place(deadlines, index, deadline);
}

static void sift_down(struct deadlines *deadlines, struct deadline *deadline) {
    uint32_t index = deadline->place - 1;
    for (;;) {
        uint32_t child = index * 2 + 1;
        if (child >= deadlines->count) break;
        if (child + 1 < deadlines->count &&
            deadlines->heap[child + 1]->at_ms < deadlines->heap[child]->at_ms)
            child++;
        if (deadlines->heap[child]->at_ms >= deadline->at_ms) break;
        place(deadlines, index, deadlines->heap[child]);
        index = child;
    }
    place(deadlines, index, deadline);
}

static void take_out(struct deadlines *deadlines, struct deadline *deadline) {
    uint32_t index = deadline->place - 1;
    check(index < deadlines->count);
    check(deadlines->heap[index] == deadline);
    struct deadline *last = deadlines->heap[--deadlines->count];
    deadline->place = 0;
    if (last == deadline) return;
    place(deadlines, index, last);
    sift_up(deadlines, last);
    sift_down(deadlines, last);
}

void deadline_set(struct deadlines *deadlines, struct deadline *deadline, uint64_t at_ms) {
    if (at_ms == UINT64_MAX) {
        if (deadline->place != 0) take_out(deadlines, deadline);
        return;
    }
    deadline->at_ms = at_ms;
    if (deadline->place == 0) {
        if (deadlines->count == deadlines->capacity) {
            deadlines->capacity = deadlines->capacity ? deadlines->capacity * 2 : 64;
            deadlines->heap =
                mem_resize(deadlines->heap, deadlines->capacity * sizeof *deadlines->heap);
        }
        place(deadlines, deadlines->count++, deadline);
    }
    sift_up(deadlines, deadline);
    sift_down(deadlines, deadline);
}

uint64_t deadlines_next(const struct deadlines *deadlines) {
    return deadlines->count ? deadlines->heap[0]->at_ms : UINT64_MAX;
}

struct deadline *deadlines_take_due(struct deadlines *deadlines, uint64_t now_ms) {
    if (deadlines_next(deadlines) > now_ms) return NULL;
    struct deadline *due = deadlines->heap[0];
    take_out(deadlines, due);
    return due;
}
