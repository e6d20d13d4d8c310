/* reserve: room on disk that is kept aside, so that what frees a full disk can be recorded on it.
 *
 * Pieces are numbered from 0 without a gap; the last is taken first. One that somebody has removed
 * is noticed when it is to be taken. */
#include "store/reserve.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/str.h"

#define RESERVE_NAME "reserve"

enum { NAME_BYTES = 16, STAT_BLOCK_BYTES = 512 };

struct reserve {
    struct reserve_settings settings;
    int home_fd;
    int dir_fd;            /* of the pieces; -1 as long as there are none and have been none */
    pthread_mutex_t mutex; /* guards what follows */
    uint32_t count;
    uint32_t most; /* that there have been */
    struct reserve_taken taken;
};

static void piece_name(uint32_t number, char name[NAME_BYTES]) {
    str_format(name, NAME_BYTES, "%u", number);
}

/* Whether a piece is there and has its room: a copy of the directory may be one with holes. */
static bool is_whole(const struct reserve *reserve, uint32_t number) {
    char name[NAME_BYTES];
    struct stat about;
    piece_name(number, name);
    if (fstatat(reserve->dir_fd, name, &about, AT_SYMLINK_NOFOLLOW) != 0) return false;
    return S_ISREG(about.st_mode) && about.st_size == RESERVE_PIECE_BYTES &&
           about.st_blocks >= RESERVE_PIECE_BYTES / STAT_BLOCK_BYTES;
}

/* Opens the pieces' directory, if it is there. */
static int open_directory(struct reserve *reserve) {
    if (reserve->dir_fd >= 0) return 0;
    reserve->dir_fd =
        openat(reserve->home_fd, RESERVE_NAME, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    return reserve->dir_fd < 0 ? -errno : 0;
}

int reserve_open(const struct reserve_settings *settings, struct reserve **ret_reserve) {
    int home = openat(AT_FDCWD, settings->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (home < 0) return -errno;
    struct reserve *reserve = NEW(struct reserve);
    reserve->settings = *settings;
    reserve->home_fd = home;
    reserve->dir_fd = -1;
    check(pthread_mutex_init(&reserve->mutex, NULL) == 0);
    if (open_directory(reserve) == 0) {
        while (is_whole(reserve, reserve->count))
            reserve->count++;
    }
    reserve->most = reserve->count;
    *ret_reserve = reserve;
    return 0;
}

void reserve_close(struct reserve *reserve) {
    if (!reserve) return;
    if (reserve->dir_fd >= 0) close(reserve->dir_fd);
    close(reserve->home_fd);
    pthread_mutex_destroy(&reserve->mutex);
    mem_free(reserve);
}

uint32_t reserve_count(struct reserve *reserve) {
    pthread_mutex_lock(&reserve->mutex);
    uint32_t count = reserve->count;
    pthread_mutex_unlock(&reserve->mutex);
    return count;
}

struct reserve_taken reserve_taken(struct reserve *reserve) {
    pthread_mutex_lock(&reserve->mutex);
    struct reserve_taken taken = reserve->taken;
    pthread_mutex_unlock(&reserve->mutex);
    return taken;
}

void reserve_ring(struct reserve *reserve) {
    reserve->settings.bell(reserve->settings.context);
}

/* ---- making and removing ---- */

static int write_zeroes(int fd) {
    uint8_t *zeroes = disk_memory_new(RESERVE_PIECE_BYTES);
    ssize_t written = pwrite(fd, zeroes, RESERVE_PIECE_BYTES, 0);
    int error = written < 0 ? -errno : 0;
    disk_memory_free(zeroes);
    if (error == 0 && written != RESERVE_PIECE_BYTES) error = -ENOSPC;
    return error;
}

/* Takes the room; where that cannot be done without writing, by writing. */
static int allocate(int fd) {
    int error = 0;
    do {
        error = fallocate(fd, 0, 0, RESERVE_PIECE_BYTES) == 0 ? 0 : -errno;
    } while (error == -EINTR);
    if (error == -EOPNOTSUPP || error == -ENOSYS) error = write_zeroes(fd);
    if (error == 0 && fsync(fd) != 0) error = -errno;
    return error;
}

/* Only when there is something to put into it: a start on a full disk must not fail for that. */
static int make_directory(struct reserve *reserve) {
    if (reserve->dir_fd >= 0) return 0;
    if (mkdirat(reserve->home_fd, RESERVE_NAME, 0750) != 0 && errno != EEXIST) return -errno;
    int error = open_directory(reserve);
    if (error == 0 && fsync(reserve->home_fd) != 0) error = -errno;
    return error;
}

int reserve_add(struct reserve *reserve) {
    char name[NAME_BYTES];
    int made = make_directory(reserve);
    if (made != 0) return made;
    piece_name(reserve_count(reserve), name);
    int fd = openat(reserve->dir_fd, name, O_CREAT | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return -errno;
    int error = allocate(fd);
    close(fd);
    /* Somebody may have taken one meanwhile: then this number leaves a gap. */
    pthread_mutex_lock(&reserve->mutex);
    char last[NAME_BYTES];
    piece_name(reserve->count, last);
    if (error == 0 && strcmp(name, last) != 0 &&
        renameat(reserve->dir_fd, name, reserve->dir_fd, last) != 0)
        error = -errno;
    if (error == 0) reserve->count++;
    if (reserve->most < reserve->count) reserve->most = reserve->count;
    pthread_mutex_unlock(&reserve->mutex);
    if (error != 0) unlinkat(reserve->dir_fd, name, 0);
    return error;
}

/* Removes the last piece. Called with the lock, and with a piece. */
static int remove_last(struct reserve *reserve) {
    char name[NAME_BYTES];
    piece_name(--reserve->count, name);
    if (unlinkat(reserve->dir_fd, name, 0) != 0 && errno != ENOENT) return -errno;
    /* Only then is its room to be had, on some file systems. */
    return fsync(reserve->dir_fd) == 0 ? 0 : -errno;
}

int reserve_drop(struct reserve *reserve) {
    pthread_mutex_lock(&reserve->mutex);
    int error = reserve->count != 0 ? remove_last(reserve) : 0;
    reserve->most = reserve->count;
    pthread_mutex_unlock(&reserve->mutex);
    return error;
}

/* ---- taking and giving ---- */

static int take_last(struct reserve *reserve, int directory, const char *to) {
    char name[NAME_BYTES];
    while (reserve->count != 0) {
        piece_name(--reserve->count, name);
        if (renameat(reserve->dir_fd, name, directory, to) == 0) return 0;
        if (errno == ENOENT) continue;
        reserve->count++;
        return -errno;
    }
    return -ENOSPC;
}

int reserve_take(struct reserve *reserve, int directory, const char *name) {
    pthread_mutex_lock(&reserve->mutex);
    int error = take_last(reserve, directory, name);
    reserve->taken.files += error == 0;
    reserve->taken.asked += error != 0;
    pthread_mutex_unlock(&reserve->mutex);
    reserve_ring(reserve);
    return error;
}

bool reserve_give(struct reserve *reserve) {
    pthread_mutex_lock(&reserve->mutex);
    bool may = (uint64_t)reserve->count * 2 > reserve->most;
    bool done = may && remove_last(reserve) == 0;
    reserve->taken.given += done;
    reserve->taken.asked += !done;
    pthread_mutex_unlock(&reserve->mutex);
    reserve_ring(reserve);
    return done;
}
