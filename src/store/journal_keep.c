/* journal_keep: where in its files a journal has what was put, and files that stay as they are.
 *
 *      frame sent ---> mark {position, offset} of its file ---> locate: position -> file, frame
 *
 * A frame that is sent again counts where it was sent last: when a write fails, the marks of all
 * that is not stable go, and come back with the frames. */
#include "base/memory.h"
#include "store/journal_state.h"
#include "store/plant.h"

enum { KEPT_MARK_BYTES = 64 * 1024 };

void journal_mark_put(struct journal_file *file, uint64_t position, uint64_t offset) {
    if (file->mark_count == file->mark_capacity) {
        file->mark_capacity = file->mark_capacity ? 2 * file->mark_capacity : 64;
        file->marks = mem_resize(file->marks, file->mark_capacity * sizeof *file->marks);
    }
    file->marks[file->mark_count++] = (struct journal_mark){position, offset};
}

void journal_marks_cut(struct journal *journal) {
    if (PLANTED(MARKS_STALE)) return;
    list_for (struct journal_file, file, &journal->files, in_files) {
        while (file->mark_count != 0 &&
               file->marks[file->mark_count - 1].position > journal->stable_position)
            file->mark_count--;
    }
}

void journal_marks_free(struct journal_file *file) {
    mem_free(file->marks);
    file->marks = NULL;
    file->mark_count = file->mark_capacity = 0;
}

uint32_t journal_mark_find(
    const struct journal_mark *marks, uint32_t mark_count, uint64_t position) {
    uint32_t low = 0, high = mark_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (marks[middle].position <= position) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low == 0 ? UINT32_MAX : low - 1;
}

/* Whether the file counts and is not released. */
static bool in_chain(const struct journal_file *file) {
    return file->state == JOURNAL_FILE_ACTIVE || file->state == JOURNAL_FILE_FULL ||
           file->state == JOURNAL_FILE_LEFT;
}

static void place_in(
    const struct journal_file *file, uint64_t offset, struct journal_place *ret_place) {
    *ret_place = (struct journal_place){
        .file_no = file->file_no, .file_id = file->file_id, .offset = offset, .end = file->end};
    memcpy(ret_place->name, file->name, sizeof ret_place->name);
}

bool journal_locate(
    const struct journal *journal, uint64_t position, struct journal_place *ret_place) {
    const struct journal_file *found = NULL;
    if (position == 0 || position > journal->stable_position) return false;
    list_for (struct journal_file, file, &journal->files, in_files) {
        bool has = in_chain(file) && file->mark_count != 0 && file->marks[0].position <= position;
        if (has) found = file;
    }
    if (!found) return false;
    uint32_t at = journal_mark_find(found->marks, found->mark_count, position);
    place_in(found, found->marks[at].offset, ret_place);
    return true;
}

/* A file of before the start that is in the chain, or NULL. */
static const struct journal_file *find_past(const struct journal *journal, uint64_t file_no) {
    list_for (struct journal_file, file, &journal->files, in_files) {
        if (file->past && in_chain(file) && file->file_no == file_no) return file;
    }
    return NULL;
}

const char *journal_past_name(const struct journal *journal, uint64_t file_no) {
    const struct journal_file *file = find_past(journal, file_no);
    return file ? file->name : NULL;
}

bool journal_past_place(
    const struct journal *journal, uint64_t file_no, struct journal_place *ret_place) {
    const struct journal_file *file = find_past(journal, file_no);
    if (!file) return false;
    place_in(file, FILE_FRAMES_AT, ret_place);
    return true;
}

static struct journal_file *file_to_keep(const struct journal *journal, uint64_t file_no) {
    check(file_no != 0 && file_no == journal_oldest(journal));
    list_for (struct journal_file, file, &journal->files, in_files) {
        if (file->state == JOURNAL_FILE_LEFT && file->file_no == file_no) return file;
    }
    unreachable_here();
}

struct segment_ref journal_keep_ref(const struct journal *journal, uint64_t file_no) {
    const struct journal_file *file = file_to_keep(journal, file_no);
    return (struct segment_ref){.number = SEGMENT_REF_KEPT | file_no,
        .file_id = file->file_id,
        .end = file->end,
        .index = file->index};
}

/* A kept file may stay for long, and there may be very many: one mark for each so many bytes. */
static void thin_marks(struct journal_file *file) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < file->mark_count; i++) {
        const struct journal_mark *mark = &file->marks[i];
        bool near = count != 0 && mark->offset - file->marks[count - 1].offset < KEPT_MARK_BYTES;
        if (!near) file->marks[count++] = *mark;
    }
    file->mark_count = file->mark_capacity = count;
    if (count != 0) file->marks = mem_resize(file->marks, count * sizeof *file->marks);
}

void journal_keep(struct journal *journal, uint64_t file_no, struct journal_kept *ret_kept) {
    struct journal_file *file = file_to_keep(journal, file_no);
    thin_marks(file);
    *ret_kept = (struct journal_kept){
        .file_no = file_no,
        .file_id = file->file_id,
        .bytes = file->size,
        .end = file->end,
        .marks = file->marks,
        .mark_count = file->mark_count,
    };
    memcpy(ret_kept->name, file->name, sizeof ret_kept->name);
    file->marks = NULL;
    journal->released_file_no = file_no;
    if (PLANTED(KEPT_REUSED)) {
        journal_file_mark(journal, file);
    } else {
        journal_file_free(journal, file);
    }
}
