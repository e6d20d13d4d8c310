/* recall: a broker's kept messages, read back before its shards run. */
#include "shard/recall.h"

#include <errno.h>
#include <stdlib.h>

#include "base/memory.h"
#include "shard/kept_record.h"
#include "shard/queue_host.h"
#include "store/ledger.h"
#include "store/pub.h"

/* Messages that live, one after the other, and where they lie. */
struct found {
    uint64_t seq;
    uint64_t count;
    uint64_t bytes; /* of their bodies */
    uint64_t at;    /* in the file: nothing of them is before */
    struct kept_file *file;
};

/* What is known of one queue. */
struct recalled {
    queue_ref queue;
    struct ledger_queue *facts; /* the ledger's */
    struct found *found;
    size_t found_count;
    size_t found_capacity;
    uint64_t *incomplete; /* messages of which parts are missing */
    size_t incomplete_count;
    size_t incomplete_capacity;
    struct kept_file **files; /* that have messages of it */
    size_t file_count;
    size_t file_capacity;
};

struct recall {
    struct broker *broker;
    struct recovery *recovery;
    const struct restore_index *index;
    struct ledger ledger;
    struct recalled **queues; /* by the index's entries; NULL until something is found */
    struct recall_report report;
    struct kept_file *last_file; /* looked up last */
    struct pub_parts parts;
    struct kept_file *parts_in; /* where the first of them is, */
    uint64_t parts_at;          /* and where in that */
};

/* Appends room for one more item to an array of `size` byte items. */
static void *grow(void *list, size_t *capacity, size_t count, size_t size) {
    if (count < *capacity) return list;
    *capacity = *capacity ? 2 * *capacity : 4;
    return mem_resize(list, *capacity * size);
}

/* ---- archives ---- */

static uint32_t host_of(const struct broker *broker, uint16_t archive) {
    return archive % broker->shard_count;
}

static void add_past_files(struct archive *archive, const struct journal_past *past) {
    uint32_t shards = archive->keeper->shard->broker->shard_count;
    struct kept_file *last = NULL;
    for (uint32_t i = 0; i < past->file_count; i++) {
        if (past->files[i].abandoned) continue;
        struct kept_file *file = kept_file_new(archive, false, shards);
        file->past = true;
        file->number = past->files[i].file_no;
        file->file_id = past->files[i].file_id;
        file->bytes = past->files[i].end;
        file->name = mem_raw(DISK_NAME_BYTES_MAX);
        bytes_copy(file->name, past->files[i].name, DISK_NAME_BYTES_MAX);
        if (last) last->next = file;
        last = file;
        list_put_last(&archive->files, &file->in_archive);
    }
}

static void add_segments(struct recall *recall, struct archive *archive) {
    archive->last_segment = recover_last_segment_number(recall->recovery, archive->number);
    for (uint32_t i = 0; i < recover_segment_count(recall->recovery); i++) {
        struct recover_segment segment;
        recover_segment_at(recall->recovery, i, &segment);
        if (segment.shard != archive->number) continue;
        struct kept_file *file = kept_file_new(archive, true, recall->broker->shard_count);
        file->past = true;
        file->number = segment.number;
        file->file_id = segment.file_id;
        file->bytes = segment.kept ? segment.end : segment.bytes;
        if (segment.kept) {
            file->kept = true;
            file->index = segment.index;
            file->name = mem_raw(DISK_NAME_BYTES_MAX);
            bytes_copy(file->name, segment.name, DISK_NAME_BYTES_MAX);
        }
        list_put_last(&archive->segments, &file->in_archive);
        recall->report.segments++;
    }
}

static void add_archive(struct recall *recall, const struct recall_settings *settings,
    struct keeper *keeper, uint16_t number) {
    struct journal_past past;
    recover_past(recall->recovery, number, &past);
    struct disk *disk = settings->open_disk(settings->context, keeper->shard->number);
    struct archive *archive = keeper_add_archive(keeper, number, disk, &past);
    add_past_files(archive, &past);
    add_segments(recall, archive);
}

/* An archive that runs no more is adopted, for as long as it has files. */
static void add_keeper(
    struct recall *recall, const struct recall_settings *settings, struct shard *shard) {
    uint32_t count = recover_shard_count(recall->recovery);
    struct keeper *keeper = keeper_new(shard, &settings->keeper, 1 + count);
    add_archive(recall, settings, keeper, (uint16_t)shard->number);
    for (uint32_t i = 0; i < count; i++) {
        uint16_t number = recover_shard_at(recall->recovery, i);
        bool adopted = number >= recall->broker->shard_count;
        if (adopted && host_of(recall->broker, number) == shard->number)
            add_archive(recall, settings, keeper, number);
    }
}

static int give_spares(struct recall *recall) {
    struct broker *broker = recall->broker;
    bool more = true;
    while (more) {
        more = false;
        for (uint32_t i = 0; i < broker->shard_count; i++) {
            struct archive *archive = &broker->shards[i]->keeper->archives[0];
            const char *name = recover_take_spare(recall->recovery, archive->number);
            if (!name) continue;
            int status = journal_add_spare(archive->journal, name);
            if (status != 0) return status;
            more = true;
        }
    }
    return 0;
}

int recall_begin(
    struct broker *broker, const struct recall_settings *settings, struct recall **ret_recall) {
    struct recall *recall = NEW(struct recall);
    *ret_recall = recall;
    recall->broker = broker;
    pub_parts_init(&recall->parts);
    struct recover_settings recover = {
        .disk = settings->disk, .salvage = settings->salvage, .by_index = true};
    bytes_copy(recover.node_id, settings->keeper.node_id, sizeof recover.node_id);
    int status = recover_open(&recover, &recall->recovery);
    if (status != 0) return status;
    enum recover_verdict verdict = recover_verdict(recall->recovery);
    if (verdict == RECOVER_REFUSED) return -EBADMSG;
    if (verdict == RECOVER_DAMAGED && !settings->salvage) return -EBADMSG;
    for (uint32_t i = 0; i < broker->shard_count; i++)
        add_keeper(recall, settings, broker->shards[i]);
    return give_spares(recall);
}

const struct recovery *recall_recovery(const struct recall *recall) {
    return recall->recovery;
}

/* ---- look-ups ---- */

/* What is known of a queue, or NULL when it does not exist any more. */
static struct recalled *recalled_of(struct recall *recall, uint64_t id) {
    struct ledger_queue *facts = ledger_find(&recall->ledger, id);
    if (!facts) return NULL;
    if (!recall->queues[facts->at]) {
        recall->queues[facts->at] = NEW(struct recalled);
        recall->queues[facts->at]->queue = recall->index->entries[facts->at].queue;
        recall->queues[facts->at]->facts = facts;
    }
    return recall->queues[facts->at];
}

static struct archive *archive_of(struct broker *broker, uint16_t number) {
    struct keeper *keeper = broker->shards[host_of(broker, number)]->keeper;
    for (uint32_t i = 0; i < keeper->archive_count; i++) {
        if (keeper->archives[i].number == number) return &keeper->archives[i];
    }
    unreachable_here();
}

/* The file that a record is in. */
static struct kept_file *file_of(struct recall *recall, const struct recover_record *record) {
    struct kept_file *last = recall->last_file;
    if (last && last->number == record->file_no && last->segment == record->in_segment &&
        last->kept == record->kept && last->archive->number == record->shard)
        return last;
    struct archive *archive = archive_of(recall->broker, record->shard);
    struct list *files = record->in_segment ? &archive->segments : &archive->files;
    list_for (struct kept_file, file, files, in_archive) {
        if (file->number != record->file_no || file->kept != record->kept) continue;
        recall->last_file = file;
        return file;
    }
    unreachable_here();
}

static struct queue_slot *slot_of(struct recall *recall, const struct recalled *recalled) {
    struct shard *shard = recall->broker->shards[ref_shard(recalled->queue)];
    struct queue_slot *slot = queue_host_slot(shard, recalled->queue);
    check(slot != NULL);
    check(slot->shelf != NULL);
    return slot;
}

static void touch(struct recall *recall, const struct recalled *recalled, struct kept_file *file) {
    struct queue_slot *slot = slot_of(recall, recalled);
    shelf_touch(slot->shelf, file, ref_shard(recalled->queue));
}

/* ---- facts ---- */

static void on_fact(void *context, const struct recover_record *record) {
    struct recall *recall = context;
    const struct record_view *view = record->view;
    struct kept_file *file = file_of(recall, record);
    for (uint32_t i = 0; i < view->target_count; i++) {
        struct record_target target = record_view_target(view, i);
        struct recalled *recalled = recalled_of(recall, target.queue);
        if (!recalled) continue;
        touch(recall, recalled, file);
        ledger_take(recalled->facts, view, &target);
    }
}

/* ---- messages ---- */

static void note_file(struct recalled *recalled, struct kept_file *file) {
    if (recalled->file_count != 0 && recalled->files[recalled->file_count - 1] == file) return;
    recalled->files = grow(recalled->files, &recalled->file_capacity, recalled->file_count,
        sizeof(struct kept_file *));
    recalled->files[recalled->file_count++] = file;
}

static void put_incomplete(struct recalled *recalled, uint64_t seq) {
    recalled->incomplete = grow(recalled->incomplete, &recalled->incomplete_capacity,
        recalled->incomplete_count, sizeof *recalled->incomplete);
    recalled->incomplete[recalled->incomplete_count++] = seq;
}

/* Adds messages that live; those that go on where the last ones end are one run with them. */
static void put_found(struct recalled *recalled, const struct found *found) {
    struct found *last = recalled->found_count ? &recalled->found[recalled->found_count - 1] : NULL;
    bool goes_on = last && last->seq + last->count == found->seq && last->file == found->file &&
                   found->at - last->at < SHELF_PIECE_BYTES;
    if (goes_on) {
        last->count += found->count;
        last->bytes += found->bytes;
        return;
    }
    recalled->found = grow(
        recalled->found, &recalled->found_capacity, recalled->found_count, sizeof *recalled->found);
    recalled->found[recalled->found_count++] = *found;
}

/* The size of a PUB's body; false when parts of the message are missing. */
static bool body_bytes(
    const struct recall *recall, const struct record_view *view, uint64_t *ret_bytes) {
    struct bytes parts;
    if (!pub_parts_find(&recall->parts, view, &parts)) return false;
    struct pub pub = pub_of(view->message_id);
    uint64_t size = (uint64_t)parts.size + view->body.size;
    if (size < pub_head_bytes(&pub)) return false;
    *ret_bytes = size - pub_head_bytes(&pub);
    return true;
}

/* A message whose parts are in two files belongs to the first, which must not go before it. */
static void on_pub(struct recall *recall, const struct recover_record *record) {
    const struct record_view *view = record->view;
    struct found found = {.file = file_of(recall, record), .at = record->offset, .count = 1};
    bool complete = body_bytes(recall, view, &found.bytes);
    if (pub_parts_are_of(&recall->parts, view)) {
        recall->parts_in->whole = recall->parts_in->whole && recall->parts_in == found.file;
        found.file = recall->parts_in;
        found.at = recall->parts_at;
    }
    found.file->put_bytes += view->size;
    for (uint32_t i = 0; i < view->target_count; i++) {
        struct record_target target = record_view_target(view, i);
        struct recalled *recalled = recalled_of(recall, target.queue);
        if (!recalled) continue;
        bool lives = ledger_lives(recalled->facts, target.seq);
        touch(recall, recalled, found.file);
        note_file(recalled, found.file);
        found.file->messages++;
        if (!lives) continue;
        found.seq = target.seq;
        if (complete) {
            put_found(recalled, &found);
        } else {
            put_incomplete(recalled, target.seq);
        }
    }
}

static void on_message(void *context, const struct recover_record *record) {
    struct recall *recall = context;
    if (record->view->type == RECORD_PUB) {
        on_pub(recall, record);
    } else if (pub_parts_take(&recall->parts, record->view)) {
        recall->parts_in = file_of(recall, record);
        recall->parts_at = record->offset;
    }
}

/* Messages of a file of which only the index was read. */
static void on_run(void *context, const struct recover_run *run) {
    struct recall *recall = context;
    struct recover_record record = {.in_segment = run->in_segment,
        .kept = run->kept,
        .shard = run->shard,
        .file_no = run->file_no};
    struct kept_file *file = file_of(recall, &record);
    file->messages += run->count;
    file->put_bytes += run->bytes;
    struct recalled *recalled = recalled_of(recall, run->queue);
    if (!recalled) return;
    touch(recall, recalled, file);
    note_file(recalled, file);
    uint64_t seq = run->first_seq;
    uint64_t live_end = 0;
    for (; ledger_next_live(recalled->facts, &seq, run->first_seq + run->count, &live_end);
         seq = live_end) {
        struct found found = {.seq = seq,
            .count = live_end - seq,
            .bytes = run->body_bytes / run->count * (live_end - seq),
            .at = run->offset,
            .file = file};
        put_found(recalled, &found);
    }
}

/* ---- into the queues ---- */

static int by_seq(const void *a, const void *b) {
    const struct found *left = a;
    const struct found *right = b;
    if (left->seq != right->seq) return left->seq < right->seq ? -1 : 1;
    /* The same message twice: the copy in a segment counts. */
    return right->file->segment - left->file->segment;
}

static void sort_found(struct found *list, size_t count) {
    bool sorted = true;
    for (size_t i = 1; i < count && sorted; i++)
        sorted = list[i - 1].seq < list[i].seq;
    if (!sorted) qsort(list, count, sizeof *list, by_seq);
}

/* The runs from `from` up to `to` overlap: the same messages in two files. Each is looked at for
 * itself. */
static void put_overlapping(
    struct recalled *into, const struct found *list, size_t from, size_t to) {
    size_t count = 0;
    for (size_t i = from; i < to; i++)
        count += list[i].count;
    struct found *singles = mem_raw(count * sizeof *singles);
    count = 0;
    for (size_t i = from; i < to; i++) {
        for (uint64_t k = 0; k < list[i].count; k++) {
            struct found *single = &singles[count++];
            *single = list[i];
            single->seq += k;
            single->count = 1;
            single->bytes = list[i].bytes / list[i].count;
        }
    }
    sort_found(singles, count);
    for (size_t i = 0; i < count; i++) {
        bool twice = i != 0 && singles[i].seq == singles[i - 1].seq;
        if (!twice) put_found(into, &singles[i]);
    }
    mem_free(singles);
}

/* Sorts what was found, and leaves one of what is there twice. */
static void put_in_order(struct recalled *recalled) {
    sort_found(recalled->found, recalled->found_count);
    struct recalled once = {.queue = recalled->queue};
    for (size_t i = 0; i < recalled->found_count;) {
        uint64_t end = recalled->found[i].seq + recalled->found[i].count;
        size_t next = i + 1;
        for (; next < recalled->found_count && recalled->found[next].seq < end; next++)
            end = max_u64(end, recalled->found[next].seq + recalled->found[next].count);
        if (next == i + 1) {
            put_found(&once, &recalled->found[i]);
        } else {
            put_overlapping(&once, recalled->found, i, next);
        }
        i = next;
    }
    mem_free(recalled->found);
    recalled->found = once.found;
    recalled->found_count = once.found_count;
}

/* The parts of one that has been copied to a segment may be gone with their file, while the rest of
 * it is in the next file; it counts only when it is nowhere whole. */
static uint64_t count_incomplete(const struct recalled *recalled) {
    uint64_t count = 0;
    for (size_t i = 0; i < recalled->incomplete_count; i++) {
        uint64_t seq = recalled->incomplete[i];
        bool whole = false;
        for (size_t k = 0; k < recalled->found_count && !whole; k++) {
            const struct found *found = &recalled->found[k];
            whole = found->seq <= seq && seq - found->seq < found->count;
        }
        count += !whole;
    }
    return count;
}

/* A run as the queue gets it, in two if only the first part of it may have been delivered. */
static size_t put_restored(
    struct queue_restored *list, const struct found *found, uint64_t delivered) {
    struct queue_restored run = {.seq = found->seq,
        .count = found->count,
        .bytes = found->bytes,
        .redelivered = found->seq < delivered};
    bool both = run.redelivered && found->seq + found->count > delivered;
    if (!both) {
        list[0] = run;
        return 1;
    }
    run.count = delivered - found->seq;
    run.bytes = found->bytes / found->count * run.count;
    list[0] = run;
    list[1] = (struct queue_restored){
        .seq = delivered, .count = found->count - run.count, .bytes = found->bytes - run.bytes};
    return 2;
}

/* Puts back what lives; it stays on disk until somebody wants it. */
static void fill_queue(struct recall *recall, struct recalled *recalled) {
    struct queue_slot *slot = slot_of(recall, recalled);
    uint32_t shard = ref_shard(recalled->queue);
    put_in_order(recalled);
    struct queue_restored *list = mem_raw((recalled->found_count + 1) * 2 * sizeof *list);
    size_t count = 0;
    const struct found *piece = NULL; /* the first of the run of the shelf */
    for (size_t i = 0; i < recalled->found_count; i++) {
        const struct found *found = &recalled->found[i];
        count += put_restored(&list[count], found, recalled->facts->delivered);
        bool goes_on = piece && piece->file == found->file && found->at >= piece->at &&
                       found->at - piece->at < SHELF_PIECE_BYTES;
        if (!goes_on) piece = found;
        struct shelf_place place = {.file = found->file, .at = found->at, .new_piece = !goes_on};
        shelf_put(slot->shelf, found->seq, found->count, &place, shard);
        recall->report.messages += found->count;
    }
    for (size_t i = 0; i < recalled->file_count; i++)
        shelf_put_ghost(slot->shelf, recalled->files[i]);
    slot->shelf->delivered = recalled->facts->delivered;
    queue_restore(slot->queue, list, count, max_u64(recalled->facts->next_seq, 1));
    queue_allow(slot->queue, recalled->facts->delivered);
    mem_free(list);
    recall->report.incomplete += count_incomplete(recalled);
}

static void recalled_free(struct recalled *recalled) {
    if (!recalled) return;
    mem_free(recalled->found);
    mem_free(recalled->files);
    mem_free(recalled->incomplete);
    mem_free(recalled);
}

int recall_finish(
    struct recall *recall, const struct restore_index *index, struct recall_report *ret_report) {
    recall->index = index;
    recall->queues = mem_new_array(index->count + 1, sizeof(struct recalled *));
    for (size_t i = 0; i < index->count; i++)
        ledger_add(&recall->ledger, index->entries[i].id);
    int status = recover_replay(recall->recovery, LEDGER_FACTS, on_fact, recall);
    ledger_close(&recall->ledger);
    if (status == 0) status = recover_replay(recall->recovery, LEDGER_MESSAGES, on_message, recall);
    if (status == 0) status = recover_runs(recall->recovery, on_run, recall);
    for (size_t i = 0; i < index->count; i++) {
        if (recall->queues[i]) fill_queue(recall, recall->queues[i]);
    }
    struct recover_counts counts = recover_counts(recall->recovery);
    recall->report.files = counts.files;
    recall->report.bytes = counts.bytes;
    recall->report.queues = index->count;
    *ret_report = recall->report;
    return status != 0 ? status : recover_sweep(recall->recovery);
}

void recall_close(struct recall *recall) {
    if (!recall) return;
    for (size_t i = 0; recall->index && i < recall->index->count; i++)
        recalled_free(recall->queues[i]);
    mem_free(recall->queues);
    ledger_deinit(&recall->ledger);
    pub_parts_deinit(&recall->parts);
    recover_close(recall->recovery);
    mem_free(recall);
}
