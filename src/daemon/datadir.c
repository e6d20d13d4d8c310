/* datadir: the directory that belongs to one running broker. */
#include "daemon/datadir.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
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
