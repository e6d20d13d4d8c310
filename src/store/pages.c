/* pages: frame by frame where headers are met, record by record where they are not.
 *
 * A frame begins at a multiple of the block, and so may a record. What is there is a frame's header
 * when it is a good one that names the file, whose id nobody who sends messages knows; otherwise,
 * and unless a frame is known to end there, a record. A length of zero where a record could be is
 * the padding at a frame's end. */
#include "store/pages.h"

#include "store/journal_frame.h"
#include "store/le.h"

enum { LENGTH_AT = 4, LENGTH_END = 8 /* the checksum and the length */ };

void page_begin(struct page *page, struct bytes bytes, uint64_t offset, uint64_t at) {
    check(at % 8 == 0);
    page->at = at;
    page->frame_end = 0;
    page->frame_wanted = false;
    page->records_left = 0;
    page_continue(page, bytes, offset);
}

void page_continue(struct page *page, struct bytes bytes, uint64_t offset) {
    check(offset % JOURNAL_FRAME_BLOCK_BYTES == 0 && page->at >= offset);
    page->bytes = bytes;
    page->offset = offset;
}

static const uint8_t *place(const struct page *page) {
    return page->bytes.data + (page->at - page->offset);
}

/* Bytes of the piece from the place on, as far as they count. */
static uint64_t left(const struct page *page) {
    uint64_t end = min_u64(page->offset + page->bytes.size, page->end);
    return end > page->at ? end - page->at : 0;
}

/* The piece has to have so many bytes more. The file's end may make that impossible. */
static enum page_step more(struct page *page, uint64_t bytes) {
    if (bytes > page->end - page->at) return PAGE_BAD;
    page->needed = bytes;
    return PAGE_MORE;
}

/* Whether the place may be that of a header. */
static bool may_be_frame(const struct page *page) {
    return page->at % JOURNAL_FRAME_BLOCK_BYTES == 0 && page->records_left == 0;
}

/* Takes the header at the place: PAGE_RECORD when it has, PAGE_BAD when there is none. */
static enum page_step take_frame(struct page *page) {
    struct journal_frame frame;
    if (!journal_frame_parse(place(page), &frame) || frame.file_id != page->file_id)
        return PAGE_BAD;
    if (frame.size > page->end - page->at) return PAGE_BAD;
    if ((frame.flags & JOURNAL_FRAME_INDEX) != 0) return PAGE_END;
    page->frame_end = page->at + frame.size;
    page->frame_wanted = false;
    page->records_left = frame.record_count;
    page->at += JOURNAL_FRAME_HEADER_BYTES;
    return PAGE_RECORD;
}

/* Goes behind the padding, to where a frame may begin. */
static void skip_padding(struct page *page) {
    uint64_t block = JOURNAL_FRAME_BLOCK_BYTES;
    page->at = page->frame_end ? page->frame_end : (page->at + block - 1) / block * block;
    page->frame_end = 0;
    page->frame_wanted = true;
}

/* What the record at the place claims to take, with its padding; the length is in the piece. */
static uint64_t claimed_size(const uint8_t *at) {
    return ((uint64_t)le_get_u32(at + LENGTH_AT) + 7) & ~(uint64_t)7;
}

/* Takes the record at the place, of which at least the length is in the piece. */
static enum page_step take_record(struct page *page) {
    uint64_t size = claimed_size(place(page));
    if (size < RECORD_HEADER_BYTES || size > RECORD_BYTES_MAX) return PAGE_BAD;
    uint64_t frame_left = page->frame_end ? page->frame_end - page->at : size;
    if (size > frame_left) return PAGE_BAD;
    if (size > left(page)) return more(page, size);
    enum record_fault fault = record_parse(bytes_of(place(page), size), &page->view);
    if (fault != RECORD_GOOD) return PAGE_BAD;
    page->record_at = page->at;
    page->at += size;
    page->records_left -= page->records_left != 0;
    return PAGE_RECORD;
}

enum page_step page_next(struct page *page) {
    for (;;) {
        /* Behind the last record of a frame, whose number its header says. */
        if (page->frame_end != 0 && page->records_left == 0) skip_padding(page);
        if (page->at >= page->end) return PAGE_END;
        if (may_be_frame(page)) {
            if (left(page) < JOURNAL_FRAME_HEADER_BYTES)
                return more(page, JOURNAL_FRAME_HEADER_BYTES);
            enum page_step step = take_frame(page);
            if (step == PAGE_RECORD) continue;
            if (step == PAGE_END || page->frame_wanted) return step;
        }
        if (left(page) < LENGTH_END) return more(page, LENGTH_END);
        bool padding = page->frame_end == 0 && le_get_u64(place(page)) == 0 &&
                       page->at % JOURNAL_FRAME_BLOCK_BYTES != 0;
        if (padding) {
            skip_padding(page);
            continue;
        }
        enum page_step step = take_record(page);
        bool known = step != PAGE_RECORD || (page->view.type & RECORD_IGNORABLE) == 0;
        if (known) return step;
    }
}

enum page_step page_resync(struct page *page) {
    uint64_t block = JOURNAL_FRAME_BLOCK_BYTES;
    uint64_t next = (page->at / block + 1) * block;
    if (next >= page->end) return PAGE_END;
    page->at = next;
    page->frame_end = 0;
    page->frame_wanted = true;
    page->records_left = 0;
    if (left(page) != 0) return PAGE_RECORD;
    page->needed = block;
    return PAGE_MORE;
}

enum page_step page_pass(struct page *page) {
    uint64_t frame_left = page->frame_end > page->at ? page->frame_end - page->at : 0;
    if (frame_left == 0 || page->records_left == 0) return PAGE_BAD;
    if (left(page) < frame_left) return more(page, frame_left);
    uint64_t at = 0;
    for (uint32_t i = 0; i < page->records_left; i++) {
        if (frame_left - at < LENGTH_END) return PAGE_BAD;
        uint64_t size = claimed_size(place(page) + at);
        if (size < RECORD_HEADER_BYTES || size > frame_left - at) return PAGE_BAD;
        at += size;
    }
    /* Only padding is behind the last one. */
    if (frame_left - at >= JOURNAL_FRAME_BLOCK_BYTES) return PAGE_BAD;
    page->at += claimed_size(place(page));
    page->records_left--;
    return PAGE_RECORD;
}
