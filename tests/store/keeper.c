/* keeper: jobs, step by step, and the bugs that can be planted in their order. */
#include "keeper.h"

#include <stdlib.h>

#include "base/memory.h"
#include "store/plant.h"

void keeper_begin(struct keeper *keeper, const struct recovery *recovery, struct journal *journal) {
    keeper->journal = journal;
    keeper->stopped = false;
    keeper->phase = KEEPER_IDLE;
    keeper->segment_count = 0;
    keeper->removal_count = 0;
    keeper->removing = false;
    keeper->kept_no = 0;
    keeper->last_number = recover_last_segment_number(recovery, keeper->writer);
    memset(keeper->left, 0, sizeof keeper->left);
    for (uint32_t i = 0; i < recover_segment_count(recovery); i++) {
        struct recover_segment segment;
        recover_segment_at(recovery, i, &segment);
        if (segment.shard != keeper->writer) continue;
        check(keeper->segment_count < KEEPER_SEGMENTS_MAX);
        struct keeper_segment *kept = &keeper->segments[keeper->segment_count++];
        *kept = (struct keeper_segment){.ref = {segment.number, segment.file_id, segment.end,
                                            segment.kept ? segment.index : 0}};
        if (segment.kept) kept->ref.number |= SEGMENT_REF_KEPT;
        memcpy(kept->name, segment.name, sizeof kept->name);
    }
}

static void builds_free(struct keeper *keeper) {
    for (uint32_t i = 0; i < keeper->build_count; i++)
        segment_free(keeper->builds[i].build);
    keeper->build_count = 0;
}

void keeper_end(struct keeper *keeper) {
    builds_free(keeper);
    keeper->making = 0;
    keeper->journal = NULL;
    keeper->read.message = NULL;
    disk_memory_free(keeper->read.memory);
    keeper->read.memory = NULL;
}

/* Puts a record; what it points to is the ledger's. Gives its position, or UINT64_MAX. */
static uint64_t put(struct keeper *keeper, const struct record *record) {
    uint64_t position = UINT64_MAX;
    if (!keeper->stopped) {
        int status = journal_put(keeper->journal, record, &position);
        if (status != 0)
            ledger_fails(keeper->ledger, "put of type %d gave %d", (int)record->type, status);
    }
    return position;
}

void keeper_publish(struct keeper *keeper) {
    uint64_t count = 1 + prng_below(&keeper->prng, prng_chance(&keeper->prng, 5) ? 60 : 5);
    for (uint64_t i = 0; i < count && !keeper->stopped; i++) {
        struct ledger_message *message =
            ledger_publish(keeper->ledger, &keeper->prng, keeper->writer, keeper->running);
        message->last_position = UINT64_MAX;
        message->stuck = message->id % 500 == 1;
        if (message->target_count == 0) {
            message->gone = true;
            return;
        }
        for (uint32_t part = 0; part <= message->part_count; part++) {
            struct record record = ledger_record(keeper->ledger, message, part);
            uint64_t position = put(keeper, &record);
            if (part == 0) message->first_position = position;
            if (part == message->part_count) message->last_position = position;
        }
    }
}

/* Settles everything of one lane below a place. */
static void purge(struct keeper *keeper, const struct record_target *target) {
    struct record_target *below = ledger_keep(keeper->ledger, sizeof *below);
    *below = *target;
    struct record record = {.type = RECORD_PURGE, .target_count = 1, .targets = below};
    uint64_t base = target->seq >> SEQ_PRIORITY_SHIFT << SEQ_PRIORITY_SHIFT;
    for (uint64_t seq = base + 1; seq < target->seq; seq++) {
        const struct ledger_place *place = ledger_place(keeper->ledger, target->queue, seq);
        if (place && place->message->stuck) return;
    }
    uint64_t position = put(keeper, &record);
    for (uint64_t seq = base + 1; seq < target->seq; seq++) {
        struct record_target each = {target->queue, seq, 1};
        if (ledger_target_lives(keeper->ledger, &each))
            ledger_settle(keeper->ledger, &each, keeper->writer, position);
    }
}

void keeper_settle(struct keeper *keeper) {
    uint64_t count = 1 + prng_below(&keeper->prng, prng_chance(&keeper->prng, 10) ? 100 : 8);
    struct ledger *ledger = keeper->ledger;
    for (uint64_t i = 0; i < count && !keeper->stopped && ledger->count != 0; i++) {
        struct ledger_message *message = ledger->messages[prng_below(&keeper->prng, ledger->count)];
        if (message->stuck || message->target_count == 0) continue;
        struct record_target target =
            message->targets[prng_below(&keeper->prng, message->target_count)];
        bool ours = target.queue % keeper->running == keeper->writer;
        if (!ours || !ledger_target_lives(ledger, &target)) continue;
        if (prng_chance(&keeper->prng, 2)) {
            purge(keeper, &target);
            continue;
        }
        uint64_t position = 0;
        int status = journal_settle(keeper->journal, &target, &position);
        if (status != 0) ledger_fails(ledger, "settle gave %d", status);
        ledger_settle(ledger, &target, keeper->writer, position);
    }
    if (!keeper->stopped && prng_chance(&keeper->prng, 30)) journal_hurry(keeper->journal);
}

void keeper_settle_all(struct keeper *keeper) {
    struct ledger *ledger = keeper->ledger;
    for (uint64_t i = 0; i < ledger->count && !keeper->stopped; i++) {
        const struct ledger_message *message = ledger->messages[i];
        for (uint32_t j = 0; j < message->target_count && !message->stuck; j++) {
            struct record_target target = message->targets[j];
            bool ours = target.queue % keeper->running == keeper->writer;
            if (!ours || !ledger_target_lives(ledger, &target)) continue;
            uint64_t position = 0;
            int status = journal_settle(keeper->journal, &target, &position);
            if (status != 0) ledger_fails(ledger, "settle gave %d", status);
            ledger_settle(ledger, &target, keeper->writer, position);
        }
    }
}

void keeper_on_file_left(struct keeper *keeper, uint64_t file_no, uint64_t position) {
    check(file_no < LEDGER_FILES_MAX);
    keeper->left[file_no] = position;
}

/* Whether something that was put lies in the file that is retired, or in one before. */
static bool is_retired(const struct keeper *keeper, uint64_t file_no, uint64_t position) {
    if (keeper->file_no == 0) return false;
    if (file_no != 0) return file_no <= keeper->file_no;
    return position != 0 && position <= keeper->left[keeper->file_no];
}

/* Whether the job moves this message. */
static bool is_moved(const struct keeper *keeper, const struct ledger_message *message) {
    if (message->home != keeper->writer || !ledger_lives(keeper->ledger, message)) return false;
    if (message->segment == 0) return is_retired(keeper, message->file_no, message->first_position);
    for (uint32_t i = 0; i < keeper->segment_count; i++)
        if (keeper->segments[i].ref.number == message->segment) return keeper->segments[i].victim;
    return false;
}

static struct keeper_build *build_begin(struct keeper *keeper) {
    check(keeper->build_count < KEEPER_BUILDS_MAX);
    struct keeper_build *build = &keeper->builds[keeper->build_count++];
    *build =
        (struct keeper_build){.number = ++keeper->last_number, .file_id = prng_next(&keeper->prng)};
    struct segment_settings settings = {
        .node_id = "the only node ",
        .shard = keeper->writer,
        .number = build->number,
        .file_id = build->file_id,
        .capacity_bytes = SEGMENT_BYTES_MIN,
    };
    build->build = segment_begin(&settings);
    return build;
}

/* Whether a place is needed in the copy of its message. One that was settled may live again, as
 * long as its settlement is not stable; in our own journal it stands before the manifest that will
 * make the copy count, but not in another's. */
static bool is_needed(struct keeper *keeper, const struct record_target *target) {
    const struct ledger_place *place = ledger_place(keeper->ledger, target->queue, target->seq);
    if (ledger_target_lives(keeper->ledger, target)) return true;
    bool may_live = place->state == LEDGER_SETTLING && place->writer != keeper->writer &&
                    place->position > keeper->ledger->stable[place->writer];
    if (may_live) keeper->ahead_of = 1u + place->writer;
    return may_live && !PLANTED(PLACES_FORGOTTEN);
}

/* Copies a message with the places that are needed. */
static void copy(struct keeper *keeper, struct ledger_message *message) {
    struct ledger_message living = *message;
    living.target_count = 0;
    for (uint32_t i = 0; i < message->target_count; i++)
        if (is_needed(keeper, &message->targets[i]))
            living.targets[living.target_count++] = message->targets[i];
    struct keeper_build *build =
        keeper->build_count == 0 ? build_begin(keeper) : &keeper->builds[keeper->build_count - 1];
    for (uint32_t part = 0; part <= living.part_count; part++) {
        struct record record = ledger_record(keeper->ledger, &living, part);
        uint64_t offset = 0;
        bool put = segment_put(build->build, &record, &offset);
        if (!put) {
            check(part == 0);
            build = build_begin(keeper);
            if (!segment_put(build->build, &record, &offset)) unreachable_here();
        }
        if (part == 0) message->moves_at = offset;
    }
    message->moves_to = build->number;
}

/* Whether the message lies whole in the file that is kept. */
static bool stays(const struct keeper *keeper, const struct ledger_message *message) {
    if (!keeper->keeping || message->segment != 0) return false;
    if (message->file_no != 0) return message->file_no == keeper->file_no && !message->straddles;
    return message->last_position <= keeper->left[keeper->file_no];
}

/* The place in its file where the frame is that has a message of this life. */
static uint64_t frame_of(const struct keeper *keeper, const struct ledger_message *message) {
    struct journal_place place;
    bool found = journal_locate(keeper->journal, message->first_position, &place);
    if (!found || place.file_no != keeper->file_no)
        ledger_fails(keeper->ledger, "message %llu is not found in file %llu",
            (unsigned long long)message->id, (unsigned long long)keeper->file_no);
    return place.offset;
}

/* Segments of what lives in the file or in the victims. */
static void make_segments(struct keeper *keeper) {
    for (uint64_t i = 0; i < keeper->ledger->count; i++) {
        struct ledger_message *message = keeper->ledger->messages[i];
        if (!is_moved(keeper, message)) continue;
        if (!stays(keeper, message)) {
            copy(keeper, message);
            continue;
        }
        message->moves_to = SEGMENT_REF_KEPT | keeper->file_no;
        message->moves_at = message->file_no ? message->at : frame_of(keeper, message);
    }
    for (uint32_t i = 0; i < keeper->build_count; i++) {
        segment_finish(keeper->builds[i].build, &keeper->builds[i].request);
        keeper->making++;
        disk_submit(keeper->disk, &keeper->builds[i].request);
    }
    keeper->failed = false;
    keeper->phase = KEEPER_MAKING;
}

/* The messages are where the job has brought them, or where they were. */
static void moves_end(struct keeper *keeper, bool done) {
    for (uint64_t i = 0; i < keeper->ledger->count; i++) {
        struct ledger_message *message = keeper->ledger->messages[i];
        if (message->home != keeper->writer) continue;
        if (message->moves_to != 0 && done) {
            message->segment = message->moves_to;
            message->at = message->moves_at;
        }
        message->moves_to = 0;
    }
}

static void removals_add(struct keeper *keeper, const char *name) {
    check(keeper->removal_count < KEEPER_SEGMENTS_MAX);
    memcpy(keeper->removals[keeper->removal_count++], name, DISK_NAME_BYTES_MAX);
}

/* A segment could not be made: what could is nobody's, and nothing has changed. */
static void give_up(struct keeper *keeper) {
    for (uint32_t i = 0; i < keeper->build_count; i++)
        if (keeper->builds[i].request.status == 0)
            removals_add(keeper, keeper->builds[i].request.name);
    for (uint32_t i = 0; i < keeper->segment_count; i++)
        keeper->segments[i].victim = false;
    builds_free(keeper);
    moves_end(keeper, false);
    keeper->keeping = false;
    keeper->phase = KEEPER_IDLE;
}

/* What is said of queues in files up to this one goes with the job, or 0. */
static uint64_t facts_from(const struct keeper *keeper) {
    uint64_t up_to = keeper->keeping ? 0 : keeper->file_no;
    for (uint32_t i = 0; i < keeper->segment_count; i++) {
        const struct keeper_segment *segment = &keeper->segments[i];
        bool goes = segment->victim && (segment->ref.number & SEGMENT_REF_KEPT) != 0;
        if (goes) up_to = max_u64(up_to, segment->ref.number & ~SEGMENT_REF_KEPT);
    }
    return up_to;
}

/* Every second queue says what is settled as bits, the others in the state's body. */
static uint64_t put_state(struct keeper *keeper, uint64_t queue) {
    struct record record = ledger_state_record(keeper->ledger, queue);
    if (queue % 2 == 0) return put(keeper, &record);
    record.body = bytes_of(NULL, 0);
    uint64_t last = put(keeper, &record);
    for (uint64_t priority = 0; priority < LEDGER_PRIORITIES; priority++) {
        uint64_t at = 0;
        while (ledger_settled_record(keeper->ledger, queue, priority, &at, &record))
            last = put(keeper, &record);
    }
    return last;
}

/* What the file says of queues is put again, as it is now. */
static uint64_t state_facts(struct keeper *keeper) {
    uint64_t last = 0;
    uint64_t up_to = facts_from(keeper);
    if (up_to == 0) return 0;
    for (uint64_t queue = 1; queue <= LEDGER_QUEUES; queue++) {
        struct ledger_facts *facts = &keeper->ledger->facts[keeper->writer][queue - 1];
        bool needed = (facts->file_no != 0 && facts->file_no <= up_to) ||
                      (facts->position != 0 && facts->position <= keeper->left[up_to]);
        if (!needed || PLANTED(FACTS_FORGOTTEN)) continue;
        last = put_state(keeper, queue);
        *facts = (struct ledger_facts){.position = last};
    }
    return last;
}

static uint64_t state_manifest(struct keeper *keeper) {
    uint32_t count = 0;
    struct segment_ref refs[KEEPER_SEGMENTS_MAX + KEEPER_BUILDS_MAX + 1];
    uint8_t *body =
        ledger_keep(keeper->ledger, COUNT_OF(refs) * (size_t)RECORD_CATALOG_ENTRY_BYTES);
    for (uint32_t i = 0; i < keeper->segment_count; i++) {
        const struct keeper_segment *segment = &keeper->segments[i];
        if (!segment->victim) refs[count++] = segment->ref;
    }
    for (uint32_t i = 0; i < keeper->build_count; i++)
        refs[count++] =
            (struct segment_ref){keeper->builds[i].number, keeper->builds[i].file_id, 0, 0};
    if (keeper->keeping) {
        keeper->kept_no = keeper->file_no;
        refs[count++] = journal_keep_ref(keeper->journal, keeper->file_no);
    }
    struct record record = manifest_record(refs, count, keeper->kept_no, body);
    return put(keeper, &record);
}

/* The segments that the job has made and given up. */
static void segments_update(struct keeper *keeper) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < keeper->segment_count; i++) {
        if (keeper->segments[i].victim) {
            removals_add(keeper, keeper->segments[i].name);
        } else {
            keeper->segments[kept++] = keeper->segments[i];
        }
    }
    keeper->segment_count = kept;
    for (uint32_t i = 0; i < keeper->build_count; i++) {
        check(keeper->segment_count < KEEPER_SEGMENTS_MAX);
        struct keeper_segment *segment = &keeper->segments[keeper->segment_count++];
        *segment =
            (struct keeper_segment){.ref = {keeper->builds[i].number, keeper->builds[i].file_id,
                                        keeper->builds[i].request.size, 0}};
        memcpy(segment->name, keeper->builds[i].request.name, sizeof segment->name);
    }
    builds_free(keeper);
}

/* The marks have done what they are for: where something is, its message says. */
static void keep_file(struct keeper *keeper) {
    struct segment_ref ref = journal_keep_ref(keeper->journal, keeper->file_no);
    struct journal_kept kept;
    journal_keep(keeper->journal, keeper->file_no, &kept);
    check(kept.file_id == ref.file_id && kept.end == ref.end && kept.bytes >= kept.end);
    uint64_t last = kept.mark_count ? kept.marks[kept.mark_count - 1].position : 0;
    if (last > keeper->left[keeper->file_no])
        ledger_fails(keeper->ledger, "file %llu is said to hold position %llu",
            (unsigned long long)kept.file_no, (unsigned long long)last);
    mem_free(kept.marks);
    check(keeper->segment_count < KEEPER_SEGMENTS_MAX);
    struct keeper_segment *segment = &keeper->segments[keeper->segment_count++];
    *segment = (struct keeper_segment){.ref = ref};
    memcpy(segment->name, kept.name, sizeof segment->name);
}

static void release(struct keeper *keeper) {
    if (keeper->file_no != 0 && keeper->keeping) {
        keep_file(keeper);
    } else if (keeper->file_no != 0) {
        journal_release(keeper->journal, keeper->file_no);
    }
    keeper->file_no = 0;
    keeper->keeping = false;
}

/* Everything is made: now it is said. */
static void state(struct keeper *keeper) {
    bool changes = keeper->build_count != 0;
    for (uint32_t i = 0; i < keeper->segment_count; i++)
        changes = changes || keeper->segments[i].victim;
    keeper->awaited = state_facts(keeper);
    if (changes || !PLANTED(MANIFEST_FORGOTTEN)) keeper->awaited = state_manifest(keeper);
    if (PLANTED(FACTS_LATE) && !keeper->keeping) release(keeper);
    if (PLANTED(KEPT_EARLY) && keeper->keeping) release(keeper);
    moves_end(keeper, true);
    segments_update(keeper);
    keeper->phase = KEEPER_STATING;
}

static void begin_removal(struct keeper *keeper) {
    keeper->removal = (struct disk_request){.kind = DISK_REMOVE};
    memcpy(keeper->removal.name, keeper->removals[--keeper->removal_count], DISK_NAME_BYTES_MAX);
    keeper->removing = true;
    disk_submit(keeper->disk, &keeper->removal);
}

/* Bytes of what lives in a segment. */
static uint64_t living_in(const struct keeper *keeper, uint64_t number) {
    uint64_t living = 0;
    for (uint64_t i = 0; i < keeper->ledger->count; i++) {
        const struct ledger_message *message = keeper->ledger->messages[i];
        bool here = message->home == keeper->writer && message->segment == number;
        if (!here || !ledger_lives(keeper->ledger, message)) continue;
        for (uint32_t part = 0; part <= message->part_count; part++) {
            struct record record = ledger_record(keeper->ledger, message, part);
            living += record_size(&record);
        }
    }
    return living;
}

static uint32_t emptiest(const struct keeper *keeper, const uint64_t *living, uint32_t but) {
    uint32_t found = UINT32_MAX;
    for (uint32_t i = 0; i < keeper->segment_count; i++)
        if (i != but && (found == UINT32_MAX || living[i] < living[found])) found = i;
    return found;
}

/* Marks segments that are to go: all that are dead, or two that fill no more than half of one. */
static bool choose_victims(struct keeper *keeper) {
    uint64_t living[KEEPER_SEGMENTS_MAX];
    bool any = false;
    for (uint32_t i = 0; i < keeper->segment_count; i++) {
        living[i] = living_in(keeper, keeper->segments[i].ref.number);
        keeper->segments[i].victim = living[i] == 0;
        any = any || living[i] == 0;
    }
    if (any || keeper->segment_count <= KEEPER_SEGMENTS_WANTED) return any;
    uint32_t one = emptiest(keeper, living, UINT32_MAX);
    uint32_t two = emptiest(keeper, living, one);
    if (living[one] + living[two] > SEGMENT_BYTES_MIN / 2) return false;
    keeper->segments[one].victim = keeper->segments[two].victim = true;
    return true;
}

static void begin_job(struct keeper *keeper) {
    bool full = keeper->segment_count + KEEPER_BUILDS_MAX >= KEEPER_SEGMENTS_MAX;
    bool many = journal_files(keeper->journal) > keeper->retain;
    keeper->ahead_of = 0;
    keeper->file_no = many && !full ? journal_oldest(keeper->journal) : 0;
    keeper->keeping = keeper->file_no != 0 && prng_chance(&keeper->prng, 25);
    if (keeper->file_no != 0 || choose_victims(keeper)) make_segments(keeper);
}

void keeper_step(struct keeper *keeper) {
    if (keeper->stopped) return;
    bool stated = keeper->phase != KEEPER_STATING || PLANTED(REMOVED_EARLY);
    if (keeper->removal_count != 0 && !keeper->removing && stated) begin_removal(keeper);
    switch (keeper->phase) {
    case KEEPER_IDLE: begin_job(keeper); break;
    case KEEPER_MAKING:
        if (keeper->making != 0) break;
        if (keeper->failed) {
            give_up(keeper);
        } else {
            state(keeper);
        }
        break;
    case KEEPER_STATING:
        if (journal_stable(keeper->journal) < keeper->awaited) break;
        release(keeper);
        keeper->jobs_done++;
        keeper->phase = KEEPER_IDLE;
        break;
    }
}

void keeper_on_request(struct keeper *keeper, const struct disk_request *request) {
    if (request == &keeper->removal) {
        keeper->removing = false;
        return;
    }
    if (request == &keeper->read.request) {
        keeper_on_read(keeper);
        return;
    }
    check(keeper->making != 0);
    keeper->making--;
    keeper->failed = keeper->failed || request->status != 0;
}

bool keeper_is_content(const struct keeper *keeper) {
    if (keeper->stopped) return true;
    bool few = journal_files(keeper->journal) <= keeper->retain;
    bool idle = keeper->phase == KEEPER_IDLE && !keeper->removing && keeper->removal_count == 0;
    return idle && few && keeper->segment_count <= KEEPER_SEGMENTS_WANTED;
}
