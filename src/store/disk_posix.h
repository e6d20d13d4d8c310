/* disk_posix: a disk that is a real directory.
 *
 * Three threads of its own: one writes, in order, and nothing else, so that no commit waits behind
 * other work; one makes new files, which takes as long as writing them full once, and removes them;
 * one reads, from the first time that something is to be read. */
#ifndef STORE_DISK_POSIX_H
#define STORE_DISK_POSIX_H

#include "store/disk.h"

enum disk_posix_how {
    DISK_POSIX_DIRECT,    /* O_DIRECT|O_DSYNC on files written full before */
    DISK_POSIX_FDATASYNC, /* through the page cache, then fdatasync */
    DISK_POSIX_OS,        /* handed to the operating system, which may lose it with the power */
    DISK_POSIX_NONE,      /* there are no writes */
};

struct disk_posix;
struct reserve;

struct disk_posix_settings {
    const char *directory; /* must exist */
    bool refuse_direct;    /* take fdatasync even where direct I/O works */
    bool os; /* writes count when the operating system has them; files are made as always */
    struct reserve *reserve; /* borrowed: for files without which nothing goes on; or NULL */
    bool read_only; /* files are only read; nothing is tried out, and no request may be submitted */
    /* Called from the disk's threads, at least once after each request that is done and not yet
     * reaped; must only wake the one who reaps. Not needed by one that only reads. */
    void (*bell)(void *context);
    void *bell_context;
};

/* Opens the directory, finds out whether it takes direct synchronous writes by trying one on a file
 * that it removes again (unless they are not wanted), and starts the threads. 0 or -errno. Closed
 * by disk_posix_close. */
int disk_posix_open(
    const struct disk_posix_settings *settings, struct disk_posix **ret_posix) MUST_USE;

/* Waits for the requests on their way, ends the threads and frees everything. All files must have
 * been closed and all requests reaped. NULL is fine. */
void disk_posix_close(struct disk_posix *posix);

/* The disk to give to the journal; valid until disk_posix_close. */
struct disk *disk_posix_disk(struct disk_posix *posix);

/* How this disk makes writes stable. */
enum disk_posix_how disk_posix_how(const struct disk_posix *posix);

/* The same in words for the log, for example "direct, synchronous writes". */
const char *disk_posix_how_text(enum disk_posix_how how);

#endif
