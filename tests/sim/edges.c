/* edges: counting what is rare. */
#include "sim/edges.h"

#include "sim/vault.h"
#include "sim/world.h"

#include <stdio.h>

#include "shard/shard.h"

/* One run at a time in a process of one thread. */
static uint64_t met[EDGE_COUNT];

static bool short_of_memory;
static struct world *running;

void edges_press(bool pressed) {
    short_of_memory = pressed;
}

bool edges_pressed(void) {
    return short_of_memory;
}

void edges_begin(struct world *world) {
    running = world;
    short_of_memory = false;
    for (int i = 0; i < EDGE_COUNT; i++)
        met[i] = 0;
}

struct world *edges_world(void) {
    return running;
}

void edges_add(enum edge edge, uint64_t times) {
    met[edge] += times;
}

void edges_take(const struct world *world) {
    for (uint32_t i = 0; i < world->swarm.shards; i++) {
        struct counters *counters = &world->broker->shards[i]->counters;
        met[EDGE_paged_out] += counter_read(&counters->paged_out);
        met[EDGE_paged_in] += counter_read(&counters->paged_in);
        met[EDGE_spilled] += counter_read(&counters->spilled);
        met[EDGE_lost] += counter_read(&counters->lost);
        met[EDGE_files_kept] += counter_read(&counters->files_kept);
    }
}

void edges_end(const struct world *world, struct edge_counts *ret_counts) {
    ret_counts->disks = world->vault != NULL;
    for (int i = 0; i < EDGE_COUNT; i++) {
        ret_counts->times[i] = met[i];
        ret_counts->seeds[i] = met[i] != 0;
    }
}

void edges_sum(struct edge_counts *sum, const struct edge_counts *more) {
    sum->disks += more->disks;
    for (int i = 0; i < EDGE_COUNT; i++) {
        sum->times[i] += more->times[i];
        sum->seeds[i] += more->seeds[i];
    }
}

void edges_print(const struct edge_counts *counts) {
    static const char *const texts[EDGE_COUNT] = {
#define EDGE(name, text) text,
        EDGES
#undef EDGE
    };
    if (counts->disks == 0) return;
    for (int i = 0; i < EDGE_COUNT; i++) {
        printf("%10llu %s, in %llu of %llu seeds with a disk\n",
            (unsigned long long)counts->times[i], texts[i], (unsigned long long)counts->seeds[i],
            (unsigned long long)counts->disks);
    }
}
