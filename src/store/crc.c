/* crc: CRC-32C by ISA-L, which uses the processor's own instruction where it has one. */
#include "store/crc.h"

#include <isa-l/crc.h>
#include <limits.h>

uint32_t crc32c_more(uint32_t crc, const void *data, size_t size) {
    check(size <= INT_MAX);
    if (size == 0) return crc;
    /* ISA-L takes its buffer without const and only reads it; it leaves out the two inversions. */
    return ~crc32_iscsi((unsigned char *)(uintptr_t)data, (int)size, ~crc);
}

uint32_t crc32c(const void *data, size_t size) {
    return crc32c_more(0, data, size);
}
