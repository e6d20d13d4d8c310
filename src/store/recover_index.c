/* recover_index: the pieces of messages that lie in two files, of which only the index was read. */
#include "store/pages.h"
#include "store/recover_state.h"

enum { WINDOW_BYTES = 1024 * 1024 };

bool recover_run_is_sound(const struct recover_file *file, const struct file_run *run) {
    uint64_t places = (uint64_t)1 << SEQ_PRIORITY_SHIFT;
    bool queue = run->queue != 0 && (run->queue & QUEUE_ID_TRANSIENT) == 0;
    bool within = run->offset % 8 == 0 && run->offset >= FILE_HEADER_BYTES &&
                  run->offset < file->size && run->bytes <= file->size - run->offset;
    bool room = run->count <= run->bytes / RECORD_HEADER_BYTES && run->bytes != 0;
    return queue && within && room && run->count <= places - (run->first_seq & (places - 1));
}

/* Whether the record is one of the message's. */
static bool is_of(const struct file_run *piece, const struct record_view *view) {
    if (view->type != RECORD_PART && view->type != RECORD_PUB) return false;
    struct record_target first = record_view_target(view, 0);
    return first.queue == piece->queue && first.seq == piece->first_seq;
}

/* Has the walk go on with a part of the file that has what it needs. */
static bool load(struct recovery *recovery, struct recover_reader *reader, struct page *page) {
    uint64_t from = page->at - page->at % DISK_BLOCK_BYTES;
    uint64_t least = page->at - from + page->needed;
    uint64_t size = min_u64(max_u64(least, WINDOW_BYTES), reader->file->size - from);
    if (least > size || size > JOURNAL_FRAME_BYTES_MAX) return false;
    const uint8_t *bytes = recover_reader_get(recovery, reader, from, size);
    if (bytes) page_continue(page, bytes_of(bytes, size), from);
    return bytes != NULL;
}

bool recover_piece_walk(struct recovery *recovery, struct recover_reader *reader,
    const struct file_run *piece, recover_piece_fn found, void *context) {
    const struct recover_file *file = reader->file;
    uint64_t end = piece->offset + piece->bytes;
    struct page page = {.end = file->size, .file_id = file->header.file_id, .needed = 1};
    uint64_t block = piece->offset - piece->offset % DISK_BLOCK_BYTES;
    page_begin(&page, bytes_of(NULL, 0), block, piece->offset);
    enum page_step step = PAGE_MORE;
    while (page.at < end) {
        if (step == PAGE_MORE && !load(recovery, reader, &page)) return false;
        step = page_next(&page);
        if (step == PAGE_MORE) continue;
        if (step != PAGE_RECORD || page.at > end) return false;
        if (is_of(piece, &page.view)) found(context, &page.view, page.record_at);
    }
    return page.at == end;
}
