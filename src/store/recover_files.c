/* recover_files: which files there are, what each is, and how they follow one another. */
#include <errno.h>
#include <stdlib.h>

#include "base/memory.h"
#include "base/str.h"
#include "store/plant.h"
#include "store/recover_state.h"

#define NAME_ENDS     ".journal"
#define SEGMENT_ENDS  ".segment"
#define LEFTOVER_ENDS ".new"
#define SPILL_ENDS    ".spill"
#define BASE_LSN_MAX  ((uint64_t)1 << 62)

static bool ends_with(const char *text, const char *end) {
    size_t size = strlen(text), end_size = strlen(end);
    return size >= end_size && memcmp(text + size - end_size, end, end_size) == 0;
}

void recover_leftover_add(struct recovery *recovery, const char *name) {
    if (recovery->leftover_count == recovery->leftover_capacity) {
        recovery->leftover_capacity += 16;
        recovery->leftovers = mem_resize(
            recovery->leftovers, recovery->leftover_capacity * sizeof *recovery->leftovers);
    }
    char *to = recovery->leftovers[recovery->leftover_count++];
    str_format(to, DISK_NAME_BYTES_MAX, "%s", name);
}

static struct recover_file *file_new(const char *name) {
    struct recover_file *file = NEW(struct recover_file);
    str_format(file->name, sizeof file->name, "%s", name);
    return file;
}

static struct recover_file **grown(struct recover_file **files, uint32_t *capacity) {
    *capacity = *capacity ? *capacity * 2 : 16;
    return mem_resize(files, *capacity * sizeof(struct recover_file *));
}

static void on_name(void *context, const char *name) {
    struct recovery *recovery = context;
    if (ends_with(name, LEFTOVER_ENDS) || ends_with(name, SPILL_ENDS)) {
        recover_leftover_add(recovery, name);
    } else if (ends_with(name, NAME_ENDS)) {
        if (recovery->file_count == recovery->file_capacity)
            recovery->files = grown(recovery->files, &recovery->file_capacity);
        recovery->files[recovery->file_count++] = file_new(name);
    } else if (ends_with(name, SEGMENT_ENDS)) {
        if (recovery->segment_count == recovery->segment_capacity)
            recovery->segments = grown(recovery->segments, &recovery->segment_capacity);
        recovery->segments[recovery->segment_count++] = file_new(name);
    }
}

/* One of the file's first two blocks. A block that cannot be read is a bad one. */
static enum file_header_fault read_block(
    struct recovery *recovery, struct recover_file *file, uint64_t at, struct file_header *ret) {
    recover_reader_set(recovery, &recovery->reader, file);
    const uint8_t *block = recover_reader_get(recovery, &recovery->reader, at, FILE_HEADER_BYTES);
    if (!block) return FILE_HEADER_BAD;
    enum file_header_fault fault = file_header_parse(block, ret);
    if (fault != FILE_HEADER_GOOD) return fault;
    bool sound = ret->base_lsn < BASE_LSN_MAX && ret->prev_end_lsn <= ret->base_lsn &&
                 ret->durable_lsn <= ret->base_lsn && ret->base_lsn % DISK_BLOCK_BYTES == 0;
    bool right_place = ret->kind == (at == 0 ? FILE_JOURNAL : FILE_RELEASED);
    if (!sound || !right_place) return FILE_HEADER_BAD;
    if (at == 0) file->header_crc = file_header_crc(block);
    return FILE_HEADER_GOOD;
}

static void judge_file(struct recovery *recovery, struct recover_file *file) {
    file->kind = RECOVER_FILE_BAD;
    if (file->size < JOURNAL_FILE_BYTES_MIN || file->size % DISK_BLOCK_BYTES != 0) {
        recover_damage_add(recovery, RECOVER_BAD_HEADER, file, 0);
        return;
    }
    enum file_header_fault head = read_block(recovery, file, 0, &file->header);
    int error = head == FILE_HEADER_BAD ? recovery->reader.error : 0;
    enum file_header_fault mark = read_block(recovery, file, FILE_MARK_AT, &file->mark);
    file->has_mark = mark == FILE_HEADER_GOOD;
    if (head == FILE_HEADER_NEWER || mark == FILE_HEADER_NEWER) {
        recover_damage_add(recovery, RECOVER_NEWER, file, 0);
        return;
    }
    const struct file_header *known = head == FILE_HEADER_GOOD ? &file->header : &file->mark;
    bool any = head == FILE_HEADER_GOOD || file->has_mark;
    if (any && memcmp(known->node_id, recovery->settings.node_id, FILE_NODE_ID_BYTES) != 0) {
        recover_damage_add(recovery, RECOVER_FOREIGN, file, 0);
        return;
    }
    if (head == FILE_HEADER_GOOD) {
        bool marked = file->has_mark && file->mark.file_id == file->header.file_id;
        file->kind = marked ? RECOVER_FILE_SPARE : RECOVER_FILE_LIVE;
    } else if (file->has_mark && error == 0) {
        file->kind = RECOVER_FILE_HEADLESS;
    } else {
        struct recover_damage *damage =
            recover_damage_add(recovery, error ? RECOVER_UNREADABLE : RECOVER_BAD_HEADER, file, 0);
        if (damage) damage->error = error;
    }
}

/* Files are open only while they are read: there may be more than a process may open. */
static void close_file(struct recovery *recovery, struct recover_file *file) {
    disk_close(recovery->settings.disk, file->handle);
    file->handle = NULL;
}

static int open_file(struct recovery *recovery, struct recover_file *file) {
    struct disk *disk = recovery->settings.disk;
    int status = disk_open(disk, file->name, &file->handle);
    /* A process that was killed leaves what it wrote in the page cache. Who builds on it must know
     * it stable, or a power loss takes away what a later file says was there. */
    bool sync = !recovery->settings.read_only && !PLANTED(NO_SYNC);
    if (status == 0 && sync) status = disk_sync(disk, file->handle);
    if (status == 0) status = disk_size(disk, file->handle, &file->size);
    return status;
}

int recover_files_load(struct recovery *recovery) {
    struct disk *disk = recovery->settings.disk;
    int status = disk_list(disk, on_name, recovery);
    if (status == 0 && !recovery->settings.read_only) status = disk_sync_dir(disk);
    for (uint32_t i = 0; i < recovery->file_count && status == 0; i++) {
        status = open_file(recovery, recovery->files[i]);
        if (status == 0) judge_file(recovery, recovery->files[i]);
        close_file(recovery, recovery->files[i]);
    }
    for (uint32_t i = 0; i < recovery->segment_count && status == 0; i++) {
        status = open_file(recovery, recovery->segments[i]);
        if (status == 0) recover_segment_judge(recovery, recovery->segments[i]);
        close_file(recovery, recovery->segments[i]);
    }
    return status;
}

static int by_base(const void *a, const void *b) {
    const struct recover_file *left = *(struct recover_file *const *)a;
    const struct recover_file *right = *(struct recover_file *const *)b;
    if (left->header.base_lsn != right->header.base_lsn)
        return left->header.base_lsn < right->header.base_lsn ? -1 : 1;
    return 0;
}

static struct recover_chain *chain_of(struct recovery *recovery, uint16_t shard) {
    for (uint32_t i = 0; i < recovery->chain_count; i++)
        if (recovery->chains[i].shard == shard) return &recovery->chains[i];
    recovery->chains =
        mem_resize(recovery->chains, (recovery->chain_count + 1) * sizeof *recovery->chains);
    struct recover_chain *chain = &recovery->chains[recovery->chain_count++];
    *chain = (struct recover_chain){.shard = shard};
    return chain;
}

/* All live files of the writer, oldest first. */
static void gather_live(struct recovery *recovery, struct recover_chain *chain) {
    chain->live = mem_new_array(recovery->file_count, sizeof(struct recover_file *));
    chain->files = mem_new_array(recovery->file_count, sizeof(struct recover_file *));
    uint64_t unknown_bytes = 0;
    for (uint32_t i = 0; i < recovery->file_count; i++) {
        struct recover_file *file = recovery->files[i];
        bool has_header = file->kind == RECOVER_FILE_LIVE || file->kind == RECOVER_FILE_SPARE;
        if (!has_header) {
            unknown_bytes += file->size;
        } else if (file->header.shard == chain->shard) {
            uint64_t end = file->header.base_lsn + file->size;
            chain->next_base_lsn = max_u64(chain->next_base_lsn, end);
            chain->last_file_no = max_u64(chain->last_file_no, file->header.file_no);
        }
        if (file->kind == RECOVER_FILE_LIVE && file->header.shard == chain->shard)
            chain->live[chain->live_count++] = file;
    }
    /* Files whose headers are gone may have had the next places: these are not used again. */
    chain->next_base_lsn += unknown_bytes;
    qsort(chain->live, chain->live_count, sizeof *chain->live, by_base);
}

/* The youngest of that number: tearing a header twice may bring back one that never was whole. */
static struct recover_file *predecessor_of(
    struct recover_chain *chain, const struct recover_file *file) {
    struct recover_file *found = NULL;
    for (uint32_t i = 0; i < chain->live_count; i++) {
        struct recover_file *other = chain->live[i];
        if (other->header.file_no == file->header.prev_file_no &&
            other->header.base_lsn < file->header.base_lsn)
            found = other;
    }
    return found;
}

/* Whether a mark says that the file was released. That mark is needed until a header of the same
 * writer says so too. */
static bool is_marked(struct recovery *recovery, uint16_t shard, uint64_t file_no) {
    bool found = false;
    for (uint32_t i = 0; i < recovery->file_count; i++) {
        struct recover_file *file = recovery->files[i];
        if (!file->has_mark || file->mark.shard != shard || file->mark.file_no != file_no) continue;
        file->mark_needed = true;
        found = true;
    }
    return found;
}

/* Walks back from a file and marks what belongs to the chain, until its beginning or a gap. */
static void walk_back(
    struct recovery *recovery, struct recover_chain *chain, struct recover_file *file) {
    chain->gap = NULL;
    for (;;) {
        file->in_chain = true;
        uint64_t prev_no = file->header.prev_file_no;
        if (prev_no <= chain->released_file_no) return;
        struct recover_file *prev = predecessor_of(chain, file);
        if (prev) prev->successor = file;
        if (!prev && is_marked(recovery, chain->shard, prev_no)) return;
        if (!prev) {
            chain->gap = file;
            return;
        }
        file = prev;
    }
}

/* What is in the chain, oldest first. */
static void list_chain(struct recover_chain *chain) {
    chain->count = 0;
    for (uint32_t i = 0; i < chain->live_count; i++)
        if (chain->live[i]->in_chain) chain->files[chain->count++] = chain->live[i];
}

void recover_chains_form(struct recovery *recovery) {
    for (uint32_t i = 0; i < recovery->file_count; i++)
        if (recovery->files[i]->kind == RECOVER_FILE_LIVE)
            chain_of(recovery, recovery->files[i]->header.shard);
    for (uint32_t i = 0; i < recovery->chain_count; i++) {
        struct recover_chain *chain = &recovery->chains[i];
        gather_live(recovery, chain);
        struct recover_file *last = chain->live[chain->live_count - 1];
        chain->released_file_no = last->header.released_file_no;
        walk_back(recovery, chain, last);
        list_chain(chain);
    }
}

/* The youngest live file that is older than all in the chain: where salvaging goes on. */
static struct recover_file *next_older(struct recover_chain *chain) {
    struct recover_file *older = NULL;
    for (uint32_t i = 0; i < chain->live_count && chain->live[i] != chain->gap; i++)
        if (chain->live[i]->header.file_no > chain->released_file_no) older = chain->live[i];
    return older;
}

void recover_chain_form_on(struct recovery *recovery, struct recover_chain *chain) {
    struct recover_damage *damage = recover_damage_add(recovery, RECOVER_MISSING, NULL, 0);
    if (damage) {
        damage->shard = chain->shard;
        damage->file_no = chain->gap->header.prev_file_no;
        damage->lsn = chain->gap->header.prev_end_lsn;
    }
    struct recover_file *older = next_older(chain);
    chain->gap = NULL;
    if (older) walk_back(recovery, chain, older);
    list_chain(chain);
}

void recover_scan_forget(struct recovery *recovery, struct recover_file *file) {
    recovery->counts.frames -= file->frames;
    recovery->counts.records -= file->records;
    recovery->counts.bytes -= file->bytes;
    file->frames = file->records = file->bytes = 0;
    file->stretch_count = file->piece_count = 0;
    file->index = 0;
    file->indexed = false;
}

/* Whether the manifest says that the file was kept, and that it ends where its scan has ended. */
static bool is_kept_as_scanned(const struct recover_chain *chain, const struct recover_file *file) {
    for (uint32_t i = 0; i < chain->manifest_count; i++) {
        const struct segment_ref *ref = &chain->manifest[i];
        bool same = ref->number == (SEGMENT_REF_KEPT | file->header.file_no) &&
                    ref->file_id == file->header.file_id;
        if (same && ref->end == file->end) return true;
    }
    return false;
}

/* Who names a file as kept has released all before it, and it is to be read as a segment is. */
void recover_chain_trim(struct recovery *recovery, struct recover_chain *chain) {
    for (uint32_t i = 0; i < chain->count; i++) {
        struct recover_file *file = chain->files[i];
        if (file->header.file_no > chain->manifest_released) continue;
        file->in_chain = file->cut_off = false;
        file->scanned = is_kept_as_scanned(chain, file);
        if (file->scanned) continue;
        recover_scan_forget(recovery, file);
        recovery->counts.files--;
    }
    list_chain(chain);
    chain->released_file_no = chain->files[0]->header.file_no - 1;
}

/* What is not in the chain and not kept was cut off or released. From before the chain it may have
 * been kept once, and is not to be written again. */
void recover_past_form(struct recovery *recovery, struct recover_chain *chain, bool doubtful) {
    uint64_t first_no = chain->files[0]->header.file_no;
    chain->past_files = mem_new_array(chain->live_count + 1, sizeof *chain->past_files);
    for (uint32_t i = 0; i < chain->live_count; i++) {
        struct recover_file *file = chain->live[i];
        if (file->listed) continue;
        if (file->header.file_no < first_no) {
            if (!file->mark_needed && !doubtful) recover_leftover_add(recovery, file->name);
            continue;
        }
        struct journal_past_file *past = &chain->past_files[chain->past_count++];
        *past = (struct journal_past_file){
            .file_no = file->header.file_no,
            .file_id = file->header.file_id,
            .base_lsn = file->header.base_lsn,
            .bytes = file->size,
            .end = file->end,
            .index = file->index,
            .abandoned = file->cut_off || !file->in_chain,
        };
        memcpy(past->name, file->name, sizeof past->name);
    }
}
