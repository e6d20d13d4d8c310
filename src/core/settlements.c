/* settlements: what a queue that is kept on disk has done with, for whoever keeps it. */
#include "core/settlements.h"

#include "base/memory.h"

enum { RUNS_MIN = 16 };

void settled_runs_add(struct settled_runs *runs, uint64_t seq, uint64_t count) {
    check(count != 0);
    if (runs->count == runs->capacity) {
        runs->capacity = runs->capacity ? 2 * runs->capacity : RUNS_MIN;
        runs->list = mem_resize(runs->list, runs->capacity * sizeof *runs->list);
    }
    runs->list[runs->count++] = (struct range){.seq = seq, .count = count};
}

static void runs_deinit(struct settled_runs *runs) {
    mem_free(runs->list);
    *runs = (struct settled_runs){0};
}

void settlements_deinit(struct settlements *settlements) {
    runs_deinit(&settlements->settled);
    runs_deinit(&settlements->dropped);
}
