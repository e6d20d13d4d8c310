/* file_index: what a journal file or a segment ends with, so that who starts need not read it all.
 *
 *      summaries     per queue and priority, always                        INDEX
 *      runs          where the messages of a queue are                     RUNS
 *      facts         what its records say of queues and of segments        as ordinary records
 *
 * The latter two are there together or not at all: they are given up when they come to more than
 * an eighth of the file. A run is of consecutive messages of one queue and priority, none missing,
 * within 256 KiB unless one message takes more; other records may stand between. A message whose
 * PARTs and PUB are in two files is in no run, but each of them says where its piece is.
 *
 * Of facts only what still tells something is there again: neighbouring settlements as one, the
 * last state of a queue, the highest places of others. */
#ifndef STORE_FILE_INDEX_H
#define STORE_FILE_INDEX_H

#include "base/map.h"
#include "store/journal_frame.h"
#include "store/summary.h"

enum {
    FILE_RUN_BYTES = 40,            /* of one, on disk */
    FILE_RUN_SPAN_MAX = 256 * 1024, /* of the file */
    FILE_INDEX_SPANS_RECENT = 4,    /* settlements of a queue that another one may adjoin */
    FILE_INDEX_PART = 8,            /* runs and facts take at most that part of a file, or */
    FILE_INDEX_BYTES_LEAST = 4096,  /* so many bytes */
    FILE_INDEX_ROOM_LEAST = RECORD_HEADER_BYTES + SUMMARY_BYTES, /* of a frame, for anything */
};

/* `count` messages from `first_seq` on; 0: a piece of the message `first_seq`. */
struct file_run {
    uint64_t queue;
    uint64_t first_seq;
    uint64_t offset; /* the first record of the first message begins there, and */
    uint32_t bytes;  /* so much further the last one ends */
    uint32_t count;
    uint64_t body_bytes; /* of the messages' bodies */
};

/* One of them in the body of a RUNS record; how many there are. */
uint32_t file_run_count(struct bytes body);
struct file_run file_run_at(struct bytes body, uint32_t at);

/* One queue's messages of one priority, while the file is written. */
struct file_index_lane {
    struct summary summary;
    bool counted;                            /* the summary counts something */
    uint32_t run;                            /* the last of its runs, counted from 1; 0: none */
    uint32_t spans[FILE_INDEX_SPANS_RECENT]; /* the last ones, counted from 1 */
    uint32_t span_next;                      /* which of them goes next */
    uint32_t state;                          /* its queue's state, counted from 1 */
    uint64_t delivered;                      /* the highest target of a DELIVERED, or 0 */
    uint64_t purged;                         /* the same of a PURGE */
};

/* A record that is copied as it is. */
struct file_index_raw {
    uint8_t *bytes;
    size_t size;
};

/* The message of which PARTs were met last, and not its PUB. */
struct file_index_open {
    struct record_target target; /* queue 0: there is none */
    uint64_t offset;
    uint64_t end;
    uint64_t part_bytes; /* of the bodies of its PARTs */
    bool whole;          /* its first PART is in this file */
};

/* Where writing it is. */
struct file_index_cursor {
    uint32_t stage;
    uint32_t at;
};

/* All zero is an empty index that takes nothing but summaries. */
struct file_index {
    struct map by_lane;
    struct file_index_lane *lanes; /* in the order of their first appearance */
    uint32_t lane_count;
    uint32_t lane_capacity;
    uint32_t summary_count;
    uint64_t bytes_max; /* of runs and facts */
    bool given_up;
    uint64_t bytes; /* of runs and facts, as their entries; never less than there will be */
    struct file_run *runs;
    uint32_t run_count;
    uint32_t run_capacity;
    struct record_target *spans;
    uint32_t span_count;
    uint32_t span_capacity;
    struct file_index_raw *raws; /* in order; of states only the last */
    uint32_t raw_count;
    uint32_t raw_capacity;
    struct file_index_raw manifest;
    struct file_index_open open;
    struct file_index_cursor cursor;
};

/* Forgets everything and gives the memory back. */
void file_index_deinit(struct file_index *index);

/* Forgets everything. From now on runs and facts are taken up to so many bytes. */
void file_index_clear(struct file_index *index, uint64_t bytes_max);

/* Takes a record that is encoded at `at` and goes to `offset` of the file. */
void file_index_add(
    struct file_index *index, const struct record_view *view, const uint8_t *at, uint64_t offset);

/* Bytes of runs and facts that a record may add, at most. */
uint64_t file_index_cost(enum record_type type, uint32_t target_count, size_t size);

/* The bytes that its frames of up to `frame_bytes` take at most, when there will be so many more
 * summaries, and so many more bytes of runs and facts. */
uint64_t file_index_frames_bytes(
    const struct file_index *index, uint64_t frame_bytes, uint64_t summaries, uint64_t bytes);

/* The same for so many summaries and nothing else. */
uint64_t file_index_summaries_bytes(uint64_t frame_bytes, uint64_t summaries);

/* Everything has been added: begins writing. Runs and facts are given up when they come to more
 * than `bytes_max`, or all of it to more than `room` in frames. */
void file_index_begin(
    struct file_index *index, uint64_t frame_bytes, uint64_t bytes_max, uint64_t room);

/* The room that the next call needs to go on. */
size_t file_index_least(const struct file_index *index);

/* Writes as many records as go into `room` bytes at `at`, and counts them in the frame. Gives the
 * bytes written. */
size_t file_index_put(
    struct file_index *index, uint8_t *at, size_t room, struct journal_frame *frame);

/* Whether all is written. */
bool file_index_done(const struct file_index *index);

/* The flags of a frame that was written: its last one says so when nothing was given up. */
uint8_t file_index_flags(const struct file_index *index);

#endif
