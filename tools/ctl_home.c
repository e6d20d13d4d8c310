/* ctl_home: the data directory of a stopped broker, opened to be looked at. */
#include "tools/ctl_home.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "amqp/table.h"
#include "base/memory.h"
#include "base/str.h"
#include "store/definition.h"

enum { PATH_BYTES_MAX = 4096 };

static bool refuse(struct ctl_why *why, const char *path, const char *what, int error) {
    str_format(why->text, sizeof why->text, "%s '%.300s': %s", what, path, strerror(error));
    return false;
}

static void add_wrong(struct ctl_home *home, const char *format, ...) PRINTF_LIKE(2, 3);
static void add_wrong(struct ctl_home *home, const char *format, ...) {
    va_list arguments;
    home->wrongs = mem_resize(home->wrongs, (home->wrong_count + 1) * sizeof *home->wrongs);
    va_start(arguments, format);
    str_format_list(home->wrongs[home->wrong_count++], sizeof *home->wrongs, format, arguments);
    va_end(arguments);
}

/* ---- whose it is ---- */

static bool take_lock(struct ctl_home *home, struct ctl_why *why) {
    char holder[HOME_HOLDER_BYTES];
    home->lock = home_lock(home->directory, HOME_LOOK, holder);
    if (home->lock >= 0 || home->lock == -ENOENT) return true;
    if (home->lock != -EWOULDBLOCK) return refuse(why, home->path, "cannot lock", -home->lock);
    str_format(why->text, sizeof why->text,
        "'%.300s' is in use by a broker%s%s%s: stop it first, or look at a backup", home->path,
        holder[0] ? " (process " : "", holder, holder[0] ? ")" : "");
    return false;
}

/* The node that the first readable file of messages/ names. */
static bool node_of_files(struct ctl_home *home) {
    int folder = openat(home->directory, "messages", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *files = folder < 0 ? NULL : fdopendir(folder);
    const struct dirent *entry = NULL;
    bool found = false;
    while (files && !found && (entry = readdir(files)) != NULL) {
        uint8_t block[FILE_HEADER_BYTES];
        struct file_header header;
        int fd = openat(folder, entry->d_name, O_RDONLY | O_CLOEXEC);
        bool whole = fd >= 0 && pread(fd, block, sizeof block, 0) == (ssize_t)sizeof block;
        found = whole && file_header_parse(block, &header) == FILE_HEADER_GOOD;
        if (found) bytes_copy(home->node_id, header.node_id, sizeof home->node_id);
        if (fd >= 0) close(fd);
    }
    if (files) closedir(files);
    return found;
}

/* A node id that is lost is still in every file, so that the rest can be looked at. */
static bool read_node_id(struct ctl_home *home, struct ctl_why *why) {
    char text[HOME_NODE_ID_TEXT_BYTES];
    int status = home_node_id(home->directory, home->node_id);
    home->has_node_id = status == 1;
    if (status == 1) return true;
    if (status != 0 && status != -EBADMSG)
        return refuse(why, home->path, "cannot read node.id of", -status);
    const char *what = status == 0 ? "is missing" : "is not what was written";
    home->has_node_id = node_of_files(home);
    home_node_id_text(home->node_id, text);
    if (home->has_node_id)
        add_wrong(home, "node.id %s; the files of messages/ are of node %s", what, text);
    else
        add_wrong(home, "node.id %s", what);
    return true;
}

/* ---- definitions ---- */

static char *copied(struct bytes bytes) {
    char *text = mem_new((size_t)bytes.size + 1);
    bytes_copy(text, bytes.data, bytes.size);
    return text;
}

static void add_queue(struct ctl_home *home, const struct metadata_row *row) {
    if (home->queue_count == home->queue_capacity) {
        home->queue_capacity = home->queue_capacity ? 2 * home->queue_capacity : 64;
        home->queues = mem_resize(home->queues, home->queue_capacity * sizeof *home->queues);
    }
    home->queues[home->queue_count++] = (struct ctl_queue){.id = row->id,
        .vhost = copied(row->key[0]),
        .vhost_size = row->key[0].size,
        .name = copied(row->key[1]),
        .name_size = row->key[1].size};
}

static void count_row(struct ctl_home *home, const struct metadata_row *row) {
    struct ctl_row_counts *counts = &home->counts;
    counts->vhosts += row->kind == METADATA_VHOST;
    counts->exchanges += row->kind == METADATA_EXCHANGE;
    counts->queues += row->kind == METADATA_QUEUE;
    counts->bindings +=
        row->kind == METADATA_QUEUE_BINDING || row->kind == METADATA_EXCHANGE_BINDING;
}

static int on_row(void *context, const struct metadata_row *row) {
    struct ctl_home *home = context;
    struct definition definition;
    const char *wrong = definition_read(row, &definition);
    if (!wrong && !table_valid(definition.table)) wrong = DEFINITION_NEVER_WRITTEN;
    if (wrong) {
        struct bytes name = row->key[row->kind == METADATA_VHOST ? 0 : 1];
        add_wrong(home, "meta.db: '%.*s' %s", (int)name.size, (const char *)name.data, wrong);
    }
    count_row(home, row);
    if (row->kind == METADATA_QUEUE) add_queue(home, row);
    return 0;
}

static void read_definitions(struct ctl_home *home) {
    struct metadata_settings settings = {.directory = home->path, .read_only = true};
    struct metadata_problem problem;
    if (faccessat(home->directory, "meta.db", F_OK, 0) != 0) {
        add_wrong(home, "meta.db is missing: no queue is known, and no message belongs to one");
        return;
    }
    if (metadata_open(&settings, &home->metadata, &problem) != 0) {
        home->metadata = NULL;
        add_wrong(home, "%s", problem.text);
        return;
    }
    bool good = metadata_verify(home->metadata) == 0;
    if (!good) add_wrong(home, "%s", metadata_why(home->metadata));
    if (metadata_load(home->metadata, on_row, home) != 0 && good)
        add_wrong(home, "%s", metadata_why(home->metadata));
}

/* ---- messages ---- */

static bool read_messages(struct ctl_home *home, struct ctl_why *why) {
    char path[PATH_BYTES_MAX];
    str_format(path, sizeof path, "%s/messages", home->path);
    if (!home->has_node_id || access(path, F_OK) != 0) return true;
    struct disk_posix_settings settings = {.directory = path, .read_only = true};
    int error = disk_posix_open(&settings, &home->posix);
    if (error != 0) return refuse(why, path, "cannot open", -error);
    struct recover_settings recover = {
        .disk = disk_posix_disk(home->posix), .salvage = true, .read_only = true};
    bytes_copy(recover.node_id, home->node_id, sizeof recover.node_id);
    error = recover_open(&recover, &home->recovery);
    return error == 0 || refuse(why, path, "cannot read", -error);
}

bool ctl_home_open(struct ctl_home *home, const char *path, struct ctl_why *ret_why) {
    *home = (struct ctl_home){.path = path, .lock = -1};
    home->directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (home->directory < 0) return refuse(ret_why, path, "cannot open", errno);
    if (!take_lock(home, ret_why)) return false;
    bool any = faccessat(home->directory, "meta.db", F_OK, 0) == 0 ||
               faccessat(home->directory, "messages", F_OK, 0) == 0;
    if (!any) {
        str_format(ret_why->text, sizeof ret_why->text,
            "'%.300s' is no data directory: it has neither meta.db nor messages/", path);
        return false;
    }
    if (!read_node_id(home, ret_why)) return false;
    read_definitions(home);
    return read_messages(home, ret_why);
}

void ctl_home_close(struct ctl_home *home) {
    recover_close(home->recovery);
    disk_posix_close(home->posix);
    metadata_close(home->metadata);
    for (size_t i = 0; i < home->queue_count; i++) {
        mem_free(home->queues[i].vhost);
        mem_free(home->queues[i].name);
    }
    mem_free(home->queues);
    mem_free(home->wrongs);
    if (home->lock >= 0) close(home->lock);
    if (home->directory >= 0) close(home->directory);
}

struct ctl_queue *ctl_home_queue(const struct ctl_home *home, uint64_t id) {
    size_t low = 0;
    size_t high = home->queue_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (home->queues[middle].id == id) return &home->queues[middle];
        if (home->queues[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

bool ctl_home_damaged(const struct ctl_home *home) {
    return home->wrong_count != 0 ||
           (home->recovery && recover_verdict(home->recovery) != RECOVER_CLEAN);
}
