/* journal_file: the files of a journal: made, begun, left, released, used again.
 *
 *      made ---> spare ---> active ---> full ---> left ---> marking ---> spare
 *                                 \---> abandoned -----------^            \---> removed
 *
 * A file is full when its last frame has been sent, and left when its successor's header is stable:
 * from then on it may be released. One that a failure or a crash has cut off is abandoned; the next
 * header that becomes stable explains its absence from the chain, and then it is marked.
 *
 * A mark is more than permission to use the file again: until a stable header names the file as
 * released, the mark of the last one tells that the chain may begin behind it. A spare file is
 * overwritten only by a header that says so, but one that is removed takes its mark along, and has
 * to wait for such a header or for the mark of a later file. */
#include <errno.h>

#include "base/memory.h"
#include "base/str.h"
#include "store/journal_state.h"
#include "store/plant.h"

/* A file that is made may be so many times as large as the smallest that is used. */
enum { FILE_BYTES_SPREAD = 4 };

void journal_file_free(struct journal *journal, struct journal_file *file) {
    disk_close(journal->settings.disk, file->handle);
    disk_memory_free(file->mark);
    journal_marks_free(file);
    list_remove_if_linked(&file->in_files);
    mem_free(file);
}

/* Waits for its removal. */
static void become_unfit(struct journal *journal, struct journal_file *file) {
    list_remove_if_linked(&file->in_files);
    list_put_last(&journal->unfit, &file->in_files);
    file->state = JOURNAL_FILE_SPARE;
}

static void become_spare(struct journal *journal, struct journal_file *file) {
    list_remove_if_linked(&file->in_files);
    list_put_last(&journal->spares, &file->in_files);
    journal->spare_count++;
    file->state = JOURNAL_FILE_SPARE;
}

/* There is room again: files could be made, or enough have become free. */
static void report_made(struct journal *journal) {
    if (!journal->make_failed) return;
    journal->make_failed = false;
    journal_report(journal, JOURNAL_MADE, 0);
}

/* The header of a file that is about to be begun. */
static struct file_header header_of(
    const struct journal *journal, const struct journal_file *file) {
    struct file_header header = {
        .format = FILE_FORMAT,
        .kind = FILE_JOURNAL,
        .shard = journal->settings.shard,
        .file_no = file->file_no,
        .file_id = file->file_id,
        .base_lsn = file->base_lsn,
        .prev_file_no = journal->tail.file_no,
        .prev_end_lsn = journal->tail.end_lsn,
        .prev_index_lsn = journal->tail.index_lsn,
        .created_ms = journal->wall_ms,
        .durable_lsn = journal->durable_lsn,
        .released_file_no = journal->header_released_no,
        .prev_crc = journal->tail.crc,
    };
    memcpy(header.node_id, journal->settings.node_id, FILE_NODE_ID_BYTES);
    return header;
}

/* Files grow with use: little is taken on disk for little. Once large ones are made, small ones are
 * not kept. */
uint64_t journal_file_bytes_least(const struct journal *journal) {
    uint64_t first = journal->settings.file_bytes_first;
    if (first == 0) return journal->settings.file_bytes;
    return max_u64(first, journal->make_bytes / FILE_BYTES_SPREAD);
}

bool journal_file_begin(struct journal *journal) {
    check(!journal->active);
    struct list_node *node = list_first(&journal->spares);
    if (!node || journal->header_sent) return false;
    struct journal_file *file = LIST_ENTRY(node, struct journal_file, in_files);
    list_remove(node);
    journal->spare_count--;
    list_put_last(&journal->files, &file->in_files);
    file->state = JOURNAL_FILE_ACTIVE;
    file->past = false;
    file->released = false;
    file->file_no = ++journal->last_file_no;
    file->file_id = prng_next(&journal->prng);
    file->base_lsn = journal->next_base_lsn;
    file->position = 0;
    file->end = file->index = 0;
    journal_marks_free(file);
    journal->next_base_lsn += file->size;
    journal->active = file;
    journal->active_offset = FILE_FRAMES_AT;
    journal->header_released_no = journal->released_file_no;
    struct file_header header = header_of(journal, file);
    journal->header_crc = file_header_encode(&header, journal->header);
    journal->tail = (struct journal_tail){
        .file_no = file->file_no,
        .end_lsn = file->base_lsn + FILE_FRAMES_AT,
        .crc = journal->header_crc,
    };
    file_index_clear(&journal->index, file->size / FILE_INDEX_PART);
    journal->closing = false;
    journal->header_write = (struct journal_write){
        .request = {.kind = DISK_WRITE,
            .file = file->handle,
            .data = journal->header,
            .size = FILE_HEADER_BYTES,
            .submitter = journal},
        .kind = JOURNAL_WRITE_HEADER,
        .file = file,
    };
    journal->header_sent = true;
    journal->begin_wanted = false;
    /* The last ready one is in use: who waited for room asks for what is kept aside. */
    if (journal->make_failed && journal->spare_count == 0) journal->make_after_ms = 0;
    if (journal->counts.files_begun != 0 && !journal->make_failed)
        journal->make_bytes = min_u64(2 * journal->make_bytes, journal->settings.file_bytes);
    journal->counts.files_begun++;
    disk_submit(journal->settings.disk, &journal->header_write.request);
    return true;
}

void journal_file_mark(struct journal *journal, struct journal_file *file) {
    if (!file->handle) {
        int status = disk_open(journal->settings.disk, file->name, &file->handle);
        if (status == 0) status = disk_size(journal->settings.disk, file->handle, &file->size);
        if (status != 0) {
            journal_report(journal, JOURNAL_MARK_FAILED, -status);
            journal_file_free(journal, file);
            return;
        }
    }
    struct file_header mark = {
        .format = FILE_FORMAT,
        .kind = FILE_RELEASED,
        .shard = journal->settings.shard,
        .file_no = file->file_no,
        .file_id = file->file_id,
        .base_lsn = file->base_lsn,
    };
    memcpy(mark.node_id, journal->settings.node_id, FILE_NODE_ID_BYTES);
    if (!file->mark) file->mark = disk_memory_new(FILE_HEADER_BYTES);
    file_header_encode(&mark, file->mark);
    file->state = JOURNAL_FILE_MARKING;
    journal_marks_free(file);
    file->explains = file->file_no;
    file->mark_write = (struct journal_write){
        .request = {.kind = DISK_WRITE,
            .file = file->handle,
            .offset = FILE_MARK_AT,
            .data = file->mark,
            .size = FILE_HEADER_BYTES,
            .submitter = journal},
        .kind = JOURNAL_WRITE_MARK,
        .file = file,
    };
    journal->marks_sent++;
    disk_submit(journal->settings.disk, &file->mark_write.request);
    if (PLANTED(EARLY_RECYCLE)) {
        become_spare(journal, file);
        list_remove(&file->in_files);
        list_put_first(&journal->spares, &file->in_files);
    }
}

void journal_file_on_mark(struct journal *journal, struct journal_file *file, int status) {
    journal->marks_sent--;
    if (PLANTED(EARLY_RECYCLE)) return;
    if (status != 0) journal_report(journal, JOURNAL_MARK_FAILED, -status);
    if (status == 0 && file->released)
        journal->marked_file_no = max_u64(journal->marked_file_no, file->file_no);
    if (status != 0 || file->failed) {
        journal_file_free(journal, file);
    } else if (file->size < journal_file_bytes_least(journal)) {
        become_unfit(journal, file);
    } else {
        become_spare(journal, file);
    }
}

void journal_file_mark_abandoned(struct journal *journal) {
    list_for_safe (struct journal_file, file, &journal->files, in_files) {
        if (file->state != JOURNAL_FILE_ABANDONED) continue;
        if (file->failed) {
            journal_file_free(journal, file);
        } else {
            journal_file_mark(journal, file);
        }
    }
}

void journal_file_on_header(struct journal *journal, int status) {
    check(status == 0);
    struct journal_file *begun = journal->header_write.file;
    journal->stable = (struct journal_tail){
        .file_no = begun->file_no,
        .end_lsn = begun->base_lsn + FILE_FRAMES_AT,
        .crc = journal->header_crc,
    };
    begun->end = FILE_FRAMES_AT;
    if (!journal->settings.unwitnessed) journal->durable_lsn = journal->stable.end_lsn;
    journal->explained_file_no = journal->header_released_no;
    list_for_safe (struct journal_file, file, &journal->files, in_files) {
        if (file->state != JOURNAL_FILE_FULL || file == begun) continue;
        file->state = JOURNAL_FILE_LEFT;
        if (file->past) continue;
        journal->settings.calls->on_file_left(
            journal->settings.context, file->file_no, journal->stable_position);
    }
    journal_file_mark_abandoned(journal);
}

void journal_file_give_up(struct journal *journal) {
    struct journal_file *active = journal->active;
    if (active) {
        /* What became stable in it counts, if only its header; without that it is cut off. */
        bool in_chain = journal->stable.file_no == active->file_no;
        active->state = in_chain ? JOURNAL_FILE_FULL : JOURNAL_FILE_ABANDONED;
    }
    journal->active = NULL;
    journal->closing = false;
    journal->tail = journal->stable;
}

uint64_t journal_oldest(const struct journal *journal) {
    list_for (struct journal_file, file, &journal->files, in_files) {
        if (file->state == JOURNAL_FILE_LEFT) return file->file_no;
        if (file->state == JOURNAL_FILE_ACTIVE || file->state == JOURNAL_FILE_FULL) return 0;
    }
    return 0;
}

void journal_release(struct journal *journal, uint64_t file_no) {
    check(file_no != 0 && file_no == journal_oldest(journal));
    journal->released_file_no = file_no;
    list_for_safe (struct journal_file, file, &journal->files, in_files) {
        if (file->state != JOURNAL_FILE_LEFT || file->file_no != file_no) continue;
        file->released = true;
        /* One that a write failed in is not written again; the next header says it is released. */
        if (file->failed) {
            journal_file_free(journal, file);
        } else {
            journal_file_mark(journal, file);
        }
        return;
    }
}

/* Opens a file that is free to be written; nobody else may know it. */
static int add_spare(struct journal *journal, const char *name, uint64_t explains) {
    struct disk *disk = journal->settings.disk;
    struct disk_file *handle = NULL;
    int status = disk_open(disk, name, &handle);
    if (status != 0) return status;
    uint64_t size = 0;
    status = disk_size(disk, handle, &size);
    if (status != 0) {
        disk_close(disk, handle);
        return status;
    }
    struct journal_file *file = NEW(struct journal_file);
    file->handle = handle;
    file->size = size;
    file->explains = explains;
    str_format(file->name, sizeof file->name, "%s", name);
    if (size < journal_file_bytes_least(journal) || size % DISK_BLOCK_BYTES != 0) {
        become_unfit(journal, file);
    } else {
        become_spare(journal, file);
    }
    return 0;
}

int journal_add_spare(struct journal *journal, const char *name) {
    /* Its mark may be the one that tells where the chain of the past begins. */
    return add_spare(journal, name, journal->released_file_no);
}

/* Without its mark the chain must be as well explained as with it. */
static bool may_be_removed(const struct journal *journal, const struct journal_file *file) {
    return file->explains <= journal->explained_file_no ||
           file->explains < journal->marked_file_no || PLANTED(MARK_REMOVED);
}

/* One that is too small to be used again, or NULL. */
static struct journal_file *unfit_file(struct journal *journal) {
    list_for (struct journal_file, file, &journal->unfit, in_files) {
        if (may_be_removed(journal, file)) return file;
    }
    return NULL;
}

/* One that is too much, or NULL. */
static struct journal_file *surplus_file(struct journal *journal) {
    struct journal_file *last = NULL;
    if (journal->spare_count <= journal->settings.files_spare + 1) return NULL;
    list_for (struct journal_file, file, &journal->spares, in_files) {
        if (may_be_removed(journal, file)) last = file;
    }
    return last;
}

/* Under load the number of spare files goes up and down, and making one costs as much as filling
 * it: only what has been too much for a while is removed. */
void journal_file_trim(struct journal *journal) {
    struct journal_file *surplus = surplus_file(journal);
    if (!surplus) {
        journal->trim_ms = UINT64_MAX;
    } else if (journal->trim_ms == UINT64_MAX) {
        journal->trim_ms = journal->now_ms + JOURNAL_TRIM_MS;
    }
    if (journal->removing) return;
    struct journal_file *file = unfit_file(journal);
    if (!file && journal->now_ms >= journal->trim_ms) {
        file = surplus;
        journal->spare_count--;
    }
    if (!file) return;
    journal->removal = (struct disk_request){.kind = DISK_REMOVE, .submitter = journal};
    memcpy(journal->removal.name, file->name, sizeof file->name);
    journal_file_free(journal, file);
    journal->removing = true;
    disk_submit(journal->settings.disk, &journal->removal);
}

void journal_file_on_removed(struct journal *journal, int status) {
    journal->removing = false;
    if (status == 0) {
        journal->counts.files_removed++;
    } else {
        journal_report(journal, JOURNAL_MARK_FAILED, -status);
    }
}

/* Where there is no room for a large file there may be some for a small one. */
static bool make_smaller(struct journal *journal, int status) {
    uint64_t first = journal->settings.file_bytes_first;
    if ((status != -ENOSPC && status != -EDQUOT) || first == 0) return false;
    if (journal->make_bytes == first) return false;
    uint64_t half = journal->make_bytes / 2;
    journal->make_bytes = max_u64(first, half - half % DISK_BLOCK_BYTES);
    return true;
}

void journal_file_on_make(struct journal *journal, int status) {
    journal->making = false;
    if (status == 0) status = add_spare(journal, journal->make.name, 0);
    if (status == 0) {
        journal->counts.files_made++;
        if (!journal->make.from_reserve) report_made(journal);
        return;
    }
    if (make_smaller(journal, status)) return;
    journal->make_failed = true;
    journal->make_after_ms = journal->now_ms + JOURNAL_MAKE_MS;
    journal_report(journal, JOURNAL_MAKE_FAILED, -status);
}

/* Without this file nothing goes on, and it cannot be smaller. */
static bool is_vital(const struct journal *journal) {
    uint64_t first = journal->settings.file_bytes_first;
    return journal->spare_count == 0 && (first == 0 || journal->make_bytes == first);
}

void journal_file_make(struct journal *journal) {
    bool enough = journal->spare_count >= journal->settings.files_spare;
    if (enough && !journal->making) report_made(journal);
    if (!journal_makes(journal)) return;
    if (journal->making || enough || journal->now_ms < journal->make_after_ms) return;
    /* A new file is born marked, so that a torn first header can be told from a rotten one. */
    struct file_header mark = {
        .format = FILE_FORMAT,
        .kind = FILE_RELEASED,
        .shard = journal->settings.shard,
        .file_id = prng_next(&journal->prng),
    };
    memcpy(mark.node_id, journal->settings.node_id, FILE_NODE_ID_BYTES);
    file_header_encode(&mark, journal->make_head + FILE_MARK_AT);
    journal->make = (struct disk_request){
        .kind = DISK_MAKE,
        .data = journal->make_head,
        .head_size = FILE_FRAMES_AT,
        .size = journal->make_bytes,
        .vital = is_vital(journal),
        .submitter = journal,
    };
    str_format(journal->make.name, sizeof journal->make.name, "%016llx.journal",
        (unsigned long long)mark.file_id);
    journal->making = true;
    disk_submit(journal->settings.disk, &journal->make);
}

void journal_pieces(const struct journal *journal,
    void (*each)(void *context, const struct journal_piece *piece), void *context) {
    uint64_t last = journal->stable.file_no;
    list_for (struct journal_file, file, &journal->files, in_files) {
        bool in_chain = file->state == JOURNAL_FILE_ACTIVE || file->state == JOURNAL_FILE_FULL ||
                        file->state == JOURNAL_FILE_LEFT;
        if (!in_chain || file->file_no > last) continue;
        struct journal_piece piece = {.file_no = file->file_no};
        memcpy(piece.name, file->name, sizeof piece.name);
        if (file->file_no == last) piece.end_lsn = journal->stable.end_lsn;
        each(context, &piece);
    }
}
