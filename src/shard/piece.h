/* piece: walking through the messages of a kept file, so much of it at a time as one read brings.
 *
 *      piece_begin, piece_read ---> the disk ---> piece_on_request
 *                        ^                              |
 *                        +--- PAGE_MORE --- piece_next, piece_next, ... --- PAGE_END: piece_follow
 *
 * Owns the request, the memory, and the parts of a message while they are gathered. What a disk
 * does not give as a whole is read again block by block, so that a bad one costs what is in it and
 * not what is beside it. What is wrong is stepped over: who is looked for and not met is missing,
 * and that is for the caller to notice. */
#ifndef SHARD_PIECE_H
#define SHARD_PIECE_H

#include "store/disk.h"
#include "store/pages.h"
#include "store/pub.h"

struct kept_file;
struct message;
struct message_pool;
struct stay;

/* Where a run begins: where in which file its first record is, or a frame with or before it. */
struct piece_place {
    char name[DISK_NAME_BYTES_MAX];
    uint64_t file_id;
    uint64_t offset;
    uint64_t end;  /* of what counts in the file, a multiple of the block */
    bool fleeting; /* it is a spill file */
};

struct piece {
    struct disk_request request;
    struct disk *disk;
    struct kept_file *file; /* that is read, or NULL */
    struct page page;
    struct pub_parts parts;
    uint64_t parts_at;        /* where the first of them is */
    struct bytes parts_found; /* of the message given last, borrowed */
    uint8_t *memory;
    size_t capacity;
    uint64_t offset; /* of what was read last, */
    uint64_t size;   /* so much was asked for, */
    uint64_t done;   /* and so much is there */
    bool by_blocks;
    bool failed; /* some of it could not be read */
};

/* False when that is not known any more. */
bool piece_locate(const struct stay *stay, struct piece_place *ret_place);

/* The journal file behind this one in its chain, in which a message in parts that begins in this
 * one may end; or NULL. Not of a file that is whole: those behind it may be gone. */
struct kept_file *piece_next_file(struct kept_file *file);

/* Where that begins; false when there is none. */
bool piece_locate_next(struct kept_file *file, struct piece_place *ret_place);

/* Its requests are the submitter's. */
void piece_init(struct piece *piece, struct disk *disk, const void *submitter);

/* No request is with the disk. */
void piece_deinit(struct piece *piece);

/* Begins to walk through a file, at `at`. Nothing is read yet. The file is NULL when nothing of it
 * goes on in another. */
void piece_begin(
    struct piece *piece, struct kept_file *file, const struct piece_place *place, uint64_t at);

/* Reads so much from where the walk is. */
void piece_read(struct piece *piece, uint64_t bytes);

/* Reads what one read is worth, and at least what the next record takes. */
void piece_read_on(struct piece *piece);

enum piece_state {
    PIECE_THERE, /* all of it that can be read */
    PIECE_SENT,  /* again, for the rest */
    PIECE_LATER, /* The machine cannot read just now: piece_read once more, in a while */
};

/* The disk has handed the request back. */
enum piece_state piece_on_request(struct piece *piece) MUST_USE;

/* The next message: its PUB is in page.view, its parts are all there. PAGE_MORE when the piece is
 * over, PAGE_END when the file is. */
enum page_step piece_next(struct piece *piece) MUST_USE;

/* The message that was given last, with one reference, or NULL when it makes no sense. */
struct message *piece_message(const struct piece *piece, struct message_pool *pool);

/* At the file's end: begins with the next one when the last message goes on there. */
bool piece_follow(struct piece *piece) MUST_USE;

/* What has been gathered of a message is not wanted. */
void piece_forget_parts(struct piece *piece);

#endif
