/* retire: emptying files on disk and giving them back, so that disk use follows what lives.
 *
 *     owner of the file                           every shard that may have something in it
 *     choose a file ------- EVACUATE -----------> copy living messages into segments of its own,
 *                                                 put facts again that the file has (facts.h),
 *                                                 name the segments in the MANIFEST, all stable
 *     manifest, release <-- EVACUATED -----------
 *     the file is gone ----- EVACUATE ----------> forget it
 *
 * A fact is that a message is settled, or may have been delivered. It is needed for as long as some
 * file still has the message, living or not; so before a file goes, the facts in it about queues
 * that have anything elsewhere are put again.
 *
 * Journal files are emptied when nothing lives in them, or when there are more than the budget, the
 * oldest first. One of the latter that mostly lives and belongs to few queues is not emptied: it is
 * kept where it is and counts as a segment, and facts are put again as if it went, as it goes when
 * it likes, before the files behind it. Segments are emptied when nothing lives in them, or when
 * much of them is dead. All of it is done in slices of the shard's turns. */
#ifndef SHARD_RETIRE_H
#define SHARD_RETIRE_H

#include "base/fifo.h"
#include "base/list.h"
#include "shard/facts.h"
#include "shard/retrieve.h"
#include "shard/sharing.h"
#include "shard/shelf.h"
#include "store/disk.h"
#include "store/segment.h"

struct keeper;

enum { EVACUATION_FILES_MAX = 8 };

/* Files of one archive that are emptied together. Travels by mail; its owner frees it. */
struct evacuation {
    struct kept_file *files[EVACUATION_FILES_MAX];
    uint32_t file_count;
    uint32_t owner;      /* the shard */
    uint32_t left;       /* shards that have not answered */
    bool keeps;          /* a journal file stays where it is, as a segment: nothing is copied */
    bool gone;           /* they are on no disk any more: who knows of them forgets them */
    _Atomic bool broken; /* some of them could not empty the files: something cannot be read */
};

/* A segment that is being put together or written. */
struct building {
    struct disk_request request;
    struct segment_build *build;
    struct kept_file *file;
    bool sent;
    bool done;
};

/* A segment's name that is being removed. */
struct removal {
    struct disk_request request;
};

/* A move of a queue's messages, carried out once the segment counts. */
struct planned_move {
    queue_ref queue;
    struct shelf_move move; /* end_seq UINT64_MAX: to the end of the run */
};

enum evacuation_phase {
    EVACUATION_NONE,
    EVACUATION_LOADING, /* what is on disk only is read */
    EVACUATION_COPYING,
    EVACUATION_SHARING, /* messages of several queues are copied */
    EVACUATION_WRITING,
    EVACUATION_RECORDING
};

enum release_phase { RELEASE_NONE, RELEASE_EMPTYING, RELEASE_RECORDING, RELEASE_FORGETTING };

struct retirement {
    struct keeper *keeper;
    bool ending;       /* nothing new is begun */
    bool held;         /* nothing is given back: somebody copies the files */
    bool more;         /* a turn of a journal has to follow */
    uint64_t retry_ms; /* nothing is tried before; 0: now */
    bool awaits_file;  /* one goes when its journal has begun another */
    bool changed;      /* since files were last looked at: one may have to go */
    uint64_t look_ms;  /* they are not looked at before */

    /* As a shard that has something in the files of others, or of its own. */
    struct fifo jobs; /* struct evacuation *, the first is at work */
    enum evacuation_phase phase;
    uint32_t file_at;
    uint32_t touched_at;
    uint64_t seq_at;     /* in that queue; 0: at its beginning */
    uint64_t walk;       /* of one file's queues, some of which it may list twice */
    uint64_t first_walk; /* of this job */
    struct facts facts;  /* of the queue that is looked at */
    bool put_off;        /* a queue could not be looked at: once more */
    bool failed;         /* a segment could not be written */
    bool failing;        /* which has been said; cleared by one that could */
    bool broken;         /* something that lives could not be read */
    struct retrieval retrieval;
    struct fifo buildings; /* struct building * */
    bool shares;           /* the run being copied: its messages are in other queues, too */
    struct sharing sharing;
    struct building *shared; /* the segment for these, or NULL */
    struct planned_move *moves;
    uint32_t move_count;
    uint32_t move_capacity;
    uint64_t move_bytes; /* of the last one, so far */
    uint64_t position;   /* facts and manifest are stable with it */

    /* As the owner of files. */
    enum release_phase release;
    struct evacuation evacuation;
    uint64_t manifest_position; /* in the journal of the files' archive */
    uint32_t removals;          /* requests with disks */
};

void retirement_init(struct retirement *retirement, struct keeper *keeper);

/* The disks have handed back everything. */
void retirement_deinit(struct retirement *retirement);

/* True when a turn of it would do more than look whether there is something to do. */
bool retirement_busy(const struct retirement *retirement);

/* Goes on. True when there is more to do at once. */
bool retirement_turn(struct retirement *retirement);

/* When it wants a turn without any other reason; UINT64_MAX for never. */
uint64_t retirement_due(const struct retirement *retirement);

/* True while messages are being copied: those in memory stay there. */
bool retirement_copies(const struct retirement *retirement);

/* True when no request of it is with a disk. */
bool retirement_idle(const struct retirement *retirement);

/* A queue has nothing that lives in some file of before the start, or is gone: the file may be
 * anybody's. */
void retirement_on_emptied(struct retirement *retirement);

/* Mail: files are to be emptied of what this shard has in them. */
void retirement_on_evacuate(struct retirement *retirement, struct evacuation *evacuation);

/* Mail: another shard has done so. */
void retirement_on_evacuated(struct retirement *retirement, struct evacuation *evacuation);

/* A disk has handed back a request of the retirement's. */
void retirement_on_request(struct retirement *retirement, struct disk_request *request);

/* ---- between retire.c and evacuate.c */

/* Goes on with the first job. True when there is more to do at once. */
bool evacuate_turn(struct retirement *retirement);

/* A segment has been written, or could not be. */
void evacuate_on_built(struct retirement *retirement, struct building *building);

/* Stages the list of an archive's segments in its journal; gives the position there. */
struct archive;
uint64_t retire_put_manifest(struct archive *archive);

/* Has a file's name removed. */
void retire_remove(
    struct retirement *retirement, struct archive *archive, const struct kept_file *file);

#endif
