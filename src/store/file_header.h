/* file_header: the first block of a journal file, and the mark in its second.
 *
 * The first block says which incarnation of the file this is and where it stands in its writer's
 * chain of files. The second block is not looked at while the file is in use; when nothing in it is
 * needed any more, a mark with the same file id is written there, and the file may be used again.
 * Since the mark leaves the header alone, tearing either of them leaves a file that can be told. */
#ifndef STORE_FILE_HEADER_H
#define STORE_FILE_HEADER_H

#include "base/base.h"

enum {
    FILE_HEADER_BYTES = 4096,
    FILE_MARK_AT = FILE_HEADER_BYTES,
    FILE_FRAMES_AT = 2 * FILE_HEADER_BYTES, /* the first frame; its lsn is base_lsn + this */
    FILE_FORMAT = 1,
    FILE_NODE_ID_BYTES = 16,
};

enum file_kind {
    FILE_RELEASED = 0, /* only in a mark */
    FILE_JOURNAL = 1,
    FILE_SEGMENT = 2, /* written once and whole; has no mark */
    FILE_SPILL = 6,   /* the same, and nothing that a start reads */
};

struct file_header {
    uint16_t format; /* FILE_FORMAT, when it is to be written */
    enum file_kind kind;
    uint8_t node_id[FILE_NODE_ID_BYTES];
    uint16_t shard;
    uint64_t file_no;          /* counts the writer's files, from 1 */
    uint64_t file_id;          /* random, another for every use of the file */
    uint64_t base_lsn;         /* the lsn of the file's first byte */
    uint64_t prev_file_no;     /* the file before in the chain, or 0 */
    uint64_t prev_end_lsn;     /* where that one ends; what lies behind does not count */
    uint64_t prev_index_lsn;   /* its first INDEX frame, or 0 */
    uint64_t created_ms;       /* wall clock */
    uint64_t durable_lsn;      /* everything below was stable when this was written */
    uint64_t released_file_no; /* this file of the writer and those before are not needed */
    uint32_t prev_crc;         /* the header checksum of the last frame before prev_end_lsn */
    uint32_t compat;           /* unknown bits are ignored */
    uint32_t incompat;         /* unknown bits: do not touch the file */
    uint32_t ro_compat;        /* unknown bits: read only */
};

enum file_header_fault {
    FILE_HEADER_GOOD,
    FILE_HEADER_BAD,   /* not a header, or not as it was written */
    FILE_HEADER_NEWER, /* well kept, of a format that this version does not know */
};

/* Writes a whole block. Gives its checksum, which the file's first frame names as predecessor's. */
uint32_t file_header_encode(const struct file_header *header, uint8_t *block);

/* Reads a block, of which nothing is believed. `ret_header` is set only for FILE_HEADER_GOOD. */
enum file_header_fault file_header_parse(
    const uint8_t *block, struct file_header *ret_header) MUST_USE;

/* The checksum of a block that was parsed. */
uint32_t file_header_crc(const uint8_t *block);

#endif
