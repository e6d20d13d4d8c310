/* disk_posix: files of a real directory, written by one thread, made and read by others.
 *
 *      submit ---> lane[WRITER] ---> pwrite, in order    ---+
 *             ---> lane[SLOW]   ---> create, fill, sync  ---+--> done list --> reap
 *                               ---> unlink, sync
 *             ---> lane[READER] ---> open, pread, close
 *             ---> lane[FLEETING] -> as slow ones, without sync: what need not outlive the process
 *
 * The lanes and the list of what is done are five lists behind one mutex. It is held for a few
 * instructions per commit, never during I/O; a lock-free ring would save nothing that could be
 * measured beside a synchronous write. */
#include "store/disk_posix.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/str.h"
#include "store/reserve.h"

enum { MAKE_CHUNK_BYTES = 1024 * 1024 };
enum { WRITER, SLOW, READER, FLEETING, LANES };

/* Of their threads. */
static const char *const LANE_NAMES[LANES] = {[WRITER] = "disk-write",
    [SLOW] = "disk-slow",
    [READER] = "disk-read",
    [FLEETING] = "disk-spill"};

#define PROBE_NAME   "probe.new"
#define MAKING_AFTER ".new"

struct disk_file {
    int fd;      /* written by; O_DIRECT where that works */
    int read_fd; /* through the page cache */
};

struct requests {
    struct disk_request *first;
    struct disk_request *last;
};

struct lane {
    struct disk_posix *posix;
    struct requests waiting;
    pthread_cond_t wake;
    bool asleep;
    bool started;
    pthread_t thread;
};

struct disk_posix {
    struct disk disk;
    struct disk_posix_settings settings;
    int dir_fd;
    enum disk_posix_how how;
    pthread_mutex_t mutex; /* guards the lists and `ending` */
    struct lane lanes[LANES];
    struct requests done;
    bool ending;
};

static struct disk_posix *posix_of(struct disk *disk) {
    return CONTAINER_OF(disk, struct disk_posix, disk);
}

static void requests_put(struct requests *requests, struct disk_request *request) {
    request->next = NULL;
    if (requests->last) {
        requests->last->next = request;
    } else {
        requests->first = request;
    }
    requests->last = request;
}

static struct disk_request *requests_take(struct requests *requests) {
    struct disk_request *request = requests->first;
    if (!request) return NULL;
    requests->first = request->next;
    if (!requests->first) requests->last = NULL;
    request->next = NULL;
    return request;
}

/* Writes all or fails. What a short write leaves out is tried once, to learn the reason; whatever
 * becomes of that, a short write of a synchronous write is a failure of the disk. */
static int write_all(int fd, const uint8_t *data, uint64_t size, uint64_t offset) {
    ssize_t written = 0;
    do {
        written = pwrite(fd, data, size, (off_t)offset);
    } while (written < 0 && errno == EINTR);
    if (written < 0) return -errno;
    if ((uint64_t)written == size) return 0;
    bool more = pwrite(fd, data + written, size - (uint64_t)written, (off_t)offset + written) >= 0;
    return more ? -EIO : -errno;
}

static int carry_out_write(struct disk_posix *posix, const struct disk_request *request) {
    int status = write_all(request->file->fd, request->data, request->size, request->offset);
    if (status == 0 && posix->how == DISK_POSIX_FDATASYNC && fdatasync(request->file->fd) != 0)
        status = -errno;
    return status;
}

/* Fills a new file once, so that later writes change no metadata, and syncs it. */
static int fill(int fd, const struct disk_request *request, const uint8_t *zeroes) {
    check(request->head_size <= request->size);
    const uint8_t *data = request->data;
    for (uint64_t at = 0; at < request->size;) {
        bool head = at < request->head_size;
        uint64_t end = head ? request->head_size : request->size;
        uint64_t size = min_u64(MAKE_CHUNK_BYTES, end - at);
        int status = write_all(fd, head ? data + at : zeroes, size, at);
        if (status != 0) return status;
        at += size;
    }
    return request->fleeting || fsync(fd) == 0 ? 0 : -errno;
}

/* Gives the file its name, but never in place of another file, whose content it would destroy. */
static int name_once(int dir_fd, const char *from, const char *to) {
    if (renameat2(dir_fd, from, dir_fd, to, RENAME_NOREPLACE) == 0) return 0;
    if (errno != EINVAL && errno != ENOSYS) return -errno;
    /* File systems that cannot promise it: nobody else makes files here meanwhile. */
    if (faccessat(dir_fd, to, F_OK, 0) == 0) return -EEXIST;
    return renameat(dir_fd, from, dir_fd, to) == 0 ? 0 : -errno;
}

/* A new file gets its name only when it is whole and stable. It begins as nothing, or as what is
 * there under the name `making`. */
static int make_file(
    struct disk_posix *posix, const struct disk_request *request, const char *making, bool anew) {
    int flags = anew ? O_CREAT | O_TRUNC : 0;
    int fd = openat(posix->dir_fd, making, flags | O_WRONLY | O_CLOEXEC, 0600);
    if (fd < 0) return -errno;
    int status = !anew && ftruncate(fd, (off_t)request->size) != 0 ? -errno : 0;
    uint8_t *zeroes = disk_memory_new(MAKE_CHUNK_BYTES);
    if (status == 0) status = fill(fd, request, zeroes);
    disk_memory_free(zeroes);
    if (close(fd) != 0 && status == 0) status = -errno;
    if (status == 0) status = name_once(posix->dir_fd, making, request->name);
    if (status == 0 && !request->fleeting && fsync(posix->dir_fd) != 0) status = -errno;
    if (status != 0) unlinkat(posix->dir_fd, making, 0);
    return status;
}

static int make_from_reserve(
    struct disk_posix *posix, struct disk_request *request, const char *making) {
    struct reserve *reserve = posix->settings.reserve;
    if (!request->vital || request->size > RESERVE_PIECE_BYTES) {
        reserve_ring(reserve);
        return -ENOSPC;
    }
    int status = reserve_take(reserve, posix->dir_fd, making);
    if (status == 0) status = make_file(posix, request, making, false);
    request->from_reserve = status == 0;
    return status;
}

static int carry_out_make(struct disk_posix *posix, struct disk_request *request) {
    char making[DISK_NAME_BYTES_MAX + sizeof MAKING_AFTER];
    str_format(making, sizeof making, "%s" MAKING_AFTER, request->name);
    int status = make_file(posix, request, making, true);
    bool full = status == -ENOSPC || status == -EDQUOT;
    if (full && posix->settings.reserve) status = make_from_reserve(posix, request, making);
    if (request->spent) disk_memory_spend(request->data, request->head_size);
    return status;
}

static int carry_out_remove(struct disk_posix *posix, const struct disk_request *request) {
    if (unlinkat(posix->dir_fd, request->name, 0) != 0 && errno != ENOENT) return -errno;
    return request->fleeting || fsync(posix->dir_fd) == 0 ? 0 : -errno;
}

/* Reads until the file's end. Direct reads go on at multiples of the block only; one that ends
 * elsewhere has met the end. */
static int read_up_to(int fd, struct disk_request *request) {
    uint8_t *into = request->into;
    request->done = 0;
    while (request->done < request->size && request->done % DISK_BLOCK_BYTES == 0) {
        ssize_t count = pread(fd, into + request->done, request->size - request->done,
            (off_t)(request->offset + request->done));
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) return -errno;
        if (count == 0) break;
        request->done += (uint64_t)count;
    }
    return 0;
}

static int carry_out_read(struct disk_posix *posix, struct disk_request *request) {
    /* What was not synced is in the page cache, mostly. */
    bool cached = request->fleeting || posix->how != DISK_POSIX_DIRECT;
    int direct = cached ? 0 : O_DIRECT;
    int fd = openat(posix->dir_fd, request->name, O_RDONLY | O_CLOEXEC | direct);
    if (fd < 0) return -errno;
    int status = read_up_to(fd, request);
    close(fd);
    return status;
}

static int carry_out(struct disk_posix *posix, struct disk_request *request) {
    switch (request->kind) {
    case DISK_WRITE: return carry_out_write(posix, request);
    case DISK_MAKE: return carry_out_make(posix, request);
    case DISK_REMOVE: return carry_out_remove(posix, request);
    case DISK_READ: return carry_out_read(posix, request);
    }
    unreachable_here();
}

/* Puts a request on the list of those that are done. True when somebody has to be told. */
static bool hand_back(struct disk_posix *posix, struct disk_request *request, int status) {
    request->status = status;
    bool was_empty = posix->done.first == NULL;
    requests_put(&posix->done, request);
    return was_empty;
}

static void *lane_main(void *argument) {
    struct lane *lane = argument;
    struct disk_posix *posix = lane->posix;
    pthread_setname_np(pthread_self(), LANE_NAMES[lane - posix->lanes]);
    pthread_mutex_lock(&posix->mutex);
    for (;;) {
        struct disk_request *request = requests_take(&lane->waiting);
        if (!request && posix->ending) break;
        if (!request) {
            lane->asleep = true;
            pthread_cond_wait(&lane->wake, &posix->mutex);
            lane->asleep = false;
            continue;
        }
        pthread_mutex_unlock(&posix->mutex);
        int status = carry_out(posix, request);
        pthread_mutex_lock(&posix->mutex);
        if (!hand_back(posix, request, status)) continue;
        pthread_mutex_unlock(&posix->mutex);
        posix->settings.bell(posix->settings.bell_context);
        pthread_mutex_lock(&posix->mutex);
    }
    pthread_mutex_unlock(&posix->mutex);
    return NULL;
}

static int lane_of(const struct disk_request *request) {
    if (request->kind == DISK_WRITE) return WRITER;
    if (request->kind == DISK_READ) return READER;
    return request->fleeting ? FLEETING : SLOW;
}

static int lane_start(struct lane *lane) {
    if (lane->started) return 0;
    int status = pthread_create(&lane->thread, NULL, lane_main, lane);
    lane->started = status == 0;
    return -status;
}

static void posix_submit(struct disk *disk, struct disk_request *request) {
    struct disk_posix *posix = posix_of(disk);
    struct lane *lane = &posix->lanes[lane_of(request)];
    check(!posix->settings.read_only);
    check(request->size % DISK_BLOCK_BYTES == 0 && request->offset % DISK_BLOCK_BYTES == 0);
    pthread_mutex_lock(&posix->mutex);
    int status = lane_start(lane);
    bool ring = status != 0 && hand_back(posix, request, status);
    if (status == 0) requests_put(&lane->waiting, request);
    bool asleep = lane->asleep;
    pthread_mutex_unlock(&posix->mutex);
    /* Who is woken wants the mutex first. */
    if (asleep) pthread_cond_signal(&lane->wake);
    if (ring) posix->settings.bell(posix->settings.bell_context);
}

static struct disk_request *posix_reap(struct disk *disk) {
    struct disk_posix *posix = posix_of(disk);
    pthread_mutex_lock(&posix->mutex);
    struct disk_request *request = requests_take(&posix->done);
    pthread_mutex_unlock(&posix->mutex);
    return request;
}

static int posix_list(struct disk *disk, disk_name_fn found, void *context) {
    int fd = openat(posix_of(disk)->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return -errno;
    DIR *dir = fdopendir(fd);
    if (!dir) {
        int status = -errno;
        close(fd);
        return status;
    }
    struct dirent *entry = NULL;
    errno = 0;
    while ((entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] != '.' && strlen(entry->d_name) < DISK_NAME_BYTES_MAX)
            found(context, entry->d_name);
        errno = 0;
    }
    int status = -errno;
    closedir(dir);
    return status;
}

static int posix_open(struct disk *disk, const char *name, struct disk_file **ret_file) {
    struct disk_posix *posix = posix_of(disk);
    int direct = posix->how == DISK_POSIX_DIRECT ? O_DIRECT | O_DSYNC : 0;
    int access = posix->settings.read_only ? O_RDONLY : O_RDWR;
    int fd = openat(posix->dir_fd, name, access | O_CLOEXEC | direct);
    if (fd < 0) return -errno;
    int read_fd = openat(posix->dir_fd, name, O_RDONLY | O_CLOEXEC);
    if (read_fd < 0) {
        int status = -errno;
        close(fd);
        return status;
    }
    /* Recovery reads from one end to the other: the kernel may read further ahead. */
    (void)posix_fadvise(read_fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    struct disk_file *file = NEW(struct disk_file);
    *file = (struct disk_file){.fd = fd, .read_fd = read_fd};
    *ret_file = file;
    return 0;
}

static void posix_close(struct disk *disk, struct disk_file *file) {
    (void)disk;
    close(file->read_fd);
    close(file->fd);
    mem_free(file);
}

static int posix_size(struct disk *disk, struct disk_file *file, uint64_t *ret_size) {
    (void)disk;
    struct stat about;
    if (fstat(file->read_fd, &about) != 0) return -errno;
    *ret_size = (uint64_t)about.st_size;
    return 0;
}

static int posix_read(
    struct disk *disk, struct disk_file *file, uint64_t offset, void *into, size_t size) {
    (void)disk;
    uint8_t *at = into;
    while (size != 0) {
        ssize_t count = pread(file->read_fd, at, size, (off_t)offset);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) return -errno;
        if (count == 0) return -EIO;
        at += count;
        offset += (uint64_t)count;
        size -= (size_t)count;
    }
    return 0;
}

static int posix_sync(struct disk *disk, struct disk_file *file) {
    (void)disk;
    return fsync(file->fd) == 0 ? 0 : -errno;
}

static int posix_rename(struct disk *disk, const char *from, const char *to) {
    int dir_fd = posix_of(disk)->dir_fd;
    check(!posix_of(disk)->settings.read_only);
    return renameat(dir_fd, from, dir_fd, to) == 0 ? 0 : -errno;
}

static int posix_remove(struct disk *disk, const char *name) {
    check(!posix_of(disk)->settings.read_only);
    return unlinkat(posix_of(disk)->dir_fd, name, 0) == 0 ? 0 : -errno;
}

static int posix_sync_dir(struct disk *disk) {
    return fsync(posix_of(disk)->dir_fd) == 0 ? 0 : -errno;
}

static const struct disk_calls POSIX_CALLS = {
    .list = posix_list,
    .open = posix_open,
    .close = posix_close,
    .size = posix_size,
    .read = posix_read,
    .sync = posix_sync,
    .rename = posix_rename,
    .remove = posix_remove,
    .sync_dir = posix_sync_dir,
    .submit = posix_submit,
    .reap = posix_reap,
};

/* Some file systems refuse O_DIRECT when a file is opened, others when it is written. */
static bool takes_direct(int dir_fd) {
    int fd = openat(dir_fd, PROBE_NAME, O_CREAT | O_RDWR | O_CLOEXEC | O_DIRECT | O_DSYNC, 0600);
    if (fd < 0) return false;
    uint8_t *block = disk_memory_new(DISK_BLOCK_BYTES);
    bool works = write_all(fd, block, DISK_BLOCK_BYTES, 0) == 0;
    disk_memory_free(block);
    close(fd);
    unlinkat(dir_fd, PROBE_NAME, 0);
    return works;
}

/* Ends the lanes, which finish what they have. */
static void lanes_end(struct disk_posix *posix) {
    pthread_mutex_lock(&posix->mutex);
    posix->ending = true;
    for (int i = 0; i < LANES; i++)
        pthread_cond_signal(&posix->lanes[i].wake);
    pthread_mutex_unlock(&posix->mutex);
    for (int i = 0; i < LANES; i++)
        if (posix->lanes[i].started) pthread_join(posix->lanes[i].thread, NULL);
}

static int lanes_start(struct disk_posix *posix) {
    for (int i = 0; i < LANES; i++) {
        posix->lanes[i].posix = posix;
        pthread_cond_init(&posix->lanes[i].wake, NULL);
    }
    int status = lane_start(&posix->lanes[WRITER]);
    if (status == 0) status = lane_start(&posix->lanes[SLOW]);
    if (status != 0) lanes_end(posix);
    return status;
}

static void posix_free(struct disk_posix *posix) {
    for (int i = 0; i < LANES; i++)
        pthread_cond_destroy(&posix->lanes[i].wake);
    pthread_mutex_destroy(&posix->mutex);
    close(posix->dir_fd);
    mem_free(posix);
}

static enum disk_posix_how choose_how(const struct disk_posix_settings *settings, int dir_fd) {
    if (settings->read_only) return DISK_POSIX_NONE;
    if (settings->os) return DISK_POSIX_OS;
    bool direct = !settings->refuse_direct && takes_direct(dir_fd);
    return direct ? DISK_POSIX_DIRECT : DISK_POSIX_FDATASYNC;
}

int disk_posix_open(const struct disk_posix_settings *settings, struct disk_posix **ret_posix) {
    check(settings->bell != NULL || settings->read_only);
    int dir_fd = openat(AT_FDCWD, settings->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir_fd < 0) return -errno;
    struct disk_posix *posix = NEW(struct disk_posix);
    posix->disk.calls = &POSIX_CALLS;
    posix->settings = *settings;
    posix->dir_fd = dir_fd;
    posix->how = choose_how(settings, dir_fd);
    pthread_mutex_init(&posix->mutex, NULL);
    int status = lanes_start(posix);
    if (status != 0) {
        posix_free(posix);
        return status;
    }
    *ret_posix = posix;
    return 0;
}

void disk_posix_close(struct disk_posix *posix) {
    if (!posix) return;
    lanes_end(posix);
    check(posix->done.first == NULL);
    posix_free(posix);
}

struct disk *disk_posix_disk(struct disk_posix *posix) {
    return &posix->disk;
}

enum disk_posix_how disk_posix_how(const struct disk_posix *posix) {
    return posix->how;
}

const char *disk_posix_how_text(enum disk_posix_how how) {
    switch (how) {
    case DISK_POSIX_DIRECT: return "direct, synchronous writes";
    case DISK_POSIX_FDATASYNC: return "writes through the page cache, then fdatasync";
    case DISK_POSIX_OS: return "writes handed to the operating system, not synced";
    case DISK_POSIX_NONE: return "no writes";
    }
    unreachable_here();
}
