/* retrieve: bringing back what lives in files and is on disk only, before these are emptied. */
#include "shard/retrieve.h"

#include <stdlib.h>

#include "base/memory.h"
#include "shard/keeper.h"
#include "shard/kept_record.h"
#include "shard/queue_host.h"

enum {
    RETRY_MS = 1000,
    FAILURES_MAX = 3,
};

void retrieval_init(struct retrieval *retrieval, struct keeper *keeper) {
    *retrieval = (struct retrieval){.keeper = keeper};
    pub_parts_init(&retrieval->parts);
}

void retrieval_deinit(struct retrieval *retrieval) {
    check(!retrieval->reading);
    disk_memory_free(retrieval->request.into);
    pub_parts_deinit(&retrieval->parts);
    mem_free(retrieval->queues);
}

void retrieval_begin(struct retrieval *retrieval, const struct evacuation *evacuation) {
    check(!retrieval->reading);
    retrieval->evacuation = evacuation;
    retrieval->file_at = 0;
    retrieval->begun = false;
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

static void submit(struct retrieval *retrieval, uint64_t bytes) {
    struct disk_request *request = &retrieval->request;
    uint64_t offset = retrieval->page.at / DISK_BLOCK_BYTES * DISK_BLOCK_BYTES;
    bytes = (bytes + DISK_BLOCK_BYTES - 1) / DISK_BLOCK_BYTES * DISK_BLOCK_BYTES;
    if (bytes > retrieval->capacity) {
        disk_memory_free(request->into);
        request->into = disk_memory_new(bytes);
        retrieval->capacity = bytes;
    }
    request->kind = DISK_READ;
    request->offset = offset;
    request->size = bytes;
    request->submitter = retrieval;
    retrieval->reading = true;
    disk_submit(retrieval->keeper->archives[0].disk, request);
}

static void begin_at(struct retrieval *retrieval, const struct pager_place *place, uint64_t at) {
    bytes_copy(retrieval->request.name, place->name, sizeof place->name);
    retrieval->page.end = place->end;
    retrieval->page.file_id = place->file_id;
    page_begin(&retrieval->page, bytes_of(NULL, 0), at, at);
    submit(retrieval, SHELF_PIECE_BYTES);
}

/* False when there is nothing to read in it. */
static bool begin_file(struct retrieval *retrieval, struct kept_file *file) {
    gather_queues(retrieval, file);
    retrieval->begun = true;
    retrieval->at_file = file;
    struct stay stay = {.file = file, .at = file->end_position};
    struct pager_place place;
    if (retrieval->queue_count == 0 || !pager_locate(&stay, &place)) return false;
    begin_at(retrieval, &place, file->segment && !file->kept ? SEGMENT_FRAMES_AT : FILE_FRAMES_AT);
    return true;
}

static void end_file(struct retrieval *retrieval) {
    retrieval->begun = false;
    retrieval->failures = 0;
    retrieval->file_at++;
    pub_parts_deinit(&retrieval->parts);
    pub_parts_init(&retrieval->parts);
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

static void take_pub(struct retrieval *retrieval) {
    const struct record_view *view = &retrieval->page.view;
    struct message_pool *pool = retrieval->keeper->shard->pool;
    struct message *message = NULL;
    for (uint32_t i = 0; i < view->target_count; i++) {
        struct record_target target = record_view_target(view, i);
        struct queue_slot *slot = queue_of(retrieval, target.queue);
        if (!slot || !queue_wants(slot->queue, target.seq)) continue;
        if (!lies_here(retrieval, slot, target.seq)) continue;
        struct bytes parts;
        if (!message && !pub_parts_find(&retrieval->parts, view, &parts)) return;
        if (!message) message = kept_record_message(pool, view, parts);
        if (!message) return;
        bool waits = queue_is_away(slot->queue);
        message_ref(message, 1);
        check(queue_give(slot->queue, target.seq, message));
        if (waits) queue_host_on_given(retrieval->keeper->shard, slot);
    }
    message_unref(pool, message);
}

static void forget_parts(struct retrieval *retrieval, const struct record_view *pub) {
    if (!pub_parts_are_of(&retrieval->parts, pub)) return;
    pub_parts_deinit(&retrieval->parts);
    pub_parts_init(&retrieval->parts);
}

/* Walks through the piece; gives how it ended. */
static enum page_step take_piece(struct retrieval *retrieval) {
    const struct disk_request *request = &retrieval->request;
    struct page *page = &retrieval->page;
    struct bytes bytes = bytes_of(request->into, request->done);
    page_continue(page, bytes, request->offset);
    enum page_step step;
    while ((step = page_next(page)) == PAGE_RECORD || step == PAGE_BAD) {
        if (step == PAGE_BAD) {
            step = page_pass(page);
            if (step == PAGE_RECORD) continue;
            if (step == PAGE_MORE) return step;
            uint64_t next = (page->at / DISK_BLOCK_BYTES + 1) * DISK_BLOCK_BYTES;
            if (next >= page->end) return PAGE_END;
            page_begin(page, bytes, request->offset, next);
            if (next < request->offset + bytes.size) continue;
            page->needed = DISK_BLOCK_BYTES;
            return PAGE_MORE;
        }
        if (page->view.type == RECORD_PUB) {
            take_pub(retrieval);
            forget_parts(retrieval, &page->view);
        }
        if (page->view.type == RECORD_PART) pub_parts_take(&retrieval->parts, &page->view);
    }
    return step;
}

/* The end of a file; a message in parts may go on in the next one. */
static void on_end(struct retrieval *retrieval) {
    struct pager_place place;
    bool goes_on = retrieval->parts.count != 0 && !file_at(retrieval)->whole &&
                   pager_locate_next(retrieval->at_file, &place);
    if (!goes_on) {
        end_file(retrieval);
        return;
    }
    retrieval->at_file = pager_next_file(retrieval->at_file);
    begin_at(retrieval, &place, place.offset);
}

void retrieval_on_request(struct retrieval *retrieval, struct disk_request *request) {
    retrieval->reading = false;
    if (request->status != 0) {
        if (++retrieval->failures >= FAILURES_MAX) {
            end_file(retrieval);
            return;
        }
        retrieval->retry_ms = retrieval->keeper->shard->now_ms + RETRY_MS;
        return;
    }
    retrieval->failures = 0;
    counter_add(&retrieval->keeper->shard->counters.read_bytes, request->done);
    enum page_step step = take_piece(retrieval);
    bool over = retrieval->at_file != file_at(retrieval) && retrieval->parts.count == 0;
    if (over) {
        end_file(retrieval);
        return;
    }
    bool whole = request->done == request->size;
    if (step == PAGE_MORE && whole) {
        uint64_t bytes = max_u64(SHELF_PIECE_BYTES, retrieval->page.needed + DISK_BLOCK_BYTES);
        submit(retrieval, bytes);
        return;
    }
    on_end(retrieval);
}

bool retrieval_turn(struct retrieval *retrieval) {
    if (retrieval->reading) return false;
    if (retrieval->retry_ms > retrieval->keeper->shard->now_ms) return false;
    if (retrieval->begun) {
        /* A read has failed: once more. */
        submit(retrieval, retrieval->request.size);
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
