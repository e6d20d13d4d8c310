/* memory: allocate or abort. Small structures use these; anything whose size comes from a peer is
 * checked against a limit first (base/limits.h), so that running out is our bug, not theirs. */
#ifndef BASE_MEMORY_H
#define BASE_MEMORY_H

#include "base/base.h"

/* Zeroed memory of `size` bytes, owned by the caller, released by mem_free. Aborts when there is
 * none. */
void *mem_new(size_t size);

/* `count` zeroed elements of `size` bytes; the product is checked. */
void *mem_new_array(size_t count, size_t size);

/* As realloc, but aborts; new bytes are not zeroed. */
void *mem_resize(void *old, size_t size);

/* `size` bytes that are not zeroed. */
void *mem_raw(size_t size);

/* A zero-terminated copy of `bytes`, owned by the caller. */
char *mem_text(struct bytes bytes);

/* Releases; NULL is fine. */
void mem_free(void *memory);

#define NEW(type) ((type *)mem_new(sizeof(type)))

#endif
