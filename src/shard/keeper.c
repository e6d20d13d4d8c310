/* keeper: what keeps a shard's durable queues on disk: its journal, and what waits for it. */
#include "shard/keeper.h"

#include "base/memory.h"
#include "shard/kept_record.h"
#include "shard/queue_host.h"

enum {
    STEP_MIN = 16, /* messages ahead of which it is recorded that they may be delivered */
    STEP_MAX = 4096,
    SLOW_MS = 1000, /* that a commit may take before the disk is called slow, */
    FAST_MS = 500,  /* and one after which it is not any more */
};

const struct keeper_limits KEEPER_LIMITS = {
    .part_bytes = KEPT_RECORD_PART_BYTES,
    .segment_bytes = 16 * 1024 * 1024,
    .garbage_bytes_min = 64 * 1024 * 1024,
    .emptied_bytes = 128 * 1024 * 1024,
    .look_ms = 50,
    .slice_bytes = 64 * 1024,
    .slice_queues = 64,
    .slice_steps = 256,
    .facts_bytes = 1024 * 1024,
    .pager =
        {
            .window_bytes = 4 * 1024 * 1024,
            .high_bytes = 16 * 1024 * 1024,
            .low_bytes = 8 * 1024 * 1024,
            .slice_messages = 1024,
            .reads = 4,
        },
    .spill =
        {
            .file_bytes = 16 * 1024 * 1024,
            .file_part = 64,
            .queue_bytes = 64 * 1024,
            .message_bytes = 1024 * 1024,
            .messages_shared = 8,
            .slice_bytes = 64 * 1024,
            .slice_messages = 512,
            .slice_queues = 256,
            .look_ms = 100,
        },
};

static struct archive *own(struct keeper *keeper) {
    check(keeper->archive_count != 0);
    return &keeper->archives[0];
}

/* ---- what the journals tell ---- */

static void on_stable(void *context, uint64_t position) {
    struct archive *archive = context;
    archive->stable = position;
    if (archive == own(archive->keeper)) archive->keeper->stable = position;
}

uint64_t keeper_count_kept(const struct queue *queue, uint64_t seq, uint64_t end) {
    uint64_t count = 0;
    for (; queue_next_kept(queue, &seq, end, NULL); seq++)
        count++;
    return count;
}

void keeper_say_outcome(
    const struct keeper *keeper, bool *failing, int status, const struct outcome_words *words) {
    const struct shard *shard = keeper->shard;
    bool fails = status != 0;
    if (fails == *failing) return;
    *failing = fails;
    if (!shard->broker->log) return;
    struct log_line line;
    log_begin(&line, fails ? words->failed : words->healed);
    log_put_number(&line, "shard", shard->number);
    if (fails) log_put_text(&line, "error", strerror(-status));
    log_end(&line, shard->broker->log, fails ? words->level : LEVEL_INFO);
}

/* A message that was staged for the file that has been left is in the next one. So are all that
 * came to its queue later. */
static void move_on(struct archive *archive, struct kept_file *left, const struct berth *berth,
    uint64_t first_position) {
    struct keeper *keeper = archive->keeper;
    struct queue_slot *slot = queue_host_slot(keeper->shard, berth->queue);
    if (!slot || queue_gone(slot->queue)) return;
    struct shelf *shelf = slot->shelf;
    uint32_t at = shelf_find(shelf, berth->seq);
    if (shelf->stays[at].file != left) return;
    struct shelf_place place = {.file = archive->current, .at = first_position};
    uint64_t live = keeper_count_kept(slot->queue, berth->seq, shelf_end(shelf, at));
    shelf_leave(shelf, berth->seq, live, left, &place, keeper->shard->number);
}

/* So many places of one message are in another file; all messages are taken for equally large. */
static void count_moved(struct kept_file *from, struct kept_file *to, uint32_t places) {
    check(from->messages >= places);
    uint64_t bytes = from->put_bytes / from->messages * places;
    from->messages -= places;
    from->put_bytes -= bytes;
    to->messages += places;
    to->put_bytes += bytes;
}

/* Whatever is behind `position` is in the next file. One whose parts are in two belongs to the
 * first. */
static void move_on_all(struct archive *archive, struct kept_file *left, uint64_t position) {
    for (uint32_t i = 0; i < archive->borrowed.count; i++) {
        const struct borrowed *borrowed = fifo_at(&archive->borrowed, i);
        if (borrowed->position <= position) continue;
        if (borrowed->position - borrowed->parts <= position) {
            left->whole = false;
            continue;
        }
        if (borrowed->berth_count != 0) count_moved(left, archive->current, borrowed->berth_count);
        const struct berth *berths = borrowed->berths ? borrowed->berths : &borrowed->berth;
        for (uint32_t k = 0; k < borrowed->berth_count; k++)
            move_on(archive, left, &berths[k], borrowed->position - borrowed->parts);
    }
}

/* What is staged from now on belongs to the next file. */
static void on_file_left(void *context, uint64_t file_no, uint64_t position) {
    struct archive *archive = context;
    archive->keeper->retirement.changed = true;
    struct kept_file *left = archive->current;
    left->number = file_no;
    left->end_position = position;
    list_put_last(&archive->files, &left->in_archive);
    archive->current = kept_file_new(archive, false, archive->keeper->shard->broker->shard_count);
    move_on_all(archive, left, position);
}

static void say_trouble(struct keeper *keeper, enum journal_trouble trouble, int error) {
    static const char *const events[] = {
        [JOURNAL_WRITE_FAILED] = "journal.write_failed",
        [JOURNAL_MAKE_FAILED] = "journal.no_room",
        [JOURNAL_MARK_FAILED] = "journal.mark_failed",
        [JOURNAL_STOPPED] = "journal.stopped",
        [JOURNAL_MADE] = "journal.has_room",
    };
    struct log_line line;
    log_begin(&line, events[trouble]);
    log_put_number(&line, "shard", keeper->shard->number);
    if (error != 0) log_put_text(&line, "error", strerror(error));
    enum log_level level = trouble == JOURNAL_STOPPED ? LEVEL_ERROR : LEVEL_WARNING;
    if (trouble == JOURNAL_MADE) level = LEVEL_INFO;
    if (keeper->shard->broker->log) log_end(&line, keeper->shard->broker->log, level);
}

static void on_trouble(void *context, enum journal_trouble trouble, int error) {
    struct archive *archive = context;
    struct keeper *keeper = archive->keeper;
    bool said = trouble == JOURNAL_MAKE_FAILED && keeper->make_failed;
    if (!said) say_trouble(keeper, trouble, error);
    if (archive != own(keeper)) return;
    if (trouble == JOURNAL_MAKE_FAILED) keeper->make_failed = true;
    if (trouble == JOURNAL_MADE) keeper->make_failed = false;
    if (trouble == JOURNAL_STOPPED) keeper->stopped = true;
    broker_set_disk_alarm(keeper->shard, keeper->make_failed || keeper->stopped);
}

static void on_request(void *context, struct disk_request *request) {
    struct archive *archive = context;
    struct keeper *keeper = archive->keeper;
    if (request->submitter == &keeper->pager) {
        pager_on_request(&keeper->pager, request);
    } else if (request->submitter == &keeper->spill) {
        spill_on_request(&keeper->spill, request);
    } else if (request->submitter == &keeper->retirement.retrieval) {
        retrieval_on_request(&keeper->retirement.retrieval, request);
    } else {
        retirement_on_request(&keeper->retirement, request);
    }
}

static const struct journal_calls JOURNAL_CALLS = {
    .on_stable = on_stable,
    .on_file_left = on_file_left,
    .on_trouble = on_trouble,
    .on_request = on_request,
};

/* ---- life ---- */

struct keeper *keeper_new(
    struct shard *shard, const struct keeper_settings *settings, uint32_t archives) {
    struct keeper *keeper = NEW(struct keeper);
    keeper->shard = shard;
    keeper->settings = *settings;
    keeper->archives = mem_new_array(archives, sizeof *keeper->archives);
    prng_init(&keeper->prng, settings->seed ^ ((uint64_t)shard->number << 32));
    fifo_init(&keeper->mail, sizeof(struct held_mail));
    fifo_init(&keeper->limits, sizeof(struct held_limit));
    retirement_init(&keeper->retirement, keeper);
    pager_init(&keeper->pager, keeper);
    spill_init(&keeper->spill, keeper);
    shard->keeper = keeper;
    return keeper;
}

struct archive *keeper_add_archive(
    struct keeper *keeper, uint16_t number, struct disk *disk, const struct journal_past *past) {
    struct archive *archive = &keeper->archives[keeper->archive_count++];
    *archive = (struct archive){.keeper = keeper, .disk = disk, .number = number};
    list_init(&archive->files);
    list_init(&archive->segments);
    fifo_init(&archive->borrowed, sizeof(struct borrowed));
    archive->current = kept_file_new(archive, false, keeper->shard->broker->shard_count);
    struct journal_settings settings = {
        .disk = disk,
        .shard = number,
        .file_bytes = keeper->settings.file_bytes,
        .file_bytes_first = keeper->settings.file_bytes_first,
        .files_spare = keeper->settings.files_spare,
        .unwitnessed = keeper->settings.unwitnessed,
        .seed = keeper->settings.seed ^ number * 0x9e3779b97f4a7c15u,
        .calls = &JOURNAL_CALLS,
        .context = archive,
    };
    bytes_copy(settings.node_id, keeper->settings.node_id, sizeof settings.node_id);
    archive->journal = journal_open(&settings, past);
    return archive;
}

static void files_free(struct list *files) {
    list_for_safe (struct kept_file, file, files, in_archive) {
        list_remove(&file->in_archive);
        kept_file_free(file);
    }
}

/* Releases what is borrowed up to a position. */
static void release_borrowed(struct archive *archive, uint64_t position) {
    const struct borrowed *borrowed = NULL;
    while ((borrowed = fifo_first(&archive->borrowed)) != NULL) {
        if (borrowed->position > position) return;
        message_unref(archive->keeper->shard->pool, borrowed->message);
        mem_free(borrowed->memory);
        mem_free(borrowed->berths);
        fifo_drop(&archive->borrowed);
    }
}

static void archive_close(struct archive *archive) {
    journal_close(archive->journal);
    release_borrowed(archive, UINT64_MAX);
    fifo_deinit(&archive->borrowed);
    files_free(&archive->files);
    files_free(&archive->segments);
    kept_file_free(archive->current);
}

static void drop_mail(struct keeper *keeper) {
    const struct held_mail *held = NULL;
    while ((held = fifo_first(&keeper->mail)) != NULL) {
        if (held->mail.kind == MAIL_EFFECT)
            message_unref(keeper->shard->pool, held->mail.effect.message);
        fifo_drop(&keeper->mail);
    }
}

void keeper_free(struct keeper *keeper) {
    if (!keeper) return;
    retirement_deinit(&keeper->retirement);
    pager_deinit(&keeper->pager);
    spill_deinit(&keeper->spill);
    for (uint32_t i = 0; i < keeper->archive_count; i++)
        archive_close(&keeper->archives[i]);
    message_unref(keeper->shard->pool, keeper->gathered);
    drop_mail(keeper);
    fifo_deinit(&keeper->mail);
    fifo_deinit(&keeper->limits);
    settlements_deinit(&keeper->settlements);
    mem_free(keeper->targets);
    mem_free(keeper->berths);
    mem_free(keeper->archives);
    keeper->shard->keeper = NULL;
    mem_free(keeper);
}

/* ---- staging ---- */

/* Of a journal that has stopped: nothing has a position that will ever be stable. */
#define NEVER UINT64_MAX

/* Puts a record into a journal and gives its position. */
static uint64_t put(struct archive *archive, const struct record *record) {
    uint64_t position = 0;
    int status = journal_put(archive->journal, record, &position);
    if (status != 0) {
        check(journal_stopped(archive->journal));
        return NEVER;
    }
    if (archive == own(archive->keeper)) archive->keeper->last_position = position;
    return position;
}

/* Holds what a record borrows until it is stable. What will never be is not borrowed. */
static void borrow(struct archive *archive, const struct borrowed *borrowed) {
    if (borrowed->position == NEVER) {
        message_unref(archive->keeper->shard->pool, borrowed->message);
        mem_free(borrowed->memory);
        mem_free(borrowed->berths);
        return;
    }
    *(struct borrowed *)fifo_put(&archive->borrowed) = *borrowed;
}

uint64_t keeper_stage_in(struct archive *archive, const struct record *record, void *memory) {
    uint64_t position = put(archive, record);
    if (memory) borrow(archive, &(struct borrowed){.position = position, .memory = memory});
    return position;
}

uint64_t keeper_stage(struct keeper *keeper, const struct record *record, void *memory) {
    return keeper_stage_in(own(keeper), record, memory);
}

/* The gathered publish becomes one record, whatever its fan-out. The targets of more than one are
 * the record's until it is stable. */
static void flush_gathered(struct keeper *keeper) {
    struct message *message = keeper->gathered;
    if (!message) return;
    bool several = keeper->target_count > 1;
    struct kept_record kept = {
        message, keeper->targets, keeper->target_count, keeper->settings.limits.part_bytes};
    uint32_t parts = kept_record_parts(&kept);
    for (uint32_t i = 0; i < parts; i++) {
        struct record part = kept_record_part(&kept, i);
        (void)put(own(keeper), &part);
        keeper->staged_bytes += record_size(&part);
    }
    struct record pub = kept_record_pub(&kept);
    struct borrowed borrowed = {.position = put(own(keeper), &pub),
        .message = message,
        .berth = keeper->berths[0],
        .berth_count = keeper->target_count,
        .parts = parts};
    keeper->staged_bytes += record_size(&pub);
    own(keeper)->current->put_bytes +=
        parts * (uint64_t)keeper->settings.limits.part_bytes + record_size(&pub);
    own(keeper)->current->messages += keeper->target_count;
    keeper->shard->peers[keeper->gathered_from].staged = borrowed.position;
    counter_add(&keeper->shard->counters.kept_payload, message->body_size);
    keeper->gathered = NULL;
    keeper->target_count = 0;
    if (several) {
        borrowed.memory = keeper->targets;
        borrowed.berths = keeper->berths;
        keeper->targets = NULL;
        keeper->berths = NULL;
        keeper->target_capacity = 0;
    }
    borrow(own(keeper), &borrowed);
}

static void gather_target(struct keeper *keeper, const struct shelf *shelf, uint64_t seq) {
    if (keeper->target_count == keeper->target_capacity) {
        keeper->target_capacity = keeper->target_capacity ? 4 * keeper->target_capacity : 1;
        keeper->targets =
            mem_resize(keeper->targets, keeper->target_capacity * sizeof *keeper->targets);
        keeper->berths =
            mem_resize(keeper->berths, keeper->target_capacity * sizeof *keeper->berths);
    }
    keeper->berths[keeper->target_count] = (struct berth){.queue = shelf->queue, .seq = seq};
    keeper->targets[keeper->target_count++] =
        (struct record_target){.queue = shelf->id, .seq = seq};
}

/* Stages that messages below `limit` may have been delivered. */
static uint64_t stage_delivered(struct keeper *keeper, struct shelf *shelf, uint64_t limit) {
    struct record_target target = {.queue = shelf->id, .seq = limit};
    struct record record = {.type = RECORD_DELIVERED, .target_count = 1, .targets = &target};
    shelf->delivered = limit;
    shelf_touch(shelf, own(keeper)->current, keeper->shard->number);
    return put(own(keeper), &record);
}

static uint64_t take_step(struct shelf *shelf) {
    uint64_t step = shelf->delivered_step;
    shelf->delivered_step = (uint32_t)min_u64(2 * step, STEP_MAX);
    return step;
}

/* A queue whose consumers have had all that is there will deliver this message as well: that is
 * said in the message's own frame, or one before, so that the delivery does not have to wait. A
 * transient message is on no disk, and those that follow it are in later frames. */
void keeper_announce(struct keeper *keeper, struct queue_slot *slot, uint64_t seq) {
    struct shelf *shelf = slot->shelf;
    if (seq < shelf->delivered) return;
    if (queue_consumer_count(slot->queue) == 0 || queue_next_ready(slot->queue) != seq) return;
    uint64_t limit = seq + take_step(shelf);
    (void)stage_delivered(keeper, shelf, limit);
    queue_allow(slot->queue, limit);
}

void keeper_put(struct keeper *keeper, struct queue_slot *slot, uint64_t seq,
    struct message *message, uint32_t from) {
    bool goes_on = keeper->gathered == message && keeper->gathered_from == from &&
                   keeper->target_count < RECORD_TARGETS_MAX;
    if (!goes_on) {
        flush_gathered(keeper);
        message_ref(message, 1);
        keeper->gathered = message;
        keeper->gathered_from = from;
    }
    keeper_announce(keeper, slot, seq);
    struct shelf *shelf = slot->shelf;
    gather_target(keeper, shelf, seq);
    struct shelf_place place = {.file = own(keeper)->current, .at = keeper->last_position + 1};
    place.new_piece = keeper->staged_bytes - shelf->piece_at >= SHELF_PIECE_BYTES;
    if (place.new_piece || shelf->count == 0) shelf->piece_at = keeper->staged_bytes;
    shelf_put(shelf, seq, 1, &place, keeper->shard->number);
    keeper->pager.grown = true;
}

void keeper_take_settlements(struct keeper *keeper, struct queue_slot *slot) {
    struct settlements *settlements = &keeper->settlements;
    struct shelf *shelf = slot->shelf;
    for (uint32_t i = 0; i < settlements->settled.count; i++) {
        const struct range *run = &settlements->settled.list[i];
        struct record_target span = {.queue = shelf->id, .seq = run->seq, .count = run->count};
        uint64_t position = 0;
        shelf_touch(shelf, own(keeper)->current, keeper->shard->number);
        if (journal_settle(own(keeper)->journal, &span, &position) == 0)
            keeper->last_position = position;
    }
    keeper->retirement.changed |= settlements->dropped.count != 0;
    for (uint32_t i = 0; i < settlements->dropped.count; i++) {
        const struct range *run = &settlements->dropped.list[i];
        shelf_drop(shelf, run->seq, run->count, keeper->shard->number);
    }
    if (shelf->emptied) retirement_on_emptied(&keeper->retirement);
    shelf->emptied = false;
    settlements_clear(settlements);
}

/* ---- deliveries ---- */

static void allow_at(struct keeper *keeper, uint64_t position, queue_ref queue, uint64_t limit) {
    *(struct held_limit *)fifo_put(&keeper->limits) =
        (struct held_limit){.position = position, .queue = queue, .limit = limit};
}

void keeper_extend_limit(struct keeper *keeper, struct queue_slot *slot) {
    struct shelf *shelf = slot->shelf;
    if (queue_consumer_count(slot->queue) == 0 || queue_ready_count(slot->queue) == 0) return;
    /* Recorded ahead, so that deliveries seldom have to wait. */
    uint64_t next = queue_next_ready(slot->queue);
    if (next + shelf->delivered_step / 4 < shelf->delivered) return;
    uint64_t limit = max_u64(next, shelf->delivered) + take_step(shelf);
    keeper->delivered_position = stage_delivered(keeper, shelf, limit);
    allow_at(keeper, keeper->delivered_position, shelf->queue, limit);
}

uint64_t keeper_on_got(struct keeper *keeper, struct queue_slot *slot, uint64_t seq) {
    struct shelf *shelf = slot->shelf;
    if (seq >= shelf->delivered) {
        uint64_t limit = seq + take_step(shelf);
        keeper->delivered_position = stage_delivered(keeper, shelf, limit);
        allow_at(keeper, keeper->delivered_position, shelf->queue, limit);
    }
    return keeper->delivered_position;
}

/* ---- what waits ---- */

void keeper_post_at(
    struct keeper *keeper, uint64_t position, uint32_t to, const struct mail *mail) {
    struct shard *shard = keeper->shard;
    if (position <= keeper->stable && keeper->mail.count == 0) {
        *mesh_post(shard->broker->mesh, shard->number, to) = *mail;
        return;
    }
    *(struct held_mail *)fifo_put(&keeper->mail) =
        (struct held_mail){.position = position, .to = to, .mail = *mail};
}

void keeper_post_stable(struct keeper *keeper, uint32_t to, const struct mail *mail) {
    flush_gathered(keeper);
    journal_hurry(own(keeper)->journal);
    keeper_post_at(keeper, keeper->last_position, to, mail);
}

void keeper_hurry(struct keeper *keeper) {
    journal_hurry(own(keeper)->journal);
}

static void release_mail(struct keeper *keeper) {
    struct shard *shard = keeper->shard;
    const struct held_mail *held = NULL;
    while ((held = fifo_first(&keeper->mail)) != NULL) {
        if (held->position > keeper->stable) return;
        *mesh_post(shard->broker->mesh, shard->number, held->to) = held->mail;
        fifo_drop(&keeper->mail);
    }
}

static void release_limits(struct keeper *keeper) {
    const struct held_limit *held = NULL;
    while ((held = fifo_first(&keeper->limits)) != NULL) {
        if (held->position > keeper->stable) return;
        queue_host_allow(keeper->shard, held->queue, held->limit);
        fifo_drop(&keeper->limits);
    }
}

/* Nothing will be stable any more, or not while there is no room. What promises that waits;
 * deliveries, which do not, go on, and so do the ends of channels and connections. What that costs
 * is that after a crash some messages are not marked as redelivered. */
static bool promises_nothing(const struct mail *mail) {
    if (mail->kind == MAIL_EFFECT) return mail->effect.kind == EFFECT_GOT;
    return mail->kind == MAIL_FENCED && mail->flags == 0;
}

static void release_in_spite(struct keeper *keeper) {
    struct shard *shard = keeper->shard;
    const struct held_limit *limit = NULL;
    while ((limit = fifo_first(&keeper->limits)) != NULL) {
        queue_host_allow(shard, limit->queue, limit->limit);
        fifo_drop(&keeper->limits);
    }
    for (uint32_t left = keeper->mail.count; left != 0; left--) {
        const struct held_mail *first = fifo_first(&keeper->mail);
        check(first != NULL);
        struct held_mail held = *first;
        fifo_drop(&keeper->mail);
        if (promises_nothing(&held.mail))
            *mesh_post(shard->broker->mesh, shard->number, held.to) = held.mail;
        else
            *(struct held_mail *)fifo_put(&keeper->mail) = held;
    }
}

/* ---- marks ---- */

static void put_mark(struct keeper *keeper, struct peer *peer) {
    struct stable_mark *last = fifo_last(&peer->marks);
    uint64_t ticket_stable = keeper->shard->ticket_stable;
    bool stable = peer->staged <= keeper->stable && peer->ticket <= ticket_stable;
    if (!last && stable) {
        peer->stable = peer->applied;
        return;
    }
    bool covered = last && last->position >= peer->staged && last->ticket >= peer->ticket;
    if (!covered) {
        last = fifo_put(&peer->marks);
        *last = (struct stable_mark){.position = peer->staged, .ticket = peer->ticket};
    }
    last->index = peer->applied;
    last->awaited = last->awaited || peer->awaited_stable;
}

bool keeper_mark(struct keeper *keeper, struct peer *peer) {
    flush_gathered(keeper);
    if (peer->marked != peer->applied) put_mark(keeper, peer);
    peer->marked = peer->applied;
    bool awaited = peer->awaited_stable && peer->stable == peer->applied;
    const struct stable_mark *mark = NULL;
    while ((mark = fifo_first(&peer->marks)) != NULL) {
        if (mark->position > keeper->stable || mark->ticket > keeper->shard->ticket_stable) break;
        peer->stable = mark->index;
        awaited = awaited || mark->awaited;
        fifo_drop(&peer->marks);
    }
    peer->awaited_stable = false;
    return awaited;
}

/* ---- the turn ---- */

static void count_written(const struct keeper *keeper) {
    struct counters *counters = &keeper->shard->counters;
    uint64_t bytes = 0;
    uint64_t commits = 0;
    for (uint32_t i = 0; i < keeper->archive_count; i++) {
        const struct journal_counts *counts = journal_counts(keeper->archives[i].journal);
        bytes += counts->bytes;
        commits += counts->frames;
    }
    counter_set(&counters->journal_bytes, bytes);
    counter_set(&counters->journal_commits, commits);
}

static void say_pace(const struct keeper *keeper, const char *event, uint64_t ms) {
    const struct log *log = keeper->shard->broker->log;
    if (!log) return;
    struct log_line line;
    log_begin(&line, event);
    log_put_number(&line, "shard", keeper->shard->number);
    log_put_number(&line, "ms", ms);
    log_end(&line, log, keeper->slow ? LEVEL_WARNING : LEVEL_INFO);
}

/* Over when a commit was fast, or none has been needed for a while. */
static bool pace_is_good(const struct journal_pace *pace, uint64_t now_ms) {
    bool waits = pace->waits_since_ms != UINT64_MAX;
    if (waits && now_ms - pace->waits_since_ms >= FAST_MS) return false;
    return pace->last_took_ms < FAST_MS || (!waits && now_ms >= pace->last_done_ms + SLOW_MS);
}

/* A slow disk is said to be one, and that is all: the windows of connections fill, so that nobody
 * sends more than it takes. */
static void look_at_pace(struct keeper *keeper) {
    struct counters *counters = &keeper->shard->counters;
    uint64_t now_ms = keeper->shard->now_ms;
    struct journal_pace pace = journal_pace(own(keeper)->journal);
    bool waits = pace.waits_since_ms != UINT64_MAX;
    uint64_t age_ms = waits ? now_ms - pace.waits_since_ms : 0;
    if (!keeper->slow && age_ms >= SLOW_MS) {
        keeper->slow = true;
        keeper->slow_since_ms = pace.waits_since_ms;
        say_pace(keeper, "journal.slow", age_ms);
    } else if (keeper->slow && pace_is_good(&pace, now_ms)) {
        keeper->slow = false;
        say_pace(keeper, "journal.fast", now_ms - keeper->slow_since_ms);
    }
    counter_set(&counters->commit_since_ms, waits ? pace.waits_since_ms : 0);
    counter_set(&counters->journal_slow, keeper->slow);
}

/* A disk that hangs wakes nobody, and neither does one that is not used. */
static uint64_t pace_due(const struct keeper *keeper) {
    struct journal_pace pace = journal_pace(keeper->archives[0].journal);
    if (pace.waits_since_ms != UINT64_MAX)
        return keeper->slow ? UINT64_MAX : pace.waits_since_ms + SLOW_MS;
    return keeper->slow ? pace.last_done_ms + SLOW_MS : UINT64_MAX;
}

/* How long this takes is counted while there is something to retire: reading the clock is dear to a
 * turn that has nothing else to do. */
static bool retire(struct keeper *keeper) {
    struct retirement *retirement = &keeper->retirement;
    const struct shard_io *io = keeper->shard->io;
    if (!io->time_ns || !retirement_busy(retirement)) return retirement_turn(retirement);
    uint64_t began_ns = io->time_ns(io->context);
    bool more = retirement_turn(retirement);
    durations_put(&keeper->shard->counters.retire_time, io->time_ns(io->context) - began_ns);
    return more;
}

bool keeper_turn(struct keeper *keeper) {
    struct shard *shard = keeper->shard;
    flush_gathered(keeper);
    uint64_t wall_ms = shard->io->wall_ms(shard->io->context);
    for (uint32_t i = 0; i < keeper->archive_count; i++) {
        struct archive *archive = &keeper->archives[i];
        journal_turn(archive->journal, shard->now_ms, wall_ms);
        release_borrowed(archive, archive->stable);
    }
    release_limits(keeper);
    release_mail(keeper);
    if (journal_starved(own(keeper)->journal)) release_in_spite(keeper);
    count_written(keeper);
    look_at_pace(keeper);
    uint64_t staged = keeper->last_position;
    bool more = retire(keeper);
    bool pages = pager_turn(&keeper->pager);
    more = spill_turn(&keeper->spill, !pages) || pages || more;
    /* What it has put needs another turn of the journal. */
    return more || keeper->last_position != staged;
}

uint64_t keeper_due(const struct keeper *keeper) {
    uint64_t due = min_u64(retirement_due(&keeper->retirement), pager_due(&keeper->pager));
    due = min_u64(due, min_u64(spill_due(&keeper->spill), pace_due(keeper)));
    for (uint32_t i = 0; i < keeper->archive_count; i++)
        due = min_u64(due, journal_due(keeper->archives[i].journal));
    return due;
}

void keeper_finish(struct keeper *keeper) {
    flush_gathered(keeper);
    keeper->retirement.ending = keeper->spill.ending = true;
    for (uint32_t i = 0; i < keeper->archive_count; i++)
        journal_finish(keeper->archives[i].journal);
}

bool keeper_idle(const struct keeper *keeper) {
    for (uint32_t i = 0; i < keeper->archive_count; i++) {
        if (!journal_idle(keeper->archives[i].journal)) return false;
    }
    return !keeper->gathered && retirement_idle(&keeper->retirement) &&
           pager_idle(&keeper->pager) && spill_idle(&keeper->spill);
}

/* ---- queues ---- */

void keeper_adopt_queue(struct keeper *keeper, struct queue_slot *slot, queue_ref queue) {
    slot->shelf = shelf_new(slot->id, queue);
    slot->shelf->delivered_step = STEP_MIN;
    queue_keep(slot->queue, &keeper->settlements);
}

void keeper_check(const struct keeper *keeper) {
    check(keeper->settlements.settled.count == 0);
    check(keeper->settlements.dropped.count == 0);
    check(keeper->stable <= keeper->last_position);
    for (uint32_t i = 0; i < keeper->archive_count; i++) {
        list_for (struct kept_file, file, &keeper->archives[i].files, in_archive)
            check(file->number != 0);
    }
}

void keeper_check_queue(const struct queue_slot *slot) {
    const struct shelf *shelf = slot->shelf;
    shelf_check(shelf);
    if (queue_gone(slot->queue)) return;
    uint64_t seq = 0;
    uint64_t first = shelf->count ? shelf->stays[0].first_seq : UINT64_MAX;
    check(!queue_next_kept(slot->queue, &seq, first, NULL));
    for (uint32_t i = 0; i < shelf->count; i++) {
        uint64_t from = shelf->stays[i].first_seq;
        check(keeper_count_kept(slot->queue, from, shelf_end(shelf, i)) == shelf->stays[i].live);
    }
}
