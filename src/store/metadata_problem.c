/* metadata_problem: SQLite's errors as errno and as a line for people. */
#include "store/metadata_problem.h"

#include <errno.h>

#include "base/str.h"

/* An error of a system call, as far as SQLite remembers it. */
static int errno_of_system(sqlite3 *db, int otherwise) {
    int error = sqlite3_system_errno(db);
    if (error == EDQUOT) return -ENOSPC;
    if (error == ENOSPC || error == EROFS || error == EACCES || error == ENOENT) return -error;
    return otherwise;
}

static int errno_of_constraint(int code) {
    return code == SQLITE_CONSTRAINT_FOREIGNKEY ? -ENOENT : -EEXIST;
}

/* A failed call that SQLite counts as bad use or as something unknown must not look like success.
 */
static int errno_of(sqlite3 *db, int code) {
    switch (code & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_FORMAT: return -EBADMSG;
    case SQLITE_FULL: return -ENOSPC;
    case SQLITE_IOERR: return code == SQLITE_IOERR_NOMEM ? -ENOMEM : errno_of_system(db, -EIO);
    case SQLITE_CANTOPEN: return errno_of_system(db, -EIO);
    case SQLITE_NOMEM: return -ENOMEM;
    case SQLITE_BUSY:
    case SQLITE_LOCKED: return -EBUSY;
    case SQLITE_READONLY: return -EROFS;
    case SQLITE_PERM:
    case SQLITE_AUTH: return -EACCES;
    case SQLITE_TOOBIG: return -E2BIG;
    case SQLITE_CONSTRAINT: return errno_of_constraint(code);
    default: return -EIO;
    }
}

static const char *advice_for(int error) {
    switch (error) {
    case -EBADMSG: return "; the file is damaged: restore it from a backup";
    case -ENOSPC: return "; free some space";
    case -EBUSY: return "; another process has it locked";
    default: return "";
    }
}

int metadata_problem_of(
    struct metadata_problem *problem, sqlite3 *db, const char *path, const char *doing) {
    int error = errno_of(db, sqlite3_extended_errcode(db));
    str_format(problem->text, sizeof problem->text, "'%s': %s: %s%s", path, doing,
        sqlite3_errmsg(db), advice_for(error));
    return error;
}

int metadata_problem_say(
    struct metadata_problem *problem, int error, const char *path, const char *format, ...) {
    check(error < 0);
    size_t size = str_format(problem->text, sizeof problem->text, "'%s': ", path);
    va_list arguments;
    va_start(arguments, format);
    str_format_list(problem->text + size, sizeof problem->text - size, format, arguments);
    va_end(arguments);
    return error;
}
