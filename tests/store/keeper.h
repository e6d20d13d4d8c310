/* keeper: an owner of messages, one per writer, as the broker will be one: it publishes, settles,
 * retires journal files to segments, merges segments and removes them.
 *
 * One job at a time, each in the same order: segments are made; facts and the manifest are put and
 * become stable; then the file is released, or the segments that were given up are removed. */
#ifndef TESTS_STORE_KEEPER_H
#define TESTS_STORE_KEEPER_H

#include "ledger.h"

#include "store/pages.h"
#include "store/segment.h"

enum { KEEPER_SEGMENTS_MAX = 64, KEEPER_BUILDS_MAX = 8, KEEPER_SEGMENTS_WANTED = 4 };

enum keeper_phase {
    KEEPER_IDLE,
    KEEPER_MAKING,  /* segments are on their way */
    KEEPER_STATING, /* facts and the manifest are */
};

struct keeper_segment {
    struct segment_ref ref; /* of a segment, or of a journal file that was kept */
    char name[DISK_NAME_BYTES_MAX];
    bool victim; /* its messages are on their way to another, or dead */
};

struct keeper_build {
    struct segment_build *build;
    struct disk_request request;
    uint64_t number;
    uint64_t file_id;
};

/* A message that is read back while everything goes on. */
struct keeper_read {
    struct disk_request request;
    uint8_t *memory;
    const struct ledger_message *message; /* NULL: nothing is being read */
    uint64_t segment;                     /* where it was when the reading began */
    uint32_t part;                        /* the next one to be met */
    struct page page;
};

struct keeper {
    struct ledger *ledger;
    struct disk *disk;
    struct journal *journal;
    struct prng prng;
    uint16_t writer;
    uint32_t running; /* writers in this life */
    uint32_t retain;  /* files that the chain may have before one is retired */
    bool stopped;     /* its journal has */
    enum keeper_phase phase;

    uint64_t last_number;
    struct keeper_segment segments[KEEPER_SEGMENTS_MAX];
    uint32_t segment_count;
    char removals[KEEPER_SEGMENTS_MAX][DISK_NAME_BYTES_MAX]; /* names to be removed */
    uint32_t removal_count;
    struct disk_request removal;
    bool removing;
    struct keeper_read read;

    /* The job. */
    uint64_t file_no;                /* to be released, or 0 */
    bool keeping;                    /* it is kept instead */
    uint64_t kept_no;                /* the highest that was kept in this life */
    uint64_t left[LEDGER_FILES_MAX]; /* by file: the last position in it and those before */
    struct keeper_build builds[KEEPER_BUILDS_MAX];
    uint32_t build_count;
    uint32_t making;
    uint32_t ahead_of; /* 1 and a writer who has settled something of it that is not stable, or 0 */
    bool failed;
    uint64_t awaited; /* position */
    uint64_t jobs_done;
    uint64_t reads_done; /* messages that were read back and compared */
};

/* Begins a life: what the recovery says of the writer's segments. The journal is the caller's. */
void keeper_begin(struct keeper *keeper, const struct recovery *recovery, struct journal *journal);

/* Ends it, after the journal was closed; memory of the job is freed. */
void keeper_end(struct keeper *keeper);

/* Puts some messages; settles some. */
void keeper_publish(struct keeper *keeper);
void keeper_settle(struct keeper *keeper);

/* Settles all of its queues' messages but those that never are. */
void keeper_settle_all(struct keeper *keeper);

/* Takes the next step of its job, or begins one when there is something to do. */
void keeper_step(struct keeper *keeper);

/* Begins to read some message back, from wherever it is, unless one is being read. */
void keeper_read(struct keeper *keeper);

/* A piece has been read. */
void keeper_on_read(struct keeper *keeper);

/* From the journal. */
void keeper_on_file_left(struct keeper *keeper, uint64_t file_no, uint64_t position);
void keeper_on_request(struct keeper *keeper, const struct disk_request *request);

/* Whether the keeper has nothing to do, and holds no more files and segments than it should. */
bool keeper_is_content(const struct keeper *keeper);

#endif
