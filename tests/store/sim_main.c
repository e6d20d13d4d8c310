/* sim_main: runs seeds of the store's simulator, the fault ladder, and the planted bugs. */
#include "world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/plant.h"

enum { LIVES = 6, PLANT_SEEDS = 10000, LADDER_SEEDS = 4, LADDER_STEPS_MAX = 20000 };

struct tally {
    uint64_t seeds;
    uint64_t crashes;
    uint64_t harms;
    uint64_t harms_seen;
    uint64_t jobs;
    uint64_t reads;
    uint64_t indexed;
};

static enum plant planted;

bool plant_is(enum plant plant) {
    return plant == planted;
}

static const char *const PLANT_NAMES[] = {
    "NONE",
#define PLANT(name, text) #name,
#include "store/plants.def"
#undef PLANT
};

/* Runs one seed; false with the reason printed when it fails. */
static bool run(const struct world_options *options, const char *before, struct tally *tally) {
    struct world *world = calloc(1, sizeof *world);
    check(world != NULL);
    bool good = world_run(world, options);
    if (!good)
        printf("%sseed %llu%s%llu: %s\n", before, (unsigned long long)options->seed,
            options->fail_at ? " failing operation " : " life ",
            (unsigned long long)(options->fail_at ? options->fail_at : world->crashes),
            world->oracle.failure);
    tally->seeds++;
    tally->crashes += world->crashes;
    tally->harms += world->harms;
    tally->harms_seen += world->harms_seen;
    tally->jobs += world->jobs;
    tally->reads += world->reads;
    tally->indexed += world->indexed;
    world_deinit(world);
    free(world);
    return good;
}

static int run_seeds(uint64_t from, uint64_t count) {
    struct tally tally = {0};
    uint64_t failed = 0;
    for (uint64_t seed = from; seed < from + count && failed < 10; seed++) {
        struct world_options options = {.seed = seed, .lives = LIVES};
        failed += !run(&options, "", &tally);
    }
    printf("%llu seeds, %llu crashes, %llu harms of which %llu could be seen, %llu retirements, "
           "%llu messages read back, %llu found by index; %llu failed\n",
        (unsigned long long)tally.seeds, (unsigned long long)tally.crashes,
        (unsigned long long)tally.harms, (unsigned long long)tally.harms_seen,
        (unsigned long long)tally.jobs, (unsigned long long)tally.reads,
        (unsigned long long)tally.indexed, (unsigned long long)failed);
    return failed ? 1 : 0;
}

/* Fails the first operation of the disk, then the second, until a run has no such operation. */
static int run_ladder(void) {
    struct tally tally = {0};
    uint64_t failed = 0;
    for (uint64_t seed = 1; seed <= LADDER_SEEDS; seed++) {
        uint64_t step = 1;
        bool fired = true;
        for (; fired && step < LADDER_STEPS_MAX && failed < 10; step++) {
            struct world *world = calloc(1, sizeof *world);
            struct world_options options = {.seed = seed, .fail_at = step, .lives = 2};
            check(world != NULL);
            bool good = world_run(world, &options);
            fired = world->platter.fired;
            if (!good)
                printf("seed %llu failing operation %llu: %s\n", (unsigned long long)seed,
                    (unsigned long long)step, world->oracle.failure);
            failed += !good;
            tally.seeds++;
            world_deinit(world);
            free(world);
        }
        printf("ladder of seed %llu: %llu steps\n", (unsigned long long)seed,
            (unsigned long long)(step - 2));
    }
    return failed ? 1 : 0;
}

/* Looks for a planted bug, in a process of its own: a check that ends it has found the bug too. */
static uint64_t seed_that_finds(enum plant plant) {
    planted = plant;
    struct tally tally = {0};
    for (uint64_t seed = 1; seed <= PLANT_SEEDS; seed++) {
        struct world_options options = {.seed = seed, .lives = LIVES};
        if (!run(&options, "# found by ", &tally)) return seed;
    }
    return 0;
}

static bool is_found(enum plant plant) {
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        if (!freopen("/dev/null", "w", stderr)) _exit(3);
        uint64_t seed = seed_that_finds(plant);
        fflush(stdout);
        _exit(seed ? 1 : 0);
    }
    int status = 0;
    check(child > 0 && waitpid(child, &status, 0) == child);
    if (WIFSIGNALED(status)) printf("# found by a check\n");
    return WIFSIGNALED(status) || WEXITSTATUS(status) == 1;
}

static int run_plants(void) {
    int missed = 0;
    printf("1..%d\n", PLANTS - 1);
    for (int plant = 1; plant < PLANTS; plant++) {
        bool found = is_found((enum plant)plant);
        missed += !found;
        printf("%s %d - plant %s\n", found ? "ok" : "not ok", plant, PLANT_NAMES[plant]);
    }
    return missed ? 1 : 0;
}

static uint64_t number_after(int count, char **words, const char *name, uint64_t otherwise) {
    for (int i = 1; i + 1 < count; i++)
        if (strcmp(words[i], name) == 0) return strtoull(words[i + 1], NULL, 10);
    return otherwise;
}

int main(int count, char **words) {
    if (count == 2 && strcmp(words[1], "--plants") == 0) return run_plants();
    if (count == 2 && strcmp(words[1], "--ladder") == 0) return run_ladder();
    uint64_t seeds = number_after(count, words, "--seeds", 0);
    uint64_t from = number_after(count, words, "--from", 1);
    if (seeds == 0) {
        fprintf(stderr, "usage: godwit-store-sim --seeds N [--from SEED] | --ladder | --plants\n");
        return 2;
    }
    return run_seeds(from, seeds);
}
