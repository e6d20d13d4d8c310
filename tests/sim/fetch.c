/* fetch: reading a kept message where its shelf says that it lies. */
#include "sim/fetch.h"

#include "sim/vault.h"
#include "sim/world.h"

#include "base/memory.h"
#include "shard/keeper.h"
#include "shard/kept_record.h"
#include "shard/piece.h"
#include "store/pages.h"

static struct message_pool *pool_of(const struct world *world, const struct queue_slot *slot) {
    return world->broker->shards[ref_shard(queue_self(slot->queue))]->pool;
}

/* A message, as far as it is looked for. */
struct search {
    const struct queue_slot *slot;
    uint64_t seq;
    uint64_t id; /* of its queue in the file */
    bool spoilt; /* with what is sick */
    struct pub_parts parts;
};

static struct message *take_pub(
    const struct world *world, const struct search *search, const struct record_view *view) {
    for (uint32_t i = 0; i < view->target_count; i++) {
        struct record_target target = record_view_target(view, i);
        struct bytes parts;
        if (target.queue != search->id || target.seq != search->seq) continue;
        if (!pub_parts_find(&search->parts, view, &parts)) continue;
        return kept_record_message(pool_of(world, search->slot), view, parts);
    }
    return NULL;
}

/* What is sick is lost with its block, or wrong. */
static void spoil(struct world *world, const char *name, uint8_t *bytes) {
    const struct sim_file *file = platter_find(&world->vault->platter, name);
    if (!file || file->sick == UINT64_MAX) return;
    uint64_t block = file->sick / DISK_BLOCK_BYTES * DISK_BLOCK_BYTES;
    if (file->sick_flips)
        bytes[file->sick + 100] ^= 4;
    else
        memset(bytes + block, 0xa5, DISK_BLOCK_BYTES);
}

/* Walks through what has been read. Behind a bad block another frame may begin. */
static struct message *walk_bytes(
    const struct world *world, struct search *search, struct page *page) {
    struct message *message = NULL;
    while (!message) {
        enum page_step step = page_next(page);
        bool goes_on = step == PAGE_BAD && search->spoilt;
        if (goes_on && (page_pass(page) == PAGE_RECORD || page_resync(page) == PAGE_RECORD))
            continue;
        if (step != PAGE_RECORD) break;
        if (page->view.type == RECORD_PUB) message = take_pub(world, search, &page->view);
        if (page->view.type == RECORD_PART) pub_parts_take(&search->parts, &page->view);
    }
    return message;
}

/* Memory for a whole file: many are read, and one run is one process. */
static uint8_t *room_for(uint64_t size) {
    static uint8_t *memory;
    static uint64_t capacity;
    if (size > capacity) {
        disk_memory_free(memory);
        memory = disk_memory_new(size);
        capacity = size;
    }
    return memory;
}

/* Walks through the file from a place on. */
static struct message *walk(
    struct world *world, struct search *search, const struct piece_place *place) {
    struct disk *disk = vault_reader(world->vault);
    struct disk_file *file = NULL;
    if (disk_open(disk, place->name, &file) != 0) return NULL;
    uint64_t size = 0;
    check(disk_size(disk, file, &size) == 0);
    uint8_t *bytes = room_for(size);
    struct message *message = NULL;
    if (disk_read(disk, file, 0, bytes, size) == 0) {
        struct page page = {.end = place->end, .file_id = place->file_id};
        if (search->spoilt) spoil(world, place->name, bytes);
        page_begin(&page, bytes_of(bytes, size), 0, place->offset);
        message = walk_bytes(world, search, &page);
    }
    disk_close(disk, file);
    return message;
}

static struct message *read_kept(struct world *world, struct search *search) {
    const struct shelf *shelf = search->slot->shelf;
    const struct stay *stay = &shelf->stays[shelf_find(shelf, search->seq)];
    struct piece_place place;
    struct message *message = NULL;
    search->id = search->slot->id;
    if (piece_locate(stay, &place)) message = walk(world, search, &place);
    struct kept_file *file = stay->file;
    bool ends_there = file->whole;
    for (; !message && !ends_there && piece_locate_next(file, &place); file = piece_next_file(file))
        message = walk(world, search, &place);
    return message;
}

static struct message *read_spilled(struct world *world, struct search *search) {
    const struct spill_run *run = spill_find(search->slot, search->seq);
    struct piece_place place = run->file->place;
    search->id = queue_self(search->slot->queue);
    place.offset = run->at;
    return walk(world, search, &place);
}

static struct message *read_message(
    struct world *world, const struct queue_slot *slot, uint64_t seq, bool spoilt) {
    struct search search = {.slot = slot, .seq = seq, .spoilt = spoilt};
    bool spilled = queue_is_spilled(slot->queue, seq);
    pub_parts_init(&search.parts);
    world->vault->platter.spying = true;
    struct message *message = spilled ? read_spilled(world, &search) : read_kept(world, &search);
    pub_parts_deinit(&search.parts);
    world->vault->platter.spying = false;
    return message;
}

struct message *fetch_message(struct world *world, const struct queue_slot *slot, uint64_t seq) {
    struct message *message = NULL;
    uint64_t at = seq;
    if (queue_is_spilled(slot->queue, seq)) return read_message(world, slot, seq, false);
    if (!queue_next_kept(slot->queue, &at, seq + 1, &message)) return NULL;
    if (!message) return read_message(world, slot, seq, false);
    message_ref(message, 1);
    return message;
}

bool fetch_is_readable(struct world *world, const struct queue_slot *slot, uint64_t seq) {
    struct message *message = read_message(world, slot, seq, true);
    fetch_release(world, slot, message);
    return message != NULL;
}

void fetch_release(struct world *world, const struct queue_slot *slot, struct message *message) {
    message_unref(pool_of(world, slot), message);
}
