/* journal: one writer's records, made stable in groups.
 *
 *      put, settle          turn                       disk                 turn
 *   --------------> staged ------> frame, in flight ---------> stable ------> on_stable(position)
 *
 * What is put waits until no write is in flight, then leaves in one frame with all that has
 * gathered meanwhile: groups form by themselves, without a timer. While one frame is in flight a
 * second is sent when there is much to send. Every record has a position, counted from 1; when a
 * position is stable, all below it are.
 *
 * Frames fill pre-written files, one after the other. A file that is full ends with an index of
 * what it holds (INDEX) and stays until its owner releases it; then it is marked and used again.
 * When nothing has been written for a moment, an empty SEAL frame bears witness of the last group.
 *
 * When a write fails, nothing of it is reported stable, and it is not tried again in that file:
 * what was in flight is written to a new one. When that fails as well, the journal stops for good.
 */
#ifndef STORE_JOURNAL_H
#define STORE_JOURNAL_H

#include "store/disk.h"
#include "store/file_header.h"
#include "store/manifest.h"
#include "store/record.h"

enum {
    JOURNAL_FILE_BYTES = 64 * 1024 * 1024,      /* the usual size of a file */
    JOURNAL_FILE_BYTES_FIRST = 8 * 1024 * 1024, /* and of the first; holds the largest record */
    JOURNAL_FILE_BYTES_MIN = 64 * 1024,
    JOURNAL_SEAL_MS = 20,             /* idle for that long: a SEAL frame */
    JOURNAL_LAZY_MS = 100,            /* a settlement waits no longer for a frame to travel in */
    JOURNAL_MAKE_MS = 1000,           /* between two attempts to make a file */
    JOURNAL_TRIM_MS = 2000,           /* files are surplus for that long before one is removed */
    JOURNAL_IN_FLIGHT_MAX = 2,        /* frames */
    JOURNAL_SECOND_BYTES = 64 * 1024, /* staged bytes that are worth a second frame in flight */
};

struct journal;

enum journal_trouble {
    JOURNAL_WRITE_FAILED, /* goes on in another file */
    JOURNAL_MAKE_FAILED,  /* no new file; tried again later, and what is put waits meanwhile */
    JOURNAL_MADE, /* there are files after all, made or released; said once, its error is 0 */
    JOURNAL_MARK_FAILED, /* a released file is not used again, or a surplus one not removed, until
                            the next start */
    JOURNAL_STOPPED,     /* nothing becomes stable any more; only a restart heals it */
};

/* What the journal tells its owner, from within journal_turn; requests also from journal_close. */
struct journal_calls {
    /* Everything put up to `position` is stable. */
    void (*on_stable)(void *context, uint64_t position);
    /* The file is full and may be released when nothing in it is needed: what was put up to
     * `position` lies in it and in those before. */
    void (*on_file_left)(void *context, uint64_t file_no, uint64_t position);
    /* Something failed with the errno `error`. */
    void (*on_trouble)(void *context, enum journal_trouble trouble, int error);
    /* The disk has handed back a request that the owner submitted itself to the journal's disk,
     * whose `submitter` it must not have set to the journal. NULL when it never does. */
    void (*on_request)(void *context, struct disk_request *request);
};

struct journal_settings {
    struct disk *disk;
    uint8_t node_id[FILE_NODE_ID_BYTES];
    uint16_t shard;            /* which writer this is */
    uint64_t file_bytes;       /* of new files; a multiple of the block, at least the minimum */
    uint64_t file_bytes_first; /* of the first ones; those behind grow to file_bytes. 0: as these */
    uint32_t files_spare; /* ready files to keep at hand, at least 1; more than one above that are
                             removed */
    /* The disk hands writes back before they are stable: frames say nothing of what is, beyond what
     * recovery has made so, and after a power loss a chain is cut where it is torn. */
    bool unwitnessed;
    uint64_t seed; /* random, another one at every start: file ids come from it */
    const struct journal_calls *calls;
    void *context;
};

/* A file that recovery found. */
struct journal_past_file {
    char name[DISK_NAME_BYTES_MAX];
    uint64_t file_no;
    uint64_t file_id;
    uint64_t base_lsn;
    uint64_t bytes; /* its size */
    uint64_t end;   /* of what counts in it */
    uint64_t index; /* where its first INDEX frame is, or 0 */
    bool abandoned; /* cut off: nothing in it counts */
};

/* Where a writer's chain of files ends, as recovery found it. All zero: there is none. */
struct journal_past {
    uint64_t last_file_no; /* the highest ever seen */
    uint64_t next_base_lsn;
    uint64_t prev_file_no;
    uint64_t prev_end_lsn;
    uint64_t prev_index_lsn;
    uint32_t prev_crc;
    uint64_t released_file_no;
    const struct journal_past_file *files; /* oldest first; borrowed for the call */
    uint32_t file_count;
};

/* Opens a journal behind its past. Nothing is written before there is something to write, and then
 * a new file is begun: a torn tail is never written behind. Closed by journal_close. */
struct journal *journal_open(
    const struct journal_settings *settings, const struct journal_past *past) MUST_USE;

/* Gives the journal a file that recovery found to be free. One that is too small is removed as soon
 * as nothing needs its mark. 0 or -errno, when the file stays as it is. */
int journal_add_spare(struct journal *journal, const char *name) MUST_USE;

/* Frees everything. No request may be in flight: journal_idle() says so, or the disk has handed
 * back all. What is staged is lost. NULL is fine. */
void journal_close(struct journal *journal);

/* Stages a record. All that it points to is borrowed until its position is stable, but a single
 * target is copied. 0 with its position; -EINVAL or -EMSGSIZE for a record that cannot be written,
 * -EIO when the journal has stopped. */
int journal_put(
    struct journal *journal, const struct record *record, uint64_t *ret_position) MUST_USE;

/* Stages a settlement, which is in no hurry: it travels in the next frame, or alone after
 * JOURNAL_LAZY_MS. Neighbours are merged. Results as those of journal_put. */
int journal_settle(
    struct journal *journal, const struct record_target *span, uint64_t *ret_position) MUST_USE;

/* Begins a new file even if there is nothing to write, so that those of its past may be released.
 * True when it would not have been begun without this: then a turn has to follow. */
bool journal_want_file(struct journal *journal);

/* True when the writer has a chain: the header of some file of it is stable. */
bool journal_has_chain(const struct journal *journal);

/* The settlements staged so far no longer wait for JOURNAL_LAZY_MS: somebody awaits one. A turn
 * follows, as after putting. */
void journal_hurry(struct journal *journal);

/* Works: takes over what the disk has done, reports it, sends what there is to send. To be called
 * after putting, when the disk's bell rings, and when journal_due() has come. `now_ms` never goes
 * back; `wall_ms` is only written down. */
void journal_turn(struct journal *journal, uint64_t now_ms, uint64_t wall_ms);

/* When the next turn is due without any other reason, or UINT64_MAX. */
uint64_t journal_due(const struct journal *journal);

/* Asks for an end: settlements hurry, and a SEAL frame follows at once. Then journal_idle(). */
void journal_finish(struct journal *journal);

/* True when nothing is staged that could be sent and nothing is in flight. */
bool journal_idle(const struct journal *journal);

/* True after JOURNAL_STOPPED. */
bool journal_stopped(const struct journal *journal);

/* True while nothing that is put will become stable for a while: it has stopped, or its files are
 * full and none can be made. */
bool journal_starved(const struct journal *journal);

/* The position up to which everything is stable. */
uint64_t journal_stable(const struct journal *journal);

/* Bytes that were put and are not stable. */
uint64_t journal_unstable_bytes(const struct journal *journal);

/* How fast the disk is. */
struct journal_pace {
    uint64_t waits_since_ms; /* when the oldest frame was sent that is not stable, or UINT64_MAX */
    uint64_t last_done_ms;   /* when one became stable last, */
    uint64_t last_took_ms;   /* and how long that took */
};

/* The pace, as of the last turn. */
struct journal_pace journal_pace(const struct journal *journal);

/* The oldest file that may be released, or 0. */
uint64_t journal_oldest(const struct journal *journal);

/* Nothing in the oldest file is needed any more, and whatever made it so is stable: the last
 * MANIFEST and all settlements in it have been put again, what lives has been copied to segments
 * that a manifest lists. The file is marked, and used again once the mark is stable. */
void journal_release(struct journal *journal, uint64_t file_no);

/* What a manifest has to say of the oldest file, for it to be kept where it is and read as a
 * segment from then on. */
struct segment_ref journal_keep_ref(const struct journal *journal, uint64_t file_no);

/* The first position in a frame, and where in its file the frame begins. */
struct journal_mark {
    uint64_t position;
    uint64_t offset;
};

/* A file that the journal has kept, and does not know any more. */
struct journal_kept {
    char name[DISK_NAME_BYTES_MAX];
    uint64_t file_no;
    uint64_t file_id;
    uint64_t bytes;             /* its size */
    uint64_t end;               /* of what counts in it */
    struct journal_mark *marks; /* of some of this run's frames; freed by mem_free */
    uint32_t mark_count;
};

/* Keeps the oldest file instead of releasing it: a manifest that names it as kept, by
 * journal_keep_ref, is stable. It is not marked, and never written again. */
void journal_keep(struct journal *journal, uint64_t file_no, struct journal_kept *ret_kept);

/* Files in its chain: those left, the full ones, and the one that is being written. */
uint32_t journal_files(const struct journal *journal);

/* Files that are ready to be used. */
uint32_t journal_spares(const struct journal *journal);

/* A file of the chain, as far as it is stable. */
struct journal_piece {
    char name[DISK_NAME_BYTES_MAX];
    uint64_t file_no;
    uint64_t end_lsn; /* behind what counts; 0: its successor's header says where it ends */
};

/* Gives the files of the chain up to what is stable, oldest first. As long as nothing is released
 * they stay, and nothing in them changes below their ends. */
void journal_pieces(const struct journal *journal,
    void (*each)(void *context, const struct journal_piece *piece), void *context);

/* The last of the marks, which ascend, that is not above a position; UINT32_MAX when there is none.
 */
uint32_t journal_mark_find(
    const struct journal_mark *marks, uint32_t mark_count, uint64_t position);

/* Where in a file something is. */
struct journal_place {
    char name[DISK_NAME_BYTES_MAX];
    uint64_t file_no;
    uint64_t file_id;
    uint64_t offset; /* of the frame that has it */
    uint64_t end;    /* of what is stable in the file; frames behind are none of it */
};

/* Finds the frame with a position of this run. False when its file is released, or it is not
 * stable. */
bool journal_locate(
    const struct journal *journal, uint64_t position, struct journal_place *ret_place) MUST_USE;

/* The name of a file of before the start that is still in the chain, or NULL; borrowed. */
const char *journal_past_name(const struct journal *journal, uint64_t file_no);

/* All that is known of such a file; its frames begin at the offset. False when there is none. */
bool journal_past_place(
    const struct journal *journal, uint64_t file_no, struct journal_place *ret_place) MUST_USE;

/* What the journal has done since it was opened. */
struct journal_counts {
    uint64_t frames;
    uint64_t records;
    uint64_t bytes; /* of frames, with headers and padding */
    uint64_t failed_writes;
    uint64_t files_begun;
    uint64_t files_made;
    uint64_t files_removed;
};

/* The counts; borrowed, valid until journal_close. */
const struct journal_counts *journal_counts(const struct journal *journal);

#endif
