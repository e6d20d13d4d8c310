/* manifest: entries of 16 bytes for segments alone, and of 32 when there is more to say. */
#include "store/manifest.h"

#include "store/le.h"
#include "store/segment.h"

enum { END_AT = 16, INDEX_AT = 24 };

struct record manifest_record(
    const struct segment_ref *refs, uint32_t count, uint64_t released, uint8_t *body) {
    bool plain = released == 0;
    for (uint32_t i = 0; i < count; i++)
        plain = plain && (refs[i].number & SEGMENT_REF_KEPT) == 0;
    size_t entry_bytes = plain ? RECORD_MANIFEST_ENTRY_BYTES : RECORD_CATALOG_ENTRY_BYTES;
    uint8_t *at = body;
    for (uint32_t i = 0; i < count; i++, at += entry_bytes) {
        segment_ref_put(&refs[i], at);
        if (plain) continue;
        le_put_u64(at + END_AT, refs[i].end);
        le_put_u64(at + INDEX_AT, refs[i].index);
    }
    return (struct record){.type = plain ? RECORD_MANIFEST : RECORD_CATALOG,
        .message_id = released,
        .body = bytes_of(body, count * entry_bytes)};
}

bool manifest_is(uint8_t type) {
    return type == RECORD_MANIFEST || type == RECORD_CATALOG;
}

static size_t entry_bytes_of(const struct record_view *view) {
    return view->type == RECORD_MANIFEST ? RECORD_MANIFEST_ENTRY_BYTES : RECORD_CATALOG_ENTRY_BYTES;
}

uint32_t manifest_count(const struct record_view *view) {
    check(manifest_is(view->type));
    return (uint32_t)(view->body.size / entry_bytes_of(view));
}

struct segment_ref manifest_at(const struct record_view *view, uint32_t at) {
    check(at < manifest_count(view));
    const uint8_t *from = view->body.data + at * entry_bytes_of(view);
    struct segment_ref ref = {.number = le_get_u64(from), .file_id = le_get_u64(from + 8)};
    if (view->type == RECORD_MANIFEST) return ref;
    ref.end = le_get_u64(from + END_AT);
    ref.index = le_get_u64(from + INDEX_AT);
    return ref;
}

uint64_t manifest_released(const struct record_view *view) {
    return view->type == RECORD_CATALOG ? view->message_id : 0;
}
