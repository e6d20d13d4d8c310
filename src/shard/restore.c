/* restore: a broker's kept messages, read back before its shards run. */
#include "shard/restore.h"

#include <errno.h>
#include <stdlib.h>

#include "base/buffer.h"
#include "base/memory.h"
#include "shard/kept_record.h"
#include "shard/queue_host.h"
#include "store/le.h"

#define FACTS                                                                                      \
    (RECORD_BIT(RECORD_ACK) | RECORD_BIT(RECORD_PURGE) | RECORD_BIT(RECORD_QSTATE) |               \
        RECORD_BIT(RECORD_DELIVERED))

enum { QSTATE_HEAD_BYTES = 16, PARTS_BYTES_MAX = 1 << 30 };

/* Settled: from `seq` up to `end`. */
struct span {
    uint64_t seq;
    uint64_t end;
};

/* A message that lives, and where it lies. */
struct found {
    uint64_t seq;
    struct message *message;
    struct kept_file *file;
};

/* What is known of one queue. */
struct restored {
    queue_ref queue;
    uint64_t next_seq;
    uint64_t delivered;
    uint64_t below; /* everything below is settled */
    struct span *spans;
    size_t span_count;
    size_t span_capacity;
    size_t span_at; /* where the last look-up ended */
    struct found *found;
    size_t found_count;
    size_t found_capacity;
    struct kept_file **files; /* that have messages of it */
    size_t file_count;
    size_t file_capacity;
};

struct restore {
    struct broker *broker;
    struct recovery *recovery;
    const struct restore_index *index;
    struct restored **queues; /* by the index's entries; NULL until something is found */
    struct restore_report report;
    size_t last_entry;           /* looked up last */
    struct kept_file *last_file; /* the same */
    uint16_t last_shard;
    bool last_in_segment;
    struct buffer parts; /* of the message whose parts are being read */
    struct record_target parts_of;
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
    for (uint32_t i = 0; i < past->file_count; i++) {
        if (past->files[i].abandoned) continue;
        struct kept_file *file = kept_file_new(archive, false, shards);
        file->past = true;
        file->number = past->files[i].file_no;
        list_put_last(&archive->files, &file->in_archive);
    }
}

static void add_segments(struct restore *restore, struct archive *archive) {
    archive->last_segment = recover_last_segment_number(restore->recovery, archive->number);
    for (uint32_t i = 0; i < recover_segment_count(restore->recovery); i++) {
        struct recover_segment segment;
        recover_segment_at(restore->recovery, i, &segment);
        if (segment.shard != archive->number) continue;
        struct kept_file *file = kept_file_new(archive, true, restore->broker->shard_count);
        file->past = true;
        file->number = segment.number;
        file->file_id = segment.file_id;
        file->bytes = segment.bytes;
        list_put_last(&archive->segments, &file->in_archive);
        restore->report.segments++;
    }
}

static void add_archive(struct restore *restore, const struct restore_settings *settings,
    struct keeper *keeper, uint16_t number) {
    struct journal_past past;
    recover_past(restore->recovery, number, &past);
    struct disk *disk = settings->open_disk(settings->context, keeper->shard->number);
    struct archive *archive = keeper_add_archive(keeper, number, disk, &past);
    add_past_files(archive, &past);
    add_segments(restore, archive);
}

/* A archive that runs no more is adopted, for as long as it has files. */
static void add_keeper(
    struct restore *restore, const struct restore_settings *settings, struct shard *shard) {
    uint32_t count = recover_shard_count(restore->recovery);
    struct keeper *keeper = keeper_new(shard, &settings->keeper, 1 + count);
    add_archive(restore, settings, keeper, (uint16_t)shard->number);
    for (uint32_t i = 0; i < count; i++) {
        uint16_t number = recover_shard_at(restore->recovery, i);
        bool adopted = number >= restore->broker->shard_count;
        if (adopted && host_of(restore->broker, number) == shard->number)
            add_archive(restore, settings, keeper, number);
    }
}

static int give_spares(struct restore *restore) {
    struct broker *broker = restore->broker;
    bool more = true;
    while (more) {
        more = false;
        for (uint32_t i = 0; i < broker->shard_count; i++) {
            struct archive *archive = &broker->shards[i]->keeper->archives[0];
            const char *name = recover_take_spare(restore->recovery, archive->number);
            if (!name) continue;
            int status = journal_add_spare(archive->journal, name);
            if (status != 0) return status;
            more = true;
        }
    }
    return 0;
}

int restore_begin(struct broker *broker, const struct restore_settings *settings,
    struct restore **ret_restore) {
    struct restore *restore = NEW(struct restore);
    *ret_restore = restore;
    restore->broker = broker;
    buffer_init(&restore->parts, PARTS_BYTES_MAX);
    struct recover_settings recover = {.disk = settings->disk, .salvage = settings->salvage};
    bytes_copy(recover.node_id, settings->keeper.node_id, sizeof recover.node_id);
    int status = recover_open(&recover, &restore->recovery);
    if (status != 0) return status;
    enum recover_verdict verdict = recover_verdict(restore->recovery);
    if (verdict == RECOVER_REFUSED) return -EBADMSG;
    if (verdict == RECOVER_DAMAGED && !settings->salvage) return -EBADMSG;
    for (uint32_t i = 0; i < broker->shard_count; i++)
        add_keeper(restore, settings, broker->shards[i]);
    return give_spares(restore);
}

const struct recovery *restore_recovery(const struct restore *restore) {
    return restore->recovery;
}

/* ---- look-ups ---- */

/* What is known of a queue, or NULL when it does not exist any more. */
static struct restored *restored_of(struct restore *restore, uint64_t id) {
    const struct restore_index *index = restore->index;
    size_t low = restore->last_entry;
    if (low >= index->count || index->entries[low].id != id) {
        size_t high = index->count;
        low = 0;
        while (low < high) {
            size_t middle = low + (high - low) / 2;
            if (index->entries[middle].id < id) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        if (low == index->count || index->entries[low].id != id) return NULL;
        restore->last_entry = low;
    }
    if (!restore->queues[low]) {
        restore->queues[low] = NEW(struct restored);
        restore->queues[low]->queue = index->entries[low].queue;
    }
    return restore->queues[low];
}

static struct archive *archive_of(struct broker *broker, uint16_t number) {
    struct keeper *keeper = broker->shards[host_of(broker, number)]->keeper;
    for (uint32_t i = 0; i < keeper->archive_count; i++) {
        if (keeper->archives[i].number == number) return &keeper->archives[i];
    }
    unreachable_here();
}

/* The file that a record is in. */
static struct kept_file *file_of(struct restore *restore, const struct recover_record *record) {
    struct kept_file *last = restore->last_file;
    if (last && last->number == record->file_no && last->segment == record->in_segment &&
        last->archive->number == record->shard)
        return last;
    struct archive *archive = archive_of(restore->broker, record->shard);
    struct list *files = record->in_segment ? &archive->segments : &archive->files;
    list_for (struct kept_file, file, files, in_archive) {
        if (file->number != record->file_no) continue;
        restore->last_file = file;
        return file;
    }
    unreachable_here();
}

static struct queue_slot *slot_of(struct restore *restore, const struct restored *restored) {
    struct shard *shard = restore->broker->shards[ref_shard(restored->queue)];
    struct queue_slot *slot = queue_host_slot(shard, restored->queue);
    check(slot != NULL);
    check(slot->shelf != NULL);
    return slot;
}

static void touch(
    struct restore *restore, const struct restored *restored, struct kept_file *file) {
    struct queue_slot *slot = slot_of(restore, restored);
    shelf_touch(slot->shelf, file, ref_shard(restored->queue));
}

/* ---- facts ---- */

static void raise(uint64_t *value, uint64_t to) {
    *value = max_u64(*value, to);
}

static void put_span(struct restored *restored, uint64_t seq, uint64_t count) {
    uint64_t end = seq + count;
    raise(&restored->next_seq, end);
    struct span *last = restored->span_count ? &restored->spans[restored->span_count - 1] : NULL;
    if (last && last->end == seq) {
        last->end = end;
        return;
    }
    restored->spans = grow(restored->spans, &restored->span_capacity, restored->span_count,
        sizeof *restored->spans);
    restored->spans[restored->span_count++] = (struct span){seq, end};
}

static void put_qstate(struct restored *restored, const struct record_view *view) {
    if (view->head.size < QSTATE_HEAD_BYTES) return;
    raise(&restored->next_seq, le_get_u64(view->head.data));
    raise(&restored->delivered, le_get_u64(view->head.data + 8));
}

static void on_fact(void *context, const struct recover_record *record) {
    struct restore *restore = context;
    const struct record_view *view = record->view;
    struct kept_file *file = file_of(restore, record);
    for (uint32_t i = 0; i < view->target_count; i++) {
        struct record_target target = record_view_target(view, i);
        struct restored *restored = restored_of(restore, target.queue);
        if (!restored) continue;
        touch(restore, restored, file);
        if (view->type == RECORD_ACK) {
            put_span(restored, target.seq, target.count);
            continue;
        }
        if (view->type == RECORD_DELIVERED) {
            raise(&restored->delivered, target.seq);
            continue;
        }
        raise(&restored->below, target.seq);
        raise(&restored->next_seq, target.seq);
        if (view->type == RECORD_QSTATE) put_qstate(restored, view);
    }
}

static int by_seq(const void *a, const void *b) {
    const struct span *left = a;
    const struct span *right = b;
    return left->seq < right->seq ? -1 : left->seq > right->seq;
}

/* In order, those that touch or overlap as one. */
static void merge_spans(struct restored *restored) {
    if (restored->span_count == 0) return;
    qsort(restored->spans, restored->span_count, sizeof *restored->spans, by_seq);
    size_t kept = 0;
    for (size_t i = 1; i < restored->span_count; i++) {
        struct span span = restored->spans[i];
        if (span.seq <= restored->spans[kept].end) {
            raise(&restored->spans[kept].end, span.end);
        } else {
            restored->spans[++kept] = span;
        }
    }
    restored->span_count = kept + 1;
}

/* Messages come nearly in order, so that the span is mostly where it was last time. */
static bool is_settled(struct restored *restored, uint64_t seq) {
    if (seq < restored->below) return true;
    const struct span *spans = restored->spans;
    size_t at = restored->span_at;
    bool behind = at != 0 && seq < spans[at - 1].end;
    if (behind) {
        size_t high = at;
        at = 0;
        while (at < high) {
            size_t middle = at + (high - at) / 2;
            if (spans[middle].end <= seq) {
                at = middle + 1;
            } else {
                high = middle;
            }
        }
    }
    while (at < restored->span_count && spans[at].end <= seq)
        at++;
    restored->span_at = at;
    return at < restored->span_count && spans[at].seq <= seq;
}

/* ---- messages ---- */

static void note_file(struct restored *restored, struct kept_file *file) {
    if (restored->file_count != 0 && restored->files[restored->file_count - 1] == file) return;
    restored->files = grow(restored->files, &restored->file_capacity, restored->file_count,
        sizeof(struct kept_file *));
    restored->files[restored->file_count++] = file;
}

static void put_found(struct restored *restored, const struct found *found) {
    restored->found = grow(restored->found, &restored->found_capacity, restored->found_count,
        sizeof *restored->found);
    restored->found[restored->found_count++] = *found;
}

static void on_part(struct restore *restore, const struct record_view *view) {
    struct record_target target = record_view_target(view, 0);
    if (view->message_id == 0) {
        restore->parts.size = 0;
        restore->parts_of = target;
    }
    struct restored *restored = restored_of(restore, target.queue);
    bool goes_on = restore->parts_of.queue == target.queue && restore->parts_of.seq == target.seq &&
                   restore->parts.size == view->message_id;
    if (!restored || !goes_on) return;
    /* What does not fit is noticed when the message is put together. */
    if (!buffer_put(&restore->parts, view->body.data, view->body.size)) restore->parts.size = 0;
}

/* The message of a PUB, or NULL when parts of it are missing. `home` is where it is made. */
static struct message *message_of(
    struct restore *restore, const struct record_view *view, uint32_t home) {
    struct bytes parts = bytes_of(NULL, 0);
    if (view->flags != 0) {
        struct record_target first = record_view_target(view, 0);
        bool ours = restore->parts_of.queue == first.queue && restore->parts_of.seq == first.seq;
        if (ours) parts = bytes_of(restore->parts.data, restore->parts.size);
    }
    return kept_record_message(restore->broker->shards[home]->pool, view, parts);
}

static void on_pub(struct restore *restore, const struct recover_record *record) {
    const struct record_view *view = record->view;
    struct found found = {.file = file_of(restore, record)};
    for (uint32_t i = 0; i < view->target_count; i++) {
        struct record_target target = record_view_target(view, i);
        struct restored *restored = restored_of(restore, target.queue);
        if (!restored) continue;
        raise(&restored->next_seq, target.seq + 1);
        touch(restore, restored, found.file);
        note_file(restored, found.file);
        found.file->messages++;
        if (is_settled(restored, target.seq)) continue;
        if (found.message) {
            message_ref(found.message, 1);
        } else {
            found.message = message_of(restore, view, ref_shard(restored->queue));
        }
        if (!found.message) {
            restore->report.incomplete++;
            return;
        }
        found.seq = target.seq;
        put_found(restored, &found);
    }
}

static void on_message(void *context, const struct recover_record *record) {
    if (record->view->type == RECORD_PART) {
        on_part(context, record->view);
    } else {
        on_pub(context, record);
    }
}

/* ---- into the queues ---- */

static int by_found_seq(const void *a, const void *b) {
    const struct found *left = a;
    const struct found *right = b;
    if (left->seq != right->seq) return left->seq < right->seq ? -1 : 1;
    /* The same message twice: the copy in a segment counts. */
    return right->file->segment - left->file->segment;
}

static void sort_found(struct restored *restored) {
    bool sorted = true;
    for (size_t i = 1; i < restored->found_count && sorted; i++)
        sorted = restored->found[i - 1].seq < restored->found[i].seq;
    if (!sorted)
        qsort(restored->found, restored->found_count, sizeof *restored->found, by_found_seq);
}

/* Puts back what lives; a message that is there twice counts once. */
static void fill_queue(struct restore *restore, struct restored *restored) {
    struct queue_slot *slot = slot_of(restore, restored);
    uint32_t shard = ref_shard(restored->queue);
    struct queue_restored *list = mem_raw((restored->found_count + 1) * sizeof *list);
    size_t count = 0;
    sort_found(restored);
    for (size_t i = 0; i < restored->found_count; i++) {
        const struct found *found = &restored->found[i];
        if (count != 0 && list[count - 1].seq == found->seq) {
            message_unref(restore->broker->shards[shard]->pool, found->message);
            continue;
        }
        list[count++] = (struct queue_restored){.seq = found->seq,
            .message = found->message,
            .redelivered = found->seq < restored->delivered};
        shelf_put(slot->shelf, found->seq, 1, found->file, shard);
    }
    for (size_t i = 0; i < restored->file_count; i++)
        shelf_put_ghost(slot->shelf, restored->files[i]);
    slot->shelf->delivered = restored->delivered;
    queue_restore(slot->queue, list, count, max_u64(restored->next_seq, 1));
    queue_allow(slot->queue, restored->delivered);
    mem_free(list);
    restore->report.messages += count;
}

static void restored_free(struct restored *restored) {
    if (!restored) return;
    mem_free(restored->spans);
    mem_free(restored->found);
    mem_free(restored->files);
    mem_free(restored);
}

int restore_finish(struct restore *restore, const struct restore_index *index,
    struct restore_report *ret_report) {
    restore->index = index;
    restore->queues = mem_new_array(index->count + 1, sizeof(struct restored *));
    int status = recover_replay(restore->recovery, FACTS, on_fact, restore);
    for (size_t i = 0; i < index->count; i++) {
        if (restore->queues[i]) merge_spans(restore->queues[i]);
    }
    uint32_t messages = RECORD_BIT(RECORD_PUB) | RECORD_BIT(RECORD_PART);
    if (status == 0) status = recover_replay(restore->recovery, messages, on_message, restore);
    for (size_t i = 0; i < index->count; i++) {
        if (restore->queues[i]) fill_queue(restore, restore->queues[i]);
    }
    struct recover_counts counts = recover_counts(restore->recovery);
    restore->report.files = counts.files;
    restore->report.bytes = counts.bytes;
    restore->report.queues = index->count;
    *ret_report = restore->report;
    return status != 0 ? status : recover_sweep(restore->recovery);
}

void restore_close(struct restore *restore) {
    if (!restore) return;
    for (size_t i = 0; restore->index && i < restore->index->count; i++)
        restored_free(restore->queues[i]);
    mem_free(restore->queues);
    buffer_deinit(&restore->parts);
    recover_close(restore->recovery);
    mem_free(restore);
}
