/* metadata_copy: a copy of meta.db, while somebody changes it. */
#include "store/metadata_copy.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "store/metadata_problem.h"

enum { PATH_BYTES_MAX = 4096, BUSY_MS_MAX = 5000 };

/* All pages in one step, which is one reader's view: nobody who writes has to wait for it. */
static int copy_pages(
    sqlite3 *from, sqlite3 *to, const char *path, struct metadata_problem *problem) {
    sqlite3_backup *backup = sqlite3_backup_init(to, "main", from, "main");
    if (!backup) return metadata_problem_of(problem, to, path, "cannot be copied to");
    (void)sqlite3_backup_step(backup, -1);
    if (sqlite3_backup_finish(backup) == SQLITE_OK) return 0;
    return metadata_problem_of(problem, to, path, "cannot be copied to");
}

static int sync_file(const char *path, struct metadata_problem *problem) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int error = fd < 0 || fsync(fd) != 0 ? -errno : 0;
    if (fd >= 0) close(fd);
    if (error == 0) return 0;
    return metadata_problem_say(problem, error, path, "cannot be synced: %s", strerror(-error));
}

/* It holds password hashes and concerns only its owner. */
static int make_empty(const char *path, struct metadata_problem *problem) {
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int error = fd < 0 ? -errno : 0;
    if (fd >= 0) close(fd);
    if (error == 0) return 0;
    return metadata_problem_say(problem, error, path, "cannot be made: %s", strerror(-error));
}

int metadata_copy(const char *from, const char *to, struct metadata_problem *ret_problem) {
    char source[PATH_BYTES_MAX], target[PATH_BYTES_MAX];
    sqlite3 *from_db = NULL, *to_db = NULL;
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    str_format(source, sizeof source, "%s/meta.db", from);
    str_format(target, sizeof target, "%s/meta.db", to);
    int error = make_empty(target, ret_problem);
    if (error) return error;
    if (sqlite3_open_v2(source, &from_db, flags, NULL) != SQLITE_OK)
        error = metadata_problem_of(ret_problem, from_db, source, "cannot be opened");
    if (!error && sqlite3_open_v2(target, &to_db, flags, NULL) != SQLITE_OK)
        error = metadata_problem_of(ret_problem, to_db, target, "cannot be opened");
    if (!error) {
        (void)sqlite3_busy_timeout(from_db, BUSY_MS_MAX);
        error = copy_pages(from_db, to_db, target, ret_problem);
    }
    (void)sqlite3_close(to_db);
    (void)sqlite3_close(from_db);
    return error ? error : sync_file(target, ret_problem);
}
