/* datadir: the directory that belongs to one running broker. */
#include "daemon/datadir.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"

/* Makes the directory and those above it that are missing. */
static int make_path(const char *path) {
    char made[4096];
    if (strlen(path) >= sizeof made) return -ENAMETOOLONG;
    for (const char *at = path; at;) {
        at = strchr(at + 1, '/');
        str_format(made, sizeof made, "%.*s", at ? (int)(at - path) : (int)strlen(path), path);
        if (mkdir(made, 0750) != 0 && errno != EEXIST) return -errno;
    }
    return 0;
}

static int refuse(struct config_why *why, const char *path, int error) {
    str_format(why->text, sizeof why->text, "cannot use data directory '%.300s': %s", path,
        strerror(error));
    return -1;
}

/* Somebody else has the lock: says who, if the file does. */
static int refuse_taken(struct config_why *why, const char *path, int fd) {
    char holder[32] = "";
    ssize_t size = pread(fd, holder, sizeof holder - 1, 0);
    if (size > 0) holder[strcspn(holder, "\n")] = 0;
    bool known = size > 0 && holder[0] != 0;
    str_format(why->text, sizeof why->text,
        "data directory '%.300s' is in use by another broker%s%s%s", path,
        known ? " (process " : "", known ? holder : "", known ? ")" : "");
    close(fd);
    return -1;
}

int datadir_lock(const char *path, struct config_why *ret_why) {
    int error = make_path(path);
    if (error != 0) return refuse(ret_why, path, -error);
    int directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0) return refuse(ret_why, path, errno);
    int fd = openat(directory, "LOCK", O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    error = errno;
    close(directory);
    if (fd < 0) return refuse(ret_why, path, error);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) return refuse_taken(ret_why, path, fd);
    char holder[32];
    size_t size = str_format(holder, sizeof holder, "%ld\n", (long)getpid());
    /* The number is for people; the lock is what counts, so a full disk is no reason to stop. */
    if (ftruncate(fd, 0) == 0 && pwrite(fd, holder, size, 0) < 0) errno = 0;
    return fd;
}

/* ---- the node's id ---- */

enum { DIGITS = 2 * NODE_ID_BYTES };

static int digit_value(char digit) {
    static const char digits[] = "0123456789abcdef";
    const char *at = digit ? strchr(digits, digit) : NULL;
    return at ? (int)(at - digits) : -1;
}

/* 1 when the file is there and good, 0 when there is none, or -errno. */
static int read_node_id(int directory, uint8_t *ret_id) {
    int fd = openat(directory, "node.id", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return errno == ENOENT ? 0 : -errno;
    char text[DIGITS + 2] = "";
    ssize_t size = pread(fd, text, sizeof text, 0);
    int error = size < 0 ? -errno : 0;
    close(fd);
    if (error) return error;
    if (size != DIGITS + 1 || text[DIGITS] != '\n') return -EBADMSG;
    for (int i = 0; i < NODE_ID_BYTES; i++) {
        int high = digit_value(text[2 * i]);
        int low = digit_value(text[2 * i + 1]);
        if (high < 0 || low < 0) return -EBADMSG;
        ret_id[i] = (uint8_t)(high << 4 | low);
    }
    return 1;
}

/* Under another name first: a file of that name is whole. */
static int make_node_id(int directory) {
    uint8_t id[NODE_ID_BYTES];
    char text[DIGITS + 2];
    if (getrandom(id, sizeof id, 0) != sizeof id) return -EIO;
    for (int i = 0; i < NODE_ID_BYTES; i++)
        str_format(text + 2 * i, sizeof text - 2 * (size_t)i, "%02x", id[i]);
    str_format(text + DIGITS, sizeof text - DIGITS, "\n");
    int fd = openat(directory, "node.id.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    if (fd < 0) return -errno;
    int error = 0;
    ssize_t written = write(fd, text, DIGITS + 1);
    if (written != DIGITS + 1) error = written < 0 ? -errno : -ENOSPC;
    if (!error && fsync(fd) != 0) error = -errno;
    close(fd);
    if (!error && renameat(directory, "node.id.new", directory, "node.id") != 0) error = -errno;
    if (!error && fsync(directory) != 0) error = -errno;
    return error;
}

int datadir_node_id(const char *path, uint8_t ret_id[NODE_ID_BYTES], struct config_why *ret_why) {
    int directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0) return refuse(ret_why, path, errno);
    int status = read_node_id(directory, ret_id);
    if (status == 0) {
        status = make_node_id(directory);
        if (status == 0) status = read_node_id(directory, ret_id);
    }
    close(directory);
    if (status > 0) return 0;
    if (status != -EBADMSG) return refuse(ret_why, path, status ? -status : EIO);
    str_format(ret_why->text, sizeof ret_why->text,
        "'%.300s/node.id' is damaged: restore it from a backup", path);
    return -1;
}
