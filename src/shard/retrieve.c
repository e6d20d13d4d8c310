/* retrieve: bringing back what lives in files and is on disk only, before these are emptied. */
#include "shard/retrieve.h"

#include <stdlib.h>

#include "base/memory.h"
#include "shard/keeper.h"
#include "shard/queue_host.h"

enum {
    RETRY_MS = 1000,
    FAILURES_MAX = 3,
};

void retrieval_init(struct retrieval *retrieval, struct keeper *keeper) {
    *retrieval = (struct retrieval){.keeper = keeper};
    /* The disk is known once there is an archive. */
    piece_init(&retrieval->piece, NULL, retrieval);
}

void retrieval_deinit(struct retrieval *retrieval) {
    check(!retrieval->reading);
    piece_deinit(&retrieval->piece);
    mem_free(retrieval->queues);
}

void retrieval_begin(struct retrieval *retrieval, const struct evacuation *evacuation) {
    check(!retrieval->reading);
    retrieval->piece.disk = retrieval->keeper->archives[0].disk;
    retrieval->evacuation = evacuation;
    retrieval->file_at = 0;
    retrieval->begun = false;
    retrieval->skipped = false;
    retrieval->failures = 0;
    retrieval->retry_ms = 0;
}

/* ---- which queues ---- */

static int by_id(const void *a, const void *b) {
    const struct retrieved_queue *left = a;
    const struct retrieved_queue *right = b;
    return left->id < right->id ? -1 : left->id > right->id;
}

/* Whether the queue has anything in the file that may be on disk only. */
static bool has_away(const struct queue_slot *slot, const struct kept_file *file) {
    if (queue_gone(slot->queue) || !queue_lacks(slot->queue)) return false;
    for (uint32_t i = 0; i < slot->shelf->count; i++) {
        const struct stay *stay = &slot->shelf->stays[i];
        if (stay->file == file && stay->live != 0) return true;
    }
    return false;
}

static void gather_queues(struct retrieval *retrieval, const struct kept_file *file) {
    struct shard *shard = retrieval->keeper->shard;
    const struct file_part *part = &file->parts[shard->number];
    retrieval->queue_count = 0;
    if (part->touched_count > retrieval->queue_capacity) {
        retrieval->queue_capacity = part->touched_count;
        retrieval->queues =
            mem_resize(retrieval->queues, retrieval->queue_capacity * sizeof *retrieval->queues);
    }
    for (uint32_t i = 0; i < part->touched_count; i++) {
        const struct queue_slot *slot = queue_host_slot(shard, part->touched[i]);
        if (!slot || !has_away(slot, file)) continue;
        retrieval->queues[retrieval->queue_count++] =
            (struct retrieved_queue){.id = slot->id, .queue = part->touched[i]};
    }
    if (retrieval->queue_count != 0)
        qsort(retrieval->queues, retrieval->queue_count, sizeof *retrieval->queues, by_id);
}

/* The queue of an id that a record names, or NULL when nothing of it is to be read. */
static struct queue_slot *queue_of(const struct retrieval *retrieval, uint64_t id) {
    struct retrieved_queue key = {.id = id};
    const struct retrieved_queue *found =
        bsearch(&key, retrieval->queues, retrieval->queue_count, sizeof *retrieval->queues, by_id);
    if (!found) return NULL;
    struct queue_slot *slot = queue_host_slot(retrieval->keeper->shard, found->queue);
    return slot && !queue_gone(slot->queue) ? slot : NULL;
}

/* ---- reading ---- */

/* False when there is nothing to read in it. */
static bool begin_file(struct retrieval *retrieval, struct kept_file *file) {
    gather_queues(retrieval, file);
    retrieval->begun = true;
    struct stay stay = {.file = file, .at = file->end_position};
    struct piece_place place;
    if (retrieval->queue_count == 0 || !piece_locate(&stay, &place)) return false;
    bool whole_segment = file->segment && !file->kept;
    piece_begin(
        &retrieval->piece, file, &place, whole_segment ? SEGMENT_FRAMES_AT : FILE_FRAMES_AT);
    retrieval->reading = true;
    piece_read(&retrieval->piece, SHELF_PIECE_BYTES);
    return true;
}

static void end_file(struct retrieval *retrieval) {
    retrieval->begun = false;
    retrieval->failures = 0;
    retrieval->file_at++;
    piece_forget_parts(&retrieval->piece);
}

static struct kept_file *file_at(const struct retrieval *retrieval) {
    return retrieval->evacuation->files[retrieval->file_at];
}

static bool lies_here(
    const struct retrieval *retrieval, const struct queue_slot *slot, uint64_t seq) {
    const struct shelf *shelf = slot->shelf;
    if (shelf->count == 0 || shelf->stays[0].first_seq > seq) return false;
    return shelf->stays[shelf_find(shelf, seq)].file == file_at(retrieval);
}

/* Gives every queue its place of the message that was met. */
static void take_message(struct retrieval *retrieval) {
    const struct record_view *view = &retrieval->piece.page.view;
    struct message_pool *pool = retrieval->keeper->shard->pool;
    struct message *message = NULL;
    for (uint32_t i = 0; i < view->target_count; i++) {
        struct record_target target = record_view_target(view, i);
        struct queue_slot *slot = queue_of(retrieval, target.queue);
        if (!slot || !lies_here(retrieval, slot, target.seq)) continue;
        /* What such a queue has is not given to it, though it could be read. */
        retrieval->skipped |= queue_is_dropping(slot->queue);
        if (!queue_wants(slot->queue, target.seq)) continue;
        if (!message) message = piece_message(&retrieval->piece, pool);
        if (!message) return;
        bool waits = queue_is_away(slot->queue);
        message_ref(message, 1);
        check(queue_give(slot->queue, target.seq, message));
        if (waits) queue_host_on_given(retrieval->keeper->shard, slot);
    }
    message_unref(pool, message);
}

/* Goes on behind a piece that was walked through; false when the file is done with. A message in
 * parts may go on in the next one, of which nothing else is wanted. */
static bool read_on(struct retrieval *retrieval, enum page_step step) {
    struct piece *piece = &retrieval->piece;
    bool behind = piece->file != file_at(retrieval);
    if (behind && piece->parts.count == 0) return false;
    if (step == PAGE_END && (file_at(retrieval)->whole || !piece_follow(piece))) return false;
    retrieval->reading = true;
    piece_read_on(piece);
    return true;
}

void retrieval_on_request(struct retrieval *retrieval, struct disk_request *request) {
    struct piece *piece = &retrieval->piece;
    check(request == &piece->request);
    enum piece_state state = piece_on_request(piece);
    if (state == PIECE_SENT) return;
    retrieval->reading = false;
    if (state == PIECE_LATER || (piece->failed && ++retrieval->failures < FAILURES_MAX)) {
        retrieval->retry_ms = retrieval->keeper->shard->now_ms + RETRY_MS;
        return;
    }
    /* What cannot be read is not: what is beside it is. */
    retrieval->failures = 0;
    counter_add(&retrieval->keeper->shard->counters.read_bytes, piece->done);
    enum page_step step = piece_next(piece);
    for (; step == PAGE_RECORD; step = piece_next(piece))
        take_message(retrieval);
    bool ending = retrieval->keeper->retirement.ending;
    if (ending || !read_on(retrieval, step)) end_file(retrieval);
}

bool retrieval_turn(struct retrieval *retrieval) {
    if (retrieval->reading) return false;
    if (retrieval->retry_ms > retrieval->keeper->shard->now_ms) return false;
    if (retrieval->begun) {
        /* A read has failed: once more. */
        retrieval->reading = true;
        piece_read(&retrieval->piece, retrieval->piece.size);
        return false;
    }
    while (retrieval->file_at < retrieval->evacuation->file_count) {
        if (begin_file(retrieval, file_at(retrieval))) return false;
        end_file(retrieval);
    }
    return true;
}

uint64_t retrieval_due(const struct retrieval *retrieval) {
    bool waits = !retrieval->reading && retrieval->begun;
    return waits ? retrieval->retry_ms : UINT64_MAX;
}

bool retrieval_idle(const struct retrieval *retrieval) {
    return !retrieval->reading;
}
