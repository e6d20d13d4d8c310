/* disk: memory that direct I/O can use. */
#include "store/disk.h"

#include <stdlib.h>
#include <string.h>

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
