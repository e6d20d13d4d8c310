/* world: lives of journals on a lying disk: work, crash, recover, compare, and again. */
#include "world.h"

#include "by_index.h"

#include "base/str.h"

static struct oracle_shard *shard_of(struct world *world, uint32_t at) {
    return &world->oracle.shards[at];
}

static void on_stable(void *context, uint64_t position) {
    struct sim_port *port = context;
    struct world *world = CONTAINER_OF(port->platter, struct world, platter);
    uint32_t at = (uint32_t)(port - world->platter.ports);
    struct oracle_shard *shard = shard_of(world, at);
    world->ledger.stable[at] = position;
    if (shard->base + position < shard->stable)
        oracle_fails(&world->oracle, "the stable position goes back");
    shard->stable = shard->base + position;
}

static void on_file_left(void *context, uint64_t file_no, uint64_t position) {
    struct sim_port *port = context;
    struct world *world = CONTAINER_OF(port->platter, struct world, platter);
    uint32_t at = (uint32_t)(port - world->platter.ports);
    struct oracle_shard *shard = shard_of(world, at);
    check(file_no < ORACLE_FILES_MAX);
    shard->file_last[file_no] = shard->base + position;
    keeper_on_file_left(&world->keepers[at], file_no, position);
}

static void on_request(void *context, struct disk_request *request) {
    struct sim_port *port = context;
    struct world *world = CONTAINER_OF(port->platter, struct world, platter);
    keeper_on_request(&world->keepers[port - world->platter.ports], request);
}

static void on_trouble(void *context, enum journal_trouble trouble, int error) {
    struct sim_port *port = context;
    struct world *world = CONTAINER_OF(port->platter, struct world, platter);
    if ((error == 0) != (trouble == JOURNAL_MADE))
        oracle_fails(&world->oracle, "trouble without an error");
    if (trouble != JOURNAL_STOPPED) return;
    world->stopped[port - world->platter.ports] = true;
    world->keepers[port - world->platter.ports].stopped = true;
}

static const struct journal_calls CALLS = {on_stable, on_file_left, on_trouble, on_request};

static struct recovery *recover_how(struct world *world, bool salvage, bool by_index) {
    struct recover_settings settings = {
        .disk = &world->platter.ports[SIM_PORTS_MAX - 1].disk,
        .node_id = "the only node ",
        .salvage = salvage,
        .by_index = by_index,
    };
    struct recovery *recovery = NULL;
    int status = recover_open(&settings, &recovery);
    /* The ladder's one failure may hit the opening itself, which then says so. */
    if (status != 0 && world->platter.fired) status = recover_open(&settings, &recovery);
    if (status != 0) {
        oracle_fails(&world->oracle, "recovery cannot be opened: %d", status);
        return NULL;
    }
    return recovery;
}

struct recovery *world_recover(struct world *world, bool salvage) {
    return recover_how(world, salvage, false);
}

static void journal_begin(struct world *world, struct recovery *recovery, uint16_t at) {
    struct journal_settings settings = {
        .disk = &world->platter.ports[at].disk,
        .node_id = "the only node ",
        .shard = at,
        .file_bytes = world->file_bytes,
        .files_spare = 1 + (uint32_t)prng_below(&world->prng, 2),
        .seed = prng_next(&world->prng),
        .calls = &CALLS,
        .context = &world->platter.ports[at],
    };
    struct journal_past past;
    recover_past(recovery, at, &past);
    world->journals[at] = journal_open(&settings, &past);
    /* A file of the past goes only when it has a successor. */
    bool wants = world->kept || prng_chance(&world->prng, 70);
    if (wants) (void)journal_want_file(world->journals[at]);
    struct keeper *keeper = &world->keepers[at];
    keeper->ledger = &world->ledger;
    keeper->disk = settings.disk;
    keeper->writer = at;
    keeper->running = world->running;
    prng_init(&keeper->prng, prng_next(&world->prng));
    keeper_begin(keeper, recovery, world->journals[at]);
}

static void give_spares(
    struct world *world, struct recovery *recovery, uint16_t at, uint64_t count) {
    const char *spare = NULL;
    while (count-- > 0 && (spare = recover_take_spare(recovery, at)) != NULL) {
        int status = journal_add_spare(world->journals[at], spare);
        if (status != 0 && !world->platter.fired)
            oracle_fails(&world->oracle, "a spare is refused: %d", status);
    }
}

/* Not every writer of a former life is there again; what it left stays. */
static void journals_open(struct world *world, struct recovery *recovery) {
    world->running = 1 + (uint32_t)prng_below(&world->prng, world->shards);
    if (prng_chance(&world->prng, 50)) world->running = world->shards;
    for (uint16_t i = 0; i < world->shards; i++) {
        struct sim_port *port = &world->platter.ports[i];
        struct journal_past past;
        recover_past(recovery, i, &past);
        port->end_lsn = past.prev_end_lsn;
        port->faulty = port->dropped = false;
        port->since = 0;
        world->stopped[i] = false;
        if (i >= world->running) continue;
        journal_begin(world, recovery, i);
        give_spares(world, recovery, i, prng_below(&world->prng, 3));
    }
    /* Files that nobody wants would stay until the next start; the platter holds only so many. */
    for (uint16_t i = 0; i < world->running; i++)
        give_spares(world, recovery, i, UINT64_MAX);
}

static void put(struct world *world, uint32_t at) {
    uint64_t count = 1 + prng_below(&world->prng, prng_chance(&world->prng, 5) ? 80 : 6);
    for (uint64_t i = 0; i < count && !journal_stopped(world->journals[at]); i++) {
        struct record record =
            oracle_next_record(&world->oracle, (uint16_t)at, prng_next(&world->prng));
        uint64_t position = 0;
        int status = journal_put(world->journals[at], &record, &position);
        struct oracle_shard *shard = shard_of(world, at);
        if (status != 0 || shard->base + position != shard->count)
            oracle_fails(
                &world->oracle, "put gave %d, position %llu", status, (unsigned long long)position);
    }
}

static void settle(struct world *world, uint32_t at) {
    uint64_t count = 1 + prng_below(&world->prng, 5);
    for (uint64_t i = 0; i < count && !journal_stopped(world->journals[at]); i++) {
        bool gap = prng_chance(&world->prng, 30);
        struct record_target span = oracle_next_settlement(&world->oracle, (uint16_t)at, gap);
        uint64_t position = 0;
        int status = journal_settle(world->journals[at], &span, &position);
        struct oracle_shard *shard = shard_of(world, at);
        if (status != 0 || shard->base + position != shard->count)
            oracle_fails(&world->oracle, "settle gave %d, position %llu", status,
                (unsigned long long)position);
    }
}

/* A keeper works; the file that it gives back may have had what was dropped. */
static void keep(struct world *world, uint32_t at) {
    struct keeper *keeper = &world->keepers[at];
    uint64_t jobs_done = keeper->jobs_done;
    keeper_step(keeper);
    if (keeper->jobs_done == jobs_done) return;
    world->platter.ports[at].dropped = false;
    /* Before the mark is stable a crash brings the file back. */
    world->cut_short = prng_chance(&world->prng, keeper->ahead_of ? 50 : 5);
}

static void release(struct world *world, uint32_t at) {
    uint64_t file_no = journal_oldest(world->journals[at]);
    struct oracle_shard *shard = shard_of(world, at);
    if (file_no == 0) return;
    shard->released = max_u64(shard->released, shard->file_last[file_no]);
    /* What was dropped may have been in it, and then nobody misses it. */
    world->platter.ports[at].dropped = false;
    journal_release(world->journals[at], file_no);
}

static void arm_fault(struct world *world) {
    static const enum sim_fault HONEST[] = {SIM_EIO, SIM_SHORT, SIM_NO_SPACE};
    static const enum sim_fault LYING[] = {SIM_DROPPED, SIM_MISDIRECTED};
    if (world->may_lie && prng_chance(&world->prng, 50)) {
        world->platter.fault = LYING[prng_below(&world->prng, 2)];
    } else {
        world->platter.fault = HONEST[prng_below(&world->prng, 3)];
    }
}

/* Whether a file is being begun while the end of the one before is still on its way. */
static bool is_between_files(const struct sim_port *port) {
    bool header = false;
    uint32_t others = 0;
    for (const struct disk_request *at = port->waiting; at; at = at->next) {
        header = header || (at->kind == DISK_WRITE && at->offset == 0);
        others += at->kind == DISK_WRITE && at->offset >= FILE_FRAMES_AT;
    }
    return header && others >= 2;
}

static void turn(struct world *world, uint32_t at) {
    journal_turn(world->journals[at], world->now_ms, 1000000 + world->now_ms);
    bool between = is_between_files(&world->platter.ports[at]);
    if (between && prng_chance(&world->prng, 10)) world->cut_short = true;
}

/* A disk that is slow just when another writer's job runs ahead of what is stable there. */
static bool is_late(struct world *world, uint32_t at) {
    bool late = false;
    for (uint32_t i = 0; i < world->running; i++)
        late = late || world->keepers[i].ahead_of == at + 1;
    return late && prng_chance(&world->prng, 95);
}

static void one_kept_step(struct world *world, bool faults) {
    uint32_t at = (uint32_t)prng_below(&world->prng, world->running);
    uint64_t what = prng_below(&world->prng, 100);
    if (what < 18) {
        keeper_publish(&world->keepers[at]);
    } else if (what < 30) {
        keeper_settle(&world->keepers[at]);
    } else if (what < 55) {
        turn(world, at);
    } else if (what < 75) {
        if (!is_late(world, at)) platter_complete(&world->platter.ports[at], false);
    } else if (what < 82) {
        platter_complete(&world->platter.ports[at], true);
    } else if (what < 85) {
        world->now_ms += prng_below(&world->prng, 150);
    } else if (what < 96) {
        keep(world, at);
    } else if (what < 98) {
        keeper_read(&world->keepers[at]);
    } else if (faults) {
        arm_fault(world);
    }
}

static void one_step(struct world *world, bool faults) {
    uint32_t at = (uint32_t)prng_below(&world->prng, world->running);
    uint64_t what = prng_below(&world->prng, 100);
    if (what < 25) {
        put(world, at);
    } else if (what < 35) {
        settle(world, at);
    } else if (what < 60) {
        turn(world, at);
    } else if (what < 85) {
        platter_complete(&world->platter.ports[at], false);
    } else if (what < 90) {
        platter_complete(&world->platter.ports[at], true);
    } else if (what < 95) {
        world->now_ms += prng_below(&world->prng, 150);
    } else if (what < 98) {
        release(world, at);
    } else if (faults) {
        arm_fault(world);
    }
}

/* Files that there are for each writer, those that do not run included. */
static uint32_t files_each(const struct world *world) {
    uint32_t files = 0;
    for (int i = 0; i < SIM_FILES_MAX; i++)
        files += world->platter.files[i].used && !world->platter.files[i].removed;
    return files / world->shards;
}

/* Whether all that a keeper has put is stable, and in the end not more is there than should be. */
static bool keeper_is_stable(struct world *world, uint32_t at) {
    if (!journal_idle(world->journals[at])) return false;
    if (world->life != world->options.lives) return true;
    return files_each(world) <= WORLD_FILES_MAX && keeper_is_content(&world->keepers[at]);
}

/* Everything that can be done is done: nothing may stay unstable while the journals work. */
static void finish_all(struct world *world) {
    for (uint32_t i = 0; i < world->running; i++)
        journal_finish(world->journals[i]);
    for (int round = 0; round < 300; round++) {
        world->now_ms += 50;
        for (uint32_t i = 0; i < world->running; i++) {
            if (world->kept) keep(world, i);
            turn(world, i);
        }
        platter_complete_all(&world->platter);
    }
    for (uint32_t i = 0; i < world->running; i++) {
        turn(world, i);
        const struct oracle_shard *shard = shard_of(world, i);
        if (world->stopped[i]) continue;
        if (world->kept ? !keeper_is_stable(world, i) : shard->stable != shard->count)
            oracle_fails(&world->oracle, "shard %u: %llu of %llu stable after finishing", i,
                (unsigned long long)shard->stable, (unsigned long long)shard->count);
    }
}

static void end_life(struct world *world) {
    uint64_t how = prng_below(&world->prng, 100);
    if (how < 15) finish_all(world);
    world->platter.fault = SIM_NO_FAULT;
    world->crashes++;
    if (how < 70) {
        platter_power_loss(&world->platter);
    } else {
        platter_kill(&world->platter);
    }
    for (uint32_t i = 0; i < world->shards; i++) {
        journal_close(world->journals[i]);
        world->journals[i] = NULL;
        world->jobs += world->keepers[i].jobs_done;
        world->keepers[i].jobs_done = 0;
        world->reads += world->keepers[i].reads_done;
        world->keepers[i].reads_done = 0;
        keeper_end(&world->keepers[i]);
    }
}

/* Whether the chain ends with a file that has nothing but its header, and before it at `lsn`. Two
 * torn headers, one over the other, may leave the first one whole. */
static bool ends_empty_at(
    const struct world *world, const struct journal_past *past, uint64_t lsn) {
    for (int i = 0; i < SIM_FILES_MAX && past->file_count != 0; i++) {
        const struct sim_file *file = &world->platter.files[i];
        struct file_header header;
        if (!file->used || strcmp(file->name, past->files[past->file_count - 1].name) != 0)
            continue;
        return file_header_parse(file->seen, &header) == FILE_HEADER_GOOD &&
               header.prev_end_lsn == lsn && header.base_lsn + FILE_FRAMES_AT == past->prev_end_lsn;
    }
    return false;
}

/* Where the chain must end: behind the last frame that came out whole, and nowhere else. */
static void compare_cut(struct world *world, const struct recovery *recovery) {
    for (uint32_t i = 0; i < world->shards; i++) {
        const struct sim_port *port = &world->platter.ports[i];
        struct journal_past past;
        recover_past(recovery, (uint16_t)i, &past);
        if (port->faulty || past.prev_end_lsn == port->end_lsn) continue;
        if (ends_empty_at(world, &past, port->end_lsn)) continue;
        oracle_fails(&world->oracle, "shard %u: cut at %llu, not at %llu", i,
            (unsigned long long)past.prev_end_lsn, (unsigned long long)port->end_lsn);
    }
}

/* Recovering again, without anything having been written, gives the same. */
static void compare_twice(struct world *world, struct recovery *first) {
    struct recovery *second = world_recover(world, false);
    if (!second) return;
    struct recover_counts a = recover_counts(first), b = recover_counts(second);
    bool same = recover_verdict(first) == recover_verdict(second) &&
                recover_segment_count(first) == recover_segment_count(second);
    if (memcmp(&a, &b, sizeof a) != 0 || !same)
        oracle_fails(&world->oracle, "recovering twice gives two results");
    for (uint32_t i = 0; i < world->shards; i++) {
        struct journal_past one, two;
        recover_past(first, (uint16_t)i, &one);
        recover_past(second, (uint16_t)i, &two);
        if (one.prev_end_lsn != two.prev_end_lsn || one.prev_crc != two.prev_crc)
            oracle_fails(&world->oracle, "recovering twice gives two ends");
    }
    recover_close(second);
}

/* What a lying disk has done must be found, once something later bears witness. */
static void judge_lies(struct world *world, bool damaged) {
    bool dropped_seen = false, lied = false;
    for (uint32_t i = 0; i < world->shards; i++) {
        dropped_seen =
            dropped_seen || (world->platter.ports[i].dropped && world->platter.ports[i].since >= 4);
        lied = lied || world->platter.ports[i].faulty;
    }
    if (damaged && !(lied && world->may_lie))
        oracle_fails(&world->oracle, "damage is reported, and there is none");
    if (!damaged && dropped_seen) oracle_fails(&world->oracle, "a dropped write is not reported");
}

static bool any_lie(const struct world *world) {
    for (uint32_t i = 0; i < world->shards; i++)
        if (world->platter.ports[i].faulty && world->may_lie) return true;
    return false;
}

static void harm_any(struct world *world, struct recovery *recovery) {
    if (world->kept) {
        harm_segment_try(world, recovery);
    } else {
        harm_try(world, recovery);
    }
}

/* Opens what the crash has left and compares. False when the seed ends here. */
static bool begin_life(struct world *world) {
    struct recovery *recovery = world_recover(world, false);
    if (!recovery) return false;
    bool damaged = recover_verdict(recovery) != RECOVER_CLEAN;
    judge_lies(world, damaged);
    if (damaged || any_lie(world)) {
        /* Found out, or never to be found out: what then is lost was declared. */
        world->given_up = true;
        if (damaged && recover_damage_count(recovery) != 0 && world->oracle.failure[0] != 0) {
            const struct recover_damage *damage = recover_damage_at(recovery, 0);
            size_t size = strlen(world->oracle.failure);
            str_format(world->oracle.failure + size, sizeof world->oracle.failure - size,
                " (kind %d, %s, file %llu, offset %llu)", damage->kind, damage->name,
                (unsigned long long)damage->file_no, (unsigned long long)damage->offset);
        }
        recover_close(recovery);
        return false;
    }
    if (world->kept) ledger_compare(&world->ledger, recovery);
    if (!world->kept) oracle_compare(&world->oracle, recovery, NULL, NULL);
    if (world->oracle.failure[0] == 0) compare_cut(world, recovery);
    compare_twice(world, recovery);
    /* Closer looks cost time, and operations that the ladder would count. */
    bool good = world->oracle.failure[0] == 0 && world->options.fail_at == 0;
    if (good && prng_chance(&world->prng, 30)) by_index_compare(world);
    if (world->oracle.failure[0] == 0 && world->options.fail_at == 0) harm_any(world, recovery);
    if (world->kept) ledger_begin_life(&world->ledger);
    oracle_settle(&world->oracle);
    if (world->oracle.failure[0] == 0 && prng_chance(&world->prng, 50)) {
        /* The next life goes on behind what the indexes say. */
        recover_close(recovery);
        recovery = recover_how(world, false, true);
        if (!recovery) return false;
        if (recover_verdict(recovery) != RECOVER_CLEAN && !world->platter.fired)
            oracle_fails(&world->oracle, "by index it is damaged");
    }
    int status = recover_sweep(recovery);
    if (status != 0 && !world->platter.fired)
        oracle_fails(&world->oracle, "sweeping gave %d", status);
    if (world->oracle.failure[0] == 0) journals_open(world, recovery);
    recover_close(recovery);
    return world->oracle.failure[0] == 0;
}

bool world_run(struct world *world, const struct world_options *options) {
    memset(world, 0, sizeof *world);
    world->options = *options;
    prng_init(&world->prng, options->seed);
    platter_init(&world->platter, prng_next(&world->prng));
    world->platter.fail_at = options->fail_at;
    world->platter.reserve = (uint32_t)(options->seed % 5);
    oracle_init(&world->oracle, prng_next(&world->prng));
    world->shards = 1 + (uint32_t)prng_below(&world->prng, WORLD_SHARDS_MAX);
    world->file_bytes = JOURNAL_FILE_BYTES_MIN * (1 + prng_below(&world->prng, 3));
    bool faults = options->fail_at == 0 && prng_chance(&world->prng, 40);
    world->may_lie = faults && prng_chance(&world->prng, 30);
    world->kept = options->seed % 2 == 0;
    if (world->kept) world->may_lie = false;
    ledger_init(&world->ledger, prng_next(&world->prng), world->oracle.failure);
    for (uint32_t i = 0; i < WORLD_SHARDS_MAX; i++)
        world->keepers[i].retain = 1 + (uint32_t)prng_below(&world->prng, 3);
    world->oracle.bounded_records = world->file_bytes < 2 * JOURNAL_FILE_BYTES_MIN;
    uint64_t steps_max = 20 + prng_below(&world->prng, 400);
    for (; world->life < options->lives; world->life++) {
        if (!begin_life(world)) break;
        uint64_t steps = prng_below(&world->prng, steps_max);
        world->cut_short = false;
        for (uint64_t i = 0; i < steps && world->oracle.failure[0] == 0 && !world->cut_short; i++)
            (world->kept ? one_kept_step : one_step)(world, faults);
        end_life(world);
        if (world->oracle.failure[0] != 0) break;
    }
    if (world->oracle.failure[0] == 0 && !world->given_up && begin_life(world)) {
        for (uint32_t i = 0; i < world->running && world->kept; i++)
            keeper_settle_all(&world->keepers[i]);
        finish_all(world);
        end_life(world);
    }
    return world->oracle.failure[0] == 0;
}

void world_deinit(struct world *world) {
    platter_power_loss(&world->platter);
    for (uint32_t i = 0; i < WORLD_SHARDS_MAX; i++)
        journal_close(world->journals[i]);
    for (uint32_t i = 0; i < WORLD_SHARDS_MAX; i++)
        keeper_end(&world->keepers[i]);
    ledger_deinit(&world->ledger);
    platter_deinit(&world->platter);
    oracle_deinit(&world->oracle);
}
