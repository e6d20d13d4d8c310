/* metadata_schema: the tables of meta.db, version by version.
 *
 * A step that was released is never edited: a new version is a new step at the end, and
 * metadata.def says what the tables are like after the last one. */
#include "store/metadata_schema.h"

#include <errno.h>
#include <string.h>

#include "base/str.h"

/* Columns of type ANY keep what is put into them, text or bytes. */
#define NAME_KEY " (name ANY NOT NULL PRIMARY KEY, content BLOB NOT NULL) STRICT, WITHOUT ROWID;"
#define OF_VHOST " vhost ANY NOT NULL REFERENCES vhosts (name) ON DELETE CASCADE,"
#define OF_USER  " user ANY NOT NULL REFERENCES users (name) ON DELETE CASCADE,"
#define VHOST_NAME                                                                                 \
    " (" OF_VHOST " name ANY NOT NULL, content BLOB NOT NULL,"                                     \
    " PRIMARY KEY (vhost, name)) STRICT, WITHOUT ROWID;"
#define BINDING(end, ends)                                                                         \
    " (vhost ANY NOT NULL, " end " ANY NOT NULL, source ANY NOT NULL,"                             \
    " routing_key ANY NOT NULL, arguments BLOB NOT NULL, content BLOB NOT NULL,"                   \
    " PRIMARY KEY (vhost, " end ", source, routing_key, arguments),"                               \
    " FOREIGN KEY (vhost, " end ") REFERENCES " ends " (vhost, name) ON DELETE CASCADE,"           \
    " FOREIGN KEY (vhost, source) REFERENCES exchanges (vhost, name) ON DELETE CASCADE"            \
    ") STRICT, WITHOUT ROWID;"

static const char version_1[] =
    "CREATE TABLE counters (name TEXT NOT NULL PRIMARY KEY, value INTEGER NOT NULL)"
    " STRICT, WITHOUT ROWID;"
    "INSERT INTO counters VALUES ('queue_id_next', 1);"
    "CREATE TABLE vhosts" NAME_KEY "CREATE TABLE users" NAME_KEY
    "CREATE TABLE permissions (" OF_VHOST OF_USER
    " content BLOB NOT NULL, PRIMARY KEY (vhost, user)) STRICT, WITHOUT ROWID;"
    "CREATE INDEX permissions_by_user ON permissions (user);"
    "CREATE TABLE topic_permissions (" OF_VHOST OF_USER
    " exchange ANY NOT NULL, content BLOB NOT NULL,"
    " PRIMARY KEY (vhost, user, exchange)) STRICT, WITHOUT ROWID;"
    "CREATE INDEX topic_permissions_by_user ON topic_permissions (user);"
    "CREATE TABLE exchanges" VHOST_NAME "CREATE TABLE queues (id INTEGER PRIMARY KEY, " OF_VHOST
    " name ANY NOT NULL, content BLOB NOT NULL, UNIQUE (vhost, name)) STRICT;"
    "CREATE TABLE queue_bindings" BINDING("queue",
        "queues") "CREATE INDEX queue_bindings_by_source ON queue_bindings (vhost, source);"
                  "CREATE TABLE exchange_bindings" BINDING("destination",
                      "exchanges") "CREATE INDEX exchange_bindings_by_source ON exchange_bindings "
                                   "(vhost, source);"
                                   "CREATE TABLE policies" VHOST_NAME
                                   "CREATE TABLE operator_policies" VHOST_NAME
                                   "CREATE TABLE parameters (" OF_VHOST
                                   " component ANY NOT NULL, name ANY NOT NULL, content BLOB NOT "
                                   "NULL,"
                                   " PRIMARY KEY (vhost, component, name)) STRICT, WITHOUT ROWID;"
                                   "CREATE TABLE global_parameters" NAME_KEY;

static const char *const metadata_steps[] = {version_1};

struct metadata_steps metadata_schema_steps(void) {
    return (struct metadata_steps){metadata_steps, (int)COUNT_OF(metadata_steps)};
}

/* What every part of adopting needs. */
struct adoption {
    sqlite3 *db;
    const char *path;
    struct metadata_steps steps;
    struct metadata_problem *problem;
};

static int run(const struct adoption *adoption, const char *sql, const char *doing) {
    if (sqlite3_exec(adoption->db, sql, NULL, NULL, NULL) == SQLITE_OK) return 0;
    return metadata_problem_of(adoption->problem, adoption->db, adoption->path, doing);
}

/* The first column of the first row, or 0 when there is no row. */
static int ask(const struct adoption *adoption, const char *sql, int64_t *ret_value) {
    sqlite3_stmt *statement = NULL;
    int status = sqlite3_prepare_v2(adoption->db, sql, -1, &statement, NULL);
    if (status == SQLITE_OK) status = sqlite3_step(statement);
    int error = 0;
    if (status == SQLITE_ROW || status == SQLITE_DONE) {
        *ret_value = status == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : 0;
    } else {
        error =
            metadata_problem_of(adoption->problem, adoption->db, adoption->path, "cannot be read");
    }
    sqlite3_finalize(statement);
    return error;
}

/* Whose it is; an empty database is anybody's. */
static int look(const struct adoption *adoption, int64_t *ret_version) {
    int64_t application = 0, version = 0, tables = 0;
    int error = ask(adoption, "PRAGMA application_id", &application);
    if (!error) error = ask(adoption, "PRAGMA user_version", &version);
    if (!error) error = ask(adoption, "SELECT count(*) FROM sqlite_schema", &tables);
    if (error) return error;
    bool empty = application == 0 && version == 0 && tables == 0;
    if (!empty && application != METADATA_APPLICATION_ID) {
        return metadata_problem_say(adoption->problem, -EINVAL, adoption->path,
            "is a database of another program, not one of definitions");
    }
    if (version > adoption->steps.count) {
        return metadata_problem_say(adoption->problem, -ENOTSUP, adoption->path,
            "has version %lld, and this program knows versions up to %d: run a newer one",
            (long long)version, adoption->steps.count);
    }
    if (version < 0 || (version == 0 && !empty)) {
        return metadata_problem_say(adoption->problem, -EBADMSG, adoption->path,
            "has version %lld, which never was; the file is damaged: restore it from a backup",
            (long long)version);
    }
    *ret_version = version;
    return 0;
}

/* The journal mode is asked for by a statement that answers with the mode that came of it. */
static int use_wal(const struct adoption *adoption) {
    sqlite3_stmt *statement = NULL;
    int status =
        sqlite3_prepare_v2(adoption->db, "PRAGMA journal_mode = WAL", -1, &statement, NULL);
    if (status == SQLITE_OK) status = sqlite3_step(statement);
    int error = 0;
    if (status != SQLITE_ROW) {
        error = metadata_problem_of(
            adoption->problem, adoption->db, adoption->path, "cannot use a write-ahead log");
    } else {
        const char *mode = (const char *)sqlite3_column_text(statement, 0);
        if (!mode || strcmp(mode, "wal") != 0) {
            error = metadata_problem_say(adoption->problem, -ENOTSUP, adoption->path,
                "its file system allows no write-ahead log: use a local one");
        }
    }
    sqlite3_finalize(statement);
    return error;
}

/* Synchronous FULL makes a commit wait for its log; the log is kept from staying as large as the
 * largest transaction made it. Nothing is spilled to files outside of the directory. */
static int set_up(const struct adoption *adoption) {
    int error = use_wal(adoption);
    if (error) return error;
    return run(adoption,
        "PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF;"
        "PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0; PRAGMA cache_size = -4096;"
        "PRAGMA wal_autocheckpoint = 1000; PRAGMA journal_size_limit = 16777216",
        "cannot be set up");
}

/* Steps may rebuild tables, so that references are looked at afterwards, not meanwhile. */
static int step_on(const struct adoption *adoption, int64_t version) {
    int error = 0;
    for (int64_t at = version; !error && at < adoption->steps.count; at++)
        error = run(adoption, adoption->steps.steps[at], "cannot be brought to a newer version");
    char stamp[128];
    str_format(stamp, sizeof stamp, "PRAGMA application_id = %d; PRAGMA user_version = %d",
        METADATA_APPLICATION_ID, adoption->steps.count);
    if (!error) error = run(adoption, stamp, "cannot be brought to a newer version");
    int64_t dangling = 0;
    if (!error && version > 0) {
        error = ask(adoption, "SELECT count(*) FROM pragma_foreign_key_check", &dangling);
    }
    if (!error && dangling > 0) {
        error = metadata_problem_say(adoption->problem, -EBADMSG, adoption->path,
            "%lld rows hang on others that are not there; the file is damaged: restore it from a "
            "backup",
            (long long)dangling);
    }
    return error;
}

static int migrate(const struct adoption *adoption, int64_t version) {
    if (version == adoption->steps.count) return 0;
    const char *doing = "cannot be brought to a newer version";
    int error = run(adoption, "PRAGMA foreign_keys = OFF; BEGIN IMMEDIATE", doing);
    if (error) return error;
    error = step_on(adoption, version);
    if (!error) error = run(adoption, "COMMIT", doing);
    /* The problem is known already, and closing rolls back as well. */
    if (error) (void)sqlite3_exec(adoption->db, "ROLLBACK", NULL, NULL, NULL);
    return error;
}

int metadata_schema_adopt(
    sqlite3 *db, const char *path, struct metadata_steps steps, struct metadata_problem *problem) {
    struct adoption adoption = {db, path, steps, problem};
    int64_t version = 0;
    int error = look(&adoption, &version);
    if (!error) error = set_up(&adoption);
    if (!error) error = migrate(&adoption, version);
    if (!error) error = run(&adoption, "PRAGMA foreign_keys = ON", "cannot be set up");
    int64_t keys = 0;
    if (!error) error = ask(&adoption, "PRAGMA foreign_keys", &keys);
    if (!error && keys != 1) {
        error = metadata_problem_say(
            problem, -ENOTSUP, path, "this SQLite was built without foreign keys");
    }
    return error;
}

int metadata_schema_admit(
    sqlite3 *db, const char *path, struct metadata_steps steps, struct metadata_problem *problem) {
    struct adoption adoption = {db, path, steps, problem};
    int64_t version = 0;
    int error = look(&adoption, &version);
    if (!error && version == 0)
        return metadata_problem_say(problem, -ENOENT, path, "has no definitions in it yet");
    if (!error && version < steps.count) {
        return metadata_problem_say(problem, -ENOTSUP, path,
            "has version %lld, and only a broker that starts on it brings it to version %d",
            (long long)version, steps.count);
    }
    if (error) return error;
    return run(
        &adoption, "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON", "cannot be set up");
}
