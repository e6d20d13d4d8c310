/* home: the directory of one node: who uses it, and whose it is. */
#include "store/home.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/str.h"

/* ---- the lock ---- */

static int refuse_taken(int fd, char holder[HOME_HOLDER_BYTES]) {
    ssize_t size = pread(fd, holder, HOME_HOLDER_BYTES - 1, 0);
    holder[size > 0 ? size : 0] = 0;
    holder[strcspn(holder, "\n")] = 0;
    close(fd);
    return -EWOULDBLOCK;
}

int home_lock(int directory, enum home_use use, char ret_holder[HOME_HOLDER_BYTES]) {
    int access = use == HOME_RUN ? O_RDWR | O_CREAT : O_RDONLY;
    int fd = openat(directory, "LOCK", access | O_CLOEXEC, 0640);
    if (fd < 0) return -errno;
    if (flock(fd, (use == HOME_RUN ? LOCK_EX : LOCK_SH) | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK) return refuse_taken(fd, ret_holder);
        int error = -errno;
        close(fd);
        return error;
    }
    if (use == HOME_LOOK) return fd;
    char holder[HOME_HOLDER_BYTES];
    size_t size = str_format(holder, sizeof holder, "%ld\n", (long)getpid());
    /* The number is for people; the lock is what counts, so a full disk is no reason to stop. */
    if (ftruncate(fd, 0) == 0 && pwrite(fd, holder, size, 0) < 0) errno = 0;
    return fd;
}

/* ---- the node's id ---- */

enum { DIGITS = 2 * FILE_NODE_ID_BYTES };

static int digit_value(char digit) {
    static const char digits[] = "0123456789abcdef";
    const char *at = digit ? strchr(digits, digit) : NULL;
    return at ? (int)(at - digits) : -1;
}

int home_node_id(int directory, uint8_t ret_id[FILE_NODE_ID_BYTES]) {
    int fd = openat(directory, "node.id", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return errno == ENOENT ? 0 : -errno;
    char text[DIGITS + 2] = "";
    ssize_t size = pread(fd, text, sizeof text, 0);
    int error = size < 0 ? -errno : 0;
    close(fd);
    if (error) return error;
    if (size != DIGITS + 1 || text[DIGITS] != '\n') return -EBADMSG;
    for (int i = 0; i < FILE_NODE_ID_BYTES; i++) {
        int high = digit_value(text[2 * i]);
        int low = digit_value(text[2 * i + 1]);
        if (high < 0 || low < 0) return -EBADMSG;
        ret_id[i] = (uint8_t)(high << 4 | low);
    }
    return 1;
}

void home_node_id_text(const uint8_t id[FILE_NODE_ID_BYTES], char text[HOME_NODE_ID_TEXT_BYTES]) {
    for (int i = 0; i < FILE_NODE_ID_BYTES; i++)
        str_format(text + 2 * i, HOME_NODE_ID_TEXT_BYTES - 2 * (size_t)i, "%02x", id[i]);
}

int home_make_node_id(int directory) {
    uint8_t id[FILE_NODE_ID_BYTES];
    char text[HOME_NODE_ID_TEXT_BYTES + 1];
    if (getrandom(id, sizeof id, 0) != sizeof id) return -EIO;
    home_node_id_text(id, text);
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
