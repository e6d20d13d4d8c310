/* segment: a file written once and whole: messages that outlive the journal file they came in.
 *
 *      begin        put, put, put          finish           the owner                 the disk
 *   ----------> in memory, growing ----> a DISK_MAKE ----> disk_submit ----> there whole, or not
 *
 * A segment counts once a MANIFEST record in its writer's chain lists it; before that it is left
 * over from something that was interrupted, and the next start removes it. It is never written
 * again: what still lives in it is copied to another one when too little does.
 *
 * A spill file is the same but for its name and kind, and that it has no index: it never counts,
 * and is not synced. */
#ifndef STORE_SEGMENT_H
#define STORE_SEGMENT_H

#include "store/disk.h"
#include "store/file_header.h"
#include "store/manifest.h"
#include "store/record.h"

enum {
    SEGMENT_BYTES = 64 * 1024 * 1024, /* the usual capacity */
    SEGMENT_BYTES_MIN = 64 * 1024,
    SEGMENT_FRAMES_AT = FILE_HEADER_BYTES, /* the first frame; there is no mark */
};

struct segment_settings {
    uint8_t node_id[FILE_NODE_ID_BYTES];
    uint16_t shard;          /* the writer whose manifest will list it */
    uint64_t number;         /* above all the writer ever used; from 1 */
    uint64_t file_id;        /* random */
    uint64_t capacity_bytes; /* of the file; a multiple of the block, at least the minimum */
    bool spill;              /* a spill file: nobody but this process will read it */
    uint8_t *memory;         /* borrowed, aligned for disks; or NULL: it takes its own */
    size_t memory_bytes;
};

/* A segment that is being put together in memory. */
struct segment_build;

/* Begins one. Freed by segment_free. */
struct segment_build *segment_begin(const struct segment_settings *settings) MUST_USE;

/* Copies a record, which must be valid (record_validate); says where in the file it begins. False
 * when it does not fit: then this segment is to be finished and another begun. An empty one takes
 * any record. Whoever has taken a PART also takes the other PARTs and the PUB that follow it,
 * whatever they come to: a message is in one segment or in another. */
bool segment_put(
    struct segment_build *build, const struct record *record, uint64_t *ret_offset) MUST_USE;

/* Bytes that the file takes so far; after segment_finish its size. */
uint64_t segment_bytes(const struct segment_build *build);

/* Records that were put. */
uint64_t segment_records(const struct segment_build *build);

/* Adds the index and the end, and prepares the request that makes the file, name and all; the
 * owner submits it, once: the disk drops what is in memory. What it points to stays the build's,
 * which must not be freed before the disk has handed the request back. At least one record must
 * have been put, and none may be after. */
void segment_finish(struct segment_build *build, struct disk_request *ret_request);

/* Frees it; NULL is fine. */
void segment_free(struct segment_build *build);

/* The name of a segment's file. */
void segment_name(uint64_t file_id, char name[DISK_NAME_BYTES_MAX]);

/* The name of a spill file. */
void segment_spill_name(uint64_t file_id, char name[DISK_NAME_BYTES_MAX]);

/* Writes the RECORD_MANIFEST_ENTRY_BYTES that every manifest has of a segment. */
void segment_ref_put(const struct segment_ref *ref, uint8_t *at);

#endif
