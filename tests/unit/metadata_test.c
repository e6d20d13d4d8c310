/* metadata_test: rows come back as they were put, hang together, and only good files are opened. */
#include "unit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/str.h"
#include "store/metadata.h"
#include "store/metadata_schema.h"

enum { PATH_BYTES = 256, DUMP_BYTES = 64 * 1024 };

struct place {
    char directory[PATH_BYTES];
    char file[PATH_BYTES];
    struct metadata *metadata;
    struct metadata_problem problem;
    char dump[DUMP_BYTES];
    size_t dump_size;
};

static int try_open(struct place *place, bool create) {
    struct metadata_settings settings = {.directory = place->directory, .create = create};
    return metadata_open(&settings, &place->metadata, &place->problem);
}

static void reopen(struct place *place) {
    metadata_close(place->metadata);
    place->metadata = NULL;
    assert_int_equal(try_open(place, true), 0);
}

static int set_up(void **state) {
    struct place *place = NEW(struct place);
    const char *tmp = getenv("TMPDIR");
    str_format(place->directory, sizeof place->directory, "%s/metadata-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(place->directory));
    str_format(place->file, sizeof place->file, "%s/meta.db", place->directory);
    *state = place;
    return 0;
}

static int set_up_open(void **state) {
    set_up(state);
    return try_open(*state, true);
}

static int tear_down(void **state) {
    struct place *place = *state;
    metadata_close(place->metadata);
    DIR *folder = opendir(place->directory);
    const struct dirent *entry;
    while (folder && (entry = readdir(folder)) != NULL)
        (void)unlinkat(dirfd(folder), entry->d_name, 0);
    if (folder) closedir(folder);
    int status = rmdir(place->directory);
    mem_free(place);
    return status;
}

/* A row whose key parts are texts. */
static struct metadata_row row_of(enum metadata_kind kind, const char *first, const char *second,
    const char *third, const char *fourth) {
    struct metadata_row row = {.kind = kind};
    const char *parts[] = {first, second, third, fourth};
    for (size_t i = 0; i < COUNT_OF(parts) && parts[i]; i++)
        row.key[i] = bytes_text(parts[i]);
    return row;
}

static void put(struct place *place, struct metadata_row row) {
    if (row.kind == METADATA_QUEUE && row.id == 0) {
        assert_int_equal(metadata_queue_id(place->metadata, &row.id), 0);
    }
    assert_int_equal(metadata_put(place->metadata, &row), 0);
}

static void drop(struct place *place, struct metadata_row row) {
    metadata_remove(place->metadata, &row);
}

static void commit(struct place *place) {
    int status = metadata_commit(place->metadata);
    if (status) print_error("%s\n", metadata_why(place->metadata));
    assert_int_equal(status, 0);
}

static void put_vhost(struct place *place, const char *name) {
    put(place, row_of(METADATA_VHOST, name, NULL, NULL, NULL));
}

static void put_exchange(struct place *place, const char *vhost, const char *name) {
    put(place, row_of(METADATA_EXCHANGE, vhost, name, NULL, NULL));
}

static void put_queue(struct place *place, const char *vhost, const char *name) {
    put(place, row_of(METADATA_QUEUE, vhost, name, NULL, NULL));
}

/* "kind:part,part=content#id;", with what is not a plain letter as hexadecimal. */
static int dump_row(void *context, const struct metadata_row *row) {
    struct place *place = context;
    char *text = place->dump;
    size_t *size = &place->dump_size;
    *size += str_format(text + *size, DUMP_BYTES - *size, "%d:", (int)row->kind);
    for (int part = 0; part <= METADATA_KEY_PARTS_MAX; part++) {
        struct bytes bytes = part == METADATA_KEY_PARTS_MAX ? row->content : row->key[part];
        const char *mark = part == METADATA_KEY_PARTS_MAX ? "=" : part > 0 ? "," : "";
        *size += str_format(text + *size, DUMP_BYTES - *size, "%s", mark);
        for (uint32_t i = 0; i < bytes.size; i++) {
            bool plain = bytes.data[i] > ' ' && bytes.data[i] < 127;
            *size += str_format(
                text + *size, DUMP_BYTES - *size, plain ? "%c" : "\\%02x", bytes.data[i]);
        }
    }
    *size += str_format(text + *size, DUMP_BYTES - *size, "#%llu;", (unsigned long long)row->id);
    return 0;
}

static const char *dump(struct place *place) {
    place->dump_size = 0;
    place->dump[0] = 0;
    assert_int_equal(metadata_load(place->metadata, dump_row, place), 0);
    assert_true(place->dump_size < DUMP_BYTES - 1);
    return place->dump;
}

static bool has(struct place *place, const char *text) {
    return strstr(dump(place), text) != NULL;
}

/* --- rows */

static void new_database_is_empty(void **state) {
    struct place *place = *state;
    assert_string_equal(dump(place), "");
    assert_int_equal(metadata_batch_count(place->metadata), 0);
    assert_int_equal(metadata_commit(place->metadata), 0);
    assert_int_equal(metadata_verify(place->metadata), 0);
    struct stat info;
    assert_int_equal(stat(place->file, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
}

/* One of each kind, put in an order in which parents come first. */
static void put_each_kind(struct place *place) {
    for (int kind = 0; kind < METADATA_KINDS; kind++) {
        struct metadata_row row = row_of((enum metadata_kind)kind, "v", "a", "a", "a");
        bool single = kind == METADATA_VHOST || kind == METADATA_GLOBAL_PARAMETER;
        bool pair = kind == METADATA_PERMISSION || kind == METADATA_EXCHANGE ||
                    kind == METADATA_QUEUE || kind == METADATA_POLICY ||
                    kind == METADATA_OPERATOR_POLICY;
        if (kind == METADATA_USER) row = row_of(METADATA_USER, "a", NULL, NULL, NULL);
        if (single) row.key[1] = (struct bytes){0};
        if (single || pair) row.key[2] = (struct bytes){0};
        if (kind == METADATA_QUEUE_BINDING || kind == METADATA_EXCHANGE_BINDING) {
            row.key[4] = BYTES("x");
        } else {
            row.key[3] = (struct bytes){0};
        }
        row.content = BYTES("c");
        put(place, row);
    }
}

static void every_kind_comes_back(void **state) {
    struct place *place = *state;
    static const char all[] =
        "0:v,,,,=c#0;1:a,,,,=c#0;2:v,a,,,=c#0;3:v,a,a,,=c#0;4:v,a,,,=c#0;5:v,a,,,=c#1;"
        "6:v,a,a,a,x=c#0;7:v,a,a,a,x=c#0;8:v,a,,,=c#0;9:v,a,,,=c#0;10:v,a,a,,=c#0;11:v,,,,=c#0;";
    put_each_kind(place);
    assert_int_equal(metadata_batch_count(place->metadata), METADATA_KINDS);
    assert_string_equal(dump(place), "");
    commit(place);
    assert_int_equal(metadata_batch_count(place->metadata), 0);
    assert_string_equal(dump(place), all);
    reopen(place);
    assert_string_equal(dump(place), all);
    assert_int_equal(metadata_verify(place->metadata), 0);
}

static void names_may_be_any_bytes(void **state) {
    struct place *place = *state;
    static const uint8_t odd[] = {0xff, 0, 'a'};
    static const uint8_t zero[] = {'a', 0, 'b'};
    struct bytes names[] = {BYTES("gr\xc3\xbc\xc3\x9f"), bytes_of(odd, 3), bytes_of(zero, 3),
        BYTES("a"), BYTES("A"), BYTES("a "), BYTES("1"), BYTES("1.0"), BYTES("")};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        struct metadata_row row = {.kind = METADATA_USER, .content = names[i]};
        row.key[0] = names[i];
        put(place, row);
        put(place, row);
    }
    commit(place);
    reopen(place);
    const char *all = dump(place);
    int rows = 0;
    for (const char *at = all; (at = strchr(at, ';')) != NULL; at++)
        rows++;
    assert_int_equal(rows, COUNT_OF(names));
    assert_non_null(strstr(all, "1:\\ff\\00a,,,,=\\ff\\00a#0;"));
    assert_non_null(strstr(all, "1:a\\00b,,,,=a\\00b#0;"));
    assert_non_null(strstr(all, "1:1.0,,,,=1.0#0;"));
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        struct metadata_row row = {.kind = METADATA_USER};
        row.key[0] = names[i];
        drop(place, row);
    }
    commit(place);
    assert_string_equal(dump(place), "");
}

/* A person reads names with an ordinary program; opaque bytes are never taken for a name. */
static void shell_reads_names(void **state) {
    struct place *place = *state;
    put_each_kind(place);
    commit(place);
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open_v2(place->file, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    static const char *const questions[] = {
        "SELECT count(*) FROM queues WHERE vhost = 'v' AND name = 'a' AND typeof(name) = 'text'",
        "SELECT count(*) FROM queue_bindings WHERE source = 'a' AND typeof(arguments) = 'blob'"};
    for (size_t i = 0; i < COUNT_OF(questions); i++) {
        sqlite3_stmt *ask = NULL;
        assert_int_equal(sqlite3_prepare_v2(db, questions[i], -1, &ask, NULL), SQLITE_OK);
        assert_int_equal(sqlite3_step(ask), SQLITE_ROW);
        assert_int_equal(sqlite3_column_int(ask, 0), 1);
        sqlite3_finalize(ask);
    }
    sqlite3_close(db);
}

static void later_changes_win(void **state) {
    struct place *place = *state;
    put_vhost(place, "v");
    put_vhost(place, "v");
    struct metadata_row row = row_of(METADATA_VHOST, "v", NULL, NULL, NULL);
    row.content = BYTES("late");
    put(place, row);
    drop(place, row_of(METADATA_VHOST, "w", NULL, NULL, NULL));
    put_vhost(place, "u");
    drop(place, row_of(METADATA_VHOST, "u", NULL, NULL, NULL));
    commit(place);
    assert_string_equal(dump(place), "0:v,,,,=late#0;");
}

/* --- what hangs together */

static void bind_rows(struct place *place) {
    put_vhost(place, "v");
    put_exchange(place, "v", "e");
    put_exchange(place, "v", "f");
    put_queue(place, "v", "q");
    put_queue(place, "v", "r");
    put(place, row_of(METADATA_QUEUE_BINDING, "v", "q", "e", "k"));
    put(place, row_of(METADATA_QUEUE_BINDING, "v", "r", "f", "k"));
    put(place, row_of(METADATA_EXCHANGE_BINDING, "v", "f", "e", "k"));
    commit(place);
}

static void putting_again_keeps_bindings(void **state) {
    struct place *place = *state;
    bind_rows(place);
    struct metadata_row queue = row_of(METADATA_QUEUE, "v", "q", NULL, NULL);
    queue.id = 1;
    queue.content = BYTES("new");
    put(place, queue);
    put_exchange(place, "v", "e");
    put_vhost(place, "v");
    commit(place);
    assert_true(
        has(place, "5:v,q,,,=new#1;5:v,r,,,=#2;6:v,q,e,k,=#0;6:v,r,f,k,=#0;7:v,f,e,k,=#0;"));
}

static void removing_takes_along(void **state) {
    struct place *place = *state;
    bind_rows(place);
    drop(place, row_of(METADATA_QUEUE, "v", "q", NULL, NULL));
    commit(place);
    assert_true(has(place, "5:v,r,,,=#2;6:v,r,f,k,=#0;7:v,f,e,k,=#0;"));
    assert_false(has(place, "6:v,q"));
    drop(place, row_of(METADATA_EXCHANGE, "v", "f", NULL, NULL));
    commit(place);
    assert_string_equal(dump(place), "0:v,,,,=#0;4:v,e,,,=#0;5:v,r,,,=#2;");
    put(place, row_of(METADATA_USER, "u", NULL, NULL, NULL));
    put(place, row_of(METADATA_PERMISSION, "v", "u", NULL, NULL));
    commit(place);
    drop(place, row_of(METADATA_USER, "u", NULL, NULL, NULL));
    commit(place);
    assert_false(has(place, "2:"));
    put_each_kind(place);
    commit(place);
    drop(place, row_of(METADATA_VHOST, "v", NULL, NULL, NULL));
    commit(place);
    assert_string_equal(dump(place), "1:a,,,,=c#0;11:v,,,,=c#0;");
    assert_int_equal(metadata_verify(place->metadata), 0);
}

static void refused_batch_changes_nothing(void **state) {
    struct place *place = *state;
    bind_rows(place);
    char before[4096];
    str_format(before, sizeof before, "%s", dump(place));

    put_vhost(place, "other");
    put(place, row_of(METADATA_QUEUE_BINDING, "v", "absent", "e", "k"));
    assert_int_equal(metadata_commit(place->metadata), -ENOENT);
    assert_non_null(strstr(metadata_why(place->metadata), "meta.db"));
    assert_int_equal(metadata_batch_count(place->metadata), 2);
    assert_string_equal(dump(place), before);
    metadata_discard(place->metadata);

    put_vhost(place, "other");
    struct metadata_row queue = row_of(METADATA_QUEUE, "v", "another", NULL, NULL);
    queue.id = 1;
    put(place, queue);
    assert_int_equal(metadata_commit(place->metadata), -EEXIST);
    metadata_discard(place->metadata);
    put_vhost(place, "other");
    put_queue(place, "v", "q");
    assert_int_equal(metadata_commit(place->metadata), -EEXIST);
    metadata_discard(place->metadata);
    assert_string_equal(dump(place), before);
    assert_int_equal(metadata_commit(place->metadata), 0);
    assert_string_equal(dump(place), before);
}

static int stop_at_second(void *context, const struct metadata_row *row) {
    int *rows = context;
    assert_int_equal(row->kind, METADATA_VHOST);
    return ++*rows == 2 ? 77 : 0;
}

static void loading_can_be_ended(void **state) {
    struct place *place = *state;
    put_vhost(place, "a");
    put_vhost(place, "b");
    put_vhost(place, "c");
    commit(place);
    int rows = 0;
    assert_int_equal(metadata_load(place->metadata, stop_at_second, &rows), 77);
    assert_int_equal(rows, 2);
}

/* Whoever puts without committing is told so before memory runs out. */
static void full_batch_is_refused(void **state) {
    struct place *place = *state;
    enum { CONTENT_BYTES = 40 * 1024 * 1024 };
    uint8_t *content = mem_new(CONTENT_BYTES);
    struct metadata_row row = row_of(METADATA_USER, "u", NULL, NULL, NULL);
    row.content = bytes_of(content, CONTENT_BYTES);
    int status = 0;
    int rows = 0;
    while (rows < 100 && (status = metadata_put(place->metadata, &row)) == 0)
        rows++;
    assert_int_equal(status, -E2BIG);
    assert_int_equal(rows, METADATA_BATCH_BYTES_MAX / CONTENT_BYTES);
    assert_true(metadata_batch_bytes(place->metadata) <= METADATA_BATCH_BYTES_MAX);
    struct metadata_row gone = row_of(METADATA_VHOST, "v", NULL, NULL, NULL);
    gone.key[0] = row.content; /* what a removal needs has room all the same */
    for (int i = 0; i < 3; i++)
        metadata_remove(place->metadata, &gone);
    assert_true(metadata_batch_bytes(place->metadata) > METADATA_BATCH_BYTES_MAX);
    assert_int_equal(metadata_batch_count(place->metadata), rows + 3);
    assert_int_equal(metadata_put(place->metadata, &row), -E2BIG);
    metadata_discard(place->metadata);
    assert_int_equal(metadata_batch_bytes(place->metadata), 0);
    mem_free(content);
}

/* --- ids */

static uint64_t take_id(struct place *place) {
    uint64_t id = 0;
    assert_int_equal(metadata_queue_id(place->metadata, &id), 0);
    return id;
}

static void ids_are_never_given_twice(void **state) {
    struct place *place = *state;
    uint64_t last = 0;
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < METADATA_ID_BLOCK + 10; i++) {
            uint64_t id = take_id(place);
            assert_true(id > last);
            assert_true(round > 0 || id == last + 1);
            last = id;
        }
        put_vhost(place, "v");
        put_queue(place, "v", "q");
        last++;
        if (round % 2) commit(place);
        drop(place, row_of(METADATA_QUEUE, "v", "q", NULL, NULL));
        if (round % 2) commit(place);
        reopen(place);
    }
}

static void ids_come_in_rows_too(void **state) {
    struct place *place = *state;
    uint64_t last = take_id(place);
    static const uint32_t counts[] = {1, 2 * METADATA_ID_BLOCK, 7, METADATA_ID_BLOCK};
    for (size_t i = 0; i < 2 * COUNT_OF(counts); i++) {
        uint32_t count = counts[i % COUNT_OF(counts)];
        uint64_t first = 0;
        assert_int_equal(metadata_queue_ids(place->metadata, count, &first), 0);
        assert_true(first > last);
        last = take_id(place);
        assert_true(last == first + count);
        if (i % 3 == 2) reopen(place);
    }
}

/* --- files that are not opened */

static void change_file(struct place *place, const char *sql) {
    metadata_close(place->metadata);
    place->metadata = NULL;
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(place->file, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void refuses(struct place *place, int error, const char *text) {
    place->problem.text[0] = 0;
    assert_int_equal(try_open(place, true), error);
    assert_null(place->metadata);
    assert_non_null(strstr(place->problem.text, place->file));
    if (!strstr(place->problem.text, text)) print_error("said: %s\n", place->problem.text);
    assert_non_null(strstr(place->problem.text, text));
}

static void newer_and_foreign_are_refused(void **state) {
    struct place *place = *state;
    change_file(place, "PRAGMA user_version = 2");
    refuses(place, -ENOTSUP, "has version 2, and this program knows versions up to 1");
    change_file(place, "PRAGMA user_version = 0");
    refuses(place, -EBADMSG, "has version 0");
    change_file(place, "PRAGMA user_version = 1; PRAGMA application_id = 5");
    refuses(place, -EINVAL, "another program");
    change_file(place, "PRAGMA application_id = 0x476f6477; DROP TABLE policies");
    refuses(place, -EBADMSG, "policies");
}

static void bad_counter_is_refused(void **state) {
    struct place *place = *state;
    put_vhost(place, "v");
    put_queue(place, "v", "q");
    commit(place);
    change_file(place, "UPDATE counters SET value = 1");
    refuses(place, -EBADMSG, "queue id 1");
    change_file(place, "UPDATE counters SET value = 9223372036854775807");
    refuses(place, -EBADMSG, "queue id");
    change_file(place, "DELETE FROM counters");
    refuses(place, -EBADMSG, "queue id");
}

static void absent_is_made_only_when_asked(void **state) {
    struct place *place = *state;
    assert_int_equal(try_open(place, false), -ENOENT);
    assert_int_equal(access(place->file, F_OK), -1);
    assert_int_equal(try_open(place, true), 0);
    reopen(place);
    rmdir(place->directory);
    metadata_close(place->metadata);
    place->metadata = NULL;
    assert_int_equal(try_open(place, false), 0);
}

static void scribble(struct place *place, off_t at, size_t size, uint8_t with) {
    uint8_t block[4096];
    memset(block, with, sizeof block);
    int file = open(place->file, O_WRONLY);
    assert_true(file >= 0);
    assert_int_equal(pwrite(file, block, size, at), (ssize_t)size);
    close(file);
}

static int count_row(void *context, const struct metadata_row *row) {
    (void)row;
    ++*(int *)context;
    return 0;
}

static void damage_is_told(void **state) {
    struct place *place = *state;
    put_vhost(place, "v");
    for (int i = 0; i < 3000; i++) {
        char name[32];
        str_format(name, sizeof name, "queue-%d", i);
        put_queue(place, "v", name);
    }
    commit(place);
    metadata_close(place->metadata);
    place->metadata = NULL;
    struct stat info;
    assert_int_equal(stat(place->file, &info), 0);
    assert_true(info.st_size > 40 * 4096);
    for (int page = 28; page < 34; page++)
        scribble(place, page * 4096, 4096, 0xa5);
    assert_int_equal(try_open(place, true), 0);
    int rows = 0;
    assert_int_equal(metadata_load(place->metadata, count_row, &rows), -EBADMSG);
    assert_true(rows < 3001);
    assert_int_equal(metadata_verify(place->metadata), -EBADMSG);
    assert_non_null(strstr(metadata_why(place->metadata), place->file));
    metadata_close(place->metadata);
    place->metadata = NULL;
    scribble(place, 0, 100, 0xa5);
    refuses(place, -EBADMSG, "restore it from a backup");
}

/* --- reading only */

enum { FILE_BYTES_MAX = 4 * 1024 * 1024, FILES_MAX = 8 };

/* A file of the directory and what is in it. */
struct held {
    char name[64];
    uint8_t *data;
    size_t size;
    struct timespec changed;
};

/* Everything in the directory, by name. */
static size_t hold(struct place *place, struct held *held) {
    DIR *folder = opendir(place->directory);
    const struct dirent *entry;
    size_t count = 0;
    while ((entry = readdir(folder)) != NULL) {
        if (entry->d_name[0] == '.') continue;
        struct held *file = &held[count++];
        struct stat about;
        str_format(file->name, sizeof file->name, "%s", entry->d_name);
        int fd = openat(dirfd(folder), entry->d_name, O_RDONLY);
        assert_int_equal(fstat(fd, &about), 0);
        file->changed = about.st_mtim;
        file->data = mem_new(FILE_BYTES_MAX);
        file->size = (size_t)read(fd, file->data, FILE_BYTES_MAX);
        close(fd);
    }
    closedir(folder);
    return count;
}

static void let_go(struct held *held, size_t count) {
    for (size_t i = 0; i < count; i++)
        mem_free(held[i].data);
}

/* Closes as a process does that is killed: what closing does is undone. */
static void crash(struct place *place) {
    struct held held[FILES_MAX];
    size_t count = hold(place, held);
    assert_int_equal(count, 3); /* the database, its log, and the log's index */
    metadata_close(place->metadata);
    place->metadata = NULL;
    for (size_t i = 0; i < count; i++) {
        char path[PATH_BYTES + 64];
        str_format(path, sizeof path, "%s/%s", place->directory, held[i].name);
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        assert_int_equal(write(fd, held[i].data, held[i].size), held[i].size);
        close(fd);
    }
    let_go(held, count);
}

static int try_read(struct place *place) {
    struct metadata_settings settings = {.directory = place->directory, .read_only = true};
    return metadata_open(&settings, &place->metadata, &place->problem);
}

/* Reads all there is, and finds the directory as it was. */
static void read_and_compare(struct place *place, const char *row) {
    struct held before[FILES_MAX], after[FILES_MAX];
    size_t count = hold(place, before);
    assert_int_equal(try_read(place), 0);
    assert_true(has(place, row));
    assert_int_equal(metadata_verify(place->metadata), 0);
    metadata_close(place->metadata);
    place->metadata = NULL;
    assert_int_equal(hold(place, after), count);
    for (size_t i = 0; i < count; i++) {
        assert_string_equal(before[i].name, after[i].name);
        assert_int_equal(before[i].size, after[i].size);
        assert_memory_equal(before[i].data, after[i].data, before[i].size);
        assert_memory_equal(&before[i].changed, &after[i].changed, sizeof before[i].changed);
    }
    let_go(before, count);
    let_go(after, count);
}

static void reading_changes_nothing(void **state) {
    struct place *place = *state;
    put_vhost(place, "in the database");
    commit(place);
    reopen(place);
    put_vhost(place, "v2");
    commit(place);
    crash(place);
    read_and_compare(place, "0:v2");
    assert_int_equal(try_open(place, false), 0);
    metadata_close(place->metadata); /* in order: no log is left */
    place->metadata = NULL;
    read_and_compare(place, "0:v2");
}

static void reading_refuses_what_it_does_not_know(void **state) {
    struct place *place = *state;
    metadata_close(place->metadata);
    place->metadata = NULL;
    change_file(place, "PRAGMA user_version = 99");
    assert_int_equal(try_read(place), -ENOTSUP);
    assert_int_equal(unlink(place->file), 0);
    assert_int_equal(try_read(place), -ENOENT);
    assert_int_not_equal(access(place->file, F_OK), 0);
    int fd = open(place->file, O_WRONLY | O_CREAT, 0600);
    close(fd);
    assert_int_equal(try_read(place), -ENOENT);
    assert_non_null(strstr(place->problem.text, "no definitions"));
}

/* --- migrations */

static int adopt(struct place *place, const char *const *steps, int count) {
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(place->file, &db), SQLITE_OK);
    struct metadata_steps all = {steps, count};
    int status = metadata_schema_adopt(db, place->file, all, &place->problem);
    sqlite3_close(db);
    return status;
}

static void older_is_migrated_in_one_transaction(void **state) {
    struct place *place = *state;
    bind_rows(place);
    metadata_close(place->metadata);
    place->metadata = NULL;
    const char *steps[] = {metadata_schema_steps().steps[0],
        "CREATE TABLE extra (name ANY) STRICT; INSERT INTO extra SELECT name FROM queues;",
        "INSERT INTO absent VALUES (1);"};
    assert_int_not_equal(adopt(place, steps, 3), 0);
    reopen(place); /* still version 1, with nothing more in it */
    assert_true(has(place, "6:v,q,e,k"));
    metadata_close(place->metadata);
    place->metadata = NULL;
    steps[2] = "DELETE FROM vhosts;"; /* without what hangs on them, since steps run unchecked */
    assert_int_equal(adopt(place, steps, 3), -EBADMSG);
    assert_int_equal(adopt(place, steps, 2), 0);
    refuses(place, -ENOTSUP, "has version 2");
    assert_int_equal(adopt(place, steps, 2), 0);
    change_file(place, "INSERT INTO extra VALUES ('it is there')");
}

#define WITH_FILE(test) cmocka_unit_test_setup_teardown(test, set_up_open, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        WITH_FILE(new_database_is_empty),
        WITH_FILE(every_kind_comes_back),
        WITH_FILE(names_may_be_any_bytes),
        WITH_FILE(shell_reads_names),
        WITH_FILE(later_changes_win),
        WITH_FILE(putting_again_keeps_bindings),
        WITH_FILE(removing_takes_along),
        WITH_FILE(refused_batch_changes_nothing),
        WITH_FILE(loading_can_be_ended),
        WITH_FILE(full_batch_is_refused),
        WITH_FILE(ids_are_never_given_twice),
        WITH_FILE(ids_come_in_rows_too),
        WITH_FILE(newer_and_foreign_are_refused),
        WITH_FILE(bad_counter_is_refused),
        cmocka_unit_test_setup_teardown(absent_is_made_only_when_asked, set_up, tear_down),
        WITH_FILE(damage_is_told),
        WITH_FILE(reading_changes_nothing),
        WITH_FILE(reading_refuses_what_it_does_not_know),
        WITH_FILE(older_is_migrated_in_one_transaction),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
