/* datadir: the directory that belongs to one running broker. */
#include "daemon/datadir.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"
#include "store/home.h"

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
static int refuse_taken(struct config_why *why, const char *path, const char *holder) {
    bool known = holder[0] != 0;
    str_format(why->text, sizeof why->text,
        "data directory '%.300s' is in use by another broker%s%s%s", path,
        known ? " (process " : "", known ? holder : "", known ? ")" : "");
    return -1;
}

int datadir_lock(const char *path, struct config_why *ret_why) {
    int error = make_path(path);
    if (error != 0) return refuse(ret_why, path, -error);
    int directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0) return refuse(ret_why, path, errno);
    char holder[HOME_HOLDER_BYTES];
    int fd = home_lock(directory, HOME_RUN, holder);
    close(directory);
    if (fd == -EWOULDBLOCK) return refuse_taken(ret_why, path, holder);
    return fd < 0 ? refuse(ret_why, path, -fd) : fd;
}

int datadir_node_id(const char *path, uint8_t ret_id[NODE_ID_BYTES], struct config_why *ret_why) {
    int directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0) return refuse(ret_why, path, errno);
    int status = home_node_id(directory, ret_id);
    if (status == 0) {
        status = home_make_node_id(directory);
        if (status == 0) status = home_node_id(directory, ret_id);
    }
    close(directory);
    if (status > 0) return 0;
    if (status != -EBADMSG) return refuse(ret_why, path, status ? -status : EIO);
    str_format(ret_why->text, sizeof ret_why->text,
        "'%.300s/node.id' is damaged: restore it from a backup", path);
    return -1;
}
