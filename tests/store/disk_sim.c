/* disk_sim: the platter, its ports and its lies. */
#include "disk_sim.h"

#include <errno.h>
#include <stdlib.h>

#include "base/str.h"
#include "store/file_header.h"
#include "store/journal_frame.h"

static struct sim_port *port_of(struct disk *disk) {
    return CONTAINER_OF(disk, struct sim_port, disk);
}

static struct sim_file *file_of(struct disk_file *handle) {
    return (struct sim_file *)(void *)handle;
}

/* Counts an operation; true when it is the one that is to fail. */
static bool fails_now(struct platter *platter) {
    if (platter->looking || platter->spying) return false;
    platter->operations++;
    if (platter->fail_at == 0 || platter->operations != platter->fail_at) return false;
    platter->fired = true;
    return true;
}

static struct sim_file *find(struct platter *platter, const char *name) {
    for (int i = 0; i < SIM_FILES_MAX; i++) {
        struct sim_file *file = &platter->files[i];
        if (file->used && !file->removed && strcmp(file->name, name) == 0) return file;
    }
    return NULL;
}

static void forget(struct sim_file *file) {
    free(file->seen);
    free(file->stable);
    free(file->writes);
    *file = (struct sim_file){.used = false};
}

static int sim_list(struct disk *disk, disk_name_fn found, void *context) {
    struct platter *platter = port_of(disk)->platter;
    if (fails_now(platter)) return -EIO;
    for (int i = 0; i < SIM_FILES_MAX; i++)
        if (platter->files[i].used && !platter->files[i].removed)
            found(context, platter->files[i].name);
    return 0;
}

static int sim_open(struct disk *disk, const char *name, struct disk_file **ret_file) {
    struct platter *platter = port_of(disk)->platter;
    if (fails_now(platter)) return -EIO;
    struct sim_file *file = find(platter, name);
    if (!file) return -ENOENT;
    *ret_file = (struct disk_file *)(void *)file;
    return 0;
}

static void sim_close(struct disk *disk, struct disk_file *file) {
    (void)disk;
    (void)file;
}

static int sim_size(struct disk *disk, struct disk_file *file, uint64_t *ret_size) {
    if (fails_now(port_of(disk)->platter)) return -EIO;
    *ret_size = file_of(file)->size;
    return 0;
}

static int sim_read(
    struct disk *disk, struct disk_file *handle, uint64_t offset, void *into, size_t size) {
    const struct sim_file *file = file_of(handle);
    if (fails_now(port_of(disk)->platter)) return -EIO;
    if (offset > file->size || size > file->size - offset) return -EIO;
    bool unreadable = file->unreadable != UINT64_MAX && file->unreadable >= offset &&
                      file->unreadable < offset + size;
    if (unreadable) return -EIO;
    bool stable = port_of(disk)->platter->looking;
    memcpy(into, (stable ? file->stable : file->seen) + offset, size);
    return 0;
}

static int sim_sync(struct disk *disk, struct disk_file *handle) {
    struct sim_file *file = file_of(handle);
    if (fails_now(port_of(disk)->platter)) return -EIO;
    memcpy(file->stable, file->seen, file->size);
    return 0;
}

static int sim_rename(struct disk *disk, const char *from, const char *to) {
    struct platter *platter = port_of(disk)->platter;
    if (fails_now(platter)) return -EIO;
    struct sim_file *file = find(platter, from);
    struct sim_file *over = find(platter, to);
    if (!file) return -ENOENT;
    if (over) forget(over);
    str_format(file->name, sizeof file->name, "%s", to);
    return 0;
}

static int sim_remove(struct disk *disk, const char *name) {
    struct platter *platter = port_of(disk)->platter;
    if (fails_now(platter)) return -EIO;
    struct sim_file *file = find(platter, name);
    if (!file) return -ENOENT;
    file->removed = true;
    return 0;
}

static int sim_sync_dir(struct disk *disk) {
    struct platter *platter = port_of(disk)->platter;
    if (fails_now(platter)) return -EIO;
    for (int i = 0; i < SIM_FILES_MAX; i++)
        if (platter->files[i].used && platter->files[i].removed) forget(&platter->files[i]);
    return 0;
}

static void put_last(struct disk_request **list, struct disk_request *request) {
    while (*list)
        list = &(*list)->next;
    request->next = NULL;
    *list = request;
}

static void sim_submit(struct disk *disk, struct disk_request *request) {
    put_last(&port_of(disk)->waiting, request);
}

static struct disk_request *sim_reap(struct disk *disk) {
    struct sim_port *port = port_of(disk);
    struct disk_request *request = port->done;
    if (request) port->done = request->next;
    return request;
}

static const struct disk_calls SIM_CALLS = {
    .list = sim_list,
    .open = sim_open,
    .close = sim_close,
    .size = sim_size,
    .read = sim_read,
    .sync = sim_sync,
    .rename = sim_rename,
    .remove = sim_remove,
    .sync_dir = sim_sync_dir,
    .submit = sim_submit,
    .reap = sim_reap,
};

void platter_init(struct platter *platter, uint64_t seed) {
    memset(platter, 0, sizeof *platter);
    prng_init(&platter->prng, seed);
    for (int i = 0; i < SIM_PORTS_MAX; i++) {
        platter->ports[i].disk.calls = &SIM_CALLS;
        platter->ports[i].platter = platter;
    }
}

void platter_deinit(struct platter *platter) {
    for (int i = 0; i < SIM_FILES_MAX; i++)
        if (platter->files[i].used) forget(&platter->files[i]);
}

static void garbage(struct prng *prng, uint8_t *at, size_t size) {
    for (size_t i = 0; i + 8 <= size; i += 8) {
        uint64_t noise = prng_next(prng);
        memcpy(at + i, &noise, 8);
    }
}

static struct sim_file *new_file(struct platter *platter, const char *name, uint64_t size) {
    for (int i = 0; i < SIM_FILES_MAX; i++) {
        struct sim_file *file = &platter->files[i];
        if (file->used) continue;
        *file = (struct sim_file){
            .used = true, .size = size, .unreadable = UINT64_MAX, .sick = UINT64_MAX};
        str_format(file->name, sizeof file->name, "%s", name);
        file->seen = calloc(1, size);
        file->stable = calloc(1, size);
        check(file->seen && file->stable);
        return file;
    }
    return NULL;
}

static int make(struct platter *platter, const struct disk_request *request) {
    if (find(platter, request->name)) return -EEXIST;
    struct sim_file *file = new_file(platter, request->name, request->size);
    if (!file) return -ENOSPC;
    memcpy(file->seen, request->data, request->head_size);
    memcpy(file->stable, request->data, request->head_size);
    return 0;
}

/* What was written, as far as the test's own questions go. */
static void remember(struct sim_port *port, struct sim_file *file, const struct disk_request *at) {
    struct journal_frame frame;
    struct file_header header;
    if (at->offset == 0 && file_header_parse(at->data, &header) == FILE_HEADER_GOOD) {
        file->write_count = 0;
        file->sick = UINT64_MAX;
        file->failures = 0;
        file->uses++;
        port->end_lsn = header.base_lsn + FILE_FRAMES_AT;
    }
    if (at->offset < FILE_FRAMES_AT || !journal_frame_parse(at->data, &frame)) return;
    port->end_lsn = frame.lsn + frame.size;
    if (file->write_count == file->write_capacity) {
        file->write_capacity += 32;
        file->writes = realloc(file->writes, file->write_capacity * sizeof *file->writes);
        check(file->writes != NULL);
    }
    file->writes[file->write_count++] = (struct sim_write){at->offset, at->size};
    port->since += port->dropped && frame.durable_lsn > 0;
}

static void apply(struct sim_file *file, const struct disk_request *request, bool stable) {
    memcpy(file->seen + request->offset, request->data, request->size);
    if (stable) memcpy(file->stable + request->offset, request->data, request->size);
}

/* Some sectors of a write, as `mode` says: 0 none, 1 all, 2 a first part, else any. */
static bool apply_some(struct platter *platter, struct sim_file *file,
    const struct disk_request *request, uint64_t mode) {
    uint64_t sectors = request->size / SIM_SECTOR_BYTES;
    uint64_t first_part = prng_below(&platter->prng, sectors + 1);
    for (uint64_t i = 0; i < sectors; i++) {
        uint64_t at = request->offset + i * SIM_SECTOR_BYTES;
        const uint8_t *from = (const uint8_t *)request->data + i * SIM_SECTOR_BYTES;
        bool all = mode == 1 || (mode == 2 && i < first_part);
        uint64_t fate = mode <= 2 ? (all ? 0 : 9) : prng_below(&platter->prng, 10);
        if (fate <= 4) memcpy(file->seen + at, from, SIM_SECTOR_BYTES);
        if (fate == 5) garbage(&platter->prng, file->seen + at, SIM_SECTOR_BYTES);
        memcpy(file->stable + at, file->seen + at, SIM_SECTOR_BYTES);
    }
    return memcmp(file->seen + request->offset, request->data, request->size) == 0;
}

static int misdirect(struct platter *platter, struct sim_file *file, struct disk_request *request) {
    uint64_t blocks = (file->size - request->size) / DISK_BLOCK_BYTES + 1;
    struct disk_request elsewhere = *request;
    elsewhere.offset = prng_below(&platter->prng, blocks) * DISK_BLOCK_BYTES;
    apply(file, &elsewhere, true);
    return 0;
}

static int suffer(struct sim_port *port, struct disk_request *request, enum sim_fault fault) {
    struct platter *platter = port->platter;
    struct sim_file *file = file_of(request->file);
    bool first = !port->faulty;
    port->faulty = true;
    port->dropped = port->dropped && fault == SIM_DROPPED;
    switch (fault) {
    case SIM_EIO: apply_some(platter, file, request, prng_below(&platter->prng, 4)); return -EIO;
    case SIM_SHORT: apply_some(platter, file, request, 2); return -EIO;
    case SIM_DROPPED:
        remember(port, file, request);
        /* A mark that is not there only keeps the file from being used again. */
        port->dropped = first && request->offset != FILE_MARK_AT;
        port->since = 0;
        return 0;
    case SIM_MISDIRECTED: return misdirect(platter, file, request);
    case SIM_NO_FAULT:
    case SIM_NO_SPACE: break;
    }
    unreachable_here();
}

/* Removes a name, which is stable or not. */
static int unlink_now(struct platter *platter, const struct disk_request *request, bool stable) {
    struct sim_file *file = find(platter, request->name);
    if (!file) return 0;
    file->removed = true;
    if (stable) forget(file);
    return 0;
}

static bool covers(const struct disk_request *request, uint64_t offset) {
    return offset >= request->offset && offset - request->offset < request->done;
}

/* Gives what is seen now. */
static int read_seen(
    const struct platter *platter, const struct sim_file *file, struct disk_request *request) {
    if (request->offset >= file->size) return 0;
    request->done = min_u64(request->size, file->size - request->offset);
    bool sick = covers(request, file->sick) && !platter->healed;
    if (covers(request, file->unreadable) || (sick && !file->sick_flips)) return -EIO;
    memcpy(request->into, file->seen + request->offset, request->done);
    if (sick) ((uint8_t *)request->into)[file->sick - request->offset + 100] ^= 4;
    return 0;
}

/* Of the faults a read knows only that it fails. */
static int read_some(struct platter *platter, struct disk_request *request, bool fails) {
    struct sim_file *file = find(platter, request->name);
    check(request->size != 0 && request->size % DISK_BLOCK_BYTES == 0);
    check(request->offset % DISK_BLOCK_BYTES == 0);
    request->done = 0;
    if (platter->fault == SIM_EIO) fails = true;
    if (platter->fault == SIM_EIO) platter->fault = SIM_NO_FAULT;
    if (!file) return -ENOENT;
    int status = fails ? -EIO : read_seen(platter, file, request);
    file->failures += status != 0;
    return status;
}

void platter_sicken(struct platter *platter) {
    struct prng *prng = &platter->prng;
    uint64_t at = prng_below(prng, SIM_FILES_MAX);
    for (int i = 0; i < SIM_FILES_MAX; i++, at++) {
        struct sim_file *file = &platter->files[at % SIM_FILES_MAX];
        if (!file->used || file->removed || file->sick != UINT64_MAX) continue;
        if (file->size <= FILE_FRAMES_AT) continue;
        file->sick = FILE_FRAMES_AT + prng_below(prng, file->size - FILE_FRAMES_AT);
        if (file->write_count != 0 && prng_chance(prng, 80)) {
            const struct sim_write *write = &file->writes[prng_below(prng, file->write_count)];
            file->sick = write->offset + prng_below(prng, write->size);
        }
        file->sick -= file->sick % SIM_SECTOR_BYTES;
        file->sick_flips = prng_chance(prng, 50);
        platter->healed = false;
        return;
    }
}

void platter_forget_sickness(struct platter *platter) {
    platter->healed = false;
    for (int i = 0; i < SIM_FILES_MAX; i++) {
        platter->files[i].sick = UINT64_MAX;
        platter->files[i].failures = 0;
    }
}

const struct sim_file *platter_find(struct platter *platter, const char *name) {
    return find(platter, name);
}

static int carry_out_make(struct platter *platter, struct disk_request *request, bool fails) {
    bool full = platter->fault == SIM_NO_SPACE;
    if (full) platter->fault = SIM_NO_FAULT;
    if (!fails && full && request->vital && platter->reserve != 0) {
        int status = make(platter, request);
        request->from_reserve = status == 0;
        platter->reserve -= request->from_reserve;
        return status;
    }
    return fails || full ? -ENOSPC : make(platter, request);
}

static int carry_out(struct sim_port *port, struct disk_request *request) {
    struct platter *platter = port->platter;
    enum sim_fault fault = platter->fault;
    bool fails = fails_now(platter);
    if (request->kind == DISK_READ) return read_some(platter, request, fails);
    if (request->kind == DISK_MAKE) {
        int status = carry_out_make(platter, request, fails);
        if (request->spent) disk_memory_spend(request->data, request->head_size);
        return status;
    }
    if (request->kind == DISK_REMOVE) {
        if (fault == SIM_EIO) platter->fault = SIM_NO_FAULT;
        /* It may have been removed all the same. */
        bool done = !fails && fault != SIM_EIO;
        if (done || prng_chance(&platter->prng, 50)) unlink_now(platter, request, done);
        return done ? 0 : -EIO;
    }
    if (fails) return suffer(port, request, SIM_EIO);
    if (fault != SIM_NO_FAULT && fault != SIM_NO_SPACE) {
        platter->fault = SIM_NO_FAULT;
        return suffer(port, request, fault);
    }
    apply(file_of(request->file), request, true);
    remember(port, file_of(request->file), request);
    return 0;
}

/* Where the next request to be completed hangs: the oldest write, or the oldest slow request or any
 * of the reads. */
static struct disk_request **next_of(struct sim_port *port, bool slow) {
    struct disk_request **found = NULL;
    bool slow_met = false;
    uint64_t choices = 0;
    for (struct disk_request **at = &port->waiting; *at; at = &(*at)->next) {
        enum disk_kind kind = (*at)->kind;
        if ((kind != DISK_WRITE) != slow || (kind != DISK_READ && slow_met)) continue;
        if (kind == DISK_WRITE) return at;
        slow_met = slow_met || kind != DISK_READ;
        if (++choices == 1 || prng_below(&port->platter->prng, choices) == 0) found = at;
    }
    return found;
}

bool platter_complete(struct sim_port *port, bool slow) {
    struct disk_request **at = next_of(port, slow);
    if (!at) return false;
    struct disk_request *request = *at;
    *at = request->next;
    request->status = carry_out(port, request);
    put_last(&port->done, request);
    return true;
}

uint32_t platter_waiting(const struct sim_port *port) {
    uint32_t count = 0;
    for (const struct disk_request *at = port->waiting; at; at = at->next)
        count++;
    return count;
}

void platter_complete_all(struct platter *platter) {
    for (int i = 0; i < SIM_PORTS_MAX; i++)
        while (platter_complete(&platter->ports[i], false) ||
               platter_complete(&platter->ports[i], true)) {
        }
}

/* A file that was being made: not there, there under its first name, or whole. */
static void make_some(struct platter *platter, const struct disk_request *request) {
    uint64_t fate = prng_below(&platter->prng, 3);
    if (fate == 0 && !find(platter, request->name)) make(platter, request);
    if (fate != 1) return;
    char name[DISK_NAME_BYTES_MAX];
    str_format(name, sizeof name, "%s.new", request->name);
    struct sim_file *file = new_file(platter, name, request->size);
    if (file) garbage(&platter->prng, file->seen, DISK_BLOCK_BYTES);
}

/* Moves the port's expectation over a write that came out whole. */
static void expect(struct sim_port *port, const struct disk_request *request, bool *whole) {
    if (request->kind != DISK_WRITE || request->offset == FILE_MARK_AT) return;
    struct sim_file *file = file_of(request->file);
    *whole = *whole && memcmp(file->seen + request->offset, request->data, request->size) == 0;
    if (*whole) remember(port, file, request);
}

static void hand_back(struct sim_port *port) {
    while (port->waiting) {
        struct disk_request *request = port->waiting;
        port->waiting = request->next;
        request->status = -EIO;
        put_last(&port->done, request);
    }
}

/* What a killed process had written comes out somehow, unless somebody synced it. */
static void settle_dirty(struct platter *platter, struct sim_file *file) {
    for (uint64_t at = 0; at < file->size; at += SIM_SECTOR_BYTES) {
        uint8_t *seen = file->seen + at, *stable = file->stable + at;
        if (memcmp(seen, stable, SIM_SECTOR_BYTES) == 0) continue;
        if (prng_chance(&platter->prng, 50)) {
            memcpy(seen, stable, SIM_SECTOR_BYTES);
        } else {
            memcpy(stable, seen, SIM_SECTOR_BYTES);
        }
    }
}

void platter_power_loss(struct platter *platter) {
    for (int i = 0; i < SIM_FILES_MAX; i++) {
        struct sim_file *file = &platter->files[i];
        if (!file->used) continue;
        settle_dirty(platter, file);
        if (!file->removed) continue;
        file->removed = false;
        if (prng_chance(&platter->prng, 50)) forget(file);
    }
    for (int i = 0; i < SIM_PORTS_MAX; i++) {
        struct sim_port *port = &platter->ports[i];
        bool whole = true;
        for (struct disk_request *at = port->waiting; at; at = at->next) {
            if (at->kind == DISK_MAKE) {
                make_some(platter, at);
            } else if (at->kind == DISK_REMOVE) {
                if (prng_chance(&platter->prng, 50)) unlink_now(platter, at, true);
            } else if (at->kind == DISK_WRITE) {
                uint64_t mode = prng_below(&platter->prng, 5);
                apply_some(platter, file_of(at->file), at, mode);
            }
            expect(port, at, &whole);
        }
        hand_back(port);
    }
}

void platter_kill(struct platter *platter) {
    for (int i = 0; i < SIM_PORTS_MAX; i++) {
        struct sim_port *port = &platter->ports[i];
        uint64_t carried = prng_below(&platter->prng, platter_waiting(port) + 1);
        bool whole = true;
        for (struct disk_request *at = port->waiting; at; at = at->next) {
            if (carried != 0 && at->kind != DISK_MAKE) {
                if (at->kind == DISK_WRITE) apply(file_of(at->file), at, false);
                if (at->kind == DISK_REMOVE) unlink_now(platter, at, false);
                carried--;
            }
            expect(port, at, &whole);
        }
        hand_back(port);
    }
}
