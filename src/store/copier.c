/* copier: makes a copy of a node's directory while its broker runs, on a thread of its own. */
#include "store/copier.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/str.h"
#include "store/copy_file.h"
#include "store/home.h"
#include "store/metadata_copy.h"

enum { PATH_BYTES_MAX = 4096 };

#define WORKING_AFTER ".part"

/* A file of a writer's chain. */
struct piece {
    uint16_t writer;
    struct journal_piece file;
    struct file_header header; /* as it is in the file */
};

struct copier {
    struct copier_settings settings;
    char source[PATH_BYTES_MAX];
    char target[PATH_BYTES_MAX];
    char working[PATH_BYTES_MAX]; /* the target until it is complete */
    int from;                     /* directories, and below them messages/ */
    int to;
    int from_messages;
    int to_messages;
    struct piece *pieces;
    size_t piece_count;
    char (*kept)[DISK_NAME_BYTES_MAX];
    size_t kept_count;
    pthread_t thread;
    bool started;
    _Atomic bool cancelled;
    _Atomic bool over;
    _Atomic uint64_t files;
    _Atomic uint64_t bytes;
    _Atomic uint64_t linked;
    bool complete;
    struct copier_why why;
};

static bool refuse(struct copier_why *why, const char *path, const char *what, int error) {
    str_format(why->text, sizeof why->text, "%s '%.300s': %s", what, path,
        error == -ECANCELED ? "the broker stops" : strerror(-error));
    return false;
}

/* ---- where it goes ---- */

/* Whether there is nothing there, or nothing in it. */
static bool is_free(const char *path, struct copier_why *why) {
    DIR *folder = opendir(path);
    if (!folder && errno == ENOENT) return true;
    if (!folder) return refuse(why, path, "cannot use", -errno);
    const struct dirent *entry = NULL;
    bool empty = true;
    while ((entry = readdir(folder)) != NULL)
        empty = empty && (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0);
    closedir(folder);
    if (!empty) str_format(why->text, sizeof why->text, "'%.300s' is not empty", path);
    return empty;
}

static int open_folder(int at, const char *path) {
    return openat(at, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static bool make_working(struct copier *copier, struct copier_why *why) {
    if (copier->target[0] != '/') {
        str_format(why->text, sizeof why->text, "'%.300s' is no absolute path", copier->target);
        return false;
    }
    if (!is_free(copier->target, why)) return false;
    int error = mkdir(copier->working, 0700) == 0 ? 0 : errno;
    if (error == EEXIST) {
        str_format(why->text, sizeof why->text,
            "'%.300s' is left from a backup that did not end: remove it", copier->working);
        return false;
    }
    if (error != 0) return refuse(why, copier->working, "cannot make", -error);
    copier->to = open_folder(AT_FDCWD, copier->working);
    if (copier->to < 0) return refuse(why, copier->working, "cannot open", -errno);
    if (mkdirat(copier->to, "messages", 0700) != 0)
        return refuse(why, copier->working, "cannot make messages/ in", -errno);
    copier->to_messages = open_folder(copier->to, "messages");
    return copier->to_messages >= 0 || refuse(why, copier->working, "cannot open", -errno);
}

static bool open_source(struct copier *copier, struct copier_why *why) {
    copier->from = open_folder(AT_FDCWD, copier->source);
    if (copier->from < 0) return refuse(why, copier->source, "cannot open", -errno);
    copier->from_messages = open_folder(copier->from, "messages");
    return copier->from_messages >= 0 || refuse(why, copier->source, "cannot open", -errno);
}

struct copier *copier_new(const struct copier_settings *settings, struct copier_why *ret_why) {
    struct copier *copier = NEW(struct copier);
    copier->settings = *settings;
    copier->from = copier->to = copier->from_messages = copier->to_messages = -1;
    str_format(copier->source, sizeof copier->source, "%s", settings->source);
    str_format(copier->target, sizeof copier->target, "%s", settings->target);
    for (size_t size = strlen(copier->target); size > 1 && copier->target[size - 1] == '/'; size--)
        copier->target[size - 1] = 0;
    str_format(copier->working, sizeof copier->working, "%.*s" WORKING_AFTER,
        (int)(sizeof copier->working - sizeof WORKING_AFTER), copier->target);
    if (open_source(copier, ret_why) && make_working(copier, ret_why)) return copier;
    copier_free(copier);
    return NULL;
}

void copier_add(struct copier *copier, uint16_t writer, const struct journal_piece *piece) {
    check(!copier->started);
    copier->pieces = mem_resize(copier->pieces, (copier->piece_count + 1) * sizeof *copier->pieces);
    copier->pieces[copier->piece_count++] = (struct piece){.writer = writer, .file = *piece};
}

/* ---- journals ---- */

static bool read_header(struct copier *copier, struct piece *piece, struct copier_why *why) {
    uint8_t block[FILE_HEADER_BYTES];
    int fd = openat(copier->from_messages, piece->file.name, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return refuse(why, piece->file.name, "cannot open", -errno);
    ssize_t size = pread(fd, block, sizeof block, 0);
    int error = size < 0 ? -errno : size == (ssize_t)sizeof block ? 0 : -EIO;
    close(fd);
    if (error != 0) return refuse(why, piece->file.name, "cannot read", error);
    bool ours = file_header_parse(block, &piece->header) == FILE_HEADER_GOOD &&
                piece->header.kind == FILE_JOURNAL && piece->header.shard == piece->writer &&
                piece->header.file_no == piece->file.file_no;
    return ours || refuse(why, piece->file.name, "unexpected header in", -EBADMSG);
}

/* How much of the file counts: up to what was stable, or to where its successor says it ends. What
 * lies behind is of former uses, or of writes that failed. */
static uint64_t used_bytes(const struct piece *piece, const struct piece *next) {
    uint64_t base = piece->header.base_lsn;
    if (piece->file.end_lsn != 0) return piece->file.end_lsn - base;
    bool follows = next && next->writer == piece->writer &&
                   next->header.prev_file_no == piece->file.file_no &&
                   next->header.prev_end_lsn > base;
    return follows ? next->header.prev_end_lsn - base : UINT64_MAX;
}

/* The chain begins behind a file that was released. Often only that file's mark says so, and that
 * file may be in use again: a small one that has nothing but such a mark goes along. */
static bool make_mark(struct copier *copier, const struct piece *oldest, struct copier_why *why) {
    if (oldest->header.prev_file_no == 0) return true;
    struct file_header mark = {.format = FILE_FORMAT,
        .kind = FILE_RELEASED,
        .shard = oldest->writer,
        .file_no = oldest->header.prev_file_no};
    bytes_copy(mark.node_id, oldest->header.node_id, sizeof mark.node_id);
    if (getrandom(&mark.file_id, sizeof mark.file_id, 0) != sizeof mark.file_id)
        return refuse(why, copier->working, "no random number for", -EIO);
    uint8_t *file = mem_new(JOURNAL_FILE_BYTES_MIN);
    char name[DISK_NAME_BYTES_MAX];
    file_header_encode(&mark, file + FILE_MARK_AT);
    str_format(name, sizeof name, "%016llx.journal", (unsigned long long)mark.file_id);
    int error = copy_file_make(copier->to_messages, name, file, JOURNAL_FILE_BYTES_MIN);
    mem_free(file);
    return error == 0 || refuse(why, name, "cannot make", error);
}

static struct copy_file copy_of(struct copier *copier) {
    return (struct copy_file){.from = copier->from_messages,
        .to = copier->to_messages,
        .cancelled = &copier->cancelled,
        .bytes = &copier->bytes};
}

static bool copy_journals(struct copier *copier, struct copier_why *why) {
    struct copy_file copy = copy_of(copier);
    for (size_t i = 0; i < copier->piece_count; i++) {
        if (!read_header(copier, &copier->pieces[i], why)) return false;
    }
    for (size_t i = 0; i < copier->piece_count; i++) {
        const struct piece *piece = &copier->pieces[i];
        const struct piece *next = i + 1 < copier->piece_count ? piece + 1 : NULL;
        bool oldest = i == 0 || piece[-1].writer != piece->writer;
        if (oldest && !make_mark(copier, piece, why)) return false;
        int error = copy_file_bytes(&copy, piece->file.name, used_bytes(piece, next));
        if (error != 0) return refuse(why, piece->file.name, "cannot copy", error);
        atomic_fetch_add(&copier->files, 1);
    }
    return true;
}

/* ---- segments ---- */

static bool is_segment(const char *name) {
    static const char end[] = ".segment";
    size_t size = strlen(name);
    return size >= sizeof end && size < DISK_NAME_BYTES_MAX &&
           strcmp(name + size + 1 - sizeof end, end) == 0;
}

/* All there are. Those that no manifest of the copied journals lists are removed by who starts on
 * the copy, and one whose removal was under way is such a one. */
static bool link_segments(struct copier *copier, struct copier_why *why) {
    struct copy_file copy = copy_of(copier);
    int fd = open_folder(copier->from, "messages");
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);
    if (!folder) return refuse(why, copier->source, "cannot list", -errno);
    const struct dirent *entry = NULL;
    bool good = true;
    while (good && (entry = readdir(folder)) != NULL) {
        bool linked = false;
        if (!is_segment(entry->d_name)) continue;
        int error = copy_file_link(&copy, entry->d_name, &linked);
        if (error == -ENOENT) continue;
        good = error == 0 || refuse(why, entry->d_name, "cannot copy", error);
        atomic_fetch_add(&copier->files, 1);
        atomic_fetch_add(&copier->linked, linked);
    }
    closedir(folder);
    return good;
}

void copier_add_kept(struct copier *copier, const char name[DISK_NAME_BYTES_MAX]) {
    size_t count = copier->kept_count + 1;
    copier->kept = mem_resize(copier->kept, count * sizeof *copier->kept);
    bytes_copy(copier->kept[copier->kept_count++], name, DISK_NAME_BYTES_MAX);
}

static bool link_kept(struct copier *copier, struct copier_why *why) {
    struct copy_file copy = copy_of(copier);
    for (size_t i = 0; i < copier->kept_count; i++) {
        bool linked = false;
        int error = copy_file_link(&copy, copier->kept[i], &linked);
        if (error != 0) return refuse(why, copier->kept[i], "cannot copy", error);
        atomic_fetch_add(&copier->files, 1);
        atomic_fetch_add(&copier->linked, linked);
    }
    return true;
}

/* ---- the rest ---- */

static bool copy_definitions(struct copier *copier, struct copier_why *why) {
    struct metadata_problem problem;
    if (metadata_copy(copier->source, copier->working, &problem) == 0) return true;
    str_format(why->text, sizeof why->text, "%.500s", problem.text);
    return false;
}

/* With a lock of its own, so that who looks at the copy can keep brokers away. */
static bool copy_id(struct copier *copier, struct copier_why *why) {
    struct copy_file copy = copy_of(copier);
    copy.from = copier->from;
    copy.to = copier->to;
    int error = copy_file_bytes(&copy, "node.id", UINT64_MAX);
    if (error == 0) error = copy_file_make(copier->to, "LOCK", "", 0);
    return error == 0 || refuse(why, copier->working, "cannot copy node.id to", error);
}

/* The name says that it is complete, so everything is stable before. */
static bool give_name(struct copier *copier, struct copier_why *why) {
    char above[PATH_BYTES_MAX];
    str_format(above, sizeof above, "%.*s",
        (int)(strrchr(copier->target, '/') + 1 - copier->target), copier->target);
    if (fsync(copier->to_messages) != 0 || fsync(copier->to) != 0)
        return refuse(why, copier->working, "cannot sync", -errno);
    if (rename(copier->working, copier->target) != 0)
        return refuse(why, copier->target, "cannot give its name to", -errno);
    int folder = open_folder(AT_FDCWD, above);
    bool good = folder >= 0 && fsync(folder) == 0;
    if (!good) (void)refuse(why, above, "cannot sync", -errno);
    if (folder >= 0) close(folder);
    return good;
}

static void *thread_main(void *context) {
    struct copier *copier = context;
    struct copier_why *why = &copier->why;
    pthread_setname_np(pthread_self(), "backup");
    copier->complete = copy_journals(copier, why) && link_segments(copier, why) &&
                       link_kept(copier, why) && copy_definitions(copier, why) &&
                       copy_id(copier, why) && give_name(copier, why);
    atomic_store(&copier->over, true);
    copier->settings.bell(copier->settings.context);
    return NULL;
}

bool copier_start(struct copier *copier) {
    bool cancelled = atomic_load(&copier->cancelled);
    int error = cancelled ? ECANCELED : pthread_create(&copier->thread, NULL, thread_main, copier);
    copier->started = error == 0;
    if (error == 0) return true;
    atomic_store(&copier->over, true);
    return refuse(&copier->why, copier->target, "no copy is made to", -error);
}

void copier_wait(struct copier *copier) {
    if (copier->started) pthread_join(copier->thread, NULL);
    copier->started = false;
}

bool copier_over(const struct copier *copier) {
    return atomic_load(&copier->over);
}

void copier_cancel(struct copier *copier) {
    atomic_store(&copier->cancelled, true);
}

struct copier_counts copier_counts(const struct copier *copier) {
    return (struct copier_counts){.files = atomic_load(&copier->files),
        .bytes = atomic_load(&copier->bytes),
        .linked = atomic_load(&copier->linked)};
}

const char *copier_failure(const struct copier *copier) {
    check(copier_over(copier));
    return copier->complete ? NULL : copier->why.text;
}

/* ---- the end ---- */

/* Removes all files of a directory that only we have written to. */
static void empty_folder(int fd) {
    int own = fd < 0 ? -1 : open_folder(fd, ".");
    DIR *folder = own < 0 ? NULL : fdopendir(own);
    const struct dirent *entry = NULL;
    while (folder && (entry = readdir(folder)) != NULL)
        (void)unlinkat(fd, entry->d_name, 0); /* not what is a directory */
    if (folder) closedir(folder);
}

static void remove_working(struct copier *copier) {
    if (copier->to < 0) return;
    empty_folder(copier->to_messages);
    (void)unlinkat(copier->to, "messages", AT_REMOVEDIR);
    empty_folder(copier->to);
    (void)rmdir(copier->working);
}

static void close_if_open(int fd) {
    if (fd >= 0) close(fd);
}

void copier_free(struct copier *copier) {
    if (!copier) return;
    copier_wait(copier);
    if (!copier->complete) remove_working(copier);
    close_if_open(copier->from_messages);
    close_if_open(copier->from);
    close_if_open(copier->to_messages);
    close_if_open(copier->to);
    mem_free(copier->pieces);
    mem_free(copier->kept);
    mem_free(copier);
}
