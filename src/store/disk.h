/* disk: the seam between the store and what keeps its bytes: real files or a simulated disk.
 *
 * A disk is one directory of files. What start-up needs is synchronous: list, open, read, sync,
 * remove. What happens while the broker runs is asynchronous: a request is submitted, the disk
 * works on it when it likes, and hands it back by disk_reap() with its status. A bell says that
 * there is something to reap.
 *
 *      journal --- disk_submit ---> [ writes, in order ]  ---+
 *              --- disk_submit ---> [ slow requests    ]  ---+--> bell, disk_reap --> journal
 *              --- disk_submit ---> [ reads            ]  ---+
 *
 * Slow requests (making, removing) are carried out one after the other, beside the writes; reads
 * beside both, and handed back in any order.
 *
 * Writes are handed back in the order of their submission, and a write that was handed back without
 * an error is stable: it survives power loss. Nothing is said about a write that has not been
 * handed back: any of its sectors may have reached the disk. A disk never repeats a failed write,
 * nor does it stop at one: the writes behind it are carried out too. */
#ifndef STORE_DISK_H
#define STORE_DISK_H

#include "base/base.h"

enum {
    DISK_BLOCK_BYTES = 4096, /* offsets and sizes of writes and reads are multiples of this */
    DISK_NAME_BYTES_MAX = 64 /* with the terminating zero */
};

struct disk;
struct disk_file;

enum disk_kind {
    DISK_WRITE,  /* `size` bytes of `data` at `offset` of `file`, stable when handed back */
    DISK_MAKE,   /* a file `name` of `size` zero bytes, the first `head_size` of them `data`; whole
                    and stable under its name when handed back, otherwise absent; -EEXIST
                    rather than in place of another file */
    DISK_REMOVE, /* the name is gone for good when handed back; good also when there was none. The
                    file must have been closed */
    DISK_READ /* up to `size` bytes at `offset` of the file that has the `name` then, into `into`;
                 `done` says how many: fewer when the file ends before. -ENOENT when there is none.
                 What a write on its way changes meanwhile comes out old or new */
};

/* One asynchronous request. The memory belongs to the submitter and must stay as it is, with all it
 * points to, until disk_reap gives the request back. */
struct disk_request {
    enum disk_kind kind;
    int status; /* when handed back: 0 or a negative errno */
    struct disk_file *file;
    uint64_t offset;
    const void *data; /* aligned to DISK_BLOCK_BYTES */
    void *into;       /* the same */
    uint64_t size;
    uint64_t done; /* bytes that were read */
    uint64_t head_size;
    bool spent; /* of DISK_MAKE: nobody looks at `data` again, which is mapped: what is in it is
                   lost when the request is handed back */
    bool vital; /* of DISK_MAKE: where there is no room, what is kept aside may be used */
    bool from_reserve; /* when handed back: it was */
    bool fleeting;     /* the file need not outlive the process: it is whole when it is made, but
                          not stable, and neither is its removal. Other slow requests do not wait
                          for such ones */
    char name[DISK_NAME_BYTES_MAX];
    const void *submitter;     /* the submitter's, for telling its requests from those of others */
    struct disk_request *next; /* the disk's own, while it has the request */
};

typedef void (*disk_name_fn)(void *context, const char *name);

struct disk_calls {
    int (*list)(struct disk *disk, disk_name_fn found, void *context);
    int (*open)(struct disk *disk, const char *name, struct disk_file **ret_file);
    void (*close)(struct disk *disk, struct disk_file *file);
    int (*size)(struct disk *disk, struct disk_file *file, uint64_t *ret_size);
    int (*read)(
        struct disk *disk, struct disk_file *file, uint64_t offset, void *into, size_t size);
    int (*sync)(struct disk *disk, struct disk_file *file);
    int (*rename)(struct disk *disk, const char *from, const char *to);
    int (*remove)(struct disk *disk, const char *name);
    int (*sync_dir)(struct disk *disk);
    void (*submit)(struct disk *disk, struct disk_request *request);
    struct disk_request *(*reap)(struct disk *disk);
};

/* What every disk begins with. */
struct disk {
    const struct disk_calls *calls;
};

/* Calls `found` with the name of every file, in any order; the name is borrowed for the call. The
 * directory must not be changed meanwhile. 0 or -errno. */
static inline int disk_list(struct disk *disk, disk_name_fn found, void *context) {
    return disk->calls->list(disk, found, context);
}

/* Opens an existing file for reading and writing. 0 or -errno. */
static inline int disk_open(struct disk *disk, const char *name, struct disk_file **ret_file) {
    return disk->calls->open(disk, name, ret_file);
}

/* Closes; no request may be on its way to the file. NULL is fine. */
static inline void disk_close(struct disk *disk, struct disk_file *file) {
    if (file) disk->calls->close(disk, file);
}

/* The file's size in bytes. 0 or -errno. */
static inline int disk_size(struct disk *disk, struct disk_file *file, uint64_t *ret_size) {
    return disk->calls->size(disk, file, ret_size);
}

/* Reads `size` bytes, a multiple of the block, from `offset`. 0 or -errno; -EIO also when the file
 * ends before. */
static inline int disk_read(
    struct disk *disk, struct disk_file *file, uint64_t offset, void *into, size_t size) {
    return disk->calls->read(disk, file, offset, into, size);
}

/* Makes everything stable that a former process wrote to the file, so that what was read once can
 * not be lost afterwards. 0 or -errno; after an error the file must not be trusted. */
static inline int disk_sync(struct disk *disk, struct disk_file *file) {
    return disk->calls->sync(disk, file);
}

/* Gives a file another name, in place of one that has it. Stable after disk_sync_dir. */
static inline int disk_rename(struct disk *disk, const char *from, const char *to) {
    return disk->calls->rename(disk, from, to);
}

/* Removes a name. Stable after disk_sync_dir. 0 or -errno. */
static inline int disk_remove(struct disk *disk, const char *name) {
    return disk->calls->remove(disk, name);
}

/* Makes names stable: created, renamed and removed ones. 0 or -errno. */
static inline int disk_sync_dir(struct disk *disk) {
    return disk->calls->sync_dir(disk);
}

/* Hands a request to the disk; it comes back by disk_reap, whatever becomes of it. */
static inline void disk_submit(struct disk *disk, struct disk_request *request) {
    disk->calls->submit(disk, request);
}

/* The next request that is done, or NULL. Writes come in the order of their submission. */
static inline struct disk_request *disk_reap(struct disk *disk) {
    return disk->calls->reap(disk);
}

/* Zeroed memory of `size` bytes, a multiple of the block, aligned to it; aborts when there is none.
 * Given back by disk_memory_free. */
uint8_t *disk_memory_new(size_t size);

/* The same without the zeroes: what is not used takes no memory. */
uint8_t *disk_memory_raw(size_t size);

/* Gives the memory back; NULL is fine. */
void disk_memory_free(uint8_t *memory);

/* The same for much of it, which takes no more than what is written to: mapped, not allocated. */
uint8_t *disk_memory_map(size_t size);

/* Makes it larger, maybe at another address, without copying what is in it. */
uint8_t *disk_memory_map_more(uint8_t *memory, size_t size, size_t size_new);

/* Loses what is in it, and gives back what that takes; it is zero again. Giving back many MiB takes
 * milliseconds: this is for threads that have them. */
void disk_memory_spend(const void *memory, size_t size);

/* Gives mapped memory back; NULL is fine. */
void disk_memory_unmap(uint8_t *memory, size_t size);

#endif
