/* crc: CRC-32C (Castagnoli), as iSCSI and ext4 use it. */
#ifndef STORE_CRC_H
#define STORE_CRC_H

#include "base/base.h"

/* The checksum of `size` bytes, which may be 0 and are at most 2^31 - 1. */
uint32_t crc32c(const void *data, size_t size);

/* Folds more bytes into a checksum that crc32c or this gave; crc32c_more(crc32c(a), b) is the
 * checksum of a followed by b. */
uint32_t crc32c_more(uint32_t crc, const void *data, size_t size);

#endif
