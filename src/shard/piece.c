/* piece: walking through the messages of a kept file, so much of it at a time as one read brings.
 */
#include "shard/piece.h"

#include <errno.h>

#include "base/str.h"
#include "shard/keeper.h"
#include "shard/kept_record.h"

/* ---- places ---- */

bool piece_locate(const struct stay *stay, struct piece_place *ret_place) {
    const struct kept_file *file = stay->file;
    ret_place->fleeting = false;
    if (!file->past && !file->segment) {
        struct journal_place place;
        if (!journal_locate(file->archive->journal, stay->at, &place)) return false;
        bytes_copy(ret_place->name, place.name, sizeof place.name);
        ret_place->file_id = place.file_id;
        ret_place->offset = place.offset;
        ret_place->end = place.end;
        return true;
    }
    ret_place->file_id = file->file_id;
    ret_place->offset = stay->at;
    if (!file->past && file->kept) {
        uint32_t mark = journal_mark_find(file->marks, file->mark_count, stay->at);
        ret_place->offset = mark == UINT32_MAX ? FILE_FRAMES_AT : file->marks[mark].offset;
    }
    ret_place->end = file->bytes;
    if (file->name) {
        str_format(ret_place->name, sizeof ret_place->name, "%s", file->name);
    } else {
        segment_name(file->file_id, ret_place->name);
    }
    return true;
}

struct kept_file *piece_next_file(struct kept_file *file) {
    const struct archive *archive = file->archive;
    /* One that is kept is in the list of segments before it is one; it is whole. */
    if (file->past) return file->next; /* of any shard: nothing else of it is looked at */
    if (file->segment || file->kept || file == archive->current) return NULL;
    struct list_node *node = file->in_archive.next;
    bool last = node == &archive->files.head;
    return last ? archive->current : LIST_ENTRY(node, struct kept_file, in_archive);
}

bool piece_locate_next(struct kept_file *file, struct piece_place *ret_place) {
    struct kept_file *next = piece_next_file(file);
    if (!next) return false;
    struct stay stay = {.file = next, .at = next->past ? FILE_FRAMES_AT : file->end_position + 1};
    return piece_locate(&stay, ret_place);
}

/* ---- reading ---- */

void piece_init(struct piece *piece, struct disk *disk, const void *submitter) {
    *piece = (struct piece){.disk = disk};
    piece->request.kind = DISK_READ;
    piece->request.submitter = submitter;
    pub_parts_init(&piece->parts);
}

void piece_deinit(struct piece *piece) {
    disk_memory_free(piece->memory);
    pub_parts_deinit(&piece->parts);
}

void piece_begin(
    struct piece *piece, struct kept_file *file, const struct piece_place *place, uint64_t at) {
    piece->file = file;
    bytes_copy(piece->request.name, place->name, sizeof place->name);
    piece->request.fleeting = place->fleeting;
    piece->page.end = place->end;
    piece->page.file_id = place->file_id;
    page_begin(&piece->page, bytes_of(NULL, 0), at / DISK_BLOCK_BYTES * DISK_BLOCK_BYTES, at);
}

static void submit(struct piece *piece, uint64_t offset, uint64_t size) {
    piece->request.into = piece->memory + (offset - piece->offset);
    piece->request.offset = offset;
    piece->request.size = size;
    piece->request.done = 0;
    disk_submit(piece->disk, &piece->request);
}

void piece_read(struct piece *piece, uint64_t bytes) {
    bytes = (bytes + DISK_BLOCK_BYTES - 1) / DISK_BLOCK_BYTES * DISK_BLOCK_BYTES;
    if (bytes > piece->capacity) {
        disk_memory_free(piece->memory);
        piece->memory = disk_memory_new(bytes);
        piece->capacity = bytes;
    }
    piece->offset = piece->page.at / DISK_BLOCK_BYTES * DISK_BLOCK_BYTES;
    piece->size = bytes;
    piece->done = 0;
    piece->by_blocks = piece->failed = false;
    submit(piece, piece->offset, bytes);
}

void piece_read_on(struct piece *piece) {
    piece_read(piece, max_u64(SHELF_PIECE_BYTES, piece->page.needed + DISK_BLOCK_BYTES));
}

/* The machine lacks something, which says nothing of the file. */
static bool is_shortage(int status) {
    return status == -EMFILE || status == -ENFILE || status == -ENOMEM || status == -EAGAIN ||
           status == -EINTR;
}

enum piece_state piece_on_request(struct piece *piece) {
    const struct disk_request *request = &piece->request;
    uint64_t done = request->status == 0 ? request->done : 0;
    bool there = request->status != -ENOENT;
    if (is_shortage(request->status)) return PIECE_LATER;
    piece->failed |= request->status != 0;
    if (request->status != 0 && there) {
        if (request->size > DISK_BLOCK_BYTES) {
            piece->by_blocks = true;
            submit(piece, piece->offset, DISK_BLOCK_BYTES);
            return PIECE_SENT;
        }
        /* What no record or frame looks like. */
        memset(request->into, 0xff, DISK_BLOCK_BYTES);
        done = DISK_BLOCK_BYTES;
    }
    piece->done += done;
    bool more = piece->by_blocks && done == DISK_BLOCK_BYTES && piece->done < piece->size;
    if (more) submit(piece, piece->offset + piece->done, DISK_BLOCK_BYTES);
    if (more) return PIECE_SENT;
    page_continue(&piece->page, bytes_of(piece->memory, piece->done), piece->offset);
    return PIECE_THERE;
}

/* ---- walking ---- */

void piece_forget_parts(struct piece *piece) {
    pub_parts_deinit(&piece->parts);
    pub_parts_init(&piece->parts);
    piece->parts_found = bytes_of(NULL, 0);
}

/* Goes on behind what is not what was written: with the next record of the frame, or the next
 * frame. PAGE_RECORD when it has. */
static enum page_step step_over(struct page *page) {
    enum page_step step = page_pass(page);
    return step == PAGE_BAD ? page_resync(page) : step;
}

/* Takes the record that was met; true when it completes a message. */
static bool take_record(struct piece *piece) {
    const struct record_view *view = &piece->page.view;
    /* PARTs name the first of the queues that have the message. */
    if (view->type == RECORD_PART && pub_parts_take(&piece->parts, view))
        piece->parts_at = piece->page.record_at;
    if (view->type != RECORD_PUB) return false;
    if (pub_parts_find(&piece->parts, view, &piece->parts_found)) return true;
    if (pub_parts_are_of(&piece->parts, view)) piece_forget_parts(piece);
    return false;
}

enum page_step piece_next(struct piece *piece) {
    struct page *page = &piece->page;
    /* Those of the message that was given last. */
    if (piece->parts_found.size != 0) piece_forget_parts(piece);
    enum page_step step = PAGE_RECORD;
    while (step == PAGE_RECORD) {
        step = page_next(page);
        if (step == PAGE_RECORD && take_record(piece)) return PAGE_RECORD;
        if (step == PAGE_BAD) step = step_over(page);
    }
    /* A file that ends before it should. */
    return step == PAGE_MORE && piece->done != piece->size ? PAGE_END : step;
}

struct message *piece_message(const struct piece *piece, struct message_pool *pool) {
    return kept_record_message(pool, &piece->page.view, piece->parts_found);
}

bool piece_follow(struct piece *piece) {
    struct piece_place place;
    if (!piece->file || piece->parts.count == 0) return false;
    if (!piece_locate_next(piece->file, &place)) return false;
    piece_begin(piece, piece_next_file(piece->file), &place, place.offset);
    return true;
}
