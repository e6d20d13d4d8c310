/* disk: memory that direct I/O can use. */
#include "store/disk.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

uint8_t *disk_memory_raw(size_t size) {
    check(size != 0 && size % DISK_BLOCK_BYTES == 0);
    uint8_t *memory = aligned_alloc(DISK_BLOCK_BYTES, size);
    check(memory != NULL);
    return memory;
}

uint8_t *disk_memory_new(size_t size) {
    uint8_t *memory = disk_memory_raw(size);
    memset(memory, 0, size);
    return memory;
}

void disk_memory_free(uint8_t *memory) {
    free(memory);
}

uint8_t *disk_memory_map(size_t size) {
    check(size != 0 && size % DISK_BLOCK_BYTES == 0);
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, -1, 0);
    check(memory != MAP_FAILED);
    return memory;
}

uint8_t *disk_memory_map_more(uint8_t *memory, size_t size, size_t size_new) {
    check(size_new >= size && size_new % DISK_BLOCK_BYTES == 0);
    void *moved = mremap(memory, size, size_new, MREMAP_MAYMOVE);
    check(moved != MAP_FAILED);
    return moved;
}

void disk_memory_spend(const void *memory, size_t size) {
    check(madvise((void *)(uintptr_t)memory, size, MADV_DONTNEED) == 0);
}

void disk_memory_unmap(uint8_t *memory, size_t size) {
    if (memory) check(munmap(memory, size) == 0);
}
