/* evacuate: taking a shard's living messages out of files that are to be given back. */
#include "base/memory.h"
#include "shard/keeper.h"
#include "shard/kept_record.h"
#include "shard/queue_host.h"
#include "shard/retire.h"

enum {
    SHARED_BYTES_MAX = 1024 * 1024 * 1024, /* never reached: see emptied_bytes */
    RETRY_MS = 1000,                       /* after a failure */
    WRITING_MAX = 2,                       /* segments on their way to disk: then copying waits */
    PUT_OFF_MS = 20,                       /* for a queue that is being emptied or deleted */
};

/* What is left of one turn. */
struct slice {
    uint64_t bytes; /* of messages to be copied */
    uint32_t steps; /* for facts */
};

/* ---- segments ---- */

/* A segment of up to so many bytes, unless one message is larger. */
static struct building *building_new(struct retirement *retirement, uint64_t bytes) {
    struct keeper *keeper = retirement->keeper;
    struct archive *archive = &keeper->archives[0];
    struct building *building = NEW(struct building);
    building->file = kept_file_new(archive, true, keeper->shard->broker->shard_count);
    building->file->number = ++archive->last_segment;
    building->file->file_id = prng_next(&keeper->prng);
    struct segment_settings settings = {
        .shard = archive->number,
        .number = building->file->number,
        .file_id = building->file->file_id,
        .capacity_bytes = bytes,
    };
    bytes_copy(settings.node_id, keeper->settings.node_id, sizeof settings.node_id);
    building->build = segment_begin(&settings);
    return building;
}

static struct building *building_begin(struct retirement *retirement) {
    uint64_t bytes = retirement->keeper->settings.limits.segment_bytes;
    struct building *building = building_new(retirement, bytes);
    *(struct building **)fifo_put(&retirement->buildings) = building;
    return building;
}

/* The segment that is being filled, or NULL. */
static struct building *building_open(const struct retirement *retirement) {
    struct building **last = fifo_last(&retirement->buildings);
    return last && !(*last)->sent ? *last : NULL;
}

static void send(struct retirement *retirement, struct building *building) {
    segment_finish(building->build, &building->request);
    building->file->bytes = building->request.size;
    building->sent = true;
    disk_submit(retirement->keeper->archives[0].disk, &building->request);
}

static void building_send(struct retirement *retirement) {
    struct building *building = building_open(retirement);
    if (building) send(retirement, building);
}

static bool put_message(
    struct building *building, const struct kept_record *kept, uint64_t *ret_offset) {
    if (!kept_record_put(kept, building->build, ret_offset)) return false;
    building->file->messages += kept->target_count; /* its parts do not count */
    return true;
}

/* Puts the message into the segment that is being filled, or into a new one, which it gives. */
static struct building *put_somewhere(struct retirement *retirement, struct message *message,
    const struct record_target *target, uint64_t *ret_offset) {
    struct building *building = building_open(retirement);
    struct kept_record kept = {message, target, 1, retirement->keeper->settings.limits.part_bytes};
    if (building && put_message(building, &kept, ret_offset)) return building;
    building_send(retirement);
    building = building_begin(retirement);
    check(put_message(building, &kept, ret_offset));
    return building;
}

/* ---- copying ---- */

static struct planned_move *plan_move(
    struct retirement *retirement, queue_ref queue, const struct stay *stay, uint64_t seq) {
    if (retirement->move_count == retirement->move_capacity) {
        retirement->move_capacity = retirement->move_capacity ? 2 * retirement->move_capacity : 64;
        retirement->moves =
            mem_resize(retirement->moves, retirement->move_capacity * sizeof *retirement->moves);
    }
    struct planned_move *planned = &retirement->moves[retirement->move_count++];
    *planned = (struct planned_move){
        .queue = queue, .move = {.from = stay->file, .first_seq = seq, .end_seq = UINT64_MAX}};
    return planned;
}

/* The move ends before `seq`, and another one goes on. */
static struct planned_move *split_move(struct retirement *retirement, uint64_t seq) {
    struct planned_move *last = &retirement->moves[retirement->move_count - 1];
    last->move.end_seq = seq;
    struct stay stay = {.file = last->move.from};
    retirement->move_bytes = 0;
    return plan_move(retirement, last->queue, &stay, seq);
}

/* The segment for messages that several queues have. All of them go into one, so that each is there
 * once, whichever queue is copied first. Where in it is known later. */
static void copy_shared(struct retirement *retirement, struct planned_move *move,
    struct message *message, const struct record_target *target) {
    uint32_t index = (uint32_t)(move - retirement->moves);
    sharing_put(&retirement->sharing, message, target, index);
    if (!retirement->shared) retirement->shared = building_new(retirement, SHARED_BYTES_MAX);
    if (!move->move.to) move->move.at = UINT64_MAX;
    move->move.to = retirement->shared->file;
}

/* Copies one message; a segment that is full is sent, and the move ends there, or after a piece. */
static void copy_message(
    struct retirement *retirement, struct message *message, const struct record_target *target) {
    struct planned_move *move = &retirement->moves[retirement->move_count - 1];
    if (move->move.to && retirement->move_bytes >= SHELF_PIECE_BYTES)
        move = split_move(retirement, target->seq);
    retirement->move_bytes += message_cost(message);
    if (retirement->shares) {
        copy_shared(retirement, move, message, target);
        return;
    }
    uint64_t offset = 0;
    const struct building *building = put_somewhere(retirement, message, target, &offset);
    if (move->move.to && move->move.to != building->file)
        move = split_move(retirement, target->seq);
    if (!move->move.to) move->move.at = offset;
    move->move.to = building->file;
}

/* The move that a former turn has begun and not ended, or a new one. */
static void open_move(
    struct retirement *retirement, const struct shelf *shelf, const struct stay *stay) {
    if (retirement->seq_at > stay->first_seq) {
        check(retirement->move_count != 0);
        return;
    }
    retirement->move_bytes = 0;
    plan_move(retirement, shelf->queue, stay, stay->first_seq);
}

/* Whether others hold the message: other queues, mostly. A run goes to one kind of segment as a
 * whole, and its first message stands for it. */
static bool is_shared(const struct message *message) {
    return atomic_load_explicit(&message->refs, memory_order_relaxed) > 1;
}

/* A message that is not in memory: it could not be read, or not be taken by a queue that was being
 * emptied just then. What was planned is given up. */
static void note_missing(struct retirement *retirement, struct kept_file *file) {
    if (retirement->retrieval.skipped) {
        retirement->failed = true;
        return;
    }
    retirement->broken = true;
    atomic_store_explicit(&file->broken, true, memory_order_relaxed);
}

/* Copies what lives of a run, from seq_at on; false when the slice is used up before its end. */
static bool copy_run(
    struct retirement *retirement, struct queue_slot *slot, uint32_t at, uint64_t *budget) {
    const struct shelf *shelf = slot->shelf;
    const struct stay *stay = &shelf->stays[at];
    uint64_t end = min_u64(shelf_end(shelf, at), queue_next_seq(slot->queue));
    open_move(retirement, shelf, stay);
    struct record_target target = {
        .queue = shelf->id, .seq = max_u64(retirement->seq_at, stay->first_seq)};
    bool first = retirement->seq_at <= stay->first_seq;
    struct message *message = NULL;
    for (; queue_next_kept(slot->queue, &target.seq, end, &message); target.seq++) {
        if (!message) {
            note_missing(retirement, stay->file);
            continue;
        }
        if (first) retirement->shares = is_shared(message);
        first = false;
        uint64_t cost = min_u64(message_cost(message), *budget);
        copy_message(retirement, message, &target);
        pager_let_go(&retirement->keeper->pager, slot, target.seq);
        *budget -= cost;
        if (*budget != 0) continue;
        retirement->seq_at = target.seq + 1;
        return false;
    }
    /* Nothing lives. */
    if (!retirement->moves[retirement->move_count - 1].move.to) retirement->move_count--;
    retirement->seq_at = end;
    return true;
}

/* ---- facts ---- */

static bool is_emptied(const struct evacuation *evacuation, const struct kept_file *file) {
    for (uint32_t i = 0; i < evacuation->file_count; i++) {
        if (evacuation->files[i] == file) return true;
    }
    return false;
}

/* Whether facts of the queue are needed: something of it is or will be in other files than those
 * that go, or it is known that messages to come may have been delivered. */
static bool needs_facts(const struct evacuation *evacuation, const struct queue_slot *slot) {
    const struct shelf *shelf = slot->shelf;
    if (evacuation->keeps) return true;
    if (shelf->delivered > queue_next_seq(slot->queue)) return true;
    for (uint32_t i = 0; i < shelf->ghost_count; i++) {
        if (!is_emptied(evacuation, shelf->ghosts[i])) return true;
    }
    for (uint32_t i = 0; i < shelf->count; i++) {
        const struct stay *stay = &shelf->stays[i];
        if (!is_emptied(evacuation, stay->file) || stay->live != 0) return true;
    }
    return false;
}

/* ---- queues ---- */

static struct evacuation *job(const struct retirement *retirement) {
    struct evacuation **first = fifo_first(&retirement->jobs);
    return first ? *first : NULL;
}

/* A queue that is left half copied: the move that is open ends where its copying did. */
static void end_move(struct retirement *retirement, queue_ref queue) {
    if (retirement->seq_at == 0 || retirement->move_count == 0) return;
    struct planned_move *last = &retirement->moves[retirement->move_count - 1];
    if (last->queue == queue && last->move.end_seq == UINT64_MAX)
        last->move.end_seq = retirement->seq_at;
}

/* Copies what lives of the queue in the file; false when the slice is used up before it is done. */
static bool copy_queue(struct retirement *retirement, const struct kept_file *file,
    struct queue_slot *slot, uint64_t *budget) {
    for (uint32_t i = 0; i < slot->shelf->count; i++) {
        const struct stay *stay = &slot->shelf->stays[i];
        uint64_t end = min_u64(shelf_end(slot->shelf, i), queue_next_seq(slot->queue));
        if (stay->file != file || stay->live == 0 || end <= retirement->seq_at) continue;
        if (!copy_run(retirement, slot, i, budget)) return false;
    }
    return true;
}

/* What is known of a queue is put again once for all files of the job: they go together. */
static void begin_facts(struct retirement *retirement, struct queue_slot *slot) {
    const struct evacuation *evacuation = job(retirement);
    if (slot->shelf->said >= retirement->first_walk) return;
    slot->shelf->said = retirement->walk;
    for (uint32_t i = 0; i < evacuation->file_count && !evacuation->keeps; i++)
        shelf_forget_lost(slot->shelf, evacuation->files[i]);
    if (needs_facts(evacuation, slot)) facts_begin(&retirement->facts, slot);
}

/* Looks at one queue that has something in the file; false when the slice is used up before it is
 * done. */
static bool visit_queue(struct retirement *retirement, const struct kept_file *file, queue_ref ref,
    struct slice *slice) {
    struct facts *facts = &retirement->facts;
    struct queue_slot *slot = queue_host_slot(retirement->keeper->shard, ref);
    if (!slot) {
        facts_drop(facts);
        return true;
    }
    /* A queue that is deleted may come back until its row is gone for good, and one that is being
     * purged still has what is settled. */
    if (queue_is_dropping(slot->queue)) {
        end_move(retirement, ref);
        facts_drop(facts);
        retirement->put_off = true;
        return true;
    }
    if (slot->shelf->visited == retirement->walk) return true;
    if (!facts->begun) {
        bool copies = !job(retirement)->keeps;
        if (copies && !copy_queue(retirement, file, slot, &slice->bytes)) return false;
        begin_facts(retirement, slot);
    }
    if (facts->begun) {
        bool done = facts_put(facts, slot, &slice->steps);
        retirement->position = max_u64(retirement->position, facts->position);
        if (!done) return false;
    }
    slot->shelf->visited = retirement->walk;
    return true;
}

/* A slice of the first job; true when it is all copied. */
static bool copy_slice(struct retirement *retirement) {
    const struct evacuation *evacuation = job(retirement);
    uint32_t shard = retirement->keeper->shard->number;
    const struct keeper_limits *limits = &retirement->keeper->settings.limits;
    struct slice slice = {.bytes = limits->slice_bytes, .steps = limits->slice_steps};
    uint32_t queues = 0;
    while (retirement->file_at < evacuation->file_count) {
        const struct kept_file *file = evacuation->files[retirement->file_at];
        const struct file_part *part = &file->parts[shard];
        if (retirement->touched_at == part->touched_count) {
            retirement->file_at++;
            retirement->walk++;
            retirement->touched_at = 0;
            continue;
        }
        if (slice.bytes == 0 || queues++ == limits->slice_queues) return false;
        if (!visit_queue(retirement, file, part->touched[retirement->touched_at], &slice))
            return false;
        retirement->touched_at++;
        retirement->seq_at = 0;
    }
    return true;
}

/* Puts a slice of the messages that several queues have into their segment; true when all are. */
static bool share_slice(struct retirement *retirement) {
    struct keeper *keeper = retirement->keeper;
    const struct keeper_limits *limits = &keeper->settings.limits;
    uint64_t bytes = 0;
    const struct shared *shared = NULL;
    while ((shared = sharing_first(&retirement->sharing)) != NULL) {
        if (bytes >= limits->slice_bytes) return false;
        struct kept_record kept = {
            shared->message, shared->targets, shared->count, limits->part_bytes};
        uint64_t offset = 0;
        check(put_message(retirement->shared, &kept, &offset));
        for (uint32_t i = 0; i < shared->count; i++) {
            struct shelf_move *move = &retirement->moves[shared->moves[i]].move;
            move->at = min_u64(move->at, offset);
        }
        bytes += message_cost(shared->message);
        sharing_drop(&retirement->sharing, keeper->shard->pool);
    }
    if (!retirement->shared) return true;
    *(struct building **)fifo_put(&retirement->buildings) = retirement->shared;
    send(retirement, retirement->shared);
    retirement->shared = NULL;
    return true;
}

/* ---- written, recorded, done ---- */

void evacuate_on_built(struct retirement *retirement, struct building *building) {
    building->done = true;
    segment_free(building->build);
    building->build = NULL;
    if (building->request.status != 0) retirement->failed = true;
    static const struct outcome_words words = {"segment.failed", "segment.healed", LEVEL_ERROR};
    int status = building->request.status;
    keeper_say_outcome(retirement->keeper, &retirement->failing, status, &words);
}

/* Segments that the disk has, and that are in memory until it is done with them. */
static uint32_t writing(const struct retirement *retirement) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < retirement->buildings.count; i++) {
        const struct building *building = *(struct building **)fifo_at(&retirement->buildings, i);
        count += building->sent && !building->done;
    }
    return count;
}

static bool all_built(const struct retirement *retirement) {
    for (uint32_t i = 0; i < retirement->buildings.count; i++) {
        if (!(*(struct building **)fifo_at(&retirement->buildings, i))->done) return false;
    }
    return true;
}

/* What was written does not count, and neither does what was planned. */
static void give_up(struct retirement *retirement) {
    struct keeper *keeper = retirement->keeper;
    struct building **building = NULL;
    while ((building = fifo_first(&retirement->buildings)) != NULL) {
        if ((*building)->request.status == 0)
            retire_remove(retirement, &keeper->archives[0], (*building)->file);
        kept_file_free((*building)->file);
        mem_free(*building);
        fifo_drop(&retirement->buildings);
    }
    retirement->move_count = 0;
    retirement->phase = EVACUATION_NONE;
    retirement->retry_ms = keeper->shard->now_ms + RETRY_MS;
}

/* The segments count from now on; the manifest says so. */
static void record_segments(struct retirement *retirement) {
    struct archive *archive = &retirement->keeper->archives[0];
    struct building **building = NULL;
    bool any = retirement->buildings.count != 0;
    while ((building = fifo_first(&retirement->buildings)) != NULL) {
        list_put_last(&archive->segments, &(*building)->file->in_archive);
        counter_add(&retirement->keeper->shard->counters.segment_bytes, (*building)->file->bytes);
        mem_free(*building);
        fifo_drop(&retirement->buildings);
    }
    if (any) retirement->position = max_u64(retirement->position, retire_put_manifest(archive));
    retirement->phase = EVACUATION_RECORDING;
}

static void carry_out(struct retirement *retirement, const struct planned_move *planned) {
    struct keeper *keeper = retirement->keeper;
    struct queue_slot *slot = queue_host_slot(keeper->shard, planned->queue);
    if (!slot || queue_gone(slot->queue)) return;
    struct shelf_move move = planned->move;
    uint32_t at = shelf_find(slot->shelf, move.first_seq);
    uint64_t end = shelf_end(slot->shelf, at);
    bool whole = move.end_seq >= end;
    move.end_seq = min_u64(move.end_seq, end);
    move.live = whole ? slot->shelf->stays[at].live
                      : keeper_count_kept(slot->queue, move.first_seq, move.end_seq);
    shelf_apply_move(slot->shelf, &move, keeper->shard->number);
    if (queue_lacks(slot->queue)) pager_on_copied(&keeper->pager, slot, move.first_seq);
}

/* Nothing of this shard lives in the file any more. It still holds what did, until it is gone, and
 * as long what says that this is settled is needed. */
static void leave_ghosts(struct retirement *retirement, struct kept_file *file) {
    struct shard *shard = retirement->keeper->shard;
    const struct file_part *part = &file->parts[shard->number];
    for (uint32_t i = 0; i < part->touched_count; i++) {
        struct queue_slot *slot = queue_host_slot(shard, part->touched[i]);
        if (slot) shelf_put_ghost(slot->shelf, file);
    }
}

/* The file is gone. */
static void forget_file(struct retirement *retirement, struct kept_file *file) {
    struct shard *shard = retirement->keeper->shard;
    const struct file_part *part = &file->parts[shard->number];
    for (uint32_t i = 0; i < part->touched_count; i++) {
        struct queue_slot *slot = queue_host_slot(shard, part->touched[i]);
        if (slot) shelf_forget_file(slot->shelf, file);
    }
}

/* The first job is done. */
static void answer(struct retirement *retirement) {
    struct shard *shard = retirement->keeper->shard;
    struct evacuation *evacuation = job(retirement);
    fifo_drop(&retirement->jobs);
    *mesh_post(shard->broker->mesh, shard->number, evacuation->owner) =
        (struct mail){.kind = MAIL_EVACUATED, .evacuation = evacuation};
}

static void finish(struct retirement *retirement) {
    struct shard *shard = retirement->keeper->shard;
    struct evacuation *evacuation = job(retirement);
    for (uint32_t i = 0; i < retirement->move_count; i++)
        carry_out(retirement, &retirement->moves[i]);
    retirement->move_count = 0;
    retirement->phase = EVACUATION_NONE;
    for (uint32_t i = 0; i < evacuation->file_count && !evacuation->keeps; i++) {
        const struct file_part *part = &evacuation->files[i]->parts[shard->number];
        /* Of a queue that has been deleted meanwhile, until that is stable. */
        if (atomic_load_explicit(&part->live, memory_order_relaxed) != 0)
            retirement->put_off = true;
    }
    if (retirement->put_off) {
        retirement->retry_ms = shard->now_ms + PUT_OFF_MS;
        return;
    }
    for (uint32_t i = 0; i < evacuation->file_count && !evacuation->keeps; i++)
        leave_ghosts(retirement, evacuation->files[i]);
    answer(retirement);
}

/* Facts wait while the disk has not taken much of them, so that memory does not fill with them. */
static bool facts_are_taken(struct retirement *retirement) {
    struct facts *facts = &retirement->facts;
    if (facts->ahead < retirement->keeper->settings.limits.facts_bytes) return true;
    keeper_hurry(retirement->keeper);
    if (facts->position > retirement->keeper->stable) return false;
    facts->ahead = 0;
    return true;
}

bool evacuate_turn(struct retirement *retirement) {
    if (retirement->jobs.count == 0) return false;
    /* Between jobs only: a move that is planned names a run by its beginning. */
    if (retirement->phase == EVACUATION_NONE && job(retirement)->gone) {
        for (uint32_t i = 0; i < job(retirement)->file_count; i++)
            forget_file(retirement, job(retirement)->files[i]);
        answer(retirement);
        return retirement->jobs.count != 0;
    }
    if (retirement->phase == EVACUATION_NONE) {
        /* A segment whose writer has no chain would be damage to recovery. */
        struct journal *journal = retirement->keeper->archives[0].journal;
        if (!journal_has_chain(journal)) return journal_want_file(journal);
        retirement->file_at = retirement->touched_at = 0;
        retirement->seq_at = 0;
        retirement->first_walk = ++retirement->walk;
        retirement->put_off = retirement->failed = retirement->broken = false;
        retirement->position = 0;
        facts_drop(&retirement->facts);
        retirement->facts.ahead = 0;
        retrieval_begin(&retirement->retrieval, job(retirement));
        retirement->phase = job(retirement)->keeps ? EVACUATION_COPYING : EVACUATION_LOADING;
    }
    if (retirement->phase == EVACUATION_LOADING) {
        if (!retrieval_turn(&retirement->retrieval)) return false;
        retirement->phase = EVACUATION_COPYING;
    }
    if (retirement->phase == EVACUATION_COPYING) {
        if (writing(retirement) >= WRITING_MAX || !facts_are_taken(retirement)) return false;
        if (!copy_slice(retirement)) return true;
        building_send(retirement);
        retirement->phase = EVACUATION_SHARING;
    }
    if (retirement->phase == EVACUATION_SHARING) {
        if (!share_slice(retirement)) return true;
        /* What was settled and not copied may have its end in the next file: that it is settled
         * must be stable before its beginning goes. */
        retirement->position = max_u64(retirement->position, retirement->keeper->last_position);
        retirement->phase = EVACUATION_WRITING;
    }
    if (retirement->phase == EVACUATION_WRITING) {
        if (!all_built(retirement)) return false;
        if (retirement->broken) {
            /* Something that lives in the files cannot be read: they stay. */
            atomic_store_explicit(&job(retirement)->broken, true, memory_order_relaxed);
            give_up(retirement);
            answer(retirement);
            return retirement->jobs.count != 0;
        }
        if (retirement->failed) {
            give_up(retirement);
            return false;
        }
        record_segments(retirement);
    }
    if (retirement->position > retirement->keeper->stable) return false;
    finish(retirement);
    return retirement->jobs.count != 0;
}
