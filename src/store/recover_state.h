/* recover_state: the inside of a recovery, shared by the files that are parts of it. */
#ifndef STORE_RECOVER_STATE_H
#define STORE_RECOVER_STATE_H

#include "store/file_index.h"
#include "store/journal_frame.h"
#include "store/recover.h"
#include "store/segment.h"

enum recover_file_kind {
    RECOVER_FILE_LIVE,     /* a good header, and no mark for it */
    RECOVER_FILE_SPARE,    /* marked */
    RECOVER_FILE_HEADLESS, /* a mark, and a header that cannot be read: torn when it was begun, or
                              rotten; what it holds decides */
    RECOVER_FILE_BAD,      /* neither; also a segment without a header */
    RECOVER_FILE_SEGMENT,  /* a good header of a segment */
};

/* Beside RECORD_BIT of those types that have one. */
#define RECOVER_RUNS_BIT (1u << 31)

/* Good frames one after the other, as offsets in the file. */
struct recover_stretch {
    uint64_t from;
    uint64_t to;
    bool partial;   /* one bad frame, of which the good records are salvaged */
    uint32_t types; /* RECORD_BIT of all that is in them; all bits when partial */
};

struct recover_file {
    char name[DISK_NAME_BYTES_MAX];
    struct disk_file *handle; /* only while it is read: there may be many */
    uint64_t size;
    enum recover_file_kind kind;
    struct file_header header;
    uint32_t header_crc;
    bool has_mark;
    struct file_header mark;
    bool mark_needed; /* to explain where a chain begins */
    bool taken;       /* given away as a spare */
    bool in_chain;
    bool cut_off;            /* of a chain, behind its torn tail */
    bool listed;             /* a segment or a kept journal file that a manifest lists */
    bool scanned;            /* as a part of the chain, which it is not */
    bool doubtful;           /* a journal file that may have been kept: nobody knows */
    bool damaged;            /* something in it is not as it was written */
    uint64_t frames;         /* good ones, as far as they were looked at */
    uint64_t records;        /* in these */
    uint64_t bytes;          /* the same */
    uint64_t end;            /* of what counts in a journal file */
    uint64_t index;          /* its first INDEX frame, or 0 */
    uint64_t index_said;     /* where its index is said to be, when it is no file of the chain */
    bool indexed;            /* only that was read */
    struct file_run *pieces; /* in it: of messages that are in two files */
    uint32_t piece_count;
    struct recover_file *successor;
    struct recover_stretch *stretches;
    uint32_t stretch_count;
    uint32_t stretch_capacity;
};

struct recover_chain {
    uint16_t shard;
    struct recover_file **live; /* all that the writer has in use, oldest first */
    uint32_t live_count;
    struct recover_file **files; /* those of the chain, oldest first */
    uint32_t count;
    struct recover_file *gap; /* one whose predecessor is not there, or NULL */
    uint64_t released_file_no;
    uint64_t last_file_no;
    uint64_t next_base_lsn;
    /* Where it ends. */
    uint64_t end_file_no;
    uint64_t end_lsn;
    uint64_t end_index_lsn;
    uint32_t end_crc;
    struct journal_past_file *past_files;
    uint32_t past_count;
    bool has_manifest;
    struct segment_ref *manifest; /* the last one met */
    uint32_t manifest_count;
    uint64_t manifest_released;   /* the chain begins behind this file */
    uint64_t last_segment_number; /* of all that were met */
};

/* A window on a file. */
struct recover_reader {
    struct recover_file *file;
    struct disk_file *handle; /* its own, when the file's is not open */
    uint8_t *buffer;          /* grows with the largest frame met */
    uint64_t capacity;
    uint64_t from;
    uint64_t size;
    int error; /* of the last read that failed */
};

struct recovery {
    struct recover_settings settings;
    struct recover_file **files;
    uint32_t file_count;
    uint32_t file_capacity;
    struct recover_file **segments; /* those that are listed first, by writer and number */
    uint32_t segment_count;
    uint32_t segment_capacity;
    uint32_t listed_count;
    struct recover_file **kept; /* by writer and number */
    uint32_t kept_count;
    char (*leftovers)[DISK_NAME_BYTES_MAX];
    uint32_t leftover_count;
    uint32_t leftover_capacity;
    struct recover_chain *chains;
    uint32_t chain_count;
    struct recover_damage *damages;
    uint64_t damage_count;
    bool refused;
    struct recover_reader reader;
    struct recover_reader search_reader; /* for looking ahead without losing the place */
    struct recover_counts counts;
};

/* Finds the files of the directory, opens, syncs and judges them. 0 or -errno. */
int recover_files_load(struct recovery *recovery);

/* Remembers a file for its removal. */
void recover_leftover_add(struct recovery *recovery, const char *name);

/* Finds each writer's files that are in use, and forms its chain back to where a file is not there.
 */
void recover_chains_form(struct recovery *recovery);

/* Goes on behind that place, which it reports. */
void recover_chain_form_on(struct recovery *recovery, struct recover_chain *chain);

/* Takes files out of the chain that the manifest says are no part of it. */
void recover_chain_trim(struct recovery *recovery, struct recover_chain *chain);

/* Checks the frames of a chain, cuts it, reports damage and files that are missing. */
void recover_chain_scan(struct recovery *recovery, struct recover_chain *chain);

/* Finds the journal files that the manifests say were kept, checks and reports; where `doubtful`,
 * those that may have been. The chains must have been scanned. */
void recover_kept_check(struct recovery *recovery, bool doubtful);

/* Says what the next journals have to know of the files, and which are left over. */
void recover_past_form(struct recovery *recovery, struct recover_chain *chain, bool doubtful);

/* Reads a segment's header. */
void recover_segment_judge(struct recovery *recovery, struct recover_file *file);

/* Compares the segments that are there with those that the manifests list, checks the latter, and
 * takes the others for left over, unless `doubtful`. Says so too when it finds that nobody knows
 * the last manifest. The chains must have been scanned. */
bool recover_segments_check(struct recovery *recovery, bool doubtful);

/* Checks the frames of a segment and reports damage. */
void recover_segment_scan(struct recovery *recovery, struct recover_file *file);

/* The same for a kept journal file up to file->end. */
void recover_kept_scan(struct recovery *recovery, struct recover_file *file);

/* Forgets what was found good in a file. */
void recover_scan_forget(struct recovery *recovery, struct recover_file *file);

/* Reports files without a header that hold frames of a writer of whom nothing else is left. */
void recover_headless_check(struct recovery *recovery);

/* Reports files that seem to be free, but that a writer has used behind the end of its chain: the
 * disk has lost their headers. */
void recover_lost_headers_check(struct recovery *recovery);

/* Whether a run can be one of this file. */
bool recover_run_is_sound(const struct recover_file *file, const struct file_run *run);

/* Called for each record of a piece. */
typedef void (*recover_piece_fn)(void *context, const struct record_view *view, uint64_t record_at);

/* Reads a piece of a message, to which the reader's file says that it belongs. False when it is not
 * what the index says. */
bool recover_piece_walk(struct recovery *recovery, struct recover_reader *reader,
    const struct file_run *piece, recover_piece_fn found, void *context) MUST_USE;

/* Bytes of the reader's file, borrowed until the next call; NULL when the disk does not give them,
 * and reader->error says why. `size` is at most a frame's maximum and within the file. */
const uint8_t *recover_reader_get(
    struct recovery *recovery, struct recover_reader *reader, uint64_t offset, uint64_t size);

/* Turns the reader to a file, or with NULL to none. */
void recover_reader_set(
    struct recovery *recovery, struct recover_reader *reader, struct recover_file *file);

/* Reports. Gives the damage to be completed, or NULL when there are too many. */
struct recover_damage *recover_damage_add(struct recovery *recovery, enum recover_damage_kind kind,
    const struct recover_file *file, uint64_t offset);

#endif
