/* slab: blocks of one size, cut from aligned slabs that go back when all their blocks have. */
#include "core/slab.h"

#include <assert.h>
#include <stdlib.h>

/* Blocks start here, so that a message's first cache line is aligned. */
enum { SLAB_HEADER_BYTES = 64 };

static_assert(sizeof(struct slab) <= SLAB_HEADER_BYTES, "the header lies before the first block");

void slab_depot_init(struct slab_depot *depot) {
    *depot = (struct slab_depot){0};
    list_init(&depot->empty);
}

static void release(struct slab_depot *depot, struct slab *slab) {
    check(slab->used == 0);
    check(depot->slab_count != 0);
    depot->slab_count--;
    depot->touched_bytes -= slab->touched;
    ASAN_UNPOISON_MEMORY_REGION(slab, SLAB_BYTES);
    free(slab);
}

void slab_depot_trim(struct slab_depot *depot) {
    struct list_node *node;
    while ((node = list_take_first(&depot->empty)) != NULL) {
        depot->empty_count--;
        release(depot, LIST_ENTRY(node, struct slab, in_partial));
    }
    check(depot->empty_count == 0);
}

void slab_depot_deinit(struct slab_depot *depot) {
    slab_depot_trim(depot);
    check(depot->slab_count == 0);
}

void slab_class_init(struct slab_class *class, struct slab_depot *depot, uint32_t block_bytes) {
    check(block_bytes % 16 == 0);
    check(block_bytes >= sizeof(struct slab_block));
    check(block_bytes <= SLAB_BLOCK_BYTES_MAX);
    *class = (struct slab_class){.block_bytes = block_bytes, .depot = depot};
    list_init(&class->partial);
}

/* Keeps an empty slab for the next class that needs one, or gives it back to the system. */
static void depot_put(struct slab_depot *depot, struct slab *slab) {
    if (depot->empty_count == SLABS_KEPT_MAX) {
        release(depot, slab);
        return;
    }
    list_put_first(&depot->empty, &slab->in_partial);
    depot->empty_count++;
}

void slab_class_trim(struct slab_class *class) {
    if (!class->current || class->current->used != 0) return;
    depot_put(class->depot, class->current);
    class->current = NULL;
}

void slab_class_deinit(struct slab_class *class) {
    check(class->used == 0);
    check(list_empty(&class->partial));
    slab_class_trim(class);
}

static struct slab *depot_take(struct slab_depot *depot) {
    struct list_node *node = list_take_first(&depot->empty);
    struct slab *slab;
    uint32_t touched = 0;
    if (node) {
        depot->empty_count--;
        slab = LIST_ENTRY(node, struct slab, in_partial);
        touched = slab->touched;
    } else {
        slab = aligned_alloc(SLAB_BYTES, SLAB_BYTES);
        check(slab != NULL);
        depot->slab_count++;
    }
    ASAN_POISON_MEMORY_REGION((uint8_t *)slab + SLAB_HEADER_BYTES, SLAB_BYTES - SLAB_HEADER_BYTES);
    *slab = (struct slab){.cut = SLAB_HEADER_BYTES, .touched = touched};
    return slab;
}

/* Blocks that were never handed out are cut one by one: pages behind `cut` are not touched. */
static void *cut_block(struct slab_class *class, struct slab *slab) {
    uint8_t *block = (uint8_t *)slab + slab->cut;
    slab->cut += class->block_bytes;
    if (slab->cut > slab->touched) {
        class->depot->touched_bytes += slab->cut - slab->touched;
        slab->touched = slab->cut;
    }
    slab->used++;
    ASAN_UNPOISON_MEMORY_REGION(block, class->block_bytes);
    return block;
}

static bool can_cut(const struct slab_class *class, const struct slab *slab) {
    return slab->cut + class->block_bytes <= SLAB_BYTES;
}

void *slab_take_slowly(struct slab_class *class) {
    struct slab *slab = class->current;
    if (slab && can_cut(class, slab)) return cut_block(class, slab);
    /* The full slab leaves; its next block to come back makes it partial. */
    struct list_node *node = list_take_first(&class->partial);
    class->current = slab =
        node ? LIST_ENTRY(node, struct slab, in_partial) : depot_take(class->depot);
    struct slab_block *block = slab->free;
    if (!block) return cut_block(class, slab);
    ASAN_UNPOISON_MEMORY_REGION(block, class->block_bytes);
    slab->free = block->next;
    slab->used++;
    return block;
}

void slab_put_slowly(struct slab_class *class, struct slab *slab) {
    if (slab->used != 0) {
        list_put_last(&class->partial, &slab->in_partial);
        return;
    }
    list_remove_if_linked(&slab->in_partial);
    depot_put(class->depot, slab);
}
