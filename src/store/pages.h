/* pages: walking the records in a piece of a file that was read.
 *
 *      piece      | ...record][record][00][frame header][record][record][rec |
 *                    ^ from any record or frame on                      ^ to be read from here
 *
 * Steps over frame headers and padding by itself, and believes nothing: each record's own checksum
 * is compared. The piece may begin in the middle of a frame, whose header is then not looked at:
 * that the records are those that are wanted, their targets say. */
#ifndef STORE_PAGES_H
#define STORE_PAGES_H

#include "store/record.h"

enum page_step {
    PAGE_RECORD, /* a good one: in page->view */
    PAGE_MORE,   /* the piece ends before the next one does */
    PAGE_END,    /* there are no more in the file: page->end, or its INDEX */
    PAGE_BAD,    /* what is there is not what was written */
};

struct page {
    struct bytes bytes; /* the piece, borrowed */
    uint64_t offset;    /* of the piece in the file, a multiple of the block */
    uint64_t end;       /* of what counts in the file, a multiple of the block */
    uint64_t file_id;
    uint64_t at; /* in the file: where to begin, a frame or a record; then behind the last record */
    uint64_t record_at;      /* of the record given last */
    uint64_t needed;         /* PAGE_MORE: so many bytes from `at` on, at least, and at most a
                                frame's maximum. A file that has them not is not as it was */
    uint64_t frame_end;      /* of the frame whose header was met, or 0 */
    bool frame_wanted;       /* nothing else can be at the place */
    uint32_t records_left;   /* in it */
    struct record_view view; /* borrowed from the piece */
};

/* Begins to walk. `at` is within the piece and a multiple of 8. */
void page_begin(struct page *page, struct bytes bytes, uint64_t offset, uint64_t at);

/* After PAGE_BAD: goes on with the next frame that begins behind the place; nothing else is
 * believed before that is met, because it may be in the body of somebody's message. PAGE_RECORD
 * when there may be one in the piece, PAGE_MORE when the piece ends before, PAGE_END when the file
 * does. */
enum page_step page_resync(struct page *page) MUST_USE;

/* Goes on in another piece of the same file, which begins not behind page->at. */
void page_continue(struct page *page, struct bytes bytes, uint64_t offset);

/* The next record. Those that a newer version has written and that may be left out are. After
 * anything but PAGE_RECORD the same again, until page_continue. */
enum page_step page_next(struct page *page) MUST_USE;

/* After PAGE_BAD: steps over a record that is not what was written, when it is in a frame whose
 * header was met, and the lengths of those behind it lead to the frame's end. PAGE_RECORD when it
 * has; PAGE_MORE when the piece does not reach that end; PAGE_BAD when the next record cannot be
 * found like this. */
enum page_step page_pass(struct page *page) MUST_USE;

#endif
