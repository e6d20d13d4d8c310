/* manifest: which files a writer has beside its chain: segments, and journal files that were kept.
 *
 * The last one in the chain counts. As long as there are only segments it is a MANIFEST, which
 * every version knows; with kept journal files it is a CATALOG, which one that would take them for
 * free files refuses. */
#ifndef STORE_MANIFEST_H
#define STORE_MANIFEST_H

#include "store/record.h"

/* The bit of a number that says that it is a journal file's. */
#define SEGMENT_REF_KEPT ((uint64_t)1 << 63)

/* A file that it lists. */
struct segment_ref {
    uint64_t number; /* the segment's; or SEGMENT_REF_KEPT and the journal file's */
    uint64_t file_id;
    uint64_t end;   /* of a kept one: where in the file what counts ends, and */
    uint64_t index; /* where its first INDEX frame is, or 0 */
};

/* The record that lists so many files. `released` is the highest journal file that was kept since
 * the journal was opened, still or not, or 0: the chain begins behind it, whatever headers say.
 * `body` has room for count * RECORD_CATALOG_ENTRY_BYTES, and is borrowed as long as the record. */
struct record manifest_record(
    const struct segment_ref *refs, uint32_t count, uint64_t released, uint8_t *body);

/* Whether a record of this type is one. */
bool manifest_is(uint8_t type);

/* How many files it lists, one of them, and where it says that the chain begins. */
uint32_t manifest_count(const struct record_view *view);
struct segment_ref manifest_at(const struct record_view *view, uint32_t at);
uint64_t manifest_released(const struct record_view *view);

#endif
