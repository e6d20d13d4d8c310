/* main: runs seeds, one by one or many, and tells what they found. */
#include "sim/plant.h"
#include "sim/world.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/str.h"

enum { JOBS_MAX = 64, FINDINGS_MAX = 10, PLANT_SEEDS_MAX = 1000, REPLAYS = 40 };

struct options {
    uint64_t start;
    uint64_t seeds;
    uint64_t jobs;
    uint64_t minutes; /* 0: no limit */
    bool verbose;
    bool replay;
    bool plants;
    bool ladder;
    const char *plant;
    const char *unknown;
};

static const char usage[] =
    "godwit-sim [SEED] [-v] | --seeds N [--start S] [--jobs J] [--minutes M]\n"
    "           | --replay-check | --ladder | --plants | --plant NAME [SEED]\n";

/* ---- one run in a process of its own ---- */

static struct verdict *verdicts_new(void) {
    void *memory = mmap(NULL, JOBS_MAX * sizeof(struct verdict), PROT_READ | PROT_WRITE,
        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    check(memory != MAP_FAILED);
    return memory;
}

static void print_finding(const struct verdict *verdict) {
    printf("seed %llu: FAILED at step %llu: %s: %s\n", (unsigned long long)verdict->seed,
        (unsigned long long)verdict->step, verdict_checker_name(verdict->checker), verdict->text);
}

/* Runs in a child, so that a run that crashes is a finding like others. */
static bool run_apart(struct verdict *verdict, uint64_t seed, bool verbose) {
    fflush(stdout);
    pid_t child = fork();
    check(child >= 0);
    if (child == 0) {
        world_run(seed, verdict, verbose);
        exit(0); /* not _exit: a sanitizer looks for leaks now */
    }
    int status = 0;
    check(waitpid(child, &status, 0) == child);
    if (status != 0 && verdict->checker == CHECKER_none) verdict->checker = CHECKER_invariant;
    return status == 0;
}

static int run_one(struct verdict *verdict, const struct options *options) {
    bool good = run_apart(verdict, options->start, options->verbose);
    if (!good) {
        print_finding(verdict);
        return 1;
    }
    printf("seed %llu: fine, hash %016llx, %llu messages, %llu deliveries, %llu operations\n",
        (unsigned long long)verdict->seed, (unsigned long long)verdict->hash,
        (unsigned long long)verdict->letters, (unsigned long long)verdict->deliveries,
        (unsigned long long)verdict->operations);
    return 0;
}

/* ---- many ---- */

static uint64_t seconds_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec;
}

struct totals {
    uint64_t seeds;
    uint64_t letters;
    uint64_t deliveries;
    struct edge_counts edges;
};

static_assert(sizeof(struct totals) <= sizeof(struct verdict), "they share their places");

static pid_t start_job(
    struct verdict *verdict, struct totals *totals, uint64_t first, const struct options *options) {
    uint64_t deadline = options->minutes ? seconds_now() + options->minutes * 60 : UINT64_MAX;
    fflush(stdout);
    pid_t child = fork();
    check(child >= 0);
    if (child != 0) return child;
    uint64_t end = options->start + options->seeds;
    for (uint64_t seed = first; seed < end && seconds_now() < deadline; seed += options->jobs) {
        world_run(seed, verdict, false);
        totals->seeds++;
        totals->letters += verdict->letters;
        totals->deliveries += verdict->deliveries;
        edges_sum(&totals->edges, &verdict->edges);
    }
    exit(0);
}

static int run_many(struct verdict *verdicts, const struct options *options) {
    pid_t children[JOBS_MAX];
    struct totals *totals = (struct totals *)(void *)verdicts_new();
    uint64_t began = seconds_now();
    for (uint64_t i = 0; i < options->jobs; i++)
        children[i] = start_job(&verdicts[i], &totals[i], options->start + i, options);
    uint32_t findings = 0;
    uint64_t running = options->jobs;
    while (running != 0) {
        int status = 0;
        pid_t child = wait(&status);
        check(child > 0);
        uint64_t job = 0;
        while (children[job] != child)
            job++;
        running--;
        if (status == 0) continue;
        if (verdicts[job].checker == CHECKER_none) verdicts[job].checker = CHECKER_invariant;
        print_finding(&verdicts[job]);
        if (++findings >= FINDINGS_MAX) continue;
        children[job] =
            start_job(&verdicts[job], &totals[job], verdicts[job].seed + options->jobs, options);
        running++;
    }
    struct totals sum = {0};
    for (uint64_t i = 0; i < options->jobs; i++) {
        sum.seeds += totals[i].seeds;
        sum.letters += totals[i].letters;
        sum.deliveries += totals[i].deliveries;
        edges_sum(&sum.edges, &totals[i].edges);
    }
    edges_print(&sum.edges);
    printf("%llu seeds fine, %u failed, %llu messages, %llu deliveries, %llu s\n",
        (unsigned long long)sum.seeds, findings, (unsigned long long)sum.letters,
        (unsigned long long)sum.deliveries, (unsigned long long)(seconds_now() - began));
    return findings == 0 && sum.seeds != 0 ? 0 : 1;
}

/* True when a seed does exactly the same again; else the finding is in `verdict`. */
static bool same_again(struct verdict *verdict, uint64_t seed) {
    uint64_t hashes[2];
    for (int i = 0; i < 2; i++) {
        if (!run_apart(verdict, seed, false)) return false;
        hashes[i] = verdict->hash;
    }
    if (hashes[0] == hashes[1]) return true;
    verdict->checker = CHECKER_replay;
    str_format(verdict->text, sizeof verdict->text, "two runs differ: %016llx and %016llx",
        (unsigned long long)hashes[0], (unsigned long long)hashes[1]);
    return false;
}

static int check_replay(struct verdict *verdict, const struct options *options) {
    for (uint64_t seed = options->start; seed < options->start + REPLAYS; seed++) {
        if (same_again(verdict, seed)) continue;
        print_finding(verdict);
        return 1;
    }
    printf("%u seeds do the same thing twice\n", REPLAYS);
    return 0;
}

/* ---- the ladder: every operation of the disk fails once ---- */

static bool climb(struct verdict *verdict, uint64_t seed) {
    uint64_t rung = 0;
    do {
        verdict->fail_at = ++rung;
        verdict->fired = false;
        if (run_apart(verdict, seed, false)) continue;
        printf("operation %llu: ", (unsigned long long)rung);
        print_finding(verdict);
        return false;
    } while (verdict->fired);
    printf("seed %llu: each of its %llu disk operations has failed once\n",
        (unsigned long long)seed, (unsigned long long)rung - 1);
    return true;
}

/* Seeds with several lives, segments and large messages, and few operations. */
static int climb_all(struct verdict *verdict) {
    static const uint64_t seeds[] = {237, 182};
    for (size_t i = 0; i < COUNT_OF(seeds); i++) {
        if (!climb(verdict, seeds[i])) return 1;
    }
    return 0;
}

/* ---- planted bugs ---- */

/* Runs seeds until the checker that is meant for it finds the plant. */
static bool find_plant(struct verdict *verdict, enum plant plant, uint32_t number) {
    uint32_t found[CHECKER_COUNT] = {0};
    enum checker wanted = plant_checker(plant);
    plant_choose(plant);
    for (uint64_t seed = 1; seed <= PLANT_SEEDS_MAX; seed++) {
        bool good =
            wanted == CHECKER_replay ? same_again(verdict, seed) : run_apart(verdict, seed, false);
        if (good) continue;
        found[verdict->checker]++;
        if (verdict->checker != wanted) continue;
        printf("ok %u - %s (%s): found by %s after %llu seeds: %s\n", number, plant_name(plant),
            plant_text(plant), verdict_checker_name(wanted), (unsigned long long)seed,
            verdict->text);
        fflush(stdout);
        return true;
    }
    printf("not ok %u - %s: not found by %s in %u seeds, but by:", number, plant_name(plant),
        verdict_checker_name(wanted), PLANT_SEEDS_MAX);
    for (int i = 0; i < CHECKER_COUNT; i++) {
        if (found[i]) printf(" %s %u", verdict_checker_name((enum checker)i), found[i]);
    }
    printf("\n");
    return false;
}

static int find_plants(struct verdict *verdict) {
    bool all = true;
    uint32_t number = 0;
    /* Broken checks print where they are: not of interest here. */
    check(freopen("/dev/null", "w", stderr) != NULL);
    for (int i = PLANT_none + 1; i < PLANT_COUNT; i++)
        all = find_plant(verdict, (enum plant)i, ++number) && all;
    for (int checker = CHECKER_none + 1; checker < CHECKER_COUNT; checker++) {
        bool has = false;
        for (int i = PLANT_none + 1; i < PLANT_COUNT; i++)
            has = has || plant_checker((enum plant)i) == (enum checker)checker;
        if (has) continue;
        printf(
            "not ok %u - %s has no plant\n", ++number, verdict_checker_name((enum checker)checker));
        all = false;
    }
    return all ? 0 : 1;
}

/* ---- options ---- */

static bool take_number(char **arguments, int *at, const char *name, uint64_t *ret_value) {
    if (strcmp(arguments[*at], name) != 0 || !arguments[*at + 1]) return false;
    ++*at;
    return str_to_u64(bytes_text(arguments[*at]), ret_value);
}

static void read_options(char **arguments, struct options *options) {
    for (int i = 1; arguments[i]; i++) {
        const char *word = arguments[i];
        if (strcmp(word, "-v") == 0)
            options->verbose = true;
        else if (strcmp(word, "--replay-check") == 0)
            options->replay = true;
        else if (strcmp(word, "--plants") == 0 || strcmp(word, "--planted") == 0)
            options->plants = true;
        else if (strcmp(word, "--ladder") == 0)
            options->ladder = true;
        else if (strcmp(word, "--plant") == 0 && arguments[i + 1])
            options->plant = arguments[++i];
        else if (take_number(arguments, &i, "--seeds", &options->seeds))
            continue;
        else if (take_number(arguments, &i, "--start", &options->start))
            continue;
        else if (take_number(arguments, &i, "--jobs", &options->jobs))
            continue;
        else if (take_number(arguments, &i, "--minutes", &options->minutes))
            continue;
        else if (!str_to_u64(bytes_text(word), &options->start))
            options->unknown = word;
    }
}

int main(int count, char **arguments) {
    (void)count;
    struct options options = {.start = 1, .jobs = 2};
    read_options(arguments, &options);
    if (options.jobs == 0 || options.jobs > JOBS_MAX) options.unknown = "--jobs";
    if (options.plant && !plant_choose_named(options.plant)) options.unknown = options.plant;
    if (options.unknown) {
        fprintf(stderr, "godwit-sim: what is '%s'?\n%s", options.unknown, usage);
        return 2;
    }
    struct verdict *verdicts = verdicts_new();
    if (options.ladder) return climb_all(verdicts);
    if (options.plants) return find_plants(verdicts);
    if (options.replay) return check_replay(verdicts, &options);
    if (options.seeds != 0) return run_many(verdicts, &options);
    return run_one(verdicts, &options);
}
