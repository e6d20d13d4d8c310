/* copy_file: files of one directory into another: their bytes, or a second name. */
#include "store/copy_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"

enum { CHUNK_BYTES = 4 * 1024 * 1024 };

/* One chunk through memory. Gives its size, 0 at the end, or -errno. */
static int64_t copy_chunk_slowly(int from, int to, uint64_t at, size_t size) {
    uint8_t *chunk = mem_raw(size);
    int64_t copied = pread(from, chunk, size, (off_t)at);
    if (copied < 0) copied = -errno;
    for (int64_t written = 0; copied > 0 && written < copied;) {
        ssize_t count =
            pwrite(to, chunk + written, (size_t)(copied - written), (off_t)at + written);
        if (count < 0)
            copied = -errno;
        else
            written += count;
    }
    mem_free(chunk);
    return copied;
}

/* The kernel may share the blocks, or copy them without our help. */
static int64_t copy_chunk(int from, int to, uint64_t at, size_t size) {
    off_t from_at = (off_t)at, to_at = (off_t)at;
    ssize_t copied = copy_file_range(from, &from_at, to, &to_at, size, 0);
    return copied > 0 ? copied : copy_chunk_slowly(from, to, at, size);
}

static int copy_bytes(const struct copy_file *copy, int from, int to, uint64_t used) {
    struct stat about;
    if (fstat(from, &about) != 0) return -errno;
    uint64_t size = (uint64_t)about.st_size;
    used = min_u64(used, size);
    for (uint64_t at = 0; at < used;) {
        if (atomic_load(copy->cancelled)) return -ECANCELED;
        int64_t copied = copy_chunk(from, to, at, (size_t)min_u64(CHUNK_BYTES, used - at));
        if (copied == -EINTR) continue;
        if (copied <= 0) return copied < 0 ? (int)copied : -EIO;
        at += (uint64_t)copied;
        atomic_fetch_add(copy->bytes, (uint64_t)copied);
    }
    if (ftruncate(to, (off_t)size) != 0) return -errno;
    return fsync(to) == 0 ? 0 : -errno;
}

int copy_file_bytes(const struct copy_file *copy, const char *name, uint64_t used) {
    int from = openat(copy->from, name, O_RDONLY | O_CLOEXEC);
    if (from < 0) return -errno;
    int to = openat(copy->to, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int error = to < 0 ? -errno : copy_bytes(copy, from, to, used);
    if (to >= 0 && close(to) != 0 && error == 0) error = -errno;
    close(from);
    return error;
}

int copy_file_link(const struct copy_file *copy, const char *name, bool *ret_linked) {
    *ret_linked = linkat(copy->from, name, copy->to, name, 0) == 0;
    if (*ret_linked) return 0;
    if (errno == ENOENT || errno == EEXIST || errno == ENOSPC) return -errno;
    return copy_file_bytes(copy, name, UINT64_MAX);
}

int copy_file_make(int directory, const char *name, const void *data, size_t size) {
    int fd = openat(directory, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) return -errno;
    ssize_t written = write(fd, data, size);
    int error = written < 0 ? -errno : (size_t)written == size ? 0 : -ENOSPC;
    if (error == 0 && fsync(fd) != 0) error = -errno;
    if (close(fd) != 0 && error == 0) error = -errno;
    return error;
}
