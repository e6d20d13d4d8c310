/* store: the data directory of a running broker: journals, segments, definitions. */
#include "daemon/store.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/memory.h"
#include "base/str.h"
#include "store/disk_posix.h"

enum {
    FILES_SPARE = 2,
    FILE_PART = 16, /* of the memory limit that the files of all shards are at most */
    PATH_BYTES_MAX = 4096
};

/* A disk of one journal, and whom it wakes. */
struct port {
    struct store *store;
    struct disk_posix *posix;
    uint32_t shard;
};

struct store {
    struct store_settings settings;
    char directory[PATH_BYTES_MAX];
    struct port **ports;
    uint32_t port_count;
    uint64_t recovered_bytes;
};

static void ring(void *context) {
    const struct port *port = context;
    port->store->settings.bell(port->store->settings.context, port->shard);
}

/* Before the shards run there is nobody to be woken. */
static void ring_nobody(void *context) {
    (void)context;
}

static int open_posix(
    const struct store *store, void (*bell)(void *), void *context, struct disk_posix **ret) {
    struct disk_posix_settings settings = {.directory = store->directory,
        .os = store->settings.durability == DURABILITY_OS,
        .reserve = store->settings.reserve,
        .bell = bell,
        .bell_context = context};
    return disk_posix_open(&settings, ret);
}

static struct disk *open_port(void *context, uint32_t shard) {
    struct store *store = context;
    struct port *port = NEW(struct port);
    port->store = store;
    port->shard = shard;
    int error = open_posix(store, ring, port, &port->posix);
    check(error == 0); /* it was opened a moment ago */
    store->ports = mem_resize(store->ports, (store->port_count + 1) * sizeof(struct port *));
    store->ports[store->port_count++] = port;
    return disk_posix_disk(port->posix);
}

/* ---- what is said ---- */

static uint64_t clock_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void say_damage(const struct store *store, const struct recover_damage *damage) {
    struct log_line line;
    log_begin(&line, "store.damaged");
    log_put_text(&line, "file", damage->name);
    log_put_number(&line, "writer", damage->shard);
    log_put_number(&line, "file_no", damage->file_no);
    log_put_number(&line, "offset", damage->offset);
    log_put_number(&line, "size", damage->size);
    log_put_text(&line, "what", recover_damage_text(damage->kind));
    if (damage->error != 0) log_put_text(&line, "error", strerror(damage->error));
    if (damage->has_target) {
        log_put_number(&line, "queue_id", damage->target.queue);
        log_put_number(&line, "seq", damage->target.seq);
    }
    log_end(&line, store->settings.log, LEVEL_ERROR);
}

static void say_damages(const struct store *store, const struct recovery *recovery) {
    uint64_t count = recover_damage_count(recovery);
    for (uint64_t i = 0; i < min_u64(count, RECOVER_DAMAGES_MAX); i++)
        say_damage(store, recover_damage_at(recovery, i));
}

static void say_recovered(
    const struct store *store, const struct recall_report *report, uint64_t began_ms) {
    struct log_line line;
    log_begin(&line, "store.recovered");
    log_put_number(&line, "queues", report->queues);
    log_put_number(&line, "messages", report->messages);
    log_put_number(&line, "files", report->files);
    log_put_number(&line, "segments", report->segments);
    log_put_number(&line, "bytes", report->bytes);
    if (report->incomplete != 0) log_put_number(&line, "incomplete", report->incomplete);
    log_put_number(&line, "ms", clock_ms() - began_ms);
    const char *how = "in memory only";
    if (store->port_count != 0) how = disk_posix_how_text(disk_posix_how(store->ports[0]->posix));
    log_put_text(&line, "writes", how);
    log_end(&line, store->settings.log, LEVEL_INFO);
}

/* ---- opening ---- */

static bool refuse(struct config_why *why, const char *path, const char *what, int error) {
    str_format(why->text, sizeof why->text, "%s '%.300s': %s", what, path, strerror(-error));
    return false;
}

static bool make_directory(struct store *store, struct config_why *why) {
    str_format(store->directory, sizeof store->directory, "%s/messages", store->settings.data_dir);
    if (mkdir(store->directory, 0750) == 0 || errno == EEXIST) return true;
    return refuse(why, store->directory, "cannot make", -errno);
}

static bool refuse_damaged(
    const struct store *store, const struct recall *recall, struct config_why *why) {
    const struct recovery *recovery = recall_recovery(recall);
    say_damages(store, recovery);
    bool refused = recover_verdict(recovery) == RECOVER_REFUSED;
    str_format(why->text, sizeof why->text,
        refused ? "'%.200s' has files of a newer version or of another node; it was not touched"
                : "'%.200s' has damaged files, see above; it was not touched. To start without "
                  "what is damaged, keep a copy and add --salvage",
        store->directory);
    return false;
}

/* Emptying a file takes about its size of memory, in each shard: with little memory there are
 * smaller files. */
static uint64_t file_bytes(const struct store_settings *settings, uint32_t shards) {
    uint64_t bytes = JOURNAL_FILE_BYTES;
    while (bytes > JOURNAL_FILE_BYTES_FIRST && bytes * shards > settings->memory_limit / FILE_PART)
        bytes /= 2;
    return bytes;
}

static struct keeper_limits limits_of(uint64_t bytes) {
    struct keeper_limits limits = KEEPER_LIMITS;
    limits.segment_bytes = min_u64(limits.segment_bytes, bytes);
    limits.emptied_bytes = min_u64(limits.emptied_bytes, 2 * bytes);
    return limits;
}

/* Everything that is on disk, into the broker. */
static bool recall_all(struct store *store, struct broker *broker, struct registrar *registrar,
    struct disk *disk, struct config_why *why) {
    const struct store_settings *settings = &store->settings;
    uint64_t began_ms = clock_ms();
    uint64_t bytes = file_bytes(settings, broker->shard_count);
    struct recall_settings recall_settings = {
        .disk = disk,
        .salvage = settings->salvage,
        .keeper = {.file_bytes = bytes,
            .file_bytes_first = JOURNAL_FILE_BYTES_FIRST,
            .files_spare = FILES_SPARE,
            .unwitnessed = settings->durability == DURABILITY_OS,
            .files_budget = (uint32_t)min_u64(settings->journal_budget / bytes, UINT32_MAX),
            .seed = settings->seed,
            .limits = limits_of(bytes)},
        .open_disk = open_port,
        .context = store,
    };
    bytes_copy(recall_settings.keeper.node_id, settings->node_id, FILE_NODE_ID_BYTES);
    struct recall *recall = NULL;
    struct restore_index index = {0};
    struct recall_report report;
    struct metadata_problem problem;
    bool good = false;
    int error = recall_begin(broker, &recall_settings, &recall);
    if (error == -EBADMSG) {
        (void)refuse_damaged(store, recall, why);
    } else if (error != 0) {
        (void)refuse(why, store->directory, "cannot read", error);
    } else if (registrar_load(registrar, &index, &problem) != 0) {
        str_format(why->text, sizeof why->text, "%s", problem.text);
    } else if ((error = recall_finish(recall, &index, &report)) != 0) {
        (void)refuse(why, store->directory, "cannot read", error);
    } else {
        say_damages(store, recall_recovery(recall));
        say_recovered(store, &report, began_ms);
        store->recovered_bytes = report.bytes;
        good = true;
    }
    recall_close(recall);
    restore_index_deinit(&index);
    return good;
}

bool store_open(struct broker *broker, struct registrar *registrar,
    const struct store_settings *settings, struct store **ret_store, struct config_why *ret_why) {
    struct store *store = NEW(struct store);
    store->settings = *settings;
    *ret_store = store;
    if (!make_directory(store, ret_why)) return false;
    struct disk_posix *posix = NULL;
    int error = open_posix(store, ring_nobody, NULL, &posix);
    if (error != 0) return refuse(ret_why, store->directory, "cannot open", error);
    bool good = recall_all(store, broker, registrar, disk_posix_disk(posix), ret_why);
    disk_posix_close(posix);
    return good;
}

uint64_t store_recovered_bytes(const struct store *store) {
    return store->recovered_bytes;
}

void store_close(struct store *store) {
    if (!store) return;
    for (uint32_t i = 0; i < store->port_count; i++) {
        disk_posix_close(store->ports[i]->posix);
        mem_free(store->ports[i]);
    }
    mem_free(store->ports);
    mem_free(store);
}
