/* recover: reading back what journals have written, after whatever became of them.
 *
 *      recover_open        verdict            replay               replay
 *   ---------------> scan --------> publishes ------> the others ------> journals open behind it
 *
 * Opening looks at every file of the directory, whoever wrote it, and changes nothing. Each
 * writer's files form a chain; in it every frame is checked, or by its index (settings.by_index)
 * the last files, and of full ones what they say at their ends. The first bad frame of a chain is
 * either the torn tail of a crash, and the chain is cut there; or some later frame or header says
 * that this place had been stable, and then it is damage, and is reported. Where there is damage
 * nothing is replayed, unless salvaging was asked for: then everything else is.
 *
 * Any number of writers may have written, and any other number may follow: records name queues. */
#ifndef STORE_RECOVER_H
#define STORE_RECOVER_H

#include "store/journal.h"

enum { RECOVER_DAMAGES_MAX = 10000 }; /* remembered one by one; beyond these only counted */

enum recover_damage_kind {
    RECOVER_BAD_FRAME,  /* not what was written, though it had been stable */
    RECOVER_UNREADABLE, /* the disk gives an error */
    RECOVER_BAD_HEADER, /* the file's first block is not what was written */
    RECOVER_MISSING,    /* a file of the chain or a segment of the manifest is not there */
    RECOVER_NEWER,      /* written by a version that knows more; cannot be salvaged by this one */
    RECOVER_FOREIGN,    /* of another node */
};

struct recover_damage {
    enum recover_damage_kind kind;
    int error; /* errno of RECOVER_UNREADABLE */
    uint16_t shard;
    char name[DISK_NAME_BYTES_MAX]; /* the file; empty for a journal file that is missing */
    uint64_t file_no;               /* or the segment's number; 0 where it cannot be read */
    uint64_t lsn;                   /* where it begins in the writer's sequence */
    uint64_t offset;                /* the same in the file */
    uint64_t size;                  /* bytes until the next good frame, or 0: until the end */
    bool has_target;                /* the damaged record still names a queue and a seq, perhaps
                                       not rightly */
    struct record_target target;
};

struct recover_settings {
    struct disk *disk;
    uint8_t node_id[FILE_NODE_ID_BYTES];
    bool salvage;
    bool read_only; /* only looks: nothing is made stable, and no journal may follow */
    /* Of files that say at their ends what they hold, only that is read: facts are replayed from
     * there, as far as they still tell something and in no order; messages are not but for those
     * that are in two files (recover_runs tells where they are); what is damaged in them is found
     * when it is read. Everything is read all the same when something is damaged, and when
     * salvaging. */
    bool by_index;
};

enum recover_verdict {
    RECOVER_CLEAN,
    RECOVER_DAMAGED,
    RECOVER_REFUSED, /* newer or foreign files: not even to be salvaged */
};

struct recovery;

/* Reads and checks everything. 0 with the recovery, whatever its verdict; -errno when the directory
 * itself cannot be read or synced. Closed by recover_close. */
int recover_open(const struct recover_settings *settings, struct recovery **ret_recovery) MUST_USE;

/* Frees everything. NULL is fine. */
void recover_close(struct recovery *recovery);

/* What the scan found. */
enum recover_verdict recover_verdict(const struct recovery *recovery);

/* How many damages there are, and one of the first RECOVER_DAMAGES_MAX; borrowed. */
uint64_t recover_damage_count(const struct recovery *recovery);
const struct recover_damage *recover_damage_at(const struct recovery *recovery, uint64_t at);

/* What is wrong, as text that follows the file's name. */
const char *recover_damage_text(enum recover_damage_kind kind);

/* A record with the place where it was found. Borrowed for the call. */
struct recover_record {
    bool in_segment; /* or in a journal file that was kept, which counts as one */
    bool kept;
    uint16_t shard;
    uint64_t file_no;   /* or the segment's number */
    uint64_t lsn;       /* of its frame; in a segment its offset */
    uint64_t offset;    /* of its frame in the file */
    uint64_t record_at; /* of itself in the file */
    const struct record_view *view;
};

typedef void (*recover_record_fn)(void *context, const struct recover_record *record);

/* Gives the records whose types are in `types` (RECORD_BIT): those of all segments, then of journal
 * files that were kept, but for manifests, then those of the chains, writer by writer, each file's
 * in the order they were put. May be called as often and
 * for whatever types one likes: who asks for all but PUB and PART first knows what is settled, and
 * takes memory only for what lives. What a crash has interrupted is there twice, in a segment and
 * in the chain. Nothing may be damaged, or salvaging have been asked for. 0, or -EIO when a second
 * reading does not give what the first did. */
int recover_replay(
    struct recovery *recovery, uint32_t types, recover_record_fn found, void *context) MUST_USE;

/* Consecutive messages of one queue in a file of which only the index was read: none is missing,
 * and their records, PARTs included, lie within the bytes, perhaps with others. */
struct recover_run {
    bool in_segment; /* these four as in struct recover_record */
    bool kept;
    uint16_t shard;
    uint64_t file_no;
    uint64_t queue;
    uint64_t first_seq;
    uint32_t count;
    uint64_t offset; /* in the file */
    uint32_t bytes;
    uint64_t body_bytes; /* of the messages' bodies */
};

typedef void (*recover_run_fn)(void *context, const struct recover_run *run);

/* Gives the runs of the files of which only the index was read, in the order of recover_replay;
 * whether a message of them lives, facts say. 0, or -EIO when a second reading does not give what
 * the first did. */
int recover_runs(struct recovery *recovery, recover_run_fn found, void *context) MUST_USE;

/* The number of writers that left something, and the name of one. */
uint32_t recover_shard_count(const struct recovery *recovery);
uint16_t recover_shard_at(const struct recovery *recovery, uint32_t at);

/* Where the writer's chain ends, for journal_open; of an unknown writer, a beginning. The files in
 * it are borrowed from the recovery. */
void recover_past(const struct recovery *recovery, uint16_t shard, struct journal_past *ret_past);

/* The name of a file that is free to be used by that writer, or NULL; each is given once. */
const char *recover_take_spare(struct recovery *recovery, uint16_t shard);

/* A segment that its writer's last manifest lists, or a journal file that it says was kept. */
struct recover_segment {
    bool kept;
    uint16_t shard;
    uint64_t number; /* of a kept one the journal file's */
    uint64_t file_id;
    uint64_t bytes; /* of the file */
    uint64_t end;   /* of what counts in it, and */
    uint64_t index; /* where its first INDEX frame is, or 0: as the manifest has to say again */
    bool indexed;   /* only that was read */
    bool damaged;   /* only when salvaging: as long as it is listed, so it is reported */
    char name[DISK_NAME_BYTES_MAX];
};

/* The segments that are there, by writer and number, then the kept journal files. Where the chain
 * that had the manifest is damaged, every segment of its writer counts for one, and so do its
 * journal files from before the chain. */
uint32_t recover_segment_count(const struct recovery *recovery);
void recover_segment_at(
    const struct recovery *recovery, uint32_t at, struct recover_segment *ret_segment);

/* The highest segment number ever seen of that writer, listed or not, or 0: it is not to be used
 * again. */
uint64_t recover_last_segment_number(const struct recovery *recovery, uint16_t shard);

/* A file of the directory, for people. */
struct recover_file_report {
    const char *what; /* static text: "journal", "segment", "spare", ... */
    char name[DISK_NAME_BYTES_MAX];
    bool known; /* the three below could be read */
    uint16_t shard;
    uint64_t number;
    uint64_t base_lsn;
    uint64_t bytes;   /* of the file */
    uint64_t frames;  /* good ones that count */
    uint64_t records; /* in these */
};

/* Every file that has a name of ours: journal files, then segments, in no order. */
uint32_t recover_file_count(const struct recovery *recovery);
void recover_file_at(
    const struct recovery *recovery, uint32_t at, struct recover_file_report *ret_report);

/* Removes files whose making was interrupted, and segments and journal files from before the chain
 * that no manifest lists: the latter may have second names elsewhere, and are not written again. 0
 * or -errno. */
int recover_sweep(struct recovery *recovery) MUST_USE;

struct recover_counts {
    uint64_t files;
    uint64_t frames;
    uint64_t records;
    uint64_t bytes; /* of good frames */
};

/* What was found good. */
struct recover_counts recover_counts(const struct recovery *recovery);

#endif
