/* shelf: where on disk a queue's kept messages lie: runs of its sequence over files. */
#include "shard/shelf.h"

#include "base/memory.h"

enum { STAYS_MIN = 2, TOUCHED_MIN = 8, LOST_MIN = 8 };

/* ---- files */

struct kept_file *kept_file_new(struct archive *archive, bool segment, uint32_t shards) {
    struct kept_file *file = mem_new(sizeof *file + shards * sizeof(struct file_part));
    file->archive = archive;
    file->segment = segment;
    file->whole = true;
    file->part_count = shards;
    return file;
}

void kept_file_free(struct kept_file *file) {
    if (!file) return;
    check(!list_linked(&file->in_archive));
    for (uint32_t i = 0; i < file->part_count; i++)
        mem_free(file->parts[i].touched);
    mem_free(file->name);
    mem_free(file->marks);
    mem_free(file);
}

uint64_t kept_file_live(const struct kept_file *file) {
    uint64_t live = 0;
    for (uint32_t i = 0; i < file->part_count; i++)
        live += atomic_load_explicit(&file->parts[i].live, memory_order_acquire);
    return live;
}

/* One writer for each part: a load and a store, as for counters. */
static void add_live(struct kept_file *file, uint32_t shard, uint64_t count) {
    _Atomic uint64_t *live = &file->parts[shard].live;
    uint64_t value = atomic_load_explicit(live, memory_order_relaxed);
    atomic_store_explicit(live, value + count, memory_order_release);
}

static void take_live(struct kept_file *file, uint32_t shard, uint64_t count) {
    _Atomic uint64_t *live = &file->parts[shard].live;
    uint64_t value = atomic_load_explicit(live, memory_order_relaxed);
    check(value >= count);
    atomic_store_explicit(live, value - count, memory_order_release);
}

/* ---- shelves */

struct shelf *shelf_new(uint64_t id, queue_ref queue) {
    struct shelf *shelf = NEW(struct shelf);
    shelf->id = id;
    shelf->queue = queue;
    return shelf;
}

void shelf_free(struct shelf *shelf, uint32_t shard) {
    if (!shelf) return;
    for (uint32_t i = 0; i < shelf->count; i++)
        take_live(shelf->stays[i].file, shard, shelf->stays[i].live);
    mem_free(shelf->ghosts);
    mem_free(shelf->lost);
    mem_free(shelf->stays);
    mem_free(shelf);
}

bool shelf_lives_in_past(const struct shelf *shelf) {
    for (uint32_t i = 0; i < shelf->count; i++) {
        if (shelf->stays[i].file->past && shelf->stays[i].live != 0) return true;
    }
    return false;
}

uint64_t shelf_live_in(const struct shelf *shelf, const struct kept_file *file) {
    uint64_t live = 0;
    for (uint32_t i = 0; i < shelf->count; i++)
        live += shelf->stays[i].file == file ? shelf->stays[i].live : 0;
    return live;
}

void shelf_touch(struct shelf *shelf, struct kept_file *file, uint32_t shard) {
    if (shelf->touched == file) return;
    shelf->touched = file;
    struct file_part *part = &file->parts[shard];
    if (part->touched_count == part->touched_capacity) {
        part->touched_capacity = part->touched_capacity ? 2 * part->touched_capacity : TOUCHED_MIN;
        part->touched = mem_resize(part->touched, part->touched_capacity * sizeof *part->touched);
    }
    part->touched[part->touched_count++] = shelf->queue;
}

static struct stay *insert_stay(struct shelf *shelf, uint32_t at) {
    if (shelf->count == shelf->capacity) {
        shelf->capacity = shelf->capacity ? 2 * shelf->capacity : STAYS_MIN;
        shelf->stays = mem_resize(shelf->stays, shelf->capacity * sizeof *shelf->stays);
    }
    struct stay *stay = &shelf->stays[at];
    memmove(stay + 1, stay, (shelf->count - at) * sizeof *stay);
    shelf->count++;
    return stay;
}

void shelf_put(struct shelf *shelf, uint64_t seq, uint64_t count, const struct shelf_place *place,
    uint32_t shard) {
    struct stay *last = shelf->count ? &shelf->stays[shelf->count - 1] : NULL;
    if (!last || last->file != place->file || place->new_piece) {
        check(!last || last->first_seq < seq);
        last = insert_stay(shelf, shelf->count);
        *last = (struct stay){.first_seq = seq, .file = place->file, .at = place->at};
        shelf_touch(shelf, place->file, shard);
    }
    last->live += count;
    add_live(place->file, shard, count);
}

uint64_t shelf_end(const struct shelf *shelf, uint32_t at) {
    check(at < shelf->count);
    return at + 1 < shelf->count ? shelf->stays[at + 1].first_seq : UINT64_MAX;
}

/* Most are in the last run or in the first. */
uint32_t shelf_find(const struct shelf *shelf, uint64_t seq) {
    uint32_t low = 0;
    uint32_t high = shelf->count;
    check(high != 0);
    check(shelf->stays[0].first_seq <= seq);
    if (shelf->stays[high - 1].first_seq <= seq) return high - 1;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (shelf->stays[middle].first_seq <= seq) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

void shelf_drop(struct shelf *shelf, uint64_t seq, uint64_t count, uint32_t shard) {
    uint32_t at = shelf_find(shelf, seq);
    while (count != 0) {
        struct stay *stay = &shelf->stays[at];
        uint64_t here = min_u64(count, shelf_end(shelf, at) - seq);
        check(stay->live >= here);
        stay->live -= here;
        take_live(stay->file, shard, here);
        shelf->emptied = shelf->emptied || (stay->file->past && stay->live == 0);
        seq += here;
        count -= here;
        at++;
    }
}

/* ---- what could not be read */

/* The index of the first lost one that is not before seq. */
static uint32_t search_lost(const struct shelf *shelf, uint64_t seq) {
    uint32_t low = 0, high = shelf->lost_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (shelf->lost[middle] < seq) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

uint64_t shelf_next_lost(const struct shelf *shelf, uint64_t seq) {
    uint32_t at = search_lost(shelf, seq);
    return at < shelf->lost_count ? shelf->lost[at] : UINT64_MAX;
}

void shelf_lose(struct shelf *shelf, uint64_t seq, uint32_t shard) {
    struct kept_file *file = shelf->stays[shelf_find(shelf, seq)].file;
    atomic_store_explicit(&file->broken, true, memory_order_relaxed);
    shelf_drop(shelf, seq, 1, shard);
    if (shelf->lost_count == shelf->lost_capacity) {
        shelf->lost_capacity = shelf->lost_capacity ? 2 * shelf->lost_capacity : LOST_MIN;
        shelf->lost = mem_resize(shelf->lost, shelf->lost_capacity * sizeof *shelf->lost);
    }
    uint32_t at = search_lost(shelf, seq);
    memmove(&shelf->lost[at + 1], &shelf->lost[at], (shelf->lost_count - at) * sizeof *shelf->lost);
    shelf->lost[at] = seq;
    shelf->lost_count++;
}

/* Of a run that is forgotten. */
static void forget_lost(struct shelf *shelf, uint64_t seq, uint64_t end) {
    if (shelf->lost_count == 0) return;
    uint32_t first = search_lost(shelf, seq);
    uint32_t behind = search_lost(shelf, end);
    memmove(&shelf->lost[first], &shelf->lost[behind],
        (shelf->lost_count - behind) * sizeof *shelf->lost);
    shelf->lost_count -= behind - first;
}

void shelf_forget_lost(struct shelf *shelf, const struct kept_file *file) {
    for (uint32_t i = 0; shelf->lost_count != 0 && i < shelf->count; i++) {
        if (shelf->stays[i].file == file)
            forget_lost(shelf, shelf->stays[i].first_seq, shelf_end(shelf, i));
    }
}

/* ---- changes */

/* Makes a run begin at `seq`, which lies within one. What lives on either side is for the caller to
 * say. */
static void split_at(struct shelf *shelf, uint64_t seq) {
    uint32_t at = shelf_find(shelf, seq);
    check(shelf->stays[at].first_seq != seq);
    struct stay stay = shelf->stays[at];
    *insert_stay(shelf, at + 1) = (struct stay){.first_seq = seq, .file = stay.file, .at = stay.at};
}

void shelf_leave(struct shelf *shelf, uint64_t seq, uint64_t live, struct kept_file *from,
    const struct shelf_place *place, uint32_t shard) {
    uint32_t at = shelf_find(shelf, seq);
    check(shelf->stays[at].file == from);
    if (shelf->stays[at].first_seq != seq) {
        split_at(shelf, seq);
        shelf->stays[at].live -= live;
        shelf->stays[++at].live = live;
    }
    shelf->stays[at].at = place->at;
    for (uint32_t i = at; i < shelf->count; i++) {
        check(shelf->stays[i].file == from);
        shelf->stays[i].file = place->file;
        take_live(from, shard, shelf->stays[i].live);
        add_live(place->file, shard, shelf->stays[i].live);
    }
    shelf_touch(shelf, place->file, shard);
}

void shelf_apply_move(struct shelf *shelf, const struct shelf_move *move, uint32_t shard) {
    uint32_t at = shelf_find(shelf, move->first_seq);
    uint64_t end = shelf_end(shelf, at);
    struct stay *stay = &shelf->stays[at];
    uint64_t all = stay->live;
    check(stay->file == move->from);
    check(stay->first_seq == move->first_seq); /* moves come in ascending order */
    check(move->live <= all);
    if (move->end_seq < end) {
        split_at(shelf, move->end_seq);
        shelf->stays[at + 1].live = all - move->live;
        stay = &shelf->stays[at];
    } else {
        check(move->live == all);
    }
    stay->live = move->live;
    stay->file = move->to;
    stay->at = move->at;
    take_live(move->from, shard, move->live);
    add_live(move->to, shard, move->live);
    shelf_touch(shelf, move->to, shard);
}

void shelf_put_ghost(struct shelf *shelf, struct kept_file *file) {
    for (uint32_t i = 0; i < shelf->count; i++) {
        if (shelf->stays[i].file == file) return;
    }
    size_t count = shelf->ghost_count + 1;
    shelf->ghosts = mem_resize(shelf->ghosts, count * sizeof(struct kept_file *));
    shelf->ghosts[shelf->ghost_count++] = file;
}

static void forget_ghost(struct shelf *shelf, const struct kept_file *file) {
    for (uint32_t i = 0; i < shelf->ghost_count; i++) {
        if (shelf->ghosts[i] != file) continue;
        shelf->ghosts[i] = shelf->ghosts[--shelf->ghost_count];
        return;
    }
}

void shelf_forget_file(struct shelf *shelf, const struct kept_file *file) {
    forget_ghost(shelf, file);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < shelf->count; i++) {
        struct stay *stay = &shelf->stays[i];
        if (stay->file == file) {
            check(stay->live == 0);
            forget_lost(shelf, stay->first_seq, shelf_end(shelf, i));
            continue;
        }
        /* Of those in which nothing lives only the file matters. */
        bool dead = stay->live == 0;
        if (dead && kept != 0 && shelf->stays[kept - 1].file == stay->file &&
            shelf->stays[kept - 1].live == 0)
            continue;
        shelf->stays[kept++] = *stay;
    }
    shelf->count = kept;
    if (shelf->touched == file) shelf->touched = NULL;
    if (kept != 0) return;
    mem_free(shelf->stays);
    shelf->stays = NULL;
    shelf->capacity = 0;
}

void shelf_check(const struct shelf *shelf) {
    check(shelf->count <= shelf->capacity);
    for (uint32_t i = 1; i < shelf->count; i++)
        check(shelf->stays[i - 1].first_seq < shelf->stays[i].first_seq);
    for (uint32_t i = 1; i < shelf->lost_count; i++)
        check(shelf->lost[i - 1] < shelf->lost[i]);
}
