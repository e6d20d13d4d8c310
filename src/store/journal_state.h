/* journal_state: the inside of a journal, shared by the files that are parts of it. */
#ifndef STORE_JOURNAL_STATE_H
#define STORE_JOURNAL_STATE_H

#include "base/list.h"
#include "base/prng.h"
#include "store/file_index.h"
#include "store/journal.h"
#include "store/journal_frame.h"

enum journal_write_kind { JOURNAL_WRITE_FRAME, JOURNAL_WRITE_HEADER, JOURNAL_WRITE_MARK };

/* A request and what it is for; found from the request when the disk hands it back. */
struct journal_write {
    struct disk_request request;
    enum journal_write_kind kind;
    struct journal_file *file;
};

enum journal_file_state {
    JOURNAL_FILE_SPARE,
    JOURNAL_FILE_ACTIVE,
    JOURNAL_FILE_FULL, /* left, but its successor is not stable yet */
    JOURNAL_FILE_LEFT, /* may be released */
    JOURNAL_FILE_ABANDONED,
    JOURNAL_FILE_MARKING,
};

struct journal_file {
    struct list_node in_files; /* journal->spares or journal->files */
    enum journal_file_state state;
    struct disk_file *handle; /* NULL: not opened yet */
    char name[DISK_NAME_BYTES_MAX];
    uint64_t size;
    uint64_t file_no;
    uint64_t file_id;
    uint64_t base_lsn;
    uint64_t position;          /* the last stable one in it */
    uint64_t end;               /* of what is stable in it, as an offset */
    uint64_t index;             /* where its first INDEX frame is, when it is stable, or 0 */
    struct journal_mark *marks; /* of this run's frames, as they were sent last */
    uint32_t mark_count;
    uint32_t mark_capacity;
    bool released;     /* its mark says where the chain begins, and */
    uint64_t explains; /* is needed until a stable header names this file number as released, or
                          the mark of a later file is stable */
    bool past;         /* written before this journal was opened */
    bool failed;       /* a write to it failed; never written again */
    uint8_t *mark;     /* the block, while it is written */
    struct journal_write mark_write;
};

/* Where the chain ends: what the next frame or file names as its predecessor. */
struct journal_tail {
    uint64_t file_no;
    uint64_t end_lsn;
    uint64_t index_lsn;
    uint32_t crc;
};

enum journal_slot_state { JOURNAL_SLOT_FREE, JOURNAL_SLOT_BUILT, JOURNAL_SLOT_SENT };

/* A frame from its building until it is stable. Its bytes stay, so that they can be written again
 * elsewhere. */
struct journal_slot {
    enum journal_slot_state state;
    struct journal_write write;
    struct journal_frame frame;
    uint8_t *buffer;
    size_t capacity;
    uint64_t first_position;
    uint64_t position; /* stable with this frame */
    uint64_t put_bytes;
    uint64_t sent_ms; /* when it was sent first */
    uint32_t crc;
};

/* A record that waits for its frame. */
struct journal_staged {
    struct record record;
    struct record_target target; /* the only one of most records */
    uint64_t position;
    size_t size;
};

struct journal {
    struct journal_settings settings;
    struct prng prng;
    struct journal_counts counts;
    uint64_t now_ms;
    uint64_t wall_ms;

    struct journal_staged *staged; /* a ring; the capacity is a power of two */
    uint32_t staged_first;
    uint32_t staged_count;
    uint32_t staged_capacity;
    uint32_t urgent_count;  /* of the staged */
    uint32_t hurried_count; /* the first so many, which somebody awaits */
    uint64_t lazy_since_ms;
    uint64_t staged_bytes;
    uint64_t unstable_bytes;
    uint64_t put_position;
    uint64_t built_position; /* put into frames */
    uint64_t stable_position;

    struct journal_slot slots[JOURNAL_IN_FLIGHT_MAX]; /* in the order of their frames */
    uint32_t slot_first;
    uint32_t slot_count;
    struct record_target *spans; /* settlements of the frame being built */
    uint32_t spans_capacity;

    struct list files;  /* all but spare ones, oldest first */
    struct list spares; /* marked or new */
    struct list unfit;  /* marked and too small; to be removed */
    uint32_t spare_count;
    struct journal_file *active;
    uint64_t active_offset;
    bool closing; /* the active file gets its INDEX frames */
    struct file_index index;
    struct journal_write header_write;
    uint8_t *header;
    uint32_t header_crc;
    uint64_t header_released_no; /* what it says */
    bool header_sent;

    struct journal_tail tail;   /* behind all that was sent */
    struct journal_tail stable; /* behind all that is stable */
    uint64_t durable_lsn;       /* what frames bear witness of */
    uint64_t last_file_no;
    uint64_t next_base_lsn;
    uint64_t released_file_no;
    uint64_t explained_file_no; /* released by a stable header of this journal */
    uint64_t marked_file_no;    /* the highest released by a stable mark of this journal */
    bool sealed;                /* what was sent last is a witness of all before */
    uint64_t last_done_ms;
    uint64_t last_took_ms; /* from sending the last stable frame until it was */

    struct disk_request make;
    uint64_t make_bytes; /* of the next file that is made */
    uint8_t *make_head;
    bool making;
    bool make_failed;
    uint64_t make_after_ms;
    uint64_t trim_ms;            /* when a surplus file goes; UINT64_MAX: there is none */
    struct disk_request removal; /* of a surplus file */
    bool removing;

    uint32_t marks_sent;
    bool failing; /* a write failed; what is in flight is waited for */
    int failing_error;
    uint32_t failures; /* since a frame became stable */
    bool finishing;
    bool begin_wanted; /* a file, whether there is something to write or not */
    bool stopped;
};

/* Begins the next spare file, if there is one and the last header is written. */
bool journal_file_begin(struct journal *journal);

/* The header of the active file is written; `status` as the disk gave it. */
void journal_file_on_header(struct journal *journal, int status);

/* Marks a file that is not needed any more. */
void journal_file_mark(struct journal *journal, struct journal_file *file);

/* A mark is written. */
void journal_file_on_mark(struct journal *journal, struct journal_file *file, int status);

/* A new file is made. */
void journal_file_on_make(struct journal *journal, int status);

/* Has files made, while there are too few. */
void journal_file_make(struct journal *journal);

/* Has surplus files removed, one at a time. */
void journal_file_trim(struct journal *journal);

/* A surplus file is removed. */
void journal_file_on_removed(struct journal *journal, int status);

/* Takes the active file out of use after a failure, its own or that of one before. */
void journal_file_give_up(struct journal *journal);

/* Closes and frees. */
void journal_file_free(struct journal *journal, struct journal_file *file);

/* Marks files that were cut off, once a successor explains that. */
void journal_file_mark_abandoned(struct journal *journal);

/* Notes that a frame that begins with `position` is sent to an offset of the file. */
void journal_mark_put(struct journal_file *file, uint64_t position, uint64_t offset);

/* Forgets where everything was sent that is not stable. */
void journal_marks_cut(struct journal *journal);

/* Forgets the file's marks. */
void journal_marks_free(struct journal_file *file);

/* Encodes as many staged records into a free slot as a frame takes and `room` bytes of the file
 * allow, summaries included. False when not even the first fits. */
bool journal_group_build(struct journal *journal, struct journal_slot *slot, uint64_t room);

/* Encodes the next INDEX frame of the file that is being closed. */
void journal_group_build_index(struct journal *journal, struct journal_slot *slot);

/* Encodes a SEAL frame. */
void journal_group_build_seal(struct journal *journal, struct journal_slot *slot);

/* The bytes that INDEX frames take at most, when there are so many more summaries, and so many more
 * bytes of runs and facts. */
uint64_t journal_group_index_bytes(
    const struct journal *journal, uint64_t summaries, uint64_t bytes);

/* Whether there is something to write, or a file is wanted all the same. */
bool journal_needs_file(const struct journal *journal);

/* Whether files are made while there are too few ready ones. */
bool journal_makes(const struct journal *journal);

/* The smallest file that is used. */
uint64_t journal_file_bytes_least(const struct journal *journal);

/* Bytes of the largest frame that is filled with several records. */
size_t journal_group_frame_bytes(const struct journal *journal);

/* Calls the owner. */
void journal_report(struct journal *journal, enum journal_trouble trouble, int error);

static inline struct journal_staged *journal_staged_at(struct journal *journal, uint32_t at) {
    return &journal->staged[(journal->staged_first + at) & (journal->staged_capacity - 1)];
}

static inline struct journal_slot *journal_slot_at(struct journal *journal, uint32_t at) {
    return &journal->slots[(journal->slot_first + at) % JOURNAL_IN_FLIGHT_MAX];
}

/* Frames that the disk has. */
static inline uint32_t journal_slots_sent(struct journal *journal) {
    uint32_t sent = 0;
    for (uint32_t i = 0; i < JOURNAL_IN_FLIGHT_MAX; i++)
        sent += journal->slots[i].state == JOURNAL_SLOT_SENT;
    return sent;
}

#endif
