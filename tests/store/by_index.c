/* by_index: two recoveries of one platter, and a reader who follows the runs. */
#include "by_index.h"

#include <stdlib.h>

#include "store/file_index.h"
#include "store/pages.h"

#define FILE_OF(record)                                                                            \
    ((record)->file_no | (uint64_t)(record)->shard << 40 | (uint64_t)(record)->in_segment << 60 |  \
        (uint64_t)(record)->kept << 61)

/* Makes room for one more. */
static void *grown(void *array, uint64_t count, uint64_t *capacity, size_t size) {
    if (count < *capacity) return array;
    *capacity = *capacity ? *capacity * 2 : 256;
    void *larger = realloc(array, *capacity * size);
    check(larger != NULL);
    return larger;
}

void index_view_deinit(struct index_view *view) {
    free(view->places);
    free(view->facts);
    free(view->runs);
}

/* ---- taking down ---- */

static void fact_add(struct index_view *view, const struct index_fact *fact) {
    view->facts = grown(view->facts, view->fact_count, &view->fact_capacity, sizeof *view->facts);
    view->facts[view->fact_count] = *fact;
    view->facts[view->fact_count++].order = view->order++;
}

static uint64_t mixed(uint64_t value, uint64_t with) {
    return (value ^ with) * 0x9e3779b97f4a7c15u + (value >> 29);
}

static uint64_t value_of(const struct record_view *record) {
    uint64_t value = record->flags;
    for (uint32_t i = 0; i < record->target_count; i++)
        value = mixed(value, record_view_target(record, i).seq);
    for (uint32_t i = 0; i < record->head.size; i++)
        value = mixed(value, record->head.data[i]);
    for (uint32_t i = 0; i < record->body.size; i++)
        value = mixed(value, record->body.data[i]);
    return value;
}

static void on_fact(void *context, const struct recover_record *record) {
    struct index_view *view = context;
    const struct record_view *fact = record->view;
    bool whole = fact->type == RECORD_QSTATE || fact->type == RECORD_QDEL ||
                 fact->type == RECORD_RQ || fact->type == RECORD_SETTLED;
    for (uint32_t i = 0; i < fact->target_count; i++) {
        struct record_target target = record_view_target(fact, i);
        struct index_fact one = {.type = fact->type, .queue = target.queue, .seq = target.seq};
        if (whole) one.value = value_of(fact);
        uint64_t count = fact->type == RECORD_ACK ? target.count : 1;
        for (uint64_t j = 0; j < count; j++, one.seq++)
            fact_add(view, &one);
    }
}

static struct index_place *place_add(struct index_view *view, const struct index_place *place) {
    view->places =
        grown(view->places, view->place_count, &view->place_capacity, sizeof *view->places);
    view->places[view->place_count] = *place;
    return &view->places[view->place_count++];
}

/* Folded over the PARTs of this message that were met, or 0. */
static uint64_t parts_of(const struct index_view *view, const struct recover_record *record) {
    struct record_target first = record_view_target(record->view, 0);
    check(record->shard < WORLD_SHARDS_MAX);
    bool same = view->parts[record->shard].queue == first.queue &&
                view->parts[record->shard].seq == first.seq;
    return same ? view->parts[record->shard].value : 0;
}

static void note_part(struct index_view *view, const struct recover_record *record) {
    struct record_target first = record_view_target(record->view, 0);
    uint64_t before = record->view->message_id != 0 ? parts_of(view, record) : 0;
    if (record->in_segment && !record->kept) return;
    view->parts[record->shard].queue = first.queue;
    view->parts[record->shard].seq = first.seq;
    view->parts[record->shard].value = mixed(before, record->view->checksum);
}

static void on_message(void *context, const struct recover_record *record) {
    struct index_view *view = context;
    const struct record_view *message = record->view;
    struct record_target first = record_view_target(message, 0);
    struct index_place place = {.file = FILE_OF(record),
        .at = record->record_at,
        .end = record->record_at + message->size,
        .checksum = message->checksum};
    bool open = view->open.file == place.file && view->open.queue == first.queue &&
                view->open.seq == first.seq;
    if (message->type == RECORD_PART) {
        note_part(view, record);
        if (message->message_id != 0) return;
        view->open = place;
        view->open.queue = first.queue;
        view->open.seq = first.seq;
        return;
    }
    if (message->flags != 0 && open) place.at = view->open.at;
    if (message->flags != 0) place.parts = parts_of(view, record);
    place.half = message->flags != 0 && !open;
    for (uint32_t i = 0; i < message->target_count; i++) {
        struct record_target target = record_view_target(message, i);
        place.queue = target.queue;
        place.seq = target.seq;
        place_add(view, &place);
    }
}

static void on_run(void *context, const struct recover_run *run) {
    struct index_view *view = context;
    view->runs = grown(view->runs, view->run_count, &view->run_capacity, sizeof *view->runs);
    view->runs[view->run_count++] = *run;
}

static int by_file_and_place(const void *a, const void *b) {
    const struct index_place *left = a, *right = b;
    if (left->file != right->file) return left->file < right->file ? -1 : 1;
    if (left->queue != right->queue) return left->queue < right->queue ? -1 : 1;
    if (left->seq != right->seq) return left->seq < right->seq ? -1 : 1;
    return left->at < right->at ? -1 : left->at > right->at;
}

static int by_fact(const void *a, const void *b) {
    const struct index_fact *left = a, *right = b;
    if (left->type != right->type) return left->type < right->type ? -1 : 1;
    if (left->queue != right->queue) return left->queue < right->queue ? -1 : 1;
    if (left->type != RECORD_QSTATE && left->seq != right->seq)
        return left->seq < right->seq ? -1 : 1;
    return left->order < right->order ? -1 : 1;
}

/* Whether the later one says all that the earlier one does. */
static bool replaces(const struct index_fact *later, const struct index_fact *earlier) {
    if (later->type != earlier->type || later->queue != earlier->queue) return false;
    if (later->type == RECORD_QSTATE) return true;
    if (later->type == RECORD_PURGE || later->type == RECORD_DELIVERED)
        return later->seq >> SEQ_PRIORITY_SHIFT == earlier->seq >> SEQ_PRIORITY_SHIFT;
    return later->seq == earlier->seq && later->value == earlier->value;
}

static void reduce_facts(struct index_view *view) {
    if (view->fact_count == 0) return;
    qsort(view->facts, view->fact_count, sizeof *view->facts, by_fact);
    uint64_t kept = 0;
    for (uint64_t i = 1; i < view->fact_count; i++) {
        if (!replaces(&view->facts[i], &view->facts[kept])) kept++;
        view->facts[kept] = view->facts[i];
    }
    view->fact_count = kept + 1;
}

static struct recovery *open_how(struct world *world, bool by_index) {
    struct recover_settings settings = {
        .disk = &world->platter.ports[SIM_PORTS_MAX - 1].disk,
        .node_id = "the only node ",
        .read_only = true,
        .by_index = by_index,
    };
    struct recovery *recovery = NULL;
    int status = recover_open(&settings, &recovery);
    if (status != 0) oracle_fails(&world->oracle, "recovery cannot be opened: %d", status);
    return status == 0 ? recovery : NULL;
}

/* 0 or what a replay gave. */
static int take(struct recovery *recovery, struct index_view *view) {
    *view = (struct index_view){.order = 0};
    uint32_t messages = RECORD_BIT(RECORD_PUB) | RECORD_BIT(RECORD_PART);
    uint32_t none = RECORD_BIT(RECORD_INDEX) | RECORD_BIT(RECORD_SEAL);
    int status = recover_replay(recovery, ~(messages | none), on_fact, view);
    if (status == 0) status = recover_replay(recovery, messages, on_message, view);
    if (status == 0) status = recover_runs(recovery, on_run, view);
    if (view->place_count != 0)
        qsort(view->places, view->place_count, sizeof *view->places, by_file_and_place);
    reduce_facts(view);
    return status;
}

void index_view_take(struct world *world, struct index_view *view) {
    struct recovery *recovery = open_how(world, false);
    *view = (struct index_view){.order = 0};
    if (!recovery) return;
    int status = recover_verdict(recovery) == RECOVER_CLEAN ? take(recovery, view) : -1;
    if (status != 0) oracle_fails(&world->oracle, "what is good cannot be taken down: %d", status);
    recover_close(recovery);
}

/* ---- comparing ---- */

/* The first place of that name, and whether there is one more. Some worlds use names again. */
static struct index_place *place_find(
    const struct index_view *view, uint64_t file, uint64_t queue, uint64_t seq) {
    struct index_place key = {.file = file, .queue = queue, .seq = seq};
    uint64_t low = 0, high = view->place_count;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (by_file_and_place(&view->places[middle], &key) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return view->places ? &view->places[low] : NULL;
}

static bool is_called(const struct index_view *view, const struct index_place *place, uint64_t file,
    uint64_t queue, uint64_t seq) {
    return place && place < view->places + view->place_count && place->file == file &&
           place->queue == queue && place->seq == seq;
}

/* Meets a place that all files have, within these bytes; false when they do not, or it was met
 * before. */
static bool meet(struct index_view *all, const struct index_place *like) {
    struct index_place *place = place_find(all, like->file, like->queue, like->seq);
    for (; is_called(all, place, like->file, like->queue, like->seq); place++) {
        if (place->met || place->at < like->at || place->end > like->end) continue;
        if (place->half && (!like->half || place->parts != like->parts)) continue;
        return place->met = true;
    }
    return false;
}

static void compare_run(
    struct world *world, struct index_view *all, const struct recover_run *run) {
    struct index_place like = {.file = FILE_OF(run),
        .queue = run->queue,
        .seq = run->first_seq,
        .at = run->offset,
        .end = run->offset + run->bytes};
    for (uint32_t i = 0; i < run->count; i++, like.seq++) {
        if (meet(all, &like)) continue;
        oracle_fails(&world->oracle, "file %llx: a run of queue %llu has seq %llx, and should not",
            (unsigned long long)like.file, (unsigned long long)like.queue,
            (unsigned long long)like.seq);
        return;
    }
}

/* What journals go on behind. */
static void compare_pasts(
    struct world *world, const struct recovery *all, const struct recovery *some) {
    for (uint16_t shard = 0; shard < world->shards; shard++) {
        struct journal_past one, two;
        recover_past(all, shard, &one);
        recover_past(some, shard, &two);
        bool same = one.prev_file_no == two.prev_file_no && one.prev_end_lsn == two.prev_end_lsn &&
                    one.prev_index_lsn == two.prev_index_lsn && one.prev_crc == two.prev_crc &&
                    one.released_file_no == two.released_file_no &&
                    one.next_base_lsn == two.next_base_lsn &&
                    one.last_file_no == two.last_file_no && one.file_count == two.file_count;
        for (uint32_t i = 0; i < one.file_count && same; i++) {
            const struct journal_past_file *left = &one.files[i], *right = &two.files[i];
            same = left->file_no == right->file_no && left->end == right->end &&
                   left->index == right->index && left->abandoned == right->abandoned;
        }
        if (!same) oracle_fails(&world->oracle, "by index writer %u has another past", shard);
    }
}

static void compare_segments(
    struct world *world, const struct recovery *all, const struct recovery *some) {
    bool same = recover_segment_count(all) == recover_segment_count(some);
    for (uint32_t i = 0; i < recover_segment_count(all) && same; i++) {
        struct recover_segment one, two;
        recover_segment_at(all, i, &one);
        recover_segment_at(some, i, &two);
        same = one.kept == two.kept && one.shard == two.shard && one.number == two.number &&
               one.file_id == two.file_id && one.end == two.end && one.index == two.index;
    }
    if (!same) oracle_fails(&world->oracle, "by index there are other segments");
}

static void compare_views(struct world *world, struct index_view *all, struct index_view *some) {
    for (uint64_t i = 0; i < some->place_count; i++) {
        const struct index_place *place = &some->places[i];
        struct index_place like = *place;
        like.end = UINT64_MAX;
        if (!meet(all, &like))
            oracle_fails(&world->oracle, "queue %llu, seq %llx, is given and should not be",
                (unsigned long long)place->queue, (unsigned long long)place->seq);
    }
    for (uint64_t i = 0; i < some->run_count && world->oracle.failure[0] == 0; i++)
        compare_run(world, all, &some->runs[i]);
    for (uint64_t i = 0; i < all->place_count; i++)
        if (!all->places[i].met)
            oracle_fails(&world->oracle, "file %llx: queue %llu, seq %llx, is in no run",
                (unsigned long long)all->places[i].file, (unsigned long long)all->places[i].queue,
                (unsigned long long)all->places[i].seq);
    bool same = all->fact_count == some->fact_count;
    for (uint64_t i = 0; i < all->fact_count && same; i++) {
        const struct index_fact *one = &all->facts[i], *two = &some->facts[i];
        same = one->type == two->type && one->queue == two->queue && one->seq == two->seq &&
               one->value == two->value;
        if (!same)
            oracle_fails(&world->oracle, "facts differ: type %u of queue %llu, seq %llx", one->type,
                (unsigned long long)one->queue, (unsigned long long)one->seq);
    }
    if (!same) oracle_fails(&world->oracle, "there are other facts by index");
}

/* ---- reading ---- */

static const struct sim_file *file_named(struct world *world, const char *name) {
    for (int i = 0; i < SIM_FILES_MAX; i++) {
        const struct sim_file *file = &world->platter.files[i];
        if (file->used && !file->removed && strcmp(file->name, name) == 0) return file;
    }
    return NULL;
}

/* The file that a run is in. */
static const struct sim_file *file_of(
    struct world *world, const struct recovery *recovery, const struct recover_run *run) {
    for (uint32_t i = 0; i < recover_segment_count(recovery); i++) {
        struct recover_segment segment;
        recover_segment_at(recovery, i, &segment);
        bool same = run->in_segment && segment.shard == run->shard && segment.kept == run->kept &&
                    segment.number == run->file_no;
        if (same) return file_named(world, segment.name);
    }
    struct journal_past past;
    recover_past(recovery, run->shard, &past);
    for (uint32_t i = 0; i < past.file_count; i++)
        if (!run->in_segment && past.files[i].file_no == run->file_no)
            return file_named(world, past.files[i].name);
    return NULL;
}

static bool is_as_it_was(const struct index_view *good, uint64_t file,
    const struct record_target *target, uint32_t checksum) {
    const struct index_place *place = place_find(good, file, target->queue, target->seq);
    for (; is_called(good, place, file, target->queue, target->seq); place++)
        if (place->checksum == checksum) return true;
    return false;
}

/* Reads the messages of a run. Gives how many there are; all of them as they were taken down. */
static uint32_t read_run(struct world *world, const struct index_view *good,
    const struct sim_file *file, const struct recover_run *run) {
    struct file_header header;
    uint32_t found = 0;
    if (file_header_parse(file->seen, &header) != FILE_HEADER_GOOD) return 0;
    struct page page = {.end = file->size, .file_id = header.file_id};
    uint64_t from = run->offset - run->offset % DISK_BLOCK_BYTES;
    if (run->offset % 8 != 0 || run->offset >= file->size) return 0;
    page_begin(&page, bytes_of(file->seen + from, file->size - from), from, run->offset);
    while (page.at < run->offset + run->bytes && page_next(&page) == PAGE_RECORD) {
        if (page.view.type != RECORD_PUB) continue;
        for (uint32_t i = 0; i < page.view.target_count; i++) {
            struct record_target target = record_view_target(&page.view, i);
            uint64_t at = target.seq - run->first_seq;
            if (target.queue != run->queue || at >= run->count) continue;
            if (!is_as_it_was(good, FILE_OF(run), &target, page.view.checksum))
                oracle_fails(&world->oracle, "%s: queue %llu, seq %llx, is another message",
                    file->name, (unsigned long long)target.queue, (unsigned long long)target.seq);
            found += at == found;
        }
    }
    return found;
}

static void read_runs(struct world *world, const struct recovery *recovery,
    const struct index_view *good, const struct index_view *some, bool all) {
    for (uint64_t i = 0; i < some->run_count && world->oracle.failure[0] == 0; i++) {
        const struct recover_run *run = &some->runs[i];
        const struct sim_file *file = file_of(world, recovery, run);
        uint32_t found = file ? read_run(world, good, file, run) : 0;
        if (all && found != run->count)
            oracle_fails(&world->oracle, "file %llx: %u of %u messages of a run can be read",
                (unsigned long long)FILE_OF(run), found, run->count);
        world->indexed += run->count;
    }
}

void by_index_compare(struct world *world) {
    struct index_view all, some = {.order = 0};
    index_view_take(world, &all);
    struct recovery *recovery = open_how(world, true);
    if (recovery && recover_verdict(recovery) != RECOVER_CLEAN) {
        oracle_fails(&world->oracle, "by index it is damaged");
    } else if (recovery) {
        struct recovery *everything = open_how(world, false);
        compare_pasts(world, everything, recovery);
        compare_segments(world, everything, recovery);
        recover_close(everything);
        int status = take(recovery, &some);
        if (status != 0) oracle_fails(&world->oracle, "replay by index gave %d", status);
        compare_views(world, &all, &some);
        read_runs(world, recovery, &all, &some, true);
    }
    recover_close(recovery);
    index_view_deinit(&all);
    index_view_deinit(&some);
}

void by_index_survive(struct world *world, const struct index_view *good) {
    struct index_view some = {.order = 0};
    struct recovery *recovery = open_how(world, true);
    /* A piece of a message in two files may be found bad when it is replayed. */
    if (recovery && recover_verdict(recovery) == RECOVER_CLEAN && take(recovery, &some) == 0)
        read_runs(world, recovery, good, &some, false);
    recover_close(recovery);
    index_view_deinit(&some);
}
