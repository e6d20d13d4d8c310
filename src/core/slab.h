/* slab: blocks of one size, cut from aligned slabs that go back when all their blocks have.
 *
 * A slab class hands out blocks of one size; all classes of a shard share one depot of empty slabs.
 * Taking and putting a block in the steady state is a pop and a push on the free list of one slab.
 * The depot keeps only a few empty slabs, so that memory follows use after a burst. Not
 * thread-safe: each shard has its own. */
#ifndef CORE_SLAB_H
#define CORE_SLAB_H

#include "base/list.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size)   ((void)(address), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#endif

enum {
    SLAB_BYTES = 512 * 1024,      /* and the alignment, so that a block finds its slab by a mask */
    SLAB_BLOCK_BYTES_MAX = 32768, /* fifteen of these still fit one slab */
    SLABS_KEPT_MAX = 16           /* empty ones in a depot: 8 MiB per shard after a burst */
};

/* A free block's first bytes. */
struct slab_block {
    struct slab_block *next;
};

struct slab {
    struct slab_block *free;     /* blocks that have come back */
    uint32_t used;               /* blocks that are out */
    uint32_t cut;                /* bytes from the slab's start that are cut into blocks */
    uint32_t touched;            /* or ever were: the pages behind are not resident */
    struct list_node in_partial; /* class->partial, while neither current nor full; or the depot */
};

/* The empty slabs of one shard. */
struct slab_depot {
    struct list empty;
    uint32_t empty_count;
    uint32_t slab_count;    /* all slabs, empty or in a class */
    uint64_t touched_bytes; /* of them */
};

struct slab_class {
    struct slab *current; /* where blocks are taken from; NULL at first */
    uint32_t block_bytes;
    uint32_t used; /* blocks that are out */
    struct list partial;
    struct slab_depot *depot;
};

void slab_depot_init(struct slab_depot *depot);

/* Every class of it must have been deinitialized. */
void slab_depot_deinit(struct slab_depot *depot);

/* Gives the empty slabs back to the system. */
void slab_depot_trim(struct slab_depot *depot);

/* `block_bytes` is a multiple of 16, at most SLAB_BLOCK_BYTES_MAX; `depot` is borrowed for the
 * class's life. */
void slab_class_init(struct slab_class *class, struct slab_depot *depot, uint32_t block_bytes);

/* Every block must have come back. */
void slab_class_deinit(struct slab_class *class);

/* Puts the current slab into the depot when it is empty: for a class that is not used just now. */
void slab_class_trim(struct slab_class *class);

/* The rare cases: no block in the current slab; the last block of a slab or the first of a full
 * one came back. */
void *slab_take_slowly(struct slab_class *class);
void slab_put_slowly(struct slab_class *class, struct slab *slab);

/* A block, not zeroed, owned by the caller. */
static inline void *slab_take(struct slab_class *class) {
    struct slab *slab = class->current;
    class->used++;
    if (__builtin_expect(!slab || !slab->free, 0)) return slab_take_slowly(class);
    struct slab_block *block = slab->free;
    ASAN_UNPOISON_MEMORY_REGION(block, class->block_bytes);
    slab->free = block->next;
    slab->used++;
    return block;
}

/* Gives a block of this class back. */
static inline void slab_put(struct slab_class *class, void *memory) {
    struct slab *slab = (struct slab *)((uintptr_t)memory & ~(uintptr_t)(SLAB_BYTES - 1));
    struct slab_block *block = (struct slab_block *)memory;
    check(slab->used != 0);
    block->next = slab->free;
    slab->free = block;
    slab->used--;
    class->used--;
    ASAN_POISON_MEMORY_REGION(block, class->block_bytes);
    if (slab == class->current) return;
    if (slab->used == 0 || !list_linked(&slab->in_partial)) slab_put_slowly(class, slab);
}

#endif
