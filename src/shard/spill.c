/* spill: transient messages of long queues on disk, while memory is short. */
#include "shard/spill.h"

#include "base/memory.h"
#include "shard/keeper.h"
#include "shard/kept_record.h"
#include "shard/queue_host.h"

enum {
    RETRY_MS = 1000,
    RUNS_MIN = 8,
    QUEUES_PER_MS = 256, /* looked at on the average, while there is nothing to be found */
    SLICES_MAX = 32,     /* in one turn, while that is not long */
};

/* A file's name that is being removed. */
struct spill_removal {
    struct disk_request request;
};

void spill_init(struct spill *spill, struct keeper *keeper) {
    *spill = (struct spill){.keeper = keeper};
    list_init(&spill->files);
}

static void drop_build(struct spill *spill) {
    segment_free(spill->build);
    spill->build = NULL;
    mem_free(spill->fresh.runs);
    spill->fresh = (struct spilled){.count = 0};
    spill->run_open = false;
}

/* The queue is not looked through for a new file any more. */
static void end_sweep(struct spill *spill, struct queue_slot *slot) {
    if (spill->sweeps) slot->spilled->sweep = min_u64(slot->spilled->sweep, spill->sweep);
    spill->sweeps = false;
}

/* What is in memory of a file is not written: its messages are looked for again. */
static void give_up(struct spill *spill) {
    struct queue_slot *slot = queue_host_slot(spill->keeper->shard, spill->queue);
    if (slot) end_sweep(spill, slot);
    if (slot && spill->fresh.count != 0) spill_on_requeue(slot, spill->fresh.runs[0].first_seq);
    spill->sweeps = false;
    drop_build(spill);
    spill->phase = SPILL_LOOKING;
    spill->grown = true;
}

void spill_deinit(struct spill *spill) {
    check(spill_idle(spill));
    check(list_empty(&spill->files));
    drop_build(spill);
    disk_memory_free(spill->memory);
}

static const struct spill_limits *limits_of(const struct spill *spill) {
    return &spill->keeper->settings.limits.spill;
}

/* ---- runs ---- */

/* The index of the first run that ends behind `seq`. */
static uint32_t search(const struct spilled *spilled, uint64_t seq) {
    uint32_t low = 0, high = spilled->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (spilled->runs[middle].end_seq <= seq) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* The run that has `seq` among its messages, or NULL. */
static struct spill_run *run_of(const struct spilled *spilled, uint64_t seq) {
    uint32_t at = search(spilled, seq);
    bool has = at < spilled->count && spilled->runs[at].first_seq <= seq;
    return has ? &spilled->runs[at] : NULL;
}

const struct spill_run *spill_find(const struct queue_slot *slot, uint64_t seq) {
    check(slot->spilled != NULL);
    const struct spill_run *run = run_of(slot->spilled, seq);
    check(run != NULL && run->live != 0);
    return run;
}

/* Makes room for so many runs at this place. */
static struct spill_run *insert_runs(struct spilled *spilled, uint32_t at, uint32_t count) {
    if (spilled->count + count > spilled->capacity) {
        spilled->capacity = 2 * spilled->capacity + count + RUNS_MIN;
        spilled->runs = mem_resize(spilled->runs, spilled->capacity * sizeof *spilled->runs);
    }
    struct spill_run *runs = &spilled->runs[at];
    memmove(runs + count, runs, (spilled->count - at) * sizeof *runs);
    spilled->count += count;
    return runs;
}

/* Forgets the runs of a file that goes. */
static void remove_runs(struct spilled *spilled, const struct spill_file *file) {
    uint32_t left = 0;
    for (uint32_t i = 0; i < spilled->count; i++) {
        if (spilled->runs[i].file != file) spilled->runs[left++] = spilled->runs[i];
    }
    spilled->count = left;
    if (left != 0) return;
    mem_free(spilled->runs);
    spilled->runs = NULL;
    spilled->capacity = 0;
}

static struct spilled *spilled_of(struct queue_slot *slot) {
    if (!slot->spilled) slot->spilled = NEW(struct spilled);
    return slot->spilled;
}

/* ---- files ---- */

/* Has the name removed. Nothing is asked of the disk any more when all ends: the next start removes
 * what is left. */
static void remove_name(struct spill *spill, const char *name) {
    if (spill->ending) return;
    struct spill_removal *removal = NEW(struct spill_removal);
    removal->request.kind = DISK_REMOVE;
    removal->request.fleeting = true;
    removal->request.submitter = spill;
    bytes_copy(removal->request.name, name, DISK_NAME_BYTES_MAX);
    spill->removals++;
    disk_submit(spill->keeper->archives[0].disk, &removal->request);
}

/* Nothing of the file is away any more, or wanted. */
static void drop_file(struct spill *spill, struct spilled *spilled, struct spill_file *file) {
    remove_runs(spilled, file);
    list_remove(&file->in_files);
    counter_set(&spill->keeper->shard->counters.spill_file_bytes, spill->bytes -= file->place.end);
    remove_name(spill, file->place.name);
    mem_free(file);
}

void spill_on_back(struct spill *spill, struct queue_slot *slot, uint64_t seq) {
    struct spill_run *run = run_of(slot->spilled, seq);
    check(run != NULL && run->live != 0);
    struct spill_file *file = run->file;
    check(file->live != 0);
    run->live--;
    file->live--;
    /* One of which not everything has left memory yet gets more. */
    bool fresh = spill->phase == SPILL_LEAVING && spill->file == file;
    if (file->live == 0 && !fresh) drop_file(spill, slot->spilled, file);
}

void spill_on_requeue(struct queue_slot *slot, uint64_t seq) {
    if (slot->spilled) slot->spilled->sweep = min_u64(slot->spilled->sweep, seq);
}

void spill_forget(struct spill *spill, struct queue_slot *slot) {
    struct spilled *spilled = slot->spilled;
    if (!spilled) return;
    bool mine = spill->phase != SPILL_LOOKING && spill->queue == queue_self(slot->queue);
    if (mine && spill->phase == SPILL_WRITING) {
        spill->fresh.count = 0; /* the file is removed as soon as it is there */
    } else if (mine) {
        drop_build(spill);
        spill->sweeps = false;
        spill->phase = SPILL_LOOKING;
    }
    spilled->sweep = 0;
    while (spilled->count != 0)
        drop_file(spill, spilled, spilled->runs[0].file);
}

/* ---- the queue that has most ---- */

/* What may go of a queue begins behind its window. */
static uint64_t behind_window(const struct spill *spill, const struct queue *queue) {
    return queue_next_ready(queue) + pager_window(&spill->keeper->pager, queue);
}

/* What of a queue could go, about: of its messages in memory those behind its window that have not
 * been looked at. */
static uint64_t bytes_to_go(const struct spill *spill, const struct queue_slot *slot) {
    const struct queue *queue = slot->queue;
    uint64_t resident = queue_ready_count(queue) - queue_away_count(queue);
    uint64_t cost = pager_resident_cost(queue);
    if (resident == 0 || cost < limits_of(spill)->queue_bytes) return 0;
    if (queue_is_dropping(queue)) return 0;
    uint64_t from = behind_window(spill, queue);
    if (slot->spilled) from = max_u64(from, slot->spilled->sweep);
    uint64_t end = queue_next_seq(queue);
    return from >= end ? 0 : cost / resident * min_u64(end - from, resident);
}

static void begin_queue(struct spill *spill, queue_ref queue) {
    spill->queue = queue;
    spill->phase = SPILL_BUILDING;
    spill->grown = true;
}

/* A part of the look at all queues. True when there is more to do at once. */
static bool look(struct spill *spill) {
    struct shard *shard = spill->keeper->shard;
    if (spill->look_at == 0) {
        if (!spill->grown || shard->now_ms < spill->look_ms) return false;
        spill->grown = false;
        spill->longest_bytes = 0;
    }
    uint32_t end = spill->look_at + limits_of(spill)->slice_queues;
    for (; spill->look_at < min_u64(end, shard->queue_capacity); spill->look_at++) {
        const struct queue_slot *slot = queue_host_slot_at(shard, spill->look_at);
        uint64_t bytes = slot->queue ? bytes_to_go(spill, slot) : 0;
        if (bytes <= spill->longest_bytes) continue;
        spill->longest_bytes = bytes;
        spill->longest = queue_self(slot->queue);
    }
    if (spill->look_at < shard->queue_capacity) return true;
    spill->look_at = 0;
    if (spill->longest_bytes < limits_of(spill)->queue_bytes) {
        uint64_t rest_ms = shard->queue_capacity / QUEUES_PER_MS;
        spill->look_ms = shard->now_ms + limits_of(spill)->look_ms + rest_ms;
        return false;
    }
    begin_queue(spill, spill->longest);
    return true;
}

/* The queue that is at work, or NULL when it is gone or cannot be looked at now. */
static struct queue_slot *slot_at_work(const struct spill *spill) {
    struct queue_slot *slot = queue_host_slot(spill->keeper->shard, spill->queue);
    return slot && !queue_is_dropping(slot->queue) ? slot : NULL;
}

/* ---- a file in memory ---- */

static void begin_build(struct spill *spill) {
    struct keeper *keeper = spill->keeper;
    uint64_t part = keeper->shard->broker->memory.limit / limits_of(spill)->file_part;
    uint64_t bytes = max_u64(min_u64(limits_of(spill)->file_bytes, part), SEGMENT_BYTES_MIN);
    bytes = bytes / DISK_BLOCK_BYTES * DISK_BLOCK_BYTES;
    if (!spill->memory) {
        spill->memory_bytes = bytes;
        spill->memory = disk_memory_raw(bytes);
    }
    spill->file_id = prng_next(&keeper->prng);
    struct segment_settings settings = {
        .shard = keeper->archives[0].number,
        .number = 1,
        .file_id = spill->file_id,
        .capacity_bytes = bytes,
        .spill = true,
        .memory = spill->memory,
        .memory_bytes = spill->memory_bytes,
    };
    bytes_copy(settings.node_id, keeper->settings.node_id, sizeof settings.node_id);
    spill->build = segment_begin(&settings);
}

/* Notes a message of the file, the first record of which is there. */
static void note_put(struct spill *spill, uint64_t seq, uint64_t offset, uint64_t bytes) {
    struct spilled *fresh = &spill->fresh;
    if (!spill->run_open || spill->run_bytes >= SHELF_PIECE_BYTES) {
        *insert_runs(fresh, fresh->count, 1) = (struct spill_run){.first_seq = seq, .at = offset};
        spill->run_open = true;
        spill->run_bytes = 0;
    }
    fresh->runs[fresh->count - 1].end_seq = seq + 1;
    spill->run_bytes += bytes;
}

/* False when the file is full. */
static bool put(struct spill *spill, uint64_t seq, const struct message *message) {
    struct record_target target = {.queue = spill->queue, .seq = seq};
    struct kept_record kept = {message, &target, 1, spill->keeper->settings.limits.part_bytes};
    uint64_t offset = 0;
    if (!spill->build) begin_build(spill);
    if (!kept_record_put(&kept, spill->build, &offset)) return false;
    note_put(spill, seq, offset, message_cost(message));
    return true;
}

static bool is_worth_it(const struct spill *spill, const struct message *message) {
    uint32_t refs = atomic_load_explicit(&message->refs, memory_order_relaxed);
    return message_cost(message) <= limits_of(spill)->message_bytes &&
           refs <= limits_of(spill)->messages_shared;
}

/* A slice of messages, from *seq on and before `end`, goes into the file. True when there is room
 * for more. */
static bool put_range(struct spill *spill, const struct queue *queue, uint64_t *seq, uint64_t end,
    uint32_t *steps, uint64_t *bytes) {
    struct message *message = NULL;
    while (*bytes != 0 && queue_next_spillable(queue, seq, end, steps, &message)) {
        if (message && is_worth_it(spill, message)) {
            if (!put(spill, *seq, message)) return false;
            *bytes -= min_u64(*bytes, message_cost(message));
        } else {
            spill->run_open = false;
        }
        ++*seq;
        --*steps;
    }
    return true;
}

/* Messages of a run that is on disk go, a slice of them. */
static void leave_run(struct spill *spill, struct queue_slot *slot, struct spill_run *run,
    uint64_t *seq, uint32_t *steps) {
    uint64_t from = *seq;
    uint32_t gone = queue_spill_out(slot->queue, seq, run->end_seq, *steps);
    run->live += gone;
    run->file->live += gone;
    counter_add(&spill->keeper->shard->counters.spilled, gone);
    *steps -= (uint32_t)min_u64(*seq - from + 1, *steps);
}

static void send(struct spill *spill, struct queue_slot *slot) {
    end_sweep(spill, slot);
    if (!spill->build) {
        spill->phase = SPILL_LOOKING;
        return;
    }
    segment_finish(spill->build, &spill->request);
    spill->request.submitter = spill;
    spill->phase = SPILL_WRITING;
    spill->run_open = false;
    disk_submit(spill->keeper->archives[0].disk, &spill->request);
}

/* Where the look through the queue goes on. What is ready again meanwhile and before is looked for
 * the next time. */
static uint64_t *begin_sweep(struct spill *spill, struct queue_slot *slot) {
    struct spilled *spilled = spilled_of(slot);
    if (!spill->sweeps) {
        spill->sweep = spilled->sweep;
        spilled->sweep = UINT64_MAX;
        spill->sweeps = true;
    }
    return &spill->sweep;
}

/* A slice of the queue: what is in a file already goes, the rest into a new one. True when there is
 * more to do at once. */
static bool build(struct spill *spill) {
    struct queue_slot *slot = slot_at_work(spill);
    if (!slot) {
        give_up(spill);
        return false;
    }
    uint64_t *seq = begin_sweep(spill, slot);
    /* A run has all that is between its ends. */
    if (*seq < behind_window(spill, slot->queue)) spill->run_open = false;
    *seq = max_u64(*seq, behind_window(spill, slot->queue));
    uint64_t last = queue_next_seq(slot->queue);
    uint32_t steps = limits_of(spill)->slice_messages;
    uint64_t bytes = limits_of(spill)->slice_bytes;
    while (steps != 0 && bytes != 0) {
        if (*seq >= last) {
            send(spill, slot);
            return true;
        }
        uint32_t at = search(slot->spilled, *seq);
        struct spill_run *run = at < slot->spilled->count ? &slot->spilled->runs[at] : NULL;
        if (run && run->first_seq <= *seq) {
            spill->run_open = false;
            leave_run(spill, slot, run, seq, &steps);
            continue;
        }
        uint64_t end = run ? min_u64(run->first_seq, last) : last;
        if (put_range(spill, slot->queue, seq, end, &steps, &bytes)) continue;
        send(spill, slot);
        return true;
    }
    return true;
}

/* ---- a file on disk ---- */

/* The file is there: its messages may go. */
static void take_file(struct spill *spill, struct queue_slot *slot) {
    struct spill_file *file = spill->file = NEW(struct spill_file);
    struct spilled *fresh = &spill->fresh;
    file->place = (struct piece_place){
        .file_id = spill->file_id, .end = spill->request.size, .fleeting = true};
    bytes_copy(file->place.name, spill->request.name, DISK_NAME_BYTES_MAX);
    list_put_last(&spill->files, &file->in_files);
    counter_set(&spill->keeper->shard->counters.spill_file_bytes, spill->bytes += file->place.end);
    counter_add(&spill->keeper->shard->counters.spill_bytes, file->place.end);
    for (uint32_t i = 0; i < fresh->count; i++) {
        fresh->runs[i].file = file;
        uint32_t at = search(slot->spilled, fresh->runs[i].first_seq);
        *insert_runs(slot->spilled, at, 1) = fresh->runs[i];
    }
    spill->leave_seq = fresh->runs[0].first_seq;
    spill->leave_end = fresh->runs[fresh->count - 1].end_seq;
    spill->phase = SPILL_LEAVING;
}

static void on_made(struct spill *spill) {
    struct queue_slot *slot = queue_host_slot(spill->keeper->shard, spill->queue);
    int status = spill->request.status;
    static const struct outcome_words words = {"spill.failed", "spill.healed", LEVEL_WARNING};
    keeper_say_outcome(spill->keeper, &spill->failing, status, &words);
    if (status != 0) {
        spill->retry_ms = spill->keeper->shard->now_ms + RETRY_MS;
        give_up(spill);
        return;
    }
    bool wanted = slot && !queue_gone(slot->queue) && spill->fresh.count != 0;
    spill->phase = SPILL_LOOKING;
    if (wanted)
        take_file(spill, slot);
    else
        remove_name(spill, spill->request.name);
    drop_build(spill);
}

void spill_on_request(struct spill *spill, struct disk_request *request) {
    if (request == &spill->request) {
        on_made(spill);
        return;
    }
    /* One that stays is removed at the next start. */
    spill->removals--;
    mem_free(CONTAINER_OF(request, struct spill_removal, request));
}

/* All that was to go of the new file is gone. The queue goes on as long as it is among the longest.
 */
static void end_leaving(struct spill *spill, struct queue_slot *slot) {
    struct spill_file *file = spill->file;
    spill->phase = SPILL_LOOKING;
    spill->grown = true;
    if (file->live == 0) drop_file(spill, slot->spilled, file);
    uint64_t enough = max_u64(limits_of(spill)->queue_bytes, spill->longest_bytes / 2);
    if (bytes_to_go(spill, slot) >= enough) begin_queue(spill, spill->queue);
}

/* Lets go of what is in the new file, a slice at a time. True when there is more to do at once. */
static bool leave(struct spill *spill) {
    struct queue_slot *slot = slot_at_work(spill);
    /* What is doomed is dropped by and by. */
    if (!slot) return false;
    struct spilled *spilled = slot->spilled;
    uint64_t *seq = &spill->leave_seq;
    *seq = max_u64(*seq, behind_window(spill, slot->queue));
    uint32_t steps = limits_of(spill)->slice_messages;
    while (steps != 0) {
        uint32_t at = search(spilled, *seq);
        struct spill_run *run = at < spilled->count ? &spilled->runs[at] : NULL;
        if (!run || run->first_seq >= spill->leave_end) break;
        *seq = max_u64(*seq, run->first_seq);
        leave_run(spill, slot, run, seq, &steps);
    }
    if (steps != 0) end_leaving(spill, slot);
    pager_on_need(&spill->keeper->pager, slot);
    return true;
}

/* ---- the turn ---- */

/* Files may be made: memory is short, and the disk is not. */
static bool may_make(const struct spill *spill) {
    const struct keeper *keeper = spill->keeper;
    return !spill->ending && keeper->pager.pressed && !keeper->stopped &&
           !broker_disk_alarm(keeper->shard->broker) && keeper->shard->now_ms >= spill->retry_ms;
}

/* One slice. */
static bool go_on(struct spill *spill, bool may_begin) {
    if (spill->phase == SPILL_LEAVING) return leave(spill);
    if (spill->phase == SPILL_WRITING || !may_begin) return false;
    if (!may_make(spill)) {
        if (spill->phase == SPILL_BUILDING) give_up(spill);
        disk_memory_free(spill->memory);
        spill->memory = NULL;
        return false;
    }
    return spill->phase == SPILL_LOOKING ? look(spill) : build(spill);
}

bool spill_turn(struct spill *spill, bool may_begin) {
    bool more = go_on(spill, may_begin);
    for (int i = 1; i < SLICES_MAX && more && !shard_turn_is_long(spill->keeper->shard); i++)
        more = go_on(spill, may_begin);
    return more;
}

uint64_t spill_due(const struct spill *spill) {
    const struct keeper *keeper = spill->keeper;
    /* The end of an alarm wakes whoever sleeps. */
    bool waits = spill->phase == SPILL_LOOKING && spill->grown && !spill->ending &&
                 keeper->pager.pressed && !keeper->stopped &&
                 !broker_disk_alarm(keeper->shard->broker);
    return waits ? max_u64(spill->look_ms, spill->retry_ms) : UINT64_MAX;
}

bool spill_idle(const struct spill *spill) {
    return spill->phase != SPILL_WRITING && spill->removals == 0;
}

void spill_check_queue(const struct queue_slot *slot) {
    const struct spilled *spilled = slot->spilled;
    if (!spilled || queue_is_dropping(slot->queue)) return;
    uint64_t live = 0;
    for (uint32_t i = 0; i < spilled->count; i++) {
        const struct spill_run *run = &spilled->runs[i];
        check(run->first_seq < run->end_seq);
        if (i != 0) check(spilled->runs[i - 1].end_seq <= run->first_seq);
        uint64_t here = 0;
        for (uint64_t seq = run->first_seq; seq < run->end_seq; seq++)
            here += queue_is_spilled(slot->queue, seq);
        check(here == run->live);
        live += here;
    }
    /* Nothing that is away and neither kept nor in a run. */
    uint64_t away = 0;
    for (uint64_t seq = 0; queue_next_away(slot->queue, &seq); seq++)
        away += queue_is_spilled(slot->queue, seq);
    check(away == live);
}
